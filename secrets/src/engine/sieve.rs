//! Finds all marks of all formats in one pass, whatever their number.
//!
//! Every mark has at least four bytes, or stands at the start of a run, where the byte before it
//! belongs to it as well. So of any three bytes that begin at an even position, one group tells
//! whether a mark may be there: each is looked up in a table of bits by a hash. Where a bit is set,
//! the marks themselves are compared. The time does not depend on how many marks there are, which
//! Teddy's does (`cargo run --release -p cordon-secrets --example throughput` compares them).

/// Bits of the table: 16 KiB, half of a first-level cache.
const BITS: u32 = 17;
/// Words of eight bytes that are gone through before the hits in them are looked at.
const STRIDE: usize = 512;
/// Buckets of marks, by their first two bytes.
const BUCKETS: usize = 1 << 10;

/// Where a needle can stand.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Stand {
    /// Anywhere. Three bytes or more.
    Anywhere,
    /// Where a run of token characters begins. Two bytes or more.
    Run,
    /// At the start of an entry: the text's start, or after a NUL. Two bytes or more.
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

/// All needles, ready to be looked for.
pub(crate) struct Sieve {
    bits: Box<[u64; 1 << (BITS - 6)]>,
    needles: Vec<(usize, Needle)>,
    /// For each bucket, where its needles end in `needles`; those of the one before end where they begin.
    ends: Box<[u16; BUCKETS]>,
}

impl Sieve {
    pub(crate) fn new(needles: &[Needle]) -> Self {
        let mut bits = Box::new([0_u64; 1 << (BITS - 6)]);
        for needle in needles {
            set_bits(bits.as_mut_slice(), needle);
        }
        let mut sorted: Vec<(usize, Needle)> = needles.iter().copied().enumerate().collect();
        sorted.sort_by_key(|(number, needle)| (bucket(needle.bytes), *number));
        let mut ends = Box::new([0_u16; BUCKETS]);
        for (at, end) in ends.iter_mut().enumerate() {
            let below = sorted.partition_point(|(_number, needle)| bucket(needle.bytes) <= at);
            // There are some hundred needles.
            *end = u16::try_from(below).unwrap_or(u16::MAX);
        }
        Self {
            bits,
            needles: sorted,
            ends,
        }
    }

    /// Adds every needle in `text` to `hits`, in the order of their places.
    pub(crate) fn search(&self, text: &[u8], hits: &mut Vec<Hit>) {
        let first = hits.len();
        let (words, _rest) = text.as_chunks::<8>();
        // The last word has no next one to look into, and is left to the end.
        let whole = words.len().saturating_sub(1);
        let mut marked = [0_u16; STRIDE];
        let mut at = 0_usize;
        for stride in words.get(..whole).unwrap_or_default().chunks(STRIDE) {
            let following = words.get(at.wrapping_add(1)..).unwrap_or_default();
            let marks = self.mark(stride, following, &mut marked);
            for word in marked.iter().take(marks) {
                let from = at.saturating_add(usize::from(*word)).saturating_mul(8);
                self.look(text, from, 4, hits);
            }
            at = at.saturating_add(stride.len());
        }
        let from = at.saturating_mul(8);
        let left = text.len().saturating_sub(from);
        self.look(text, from, left.div_ceil(2), hits);
        // One place can be found from two groups, and its neighbour from one of them before it.
        if let Some(found) = hits.get_mut(first..) {
            found.sort_unstable();
        }
        let mut last = None;
        let mut number = 0_usize;
        hits.retain(|hit| {
            number = number.saturating_add(1);
            number <= first || last.replace(*hit) != Some(*hit)
        });
    }

    /// Notes the numbers of those words in which a bit is set; how many there are.
    #[inline]
    fn mark(&self, words: &[[u8; 8]], following: &[[u8; 8]], marked: &mut [u16; STRIDE]) -> usize {
        let mut marks = 0_usize;
        for ((word, next), number) in words.iter().zip(following).zip(0_u16..) {
            let (word, next) = (u64::from_le_bytes(*word), u64::from_le_bytes(*next));
            let any = self.probe(word)
                | self.probe(word >> 16)
                | self.probe(word >> 32)
                | self.probe(word >> 48 | next << 16);
            // Without a branch: one word in ten is marked, too many for guesses and too few to go by.
            if let Some(place) = marked.get_mut(marks & (STRIDE - 1)) {
                *place = number;
            }
            marks = marks.wrapping_add(usize::from(any & 1 == 1));
        }
        marks
    }

    /// The bit of three bytes, in the lowest place.
    #[inline]
    fn probe(&self, bytes: u64) -> u64 {
        let (word, bit) = place(bytes);
        self.bits.get(word).map_or(0, |word| word >> bit)
    }

