//! Registries that lie, flood, stall and send clients around.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::server::{Content, Server, Told};
use super::{PATIENCE, fetched, fetched_with, options, parcel, session};
use crate::digest::Digest;
use crate::error::OciError;
use crate::manifest::{BUNDLE, EVIDENCE, INDEX, MANIFEST};
use crate::parcel::Kind;
use crate::publish;
use crate::registry::Options;

const FILES: [(&str, &[u8]); 2] = [("run.json", b"{\"run\": 1}"), ("seal.sigstore.json", b"{}")];

/// A registry with good evidence of an image.
fn good() -> (Server, Digest) {
    let server = Server::new(true);
    let image = server.image(b"{}");
    publish(&session(&server, &image, &options()), parcel(&FILES).path()).unwrap();
    (server, image)
}

/// The error, or what the parcel says of its first set.
fn told(server: &Server, image: &Digest, options: &Options) -> (u8, String) {
    match fetched_with(server, image, options) {
        Err(error) => (error.status(), error.to_string()),
        Ok((list, _folder)) => match list.sets.first().and_then(|set| set.absent.as_ref()) {
            Some(absent) => (status(absent.kind), absent.reason.clone()),
            None => (0, String::new()),
        },
    }
}

const fn status(kind: Kind) -> u8 {
    match kind {
        Kind::Missing => 3,
        Kind::Refused => 7,
        Kind::Failed => 8,
    }
}

