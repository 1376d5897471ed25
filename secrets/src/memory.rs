//! What was scanned before: identities of blocks and entries, with what was found in them.
//!
//! Most processes inherit most of their environment. An entry that was scanned once is not scanned again; it gives
//! the same detections. No byte of an entry is kept, only its keyed hash (`identity.rs`).

use std::mem;
use std::sync::Arc;

use crate::block::{Block, Source};
use crate::detection::Detection;
use crate::engine::{Scanned, Undecoded};
use crate::identity::{ByIdentity, Identities, Identity};

/// Remembers what was scanned, within [`Bounds`].
#[expect(missing_debug_implementations, reason = "it holds a key")]
pub struct Memory {
    identities: Identities,
    engine: Option<[u8; 16]>,
    entries: Generations<Option<Arc<Findings>>>,
    blocks: Generations<Arc<(Scanned, Arc<[Detection]>)>>,
}

/// How much a [`Memory`] keeps. What is over that is forgotten, the least recently seen first, and scanned anew when it
/// comes again: a job that floods it makes cordon slower, and hides nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Bounds {
    /// Entries, each detection counted as one more. Each takes 48 bytes, twice at most.
    pub entries: usize,
    /// Whole blocks, counted in the same way.
    pub blocks: usize,
}

impl Default for Bounds {
    /// 32,768 entries are those of a thousand jobs that share nothing; they take 4 MiB.
    fn default() -> Self {
        Self {
            entries: 32_768,
            blocks: 8_192,
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
            entries: Generations::new(bounds.entries),
            blocks: Generations::new(bounds.blocks),
        }
    }

    /// Forgets everything, but for the key.
    pub fn forget(&mut self) {
        self.entries.clear();
        self.blocks.clear();
    }

    /// How many entries it remembers.
    pub fn entries(&self) -> usize {
        self.entries.len()
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
        self.blocks.find(identity)
    }

    pub(crate) fn keep_block(
        &mut self,
        identity: Identity,
        scanned: Scanned,
        found: &Arc<[Detection]>,
    ) {
        let weight = found.len().saturating_add(1);
        self.blocks
            .keep(identity, Arc::new((scanned, Arc::clone(found))), weight);
    }

    /// What an entry gave: nothing known, nothing found, or something.
    pub(crate) fn entry(&mut self, identity: Identity) -> Option<Option<Arc<Findings>>> {
        self.entries.find(identity)
    }

    pub(crate) fn keep_entry(&mut self, identity: Identity, findings: Option<Arc<Findings>>) {
        let found = findings
            .as_ref()
            .map_or(0, |findings| findings.detections.len());
        self.entries
            .keep(identity, findings, found.saturating_add(1));
    }
}

const fn domain(source: Source) -> u64 {
    match source {
        Source::Environ => 0x10,
        Source::Arguments => 0x20,
    }
}

/// A table in two generations. When the younger is full, the older is forgotten; what is found in the older moves.
struct Generations<V> {
    young: ByIdentity<V>,
    old: ByIdentity<V>,
    weight: usize,
    bound: usize,
}

impl<V: Clone> Generations<V> {
    fn new(bound: usize) -> Self {
        Self {
            young: ByIdentity::default(),
            old: ByIdentity::default(),
            weight: 0,
            bound: bound.max(1),
        }
    }

    fn len(&self) -> usize {
        self.young.len().saturating_add(self.old.len())
    }

    fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
        self.weight = 0;
    }

    fn find(&mut self, identity: Identity) -> Option<V> {
        if let Some(value) = self.young.get(&identity) {
            return Some(value.clone());
        }
        let value = self.old.remove(&identity)?;
        // Its true weight is in the bound of the generation that it comes from.
        self.keep(identity, value.clone(), 1);
        Some(value)
    }

    fn keep(&mut self, identity: Identity, value: V, weight: usize) {
        if self.weight >= self.bound {
            mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
            self.weight = 0;
        }
        self.weight = self.weight.saturating_add(weight);
        self.young.insert(identity, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(number: u32) -> Identity {
        Identities::new(&[1; 32]).of(0, &number.to_le_bytes())
    }

    #[test]
    fn what_is_looked_up_is_kept_and_the_rest_is_forgotten() {
        let mut table = Generations::new(4);
        table.keep(identity(0), 0, 1);
        for number in 1..100 {
            table.keep(identity(number), number, 1);
            assert_eq!(table.find(identity(0)), Some(0), "{number}");
            assert!(table.len() <= 8, "{}", table.len());
        }
        assert_eq!(table.find(identity(1)), None);
        assert_eq!(table.find(identity(99)), Some(99));
    }

    #[test]
    fn many_detections_weigh_more() {
        let mut table = Generations::new(10);
        for number in 0..100 {
            table.keep(identity(number), number, 10);
        }
        assert!(table.len() <= 2);
    }

    #[test]
    fn another_engine_starts_anew() {
        let mut memory = Memory::new(&[0; 32], Bounds::default());
        memory.serve([1; 16]);
        let entry = memory.identify_entry(Source::Environ, b"A=1");
        memory.keep_entry(entry, None);
        memory.serve([1; 16]);
        assert!(memory.entry(entry).is_some());
        memory.serve([2; 16]);
        assert!(memory.entry(entry).is_none());
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
