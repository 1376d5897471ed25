//! What of the host a container may have in its file system: directories of the workspace, and volumes
//! of the job.
//!
//! Whether a path of the workspace really leads there is judged here by its text and, when the container
//! starts, by descriptor (`spec`): in between the job can put a link in its place.

use serde_json::Value;

use super::local_driver;
use crate::fields::{self, Field, Object, Rule, wrong};
use crate::job::{Job, Judged, Need};
use crate::refusal::{Refusal, printable};

/// Where clients find the engine, by habit.
const ENGINE_SOCKETS: [&str; 2] = ["/var/run/docker.sock", "/run/docker.sock"];

const MOUNT: &[Field] = &[
    ("Type", Rule::Judged),
    ("Source", Rule::Judged),
    ("Target", Rule::Keep),
    ("ReadOnly", Rule::Keep),
    ("Consistency", Rule::Drop),
    ("BindOptions", Rule::Judged),
    ("VolumeOptions", Rule::Judged),
    ("TmpfsOptions", Rule::Judged),
    (
        "ClusterOptions",
        Rule::Refuse("volumes of a swarm are not a job's"),
    ),
];

/// `--volume`.
pub(super) fn judge_binds(
    job: &Job,
    host: &mut Object,
    judged: &mut Judged,
) -> Result<(), Refusal> {
    let mut kept = Vec::new();
    for bind in fields::texts(host, "Binds")? {
        let parts: Vec<&str> = bind.split(':').collect();
        let (source, mode) = match parts.as_slice() {
            [source, _target] => (*source, ""),
            [source, _target, mode] => (*source, *mode),
            _ => {
                return Err(Refusal::unknown(format!(
                    "the volume `{}`",
                    printable(&bind)
                )));
            }
        };
        if is_engine_socket(source) {
            leave_out_socket(source, judged);
            continue;
        }
        judge_modes(mode)?;
        judge_source(job, source, judged)?;
        kept.push(Value::String(bind));
    }
    host.insert("Binds".to_owned(), Value::Array(kept));
    Ok(())
}

/// `--mount`.
pub(super) fn judge_mounts(
    job: &Job,
    host: &mut Object,
    judged: &mut Judged,
) -> Result<(), Refusal> {
    let mut kept = Vec::new();
    for mount in fields::list(host, "Mounts")? {
        let Value::Object(mut mount) = mount else {
            return Err(wrong("Mounts", "a list of mounts"));
        };
        fields::apply("Mounts", &mut mount, MOUNT)?;
        let source = fields::text(&mount, "Source")?;
        match fields::text(&mount, "Type")?.as_str() {
            "bind" if is_engine_socket(&source) => {
                leave_out_socket(&source, judged);
                continue;
            }
            "bind" => {
                judge_path(job, &source)?;
                judge_bind_options(&mut mount)?;
            }
            "volume" => judge_volume_options(job, &mut mount, &source, judged)?,
            "tmpfs" => judge_tmpfs_options(&mut mount)?,
            other => {
                let what = format!("a mount of the type `{}`", printable(other));
                let why =
                    "a job mounts directories of its workspace (`bind`), its volumes, and `tmpfs`";
                return Err(Refusal::forbidden(what, why));
            }
        }
        kept.push(Value::Object(mount));
    }
    host.insert("Mounts".to_owned(), Value::Array(kept));
    Ok(())
}

fn judge_bind_options(mount: &mut Object) -> Result<(), Refusal> {
    let mut options = fields::child(mount, "BindOptions")?;
    let table = [
        ("Propagation", Rule::Judged),
        ("NonRecursive", Rule::Keep),
        ("CreateMountpoint", Rule::Drop),
        ("ReadOnlyNonRecursive", Rule::Keep),
        ("ReadOnlyForceRecursive", Rule::Keep),
    ];
    fields::apply("BindOptions", &mut options, &table)?;
    judge_modes(&fields::text(&options, "Propagation")?)?;
    if !options.is_empty() {
        mount.insert("BindOptions".to_owned(), Value::Object(options));
    }
    Ok(())
}

fn judge_volume_options(
    job: &Job,
    mount: &mut Object,
    source: &str,
    judged: &mut Judged,
) -> Result<(), Refusal> {
    if !source.is_empty() {
        judge_volume_name(source)?;
        judged.needs.push(Need::Volume(source.to_owned()));
    }
    let mut options = fields::child(mount, "VolumeOptions")?;
    let table = [
        ("NoCopy", Rule::Keep),
        ("Labels", Rule::Judged),
        ("DriverConfig", Rule::Judged),
        (
            "Subpath",
            Rule::Refuse("a link in the volume could lead out of it. Mount the whole volume"),
        ),
    ];
    fields::apply("VolumeOptions", &mut options, &table)?;
    let driver = fields::child(&mut options, "DriverConfig")?;
    local_driver(&driver, "Name")?;
    if driver.get("Options").is_some_and(fields::says_something) {
        let why = "options of a volume can name any directory or device of the host. Leave them out, or \
                   mount a directory of the workspace";
        return Err(Refusal::forbidden(
            "`VolumeOptions.DriverConfig.Options`",
            why,
        ));
    }
    super::label(job, &mut options)?;
    mount.insert("VolumeOptions".to_owned(), Value::Object(options));
    Ok(())
}

