//! Where secrets are kept and infrastructure is described: Vault, Terraform, Pulumi, Doppler, 1Password.

use super::shape::{ALNUM, Alphabet, BASE64_URL, Cursor, HEX, UPPER_ALNUM, begins, whole};
use super::token::{self, Meaning, Part, STATIC, STATIC_LIKELY, UNKNOWN, simple};
use super::{About, Credential, Format, Mark, Sighting};
use crate::credential::{Class, Confidence, Life, Rule};
use crate::placeholder::is_placeholder;
use crate::scratch::Scratch;

pub(super) const FORMATS: &[Format] = &[
    simple!(
        "vault-service-token",
        "HashiCorp Vault service token",
        b"hvs.",
        [Part::Run(BASE64_URL, 24, 160)],
        UNKNOWN
    ),
    simple!(
        "vault-batch-token",
        "HashiCorp Vault batch token",
        b"hvb.",
        [Part::Run(BASE64_URL, 138, 600)],
        Meaning::new(Class::Unknown, Life::Short, Confidence::High)
    ),
    simple!(
        "vault-recovery-token",
        "HashiCorp Vault recovery token",
        b"hvr.",
        [Part::Run(BASE64_URL, 24, 160)],
        UNKNOWN
    ),
    Format {
        rule: Rule {
            id: "vault-token-legacy",
            title: "HashiCorp Vault token (older)",
        },
        marks: &[Mark::Named(&["VAULT_TOKEN", "VAULT_DEV_ROOT_TOKEN_ID"])],
        about: About {
            check: "name, `s.`, `b.` or `r.`",
            life: "unknown",
            classes: &[Class::Unknown],
        },
        read: vault_legacy,
    },
    Format {
        rule: Rule {
            id: "terraform-token",
            title: "HCP Terraform token",
        },
        marks: &[Mark::Anywhere(b".atlasv1.")],
        about: About {
            check: "marker in the middle",
            life: "until revoked",
            classes: &[Class::Static],
        },
        read: terraform,
    },
    simple!(
        "pulumi-token",
        "Pulumi access token",
        b"pul-",
        [Part::Run(HEX, 40, 40)],
        STATIC_LIKELY
    ),
    doppler!(
        "doppler-personal-token",
        "Doppler personal token",
        b"dp.pt."
    ),
    simple!(
        "doppler-service-token",
        "Doppler service token",
        b"dp.st.",
        [Part::Run(DOPPLER, 40, 80)],
        STATIC
    ),
    doppler!("doppler-cli-token", "Doppler CLI token", b"dp.ct."),
    doppler!(
        "doppler-service-account-token",
        "Doppler service account token",
        b"dp.sa."
    ),
    doppler!("doppler-scim-token", "Doppler SCIM token", b"dp.scim."),
    doppler!("doppler-audit-token", "Doppler audit token", b"dp.audit."),
    Format {
        rule: Rule {
            id: "onepassword-service-account",
            title: "1Password service account token",
        },
        marks: &[Mark::Anywhere(b"ops_eyJ")],
        about: About {
            check: "base64 of JSON",
            life: "until revoked",
            classes: &[Class::Static],
        },
        read: |sighting, scratch| {
            token::encoded_json(sighting, scratch, b"ops_", 250..=4096, b"secretKey")
        },
    },
    simple!(
        "onepassword-secret-key",
        "1Password secret key",
        at_run: "A3-",
        [
            Part::Run(UPPER_ALNUM, 6, 6),
            Part::Text(b"-"),
            Part::Run(UPPER_ALNUM, 6, 11),
            Part::Text(b"-"),
            Part::Run(UPPER_ALNUM, 5, 5),
            Part::Text(b"-"),
            Part::Run(UPPER_ALNUM, 5, 5),
            Part::Text(b"-"),
            Part::Run(UPPER_ALNUM, 5, 5)
        ],
        STATIC_LIKELY
    ),
];

macro_rules! doppler {
    ($id:literal, $title:literal, $prefix:literal) => {
        simple!($id, $title, $prefix, [Part::Run(ALNUM, 40, 44)], STATIC)
    };
}
use doppler;

/// A service token may have the name of its configuration before it (`dp.st.prd.…`).
const DOPPLER: Alphabet = BASE64_URL.and(Alphabet::of(b"."));
fn vault_legacy(sighting: &Sighting<'_>, _: &mut Scratch<'_>) -> Option<Credential> {
    let span = whole(sighting.text, BASE64_URL.and(Alphabet::of(b".")), 26..=400)?;
    let token = sighting.text.get(span.clone())?;
    let (kind, body) = token.split_at_checked(2)?;
    matches!(kind, b"s." | b"b." | b"r.").then_some(())?;
    (!is_placeholder(body)).then_some(())?;
    Some(Credential::new(
        span,
        Class::Unknown,
        Life::Unknown,
        Confidence::Medium,
    ))
}

/// Fourteen characters, the marker, 60 to 70.
fn terraform(sighting: &Sighting<'_>, _: &mut Scratch<'_>) -> Option<Credential> {
    let Sighting { text, at, .. } = *sighting;
    let start = at.checked_sub(14)?;
    begins(text, start, ALNUM).then_some(())?;
    let mut cursor = Cursor::new(text, start);
    cursor.run(ALNUM, 14..=14)?;
    cursor.literal(b".atlasv1.")?;
    let secret = cursor.run(BASE64_URL, 60..=70)?;
    cursor.ends(BASE64_URL)?;
    (!is_placeholder(secret)).then_some(())?;
    Some(Credential::new(
        start..cursor.at(),
        Class::Static,
        Life::Long,
        Confidence::High,
    ))
}
