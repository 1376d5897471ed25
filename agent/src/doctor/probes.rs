//! The probes: each does what a run does, attaches nothing, and leaves nothing behind.

use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;

use aya::Btf;
use aya_obj::btf::BtfKind;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use super::{Answer, Feature, Finding, limits, telling};
use crate::cgroup::hierarchy::{Hierarchy, Root};
use crate::cgroup::{Cgroup, CgroupError};
use crate::config::Config;
use crate::dns::{BindError, Bound, Upstream};
use crate::enforce::hooks::{Attach, HOOKS, Hook, is_lsm, is_optional};
use crate::enforce::kernel::{KernelError, Object, load_program, open_object};
use crate::enforce::{chain, object};
use crate::policy::DnsPolicy;
use crate::report::key_place::Protection;
use crate::report::signer::KeyError;
use crate::sys::sock_diag::{DestroyError, Destroyed, Ends, SocketDestroyer};
use crate::sys::{bpf, fs, netns, privilege, probe};

pub(super) type Tried = Result<String, (Answer, String)>;

/// A hook any BPF LSM program can be for.
const LSM_HOOK: &str = "bpf_lsm_task_prctl";

const CAPABILITIES: Feature = Feature {
    name: "capabilities",
    needed: true,
    without: "no job starts, and most of what follows cannot be found out",
    remedy: "run cordon as root; in a container, with these capabilities",
};
const CGROUP: Feature = Feature {
    name: "cgroup v2",
    needed: true,
    without: "no job starts: a job is a cgroup",
    remedy: "`mount -t cgroup2 none /sys/fs/cgroup`, or set `host.cgroup_root`",
};
const CGROUP_KILL: Feature = Feature {
    name: "cgroup.kill",
    needed: true,
    without: "what a job leaves behind could not be ended for certain",
    remedy: "a kernel from 5.14 on",
};
const BPFFS: Feature = Feature {
    name: "bpffs",
    needed: true,
    without: "enforcement would end with cordon, so no job starts",
    remedy: "`mount -t bpf bpf /sys/fs/bpf`, or set `host.bpffs`",
};
const BTF: Feature = Feature {
    name: "BTF",
    needed: true,
    without: "no job starts: the programs need the offsets of kernel structures",
    remedy: "mount sysfs on `/sys`, or use a kernel built with CONFIG_DEBUG_INFO_BTF",
};
const OBJECT: Feature = Feature {
    name: "BPF object",
    needed: true,
    without: "no job starts: there are no programs",
    remedy: "build cordon with `cargo xtask build`; if the kernel refuses it, a kernel from 6.1 on",
};
const NETNS_COOKIE: Feature = Feature {
    name: "SO_NETNS_COOKIE",
    needed: true,
    without: "a job's DNS could not be told from another namespace's, so no job starts",
    remedy: "a kernel from 5.14 on",
};
const MOUNT_NAMESPACE: Feature = Feature {
    name: "mount namespace",
    needed: true,
    without: "a job could reach cgroup and BPF file systems, so none starts",
    remedy: "a kernel with CONFIG_NAMESPACES; in a container, CAP_SYS_ADMIN",
};
const LOOPBACK: Feature = Feature {
    name: "loopback",
    needed: true,
    without: "the job's DNS listener has nowhere to be, so no job starts",
    remedy: "`ip link set lo up` in this network namespace",
};
const RESOLVER: Feature = Feature {
    name: "resolver",
    needed: true,
    without: "no job starts, unless its profile names a server in `dns.upstream`",
    remedy: "a `nameserver` line in /etc/resolv.conf, or `dns.upstream` in the settings",
};
const LSM: Feature = Feature {
    name: "BPF LSM",
    needed: false,
    without: "no Unix sockets and no io_uring for jobs, since nothing could tell own sockets from \
              others (`host.unix_sockets = \"any\"` gives them all); what cordon did not start is \
              not judged in families, descriptors, signals and tracing",
    remedy: "boot with `bpf` in the kernel parameter: lsm=landlock,lockdown,yama,bpf; if it is there, \
             something above this kernel refuses it",
};
const SECCOMP: Feature = Feature {
    name: "seccomp filter",
    needed: true,
    without: "no job starts: socket families and control calls could not be refused to it",
    remedy: "a kernel with CONFIG_SECCOMP_FILTER",
};
const LANDLOCK: Feature = Feature {
    name: "Landlock",
    needed: false,
    without: "a job whose profile says `writable` in `[sandbox]` does not start",
    remedy: "Linux 5.19 or later, with `landlock` in `lsm=` of the kernel command line",
};
const PID_NAMESPACE: Feature = Feature {
    name: "pid namespace",
    needed: true,
    without: "no job starts: it could act through processes of its user outside",
    remedy: "a kernel with CONFIG_PID_NS; in a container, CAP_SYS_ADMIN",
};

