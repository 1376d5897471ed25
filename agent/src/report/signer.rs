//! The report key: P-256, kept in a file that only its owner can read, or handed over by the service
//! manager ([`super::key_place`]), or in a TPM, which signs ([`crate::tpm`]).
//!
//! A key is named by the OpenSSH SHA-256 fingerprint of its public half (`SHA256:…`), the one form
//! that every foreign verifier takes, and that `ssh-keygen -lf` prints.
//!
//! **Invariants**: the secret is wiped when dropped and never printed; a key file is never written
//! over, and never used while others can read it.

use std::fmt;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use p256::ecdsa::signature::{Signer as _, Verifier as _};
use p256::ecdsa::{self, DerSignature};
use p256::elliptic_curve::Generate as _;
use p256::elliptic_curve::zeroize::Zeroizing;
use p256::pkcs8::{
    DecodePrivateKey as _, DecodePublicKey as _, EncodePrivateKey as _, EncodePublicKey as _,
    LineEnding,
};
use sha2::{Digest as _, Sha256};

use super::key_place::Protection;
use super::statement::sha256_hex;
use crate::sys::{dir, fs};
use crate::tpm::{self, TpmError};

/// 16 KiB: more than any PEM file of one key.
const MAX_KEY_FILE: u64 = 16 << 10;

/// A key that was not made, read or used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The system gave no randomness.
    #[error("the system has no randomness for a new key")]
    Entropy(#[source] p256::elliptic_curve::common::getrandom::Error),
    /// The service manager handed nothing over under this name.
    #[error(
        "there is no credential `{name}` in `{}`: the unit needs `LoadCredentialEncrypted={name}:FILE`",
        directory.display()
    )]
    CredentialMissing {
        /// Its name.
        name: String,
        /// Where credentials are.
        directory: PathBuf,
    },
    /// The file that should be the encrypted credential is none.
    #[error(
        "`{}` is no encrypted credential; `systemd-creds encrypt` makes one, and \
         `signing_credential` names it",
        path.display()
    )]
    CredentialPlain {
        /// The file.
        path: PathBuf,
    },
    /// Something of that name is there.
    #[error(
        "`{}` exists already; a key is never written over: name another file or move this one",
        path.display()
    )]
    Exists {
        /// What is there.
        path: PathBuf,
    },
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] fs::FileError),
    /// No service manager started this process with credentials.
    #[error(
        "the signing key is the credential `{name}`, and there are no credentials here: \
         $CREDENTIALS_DIRECTORY is not an absolute path; the service of cordon has it by \
         `LoadCredentialEncrypted={name}:FILE`, a command by \
         `systemd-run --pipe --wait -p LoadCredentialEncrypted={name}:FILE cordon …`"
    )]
    NoCredentials {
        /// The credential.
        name: String,
    },
    /// The path names no file.
    #[error("`{}` does not name a file", path.display())]
    NoFileName {
        /// The path.
        path: PathBuf,
    },
    /// The content is not a P-256 key in the expected form.
    #[error("`{}` is not a P-256 {expected} key in PEM form", path.display())]
    NotAKey {
        /// The file.
        path: PathBuf,
        /// `private` or `public`.
        expected: &'static str,
    },
    /// Users other than the owner can read the private key, so it may be theirs as well.
    #[error(
        "`{}` can be read by others (mode {mode:04o}); if nobody has copied it, run \
         `chmod {should:04o} {}`",
        path.display(), path.display()
    )]
    Readable {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// The bits it should have.
        should: u32,
    },
    /// Somebody else owns the private key.
    #[error(
        "`{}` belongs to user {owner}, who could read or replace it; a key belongs to root or to the \
         user who runs cordon",
        path.display()
    )]
    StrangeOwner {
        /// The file.
        path: PathBuf,
        /// Its owner.
        owner: u32,
    },
    /// The key has no PEM form.
    #[error("the key cannot be written as PEM")]
    Encode(#[from] p256::pkcs8::Error),
    /// The library refused to sign.
    #[error("the key cannot sign")]
    Sign(#[source] ecdsa::Error),
    /// The TPM, or a key in it, cannot be used.
    #[error("the key in the TPM cannot be used")]
    Tpm(#[from] TpmError),
    /// The file of a key in a TPM cannot be used.
    #[error("the key `{}` cannot be used", path.display())]
    TpmFile {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: TpmError,
    },
    /// The settings want a key in a TPM, and this is none.
    #[error(
        "`{}` is no key in a TPM, as `signing_key = \"tpm:…\"` says; `cordon key rotate --tpm` puts one in \
         its place, `cordon key generate --tpm` makes the first one",
        path.display()
    )]
    NotInTpm {
        /// The file.
        path: PathBuf,
    },
    /// The settings want a key in a TPM, and there is no file.
    #[error("there is no key `{}`; `cordon key generate --tpm` makes it", path.display())]
    NoTpmKey {
        /// The file.
        path: PathBuf,
    },
}

