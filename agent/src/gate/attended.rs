//! What the policy makes of a job of a CI system: whose it was, how it began and how it ended.
//!
//! The words of an identity are what the runner said before the job's own code ran. Which runner it was, and
//! what was not as it should be, the host saw itself.

use super::decision::{Log, Refusal};
use super::policy::{Answer, JobRules, TrustPolicy};
use crate::report::attendance::Identity;
use crate::report::run::RunReport;
use crate::report::{Attendance, Outcome};

/// The part of check 14 about such jobs.
pub(super) fn check(log: &mut Log, check: &'static str, run: &RunReport, policy: &TrustPolicy) {
    for text in refusals(run, policy) {
        log.bad(check, Refusal::Denied, None, text);
    }
}

fn refusals(run: &RunReport, policy: &TrustPolicy) -> Vec<String> {
    let mut texts = Vec::new();
    if run.job.outcome == Outcome::Finished && !policy.job.as_ref().is_some_and(allows_finished) {
        texts.push(
            "a worker of a CI system ended; what came of its job is not in the evidence (`finished` in `[job]`)"
                .to_owned(),
        );
    }
    match (&policy.job, &run.job.attendance) {
        (Some(_), None) => texts.push(
            "nobody said whose job this is: it is not one of a CI system, as `[job]` asks"
                .to_owned(),
        ),
        (Some(rules), Some(attendance)) => texts.extend(identity(rules, attendance)),
        (None, _) => {}
    }
    if let Some(attendance) = &run.job.attendance {
        let listed = u64::try_from(attendance.findings.len()).unwrap_or(u64::MAX);
        let found = listed.saturating_add(attendance.findings_unlisted);
        if found > policy.allowed.attendance {
            let kinds: Vec<_> = attendance
                .findings
                .iter()
                .map(|one| one.kind.word())
                .collect();
            let allowed = policy.allowed.attendance;
            texts.push(format!(
                "start and end of the job were not as they should be ({}): {found}, and {allowed} are allowed",
                kinds.join(", ")
            ));
        }
    }
    texts
}

fn allows_finished(rules: &JobRules) -> bool {
    rules.finished == Answer::Allow
}

/// What of a job's identity is not as it must be. What was not said is not as it must be.
fn identity(rules: &JobRules, attendance: &Attendance) -> Vec<String> {
    let mut texts = Vec::new();
    let said = attendance.identity.words();
    for (name, patterns) in &rules.words {
        let word = said.iter().find(|(known, _)| known == name);
        match word.and_then(|(_, word)| *word) {
            Some(word) if patterns.iter().any(|pattern| pattern.matches(word)) => {}
            Some(word) => texts.push(format!(
                "the {name} of the job is `{word}`, which is not accepted"
            )),
            None => texts.push(format!("the {name} of the job was not said")),
        }
    }
    if !rules.runners.is_empty() {
        match &attendance.runner {
            Some(runner) if rules.runners.iter().any(|pattern| pattern.matches(runner)) => {}
            Some(runner) => texts.push(format!("the runner was `{runner}`, which is not accepted")),
            None => texts.push("the job was not one of a runner's unit".to_owned()),
        }
    }
    if rules.forks == Answer::Refuse && !is_of_its_own(&attendance.identity) {
        texts.push(
            "the commits of the job are those of a fork, or may be (`forks` in `[job]`)".to_owned(),
        );
    }
    texts
}

/// Events whose jobs can work on a stranger's commits although the event itself belongs to the repository.
const FOR_STRANGERS: [&str; 3] = ["issue_comment", "pull_request_target", "workflow_run"];

/// Whether it was said that the commits are the repository's own, and nothing speaks against it.
fn is_of_its_own(identity: &Identity) -> bool {
    let event = identity.event.as_deref().unwrap_or_default();
    identity.fork == Some(false) && !FOR_STRANGERS.contains(&event)
}
