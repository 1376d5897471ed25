//! The checks in their order: from bytes of a stranger to facts that the policy is asked about.

use std::collections::BTreeSet;

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::decision::{Decision, Log, Now, PolicyFacts, Refusal, SCHEMA, verdict};
use super::evidence::{Evidence, Sealed, gather, with_cause};
use super::piece::{Cabinet, Signed, unread};
use super::policy::{EventRule, TrustPolicy};
use super::source::{MAX_FILE, Source};
use super::state::State;
use super::{chain, other, revocations, substance};
use crate::report::attested::Attested as _;
use crate::report::binding::{self, BindingPredicate};
use crate::report::image::{Image, ImageDigest};
use crate::report::ocsf::chain::{ChainError, EventFacts, Follower};
use crate::report::predicate::MONITOR_TYPE;
use crate::report::run::RunReport;
use crate::report::signer::VerifyingKey;
use crate::report::statement::{Statement, Subject, finished_hex};
use crate::report::sweep::SweepReport;
use crate::report::{Report, ocsf};

/// What the gate is asked.
#[derive(Clone, Copy, Debug)]
pub struct Question<'q> {
    /// The image that is to be promoted.
    pub target: &'q Image,
    /// What evidence must show.
    pub policy: &'q TrustPolicy,
    /// The same, for the decision.
    pub policy_facts: &'q PolicyFacts,
    /// The present.
    pub now: Now,
    /// What the gate remembers, if it does.
    pub state: Option<&'q State>,
    /// The key that signed the policy, if one did.
    pub policy_key: Option<VerifyingKey>,
    /// The list of revoked keys, if it was given: a bundle, not yet believed.
    pub revocations: Option<&'q [u8]>,
}

/// Decides.
#[must_use]
pub fn decide(question: Question<'_>, source: &dyn Source) -> Decision {
    let Question {
        target,
        policy,
        policy_facts,
        now,
        state,
        policy_key,
        revocations,
    } = question;
    let mut log = Log::default();
    log.good("target", format!("the image is {}", target.digest));
    let (list, revocations) = revocations::check(
        &mut log,
        revocations,
        (policy, policy_key),
        (now.time, state),
    );
    let cabinet = Cabinet::new(source, policy, now.time, list.as_ref());
    let evidence = gather(&cabinet, &mut log);
    about_image(&mut log, &evidence, target.digest);
    monitor(&mut log, &evidence, policy);
    one_job(&mut log, &evidence, policy);
    freshness(&mut log, &evidence, policy, now.time);
    let target_text = target.digest.to_string();
    if let Some(sealed) = &evidence.seal {
        let rule = policy.evidence.chain;
        let line = policy.line(&sealed.facts.key_id);
        let of = (target_text.as_str(), &line);
        chain::check(&mut log, &sealed.facts, of, rule, state);
    }
    completeness(&cabinet, &mut log, &evidence);
    other::check(&cabinet, &mut log, &evidence, target.digest);
    substance::check(&mut log, &evidence, policy, now.time);
    log.good(
        "decision",
        "every check was made, and what each found is written down",
    );
    let (checks, refusals) = log.conclude();
    let (verdict, status) = verdict(&refusals);
    Decision {
        schema: SCHEMA.to_owned(),
        verdict,
        status,
        refusals,
        target: target_text,
        policy: policy_facts.clone(),
        now,
        revocations,
        inputs: evidence.inputs(),
        seal: evidence.seal.map(|sealed| sealed.facts),
        checks,
    }
}

