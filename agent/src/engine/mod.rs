//! A job's way to the host's container engine: `cordon-engine`, started for it, and what that may ask.
//!
//! **Invariants**: nothing that a job or its containers write is parsed in this process, but for messages of
//! the mediator, which are typed and bounded. A job whose profile says `engine = "mediate"` does not start
//! where that cannot be had. Its containers are bound to it by `cordon-runtime`, which reads the passport
//! that is written here.
//!
//! **Not here**: which requests a job may make is the crate `cordon_engine`.

mod broker;
mod door;
mod groups;
mod mediator;
pub mod noted;
mod passport;
pub mod settings;
mod workspace;

use std::io;
use std::net::Ipv4Addr;
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use cordon_engine::passport::Workspace;
use cordon_engine::protocol::Setup;
use serde::{Deserialize, Serialize};

pub use self::broker::Rules;
use self::broker::{Broker, Engine};
use self::door::Door;
pub use self::door::{Waiting, Wanted};
use self::mediator::Child;
pub use self::noted::Noted;
use self::passport::Passports;
use self::settings::EngineSettings;
pub use self::workspace::{Mounts, is_workspace};
use crate::cgroup::hierarchy::Hierarchy;
use crate::config::Config;
use crate::enforce::maps::ContainerMaps;
use crate::enforce::{EnforceError, Host, Place};
use crate::sys::fs::FileError;

/// Why a job has no engine.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The mediator cannot be started.
    #[error("`{}` cannot be started; install cordon's package, or set `mediator` in `[containers]` of the host's settings", path.display())]
    Start {
        /// Where it should be.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It does not speak with cordon.
    #[error("the mediator does not answer")]
    Silent(#[source] io::Error),
    /// The engine is not one behind which requests can be judged.
    #[error("the container engine at `{}` cannot be mediated: {why}", socket.display())]
    Unfit {
        /// Its socket.
        socket: PathBuf,
        /// Why, and what to change.
        why: String,
    },
    /// A directory that its containers should mount.
    #[error("containers of the job cannot mount `{}`, which `workspace` of its `[[runner]]` names: {why}", path.display())]
    Workspace {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The profile takes things from the job that a container would give it back.
    #[error(
        "{line} of `[sandbox]` would not hold for containers, which mount the workspace as it is: leave it out, or \
        say `engine = \"deny\"`"
    )]
    Confined {
        /// The first thing it asks for.
        line: String,
    },
    /// The kernel's maps.
    #[error(transparent)]
    Enforce(#[from] EnforceError),
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// Where the job's cgroup is.
    #[error(transparent)]
    Cgroup(#[from] crate::cgroup::CgroupError),
}

/// How a job that may have an engine is to have it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Wish {
    /// Port of 127.0.0.1; without one, any.
    pub port: Option<NonZeroU16>,
    /// What of the host its containers may mount.
    pub mounts: Mounts,
}

/// A job's engine, from before its start until all of it is gone.
#[derive(Debug)]
pub struct Mediated {
    child: Child,
    broker: Broker,
    passports: Passports,
    door: Option<Door>,
    /// Containers that wait for the job's watch, until that takes them.
    pub waiting: Option<Waiting>,
    place: String,
    engine: String,
    seat: Seat,
    command: PathBuf,
}

/// Where a job's command is, beside its containers: cgroup v2 lets a cgroup that hands controllers down, as a runtime
/// has the job's do for each container's own limits, hold no processes itself.
const COMMAND: &str = "command";

/// What a job's engine is made of.
#[derive(Debug)]
pub struct Request<'a> {
    /// Host settings.
    pub config: &'a Config,
    /// The job's place.
    pub place: &'a Place,
    /// What it may reach.
    pub rules: Rules,
    /// Where it is to be found, and what of the host containers may mount.
    pub seat: Seat,
    /// It had one before, which was killed: what that engine has of the job is the job's still.
    pub again: bool,
}

/// Where a job finds its engine, and what of the host its containers may mount.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Seat {
    /// Port of 127.0.0.1; 0 for any.
    pub port: u16,
    /// Directories, as they were when the job began.
    pub workspace: Vec<Workspace>,
}

/// Starts a job's engine. Until this returns, no request of the job can be made.
///
/// # Errors
/// See [`EngineError`]; nothing is left behind.
pub fn start(host: &Host, request: Request<'_>) -> Result<Mediated, EngineError> {
    let Request {
        config,
        place,
        rules,
        seat: Seat { port, workspace },
        again,
    } = request;
    let settings = &config.containers;
    let maps = host.containers(place)?;
    let cgroup = place_in_hierarchy(place)?;
    let command = place.cgroup.child(COMMAND)?.path().to_owned();
    let setup = Setup {
        job: place.cgroup.name(),
        cgroup_parent: cgroup.clone(),
        runtime: settings.runtime.clone(),
        workspace: workspace.iter().map(|place| place.path.clone()).collect(),
        port,
        again,
        only_clean: false,
    };
    let mut passports = Passports::of(&config.host.run_dir);
    if again {
        passports.withdraw(&setup.job)?;
        passports.wall_up(&setup.job);
    }
    let (child, broker) = open(settings, place, maps, Some(rules), &setup)?;
    let mut mediated = Mediated {
        child,
        broker,
        passports,
        door: None,
        waiting: None,
        place: cgroup,
        engine: String::new(),
        seat: Seat {
            port,
            workspace: workspace.clone(),
        },
        command,
    };
    let ready = mediated.broker.ready().and_then(|engine| {
        let Engine { root, name, port } = engine;
        let job = place.cgroup.name();
        let lsm = host.kernel.lsm.is_ok();
        mediated
            .passports
            .issue(&job, &mediated.place, workspace, root, lsm)?;
        let (door, waiting) = Door::open(&mediated.passports.door(&job), place.cgroup.clone())?;
        mediated.door = Some(door);
        mediated.waiting = Some(waiting);
        mediated.engine = name;
        mediated.seat.port = port;
        mediated.broker.go().map_err(EngineError::Silent)
    });
    match ready {
        Ok(()) => Ok(mediated),
        Err(error) => {
            // What the job's first mediator made is not for this one to remove.
            if again {
                drop(mediated);
            } else {
                drop(mediated.end(&place.cgroup.name()));
            }
            Err(error)
        }
    }
}

