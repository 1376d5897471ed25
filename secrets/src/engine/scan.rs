//! The scan of one block: what is known is given again, the rest is looked over in stretches.

use std::ops::Range;
use std::sync::Arc;

use super::inspect::{Facts, Found, Inspection, Naming, Text, Unknown};
use super::scanned::{Scanned, Undecoded};
use super::survey::{Seen, Survey};
use super::units::{Unit, Units};
use super::{Engine, number};
use crate::block::{Block, Source};
use crate::cache::Answer;
use crate::detection::{Detection, Layers, Variable, Where};
use crate::identity::Identity;
use crate::memory::{Findings, Memory};
use crate::residue::{Label, wipe_stack};
use crate::scratch::Scratch;

/// Bytes of entries that are looked over at once, unless one entry is longer. What is noted on the way
/// is at most some hundred KiB then.
const STRETCH: usize = 64 * 1024;

/// The scan of one block.
pub(super) struct Scan<'s> {
    engine: &'s Engine,
    memory: &'s mut Memory,
    block: &'s Block<'s>,
    survey: Survey,
    /// Units that are not known, one right after the other.
    pending: Vec<(Unit, Identity)>,
    detections: Vec<Detection>,
    scanned: Scanned,
}

/// What a close look at a unit gave.
struct Looked {
    found: Vec<Found>,
    undecoded: Undecoded,
    excess: u64,
    variable: Label,
}

