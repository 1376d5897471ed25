//! Looking for all known values in one pass, however many there are.

use fearless_simd::{Level, dispatch};

use super::Digest;
use crate::fingerprint::{FingerprintKey, Keyed};

/// Bits of the filter that are kept: one position in a million passes it by chance, and 20 bits of a keyed hash
/// of eight bytes tell nothing of them.
const FILTER_BITS: u32 = 20;
/// Bits of the first look: 8 KiB, so that it stays in the first-level cache.
const FIRST_BITS: u32 = 16;

/// Makes the filters and digests of values.
pub(crate) struct Digester {
    keyed: Keyed,
    filter: [u64; 2],
}

impl Digester {
    pub(crate) fn new(key: &FingerprintKey) -> Self {
        Self {
            keyed: key.known_values(),
            filter: key.known_filter(),
        }
    }

    /// 20 bits of the keyed hash of the first eight bytes; 0 for less than eight.
    pub(crate) fn filter(&self, text: &[u8]) -> u32 {
        text.first_chunk::<8>()
            .map_or(0, |window| self.hash(u64::from_le_bytes(*window)))
    }

    pub(crate) fn digest(&self, text: &[u8]) -> [u8; 16] {
        self.keyed.digest(text)
    }

    #[inline]
    fn product(&self, window: u64) -> u128 {
        let [add, multiply] = self.filter;
        u128::from(window.wrapping_add(add)).wrapping_mul(u128::from(multiply | 1))
    }

    #[inline]
    fn hash(&self, window: u64) -> u32 {
        let product = self.product(window);
        #[expect(
            clippy::cast_possible_truncation,
            reason = "20 bits of the middle of 128"
        )]
        let bits = (product >> 60) as u32;
        bits & ((1 << FILTER_BITS) - 1)
    }
}

/// Positions that are tried together.
const TOGETHER: usize = 8;

/// Looks for the values of a set.
pub(crate) struct Search {
    level: Level,
    digester: Digester,
    first: Box<[u64; 1 << (FIRST_BITS - 6)]>,
    /// Sorted by filter, the longest of equal ones first.
    digests: Vec<Digest>,
}

/// A known value in a text.
#[derive(Clone, Copy)]
pub(crate) struct Found {
    /// Where it begins.
    pub(crate) at: usize,
    /// Which one it is: for [`Search::digest`].
    pub(crate) number: usize,
}

impl Search {
    /// `None` for a set without values.
    pub(crate) fn new(key: &FingerprintKey, digests: &[Digest]) -> Option<Self> {
        if digests.is_empty() {
            return None;
        }
        let mut first = Box::new([0_u64; 1 << (FIRST_BITS - 6)]);
        for digest in digests {
            let (word, bit) = place(digest.filter);
            if let Some(word) = first.get_mut(word) {
                *word |= 1 << bit;
            }
        }
        let mut digests = digests.to_vec();
        digests.sort_by(|one, other| {
            one.filter
                .cmp(&other.filter)
                .then(other.length.cmp(&one.length))
        });
        Some(Self {
            level: Level::new(),
            digester: Digester::new(key),
            first,
            digests,
        })
    }

    /// One of the values.
    pub(crate) fn digest(&self, number: usize) -> Option<&Digest> {
        self.digests.get(number)
    }

    /// Calls `found` for each known value in `text`, from left to right, overlapping ones too.
    ///
    /// A position that passes the filter costs one keyed hash for each value with that filter.
    pub(crate) fn each(&self, text: &[u8], mut found: impl FnMut(Found)) {
        // Not for vectors: the processors that have the wide ones multiply and shift in fewer steps.
        dispatch!(self.level, _simd => self.all(text, &mut found));
    }

    #[expect(clippy::inline_always, reason = "made for each kind of processor")]
    #[inline(always)]
    fn all(&self, text: &[u8], found: &mut impl FnMut(Found)) {
        let mut at = 0_usize;
        while let Some(bytes) = text.get(at..).and_then(|rest| rest.first_chunk()) {
            if self.shows(bytes) {
                self.try_each(text, at, TOGETHER, found);
            }
            at = at.wrapping_add(TOGETHER);
        }
        self.try_each(text, at, text.len().saturating_sub(at), found);
    }

    /// Whether the first look lets one of several positions pass.
    #[expect(clippy::inline_always, reason = "a part of `all`")]
    #[inline(always)]
    fn shows(&self, bytes: &[u8; TOGETHER + 7]) -> bool {
        bytes.windows(8).any(|window| {
            let Some(window) = window.first_chunk::<8>() else {
                return false;
            };
            let product = self.digester.product(u64::from_le_bytes(*window));
            #[expect(
                clippy::cast_possible_truncation,
                reason = "the upper 16 of the filter's bits"
            )]
            let first = (product >> 64) as u16;
            let word = self.first.get(usize::from(first >> 6));
            word.is_some_and(|word| word >> (first & 63) & 1 == 1)
        })
    }

    /// Tries so many positions, one by one.
    #[cold]
    fn try_each(&self, text: &[u8], from: usize, count: usize, found: &mut impl FnMut(Found)) {
        let rest = text.get(from..).unwrap_or_default();
        for (window, at) in rest.windows(8).zip(from..).take(count) {
            let Some(window) = window.first_chunk::<8>() else {
                continue;
            };
            let filter = self.digester.hash(u64::from_le_bytes(*window));
            let (word, bit) = place(filter);
            let word = self.first.get(word);
            if word.is_some_and(|word| word >> bit & 1 == 1) {
                self.try_here(text, at, filter, found);
            }
        }
    }

    #[cold]
    fn try_here(&self, text: &[u8], at: usize, filter: u32, found: &mut impl FnMut(Found)) {
        let from = self
            .digests
            .partition_point(|digest| digest.filter < filter);
        let candidates = self.digests.iter().enumerate().skip(from);
        for (number, digest) in candidates.take_while(|(_, digest)| digest.filter == filter) {
            let length = usize::try_from(digest.length).unwrap_or(usize::MAX);
            let here = at.checked_add(length).and_then(|end| text.get(at..end));
            if here.is_some_and(|here| self.digester.digest(here) == digest.hash) {
                found(Found { at, number });
            }
        }
    }
}

/// Word and bit of a filter in the first look.
const fn place(filter: u32) -> (usize, u32) {
    let first = filter >> (FILTER_BITS - FIRST_BITS);
    ((first >> 6) as usize, first & 63)
}
