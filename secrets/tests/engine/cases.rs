//! The labelled cases, through the whole engine.

use cordon_secrets::cases::{Case, cases};
use cordon_secrets::{Class, Detection, Layer, Source, sample};

use crate::{World, entry, key, positive};

/// Cases in which no format is to find anything, and in which a name and a random value are enough to say so.
const UNKNOWN: [&str; 4] = [
    "a commit",
    "base64 of one word",
    "no server: a name says more",
    "cut off",
];

/// Whether a detection is what the case is about.
fn is_expected(case: &Case, found: &Detection) -> bool {
    let id = found.rule.id;
    // The token inside a header is found by itself too: it is known from elsewhere by its fingerprint.
    let inside = case.expected == Some("basic-auth-header") && found.layers.depth() == 1;
    let unknown = case.expected.is_none() && UNKNOWN.contains(&case.why) && id == "generic-secret";
    Some(id) == case.expected || inside || unknown
}

#[test]
fn every_case_is_found_as_a_variable_and_nothing_else_is() {
    let mut world = World::new();
    let mut wrong = Vec::new();
    for case in cases() {
        let (found, _) = world.fresh(Source::Environ, &entry(&case, &case.text));
        let is_there = case
            .expected
            .is_none_or(|rule| found.iter().any(|it| it.rule.id == rule));
        if !is_there || !found.iter().all(|found| is_expected(&case, found)) {
            wrong.push(format!("{case:?}: {found:?}"));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

fn encode(layer: Layer, text: &[u8]) -> Vec<u8> {
    match layer {
        Layer::Base64 => sample::encode(text),
        Layer::Hex => text
            .iter()
            .flat_map(|byte| format!("{byte:02x}").into_bytes())
            .collect(),
        Layer::Percent => text
            .iter()
            .flat_map(|byte| format!("%{byte:02X}").into_bytes())
            .collect(),
        Layer::Escapes => text
            .iter()
            .flat_map(|byte| format!("\\u{byte:04x}").into_bytes())
            .collect(),
    }
}

const LAYERS: [Layer; 4] = [Layer::Base64, Layer::Hex, Layer::Percent, Layer::Escapes];

/// Shorter texts are not decoded from base64 and hexadecimal digits.
fn is_long_enough(text: &[u8], layer: Layer) -> bool {
    match layer {
        Layer::Base64 => text.len() >= 18,
        Layer::Hex => text.len() >= 12,
        Layer::Percent | Layer::Escapes => true,
    }
}

#[test]
fn every_case_is_found_under_every_encoding() {
    let mut world = World::new();
    let (mut tried, mut missed) = (0, Vec::new());
    for (case, rule) in positive() {
        for layer in LAYERS
            .into_iter()
            .filter(|layer| is_long_enough(case.text.as_bytes(), *layer))
        {
            tried += 1;
            let encoded = String::from_utf8(encode(layer, case.text.as_bytes())).unwrap();
            let (found, _) = world.fresh(Source::Environ, &entry(&case, &encoded));
            let is_it = |it: &Detection| it.rule.id == rule && it.layers.iter().eq([layer]);
            if !found.iter().any(is_it) {
                missed.push(format!("{} {case:?} {found:?}", layer.name()));
            }
        }
    }
    assert!(tried > 1000, "{tried}");
    assert!(
        missed.is_empty(),
        "{} of {tried} missed:\n{}",
        missed.len(),
        missed.join("\n")
    );
}

#[test]
fn every_case_is_found_under_any_two_encodings() {
    let mut world = World::new();
    let (mut tried, mut missed) = (0, Vec::new());
    for (case, rule) in positive() {
        for (inner, outer) in LAYERS
            .into_iter()
            .flat_map(|one| LAYERS.map(|other| (one, other)))
        {
            if !is_long_enough(case.text.as_bytes(), inner) {
                continue;
            }
            tried += 1;
            let encoded = encode(outer, &encode(inner, case.text.as_bytes()));
            let encoded = String::from_utf8(encoded).unwrap();
            let (found, _) = world.fresh(Source::Environ, &entry(&case, &encoded));
            let is_it = |it: &Detection| it.rule.id == rule && it.layers.iter().eq([outer, inner]);
            if !found.iter().any(is_it) {
                missed.push(format!(
                    "{} > {} {case:?} {found:?}",
                    outer.name(),
                    inner.name()
                ));
            }
        }
    }
    assert!(tried > 4000, "{tried}");
    assert!(
        missed.is_empty(),
        "{} of {tried} missed:\n{}",
        missed.len(),
        missed.join("\n")
    );
}

/// The part of a text that a detection is about: the one with its fingerprint.
fn secret<'t>(text: &'t [u8], found: &Detection) -> Option<&'t [u8]> {
    let key = key();
    let byte = |at: usize, before: usize| at.checked_sub(before).and_then(|at| text.get(at));
    // Beside anything but letters and digits, and after an escape.
    let is_edge = |at: &usize| {
        let is_inside = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        !is_inside(byte(*at, 1))
            || !is_inside(byte(*at, 0))
            || byte(*at, 3) == Some(&b'%')
            || byte(*at, 2) == Some(&b'\\')
    };
    let edges: Vec<usize> = (0..=text.len()).filter(is_edge).collect();
    let spans = edges
        .iter()
        .flat_map(|from| edges.iter().map(move |to| (*from, *to)));
    spans
        .filter_map(|(from, to)| text.get(from..to))
        .find(|part| !part.is_empty() && key.fingerprint(part) == found.fingerprint)
}

#[test]
fn no_detection_holds_six_bytes_of_its_secret() {
    let mut world = World::new();
    let (mut checked, mut unknown) = (0, Vec::new());
    for (case, _rule) in positive().filter(|(case, _)| case.text.len() < 400) {
        let (found, _) = world.fresh(Source::Environ, &entry(&case, &case.text));
        // What points to a credential is shown as it is, and what was decoded stands elsewhere.
        let secrets = found
            .iter()
            .filter(|it| it.layers.depth() == 0 && it.class != Class::Pointer);
        for it in secrets {
            let Some(secret) = secret(case.text.as_bytes(), it) else {
                unknown.push(case.clone());
                continue;
            };
            checked += 1;
            let shown = format!(
                "{it:?} {} {} {}",
                it.place.variable, it.place.field, it.layers
            );
            // The rule's own words are no part of the detection's.
            let shown = shown.replace(&format!("{:?}", it.rule), "");
            for part in secret.windows(6) {
                let is_shown = shown.as_bytes().windows(6).any(|window| window == part);
                assert!(!is_shown, "{case:?} {shown}");
            }
        }
    }
    assert!(checked > 200, "{checked}");
    assert!(
        unknown.len() * 20 < checked,
        "{} of {checked}: {unknown:?}",
        unknown.len()
    );
}
