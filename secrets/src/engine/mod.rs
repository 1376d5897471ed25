//! The engine: blocks in, detections out.
//!
//! A block is cut into units (`units`). What [`Memory`] knows is not looked at again. The rest goes
//! through one pass for all marks (`sieve`), some for what could be encoded, and one for known values,
//! as long stretches of memory (`survey`). Only units in which something was seen are looked at
//! closely (`inspect`).

use std::sync::Arc;

use blake3::Hasher;

use crate::block::{Block, Source};
use crate::cache::Answer;
use crate::credential::Rule;
use crate::detection::{Detection, Layers, Variable, Where};
use crate::fingerprint::{FingerprintKey, KeyId, Keyed};
use crate::formats::Format;
use crate::identity::Identity;
use crate::known::{KnownSet, Search};
use crate::memory::{Findings, Memory};
use crate::plain::Label;
use crate::scratch::Scratch;
use crate::{generic, known, pairs};

mod assignments;
mod claims;
mod fields;
mod inspect;
mod rules;
mod scanned;
mod sieve;
mod survey;
mod targets;
mod units;

use inspect::{Facts, Found, Inspection, Naming, Text, Unknown};
pub use rules::{Rules, UnknownRule};
pub use scanned::{Scanned, Undecoded};
use survey::{Seen, Survey};
use targets::{Targets, Words};
use units::{Unit, Units};

/// Bytes of entries that are looked over at once, unless one entry is longer. What is noted on the way
/// is at most some hundred KiB then.
const STRETCH: usize = 64 * 1024;

/// Finds credentials. Made once, then used for all blocks; it holds nothing of what it has seen.
#[expect(missing_debug_implementations, reason = "it holds keys")]
pub struct Engine {
    fingerprints: Keyed,
    key: KeyId,
    /// What it finds, as a digest: of its rules, its known values and its key.
    id: [u8; 16],
    rules: Rules,
    targets: Targets,
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
        Ok(Self::with_formats(key, known, rules, rules.formats()))
    }

    fn with_formats(
        key: &FingerprintKey,
        known: &KnownSet,
        rules: &Rules,
        formats: Vec<Format>,
    ) -> Self {
        let words = generic::RULES.into_iter().any(|rule| rules.has(rule));
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
            targets: Targets::new(formats, if words { Words::Told } else { Words::Ignored }),
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
        let mut scan = Scan {
            engine: self,
            memory,
            block,
            survey: Survey::default(),
            pending: Vec::new(),
            detections: Vec::new(),
            scanned: Scanned {
                bytes: number(block.bytes.len()),
                truncated: u64::from(block.truncated),
                ..Scanned::default()
            },
        };
        scan.all(scratch);
        let Scan {
            mut detections,
            scanned,
            ..
        } = scan;
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

/// The scan of one block.
struct Scan<'s> {
    engine: &'s Engine,
    memory: &'s mut Memory,
    block: &'s Block<'s>,
    survey: Survey,
    /// Units that are not known, one right after the other.
    pending: Vec<(Unit, Identity)>,
    detections: Vec<Detection>,
    scanned: Scanned,
}

