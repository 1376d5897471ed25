//! Where the report key is, and how it is kept there: what evidence states as `keyProtection`.
//!
//! A key is a file, or a credential that the service manager decrypted and handed over
//! (`LoadCredentialEncrypted=`, systemd.exec(5)), or in a TPM, which says so in its file. What a credential was encrypted with nobody can see
//! from what was handed over, so the settings name the encrypted file, whose header says it.
//!
//! **Invariants**: a class is stated only if something says so; what is not known has a word of its own.
//! The header is taken at its word, as everything is that the owner of a host sets up: that the service
//! manager loads this very file is not proved.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::signer::{KeyError, SigningKey, private};
use crate::sys::fs;
use crate::tpm;

/// What settings write before the name of a credential.
pub const CREDENTIAL: &str = "credential:";

/// What settings write before the file of a key in a TPM.
pub const TPM: &str = "tpm:";

/// Where a service manager says that credentials are.
pub const DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

/// 1 MiB: what systemd takes of a credential.
const MAX_CREDENTIAL: u64 = 1 << 20;

/// Where the report key is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum KeyPlace {
    /// A file of its own: the key, or one in a TPM.
    File(PathBuf),
    /// The file of a key in a TPM, and of no other.
    Tpm(PathBuf),
    /// A credential of the service.
    Credential {
        /// Its name.
        name: String,
        /// The encrypted file that it comes from, if the settings say so.
        sealed: Option<PathBuf>,
    },
}

/// How a key is kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Protection {
    /// In a file that its owner, and whoever has the disk, can read.
    File,
    /// In the host's TPM, which signs: nobody reads it, cordon neither.
    InTpm,
    /// Handed over as a credential. How it is kept besides is not known.
    Credential,
    /// Encrypted with a key on the host's disk: a copy of the file alone is of no use.
    Host,
    /// Encrypted with the host's TPM: the disk alone is of no use.
    Tpm,
    /// Encrypted with both.
    HostAndTpm,
    /// Encrypted with no key at all, as `systemd-creds` does for hosts without a TPM if told to.
    Null,
}

impl fmt::Display for Protection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::File => "file",
            Self::InTpm => "tpm",
            Self::Credential => "systemd-creds",
            Self::Host => "systemd-creds-host",
            Self::Tpm => "systemd-creds-tpm2",
            Self::HostAndTpm => "systemd-creds-host+tpm2",
            Self::Null => "systemd-creds-null",
        })
    }
}

impl Protection {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::InTpm,
        Self::HostAndTpm,
        Self::Tpm,
        Self::Host,
        Self::Credential,
        Self::Null,
        Self::File,
    ];

    /// The one of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let mut all = Self::ALL.into_iter();
        all.find(|class| class.to_string() == name)
    }

    /// What it comes to, for whoever owns the host.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::File => {
                "a plain file: whoever reads the disk, a backup or an image of it has the key"
            }
            Self::InTpm => {
                "in the TPM of the host, which signs: no copy of the disk or of memory has the key"
            }
            Self::Credential => {
                "a credential of the service; how it is encrypted on disk is not known"
            }
            Self::Host => {
                "encrypted with a key on the same disk: the file alone is of no use, the whole disk is"
            }
            Self::Tpm => "encrypted with the TPM of the host: the disk alone is of no use",
            Self::HostAndTpm => {
                "encrypted with the TPM of the host and a key on its disk: each alone is of no use"
            }
            Self::Null => "encrypted with no key: as good as a plain file",
        }
    }

    /// Whether the disk alone gives the key away, for all that is known.
    #[must_use]
    pub fn is_weak(self) -> bool {
        matches!(self, Self::File | Self::Null | Self::Credential)
    }

    /// What an encrypted credential says that it was encrypted with: the identifier that its header
    /// begins with (systemd, `creds-util.h`). Nothing if this is no such file; what is encrypted in a way
    /// that is not known here is [`Self::Credential`]. Pure.
    #[must_use]
    pub fn of_header(file: &[u8]) -> Option<Self> {
        let text: Vec<u8> = file
            .iter()
            .copied()
            .filter(|byte| !byte.is_ascii_whitespace())
            .collect();
        let bytes = STANDARD.decode(text).ok()?;
        let (id, rest) = bytes.split_first_chunk::<16>()?;
        // Key, block, IV and tag of AES-256-GCM, each a number of 32 bits: the header goes on so.
        let sizes: [u32; 4] = [32, 1, 12, 16];
        let expected = sizes.map(u32::to_le_bytes).concat();
        rest.starts_with(&expected).then(|| Self::of_id(*id))
    }

    fn of_id(id: [u8; 16]) -> Self {
        match u128::from_be_bytes(id) {
            0x5a1c_6a86_df9d_4096_b1d5_a65e_0862_f19a
            | 0x55b9_ed1d_3859_4d43_a831_9d2e_bb33_2ac6 => Self::Host,
            0x0c7c_c07b_1176_4591_9c4b_0bea_08bc_20fe
            | 0xfaf7_eb93_41e3_412c_a1a4_36f9_5a29_362f => Self::Tpm,
            0x93a8_9409_4874_4490_90ca_f2fc_93ca_b553
            | 0xef4a_c136_79a9_480e_a7db_6889_7f9f_165d
            | 0xaf49_50a8_4913_4eb1_a738_4630_4ff3_0c05
            | 0xadbc_4ca3_efb6_4201_ba88_1b6f_2e40_95ea => Self::HostAndTpm,
            0x0584_69da_f6f5_4324_8005_49da_0f8e_a2fb => Self::Null,
            _ => Self::Credential,
        }
    }
}

