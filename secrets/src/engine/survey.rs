//! One look over a text for everything that could lead to a credential.

use std::ops::Range;

use super::sieve::Hit;
use super::targets::Target;
use super::{Engine, assignments, runs};
use crate::decode::{base64, hex};
use crate::detection::Layer;

/// What was seen in a text: places only, no bytes.
#[derive(Default)]
pub(super) struct Survey {
    /// Marks, in order.
    pub(super) hits: Vec<Hit>,
    /// What seems to be encoded, in order.
    pub(super) encoded: Vec<Encoded>,
    /// Some of the bytes that begin escapes or documents, in order.
    pub(super) escapes: Vec<usize>,
    /// Known values, in order: where, and which.
    pub(super) known: Vec<(usize, usize)>,
    /// Long runs of digits, while they are looked at.
    runs: Vec<Range<usize>>,
}

/// A part of a text that seems to be encoded.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Encoded {
    pub(super) span: Range<usize>,
    pub(super) how: How,
}

/// How a part of a text is encoded.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum How {
    /// Text in base64 or hexadecimal digits.
    Text(Layer),
    /// Compressed, in base64.
    Compressed,
}

/// What was seen in a part of a text. Places are those of the text, until [`Seen::base`] is taken off.
#[derive(Clone, Copy)]
pub(super) struct Seen<'s> {
    pub(super) base: usize,
    pub(super) hits: &'s [Hit],
    pub(super) encoded: &'s [Encoded],
    pub(super) escapes: &'s [usize],
    pub(super) known: &'s [(usize, usize)],
}

impl Survey {
    /// Looks over a text. What was there before is forgotten.
    pub(super) fn of(&mut self, engine: &Engine, text: &[u8]) {
        let Self {
            hits,
            encoded,
            escapes,
            known,
            runs,
        } = self;
        hits.clear();
        encoded.clear();
        runs.clear();
        escapes.clear();
        known.clear();
        engine.targets.sieve.search(text, hits);
        // Words are common, and few of them are in a name that is given a value.
        hits.retain(|hit| {
            engine.targets.target(hit.needle) != Some(Target::Word)
                || assignments::may_be_assigned(text, hit.at)
        });
        runs::search(text, runs, escapes);
        // Most long runs are paths and digests.
        let mut done = 0;
        for run in runs {
            // Base64 over several lines takes the runs of them all.
            if run.start < done {
                continue;
            }
            let mut add = |span: Range<usize>, how| {
                done = done.max(span.end);
                encoded.push(Encoded { span, how });
            };
            if text.get(run.clone()).is_some_and(base64::is_compressed) {
                add(run.clone(), How::Compressed);
            }
            base64::texts(text, run, |span| add(span, How::Text(Layer::Base64)));
            hex::texts(text, run, |span| add(span, How::Text(Layer::Hex)));
        }
        if let Some(search) = &engine.known {
            search.each(text, |found| known.push((found.at, found.number)));
        }
    }

    /// All that was seen.
    pub(super) fn all(&self) -> Seen<'_> {
        Seen {
            base: 0,
            hits: &self.hits,
            encoded: &self.encoded,
            escapes: &self.escapes,
            known: &self.known,
        }
    }
}

impl<'s> Seen<'s> {
    /// Takes off what was seen before `end`, which comes first in order.
    pub(super) fn split(&mut self, start: usize, end: usize) -> Self {
        Self {
            base: start,
            hits: take(&mut self.hits, |hit| hit.at < end),
            encoded: take(&mut self.encoded, |part| part.span.start < end),
            escapes: take(&mut self.escapes, |at| *at < end),
            known: take(&mut self.known, |(at, _digest)| *at < end),
        }
    }

    /// Whether nothing was.
    pub(super) const fn is_empty(&self) -> bool {
        self.hits.is_empty()
            && self.encoded.is_empty()
            && self.escapes.is_empty()
            && self.known.is_empty()
    }

    /// Marks, with their places in the part.
    pub(super) fn hits(&self) -> impl Iterator<Item = Hit> + use<'s> {
        let base = self.base;
        self.hits.iter().map(move |hit| Hit {
            at: hit.at.saturating_sub(base),
            needle: hit.needle,
        })
    }

    /// What seems to be encoded, with its place in the part.
    pub(super) fn encoded(&self) -> impl Iterator<Item = Encoded> + use<'s> {
        let base = self.base;
        self.encoded
            .iter()
            .map(move |Encoded { span, how }| Encoded {
                span: span.start.saturating_sub(base)..span.end.saturating_sub(base),
                how: *how,
            })
    }

    /// Known values, with their places in the part.
    pub(super) fn known(&self) -> impl Iterator<Item = (usize, usize)> + use<'s> {
        let base = self.base;
        self.known
            .iter()
            .map(move |(at, digest)| (at.saturating_sub(base), *digest))
    }
}

/// Takes the first elements off, as long as they are such.
fn take<'s, T>(list: &mut &'s [T], is_such: impl Fn(&T) -> bool) -> &'s [T] {
    let count = list.iter().take_while(|element| is_such(element)).count();
    let (taken, rest) = list.split_at_checked(count).unwrap_or((list, &[]));
    *list = rest;
    taken
}
