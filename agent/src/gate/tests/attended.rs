//! Evidence of jobs of CI systems: none passes that a policy does not ask for, word by word.

use super::{Case, Job, failed};
use crate::report::attendance::{Identity, Kind};
use crate::report::{Attendance, Outcome as Ending};

/// Who a job is said to be.
fn identity() -> Identity {
    let word = |text: &str| Some(text.to_owned());
    Identity {
        provider: word("github"),
        repository: word("acme/app"),
        workflow: word("release.yml"),
        reference: word("refs/heads/main"),
        commit: word("0123abcd"),
        event: word("push"),
        job: word("build"),
        fork: Some(false),
        ..Identity::default()
    }
}

/// What makes an identity another one.
type Change = fn(&mut Identity);

fn case(change: impl FnOnce(&mut Attendance)) -> Case {
    let mut attendance = Attendance {
        runner: Some("runner-1.service".to_owned()),
        identity: identity(),
        ..Attendance::default()
    };
    change(&mut attendance);
    let mut job = Job::default();
    job.egress.job.outcome = Ending::Finished;
    job.egress.job.attendance = Some(attendance);
    if let Some(sweep) = &mut job.sweep {
        sweep.job = Some(job.egress.job.clone());
    }
    job.case()
}

/// A policy that asks for all of it.
const STRICT: &str = "[job]\nfinished = \"allow\"\nproviders = [\"github\"]\nrepositories = [\"acme/*\"]\n\
    workflows = [\"release.yml\"]\nrefs = [\"refs/heads/main\"]\ncommits = [\"0123*\"]\nevents = [\"push\"]\n\
    jobs = [\"build\"]\nrunners = [\"runner-*\"]\n";

fn refused(case: &Case, words: &str) {
    let decision = case.decide();
    assert_eq!(decision.status, 1, "{words}: {decision:#?}");
    assert_eq!(failed(&decision), ["verdict"], "{words}");
    let text = super::super::text::render(&decision);
    assert!(text.contains(words), "{words}: {text}");
}

#[test]
fn a_job_that_is_asked_for_is_promoted() {
    let decision = case(|_| {}).with(STRICT).decide();
    assert_eq!(decision.status, 0, "{decision:#?}");
    let least = case(|_| {}).with("[job]\nfinished = \"allow\"\n").decide();
    assert_eq!(least.status, 0, "{least:#?}");
}

#[test]
fn a_worker_that_ended_says_nothing_of_its_job() {
    refused(&case(|_| {}), "is not in the evidence");
    refused(&case(|_| {}).with("[job]\n"), "is not in the evidence");
}

#[test]
fn each_word_must_be_said_and_fit() {
    let unsaid: [(&str, Change); 7] = [
        ("provider", |identity| identity.provider = None),
        ("repository", |identity| identity.repository = None),
        ("workflow", |identity| identity.workflow = None),
        ("ref", |identity| identity.reference = None),
        ("commit", |identity| identity.commit = None),
        ("event", |identity| identity.event = None),
        ("job", |identity| identity.job = None),
    ];
    for (name, unsay) in unsaid {
        let case = case(|attendance| unsay(&mut attendance.identity)).with(STRICT);
        refused(&case, &format!("the {name} of the job was not said"));
    }
    let others: [(&str, Change); 7] = [
        ("provider", |identity| {
            identity.provider = Some("gitlab".into());
        }),
        ("repository", |identity| {
            identity.repository = Some("evil/app".into());
        }),
        ("workflow", |identity| {
            identity.workflow = Some("release.yml2".into());
        }),
        ("ref", |identity| {
            identity.reference = Some("refs/heads/main/x".into());
        }),
        ("commit", |identity| identity.commit = Some("9".into())),
        ("event", |identity| identity.event = Some("schedule".into())),
        ("job", |identity| identity.job = Some("test".into())),
    ];
    for (name, change) in others {
        let case = case(|attendance| change(&mut attendance.identity)).with(STRICT);
        refused(&case, &format!("the {name} of the job is `"));
    }
}

#[test]
fn the_runner_is_the_one_the_host_saw() {
    let other = case(|attendance| attendance.runner = Some("evil.service".into()));
    refused(&other.with(STRICT), "the runner was `evil.service`");
    let none = case(|attendance| attendance.runner = None);
    refused(&none.with(STRICT), "not one of a runner's unit");
}

#[test]
fn strangers_commits_are_refused_unless_they_are_asked_for() {
    let changes: [Change; 6] = [
        |identity| identity.fork = Some(true),
        |identity| {
            identity.fork = None;
            identity.event = Some("pull_request".into());
        },
        |identity| identity.event = Some("pull_request_target".into()),
        |identity| identity.event = Some("workflow_run".into()),
        |identity| identity.event = Some("issue_comment".into()),
        |identity| *identity = Identity::default(),
    ];
    for change in changes {
        let plain = "[job]\nfinished = \"allow\"\n";
        let case = || case(|attendance| change(&mut attendance.identity));
        refused(&case().with(plain), "those of a fork, or may be");
        let allowed = case().with(plain).with("forks = \"allow\"\n").decide();
        assert_eq!(allowed.status, 0, "{allowed:#?}");
    }
}

#[test]
fn a_wrong_start_or_end_is_a_finding_for_the_gate_too() {
    for kind in [
        Kind::RefusedRequest,
        Kind::EarlyFinish,
        Kind::NoFinish,
        Kind::NoStart,
        Kind::RunnerGone,
    ] {
        let case = || case(|attendance| attendance.note(kind, "why".to_owned())).with(STRICT);
        refused(&case(), kind.word());
        let allowed = case().with("[allowed]\nattendance = 1\n").decide();
        assert_eq!(allowed.status, 0, "{allowed:#?}");
    }
    let unlisted = case(|attendance| attendance.findings_unlisted = 1).with(STRICT);
    refused(&unlisted, "not as they should be");
}

#[test]
fn a_job_of_nobody_does_not_pass_where_one_of_a_ci_system_is_asked_for() {
    refused(
        &Case::good().with("[job]\n"),
        "nobody said whose job this is",
    );
}
