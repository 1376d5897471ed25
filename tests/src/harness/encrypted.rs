//! DNS over TLS and HTTPS: the zone behind a certificate of the story's own.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use h2::server::SendResponse;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::client::step::Transport;
use crate::harness::namespace::Namespace;
use crate::harness::servers::Servers;
use crate::harness::zone::{Zone, serve_connection};

/// Media type of a DNS message (RFC 8484).
const DNS_MESSAGE: &str = "application/dns-message";

/// What is spoken behind TLS.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Protocol {
    /// DNS over TLS.
    Tls,
    /// DNS over HTTPS.
    Https,
}

/// A certificate, and the authority that signed it.
#[derive(Debug)]
pub struct Certificate {
    authority: PathBuf,
    chain: rcgen::Certificate,
    key: KeyPair,
}

impl Certificate {
    /// For this name, by an authority that nobody else has, written to a file.
    pub fn new(name: &str, authority_file: PathBuf) -> Result<Self> {
        let mut authority = CertificateParams::new(Vec::new())?;
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
        fs::write(&authority_file, authority.pem())?;
        let key = KeyPair::generate()?;
        let server = CertificateParams::new(vec![name.to_owned()])?;
        Ok(Self {
            authority: authority_file,
            chain: server.signed_by(&key, &authority)?,
            key,
        })
    }

    /// The authority's certificate, in PEM.
    pub fn authority(&self) -> &Path {
        &self.authority
    }

    /// Serves a zone at each address, inside a namespace.
    pub(super) fn serve(
        &self,
        zone: &Zone,
        protocol: Protocol,
        servers: &Servers,
        namespace: &Namespace,
        addresses: &[SocketAddr],
    ) -> Result<()> {
        let acceptor = self.acceptor(protocol)?;
        for &address in addresses {
            let listener = namespace.run(|| {
                let listener = std::net::TcpListener::bind(address)?;
                listener.set_nonblocking(true)?;
                Ok(listener)
            })?;
            let _runtime = servers.enter();
            let listener = TcpListener::from_std(listener)
                .with_context(|| format!("serve encrypted DNS on {address}"))?;
            servers.add(accept(listener, acceptor.clone(), protocol, zone.clone()));
        }
        Ok(())
    }

    fn acceptor(&self, protocol: Protocol) -> Result<TlsAcceptor> {
        let key = PrivateKeyDer::try_from(self.key.serialize_der())
            .map_err(|why| anyhow::anyhow!("the key: {why}"))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![self.chain.der().clone()], key)?;
        if protocol == Protocol::Https {
            config.alpn_protocols = vec![b"h2".to_vec()];
        }
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, protocol: Protocol, zone: Zone) {
    while let Ok((stream, _peer)) = listener.accept().await {
        let (acceptor, zone) = (acceptor.clone(), zone.clone());
        drop(tokio::spawn(async move {
            // A client that does not like the certificate ends it here.
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            match protocol {
                Protocol::Tls => serve_connection(stream, zone).await,
                // Whatever ends the connection, the client sees it end.
                Protocol::Https => drop(serve_http(stream, zone).await),
            }
        }));
    }
}

async fn serve_http(stream: impl AsyncRead + AsyncWrite + Unpin + Send, zone: Zone) -> Result<()> {
    let mut connection = h2::server::handshake(stream).await?;
    while let Some(request) = connection.accept().await {
        let (request, respond) = request?;
        drop(tokio::spawn(answer(request, respond, zone.clone())));
    }
    Ok(())
}

async fn answer(
    request: http::Request<h2::RecvStream>,
    mut respond: SendResponse<bytes::Bytes>,
    zone: Zone,
) -> Result<()> {
    let status = |code: u16| http::Response::builder().status(code);
    if request.uri().path() != "/dns-query" {
        respond.send_response(status(404).body(())?, true)?;
        return Ok(());
    }
    let mut body = request.into_body();
    let mut message = Vec::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        body.flow_control().release_capacity(chunk.len())?;
        message.extend_from_slice(&chunk);
    }
    let Some(answer) = zone.respond(&message, Transport::Tcp).await else {
        return Ok(());
    };
    let response = status(200)
        .header("content-type", DNS_MESSAGE)
        .header("content-length", answer.len())
        .body(())?;
    respond
        .send_response(response, false)?
        .send_data(answer.into(), true)?;
    Ok(())
}
