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
use crate::sys::privilege;

/// Settings that were read and hold together.
#[derive(Debug)]
pub struct Settings {
    /// The host's.
    pub config: Arc<Config>,
    /// When they were read.
    pub read: Timestamp,
    /// Profiles of grants that give jobs a container engine.
    mediated: Vec<String>,
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
    /// A runner itself would have a container engine.
    #[error("the profiles {} say `engine = \"mediate\"`, which is for jobs: a runner has no engine of its own; say it in \
        the profiles of a `[[grant]]`, and leave it out of `control_plane`", profiles.join(", "))]
    Engine {
        /// Which.
        profiles: Vec<String>,
    },
    /// A job would have a container engine, and the daemon cannot start what mediates it any more.
    #[error("the profiles {} say `engine = \"mediate\"`, and no profile of the settings did when the daemon started, so \
        it gave up the right to start `cordon-engine` as another user; restart it: `systemctl restart cordon`",
        profiles.join(", "))]
    NoMediator {
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
        let mut settings = Self {
            config: Arc::new(config),
            read: Timestamp::now(),
            mediated: Vec::new(),
        };
        let config = Arc::clone(&settings.config);
        let grants = &config.grants;
        for runner in &grants.runners {
            settings.plane(&runner.control_plane)?;
        }
        for grant in &grants.grants {
            let strangers = grant.fork_profile.iter().chain(&grant.target_profile);
            for profile in grant.profiles.iter().chain(strangers) {
                let mut profiles = vec![profile.clone()];
                profiles.extend(grant.always.iter().cloned());
                let (policy, _) = settings.policy(&profiles)?;
                if policy.engine == Engine::Mediate {
                    settings.mediated.extend(profiles);
                }
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
    /// One is missing or wrong, or together they are too many rules.
    pub fn policy(&self, profiles: &[String]) -> Result<(Policy, Ruleset), SettingsError> {
        let library = Library {
            directory: Some(self.config.host.profiles_dir.clone()),
        };
        let policy = Policy::load(profiles, &library)?;
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

    /// The policy of a runner itself.
    ///
    /// # Errors
    /// As [`policy`](Self::policy), and where it would have a container engine.
    pub fn plane(&self, profiles: &[String]) -> Result<(Policy, Ruleset), SettingsError> {
        let plane = self.policy(profiles)?;
        if plane.0.engine == Engine::Mediate {
            return Err(SettingsError::Engine {
                profiles: profiles.to_vec(),
            });
        }
        Ok(plane)
    }

    /// Whether a job may have a container engine.
    #[must_use]
    pub fn has_engines(&self) -> bool {
        !self.mediated.is_empty()
    }

    /// Checks that jobs of these profiles can have the engine that they say.
    ///
    /// # Errors
    /// This process gave up what starting a mediator needs.
    fn can_mediate(profiles: &[String]) -> Result<(), SettingsError> {
        if privilege::may_change_user() {
            return Ok(());
        }
        Err(SettingsError::NoMediator {
            profiles: profiles.to_vec(),
        })
    }

    /// A policy for a job of these profiles, compiled.
    ///
    /// # Errors
    /// As [`policy`](Self::policy), and where it would have a container engine that cannot be had any more.
    pub fn job_policy(&self, profiles: &[String]) -> Result<(Policy, Ruleset), SettingsError> {
        let job = self.policy(profiles)?;
        if job.0.engine == Engine::Mediate {
            Self::can_mediate(profiles)?;
        }
        Ok(job)
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
        if self.has_engines() {
            Self::can_mediate(&self.mediated)?;
        }
        Ok(())
    }
}