impl Scan<'_> {
    /// Scans a block; its detections are not in order yet.
    pub(super) fn of(
        engine: &Engine,
        memory: &mut Memory,
        block: &Block<'_>,
        scratch: &mut Scratch<'_>,
    ) -> (Vec<Detection>, Scanned) {
        let mut scan = Scan {
            engine,
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
        match block.source {
            Source::Environ => scan.variables(scratch),
            Source::Arguments => {
                for unit in Units::of(*block) {
                    scan.take(unit, scratch);
                }
                scan.stretch(scratch);
            }
        }
        (scan.detections, scan.scanned)
    }

    /// Scans variables. All are looked over, which takes less time than to tell which of them are known; those in which
    /// something was seen are looked at closely, unless they are known.
    fn variables(&mut self, scratch: &mut Scratch<'_>) {
        let mut survey = std::mem::take(&mut self.survey);
        let (mut from, mut index) = (0_usize, 0_u32);
        while let Some(rest) = self.block.bytes.get(from..).filter(|rest| !rest.is_empty()) {
            let text = rest.get(..stretch_end(rest)).unwrap_or(rest);
            survey.of(self.engine, text);
            self.scanned.visited = self.scanned.visited.saturating_add(number(text.len()));
            self.scanned.entries = self.scanned.entries.saturating_add(survey.entries);
            let mut seen = survey.all();
            let mut at = 0_usize;
            while let Some(place) = seen.next() {
                let entry = entry_around(text, at, place);
                at = entry.end;
                // What begins at the end itself belongs to nothing.
                let Some(here) = seen.split(entry.start, entry.end.saturating_add(1)) else {
                    break;
                };
                let unit = Unit {
                    index: index.saturating_add(survey.ended(entry.start)),
                    start: from.saturating_add(entry.start),
                    end: from.saturating_add(entry.end),
                    second: None,
                };
                let identity = self.identify(unit);
                match self.memory.entry(identity) {
                    Answer::Unknown => self.judge(unit, identity, here, scratch),
                    Answer::Empty => self.seen(unit),
                    Answer::Value(findings) => {
                        self.seen(unit);
                        self.give(unit, &findings);
                    }
                }
            }
            index = index.saturating_add(survey.ended(text.len()));
            from = from.saturating_add(text.len());
        }
        self.survey = survey;
    }

    fn identify(&self, unit: Unit) -> Identity {
        let bytes = unit.of(self.block.bytes);
        self.memory.identify_entry(self.block.source, bytes)
    }

    /// Gives what is known of a unit, or keeps it for the next stretch.
    fn take(&mut self, unit: Unit, scratch: &mut Scratch<'_>) {
        self.scanned.entries = self.scanned.entries.saturating_add(unit.entries());
        let identity = self.identify(unit);
        match self.memory.entry(identity) {
            Answer::Unknown => {
                if !self.goes_on(unit) {
                    self.stretch(scratch);
                }
                self.pending.push((unit, identity));
            }
            Answer::Empty => self.seen(unit),
            Answer::Value(findings) => {
                self.seen(unit);
                self.give(unit, &findings);
            }
        }
    }

    fn seen(&mut self, unit: Unit) {
        self.scanned.seen = self.scanned.seen.saturating_add(unit.entries());
    }

    /// Whether a unit is right after the pending ones, and does not make them too long.
    fn goes_on(&self, unit: Unit) -> bool {
        let (Some((first, _)), Some((last, _))) = (self.pending.first(), self.pending.last())
        else {
            return false;
        };
        last.end.saturating_add(1) == unit.start && unit.end.saturating_sub(first.start) <= STRETCH
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
            self.judge(*unit, *identity, here.unwrap_or(Seen::none()), scratch);
        }
        self.survey = survey;
        self.pending = pending;
        self.pending.clear();
    }

    /// Looks closely at one unit, gives what is found, and remembers it.
    fn judge(&mut self, unit: Unit, identity: Identity, seen: Seen<'_>, scratch: &mut Scratch<'_>) {
        let findings = self.look(unit, seen, scratch).map(|looked| {
            // What is built from here on is kept.
            wipe_stack();
            Arc::new(looked.findings(unit, self.block.source))
        });
        if let Some(findings) = &findings {
            self.give(unit, findings);
        }
        self.memory.keep_entry(identity, findings);
    }

    /// Looks closely at one unit. Not a part of its caller's stack frame, which is not wiped.
    #[inline(never)]
    fn look(&mut self, unit: Unit, seen: Seen<'_>, scratch: &mut Scratch<'_>) -> Option<Looked> {
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
        let is_nothing = found.is_empty() && undecoded == Undecoded::default();
        (!is_nothing).then(|| Looked {
            variable: self.variable(name, &found, scratch),
            found,
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

/// How long a stretch of whole entries is, the last NUL included.
fn stretch_end(rest: &[u8]) -> usize {
    if rest.len() <= STRETCH {
        return rest.len();
    }
    let within = rest.get(..STRETCH).unwrap_or(rest);
    memchr::memrchr(0, within)
        .or_else(|| memchr::memchr(0, rest))
        .map_or(rest.len(), |end| end.saturating_add(1))
}

/// The entry that a place is in, of those that begin at `from` or after it.
fn entry_around(text: &[u8], from: usize, place: usize) -> Range<usize> {
    let before = text.get(from..place).unwrap_or_default();
    let start = memchr::memrchr(0, before).map_or(0, |end| end.saturating_add(1));
    let after = text.get(place..).unwrap_or_default();
    let length = memchr::memchr(0, after).unwrap_or(after.len());
    from.saturating_add(start)..place.saturating_add(length)
}

impl Looked {
    /// The findings, with the places that their entries have among those of the unit.
    #[inline(never)]
    fn findings(self, unit: Unit, source: Source) -> Findings {
        let Self {
            found,
            undecoded,
            excess,
            variable,
        } = self;
        let detections = found.into_iter().map(|found| {
            let second = unit.second.is_some_and(|second| found.at >= second.get());
            let place = Where {
                source,
                entry: u32::from(second),
                variable: if found.in_name {
                    Variable::Withheld
                } else {
                    variable.get()
                },
                field: found.field.get(),
            };
            detection(found, place)
        });
        Findings {
            detections: detections.collect(),
            undecoded,
            excess,
        }
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