/// Removes what an engine has of a job whose cordon was killed. Returns what is left.
///
/// # Errors
/// The mediator cannot be started.
pub fn clean(host: &Host, config: &Config, place: &Place) -> Result<Noted, EngineError> {
    let setup = Setup {
        job: place.cgroup.name(),
        cgroup_parent: place_in_hierarchy(place)?,
        runtime: config.containers.runtime.clone(),
        workspace: Vec::new(),
        port: 0,
        again: false,
        only_clean: true,
    };
    let mut passports = Passports::of(&config.host.run_dir);
    passports.withdraw(&setup.job)?;
    passports.wall_up(&setup.job);
    let maps = host.containers(place)?;
    let (mut child, broker) = open(&config.containers, place, maps, None, &setup)?;
    child.wait();
    groups::remove(&setup.cgroup_parent);
    Ok(broker.end())
}

impl Mediated {
    /// What the command finds in its environment; `None` is taken out.
    #[must_use]
    pub fn environment(&self) -> Vec<(String, Option<String>)> {
        let set = |(key, value): (&str, String)| (key.to_owned(), Some(value));
        let unset = [
            "DOCKER_CONTEXT",
            "DOCKER_TLS",
            "DOCKER_TLS_VERIFY",
            "DOCKER_CERT_PATH",
        ];
        let variables = variables(endpoint(self.seat.port));
        let mut environment = Vec::from(variables.map(set));
        environment.extend(unset.map(|key| (key.to_owned(), None)));
        environment
    }

    /// Where the job finds it, and what its containers may mount.
    #[must_use]
    pub fn seat(&self) -> &Seat {
        &self.seat
    }

    /// The cgroup that the command starts in.
    #[must_use]
    pub fn command(&self) -> &Path {
        &self.command
    }

    /// What it is, for the report.
    #[must_use]
    pub fn engine(&self) -> &str {
        &self.engine
    }

    /// Ends it: what the engine has of the job is removed. What was seen, and what is left.
    ///
    /// # Errors
    /// The passport could not be withdrawn.
    pub fn end(mut self, job: &str) -> Result<Noted, FileError> {
        // First: nothing starts any more.
        let withdrawn = self.passports.withdraw(job);
        drop(self.waiting.take());
        drop(self.door.take());
        self.child.ask_to_end();
        self.child.wait();
        let noted = self.broker.end();
        groups::remove(&self.place);
        withdrawn.map(|()| noted)
    }
}

fn open(
    settings: &EngineSettings,
    place: &Place,
    maps: ContainerMaps,
    rules: Option<Rules>,
    setup: &Setup,
) -> Result<(Child, Broker), EngineError> {
    let (child, control) = Child::start(&settings.mediator)?;
    let broker = Broker::start(
        control,
        settings.socket.clone(),
        place.cgroup.clone(),
        maps,
        rules,
        setup,
    );
    Ok((child, broker.map_err(EngineError::Silent)?))
}

/// Where clients find an engine with this port, as `DOCKER_HOST` has it.
#[must_use]
pub fn endpoint(port: u16) -> String {
    format!("tcp://{}:{port}", Ipv4Addr::LOCALHOST)
}

/// What clients of an engine at an endpoint need in their environment.
#[must_use]
pub fn variables(endpoint: String) -> [(&'static str, String); 2] {
    [
        ("DOCKER_HOST", endpoint),
        ("DOCKER_BUILDKIT", "0".to_owned()),
    ]
}

/// The job's cgroup, as a path from the root of every hierarchy.
fn place_in_hierarchy(place: &Place) -> Result<String, EngineError> {
    let path = place.cgroup.path();
    let found = Hierarchy::find()?.place(path);
    let found = found.ok_or_else(|| crate::cgroup::CgroupError::NotACgroup {
        path: path.to_owned(),
    })?;
    Ok(found.to_string_lossy().into_owned())
}

impl Wish {
    /// The seat that it comes to now.
    ///
    /// # Errors
    /// See [`Mounts::find`].
    pub fn seat(&self, config: &Config) -> Result<Seat, EngineError> {
        Ok(Seat {
            port: self.port.map_or(0, NonZeroU16::get),
            workspace: self.mounts.find(&config.containers.socket)?,
        })
    }
}

/// Rules of a job, for questions about registries.
#[must_use]
pub fn rules(policy: &crate::policy::Policy, ruleset: &Arc<crate::policy::Ruleset>) -> Rules {
    Rules {
        policy: policy.clone(),
        ruleset: Arc::clone(ruleset),
    }
}

/// Where the passports are, for tests.
#[must_use]
pub fn passports(run_dir: &Path) -> PathBuf {
    run_dir.join(cordon_engine::passport::DIRECTORY)
}