impl fmt::Display for KeyPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Tpm(path) => write!(f, "{TPM}{}", path.display()),
            Self::Credential { name, .. } => write!(f, "{CREDENTIAL}{name}"),
        }
    }
}

impl KeyPlace {
    /// The file, if it is one.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) | Self::Tpm(path) => Some(path),
            Self::Credential { .. } => None,
        }
    }

    /// Reads the key, if nobody but its owner can. One that is in a TPM is in this one, which has to sign
    /// with it.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn load(&self, device: &Path) -> Result<SigningKey, KeyError> {
        let key = self.load_with(std::env::var_os(DIRECTORY), device)?;
        key.prove()?;
        Ok(key)
    }

    fn load_with(
        &self,
        directory: Option<OsString>,
        device: &Path,
    ) -> Result<SigningKey, KeyError> {
        match self {
            Self::File(path) => SigningKey::load_on(path, device),
            Self::Tpm(path) => {
                if matches!(path.try_exists(), Ok(false)) {
                    return Err(KeyError::NoTpmKey { path: path.into() });
                }
                let key = SigningKey::load_on(path, device)?;
                if !key.is_in_tpm() {
                    return Err(KeyError::NotInTpm { path: path.into() });
                }
                Ok(key)
            }
            Self::Credential { name, sealed } => {
                let directory = directory.map(PathBuf::from);
                let directory = directory.filter(|directory| directory.is_absolute());
                let directory =
                    directory.ok_or_else(|| KeyError::NoCredentials { name: name.clone() })?;
                // Before the key is read: a class that cannot be stated is a mistake of the settings.
                let protection = protection(sealed.as_deref())?;
                let metadata = std::fs::symlink_metadata(&directory)
                    .map_err(fs::FileError::on("examine", &directory))?;
                private(&directory, &metadata)?;
                let path = directory.join(name);
                if matches!(path.try_exists(), Ok(false)) {
                    return Err(KeyError::CredentialMissing {
                        name: name.clone(),
                        directory,
                    });
                }
                let key = SigningKey::load_on(&path, device)?;
                // Encrypted besides, it is still in the TPM.
                Ok(if key.is_in_tpm() {
                    key
                } else {
                    key.kept(protection)
                })
            }
        }
    }

    /// How the key is kept, without using it.
    ///
    /// # Errors
    /// The encrypted file cannot be read, or is none.
    pub fn protection(&self) -> Result<Protection, KeyError> {
        match self {
            Self::File(path) => {
                let file = fs::read(path, MAX_CREDENTIAL);
                Ok(match file {
                    Ok(pem) if tpm::is_key(&pem) => Protection::InTpm,
                    _ => Protection::File,
                })
            }
            Self::Tpm(_) => Ok(Protection::InTpm),
            Self::Credential { sealed, .. } => protection(sealed.as_deref()),
        }
    }
}

