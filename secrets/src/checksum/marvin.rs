//! Marvin32, which Azure's identifiable keys end with.
//!
//! The algorithm and the seeds are those of `microsoft/security-utilities`; the definitive text of
//! the algorithm is `marvin32.c` of `SymCrypt`. A seed is eight characters that name the kind of key,
//! the first the most significant.

/// The checksum: both halves of the state, folded.
pub(crate) fn hash32(data: &[u8], seed: [u8; 8]) -> u32 {
    let (high, low) = hash(data, u64::from_be_bytes(seed));
    high ^ low
}

/// Both halves of the state at the end.
fn hash(data: &[u8], seed: u64) -> (u32, u32) {
    let (mut high, mut low) = halves(seed);
    let (words, rest) = data.as_chunks::<4>();
    for word in words {
        low = low.wrapping_add(u32::from_le_bytes(*word));
        mix(&mut low, &mut high);
    }
    // What is left over is closed with one set bit, so that lengths differ.
    let last = match rest {
        [] => [0x80, 0, 0, 0],
        [first] => [*first, 0x80, 0, 0],
        [first, second] => [*first, *second, 0x80, 0],
        [first, second, third, ..] => [*first, *second, *third, 0x80],
    };
    low = low.wrapping_add(u32::from_le_bytes(last));
    mix(&mut low, &mut high);
    mix(&mut low, &mut high);
    (high, low)
}

#[expect(clippy::cast_possible_truncation, reason = "it is cut in two")]
const fn halves(number: u64) -> (u32, u32) {
    ((number >> 32) as u32, number as u32)
}

const fn mix(low: &mut u32, high: &mut u32) {
    *high ^= *low;
    *low = low.rotate_left(20).wrapping_add(*high);
    *high = high.rotate_left(9) ^ *low;
    *low = low.rotate_left(27).wrapping_add(*high);
    *high = high.rotate_left(19);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash64(data: &[u8], seed: u64) -> u64 {
        let (high, low) = hash(data, seed);
        (u64::from(high) << 32) | u64::from(low)
    }

    #[test]
    fn it_agrees_with_the_vector_of_symcrypt() {
        assert_eq!(hash64(b"abc", 0xd53c_d9ce_cd08_93b7), 0x22c7_4339_4927_69bf);
    }

    #[test]
    fn it_agrees_with_other_implementations_for_every_length_of_the_rest() {
        let seed = 0x004f_b61a_001b_dbcc;
        assert_eq!(hash64(&[], seed), 0x30ed_35c1_00cd_3c7d);
        assert_eq!(hash64(&[175], seed), 0x48e7_3fc7_7d75_ddc1);
        assert_eq!(hash64(&[231, 15], seed), 0xb5f6_e1fc_485d_bff8);
        assert_eq!(hash64(&[55, 244, 149], seed), 0xf0b0_7c78_9b8c_f7e8);
        assert_eq!(hash64(&[134, 66, 220, 89], seed), 0x7008_f2e8_7e9c_f556);
        assert_eq!(
            hash64(&[171, 66, 126, 168, 209, 15, 199], seed),
            0xe118_47e4_f067_8c41
        );
    }
}
