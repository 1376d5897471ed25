//! What a job's policy says about secrets in its processes.
//!
//! Of several profiles the strictest holds: each key has an order, allowances are united, and a
//! program may hold job tokens only if every profile that names holders names it.
//!
//! **Invariant**: no profile turns the sweep off.

use std::collections::BTreeSet;
use std::time::Duration;

mod allowance;
mod read;
mod said;

pub use cordon_secrets::{PatternError, ProgramPattern, VariablePattern};

pub(crate) use self::allowance::ALLOWANCE;
pub use self::allowance::Allowance;
pub(crate) use self::read::{SECRETS, read_secrets, read_time, read_word, show_time};
pub(crate) use self::said::Said;

/// How often running processes are swept, unless a profile says something else.
const INTERVAL: Duration = Duration::from_secs(10);
/// How long a frozen job waits, unless a profile says something else.
const FREEZE_FOR: Duration = Duration::from_mins(10);
/// The longest life of a credential that counts as short, unless a profile says something else.
const MAX_LIFETIME: Duration = Duration::from_hours(1);

/// What is looked for in a job's processes, and what is done about it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SecretsPolicy {
    /// What a finding does to the job.
    pub on_finding: OnFinding,
    /// Which classes are findings.
    pub stance: Stance,
    /// How often running processes are swept: 1 second to 1 hour.
    pub interval: Duration,
    /// How long a frozen job waits for somebody to look at it before it is killed: 1 second to
    /// 24 hours.
    pub freeze_for: Duration,
    /// Longest life of a federated credential that counts as short-lived: 1 minute to 24 hours.
    pub max_lifetime: Duration,
    /// Which programs may hold the platform's job tokens.
    pub holders: Holders,
    /// What is expected all the same, those of extended profiles first. Expired ones are among
    /// them, and do not apply.
    pub allow: Vec<Allowance>,
}

impl Default for SecretsPolicy {
    fn default() -> Self {
        Self {
            on_finding: OnFinding::Report,
            stance: Stance::OidcOnly,
            interval: INTERVAL,
            freeze_for: FREEZE_FOR,
            max_lifetime: MAX_LIFETIME,
            holders: Holders::default(),
            allow: Vec::new(),
        }
    }
}

/// What a finding does to the job. The order is that of strictness.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum OnFinding {
    /// Nothing: it is in the report.
    Report,
    /// Stops every process of the job where it is.
    Freeze,
    /// Kills every process of the job.
    Kill,
}

impl OnFinding {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Report, Self::Freeze, Self::Kill];

    /// Its name in profiles and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Report => "report",
            Self::Freeze => "freeze",
            Self::Kill => "kill",
        }
    }

    /// The one with this name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name() == text)
    }
}

/// Which classes are findings where nothing allows them. The order is that of strictness.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Stance {
    /// Long-lived credentials are told of as notes.
    Lenient,
    /// A job has its platform's tokens and what it gets for them; anything that lives longer is a
    /// finding.
    OidcOnly,
}

impl Stance {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Lenient, Self::OidcOnly];

    /// Its name in profiles and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lenient => "lenient",
            Self::OidcOnly => "oidc-only",
        }
    }

    /// The one with this name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name() == text)
    }
}

/// Which programs may hold the platform's job tokens: one of each list. Without a list, all may.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Holders {
    /// One list for each profile that has one; none of them is empty.
    pub lists: BTreeSet<BTreeSet<ProgramPattern>>,
}

impl Holders {
    /// Whether a program may. Its path is that of its executable.
    #[must_use]
    pub fn admit(&self, path: &str) -> bool {
        self.lists
            .iter()
            .all(|list| list.iter().any(|program| program.matches(path)))
    }
}
