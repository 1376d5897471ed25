//! Data platforms.

use super::shape::{Alphabet, BASE64_URL, Cursor, DIGITS, HEX, begins, whole};
use super::{About, Credential, Format, Mark, Sighting};
use crate::credential::{Class, Confidence, Life, Rule};
use crate::placeholder::is_placeholder;
use crate::scratch::Scratch;

pub(super) const FORMATS: &[Format] = &[
    Format {
        rule: Rule {
            id: "databricks-token",
            title: "Databricks access token",
        },
        marks: &[Mark::Anywhere(b"dapi")],
        about: About {
            check: "shape",
            life: "until revoked",
            classes: &[Class::Static],
        },
        read: databricks,
    },
    Format {
        rule: Rule {
            id: "snowflake-pat",
            title: "Snowflake programmatic access token",
        },
        marks: &[Mark::Named(&[
            "SNOWFLAKE_PAT",
            "SNOWFLAKE_TOKEN",
            "SNOWFLAKE_PASSWORD",
        ])],
        about: About {
            check: "name, shape",
            life: "until revoked, a year at most",
            classes: &[Class::Static],
        },
        read: snowflake,
    },
];

/// 32 digits, in some `-` and one more.
fn databricks(sighting: &Sighting<'_>, _: &mut Scratch<'_>) -> Option<Credential> {
    let Sighting { text, at, .. } = *sighting;
    begins(text, at, BASE64_URL).then_some(())?;
    let mut cursor = Cursor::new(text, at);
    cursor.literal(b"dapi")?;
    let body = cursor.run(HEX, 32..=32)?;
    let mut cloud = cursor;
    if cloud.literal(b"-").is_some() && cloud.run(DIGITS, 1..=1).is_some() {
        cursor = cloud;
    }
    cursor.ends(BASE64_URL)?;
    (!is_placeholder(body)).then_some(())?;
    Some(Credential::new(
        at..cursor.at(),
        Class::Static,
        Life::Long,
        Confidence::High,
    ))
}

/// Nothing tells it from other long values but its name; a key pair is PEM and read as such.
fn snowflake(sighting: &Sighting<'_>, _: &mut Scratch<'_>) -> Option<Credential> {
    let span = whole(sighting.text, BASE64_URL.and(Alphabet::of(b".")), 100..=500)?;
    (!is_placeholder(sighting.text.get(span.clone())?)).then_some(())?;
    Some(Credential::new(
        span,
        Class::Static,
        Life::Long,
        Confidence::Medium,
    ))
}
