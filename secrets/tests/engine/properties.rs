//! What holds for any block.

use cordon_secrets::sample::{self, Hostile, Numbers};
use cordon_secrets::{Detection, Source};
use proptest::prelude::*;

use crate::{World, entry, positive};

/// What a block may cost, in multiples of its length: an entry and four times as much that it decodes to are looked
/// over, and each of these texts has its values looked at up to four times.
const BOUND: u64 = 25;

/// What a detection says, but for where it is and what its pair says of it.
fn essence(it: &Detection) -> String {
    format!(
        "{} {} {} {} {}",
        it.rule.id, it.fingerprint, it.layers, it.place.variable, it.place.field
    )
}

/// Entries that something is found in, and others.
fn entries() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let cases: Vec<Vec<u8>> = positive()
        .map(|(case, _)| entry(&case, &case.text))
        .collect();
    let harmless = any::<u64>().prop_map(|seed| {
        let mut text = Vec::new();
        sample::variable(&mut Numbers::new(seed), &mut text);
        text
    });
    let pieces = proptest::collection::vec(
        prop_oneof![
            any::<u8>().prop_map(|byte| vec![byte.max(1)]),
            "[A-Za-z0-9_=+/%\\\\{}\":.-]{0,12}".prop_map(String::into_bytes),
            prop::sample::select(vec![
                &b"ghp_"[..],
                b"token=",
                b"password: ",
                b"-----BEGIN ",
                b"eyJ",
                b"{\"a\":\"",
                b"\\u0041",
                b"%41",
                b"://a:",
                b"AKIA"
            ])
            .prop_map(<[u8]>::to_vec),
        ],
        0..20,
    );
    let wild = pieces.prop_map(|pieces| {
        let mut text = pieces.concat();
        text.retain(|byte| *byte != 0);
        text.push(0);
        text
    });
    proptest::collection::vec(
        prop_oneof![prop::sample::select(cases), harmless, wild],
        0..24,
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_bytes_are_scanned_without_panic_at_a_bounded_cost(
        bytes in proptest::collection::vec(any::<u8>(), 0..2000), arguments: bool
    ) {
        let source = if arguments { Source::Arguments } else { Source::Environ };
        let (_, scanned) = World::new().scan(source, &bytes);
        prop_assert!(scanned.visited <= BOUND * scanned.bytes);
    }

    #[test]
    fn what_is_remembered_says_what_a_scan_says(entries in entries(), again in entries()) {
        let mut world = World::new();
        world.scan(Source::Environ, &again.concat());
        let block = entries.concat();
        let (warm, scanned) = world.scan(Source::Environ, &block);
        let (hot, repeated) = world.scan(Source::Environ, &block);
        let (cold, anew) = world.fresh(Source::Environ, &block);
        prop_assert_eq!(&warm, &cold);
        prop_assert_eq!(&hot, &cold);
        prop_assert_eq!(repeated.seen, repeated.entries);
        prop_assert_eq!(scanned.undecoded, anew.undecoded);
        prop_assert_eq!(repeated.undecoded, anew.undecoded);
        prop_assert!(anew.visited <= BOUND * anew.bytes);
    }

    #[test]
    fn what_is_found_does_not_depend_on_what_stands_beside_it(entries in entries()) {
        let mut world = World::new();
        let (together, _) = world.fresh(Source::Environ, &entries.concat());
        let alone: Vec<String> = entries
            .iter()
            .flat_map(|entry| world.fresh(Source::Environ, entry).0)
            .map(|it| essence(&it))
            .collect();
        prop_assert_eq!(together.iter().map(essence).collect::<Vec<_>>(), alone);
    }

    #[test]
    fn arguments_are_scanned_without_panic_and_alike(entries in entries()) {
        let mut world = World::new();
        let block = entries.concat();
        let (first, _) = world.scan(Source::Arguments, &block);
        let (second, _) = world.scan(Source::Arguments, &block);
        prop_assert_eq!(first, second);
    }
}

#[test]
fn hostile_entries_cost_in_proportion_to_their_length() {
    let mut world = World::new();
    for hostile in Hostile::ALL {
        for size in [1 << 12, 1 << 14, 1 << 17] {
            let (_, scanned) = world.fresh(Source::Environ, &hostile.entry(size));
            assert!(
                scanned.visited <= BOUND * scanned.bytes,
                "{hostile:?} {size} {scanned:?}"
            );
        }
    }
}
