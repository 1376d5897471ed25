//! Finds all marks of all formats in one pass, whatever their number.
//!
//! Every mark has at least three bytes, or stands at the start of a run, where the byte before it belongs
//! to it as well. So of the groups of three bytes that begin at even positions, one tells whether a mark
//! may be there: a hash of each is looked up in a table. Where it says yes, the marks themselves are
//! compared. The time does not depend on how many marks there are, which that of Teddy does.

/// Hashes of groups of three bytes, a byte for each: 64 KiB, of which text uses little. Of a byte's eight bits one
/// counts, chosen by the group's last byte, as eight groups in a hundred would show something else.
const HASHES: usize = 1 << 16;
/// Groups that are hashed at once.
const GROUPS: usize = 32;
/// Groups that are looked at together, once one of them shows something.
const TOGETHER: usize = 4;
/// Blocks of groups that are gone through before what they show is looked at.
const STRIDE: usize = 64;
/// Buckets of marks, by their first two bytes.
const BUCKETS: usize = 1 << 10;

/// Where a needle can stand.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Stand {
    /// Anywhere. Three bytes or more.
    Anywhere,
    /// Where a run of token characters begins. Two bytes or more.
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

/// A needle with its number, and with its first four bytes as they are compared first.
struct Sorted {
    number: usize,
    needle: Needle,
    first: u32,
    mask: u32,
}

/// All needles, ready to be looked for.
pub(crate) struct Sieve {
    shows: Table,
    /// The groups that needles begin with.
    begins: Table,
    needles: Vec<Sorted>,
    /// For each bucket, where its needles end in `needles`; those of the one before end where they begin.
    ends: Box<[u16; BUCKETS]>,
}

impl Sieve {
    pub(crate) fn new(needles: &[Needle]) -> Self {
        let (mut shows, mut begins) = (Table::new(), Table::new());
        for needle in needles {
            show(&mut shows, &mut begins, needle);
        }
        let mut sorted: Vec<Sorted> = needles.iter().copied().enumerate().map(sorted).collect();
        sorted.sort_by_key(|one| (bucket(one.needle.bytes), one.number));
        let mut ends = Box::new([0_u16; BUCKETS]);
        for (at, end) in ends.iter_mut().enumerate() {
            let below = sorted.partition_point(|one| bucket(one.needle.bytes) <= at);
            // There are some hundred needles.
            *end = u16::try_from(below).unwrap_or(u16::MAX);
        }
        Self {
            shows,
            begins,
            needles: sorted,
            ends,
        }
    }

