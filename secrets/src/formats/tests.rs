//! All formats together: the labelled cases, any bytes, the cost, the table of rules.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::cases::Case;

/// Made once: it is not little.
fn cases() -> &'static [Case] {
    static CASES: LazyLock<Vec<Case>> = LazyLock::new(crate::cases::cases);
    &CASES
}

/// What was found, and the place of its format: the earlier knows better.
struct Found {
    rank: usize,
    rule: Rule,
    about: About,
    credential: Credential,
}

/// Calls every format at every mark, without any of the engine's shortcuts.
fn all(name: Option<&str>, text: &[u8]) -> Vec<Found> {
    let mut memory = vec![0; 1 << 17];
    let mut found = Vec::new();
    for (rank, format) in FORMATS.iter().copied().flatten().enumerate() {
        for at in places(format.marks, name, text) {
            let sighting = Sighting {
                text,
                at,
                name: name.map(str::as_bytes),
            };
            let mut scratch = Scratch::new(&mut memory);
            if let Some(credential) = (format.read)(&sighting, &mut scratch) {
                let (rule, about) = (format.rule, format.about);
                found.push(Found {
                    rank,
                    rule,
                    about,
                    credential,
                });
            }
        }
    }
    found
}

fn places(marks: &[Mark], name: Option<&str>, text: &[u8]) -> BTreeSet<usize> {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    let mut places = BTreeSet::new();
    for mark in marks {
        match mark {
            Mark::Anywhere(bytes) => places.extend(memchr::memmem::find_iter(text, bytes)),
            Mark::AtRun(bytes) => places.extend((0..text.len()).filter(|at| {
                let begins = *at == 0 || !token(text[at - 1]);
                begins && text[*at..].starts_with(bytes)
            })),
            Mark::Named(names) => {
                if name.is_some_and(|name| names.contains(&name)) {
                    places.insert(0);
                }
            }
        }
    }
    places
}

/// Without what overlaps something that an earlier format found.
fn best(mut found: Vec<Found>) -> Vec<Found> {
    found.sort_by_key(|one| (one.rank, one.credential.span.start));
    let mut kept: Vec<Found> = Vec::new();
    for one in found {
        let span = &one.credential.span;
        let overlaps = kept.iter().any(|other| {
            let other = &other.credential.span;
            span.start < other.end && other.start < span.end
        });
        if !overlaps {
            kept.push(one);
        }
    }
    kept
}

fn find(case: &Case) -> Vec<Found> {
    best(all(case.variable, case.text.as_bytes()))
}

fn formats() -> impl Iterator<Item = Format> {
    FORMATS.iter().copied().flatten().copied()
}

