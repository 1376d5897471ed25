//! `HostConfig`: where a container touches the host.

use serde_json::{Value, json};

use super::mounts::{judge_binds, judge_mounts, judge_tmpfs};
use super::{local_driver, of_container};
use crate::fields::{self, Field, Object, Rule};
use crate::job::{Job, Judged, Need};
use crate::refusal::{Refusal, printable};

/// Capabilities a container of a job may have: of what an engine gives by itself, those that neither
/// make packets nor devices.
pub const CAPABILITIES: [&str; 12] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// What an engine gives by itself, and a job's containers do not get: `NET_RAW` makes packets that no
/// rule is asked about, `MKNOD` devices of the host.
const WITHHELD: [&str; 2] = ["NET_RAW", "MKNOD"];

const DEVICES: &str =
    "devices of the host lead out of the job. A job gets those every container has";
const REALTIME: &str = "a job's limits do not count real-time processors. Leave it out";
const WEIGHTS: &str = "devices of the host are not a job's to share out. Leave it out";

const HOST: &[Field] = &[
    ("Binds", Rule::Judged),
    ("ContainerIDFile", Rule::Drop),
    ("LogConfig", Rule::Judged),
    ("NetworkMode", Rule::Judged),
    ("PortBindings", Rule::Judged),
    ("RestartPolicy", Rule::Judged),
    ("AutoRemove", Rule::Keep),
    ("VolumeDriver", Rule::Judged),
    ("VolumesFrom", Rule::Judged),
    ("Mounts", Rule::Judged),
    ("ConsoleSize", Rule::Keep),
    ("CapAdd", Rule::Judged),
    ("CapDrop", Rule::Judged),
    ("CgroupnsMode", Rule::Judged),
    ("Dns", Rule::Keep),
    ("DnsOptions", Rule::Keep),
    ("DnsSearch", Rule::Keep),
    ("ExtraHosts", Rule::Keep),
    ("GroupAdd", Rule::Keep),
    ("IpcMode", Rule::Judged),
    (
        "Cgroup",
        Rule::Refuse("a container's cgroup is below its job's"),
    ),
    ("Links", Rule::Judged),
    ("OomScoreAdj", Rule::Judged),
    ("PidMode", Rule::Judged),
    (
        "Privileged",
        Rule::Refuse(
            "a privileged container has every capability and device, and leaves the job's sandbox. \
             Leave `--privileged` out; a build needs no privileges, and a service rarely more than \
             `--user`",
        ),
    ),
    (
        "PublishAllPorts",
        Rule::Refuse("name each port: `-p 8080:80`"),
    ),
    ("ReadonlyRootfs", Rule::Keep),
    ("SecurityOpt", Rule::Judged),
    (
        "StorageOpt",
        Rule::Refuse("the store is the host's. Leave `--storage-opt` out"),
    ),
    ("Tmpfs", Rule::Judged),
    ("UTSMode", Rule::Judged),
    ("UsernsMode", Rule::Judged),
    ("ShmSize", Rule::Keep),
    ("Sysctls", Rule::Judged),
    ("Runtime", Rule::Judged),
    ("Isolation", Rule::Judged),
    (
        "Annotations",
        Rule::Refuse("annotations speak to the runtime. Use labels"),
    ),
    ("CpuShares", Rule::Keep),
    ("Memory", Rule::Keep),
    ("NanoCpus", Rule::Keep),
    ("CpuCount", Rule::Keep),
    ("CpuPercent", Rule::Keep),
    (
        "CgroupParent",
        Rule::Refuse("a container's cgroup is below its job's. Leave `--cgroup-parent` out"),
    ),
    ("BlkioWeight", Rule::Keep),
    ("BlkioWeightDevice", Rule::Refuse(WEIGHTS)),
    ("BlkioDeviceReadBps", Rule::Refuse(WEIGHTS)),
    ("BlkioDeviceWriteBps", Rule::Refuse(WEIGHTS)),
    ("BlkioDeviceReadIOps", Rule::Refuse(WEIGHTS)),
    ("BlkioDeviceWriteIOps", Rule::Refuse(WEIGHTS)),
    ("CpuPeriod", Rule::Keep),
    ("CpuQuota", Rule::Keep),
    ("CpuRealtimePeriod", Rule::Refuse(REALTIME)),
    ("CpuRealtimeRuntime", Rule::Refuse(REALTIME)),
    ("CpusetCpus", Rule::Keep),
    ("CpusetMems", Rule::Keep),
    ("Devices", Rule::Refuse(DEVICES)),
    ("DeviceCgroupRules", Rule::Refuse(DEVICES)),
    ("DeviceRequests", Rule::Refuse(DEVICES)),
    ("KernelMemory", Rule::Keep),
    ("KernelMemoryTCP", Rule::Keep),
    ("MemoryReservation", Rule::Keep),
    ("MemorySwap", Rule::Keep),
    ("MemorySwappiness", Rule::Keep),
    (
        "OomKillDisable",
        Rule::Refuse("a container out of memory would hold the whole job. Leave it out"),
    ),
    ("PidsLimit", Rule::Keep),
    ("Ulimits", Rule::Judged),
    ("IOMaximumIOps", Rule::Refuse(WEIGHTS)),
    ("IOMaximumBandwidth", Rule::Refuse(WEIGHTS)),
    (
        "Init",
        Rule::Refuse(
            "the engine would mount a program of the host for it. Leave `--init` out, or have the image bring one \
             (`tini`)",
        ),
    ),
    ("MaskedPaths", Rule::Judged),
    ("ReadonlyPaths", Rule::Judged),
];