const SOCKET_DESTROY: Feature = Feature {
    name: "socket destroy",
    needed: false,
    without: "a client whose open connection is refused is not told, and waits until its own timeout",
    remedy: "a kernel with CONFIG_INET_DIAG and CONFIG_INET_DIAG_DESTROY",
};

const SIGNING_KEY: Feature = Feature {
    name: "signing key",
    needed: false,
    without: "whoever reads the disk, a backup or an image of it can sign evidence as this host; \
              evidence says so (`keyProtection`)",
    remedy: "encrypt it: `systemd-creds encrypt`, `LoadCredentialEncrypted=`, and `signing_key = \
             \"credential:NAME\"` in the settings; or put it into a TPM: `cordon key generate --tpm`, \
             `signing_key = \"tpm:FILE\"` (docs/keys.md)",
};

/// Tries everything. Order: what others depend on comes first.
#[must_use]
pub fn examine(config: &Config) -> Vec<Finding> {
    let missing = privilege::require().err();
    let privileged = missing.is_none();
    let mut findings = vec![Finding::new(
        CAPABILITIES,
        match missing {
            None => Ok("all there".to_owned()),
            Some(error) => Err((Answer::DoesNotWork, chain(&error))),
        },
    )];
    findings.extend(cgroups(config, privileged));
    findings.push(Finding::new(BPFFS, bpffs(&config.host.bpffs, privileged)));
    let lsm = lsm(privileged);
    findings.extend(programs(privileged, lsm.is_ok()));
    findings.push(Finding::new(NETNS_COOKIE, netns_cookie(privileged)));
    findings.push(Finding::new(
        MOUNT_NAMESPACE,
        namespace(CloneFlags::CLONE_NEWNS, privileged),
    ));
    findings.push(Finding::new(LOOPBACK, loopback()));
    findings.push(Finding::new(RESOLVER, resolver(config)));
    findings.push(Finding::new(LSM, lsm));
    findings.push(Finding::new(SECCOMP, seccomp()));
    findings.push(Finding::new(LANDLOCK, landlock()));
    findings.push(Finding::new(
        PID_NAMESPACE,
        namespace(CloneFlags::CLONE_NEWPID, privileged),
    ));
    findings.push(Finding::new(SOCKET_DESTROY, socket_destroy(privileged)));
    findings.push(Finding::new(SIGNING_KEY, signing_key(config)));
    findings.extend(limits::examine(config, privileged));
    findings.extend(telling::examine(config, privileged));
    findings
}

/// How the key is kept. A credential is not read: that is for the service, which alone has it. A TPM has to
/// sign.
fn signing_key(config: &Config) -> Tried {
    let broken = |error: &KeyError| (Answer::DoesNotWork, chain(error));
    let place = config.host.signing_key();
    let protection = place.protection().map_err(|error| broken(&error))?;
    if protection == Protection::InTpm {
        place
            .load(&config.host.tpm)
            .map_err(|error| broken(&error))?;
    }
    let detail = format!("{protection}: {}", protection.words());
    match protection {
        Protection::Credential => Err((Answer::CouldNotTell, detail)),
        weak if weak.is_weak() => Err((Answer::DoesNotWork, detail)),
        _ => Ok(detail),
    }
}

fn failed(error: &io::Error, privileged: bool) -> (Answer, String) {
    (Answer::of_error(error, privileged), error.to_string())
}

fn cgroups(config: &Config, privileged: bool) -> [Finding; 2] {
    let root = Hierarchy::find()
        .and_then(|hierarchy| hierarchy.root(config.host.cgroup_root.as_deref()))
        .map_err(|error| of_cgroup(&error, privileged));
    let (made, killed) = match root {
        Ok(root) => try_cgroup(&root, privileged),
        Err(error) => {
            let unknown = "there is no cgroup to try it in".to_owned();
            (Err(error), Err((Answer::CouldNotTell, unknown)))
        }
    };
    [
        Finding::new(CGROUP, made),
        Finding::new(CGROUP_KILL, killed),
    ]
}

/// Makes a cgroup below the root, kills the nobody in it, and removes it.
fn try_cgroup(root: &Root, privileged: bool) -> (Tried, Tried) {
    let place = root.cgroup.path();
    let made = root
        .cgroup
        .child(&format!("cordon-doctor-{}", std::process::id()));
    let cgroup = match made {
        Ok(cgroup) => cgroup,
        Err(error) => {
            let unknown = "there is no cgroup to try it in".to_owned();
            return (
                Err(of_cgroup(&error, privileged)),
                Err((Answer::CouldNotTell, unknown)),
            );
        }
    };
    let killed = kill_nobody(&cgroup, privileged);
    let made = match cgroup.remove() {
        Ok(()) => Ok(format!("attaches at `{}`", place.display())),
        Err(error) => Err(of_cgroup(&error, privileged)),
    };
    (made, killed)
}

