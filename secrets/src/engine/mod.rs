//! The engine: blocks in, detections out.
//!
//! What [`Memory`] knows as a whole is not looked at again. The rest goes through one pass (`pass`) for
//! all marks (`sieve`) and all that could be encoded, and one for known values, as long stretches of
//! memory (`survey`). Only units (`units`) in which something was seen are looked at closely
//! (`inspect`), if they are not known.

use std::sync::{Arc, OnceLock};

use blake3::Hasher;

use crate::block::Block;
use crate::credential::Rule;
use crate::detection::{Detection, Layers};
use crate::fingerprint::{FingerprintKey, KeyId, Keyed};
use crate::formats::Format;
use crate::known::{KnownSet, Search};
use crate::memory::Memory;
use crate::residue::wipe_stack;
use crate::scratch::Scratch;
use crate::{generic, known, pairs};

mod assignments;
mod claims;
mod fields;
mod inspect;
mod pass;
mod rules;
mod scan;
mod scanned;
mod sieve;
mod survey;
mod targets;
mod units;

use inspect::{Facts, Inspection, Naming, Text, Unknown};
pub use rules::{Rules, UnknownRule};
use scan::Scan;
pub use scanned::{Scanned, Undecoded};
use survey::Survey;
use targets::{Targets, Words};

/// Finds credentials. Made once, then used for all blocks; it holds nothing of what it has seen.
#[expect(missing_debug_implementations, reason = "it holds keys")]
pub struct Engine {
    fingerprints: Keyed,
    key: KeyId,
    /// What it finds, as a digest: of its rules, its known values and its key.
    id: [u8; 16],
    rules: Rules,
    targets: Arc<Targets>,
    known: Option<Search>,
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

/// A text that cannot be printed: it holds a credential. Shown as `[withheld: github-pat]`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("[withheld: {}]", rule.id)]
pub struct Withheld {
    /// The rule of the credential.
    pub rule: Rule,
}

/// What is looked for by these rules.
fn targets(rules: &Rules, formats: Vec<Format>) -> Targets {
    let words = generic::RULES.into_iter().any(|rule| rules.has(rule));
    Targets::new(formats, if words { Words::Told } else { Words::Ignored })
}

impl Engine {
    /// An engine with these rules, that looks for these known values too.
    ///
    /// # Errors
    /// The known values were registered under another key.
    pub fn new(key: &FingerprintKey, known: &KnownSet, rules: &Rules) -> Result<Self, BuildError> {
        // They depend on the rules alone, and a host has an engine for each job.
        static ALL: OnceLock<Arc<Targets>> = OnceLock::new();
        let id = key.id();
        if !known.is_empty() && known.key() != id {
            return Err(BuildError::OtherKey {
                key: id,
                known: known.key(),
            });
        }
        let make = || Arc::new(targets(rules, rules.formats()));
        let targets = if *rules == Rules::all() {
            Arc::clone(ALL.get_or_init(make))
        } else {
            make()
        };
        Ok(Self::with_targets(key, known, rules, targets))
    }

    #[cfg(test)]
    fn with_formats(
        key: &FingerprintKey,
        known: &KnownSet,
        rules: &Rules,
        formats: Vec<Format>,
    ) -> Self {
        Self::with_targets(key, known, rules, Arc::new(targets(rules, formats)))
    }

    fn with_targets(
        key: &FingerprintKey,
        known: &KnownSet,
        rules: &Rules,
        targets: Arc<Targets>,
    ) -> Self {
        let known = if rules.has(known::RULE) {
            known.digests()
        } else {
            &[]
        };
        let key_id = key.id();
        let mut digest = Hasher::new();
        for part in [
            key_id.to_string(),
            format!("{rules:?}"),
            format!("{known:?}"),
        ] {
            digest.update(blake3::hash(part.as_bytes()).as_bytes());
        }
        let mut id = [0; 16];
        digest.finalize_xof().fill(&mut id);
        Self {
            fingerprints: key.fingerprints(),
            key: key_id,
            id,
            rules: rules.clone(),
            targets,
            known: Search::new(key, known),
        }
    }

    /// The id of the key that fingerprints are made with.
    pub const fn key(&self) -> KeyId {
        self.key
    }

    /// The rules it uses.
    pub const fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Scans one block and gives `sink` what it found, in the order of the entries.
    ///
    /// A block or an entry that `memory` knows is not scanned again; it gives the same detections again.
    pub fn scan(
        &self,
        memory: &mut Memory,
        scratch: &mut Scratch<'_>,
        block: &Block<'_>,
        sink: &mut dyn FnMut(Detection),
    ) -> Scanned {
        memory.serve(self.id);
        let identity = memory.identify_block(block);
        if let Some(kept) = memory.block(identity) {
            let (scanned, detections) = kept.as_ref();
            detections.iter().cloned().for_each(sink);
            return Scanned {
                seen: scanned.entries,
                visited: 0,
                ..*scanned
            };
        }
        let (mut detections, scanned) = Scan::of(self, memory, block, scratch);
        if !detections.is_empty() {
            // What is built from here on is kept.
            wipe_stack();
        }
        detections.sort_by_key(|detection| detection.place.entry);
        pairs::join(&mut detections);
        let detections: Arc<[Detection]> = Arc::from(detections);
        memory.keep_block(identity, scanned, &detections);
        detections.iter().cloned().for_each(sink);
        scanned
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
        self.credential_in(text, scratch)
            .map_or(Ok(text), |rule| Err(Withheld { rule }))
    }

    /// Whether a text can be printed.
    pub fn is_clean(&self, scratch: &mut Scratch<'_>, text: &[u8]) -> bool {
        self.disclose(scratch, text).is_ok()
    }

    /// The rule of the first credential in a text.
    fn credential_in(&self, text: &[u8], scratch: &mut Scratch<'_>) -> Option<Rule> {
        let mut survey = Survey::default();
        survey.of(self, text);
        if survey.all().is_empty() {
            return None;
        }
        let text = Text {
            bytes: text,
            value: 0,
            name: None,
            naming: Naming::Around,
            field: None,
            unknown: Unknown::Told,
            layers: Layers::default(),
            origin: None,
        };
        let mut inspection = Inspection::new(self, text, Facts::Ignored);
        inspection.look(text, survey.all(), scratch);
        inspection.found.first().map(|found| found.rule)
    }
}

fn number(size: usize) -> u64 {
    u64::try_from(size).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[expect(
    clippy::arithmetic_side_effects,
    clippy::string_slice,
    reason = "tests"
)]
mod tests;
