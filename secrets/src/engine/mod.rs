//! The engine: blocks in, detections out.

use crate::block::Block;
use crate::credential::Rule;
use crate::detection::Detection;
use crate::fingerprint::{FingerprintKey, KeyId, Keyed};
use crate::known::KnownSet;
use crate::memory::Memory;
use crate::scratch::Scratch;

mod rules;
mod runs;
mod scanned;
mod sieve;

pub use rules::{Rules, UnknownRule};
#[cfg(test)]
pub(crate) use runs::search as runs;
pub use scanned::{Scanned, Undecoded};

/// Finds credentials. Made once, then used for all blocks; it holds nothing of what it has seen.
#[expect(missing_debug_implementations, reason = "it holds keys")]
pub struct Engine {
    fingerprints: Keyed,
    key: KeyId,
}

/// Why an engine cannot be made.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BuildError {
    /// The digests of the known values say nothing under this key.
    #[error(
        "the known values were registered under the key {known}, and the key is {key}; register them again"
    )]
    OtherKey {
        /// The key's id.
        key: KeyId,
        /// The id of the key they were registered under.
        known: KeyId,
    },
}

impl Engine {
    /// An engine with these rules, that looks for these known values too.
    ///
    /// # Errors
    /// The known values were registered under another key.
    pub fn new(key: &FingerprintKey, known: &KnownSet, rules: &Rules) -> Result<Self, BuildError> {
        let id = key.id();
        if !known.is_empty() && known.key() != id {
            return Err(BuildError::OtherKey {
                key: id,
                known: known.key(),
            });
        }
        let _rules = rules;
        Ok(Self {
            fingerprints: key.fingerprints(),
            key: id,
        })
    }

    /// The id of the key that fingerprints are made with.
    pub const fn key(&self) -> KeyId {
        self.key
    }

    /// Scans one block and gives `sink` what it found.
    ///
    /// A block or an entry that `memory` knows is not scanned again; it gives the same detections again.
    pub fn scan(
        &self,
        memory: &mut Memory,
        scratch: &mut Scratch<'_>,
        block: &Block<'_>,
        sink: &mut dyn FnMut(Detection),
    ) -> Scanned {
        let _later = (memory, scratch, sink, &self.fingerprints);
        Scanned {
            entries: block.entries().count().try_into().unwrap_or(u64::MAX),
            bytes: block.bytes.len().try_into().unwrap_or(u64::MAX),
            ..Scanned::default()
        }
    }

    /// A text that is to be printed (a path, a process' name), or why it cannot be.
    ///
    /// # Errors
    /// There is a credential in it.
    pub fn disclose<'t>(
        &self,
        scratch: &mut Scratch<'_>,
        text: &'t [u8],
    ) -> Result<&'t [u8], Withheld> {
        let _later = (scratch, &self.fingerprints);
        Ok(text)
    }

    /// Whether a text can be printed.
    pub fn is_clean(&self, scratch: &mut Scratch<'_>, text: &[u8]) -> bool {
        self.disclose(scratch, text).is_ok()
    }
}

/// A text that cannot be printed: it holds a credential. Shown as `[withheld: github-pat]`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("[withheld: {}]", rule.id)]
pub struct Withheld {
    /// The rule of the credential.
    pub rule: Rule,
}