/// What can be said of a credential that comes from this file.
fn protection(sealed: Option<&Path>) -> Result<Protection, KeyError> {
    let Some(path) = sealed else {
        return Ok(Protection::Credential);
    };
    let bytes = fs::read(path, MAX_CREDENTIAL)?;
    Protection::of_header(&bytes).ok_or_else(|| KeyError::CredentialPlain { path: path.into() })
}

/// Whether this can be the name of a credential: one part of a path.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !name.is_empty() && name.len() <= 255 && !name.starts_with('.') && name.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use proptest::prelude::*;

    use super::*;
    use crate::report::signer::tests::published_key;

    /// What `systemd-creds encrypt --with-key=host` of systemd 252 writes.
    const BY_HOST: &str = "Whxqht+dQJax1aZeCGLxmiAAAAABAAAADAAAABAAAAA=";

    fn header(id: u128) -> String {
        let sizes = [32_u32, 1, 12, 16].map(u32::to_le_bytes).concat();
        STANDARD.encode([id.to_be_bytes().as_slice(), &sizes, &[9; 40]].concat())
    }

    fn set_mode(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    fn load(place: &KeyPlace, directory: Option<OsString>) -> Result<SigningKey, KeyError> {
        place.load_with(directory, Path::new("/nonexistent/tpm"))
    }

    /// A directory as a service manager makes it, with a key in it.
    fn handed_over(base: &Path) -> (PathBuf, KeyPlace) {
        let directory = base.join("credentials");
        published_key().save(&directory.join("report")).unwrap();
        set_mode(&directory, 0o500);
        let place = KeyPlace::Credential {
            name: "report".to_owned(),
            sealed: None,
        };
        (directory, place)
    }

    #[test]
    fn a_header_says_what_a_credential_is_encrypted_with_and_nothing_else_does() {
        for (id, class) in [
            (
                0x5a1c_6a86_df9d_4096_b1d5_a65e_0862_f19a,
                "systemd-creds-host",
            ),
            (
                0x0c7c_c07b_1176_4591_9c4b_0bea_08bc_20fe,
                "systemd-creds-tpm2",
            ),
            (
                0x93a8_9409_4874_4490_90ca_f2fc_93ca_b553,
                "systemd-creds-host+tpm2",
            ),
            (
                0x0584_69da_f6f5_4324_8005_49da_0f8e_a2fb,
                "systemd-creds-null",
            ),
            // A kind that is not known is not claimed to be any.
            (7, "systemd-creds"),
        ] {
            let found = Protection::of_header(header(id).as_bytes()).unwrap();
            assert_eq!(found.to_string(), class);
            let mut lines = header(id);
            lines.insert(20, '\n');
            assert_eq!(Protection::of_header(lines.as_bytes()), Some(found));
        }
        assert_eq!(
            Protection::of_header(BY_HOST.as_bytes()),
            Some(Protection::Host)
        );
        let pem = b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        for other in [
            b"".as_slice(),
            b"AAAA",
            pem,
            BY_HOST.as_bytes().get(1..).unwrap(),
        ] {
            assert_eq!(Protection::of_header(other), None);
        }
    }

    #[test]
    fn a_credential_is_the_key_and_its_class_is_that_of_the_encrypted_file() {
        let base = tempfile::tempdir().unwrap();
        let (directory, place) = handed_over(base.path());
        let key = load(&place, Some(directory.clone().into())).unwrap();
        assert_eq!(key.public(), published_key().public());
        assert_eq!(key.protection(), Protection::Credential);
        let sealed = base.path().join("report.cred");
        let by_host = header(0x5a1c_6a86_df9d_4096_b1d5_a65e_0862_f19a);
        fs::write_atomic(&sealed, by_host.as_bytes(), 0o600).unwrap();
        let place = KeyPlace::Credential {
            name: "report".to_owned(),
            sealed: Some(sealed.clone()),
        };
        let key = load(&place, Some(directory.clone().into())).unwrap();
        assert_eq!(key.protection(), Protection::Host);
        assert_eq!(place.protection().unwrap(), Protection::Host);
        fs::write_atomic(&sealed, b"-----BEGIN", 0o600).unwrap();
        let error = load(&place, Some(directory.into())).unwrap_err();
        assert!(matches!(error, KeyError::CredentialPlain { .. }), "{error}");
        std::fs::remove_file(sealed).unwrap();
        place.protection().unwrap_err();
    }

    #[test]
    fn without_a_directory_of_credentials_the_error_says_how_to_get_one() {
        let base = tempfile::tempdir().unwrap();
        let (_, place) = handed_over(base.path());
        for directory in [None, Some("".into()), Some("credentials".into())] {
            let error = load(&place, directory).unwrap_err();
            assert!(matches!(error, KeyError::NoCredentials { .. }), "{error}");
            let remedy = "LoadCredentialEncrypted=report:FILE";
            assert!(error.to_string().contains(remedy), "{error}");
        }
        let gone = base.path().join("gone");
        let error = load(&place, Some(gone.into())).unwrap_err();
        assert!(matches!(error, KeyError::File(_)), "{error}");
    }

    #[test]
    fn a_credential_that_is_missing_or_that_others_can_read_is_refused() {
        let base = tempfile::tempdir().unwrap();
        let (directory, place) = handed_over(base.path());
        let load = || load(&place, Some(directory.clone().into()));
        set_mode(&directory, 0o550);
        let error = load().unwrap_err();
        assert!(matches!(error, KeyError::Readable { .. }), "{error}");
        assert!(error.to_string().contains("chmod 0500"), "{error}");
        set_mode(&directory, 0o700);
        set_mode(&directory.join("report"), 0o440);
        let error = load().unwrap_err();
        assert!(matches!(error, KeyError::Readable { .. }), "{error}");
        std::fs::remove_file(directory.join("report")).unwrap();
        let error = load().unwrap_err();
        assert!(
            matches!(error, KeyError::CredentialMissing { .. }),
            "{error}"
        );
    }

    #[test]
    fn settings_that_want_a_key_in_a_tpm_take_no_other() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("report.tpm");
        let place = KeyPlace::Tpm(path.clone());
        assert_eq!(place.protection().unwrap(), Protection::InTpm);
        let error = load(&place, None).unwrap_err();
        assert!(
            error.to_string().contains("cordon key generate --tpm"),
            "{error}"
        );
        published_key().save(&path).unwrap();
        let error = load(&place, None).unwrap_err();
        assert!(matches!(error, KeyError::NotInTpm { .. }), "{error}");
        assert!(
            error.to_string().contains("cordon key rotate --tpm"),
            "{error}"
        );
        // A file says itself what it is.
        let place = KeyPlace::File(path.clone());
        assert_eq!(place.protection().unwrap(), Protection::File);
        let label = b"-----BEGIN TSS2 PRIVATE KEY-----\nAAAA\n-----END TSS2 PRIVATE KEY-----\n";
        fs::write_atomic(&path, label, 0o400).unwrap();
        assert_eq!(place.protection().unwrap(), Protection::InTpm);
        let error = load(&place, None).unwrap_err();
        assert!(matches!(error, KeyError::TpmFile { .. }), "{error}");
    }

    proptest! {
        #[test]
        fn headers_are_read_totally(bytes in any::<Vec<u8>>(), text in "[A-Za-z0-9+/=\n]{0,200}") {
            let _any: Option<Protection> = Protection::of_header(&bytes);
            let _any: Option<Protection> = Protection::of_header(text.as_bytes());
        }

        #[test]
        fn a_name_leads_nowhere_else(name in any::<String>()) {
            if is_name(&name) {
                prop_assert_eq!(Path::new(&name).components().count(), 1);
                prop_assert!(name != ".." && name != ".");
            }
        }
    }
}
