//! The decision about one detection.

use super::{AllowEntry, Baseline, Place, SweepPolicy, Tree, platform};
use crate::block::Source;
use crate::credential::{Checksum, Class, Confidence, Life};
use crate::detection::Detection;

/// What is to be thought of a detection.
#[must_use]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Judgement {
    /// What it is.
    pub outcome: Outcome,
    /// Why.
    pub reason: Reason,
    /// The entry that would have allowed it, had it not expired, by its place in the policy.
    pub lapsed: Option<usize>,
}

/// What a detection is.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Outcome {
    /// It belongs there; it is counted.
    Expected,
    /// It is shown, and nothing follows from it.
    Noted,
    /// It should not be there.
    Finding(Severity),
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Severity {
    /// Perhaps nothing.
    Low,
    /// Somebody should look.
    Medium,
    /// It gives access to something.
    High,
    /// It gives access, and others can see it.
    Critical,
}

/// Why a detection is what it is.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Reason {
    /// The entry of the policy with this place allows it.
    Allowed(usize),
    /// It says itself that it has expired.
    Expired,
    /// The job's token, where the platform puts it, and with a process that may hold it.
    PlatformToken,
    /// The job's token on a command line, which other accounts can read.
    TokenOnCommandLine,
    /// The job's token where the platform does not put it.
    TokenElsewhere,
    /// The job's token with a process that is no holder.
    TokenWithOther,
    /// The job's token with a process that is not of the job.
    TokenOutside,
    /// Short-lived, from an issuer that this job uses.
    Federated,
    /// Short-lived; who issued it is not proven.
    OriginUnproven,
    /// Short-lived, and on a command line, which other accounts can read.
    ShortLivedOnCommandLine,
    /// It lives longer than the policy allows.
    LivesTooLong,
    /// It points to a credential and holds none.
    Pointer,
    /// It lives until somebody revokes it.
    LongLived,
    /// A private key.
    PrivateKey,
    /// The runner's own identity, with the runner.
    Runner,
    /// The runner's own identity, with something else.
    RunnerIdentityOutside,
    /// Secret, and nothing says for how long.
    UnknownLifetime,
}

impl SweepPolicy {
    /// Judges a detection. `now` is in seconds of the Unix epoch.
    pub fn judge(&self, detection: &Detection, place: &Place<'_>, now: i64) -> Judgement {
        let mut entries = self.allow.iter().enumerate();
        let mut lapsed = None;
        let allowed = entries.find(|(at, entry)| {
            let expired = entry.expires.is_some_and(|expires| expires <= now);
            let matches = entry.matches(detection, place);
            if matches && expired {
                lapsed.get_or_insert(*at);
            }
            matches && !expired
        });
        let (outcome, reason) = match allowed {
            Some((at, _entry)) => (Outcome::Expected, Reason::Allowed(at)),
            None => self.judge_class(detection, place, now),
        };
        Judgement {
            outcome,
            reason,
            lapsed: lapsed.filter(|_at| allowed.is_none()),
        }
    }

    fn judge_class(&self, detection: &Detection, place: &Place<'_>, now: i64) -> (Outcome, Reason) {
        if let Life::Until { expires, .. } = detection.life
            && expires <= now
        {
            return (Outcome::Noted, Reason::Expired);
        }
        match detection.class {
            Class::JobToken => self.judge_job_token(detection, place),
            Class::ShortLived => self.judge_short_lived(detection, place, now),
            Class::Pointer => (Outcome::Noted, Reason::Pointer),
            Class::Static => self.warn(Severity::High, Reason::LongLived, detection, place),
            Class::PrivateKey => self.warn(Severity::High, Reason::PrivateKey, detection, place),
            Class::Unknown => {
                self.warn(Severity::Medium, Reason::UnknownLifetime, detection, place)
            }
            Class::RunnerIdentity => {
                if self.runners.iter().any(|runner| runner.matches(place.path)) {
                    return (Outcome::Expected, Reason::Runner);
                }
                finding(
                    Severity::High,
                    Reason::RunnerIdentityOutside,
                    detection,
                    place,
                )
            }
        }
    }

    /// Whether a program may hold the job's own token.
    fn admits(&self, path: &str) -> bool {
        self.holders
            .iter()
            .all(|list| list.iter().any(|program| program.matches(path)))
    }

    fn judge_job_token(&self, detection: &Detection, place: &Place<'_>) -> (Outcome, Reason) {
        let variable = detection.place.variable.name();
        let reason = if place.tree == Tree::Outside {
            Reason::TokenOutside
        } else if detection.place.source == Source::Arguments {
            Reason::TokenOnCommandLine
        } else if !variable.is_some_and(platform::puts_token_into) {
            Reason::TokenElsewhere
        } else if !self.admits(place.path) {
            Reason::TokenWithOther
        } else {
            return (Outcome::Expected, Reason::PlatformToken);
        };
        match (self.default, reason) {
            // Lenient is about where it is, too: only its spread inside the job is let pass.
            (Baseline::Lenient, Reason::TokenElsewhere | Reason::TokenWithOther) => {
                (Outcome::Noted, reason)
            }
            _ => finding(Severity::Medium, reason, detection, place),
        }
    }

