//! Questions about many bytes at once, as bits.
//!
//! Written so that the compiler makes vector instructions of it: no branch and no table for a single
//! byte. The bits of 64 bytes are kept as an 8 by 8 square: byte 8 j + i is bit j of the square's byte i,
//! which takes eight shifts instead of forty.

/// Looks for places from which `COUNT` bytes in a row, each `STRIDE` after the one before, are such, and gives
/// them to `found`, in order. It answers from where on it wants more.
#[inline]
pub(crate) fn rows<const STRIDE: u32, const COUNT: u32>(
    text: &[u8],
    is: impl Fn(u8) -> bool,
    mut found: impl FnMut(usize) -> usize,
) {
    let (blocks, rest) = text.as_chunks::<64>();
    let mut from = 0;
    let mut before = 0;
    let mut at = 0_usize;
    for block in blocks {
        let square = square(block, &is);
        let rows = rows_from::<STRIDE, COUNT>(before, square);
        if rows != 0 {
            from = tell(rows, at.saturating_sub(64), from, &mut found);
        }
        before = square;
        at = at.saturating_add(64);
    }
    let mut last = [0_u8; 64];
    for (class, byte) in last.iter_mut().zip(rest) {
        *class = u8::from(is(*byte));
    }
    let last = gather(&last);
    let rows = rows_from::<STRIDE, COUNT>(before, last);
    from = tell(rows, at.saturating_sub(64), from, &mut found);
    tell(rows_from::<STRIDE, COUNT>(last, 0), at, from, &mut found);
}

/// Tells the places of a square's bits, in order, from `from` on; from where on more are wanted.
fn tell(square: u64, at: usize, mut from: usize, found: &mut impl FnMut(usize) -> usize) -> usize {
    let mut places = transpose(square);
    while places != 0 {
        let place = at.saturating_add(places.trailing_zeros() as usize);
        if place >= from {
            from = found(place);
        }
        places &= places.wrapping_sub(1);
    }
    from
}

/// Exchanges rows and columns, so that bits are in the order of their bytes: first single bits, then squares of four
/// and of sixteen.
fn transpose(mut square: u64) -> u64 {
    let swap = |square: u64, kept: u64, shift: u32| {
        let moved = (square ^ square >> shift) & kept;
        square ^ moved ^ moved << shift
    };
    square = swap(square, 0x00aa_00aa_00aa_00aa, 7);
    square = swap(square, 0x0000_cccc_0000_cccc, 14);
    swap(square, 0x0000_0000_f0f0_f0f0, 28)
}

#[inline]
fn square(block: &[u8; 64], is: impl Fn(u8) -> bool) -> u64 {
    let mut classes = [0_u8; 64];
    for (class, byte) in classes.iter_mut().zip(block) {
        *class = u8::from(is(*byte));
    }
    gather(&classes)
}

/// Gathers 64 bytes of 0 or 1.
#[inline]
fn gather(classes: &[u8; 64]) -> u64 {
    let (words, _none) = classes.as_chunks::<8>();
    words.iter().zip(0_u32..).fold(0, |square, (word, row)| {
        square | u64::from_le_bytes(*word) << row
    })
}

/// Where in the first of two squares such rows begin.
#[inline]
#[expect(
    clippy::arithmetic_side_effects,
    reason = "counts up to a constant and no further; the property test would overflow else"
)]
fn rows_from<const STRIDE: u32, const COUNT: u32>(first: u64, second: u64) -> u64 {
    // What is `stride` bytes on, of 64, and of the 64 after that.
    let (mut rows, mut after) = (first, second);
    let mut length = 1;
    while length < COUNT {
        // Together with itself, as far on as it is long, or as far as is still wanted.
        let more = if length < COUNT - length {
            length
        } else {
            COUNT - length
        };
        (rows, after) = (
            rows & onward(rows, after, STRIDE * more),
            after & onward(after, 0, STRIDE * more),
        );
        length += more;
    }
    rows
}

/// The bits of so many bytes further on; what is beyond the first square comes from the second.
#[inline]
const fn onward(first: u64, second: u64, bytes: u32) -> u64 {
    let (columns, rows) = (bytes & 7, bytes >> 3);
    // By columns: the first ones come from the next row.
    let (first, second) = if columns == 0 {
        (first, second)
    } else {
        (column(first, second, columns), column(second, 0, columns))
    };
    row(first, second, rows)
}

/// Further by columns, of which there are eight.
#[inline]
const fn column(first: u64, second: u64, columns: u32) -> u64 {
    let shift = columns.wrapping_mul(8);
    first >> shift | row(first, second, 1) << 64_u32.wrapping_sub(shift)
}

/// Further by rows, of which there are eight.
#[inline]
const fn row(first: u64, second: u64, rows: u32) -> u64 {
    if rows == 0 {
        return first;
    }
    if rows >= 8 {
        return if rows == 8 { second } else { 0 };
    }
    let kept = ((0xff >> rows) as u64).wrapping_mul(0x0101_0101_0101_0101);
    first >> rows & kept | second << 8_u32.wrapping_sub(rows) & !kept
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn naive(text: &[u8], stride: usize, count: usize) -> Vec<usize> {
        let is_row = |at: &usize| (0..count).all(|step| text.get(at + step * stride) == Some(&1));
        (0..text.len()).filter(is_row).collect()
    }

    fn check<const STRIDE: u32, const COUNT: u32>(text: &[u8]) {
        let mut found = Vec::new();
        let is = |byte| byte == 1;
        rows::<STRIDE, COUNT>(text, is, |at| {
            found.push(at);
            0
        });
        assert_eq!(found, naive(text, STRIDE as usize, COUNT as usize));
    }

    proptest! {
        #[test]
        fn rows_are_those_that_counting_finds(
            runs in proptest::collection::vec((0_usize..60, 0_usize..5, 1_usize..5), 0..12)
        ) {
            let mut text = Vec::new();
            for (run, gap, stride) in runs {
                for _ in 0..run {
                    text.push(1);
                    text.extend(std::iter::repeat_n(0, stride - 1));
                }
                text.extend(std::iter::repeat_n(0, gap));
            }
            check::<4, 6>(&text);
            check::<2, 12>(&text);
            check::<1, 24>(&text);
            check::<3, 5>(&text);
        }
    }
}
