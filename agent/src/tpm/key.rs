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
        let signature = Signature::from_scalars(r, s).map_err(|_: ecdsa::Error| forged())?;
        let signature = signature.normalize_s();
        if self.public.verify(message, &signature).is_err() {
            return Err(forged());
        }
        Ok(signature.to_der())
    }
}
