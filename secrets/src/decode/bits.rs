//! Questions about many bytes at once, as bits.

use zeroize::Zeroize as _;

/// For each of 64 bytes whether it is such, the first in the lowest place.
///
/// Written so that it becomes vector instructions: `is` must have no branch and no table.
#[inline]
pub(crate) fn mask(block: &[u8; 64], is: impl Fn(u8) -> bool) -> u64 {
    let mut classes = [0_u8; 64];
    for (class, byte) in classes.iter_mut().zip(block) {
        *class = u8::from(is(*byte));
    }
    gather(&classes)
}

/// Gathers 64 bytes of 0 or 1 into 64 bits.
#[inline]
pub(crate) fn gather(classes: &[u8; 64]) -> u64 {
    let (words, _none) = classes.as_chunks::<8>();
    words
        .iter()
        .zip((0_u32..64).step_by(8))
        .fold(0, |mask, (word, shift)| {
            // Byte i, times 2^(7 (8 - i)), lands in bit 56 + i; the products do not meet.
            let bits = u64::from_le_bytes(*word).wrapping_mul(0x0102_0408_1020_4080) >> 56;
            mask | bits << shift
        })
}

/// Calls `each` with blocks of 64 bytes that cover `text`, each of which has the last `overlap` bytes of
/// the one before, until it says yes. The last one is filled up with zeros.
#[inline]
pub(crate) fn any_block(
    text: &[u8],
    overlap: usize,
    mut each: impl FnMut(&[u8; 64]) -> bool,
) -> bool {
    let step = 64_usize.saturating_sub(overlap).max(1);
    let mut from = 0_usize;
    while let Some(rest) = text.get(from..) {
        if let Some(block) = rest.first_chunk::<64>() {
            if each(block) {
                return true;
            }
        } else {
            let mut last = [0; 64];
            for (to, byte) in last.iter_mut().zip(rest) {
                *to = *byte;
            }
            let found = each(&last);
            last.zeroize();
            return found;
        }
        from = from.saturating_add(step);
    }
    false
}

/// The places from which so many bits are set, each `stride` after the one before: `count` of them.
#[inline]
pub(crate) fn in_a_row(bits: u64, stride: u32, count: u32) -> u64 {
    let (mut rows, mut length) = (bits, 1_u32);
    while length < count {
        // Together with itself, as far on as it is long, or as far as is still wanted.
        let more = length.min(count.saturating_sub(length));
        rows &= rows.checked_shr(stride.saturating_mul(more)).unwrap_or(0);
        length = length.saturating_add(more);
    }
    rows
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn rows_are_those_that_counting_finds(bits: u64, more: u64, stride in 1_u32..5, count in 1_u32..13) {
            let bits = bits | more;
            for at in 0..64 {
                let all = (0..count).all(|step| {
                    let place = at + step * stride;
                    place < 64 && bits >> place & 1 == 1
                });
                prop_assert_eq!(in_a_row(bits, stride, count) >> at & 1 == 1, all);
            }
        }

        #[test]
        fn every_byte_is_in_a_block(length in 0_usize..300, at in any::<prop::sample::Index>()) {
            let mut text = vec![1; length];
            prop_assert!(!any_block(&text, 24, |block| mask(block, |byte| byte == 2) != 0));
            if length > 0 {
                text[at.index(length)] = 2;
                prop_assert!(any_block(&text, 24, |block| mask(block, |byte| byte == 2) != 0));
            }
        }
    }
}
