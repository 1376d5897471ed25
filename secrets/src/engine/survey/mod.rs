//! One look over a text for everything that could lead to a credential.

use std::ops::Range;

use super::Engine;
use super::pass::TOGETHER;
use super::sieve::Hit;
use crate::detection::Layer;

mod look;

use look::Look;

/// What was seen in a text: places only, no bytes.
#[derive(Default)]
pub(super) struct Survey {
    /// Marks, in order.
    pub(super) hits: Vec<Hit>,
    /// What seems to be encoded, in order.
    pub(super) encoded: Vec<Encoded>,
    /// A byte that begins an escape or a document, for each entry that has one, in order.
    pub(super) escapes: Vec<usize>,
    /// Known values, in order: where, and which.
    pub(super) known: Vec<(usize, usize)>,
    /// Entries that are not empty.
    pub(super) entries: u64,
    /// Where entries end, for every 64 bytes.
    ends: Vec<Ends>,
}

/// Where entries end among 64 bytes.
#[derive(Clone, Copy)]
struct Ends {
    /// A bit for each byte, the first one lowest.
    bits: u64,
    /// How many end before them.
    before: u32,
}

/// A part of a text that seems to be encoded.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Encoded {
    pub(super) span: Range<usize>,
    pub(super) layer: Layer,
}

/// What was seen in a part of a text. Places are those of the text, until [`Seen::base`] is taken off.
#[derive(Clone, Copy)]
pub(super) struct Seen<'s> {
    pub(super) base: usize,
    /// Where the first of all that begins.
    next: usize,
    pub(super) hits: &'s [Hit],
    pub(super) encoded: &'s [Encoded],
    pub(super) escapes: &'s [usize],
    pub(super) known: &'s [(usize, usize)],
}

impl Survey {
    /// Looks over a text. What was there before is forgotten.
    pub(super) fn of(&mut self, engine: &Engine, text: &[u8]) {
        self.hits.clear();
        self.encoded.clear();
        self.escapes.clear();
        self.known.clear();
        self.ends.clear();
        self.entries = 0;
        Look::over(engine, text, self);
        // A needle's window may be anywhere in it, and what is encoded may be so in two ways.
        self.hits.sort_unstable();
        self.encoded.sort_by_key(|encoded| encoded.span.start);
        if let Some(search) = &engine.known {
            search.each(text, |found| self.known.push((found.at, found.number)));
        }
    }

    /// How many entries end before a place, empty ones included.
    pub(super) fn ended(&self, place: usize) -> u32 {
        let of = |place: usize| {
            let ends = self.ends.get(place.checked_div(TOGETHER)?)?;
            let below = (1_u64 << (place & (TOGETHER - 1))).wrapping_sub(1);
            Some(ends.before.saturating_add((ends.bits & below).count_ones()))
        };
        // Right behind the last bytes there are none to tell it.
        of(place).unwrap_or_else(|| {
            self.ends
                .last()
                .map_or(0, |ends| ends.before.saturating_add(ends.bits.count_ones()))
        })
    }

    /// All that was seen.
    pub(super) fn all(&self) -> Seen<'_> {
        let mut seen = Seen {
            base: 0,
            next: 0,
            hits: &self.hits,
            encoded: &self.encoded,
            escapes: &self.escapes,
            known: &self.known,
        };
        seen.next = seen.first();
        seen
    }
}

impl<'s> Seen<'s> {
    /// Where the first of all that was seen begins.
    pub(super) fn next(&self) -> Option<usize> {
        (!self.is_empty()).then_some(self.next)
    }

    /// Takes off what was seen before `end`, which comes first in order. Mostly that is nothing.
    #[inline]
    pub(super) fn split(&mut self, start: usize, end: usize) -> Option<Self> {
        (self.next < end).then(|| self.split_some(start, end))
    }

    fn split_some(&mut self, start: usize, end: usize) -> Self {
        let taken = Self {
            base: start,
            next: self.next,
            hits: take(&mut self.hits, |hit| hit.at < end),
            encoded: take(&mut self.encoded, |part| part.span.start < end),
            escapes: take(&mut self.escapes, |at| *at < end),
            known: take(&mut self.known, |(at, _number)| *at < end),
        };
        self.next = self.first();
        taken
    }

    /// Where the first of all that begins; beyond everything if there is nothing.
    fn first(&self) -> usize {
        let hit = self.hits.first().map(|hit| hit.at);
        let part = self.encoded.first().map(|part| part.span.start);
        let known = self.known.first().map(|(at, _number)| *at);
        let first = [hit, part, self.escapes.first().copied(), known];
        first.into_iter().flatten().min().unwrap_or(usize::MAX)
    }

    /// Nothing seen.
    pub(super) const fn none() -> Self {
        Self {
            base: 0,
            next: usize::MAX,
            hits: &[],
            encoded: &[],
            escapes: &[],
            known: &[],
        }
    }

    /// Whether nothing was.
    pub(super) const fn is_empty(&self) -> bool {
        self.next == usize::MAX
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
            .map(move |Encoded { span, layer }| Encoded {
                span: span.start.saturating_sub(base)..span.end.saturating_sub(base),
                layer: *layer,
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

#[cfg(test)]
mod tests;
