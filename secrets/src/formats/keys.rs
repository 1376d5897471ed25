//! Keys of people, and what points to credentials without being one.

use super::shape::{Alphabet, Cursor, begins, trimmed};
use super::{About, Credential, Format, Mark, Sighting};
use crate::checksum::bech32;
use crate::credential::{Class, Confidence, Life, Rule};
use crate::placeholder::is_placeholder;
use crate::scratch::Scratch;

pub(super) const FORMATS: &[Format] = &[
    Format {
        rule: Rule {
            id: "age-identity",
            title: "age identity",
        },
        marks: &[Mark::Anywhere(b"E-SECRET-KEY-1")],
        about: About {
            check: "Bech32",
            life: "until replaced",
            classes: &[Class::PrivateKey],
        },
        read: age,
    },
    pointer!(
        "ssh-agent-socket",
        "Socket of an SSH agent",
        ["SSH_AUTH_SOCK"]
    ),
    pointer!(
        "credential-file",
        "Path of a file with a credential",
        [
            "AWS_WEB_IDENTITY_TOKEN_FILE",
            "AWS_SHARED_CREDENTIALS_FILE",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
            "AZURE_FEDERATED_TOKEN_FILE",
            "AZURE_CLIENT_CERTIFICATE_PATH",
            "GOOGLE_APPLICATION_CREDENTIALS",
            "GOOGLE_GHA_CREDS_PATH",
            "CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE",
            "CI_JOB_JWT_FILE",
            "VAULT_TOKEN_FILE"
        ]
    ),
];

macro_rules! pointer {
    ($id:literal, $title:literal, [$($name:literal),+]) => {
        Format {
            rule: Rule { id: $id, title: $title },
            marks: &[Mark::Named(&[$($name),+])],
            about: About {
                check: "name, absolute path",
                life: "that of what it points to",
                classes: &[Class::Pointer],
            },
            read: path,
        }
    };
}
use pointer;

/// The characters of Bech32, in upper case.
const BECH32: Alphabet = Alphabet::of(b"QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L");

/// 58 characters behind `1`, the separator of Bech32.
fn age(sighting: &Sighting<'_>, _: &mut Scratch<'_>) -> Option<Credential> {
    let Sighting { text, at, .. } = sighting.back(2)?;
    begins(text, at, BECH32).then_some(())?;
    let mut cursor = Cursor::new(text, at);
    cursor.literal(b"AGE-SECRET-KEY-1")?;
    let data = cursor.run(BECH32, 58..=58)?;
    cursor.ends(BECH32)?;
    (!is_placeholder(data)).then_some(())?;
    let valid = bech32::is_valid(b"age-secret-key-", data)?;
    let found = Credential::new(
        at..cursor.at(),
        Class::PrivateKey,
        Life::Long,
        Confidence::High,
    );
    Some(found.checked(valid))
}

/// A capability rather than a secret: whoever may open the file has what is in it.
fn path(sighting: &Sighting<'_>, _: &mut Scratch<'_>) -> Option<Credential> {
    let span = trimmed(sighting.text);
    let path = sighting.text.get(span.clone())?;
    let is_path = path.starts_with(b"/") && (2..=4096).contains(&path.len());
    (is_path && !path.contains(&b'\n')).then_some(())?;
    Some(Credential::new(
        span,
        Class::Pointer,
        Life::Unknown,
        Confidence::High,
    ))
}