type Case = (&'static str, u16, Content, u8);

/// Answers in place of those to questions for `part`: each gets its status, within its time.
fn misbehave(part: &'static str, cases: &[Case]) {
    let (server, image) = good();
    let short = Options {
        timeout: Duration::from_secs(2),
        ..options()
    };
    for (name, status, content, expected) in cases {
        let told_once = Told::content(*status, content.clone()).with("Content-Type", INDEX);
        server.hook(move |asked, _| asked.is("GET", part).then(|| told_once.clone()));
        let begun = Instant::now();
        let (status, words) = told(&server, &image, &short);
        assert_eq!(status, *expected, "{name}: {words}");
        assert!(
            begun.elapsed() < PATIENCE,
            "{name} took {:?}",
            begun.elapsed()
        );
    }
}

fn bytes(text: &str) -> Content {
    Content::Bytes(text.into())
}

#[test]
fn files_that_are_not_those_of_the_manifest_are_refused() {
    misbehave(
        "/blobs/",
        &[
            ("another", 200, bytes("{\"run\": 2}"), 7),
            ("longer", 200, bytes("{\"run\": 1} and more"), 7),
            ("without end", 200, Content::Endless, 7),
            ("cut short", 200, Content::Short(b"{".to_vec(), 10), 8),
            (
                "promises more",
                200,
                Content::Short(b"{".to_vec(), 1 << 40),
                7,
            ),
            ("drips", 200, Content::Drip(10), 8),
            ("none", 404, bytes(""), 3),
        ],
    );
}

#[test]
fn a_file_of_the_same_length_is_still_another() {
    let (server, image) = good();
    server.hook(|asked, state| {
        let digest = asked.path.rsplit_once('/')?.1;
        let mut content = state.blobs.get(digest)?.clone();
        content[0] ^= 1;
        asked.is("GET", "/blobs/").then(|| Told::new(200, content))
    });
    assert_eq!(told(&server, &image, &options()).0, 7);
}

#[test]
fn manifests_that_lie_flood_or_stall_are_refused() {
    misbehave(
        "/manifests/",
        &[
            ("another", 200, bytes("{}"), 7),
            ("without end", 200, Content::Endless, 7),
            ("huge", 200, Content::Short(b"{".to_vec(), 2 << 20), 7),
            ("drips", 200, Content::Drip(100_000), 8),
            ("none", 404, bytes(""), 3),
        ],
    );
}

#[test]
fn lists_that_lie_flood_or_stall_are_refused() {
    misbehave(
        "/referrers/",
        &[
            ("without end", 200, Content::Endless, 7),
            ("none", 200, bytes("[]"), 7),
            ("of another time", 200, bytes("{\"schemaVersion\": 1}"), 7),
            ("deep", 200, Content::Bytes(b"[".repeat(100_000)), 7),
            ("drips", 200, Content::Drip(100_000), 8),
            ("headers without end", 200, Content::Headers, 8),
            ("nothing", 200, Content::Nothing, 8),
            ("an error", 500, bytes("{\"errors\": 1}"), 8),
            ("an error without end", 500, Content::Endless, 8),
            ("too busy", 429, bytes(""), 8),
            ("no access", 403, bytes(""), 8),
            ("an odd status", 299, bytes(""), 8),
            ("an end of the world", 599, bytes(""), 8),
        ],
    );
}

#[test]
fn a_registry_that_is_busy_is_asked_again_and_not_without_end() {
    let (server, image) = good();
    server.hook(|asked, state| {
        let before = state
            .asked
            .iter()
            .filter(|other| other.path == asked.path)
            .count();
        (asked.is("GET", "/referrers/") && before < 3).then(|| Told::new(503, ""))
    });
    fetched(&server, &image).unwrap();
    server.state().asked.clear();
    server.hook(|_, _| Some(Told::new(503, "")));
    let error = fetched(&server, &image).unwrap_err();
    assert!(
        matches!(error, OciError::Status { status: 503, .. }),
        "{error}"
    );
    assert_eq!(server.asked().len(), 3);
}

#[test]
fn redirects_lead_nowhere_they_should_not() {
    let (server, image) = good();
    for location in [
        "",
        "/v2/app/around",
        "http://192.0.2.1/",
        "file:///etc/passwd",
        "//192.0.2.1/",
        "https://user:secret@192.0.2.1/",
    ] {
        server.state().asked.clear();
        server.hook(move |_, _| Some(Told::new(302, "").with("Location", location)));
        let error = fetched(&server, &image).unwrap_err();
        assert!(
            matches!(error, OciError::Redirect { .. }),
            "{location}: {error}"
        );
        assert_eq!(error.status(), 8);
        assert!(server.asked().len() <= 5, "{location}");
    }
    // What is sent is not sent elsewhere.
    server.hook(|asked, _| {
        (asked.method == "POST").then(|| Told::new(307, "").with("Location", "/v2/app/around"))
    });
    let files: [(&str, &[u8]); 1] = [("run.json", b"new")];
    let error = publish(&session(&server, &image, &options()), parcel(&files).path()).unwrap_err();
    assert!(matches!(error, OciError::Redirect { .. }), "{error}");
    server.hook(|asked, _| {
        (asked.method == "POST")
            .then(|| Told::new(202, "").with("Location", "http://192.0.2.1/upload"))
    });
    let error = publish(&session(&server, &image, &options()), parcel(&files).path()).unwrap_err();
    assert!(matches!(error, OciError::Redirect { .. }), "{error}");
}

/// Evidence about an image, made by whoever may write to the repository.
fn evidence(server: &Server, image: &Digest, kind: &str, layers: &Value) {
    let empty = server.blob(b"{}");
    server.manifest(&json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": kind,
        "config": {"mediaType": "x", "digest": empty, "size": 2}, "layers": layers,
        "subject": {"mediaType": MANIFEST, "digest": image, "size": 2},
    }));
}

#[test]
fn bad_sets_and_statements_spoil_no_good_ones() {
    let (server, image) = good();
    let blob = server.blob(b"content");
    let layer = |title: Value, size: u64| json!({"mediaType": "x", "digest": blob, "size": size, "annotations": {"org.opencontainers.image.title": title}});
    let nameless = json!({"mediaType": "x", "digest": blob, "size": 7});
    for layers in [
        json!([nameless]),
        json!([layer(json!("a".repeat(600)), 7)]),
        json!([layer(json!("larger"), 8)]),
        json!([layer(json!("smaller"), 6)]),
        json!([layer(json!("huge"), 1 << 40)]),
        json!(vec![layer(json!("a"), 7); 257]),
    ] {
        evidence(&server, &image, EVIDENCE, &layers);
    }
    evidence(&server, &image, BUNDLE, &json!([nameless, nameless]));
    evidence(&server, &image, BUNDLE, &json!([]));
    evidence(
        &server,
        &image,
        BUNDLE,
        &json!([{"mediaType": "x", "digest": blob, "size": 24 << 20}]),
    );
    let (list, _folder) = fetched(&server, &image).unwrap();
    let good: Vec<_> = list
        .sets
        .iter()
        .filter(|set| set.absent.is_none())
        .collect();
    assert_eq!((list.sets.len(), good.len()), (7, 1));
    assert_eq!(good[0].files.len(), 2);
    assert!(
        list.sets
            .iter()
            .filter_map(|set| set.absent.as_ref())
            .all(|absent| absent.kind == Kind::Refused)
    );
    let good: Vec<_> = list
        .statements
        .iter()
        .filter(|one| one.digest.is_some())
        .collect();
    assert_eq!((list.statements.len(), good.len()), (4, 1));
}

