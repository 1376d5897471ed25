//! Finds all marks of all formats in one pass, whatever their number.
//!
//! Of each needle four bytes are chosen (three, if it has no more): its rarest, or some that another one has as well. A
//! filter in the manner of Teddy, from the Hyperscan project, tells in one pass (`pass`) where such a window may be: for
//! each of sixteen buckets of windows, and for each place in them, which halves of bytes are there. What it shows is looked up in a table of
//! windows, and the needles that have it are compared.

use std::collections::BTreeSet;
use std::ops::Range;

use fearless_simd::Level;

use super::pass::{self, Bits};

mod buckets;

/// Bytes of a window.
pub(super) const WINDOW: usize = 4;
/// Buckets of windows, in eights. With half as many one place in twenty of ordinary text seems to have a window, with
/// these one in a hundred.
pub(super) const EIGHTS: usize = 4;
/// Bits of the hash of a window.
const HASH_BITS: u32 = 15;
/// Slots that windows are kept in.
const SLOTS: usize = 1 << 9;

/// Where a needle can stand.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Stand {
    /// Anywhere. Three bytes or more.
    Anywhere,
    /// Where a run of token characters begins. Three bytes or more.
    Run,
    /// At the start of an entry: the text's start, or after a NUL. Three bytes or more.
    Entry,
}

/// What is looked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Needle {
    pub(crate) bytes: &'static [u8],
    pub(crate) stand: Stand,
}

/// A needle in a text.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Hit {
    pub(crate) at: usize,
    /// Its number among the needles.
    pub(crate) needle: usize,
}

/// What lets windows through: for each place in a window, the buckets that have bytes with such a lower half, and with
/// such an upper half. Eight of them are the bits of a byte.
pub(super) struct Filter {
    pub(super) low: [[[u8; 16]; WINDOW]; EIGHTS],
    pub(super) high: [[[u8; 16]; WINDOW]; EIGHTS],
}

/// Some bytes in a row of a needle: [`WINDOW`], or one less.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Window {
    bytes: u32,
    is_short: bool,
}

/// A needle with the place of its window.
struct Anchored {
    number: usize,
    needle: Needle,
    offset: usize,
}

/// All needles, ready to be looked for.
pub(crate) struct Sieve {
    level: Level,
    filter: Filter,
    /// Hashes of windows: 4 KiB, so that they stay in the first-level cache.
    shows: Box<[u64; 1 << (HASH_BITS - 6)]>,
    /// Windows by their slot, and which of `needles` have them.
    windows: Vec<(Window, Range<usize>)>,
    /// Where each slot's windows begin, and at last where all end.
    ends: Box<[u16; SLOTS + 1]>,
    needles: Vec<Anchored>,
}

impl Sieve {
    pub(crate) fn new(needles: &[Needle]) -> Self {
        let mut anchored = anchored(needles);
        anchored.sort_by_key(|(window, one)| (slot(window.bytes), *window, one.number));
        let mut windows: Vec<(Window, Range<usize>)> = Vec::new();
        let mut shows = Box::new([0_u64; 1 << (HASH_BITS - 6)]);
        for (at, (window, _)) in anchored.iter().enumerate() {
            let end = at.saturating_add(1);
            match windows.last_mut() {
                Some((last, needles)) if last == window => needles.end = end,
                _ => windows.push((*window, at..end)),
            }
            let (word, bit) = place(window.bytes);
            if let Some(word) = shows.get_mut(word) {
                *word |= 1 << bit;
            }
        }
        let mut ends = Box::new([0; SLOTS + 1]);
        for (number, end) in ends.iter_mut().enumerate() {
            let below = windows.partition_point(|(window, _)| slot(window.bytes) < number);
            // There are some hundred.
            *end = u16::try_from(below).unwrap_or(u16::MAX);
        }
        let all: Vec<Window> = windows.iter().map(|(window, _)| *window).collect();
        Self {
            level: Level::new(),
            filter: buckets::filter(&all),
            shows,
            windows,
            ends,
            needles: anchored.into_iter().map(|(_, one)| one).collect(),
        }
    }

    /// Uses the vectors of another processor.
    #[cfg(test)]
    pub(super) const fn set_level(&mut self, level: Level) {
        self.level = level;
    }

    /// Passes over a text: gives `each` what every 64 bytes are.
    #[expect(clippy::inline_always, reason = "see `pass`")]
    #[inline(always)]
    pub(super) fn pass(&self, text: &[u8], each: impl FnMut(usize, &Bits)) {
        pass::over(self.level, &self.filter, text, each);
    }

