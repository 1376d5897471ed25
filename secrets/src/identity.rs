//! Keyed hashes that tell equal bytes from different ones, whoever chose them.
//!
//! Job code chooses what is hashed and would like two entries to look the same, one harmless and one not. So the hash
//! is a universal one under a secret key: NH with 64-bit words, twice over keys that are shifted by a pair, as UMAC has
//! it (Black, Halevi, Krawczyk, Krovetz and Rogaway, 1999), each folded to 64 bits by a multilinear hash under more
//! key. Two different inputs that were chosen without the key agree with a probability of at most 2^-63 in NH and
//! 2^-63 in the folding, twice: 2^-124 together. Nobody but this process sees a hash, so nothing of the key can be
//! learned. Inputs over 1 KiB are hashed in pieces, and the pieces' hashes by keyed BLAKE3.
//!
//! A general-purpose cryptographic hash takes longer for an entry of 60 bytes than all the rest of its scan.

use blake3::Hasher;
use zeroize::{Zeroize as _, Zeroizing};

/// Bytes that are hashed with one key: NH needs a key as long as its input.
const PIECE: usize = 1024;
/// 64-bit words of key: a piece, and a pair more for the second hash.
const WORDS: usize = PIECE / 8 + 2;

const NH_KEY: &str = "cordon secrets 2026-11 universal hash of entries";
const LONG_KEY: &str = "cordon secrets 2026-11 hash of long entries";

/// Makes [`Identity`]s under one key.
pub(crate) struct Identities {
    words: Zeroizing<[u64; WORDS]>,
    /// For each hash, what its two halves are multiplied with.
    folds: Zeroizing<[[u128; 2]; 2]>,
    long: Zeroizing<[u8; 32]>,
}

/// The keyed hash of some bytes: 128 bits, never all zero.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Identity(u128);

impl Identity {
    /// That of nothing: what is not there yet.
    pub(crate) const NONE: Self = Self(0);

    /// Its lowest bits, for tables.
    pub(crate) const fn low_bits(self) -> u32 {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the lowest bits are wanted"
        )]
        let bits = self.0 as u32;
        bits
    }
}

impl Identities {
    /// Derives the key from random bytes.
    pub(crate) fn new(seed: &[u8; 32]) -> Self {
        let mut hasher = Hasher::new_derive_key(NH_KEY);
        hasher.update(seed);
        let mut reader = hasher.finalize_xof();
        let mut words = Zeroizing::new([0; WORDS]);
        for word in words.iter_mut() {
            let mut bytes = [0; 8];
            reader.fill(&mut bytes);
            *word = u64::from_le_bytes(bytes);
        }
        let mut folds = Zeroizing::new([[0; 2]; 2]);
        for fold in folds.iter_mut().flatten() {
            let mut bytes = [0; 16];
            reader.fill(&mut bytes);
            *fold = u128::from_le_bytes(bytes);
        }
        reader.zeroize();
        hasher.zeroize();
        Self {
            words,
            folds,
            long: Zeroizing::new(blake3::derive_key(LONG_KEY, seed)),
        }
    }

    /// The identity of `bytes` among all that are used for the same thing, `domain`.
    pub(crate) fn of(&self, domain: u64, bytes: &[u8]) -> Identity {
        if bytes.len() <= PIECE {
            return self.fold(self.piece(domain, bytes));
        }
        let mut hasher = Hasher::new_keyed(&self.long);
        for piece in bytes.chunks(PIECE) {
            for sum in self.piece(domain, piece) {
                hasher.update(&sum.to_le_bytes());
            }
        }
        let mut identity = [0; 16];
        hasher.finalize_xof().fill(&mut identity);
        Identity(u128::from_le_bytes(identity) | 1 << 127)
    }

    /// Folds two hashes of 128 bits to one.
    fn fold(&self, sums: [u128; 2]) -> Identity {
        let folded = sums
            .iter()
            .zip(self.folds.iter())
            .fold(0, |folded, (sum, [low, high])| {
                let [first, second] = halves(*sum);
                let linear = low
                    .wrapping_mul(u128::from(first))
                    .wrapping_add(high.wrapping_mul(u128::from(second)));
                folded << 64 | linear >> 64
            });
        // One bit of 128 is given up, so that none is like nothing.
        Identity(folded | 1 << 127)
    }