/// Check 7: every statement names the same images, the target among them.
fn about_image(log: &mut Log, evidence: &Evidence<'_>, target: ImageDigest) {
    const CHECK: &str = "subject";
    let Some(sealed) = &evidence.seal else {
        return;
    };
    let named = digests(&sealed.signed.head.artefacts());
    for signed in evidence.core() {
        if digests(&signed.head.artefacts()) != named {
            let text = "it names other images than the seal";
            log.bad(CHECK, Refusal::Subject, Some(&signed.name), text);
        }
    }
    let mut images = named;
    for other in &evidence.others {
        if other.head.job() != Some(sealed.facts.job.as_str()) {
            continue;
        }
        let artefacts = digests(&other.head.artefacts());
        if !artefacts.is_empty() && !artefacts.contains(&Some(target)) {
            let text = "it says that this job made another image";
            log.bad(CHECK, Refusal::Subject, Some(&other.name), text);
        }
        if other.head.predicate_type == binding::PREDICATE_TYPE {
            binds(log, other, sealed, &mut images);
        }
    }
    if images.is_empty() {
        let text = "the evidence names no image: `cordon bind` says which it is";
        log.bad(CHECK, Refusal::Subject, None, text);
    } else if !images.contains(&Some(target)) {
        let others: Vec<_> = images.iter().flatten().map(ToString::to_string).collect();
        let text = format!("the evidence is about another image: {}", others.join(", "));
        log.bad(CHECK, Refusal::Subject, None, text);
    } else if log.clean(CHECK) {
        log.good(CHECK, format!("the evidence is about {target}"));
    }
}

/// Adds the images of a binding, if it is one of this seal by the key that sealed.
fn binds(
    log: &mut Log,
    other: &Signed<'_>,
    sealed: &Sealed<'_>,
    images: &mut BTreeSet<Option<ImageDigest>>,
) {
    let text = match Statement::<BindingPredicate>::parse(&other.payload) {
        Ok(statement) if !statement.is_about(&sealed.facts.digest.sha256) => {
            "it binds another seal".to_owned()
        }
        Ok(_) if other.key != sealed.signed.key => "another key bound than sealed".to_owned(),
        Ok(statement) => {
            images.extend(digests(statement.artefacts()));
            return;
        }
        Err(error) => with_cause(&error),
    };
    log.bad("subject", Refusal::Subject, Some(&other.name), text);
}

/// What subjects are; none for what is no SHA-256, which then is equal to no target.
fn digests(subjects: &[Subject]) -> BTreeSet<Option<ImageDigest>> {
    let digests = subjects.iter().map(|subject| &subject.digest.sha256);
    digests.map(|hex| ImageDigest::from_hex(hex)).collect()
}

/// Check 8: who watched, and that it was the host whose key signed.
fn monitor(log: &mut Log, evidence: &Evidence<'_>, policy: &TrustPolicy) {
    const CHECK: &str = "monitor";
    let Some((egress, report)) = evidence.egress() else {
        return;
    };
    let pointer = |at| egress.signed.head.predicate.pointer(at);
    let monitor = pointer("/monitor/type").and_then(serde_json::Value::as_str);
    if monitor != Some(MONITOR_TYPE) {
        let text = format!("its monitor is not `{MONITOR_TYPE}`");
        log.bad(CHECK, Refusal::Untrusted, Some(&egress.signed.name), text);
    }
    for signed in evidence.core() {
        let host = ["/monitoredProcess/hostID", "/cordonProcess/hostID"]
            .iter()
            .find_map(|at| signed.head.predicate.pointer(at));
        let own = format!("urn:cordon:host:{}", signed.key.key.id());
        if host.and_then(serde_json::Value::as_str) != Some(&own) {
            let text = "it speaks for another host than that of the key that signed it";
            log.bad(CHECK, Refusal::Untrusted, Some(&signed.name), text);
        }
    }
    substance::software(log, CHECK, &report.platform, policy);
    kept(log, evidence, policy);
    if log.clean(CHECK) {
        let version = &report.platform.agent_version;
        log.good(
            CHECK,
            format!("cordon {version}, on the host whose key signed"),
        );
    }
}

/// The part of check 8 about how the key is kept that signed: every piece has to say that it is kept well
/// enough.
fn kept(log: &mut Log, evidence: &Evidence<'_>, policy: &TrustPolicy) {
    let accepted = &policy.evidence.key_protection;
    if accepted.is_empty() {
        return;
    }
    let seal = evidence.seal.iter();
    let seal = seal.map(|sealed| sealed.predicate.cordon_key_protection.as_str());
    let platforms = [
        evidence.egress().map(|(_, report)| &report.platform),
        evidence.run().map(|(_, report)| &report.platform),
        evidence
            .sweep
            .as_ref()
            .and_then(|part| Some(&part.report.as_ref()?.platform)),
    ];
    let platforms = platforms.into_iter().flatten();
    let stated: BTreeSet<_> = platforms
        .map(|platform| platform.key_protection.as_str())
        .chain(seal)
        .collect();
    for class in stated {
        if !accepted.contains(class) {
            let names: Vec<_> = accepted.iter().map(String::as_str).collect();
            let text = format!(
                "the key that signed is kept as `{class}`, and the policy accepts {}",
                names.join(", ")
            );
            log.bad("monitor", Refusal::Denied, None, text);
        }
    }
}

