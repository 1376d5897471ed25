//! The gate over evidence that is genuine, and over evidence that is wrong in one way.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::Value;

use super::decision::{Decision, Now, Outcome, PolicyFacts, Refusal, Verdict};
use super::policy::TrustPolicy;
use super::source::Files;
use super::state::State;
use super::{Question, decide};
use crate::events::journal::{Journal, Kept};
use crate::report::chain::Chain;
use crate::report::envelope::Bundle;
use crate::report::image::Image;
use crate::report::ocsf::{Context, Happening};
use crate::report::signer::tests::published_key;
use crate::report::signer::{SigningKey, VerifyingKey};
use crate::report::sink::{EvidenceDir, Sealing};
use crate::report::statement::{Statement, Subject, sha256_hex};
use crate::report::sweep::{SweepReport, fixture as sweep};
use crate::report::{Outcome as Ending, Report, fixture, json, seal};

mod asked;
mod attacks;
mod attended;
mod chains;
mod parcels;
mod pieces;
mod revoked;

/// The image that was made.
pub(super) const IMAGE: &str =
    "registry.test/app@sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

/// Another one.
pub(super) const OTHER: &str =
    "sha256:00000000000000000000000000000000000000000000000000000000000000aa";

/// Twenty minutes after the job of the fixture.
const NOW: &str = "2026-11-22T08:36:41Z";

/// Evidence, a policy, and a question.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) files: Files,
    pub(super) policy: String,
    pub(super) target: String,
    pub(super) now: Timestamp,
    pub(super) state: Option<State>,
    pub(super) policy_key: Option<VerifyingKey>,
    pub(super) list: Option<Vec<u8>>,
}

/// What a job left.
pub(super) struct Job {
    pub(super) egress: Report,
    pub(super) sweep: Option<SweepReport>,
    pub(super) images: Vec<Subject>,
    pub(super) before: u64,
    /// Events it says it has and has not.
    pub(super) missing_events: u64,
    /// Events it says it only counted.
    pub(super) dropped_events: u64,
    /// Whether it kept any.
    pub(super) eventful: bool,
}

impl Default for Job {
    fn default() -> Self {
        let mut egress = fixture::held();
        egress.job.outcome = Ending::Exited { code: 0 };
        let mut swept = sweep::clean();
        swept.job = Some(egress.job.clone());
        Self {
            egress,
            sweep: Some(swept),
            images: vec![Subject::from(&IMAGE.parse::<Image>().unwrap())],
            before: 0,
            missing_events: 0,
            dropped_events: 0,
            eventful: true,
        }
    }
}

impl Job {
    /// Its evidence, sealed after as many others as `before` says.
    pub(super) fn files(&self, key: &SigningKey) -> Files {
        let base = tempfile::tempdir().unwrap();
        let chain = Chain::new(&base.path().join("state"), key.public());
        for number in 0..self.before {
            let next = chain.next().unwrap();
            next.keep(&sha256_hex(number.to_string().as_bytes()))
                .unwrap();
        }
        let path = base.path().join("evidence");
        let events = self.events(&base.path().join("events"));
        let sealing = Sealing {
            key,
            chain: &chain,
            host: "runner-3.test",
            artefacts: &self.images,
            events: self.eventful.then_some(&events),
        };
        let evidence = EvidenceDir::prepare(&path).unwrap();
        evidence
            .seal(&self.egress, self.sweep.as_ref(), sealing)
            .unwrap();
        let entries = std::fs::read_dir(&path).unwrap().map(|entry| {
            let entry = entry.unwrap();
            let bytes = crate::sys::fs::read(&entry.path(), 1 << 20).unwrap();
            (entry.file_name().into_string().unwrap(), bytes)
        });
        Files(entries.collect())
    }

    /// Its single events.
    fn events(&self, path: &Path) -> Kept {
        let context = Context {
            job: self.egress.job.id.clone(),
            host: "runner-3.test".into(),
            policy: self.egress.policy.name.clone(),
        };
        let journal = Journal::begin(path.into(), context, 1 << 20).unwrap();
        let outcome = self.egress.job.outcome;
        // At the same time always: evidence is compared.
        let time = self.egress.job.finished;
        for happening in [Happening::TakenOver, Happening::Ended { outcome }] {
            journal.at(time, &happening);
        }
        let mut kept = journal.close().unwrap().unwrap();
        kept.facts.dropped = self.dropped_events;
        kept.facts.lines = kept.facts.lines.saturating_add(self.missing_events);
        kept
    }

    pub(super) fn case(&self) -> Case {
        Case {
            files: self.files(&published_key()),
            ..Case::good()
        }
    }
}

