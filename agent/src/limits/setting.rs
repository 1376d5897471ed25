//! What is asked of the kernel: which file of which controller gets which value, and what must be read
//! back. Pure.

use serde::{Deserialize, Serialize};

use crate::cgroup::controllers::{Controller, Generation};
use crate::policy::LimitsPolicy;
use crate::policy::limits::Resource;

/// Length of the period in which processor time is given out, in microseconds: the kernel's default.
const PERIOD: u64 = 100_000;
/// Microseconds of one percent of a processor in a period.
const PERCENT: u64 = PERIOD / 100;

/// One value in one file.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Setting {
    /// What it limits.
    pub resource: Resource,
    /// Whose file it is.
    pub controller: Controller,
    /// Its name in the job's directory.
    pub file: String,
    /// Which part of the file.
    pub part: Part,
    /// The value that is written.
    pub value: String,
    /// The value that is there then: the kernel rounds to whole pages.
    pub expected: String,
}

/// Which part of a file holds a value.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum Part {
    /// All of it.
    Whole,
    /// What follows a disk's number, as in `8:0 1048576`.
    Disk(String),
    /// One key of a disk's line, as in `8:0 rbps=1048576 wbps=max`.
    Key(String, String),
}

impl Setting {
    /// What is written.
    #[must_use]
    pub fn line(&self) -> String {
        let value = &self.value;
        match &self.part {
            Part::Whole => value.clone(),
            Part::Disk(disk) => format!("{disk} {value}"),
            Part::Key(disk, key) => format!("{disk} {key}={value}"),
        }
    }

    /// The value in what was read from the file; `None` if there is none.
    #[must_use]
    pub fn found<'t>(&self, text: &'t str) -> Option<&'t str> {
        let of = |disk: &str| {
            let mut lines = text.lines().filter_map(|line| line.split_once(' '));
            lines.find_map(|(number, rest)| (number == disk).then_some(rest.trim()))
        };
        match &self.part {
            Part::Whole => Some(text.trim()),
            Part::Disk(disk) => of(disk),
            Part::Key(disk, key) => of(disk)?
                .split_whitespace()
                .filter_map(|pair| pair.split_once('='))
                .find_map(|(name, value)| (name == key).then_some(value)),
        }
    }

    /// Whether the file holds what it should.
    #[must_use]
    pub fn holds(&self, text: &str) -> bool {
        self.found(text) == Some(&self.expected)
    }
}

/// What this host has, as far as values depend on it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Host {
    /// Bytes of a page of memory.
    pub page: u64,
    /// Numbers of its disks, as in `8:0`.
    pub disks: Vec<String>,
}

/// A limit that cannot be put into files.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SettingError {
    /// v1 counts swap together with memory.
    #[error(
        "on cgroup v1, swap is limited together with memory: add `memory` to the `[limits]` that has `swap`"
    )]
    SwapAlone,
    /// There is nothing it could be about.
    #[error("this host has no disk whose io could be limited: leave `io` out of `[limits]`")]
    NoDisk,
}

/// The controller that limits a resource; `None` for those that no cgroup limits.
#[must_use]
pub const fn controller_of(resource: Resource) -> Option<Controller> {
    match resource {
        Resource::Memory | Resource::Swap => Some(Controller::Memory),
        Resource::Pids => Some(Controller::Pids),
        Resource::Cpu => Some(Controller::Cpu),
        Resource::IoRead | Resource::IoWrite | Resource::IoReadOps | Resource::IoWriteOps => {
            Some(Controller::Io)
        }
        Resource::OpenFiles | Resource::Wall => None,
    }
}