fn kill_nobody(cgroup: &Cgroup, privileged: bool) -> Tried {
    match fs::write_existing(&cgroup.path().join("cgroup.kill"), b"1") {
        Ok(()) => Ok("ends all processes of a cgroup at once".to_owned()),
        Err(error) => Err(failed(&error.source, privileged)),
    }
}

pub(super) fn of_cgroup(error: &CgroupError, privileged: bool) -> (Answer, String) {
    let answer = match error {
        CgroupError::File(file) => Answer::of_error(&file.source, privileged),
        _ => Answer::DoesNotWork,
    };
    (answer, chain(error))
}

/// It is mounted, or it can be: tried where the mount vanishes with the thread that made it.
fn bpffs(path: &Path, privileged: bool) -> Tried {
    let kind = statfs(path).map(|stat| stat.filesystem_type());
    if kind == Ok(BPF_FS_MAGIC) {
        return Ok(format!("mounted on `{}`", path.display()));
    }
    let try_mount = || -> io::Result<()> {
        let none: Option<&str> = None;
        unshare(CloneFlags::CLONE_NEWNS)?;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
        mount(Some("bpf"), "/proc", Some("bpf"), MsFlags::empty(), none)?;
        Ok(())
    };
    let tried = std::thread::scope(|scope| scope.spawn(try_mount).join());
    match tried {
        Ok(Ok(())) => Ok(format!("can be mounted on `{}`", path.display())),
        Ok(Err(error)) => Err(failed(&error, privileged)),
        Err(_panic) => Err((Answer::CouldNotTell, "the thread ended".to_owned())),
    }
}

/// The object, and each of its programs in the verifier; those for LSM only where such programs work at
/// all. The slice they are told of does not exist.
fn programs(privileged: bool, lsm: bool) -> Vec<Finding> {
    let btf = match Btf::from_sys_fs() {
        Ok(btf) => btf,
        Err(error) => {
            let unknown = || (Answer::CouldNotTell, "needs the kernel's BTF".to_owned());
            return vec![
                Finding::new(BTF, Err((Answer::DoesNotWork, chain(&error)))),
                Finding::new(OBJECT, Err(unknown())),
            ];
        }
    };
    let opened = open_object(u64::MAX, 1, None);
    let types = match &opened {
        Err(error @ (KernelError::NoBtf(_) | KernelError::NoOffset { .. })) => {
            Err((Answer::DoesNotWork, chain(error)))
        }
        _ => Ok("has every structure member the programs need".to_owned()),
    };
    let mut findings = vec![Finding::new(BTF, types)];
    let Object {
        mut ebpf,
        lsm: has_members,
        unneeded,
    } = match opened {
        Ok(object) => object,
        Err(error) => {
            let answer = if privileged {
                Answer::DoesNotWork
            } else {
                Answer::CouldNotTell
            };
            findings.push(Finding::new(OBJECT, Err((answer, chain(&error)))));
            return findings;
        }
    };
    let digest = object::sha256();
    let digest = digest.get(..16).unwrap_or_default();
    findings.push(Finding::new(
        OBJECT,
        Ok(format!("sha256 {digest}…, maps made")),
    ));
    let mut lsm = lsm && has_members.is_ok();
    for hook in HOOKS {
        // They are there as a set or not at all: one refusal speaks for all of them.
        if is_lsm(&hook) && (!lsm || unneeded.contains(&hook.name)) {
            continue;
        }
        let tried = match load_program(&mut ebpf, hook, &btf) {
            Ok(program) => {
                let info = program.info().ok();
                let count = info.and_then(|info| info.verified_instruction_count());
                Ok(count.map_or_else(
                    || "verified; the kernel does not say how many instructions".to_owned(),
                    |count| format!("{count} instructions verified"),
                ))
            }
            Err(error) => Err((refused(&error, privileged), chain(&error))),
        };
        lsm &= !is_lsm(&hook) || tried.is_ok();
        findings.push(Finding::new(feature_of(hook), tried));
    }
    findings
}

/// The verifier's word counts; a refusal for want of privileges does not.
fn refused(error: &KernelError, privileged: bool) -> Answer {
    match error {
        KernelError::Load { .. } if !privileged => Answer::CouldNotTell,
        _ => Answer::DoesNotWork,
    }
}

