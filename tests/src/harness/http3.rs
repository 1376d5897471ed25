//! HTTP/3 beside the allowed host's web server: the same files, by the same certificate, over QUIC.
//!
//! It writes down each request, so that a story knows what really came this way.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use h3::server::RequestResolver;
use http::{Response, StatusCode};
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Endpoint, EndpointConfig, Incoming, TokioRuntime};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::harness::namespace::Namespace;
use crate::harness::servers::Servers;

/// What is served, and by what certificate.
#[derive(Clone, Copy, Debug)]
pub struct Files<'a> {
    /// The folder of the files; only those at its top are served.
    pub www: &'a Path,
    /// PEM.
    pub certificate: &'a Path,
    /// PEM.
    pub key: &'a Path,
}

/// A server that runs until its world ends. Clones share what they wrote down.
#[derive(Clone, Debug)]
pub struct Http3 {
    www: PathBuf,
    paths: Arc<Mutex<Vec<String>>>,
}

impl Http3 {
    /// Serves files at each address, inside a namespace.
    pub(super) fn serve(
        files: &Files<'_>,
        servers: &Servers,
        namespace: &Namespace,
        addresses: &[SocketAddr],
    ) -> Result<Self> {
        let server = Self {
            www: files.www.to_owned(),
            paths: Arc::default(),
        };
        let settings = quinn::ServerConfig::with_crypto(Arc::new(crypto(files)?));
        for &address in addresses {
            let socket = namespace.run(|| Ok(UdpSocket::bind(address)?))?;
            let _runtime = servers.enter();
            let endpoint = Endpoint::new(
                EndpointConfig::default(),
                Some(settings.clone()),
                socket,
                Arc::new(TokioRuntime),
            )
            .with_context(|| format!("serve HTTP/3 on {address}"))?;
            servers.add(server.clone().accept(endpoint));
        }
        Ok(server)
    }

    /// How many requests for a path came this way, whatever their query.
    pub fn requests(&self, path: &str) -> usize {
        let paths = self.paths.lock().unwrap_or_else(PoisonError::into_inner);
        paths.iter().filter(|known| *known == path).count()
    }

    async fn accept(self, endpoint: Endpoint) {
        while let Some(incoming) = endpoint.accept().await {
            // A client may hang up whenever it likes; what it asked for is written down by then.
            drop(tokio::spawn(self.clone().converse(incoming)));
        }
    }

    async fn converse(self, incoming: Incoming) -> Result<()> {
        let connection = h3_quinn::Connection::new(incoming.await?);
        let mut requests = h3::server::Connection::new(connection).await?;
        while let Some(request) = requests.accept().await? {
            drop(tokio::spawn(self.clone().answer(request)));
        }
        Ok(())
    }

    async fn answer(self, request: RequestResolver<h3_quinn::Connection, Bytes>) -> Result<()> {
        let (request, mut stream) = request.resolve_request().await?;
        let path = request.uri().path();
        self.paths
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(path.to_owned());
        // In one folder there is nothing to climb out of.
        let name = path.trim_start_matches('/');
        let file = (!name.contains('/')).then(|| fs::read(self.www.join(name)).ok());
        let (status, body) = match file.flatten() {
            Some(body) => (StatusCode::OK, body),
            None => (StatusCode::NOT_FOUND, Vec::new()),
        };
        let is_page = Path::new(name).extension().is_some_and(|is| is == "html");
        let kind = if is_page { "text/html" } else { "text/plain" };
        let head = Response::builder().status(status);
        let head = head.header(http::header::CONTENT_TYPE, kind).body(())?;
        stream.send_response(head).await?;
        stream.send_data(Bytes::from(body)).await?;
        Ok(stream.finish().await?)
    }
}

fn crypto(files: &Files<'_>) -> Result<QuicServerConfig> {
    let chain = CertificateDer::pem_file_iter(files.certificate)?.collect::<Result<_, _>>()?;
    let key = PrivateKeyDer::from_pem_file(files.key)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h3".to_vec()];
    Ok(config.try_into()?)
}