/// A private key that signs evidence.
pub struct SigningKey {
    secret: Secret,
    protection: Protection,
}

/// Where what signs is.
enum Secret {
    /// In memory.
    Here(ecdsa::SigningKey),
    /// In a TPM, of which this is only the wrapped key.
    InTpm(tpm::Key),
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.public().id())
    }
}

impl SigningKey {
    /// Makes a new key from the system's randomness.
    ///
    /// # Errors
    /// There is none.
    pub fn generate() -> Result<Self, KeyError> {
        ecdsa::SigningKey::try_generate()
            .map(Self::in_file)
            .map_err(KeyError::Entropy)
    }

    /// Has a TPM make a new key, which stays there.
    ///
    /// # Errors
    /// It is not there, or refuses, or cordon was built without TPMs.
    pub fn generate_in(device: &Path) -> Result<Self, KeyError> {
        Ok(Self::in_tpm(tpm::Key::generate(device)?))
    }

    /// A key of the class that is promised least of.
    fn in_file(secret: ecdsa::SigningKey) -> Self {
        Self {
            secret: Secret::Here(secret),
            protection: Protection::File,
        }
    }

    fn in_tpm(key: tpm::Key) -> Self {
        Self {
            secret: Secret::InTpm(key),
            protection: Protection::InTpm,
        }
    }

    /// Whether its private part is in a TPM.
    #[must_use]
    pub fn is_in_tpm(&self) -> bool {
        matches!(self.secret, Secret::InTpm(_))
    }

    /// Has a key in a TPM sign something that is nothing, so that a TPM that is gone is found out before
    /// its signature is needed. One that is in memory signs.
    ///
    /// # Errors
    /// The TPM is not there, refuses, or has another key.
    pub fn prove(&self) -> Result<(), KeyError> {
        match &self.secret {
            Secret::Here(_) => Ok(()),
            Secret::InTpm(key) => {
                key.sign(b"cordon asks whether this key signs")?;
                Ok(())
            }
        }
    }

    /// The same key, kept in another way.
    #[must_use]
    pub fn kept(self, protection: Protection) -> Self {
        Self { protection, ..self }
    }

    /// How it is kept, as evidence states it.
    #[must_use]
    pub fn protection(&self) -> Protection {
        self.protection
    }

    /// Reads a private key, if nobody but its owner can. One in a TPM is in the one that Linux has.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        Self::load_on(path, Path::new(tpm::DEVICE))
    }

    /// The same; a key in a TPM is in this one. It is not asked.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn load_on(path: &Path, device: &Path) -> Result<Self, KeyError> {
        let pem = read_secret(path)?;
        let not_a_key = || KeyError::NotAKey {
            path: path.into(),
            expected: "private",
        };
        let text = str::from_utf8(&pem).ok().ok_or_else(not_a_key)?;
        if tpm::is_key(&pem) {
            let path = path.into();
            return tpm::Key::parse(text, device)
                .map(Self::in_tpm)
                .map_err(|source| KeyError::TpmFile { path, source });
        }
        ecdsa::SigningKey::from_pkcs8_pem(text)
            .ok()
            .map(Self::in_file)
            .ok_or_else(not_a_key)
    }

    /// Writes the private key (PEM, mode 0400) and beside it, as `FILE.pub`, the public one.
    ///
    /// # Errors
    /// One of the two exists or cannot be written; then there is neither of them.
    pub fn save(&self, path: &Path) -> Result<PathBuf, KeyError> {
        let name = file_name(path)?;
        let public_name = format!("{name}.pub");
        let dir = dir::Directory::open_or_create(parent(path), 0o700)?;
        for name in [name, &public_name] {
            if dir.contains(name)? {
                let path = dir.path().join(name);
                return Err(KeyError::Exists { path });
            }
        }
        let secret = match &self.secret {
            Secret::Here(secret) => secret.to_pkcs8_pem(LineEnding::LF)?,
            Secret::InTpm(key) => Zeroizing::new(key.to_pem()?),
        };
        let public = self.public().to_pem()?;
        dir.publish(name, secret.as_bytes(), 0o400)?;
        if let Err(error) = dir.publish(&public_name, public.as_bytes(), 0o644) {
            // Half a pair is no pair. The first error is the one that matters.
            drop(dir.remove(name));
            return Err(error.into());
        }
        Ok(dir.path().join(public_name))
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> VerifyingKey {
        VerifyingKey(*match &self.secret {
            Secret::Here(secret) => secret.verifying_key(),
            Secret::InTpm(key) => key.public(),
        })
    }

    /// Signs: ASN.1 DER. In memory deterministic (RFC 6979), in a TPM not.
    ///
    /// # Errors
    /// The library refuses, or the TPM.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let signature: DerSignature = match &self.secret {
            Secret::Here(secret) => secret.try_sign(message).map_err(KeyError::Sign)?,
            Secret::InTpm(key) => key.sign(message)?,
        };
        Ok(signature.as_bytes().to_vec())
    }
}

