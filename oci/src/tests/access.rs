//! Who we are to a registry, and who else must not learn it.

use std::path::PathBuf;

use tempfile::TempDir;

use super::server::{Asked, Server, Told};
use super::{certified, fetched_with, options, parcel, session, write};
use crate::error::OciError;
use crate::publish;
use crate::registry::Options;

const FILES: [(&str, &[u8]); 1] = [("seal.sigstore.json", b"{}")];
/// `user:secret`.
const BASIC: &str = "Basic dXNlcjpzZWNyZXQ=";

/// Options with a login for a server.
fn login(folder: &TempDir, server: &Server, entry: &str) -> Options {
    let file: PathBuf = folder.path().join("config.json");
    let text = format!("{{\"auths\": {{\"{}\": {entry}}}}}", server.address);
    write(&file, text.as_bytes());
    Options {
        auth_file: Some(file),
        ..options()
    }
}

fn shown(asked: &Asked) -> Option<&str> {
    asked.headers.get("authorization").map(String::as_str)
}

#[test]
fn name_and_password_are_shown_when_asked_for() {
    let folder = TempDir::new().unwrap();
    let server = Server::new(true);
    let image = server.image(b"{}");
    server.hook(|asked, _| {
        let told = Told::new(401, "").with("WWW-Authenticate", "Basic realm=\"x\"");
        (shown(asked) != Some(BASIC)).then_some(told)
    });
    let known = login(&folder, &server, r#"{"auth": "dXNlcjpzZWNyZXQ="}"#);
    publish(&session(&server, &image, &known), parcel(&FILES).path()).unwrap();
    fetched_with(&server, &image, &known).unwrap();
    // Once for each session, not once for each question.
    let asked = server.asked();
    assert_eq!(
        asked.iter().filter(|asked| shown(asked).is_none()).count(),
        2
    );
    let error = fetched_with(&server, &image, &options()).unwrap_err();
    assert!(
        matches!(error, OciError::Unauthorised { status: 401, .. }),
        "{error}"
    );
    assert_eq!(error.status(), 8);
}

fn bearer(asked: &Asked, realm: &str) -> Option<Told> {
    if asked.path.starts_with("/token") || shown(asked) == Some("Bearer abc.def") {
        return None;
    }
    let challenge =
        format!("Bearer realm=\"{realm}\",service=\"registry.test\",scope=\"everything\"");
    Some(Told::new(401, "").with("WWW-Authenticate", challenge))
}

#[test]
fn a_token_is_asked_for_what_will_be_done_and_nothing_else() {
    let folder = TempDir::new().unwrap();
    let server = Server::new(true);
    let image = server.image(b"{}");
    let realm = format!("http://{}/token", server.address);
    server.hook(move |asked, _| {
        if asked.path.starts_with("/token") {
            return Some(Told::new(200, r#"{"access_token": "abc.def"}"#));
        }
        bearer(asked, &realm)
    });
    let known = login(
        &folder,
        &server,
        r#"{"username": "user", "password": "secret"}"#,
    );
    publish(&session(&server, &image, &known), parcel(&FILES).path()).unwrap();
    let asked = server.asked();
    let tokens: Vec<_> = asked
        .iter()
        .filter(|asked| asked.is("GET", "/token"))
        .collect();
    assert_eq!(tokens.len(), 1);
    assert_eq!(
        tokens[0].path,
        "/token?scope=repository%3Aapp%3Apull%2Cpush&service=registry.test"
    );
    assert_eq!(shown(tokens[0]), Some(BASIC));
    // The password is shown to the token service alone.
    let others = asked
        .iter()
        .filter(|asked| !asked.path.starts_with("/token"));
    assert!(
        others
            .filter_map(shown)
            .all(|shown| shown == "Bearer abc.def")
    );
}

#[test]
fn a_token_for_tokens_is_sent_in_a_form() {
    let folder = TempDir::new().unwrap();
    let server = Server::new(true);
    let image = server.image(b"{}");
    let realm = format!("http://{}/token", server.address);
    server.hook(move |asked, _| {
        if asked.is("POST", "/token") {
            let form = String::from_utf8(asked.body.clone()).unwrap();
            assert!(
                form.contains("grant_type=refresh_token&refresh_token=re%2Ffresh"),
                "{form}"
            );
            return Some(Told::new(200, r#"{"token": "abc.def"}"#));
        }
        bearer(asked, &realm)
    });
    let known = login(&folder, &server, r#"{"identitytoken": "re/fresh"}"#);
    fetched_with(&server, &image, &known).unwrap();
    assert_eq!(server.count("POST", "/token"), 1);
}

#[test]
fn nothing_is_shown_to_whom_the_registry_sends_us() {
    let folder = TempDir::new().unwrap();
    // A store on the same server may be shown it; one on another port is not even asked without TLS.
    let (server, store) = (Server::new(true), Server::new(true));
    let image = server.image(b"{}");
    let known = login(&folder, &server, r#"{"auth": "dXNlcjpzZWNyZXQ="}"#);
    publish(&session(&server, &image, &known), parcel(&FILES).path()).unwrap();
    let elsewhere = format!("http://{}/stolen", store.address);
    server.hook(move |asked, _| {
        if shown(asked) != Some(BASIC) {
            return Some(Told::new(401, "").with("WWW-Authenticate", "Basic"));
        }
        asked
            .is("GET", "/blobs/")
            .then(|| Told::new(307, "").with("Location", elsewhere.clone()))
    });
    let (list, _folder) = fetched_with(&server, &image, &known).unwrap();
    let absent = list.sets[0].absent.as_ref().unwrap();
    assert!(
        absent.kind == crate::parcel::Kind::Failed
            && absent.reason.contains("where it does not go"),
        "{absent:?}"
    );
    assert!(store.asked().is_empty());
}

#[test]
fn a_store_elsewhere_gets_the_question_and_not_the_credentials() {
    let folder = TempDir::new().unwrap();
    let (tls, pem) = certified();
    let server = Server::start(true, Some(std::sync::Arc::clone(&tls)));
    let store = Server::start(true, Some(tls));
    let image = server.image(b"{}");
    let authority = folder.path().join("ca.pem");
    write(&authority, pem.as_bytes());
    let known = Options {
        plain_http: false,
        authority: Some(authority),
        ..login(&folder, &server, r#"{"auth": "dXNlcjpzZWNyZXQ="}"#)
    };
    publish(&session(&server, &image, &known), parcel(&FILES).path()).unwrap();
    store.blob(FILES[0].1);
    let elsewhere = format!("https://{}", store.address);
    server.hook(move |asked, _| {
        if shown(asked) != Some(BASIC) {
            return Some(Told::new(401, "").with("WWW-Authenticate", "Basic"));
        }
        let location = format!("{elsewhere}{}", asked.path);
        asked
            .is("GET", "/blobs/")
            .then(|| Told::new(307, "").with("Location", location))
    });
    let (list, _folder) = fetched_with(&server, &image, &known).unwrap();
    assert!(list.sets[0].absent.is_none(), "{:?}", list.sets[0].absent);
    let asked = store.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(shown(&asked[0]), None);
}

#[test]
fn a_challenge_that_never_ends_is_not_met_a_second_time() {
    let folder = TempDir::new().unwrap();
    let server = Server::new(true);
    let image = server.image(b"{}");
    let realm = format!("http://{}/token", server.address);
    server.hook(move |asked, _| {
        if asked.path.starts_with("/token") {
            return Some(Told::new(200, r#"{"token": "no.good"}"#));
        }
        bearer(asked, &realm)
    });
    let known = login(&folder, &server, r#"{"auth": "dXNlcjpzZWNyZXQ="}"#);
    let error = fetched_with(&server, &image, &known).unwrap_err();
    assert!(matches!(error, OciError::Unauthorised { .. }), "{error}");
    assert_eq!(server.asked().len(), 3);
}

#[test]
fn token_services_are_asked_over_tls_or_on_this_machine() {
    let folder = TempDir::new().unwrap();
    let server = Server::new(true);
    let image = server.image(b"{}");
    let known = login(&folder, &server, r#"{"auth": "dXNlcjpzZWNyZXQ="}"#);
    for realm in [
        "http://192.0.2.1/token",
        "http://auth.test/",
        "file:///etc/passwd",
        "//auth.test",
        "",
        "https://u:p@auth.test/",
    ] {
        server.hook(move |asked, _| bearer(asked, realm));
        let error = fetched_with(&server, &image, &known).unwrap_err();
        assert!(matches!(error, OciError::Realm { .. }), "{realm}: {error}");
    }
}

#[test]
fn tokens_that_could_not_stand_in_a_header_are_refused() {
    let server = Server::new(true);
    let image = server.image(b"{}");
    for token in [
        r#"{"token": "a\r\nX: y"}"#,
        r#"{"token": ""}"#,
        "{}",
        "[]",
        r#"{"token": "a b"}"#,
    ] {
        let realm = format!("http://{}/token", server.address);
        server.hook(move |asked, _| {
            if asked.path.starts_with("/token") {
                return Some(Told::new(200, token));
            }
            bearer(asked, &realm)
        });
        let error = fetched_with(&server, &image, &options()).unwrap_err();
        assert_eq!(error.status(), 7, "{token}: {error}");
    }
}

#[test]
fn credentials_do_not_leave_this_machine_in_the_clear() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("config.json");
    write(
        &file,
        br#"{"auths": {"registry.test": {"auth": "dXNlcjpzZWNyZXQ="}}}"#,
    );
    let known = Options {
        auth_file: Some(file),
        ..options()
    };
    let reference = format!("oci://registry.test/app@{}", crate::digest::Digest::of(b""));
    let registry = crate::Registry::new(reference.parse().unwrap(), &known, true).unwrap();
    let error = registry
        .answer_to(&crate::auth::challenge::Challenge::Basic)
        .unwrap_err();
    assert!(
        matches!(error, OciError::PlainCredentials { .. }),
        "{error}"
    );
    // Over TLS they do.
    let over_tls = Options {
        plain_http: false,
        ..known
    };
    let registry = crate::Registry::new(reference.parse().unwrap(), &over_tls, true).unwrap();
    let shown = registry
        .answer_to(&crate::auth::challenge::Challenge::Basic)
        .unwrap();
    assert_eq!(shown.unwrap().as_str(), BASIC);
}
