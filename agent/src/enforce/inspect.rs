//! Whether pinned maps and links are what they should be: each is asked about, none is trusted for
//! its name.
//!
//! aya opens a pinned map under the sizes of its own object, whatever the map has; a wrong one would
//! be read beyond its end or never match. So nothing is opened for use before it was found whole.

use std::os::fd::AsFd as _;

use super::hooks::{Attach, HOOKS, Hook, is_lsm, is_optional};
use super::layout::{Layout, Shape};
use super::maps;
use super::pins::Pins;
use crate::cgroup::hierarchy::Root;
use crate::sys::bpf::{self, LinkInfo, MapInfo, ProgramInfo};
use crate::sys::fs::FileError;

/// What is wrong with a directory of pins, each in a sentence. Empty: it is whole.
///
/// `own` says that the programs are those of this agent's object, so that every hook must be there;
/// the programs of another object may be for fewer hooks.
///
/// # Errors
/// The directory cannot be read.
pub fn differences(
    root: &Root,
    pins: &Pins,
    layout: &Layout,
    own: bool,
) -> Result<Vec<String>, FileError> {
    let mut wrong = Vec::new();
    let mut map_ids = Vec::new();
    for name in maps::NAMES {
        let path = pins.map(name);
        let found = bpf::open_pin(&path).and_then(|map| {
            bpf::map_info(map.as_fd()).map_err(FileError::on("ask about map", &path))
        });
        match found {
            Ok(info) => {
                map_ids.push((name, info.id));
                wrong.extend(map_difference(name, layout.shape(name), &info));
            }
            Err(error) => wrong.push(format!("map {name} is missing ({})", error.source)),
        }
    }
    let attached = pins.hooks()?;
    for hook in HOOKS {
        let expected = attached.iter().any(|name| name == hook.name);
        if !expected {
            if own && !is_optional(&hook) && !is_lsm(&hook) {
                wrong.push(format!("program {} was never attached", hook.name));
            }
            continue;
        }
        let path = pins.link(hook.name);
        let found = bpf::open_pin(&path).and_then(|link| {
            let asked = bpf::link_info(link.as_fd())
                .and_then(|info| Ok((info, bpf::program_info(info.program)?)));
            asked.map_err(FileError::on("ask about link", &path))
        });
        match found {
            Ok((link, program)) => wrong.extend(link_difference(
                hook,
                root.cgroup.id(),
                &link,
                &program,
                &map_ids,
            )),
            Err(error) => wrong.push(format!(
                "the link of program {} is missing ({})",
                hook.name, error.source
            )),
        }
    }
    Ok(wrong)
}

fn map_difference(name: &str, needed: Option<&Shape>, info: &MapInfo) -> Option<String> {
    let MapInfo {
        kind,
        id: _,
        key_size,
        value_size,
        max_entries,
        flags,
    } = *info;
    let found = Shape {
        kind,
        key_size,
        value_size,
        max_entries,
        flags,
    };
    match needed {
        Some(needed) => needed
            .difference(&found)
            .map(|difference| format!("map {name} has {difference}")),
        None => Some(format!("map {name} is none of this version's")),
    }
}

/// A link must be at its hook, on this root, and its program must use the pinned maps. The kernel
/// does not say the names of a program's maps, so those of the same agent that are not pinned
/// (constants, scratch) are told apart by one rule: at least one map must be a pinned one.
fn link_difference(
    hook: Hook,
    root: u64,
    link: &LinkInfo,
    program: &ProgramInfo,
    maps: &[(&str, u32)],
) -> Option<String> {
    let name = hook.name;
    if let Attach::Cgroup(attach_type) = hook.attach {
        if link.kind != bpf::LINK_CGROUP || link.attach_type != attach_type {
            return Some(format!("the link of program {name} is at another hook"));
        }
        if link.cgroup != root {
            return Some(format!(
                "program {name} is attached to cgroup {}, not to {root}",
                link.cgroup
            ));
        }
    }
    if !name.starts_with(&program.name) || program.name.is_empty() {
        return Some(format!(
            "the link of program {name} runs a program called {:?}",
            program.name
        ));
    }
    let pinned = program
        .maps
        .iter()
        .any(|used| maps.iter().any(|(_, id)| id == used));
    (!pinned).then(|| format!("program {name} uses none of the pinned maps"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: u64 = 7;

    fn link(cgroup: u64, attach_type: u32) -> LinkInfo {
        let mut link = LinkInfo::default();
        (link.kind, link.cgroup, link.attach_type) = (bpf::LINK_CGROUP, cgroup, attach_type);
        link
    }

    fn program(name: &str, maps: &[u32]) -> ProgramInfo {
        ProgramInfo {
            id: 1,
            name: name.to_owned(),
            maps: maps.to_vec(),
        }
    }

    fn judged(link: &LinkInfo, program: &ProgramInfo) -> Option<String> {
        link_difference(HOOKS[1], ROOT, link, program, &[("JOBS", 40)])
    }

    #[test]
    fn a_link_as_it_was_made_is_whole() {
        assert_eq!(judged(&link(ROOT, 1), &program("egress", &[40, 41])), None);
    }

    #[test]
    fn a_link_elsewhere_or_of_another_program_is_not() {
        let own = program("egress", &[40]);
        assert!(judged(&link(8, 1), &own).unwrap().contains("cgroup 8"));
        assert!(judged(&link(0, 1), &own).unwrap().contains("cgroup 0"));
        assert!(judged(&link(ROOT, 0), &own).unwrap().contains("hook"));
        let foreign = program("allow_all", &[40]);
        assert!(
            judged(&link(ROOT, 1), &foreign)
                .unwrap()
                .contains("allow_all")
        );
        assert!(judged(&link(ROOT, 1), &program("", &[40])).is_some());
        let other_maps = program("egress", &[90]);
        assert!(
            judged(&link(ROOT, 1), &other_maps)
                .unwrap()
                .contains("maps")
        );
    }

    #[test]
    fn a_map_of_another_size_is_named_with_both() {
        let needed = Shape {
            kind: 1,
            key_size: 8,
            value_size: 16,
            max_entries: 4,
            flags: 0,
        };
        let mut info = MapInfo {
            kind: 1,
            id: 3,
            key_size: 8,
            value_size: 16,
            max_entries: 4,
            flags: 0,
        };
        assert_eq!(map_difference("JOBS", Some(&needed), &info), None);
        info.value_size = 24;
        assert_eq!(
            map_difference("JOBS", Some(&needed), &info).unwrap(),
            "map JOBS has value size 24, not 16"
        );
    }
}
