//! `POST /containers/create`: what a job's container may be.

mod host;
pub mod mounts;
mod network;

use serde_json::{Value, json};

pub(crate) use self::host::judge_ulimits;
pub use self::host::{CAPABILITIES, is_safe_capability, judge_update};
pub use self::network::{judge_connect, judge_disconnect, judge_network};
use crate::fields::{self, Field, Object, Rule};
use crate::job::{Job, Judged, LABEL, Need, RESERVED};
use crate::refusal::{Refusal, printable};

const CONFIG: &[Field] = &[
    ("Hostname", Rule::Keep),
    ("Domainname", Rule::Keep),
    ("User", Rule::Keep),
    ("AttachStdin", Rule::Keep),
    ("AttachStdout", Rule::Keep),
    ("AttachStderr", Rule::Keep),
    ("ExposedPorts", Rule::Keep),
    ("Tty", Rule::Keep),
    ("OpenStdin", Rule::Keep),
    ("StdinOnce", Rule::Keep),
    ("Env", Rule::Keep),
    ("Cmd", Rule::Keep),
    ("Healthcheck", Rule::Keep),
    ("ArgsEscaped", Rule::Keep),
    ("Image", Rule::Keep),
    ("Volumes", Rule::Keep),
    ("WorkingDir", Rule::Keep),
    ("Entrypoint", Rule::Keep),
    ("NetworkDisabled", Rule::Keep),
    ("Labels", Rule::Judged),
    ("StopSignal", Rule::Keep),
    ("StopTimeout", Rule::Keep),
    ("Shell", Rule::Keep),
    (
        "MacAddress",
        Rule::Refuse("the engine chooses it. Leave it out"),
    ),
    (
        "OnBuild",
        Rule::Refuse("instructions for later builds would run for other jobs"),
    ),
    ("HostConfig", Rule::Judged),
    ("NetworkingConfig", Rule::Judged),
];

/// Judges a new container.
///
/// # Errors
/// It is not one that a job may have.
pub fn judge_create(job: &Job, bytes: &[u8]) -> Result<Judged, Refusal> {
    let mut config = fields::object(bytes)?;
    fields::apply("", &mut config, CONFIG)?;
    label(job, &mut config)?;
    let mut judged = Judged::default();
    let mut host = fields::child(&mut config, "HostConfig")?;
    host::judge(job, &mut host, &mut judged)?;
    let mut networking = fields::child(&mut config, "NetworkingConfig")?;
    network::judge_endpoints(job, &host, &mut networking, &mut judged)?;
    config.insert("HostConfig".to_owned(), Value::Object(host));
    config.insert("NetworkingConfig".to_owned(), Value::Object(networking));
    judged.body = Value::Object(config).to_string().into_bytes();
    Ok(judged)
}

/// Judges what a container becomes as an image.
///
/// # Errors
/// It is not what a job may make.
pub fn judge_commit(job: &Job, bytes: &[u8]) -> Result<Judged, Refusal> {
    if matches!(bytes.trim_ascii(), b"" | b"null") {
        return Ok(Judged {
            body: b"{}".to_vec(),
            ..Judged::default()
        });
    }
    let mut config = fields::object(bytes)?;
    fields::apply("", &mut config, CONFIG)?;
    for other in ["HostConfig", "NetworkingConfig"] {
        config.remove(other);
    }
    label(job, &mut config)?;
    Ok(Judged {
        body: Value::Object(config).to_string().into_bytes(),
        ..Judged::default()
    })
}

/// Puts the job's label on something that is made; only cordon has labels that begin so.
pub(crate) fn label(job: &Job, object: &mut Object) -> Result<(), Refusal> {
    let mut labels = fields::child(object, "Labels")?;
    if let Some((key, _)) = labels.iter().find(|(key, _)| key.starts_with(RESERVED)) {
        let what = format!("the label `{}`", printable(key));
        let why = format!("labels that begin with `{RESERVED}` are cordon's own");
        return Err(Refusal::forbidden(what, why));
    }
    labels.insert(LABEL.to_owned(), json!(job.id));
    object.insert("Labels".to_owned(), Value::Object(labels));
    Ok(())
}

/// `container:NAME`, as modes of namespaces say it.
pub(crate) fn of_container(mode: &str, judged: &mut Judged) -> bool {
    match mode.strip_prefix("container:") {
        Some(name) if !name.is_empty() => {
            judged.needs.push(Need::Container(name.to_owned()));
            true
        }
        _ => false,
    }
}

const EXEC: &[Field] = &[
    ("AttachStdin", Rule::Keep),
    ("AttachStdout", Rule::Keep),
    ("AttachStderr", Rule::Keep),
    ("DetachKeys", Rule::Keep),
    ("Tty", Rule::Keep),
    ("ConsoleSize", Rule::Keep),
    ("Env", Rule::Keep),
    ("Cmd", Rule::Keep),
    ("User", Rule::Keep),
    ("WorkingDir", Rule::Keep),
    ("Detach", Rule::Keep),
    (
        "Privileged",
        Rule::Refuse(
            "a privileged process has every capability, and leaves the job's sandbox. Leave \
             `--privileged` out; use `--user root` where root of the container is enough",
        ),
    ),
];

/// Judges one more process of a container.
///
/// # Errors
/// It is not one that a job may have.
pub fn judge_exec(bytes: &[u8]) -> Result<Judged, Refusal> {
    judge_by(bytes, EXEC)
}

/// Judges how such a process is started.
///
/// # Errors
/// It says more than that.
pub fn judge_exec_start(bytes: &[u8]) -> Result<Judged, Refusal> {
    let start = [
        ("Detach", Rule::Keep),
        ("Tty", Rule::Keep),
        ("ConsoleSize", Rule::Keep),
    ];
    judge_by(bytes, &start)
}

const VOLUME: &[Field] = &[
    ("Name", Rule::Keep),
    ("Driver", Rule::Judged),
    (
        "DriverOpts",
        Rule::Refuse(
            "options of a volume can name any directory or device of the host (`type`, `o`, \
             `device`). Leave them out, or mount a directory of the workspace",
        ),
    ),
    ("Labels", Rule::Judged),
    (
        "ClusterVolumeSpec",
        Rule::Refuse("volumes of a swarm are not a job's"),
    ),
];

/// Judges a new volume.
///
/// # Errors
/// It is not one that a job may have.
pub fn judge_volume(job: &Job, bytes: &[u8]) -> Result<Judged, Refusal> {
    let mut volume = fields::object(bytes)?;
    fields::apply("", &mut volume, VOLUME)?;
    local_driver(&volume, "Driver")?;
    label(job, &mut volume)?;
    let name = fields::text(&volume, "Name")?;
    Ok(Judged {
        body: Value::Object(volume).to_string().into_bytes(),
        needs: if name.is_empty() {
            Vec::new()
        } else {
            vec![Need::Volume(name)]
        },
        ..Judged::default()
    })
}

/// Other drivers store elsewhere.
pub(crate) fn local_driver(object: &Object, key: &str) -> Result<(), Refusal> {
    match fields::text(object, key)?.as_str() {
        "" | "local" => Ok(()),
        other => Err(Refusal::forbidden(
            format!("the volume driver `{}`", printable(other)),
            "drivers other than `local` store outside the job",
        )),
    }
}

fn judge_by(bytes: &[u8], table: &[Field]) -> Result<Judged, Refusal> {
    let mut object = fields::object(bytes)?;
    fields::apply("", &mut object, table)?;
    Ok(Judged {
        body: Value::Object(object).to_string().into_bytes(),
        ..Judged::default()
    })
}

#[cfg(test)]
mod tests;