    fn judge_short_lived(
        &self,
        detection: &Detection,
        place: &Place<'_>,
        now: i64,
    ) -> (Outcome, Reason) {
        if let Life::Until { issued, expires } = detection.life
            && expires.saturating_sub(issued.unwrap_or(now)) > self.max_lifetime
        {
            return self.warn(Severity::Medium, Reason::LivesTooLong, detection, place);
        }
        if self.default == Baseline::Lenient {
            return (Outcome::Expected, Reason::Federated);
        }
        if detection.place.source == Source::Arguments {
            // What a command line adds is all that is bad about it.
            return (
                Outcome::Finding(Severity::Low),
                Reason::ShortLivedOnCommandLine,
            );
        }
        let issued_by_known = detection.facts.iter().any(|fact| {
            matches!(fact.what, "issuer" | "host" | "account")
                && self.issuers.iter().any(|issuer| issuer.matches(&fact.text))
        });
        if issued_by_known {
            (Outcome::Expected, Reason::Federated)
        } else {
            (Outcome::Noted, Reason::OriginUnproven)
        }
    }

    /// A finding, or a note where the policy is lenient.
    fn warn(
        &self,
        severity: Severity,
        reason: Reason,
        detection: &Detection,
        place: &Place<'_>,
    ) -> (Outcome, Reason) {
        match self.default {
            Baseline::OidcOnly => finding(severity, reason, detection, place),
            Baseline::Lenient => (Outcome::Noted, reason),
        }
    }
}

/// A finding: one step worse on a command line and outside the job, one step better where it is not
/// sure that there is a credential. It never stops being one.
fn finding(
    severity: Severity,
    reason: Reason,
    detection: &Detection,
    place: &Place<'_>,
) -> (Outcome, Reason) {
    let on_command_line = detection.place.source == Source::Arguments;
    let outside = place.tree == Tree::Outside;
    let doubtful =
        detection.checksum == Checksum::Invalid || detection.confidence == Confidence::Low;
    let severity = if on_command_line {
        severity.worse()
    } else {
        severity
    };
    let severity = if outside { severity.worse() } else { severity };
    let severity = if doubtful {
        severity.better()
    } else {
        severity
    };
    (Outcome::Finding(severity), reason)
}

impl Severity {
    const fn worse(self) -> Self {
        match self {
            Self::Low => Self::Medium,
            Self::Medium => Self::High,
            Self::High | Self::Critical => Self::Critical,
        }
    }

    const fn better(self) -> Self {
        match self {
            Self::Low | Self::Medium => Self::Low,
            Self::High => Self::Medium,
            Self::Critical => Self::High,
        }
    }

    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

impl AllowEntry {
    fn matches(&self, detection: &Detection, place: &Place<'_>) -> bool {
        let Self {
            variable,
            rule,
            class,
            process,
            fingerprint,
            reason: _,
            expires: _,
        } = self;
        if self.is_vacuous() {
            return false;
        }
        let name = detection.place.variable.name();
        variable
            .as_ref()
            .is_none_or(|pattern| name.is_some_and(|name| pattern.matches(name)))
            && rule.as_ref().is_none_or(|id| id == detection.rule.id)
            && class.is_none_or(|class| class == detection.class)
            && process
                .as_ref()
                .is_none_or(|program| program.matches(place.path))
            && fingerprint.is_none_or(|fingerprint| fingerprint == detection.fingerprint)
    }

    /// Whether it gives nothing to match, and so allows nothing.
    pub const fn is_vacuous(&self) -> bool {
        self.variable.is_none()
            && self.rule.is_none()
            && self.class.is_none()
            && self.process.is_none()
            && self.fingerprint.is_none()
    }
}

impl Reason {
    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allowed(_) => "allowed",
            Self::Expired => "expired",
            Self::PlatformToken => "platform-token",
            Self::TokenOnCommandLine => "job-token-on-command-line",
            Self::TokenElsewhere => "job-token-elsewhere",
            Self::TokenWithOther => "job-token-with-other-process",
            Self::TokenOutside => "job-token-outside-job",
            Self::Federated => "federated",
            Self::OriginUnproven => "short-lived-origin-unproven",
            Self::ShortLivedOnCommandLine => "short-lived-on-command-line",
            Self::LivesTooLong => "lives-too-long",
            Self::Pointer => "pointer",
            Self::LongLived => "long-lived",
            Self::PrivateKey => "private-key",
            Self::Runner => "runner",
            Self::RunnerIdentityOutside => "runner-identity-outside-runner",
            Self::UnknownLifetime => "unknown-lifetime",
        }
    }
}
