//! What is in every environment and opens nothing.

use super::Case;
use super::random::{ALNUM, BASE64_URL, HEX, Random, base64};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut random = Random::of("harmless");
    for (length, why) in [
        (32, "MD5"),
        (40, "a commit"),
        (56, "SHA-224"),
        (64, "SHA-256"),
        (96, "SHA-384"),
        (128, "SHA-512"),
    ] {
        let hash = random.text(HEX, length);
        cases.push(Case::nothing(hash.clone(), why));
        cases.push(Case::nothing(hash.to_uppercase(), why));
        cases.push(Case::nothing(
            format!("sha256:{hash}"),
            "a digest of an image",
        ));
        cases.push(Case::nothing(hash, why).named("GITHUB_SHA"));
    }
    for (before, length) in [("Linux-key-", 32), ("sync-pul-", 40), ("node_key-", 32)] {
        let hash = random.text(HEX, length);
        cases.push(Case::nothing(
            format!("{before}{hash}"),
            "the key of a cache",
        ));
    }
    let name = format!("app_secret_{}", random.text(ALNUM, 43));
    cases.push(Case::nothing(name, "a longer name"));
    for bytes in [32, 48, 64] {
        let hash = base64(&random.bytes(bytes));
        cases.push(Case::nothing(
            format!("sha{}-{hash}", bytes * 8),
            "of a lock file",
        ));
        cases.push(Case::nothing(hash, "a hash in base64"));
    }
    for _ in 0..8 {
        let uuid = [8, 4, 4, 4, 12]
            .map(|length| random.text(HEX, length))
            .join("-");
        cases.push(Case::nothing(uuid, "a UUID"));
    }
    let public = base64(
        &[
            &[0, 0, 0, 11][..],
            b"ssh-ed25519",
            &[0, 0, 0, 32],
            &random.bytes(32),
        ]
        .concat(),
    );
    cases.push(Case::nothing(
        format!("ssh-ed25519 {public} ci@host"),
        "a public key",
    ));
    let public = base64(&[&[0, 0, 0, 7][..], b"ssh-rsa", &random.bytes(270)].concat());
    cases.push(Case::nothing(
        format!("ssh-rsa {public} ci@host"),
        "a public key",
    ));
    let age = format!(
        "age1{}",
        random.text("qpzry9x8gf2tvdw0s3jn54khce6mua7l", 58)
    );
    cases.push(Case::nothing(age, "a recipient of age"));
    cases.push(Case::nothing(
        format!("pk_live_{}", random.text(ALNUM, 99)),
        "a publishable key",
    ));
    cases.push(Case::nothing(
        format!("sb_publishable_{}", random.text(BASE64_URL, 31)),
        "a publishable key",
    ));
    for length in [16, 24, 32, 48, 64, 80, 100, 200, 400, 1000] {
        cases.push(Case::nothing(
            random.text(ALNUM, length),
            "random letters and digits",
        ));
        cases.push(Case::nothing(
            random.text(BASE64_URL, length),
            "random base64",
        ));
        cases.push(Case::nothing(
            base64(&random.bytes(length)),
            "random base64",
        ));
    }
    for (text, why) in PLAIN {
        cases.push(Case::nothing(*text, why));
    }
    for (variable, text) in VARIABLES {
        cases.push(Case::nothing(*text, "an ordinary variable").named(variable));
    }
    cases
}