    /// Whether some needle's window may be at this place. Mostly none is.
    #[expect(clippy::inline_always, reason = "a part of the pass")]
    #[inline(always)]
    pub(super) fn shows(&self, text: &[u8], at: usize) -> bool {
        let four = four(text.get(at..).unwrap_or_default());
        let shows = |bytes: u32| {
            let (word, bit) = place(bytes);
            self.shows.get(word).map_or(0, |word| word >> bit & 1)
        };
        shows(four) | shows(four & SHORT) != 0
    }

    /// Gives `hit` every needle whose window is at this place.
    #[inline(never)]
    pub(super) fn check(&self, text: &[u8], at: usize, mut hit: impl FnMut(Hit)) {
        let four = four(text.get(at..).unwrap_or_default());
        for (bytes, is_short) in [(four, false), (four & SHORT, true)] {
            let slot = slot(bytes);
            let end = |slot: usize| self.ends.get(slot).copied().map_or(0, usize::from);
            let windows = self.windows.get(end(slot)..end(slot.saturating_add(1)));
            let window = Window { bytes, is_short };
            let mut windows = windows.unwrap_or_default().iter();
            if let Some((_, needles)) = windows.find(|(one, _)| *one == window) {
                self.compare(text, at, needles.clone(), &mut hit);
            }
        }
    }

    /// Compares needles that have the window at a place.
    fn compare(&self, text: &[u8], at: usize, needles: Range<usize>, hit: &mut impl FnMut(Hit)) {
        for one in self.needles.get(needles).unwrap_or_default() {
            let Some(at) = at.checked_sub(one.offset) else {
                continue;
            };
            let here = text.get(at..).unwrap_or_default();
            if here.starts_with(one.needle.bytes) && stands(one.needle.stand, text, at) {
                hit(Hit {
                    at,
                    needle: one.number,
                });
            }
        }
    }
}

/// The part of [`four`] that a window of three bytes is.
const SHORT: u32 = 0x00ff_ffff;

impl Window {
    fn of(bytes: &[u8]) -> Self {
        Self {
            bytes: four(bytes),
            is_short: bytes.len() < WINDOW,
        }
    }

    /// Its bytes: three, or four.
    fn bytes(self) -> impl Iterator<Item = u8> {
        let length = if self.is_short { WINDOW - 1 } else { WINDOW };
        self.bytes.to_le_bytes().into_iter().take(length)
    }
}

/// Chooses a window for each needle: one that another needle has as well, or else the rarest. The shortest needles
/// come first, since they have no choice.
fn anchored(needles: &[Needle]) -> Vec<(Window, Anchored)> {
    let mut order: Vec<(usize, Needle)> = needles.iter().copied().enumerate().collect();
    order.sort_by_key(|(number, needle)| (needle.bytes.len(), *number));
    let mut chosen: BTreeSet<Window> = BTreeSet::new();
    let anchored = order.into_iter().filter_map(|(number, needle)| {
        let length = needle.bytes.len().min(WINDOW);
        let best = needle
            .bytes
            .windows(length)
            .enumerate()
            .min_by_key(|(_, bytes)| (!chosen.contains(&Window::of(bytes)), buckets::cost(bytes)));
        let (offset, bytes) = best?;
        let window = Window::of(bytes);
        chosen.insert(window);
        let one = Anchored {
            number,
            needle,
            offset,
        };
        Some((window, one))
    });
    anchored.collect()
}

/// The hash of a window.
#[inline]
const fn hash(bytes: u32) -> u32 {
    bytes.wrapping_mul(0x9E37_79B1)
}

/// Word and bit of a window in the table of those that there are.
#[inline]
const fn place(bytes: u32) -> (usize, u32) {
    let hash = hash(bytes) >> (u32::BITS - HASH_BITS);
    ((hash >> 6) as usize, hash & 63)
}

/// Where a window is kept.
const fn slot(bytes: u32) -> usize {
    (hash(bytes) >> 16) as usize & (SLOTS - 1)
}

/// The first four bytes as a number, zeros where there are no more.
#[inline]
fn four(bytes: &[u8]) -> u32 {
    if let Some(four) = bytes.first_chunk::<4>() {
        return u32::from_le_bytes(*four);
    }
    bytes
        .iter()
        .rev()
        .fold(0, |number, byte| number << 8 | u32::from(*byte))
}