fn feature_of(hook: Hook) -> Feature {
    match hook.attach {
        Attach::Tracepoint if is_optional(&hook) => Feature {
            name: hook.name,
            needed: false,
            without: "a process that is moved out of its job's cgroup is judged as the job's, and \
                      nobody is told of the move",
            remedy: "a kernel from 6.1 on, with tracepoints and BTF",
        },
        Attach::Tracepoint => Feature {
            name: hook.name,
            needed: true,
            without: "no job starts: a process that leaves the job's cgroup would be out of it",
            remedy: "a kernel from 6.1 on, with tracepoints and BTF",
        },
        Attach::Lsm(_) => Feature {
            name: hook.name,
            needed: false,
            without: "no LSM program judges jobs: they are there as a set or not at all",
            remedy: LSM.remedy,
        },
        Attach::Cgroup(_) => Feature {
            name: hook.name,
            needed: true,
            without: "no job starts: this hook would be a way out",
            remedy: "a kernel from 6.1 on with CONFIG_CGROUP_BPF; the last words above are the \
                     verifier's, and of use in a bug report",
        },
    }
}

fn netns_cookie(privileged: bool) -> Tried {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|socket| netns::cookie(&socket))
        .map(|_cookie| "network namespaces can be told apart".to_owned())
        .map_err(|error| failed(&error, privileged))
}

fn namespace(flags: CloneFlags, privileged: bool) -> Tried {
    probe::namespace(flags)
        .map(|()| "made one".to_owned())
        .map_err(|error| failed(&error, privileged))
}

fn loopback() -> Tried {
    match Bound::bind() {
        Ok(_sockets) => Ok("up in this network namespace".to_owned()),
        Err(error @ BindError::LoopbackDown(_)) => Err((Answer::DoesNotWork, chain(&error))),
        Err(error) => Err((Answer::CouldNotTell, chain(&error))),
    }
}

/// Closes one end of a connection of its own.
fn socket_destroy(privileged: bool) -> Tried {
    let connect = || -> io::Result<(TcpStream, TcpListener)> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        Ok((TcpStream::connect(listener.local_addr()?)?, listener))
    };
    let (stream, _listener) = connect().map_err(|error| {
        let why = format!("no connection to try it on: {error}");
        (Answer::CouldNotTell, why)
    })?;
    let destroy = || {
        let ends = Ends::new(stream.local_addr()?, stream.peer_addr()?);
        SocketDestroyer::here()?.destroy(&ends)
    };
    match destroy() {
        Ok(Destroyed::Closed) => Ok("a connection can be closed from outside".to_owned()),
        // The kernel also says so where it has no support for TCP here at all.
        Ok(Destroyed::Gone) => Err((
            Answer::DoesNotWork,
            "the kernel does not find an open connection".to_owned(),
        )),
        Err(DestroyError::Call { source, .. }) => Err(failed(&source, privileged)),
        Err(error) => Err((Answer::DoesNotWork, chain(&error))),
    }
}

/// Configured; whether it answers depends on the name, and no name is asked here.
fn resolver(config: &Config) -> Tried {
    let policy = DnsPolicy::default();
    let places = config.dns.resolve(&policy.upstream);
    let authorities = config.dns.authorities(&policy);
    let patience = std::time::Duration::from_millis(config.dns.timeout_ms.into());
    match Upstream::new(&places, &authorities, patience) {
        Ok(_upstream) => Ok("configured".to_owned()),
        Err(error) => Err((Answer::DoesNotWork, chain(&error))),
    }
}

fn lsm(privileged: bool) -> Tried {
    let hook = Btf::from_sys_fs()
        .and_then(|btf| btf.id_by_type_name_kind(LSM_HOOK, BtfKind::Func))
        .map_err(|error| {
            let why = format!(
                "the kernel's BTF does not have {LSM_HOOK}: {}",
                chain(&error)
            );
            (Answer::DoesNotWork, why)
        })?;
    match bpf::try_lsm(hook) {
        Ok(()) if lists_bpf() == Some(false) => Err((
            Answer::DoesNotWork,
            "programs load, but `bpf` is not among the active security modules".to_owned(),
        )),
        Ok(()) => Ok("a program loads".to_owned()),
        Err(error) => Err(failed(&error, privileged)),
    }
}

/// Whether the list of security modules has `bpf`: without it, programs load and are never asked.
/// With it, they may still not load.
fn lists_bpf() -> Option<bool> {
    let list = fs::read_to_string(Path::new("/sys/kernel/security/lsm"), 4096).ok()?;
    Some(list.trim().split(',').any(|module| module == "bpf"))
}

fn landlock() -> Tried {
    match crate::sys::landlock::probe() {
        Ok(()) if crate::sys::landlock::judges_truncating() => Ok("judges writing".to_owned()),
        Ok(()) => Ok("judges writing, but not truncating by name".to_owned()),
        Err(error) => Err((Answer::DoesNotWork, chain(&error))),
    }
}

fn seccomp() -> Tried {
    match probe::seccomp_filter() {
        Ok(()) => Ok("the kernel takes filters".to_owned()),
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Err((
            Answer::DoesNotWork,
            "the kernel knows no filters".to_owned(),
        )),
        Err(error) => Err((Answer::CouldNotTell, error.to_string())),
    }
}