fn judge_tmpfs_options(mount: &mut Object) -> Result<(), Refusal> {
    let mut options = fields::child(mount, "TmpfsOptions")?;
    let table = [("SizeBytes", Rule::Keep), ("Mode", Rule::Keep)];
    fields::apply("TmpfsOptions", &mut options, &table)?;
    if !options.is_empty() {
        mount.insert("TmpfsOptions".to_owned(), Value::Object(options));
    }
    Ok(())
}

/// `--tmpfs`: its options are mount options, of which these lead nowhere.
pub(super) fn judge_tmpfs(host: &Object) -> Result<(), Refusal> {
    let Some(Value::Object(mounts)) = host.get("Tmpfs") else {
        return Ok(());
    };
    let known = [
        "",
        "rw",
        "ro",
        "exec",
        "noexec",
        "suid",
        "nosuid",
        "nodev",
        "size",
        "mode",
        "uid",
        "gid",
        "noatime",
        "nr_inodes",
    ];
    for options in mounts.values() {
        let options = options.as_str().ok_or_else(|| wrong("Tmpfs", "texts"))?;
        for option in options.split(',') {
            let name = option.split('=').next().unwrap_or_default();
            if !known.contains(&name) {
                return Err(Refusal::unknown(format!(
                    "the tmpfs option `{}`",
                    printable(name)
                )));
            }
        }
    }
    Ok(())
}

fn is_engine_socket(source: &str) -> bool {
    ENGINE_SOCKETS.contains(&source)
}

/// Runners mount it into every container of a job, needed or not.
fn leave_out_socket(source: &str, judged: &mut Judged) {
    judged.warnings.push(format!(
        "{source} was not mounted: a container of a job does not reach the engine. Start containers from \
         the job's own steps"
    ));
}

fn judge_modes(modes: &str) -> Result<(), Refusal> {
    let known = [
        "",
        "ro",
        "rw",
        "z",
        "Z",
        "nocopy",
        "cached",
        "delegated",
        "consistent",
        "private",
        "rprivate",
    ];
    match modes.split(',').find(|mode| !known.contains(mode)) {
        Some(mode) => Err(Refusal::forbidden(
            format!("the mount option `{}`", printable(mode)),
            "mounts of a container are its own: `ro` and `rw` are what can be said",
        )),
        None => Ok(()),
    }
}

/// A path of the workspace, or a volume.
fn judge_source(job: &Job, source: &str, judged: &mut Judged) -> Result<(), Refusal> {
    if source.starts_with('/') {
        return judge_path(job, source);
    }
    judge_volume_name(source)?;
    judged.needs.push(Need::Volume(source.to_owned()));
    Ok(())
}

fn judge_volume_name(name: &str) -> Result<(), Refusal> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    if name.bytes().all(good) && name.starts_with(|first: char| first.is_ascii_alphanumeric()) {
        return Ok(());
    }
    Err(Refusal::unknown(format!(
        "the volume `{}`",
        printable(name)
    )))
}

fn judge_path(job: &Job, source: &str) -> Result<(), Refusal> {
    if job
        .workspace
        .iter()
        .any(|workspace| is_below(source, workspace))
    {
        return Ok(());
    }
    let workspace = match job.workspace.as_slice() {
        [] => "this job has none".to_owned(),
        all => format!("which is {}", all.join(", ")),
    };
    Err(Refusal::forbidden(
        format!("the host's `{}` in a container", printable(source)),
        format!(
            "a job mounts what is in its workspace, {workspace}. Copy what is needed there, or use a volume"
        ),
    ))
}

/// Whether a path is a directory or something in it, by its text alone: no `..`, nothing doubled.
#[must_use]
pub fn is_below(path: &str, directory: &str) -> bool {
    let plain = |path: &str| {
        let path = path.strip_suffix('/').unwrap_or(path);
        let rest = path.strip_prefix('/')?;
        let good = |part: &str| !part.is_empty() && part != "." && part != "..";
        rest.split('/').all(good).then(|| path.to_owned())
    };
    let (Some(path), Some(directory)) = (plain(path), plain(directory)) else {
        return false;
    };
    path.strip_prefix(&directory)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
