//! What can be said of a credential without showing it.

/// A rule: one credential format.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Rule {
    /// Its name in reports and policies, never changed or reused: `github-pat`.
    pub id: &'static str,
    /// What it is, for a person: "GitHub personal access token (classic)".
    pub title: &'static str,
}

/// What kind of credential it is for a job, which decides what is done about it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Class {
    /// The platform's own token of this job, gone when the job ends.
    JobToken,
    /// Short-lived and federated: minted for this job by an identity provider or a cloud.
    ShortLived,
    /// Points to a credential and holds none: a path, a socket, an external account.
    Pointer,
    /// Lives until somebody revokes it.
    Static,
    /// A private key.
    PrivateKey,
    /// The runner's own identity: registration tokens, JIT configurations.
    RunnerIdentity,
    /// Secret, with an unknown lifetime.
    Unknown,
}

/// How sure it is that this is a credential.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Confidence {
    /// Looks like one, and could be something else.
    Low,
    /// Has the shape, or failed its checksum.
    Medium,
    /// Has the structure or the checksum that only a real one has.
    High,
}

/// What became of the checksum.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Checksum {
    /// The format has none that can be computed offline.
    None,
    /// It is right.
    Valid,
    /// It is wrong: a dummy, a cut or a changed token. Confidence is lowered, nothing is dropped.
    Invalid,
}

/// How long it lives, as far as it says itself. Times are seconds of the Unix epoch.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Life {
    /// It does not say, and the format does not either.
    Unknown,
    /// By its format: hours at most.
    Short,
    /// By its format: until revoked.
    Long,
    /// It carries its expiry, and perhaps when it was issued.
    Until {
        /// When it was issued, where it says so.
        issued: Option<i64>,
        /// When it expires.
        expires: i64,
    },
}

/// Something a credential says of itself that is no secret and helps to find its owner.
///
/// `text` is printable ASCII of at most 128 bytes that the verifier has copied out of a field that is public by the
/// vendor's word (an issuer, an account id), never of one that authenticates.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Fact {
    /// What it is: `issuer`, `audience`, `account`, `project`, `app`, `host`, `user`.
    pub what: &'static str,
    /// The text.
    pub text: String,
}

impl Class {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::JobToken,
        Self::ShortLived,
        Self::Pointer,
        Self::Static,
        Self::PrivateKey,
        Self::RunnerIdentity,
        Self::Unknown,
    ];

    /// Its name in policies, reports and lists of known values.
    pub const fn name(self) -> &'static str {
        match self {
            Self::JobToken => "job-token",
            Self::ShortLived => "short-lived",
            Self::Pointer => "pointer",
            Self::Static => "static",
            Self::PrivateKey => "private-key",
            Self::RunnerIdentity => "runner-identity",
            Self::Unknown => "unknown",
        }
    }

    /// The class with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.name() == name)
    }
}

impl Confidence {
    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

impl Checksum {
    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Valid => "valid",
            Self::Invalid => "invalid",
        }
    }
}
