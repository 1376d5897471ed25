//! What is described is what there is.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::types::{
    CommandRequest, DaemonStatus, Done, EndedRequest, Entrance, JobStatus, NarrowRequest, Own,
    Problem, RunnerStatus, StartRequest, State,
};
use super::{OPENAPI, ROUTES};
use crate::daemon::feed::Line;
use crate::job::coverage::Surroundings;
use crate::policy::{Mode, Policy, compile};
use crate::report::Outcome;
use crate::report::attendance::Identity;
use crate::sandbox::Limited;

fn described() -> Value {
    serde_json::from_str(OPENAPI).unwrap()
}

#[test]
fn every_path_is_described_and_no_other() {
    let document = described();
    let paths = document["paths"].as_object().unwrap();
    let found: BTreeSet<(String, String)> = paths
        .iter()
        .flat_map(|(path, methods)| {
            let methods = methods.as_object().unwrap().keys();
            methods.map(|method| (method.clone(), path.clone()))
        })
        .collect();
    let expected = ROUTES.map(|(method, path)| (method.to_owned(), path.to_owned()));
    assert_eq!(found, BTreeSet::from(expected));
}

/// The keys of a value are those that are described, and each that is required is there.
fn fits(name: &str, value: &Value) {
    let document = described();
    let schema = &document["components"]["schemas"][name];
    let known: BTreeSet<_> = schema["properties"].as_object().unwrap().keys().collect();
    let there: BTreeSet<_> = value.as_object().unwrap().keys().collect();
    assert!(there.is_subset(&known), "{name}: {there:?} {known:?}");
    for required in schema["required"].as_array().unwrap() {
        let required = required.as_str().unwrap().to_owned();
        assert!(there.contains(&required), "{name} lacks {required}");
    }
}

/// A value with all keys has all that are described.
fn is_whole(name: &str, value: &Value) {
    fits(name, value);
    let document = described();
    let known = document["components"]["schemas"][name]["properties"]
        .as_object()
        .unwrap()
        .len();
    assert_eq!(value.as_object().unwrap().len(), known, "{name}");
}

fn identity() -> Identity {
    let word = |text: &str| Some(text.to_owned());
    Identity {
        provider: word("github"),
        repository: word("acme/app"),
        workflow: word("ci.yml"),
        reference: word("refs/heads/main"),
        commit: word("00"),
        run: word("1"),
        attempt: word("1"),
        job: word("build"),
        event: word("push"),
        fork: Some(false),
    }
}

fn job() -> JobStatus {
    JobStatus {
        id: "0123456789ab".to_owned(),
        unit: Some("r.service".to_owned()),
        state: State::Enforced,
        since: jiff::Timestamp::UNIX_EPOCH,
        policy: "rust".to_owned(),
        ruleset_digest: "00".to_owned(),
        mode: Mode::Enforce,
        identity: identity(),
        grant: Some("config.toml:1".to_owned()),
        moved: 1,
        told: 2,
        evidence: Some("/var".into()),
        engine: Some("tcp://127.0.0.1:2375".to_owned()),
        error: Some("none".to_owned()),
        telemetry_error: Some("full".to_owned()),
    }
}

fn command() -> CommandRequest {
    let policy = Policy::deny_all();
    CommandRequest {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        policy: (&policy).into(),
        ruleset_digest: compile(&policy).unwrap().digest.to_string(),
        command: "make".to_owned(),
        arguments: 1,
        as_root: false,
        subjects: Vec::new(),
        lsm: true,
        around: Surroundings::unknown(),
    }
}

fn runner() -> RunnerStatus {
    RunnerStatus {
        unit: "r.service".to_owned(),
        state: State::Failed,
        policy: "none".to_owned(),
        error: Some("no".to_owned()),
    }
}

