//! Which needles share a bucket of the filter.
//!
//! The filter sees of a window only, byte by byte, whether its lower and its upper half are those of some window in the
//! same bucket. So windows that look alike go together, and what is common in ordinary text goes by itself.

use super::{EIGHTS, Filter, WINDOW, Window};

/// Buckets: as many as there are bits.
const BUCKETS: usize = EIGHTS * 8;

/// How common each byte is beside others of its kind (large letters, small ones, digits, all else) in environments,
/// in thousandths. Kinds come in runs, so how common a kind is by itself says little of four bytes in a row.
const COMMON: [u8; 256] = {
    let groups: [(&[u8], u8); 12] = [
        (b"/", 190),
        (b"0123456789-=", 80),
        (b"_\0Ee", 70),
        (b"Aa", 58),
        (b"OoTt", 46),
        (b"RrIiNnDd ", 37),
        (b"CcLlSs", 31),
        (b"GgPpUu.", 23),
        (b"MmHhFfBb:", 17),
        (b"YyVvKk", 8),
        (b"WwXxJj", 4),
        (b"QqZz@,\"+", 2),
    ];
    let mut common = [1; 256];
    let mut group = 0;
    while group < groups.len() {
        #[expect(
            clippy::indexing_slicing,
            reason = "evaluated by the compiler, within the list"
        )]
        let (bytes, weight) = groups[group];
        let mut at = 0;
        while at < bytes.len() {
            #[expect(
                clippy::indexing_slicing,
                reason = "evaluated by the compiler, within 256"
            )]
            let place = &mut common[bytes[at] as usize];
            *place = weight;
            at = at.wrapping_add(1);
        }
        group = group.wrapping_add(1);
    }
    common
};

fn common(byte: u8) -> u8 {
    COMMON.get(usize::from(byte)).copied().unwrap_or(1)
}

/// How common a window is, to be compared with others of the same length.
pub(super) fn cost(window: &[u8]) -> u64 {
    window.iter().fold(1, |cost, byte| {
        cost.saturating_mul(u64::from(common(*byte)))
    })
}

/// For each place of a window, the lower and upper halves that one of a bucket's windows has there.
type Halves = [(u16, u16); WINDOW];

fn with(mut halves: Halves, window: Window) -> Halves {
    for (place, (low, high)) in halves.iter_mut().enumerate() {
        if let Some(byte) = window.bytes().nth(place) {
            *low |= 1 << (byte & 15);
            *high |= 1 << (byte >> 4);
        } else {
            (*low, *high) = (u16::MAX, u16::MAX);
        }
    }
    halves
}

/// How common the bytes are, summed up for each upper half and each set of eight lower ones.
struct Sums(Box<[[[f32; 256]; 2]]>);

impl Sums {
    fn new() -> Self {
        let mut sums = Self(vec![[[0.0; 256]; 2]; 16].into_boxed_slice());
        for (upper, eights) in (0_u8..16).zip(sums.0.iter_mut()) {
            for (first, sets) in [0_u8, 8].into_iter().zip(eights) {
                for (set, sum) in (0_u8..=255).zip(sets) {
                    let members = (0_u8..8).filter(|lower| set >> lower & 1 == 1);
                    *sum = members
                        .map(|lower| f32::from(common(upper << 4 | first | lower)))
                        .sum();
                }
            }
        }
        sums
    }

    /// How much of ordinary text a bucket lets through, to be compared with others.
    fn passes(&self, halves: &Halves) -> f32 {
        let shares = halves.iter().map(|(low, high)| {
            let [first, second] = low.to_le_bytes().map(usize::from);
            let rows = self.0.iter().enumerate();
            let rows = rows.filter(|(upper, _)| high >> upper & 1 == 1);
            let sums = rows.map(|(_, [low, high])| {
                let sum = |sums: &[f32; 256], set: usize| sums.get(set).copied().unwrap_or(0.0);
                sum(low, first) + sum(high, second)
            });
            sums.sum::<f32>() / 1000.0
        });
        shares.product()
    }
}

/// The windows of a bucket, as numbers, and what they let through.
#[derive(Clone, Default)]
struct Bucket {
    windows: Vec<usize>,
    halves: Halves,
    passes: f32,
}

/// Puts each window into the bucket that lets the least more through for it, and then again: the first ones did not
/// know what came after them.
pub(super) fn filter(windows: &[Window]) -> Filter {
    let sums = Sums::new();
    let mut buckets = vec![Bucket::default(); BUCKETS];
    for round in 0..2 {
        for (number, window) in windows.iter().copied().enumerate() {
            if round > 0 {
                take_out(number, windows, &mut buckets, &sums);
            }
            let tried = buckets.iter_mut().map(|bucket| {
                let halves = with(bucket.halves, window);
                let passes = sums.passes(&halves);
                (bucket, halves, passes)
            });
            let best = tried.min_by(|(one, _, first), (other, _, second)| {
                (first - one.passes).total_cmp(&(second - other.passes))
            });
            if let Some((bucket, halves, passes)) = best {
                (bucket.halves, bucket.passes) = (halves, passes);
                bucket.windows.push(number);
            }
        }
    }
    tables(&buckets)
}

fn take_out(number: usize, windows: &[Window], buckets: &mut [Bucket], sums: &Sums) {
    let mut own = buckets.iter_mut();
    let Some(bucket) = own.find(|bucket| bucket.windows.contains(&number)) else {
        return;
    };
    bucket.windows.retain(|one| *one != number);
    let left = bucket
        .windows
        .iter()
        .filter_map(|one| windows.get(*one).copied());
    bucket.halves = left.fold(Halves::default(), with);
    bucket.passes = sums.passes(&bucket.halves);
}

fn tables(buckets: &[Bucket]) -> Filter {
    let mut filter = Filter {
        low: [[[0; 16]; WINDOW]; EIGHTS],
        high: [[[0; 16]; WINDOW]; EIGHTS],
    };
    let (eights, _none) = buckets.as_chunks::<8>();
    let tables = filter.low.iter_mut().zip(&mut filter.high);
    for ((low, high), eight) in tables.zip(eights) {
        for (bucket, bit) in eight.iter().zip(0_u32..) {
            let places = low.iter_mut().zip(high.iter_mut());
            for ((low, high), (lower, upper)) in places.zip(bucket.halves) {
                for (half, (low, high)) in (0_u32..).zip(low.iter_mut().zip(high)) {
                    *low |= u8::from(lower >> half & 1 == 1) << bit;
                    *high |= u8::from(upper >> half & 1 == 1) << bit;
                }
            }
        }
    }
    filter
}
