//! Limits in the kernel: written, read back, compared, written again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use nix::unistd::{SysconfVar, sysconf};
use serde::{Deserialize, Serialize};

use super::below::Below;
use super::counters::{Counters, sources, take_cpu};
use super::setting::{Host, Setting, controller_of, settings};
use super::{LimitsError, evidence};
use crate::cgroup::Cgroup;
use crate::cgroup::controllers::{Controller, Controllers, Groups};
use crate::enforce::chain;
use crate::policy::LimitsPolicy;
use crate::policy::limits::Resource;
use crate::sys::fs::{self, FileError};

/// The kernel's control files are small.
const FILE_LIMIT: u64 = 1 << 20;
/// Block devices of this host, and their numbers.
const BLOCK: &str = "/sys/block";
/// Major number of loop devices: what they store is on a disk, and is counted there.
const LOOP: &str = "7:";

/// A value that is in force.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Pin {
    /// What and where.
    pub setting: Setting,
    /// What was read back.
    pub at_start: String,
}

/// A value that is not what was written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Deviation {
    /// What should be there.
    pub setting: Setting,
    /// What is; `None` if it cannot be read.
    pub found: Option<String>,
}

/// The limits of one job in its cgroups.
#[derive(Debug)]
pub struct Pins {
    job: PathBuf,
    groups: Groups,
    in_force: Vec<Pin>,
    /// Controllers of which nothing is counted, and why.
    uncounted: BTreeMap<Controller, String>,
    below: Below,
}

impl Pins {
    /// Writes all limits of a policy and reads them back. No process of the job exists yet.
    ///
    /// # Errors
    /// One of them cannot be had, or does not hold.
    pub fn pin(
        policy: &LimitsPolicy,
        controllers: &Controllers,
        job: &Cgroup,
    ) -> Result<Self, LimitsError> {
        for (resource, _) in policy.iter() {
            let Some(controller) = controller_of(resource) else {
                continue;
            };
            if *controllers.seat(controller) == crate::cgroup::controllers::Seat::Unified {
                controllers
                    .enable(controller)
                    .map_err(|source| LimitsError::Withheld { resource, source })?;
            }
        }
        let mut pins = Self::watched(controllers, job, Vec::new());
        let host = host();
        for (resource, _) in policy.iter() {
            pins.pin_one(policy, resource, &host)?;
        }
        Ok(pins)
    }

    /// The limits of a job that is taken over: nothing is written.
    #[must_use]
    pub fn watched(controllers: &Controllers, job: &Cgroup, pins: Vec<Pin>) -> Self {
        let groups = controllers.groups(job);
        let mut uncounted = BTreeMap::new();
        for controller in Controller::ALL {
            let counted = match groups.of(controller) {
                Err(lack) => Err(chain(&lack)),
                Ok((_, directory)) if directory == job.path() => controllers
                    .enable_in_slice(controller)
                    .map_err(|error| chain(&error)),
                Ok(_) => Ok(()),
            };
            if let Err(why) = counted {
                uncounted.insert(controller, why);
            }
        }
        Self {
            job: job.path().to_owned(),
            groups,
            in_force: pins,
            uncounted,
            below: Below::default(),
        }
    }

    fn pin_one(
        &mut self,
        policy: &LimitsPolicy,
        resource: Resource,
        host: &Host,
    ) -> Result<(), LimitsError> {
        let Some(controller) = controller_of(resource) else {
            return Ok(());
        };
        let (generation, directory) = self
            .groups
            .of(controller)
            .map_err(|source| LimitsError::Unavailable { resource, source })?;
        let settings = settings(policy, resource, generation, host)
            .map_err(|source| LimitsError::Setting { resource, source })?;
        for setting in settings {
            let at_start = write(directory, &setting)?;
            self.in_force.push(Pin { setting, at_start });
        }
        Ok(())
    }

    /// What is in force.
    #[must_use]
    pub fn pins(&self) -> &[Pin] {
        &self.in_force
    }

    /// Directories a process of the job must join besides that of cgroup v2.
    #[must_use]
    pub fn to_join(&self) -> Vec<PathBuf> {
        self.groups.to_join()
    }

    /// Who holds what a controller limits.
    #[must_use]
    pub fn holder(&self, controller: Controller) -> Option<evidence::Holder> {
        let (generation, _) = self.groups.of(controller).ok()?;
        Some(generation.into())
    }

    /// Why nothing is counted by some controllers.
    pub fn uncounted(&self) -> impl Iterator<Item = (Controller, &str)> {
        let each = self.uncounted.iter();
        each.map(|(controller, why)| (*controller, why.as_str()))
    }

