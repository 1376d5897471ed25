//! A key in a TPM: made there, and used there.

use std::fmt;
use std::path::{Path, PathBuf};

use p256::ecdsa::signature::Verifier as _;
use p256::ecdsa::{self, DerSignature, Signature};
use sha2::{Digest as _, Sha256};

use super::TpmError;
use super::device::Device;
use super::key_file::KeyFile;
use super::wire::{self, Public};

/// A key of a TPM. There is nothing secret in it.
pub struct Key {
    file: KeyFile,
    device: PathBuf,
    public: ecdsa::VerifyingKey,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key(in {})", self.device.display())
    }
}

impl Key {
    /// Has the TPM make a key.
    ///
    /// # Errors
    /// It is not there, or refuses.
    pub fn generate(device: &Path) -> Result<Self, TpmError> {
        let mut tpm = Device::open(device)?;
        let parent = tpm.parent(wire::OWNER)?;
        let made = tpm.create(parent);
        tpm.flush(parent)?;
        let (private, public) = made?;
        let file = KeyFile {
            parent: wire::OWNER,
            public,
            private,
        };
        Self::new(file, device)
    }

    /// Reads a key file. The TPM is not asked.
    ///
    /// # Errors
    /// It is none, or one whose key did not come to be in the TPM, or could leave it.
    pub fn parse(pem: &str, device: &Path) -> Result<Self, TpmError> {
        Self::new(KeyFile::parse(pem)?, device)
    }

    fn new(file: KeyFile, device: &Path) -> Result<Self, TpmError> {
        let public = Public::parse(&file.public)?;
        let public =
            ecdsa::VerifyingKey::from_sec1_bytes(&public.point()).map_err(TpmError::Point)?;
        Ok(Self {
            file,
            device: device.into(),
            public,
        })
    }

    /// The key file.
    ///
    /// # Errors
    /// The library refuses.
    pub fn to_pem(&self) -> Result<String, TpmError> {
        self.file.to_pem()
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> &ecdsa::VerifyingKey {
        &self.public
    }

    /// Has the TPM sign. Everything is loaded anew each time: between two jobs a TPM may have been
    /// reset, and what stays loaded takes one of its few slots.
    ///
    /// # Errors
    /// It is not there, refuses, or has another key.
    pub fn sign(&self, message: &[u8]) -> Result<DerSignature, TpmError> {
        let digest: [u8; 32] = Sha256::digest(message).into();
        let mut tpm = Device::open(&self.device)?;
        let parent = tpm.parent(self.file.parent)?;
        let loaded = tpm.load(parent, &self.file);
        if wire::is_transient(parent) {
            tpm.flush(parent)?;
        }
        let key = loaded?;
        let signed = tpm.sign(key, &digest);
        tpm.flush(key)?;
        let (r, s) = signed?;
        // Both forms are valid; the lower one is what verifiers of other ecosystems insist on.
        let forged = || TpmError::Forged {
            device: self.device.clone(),
        };
        let signature = Signature::from_scalars(r, s).ok().ok_or_else(forged)?;
        let signature = signature.normalize_s();
        if self.public.verify(message, &signature).is_err() {
            return Err(forged());
        }
        Ok(signature.to_der())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixListener;

    use p256::ecdsa::SigningKey;
    use p256::ecdsa::signature::Signer as _;

    use super::*;
    use crate::tpm::wire::tests::of_point;

    const MESSAGE: &[u8] = b"message";

    /// What a TPM with this key comes to that answers with these numbers when it is to sign.
    fn signed(owner: &SigningKey, (r, s): ([u8; 32], [u8; 32])) -> Result<DerSignature, TpmError> {
        let base = tempfile::tempdir().unwrap();
        let device = base.path().join("tpm");
        let listener = UnixListener::bind(&device).unwrap();
        let answer = |sessions: u8, rest: &[u8]| {
            let length = u8::try_from(rest.len()).unwrap().saturating_add(10);
            [&[0x80, sessions, 0, 0, 0, length, 0, 0, 0, 0], rest].concat()
        };
        let loaded = answer(2, &[0x80, 0, 0, 0, 0, 0, 0, 0]);
        let numbers = [&[0, 0x18, 0, 0x0b, 0, 32], r.as_slice(), &[0, 32], &s].concat();
        let sign = [&[0, 0, 0, 72], numbers.as_slice()].concat();
        let answers = [
            loaded.clone(),
            loaded,
            answer(1, &[]),
            answer(2, &sign),
            answer(1, &[]),
        ];
        let tpm = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            for answer in answers {
                assert_ne!(stream.read(&mut [0; 1024]).unwrap(), 0);
                stream.write_all(&answer).unwrap();
            }
        });
        let point = owner.verifying_key().to_sec1_point(false);
        let bytes = point.as_bytes();
        let file = KeyFile {
            parent: wire::OWNER,
            public: of_point(&bytes[1..33], &bytes[33..]),
            private: vec![0, 1, 7],
        };
        let signed = Key::new(file, &device).unwrap().sign(MESSAGE);
        tpm.join().unwrap();
        signed
    }

    #[test]
    fn what_a_tpm_answers_is_a_signature_of_its_key_or_nothing() {
        let [own, other] = [7, 8].map(|seed| SigningKey::from_slice(&[seed; 32]).unwrap());
        let numbers = |signature: &Signature| {
            let (r, s) = signature.split_bytes();
            (r.into(), s.into())
        };
        let good: Signature = own.sign(MESSAGE);
        let low = good.normalize_s();
        let high = Signature::from_scalars(low.r(), -low.s()).unwrap();
        assert_ne!(low, high);
        // Whichever of its two forms the TPM gives, it is the lower one.
        for form in [low, high] {
            let signed = signed(&own, numbers(&form)).unwrap();
            assert_eq!(signed.as_bytes(), low.to_der().as_bytes());
        }
        let foreign: Signature = other.sign(MESSAGE);
        let of_other: Signature = own.sign(b"massage");
        for wrong in [numbers(&foreign), numbers(&of_other), ([0; 32], [0; 32])] {
            let error = signed(&own, wrong).unwrap_err();
            assert!(matches!(error, TpmError::Forged { .. }), "{error}");
        }
    }
}
