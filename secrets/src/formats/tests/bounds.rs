//! What no text can do: make a format panic, look outside, or take long.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

/// A text of nothing but one mark, and of marks with a little between them: each format reads as many
/// times as there are marks, and must not go through the text each time.
#[test]
fn the_cost_of_repeated_marks_grows_with_the_text_only() {
    const SIZE: usize = 1 << 15;
    let mut slowest = (Duration::ZERO, "");
    let mut memory = vec![0; 1 << 17];
    for format in formats() {
        for mark in format.marks {
            let (Mark::Anywhere(bytes) | Mark::AnywhereIf(bytes, _) | Mark::AtRun(bytes)) = mark
            else {
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
    #![proptest_config(ProptestConfig::with_cases(256))]

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
        bytes.truncate(cut.index(bytes.len().saturating_add(1)));
        bytes.extend(other.get(cases).text.bytes());
        if !bytes.is_empty() {
            let at = change.index(bytes.len());
            bytes[at] = byte;
        }
        check(&bytes, change.index(bytes.len().saturating_add(1)))?;
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