/// A public key that evidence is verified with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct VerifyingKey(ecdsa::VerifyingKey);

impl VerifyingKey {
    /// Reads a public key (SPKI PEM).
    ///
    /// # Errors
    /// The file cannot be read, or holds something else.
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        let pem = fs::read(path, MAX_KEY_FILE)?;
        std::str::from_utf8(&pem)
            .ok()
            .and_then(Self::from_pem)
            .ok_or_else(|| KeyError::NotAKey {
                path: path.into(),
                expected: "public",
            })
    }

    /// Reads a public key (SPKI PEM), if it is one.
    #[must_use]
    pub fn from_pem(pem: &str) -> Option<Self> {
        ecdsa::VerifyingKey::from_public_key_pem(pem).ok().map(Self)
    }

    /// The key as SPKI PEM.
    ///
    /// # Errors
    /// The library refuses.
    pub fn to_pem(self) -> Result<String, KeyError> {
        self.0
            .to_public_key_pem(LineEnding::LF)
            .map_err(|error| KeyError::Encode(error.into()))
    }

    /// The OpenSSH fingerprint: `SHA256:` and the digest of the key's wire form (RFC 4253, 5656).
    #[must_use]
    pub fn id(self) -> String {
        let point = self.0.to_sec1_point(false);
        let mut hash = Sha256::new();
        for field in [
            b"ecdsa-sha2-nistp256".as_slice(),
            b"nistp256",
            point.as_bytes(),
        ] {
            let length = u32::try_from(field.len()).unwrap_or(u32::MAX);
            hash.update(length.to_be_bytes());
            hash.update(field);
        }
        format!("SHA256:{}", STANDARD_NO_PAD.encode(hash.finalize()))
    }

    /// 16 hexadecimal digits that stand for the fingerprint in names of files.
    #[must_use]
    pub fn short(self) -> String {
        let mut hex = sha256_hex(self.id().as_bytes());
        hex.truncate(16);
        hex
    }

    /// Whether this key made that DER signature over that message.
    #[must_use]
    pub fn accepts(self, message: &[u8], signature: &[u8]) -> bool {
        DerSignature::from_bytes(signature)
            .is_ok_and(|signature| self.0.verify(message, &signature).is_ok())
    }
}

/// Whether this can be the id of a key: `SHA256:` and 32 bytes in base64 without padding.
#[must_use]
pub fn is_fingerprint(text: &str) -> bool {
    let digest = text.strip_prefix("SHA256:");
    let bytes = digest.and_then(|digest| STANDARD_NO_PAD.decode(digest).ok());
    bytes.is_some_and(|bytes| bytes.len() == 32)
}

fn read_secret(path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let file = fs::open(path)?;
    let metadata = file
        .metadata()
        .map_err(fs::FileError::on("examine", path))?;
    private(path, &metadata)?;
    // Room for the largest file, so that the secret is not left behind in a buffer outgrown.
    let room = usize::try_from(MAX_KEY_FILE).unwrap_or(usize::MAX);
    let mut pem = Zeroizing::new(Vec::with_capacity(room));
    file.take(MAX_KEY_FILE)
        .read_to_end(&mut pem)
        .map_err(fs::FileError::on("read", path))?;
    Ok(pem)
}