    /// Adds every needle in `text` to `hits`, in the order of their places.
    pub(crate) fn search(&self, text: &[u8], hits: &mut Vec<Hit>) {
        let first = hits.len();
        let (pairs, _odd) = text.as_chunks::<2>();
        let mut marked = [0_u16; STRIDE * GROUPS / TOGETHER];
        let mut at = 0_usize;
        // A group needs a byte of the pair after it; the last pairs are left to the end.
        while let Some(stride) = pairs.get(at..).filter(|left| left.len() > GROUPS) {
            let blocks = stride.len().saturating_sub(1) / GROUPS;
            let blocks = blocks.min(STRIDE);
            let marks = self.mark(stride, blocks, &mut marked);
            for number in marked.iter().take(marks) {
                let group = at.saturating_add(usize::from(*number).saturating_mul(TOGETHER));
                self.look_together(text, group.saturating_mul(2), hits);
            }
            at = at.saturating_add(blocks.saturating_mul(GROUPS));
        }
        let from = at.saturating_mul(2);
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

    /// Notes where some groups show something; how many such places there are.
    #[inline]
    fn mark(&self, pairs: &[[u8; 2]], blocks: usize, marked: &mut [u16]) -> usize {
        let mut marks = 0_usize;
        let mut number = 0_u16;
        for block in 0..blocks {
            let from = block.wrapping_mul(GROUPS);
            let here = pairs
                .get(from..)
                .and_then(|rest| rest.first_chunk::<GROUPS>());
            let next = pairs
                .get(from.wrapping_add(1)..)
                .and_then(|rest| rest.first_chunk::<GROUPS>());
            let (Some(here), Some(next)) = (here, next) else {
                break;
            };
            let mut hashes = [0; GROUPS];
            for ((hash, here), next) in hashes.iter_mut().zip(here).zip(next) {
                let [third, _fourth] = *next;
                *hash = hash_of(u16::from_le_bytes(*here), third);
            }
            let (hashes, _none) = hashes.as_chunks::<TOGETHER>();
            let (next, _none) = next.as_chunks::<TOGETHER>();
            for (hashes, next) in hashes.iter().zip(next) {
                let groups = hashes.iter().zip(next);
                let any = groups.fold(0, |any, (hash, [third, _])| {
                    any | self.shows.has(*hash, *third)
                });
                // Without a branch: one place in ten shows something, too many for guesses and too few to
                // go by.
                if let Some(place) = marked.get_mut(marks) {
                    *place = number;
                }
                marks = marks.wrapping_add(usize::from(any != 0));
                number = number.wrapping_add(1);
            }
        }
        marks
    }

    /// Looks at the groups that begin at some even positions, where one of them shows something.
    fn look(&self, text: &[u8], from: usize, positions: usize, hits: &mut Vec<Hit>) {
        for at in (from..text.len()).step_by(2).take(positions) {
            if self.shows.may(text, at) {
                self.look_around(text, at, hits);
            }
        }
    }

    /// The same for [`TOGETHER`] groups, all of which are in the text.
    #[inline]
    fn look_together(&self, text: &[u8], from: usize, hits: &mut Vec<Hit>) {
        let bytes = text.get(from..).and_then(|rest| rest.first_chunk::<9>());
        let Some([a, b, c, d, e, f, g, h, i]) = bytes else {
            return self.look(text, from, TOGETHER, hits);
        };
        let groups = [(a, b, c), (c, d, e), (e, f, g), (g, h, i)];
        let mut at = from;
        for (one, two, three) in groups {
            let hash = hash_of(u16::from_le_bytes([*one, *two]), *three);
            if self.shows.has(hash, *three) != 0 {
                self.look_around(text, at, hits);
            }
            at = at.wrapping_add(2);
        }
    }

    /// Compares needles at a position and on both sides of it.
    fn look_around(&self, text: &[u8], at: usize, hits: &mut Vec<Hit>) {
        for place in [at.wrapping_sub(1), at, at.wrapping_add(1)] {
            // Before the first byte there is nothing.
            if place < text.len() && self.begins.may(text, place) {
                self.compare(text, place, hits);
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
        let four = four(here);
        for one in self.needles.get(range).unwrap_or_default() {
            let needle = &one.needle;
            if four & one.mask == one.first
                && here.starts_with(needle.bytes)
                && stands(needle.stand, text, at)
            {
                hits.push(Hit {
                    at,
                    needle: one.number,
                });
            }
        }
    }
}

fn sorted((number, needle): (usize, Needle)) -> Sorted {
    let mask = match needle.bytes.len() {
        0 => 0,
        1 => 0xff,
        2 => 0xffff,
        3 => 0x00ff_ffff,
        _ => u32::MAX,
    };
    Sorted {
        number,
        needle,
        first: four(needle.bytes) & mask,
        mask,
    }
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

/// A set of groups of three bytes, with some more that are in it by chance.
struct Table(Box<[u8]>);

impl Table {
    fn new() -> Self {
        Self(vec![0; HASHES].into_boxed_slice())
    }

    fn add(&mut self, one: u8, two: u8, three: u8) {
        let hash = hash_of(u16::from_le_bytes([one, two]), three);
        if let Some(groups) = self.0.get_mut(usize::from(hash)) {
            *groups |= mask_of(three);
        }
    }

    /// Not 0 if a group of this hash, with this last byte, is in it.
    #[inline]
    fn has(&self, hash: u16, third: u8) -> u8 {
        self.0.get(usize::from(hash)).copied().unwrap_or(0) & mask_of(third)
    }

    /// Whether the group at a place may be in it; at the end, where there is none, it may.
    #[inline]
    fn may(&self, text: &[u8], at: usize) -> bool {
        let group = text.get(at..).and_then(|rest| rest.first_chunk::<3>());
        group.is_none_or(|[one, two, three]| {
            self.has(hash_of(u16::from_le_bytes([*one, *two]), *three), *three) != 0
        })
    }
}

/// Notes every group of three bytes that shows a needle, and those that it begins with.
fn show(shows: &mut Table, begins: &mut Table, needle: &Needle) {
    let (Some(first), Some(second)) = (needle.bytes.first(), needle.bytes.get(1)) else {
        return;
    };
    let every = |byte: Option<&u8>| byte.map_or(0..=255, |byte| *byte..=*byte);
    // It begins at an even position,
    for third in every(needle.bytes.get(2)) {
        shows.add(*first, *second, third);
        begins.add(*first, *second, third);
    }
    match needle.stand {
        // or at an odd one, and its second byte is at an even one,
        Stand::Anywhere | Stand::Entry => {
            if let Some(third) = needle.bytes.get(2) {
                for fourth in every(needle.bytes.get(3)) {
                    shows.add(*second, *third, fourth);
                }
            }
        }
        // or the byte before it is.
        Stand::Run => {
            for before in (0..=255).filter(|byte| !is_token(*byte)) {
                shows.add(before, *first, *second);
            }
        }
    }
}

/// Of a group's last byte, the bit that counts.
#[inline]
fn mask_of(third: u8) -> u8 {
    MASKS.get(usize::from(third)).copied().unwrap_or(0)
}

/// For each last byte of a group, the bit that counts.
const MASKS: [u8; 256] = {
    let mut masks = [0; 256];
    let mut at = 0;
    while at < 256 {
        #[expect(
            clippy::indexing_slicing,
            reason = "evaluated by the compiler, within 256"
        )]
        let mask = &mut masks[at];
        *mask = 1 << (at & 7);
        at = at.wrapping_add(1);
    }
    masks
};

/// The hash of three bytes, of which the first two are one number. In 16 bits, so that eight are computed at
/// once. Both factors are odd: groups that differ in one part have different hashes.
#[inline]
const fn hash_of(two: u16, third: u8) -> u16 {
    two.wrapping_mul(0x9E35)
        .wrapping_add((third as u16).wrapping_mul(0x6D2B))
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
        needle(b"ABC", Stand::Entry),
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
                    proptest::collection::vec(prop::sample::select(b"ghp_abSGK.:/eyJABC\0=- ".to_vec()), 0..6),
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
