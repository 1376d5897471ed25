//! Credentials with something inside: JWTs, PEM, documents, URLs, tokens that carry their owners.

use super::Case;
use super::random::{
    ALNUM, BASE32_LOWER, BASE64_URL, DIGITS, HEX, LOWER_ALNUM, Random, base32, base64, base64_url,
    crc32, in_base,
};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    github(&mut cases);
    gitlab(&mut cases);
    registries(&mut cases);
    jwt(&mut cases);
    pem(&mut cases);
    passwords(&mut cases);
    urls(&mut cases);
    chat(&mut cases);
    encoded_json(&mut cases);
    pointers(&mut cases);
    cases
}

/// A JWT with these claims and a signature of 64 bytes.
pub(super) fn token_of(claims: &str, random: &mut Random) -> String {
    let header = base64_url(br#"{"alg":"RS256","typ":"JWT"}"#);
    let claims = base64_url(claims.as_bytes());
    format!("{header}.{claims}.{}", random.text(BASE64_URL, 86))
}

fn github(cases: &mut Vec<Case>) {
    let mut random = Random::of("github");
    let rule = "github-app-installation-stateless";
    let claims =
        r#"{"iss":"github","aud":"api","iat":1790000000,"exp":1790003600,"installation":1}"#;
    let mut token = || format!("{}15368_{}", "ghs_", token_of(claims, &mut random));
    let whole = "one token with two dots, and not the JWT inside it";
    cases.push(Case::found(rule, token(), whole));
    cases.push(Case::found(rule, token(), "as the runner gives it").named("GITHUB_TOKEN"));
    cases.push(Case::found(
        rule,
        format!("t%3D{}&x=1", token()),
        "glued on the left",
    ));
    let header = format!("AUTHORIZATION: bearer {}", token());
    cases.push(Case::found(rule, header, "in a header"));
    let cut = token();
    let cut = &cut[..cut.rfind('.').expect("three segments")];
    cases.push(Case::nothing(cut, "without its signature"));
    let no_json = format!(
        "{}15368_{}",
        "ghs_", "eyJhbGci.eyJpYXQi.c2lnbmF0dXJlLXNpZ25hdHVyZQ"
    );
    cases.push(Case::nothing(no_json, "segments that are not JSON"));
    let map = format!(
        r#"{{".runner":"{}",".credentials":"{}",".credentials_rsaparams":"{}"}}"#,
        base64(br#"{"agentId":1,"agentName":"r","poolId":1}"#),
        base64(br#"{"scheme":"OAuth","data":{}}"#),
        base64(&random.bytes(600)),
    );
    let rule = "actions-runner-jit-config";
    let jit = base64(map.as_bytes());
    let name = "ACTIONS_RUNNER_INPUT_JITCONFIG";
    cases.push(Case::found(rule, jit.clone(), "where the runner takes it from").named(name));
    cases.push(Case::found(
        rule,
        format!("--jitconfig {jit}"),
        "as an argument",
    ));
    let other = base64(br#"{"runner":"self-hosted","labels":["a","b"],"os":"linux","arch":"x64","name":"build-7"}"#);
    cases.push(Case::nothing(other, "base64 of JSON with other keys"));
}

fn gitlab(cases: &mut Vec<Case>) {
    let mut random = Random::of("gitlab");
    for (rule, prefix) in [
        ("gitlab-pat", "glpat-"),
        ("gitlab-runner", "glrt-t3_"),
        ("gitlab-job-token", "glcbt-"),
    ] {
        let mut payload = random.bytes(16);
        payload.extend(b"o:1\np:3x\nu:1b9\n");
        payload.push(16);
        let payload = base64_url(&payload);
        for version in [".01.", "."] {
            let length = in_base(u64::try_from(payload.len()).expect("short"), LOWER_36, 2);
            let before = format!("{prefix}{payload}{version}{length}");
            let sum = in_base(crc32(before.as_bytes()).into(), LOWER_36, 7);
            let token = format!("{before}{sum}");
            cases.push(Case::found(rule, token.clone(), "routable"));
            cases.push(Case::found(
                rule,
                format!("mine-{token}"),
                "with an instance's own prefix",
            ));
            cases.push(Case::nothing(format!("{token}0"), "a character too long"));
        }
    }
}

const LOWER_36: &str = "0123456789abcdefghijklmnopqrstuvwxyz";

fn registries(cases: &mut Vec<Case>) {
    let mut random = Random::of("registries");
    // The host names of the index and of the test index, of which the macaroon has one.
    for host in [["pypi", ".org"].concat(), ["test.pypi", ".org"].concat()] {
        let mut macaroon = vec![2, 1, u8::try_from(host.len()).expect("short")];
        macaroon.extend(host.bytes());
        macaroon.extend([2, 36]);
        macaroon.extend(random.text("0123456789abcdef-", 36).bytes());
        macaroon.push(0);
        macaroon.extend([2, 12]);
        macaroon.extend(random.text(ALNUM, 12).bytes());
        macaroon.extend([0, 0, 6, 32]);
        macaroon.extend(random.bytes(32));
        let token = format!("{}{}", "pypi-", base64_url(&macaroon));
        cases.push(Case::found("pypi-token", token.clone(), "a macaroon"));
        cases.push(Case::found(
            "pypi-token",
            format!("TWINE={token};"),
            "between others",
        ));
        cases.push(Case::nothing(
            format!("x{token}"),
            "the end of a longer word",
        ));
        cases.push(Case::nothing(&token[..24], "its beginning only"));
    }
    cases.push(Case::nothing(
        "pypi-attestations-1.2.3-py3-none-any.whl",
        "a file's name",
    ));
    let key = format!("{}{}", "cio", random.text(ALNUM, 32));
    cases.push(Case::found(
        "cargo-registry-token",
        key,
        "with no name that says so",
    ));

    // Version, kind, and twenty bytes around fields that NuGet aligns.
    let mut nuget = String::from("oy2");
    for (place, fixed) in (3..46).map(|place| (place, fixed_of(place))) {
        nuget.push_str(&random.text(fixed, 1));
        assert_eq!(nuget.len(), place + 1, "one for each place");
    }
    cases.push(Case::found(
        "nuget-api-key",
        nuget.clone(),
        "with its fixed bits",
    ));
    cases.push(Case::nothing(&nuget[..45], "a character short"));
    cases.push(Case::nothing(format!("{nuget}a"), "a character too long"));

    let inner = format!("reftkn:01:1790003600:{}", random.text(ALNUM, 27));
    let token = base64(inner.as_bytes());
    cases.push(Case::found(
        "jfrog-reference-token",
        token.clone(),
        "with its expiry",
    ));
    cases.push(Case::nothing(
        format!("x{token}"),
        "the end of a longer word",
    ));
    let other = base64(format!("reftknX01:0:{}", random.text(ALNUM, 40)).as_bytes());
    cases.push(Case::nothing(other, "base64 that begins alike"));
}

fn fixed_of(place: usize) -> &'static str {
    match place {
        3 | 33 => "abcdefghijklmnop",
        19 => "aq",
        31 => "eu",
        32 => "bdfhjlnprtvxz357",
        45 => "aeimquy4",
        _ => BASE32_LOWER,
    }
}

fn jwt(cases: &mut Vec<Case>) {
    let mut random = Random::of("jwt");
    for (claims, why) in [
        (
            r#"{"iss":"https://token.actions.githubusercontent.com","aud":"sts","iat":1790000000,"exp":1790000300}"#,
            "an identity token of a job",
        ),
        (
            r#"{"iss":"https:\/\/gitlab.com","aud":["a","b"],"exp":1790000300}"#,
            "escaped slashes",
        ),
        (r#"{"sub":"someone"}"#, "without expiry"),
        (
            r#"{"iss":"supabase","role":"authenticated","exp":1790000300}"#,
            "a user of an application",
        ),
    ] {
        let token = token_of(claims, &mut random);
        cases.push(Case::found("jwt", token.clone(), why));
        cases.push(Case::found("jwt", format!("Bearer {token}"), "in a header"));
        cases.push(Case::found(
            "jwt",
            format!("t%3D{token}"),
            "glued on the left",
        ));
        cases.push(Case::nothing(
            format!("a{token}"),
            "the end of a longer word",
        ));
        let cut = &token[..token.rfind('.').expect("three segments")];
        cases.push(Case::nothing(cut, "without its signature"));
    }
    let claims = r#"{"aud":"x"}"#;
    let runtime = Case::found(
        "jwt",
        token_of(claims, &mut random),
        "the job's right to identity tokens",
    );
    cases.push(runtime.named("ACTIONS_ID_TOKEN_REQUEST_TOKEN"));
    let service =
        r#"{"iss":"supabase","ref":"x","role":"service_role","iat":1790000000,"exp":2100000000}"#;
    let key = token_of(service, &mut random);
    cases.push(Case::found(
        "supabase-service-role",
        key,
        "reads and writes everything",
    ));
    let public = r#"{"iss":"supabase","ref":"x","role":"anon","iat":1790000000,"exp":2100000000}"#;
    cases.push(Case::nothing(
        token_of(public, &mut random),
        "published with each page",
    ));
    let no_algorithm = format!(
        "{}.{}.{}",
        base64_url(b"{\"typ\":\"x\"}"),
        base64_url(b"{\"a\":1}"),
        random.text(BASE64_URL, 43)
    );
    cases.push(Case::nothing(no_algorithm, "a header without an algorithm"));
    let no_object = format!(
        "{}.{}.{}",
        base64_url(b"{\"alg\":\"x\"}"),
        base64_url(b"[1,2,3]"),
        random.text(BASE64_URL, 43)
    );
    cases.push(Case::nothing(no_object, "claims that are no object"));
}

/// Bytes that begin like a key: a sequence of this many bytes after its header, version 0.
fn der(random: &mut Random, length: u16) -> Vec<u8> {
    let mut bytes = vec![0x30, 0x82];
    bytes.extend(length.to_be_bytes());
    bytes.extend([2, 1, 0]);
    bytes.extend(random.bytes(usize::from(length) - 3));
    bytes
}

fn openssh(random: &mut Random, cipher: &str) -> Vec<u8> {
    let mut bytes = b"openssh-key-v1\0".to_vec();
    bytes.extend(u32::try_from(cipher.len()).expect("short").to_be_bytes());
    bytes.extend(cipher.bytes());
    bytes.extend(random.bytes(270));
    bytes
}

/// Between its lines of dashes, lines of 64 characters joined by `with`.
pub(super) fn armor(label: &str, headers: &[&str], bytes: &[u8], with: &str) -> String {
    let text = base64(bytes);
    let mut lines = vec![format!("{}BEGIN {label}-----", "-----")];
    lines.extend(headers.iter().map(|header| (*header).to_owned()));
    if !headers.is_empty() {
        lines.push(String::new());
    }
    lines.extend(
        text.as_bytes()
            .chunks(64)
            .map(|line| String::from_utf8_lossy(line).into_owned()),
    );
    lines.push(format!("-----END {label}-----"));
    lines.join(with)
}

fn pem(cases: &mut Vec<Case>) {
    let mut random = Random::of("pem");
    let rule = "private-key";
    let labels = [
        "RSA PRIVATE KEY",
        "EC PRIVATE KEY",
        "DSA PRIVATE KEY",
        "PRIVATE KEY",
    ];
    for label in labels {
        for (with, why) in [
            ("\n", "with its lines"),
            ("\r\n", "with lines of another system"),
            ("\\n", "with line breaks in letters"),
            (" ", "with spaces for line breaks"),
            ("", "without any line break"),
        ] {
            let bytes = der(&mut random, 1190);
            cases.push(Case::found(rule, armor(label, &[], &bytes, with), why));
        }
    }
    for (cipher, why) in [
        ("none", "of OpenSSH"),
        ("aes256-ctr", "of OpenSSH, encrypted"),
    ] {
        for with in ["\n", "\\n", " ", ""] {
            let key = openssh(&mut random, cipher);
            let key = armor("OPENSSH PRIVATE KEY", &[], &key, with);
            cases.push(Case::found(rule, key, why));
        }
    }
    let headers = [
        "Proc-Type: 4,ENCRYPTED",
        "DEK-Info: AES-256-CBC,0A1B2C3D4E5F60718293A4B5C6D7E8F9",
    ];
    for with in ["\n", "\\n", " ", ""] {
        let bytes = random.bytes(608);
        let key = armor("RSA PRIVATE KEY", &headers, &bytes, with);
        cases.push(Case::found(rule, key, "encrypted, with headers"));
        let pgp = armor(
            "PGP PRIVATE KEY BLOCK",
            &["Version: GnuPG v2.0.22 (GNU/Linux)"],
            &bytes,
            with,
        );
        if with != "" && with != " " {
            cases.push(Case::found(rule, pgp, "of PGP"));
        }
    }
    let bytes = der(&mut random, 700);
    let encrypted = armor("ENCRYPTED PRIVATE KEY", &[], &bytes, "\n");
    cases.push(Case::found(rule, encrypted, "encrypted"));
    let whole = armor("RSA PRIVATE KEY", &[], &bytes, "\n");
    cases.push(Case::found(rule, &whole[..600], "cut off"));
    cases.push(Case::nothing(
        &whole[..60],
        "hardly more than its first line",
    ));
    for label in [
        "CERTIFICATE",
        "PUBLIC KEY",
        "RSA PUBLIC KEY",
        "CERTIFICATE REQUEST",
        "PGP PUBLIC KEY BLOCK",
        "DH PARAMETERS",
        "X509 CRL",
        "SSH2 PUBLIC KEY",
    ] {
        let public = armor(label, &[], &bytes, "\n");
        cases.push(Case::nothing(public, "public"));
    }
    let elided = format!(
        "{}BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----",
        "-----"
    );
    cases.push(Case::nothing(elided, "left out in a text"));
    let words = format!(
        "{}BEGIN PRIVATE KEY-----\n<your key here>\n-----END PRIVATE KEY-----",
        "-----"
    );
    cases.push(Case::nothing(words, "to be filled in"));

    let key = armor("PRIVATE KEY", &[], &der(&mut random, 1214), "\\n");
    let account = format!(
        r#"{{"type": "service_account", "project_id": "build-7", "private_key_id": "{}", "private_key": "{key}\n", "client_email": "ci@build-7.iam.example.com"}}"#,
        random.text(HEX, 40)
    );
    cases.push(Case::found(
        "gcp-service-account",
        account.clone(),
        "the key is this, and not any key",
    ));
    let named = Case::found("gcp-service-account", account, "in its variable");
    cases.push(named.named("GOOGLE_CREDENTIALS"));
    let sorted = format!(
        r#"{{"client_email":"ci@build-7.iam.example.com","private_key":"{key}","type":"service_account"}}"#
    );
    cases.push(Case::found(
        "gcp-service-account",
        sorted,
        "with its keys sorted",
    ));
    let external = r#"{"audience":"//iam.example.com/pools/p","credential_source":{"file":"/run/token","format":{"type":"text"}},"type":"external_account"}"#;
    cases.push(Case::found(
        "gcp-external-account",
        external,
        "no secret, and where to get one",
    ));
    cases.push(Case::nothing(
        r#"{"type": "service_account"}"#,
        "a type without a key",
    ));
    cases.push(Case::nothing(r#"kind = "service_account""#, "no document"));
}

fn passwords(cases: &mut Vec<Case>) {
    let mut random = Random::of("passwords");
    let password = random.text(ALNUM, 18);
    let login = base64(format!("builder:{password}").as_bytes());
    let rule = "docker-config-auth";
    let config = format!(r#"{{"auths": {{"registry.test": {{"auth": "{login}"}}}}}}"#);
    cases.push(Case::found(rule, config, "a login of a registry"));
    let tight = format!(r#"{{"auths":{{"registry.test":{{"auth":"{login}","email":"x"}}}}}}"#);
    cases.push(Case::found(rule, tight, "without spaces"));
    let identity = format!(r#"{{"identitytoken": "{}"}}"#, random.text(ALNUM, 60));
    cases.push(Case::found(rule, identity, "a refresh token of a registry"));
    cases.push(Case::nothing(
        r#"{"auths": {"registry.test": {}}}"#,
        "the login is kept elsewhere",
    ));
    cases.push(Case::nothing(r#"{"auth": "oauth2-proxy"}"#, "no login"));
    let no_colon = base64(random.text(ALNUM, 24).as_bytes());
    cases.push(Case::nothing(
        format!(r#"{{"auth": "{no_colon}"}}"#),
        "base64 of one word",
    ));

    let rule = "basic-auth-header";
    cases.push(Case::found(
        rule,
        format!("Authorization: Basic {login}"),
        "a header",
    ));
    let inner = format!("x-access-token:{}{}", "ghs_", random.text(ALNUM, 36));
    let extra = format!("AUTHORIZATION: basic {}", base64(inner.as_bytes()));
    cases.push(Case::found(rule, extra, "what checkout gives git").named("GIT_CONFIG_VALUE_0"));
    cases.push(Case::nothing(
        "basic authentication is required",
        "a sentence",
    ));
    cases.push(Case::nothing(
        "Basic realm=registry",
        "the question, not the answer",
    ));
    let asterisks = base64(b"user:********");
    cases.push(Case::nothing(
        format!("Authorization: Basic {asterisks}"),
        "masked",
    ));

    let rule = "netrc-password";
    let entry = format!("machine git.example.com login ci password {password}\n");
    cases.push(Case::found(rule, entry, "on a line"));
    let entry = format!("machine git.example.com\n  login ci\n  password {password}\n");
    cases.push(Case::found(rule, entry, "on lines"));
    let entry = format!("default login ci password {password}");
    cases.push(Case::found(rule, entry, "for every host"));
    cases.push(Case::nothing(
        "machine learning password manager",
        "a sentence",
    ));
    cases.push(Case::nothing(
        "machine git.example.com login ci password $TOKEN",
        "a reference",
    ));

    let rule = "connection-string-password";
    for text in [
        format!(
            "Server=tcp:db.example.com,1433;Database=app;User ID=ci;Password={password};Encrypt=True"
        ),
        format!("Driver={{ODBC Driver 18}};Server=db.example.com;UID=ci;PWD={password}"),
        format!("Host=db.example.com;Username=ci;Password='{password};x';Database=app"),
        format!("jdbc:sqlserver://db.example.com:1433;user=ci;password={password};"),
        format!("Password={password};Data Source=db.example.com"),
    ] {
        cases.push(Case::found(rule, text, "of a database"));
    }
    cases.push(Case::nothing(
        "Server=db.example.com;Integrated Security=true",
        "no password",
    ));
    cases.push(Case::nothing(
        "Server=db;Password=${DB_PASSWORD};",
        "a reference",
    ));
    cases.push(Case::nothing(
        format!("password={password}"),
        "no server: a name says more",
    ));
    cases.push(Case::nothing("PWD=/home/runner/work", "a directory"));
}

fn urls(cases: &mut Vec<Case>) {
    let mut random = Random::of("urls");
    let password = random.text(ALNUM, 20);
    let rule = "url-credentials";
    for scheme in [
        "https",
        "http",
        "postgresql",
        "postgres",
        "postgresql+asyncpg",
        "mysql",
        "mysql2",
        "mongodb",
        "mongodb+srv",
        "redis",
        "rediss",
        "amqp",
        "amqps",
        "ftp",
        "smtp",
        "ldap",
        "git",
        "ssh",
        "nats",
        "clickhouse",
        "jdbc:oracle",
        "socks5h",
        "s3",
        "mqtt",
        "bolt",
        "influxdb",
        "snowflake",
        "kafka",
    ] {
        let url = format!("{scheme}://ci:{password}@host.example.com/path?x=1");
        cases.push(Case::found(rule, url, "in any scheme"));
    }
    for url in [
        format!("https://oauth2:{password}@git.example.com/a/b.git"),
        format!("https://gitlab-ci-token:{password}@git.example.com/a/b.git"),
        format!("redis://:{password}@cache.example.com:6379/0"),
        format!("https://ci:p%40{password}@host.example.com"),
        format!("https://ci:p@{password}@host.example.com"),
        format!("https://{password}:x-oauth-basic@git.example.com"),
        format!("postgres://ci:{password}@[2001:db8::1]:5432/app"),
        format!("git clone https://ci:{password}@git.example.com/x.git && make"),
        format!("amqp://ci:{password}@mq-1,mq-2"),
    ] {
        cases.push(Case::found(rule, url, "in any place"));
    }
    for (url, why) in [
        ("https://example.com/a:b@c", "an `@` in the path"),
        ("https://host.example.com:8443/", "a port"),
        ("https://user@host.example.com/", "a user alone"),
        ("https://ci:$TOKEN@host.example.com", "a reference"),
        ("https://ci:${TOKEN}@host.example.com", "a reference"),
        ("https://ci:{{token}}@host.example.com", "a template"),
        ("https://ci:<password>@host.example.com", "to be filled in"),
        ("https://ci:***@host.example.com", "masked"),
        ("https://ci:xxxxxxxx@host.example.com", "masked"),
        (
            "https://0a1b2c3d4e5f60718293a4b5c6d7e8f9@o1.ingest.example.com/1",
            "a public key of an error service",
        ),
        ("git@git.example.com:a/b.git", "no URL"),
        ("https://ci:@host.example.com", "no password"),
        ("https://ci:secret-but-no-host@", "no host"),
        ("file:///home/ci:x@y", "a file"),
        (
            "https://host.example.com/?mail=a:b@c.example",
            "an address in the query",
        ),
    ] {
        cases.push(Case::nothing(url, why));
    }
}

fn chat(cases: &mut Vec<Case>) {
    let mut random = Random::of("chat");
    let secret = format!("AA{}", random.text(BASE64_URL, 33));
    let bot = format!("{}:{secret}", random.text("123456789", 10));
    let rule = "telegram-bot-token";
    cases.push(Case::found(rule, bot.clone(), "alone"));
    cases.push(Case::found(
        rule,
        format!("https://t.example/bot{bot}/send"),
        "in its URL",
    ));
    cases.push(Case::nothing(format!("ab:{secret}"), "no number before it"));
    cases.push(Case::nothing(format!("{bot}aaa"), "too long"));
    cases.push(Case::nothing(format!("123:{secret}"), "too small a number"));

    let rule = "discord-bot-token";
    for first in ["1", "2", "3", "4", "5", "6", "7", "8", "9"] {
        let id = format!("{first}{}", random.text(DIGITS, 17));
        let token = format!(
            "{}.{}.{}",
            base64_url(id.as_bytes()),
            random.text(BASE64_URL, 6),
            random.text(BASE64_URL, 38)
        );
        cases.push(Case::found(
            rule,
            token.clone(),
            "the application's number is inside",
        ));
        cases.push(Case::nothing(
            format!("a{token}"),
            "the end of a longer word",
        ));
    }
    let no_id = format!(
        "{}.{}.{}",
        base64_url(b"1not-a-number-at-a"),
        random.text(BASE64_URL, 6),
        random.text(BASE64_URL, 38)
    );
    cases.push(Case::nothing(no_id, "no number inside"));

    let key = random.text(HEX, 32);
    let rule = "mailchimp-key";
    cases.push(Case::found(
        rule,
        format!("{key}-us14"),
        "with its data centre",
    ));
    cases.push(Case::found(
        rule,
        format!("k={key}-us6;"),
        "with its data centre",
    ));
    cases.push(Case::nothing(
        format!("{key}-us-east-1"),
        "a region of a cloud",
    ));
    cases.push(Case::nothing(format!("a{key}-us14"), "too long"));
    cases.push(Case::nothing(key, "a hash"));
}

fn encoded_json(cases: &mut Vec<Case>) {
    let mut random = Random::of("json");
    let account = format!(
        r#"{{"signInAddress":"team.example.com","userAuth":{{"method":"SRPg-4096","salt":"{}"}},"email":"x@example.com","srpX":"{}","secretKey":"{}","deviceUuid":"{}"}}"#,
        random.text(ALNUM, 22),
        random.text(HEX, 64),
        random.text(ALNUM, 26),
        random.text(LOWER_ALNUM, 26),
    );
    let token = format!("ops_{}", base64_url(account.as_bytes()));
    let rule = "onepassword-service-account";
    cases.push(Case::found(rule, token.clone(), "alone"));
    cases.push(Case::nothing(&token[..token.len() - 9], "cut off"));

    let rule = "grafana-cloud";
    let policy = format!(
        r#"{{"o":"1","n":"ci","k":"{}","m":{{"r":"eu"}}}}"#,
        random.text(ALNUM, 24)
    );
    cases.push(Case::found(
        rule,
        format!("glc_{}", base64(policy.as_bytes())),
        "alone",
    ));
    let other = format!("glc_{}", base64(br#"{"name":"not a token at all","x":1}"#));
    cases.push(Case::nothing(other, "JSON without a key"));

    let rule = "grafana-api-key";
    let key = format!(r#"{{"k":"{}","n":"ci","id":1}}"#, random.text(ALNUM, 32));
    cases.push(Case::found(rule, base64(key.as_bytes()), "alone"));

    let rule = "sentry-org-token";
    let owner = r#"{"iat":1790000000.1,"url":"https://errors.example.com","region_url":"https://eu.errors.example.com","org":"team"}"#;
    let token = format!(
        "sntrys_{}_{}",
        base64(owner.as_bytes()),
        random.text(ALNUM, 43)
    );
    cases.push(Case::found(rule, token.clone(), "with its owner"));
    cases.push(Case::nothing(
        &token[..token.len() - 1],
        "a character short",
    ));
}

fn pointers(cases: &mut Vec<Case>) {
    let socket = Case::found("ssh-agent-socket", "/tmp/ssh-1/agent.7", "a capability");
    cases.push(socket.named("SSH_AUTH_SOCK"));
    for variable in [
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "GOOGLE_APPLICATION_CREDENTIALS",
    ] {
        let file = Case::found("credential-file", "/run/secrets/token", "a path");
        cases.push(file.named(variable));
    }
    cases.push(Case::nothing("", "no agent").named("SSH_AUTH_SOCK"));
    cases.push(Case::nothing("/tmp/ssh-1/agent.7", "no name says so").named("SOCKET"));
}

/// Bytes in lower-case base32, for tokens of Azure DevOps.
pub(super) fn lower_base32(bytes: &[u8]) -> String {
    base32(bytes, BASE32_LOWER)
}