/// Check 9: all pieces are of one job, and it is the expected one.
fn one_job(log: &mut Log, evidence: &Evidence<'_>, policy: &TrustPolicy) {
    const CHECK: &str = "job";
    let (Some(sealed), Some((_, run))) = (&evidence.seal, evidence.run()) else {
        return;
    };
    let job = &sealed.facts.job;
    for signed in evidence.core() {
        if signed.head.job() != Some(job) {
            let text = format!("it is about another job than the seal, which is about `{job}`");
            log.bad(CHECK, Refusal::Untrusted, Some(&signed.name), text);
        }
        if signed.key != sealed.signed.key {
            let text = "another key signed it than sealed";
            log.bad(CHECK, Refusal::Untrusted, Some(&signed.name), text);
        }
    }
    let (command, accepted) = (&run.job.command, &policy.run.commands);
    if !accepted.is_empty() && !accepted.contains(command) {
        let text = format!("the policy does not accept the command `{command}`");
        log.bad(CHECK, Refusal::Denied, None, text);
    }
    if log.clean(CHECK) {
        log.good(CHECK, format!("all pieces are of job `{}`", run.job.id));
    }
}

/// Check 10: not too old, not from the future, and the policy itself is in force.
fn freshness(log: &mut Log, evidence: &Evidence<'_>, policy: &TrustPolicy, now: Timestamp) {
    const CHECK: &str = "freshness";
    if let Some(expires) = policy.expires.filter(|expires| now >= *expires) {
        let text = format!("the policy expired at {expires}");
        log.bad(CHECK, Refusal::Stale, None, text);
    }
    let Some((_, run)) = evidence.run() else {
        return;
    };
    let (started, finished) = (run.job.started, run.job.finished);
    let age = now.duration_since(finished);
    if started > finished {
        let text = format!("the job ended at {finished}, before it began");
        log.bad(CHECK, Refusal::Malformed, None, text);
    }
    // A time that is ahead by more than clocks may differ.
    if finished.duration_since(now) > policy.evidence.skew {
        let text = format!("the job ended in the future, at {finished}");
        log.bad(CHECK, Refusal::Stale, None, text);
    }
    if age > policy.evidence.max_age {
        let days = policy.evidence.max_age;
        let text = format!("the job ended at {finished}, longer ago than {days:#}");
        log.bad(CHECK, Refusal::Stale, None, text);
    }
    if log.clean(CHECK) {
        log.good(CHECK, format!("the job ended at {finished}"));
    }
}

/// Check 12: the seal lists every piece, and each is there as it was sealed.
fn completeness(cabinet: &Cabinet<'_>, log: &mut Log, evidence: &Evidence<'_>) {
    const CHECK: &str = "completeness";
    let Some(sealed) = &evidence.seal else {
        return;
    };
    let mut required = vec![
        Report::REPORT_NAME,
        Report::BUNDLE_NAME,
        RunReport::REPORT_NAME,
        RunReport::BUNDLE_NAME,
    ];
    if cabinet.policy.sweep.required {
        required.extend([SweepReport::REPORT_NAME, SweepReport::BUNDLE_NAME]);
    }
    for name in required {
        if sealed.predicate.digest_of(name).is_none() {
            log.bad(
                CHECK,
                Refusal::Missing,
                Some(name),
                "the seal does not list it",
            );
        }
    }
    let facts = evidence.run().and_then(|(_, run)| run.events.as_ref());
    let mut followed = facts.map(|facts| (facts, Followed::default()));
    for reference in &sealed.predicate.references {
        let name = &reference.name;
        let mut sha256 = Sha256::new();
        let mut here = followed.as_mut().filter(|(facts, _)| facts.name == *name);
        let mut take = |bytes: &[u8]| {
            sha256.update(bytes);
            if let Some((_, chain)) = &mut here {
                chain.take(bytes);
            }
        };
        match cabinet.stream(name, MAX_FILE, &mut take) {
            Ok(()) if finished_hex(sha256) == reference.digest.sha256 => continue,
            Ok(()) => {
                let text = "it is not the file that was sealed";
                log.bad(CHECK, Refusal::Untrusted, Some(name), text);
            }
            Err(error) => unread(log, CHECK, name, &error),
        }
        // Of what is not there, or another file, nothing follows.
        followed = followed.filter(|(facts, _)| facts.name != *name);
    }
    if let Some((_, run)) = evidence.run() {
        consistent(log, evidence, run);
        if cabinet.policy.evidence.events == EventRule::Required {
            eventful(log, run);
        }
    }
    if let Some((facts, chain)) = followed {
        whole(log, sealed, facts, chain);
    }
    if log.clean(CHECK) {
        let count = sealed.predicate.references.len();
        log.good(CHECK, format!("{count} files, as they were sealed"));
    }
}

