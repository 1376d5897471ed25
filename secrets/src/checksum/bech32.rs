//! Bech32 (BIP 173), of which age identities are made.

/// The characters, each at the place of its value.
const CHARACTERS: &[u8; 32] = b"QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L";

/// Whether the last six of these upper-case characters are the checksum of the human-readable part
/// and of those before them. `None` if a character is no Bech32.
pub(crate) fn is_valid(human: &[u8], data: &[u8]) -> Option<bool> {
    let mut sum = 1;
    for byte in human {
        sum = step(sum, u32::from(byte.to_ascii_lowercase() >> 5));
    }
    sum = step(sum, 0);
    for byte in human {
        sum = step(sum, u32::from(byte.to_ascii_lowercase() & 31));
    }
    for byte in data {
        let value = CHARACTERS.iter().position(|one| one == byte)?;
        sum = step(sum, u32::try_from(value).ok()?);
    }
    Some(sum == 1)
}

const fn step(sum: u32, value: u32) -> u32 {
    /// The generator, one word for each bit that leaves at the top.
    const GENERATOR: [u32; 5] = [
        0x3b6a_57b2,
        0x2650_8e6d,
        0x1ea1_19fa,
        0x3d42_33dd,
        0x2a14_62b3,
    ];
    let mut next = ((sum & 0x01ff_ffff) << 5) ^ value;
    let mut top = sum >> 25;
    let mut rest: &[u32] = &GENERATOR;
    while let [word, others @ ..] = rest {
        if top & 1 == 1 {
            next ^= *word;
        }
        top >>= 1;
        rest = others;
    }
    next
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_of_bip_173_is_valid_and_a_changed_one_is_not() {
        assert_eq!(is_valid(b"a", b"2UEL5L"), Some(true));
        assert_eq!(is_valid(b"b", b"2UEL5L"), Some(false));
        assert_eq!(is_valid(b"a", b"2UEL5Q"), Some(false));
    }

    #[test]
    fn what_is_no_bech32_has_no_checksum() {
        assert_eq!(is_valid(b"a", b"B"), None);
        assert_eq!(is_valid(b"a", b"2uel5l"), None);
    }
}