#[test]
fn no_name_of_a_registry_becomes_that_of_a_file() {
    let server = Server::new(true);
    let image = server.image(b"{}");
    let names = [
        "../../etc/cron.d/x",
        "/etc/passwd",
        "parcel.json",
        "..",
        "a\u{0}b",
        "\u{202e}nosj",
        "con",
        "a\\..\\b",
        "",
    ];
    for (number, name) in names.iter().enumerate() {
        let blob = server.blob(format!("content {number}").as_bytes());
        let layer = json!({"mediaType": "x", "digest": blob, "size": 9, "annotations": {"org.opencontainers.image.title": name}});
        evidence(&server, &image, EVIDENCE, &json!([layer]));
    }
    // The names of files are looked at for every parcel that is fetched.
    let (list, _folder) = fetched(&server, &image).unwrap();
    assert_eq!(list.sets.len(), names.len());
    assert!(list.sets.iter().all(|set| set.absent.is_none()));
}

#[test]
fn evidence_of_another_image_is_not_taken_for_this_one() {
    let server = Server::new(true);
    let (image, other) = (server.image(b"{}"), server.image(b"{ }"));
    publish(&session(&server, &other, &options()), parcel(&FILES).path()).unwrap();
    let manifests = server.state().manifests.clone();
    let (digest, (_, bytes)) = manifests
        .iter()
        .find(|(_, (_, bytes))| String::from_utf8_lossy(bytes).contains(EVIDENCE))
        .unwrap();
    let index = json!({"schemaVersion": 2, "manifests": [{"mediaType": MANIFEST, "digest": digest, "size": bytes.len(), "artifactType": EVIDENCE}]});
    let index = index.to_string();
    server.hook(move |asked, _| {
        let told = Told::new(200, index.clone()).with("Content-Type", INDEX);
        asked.is("GET", "/referrers/").then_some(told)
    });
    let (status, words) = told(&server, &image, &options());
    assert_eq!(status, 7);
    assert!(words.contains("does not refer to the image"), "{words}");
}

#[test]
fn more_than_there_may_be_is_refused_before_it_is_fetched() {
    let server = Server::new(true);
    let image = server.image(b"{}");
    for (kind, count) in [(EVIDENCE, 65), (BUNDLE, 513), ("x", 4097)] {
        let manifests: Vec<_> = (0..count)
            .map(|number: u32| json!({"mediaType": MANIFEST, "digest": Digest::of(&number.to_be_bytes()), "size": 2, "artifactType": kind}))
            .collect();
        let index = json!({"schemaVersion": 2, "manifests": manifests}).to_string();
        server.hook(move |asked, _| {
            let told = Told::new(200, index.clone()).with("Content-Type", INDEX);
            asked.is("GET", "/referrers/").then_some(told)
        });
        let (status, words) = told(&server, &image, &options());
        assert_eq!(status, 7, "{kind}: {words}");
        assert_eq!(server.count("GET", "/manifests/"), 0);
    }
    // Pages without end.
    server.hook(|asked, _| {
        let told = Told::new(200, r#"{"schemaVersion": 2}"#).with("Content-Type", INDEX);
        asked
            .is("GET", "/referrers/")
            .then(|| told.with("Link", format!("<{}>; rel=\"next\"", asked.path)))
    });
    assert_eq!(told(&server, &image, &options()).0, 7);
}

#[test]
fn nobody_there_is_told_apart_from_nothing_there() {
    let server = Server::new(true);
    let image = server.image(b"{}");
    assert_eq!(told(&server, &image, &options()), (0, String::new()));
    let address = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let gone = Server { address, ..server };
    let (status, words) = told(&gone, &image, &options());
    assert_eq!(status, 8, "{words}");
    assert!(words.contains("cannot be reached"), "{words}");
}
