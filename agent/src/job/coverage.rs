//! What the report says of its own limits.

use std::path::PathBuf;

use crate::enforce::{EnforceError, Enforced, chain};
use crate::engine::noted::{self, Noted};
use crate::report::run::ENFORCEMENT_GAP;
use crate::report::{Coverage, Layer};
use crate::sandbox::Plan;
use crate::sandbox::confine::Confined;
use crate::sandbox::filter::Judges;
use crate::sys::process::Powers;
use crate::sys::{landlock, privilege};

/// A job, as far as its blind spots depend on it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Circumstances {
    /// What judges its sockets.
    pub judges: Judges,
    /// It has a process group of its own.
    pub own_group: bool,
    /// Its command runs as root.
    pub as_root: bool,
}

const ANY_UNIX: &str = "\
    The host allows Unix sockets of programs outside the job (`unix_sockets = \"any\"`). A program that \
    listens on one can act for the job, start containers that are not enforced, or pass it an open \
    connection; only well-known sockets of container engines, buses and resolvers are hidden.";

const NAMES: &str = "\
    The name a connection shows is checked on TCP port 443 (TLS) and 80 (HTTP), and where a rule says so. On \
    other ports, and over UDP (QUIC), allowing one site of an address allows all of them. In TLS the name is \
    what the client says: another site behind the same front end (fronting), a name inside an encrypted \
    hello (ECH), and which certificate the server showed are not seen.";

const STREAMS: &str = "\
    Standard input, output and error lead to whoever started cordon. What passes there is not judged.";

const FILES: &str = "\
    Programs outside the job that act on files it may write (crontabs, service units, spool directories, \
    named pipes, shared memory in /dev/shm) act outside its enforcement.";

const GROUP: &str = "\
    The job was started at a terminal and shares the process group of cordon: it can signal cordon and \
    what else is in that group. If it ends cordon, it stays denied, and there is no report.";

const ROOT: &str = "\
    The command ran as root. It has no capability for networks, mounts, tracing or BPF; cgroup file systems, \
    /proc/sys and /sys are read-only to it, and BPF file systems hidden. But files and devices of root are \
    open to it: by writing to disk devices or to programs of the host it can leave the job.";

const ATTENDED: &str = "\
    Cordon did not start the processes of this job: the kernel's programs judge what they do on the network, and \
    no namespaces, hidden sockets or system call filter of cordon's stand around them. They see other processes \
    of their user.";

const ATTENDED_UNIX: &str = "\
    Unix sockets of programs outside the job are not judged on this kernel (no BPF LSM): a daemon that the job's \
    user may talk to, as a container engine or a user's service manager, can act for it. Open descriptors that \
    such a program passes to it are not judged either.";

const ATTENDED_ROOT: &str = "\
    The job runs as root with the capabilities of root: it can undo what limits it. Run the runner as a user of \
    its own, with `NoNewPrivileges=yes`.";

/// Ways out that no layer watches in a job like this. Each is a sentence for a reviewer; what the
/// operator opened stands first.
#[must_use]
pub fn blind_spots(circumstances: Circumstances) -> Vec<&'static str> {
    let Circumstances {
        judges: Judges { lsm, any_unix, .. },
        own_group,
        as_root,
    } = circumstances;
    let spots = [
        (any_unix && !lsm, ANY_UNIX),
        (as_root, ROOT),
        (!own_group, GROUP),
        (true, NAMES),
        (true, STREAMS),
        (true, FILES),
    ];
    let apply = spots.into_iter().filter(|(applies, _)| *applies);
    apply.map(|(_, text)| text).collect()
}

/// What stands around the processes of a job besides the kernel's programs, and what all of it leaves
/// open. Kept with the job: another cordon that takes it over cannot see it.
#[derive(Clone, Debug, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Surroundings {
    /// Layers that hold for the processes cordon starts.
    pub layers: Vec<Layer>,
    /// Ways out that no layer watches.
    pub blind_spots: Vec<String>,
}

impl Surroundings {
    /// Of a job that starts like this.
    #[must_use]
    pub fn of(plan: &Plan, as_root: bool) -> Self {
        let circumstances = Circumstances {
            judges: plan.judges,
            own_group: plan.own_group,
            as_root,
        };
        let spots = blind_spots(circumstances).into_iter();
        Self {
            layers: process_layers(plan, as_root),
            blind_spots: spots.map(str::to_owned).collect(),
        }
    }

    /// Of a job that may use a container engine.
    pub fn mediated(&mut self, engine: &str, noted: &Noted) {
        let layer = noted.layer(engine);
        let mut known = self.layers.iter_mut();
        if let Some(known) = known.find(|known| known.name == layer.name) {
            *known = layer;
            return;
        }
        self.layers.push(layer);
        let spots = noted::BLIND_SPOTS.map(str::to_owned);
        self.blind_spots.splice(0..0, spots);
    }

