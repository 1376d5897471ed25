//! Which certificates an encrypted DNS server may be certified by.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tracing::debug;

use crate::sys::fs;

/// 1 MiB: the whole store of a distribution has a quarter of it.
const FILE_LIMIT: u64 = 1 << 20;

/// Why no certificate could be judged.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// A file that the settings name cannot be read.
    #[error("cannot read the certificates that `dns.ca` names")]
    Read(#[from] fs::FileError),
    /// It does not hold certificates.
    #[error("`{}`, which `dns.ca` names, is not a file of certificates in PEM", path.display())]
    NotCertificates {
        /// The file.
        path: PathBuf,
        /// What is wrong, if there is something to say.
        #[source]
        source: Option<rustls::Error>,
    },
    /// Nobody is trusted.
    #[error(
        "no certificate authority is known; install the system's (package `ca-certificates`) or name a file in `dns.ca`"
    )]
    Nobody,
    /// The TLS library refuses its own defaults.
    #[error("cannot set up TLS")]
    Library(#[source] rustls::Error),
}

/// TLS that trusts the system's authorities and those of these files.
pub(super) fn client(authorities: &[PathBuf]) -> Result<ClientConfig, TrustError> {
    let mut roots = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    for error in &system.errors {
        debug!(%error, "a certificate of the system is passed over");
    }
    roots.add_parsable_certificates(system.certs);
    for path in authorities {
        add(&mut roots, path)?;
    }
    if roots.is_empty() {
        return Err(TrustError::Nobody);
    }
    // Named, so that no other library in the program can choose another.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TrustError::Library)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

fn add(roots: &mut RootCertStore, path: &Path) -> Result<(), TrustError> {
    let bytes = fs::read(path, FILE_LIMIT)?;
    let refused = |source| TrustError::NotCertificates {
        path: path.into(),
        source,
    };
    let mut found = false;
    for certificate in CertificateDer::pem_slice_iter(&bytes) {
        let certificate = certificate.map_err(|_error| refused(None))?;
        roots
            .add(certificate)
            .map_err(|error| refused(Some(error)))?;
        found = true;
    }
    if found { Ok(()) } else { Err(refused(None)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_certificates_is_refused_by_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        let garbled = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for text in ["", "nothing", garbled] {
            fs::write_atomic(&path, text.as_bytes(), 0o600).unwrap();
            let error = client(std::slice::from_ref(&path)).unwrap_err();
            assert!(error.to_string().contains("ca.pem"), "{error}");
        }
        let error = client(&[dir.path().join("missing.pem")]).unwrap_err();
        assert!(matches!(error, TrustError::Read(_)), "{error}");
    }
}
