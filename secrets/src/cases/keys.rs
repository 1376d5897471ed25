//! Private keys and what points to them.

use super::Case;
use super::random::{HEX, Random, base64};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    pem(&mut cases);
    public(&mut cases);
    google(&mut cases);
    pointers(&mut cases);
    cases
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
        if !with.is_empty() {
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
}

/// What has the same dashes and is no secret.
fn public(cases: &mut Vec<Case>) {
    let mut random = Random::of("public");
    let bytes = der(&mut random, 700);
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
}

fn google(cases: &mut Vec<Case>) {
    let mut random = Random::of("google");
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