/// Judges `HostConfig`, and puts the job's own settings in.
pub(super) fn judge(job: &Job, host: &mut Object, judged: &mut Judged) -> Result<(), Refusal> {
    fields::apply("HostConfig", host, HOST)?;
    judge_namespaces(host, judged)?;
    judge_network_mode(job, host, judged)?;
    judge_capabilities(host)?;
    judge_security(host)?;
    judge_binds(job, host, judged)?;
    judge_mounts(job, host, judged)?;
    judge_tmpfs(host)?;
    local_driver(host, "VolumeDriver")?;
    judge_ports(host, judged)?;
    judge_restart(host, judged)?;
    judge_log(host)?;
    judge_runtime(job, host)?;
    judge_sysctls(host)?;
    judge_ulimits(host)?;
    for key in ["VolumesFrom", "Links"] {
        for other in fields::texts(host, key)? {
            let name = other.split(':').next().unwrap_or_default();
            judged
                .needs
                .push(Need::Container(name.trim_start_matches('/').to_owned()));
        }
    }
    if host
        .get("OomScoreAdj")
        .and_then(Value::as_i64)
        .is_some_and(|score| score < 0)
    {
        let what = "a negative `HostConfig.OomScoreAdj`";
        return Err(Refusal::forbidden(
            what,
            "other processes of the host would be killed first",
        ));
    }
    host.insert("CgroupParent".to_owned(), json!(job.cgroup_parent));
    host.insert("Privileged".to_owned(), json!(false));
    Ok(())
}

