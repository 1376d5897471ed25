//! All formats together: the labelled cases, any bytes, the cost, the table of rules.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

mod bounds;
mod meaning;
mod table;

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
            // What a glance says is left out: it must change nothing.
            Mark::Anywhere(bytes) | Mark::AnywhereIf(bytes, _) => {
                places.extend(memchr::memmem::find_iter(text, bytes));
            }
            Mark::AtRun(bytes) => places.extend((0..text.len()).filter(|at| {
                let begins = text[..*at].last().is_none_or(|before| !token(*before));
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

/// All cases with what is found in them.
fn searched() -> impl Iterator<Item = (&'static Case, &'static [Found])> {
    static FOUND: LazyLock<Vec<Vec<Found>>> = LazyLock::new(|| {
        let find = |case: &Case| best(all(case.variable, case.text.as_bytes()));
        cases().iter().map(find).collect()
    });
    cases().iter().zip(FOUND.iter().map(Vec::as_slice))
}

fn formats() -> impl Iterator<Item = Format> {
    FORMATS.iter().copied().flatten().copied()
}

#[test]
fn every_case_finds_its_rule_and_nothing_else() {
    let mut wrong = Vec::new();
    for (case, found) in searched() {
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
    for (case, found) in searched() {
        for one in found {
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
    for (case, found) in searched() {
        let [one] = found else { continue };
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
    for (case, found) in searched() {
        for one in found {
            let class = one.credential.class;
            assert!(one.about.classes.contains(&class), "{class:?} of {case:?}");
            seen.entry(one.rule.id).or_default().insert(class);
            for fact in &one.credential.facts {
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
                Mark::Anywhere(bytes) => assert!(bytes.len() >= 3, "{id}"),
                Mark::AnywhereIf(bytes, _) => {
                    assert!(bytes.len() >= 3 && format.marks.len() == 1, "{id}");
                }
                Mark::AtRun(bytes) => assert_eq!(bytes.len(), 3, "{id}"),
                Mark::Named(names) => {
                    for name in *names {
                        assert_eq!(*name, name.to_uppercase(), "{id}");
                    }
                }
            }
        }
    }
}
