//! Names for secrets that do not tell them: keyed fingerprints.

use std::fmt;

use blake3::Hasher;
use zeroize::{Zeroize as _, Zeroizing};

/// What each key derived from the host's key is for. Never changed or reused.
const FINGERPRINT: &str = "cordon secrets 2026-11 fingerprint of a value";
const KNOWN_VALUE: &str = "cordon secrets 2026-11 digest of a known value";
const KNOWN_FILTER: &str = "cordon secrets 2026-11 filter of a known value";
const KEY_ID: &str = "cordon secrets 2026-11 id of a key";

/// The host's key for fingerprints: 32 random bytes that never leave the host.
///
/// Whoever has it can try guesses against fingerprints; without it they say only whether two values are equal. A new
/// key breaks the link to older reports, which is what changing it is for.
///
/// ```compile_fail
/// println!("{:?}", cordon_secrets::FingerprintKey::new([7; 32]));
/// ```
#[expect(missing_debug_implementations, reason = "it is a key")]
pub struct FingerprintKey(Zeroizing<[u8; 32]>);

impl FingerprintKey {
    /// Takes the key's bytes, which must come from the system's random source.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The name of the key in reports.
    pub fn id(&self) -> KeyId {
        let derived = self.derive(KEY_ID);
        let mut id = [0; 8];
        id.copy_from_slice(derived.first_chunk::<8>().unwrap_or(&[0; 8]));
        KeyId(id)
    }

    /// The fingerprint of a value, as detections of it carry it: to allow a value that is known.
    pub fn fingerprint(&self, value: &[u8]) -> Fingerprint {
        self.fingerprints().fingerprint(value)
    }

    /// The key that fingerprints are made with.
    pub(crate) fn fingerprints(&self) -> Keyed {
        Keyed(self.derive(FINGERPRINT))
    }

    /// The key that digests of known values are made with.
    pub(crate) fn known_values(&self) -> Keyed {
        Keyed(self.derive(KNOWN_VALUE))
    }

    /// Two numbers for the filter of known values.
    pub(crate) fn known_filter(&self) -> [u64; 2] {
        let derived = self.derive(KNOWN_FILTER);
        let number = |at: usize| {
            derived
                .get(at..)
                .and_then(|rest| rest.first_chunk::<8>())
                .map_or(0, |bytes| u64::from_le_bytes(*bytes))
        };
        [number(0), number(8)]
    }

    fn derive(&self, purpose: &str) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(blake3::derive_key(purpose, self.0.as_slice()))
    }
}

/// A derived key for one purpose.
pub(crate) struct Keyed(Zeroizing<[u8; 32]>);

impl Keyed {
    /// The keyed BLAKE3 of some bytes, truncated to 128 bits. Leaves no copy of them behind.
    pub(crate) fn digest(&self, bytes: &[u8]) -> [u8; 16] {
        let mut hasher = Hasher::new_keyed(&self.0);
        hasher.update(bytes);
        let mut reader = hasher.finalize_xof();
        let mut digest = [0; 16];
        reader.fill(&mut digest);
        // Both keep the end of the input.
        reader.zeroize();
        hasher.zeroize();
        digest
    }

    /// The fingerprint of a secret.
    pub(crate) fn fingerprint(&self, secret: &[u8]) -> Fingerprint {
        Fingerprint(self.digest(secret))
    }
}

/// The name of a [`FingerprintKey`]: 64 bits, shown as hexadecimal digits.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct KeyId([u8; 8]);

/// The fingerprint of a secret: its BLAKE3 under the host's key, 128 bits, shown as hexadecimal digits.
///
/// Equal secrets have equal fingerprints under one key, whatever rule found them and wherever.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Fingerprint([u8; 16]);

impl Fingerprint {
    /// Reads 32 lower-case hexadecimal digits, as reports show them.
    pub fn parse(text: &str) -> Option<Self> {
        read_hex(text.as_bytes()).map(Self)
    }
}

impl KeyId {
    /// Reads 16 lower-case hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        read_hex(text.as_bytes()).map(Self)
    }
}

/// Reads exactly `N` bytes of lower-case hexadecimal digits.
pub(crate) fn read_hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let (pairs, rest) = text.as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte.wrapping_sub(b'0')),
        b'a'..=b'f' => Some(byte.wrapping_sub(b'a').wrapping_add(10)),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

/// Writes bytes as hexadecimal digits.
pub(crate) fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

macro_rules! shown_as_hex {
    ($($name:ident)*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(f, &self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    )*};
}

shown_as_hex!(Fingerprint KeyId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_secrets_have_equal_fingerprints_under_one_key_only() {
        let (one, other) = (FingerprintKey::new([1; 32]), FingerprintKey::new([2; 32]));
        let value = b"a secret";
        assert_eq!(
            one.fingerprints().fingerprint(value),
            one.fingerprints().fingerprint(value)
        );
        assert_ne!(
            one.fingerprints().fingerprint(value),
            other.fingerprints().fingerprint(value)
        );
        assert_ne!(
            one.fingerprints().digest(value),
            one.known_values().digest(value)
        );
        assert_ne!(one.id(), other.id());
    }

    #[test]
    fn what_is_shown_can_be_read_back() {
        let key = FingerprintKey::new([9; 32]);
        let fingerprint = key.fingerprints().fingerprint(b"x");
        assert_eq!(
            Fingerprint::parse(&fingerprint.to_string()),
            Some(fingerprint)
        );
        assert_eq!(KeyId::parse(&key.id().to_string()), Some(key.id()));
        assert_eq!(Fingerprint::parse("00"), None);
        assert_eq!(KeyId::parse("000000000000000G"), None);
        assert_eq!(KeyId::parse("0000000000000A00"), None);
    }
}
