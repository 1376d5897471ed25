//! Profiles: text to policy to ruleset.
//!
//! A *profile* is one TOML file; a *policy* is what all profiles of a job say together; a *ruleset*
//! is the policy in the kernel's form. Default deny is the policy without rules.
//!
//! **Invariants**: a profile with a mistake never loads, not even partly; what no rule allows is
//! denied; the same files give the same ruleset, byte for byte.
//!
//! **Not here**: reading files happens in [`library`] alone, everything else is pure.

#![forbid(unsafe_code)]

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

mod allow;
pub mod compile;
pub mod containers;
pub mod diagnostic;
pub mod endpoint;
pub mod explain;
pub mod grants;
mod hex;
pub mod library;
pub mod limits;
mod load;
pub mod name;
pub mod narrow;
pub mod pattern;
pub mod ports;
mod profile;
pub(crate) mod reader;
pub mod remedy;
pub mod sandbox;
pub mod secrets;
pub mod suggest;
pub mod upstream;
pub mod verify;

pub use self::compile::{CompileError, CompiledRule, Net, Ruleset, RulesetDigest, compile};
pub use self::containers::Engine;
pub use self::diagnostic::{Mistake, Mistakes, Palette};
pub use self::endpoint::Endpoint;
pub use self::grants::merge_grants;
pub use self::library::Library;
pub use self::limits::LimitsPolicy;
pub use self::name::DomainName;
pub use self::pattern::DomainPattern;
pub use self::ports::PortSet;
pub(crate) use self::profile::{is_profile_name, read_ca, read_line, read_upstream};
pub use self::remedy::{remedy, remedy_with};
pub use self::sandbox::SandboxPolicy;
pub use self::secrets::SecretsPolicy;
pub use self::upstream::Upstream;
pub use self::verify::Verify;
use crate::report::ReportMode;

/// Each table of a profile with its keys, under its name in the file; the root has none. What
/// documents profiles is compared with it.
pub const TABLES: [(&str, &[&str]); 9] = [
    ("", profile::PROFILE.keys),
    ("allow", allow::ALLOW.keys),
    ("dns", profile::DNS_TABLE.keys),
    ("limits", limits::LIMITS.keys),
    ("limits.io", limits::IO.keys),
    ("sandbox", sandbox::SANDBOX.keys),
    ("secrets", secrets::SECRETS.keys),
    ("secrets.allow", secrets::ALLOWANCE.keys),
    ("containers", containers::CONTAINERS.keys),
];

/// What a job may reach, and what happens when it tries something else.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Policy {
    /// Name of the profile; several are joined by `+`.
    pub name: String,
    /// What verdicts do.
    pub mode: Mode,
    /// All rules, those of extended profiles first. The index of a rule is its number in reports.
    pub rules: Vec<Rule>,
    /// How names are looked up.
    pub dns: DnsPolicy,
    /// What is looked for in its processes, and what is done about it.
    pub secrets: SecretsPolicy,
    /// How much of the host it may use.
    pub limits: LimitsPolicy,
    /// Whether it may use a container engine.
    pub engine: Engine,
    /// What is taken from its command.
    pub sandbox: SandboxPolicy,
    /// The files it was made of, in the order of their rules.
    pub profiles: Vec<ProfileSource>,
    /// How many rules, from the first on, the job cannot give up: those of its runner's control plane.
    pub standing: usize,
    /// What the job gave up since it began.
    pub narrowed: Option<Narrowed>,
}

/// What is left of a policy that its job narrowed. Rules keep their numbers, which reports and the kernel's
/// counters refer to: those that were given up stay in the list and allow nothing, the new ones come after them.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Narrowed {
    /// How many rules the job began with.
    pub granted: usize,
    /// First rule that was given up.
    pub from: usize,
    /// First rule after those.
    pub to: usize,
}

impl Policy {
    /// The policy that allows nothing.
    #[must_use]
    pub fn deny_all() -> Self {
        Self {
            name: "deny-all".to_owned(),
            mode: Mode::Enforce,
            rules: Vec::new(),
            dns: DnsPolicy::default(),
            secrets: SecretsPolicy::default(),
            limits: LimitsPolicy::default(),
            engine: Engine::default(),
            sandbox: SandboxPolicy::default(),
            profiles: Vec::new(),
            standing: 0,
            narrowed: None,
        }
    }

