//! What was published is fetched as it was, and is published once.

use tempfile::TempDir;

use super::server::{Asked, Server};
use super::{certified, fetched, fetched_with, options, parcel, read, session, write};
use crate::error::OciError;
use crate::parcel::Folder;
use crate::publish;

const FILES: [(&str, &[u8]); 3] = [
    ("run.json", b"{\"run\": 1}"),
    ("run.sigstore.json", b"{\"bundle\": 1}"),
    ("seal.sigstore.json", b"{\"bundle\": 2}"),
];

#[test]
fn evidence_comes_back_as_it_went_with_and_without_the_api() {
    for api in [true, false] {
        let server = Server::new(api);
        let image = server.image(b"{\"schemaVersion\": 2}");
        let sent = publish(&session(&server, &image, &options()), parcel(&FILES).path()).unwrap();
        assert_eq!(
            (sent.sent.len(), sent.present.len(), sent.by_api),
            (3, 0, api)
        );
        // Three files, and the empty configuration.
        assert_eq!(sent.blobs, 4);
        // Nothing comes in chunks, whose end a registry that looks for a length would leave unread.
        let asked = server.asked();
        let sent: Vec<_> = asked.iter().filter(|asked| asked.sends()).collect();
        assert_eq!(sent.len(), if api { 11 } else { 12 });
        for asked in sent {
            assert!(asked.headers.contains_key("content-length"), "{asked:?}");
            assert!(!asked.headers.contains_key("transfer-encoding"));
        }
        let (list, folder) = fetched(&server, &image).unwrap();
        assert_eq!((list.sets.len(), list.statements.len()), (1, 2));
        let set = &list.sets[0];
        let names: Vec<_> = set.files.iter().map(|piece| piece.name.as_str()).collect();
        assert_eq!(names, FILES.map(|(name, _)| name));
        for (piece, (_, content)) in set.files.iter().zip(FILES) {
            assert_eq!(read(&Folder(folder.path()).path(&piece.digest)), content);
        }
        // The statements' files are those of the set.
        for statement in &list.statements {
            let digest = statement.digest.as_ref().unwrap();
            assert!(set.files.iter().any(|piece| piece.digest == *digest));
        }
        // 3 blobs, each once, though two are in two manifests.
        assert_eq!(server.count("GET", "/blobs/"), 3);
    }
}

#[test]
fn what_is_there_is_not_sent_again() {
    for api in [true, false] {
        let server = Server::new(api);
        let image = server.image(b"{}");
        let first = publish(&session(&server, &image, &options()), parcel(&FILES).path()).unwrap();
        let puts = server.count("PUT", "");
        let again = publish(&session(&server, &image, &options()), parcel(&FILES).path()).unwrap();
        assert_eq!(again.present, first.sent);
        assert_eq!((again.sent.len(), again.blobs), (0, 0));
        assert_eq!(server.count("PUT", ""), puts);
        // A second set sends only what is new.
        let mut files = FILES.to_vec();
        files.push(("new.json", b"new"));
        let more = publish(&session(&server, &image, &options()), parcel(&files).path()).unwrap();
        assert_eq!((more.sent.len(), more.present.len(), more.blobs), (1, 2, 1));
        assert_eq!(fetched(&server, &image).unwrap().0.sets.len(), 2);
    }
}

#[test]
fn an_image_that_is_not_there_gets_nothing() {
    let server = Server::new(true);
    let image = crate::digest::Digest::of(b"nowhere");
    let error = publish(&session(&server, &image, &options()), parcel(&FILES).path()).unwrap_err();
    assert!(matches!(error, OciError::NoImage { .. }), "{error}");
    assert!(!server.asked().iter().any(Asked::sends));
    // Nothing refers to it, and that is no error.
    let (list, _folder) = fetched(&server, &image).unwrap();
    assert!(list.sets.is_empty() && list.statements.is_empty());
}

#[test]
fn a_parcel_whose_files_are_not_what_they_are_called_is_not_sent() {
    let server = Server::new(true);
    let image = server.image(b"{}");
    let parcel = parcel(&FILES);
    let digest = crate::digest::Digest::of(FILES[0].1);
    write(&Folder(parcel.path()).path(&digest), b"{\"run\": 2}");
    let error = publish(&session(&server, &image, &options()), parcel.path()).unwrap_err();
    assert!(matches!(error, OciError::Parcel { .. }), "{error}");
    assert_eq!(server.count("PUT", "/manifests/"), 0);
}

#[test]
fn over_tls_only_a_known_authority_counts() {
    let (tls, pem) = certified();
    let server = Server::start(true, Some(tls));
    let image = server.image(b"{}");
    let folder = TempDir::new().unwrap();
    let authority = folder.path().join("ca.pem");
    write(&authority, pem.as_bytes());
    let mut trusting = options();
    trusting.plain_http = false;
    let error = fetched_with(&server, &image, &trusting).unwrap_err();
    assert!(matches!(error, OciError::Unreachable { .. }), "{error}");
    assert_eq!(error.status(), 8);
    trusting.authority = Some(authority.clone());
    publish(&session(&server, &image, &trusting), parcel(&FILES).path()).unwrap();
    assert_eq!(
        fetched_with(&server, &image, &trusting)
            .unwrap()
            .0
            .sets
            .len(),
        1
    );
    // A file without certificates is told before anything is asked.
    write(&authority, b"nothing");
    let reference = format!("oci://{}/app@{image}", server.address)
        .parse()
        .unwrap();
    let error = crate::Registry::new(reference, &trusting, false).unwrap_err();
    assert!(matches!(error, OciError::Authority { .. }), "{error}");
}