/// Whether a key, or the directory of one, is its owner's alone.
pub(super) fn private(path: &Path, metadata: &std::fs::Metadata) -> Result<(), KeyError> {
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(KeyError::Readable {
            path: path.into(),
            mode,
            // A directory is of no use to its owner without the right to enter it.
            should: if metadata.is_dir() { 0o500 } else { 0o400 },
        });
    }
    let owner = metadata.uid();
    if owner != 0 && owner != nix::unistd::geteuid().as_raw() {
        return Err(KeyError::StrangeOwner {
            path: path.into(),
            owner,
        });
    }
    Ok(())
}

fn file_name(path: &Path) -> Result<&str, KeyError> {
    path.file_name()
        .and_then(|name| name.to_str())
        .ok_or_else(|| KeyError::NoFileName { path: path.into() })
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// A key for golden files. It is public, and so worth nothing.
    pub(crate) fn published_key() -> SigningKey {
        SigningKey::in_file(ecdsa::SigningKey::from_slice(&[7; 32]).unwrap())
    }

    fn set_mode(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_saved_key_is_private_and_comes_back_the_same() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("keys/report.pem");
        let key = SigningKey::generate().unwrap();
        let public = key.save(&path).unwrap();
        assert_eq!(public, base.path().join("keys/report.pem.pub"));
        assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o400);
        assert_eq!(SigningKey::load(&path).unwrap().public(), key.public());
        assert_eq!(VerifyingKey::load(&public).unwrap(), key.public());
        assert_eq!(
            std::fs::read_dir(path.parent().unwrap()).unwrap().count(),
            2
        );
    }

    #[test]
    fn a_key_is_never_written_over_not_even_by_halves() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("report.pem");
        let first = SigningKey::generate().unwrap();
        first.save(&path).unwrap();
        let second = SigningKey::generate().unwrap();
        assert!(matches!(second.save(&path), Err(KeyError::Exists { .. })));
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(second.save(&path), Err(KeyError::Exists { .. })));
        assert!(!path.exists());
    }

    #[test]
    fn a_key_that_others_can_read_is_refused_with_the_remedy() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("report.pem");
        SigningKey::generate().unwrap().save(&path).unwrap();
        for mode in [0o440, 0o404, 0o420, 0o777] {
            set_mode(&path, mode);
            let error = SigningKey::load(&path).unwrap_err();
            assert!(matches!(error, KeyError::Readable { .. }), "{mode:o}");
            assert!(error.to_string().contains("chmod 0400"), "{error}");
        }
        set_mode(&path, 0o600);
        SigningKey::load(&path).unwrap();
    }

    #[test]
    fn what_is_no_p256_key_is_refused() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("report.pem");
        let pem = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        fs::write_atomic(&path, pem.as_bytes(), 0o400).unwrap();
        assert!(matches!(
            SigningKey::load(&path),
            Err(KeyError::NotAKey { .. })
        ));
        assert!(matches!(
            VerifyingKey::load(&path),
            Err(KeyError::NotAKey { .. })
        ));
    }

    #[test]
    fn debug_shows_the_fingerprint_only() {
        let shown = format!("{:?}", published_key());
        assert_eq!(
            shown,
            format!("SigningKey({})", published_key().public().id())
        );
    }

    #[test]
    fn the_fingerprint_is_the_one_of_openssh() {
        // From `ssh-keygen -i -m PKCS8 -f key.pub | ssh-keygen -lf -`.
        assert_eq!(
            published_key().public().id(),
            "SHA256:ZV2bFitY8/5t39DITy20N/r8HKhvJ0slnPrrTbvzAcQ"
        );
    }

    #[test]
    fn a_signature_is_of_one_message_by_one_key() {
        let key = published_key();
        let signature = key.sign(b"message").unwrap();
        assert_eq!(signature, key.sign(b"message").unwrap());
        assert!(key.public().accepts(b"message", &signature));
        assert!(!key.public().accepts(b"massage", &signature));
        assert!(!key.public().accepts(b"message", &[]));
        let other = SigningKey::generate().unwrap().public();
        assert!(!other.accepts(b"message", &signature));
    }
}