    /// NH of at most [`PIECE`] bytes. Pairs of words need whole pairs, so the length goes in beside the sums.
    fn piece(&self, domain: u64, bytes: &[u8]) -> [u128; 2] {
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let start = u128::from(domain) << 64 | u128::from(length);
        let mut sums = [start; 2];
        let (pairs, rest) = bytes.as_chunks::<16>();
        let (keys, _odd) = self.words.as_chunks::<2>();
        let shifted = keys.get(1..).unwrap_or_default();
        let mut keys = keys.iter().zip(shifted);
        for (pair, keys) in pairs.iter().zip(&mut keys) {
            add(&mut sums, pair, keys);
        }
        if let (false, Some(keys)) = (rest.is_empty(), keys.next()) {
            // The last 16 bytes, some of them again; with the length, that is as good as the rest alone.
            if let Some(last) = bytes.last_chunk::<16>() {
                add(&mut sums, last, keys);
            } else {
                let mut last = [0; 16];
                for (to, from) in last.iter_mut().zip(rest) {
                    *to = *from;
                }
                add(&mut sums, &last, keys);
                last.zeroize();
            }
        }
        sums
    }
}

/// Adds one pair of words to both hashes.
#[inline]
fn add(sums: &mut [u128; 2], pair: &[u8; 16], (first, second): (&[u64; 2], &[u64; 2])) {
    let pair = u128::from_le_bytes(*pair);
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the two halves of 128 bits"
    )]
    let (low, high) = (pair as u64, (pair >> 64) as u64);
    for (sum, [one, other]) in sums.iter_mut().zip([first, second]) {
        // Two factors of 64 bits: the product has room.
        let product =
            u128::from(low.wrapping_add(*one)).wrapping_mul(u128::from(high.wrapping_add(*other)));
        *sum = sum.wrapping_add(product);
    }
}

/// The lower and the upper half.
#[inline]
const fn halves(number: u128) -> [u64; 2] {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the two halves of 128 bits"
    )]
    [number as u64, (number >> 64) as u64]
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "tests")]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn identities() -> Identities {
        Identities::new(&[5; 32])
    }

    /// As UMAC describes it, a word at a time.
    fn plain_nh(words: &[u64], domain: u64, bytes: &[u8]) -> [u128; 2] {
        let whole = bytes.len() / 16 * 16;
        let mut padded = bytes[..whole].to_vec();
        if whole < bytes.len() {
            padded.extend_from_slice(&bytes[bytes.len().saturating_sub(16)..]);
            padded.resize(whole + 16, 0);
        }
        let message: Vec<u64> = padded
            .chunks(8)
            .map(|word| u64::from_le_bytes(word.try_into().unwrap()))
            .collect();
        [0, 2].map(|shift| {
            let start = u128::from(domain) << 64 | bytes.len() as u128;
            (0..message.len()).step_by(2).fold(start, |sum, at| {
                let one = message[at].wrapping_add(words[at + shift]);
                let other = message[at + 1].wrapping_add(words[at + shift + 1]);
                sum.wrapping_add(u128::from(one) * u128::from(other))
            })
        })
    }

    proptest! {
        #[test]
        fn short_inputs_are_hashed_as_the_paper_says(bytes in proptest::collection::vec(any::<u8>(), 0..=PIECE)) {
            let identities = identities();
            prop_assert_eq!(identities.piece(3, &bytes), plain_nh(identities.words.as_slice(), 3, &bytes));
        }

        #[test]
        fn one_changed_bit_is_another_identity(
            bytes in proptest::collection::vec(any::<u8>(), 1..3000), at in any::<prop::sample::Index>(), bit in 0_u32..8
        ) {
            let mut other = bytes.clone();
            other[at.index(bytes.len())] ^= 1_u8 << bit;
            prop_assert_ne!(identities().of(0, &bytes), identities().of(0, &other));
        }
    }

    #[test]
    fn zeros_at_the_end_the_domain_and_the_key_count() {
        let identities = identities();
        let mut seen = BTreeSet::new();
        for length in 0..=2 * PIECE + 1 {
            assert!(
                seen.insert(identities.of(0, &vec![0; length]).0),
                "{length}"
            );
        }
        assert_ne!(identities.of(0, b"x"), identities.of(1, b"x"));
        assert_ne!(
            identities.of(0, b"x"),
            Identities::new(&[6; 32]).of(0, b"x")
        );
    }

    #[test]
    fn the_lowest_bits_spread() {
        let identities = identities();
        let low_bits: BTreeSet<u32> = (0..4096_u32)
            .map(|number| identities.of(0, &number.to_le_bytes()).low_bits() & 0xfff)
            .collect();
        // At random, 63 percent of them come up.
        assert!(low_bits.len() > 2400, "{}", low_bits.len());
    }
}
