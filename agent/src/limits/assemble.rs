//! What was pinned and counted, as evidence. Pure.

use super::counters::Counters;
use super::evidence::{Change, Holder, Pinned, Proof, State, Usage};
use super::pins::Pin;
use super::setting::{Part, Setting, controller_of};
use crate::cgroup::controllers::Controller;
use crate::policy::LimitsPolicy;
use crate::policy::limits::Resource;

/// The file of processes' own limits, in the words of getrlimit(2).
pub const OPEN_FILES: &str = "RLIMIT_NOFILE";

/// Each resource, limited or not: `at_end` is what was read of each pin when the job was over.
#[must_use]
pub fn resources(
    policy: &LimitsPolicy,
    pins: &[Pin],
    at_end: &[Option<String>],
    changes: &[Change],
    holder: &dyn Fn(Controller) -> Option<Holder>,
) -> Vec<Pinned> {
    let each = Resource::ALL.into_iter().map(|resource| {
        let Some(limit) = policy.get(resource) else {
            return Pinned {
                resource,
                state: State::NotLimited,
                configured: None,
                origin: None,
                held_by: None,
                proofs: Vec::new(),
            };
        };
        let own = pins.iter().zip(at_end);
        let own = own.filter(|(pin, _)| pin.setting.resource == resource);
        let mut proofs: Vec<Proof> = own
            .map(|(pin, at_end)| proof(pin, at_end.clone()))
            .collect();
        if resource == Resource::OpenFiles {
            // Each process inherits it, and has no capability to raise it: there is nothing to read when
            // they are gone.
            let value = limit.amount.to_string();
            proofs.push(Proof {
                file: OPEN_FILES.to_owned(),
                written: value.clone(),
                at_start: value,
                at_end: None,
            });
        }
        let was_changed = changes.iter().any(|change| change.resource == resource);
        let in_cgroup = controller_of(resource).is_some();
        let ends = proofs.iter().all(|proof| proof.at_end.is_some());
        let state = match (was_changed, in_cgroup) {
            (true, _) => State::Changed,
            (false, true) if proofs.is_empty() || !ends => State::NotProved,
            (false, _) => State::Pinned,
        };
        Pinned {
            resource,
            state,
            configured: Some(resource.show(limit.amount)),
            origin: Some(limit.origin.to_string()),
            held_by: match (controller_of(resource), resource) {
                (Some(controller), _) => holder(controller),
                (None, Resource::OpenFiles) => Some(Holder::ProcessLimit),
                (None, _) => Some(Holder::Cordon),
            },
            proofs,
        }
    });
    each.collect()
}

fn proof(pin: &Pin, at_end: Option<String>) -> Proof {
    Proof {
        file: file_of(&pin.setting),
        written: pin.setting.value.clone(),
        at_start: pin.at_start.clone(),
        at_end,
    }
}

/// A setting's file, with its disk.
#[must_use]
pub fn file_of(setting: &Setting) -> String {
    let file = &setting.file;
    match &setting.part {
        Part::Whole => file.clone(),
        Part::Disk(disk) => format!("{file} {disk}"),
        Part::Key(disk, key) => format!("{file} {disk} {key}"),
    }
}

/// What a job used: `base` was counted before it, for the probes that proved its enforcement.
#[must_use]
pub fn usage(counters: Counters, base: Counters, wall_milliseconds: u64) -> Usage {
    let own = |of: fn(&Counters) -> Option<u64>| {
        let now = of(&counters)?;
        Some(now.saturating_sub(of(&base).unwrap_or_default()))
    };
    Usage {
        wall_milliseconds,
        cpu_microseconds: own(|counters| counters.cpu),
        cpu_user_microseconds: own(|counters| counters.cpu_user),
        cpu_system_microseconds: own(|counters| counters.cpu_system),
        throttled_microseconds: own(|counters| counters.throttled),
        // Largest values at any time: nothing to take away.
        memory_peak_bytes: counters.memory_peak,
        memory_full: own(|counters| counters.memory_full),
        pids_peak: counters.pids_peak,
        io_read_bytes: own(|counters| counters.io_read),
        io_written_bytes: own(|counters| counters.io_written),
        network_out_bytes: 0,
        network_in_bytes: 0,
        unknown: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::evidence::Answer;
    use crate::policy::Origin;
    use crate::policy::limits::Limit;

    fn policy(resources: &[Resource]) -> LimitsPolicy {
        let limit = |line| Limit {
            amount: 4096,
            origin: Origin {
                source: "p.toml".to_owned(),
                line,
            },
        };
        let each = resources.iter().zip(1..);
        each.map(|(resource, line)| (*resource, limit(line)))
            .collect()
    }

    fn pin(resource: Resource, file: &str) -> Pin {
        Pin {
            setting: Setting {
                resource,
                controller: controller_of(resource).unwrap(),
                file: file.to_owned(),
                part: Part::Whole,
                value: "4096".to_owned(),
                expected: "4096".to_owned(),
            },
            at_start: "4096".to_owned(),
        }
    }

    fn states(list: &[Pinned]) -> Vec<(Resource, State)> {
        let limited = list.iter().filter(|one| one.state != State::NotLimited);
        limited.map(|one| (one.resource, one.state)).collect()
    }

    #[test]
    fn only_what_was_read_at_both_ends_and_never_seen_changed_is_pinned() {
        let policy = policy(&[
            Resource::Memory,
            Resource::Pids,
            Resource::Cpu,
            Resource::IoRead,
            Resource::OpenFiles,
            Resource::Wall,
        ]);
        let pins = [
            pin(Resource::Memory, "memory.max"),
            pin(Resource::Pids, "pids.max"),
            pin(Resource::Cpu, "cpu.max"),
        ];
        let change = Change {
            resource: Resource::Pids,
            file: "pids.max".to_owned(),
            expected: "4096".to_owned(),
            found: Some("max".to_owned()),
            seen: "2026-11-22T08:15:00Z".parse().unwrap(),
            answer: Answer::Restored,
        };
        let there = Some("4096".to_owned());
        let at_end = [there.clone(), there, None];
        let holder = |_| Some(Holder::CgroupV1);
        let list = resources(&policy, &pins, &at_end, &[change], &holder);
        assert_eq!(list.len(), Resource::ALL.len());
        assert_eq!(
            states(&list),
            [
                (Resource::Memory, State::Pinned),
                (Resource::Pids, State::Changed),
                // Not there at the end, and never written.
                (Resource::Cpu, State::NotProved),
                (Resource::IoRead, State::NotProved),
                (Resource::OpenFiles, State::Pinned),
                (Resource::Wall, State::Pinned),
            ]
        );
        let memory = list.first().unwrap();
        assert_eq!(memory.configured.as_deref(), Some("4KiB"));
        assert_eq!(memory.origin.as_deref(), Some("p.toml:1"));
        assert_eq!(memory.held_by, Some(Holder::CgroupV1));
    }

    #[test]
    fn what_the_probes_used_is_not_the_jobs() {
        let base = Counters {
            cpu: Some(30),
            ..Counters::default()
        };
        let counters = Counters {
            cpu: Some(100),
            memory_peak: Some(7),
            io_read: Some(9),
            ..Counters::default()
        };
        let used = usage(counters, base, 5);
        assert_eq!(used.cpu_microseconds, Some(70));
        assert_eq!(
            (used.memory_peak_bytes, used.io_read_bytes),
            (Some(7), Some(9))
        );
        assert_eq!(used.io_written_bytes, None);
    }
}
