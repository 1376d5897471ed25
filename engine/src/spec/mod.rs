//! What the engine really asks of its runtime for a container of a job: judged once more, and tightened.
//!
//! The mediator judges what a job asks of the engine, in a language that grows with each version of it.
//! This is the other end: few words, which say what will be. The two know nothing of each other. Here also
//! is what no request can say: which kinds of sockets a container gets.

mod filter;

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::create::is_safe_capability;
use crate::create::mounts::is_below;
use crate::fields::Object;
use crate::job::slice_of;
use crate::passport::{Passport, Workspace};

/// Name of the directory that jobs' cgroups are in.
pub const SLICE: &str = "cordon.slice";

/// What is taken away without a word: an engine's defaults that a job's containers do not get.
const WITHHELD: [&str; 2] = ["CAP_NET_RAW", "CAP_MKNOD"];

/// A mount of something of the host, which must lead where its text says when it is opened without
/// following a link.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HostMount {
    /// Which of `mounts`.
    pub index: usize,
    /// The directory it must be in.
    pub beneath: String,
    /// Which directory that is, for one of the workspace.
    pub workspace: Option<Workspace>,
    /// Its path from there, empty for the directory itself.
    pub rest: String,
    /// Nothing else may be mounted in there: options of a volume mount what they please.
    pub whole: bool,
}

/// What a container shares with others, which must be the job's.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Shared {
    /// Mounts of the host's files.
    pub mounts: Vec<HostMount>,
    /// Files of namespaces that exist.
    pub namespaces: Vec<String>,
}

/// The job a container is of, by the cgroup it is to be in: the directory below the slice, or what a slice that
/// systemd would have below it is called. `None`: of none.
#[must_use]
pub fn job_of(cgroups_path: &str) -> Option<&str> {
    let mut parts = cgroups_path.split('/').skip_while(|part| *part != SLICE);
    if parts.next().is_some() {
        return Some(parts.next().unwrap_or_default());
    }
    let (slice, _) = cgroups_path.split_once(':')?;
    if slice == SLICE {
        return Some("");
    }
    slice.strip_prefix("cordon-")?.strip_suffix(".slice")
}

/// The container's own name in its job's cgroup, from where an engine with either driver wants it.
fn name_in<'p>(passport: &Passport, place: &'p str) -> Option<&'p str> {
    let by_path = place
        .strip_prefix(&passport.cgroup)
        .and_then(|rest| rest.strip_prefix('/'));
    // `SLICE:PREFIX:NAME`
    let by_slice = || {
        let rest = place.strip_prefix(&slice_of(&passport.job))?;
        let (_prefix, name) = rest.strip_prefix(':')?.split_once(':')?;
        (!name.contains(':')).then_some(name)
    };
    let name = by_path.or_else(by_slice)?;
    (!name.is_empty() && !name.contains('/') && !name.contains("..")).then_some(name)
}