impl Scan<'_> {
    fn all(&mut self, scratch: &mut Scratch<'_>) {
        for unit in Units::of(*self.block) {
            self.scanned.entries = self.scanned.entries.saturating_add(unit.entries());
            let identity = self
                .memory
                .identify_entry(self.block.source, unit.of(self.block.bytes));
            let known = match self.memory.entry(identity) {
                Answer::Unknown => None,
                Answer::Empty => Some(None),
                Answer::Value(findings) => Some(Some(findings)),
            };
            if let Some(findings) = known {
                self.scanned.seen = self.scanned.seen.saturating_add(unit.entries());
                if let Some(findings) = findings {
                    self.give(unit, &findings);
                }
                continue;
            }
            let start = self.pending.first().map(|(first, _)| first.start);
            let end = self.pending.last().map(|(last, _)| last.end);
            let goes_on = end.is_some_and(|end| end.saturating_add(1) == unit.start)
                && start.is_some_and(|start| unit.end.saturating_sub(start) <= STRETCH);
            if !goes_on {
                self.stretch(scratch);
            }
            self.pending.push((unit, identity));
        }
        self.stretch(scratch);
    }

    /// Looks over the pending units.
    fn stretch(&mut self, scratch: &mut Scratch<'_>) {
        let pending = std::mem::take(&mut self.pending);
        let ends = pending.first().zip(pending.last());
        let Some(((first, _), (last, _))) = ends else {
            return;
        };
        let bytes = self
            .block
            .bytes
            .get(first.start..last.end)
            .unwrap_or_default();
        self.scanned.visited = self.scanned.visited.saturating_add(number(bytes.len()));
        let mut survey = std::mem::take(&mut self.survey);
        survey.of(self.engine, bytes);
        let mut seen = survey.all();
        for (unit, identity) in &pending {
            let from = unit.start.saturating_sub(first.start);
            let to = unit.end.saturating_sub(first.start);
            let here = seen.split(from, to);
            // Options are few, and some tell by a single letter what their value is.
            let is_argument = self.block.source == Source::Arguments;
            let here = here.or_else(|| is_argument.then(Seen::none));
            let findings = here
                .and_then(|here| self.unit(*unit, here, scratch))
                .map(Arc::new);
            if let Some(findings) = &findings {
                self.give(*unit, findings);
            }
            self.memory.keep_entry(*identity, findings);
        }
        self.survey = survey;
        self.pending = pending;
        self.pending.clear();
    }

    /// Looks closely at one unit.
    fn unit(&mut self, unit: Unit, seen: Seen<'_>, scratch: &mut Scratch<'_>) -> Option<Findings> {
        let bytes = unit.of(self.block.bytes);
        let (name, value) = unit.parts(self.block.source, bytes);
        let name = name.and_then(|name| bytes.get(name));
        let text = Text {
            bytes,
            value,
            name,
            naming: match self.block.source {
                Source::Environ => Naming::Variable,
                Source::Arguments => Naming::Option,
            },
            field: None,
            unknown: Unknown::Told,
            layers: Layers::default(),
            origin: None,
        };
        let mut inspection = Inspection::new(self.engine, text, Facts::Collected);
        inspection.look(text, seen, scratch);
        let Inspection {
            found,
            undecoded,
            visited,
            excess,
            ..
        } = inspection;
        self.scanned.visited = self.scanned.visited.saturating_add(visited);
        if found.is_empty() && undecoded == Undecoded::default() {
            return None;
        }
        let variable = self.variable(name, &found, scratch);
        let variable = variable.get();
        let source = self.block.source;
        let detections = found.into_iter().map(|found| {
            let second = unit.second.is_some_and(|second| found.at >= second);
            let place = Where {
                source,
                entry: u32::from(second),
                variable: if found.in_name {
                    Variable::Withheld
                } else {
                    variable.clone()
                },
                field: found.field.get(),
            };
            detection(found, place)
        });
        Some(Findings {
            detections: detections.collect(),
            undecoded,
            excess,
        })
    }

    /// The name of a unit's variable, as it can be shown.
    fn variable(&self, name: Option<&[u8]>, found: &[Found], scratch: &mut Scratch<'_>) -> Label {
        let Some(name) = name.filter(|_name| !found.is_empty()) else {
            return Label::none();
        };
        if self.engine.credential_in(name, scratch).is_some() {
            return Label::withheld();
        }
        Label::of(name)
    }

    /// Gives the findings of a unit, which may be known from elsewhere.
    fn give(&mut self, unit: Unit, findings: &Findings) {
        let Findings {
            detections,
            undecoded,
            excess,
        } = findings;
        self.scanned.undecoded = self.scanned.undecoded.and(*undecoded);
        self.scanned.excess = self.scanned.excess.saturating_add(*excess);
        self.detections
            .extend(detections.iter().cloned().map(|mut detection| {
                detection.place.entry = detection.place.entry.saturating_add(unit.index);
                detection
            }));
    }
}

fn detection(found: Found, place: Where) -> Detection {
    let Found {
        at: _,
        rule,
        class,
        life,
        confidence,
        checksum,
        facts,
        layers,
        length,
        fingerprint,
        field: _,
        in_name: _,
    } = found;
    Detection {
        rule,
        class,
        confidence,
        checksum,
        life: life.get(),
        facts: Arc::from(facts),
        place,
        layers,
        length,
        fingerprint,
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
