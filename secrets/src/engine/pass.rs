//! One pass over a text, 64 bytes at a time, with the widest vectors that the processor has.
//!
//! It asks of every byte all that can be asked of a byte and its next neighbours alone, and gives the answers as bits:
//! what they mean is judged elsewhere (`sieve`, `survey`), where few of them are set. The same code runs with
//! vectors of every width, and none of it is unsafe: `fearless_simd` knows which instructions there are.

#![expect(
    clippy::inline_always,
    reason = "what is not inlined into the function that is made for a processor's vectors does not use them"
)]

use std::hint::black_box;

use fearless_simd::prelude::*;
use fearless_simd::{Level, dispatch, u8x16, u8x64};
use zeroize::Zeroize as _;

use super::sieve::{EIGHTS, Filter, WINDOW};

/// Bytes that are looked at together: as many as there are bits in a word.
pub(super) const TOGETHER: usize = 64;
/// With those behind them that a needle's window goes on to.
const READ: usize = TOGETHER + WINDOW - 1;

/// What 64 bytes are, a bit for each, the first one lowest.
#[derive(Clone, Copy, Default)]
pub(super) struct Bits {
    /// Here a window of a needle may begin.
    pub(super) windows: u64,
    /// If they are digits of base64, then the first, second or third of four that encode text. Of other bytes nothing
    /// is said.
    pub(super) quads: [u64; 3],
    /// The first hexadecimal digit of a byte of text.
    pub(super) pairs: u64,
    /// What an escape or a document begins with.
    pub(super) escapes: u64,
    /// The end of an entry.
    pub(super) ends: u64,
    /// Whether it is a byte of the text. Beyond, no other bit is set.
    pub(super) inside: u64,
}

/// Gives `each` what every 64 bytes of a text are, and where they begin.
pub(super) fn over(level: Level, filter: &Filter, text: &[u8], each: impl FnMut(usize, &Bits)) {
    dispatch!(level, simd => all(simd, filter, text, each));
}

#[inline(always)]
fn all<S: Simd>(simd: S, filter: &Filter, text: &[u8], mut each: impl FnMut(usize, &Bits)) {
    let filter = Loaded::new(simd, filter);
    let mut at = 0_usize;
    while let Some(bytes) = text.get(at..).and_then(|rest| rest.first_chunk::<READ>()) {
        each(at, &bits(simd, &filter, bytes));
        at = at.wrapping_add(TOGETHER);
    }
    // What is left, with zeros behind it.
    let mut padded = [0; READ + TOGETHER];
    let rest = text.get(at..).unwrap_or_default();
    for (to, from) in padded.iter_mut().zip(rest) {
        *to = *from;
    }
    let mut from = 0_usize;
    while from < rest.len() {
        let Some(bytes) = padded.get(from..).and_then(|rest| rest.first_chunk()) else {
            break;
        };
        let outside = TOGETHER.saturating_sub(rest.len().saturating_sub(from));
        let inside = u64::MAX
            .checked_shr(u32::try_from(outside).unwrap_or(u32::MAX))
            .unwrap_or(0);
        let bits = bits(simd, &filter, bytes).and(inside);
        each(at.wrapping_add(from), &bits);
        from = from.wrapping_add(TOGETHER);
    }
    padded.zeroize();
}

impl Bits {
    fn and(self, inside: u64) -> Self {
        Self {
            windows: self.windows & inside,
            quads: self.quads.map(|bits| bits & inside),
            pairs: self.pairs & inside,
            escapes: self.escapes & inside,
            ends: self.ends & inside,
            inside,
        }
    }
}

/// The filter's tables, ready to be used.
struct Loaded<S: Simd> {
    low: [[u8x64<S>; WINDOW]; EIGHTS],
    high: [[u8x64<S>; WINDOW]; EIGHTS],
    /// What is added to a digit of base64 to get its value, by its upper half.
    values: u8x64<S>,
}

impl<S: Simd> Loaded<S> {
    #[inline(always)]
    fn new(simd: S, filter: &Filter) -> Self {
        let nothing = [[u8x64::splat(simd, 0); WINDOW]; EIGHTS];
        let mut loaded = Self {
            low: nothing,
            high: nothing,
            values: table(simd, VALUES),
        };
        let halves = [&filter.low, &filter.high].into_iter();
        for (to, from) in [&mut loaded.low, &mut loaded.high].into_iter().zip(halves) {
            for (to, from) in to.iter_mut().flatten().zip(from.iter().flatten()) {
                *to = table(simd, *from);
            }
        }
        loaded
    }
}

#[inline(always)]
fn table<S: Simd>(simd: S, table: [u8; 16]) -> u8x64<S> {
    u8x64::block_splat(u8x16::simd_from(simd, table))
}

/// By the upper half of a digit: what is added to it to get its value in base64, modulo 256. Digits: 52 for `0`; large
/// letters, 0 for `A`; small ones, 26 for `a`. Of the rest, `+ / -` get values with all the bits that their own (62,
/// 63) have, or fewer, and `_` too few: such a digit seems to begin text, and is looked at again.
const VALUES: [u8; 16] = [0, 0, 16, 4, 191, 191, 185, 185, 0, 0, 0, 0, 0, 0, 0, 0];

#[expect(
    clippy::arithmetic_side_effects,
    reason = "vectors of bytes wrap around"
)]
#[inline(always)]
fn bits<S: Simd>(simd: S, filter: &Loaded<S>, bytes: &[u8; READ]) -> Bits {
    let vector = |from: usize| {
        let bytes = bytes.get(from..).and_then(|rest| rest.first_chunk());
        u8x64::simd_from(simd, bytes.copied().unwrap_or([0; TOGETHER]))
    };
    let here = vector(0);
    let upper = here >> 4;
    // Each bucket is a bit; it stays if every byte of a window may be of one in it.
    let mut buckets = [u8x64::splat(simd, 0xff); EIGHTS];
    for place in 0..WINDOW {
        let bytes = vector(place);
        let (lower, upper) = (bytes & 15, bytes >> 4);
        for ((bucket, low), high) in buckets.iter_mut().zip(&filter.low).zip(&filter.high) {
            let (Some(low), Some(high)) = (low.get(place), high.get(place)) else {
                continue;
            };
            *bucket &= low.swizzle_dyn_within_blocks(lower) & high.swizzle_dyn_within_blocks(upper);
        }
    }
    let [one, two, three, four] = buckets;
    let any = (one | two) | (three | four);
    let nothing = u8x64::splat(simd, 0);
    let value = here + filter.values.swizzle_dyn_within_blocks(upper);
    let lacks = |bit: u8| (value & bit).simd_eq(nothing).to_bitmask();
    let is = |byte: u8| here.simd_eq(u8x64::splat(simd, byte)).to_bitmask();
    let text = here - b'2';
    let text = text.min(u8x64::splat(simd, 5)).simd_eq(text).to_bitmask();
    // The compiler would rather shift single bits in vectors than words.
    black_box(Bits {
        windows: !any.simd_eq(nothing).to_bitmask(),
        // Text is ASCII: the highest bits of the three bytes are clear.
        quads: [lacks(32), lacks(8), lacks(2)],
        pairs: text | is(b'0'),
        escapes: is(b'%') | is(b'\\') | is(b'{'),
        ends: is(0),
        inside: u64::MAX,
    })
}