/// The single events, as far as they were read.
struct Followed(Result<Follower, ChainError>);

impl Default for Followed {
    fn default() -> Self {
        Self(Ok(Follower::default()))
    }
}

impl Followed {
    fn take(&mut self, bytes: &[u8]) {
        if let Ok(chain) = &mut self.0
            && let Err(error) = chain.take(bytes)
        {
            self.0 = Err(error);
        }
    }
}

/// Whether the single events are the whole chain that the run report names.
fn whole(log: &mut Log, sealed: &Sealed<'_>, facts: &EventFacts, Followed(chain): Followed) {
    const CHECK: &str = "completeness";
    let name = facts.name.as_str();
    if sealed.predicate.digest_of(name).is_none() {
        let text = "the seal does not list it, and the run report names it";
        log.bad(CHECK, Refusal::Missing, Some(name), text);
        return;
    }
    let text = match chain.and_then(Follower::finish) {
        Ok(head) if head.lines == facts.lines && head.hex() == facts.head => return,
        Ok(head) => {
            let (ends, says) = (head.lines, facts.lines);
            format!("its chain ends after {ends} events, and that of the run report after {says}")
        }
        Err(error) => with_cause(&error),
    };
    log.bad(CHECK, Refusal::Malformed, Some(name), text);
}

/// Whether the run report names single events, and all of them. That they are there, and whole, is looked for
/// where it does.
fn eventful(log: &mut Log, run: &RunReport) {
    const CHECK: &str = "completeness";
    match &run.events {
        Some(facts) if facts.name == ocsf::NAME && facts.dropped == 0 => {}
        Some(facts) if facts.name == ocsf::NAME => {
            let (lines, dropped) = (facts.lines, facts.dropped);
            let text = format!("it ends after {lines} events, and {dropped} more are only counted");
            log.bad(CHECK, Refusal::Denied, Some(ocsf::NAME), text);
        }
        _ => {
            let text = "the policy asks for single events, and none were kept";
            log.bad(CHECK, Refusal::Missing, Some(ocsf::NAME), text);
        }
    }
}

/// Whether the run report says what the other reports come to.
fn consistent(log: &mut Log, evidence: &Evidence<'_>, run: &RunReport) {
    let Some((_, egress)) = evidence.egress() else {
        return;
    };
    let sweep = evidence.sweep.as_ref();
    let sweep = sweep.and_then(|part| part.report.as_ref());
    if run.sweep.is_some() && sweep.is_none() {
        // Which was found and told where it was looked for: the seal lists it.
        return;
    }
    let (reports, chain) = (run.reports.clone(), run.chain.clone());
    let again = RunReport::new(egress, sweep, reports, &run.host, chain);
    let again = again.with_events(run.events.clone());
    if again != *run {
        let text = "it does not say what the other reports come to";
        log.bad(
            "completeness",
            Refusal::Malformed,
            Some(RunReport::REPORT_NAME),
            text,
        );
    }
    let sealed = evidence.seal.as_ref().map(|sealed| &sealed.facts);
    let place = sealed.map(|facts| (facts.sequence, &facts.previous));
    if place.is_some_and(|place| place != (run.chain.sequence, &run.chain.previous)) {
        let text = "its place in the chain is not that of the seal";
        log.bad(
            "replay",
            Refusal::Untrusted,
            Some(RunReport::REPORT_NAME),
            text,
        );
    }
}
