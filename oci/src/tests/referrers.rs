//! Lists of referrers: pages, the tag, and others who write it at the same time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde_json::{Value, json};

use super::server::{Server, Told};
use super::{fetched, options, parcel, session};
use crate::error::OciError;
use crate::manifest::INDEX;
use crate::publish;

const FILES: [(&str, &[u8]); 1] = [("seal.sigstore.json", b"{}")];

/// What is listed under the tag.
fn tagged(server: &Server, image: &crate::digest::Digest) -> Vec<Value> {
    let manifests = server.state().manifests.clone();
    let (kind, bytes) = &manifests[&format!("sha256-{}", image.hex())];
    assert_eq!(kind, INDEX);
    let index: Value = serde_json::from_slice(bytes).unwrap();
    index["manifests"].as_array().unwrap().clone()
}

#[test]
fn all_pages_are_read() {
    let server = Server::new(true);
    let image = server.image(b"{}");
    for number in 0..5 {
        let text = number.to_string();
        let files: [(&str, &[u8]); 1] = [("run.json", text.as_bytes())];
        publish(&session(&server, &image, &options()), parcel(&files).path()).unwrap();
    }
    server.state().page = 2;
    assert_eq!(fetched(&server, &image).unwrap().0.sets.len(), 5);
    assert_eq!(server.count("GET", "from="), 2);
}

#[test]
fn the_list_under_the_tag_keeps_what_others_put_there() {
    let server = Server::new(false);
    let image = server.image(b"{}");
    let others = json!({"schemaVersion": 2, "mediaType": INDEX, "annotations": {"a": "b"}, "manifests": [
        {"mediaType": "x", "digest": format!("sha512:{}", "0".repeat(128)), "size": 3, "platform": {"os": "linux"}},
    ]});
    let tag = format!("sha256-{}", image.hex());
    let entry = (INDEX.to_owned(), others.to_string().into_bytes());
    server.state().manifests.insert(tag, entry);
    publish(&session(&server, &image, &options()), parcel(&FILES).path()).unwrap();
    let listed = tagged(&server, &image);
    assert_eq!(listed.len(), 3);
    assert_eq!(listed[0], others["manifests"][0]);
    // What it is stands there, so that nobody has to fetch it to know.
    assert_eq!(
        listed[1]["artifactType"],
        "application/vnd.cordon.evidence.v1"
    );
    // The condition is the version that was read.
    let asked = server.asked();
    let puts = asked
        .iter()
        .filter(|asked| asked.is("PUT", "/manifests/sha256-"));
    let conditions: Vec<_> = puts
        .map(|asked| asked.headers.contains_key("if-match"))
        .collect();
    assert_eq!(conditions, [true]);
}

#[test]
fn what_another_writer_took_away_is_written_again() {
    let server = Server::new(false);
    let image = server.image(b"{}");
    let lost = AtomicUsize::new(0);
    let tag = format!("sha256-{}", image.hex());
    // The first two times another, who read before, writes after us.
    server.hook(move |asked, state| {
        if !asked.is("PUT", &tag) || lost.fetch_add(1, Ordering::Relaxed) >= 2 {
            return None;
        }
        let other = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": []});
        let entry = (INDEX.to_owned(), other.to_string().into_bytes());
        state.manifests.insert(tag.clone(), entry);
        Some(Told::new(201, ""))
    });
    publish(&session(&server, &image, &options()), parcel(&FILES).path()).unwrap();
    assert_eq!(tagged(&server, &image).len(), 2);
}

#[test]
fn a_refused_condition_is_read_anew_and_without_end_is_told() {
    let server = Server::new(false);
    let image = server.image(b"{}");
    server.hook(|asked, _| {
        asked
            .is("PUT", "/manifests/sha256-")
            .then(|| Told::new(412, ""))
    });
    let error = publish(&session(&server, &image, &options()), parcel(&FILES).path()).unwrap_err();
    assert!(matches!(error, OciError::Raced { .. }), "{error}");
    assert_eq!(error.status(), 8);
}

#[test]
fn writers_at_once_are_all_listed() {
    let server = Server::new(false);
    let image = server.image(b"{}");
    thread::scope(|scope| {
        for number in 0..4 {
            let (server, image) = (&server, &image);
            scope.spawn(move || {
                let text = number.to_string();
                let files: [(&str, &[u8]); 1] = [("run.json", text.as_bytes())];
                publish(&session(server, image, &options()), parcel(&files).path()).unwrap();
            });
        }
    });
    assert_eq!(tagged(&server, &image).len(), 4);
}