/// Where a specification puts its container.
#[must_use]
pub fn cgroups_path(spec: &Value) -> &str {
    spec.pointer("/linux/cgroupsPath")
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// Judges and tightens a specification. Returns what must be looked at when it is opened.
///
/// # Errors
/// What a container of a job may not be, in words.
pub fn tighten(passport: &Passport, spec: &mut Value) -> Result<Shared, String> {
    let place = cgroups_path(spec).to_owned();
    let Some(name) = name_in(passport, &place) else {
        return Err(format!(
            "its cgroup `{place}` is not directly in the job's `{}`",
            passport.cgroup
        ));
    };
    let linux = spec.get_mut("linux").and_then(Value::as_object_mut);
    // As a path, whatever the engine's driver is: what systemd makes is nobody's job.
    linux.ok_or("it has no cgroup")?.insert(
        "cgroupsPath".to_owned(),
        json!(format!("{}/{name}", passport.cgroup)),
    );
    let mut shared = Shared::default();
    judge_namespaces(spec, &mut shared)?;
    judge_devices(spec)?;
    judge_settings(spec)?;
    judge_mounts(passport, spec, &mut shared)?;
    let process = spec.get_mut("process").and_then(Value::as_object_mut);
    tighten_process(process.ok_or("it has no process")?)?;
    let seccomp = spec
        .pointer_mut("/linux/seccomp")
        .and_then(Value::as_object_mut);
    filter::tighten(seccomp.ok_or("it has no system call filter")?)?;
    Ok(shared)
}

/// Judges and tightens one process of a container: its first, or one more.
///
/// # Errors
/// It has a capability that no container of a job has.
pub fn tighten_process(process: &mut Object) -> Result<(), String> {
    let Some(sets) = process
        .get_mut("capabilities")
        .and_then(Value::as_object_mut)
    else {
        // None at all.
        return Ok(());
    };
    for (set, names) in sets.iter_mut() {
        let names = names
            .as_array_mut()
            .ok_or_else(|| format!("its capabilities `{set}` are no list"))?;
        names.retain(|name| !name.as_str().is_some_and(|name| WITHHELD.contains(&name)));
        let other = names
            .iter()
            .find(|name| !name.as_str().is_some_and(is_safe_capability));
        if let Some(other) = other {
            return Err(format!("it has the capability {other}"));
        }
    }
    Ok(())
}

/// A container has its own pid, network, IPC, UTS and mount namespace, or shares one of the job's.
fn judge_namespaces(spec: &Value, shared: &mut Shared) -> Result<(), String> {
    let list = spec.pointer("/linux/namespaces").and_then(Value::as_array);
    let mut had = BTreeSet::new();
    for namespace in list.into_iter().flatten() {
        had.insert(
            namespace
                .get("type")
                .and_then(Value::as_str)
                .unwrap_or_default(),
        );
        if let Some(path) = namespace
            .get("path")
            .and_then(Value::as_str)
            .filter(|path| !path.is_empty())
        {
            shared.namespaces.push(path.to_owned());
        }
    }
    match ["ipc", "mount", "network", "pid", "uts"]
        .iter()
        .find(|kind| !had.contains(*kind))
    {
        Some(kind) => Err(format!("it shares the host's {kind} namespace")),
        None => Ok(()),
    }
}

/// Character devices every container has: null, zero, full, random, urandom, tty, console, ptmx, and
/// pseudo-terminals.
const DEVICES: [(i64, Option<i64>); 9] = [
    (1, Some(3)),
    (1, Some(5)),
    (1, Some(7)),
    (1, Some(8)),
    (1, Some(9)),
    (5, Some(0)),
    (5, Some(1)),
    (5, Some(2)),
    (136, None),
];

fn judge_devices(spec: &Value) -> Result<(), String> {
    let made = spec.pointer("/linux/devices").and_then(Value::as_array);
    if let Some(device) = made.and_then(|made| made.first()) {
        let path = device
            .get("path")
            .and_then(Value::as_str)
            .unwrap_or_default();
        return Err(format!("it has the device `{path}`"));
    }
    let rules = spec
        .pointer("/linux/resources/devices")
        .and_then(Value::as_array);
    let mut rules = rules.into_iter().flatten();
    let number = |rule: &Value, key: &str| rule.get(key).and_then(Value::as_i64);
    let allows = |rule: &Value| rule.get("allow").and_then(Value::as_bool) == Some(true);
    let first = rules.next().ok_or("it may use every device")?;
    if allows(first) || number(first, "major").is_some() {
        return Err("it may use every device".to_owned());
    }
    let known = |rule: &Value| {
        let (major, minor) = (number(rule, "major"), number(rule, "minor"));
        let kind = rule.get("type").and_then(Value::as_str);
        kind == Some("c")
            && DEVICES.iter().any(|(known_major, known_minor)| {
                major == Some(*known_major) && (known_minor.is_none() || *known_minor == minor)
            })
    };
    match rules.find(|rule| allows(rule) && !known(rule)) {
        Some(rule) => Err(format!("it may use a device: {rule}")),
        None => Ok(()),
    }
}

/// Covered paths, and settings of the kernel.
fn judge_settings(spec: &Value) -> Result<(), String> {
    for key in ["maskedPaths", "readonlyPaths"] {
        let list = spec
            .pointer(&format!("/linux/{key}"))
            .and_then(Value::as_array);
        if list.is_none_or(Vec::is_empty) {
            return Err(format!("it has no `{key}`"));
        }
    }
    let settings = spec.pointer("/linux/sysctl").and_then(Value::as_object);
    let own = |key: &str| {
        [
            "net.",
            "kernel.msg",
            "kernel.sem",
            "kernel.shm",
            "fs.mqueue.",
        ]
        .iter()
        .any(|prefix| key.starts_with(prefix))
    };
    match settings.into_iter().flatten().find(|(key, _)| !own(key)) {
        Some((key, _)) => Err(format!("it sets the host's `{key}`")),
        None => Ok(()),
    }
}

/// File systems that a container has for itself.
const OWN_KINDS: [&str; 7] = [
    "cgroup", "cgroup2", "devpts", "mqueue", "proc", "sysfs", "tmpfs",
];

fn judge_mounts(passport: &Passport, spec: &mut Value, shared: &mut Shared) -> Result<(), String> {
    let mounts = spec
        .get_mut("mounts")
        .and_then(Value::as_array_mut)
        .ok_or("it has no mounts")?;
    if passport.lsm {
        // Mounted by a process that is the job's by then, which may not.
        let kind = |mount: &Value| mount.get("type").and_then(Value::as_str).map(str::to_owned);
        mounts.retain(|mount| !kind(mount).is_some_and(|kind| kind.starts_with("cgroup")));
    }
    for (index, mount) in mounts.iter_mut().enumerate() {
        let text = |key: &str| {
            mount
                .get(key)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let (kind, source) = (text("type"), text("source"));
        let options: Vec<String> = mount
            .get("options")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(|option| option.as_str().map(str::to_owned))
            .collect();
        let says = |word: &str| options.iter().any(|option| option == word);
        let binds = kind == "bind" || says("bind") || says("rbind");
        if !binds {
            let sealed = !matches!(kind.as_str(), "sysfs" | "cgroup" | "cgroup2") || says("ro");
            if !OWN_KINDS.contains(&kind.as_str()) || !sealed {
                return Err(format!("it mounts `{source}` of the type `{kind}`"));
            }
            continue;
        }
        if ["shared", "rshared", "slave", "rslave"]
            .iter()
            .any(|word| says(word))
        {
            return Err(format!("mounts in `{source}` would be the host's as well"));
        }
        let workspace = passport
            .workspace
            .iter()
            .find(|place| is_below(&source, &place.path));
        let beneath = match workspace {
            Some(place) => place.path.clone(),
            None if is_engines(passport, &source) => passport.engine_root.clone(),
            None => return Err(format!("it mounts the host's `{source}`")),
        };
        let rest = source
            .strip_prefix(beneath.trim_end_matches('/'))
            .unwrap_or_default();
        let rest = rest.trim_matches('/').to_owned();
        if workspace.is_some() {
            // Nothing a job writes there is a device or a set-uid program to its containers.
            let mut options = options;
            options.extend(["nodev".to_owned(), "nosuid".to_owned()]);
            if let Some(mount) = mount.as_object_mut() {
                mount.insert("options".to_owned(), json!(options));
            }
        }
        let whole = workspace.is_none() && rest.starts_with("volumes/");
        let workspace = workspace.cloned();
        shared.mounts.push(HostMount {
            index,
            beneath,
            workspace,
            rest,
            whole,
        });
    }
    Ok(())
}

/// What an engine mounts by itself: files of the container, and volumes.
fn is_engines(passport: &Passport, source: &str) -> bool {
    let root = passport.engine_root.trim_end_matches('/');
    root.len() > 1
        && ["containers", "volumes"].iter().any(|part| {
            let place = format!("{root}/{part}");
            is_below(source, &place) && source.trim_end_matches('/') != place
        })
}

#[cfg(test)]
mod tests;
