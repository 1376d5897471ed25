//! The table of rules in docs/secret-formats.md.

use std::fmt::Write as _;

use super::*;

/// The table of rules as docs/secret-formats.md has it.
fn table() -> String {
    let mut page = String::from(HEAD);
    for format in formats() {
        let Format {
            rule, marks, about, ..
        } = format;
        let classes: Vec<&str> = about.classes.iter().map(|class| word(*class)).collect();
        writeln!(
            page,
            "| `{}` | {} | {} | {} | {} | {} |",
            rule.id,
            rule.title,
            marks_in_words(marks),
            about.check,
            about.life,
            classes.join(", ")
        )
        .unwrap();
    }
    page
}

/// What comes after the table is written by hand.
const HAND_WRITTEN: &str = "\n## Accuracy\n";

const HEAD: &str = "# Secret formats

What the secret sweep knows by its shape. The table is made from the code by a test of `cordon-secrets`; do not edit
it. `CORDON_BLESS=1 cargo test -p cordon-secrets table` writes it anew. What comes after it is written by hand.

A rule's name is never changed or used for something else. *Mark* is what is searched for, at the start
of the token or inside it; a name in capitals is a variable whose whole value is read. *Check* is what is
looked at besides characters and length. A wrong checksum makes a finding less sure and never drops it.
*Class* is what the credential is for a job; a policy decides by it.

| rule | what | mark | check | life | class |
| --- | --- | --- | --- | --- | --- |
";

/// More marks than this are summed up.
const MARKS_SHOWN: usize = 6;

fn marks_in_words(marks: &[Mark]) -> String {
    let mut words = Vec::new();
    for mark in marks {
        match mark {
            // The same mark behind an escaped equals sign.
            Mark::Anywhere([b'%', ..]) => {}
            Mark::Anywhere(bytes) | Mark::AnywhereIf(bytes, _) | Mark::AtRun(bytes) => {
                words.push(format!("`{}`", String::from_utf8_lossy(bytes).trim_end()));
            }
            Mark::Named(names) => words.extend(names.iter().map(|name| format!("`{name}`"))),
        }
    }
    let more = words.len().saturating_sub(MARKS_SHOWN);
    words.truncate(MARKS_SHOWN);
    let shown = words.join(" ");
    match more {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

fn word(class: Class) -> &'static str {
    match class {
        Class::JobToken => "job token",
        Class::ShortLived => "short-lived",
        Class::Pointer => "pointer",
        Class::Static => "static",
        Class::PrivateKey => "private key",
        Class::RunnerIdentity => "runner identity",
        Class::Unknown => "unknown",
    }
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "a file of the repository, written on request"
)]
fn the_table_of_rules_is_that_of_the_code() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/secret-formats.md");
    let table = table();
    let page = std::fs::read_to_string(path).unwrap_or_default();
    let written = page.find(HAND_WRITTEN).and_then(|at| page.get(at..));
    if std::env::var_os("CORDON_BLESS").is_some() {
        std::fs::write(path, format!("{table}{}", written.unwrap_or_default())).unwrap();
    }
    let page = std::fs::read_to_string(path).unwrap_or_default();
    let made = page.split(HAND_WRITTEN).next();
    assert!(
        made == Some(&table),
        "docs/secret-formats.md is out of date: CORDON_BLESS=1 cargo test -p cordon-secrets table"
    );
}
