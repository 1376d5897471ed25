//! Keys that never leave a TPM 2.0: it signs, and cordon has no more than the wrapped key.
//!
//! Cordon needs six commands with fixed structures, so they are written here, as bytes. The library
//! of the TPM2 Software Stack is C, needs bindings made at build time, and loads what talks to the TPM
//! as shared objects, into a daemon of root; six commands are less than what reviewing that takes.
//! Nothing secret is sent or answered: a key is made by the TPM, and comes out encrypted by it. So
//! commands are authorised with the empty password, and sessions are not encrypted.
//!
//! Without the feature `tpm` there is no such key, and everything that would need one says so.
//!
//! **Invariants**: a key file holds nothing that signs without its TPM; a key that may have come from
//! outside of the TPM, or may leave it, is not used; what the TPM answers is verified with the public
//! key before it is a signature.

use std::io;
use std::path::PathBuf;

use p256::ecdsa;

#[cfg(feature = "tpm")]
mod device;
#[cfg(feature = "tpm")]
mod key;
#[cfg(feature = "tpm")]
mod key_file;
#[cfg(feature = "tpm")]
mod wire;

#[cfg(not(feature = "tpm"))]
#[path = "absent.rs"]
mod key;

pub use key::Key;

/// Where Linux has its TPM, with a manager of its resources.
pub const DEVICE: &str = "/dev/tpmrm0";

/// The label of a key file (ASN.1 Specification for TPM 2.0 Key Files).
const LABEL: &str = "TSS2 PRIVATE KEY";

/// A TPM, or a key of one, that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TpmError {
    /// This program has no code for it.
    #[error(
        "this is a key in a TPM, and this cordon was built without them: install one that was built with \
         `--features tpm`, or name another key in `signing_key`"
    )]
    NotBuilt,
    /// What was answered is not an answer, or not to this.
    #[error("the TPM `{}` does not answer as a TPM 2.0 does", device.display())]
    Answer {
        /// The TPM.
        device: PathBuf,
    },
    /// A message came back signed by nobody.
    #[error(
        "the TPM `{}` returned something that is no signature of its key; nothing was signed",
        device.display()
    )]
    Forged {
        /// The TPM.
        device: PathBuf,
    },
    /// The key is not of this TPM.
    #[error(
        "the TPM `{}` does not know this key: it was made in another TPM, or this one has been cleared \
         since; make a new key (`cordon key generate --tpm`) and put it into the trust policy",
        device.display()
    )]
    Foreign {
        /// The TPM.
        device: PathBuf,
    },
    /// The owner hierarchy has a password.
    #[error(
        "the TPM `{}` asks for a password of its owner hierarchy or of the key, and cordon has none: \
         remove it (`tpm2_changeauth -c owner -p OLD`), or make a key without one",
        device.display()
    )]
    Password {
        /// The TPM.
        device: PathBuf,
    },
    /// Too many wrong passwords.
    #[error(
        "the TPM `{}` is locked out after wrong passwords: wait, or run `tpm2_dictionarylockout \
         --clear-lockout`",
        device.display()
    )]
    LockedOut {
        /// The TPM.
        device: PathBuf,
    },
    /// It refuses for another reason.
    #[error(
        "the TPM `{}` refuses {command} (`tpm2_rc_decode {code:#x}` says why)",
        device.display()
    )]
    Refused {
        /// The TPM.
        device: PathBuf,
        /// What it refuses.
        command: &'static str,
        /// Its code.
        code: u32,
    },
    /// It is not there, or may not be used.
    #[error(
        "the TPM `{}` cannot be used: a host that has one needs the module of its driver loaded, and \
         cordon the right to open it (docs/keys.md has a drop-in for the service)",
        device.display()
    )]
    Unreachable {
        /// The TPM.
        device: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The file is not a key that can be used.
    #[error(
        "it is no key of a TPM that cordon can use: {what}; `cordon key generate --tpm` makes one"
    )]
    Unusable {
        /// Why not.
        what: &'static str,
    },
    /// The signature has no encoding.
    #[error("the TPM's key cannot be read")]
    Point(#[source] ecdsa::Error),
}

/// Whether a PEM file says that it is a key of a TPM. Pure.
#[must_use]
pub fn is_key(pem: &[u8]) -> bool {
    let begin = format!("-----BEGIN {LABEL}-----");
    pem.trim_ascii_start().starts_with(begin.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_says_whether_it_is_a_key_of_a_tpm() {
        assert!(is_key(b"\n-----BEGIN TSS2 PRIVATE KEY-----\nAAAA\n"));
        for other in [
            b"-----BEGIN PRIVATE KEY-----\n".as_slice(),
            b"-----BEGIN TSS2 PRIVATE KEY",
            b"",
        ] {
            assert!(!is_key(other));
        }
    }

    #[cfg(not(feature = "tpm"))]
    #[test]
    fn without_the_feature_a_key_of_a_tpm_is_refused_with_what_to_do() {
        let device = std::path::Path::new(DEVICE);
        for error in [
            Key::generate(device).unwrap_err(),
            Key::parse("", device).unwrap_err(),
        ] {
            assert!(error.to_string().contains("--features tpm"), "{error}");
        }
    }
}
