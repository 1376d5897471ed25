//! What the bits of a pass mean.

use super::{Encoded, Ends, Survey};
use crate::decode::{base64, hex};
use crate::detection::Layer;
use crate::engine::pass::Bits;
use crate::engine::targets::Target;
use crate::engine::{Engine, assignments};

/// A pass over a text.
pub(super) struct Look<'l> {
    engine: &'l Engine,
    text: &'l [u8],
    survey: &'l mut Survey,
    /// The bytes before: what is encoded is told only with those after it.
    last: Bits,
    /// Where they begin.
    at: usize,
    /// Up to where base64 and hexadecimal digits are looked at.
    base64: usize,
    hex: usize,
    /// Whether the entry that goes on has an escape.
    is_escaped: bool,
    /// Whether an entry goes on.
    is_inside: bool,
    /// Entries that have ended.
    ended: u32,
}

impl<'l> Look<'l> {
    /// Looks over a text.
    pub(super) fn over(engine: &'l Engine, text: &'l [u8], survey: &'l mut Survey) {
        let mut look = Self {
            engine,
            text,
            survey,
            last: Bits::default(),
            at: 0,
            base64: 0,
            hex: 0,
            is_escaped: false,
            is_inside: false,
            ended: 0,
        };
        engine.targets.sieve.pass(
            text,
            #[inline(always)]
            |at, bits| look.block(at, bits),
        );
        // Nothing comes after.
        look.encoded(&Bits::default());
    }

    /// Looks at what bytes from a place on are.
    #[expect(clippy::inline_always, reason = "a part of the pass")]
    #[inline(always)]
    fn block(&mut self, at: usize, bits: &Bits) {
        let mut windows = bits.windows;
        while windows != 0 {
            let place = at.wrapping_add(windows.trailing_zeros() as usize);
            if self.engine.targets.sieve.shows(self.text, place) {
                self.needles(place);
            }
            windows &= windows.wrapping_sub(1);
        }
        let filled = bits.inside & !bits.ends;
        let begun = filled & !(filled << 1 | u64::from(self.is_inside));
        self.is_inside = filled >> 63 == 1;
        let survey = &mut *self.survey;
        survey.entries = survey.entries.wrapping_add(u64::from(begun.count_ones()));
        survey.ends.push(Ends {
            bits: bits.ends,
            before: self.ended,
        });
        self.ended = self.ended.wrapping_add(bits.ends.count_ones());
        if bits.escapes != 0 || self.is_escaped {
            self.escapes(at, bits);
        }
        self.encoded(bits);
        (self.last, self.at) = (*bits, at);
    }

    /// The needles at a place.
    #[inline(never)]
    fn needles(&mut self, at: usize) {
        let Self {
            engine,
            text,
            survey,
            ..
        } = self;
        let targets = &engine.targets;
        targets.sieve.check(text, at, |hit| {
            let is_worth = match targets.target(hit.needle) {
                // Words are common, and few of them are in a name that is given a value.
                Some(Target::Word) => assignments::may_be_assigned(text, hit.at),
                Some(Target::Format(format)) => targets.is_worth(format, text, hit.at),
                _ => true,
            };
            if is_worth {
                survey.hits.push(hit);
            }
        });
    }

    /// The first escape of each entry is enough.
    fn escapes(&mut self, at: usize, bits: &Bits) {
        let mut rest = u64::MAX;
        loop {
            if self.is_escaped {
                let ends = bits.ends & rest;
                if ends == 0 {
                    return;
                }
                self.is_escaped = false;
                // What is behind the first end.
                rest &= !(ends ^ ends.wrapping_sub(1));
            }
            let escapes = bits.escapes & rest;
            if escapes == 0 {
                return;
            }
            let place = escapes.trailing_zeros();
            self.survey.escapes.push(at.wrapping_add(place as usize));
            self.is_escaped = true;
            rest &= !(escapes ^ escapes.wrapping_sub(1));
        }
    }

    /// What is encoded and begins among the bytes before these.
    #[expect(clippy::inline_always, reason = "a part of the pass")]
    #[inline(always)]
    fn encoded(&mut self, bits: &Bits) {
        let both = |last: u64, bits: u64| u128::from(bits) << 64 | u128::from(last);
        let [one, two, three] = self.last.quads;
        let [first, second, third] = bits.quads;
        let base64 = base64::rows([both(one, first), both(two, second), both(three, third)]);
        let hex = hex::rows(both(self.last.pairs, bits.pairs));
        if base64 | hex != 0 {
            self.look(base64, hex);
        }
    }

    /// Looks at what seems to be encoded.
    #[inline(never)]
    fn look(&mut self, mut base64: u64, mut hex: u64) {
        while base64 != 0 {
            let at = self.at.wrapping_add(base64.trailing_zeros() as usize);
            base64 &= base64.wrapping_sub(1);
            if at < self.base64 {
                continue;
            }
            if let Some(span) = base64::part(self.text, at) {
                self.base64 = span.end;
                self.survey.encoded.push(Encoded {
                    span,
                    layer: Layer::Base64,
                });
            }
        }
        while hex != 0 {
            let at = self.at.wrapping_add(hex.trailing_zeros() as usize);
            hex &= hex.wrapping_sub(1);
            if at < self.hex {
                continue;
            }
            let encoded = &mut self.survey.encoded;
            self.hex = hex::parts(self.text, at, self.hex, |span| {
                encoded.push(Encoded {
                    span,
                    layer: Layer::Hex,
                });
            });
        }
    }
}