/// A policy that trusts a key for a role.
pub(crate) fn policy(key: &SigningKey, role: &str) -> String {
    format!(
        "name = \"release\"\n[evidence]\nmax_age = \"1h\"\n{}",
        trusted(key, role, "")
    )
}

pub(crate) fn trusted(key: &SigningKey, role: &str, more: &str) -> String {
    let (id, pem) = (key.public().id(), key.public().to_pem().unwrap());
    format!(
        "[[key]]\nrole = \"{role}\"\nfingerprint = \"{id}\"\npem = \"\"\"\n{pem}\"\"\"\n{more}\n"
    )
}

impl Case {
    /// Evidence that is promoted.
    pub(super) fn good() -> Self {
        thread_local! {
            static FILES: Files = Job::default().files(&published_key());
        }
        Self {
            files: FILES.with(Clone::clone),
            policy: policy(&published_key(), "report"),
            target: IMAGE.to_owned(),
            now: NOW.parse().unwrap(),
            state: None,
            policy_key: None,
            list: None,
        }
    }

    /// The policy with further tables, or keys of tables.
    pub(super) fn with(mut self, more: &str) -> Self {
        self.policy.push_str(more);
        self
    }

    /// The policy with further keys of `[evidence]`.
    pub(super) fn asking(mut self, more: &str) -> Self {
        let more = format!("[evidence]\n{more}\n");
        self.policy = self.policy.replacen("[evidence]\n", &more, 1);
        self
    }

    pub(super) fn decide(&self) -> Decision {
        let policy = TrustPolicy::parse("policy.toml", self.policy.as_bytes());
        let policy = policy.unwrap_or_else(|mistakes| panic!("{mistakes}"));
        let facts = PolicyFacts {
            name: policy.name.clone(),
            source: "policy.toml".into(),
            sha256: sha256_hex(self.policy.as_bytes()),
            signed_by: None,
        };
        let question = Question {
            target: &self.target.parse().unwrap(),
            policy: &policy,
            policy_facts: &facts,
            now: Now {
                time: self.now,
                given: true,
            },
            state: self.state.as_ref(),
            policy_key: self.policy_key,
            revocations: self.list.as_deref(),
        };
        decide(question, &self.files)
    }

    pub(super) fn text(&self, name: &str) -> String {
        String::from_utf8(self.files.0[name].clone()).unwrap()
    }

    pub(super) fn put(&mut self, name: &str, text: &str) {
        self.files
            .0
            .insert(name.to_owned(), text.as_bytes().to_vec());
    }

    /// Changes the statement in a bundle, and has it signed again.
    pub(super) fn sign_again(
        &mut self,
        name: &str,
        key: &SigningKey,
        change: impl FnOnce(&mut Value),
    ) {
        let mut statement = self.statement(name);
        change(&mut statement);
        let payload = serde_json::to_vec(&statement).unwrap();
        let bundle = Bundle::sign(&payload, key).unwrap();
        self.put(name, &serde_json::to_string(&bundle).unwrap());
    }

    /// What a bundle says.
    pub(super) fn statement(&self, name: &str) -> Value {
        let bundle: Value = json::parse(self.text(name).as_bytes()).unwrap();
        let payload = bundle["dsseEnvelope"]["payload"].as_str().unwrap();
        let payload = STANDARD.decode(payload);
        json::parse(&payload.unwrap()).unwrap()
    }

    /// Has the seal list the files as they are now.
    pub(super) fn seal_again(&mut self, key: &SigningKey) {
        let files = self.files.clone();
        self.sign_again(seal::BUNDLE_NAME, key, |statement| {
            let references = &mut statement["predicate"]["references"];
            for reference in references.as_array_mut().unwrap() {
                let name = reference["name"].as_str().unwrap();
                if let Some(bytes) = files.0.get(name) {
                    reference["digest"]["sha256"] = sha256_hex(bytes).into();
                }
            }
            let run = sha256_hex(&files.0["run.json"]);
            statement["subject"][0]["digest"]["sha256"] = run.into();
        });
    }

    /// A binding of this seal to an image, beside it.
    pub(super) fn bind(&mut self, name: &str, image: &str, key: &SigningKey) {
        let sealed = seal::open(&self.files.0[seal::BUNDLE_NAME], published_key().public());
        let image = Subject::from(&image.parse::<Image>().unwrap());
        let sha256 = sha256_hex(&self.files.0[seal::BUNDLE_NAME]);
        let statement = Statement::bind(&sealed.unwrap().predicate, &sha256, &[image], self.now);
        let bundle = Bundle::sign(&statement.to_bytes().unwrap(), key).unwrap();
        self.put(name, &serde_json::to_string(&bundle).unwrap());
    }
}

