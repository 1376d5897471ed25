//! What checks found, and what that comes to.
//!
//! **Invariants**: a release is promoted only if every check passed; of several reasons the one that
//! weighs most gives the status, and all are told.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::report::predicate::Digest;
use crate::report::run::FileDigest;

/// Value of [`Decision::schema`].
pub const SCHEMA: &str = "cordon/gate-decision/v1";

/// The checks, in their order; the number of one is its place, from 1.
pub const CHECKS: [&str; 15] = [
    "target",
    "find",
    "envelope",
    "signature",
    "key",
    "statement",
    "subject",
    "monitor",
    "job",
    "freshness",
    "replay",
    "completeness",
    "integrity",
    "verdict",
    "decision",
];

/// Why a release is not promoted.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    /// Evidence is genuine, and the policy does not accept what it says.
    Denied,
    /// Evidence is missing.
    Missing,
    /// Nobody who counts vouches for it.
    Untrusted,
    /// It is about another image.
    Subject,
    /// It is too old, from the future, or was used before.
    Stale,
    /// It is not what it should be, or too large.
    Malformed,
    /// It could not be found out.
    Undecided,
}

impl Refusal {
    /// Exit status.
    #[must_use]
    pub const fn status(self) -> u8 {
        match self {
            Self::Denied => 1,
            Self::Missing => 3,
            Self::Untrusted => 4,
            Self::Subject => 5,
            Self::Stale => 6,
            Self::Malformed => 7,
            Self::Undecided => 8,
        }
    }

    /// What it weighs: evidence that is false before evidence that is not there, both before what the
    /// policy makes of it, and all that is known before what is not.
    const fn weight(self) -> u8 {
        match self {
            Self::Untrusted => 7,
            Self::Subject => 6,
            Self::Malformed => 5,
            Self::Stale => 4,
            Self::Missing => 3,
            Self::Denied => 2,
            Self::Undecided => 1,
        }
    }
}

/// What a check came to.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It showed that all is good.
    Passed,
    /// It found something that is not.
    Failed,
    /// It had nothing to look at, because another one failed.
    NotReached,
}

/// Whether the release may be promoted.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It may.
    Promote,
    /// It may not, and asking again changes nothing by itself.
    Deny,
    /// It may not, since it could not be decided.
    Undecided,
}

/// One thing that a check found.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Finding {
    /// Why that stops the release; absent if it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Refusal>,
    /// The file it is about; absent if about none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub piece: Option<String>,
    /// In words.
    pub text: String,
}

/// One check and what it found.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Check {
    /// Its place in [`CHECKS`], from 1.
    pub number: u8,
    /// Its name.
    pub name: String,
    /// What it came to.
    pub outcome: Outcome,
    /// What it found.
    pub findings: Vec<Finding>,
}

/// The policy that was asked.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PolicyFacts {
    /// Its own name.
    pub name: String,
    /// Where it was read from.
    pub source: String,
    /// SHA-256 of the file, hex.
    pub sha256: String,
    /// Id of the key that signed it; absent if it was used unsigned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed_by: Option<String>,
}

/// When it was decided.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Now {
    /// The time that was taken for the present.
    pub time: Timestamp,
    /// Whether somebody chose it; else it is the clock's.
    pub given: bool,
}

/// What the gate says.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Decision {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// Whether the release may be promoted.
    pub verdict: Verdict,
    /// Exit status: 0, or that of the refusal that weighs most.
    pub status: u8,
    /// All reasons against it, that of the status first, each once.
    pub refusals: Vec<Refusal>,
    /// The image, as `sha256:HEX`: what is to be promoted, and never a tag.
    pub target: String,
    /// The policy.
    pub policy: PolicyFacts,
    /// The time.
    pub now: Now,
    /// The list of revoked keys; absent if there was none that counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revocations: Option<RevocationFacts>,
    /// The seal; absent if there was none that counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seal: Option<SealFacts>,
    /// Every check, in order.
    pub checks: Vec<Check>,
    /// The signed files that it was decided on, in the order of names.
    pub inputs: Vec<FileDigest>,
}

/// The list of revoked keys that was asked.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RevocationFacts {
    /// The list, without its signature.
    pub list: Digest,
    /// Its number.
    pub number: u64,
    /// When it was issued, by its own word.
    pub issued_on: Timestamp,
    /// Id of the key that signed it.
    pub signed_by: String,
}

/// The seal that was found.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SealFacts {
    /// The file.
    pub digest: Digest,
    /// Its number.
    pub sequence: u64,
    /// SHA-256 of the seal before, hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
    /// Id of the key that sealed.
    pub key_id: String,
    /// The job.
    pub job: String,
}

/// What checks have found so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Log {
    findings: Vec<(usize, Finding)>,
    passed: Vec<usize>,
}

impl Decision {
    /// The decision of several about as many sets of evidence: that of one that is promoted, or of the
    /// one that passed most checks. Evidence that somebody put beside it stops no release; what the
    /// others came to is said.
    #[must_use]
    pub fn closest(decisions: Vec<Self>) -> Option<Self> {
        let statuses: Vec<u8> = decisions.iter().map(|decision| decision.status).collect();
        let merit = |decision: &Self| {
            let checks = decision.checks.iter();
            let passed = checks.filter(|check| check.outcome == Outcome::Passed);
            (decision.verdict == Verdict::Promote, passed.count())
        };
        let mut best: Option<Self> = None;
        for decision in decisions {
            if best
                .as_ref()
                .is_none_or(|best| merit(&decision) > merit(best))
            {
                best = Some(decision);
            }
        }
        let mut best = best?;
        if statuses.len() > 1 {
            let mut others = statuses;
            if let Some(own) = others.iter().position(|status| *status == best.status) {
                others.remove(own);
            }
            let others: Vec<_> = others.iter().map(u8::to_string).collect();
            let count = others.len();
            let others = others.join(", ");
            best.remark(format!(
                "decided on one of several sets of evidence; the {count} other(s) came to status {others}"
            ));
        }
        Some(best)
    }