    /// Compares needles at some even positions from `from`, and their neighbours.
    fn look(&self, text: &[u8], from: usize, positions: usize, hits: &mut Vec<Hit>) {
        for at in (from..text.len()).step_by(2).take(positions) {
            let group = text.get(at..).and_then(|rest| rest.first_chunk::<3>());
            let may = group.is_none_or(|[one, two, three]| {
                self.probe(u64::from(*one) | u64::from(*two) << 8 | u64::from(*three) << 16) & 1
                    == 1
            });
            if may {
                let before = at.checked_sub(1);
                let after = at.checked_add(1);
                for place in before.into_iter().chain([at]).chain(after) {
                    self.compare(text, place, hits);
                }
            }
        }
    }

    /// Compares the needles with the text at one place.
    fn compare(&self, text: &[u8], at: usize, hits: &mut Vec<Hit>) {
        let Some(here) = text.get(at..) else {
            return;
        };
        let bucket = bucket(here);
        let from = bucket
            .checked_sub(1)
            .and_then(|before| self.ends.get(before))
            .copied();
        let to = self.ends.get(bucket).copied().unwrap_or_default();
        let range = usize::from(from.unwrap_or_default())..usize::from(to);
        for (number, needle) in self.needles.get(range).unwrap_or_default() {
            if here.starts_with(needle.bytes) && stands(needle.stand, text, at) {
                hits.push(Hit {
                    at,
                    needle: *number,
                });
            }
        }
    }
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

/// Sets the bits of every group of three bytes that shows a needle.
fn set_bits(bits: &mut [u64], needle: &Needle) {
    let mut set = |one: u8, two: u8, three: u8| {
        let (word, bit) = place(u64::from(one) | u64::from(two) << 8 | u64::from(three) << 16);
        if let Some(word) = bits.get_mut(word) {
            *word |= 1 << bit;
        }
    };
    let (Some(first), Some(second)) = (needle.bytes.first(), needle.bytes.get(1)) else {
        return;
    };
    let every = |byte: Option<&u8>| byte.map_or(0..=255, |byte| *byte..=*byte);
    // It begins at an even position,
    for third in every(needle.bytes.get(2)) {
        set(*first, *second, third);
    }
    match needle.stand {
        // or at an odd one, and its second byte is at an even one,
        Stand::Anywhere => {
            if let Some(third) = needle.bytes.get(2) {
                for fourth in every(needle.bytes.get(3)) {
                    set(*second, *third, fourth);
                }
            }
        }
        // or the byte before it is.
        Stand::Run => {
            for before in (0..=255).filter(|byte| !is_token(*byte)) {
                set(before, *first, *second);
            }
        }
        Stand::Entry => set(0, *first, *second),
    }
}

/// Word and bit of three bytes; what is above them is ignored.
#[inline]
fn place(bytes: u64) -> (usize, u32) {
    #[expect(clippy::cast_possible_truncation, reason = "three bytes are wanted")]
    let group = bytes as u32 & 0x00ff_ffff;
    // The multiplier is 2^32 over the golden ratio.
    let hash = group.wrapping_mul(0x9E37_79B1) >> (32 - BITS);
    ((hash >> 6) as usize, hash & 63)
}

/// The bucket of what begins with these bytes.
fn bucket(bytes: &[u8]) -> usize {
    let byte = |at: usize| bytes.get(at).map_or(0, |byte| usize::from(*byte));
    byte(0).wrapping_mul(37).wrapping_add(byte(1)) & (BUCKETS - 1)
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
        needle(b"SK", Stand::Run),
        needle(b"eyJ", Stand::Run),
        needle(b"AB", Stand::Entry),
        needle(b"GITHUB_TOKEN=", Stand::Entry),
    ];

    const fn needle(bytes: &'static [u8], stand: Stand) -> Needle {
        Needle { bytes, stand }
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
                    proptest::collection::vec(prop::sample::select(b"ghp_abSGK.:/eyJAB\0=- ".to_vec()), 0..6),
                    proptest::collection::vec(any::<u8>(), 0..40),
                ],
                0..40,
            )
        ) {
            let text = parts.concat();
            let mut hits = Vec::new();
            Sieve::new(&NEEDLES).search(&text, &mut hits);
            prop_assert_eq!(hits, naive(&text));
        }
    }

    #[test]
    fn a_needle_is_found_at_every_place_of_a_long_text() {
        let sieve = Sieve::new(&NEEDLES);
        for at in (0..9000).step_by(7).chain(8996..9000) {
            let mut text = vec![b'.'; 9004];
            text[at..at + 4].copy_from_slice(b"ghp_");
            let mut hits = Vec::new();
            sieve.search(&text, &mut hits);
            assert_eq!(hits, [Hit { at, needle: 0 }]);
        }
    }

    #[test]
    fn an_equals_sign_ends_a_run() {
        let mut hits = Vec::new();
        Sieve::new(&NEEDLES).search(b"X=SG.a X_SG.a", &mut hits);
        assert_eq!(hits, [Hit { at: 2, needle: 4 }]);
    }
}