#[test]
fn every_case_finds_its_rule_and_nothing_else() {
    let mut wrong = Vec::new();
    for case in cases() {
        let found = find(case);
        let rules: Vec<&str> = found.iter().map(|one| one.rule.id).collect();
        let expected: Vec<&str> = case.expected.into_iter().collect();
        if rules != expected {
            wrong.push(format!("{rules:?} for {case:?}"));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn every_rule_has_a_case_that_finds_it() {
    let found: BTreeSet<&str> = cases().iter().filter_map(|case| case.expected).collect();
    let rules: BTreeSet<&str> = formats().map(|format| format.rule.id).collect();
    assert_eq!(found, rules);
}

#[test]
fn every_checksum_of_a_case_is_right_but_where_the_length_is_another() {
    let mut valid = BTreeSet::new();
    for case in cases() {
        for one in find(case) {
            assert_ne!(one.credential.checksum, Checksum::Invalid, "{case:?}");
            if one.credential.checksum == Checksum::Valid {
                assert_eq!(one.credential.confidence, Confidence::High, "{case:?}");
                valid.insert(one.rule.id);
            }
        }
    }
    let checked: BTreeSet<&str> = formats()
        .filter(|format| {
            ["CRC-32", "Marvin32", "Bech32"]
                .iter()
                .any(|sum| format.about.check.contains(sum))
        })
        .map(|format| format.rule.id)
        .collect();
    // Plain GitLab tokens of these kinds have no checksum, and no routable form in the cases.
    let plain: BTreeSet<&str> = checked.difference(&valid).copied().collect();
    assert!(
        plain.iter().all(|rule| rule.starts_with("gitlab-")),
        "{plain:?}"
    );
}

/// The byte of the token that is changed: a random one of the body, not of prefix, signature or sum.
#[test]
fn a_wrong_checksum_lowers_confidence_and_drops_nothing() {
    let mut changed = BTreeSet::new();
    for case in cases() {
        let found = find(case);
        let [one] = &found[..] else { continue };
        if one.credential.checksum != Checksum::Valid {
            continue;
        }
        let span = one.credential.span.clone();
        for at in [span.start + 13, span.start + 17, span.start + 22] {
            let mut text = case.text.clone().into_bytes();
            text[at] = if text[at] == b'Q' { b'R' } else { b'Q' };
            let again = best(all(case.variable, &text));
            let Some(other) = again.iter().find(|other| other.rule == one.rule) else {
                continue;
            };
            assert_eq!(other.credential.checksum, Checksum::Invalid, "{case:?}");
            assert_eq!(other.credential.confidence, Confidence::Medium, "{case:?}");
            changed.insert(one.rule.id);
        }
    }
    assert!(changed.len() >= 20, "{changed:?}");
}

#[test]
fn classes_and_facts_are_those_the_table_promises() {
    let mut seen: BTreeMap<&str, BTreeSet<Class>> = BTreeMap::new();
    for case in cases() {
        for one in find(case) {
            let class = one.credential.class;
            assert!(one.about.classes.contains(&class), "{class:?} of {case:?}");
            seen.entry(one.rule.id).or_default().insert(class);
            for fact in one.credential.facts {
                let fits = (1..=128).contains(&fact.text.len());
                assert!(
                    fits && !fact.text.contains(|one: char| !(' '..='~').contains(&one)),
                    "{fact:?}"
                );
            }
        }
    }
    for format in formats() {
        if let ([class], Some(seen)) = (format.about.classes, seen.get(format.rule.id)) {
            assert_eq!(seen.iter().next(), Some(class), "{}", format.rule.id);
        }
    }
}

fn one(name: Option<&str>, text: &str) -> (&'static str, Credential) {
    let mut found = best(all(name, text.as_bytes()));
    assert_eq!(found.len(), 1, "in {text}");
    let found = found.remove(0);
    (found.rule.id, found.credential)
}

fn text_of(rule: &str, why: &str) -> String {
    let mut cases = cases().iter();
    let case = cases.find(|case| case.expected == Some(rule) && case.why.contains(why));
    case.unwrap_or_else(|| panic!("a case of {rule}: {why}"))
        .text
        .clone()
}

fn facts(credential: &Credential) -> Vec<(&'static str, &str)> {
    let facts = credential.facts.iter();
    facts.map(|fact| (fact.what, fact.text.as_str())).collect()
}

#[test]
fn a_stateless_token_is_one_with_its_class_life_and_app() {
    let rule = "github-app-installation-stateless";
    let token = text_of(rule, "two dots");
    let (id, found) = one(Some("GITHUB_TOKEN"), &token);
    assert_eq!((id, found.span.clone()), (rule, 0..token.len()));
    assert_eq!(found.class, Class::JobToken);
    let life = Life::Until {
        issued: Some(1_790_000_000),
        expires: 1_790_003_600,
    };
    assert_eq!(found.life, life);
    assert_eq!(
        facts(&found),
        [("issuer", "github"), ("audience", "api"), ("app", "15368")]
    );
    let (_, elsewhere) = one(Some("APP_TOKEN"), &token);
    assert_eq!(elsewhere.class, Class::ShortLived);
}

#[test]
fn an_identity_token_is_short_lived_and_names_its_issuer() {
    let token = text_of("jwt", "identity token of a job");
    let (_, found) = one(None, &token);
    assert_eq!(found.class, Class::ShortLived);
    let issuer = "https://token.actions.githubusercontent.com";
    assert_eq!(facts(&found), [("issuer", issuer), ("audience", "sts")]);
    let (_, runtime) = one(Some("ACTIONS_RUNTIME_TOKEN"), &token);
    assert_eq!(runtime.class, Class::JobToken);
    let (_, slashes) = one(None, &text_of("jwt", "escaped slashes"));
    assert_eq!(
        facts(&slashes),
        [("issuer", "https://gitlab.com"), ("audience", "a")]
    );
    let (_, without) = one(None, &text_of("jwt", "without expiry"));
    assert_eq!(
        (without.class, without.life),
        (Class::Unknown, Life::Unknown)
    );
}

#[test]
fn an_encrypted_key_is_less_sure_than_an_open_one() {
    for (why, confidence) in [
        ("of OpenSSH", Confidence::High),
        ("with its lines", Confidence::High),
        ("without any line break", Confidence::High),
        ("with spaces for line breaks", Confidence::High),
        ("with line breaks in letters", Confidence::High),
        ("encrypted", Confidence::Medium),
        ("encrypted, with headers", Confidence::Medium),
        ("of OpenSSH, encrypted", Confidence::Medium),
    ] {
        let mut seen = 0;
        for case in cases() {
            if case.expected == Some("private-key") && case.why == why {
                let (_, found) = one(None, &case.text);
                assert_eq!(found.confidence, confidence, "{why}: {}", case.text);
                assert_eq!(found.span, 0..case.text.len(), "{why}");
                seen += 1;
            }
        }
        assert!(seen > 0, "{why}");
    }
}

#[test]
fn what_tokens_carry_is_told() {
    let (_, key) = one(None, &text_of("aws-access-key-id", "account is inside"));
    assert_eq!(facts(&key), [("account", "123456789012")]);
    let (_, key) = one(None, &text_of("aws-bedrock-key", "user that AWS made"));
    assert_eq!(facts(&key), [("account", "123456789012")]);
    let (_, key) = one(None, &text_of("gitlab-pat", "routable"));
    let ids = [("organization", "1"), ("project", "141"), ("user", "1701")];
    assert_eq!(facts(&key), ids);
    let (_, key) = one(None, &text_of("gcp-service-account", "and not any key"));
    let owner = [
        ("account", "ci@build-7.iam.example.com"),
        ("project", "build-7"),
    ];
    assert_eq!(facts(&key), owner);
    let (_, key) = one(None, &text_of("sentry-org-token", "owner"));
    assert_eq!(facts(&key), [("organization", "team")]);
    let (_, key) = one(None, &text_of("discord-bot-token", "number is inside"));
    assert!(facts(&key)[0].1.starts_with('1'), "{:?}", facts(&key));
    let expires = |rule, why| match one(None, &text_of(rule, why)).1.life {
        Life::Until { expires, .. } => expires,
        other => panic!("{other:?}"),
    };
    assert_eq!(expires("jfrog-reference-token", "expiry"), 1_790_003_600);
    assert_eq!(
        expires("aws-bedrock-short-term-key", "signed"),
        1_790_035_200
    );
    assert_eq!(expires("azure-sas", "expiry"), 1_798_761_599);
}

#[test]
fn a_secret_key_beside_its_id_is_found_and_has_its_class() {
    let id = text_of("aws-access-key-id", "account is inside");
    let key = text_of("aws-secret-key", "where it is to be");
    for text in [
        format!("{id}:{key}"),
        format!("{key} {id}"),
        format!("id={id}\nkey={key}"),
    ] {
        let found = best(all(None, text.as_bytes()));
        let rules: BTreeSet<&str> = found.iter().map(|one| one.rule.id).collect();
        assert_eq!(
            rules,
            BTreeSet::from(["aws-access-key-id", "aws-secret-key"]),
            "{text}"
        );
        assert!(
            found
                .iter()
                .all(|one| one.credential.class == Class::Static)
        );
    }
}

#[test]
fn the_user_of_a_url_says_whose_token_it_is() {
    let (_, job) = one(
        None,
        "https://gitlab-ci-token:aB3dE5fG7hJ9kL1m@git.example.com/a.git",
    );
    assert_eq!((job.class, job.life), (Class::JobToken, Life::Short));
    assert_eq!(
        facts(&job),
        [("host", "git.example.com"), ("user", "gitlab-ci-token")]
    );
    let (_, own) = one(None, "postgres://alice:aB3dE5fG7hJ9kL1m@db.example.com");
    assert_eq!(
        facts(&own),
        [("host", "db.example.com")],
        "a person's name is not told"
    );
    let (_, local) = one(None, "postgres://ci:aB3dE5fG7hJ9kL1m@localhost:5432");
    assert_eq!(local.confidence, Confidence::Low);
}

#[test]
fn two_tokens_in_one_text_are_both_found() {
    let all_cases = cases();
    let alone: Vec<&Case> = all_cases
        .iter()
        .filter(|case| case.expected.is_some() && case.why == "alone" && case.variable.is_none())
        .collect();
    assert!(alone.len() > 90, "{}", alone.len());
    for pair in alone.windows(2) {
        for between in [" ", "\n", ",", ";x=", "\\n", "%26a%3D"] {
            let short = ["hf_", "r8_", "SG.", "SK", "A3-"];
            if between == "\\n" && short.iter().any(|one| pair[1].text.starts_with(one)) {
                // The `n` makes it another word, until the engine has decoded the escape.
                continue;
            }
            let text = format!("{}{between}{}", pair[0].text, pair[1].text);
            let found = best(all(None, text.as_bytes()));
            let rules: BTreeSet<&str> = found.iter().map(|one| one.rule.id).collect();
            let expected: BTreeSet<&str> = pair.iter().filter_map(|case| case.expected).collect();
            assert_eq!(rules, expected, "{text}");
        }
    }
}

#[test]
fn ids_are_unique_and_marks_are_what_they_may_be() {
    let mut ids = BTreeSet::new();
    for format in formats() {
        let id = format.rule.id;
        assert!(ids.insert(id), "{id} twice");
        assert!(
            id.bytes()
                .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-')),
            "{id}"
        );
        assert!(
            !format.marks.is_empty() && !format.about.classes.is_empty(),
            "{id}"
        );
        for mark in format.marks {
            match mark {
                Mark::Anywhere(bytes) => assert!(bytes.len() >= 4, "{id}"),
                Mark::AtRun(bytes) => assert!((1..4).contains(&bytes.len()), "{id}"),
                Mark::Named(names) => {
                    for name in *names {
                        assert_eq!(*name, name.to_uppercase(), "{id}");
                    }
                }
            }
        }
    }
}

/// A text of nothing but one mark, and of marks with a little between them: each format reads as many
/// times as there are marks, and must not go through the text each time.
#[test]
fn the_cost_of_repeated_marks_grows_with_the_text_only() {
    const SIZE: usize = 1 << 15;
    let mut slowest = (Duration::ZERO, "");
    let mut memory = vec![0; 1 << 17];
    for format in formats() {
        for mark in format.marks {
            let (Mark::Anywhere(bytes) | Mark::AtRun(bytes)) = mark else {
                continue;
            };
            for with in ["", "a", ".", "eyJhIjo.", "://a:", "\":\"", "{\"", ";a="] {
                let piece = [bytes, with.as_bytes()].concat();
                let text = piece.repeat(SIZE / piece.len());
                let start = Instant::now();
                for at in places(&[*mark], None, &text) {
                    let sighting = Sighting {
                        text: &text,
                        at,
                        name: None,
                    };
                    let mut scratch = Scratch::new(&mut memory[..0]);
                    let _found: Option<Credential> = (format.read)(&sighting, &mut scratch);
                }
                slowest = slowest.max((start.elapsed(), format.rule.id));
            }
        }
    }
    eprintln!("slowest: {slowest:?}");
    assert!(slowest.0 < Duration::from_secs(2), "{slowest:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_bytes_make_a_format_panic_or_look_outside(
        bytes in proptest::collection::vec(any::<u8>(), 0..120),
        at in 0..130_usize,
    ) {
        check(&bytes, at)?;
    }

    /// Tokens cut, joined and changed at any place, read at any place.
    #[test]
    fn no_damaged_token_makes_a_format_panic_or_look_outside(
        which in any::<prop::sample::Index>(),
        other in any::<prop::sample::Index>(),
        cut in any::<prop::sample::Index>(),
        change in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let cases = cases();
        let mut bytes = which.get(cases).text.clone().into_bytes();
        bytes.truncate(cut.index(bytes.len() + 1));
        bytes.extend(other.get(cases).text.bytes());
        if !bytes.is_empty() {
            let at = change.index(bytes.len());
            bytes[at] = byte;
        }
        check(&bytes, change.index(bytes.len() + 1))?;
        let found = all(None, &bytes);
        prop_assert!(found.iter().all(|one| one.credential.span.end <= bytes.len()));
    }
}

fn check(bytes: &[u8], at: usize) -> Result<(), TestCaseError> {
    let mut memory = [0; 1024];
    for format in formats() {
        for name in [None, Some(&b"AWS_SECRET_ACCESS_KEY"[..])] {
            let sighting = Sighting {
                text: bytes,
                at,
                name,
            };
            let mut scratch = Scratch::new(&mut memory);
            if let Some(found) = (format.read)(&sighting, &mut scratch) {
                let span = found.span;
                prop_assert!(
                    span.start < span.end && span.end <= bytes.len(),
                    "{:?}",
                    format.rule
                );
            }
        }
    }
    Ok(())
}

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

const HEAD: &str = "# Secret formats

What the secret sweep knows by its shape. Made from the code by a test of `cordon-secrets`; do not edit.
`CORDON_BLESS=1 cargo test -p cordon-secrets table` writes it anew.

A rule's name is never changed or used for something else. *Mark* is what is searched for; a name in
capitals is a variable whose whole value is read. *Check* is what is looked at besides characters and
length. A wrong checksum makes a finding less sure and never drops it. *Class* is what the credential is
for a job; a policy decides by it.

| rule | what | mark | check | life | class |
| --- | --- | --- | --- | --- | --- |
";

/// More marks than this are summed up.
const MARKS_SHOWN: usize = 6;

fn marks_in_words(marks: &[Mark]) -> String {
    let mut words = Vec::new();
    for mark in marks {
        match mark {
            Mark::Anywhere(bytes) | Mark::AtRun(bytes) => {
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
    if std::env::var_os("CORDON_BLESS").is_some() {
        std::fs::write(path, &table).unwrap();
    }
    let page = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        page == table,
        "docs/secret-formats.md is out of date: CORDON_BLESS=1 cargo test -p cordon-secrets table"
    );
}
