//! Which jobs of which runners may have which profiles: what the host's owner wrote in `[[runner]]` and
//! `[[grant]]`, and the decision about one job. Pure.
//!
//! What a runner says of a job chooses among what the owner granted; it never adds to it. What no grant is for
//! is refused. Commits of strangers (forks, `pull_request_target`) get a profile only where a grant names the
//! one for them.

#![forbid(unsafe_code)]

pub mod identity;
mod pattern;
mod read;

use std::fmt;
use std::num::NonZeroU16;
use std::path::PathBuf;

pub use self::pattern::Pattern;
pub(crate) use self::read::{GRANT, RUNNER, read_grants, read_runners};
use crate::report::attendance::Identity;

/// A runner service: what it may reach between jobs, and what its jobs are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Runner {
    /// Which cgroups below the slice: names of systemd units.
    pub unit: Pattern,
    /// Profiles of the runner itself; its jobs have them too, because its worker is in the job.
    pub control_plane: Vec<String>,
    /// Name of the program whose process tree is a job; without one, the parent of who asks.
    pub worker: Option<String>,
    /// Where jobs find the container engine that their profile gives them: a port of 127.0.0.1. Without one it is
    /// any, and told when a job starts.
    pub engine_port: Option<NonZeroU16>,
    /// Directories that containers of its jobs may mount.
    pub workspace: Vec<PathBuf>,
    /// Where it is written.
    pub line: usize,
}

/// Which jobs may have which profiles.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Grant {
    /// Which runners; without one, all.
    pub runner: Option<Pattern>,
    /// Which repositories.
    pub repository: Pattern,
    /// Which workflows; without one, all.
    pub workflow: Option<Pattern>,
    /// Which refs; without one, all.
    pub reference: Option<Pattern>,
    /// Which events; without any, all.
    pub events: Vec<String>,
    /// Profiles a job may ask for. The first is what one gets that asks for none.
    pub profiles: Vec<String>,
    /// Profiles that each of these jobs is joined with, for their limits and what they say of secrets.
    pub always: Vec<String>,
    /// The profile of jobs whose commits come from a fork; without one, they are refused.
    pub fork_profile: Option<String>,
    /// The profile of jobs of `pull_request_target`; without one, they are refused.
    pub target_profile: Option<String>,
    /// Where it is written: `file:line`.
    pub place: String,
}

/// All of a host.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Grants {
    /// Runner services, in the order of the file.
    pub runners: Vec<Runner>,
    /// Grants, in the order of the file: the first one that is for a job decides.
    pub grants: Vec<Grant>,
}

/// What a job may have.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Granted {
    /// Profiles it runs under, joined.
    pub profiles: Vec<String>,
    /// Where the grant stands.
    pub place: String,
}

/// Why a job may not run.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// Nothing is said about it.
    #[error("no grant is for {0}; add a `[[grant]]` to the host settings that names it")]
    NoGrant(Asked),
    /// Its commits are a stranger's.
    #[error(
        "{place} has no `fork_profile`: jobs whose commits come from a fork are refused; name a profile \
         there that a stranger's code may have"
    )]
    Fork {
        /// The grant.
        place: String,
    },
    /// It runs a stranger's input with the rights of the repository.
    #[error(
        "{place} has no `pull_request_target_profile`: jobs of `pull_request_target` are refused, because \
         they run with the repository's rights on what a stranger sent; name a profile for them there"
    )]
    Target {
        /// The grant.
        place: String,
    },
    /// It asks for what it may not have.
    #[error("{place} does not grant the profile `{profile}`; it grants {}", granted.join(", "))]
    Profile {
        /// The grant.
        place: String,
        /// What was asked for.
        profile: String,
        /// What could be.
        granted: Vec<String>,
    },
}

/// What a refused job said it was.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Asked {
    runner: String,
    repository: Option<String>,
    workflow: Option<String>,
    reference: Option<String>,
    event: Option<String>,
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "runner `{}`", self.runner)?;
        for (what, word) in [
            ("repository", &self.repository),
            ("workflow", &self.workflow),
            ("ref", &self.reference),
            ("event", &self.event),
        ] {
            match word {
                Some(word) => write!(f, ", {what} `{word}`")?,
                None => write!(f, ", no {what}")?,
            }
        }
        Ok(())
    }
}

impl Grants {
    /// The settings of a runner, by the name of its cgroup.
    #[must_use]
    pub fn runner(&self, unit: &str) -> Option<&Runner> {
        self.runners.iter().find(|runner| runner.unit.matches(unit))
    }

    /// Decides about a job of a runner that asks for these profiles.
    ///
    /// # Errors
    /// It may not run.
    pub fn decide(
        &self,
        unit: &str,
        identity: &Identity,
        asked: &[String],
    ) -> Result<Granted, Refusal> {
        let grant = self
            .grants
            .iter()
            .find(|grant| grant.is_for(unit, identity))
            .ok_or_else(|| Refusal::NoGrant(Asked::of(unit, identity)))?;
        let place = || grant.place.clone();
        // `pull_request_target` first: it is the worse of the two.
        let stranger = match identity.event.as_deref() {
            Some("pull_request_target") => Some(
                (grant.target_profile.as_ref())
                    .ok_or_else(|| Refusal::Target { place: place() })?,
            ),
            event if identity.may_be_of_a_fork(event) => Some(
                (grant.fork_profile.as_ref()).ok_or_else(|| Refusal::Fork { place: place() })?,
            ),
            _ => None,
        };
        let allowed = match stranger {
            Some(profile) => std::slice::from_ref(profile),
            None => grant.profiles.as_slice(),
        };
        if let Some(profile) = asked.iter().find(|profile| !allowed.contains(profile)) {
            return Err(Refusal::Profile {
                place: place(),
                profile: profile.clone(),
                granted: allowed.to_vec(),
            });
        }
        let mut profiles: Vec<String> = if asked.is_empty() {
            allowed.first().cloned().into_iter().collect()
        } else {
            asked.to_vec()
        };
        profiles.extend(grant.always.iter().cloned());
        Ok(Granted {
            profiles,
            place: place(),
        })
    }
}

impl Identity {
    /// Whether its commits may be a stranger's. For a pull request that does not say, they may.
    fn may_be_of_a_fork(&self, event: Option<&str>) -> bool {
        let pull_request = event.is_some_and(|event| {
            event.starts_with("pull_request") || event.starts_with("merge_request")
        });
        self.fork.unwrap_or(pull_request)
    }
}

impl Grant {
    fn is_for(&self, unit: &str, identity: &Identity) -> bool {
        // What a job does not say is no match for a pattern.
        let fits = |pattern: &Option<Pattern>, word: &Option<String>| match (pattern, word) {
            (None, _) => true,
            (Some(pattern), Some(word)) => pattern.matches(word),
            (Some(_), None) => false,
        };
        let repository = identity.repository.as_deref();
        self.runner
            .as_ref()
            .is_none_or(|runner| runner.matches(unit))
            && repository.is_some_and(|name| self.repository.matches(name))
            && fits(&self.workflow, &identity.workflow)
            && fits(&self.reference, &identity.reference)
            && (self.events.is_empty()
                || identity
                    .event
                    .as_ref()
                    .is_some_and(|event| self.events.contains(event)))
    }
}

impl Asked {
    fn of(unit: &str, identity: &Identity) -> Self {
        Self {
            runner: unit.to_owned(),
            repository: identity.repository.clone(),
            workflow: identity.workflow.clone(),
            reference: identity.reference.clone(),
            event: identity.event.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
