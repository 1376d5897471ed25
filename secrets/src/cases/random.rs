//! Random material that is the same on every run, and the encodings that tokens are made with.
//!
//! The checksums here are written again, from their definitions, so that what makes a token and what
//! reads it share nothing.

pub(super) const DIGITS: &str = "0123456789";
pub(super) const HEX: &str = "0123456789abcdef";
pub(super) const LOWER_ALNUM: &str = "abcdefghijklmnopqrstuvwxyz0123456789";
pub(super) const UPPER_ALNUM: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
pub(super) const LETTERS: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
pub(super) const ALNUM: &str = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
pub(super) const BASE32: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
pub(super) const BASE32_LOWER: &str = "abcdefghijklmnopqrstuvwxyz234567";
pub(super) const BASE58: &str = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
pub(super) const BASE64: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
pub(super) const BASE64_URL: &str =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
pub(super) const BECH32: &str = "qpzry9x8gf2tvdw0s3jn54khce6mua7l";

/// Splitmix64: enough for material that nobody is to guess against.
pub(super) struct Random(u64);

impl Random {
    /// What is made for one rule does not change with the others.
    pub(super) fn of(rule: &str) -> Self {
        Self(rule.bytes().fold(0x5eed, |seed, byte| {
            (seed ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        }))
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn text(&mut self, alphabet: &str, length: usize) -> String {
        let alphabet = alphabet.as_bytes();
        let size = u64::try_from(alphabet.len()).expect("small");
        let one = |number: u64| {
            let at = usize::try_from(number % size).expect("below the size");
            char::from(alphabet[at])
        };
        (0..length).map(|_| one(self.next())).collect()
    }

    pub(super) fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next().to_le_bytes()[0]).collect()
    }
}

/// CRC-32 bit by bit, from the polynomial of IEEE 802.3.
pub(super) fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 & 0_u32.wrapping_sub(crc & 1))
        })
    })
}

/// A number in the base of so many digits, at least `width` long.
pub(super) fn in_base(mut number: u64, digits: &str, width: usize) -> String {
    let digits = digits.as_bytes();
    let base = u64::try_from(digits.len()).expect("small");
    let mut text = Vec::new();
    while number > 0 || text.len() < width {
        let at = usize::try_from(number % base).expect("below the base");
        text.insert(0, digits[at]);
        number /= base;
    }
    String::from_utf8(text).expect("digits are ASCII")
}

/// Base64, padded.
pub(super) fn base64(bytes: &[u8]) -> String {
    let mut text = base64_of(bytes, BASE64);
    while !text.len().is_multiple_of(4) {
        text.push('=');
    }
    text
}

/// Base64 for URLs, unpadded.
pub(super) fn base64_url(bytes: &[u8]) -> String {
    base64_of(bytes, BASE64_URL)
}

fn base64_of(bytes: &[u8], alphabet: &str) -> String {
    let digits = alphabet.as_bytes();
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let mut bits = [0; 4];
        bits[1..=chunk.len()].copy_from_slice(chunk);
        let bits = u32::from_be_bytes(bits);
        for place in 0..=chunk.len() {
            let shift = 18 - 6 * u32::try_from(place).expect("four at most");
            let at = usize::try_from((bits >> shift) & 63).expect("six bits");
            text.push(char::from(digits[at]));
        }
    }
    text
}

/// Base32 of bytes, unpadded.
pub(super) fn base32(bytes: &[u8], alphabet: &str) -> String {
    let bit = |at: usize| {
        bytes
            .get(at / 8)
            .map_or(0, |byte| (byte >> (7 - at % 8)) & 1)
    };
    let digits = alphabet.as_bytes();
    (0..(bytes.len() * 8).div_ceil(5))
        .map(|place| {
            let value = (0..5).fold(0, |value, offset| (value << 1) | bit(place * 5 + offset));
            char::from(digits[usize::from(value)])
        })
        .collect()
}

/// The six characters that make a Bech32 text of these parts whole (BIP 173).
pub(super) fn bech32_sum(human: &str, data: &str) -> String {
    let mut values: Vec<u32> = human.bytes().map(|byte| u32::from(byte) >> 5).collect();
    values.push(0);
    values.extend(human.bytes().map(|byte| u32::from(byte) & 31));
    values.extend(
        data.chars()
            .map(|one| u32::try_from(BECH32.find(one).expect("Bech32")).expect("small")),
    );
    values.extend([0; 6]);
    let sum = 1 ^ values.iter().fold(1_u32, |sum, value| {
        let top = sum >> 25;
        let words = [
            0x3b6a_57b2,
            0x2650_8e6d,
            0x1ea1_19fa,
            0x3d42_33dd,
            0x2a14_62b3,
        ];
        let next = ((sum & 0x01ff_ffff) << 5) ^ value;
        (0..5).fold(next, |next, bit| {
            if (top >> bit) & 1 == 1 {
                next ^ words[bit]
            } else {
                next
            }
        })
    });
    (0..6)
        .map(|place| {
            let at = usize::try_from((sum >> (5 * (5 - place))) & 31).expect("five bits");
            char::from(BECH32.as_bytes()[at])
        })
        .collect()
}

/// Marvin32 word by word, as `SymCrypt` describes it.
pub(super) fn marvin32(data: &[u8], seed: &str) -> u32 {
    let seed: [u8; 8] = seed.as_bytes().try_into().expect("eight characters");
    let mut low = u32::from_be_bytes([seed[4], seed[5], seed[6], seed[7]]);
    let mut high = u32::from_be_bytes([seed[0], seed[1], seed[2], seed[3]]);
    let mut padded = data.to_vec();
    padded.push(0x80);
    while !padded.len().is_multiple_of(4) {
        padded.push(0);
    }
    let mut words: Vec<u32> = padded
        .chunks(4)
        .map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
        .collect();
    words.push(0);
    for word in words {
        low = low.wrapping_add(word);
        high ^= low;
        low = low.rotate_left(20).wrapping_add(high);
        high = high.rotate_left(9) ^ low;
        low = low.rotate_left(27).wrapping_add(high);
        high = high.rotate_left(19);
    }
    low ^ high
}
