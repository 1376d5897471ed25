//! Publishing to and fetching from registries of this machine: good ones, poor ones and hostile ones.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tempfile::TempDir;

use crate::digest::Digest;
use crate::error::OciError;
use crate::manifest::BUNDLE;
use crate::parcel::{Folder, Parcel, Piece, Set};
use crate::registry::{Options, Registry};

mod access;
mod hostile;
mod referrers;
mod round;
mod server;

use server::Server;

/// How long a client of a test may take.
const PATIENCE: Duration = Duration::from_secs(10);

fn options() -> Options {
    Options {
        plain_http: true,
        authority: None,
        // None of whoever runs the tests.
        auth_file: Some("/dev/null".into()),
        timeout: PATIENCE,
    }
}

/// What a server needs for TLS on this machine, and the certificate (PEM) that clients must trust.
fn certified() -> (Arc<ServerConfig>, String) {
    let certified = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certified.cert.der().clone()],
            PrivateKeyDer::Pkcs8(key),
        )
        .unwrap();
    (Arc::new(config), certified.cert.pem())
}

fn session(server: &Server, image: &Digest, options: &Options) -> Registry {
    let reference = format!("oci://{}/app@{image}", server.address);
    let mut options = options.clone();
    let empty = TempDir::new().unwrap();
    if options.auth_file.as_deref() == Some(Path::new("/dev/null")) {
        let file = empty.path().join("config.json");
        write(&file, b"{}");
        options.auth_file = Some(file);
        let registry = Registry::new(reference.parse().unwrap(), &options, true).unwrap();
        // The file is read when a registry asks who we are.
        let _kept = empty.keep();
        return registry;
    }
    Registry::new(reference.parse().unwrap(), &options, true).unwrap()
}

#[expect(clippy::disallowed_methods, reason = "a test's own file")]
fn write(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
}

#[expect(clippy::disallowed_methods, reason = "a test's own file")]
fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap()
}

/// A parcel with one set: names and contents.
fn parcel(files: &[(&str, &[u8])]) -> TempDir {
    let folder = TempDir::new().unwrap();
    let mut set = Set::default();
    for (name, content) in files {
        let digest = Digest::of(content);
        write(&Folder(folder.path()).path(&digest), content);
        let signed = name.ends_with(".sigstore.json");
        set.files.push(Piece {
            name: (*name).to_owned(),
            media_type: if signed { BUNDLE } else { "application/json" }.to_owned(),
            digest,
            predicate_type: signed.then(|| format!("urn:test:{name}")),
        });
    }
    let list = Parcel {
        sets: vec![set],
        ..Parcel::default()
    };
    Folder(folder.path()).close(list).unwrap();
    folder
}

/// What is fetched of an image.
fn fetched(server: &Server, image: &Digest) -> Result<(Parcel, TempDir), OciError> {
    fetched_with(server, image, &options())
}

fn fetched_with(
    server: &Server,
    image: &Digest,
    options: &Options,
) -> Result<(Parcel, TempDir), OciError> {
    let folder = TempDir::new().unwrap();
    crate::fetch(&session(server, image, options), folder.path())?;
    let parcel = Folder(folder.path()).open()?;
    // Whatever a registry says, there is nothing but the list and files with the names of digests.
    for entry in fs::read_dir(folder.path()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(
            name == "parcel.json" || Digest::from_hex(&name).is_some(),
            "{name}"
        );
    }
    Ok((parcel, folder))
}