    /// What is there now, in the order of [`Pins::pins`]; `None` where it cannot be read.
    #[must_use]
    pub fn read(&self) -> Vec<Option<String>> {
        let read = |pin: &Pin| {
            let (_, directory) = self.groups.of(pin.setting.controller).ok()?;
            let text = fs::read_to_string(&directory.join(&pin.setting.file), FILE_LIMIT).ok()?;
            pin.setting.found(&text).map(str::to_owned)
        };
        self.in_force.iter().map(read).collect()
    }

    /// Values that are not what was written.
    #[must_use]
    pub fn deviations(&self) -> Vec<Deviation> {
        let each = self.in_force.iter().zip(self.read());
        let wrong = each.filter(|(pin, found)| found.as_ref() != Some(&pin.setting.expected));
        wrong
            .map(|(pin, found)| Deviation {
                setting: pin.setting.clone(),
                found,
            })
            .collect()
    }

    /// Writes a limit again, and reads it back.
    ///
    /// # Errors
    /// It does not hold.
    pub fn restore(&self, setting: &Setting) -> Result<(), LimitsError> {
        let resource = setting.resource;
        let (_, directory) = self
            .groups
            .of(setting.controller)
            .map_err(|source| LimitsError::Unavailable { resource, source })?;
        write(directory, setting).map(drop)
    }

    /// What the controllers have counted.
    #[must_use]
    pub fn counters(&mut self) -> Counters {
        let mut counters = Counters::default();
        for controller in Controller::ALL {
            let Ok((generation, directory)) = self.groups.of(controller) else {
                continue;
            };
            for (file, take) in sources(controller, generation) {
                if let Ok(text) = fs::read_to_string(&directory.join(file), FILE_LIMIT) {
                    take(&mut counters, &text);
                }
            }
            self.below
                .add(controller, generation, directory, &mut counters);
        }
        if let Ok(text) = fs::read_to_string(&self.job.join("cpu.stat"), FILE_LIMIT) {
            take_cpu(&mut counters, &text);
        }
        counters
    }
}

/// Writes one value; returns what is there then.
fn write(directory: &Path, setting: &Setting) -> Result<String, LimitsError> {
    let resource = setting.resource;
    let path = directory.join(&setting.file);
    let refused = |source: FileError| LimitsError::Refused { resource, source };
    fs::write_existing(&path, setting.line().as_bytes()).map_err(refused)?;
    let text = fs::read_to_string(&path, FILE_LIMIT).map_err(refused)?;
    let found = setting.found(&text).unwrap_or("nothing");
    if setting.holds(&text) {
        return Ok(found.to_owned());
    }
    Err(LimitsError::Differs {
        resource,
        path,
        expected: setting.expected.clone(),
        found: found.to_owned(),
    })
}

fn host() -> Host {
    let page = sysconf(SysconfVar::PAGE_SIZE).ok().flatten();
    Host {
        page: page
            .and_then(|page| u64::try_from(page).ok())
            .unwrap_or(4096),
        disks: disks(Path::new(BLOCK)),
    }
}

/// Numbers of whole disks, as in `8:0`. Those that only stand for others are left out.
fn disks(block: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(block).into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| {
        let text = fs::read_to_string(&entry.path().join("dev"), 64).ok()?;
        Some(text.trim().to_owned())
    });
    let mut disks: Vec<String> = numbers.filter(|number| !number.starts_with(LOOP)).collect();
    disks.sort();
    disks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loop_devices_are_no_disks_of_their_own() {
        let dir = tempfile::tempdir().unwrap();
        for (name, number) in [("sda", "8:0\n"), ("loop0", "7:0\n"), ("vda", "253:0\n")] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
            let path = dir.path().join(name).join("dev");
            fs::write_atomic(&path, number.as_bytes(), 0o600).unwrap();
        }
        assert_eq!(disks(dir.path()), ["253:0", "8:0"]);
        assert_eq!(disks(&dir.path().join("none")), Vec::<String>::new());
    }

    fn setting(value: &str, expected: &str) -> Setting {
        Setting {
            resource: Resource::Memory,
            controller: Controller::Memory,
            file: "memory.max".to_owned(),
            part: super::super::setting::Part::Whole,
            value: value.to_owned(),
            expected: expected.to_owned(),
        }
    }

    #[test]
    fn a_value_that_is_not_read_back_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("memory.max");
        let refused = write(dir.path(), &setting("4096", "4096")).unwrap_err();
        assert!(matches!(refused, LimitsError::Refused { .. }), "{refused}");
        // A file that does not become a control file by being written to.
        assert!(!path.exists());
        fs::write_atomic(&path, b"max\n", 0o600).unwrap();
        let differs = write(dir.path(), &setting("8192", "4096")).unwrap_err();
        assert!(
            matches!(&differs, LimitsError::Differs { found, .. } if found == "8192"),
            "{differs}"
        );
        assert_eq!(write(dir.path(), &setting("8192", "8192")).unwrap(), "8192");
    }
}