/// Pid, IPC, UTS, user and cgroup namespaces: the container's own, or those of another of the job's.
fn judge_namespaces(host: &Object, judged: &mut Judged) -> Result<(), Refusal> {
    let refuse = |key: &str, mode: &str, why: &str| {
        let what = format!("`HostConfig.{key}` = `{}`", printable(mode));
        Err(Refusal::forbidden(what, why))
    };
    let pid = fields::text(host, "PidMode")?;
    if !matches!(pid.as_str(), "" | "private") && !of_container(&pid, judged) {
        let why = "processes of the host are not a job's to see. Leave `--pid` out, or share another \
                   container's: `--pid container:NAME`";
        return refuse("PidMode", &pid, why);
    }
    let ipc = fields::text(host, "IpcMode")?;
    if !matches!(ipc.as_str(), "" | "none" | "private" | "shareable") && !of_container(&ipc, judged)
    {
        let why = "memory that processes of the host share is not a job's. Leave `--ipc` out, or use \
                   `--shm-size`";
        return refuse("IpcMode", &ipc, why);
    }
    for (key, fine, why) in [
        (
            "UTSMode",
            &[""][..],
            "the host's name is not a job's to change. Use `--hostname`",
        ),
        (
            "UsernsMode",
            &[""][..],
            "users are mapped as the engine is set up. Leave `--userns` out",
        ),
        (
            "CgroupnsMode",
            &["", "private"][..],
            "cgroups of the host are not a job's to see. Leave `--cgroupns` out",
        ),
    ] {
        let mode = fields::text(host, key)?;
        if !fine.contains(&mode.as_str()) {
            return refuse(key, &mode, why);
        }
    }
    Ok(())
}

fn judge_network_mode(job: &Job, host: &mut Object, judged: &mut Judged) -> Result<(), Refusal> {
    let mode = fields::text(host, "NetworkMode")?;
    match mode.as_str() {
        // The engine's own bridge is everybody's.
        "" | "default" | "bridge" => {
            host.insert("NetworkMode".to_owned(), json!(job.network));
        }
        "none" => {}
        "host" => {
            return Err(Refusal::forbidden(
                "the host's network (`--network host`)",
                "a container gets a network of its job. Leave `--network` out; what the job publishes \
                 or runs itself is reached by a container's name on a network of the job",
            ));
        }
        name if of_container(name, judged) => {}
        name => judged.needs.push(Need::Network(name.to_owned())),
    }
    Ok(())
}

/// Its name as in lists, without the prefix that may be in front.
fn capability(name: &str) -> String {
    let upper = name.to_ascii_uppercase();
    upper
        .strip_prefix("CAP_")
        .map_or_else(|| upper.clone(), str::to_owned)
}

/// Whether a container of a job may have it; with or without `CAP_` in front.
#[must_use]
pub fn is_safe_capability(name: &str) -> bool {
    CAPABILITIES.contains(&capability(name).as_str())
}

fn judge_capabilities(host: &mut Object) -> Result<(), Refusal> {
    for name in fields::texts(host, "CapAdd")? {
        if !is_safe_capability(&name) {
            let why = match capability(&name).as_str() {
                "NET_RAW" => {
                    "packets made by hand are asked about by no rule. Without it `ping` does not work; \
                     test with a TCP connection"
                }
                "ALL" => "it leaves the job's sandbox. Name the few that are needed",
                _ => "it leads out of the job's sandbox. Leave `--cap-add` out",
            };
            let what = format!("the capability `{}`", printable(&name));
            return Err(Refusal::forbidden(what, why));
        }
    }
    let mut dropped = fields::texts(host, "CapDrop")?;
    for withheld in WITHHELD {
        if !dropped.iter().any(|name| capability(name) == withheld) {
            dropped.push(withheld.to_owned());
        }
    }
    host.insert("CapDrop".to_owned(), json!(dropped));
    Ok(())
}

fn judge_security(host: &Object) -> Result<(), Refusal> {
    for option in fields::texts(host, "SecurityOpt")? {
        let fine = [
            "no-new-privileges",
            "no-new-privileges:true",
            "no-new-privileges=true",
        ];
        if !fine.contains(&option.as_str()) {
            let what = format!("the security option `{}`", printable(&option));
            let why = "a job's containers have the engine's own system call filter, labels and hidden \
                       paths. Leave `--security-opt` out; `no-new-privileges` is fine";
            return Err(Refusal::forbidden(what, why));
        }
    }
    for key in ["MaskedPaths", "ReadonlyPaths"] {
        // An empty list is not the default: it uncovers them all.
        if host.get(key).is_some_and(|value| !value.is_null()) {
            let why =
                "which paths of /proc and /sys are covered is not a job's to say. Leave it out";
            return Err(Refusal::forbidden(format!("`HostConfig.{key}`"), why));
        }
    }
    Ok(())
}