/// Texts that have a mark of some format in them, or look as if.
const PLAIN: &[(&str, &str)] = &[
    ("ghp_TOKEN", "a name"),
    ("ghp_abcdefghijklmnopqrstuvwxyz0123456789", "a sequence"),
    ("ghp_000000000000000000000000000000000000", "zeros"),
    (
        "ghp_EXAMPLEexampleEXAMPLEexampleEXAMPLE1",
        "says what it is",
    ),
    ("glpat-xxxxxxxxxxxxxxxxxxxx", "masked"),
    ("glpat-your-token-here-00", "to be filled in"),
    ("npm_config_registry", "a setting of npm"),
    (
        "npm_config_user_agent_and_other_settings_of_npm",
        "a setting of npm",
    ),
    (
        "npm_package_dependencies_left_pad_version",
        "a variable of npm",
    ),
    ("secret_scanning_alert_created", "a name"),
    ("hf_transfer", "a package"),
    ("sk-learn-1.5.0-cp312", "a package"),
    ("key-value-store-0123456789", "a name"),
    ("xai-grok-examples", "a name"),
    ("pul-request-template", "a name"),
    ("AKIA", "a prefix alone"),
    ("AKIAIOSFODNN7EXAMPLE", "the one of AWS' documentation"),
    ("AccountKey=", "nothing behind it"),
    ("eyJhbGciOiJIUzI1NiJ9", "a JWT's header alone"),
    ("eyJ.eyJ.eyJ", "three words"),
    ("-----BEGIN PRIVATE KEY-----", "a first line alone"),
    ("grep -r 'BEGIN RSA PRIVATE KEY' .", "a command"),
    ("machine", "a word"),
    ("https://example.com", "a URL"),
    ("/usr/local/bin:/usr/bin:/bin", "a path"),
    ("x86_64-unknown-linux-gnu", "a target"),
    ("SK", "a prefix alone"),
    ("SG.", "a prefix alone"),
    ("-us1", "a suffix alone"),
    ("us-east-1 -us1", "a suffix alone"),
    ("T3BlbkFJ", "OpenAI in base64"),
    ("{\"auth\": \"none\"}", "no login"),
    (
        "{\"type\": \"service_account\", \"private_key\": \"\"}",
        "an empty key",
    ),
    ("sig=", "nothing behind it"),
    ("NRAL", "a suffix alone"),
    ("8Q~a", "a signature alone"),
    ("dp.st.", "a prefix alone"),
    ("FlyV1 ", "a prefix alone"),
    ("FlyV1 fm2_x", "too short"),
    ("basic ", "nothing behind it"),
    ("Password=", "nothing behind it"),
    (
        "hooks.slack.com/services/T00000000/B00000000/000000000000000000000000",
        "all zeros",
    ),
    ("123456789:AAxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", "masked"),
];

const VARIABLES: &[(&str, &str)] = &[
    ("AWS_SECRET_ACCESS_KEY", "***"),
    (
        "AWS_SECRET_ACCESS_KEY",
        "${{ secrets.AWS_SECRET_ACCESS_KEY }}",
    ),
    ("AWS_SESSION_TOKEN", ""),
    ("CI_JOB_TOKEN", "[MASKED]"),
    ("CI_REGISTRY_PASSWORD", "$CI_JOB_TOKEN"),
    ("VAULT_TOKEN", "$(cat /run/token)"),
    ("DD_API_KEY", "changeme"),
    ("RUNNER_TOKEN", "your-token-here"),
    ("RUNNER_NAME", "build-7"),
    ("GITHUB_REPOSITORY", "octo/app"),
    (
        "GITHUB_WORKFLOW_SHA",
        "0a1b2c3d4e5f60718293a4b5c6d7e8f901a2b3c4",
    ),
    ("KUBERNETES_SERVICE_HOST", "10.0.0.1"),
    (
        "LS_COLORS",
        "rs=0:di=01;34:ln=01;36:mh=00:pi=40;33:so=01;35",
    ),
    ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"),
    ("PWD", "/srv/ci/jobs/app/app"),
    ("PWD", "/actions/release/gradle/site/release-e29f9"),
    ("OLDPWD", "/app/android/build/version/android-9ff67"),
    ("SSH_CONNECTION", "192.0.2.1 50000 192.0.2.2 22"),
    ("GOOGLE_APPLICATION_CREDENTIALS", "credentials.json"),
    ("HEROKU_API_KEY", "00000000-0000-0000-0000-000000000000"),
];
