//! What one pass sees, beside what looking everywhere sees, with the vectors of every processor.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::block::{Block, Source};
use crate::decode::{base64, hex, hex_digit};
use crate::engine::sieve::levels;
use crate::engine::units::Units;
use crate::fingerprint::FingerprintKey;
use crate::{KnownSet, Rules};

fn engine() -> Engine {
    let key = FingerprintKey::new([1; 32]);
    let rules = Rules::all();
    // With targets of its own, which can be changed.
    Engine::with_formats(&key, &KnownSet::new(key.id()), &rules, rules.formats())
}

/// Every place is looked at, the first of those that overlap is told.
fn encoded(text: &[u8]) -> Vec<Encoded> {
    let mut encoded = Vec::new();
    let mut from = 0;
    for at in 0..text.len() {
        if let Some(span) = (at >= from).then(|| base64::part(text, at)).flatten() {
            from = span.end;
            encoded.push((span, Layer::Base64));
        }
    }
    let mut from = 0;
    for at in 0..text.len() {
        if at >= from && hex_digit(text[at]).is_some() {
            from = hex::parts(text, at, from, |span| encoded.push((span, Layer::Hex)));
        }
    }
    let mut encoded: Vec<Encoded> = encoded
        .into_iter()
        .map(|(span, layer)| Encoded { span, layer })
        .collect();
    encoded.sort_by_key(|one| one.span.start);
    encoded
}

/// The first escape of each entry.
fn escapes(text: &[u8]) -> Vec<usize> {
    let is_first = |at: &usize| {
        let before = text[..*at].iter().rev().take_while(|byte| **byte != 0);
        b"%\\{".contains(&text[*at]) && !before.clone().any(|byte| b"%\\{".contains(byte))
    };
    (0..text.len()).filter(is_first).collect()
}

fn hexadecimal(text: &str) -> Vec<u8> {
    let digit = |half: u8| b"0123456789abcdef"[usize::from(half)];
    text.bytes()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

fn texts() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        "[A-Za-z0-9+/_=-]{0,40}".prop_map(String::into_bytes),
        "[0-9a-f]{0,60}".prop_map(String::into_bytes),
        "[ -~\t\n]{0,60}"
            .prop_map(|text| base64::tests::encode(text.as_bytes(), false, true).into_bytes()),
        "[ -~\t\n]{0,40}"
            .prop_map(|text| base64::tests::encode(text.as_bytes(), true, false).into_bytes()),
        "[ -~\t\n]{0,40}".prop_map(|text| hexadecimal(&text)),
        "[%{\\\\a\0]{0,6}".prop_map(String::into_bytes),
        proptest::collection::vec(any::<u8>(), 0..20),
    ];
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn one_pass_sees_what_looking_everywhere_sees(text in texts()) {
        let mut engine = engine();
        let mut survey = Survey::default();
        for level in levels() {
            Arc::get_mut(&mut engine.targets).unwrap().sieve.set_level(level);
            survey.of(&engine, &text);
            prop_assert_eq!(&survey.encoded, &encoded(&text));
            prop_assert_eq!(&survey.escapes, &escapes(&text));
            let block = Block { source: Source::Environ, bytes: &text, truncated: false };
            prop_assert_eq!(survey.entries, u64::try_from(Units::of(block).count()).unwrap());
            for place in 0..=text.len() {
                let before = memchr::memchr_iter(0, &text[..place]).count();
                prop_assert_eq!(survey.ended(place), u32::try_from(before).unwrap());
            }
        }
    }
}