fn judge_ports(host: &mut Object, judged: &mut Judged) -> Result<(), Refusal> {
    let bindings = fields::child(host, "PortBindings")?;
    for (port, places) in bindings {
        let shown = printable(&port);
        let (number, protocol) = port.split_once('/').unwrap_or((&port, "tcp"));
        if protocol != "tcp" {
            return Err(Refusal::forbidden(
                format!("the published port `{shown}`"),
                "TCP ports are published to the job. Over other protocols, reach the container by its \
                 name from another container of the job",
            ));
        }
        let inside: u16 = number
            .parse()
            .map_err(|_no_number| fields::wrong(&port, "a port"))?;
        let places = match places {
            Value::Null => Vec::new(),
            Value::Array(places) => places,
            _ => return Err(fields::wrong("PortBindings", "lists of ports")),
        };
        if places.is_empty() {
            judged.ports.push((inside, 0));
        }
        for place in places {
            judged.ports.push((inside, published(&place, &shown)?));
        }
    }
    Ok(())
}

/// The port on the job's loopback; 0 for any.
fn published(place: &Value, shown: &str) -> Result<u16, Refusal> {
    let Value::Object(place) = place else {
        return Err(fields::wrong("PortBindings", "lists of ports"));
    };
    let mut place = place.clone();
    fields::apply(
        "PortBindings",
        &mut place,
        &[("HostIp", Rule::Judged), ("HostPort", Rule::Judged)],
    )?;
    let address = fields::text(&place, "HostIp")?;
    if !matches!(
        address.as_str(),
        "" | "0.0.0.0" | "::" | "127.0.0.1" | "localhost"
    ) {
        return Err(Refusal::forbidden(
            format!("the port `{shown}` published at `{}`", printable(&address)),
            "ports are published to the job alone, on 127.0.0.1. Leave the address out",
        ));
    }
    match fields::text(&place, "HostPort")?.as_str() {
        "" => Ok(0),
        port => port.parse().map_err(|_no_number| {
            Refusal::forbidden(
                format!("the published port `{}`", printable(port)),
                "one port is published at a time: `-p 8080:80`",
            )
        }),
    }
}

fn judge_restart(host: &mut Object, judged: &mut Judged) -> Result<(), Refusal> {
    let policy = fields::child(host, "RestartPolicy")?;
    let name = fields::text(&policy, "Name")?;
    if !matches!(name.as_str(), "" | "no") {
        // Compose files of servers have one; for a job it changes little.
        judged.warnings.push(format!(
            "the restart policy `{}` was left out: containers end with their job",
            printable(&name)
        ));
    }
    host.insert("RestartPolicy".to_owned(), json!({"Name": "no"}));
    Ok(())
}

fn judge_log(host: &Object) -> Result<(), Refusal> {
    let Some(Value::Object(log)) = host.get("LogConfig") else {
        return Ok(());
    };
    let mut log = log.clone();
    fields::apply(
        "LogConfig",
        &mut log,
        &[("Type", Rule::Judged), ("Config", Rule::Judged)],
    )?;
    let driver = fields::text(&log, "Type")?;
    if !matches!(driver.as_str(), "" | "json-file" | "local" | "none") {
        return Err(Refusal::forbidden(
            format!("the log driver `{}`", printable(&driver)),
            "the engine would send what the container writes elsewhere, past the job's rules. Leave \
             `--log-driver` out",
        ));
    }
    let options = fields::child(&mut log, "Config")?;
    let known = [
        "max-size",
        "max-file",
        "compress",
        "mode",
        "max-buffer-size",
    ];
    match options.keys().find(|key| !known.contains(&key.as_str())) {
        Some(key) => Err(Refusal::unknown(format!(
            "the log option `{}`",
            printable(key)
        ))),
        None => Ok(()),
    }
}

