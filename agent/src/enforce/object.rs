//! The BPF object inside this executable.

use std::sync::OnceLock;

use sha2::{Digest as _, Sha256};

/// The object, as built from `ebpf/`; empty when the build found no BPF toolchain.
static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("CORDON_OBJECT"));

/// The object's bytes; `None` in a build without one.
#[must_use]
pub fn bytes() -> Option<&'static [u8]> {
    (!OBJECT.is_empty()).then_some(OBJECT)
}

/// SHA-256 of the object, hex.
#[must_use]
pub fn sha256() -> String {
    static KNOWN: OnceLock<String> = OnceLock::new();
    KNOWN.get_or_init(|| hex(&Sha256::digest(OBJECT))).clone()
}

/// Lower-case hex.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(
        String::with_capacity(bytes.len().saturating_mul(2)),
        |mut text, byte| {
            // Writing to a string cannot fail.
            let _infallible = write!(text, "{byte:02x}");
            text
        },
    )
}