#[test]
fn every_type_is_described_as_it_is() {
    let value = |value: &dyn erased::Json| value.json();
    is_whole("Identity", &value(&identity()));
    is_whole("JobStatus", &value(&job()));
    is_whole("RunnerStatus", &value(&runner()));
    is_whole(
        "Done",
        &value(&Done {
            done: String::new(),
        }),
    );
    is_whole(
        "Problem",
        &value(&Problem {
            error: String::new(),
        }),
    );
    let narrow = NarrowRequest {
        file: "x".to_owned(),
        text: String::new(),
    };
    is_whole("NarrowRequest", &value(&narrow));
    let request = StartRequest {
        narrow: Some(narrow),
        ..StartRequest::default()
    };
    is_whole("StartRequest", &value(&request));
    let line = Line {
        at: jiff::Timestamp::UNIX_EPOCH,
        text: String::new(),
        over: true,
    };
    is_whole("Line", &value(&line));
    is_whole("CommandRequest", &value(&command()));
    let entrance = Entrance {
        id: String::new(),
        evidence: "/var".into(),
        cgroup: "/sys".into(),
        limited: Limited::default(),
    };
    is_whole("Entrance", &value(&entrance));
    let ended = EndedRequest {
        outcome: Some(Outcome::NotStarted),
        not_entered: Some(String::new()),
    };
    is_whole("EndedRequest", &value(&ended));
    let own = Own {
        caller: String::new(),
        job: Some(job()),
        runner: Some(runner()),
    };
    is_whole("Own", &value(&own));
    let status = DaemonStatus {
        version: String::new(),
        pid: 1,
        since: jiff::Timestamp::UNIX_EPOCH,
        settings_read: jiff::Timestamp::UNIX_EPOCH,
        object_sha256: String::new(),
        lsm_missing: Some(String::new()),
        runners: vec![runner()],
        jobs: 0,
    };
    is_whole("DaemonStatus", &value(&status));
    let bare = JobStatus {
        unit: None,
        grant: None,
        evidence: None,
        error: None,
        ..job()
    };
    fits("JobStatus", &value(&bare));
}

mod erased {
    /// Anything that can be JSON.
    pub(super) trait Json {
        fn json(&self) -> serde_json::Value;
    }

    impl<T: serde::Serialize> Json for T {
        fn json(&self) -> serde_json::Value {
            serde_json::to_value(self).unwrap()
        }
    }
}

#[test]
fn words_of_enumerations_are_described() {
    let document = described();
    let states: Vec<Value> = [
        State::Starting,
        State::Enforced,
        State::Sealed,
        State::Failed,
    ]
    .map(|state| serde_json::to_value(state).unwrap())
    .into();
    assert_eq!(
        document["components"]["schemas"]["State"]["enum"],
        json!(states)
    );
}

#[test]
fn what_is_not_described_is_not_taken() {
    for bad in [
        "{\"profile\": []}",
        "{\"identity\": {\"repo\": \"x\"}}",
        "{\"processes\": \"all\"}",
        "[]",
    ] {
        StartRequest::parse(bad.as_bytes()).unwrap_err();
    }
    let none = StartRequest::parse(b"{}").unwrap();
    assert_eq!(none, StartRequest::default());
}

#[test]
fn a_command_of_another_version_is_told_so_before_anything_else_of_it_is_read() {
    let text = serde_json::to_string(&command()).unwrap();
    assert_eq!(CommandRequest::parse(text.as_bytes()).unwrap(), command());
    let error = CommandRequest::parse(b"{\"version\": \"0.0.0\", \"later\": 1}").unwrap_err();
    assert!(error.to_string().contains("another version"), "{error}");
    for bad in ["{}", "[]", "{\"version\": 1}"] {
        CommandRequest::parse(bad.as_bytes()).unwrap_err();
    }
}

#[test]
fn a_command_ends_in_one_way() {
    for good in [
        r#"{"outcome": {"kind": "exited", "code": 3}}"#,
        r#"{"outcome": {"kind": "signalled", "signal": 9}}"#,
        r#"{"outcome": {"kind": "notStarted"}}"#,
        r#"{"notEntered": "no room"}"#,
    ] {
        EndedRequest::parse(good.as_bytes()).unwrap();
    }
    for bad in [
        "{}",
        "[]",
        r#"{"outcome": {"kind": "unknown"}}"#,
        r#"{"outcome": {"kind": "finished"}}"#,
        r#"{"outcome": {"kind": "notStarted"}, "notEntered": "both"}"#,
    ] {
        EndedRequest::parse(bad.as_bytes()).unwrap_err();
    }
}