    /// Of processes that cordon did not start, but moved into the job or found in it. `powers` are those of the
    /// one they descend from.
    #[must_use]
    pub fn attended(powers: &Powers, lsm: bool) -> Self {
        let as_root = powers.uid == 0;
        let withheld = privilege::withheld_bits();
        let bounded = powers.bounding & withheld == 0;
        let layer = |name: &str, active: bool, detail: &str| Layer {
            name: name.to_owned(),
            active,
            detail: detail.to_owned(),
        };
        let layers = vec![
            layer(
                "no_new_privs",
                powers.no_new_privs,
                "set by whoever started the worker (`NoNewPrivileges=` of its unit)",
            ),
            layer(
                "capabilities",
                bounded,
                "whether those for networks, BPF and mounts are out of the worker's bounding set",
            ),
        ];
        let spots = [
            (!lsm, ATTENDED_UNIX),
            (as_root && !bounded, ATTENDED_ROOT),
            (true, ATTENDED),
            (true, NAMES),
            (true, FILES),
        ];
        let spots = spots.into_iter().filter(|(applies, _)| *applies);
        Self {
            layers,
            blind_spots: spots.map(|(_, text)| text.to_owned()).collect(),
        }
    }

    /// Of a job whose record is lost.
    #[must_use]
    pub fn unknown() -> Self {
        let spot = "What stood around the job's processes is not known: its record is lost. Take it that \
                    only the kernel's programs did.";
        Self {
            layers: Vec::new(),
            blind_spots: vec![spot.to_owned()],
        }
    }
}

/// The coverage of one job. `holds` is what the kernel said of the programs when the command had
/// ended: the proof before its start says nothing of the time between.
#[must_use]
pub fn coverage(
    enforced: &Enforced,
    holds: Result<(), EnforceError>,
    around: &Surroundings,
) -> Coverage {
    let mut layers = enforced.layers.clone();
    layers.extend(around.layers.iter().cloned());
    let mut spots: Vec<String> = Vec::new();
    if let Err(error) = holds {
        spots.push(format!("{ENFORCEMENT_GAP}: {}", chain(&error)));
        for layer in &mut layers {
            layer.active &= !error.is_about(&layer.name);
        }
    }
    spots.extend(around.blind_spots.iter().cloned());
    Coverage {
        layers,
        blind_spots: spots,
        proof: enforced.proof.clone(),
    }
}

/// Layers that hold for the processes cordon starts. One that could not be had stopped the start.
fn process_layers(plan: &Plan, as_root: bool) -> Vec<Layer> {
    let layer = |name: &str, detail: String| Layer {
        name: name.to_owned(),
        active: true,
        detail,
    };
    let mounts = "cgroup file systems are read-only in the job, BPF file systems hidden";
    let mut layers = vec![
        layer(
            "no_new_privs",
            "set-uid programs give a job nothing".to_owned(),
        ),
        layer("capabilities", capabilities(plan)),
        layer(
            "mount namespace",
            if as_root {
                format!("{mounts}, /proc/sys and /sys read-only")
            } else {
                mounts.to_owned()
            },
        ),
        layer(
            "pid namespace",
            "processes outside do not exist for the job: no signals, tracing, descriptors, /proc"
                .to_owned(),
        ),
        layer(
            "ipc namespace",
            "System V IPC and POSIX message queues are the job's own".to_owned(),
        ),
        layer(
            "uts namespace",
            "the host's name is not the job's to change".to_owned(),
        ),
        layer("seccomp", refused(plan.judges)),
        layer("hidden sockets", hidden(plan)),
    ];
    let confined = confined(&plan.confined).into_iter();
    layers.extend(confined.map(|(name, detail)| layer(name, detail)));
    layers
}

/// Which capabilities are left.
fn capabilities(plan: &Plan) -> String {
    let always = "no process of the job can have those for networks, BPF or mounts";
    match plan.confined.capabilities {
        None => always.to_owned(),
        Some(0) => "no process of the job can have any".to_owned(),
        Some(left) => format!(
            "no process of the job can have others than {}",
            privilege::words(left)
        ),
    }
}