/// The settings of one limited resource, in the order in which they must be written.
///
/// # Errors
/// It cannot be limited in this generation of cgroups, or on this host.
pub fn settings(
    policy: &LimitsPolicy,
    resource: Resource,
    generation: Generation,
    host: &Host,
) -> Result<Vec<Setting>, SettingError> {
    let (Some(amount), Some(controller)) = (policy.amount(resource), controller_of(resource))
    else {
        return Ok(Vec::new());
    };
    let setting = |file: &str, part: Part, value: u64, expected: u64| Setting {
        resource,
        controller,
        file: file.to_owned(),
        part,
        value: value.to_string(),
        expected: expected.to_string(),
    };
    let whole = |file, value| setting(file, Part::Whole, value, value);
    let pages = |file, value| setting(file, Part::Whole, value, in_pages(value, host.page));
    let legacy = generation == Generation::Legacy;
    Ok(match resource {
        Resource::Memory if legacy => vec![pages("memory.limit_in_bytes", amount)],
        Resource::Memory => vec![pages("memory.max", amount)],
        Resource::Swap if legacy => {
            let memory = policy.amount(Resource::Memory);
            let memory = memory.ok_or(SettingError::SwapAlone)?;
            vec![pages(
                "memory.memsw.limit_in_bytes",
                memory.saturating_add(amount),
            )]
        }
        Resource::Swap => vec![pages("memory.swap.max", amount)],
        Resource::Pids => vec![whole("pids.max", amount)],
        Resource::Cpu => {
            let quota = amount.saturating_mul(PERCENT);
            if legacy {
                vec![
                    whole("cpu.cfs_period_us", PERIOD),
                    whole("cpu.cfs_quota_us", quota),
                ]
            } else {
                let value = format!("{quota} {PERIOD}");
                vec![Setting {
                    value: value.clone(),
                    expected: value,
                    ..whole("cpu.max", quota)
                }]
            }
        }
        Resource::IoRead | Resource::IoWrite | Resource::IoReadOps | Resource::IoWriteOps => {
            if host.disks.is_empty() {
                return Err(SettingError::NoDisk);
            }
            let (key, file) = io_names(resource);
            let each = host.disks.iter().map(|disk| {
                let disk = disk.clone();
                if legacy {
                    setting(file, Part::Disk(disk), amount, amount)
                } else {
                    setting("io.max", Part::Key(disk, key.to_owned()), amount, amount)
                }
            });
            each.collect()
        }
        Resource::OpenFiles | Resource::Wall => Vec::new(),
    })
}

/// The key in `io.max`, and the file of v1.
const fn io_names(resource: Resource) -> (&'static str, &'static str) {
    match resource {
        Resource::IoWrite => ("wbps", "blkio.throttle.write_bps_device"),
        Resource::IoReadOps => ("riops", "blkio.throttle.read_iops_device"),
        Resource::IoWriteOps => ("wiops", "blkio.throttle.write_iops_device"),
        _ => ("rbps", "blkio.throttle.read_bps_device"),
    }
}