    /// Whether a rule allows something: the job did not give it up.
    #[must_use]
    pub fn is_in_force(&self, rule: usize) -> bool {
        let given_up = |narrowed: &Narrowed| (narrowed.from..narrowed.to).contains(&rule);
        !self.narrowed.as_ref().is_some_and(given_up)
    }
}

/// What a verdict that is not "allow" does.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Lets pass, and records what would have been denied.
    Audit,
    /// Refuses.
    #[serde(alias = "block")]
    Enforce,
}

impl Mode {
    /// Reads a mode; `block` is what neighbouring products call `enforce`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "audit" => Some(Self::Audit),
            "enforce" | "block" => Some(Self::Enforce),
            _ => None,
        }
    }

    /// The mode of two policies together: enforce if one of them does.
    #[must_use]
    pub fn stricter(self, other: Self) -> Self {
        match (self, other) {
            (Self::Audit, Self::Audit) => Self::Audit,
            (Self::Enforce, _) | (_, Self::Enforce) => Self::Enforce,
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Audit => "audit",
            Self::Enforce => "enforce",
        })
    }
}

impl From<Mode> for cordon_ebpf::abi::verdict::Mode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Audit => Self::AUDIT,
            Mode::Enforce => Self::ENFORCE,
        }
    }
}

impl From<Mode> for ReportMode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Audit => Self::Audit,
            Mode::Enforce => Self::Enforce,
        }
    }
}

/// One line of a policy: an endpoint, its ports, its protocol.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rule {
    /// Which names or addresses.
    pub endpoint: Endpoint,
    /// Which ports.
    pub ports: PortSet,
    /// Over which protocol.
    pub protocol: Protocol,
    /// Whether the name may have private, loopback and link-local addresses.
    pub private: bool,
    /// What connections must show the name in, if the rule says so itself.
    pub verify: Option<Verify>,
    /// Why, in the author's words.
    pub reason: Option<String>,
    /// Where it is written.
    pub origin: Origin,
}

impl Rule {
    /// The rule in one line, for example `host api.example.com, tcp 443`.
    #[must_use]
    pub fn describe(&self) -> String {
        let Self {
            endpoint,
            ports,
            protocol,
            private,
            verify,
            reason: _,
            origin: _,
        } = self;
        let private = if *private { ", private addresses" } else { "" };
        let verify = verify.map_or_else(String::new, |verify| format!(", verify {verify}"));
        format!("{endpoint}, {protocol} {ports}{private}{verify}")
    }

    /// What connections to one of its ports must show the name in.
    #[must_use]
    pub fn verify_at(&self, port: u16) -> Verify {
        verify::by_port(&self.endpoint, &self.ports, self.protocol, self.verify)
            .into_iter()
            .find(|(first, last, _)| (*first..=*last).contains(&port))
            .map_or(Verify::None, |(.., verify)| verify)
    }

    /// The rule as TOML.
    #[must_use]
    pub fn to_toml(&self) -> String {
        remedy::rule_to_toml(self)
    }
}

/// Transport protocol of a rule.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// Reads `tcp` or `udp`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "tcp" => Some(Self::Tcp),
            "udp" => Some(Self::Udp),
            _ => None,
        }
    }

    /// IP protocol number.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => cordon_ebpf::abi::TCP,
            Self::Udp => cordon_ebpf::abi::UDP,
        }
    }

    /// The protocol of an IP protocol number, if rules can name it.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        [Self::Tcp, Self::Udp]
            .into_iter()
            .find(|protocol| protocol.number() == number)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// Where a rule is written.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Origin {
    /// Path of the file, or `built-in:NAME`.
    pub source: String,
    /// Line in it, counted from 1.
    pub line: usize,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.source, self.line)
    }
}

/// One file of a policy.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ProfileSource {
    /// Name inside the file.
    pub name: String,
    /// Path of the file, or `built-in:NAME`.
    pub source: String,
    /// SHA-256 of the file, hex.
    pub sha256: String,
}

/// How names are looked up.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DnsPolicy {
    /// Resolvers to ask, in order; never empty.
    pub upstream: Vec<Upstream>,
    /// Certificates that encrypted resolvers may be certified by, besides the host's own: a file.
    pub ca: Option<PathBuf>,
}

impl Default for DnsPolicy {
    fn default() -> Self {
        Self {
            upstream: vec![Upstream::System],
            ca: None,
        }
    }
}

#[cfg(test)]
mod tests;
