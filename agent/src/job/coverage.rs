//! What the report says of its own limits.

use crate::enforce::{EnforceError, Enforced, chain};
use crate::report::{Coverage, Layer};

/// Ways out that no layer of this version watches. Each is a sentence for a reviewer.
const BLIND_SPOTS: [&str; 2] = [
    "Names inside connections are not checked: where several sites share an address, allowing one \
     of them allows a connection to all of them.",
    "Containers started through an engine run outside the job's cgroup and are not enforced.",
];

/// The same, where no LSM programs judge the job.
const WITHOUT_LSM: [&str; 3] = [
    "Sockets of families other than inet and inet6 are not judged: a vsock of a virtual machine, \
     and Unix sockets of daemons outside the job, which can act for it (container engines, D-Bus, \
     resolvers).",
    "A connection that was open before the job and reaches it as standard input, output or error, \
     or is passed to it over a Unix socket, is not judged as the job's.",
    "Processes of the same user outside the job are open to it: it can signal them, cordon \
     included (the job stays denied then, and there is no report), and where the host lets it trace \
     them or take their descriptors, it can act through them.",
];

/// The same, where they do.
const WITH_LSM: [&str; 1] = [
    "A Unix socket that was connected before the job and reaches it as standard input, output or \
     error can be used by it.",
];

/// Said where the command runs as root.
const ROOT: &str = "The command ran as root. It has no capability for networks, mounts, tracing or \
                    BPF, cgroup file systems are read-only to it and BPF file systems hidden, but files";

/// What else is open to it without LSM programs.
const ROOT_PROCESSES: &str = "and processes";

/// The coverage of one job. `holds` is what the kernel said of the programs when the command had
/// ended: the proof before its start says nothing of the time between.
#[must_use]
pub fn coverage(enforced: &Enforced, holds: Result<(), EnforceError>, as_root: bool) -> Coverage {
    let mut layers = enforced.layers.clone();
    layers.extend(process_layers());
    let mut blind_spots: Vec<String> = Vec::new();
    if let Err(error) = holds {
        blind_spots.push(format!("ENFORCEMENT HAD A GAP: {}", chain(&error)));
        for layer in &mut layers {
            layer.active &= !error.is_about(&layer.name);
        }
    }
    let by_lsm: &[&str] = if enforced.lsm {
        &WITH_LSM
    } else {
        &WITHOUT_LSM
    };
    blind_spots.extend(BLIND_SPOTS.iter().chain(by_lsm).map(|text| squeeze(text)));
    if as_root {
        let processes = if enforced.lsm { "" } else { ROOT_PROCESSES };
        blind_spots.push(squeeze(&format!(
            "{ROOT} {processes} of root are open to it."
        )));
    }
    Coverage {
        layers,
        blind_spots,
        proof: enforced.proof.clone(),
    }
}

/// Layers that hold for the processes cordon starts.
fn process_layers() -> [Layer; 3] {
    let layer = |name: &str, detail: &str| Layer {
        name: name.to_owned(),
        active: true,
        detail: detail.to_owned(),
    };
    [
        layer("no_new_privs", "set-uid programs give a job nothing"),
        layer(
            "capabilities",
            "no process of the job can have those for networks, BPF or mounts",
        ),
        layer(
            "mount namespace",
            "cgroup file systems are read-only in the job, BPF file systems hidden",
        ),
    ]
}

fn squeeze(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
