//! The engine as its users have it: with all rules, and memory that must come back zeroed.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::tests_outside_test_module,
    clippy::unwrap_used,
    reason = "all of it is tests"
)]

mod cases;
mod properties;

use cordon_secrets::cases::{Case, cases};
use cordon_secrets::{
    Block, Bounds, Detection, Engine, FingerprintKey, KnownSet, Memory, Rules, Scanned, Scratch,
    Source,
};

fn key() -> FingerprintKey {
    FingerprintKey::new([1; 32])
}

/// Bytes of scratch.
const ROOM: usize = 1 << 17;

struct World {
    engine: Engine,
    memory: Memory,
    room: Vec<u8>,
}

impl World {
    fn new() -> Self {
        Self::knowing(&KnownSet::new(key().id()))
    }

    fn knowing(known: &KnownSet) -> Self {
        Self {
            engine: Engine::new(&key(), known, &Rules::all()).unwrap(),
            memory: Memory::new(
                &[2; 32],
                Bounds {
                    entries: 1024,
                    ..Bounds::default()
                },
            ),
            room: vec![0; ROOM],
        }
    }

    fn scan(&mut self, source: Source, bytes: &[u8]) -> (Vec<Detection>, Scanned) {
        let mut found = Vec::new();
        let block = Block {
            source,
            bytes,
            truncated: false,
        };
        let mut scratch = Scratch::new(&mut self.room);
        let scanned = self
            .engine
            .scan(&mut self.memory, &mut scratch, &block, &mut |it| {
                found.push(it);
            });
        assert!(
            self.room.iter().all(|byte| *byte == 0),
            "the scratch comes back zeroed"
        );
        (found, scanned)
    }

    /// Without anything that is remembered.
    fn fresh(&mut self, source: Source, bytes: &[u8]) -> (Vec<Detection>, Scanned) {
        self.memory.forget();
        self.scan(source, bytes)
    }
}

/// The cases in which a rule finds something.
fn positive() -> impl Iterator<Item = (Case, &'static str)> {
    cases().into_iter().filter_map(|case| {
        let rule = case.expected?;
        Some((case, rule))
    })
}

/// A case as an environment variable.
fn entry(case: &Case, text: &str) -> Vec<u8> {
    format!("{}={text}\0", case.variable.unwrap_or("SOMETHING")).into_bytes()
}
