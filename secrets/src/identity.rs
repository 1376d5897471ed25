//! Keyed hashes that tell equal bytes from different ones, whoever chose them.
//!
//! Job code chooses what is hashed and would like two entries to look the same, one harmless and one not. So the hash
//! is a universal one under a secret key: NH with 64-bit words, twice over keys that are shifted by a pair, as UMAC has
//! it (Black, Halevi, Krawczyk, Krovetz and Rogaway, 1999). Two different inputs that were chosen without the key agree
//! with a probability of at most 2^-126. Nobody but this process sees a hash, so nothing of the key can be learned.
//! Inputs over 1 KiB are hashed in pieces, and the pieces' hashes by keyed BLAKE3.
//!
//! A general-purpose cryptographic hash takes longer for an entry of 60 bytes than all the rest of its scan.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};

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
    long: Zeroizing<[u8; 32]>,
}

/// The keyed hash of some bytes: two of 128 bits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Identity([u128; 2]);

impl Identities {
    /// Derives the key from random bytes.
    pub(crate) fn new(seed: &[u8; 32]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(NH_KEY);
        hasher.update(seed);
        let mut reader = hasher.finalize_xof();
        let mut words = Zeroizing::new([0; WORDS]);
        for word in words.iter_mut() {
            let mut bytes = [0; 8];
            reader.fill(&mut bytes);
            *word = u64::from_le_bytes(bytes);
        }
        reader.zeroize();
        hasher.zeroize();
        Self {
            words,
            long: Zeroizing::new(blake3::derive_key(LONG_KEY, seed)),
        }
    }

    /// The identity of `bytes` among all that are used for the same thing, `domain`.
    pub(crate) fn of(&self, domain: u64, bytes: &[u8]) -> Identity {
        if bytes.len() <= PIECE {
            return self.piece(domain, bytes);
        }
        let mut hasher = blake3::Hasher::new_keyed(&self.long);
        for piece in bytes.chunks(PIECE) {
            let Identity([first, second]) = self.piece(domain, piece);
            hasher.update(&first.to_le_bytes());
            hasher.update(&second.to_le_bytes());
        }
        let digest = *hasher.finalize().as_bytes();
        hasher.zeroize();
        let (halves, _none) = digest.as_chunks::<16>();
        let half = |at: usize| {
            halves
                .get(at)
                .map_or(0, |bytes| u128::from_le_bytes(*bytes))
        };
        Identity([half(0), half(1)])
    }

    /// NH of at most [`PIECE`] bytes. The end is filled up with zeros, so the length goes in beside the sums.
    fn piece(&self, domain: u64, bytes: &[u8]) -> Identity {
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let start = u128::from(domain) << 64 | u128::from(length);
        let mut sums = [start; 2];
        let (pairs, rest) = bytes.as_chunks::<16>();
        let (keys, _odd) = self.words.as_chunks::<2>();
        let mut keys = keys.iter().zip(keys.iter().skip(1));
        for (pair, keys) in pairs.iter().zip(&mut keys) {
            add(&mut sums, pair, keys);
        }
        if let (false, Some(keys)) = (rest.is_empty(), keys.next()) {
            let mut last = [0; 16];
            for (to, from) in last.iter_mut().zip(rest) {
                *to = *from;
            }
            add(&mut sums, &last, keys);
            last.zeroize();
        }
        Identity(sums)
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

impl Hash for Identity {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self([first, second]) = self;
        state.write_u128(first ^ second.rotate_left(64));
    }
}

/// Values by identity. Its order is never seen: it is only looked up.
#[expect(
    clippy::disallowed_types,
    reason = "looked up, never iterated; nothing of its order is seen"
)]
pub(crate) type ByIdentity<V> = HashMap<Identity, V, BuildHasherDefault<Fold>>;

/// Folds an [`Identity`], which is a keyed hash already, to the 64 bits that a table wants.
#[derive(Clone, Copy, Default)]
pub(crate) struct Fold(u64);

impl Hasher for Fold {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u128(u128::from(*byte));
        }
    }

    fn write_u128(&mut self, number: u128) {
        #[expect(clippy::cast_possible_truncation, reason = "folding")]
        let folded = number as u64 ^ (number >> 64) as u64 ^ self.0;
        // The sums of one product are poor in their lowest bits; the multiplier is 2^64 over the golden ratio.
        let spread = u128::from(folded).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        #[expect(clippy::cast_possible_truncation, reason = "folding")]
        let spread = spread as u64 ^ (spread >> 64) as u64;
        self.0 = spread;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn identities() -> Identities {
        Identities::new(&[5; 32])
    }

    /// As UMAC describes it, a word at a time.
    fn plain_nh(words: &[u64], domain: u64, bytes: &[u8]) -> [u128; 2] {
        let mut padded = bytes.to_vec();
        padded.resize(bytes.len().next_multiple_of(16), 0);
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
            prop_assert_eq!(identities.of(3, &bytes).0, plain_nh(identities.words.as_slice(), 3, &bytes));
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
    fn tables_get_hashes_that_spread() {
        let identities = identities();
        let low_bits: BTreeSet<u64> = (0..4096_u32)
            .map(|number| {
                let mut hasher = Fold::default();
                identities.of(0, &number.to_le_bytes()).hash(&mut hasher);
                hasher.finish() & 0xfff
            })
            .collect();
        // Of 4096 balls in 4096 bins, 63 percent of the bins get one.
        assert!((2400..2800).contains(&low_bits.len()), "{}", low_bits.len());
    }
}