    /// Adds something that is worth knowing to what was found.
    pub fn remark(&mut self, text: String) {
        let find = self.checks.iter_mut().find(|check| check.name == "find");
        if let Some(check) = find {
            check.findings.push(Finding {
                refusal: None,
                piece: None,
                text,
            });
        }
    }
}

impl Log {
    /// A check showed something good.
    pub(super) fn good(&mut self, check: &'static str, text: impl Into<String>) {
        self.passed.push(place(check));
        self.note(check, None, text);
    }

    /// A check found something that is worth knowing.
    pub(super) fn note(
        &mut self,
        check: &'static str,
        piece: Option<&str>,
        text: impl Into<String>,
    ) {
        self.push(check, None, piece, text.into());
    }

    /// A check found something that stops the release.
    pub(super) fn bad(
        &mut self,
        check: &'static str,
        refusal: Refusal,
        piece: Option<&str>,
        text: impl Into<String>,
    ) {
        self.push(check, Some(refusal), piece, text.into());
    }

    fn push(
        &mut self,
        check: &'static str,
        refusal: Option<Refusal>,
        piece: Option<&str>,
        text: String,
    ) {
        let finding = Finding {
            refusal,
            piece: piece.map(str::to_owned),
            text,
        };
        self.findings.push((place(check), finding));
    }

    /// Whether a check found nothing bad so far.
    pub(super) fn clean(&self, check: &'static str) -> bool {
        let of = self.findings.iter().filter(|(at, _)| *at == place(check));
        of.clone().all(|(_, finding)| finding.refusal.is_none())
    }

    /// The checks in their order, and all refusals, the one that weighs most first.
    pub(super) fn conclude(self) -> (Vec<Check>, Vec<Refusal>) {
        let Self { findings, passed } = self;
        let mut checks = Vec::new();
        let mut refusals = Vec::new();
        for ((place, name), number) in CHECKS.iter().enumerate().zip(1_u8..) {
            let of = findings.iter().filter(|(at, _)| *at == place);
            let found: Vec<Finding> = of.map(|(_, finding)| finding.clone()).collect();
            let against: Vec<_> = found.iter().filter_map(|finding| finding.refusal).collect();
            let outcome = if !against.is_empty() {
                Outcome::Failed
            } else if passed.contains(&place) {
                Outcome::Passed
            } else {
                Outcome::NotReached
            };
            refusals.extend(against);
            checks.push(Check {
                number,
                name: (*name).to_owned(),
                outcome,
                findings: found,
            });
        }
        let open = checks.iter().any(|check| check.outcome != Outcome::Passed);
        if open && refusals.is_empty() {
            // A check that was not made and that nothing stopped: a defect, and no promotion.
            refusals.push(Refusal::Undecided);
        }
        refusals.sort_by_key(|refusal| std::cmp::Reverse(refusal.weight()));
        refusals.dedup();
        (checks, refusals)
    }
}

/// A check's place in the list; one that is in no list would be the last, which fails then.
fn place(check: &str) -> usize {
    let place = CHECKS.iter().position(|name| *name == check);
    place.unwrap_or(CHECKS.len().saturating_sub(1))
}

/// What a list of refusals comes to.
pub(super) fn verdict(refusals: &[Refusal]) -> (Verdict, u8) {
    match refusals.first() {
        None => (Verdict::Promote, 0),
        Some(Refusal::Undecided) => (Verdict::Undecided, Refusal::Undecided.status()),
        Some(refusal) => (Verdict::Deny, refusal.status()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Refusal; 7] = [
        Refusal::Untrusted,
        Refusal::Subject,
        Refusal::Malformed,
        Refusal::Stale,
        Refusal::Missing,
        Refusal::Denied,
        Refusal::Undecided,
    ];

    fn all_good() -> Log {
        let mut log = Log::default();
        for check in CHECKS {
            log.good(check, "good");
        }
        log
    }

    #[test]
    fn promoted_is_only_what_passed_every_check() {
        assert_eq!(verdict(&all_good().conclude().1), (Verdict::Promote, 0));
        for left_out in CHECKS {
            let mut log = Log::default();
            for check in CHECKS.iter().filter(|check| **check != left_out) {
                log.good(check, "good");
            }
            let (checks, refusals) = log.conclude();
            assert_eq!(verdict(&refusals), (Verdict::Undecided, 8), "{left_out}");
            let open = checks.iter().find(|check| check.name == left_out).unwrap();
            assert_eq!(open.outcome, Outcome::NotReached);
        }
    }

    #[test]
    fn any_refusal_in_any_check_stops_it_and_gives_its_status() {
        for check in CHECKS {
            for refusal in ALL {
                let mut log = all_good();
                log.bad(check, refusal, None, "bad");
                log.good(check, "good again");
                let (_, refusals) = log.conclude();
                assert_eq!(verdict(&refusals).1, refusal.status(), "{check}");
            }
        }
    }

    #[test]
    fn the_refusal_that_weighs_most_gives_the_status_and_all_are_told() {
        for (at, heavy) in ALL.iter().enumerate() {
            for light in &ALL[at + 1..] {
                let mut log = all_good();
                log.bad("verdict", *light, None, "x");
                log.bad("find", *heavy, None, "x");
                log.bad("find", *light, None, "x");
                let (_, refusals) = log.conclude();
                assert_eq!(refusals, [*heavy, *light]);
                assert_ne!(verdict(&refusals).0, Verdict::Undecided);
            }
        }
    }
}