/// Whether a needle can stand at this place.
fn stands(stand: Stand, text: &[u8], at: usize) -> bool {
    let before = at.checked_sub(1).and_then(|before| text.get(before));
    match stand {
        Stand::Anywhere => true,
        Stand::Run => before.is_none_or(|byte| !is_token(*byte)),
        Stand::Entry => before.is_none_or(|byte| *byte == 0),
    }
}

/// Whether a byte is part of a token: letters, digits, `_`, `-`. Not `=`, or no value after a name
/// would begin a run.
pub(crate) const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

/// Every kind of vectors that this processor has.
#[cfg(test)]
pub(super) fn levels() -> Vec<Level> {
    let level = Level::new();
    #[cfg(target_arch = "x86_64")]
    let less = [
        level.as_avx2().map(Level::Avx2),
        level.as_sse4_2().map(Level::Sse4_2),
        level.as_sse2().map(Level::Sse2),
    ];
    #[cfg(not(target_arch = "x86_64"))]
    let less = [None];
    std::iter::once(level)
        .chain(less.into_iter().flatten())
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NEEDLES: [Needle; 9] = [
        needle(b"ghp_", Stand::Anywhere),
        needle(b"gh_", Stand::Anywhere),
        needle(b"ababab", Stand::Anywhere),
        needle(b"://", Stand::Anywhere),
        needle(b"SG.", Stand::Run),
        needle(b"SK1", Stand::Run),
        needle(b"eyJ", Stand::Run),
        needle(b"ABC", Stand::Entry),
        needle(b"GITHUB_TOKEN=", Stand::Entry),
    ];

    const fn needle(bytes: &'static [u8], stand: Stand) -> Needle {
        Needle { bytes, stand }
    }

    fn search(sieve: &Sieve, text: &[u8]) -> Vec<Hit> {
        let mut hits = Vec::new();
        sieve.pass(text, |at, bits| {
            for place in (0..64).filter(|place| bits.windows >> place & 1 == 1) {
                let at = at.saturating_add(place);
                if sieve.shows(text, at) {
                    sieve.check(text, at, |hit| hits.push(hit));
                }
            }
        });
        hits.sort_unstable();
        hits
    }

    fn naive(text: &[u8]) -> Vec<Hit> {
        (0..text.len())
            .flat_map(|at| (0..NEEDLES.len()).map(move |needle| Hit { at, needle }))
            .filter(|hit| {
                let needle = NEEDLES[hit.needle];
                let before = text[..hit.at].last();
                text[hit.at..].starts_with(needle.bytes)
                    && match needle.stand {
                        Stand::Anywhere => true,
                        Stand::Run => before.is_none_or(|byte| {
                            !(byte.is_ascii_alphanumeric() || *byte == b'_' || *byte == b'-')
                        }),
                        Stand::Entry => before.is_none_or(|byte| *byte == 0),
                    }
            })
            .collect()
    }

    proptest! {
        #[test]
        fn it_finds_what_comparing_everywhere_finds(
            parts in proptest::collection::vec(
                prop_oneof![
                    prop::sample::select(NEEDLES.map(|needle| needle.bytes.to_vec()).to_vec()),
                    proptest::collection::vec(prop::sample::select(b"ghp_abSGK.:/eyJABC\0=- ".to_vec()), 0..6),
                    proptest::collection::vec(any::<u8>(), 0..40),
                ],
                0..40,
            )
        ) {
            let text = parts.concat();
            let mut sieve = Sieve::new(&NEEDLES);
            for level in levels() {
                sieve.set_level(level);
                prop_assert_eq!(search(&sieve, &text), naive(&text));
            }
        }
    }

    #[test]
    fn a_needle_is_found_at_every_place_of_a_long_text() {
        let sieve = Sieve::new(&NEEDLES);
        for at in (0..9000).step_by(7).chain(8996..9000) {
            let mut text = vec![b'.'; 9004];
            text[at..at + 4].copy_from_slice(b"ghp_");
            assert_eq!(search(&sieve, &text), [Hit { at, needle: 0 }]);
        }
    }

    #[test]
    fn an_equals_sign_ends_a_run() {
        let hits = search(&Sieve::new(&NEEDLES), b"X=SG.a X_SG.a");
        assert_eq!(hits, [Hit { at: 2, needle: 4 }]);
    }
}
