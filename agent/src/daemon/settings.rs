//! The daemon's settings: read whole, with every profile they name, or not at all.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

use crate::admission::Grants;
use crate::config::Config;
use crate::enforce::chain;
use crate::policy::{Engine, Library, Mistakes, Policy, Ruleset, compile};
use crate::report::chain::ChainError;
use crate::report::signer::KeyError;

/// Settings that were read and hold together.
#[derive(Debug)]
pub struct Settings {
    /// The host's.
    pub config: Arc<Config>,
    /// When they were read.
    pub read: Timestamp,
}

/// Settings that are of no use.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A file has mistakes.
    #[error(transparent)]
    Mistakes(#[from] Mistakes),
    /// The key that signs cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Its chain of seals cannot be gone on with.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// Profiles do not make a policy.
    #[error("the profiles {} make no policy: {why}", profiles.join(", "))]
    Compile {
        /// Which.
        profiles: Vec<String>,
        /// Why.
        why: String,
    },
    /// A job of the daemon's would have a container engine.
    #[error("the profiles {} say `engine = \"mediate\"`, which jobs of the daemon cannot have: their processes are \
        started by others, who cannot be told where their engine is; start such a job with `cordon run`, or \
        say `engine = \"deny\"`", profiles.join(", "))]
    Engine {
        /// Which.
        profiles: Vec<String>,
    },
    /// They take away what only the start of a command can take.
    #[error(
        "the profiles {} cannot hold for a job of a runner: {line} is for commands that `cordon run` starts, and \
         the processes of a runner's job are there already; leave `[sandbox]` out, and set the unit of the runner up \
         with `PrivateTmp=`, `ReadOnlyPaths=`, `InaccessiblePaths=`, `CapabilityBoundingSet=`",
        profiles.join(", ")
    )]
    Sandbox {
        /// Which.
        profiles: Vec<String>,
        /// The first thing they ask for.
        line: String,
    },
    /// What cannot change while jobs run.
    #[error("`{key}` cannot change while the daemon runs; restart it: `systemctl restart cordon`")]
    Fixed {
        /// The key.
        key: &'static str,
    },
}

impl Settings {
    /// Reads them, and every profile that a grant or a runner names.
    ///
    /// # Errors
    /// Something is wrong with one of them.
    pub fn load(path: Option<&Path>) -> Result<Self, SettingsError> {
        let config = Config::load(path)?;
        let settings = Self {
            config: Arc::new(config),
            read: Timestamp::now(),
        };
        let grants = &settings.config.grants;
        for runner in &grants.runners {
            settings.policy(&runner.control_plane)?;
        }
        for grant in &grants.grants {
            let strangers = grant.fork_profile.iter().chain(&grant.target_profile);
            for profile in grant.profiles.iter().chain(strangers) {
                let mut profiles = vec![profile.clone()];
                profiles.extend(grant.always.iter().cloned());
                settings.policy(&profiles)?;
            }
        }
        Ok(settings)
    }

    /// Names of the policies that runners and their jobs may have, as reports have them.
    #[must_use]
    pub fn policies(&self) -> Vec<String> {
        let Grants { runners, grants } = &self.config.grants;
        let mut names = Vec::new();
        for runner in runners {
            names.push(runner.control_plane.join("+"));
            for grant in grants {
                let strangers = grant.fork_profile.iter().chain(&grant.target_profile);
                for profile in grant.profiles.iter().chain(strangers) {
                    let own = runner.control_plane.iter().chain([profile]);
                    let all: Vec<&str> = own.chain(&grant.always).map(String::as_str).collect();
                    names.push(all.join("+"));
                }
            }
        }
        names
    }

    /// A policy of these profiles, compiled.
    ///
    /// # Errors
    /// One is missing or wrong, or together they are too many rules, or give a job a container engine.
    pub fn policy(&self, profiles: &[String]) -> Result<(Policy, Ruleset), SettingsError> {
        let library = Library {
            directory: Some(self.config.host.profiles_dir.clone()),
        };
        let policy = Policy::load(profiles, &library)?;
        if policy.engine != Engine::Deny {
            return Err(SettingsError::Engine {
                profiles: profiles.to_vec(),
            });
        }
        if let Some(line) = policy.sandbox.describe().first() {
            return Err(SettingsError::Sandbox {
                profiles: profiles.to_vec(),
                line: line.clone(),
            });
        }
        let ruleset = compile(&policy).map_err(|error| SettingsError::Compile {
            profiles: profiles.to_vec(),
            why: chain(&error),
        })?;
        Ok((policy, ruleset))
    }

    /// Checks that these can take the place of others under way.
    ///
    /// # Errors
    /// Where things are has changed.
    pub fn can_replace(&self, other: &Self) -> Result<(), SettingsError> {
        let (new, old) = (&self.config.host, &other.config.host);
        let path = |path: &Option<PathBuf>| path.clone();
        for (key, differs) in [
            (
                "cgroup_root",
                path(&new.cgroup_root) != path(&old.cgroup_root),
            ),
            ("bpffs", new.bpffs != old.bpffs),
            ("run_dir", new.run_dir != old.run_dir),
            ("state_dir", new.state_dir != old.state_dir),
            ("signing_key", new.signing_key() != old.signing_key()),
            (
                "[metrics] listen",
                self.config.metrics != other.config.metrics,
            ),
        ] {
            if differs {
                return Err(SettingsError::Fixed { key });
            }
        }
        Ok(())
    }
}