/// Which checks failed.
pub(super) fn failed(decision: &Decision) -> Vec<&str> {
    let failed = decision.checks.iter();
    failed
        .filter(|check| check.outcome == Outcome::Failed)
        .map(|check| check.name.as_str())
        .collect()
}

#[test]
fn genuine_evidence_is_promoted_and_every_check_says_why() {
    let decision = Case::good().decide();
    assert_eq!(decision.verdict, Verdict::Promote, "{decision:#?}");
    assert_eq!((decision.status, decision.refusals.len()), (0, 0));
    assert_eq!(decision.checks.len(), 15);
    for check in &decision.checks {
        assert_eq!(check.outcome, Outcome::Passed, "{check:?}");
        assert!(!check.findings.is_empty(), "{check:?}");
    }
    assert_eq!(decision.inputs.len(), 4);
    assert_eq!(decision.target, IMAGE.split_once('@').unwrap().1);
    assert_eq!(decision.seal.unwrap().sequence, 1);
}

#[test]
fn any_form_of_the_target_is_the_target() {
    let hex = IMAGE.rsplit_once(':').unwrap().1;
    for target in [
        hex.to_uppercase(),
        format!("SHA256:{hex}"),
        format!("other@{hex}"),
    ] {
        let case = Case {
            target,
            ..Case::good()
        };
        assert_eq!(case.decide().status, 0);
    }
}

#[test]
fn the_decision_is_read_back_as_it_was_written_and_shown_line_by_line() {
    let decision = Case::good().decide();
    let text = json::pretty(&decision).unwrap();
    assert_eq!(json::parse::<Decision>(text.as_bytes()).unwrap(), decision);
    let shown = super::text::render(&decision);
    assert!(shown.starts_with("PROMOTE  sha256:ba7816bf"), "{shown}");
    for name in super::decision::CHECKS {
        assert!(shown.lines().any(|line| line.contains(name)), "{name}");
    }
    assert!(
        shown.contains("UNSIGNED") && shown.contains(", as given"),
        "{shown}"
    );
}

#[test]
fn the_summary_says_passed_or_failed_and_nothing_where_nothing_was_decided() {
    let image: Image = IMAGE.parse().unwrap();
    let mut decision = Case::good().decide();
    let summary = |decision: &Decision| Statement::summary(decision, b"{}", &image);
    let passed = summary(&decision).unwrap();
    assert_eq!(passed.predicate.verification_result, "PASSED");
    assert_eq!(passed.predicate.input_attestations.len(), 4);
    assert!(passed.is_about(&image.digest.hex()));
    let uri = &passed.predicate.resource_uri;
    assert!(uri.starts_with("pkg:oci/app@sha256%3Aba78"), "{uri}");
    decision.verdict = Verdict::Deny;
    let denied = summary(&decision).unwrap().predicate;
    assert_eq!(denied.verification_result, "FAILED");
    assert_eq!(denied.verified_levels, ["FAILED"]);
    decision.verdict = Verdict::Undecided;
    assert_eq!(summary(&decision), None);
}

#[test]
fn what_cannot_be_read_is_undecided_and_hides_nothing() {
    struct Failing(Files, &'static str);
    impl super::source::Source for Failing {
        fn names(&self) -> Vec<String> {
            self.0.names()
        }
        fn read(&self, name: &str, limit: u64) -> Result<Vec<u8>, super::source::ReadError> {
            if name == self.1 {
                return Err(super::source::ReadError::Failed(
                    "input/output error".into(),
                ));
            }
            self.0.read(name, limit)
        }
    }
    let ask = |case: &Case, name| {
        let policy = TrustPolicy::parse("p", case.policy.as_bytes()).unwrap();
        let facts = PolicyFacts {
            name: "p".into(),
            source: "p".into(),
            sha256: String::new(),
            signed_by: None,
        };
        let target = case.target.parse().unwrap();
        let question = Question {
            target: &target,
            policy: &policy,
            policy_facts: &facts,
            now: Now {
                time: case.now,
                given: false,
            },
            state: None,
            policy_key: None,
            revocations: None,
        };
        decide(question, &Failing(case.files.clone(), name))
    };
    for name in Case::good().files.0.keys() {
        let name: &'static str = name.clone().leak();
        let decision = ask(&Case::good(), name);
        assert_eq!(decision.status, 8, "{name}: {decision:#?}");
        assert_eq!(decision.verdict, Verdict::Undecided);
        // A wrong image, or a wrong key, is told all the same.
        let case = Case {
            target: OTHER.into(),
            ..Case::good()
        };
        if name != seal::BUNDLE_NAME {
            let decision = ask(&case, name);
            assert_eq!(decision.status, 5, "{name}");
            assert!(decision.refusals.contains(&Refusal::Undecided));
        }
    }
}
