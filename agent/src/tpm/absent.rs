//! What stands for a key in a TPM where cordon was built without them.

use std::path::Path;

use p256::ecdsa::{self, DerSignature};

use super::TpmError;

/// No such key.
#[derive(Debug)]
pub enum Key {}

impl Key {
    /// Refuses.
    ///
    /// # Errors
    /// Always.
    pub fn generate(_device: &Path) -> Result<Self, TpmError> {
        Err(TpmError::NotBuilt)
    }

    /// Refuses.
    ///
    /// # Errors
    /// Always.
    pub fn parse(_pem: &str, _device: &Path) -> Result<Self, TpmError> {
        Err(TpmError::NotBuilt)
    }

    /// There is none.
    ///
    /// # Errors
    /// None.
    pub fn to_pem(&self) -> Result<String, TpmError> {
        match *self {}
    }

    /// There is none.
    #[must_use]
    pub fn public(&self) -> &ecdsa::VerifyingKey {
        match *self {}
    }

    /// There is none.
    ///
    /// # Errors
    /// None.
    pub fn sign(&self, _message: &[u8]) -> Result<DerSignature, TpmError> {
        match *self {}
    }
}
