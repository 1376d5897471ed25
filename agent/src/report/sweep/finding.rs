//! A secret that was found: everything but the secret.

use cordon_secrets as engine;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// One secret, wherever processes had it at the same place of their environment or arguments.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Finding {
    /// The format, for example `github-pat`. Never changed or reused.
    pub rule: String,
    /// What that is, for a person.
    pub title: String,
    /// What kind of credential it is for a job.
    pub class: Class,
    /// The class's letter in documents; [`Class::letter`].
    pub class_letter: Letter,
    /// How much it matters here.
    pub severity: Severity,
    /// Why it was judged so: one word in kebab case.
    pub reason: String,
    /// The same in a sentence, for the job's author.
    pub explanation: String,
    /// Index into [`SweepReport::allowances`](super::SweepReport::allowances) of the entry that
    /// allows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowance: Option<u32>,
    /// How sure it is that this is a credential.
    pub confidence: Confidence,
    /// What became of its checksum.
    pub checksum: Checksum,
    /// How long it lives, as far as it says itself.
    pub life: Life,
    /// What it says of itself that is no secret.
    pub facts: Vec<Fact>,
    /// Environment or arguments.
    pub source: Source,
    /// What kind of entry it was in.
    pub entry: Entry,
    /// The environment variable, or the option of an argument.
    pub variable: Variable,
    /// The field of a document or the parameter inside the value.
    pub field: Variable,
    /// What had to be decoded to see it, the outermost first: `base64`, `hex`, `percent`, `json`.
    pub layers: Vec<String>,
    /// How long it is, in bytes and roughly: `32-63`.
    pub length: String,
    /// Its name: the same for the same secret under the same key. 32 hexadecimal digits.
    pub fingerprint: String,
    /// When it was first seen.
    pub first_seen: Timestamp,
    /// When it was last seen.
    pub last_seen: Timestamp,
    /// Whether a program was started with it.
    pub seen_at_exec: bool,
    /// Whether it was in `/proc` of a running process.
    pub seen_in_proc: bool,
    /// Processes that had it, first seen first; at most a few.
    pub processes: Vec<SweptProcess>,
    /// Processes that had it too and are not listed.
    pub processes_omitted: u64,
}

/// What kind of credential it is for a job.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// The platform's own token of this job, gone when the job ends.
    JobToken,
    /// Minted for this job by an identity provider or a cloud.
    ShortLived,
    /// Points to a credential and holds none.
    Pointer,
    /// Lives until somebody revokes it.
    Static,
    /// A private key.
    PrivateKey,
    /// The runner's own identity.
    RunnerIdentity,
    /// Secret, with an unknown lifetime.
    Unknown,
}

/// A class as documents letter it.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Letter {
    /// The platform's job identity.
    A,
    /// Federated and short-lived.
    B,
    /// A pointer, no secret.
    C,
    /// Long-lived: static credentials and private keys.
    D,
    /// Of unknown lifetime.
    E,
    /// The runner's identity.
    F,
}

/// How much it matters where it was.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// The policy forbids it; in [`findings`](super::SweepReport::findings).
    Violation,
    /// The policy does not want it; in [`findings`](super::SweepReport::findings).
    Warning,
    /// Worth knowing; in [`notes`](super::SweepReport::notes).
    Note,
    /// As it should be; in [`expected`](super::SweepReport::expected).
    Expected,
}

/// How sure it is that this is a credential.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Confidence {
    /// Looks like one, and could be something else.
    Low,
    /// Has the shape, or failed its checksum.
    Medium,
    /// Has the structure or the checksum that only a real one has.
    High,
}

/// What became of the checksum.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Checksum {
    /// The format has none that can be computed offline.
    None,
    /// It is right.
    Valid,
    /// It is wrong: a dummy, a cut or a changed token.
    Invalid,
}

/// How long it lives, as far as it says itself.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Life {
    /// How that is known.
    pub kind: LifeKind,
    /// When it was issued, where it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issued: Option<Timestamp>,
    /// When it expires, where it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// Whether it had expired when it was first seen; absent where it does not say when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expired: Option<bool>,
}

/// How it is known how long a credential lives.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum LifeKind {
    /// Not at all.
    Unknown,
    /// By its format: hours at most.
    Short,
    /// By its format: until revoked.
    Long,
    /// It carries its expiry.
    Until,
}

/// Something a credential says of itself that is no secret.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Fact {
    /// What it is: `issuer`, `account`.
    pub what: String,
    /// The text.
    pub text: String,
}

/// Where in a process it was.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// The environment.
    Environ,
    /// The command line, which every user of the host can read.
    Arguments,
}

/// What kind of entry it was in.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Entry {
    /// `NAME=VALUE` of an environment.
    Variable,
    /// An argument that says what it is: `--token=VALUE`, `NAME=VALUE`.
    Option,
    /// An entry without a name.
    Bare,
}

