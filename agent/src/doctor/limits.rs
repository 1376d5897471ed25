//! Which limits can be pinned here.

use super::probes::{Tried, of_cgroup};
use super::{Answer, Feature, Finding};
use crate::cgroup::CgroupError;
use crate::cgroup::controllers::{Controller, Controllers, Seat, TryError};
use crate::cgroup::hierarchy::Hierarchy;
use crate::config::Config;
use crate::enforce::chain;

const DELEGATE: &str = "on cgroup v2 let what is above hand it down: `Delegate=` of the systemd unit, or \
                        `cgroup.subtree_control`; on v1 mount its hierarchy, and make the directory of \
                        `host.cgroup_root` there";

const fn feature(controller: Controller) -> Feature {
    let (name, without) = match controller {
        Controller::Memory => (
            "limit memory, swap",
            "a job whose profile limits memory or swap does not start; its use is not counted",
        ),
        Controller::Pids => (
            "limit pids",
            "a job whose profile limits processes does not start",
        ),
        Controller::Cpu => (
            "limit cpu",
            "a job whose profile limits processors does not start; its use is counted",
        ),
        Controller::Io => (
            "limit io",
            "a job whose profile limits io does not start; what it reads and writes is not counted",
        ),
    };
    Feature {
        name,
        needed: false,
        without,
        remedy: DELEGATE,
    }
}

/// Tries each controller; open files and time need none.
pub(super) fn examine(config: &Config, privileged: bool) -> Vec<Finding> {
    let found = find(config);
    let tried = |controller| match &found {
        Ok(controllers) => try_one(controllers, controller, privileged),
        Err(error) => Err(of_cgroup(error, privileged)),
    };
    Controller::ALL
        .into_iter()
        .map(|controller| Finding::new(feature(controller), tried(controller)))
        .collect()
}

fn find(config: &Config) -> Result<Controllers, CgroupError> {
    let root = config.host.cgroup_root.as_deref();
    let hierarchy = Hierarchy::find()?;
    Controllers::find(&hierarchy, &hierarchy.root(root)?, root.is_some())
}

fn try_one(controllers: &Controllers, controller: Controller, privileged: bool) -> Tried {
    let name = format!("cordon-doctor-{}", std::process::id());
    let place = controllers
        .try_out(controller, &name)
        .map_err(|error| match &error {
            TryError::Cgroup(cgroup) => of_cgroup(cgroup, privileged),
            TryError::Lack(_) | TryError::Enable(_) => (Answer::DoesNotWork, chain(&error)),
        })?;
    let generation = match controllers.seat(controller) {
        Seat::Unified => "cgroup v2",
        Seat::Legacy(_) => "cgroup v1",
        Seat::Absent => "nowhere",
    };
    Ok(format!("{generation}, at `{}`", place.display()))
}