/// The kernel counts whole pages, and cuts what is beyond.
const fn in_pages(bytes: u64, page: u64) -> u64 {
    match bytes.checked_rem(page) {
        Some(rest) => bytes.saturating_sub(rest),
        None => bytes,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::Origin;
    use crate::policy::limits::Limit;

    fn host() -> Host {
        Host {
            page: 4096,
            disks: vec!["8:0".to_owned(), "253:16".to_owned()],
        }
    }

    fn policy(limits: &[(Resource, u64)]) -> LimitsPolicy {
        let origin = || Origin {
            source: "p.toml".to_owned(),
            line: 1,
        };
        let limits = limits.iter().map(|(resource, amount)| {
            let limit = Limit {
                amount: *amount,
                origin: origin(),
            };
            (*resource, limit)
        });
        limits.collect()
    }

    /// `FILE LINE -> EXPECTED` of each.
    fn shown(
        limits: &[(Resource, u64)],
        resource: Resource,
        generation: Generation,
    ) -> Vec<String> {
        let settings = settings(&policy(limits), resource, generation, &host()).unwrap();
        let show = |setting: &Setting| {
            format!(
                "{} {} -> {}",
                setting.file,
                setting.line(),
                setting.expected
            )
        };
        settings.iter().map(show).collect()
    }

    #[test]
    fn each_generation_has_its_files() {
        use Generation::{Legacy, Unified};
        let memory = [(Resource::Memory, 70_000), (Resource::Swap, 4097)];
        for (limits, resource, generation, expected) in [
            (
                &memory[..],
                Resource::Memory,
                Unified,
                &["memory.max 70000 -> 69632"][..],
            ),
            (
                &memory,
                Resource::Swap,
                Unified,
                &["memory.swap.max 4097 -> 4096"],
            ),
            (
                &memory,
                Resource::Memory,
                Legacy,
                &["memory.limit_in_bytes 70000 -> 69632"],
            ),
            (
                &memory,
                Resource::Swap,
                Legacy,
                &["memory.memsw.limit_in_bytes 74097 -> 73728"],
            ),
            (
                &[(Resource::Pids, 7)],
                Resource::Pids,
                Unified,
                &["pids.max 7 -> 7"],
            ),
            (
                &[(Resource::Pids, 7)],
                Resource::Pids,
                Legacy,
                &["pids.max 7 -> 7"],
            ),
            (
                &[(Resource::Cpu, 150)],
                Resource::Cpu,
                Unified,
                &["cpu.max 150000 100000 -> 150000 100000"],
            ),
            (
                &[(Resource::Cpu, 1)],
                Resource::Cpu,
                Legacy,
                &[
                    "cpu.cfs_period_us 100000 -> 100000",
                    "cpu.cfs_quota_us 1000 -> 1000",
                ],
            ),
            (
                &[(Resource::IoWrite, 5000)],
                Resource::IoWrite,
                Unified,
                &[
                    "io.max 8:0 wbps=5000 -> 5000",
                    "io.max 253:16 wbps=5000 -> 5000",
                ],
            ),
            (
                &[(Resource::IoReadOps, 5)],
                Resource::IoReadOps,
                Legacy,
                &[
                    "blkio.throttle.read_iops_device 8:0 5 -> 5",
                    "blkio.throttle.read_iops_device 253:16 5 -> 5",
                ],
            ),
            // What is not asked for is not written, and these two are in no cgroup.
            (&[(Resource::Pids, 7)], Resource::Memory, Unified, &[]),
            (&[(Resource::Wall, 7)], Resource::Wall, Unified, &[]),
            (
                &[(Resource::OpenFiles, 7)],
                Resource::OpenFiles,
                Legacy,
                &[],
            ),
        ] {
            assert_eq!(shown(limits, resource, generation), expected);
        }
    }

    #[test]
    fn what_cannot_be_limited_is_an_error() {
        let swap = policy(&[(Resource::Swap, 0)]);
        let alone = settings(&swap, Resource::Swap, Generation::Legacy, &host());
        assert_eq!(alone, Err(SettingError::SwapAlone));
        settings(&swap, Resource::Swap, Generation::Unified, &host()).unwrap();
        let io = policy(&[(Resource::IoRead, 4096)]);
        let none = Host {
            disks: Vec::new(),
            ..host()
        };
        let nothing = settings(&io, Resource::IoRead, Generation::Unified, &none);
        assert_eq!(nothing, Err(SettingError::NoDisk));
    }

    #[test]
    fn a_value_is_found_in_its_part_of_the_file_only() {
        let io = policy(&[(Resource::IoRead, 5000)]);
        let [first, second] = settings(&io, Resource::IoRead, Generation::Unified, &host())
            .unwrap()
            .try_into()
            .unwrap();
        let text = "253:1 rbps=1 wbps=max\n8:0 rbps=5000 wbps=max riops=max wiops=max\n";
        assert!(first.holds(text) && !second.holds(text));
        assert_eq!(second.found(text), None);
        let [legacy, _] = settings(&io, Resource::IoRead, Generation::Legacy, &host())
            .unwrap()
            .try_into()
            .unwrap();
        assert!(legacy.holds("8:0 5000\n") && !legacy.holds("8:00 5000\n18:0 5000\n"));
        assert!(!legacy.holds("") && !legacy.holds("8:0 50000\n"));
    }

    proptest! {
        #[test]
        fn what_the_kernel_rounds_is_what_is_expected(bytes in 0u64..1 << 50, shift in 12u32..17) {
            let page = 1u64 << shift;
            let expected = in_pages(bytes, page);
            prop_assert!(expected <= bytes && bytes.saturating_sub(expected) < page);
            prop_assert!(expected.is_multiple_of(page));
        }

        #[test]
        fn any_other_value_does_not_hold(amount in 1u64..1 << 40, found in any::<u64>()) {
            let limits = policy(&[(Resource::Memory, amount)]);
            for generation in [Generation::Legacy, Generation::Unified] {
                let settings = settings(&limits, Resource::Memory, generation, &host()).unwrap();
                let holds = settings[0].holds(&format!("{found}\n"));
                prop_assert_eq!(holds, found == amount >> 12 << 12);
                prop_assert!(!settings[0].holds("max\n"));
            }
        }

        #[test]
        fn reading_is_total(text in any::<String>()) {
            let io = policy(&[(Resource::IoRead, 5000), (Resource::Cpu, 5)]);
            for generation in [Generation::Legacy, Generation::Unified] {
                for resource in Resource::ALL {
                    for setting in settings(&io, resource, generation, &host()).unwrap() {
                        prop_assert!(!setting.holds(&text) || text.contains(&setting.expected));
                    }
                }
            }
        }
    }
}