/// A name that is safe to show, or why there is none.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(
    rename_all = "kebab-case",
    rename_all_fields = "camelCase",
    tag = "kind",
    deny_unknown_fields
)]
pub enum Variable {
    /// There is no name.
    None,
    /// It has one.
    Named {
        /// Printable ASCII of at most 128 bytes, by the scanner's word.
        name: String,
    },
    /// It is too long or has bytes that are not printable.
    Unprintable,
    /// It holds a secret itself.
    Withheld,
}

/// A process that had the secret.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SweptProcess {
    /// When it was first seen with it.
    pub first_seen: Timestamp,
    /// When it was last seen with it.
    pub last_seen: Timestamp,
    /// Process id on the host.
    pub pid: u32,
    /// Executables from the process up to the job's first one.
    pub chain: Vec<String>,
    /// How often it was seen with it.
    pub times: u64,
}

impl Class {
    /// Its letter in documents.
    #[must_use]
    pub const fn letter(self) -> Letter {
        match self {
            Self::JobToken => Letter::A,
            Self::ShortLived => Letter::B,
            Self::Pointer => Letter::C,
            Self::Static | Self::PrivateKey => Letter::D,
            Self::Unknown => Letter::E,
            Self::RunnerIdentity => Letter::F,
        }
    }

    /// Its name, as in the report and in policies.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.of_engine().name()
    }

    const fn of_engine(self) -> engine::Class {
        match self {
            Self::JobToken => engine::Class::JobToken,
            Self::ShortLived => engine::Class::ShortLived,
            Self::Pointer => engine::Class::Pointer,
            Self::Static => engine::Class::Static,
            Self::PrivateKey => engine::Class::PrivateKey,
            Self::RunnerIdentity => engine::Class::RunnerIdentity,
            Self::Unknown => engine::Class::Unknown,
        }
    }
}

impl Letter {
    /// The letter.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::B => "B",
            Self::C => "C",
            Self::D => "D",
            Self::E => "E",
            Self::F => "F",
        }
    }
}

impl From<engine::Class> for Class {
    fn from(class: engine::Class) -> Self {
        match class {
            engine::Class::JobToken => Self::JobToken,
            engine::Class::ShortLived => Self::ShortLived,
            engine::Class::Pointer => Self::Pointer,
            engine::Class::Static => Self::Static,
            engine::Class::PrivateKey => Self::PrivateKey,
            engine::Class::RunnerIdentity => Self::RunnerIdentity,
            engine::Class::Unknown => Self::Unknown,
        }
    }
}

impl From<engine::Confidence> for Confidence {
    fn from(confidence: engine::Confidence) -> Self {
        match confidence {
            engine::Confidence::Low => Self::Low,
            engine::Confidence::Medium => Self::Medium,
            engine::Confidence::High => Self::High,
        }
    }
}

impl From<engine::Checksum> for Checksum {
    fn from(checksum: engine::Checksum) -> Self {
        match checksum {
            engine::Checksum::None => Self::None,
            engine::Checksum::Valid => Self::Valid,
            engine::Checksum::Invalid => Self::Invalid,
        }
    }
}

impl From<engine::Source> for Source {
    fn from(source: engine::Source) -> Self {
        match source {
            engine::Source::Environ => Self::Environ,
            engine::Source::Arguments => Self::Arguments,
        }
    }
}

impl From<&engine::Variable> for Variable {
    fn from(variable: &engine::Variable) -> Self {
        match variable {
            engine::Variable::None => Self::None,
            engine::Variable::Named(name) => Self::Named {
                name: name.as_ref().into(),
            },
            engine::Variable::Unprintable => Self::Unprintable,
            engine::Variable::Withheld => Self::Withheld,
        }
    }
}

impl From<&engine::Fact> for Fact {
    fn from(fact: &engine::Fact) -> Self {
        Self {
            what: fact.what.into(),
            text: fact.text.clone(),
        }
    }
}

impl Entry {
    /// The kind of entry that a source and a name make.
    #[must_use]
    pub const fn of(source: Source, variable: &Variable) -> Self {
        match (source, variable) {
            (_, Variable::None) => Self::Bare,
            (Source::Environ, _) => Self::Variable,
            (Source::Arguments, _) => Self::Option,
        }
    }
}

impl Life {
    /// The life that the engine read, as it was at `first_seen`.
    #[must_use]
    pub fn of(life: engine::Life, first_seen: Timestamp) -> Self {
        let kind = match life {
            engine::Life::Unknown => LifeKind::Unknown,
            engine::Life::Short => LifeKind::Short,
            engine::Life::Long => LifeKind::Long,
            engine::Life::Until { .. } => LifeKind::Until,
        };
        let (issued, expires) = match life {
            engine::Life::Until { issued, expires } => {
                (issued.map(instant), Some(instant(expires)))
            }
            engine::Life::Unknown | engine::Life::Short | engine::Life::Long => (None, None),
        };
        Self {
            kind,
            issued,
            expires,
            expired: expires.map(|expires| expires <= first_seen),
        }
    }
}

/// The instant of a credential's own claim, which can be any number.
fn instant(seconds: i64) -> Timestamp {
    let nearest = if seconds < 0 {
        Timestamp::MIN
    } else {
        Timestamp::MAX
    };
    Timestamp::from_second(seconds).unwrap_or(nearest)
}
