//! Finds what could be encoded: long runs of base64 or hexadecimal digits, and escapes.

use std::ops::Range;

use crate::decode::bits::gather;

/// Shorter runs are not decoded: 24 characters of base64 hold 18 bytes.
pub(crate) const SHORTEST: usize = 24;

/// Whether a byte is a digit of base64, of either alphabet. Padding is not.
pub(crate) const fn is_digit(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_')
}

/// What stands before an escape, or opens a document.
const fn is_escape(byte: u8) -> bool {
    matches!(byte, b'%' | b'\\' | b'{' | b'[')
}

/// Adds the long runs of `text` to `runs`, and where escapes are to `escapes`: of those that are
/// near each other, at least the first and the last.
pub(crate) fn search(text: &[u8], runs: &mut Vec<Range<usize>>, escapes: &mut Vec<usize>) {
    let mut begin = None;
    let (blocks, rest) = text.as_chunks::<64>();
    let mut last = [0; 64];
    for (to, from) in last.iter_mut().zip(rest) {
        *to = *from;
    }
    let mut end = |begin: &mut Option<usize>, at: usize| {
        if let Some(begin) = begin.take()
            && at.saturating_sub(begin) >= SHORTEST
        {
            runs.push(begin..at);
        }
    };
    let mut at = 0_usize;
    // The rest is filled up with zeros, which are in no run.
    let rest = (!rest.is_empty()).then_some(&last);
    for block in blocks.iter().chain(rest) {
        let Masks { digits, marks } = classify(block);
        if marks != 0 {
            note(marks, at, escapes);
        }
        follow(digits, at, &mut begin, &mut end);
        at = at.saturating_add(64);
    }
    end(&mut begin, at.min(text.len()));
    zeroize::Zeroize::zeroize(&mut last);
}

/// For each of 64 bytes a bit, the first in the lowest place.
struct Masks {
    digits: u64,
    marks: u64,
}

/// Classifies 64 bytes. Written so that it becomes vector instructions: no branch, no table.
#[inline]
fn classify(block: &[u8; 64]) -> Masks {
    let mut classes = [0_u8; 64];
    let mut any = 0_u8;
    for (class, byte) in classes.iter_mut().zip(block) {
        let byte = *byte;
        let is_letter = (byte | 0x20).wrapping_sub(b'a') < 26;
        let is_number = byte.wrapping_sub(b'0') < 10;
        let is_sign = (byte == b'+') | (byte == b'/') | (byte == b'-') | (byte == b'_');
        let is_mark = (byte == b'%') | (byte == b'\\') | (byte == b'{') | (byte == b'[');
        *class = u8::from(is_letter | is_number | is_sign);
        any |= u8::from(is_mark);
    }
    let digits = gather(&classes);
    let marks = if any == 0 {
        0
    } else {
        for (class, byte) in classes.iter_mut().zip(block) {
            *class = u8::from(is_escape(*byte));
        }
        gather(&classes)
    };
    Masks { digits, marks }
}

/// The first and the last of some bits.
fn note(marks: u64, at: usize, escapes: &mut Vec<usize>) {
    let place = |bit: u32| at.saturating_add(bit as usize);
    let (first, last) = (
        marks.trailing_zeros(),
        63_u32.saturating_sub(marks.leading_zeros()),
    );
    escapes.push(place(first));
    if last != first {
        escapes.push(place(last));
    }
}

/// Follows runs through the bits of one block.
#[inline]
fn follow(
    digits: u64,
    at: usize,
    begin: &mut Option<usize>,
    end: &mut impl FnMut(&mut Option<usize>, usize),
) {
    let place = |bit: u32| at.saturating_add(bit as usize);
    let leading = digits.trailing_ones();
    if leading == 64 {
        begin.get_or_insert(at);
        return;
    }
    if begin.is_none() && leading > 0 {
        *begin = Some(at);
    }
    end(begin, place(leading));
    // Runs inside the block: bits that begin 16 ones, which a run of 24 has nine of.
    let two = digits & digits >> 1;
    let four = two & two >> 2;
    let eight = four & four >> 4;
    let mut long = eight & eight >> 8;
    let trailing = digits.leading_ones();
    // The run that the block begins with is dealt with.
    long &= u64::MAX << leading;
    while long != 0 {
        let from = long.trailing_zeros();
        let ones = (digits >> from).trailing_ones();
        let to = from.saturating_add(ones);
        if to >= 64 {
            break;
        }
        end(&mut Some(place(from)), place(to));
        long &= u64::MAX << to;
    }
    if trailing > 0 {
        *begin = Some(place(64_u32.saturating_sub(trailing)));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn naive(text: &[u8]) -> Vec<Range<usize>> {
        let mut runs = Vec::new();
        let mut begin = 0;
        for at in 0..=text.len() {
            if !text.get(at).is_some_and(|byte| is_digit(*byte)) {
                if at - begin >= SHORTEST {
                    runs.push(begin..at);
                }
                begin = at + 1;
            }
        }
        runs
    }

    proptest! {
        #[test]
        fn long_runs_are_those_that_counting_finds(
            lengths in proptest::collection::vec((0_usize..150, 0_usize..4), 0..12)
        ) {
            let text: Vec<u8> = lengths
                .iter()
                .flat_map(|(run, gap)| [vec![b'a'; *run], vec![b'.'; *gap]].concat())
                .collect();
            let (mut runs, mut escapes) = (Vec::new(), Vec::new());
            search(&text, &mut runs, &mut escapes);
            prop_assert_eq!(runs, naive(&text));
            prop_assert!(escapes.is_empty());
        }

        #[test]
        fn the_first_and_the_last_escape_are_noted(text in proptest::collection::vec(any::<u8>(), 0..300)) {
            let (mut runs, mut escapes) = (Vec::new(), Vec::new());
            search(&text, &mut runs, &mut escapes);
            prop_assert_eq!(runs, naive(&text));
            let all: Vec<usize> = (0..text.len()).filter(|at| is_escape(text[*at])).collect();
            prop_assert_eq!(escapes.first(), all.first());
            prop_assert_eq!(escapes.last(), all.last());
            prop_assert!(escapes.iter().all(|at| all.contains(at)));
        }
    }

    #[test]
    fn every_byte_is_classified_as_one_by_one() {
        for byte in 0..=255 {
            let Masks { digits, marks } = classify(&[byte; 64]);
            assert_eq!(digits, if is_digit(byte) { u64::MAX } else { 0 }, "{byte}");
            assert_eq!(marks, if is_escape(byte) { u64::MAX } else { 0 }, "{byte}");
        }
    }
}
