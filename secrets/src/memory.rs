//! What was scanned before: identities of blocks and entries, with what was found in them.
//!
//! Most processes inherit most of their environment. A variable that was looked at closely once is not looked at again;
//! it gives the same detections. Variables in which nothing was seen are not remembered: to look them over takes less
//! time. No byte of an entry is kept, only its keyed hash (`identity.rs`).

use std::sync::Arc;

use crate::block::{Block, Source};
use crate::cache::{Answer, Cache};
use crate::detection::Detection;
use crate::engine::{Scanned, Undecoded};
use crate::identity::{Identities, Identity};

/// Remembers what was scanned, within [`Bounds`].
#[expect(missing_debug_implementations, reason = "it holds a key")]
pub struct Memory {
    identities: Identities,
    engine: Option<[u8; 16]>,
    entries: Cache<Arc<Findings>>,
    blocks: Cache<Arc<(Scanned, Arc<[Detection]>)>>,
}

/// How much a [`Memory`] keeps. What is over that is forgotten, the least recently seen first, and scanned anew when it
/// comes again: a job that floods it makes cordon slower, and hides nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Bounds {
    /// Entries, at 22 bytes or up to twice that.
    pub entries: usize,
    /// Whole blocks; each takes some hundred bytes.
    pub blocks: usize,
    /// Detections of entries, and as many of blocks; each takes some two hundred bytes.
    pub detections: usize,
}

impl Default for Bounds {
    /// 49,152 entries are those of several hundred processes that share nothing; they take 1 MiB. All
    /// together stays under 8 MiB.
    fn default() -> Self {
        Self {
            entries: 49_152,
            blocks: 4_096,
            detections: 8_192,
        }
    }
}

/// What one entry gave, to be given again.
pub(crate) struct Findings {
    pub(crate) detections: Box<[Detection]>,
    pub(crate) undecoded: Undecoded,
    pub(crate) excess: u64,
}

impl Memory {
    /// An empty memory. The seed is 32 random bytes, new for each process: whoever knows it could make two entries
    /// look the same.
    pub fn new(seed: &[u8; 32], bounds: Bounds) -> Self {
        Self {
            identities: Identities::new(seed),
            engine: None,
            entries: Cache::new(bounds.entries, bounds.detections),
            blocks: Cache::new(
                bounds.blocks,
                bounds.blocks.saturating_add(bounds.detections),
            ),
        }
    }

    /// Forgets everything, but for the key.
    pub fn forget(&mut self) {
        self.entries.clear();
        self.blocks.clear();
    }

    /// Forgets what another engine found: it may know other values or use other rules.
    pub(crate) fn serve(&mut self, engine: [u8; 16]) {
        if self
            .engine
            .replace(engine)
            .is_some_and(|before| before != engine)
        {
            self.forget();
        }
    }

    pub(crate) fn identify_block(&self, block: &Block<'_>) -> Identity {
        self.identities.of(
            domain(block.source) | u64::from(block.truncated) << 1,
            block.bytes,
        )
    }

    pub(crate) fn identify_entry(&self, source: Source, entry: &[u8]) -> Identity {
        self.identities.of(domain(source) | 1, entry)
    }

    /// What a whole block gave.
    pub(crate) fn block(&mut self, identity: Identity) -> Option<Arc<(Scanned, Arc<[Detection]>)>> {
        match self.blocks.find(identity) {
            Answer::Value(kept) => Some(kept),
            Answer::Unknown | Answer::Empty => None,
        }
    }

    pub(crate) fn keep_block(
        &mut self,
        identity: Identity,
        scanned: Scanned,
        found: &Arc<[Detection]>,
    ) {
        let weight = found.len().saturating_add(1);
        let value = Arc::new((scanned, Arc::clone(found)));
        self.blocks.keep(identity, Some((value, weight)));
    }

    /// What an entry gave.
    pub(crate) fn entry(&mut self, identity: Identity) -> Answer<Arc<Findings>> {
        self.entries.find(identity)
    }

    pub(crate) fn keep_entry(&mut self, identity: Identity, findings: Option<Arc<Findings>>) {
        let value = findings.map(|findings| {
            let weight = findings.detections.len().saturating_add(1);
            (findings, weight)
        });
        self.entries.keep(identity, value);
    }
}

const fn domain(source: Source) -> u64 {
    match source {
        Source::Environ => 0x10,
        Source::Arguments => 0x20,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_engine_starts_anew() {
        let mut memory = Memory::new(&[0; 32], Bounds::default());
        memory.serve([1; 16]);
        let entry = memory.identify_entry(Source::Environ, b"A=1");
        memory.keep_entry(entry, None);
        memory.serve([1; 16]);
        assert!(matches!(memory.entry(entry), Answer::Empty));
        memory.serve([2; 16]);
        assert!(matches!(memory.entry(entry), Answer::Unknown));
    }

    #[test]
    fn the_same_bytes_elsewhere_are_another_thing() {
        let memory = Memory::new(&[0; 32], Bounds::default());
        let block = |source, truncated| Block {
            source,
            bytes: b"A=1",
            truncated,
        };
        let identities = [
            memory.identify_entry(Source::Environ, b"A=1"),
            memory.identify_entry(Source::Arguments, b"A=1"),
            memory.identify_block(&block(Source::Environ, false)),
            memory.identify_block(&block(Source::Environ, true)),
            memory.identify_block(&block(Source::Arguments, false)),
        ];
        for (at, one) in identities.iter().enumerate() {
            assert!(identities.iter().skip(at + 1).all(|other| one != other));
        }
    }
}
