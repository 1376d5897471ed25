//! The hidden `clients-native` command: clients of Rust libraries.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use hickory_resolver::TokioResolver;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// What to be.
#[derive(clap::Subcommand, Debug)]
pub enum Args {
    /// Look a name up with hickory
    Lookup {
        /// The name
        name: String,
    },
    /// Print the version of a library
    Version {
        /// The library's crate
        package: String,
    },
    /// Fetch by HTTPS with rustls
    Fetch {
        /// The host
        host: String,
        /// The path
        path: String,
        /// Where the body goes
        file: PathBuf,
        /// The CA's certificate, PEM
        ca: PathBuf,
    },
}

/// Does it.
pub fn run(args: &Args) -> Result<ExitCode> {
    match args {
        Args::Lookup { name } => lookup(name)?,
        Args::Version { package } => println!("{}", version(package)?),
        Args::Fetch {
            host,
            path,
            file,
            ca,
        } => fs::write(file, fetch(host, path, ca)?)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// What this program was built with.
fn version(package: &str) -> Result<&'static str> {
    let locked = include_str!("../../../Cargo.lock");
    let name = format!("name = \"{package}\"");
    let mut lines = locked.lines().skip_while(|line| *line != name);
    let line = lines.nth(1).context("no such crate")?;
    Ok(line.trim_start_matches("version = ").trim_matches('"'))
}

fn lookup(name: &str) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let found = runtime.block_on(async {
        let resolver = TokioResolver::builder_tokio()?.build()?;
        resolver.lookup_ip(name).await
    })?;
    for address in found.iter() {
        println!("{address}");
    }
    Ok(())
}

fn fetch(host: &str, path: &str, ca: &Path) -> Result<Vec<u8>> {
    let socket = TcpStream::connect((host, 443)).context("connect")?;
    let name = ServerName::try_from(host.to_owned())?;
    let connection = ClientConnection::new(trusting(ca)?, name)?;
    let mut stream = StreamOwned::new(connection, socket);
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    )
    .context("send")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).context("receive")?;
    let end = answer
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .context("an answer without an end of its headers")?;
    let (head, body) = answer.split_at(end + 4);
    ensure!(head.starts_with(b"HTTP/1.1 200 "), "not a 200");
    Ok(body.to_vec())
}

/// Settings that trust one CA.
pub fn trusting(ca: &Path) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    let file = File::open(ca).with_context(|| format!("open {}", ca.display()))?;
    for certificate in CertificateDer::pem_reader_iter(file) {
        roots.add(certificate?)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(Arc::new(
        ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth(),
    ))
}