fn judge_runtime(job: &Job, host: &mut Object) -> Result<(), Refusal> {
    let runtime = fields::text(host, "Runtime")?;
    if !runtime.is_empty() && runtime != job.runtime {
        return Err(Refusal::forbidden(
            format!("the runtime `{}`", printable(&runtime)),
            "only cordon's runtime binds a container to its job. Leave `--runtime` out",
        ));
    }
    let isolation = fields::text(host, "Isolation")?;
    if !matches!(isolation.as_str(), "" | "default") {
        return Err(Refusal::unknown("`HostConfig.Isolation`"));
    }
    host.insert("Runtime".to_owned(), json!(job.runtime));
    Ok(())
}

/// Settings of the kernel that a network or IPC namespace has for itself.
fn judge_sysctls(host: &Object) -> Result<(), Refusal> {
    let Some(Value::Object(sysctls)) = host.get("Sysctls") else {
        return Ok(());
    };
    let own = |key: &str| {
        let key = key.replace('/', ".");
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
    match sysctls.keys().find(|key| !own(key)) {
        Some(key) => Err(Refusal::forbidden(
            format!("the setting `{}`", printable(key)),
            "it is the whole host's. A container sets what its own namespaces have: `net.*`, \
             `kernel.shm*`, `kernel.msg*`, `kernel.sem`, `fs.mqueue.*`",
        )),
        None => Ok(()),
    }
}

pub(crate) fn judge_ulimits(host: &Object) -> Result<(), Refusal> {
    let Some(Value::Array(limits)) = host.get("Ulimits") else {
        return Ok(());
    };
    for limit in limits {
        let name = limit
            .get("Name")
            .and_then(Value::as_str)
            .unwrap_or_default();
        if !["core", "cpu", "data", "fsize", "nofile", "nproc", "stack"].contains(&name) {
            return Err(Refusal::forbidden(
                format!("the limit `{}`", printable(name)),
                "it would raise what the host keeps for itself. Leave this `--ulimit` out",
            ));
        }
    }
    Ok(())
}

const UPDATE: &str = "the job's own limits hold for its containers; only `--memory`, `--cpus` and the like can \
                      be changed";

/// Judges other limits for a container. They can only divide what the job has.
///
/// # Errors
/// They are no limits.
pub fn judge_update(bytes: &[u8]) -> Result<Judged, Refusal> {
    let keep = [
        "CpuShares",
        "Memory",
        "NanoCpus",
        "BlkioWeight",
        "CpuPeriod",
        "CpuQuota",
        "CpusetCpus",
        "CpusetMems",
        "KernelMemory",
        "KernelMemoryTCP",
        "MemoryReservation",
        "MemorySwap",
        "MemorySwappiness",
        "PidsLimit",
    ];
    let mut update = fields::object(bytes)?;
    let policy = fields::child(&mut update, "RestartPolicy")?;
    if !matches!(fields::text(&policy, "Name")?.as_str(), "" | "no") {
        return Err(Refusal::forbidden(
            "a restart policy",
            "containers end with their job",
        ));
    }
    let mut table: Vec<Field> = keep.map(|key| (key, Rule::Keep)).to_vec();
    table.extend(HOST.iter().filter(|(key, _)| !keep.contains(key)).map(
        |(key, rule)| match rule {
            Rule::Refuse(why) => (*key, Rule::Refuse(why)),
            _ => (*key, Rule::Refuse(UPDATE)),
        },
    ));
    fields::apply("", &mut update, &table)?;
    Ok(Judged {
        body: Value::Object(update).to_string().into_bytes(),
        ..Judged::default()
    })
}
