//! Which certificates an encrypted DNS server may be certified by.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{VerifierBuilderError, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
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
    /// The TLS library cannot use the authorities.
    #[error("cannot set up TLS with these certificate authorities")]
    Authorities(#[source] VerifierBuilderError),
    /// The TLS library refuses its own defaults.
    #[error("cannot set up TLS")]
    Library(#[source] rustls::Error),
}

/// Who may certify servers: the system's authorities, and those of files.
#[derive(Debug)]
pub(super) struct Trust {
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
}

impl Trust {
    /// Reads the system's store and these files.
    pub(super) fn new(authorities: &[PathBuf]) -> Result<Self, TrustError> {
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
        Ok(Self {
            roots: Arc::new(roots),
            // Named, so that no other library in the program can choose another.
            provider: Arc::new(rustls::crypto::ring::default_provider()),
        })
    }

    /// TLS for one server, and who judges its certificate.
    pub(super) fn client(&self) -> Result<(ClientConfig, Arc<Judge>), TrustError> {
        let (roots, provider) = (Arc::clone(&self.roots), Arc::clone(&self.provider));
        let inner = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider));
        let judge = Arc::new(Judge {
            inner: inner.build().map_err(TrustError::Authorities)?,
            refused: Mutex::new(None),
        });
        let verifier: Arc<dyn ServerCertVerifier> = Arc::<Judge>::clone(&judge);
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TrustError::Library)?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        Ok((config, judge))
    }
}

/// Judges certificates as rustls does, and remembers why one was refused: hickory says only that
/// there is no connection.
#[derive(Debug)]
pub(super) struct Judge {
    inner: Arc<WebPkiServerVerifier>,
    refused: Mutex<Option<rustls::Error>>,
}

impl Judge {
    /// Why a certificate was refused since the last call.
    pub(super) fn take_refusal(&self) -> Option<rustls::Error> {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.take()
    }
}

impl ServerCertVerifier for Judge {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let judged = self.inner.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        if let Err(error) = &judged {
            let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
            *refused = Some(error.clone());
        }
        judged
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
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
            let error = Trust::new(std::slice::from_ref(&path)).unwrap_err();
            assert!(error.to_string().contains("ca.pem"), "{error}");
        }
        let error = Trust::new(&[dir.path().join("missing.pem")]).unwrap_err();
        assert!(matches!(error, TrustError::Read(_)), "{error}");
    }
}