/// What profiles take away besides. A reviewer is told what is not there, too: it may come while the job runs.
fn confined(confined: &Confined) -> Vec<(&'static str, String)> {
    let Confined {
        private,
        read_only,
        hidden,
        writable,
        capabilities: _,
        own_users,
    } = confined;
    let mut layers = Vec::new();
    if *own_users {
        let detail = "the job has one user, and rights over nothing that is not that user's: no process of it has a \
                      capability outside of its own namespace";
        layers.push(("user namespace", detail.to_owned()));
    }
    if !private.is_empty() {
        let detail = format!(
            "{}: the job's own, empty at its start, gone at its end",
            listed(private)
        );
        layers.push(("private tmp", detail));
    }
    if !read_only.is_empty() {
        layers.push(("read-only paths", listed(read_only)));
    }
    if !hidden.is_empty() {
        let paths: Vec<PathBuf> = hidden.iter().map(|mount| mount.at.clone()).collect();
        let detail = format!("hidden as they were at the start: {}", listed(&paths));
        layers.push(("hidden paths", detail));
    }
    for paths in writable {
        let truncating = if landlock::judges_truncating() {
            ""
        } else {
            "; on this kernel, files elsewhere that the user may write to can still be truncated"
        };
        let detail = if paths.is_empty() {
            format!("nothing can be written to but devices and /proc{truncating}")
        } else {
            format!(
                "nothing else can be written to but devices and /proc: {}{truncating}",
                listed(paths)
            )
        };
        layers.push(("writable paths", detail));
    }
    layers
}

/// The first few of them.
fn listed(paths: &[PathBuf]) -> String {
    let names = paths.iter().take(NAMED);
    let names: Vec<_> = names.map(|path| path.to_string_lossy()).collect();
    let more = match paths.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{}{more}", names.join(", "))
}

/// What the filter refuses, in words.
fn refused(judges: Judges) -> String {
    let Judges {
        lsm,
        any_unix,
        root,
    } = judges;
    let families = if lsm || any_unix {
        "sockets of other families than inet, inet6, netlink and unix"
    } else {
        "sockets of other families than inet, inet6 and netlink (Unix socket pairs excepted)"
    };
    let rings = if lsm { "" } else { ", io_uring" };
    let namespaces = if root && !lsm {
        ", cgroup namespaces"
    } else {
        ""
    };
    format!(
        "refuses {families}, bpf, perf events, modules, kernel keys, files by handle, descriptors \
         of other processes, typing into terminals, processes in other cgroups (clone3){rings}{namespaces}"
    )
}

/// How many of the hidden ones are named.
const NAMED: usize = 8;

fn hidden(plan: &Plan) -> String {
    let all = &plan.hidden;
    if all.is_empty() {
        return "none of the usual engines, buses and resolvers listens on this host".to_owned();
    }
    let paths: Vec<PathBuf> = all.iter().map(|mount| mount.at.clone()).collect();
    format!("hidden as they were at the start: {}", listed(&paths))
}

#[cfg(test)]
mod tests {
    use super::*;

    const USUAL: Circumstances = Circumstances {
        judges: Judges {
            lsm: false,
            any_unix: false,
            root: false,
        },
        own_group: true,
        as_root: false,
    };

    #[test]
    fn each_sentence_stands_exactly_where_it_is_true() {
        for bits in 0..16_u8 {
            let [lsm, any_unix, own_group, as_root] = [1, 2, 4, 8].map(|bit| bits & bit != 0);
            let spots = blind_spots(Circumstances {
                judges: Judges {
                    lsm,
                    any_unix,
                    root: as_root,
                },
                own_group,
                as_root,
            });
            assert_eq!(spots.contains(&ANY_UNIX), any_unix && !lsm);
            assert_eq!(spots.contains(&ROOT), as_root);
            assert_eq!(spots.contains(&GROUP), !own_group);
            for always in [NAMES, STREAMS, FILES] {
                assert!(spots.contains(&always));
            }
        }
    }

    #[test]
    fn what_the_operator_opened_stands_first() {
        let mut circumstances = USUAL;
        circumstances.judges.any_unix = true;
        circumstances.as_root = true;
        assert_eq!(blind_spots(circumstances).first(), Some(&ANY_UNIX));
    }

    #[test]
    fn a_sentence_is_one_line() {
        for spot in [ANY_UNIX, NAMES, STREAMS, FILES, GROUP, ROOT] {
            assert!(!spot.contains("  ") && !spot.contains('\n'), "{spot}");
            assert!(spot.ends_with('.'), "{spot}");
        }
    }

    #[test]
    fn the_filters_words_follow_the_filter() {
        let words = |lsm, any_unix| {
            refused(Judges {
                lsm,
                any_unix,
                root: !lsm,
            })
        };
        assert!(words(false, false).contains("io_uring"));
        assert!(words(false, false).contains("pairs excepted"));
        assert!(!words(true, false).contains("io_uring"));
        assert!(words(false, false).contains("cgroup namespaces"));
        assert!(!words(true, false).contains("cgroup namespaces"));
        assert!(words(false, true).contains("and unix"));
    }
}
