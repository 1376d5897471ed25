//! Which of the descriptors cordon inherited a job may have.
//!
//! A descriptor is a door that is open already: a socket made outside is not judged as the job's, a
//! directory leads past the mounts that hide things, a file of `/proc` is another process's memory.
//! What is not known to be harmless is not passed on.

#![forbid(unsafe_code)]

use std::path::PathBuf;

/// What is known of an open descriptor.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Descriptor {
    /// Its number.
    pub number: i32,
    /// What it is.
    pub kind: Kind,
    /// What it leads to, as `/proc/self/fd` shows it.
    pub target: PathBuf,
}

/// What a descriptor is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// A regular file on a file system with this magic number.
    File {
        /// `f_type` of statfs(2).
        file_system: u32,
    },
    /// A pipe, named or not.
    Pipe,
    /// A terminal.
    Terminal,
    /// A character device.
    Device {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A socket.
    Socket {
        /// Address family.
        family: i32,
        /// `SOCK_STREAM` and so on.
        kind: i32,
    },
    /// A directory, or a descriptor that only names a path.
    Path,
    /// Anything else: eventfd, pidfd, BPF map, ring, block device.
    Other,
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// The job has it.
    Keep,
    /// It is closed when the job starts.
    Withhold,
    /// The job does not start: it is standard input, output or error, and cannot be closed.
    Refuse,
}

// File systems whose files reach into the kernel or into other processes (linux/magic.h).
const SEALED: [u32; 10] = [
    0x0027_e0eb, // cgroup
    0x6367_7270, // cgroup2
    0xcafe_4a11, // bpf
    0x0000_9fa0, // proc
    0x6462_6720, // debugfs
    0x7472_6163, // tracefs
    0x7363_6673, // securityfs
    0x6e73_6673, // nsfs
    0x5049_4446, // pidfs
    0x6265_6572, // sysfs
];

/// Of the memory device: null, zero, full, random, urandom.
const MEMORY_MAJOR: u32 = 1;
const MEMORY_MINORS: [u32; 5] = [3, 5, 7, 8, 9];

impl Descriptor {
    /// What becomes of it.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        if self.is_harmless() {
            Verdict::Keep
        } else if self.number <= 2 {
            Verdict::Refuse
        } else {
            Verdict::Withhold
        }
    }

    fn is_harmless(&self) -> bool {
        match self.kind {
            Kind::File { file_system } => !SEALED.contains(&file_system),
            Kind::Pipe | Kind::Terminal => true,
            Kind::Device { major, minor } => {
                major == MEMORY_MAJOR && MEMORY_MINORS.contains(&minor)
            }
            // How runners and ssh hand over standard streams; what is sent on it reaches its peer
            // and nobody else.
            Kind::Socket { family, kind } => {
                self.number <= 2 && family == libc::AF_UNIX && kind == libc::SOCK_STREAM
            }
            Kind::Path | Kind::Other => false,
        }
    }

    /// Why it cannot be the job's, with what to do.
    #[must_use]
    pub fn refusal(&self) -> String {
        let Self {
            number,
            kind,
            target,
        } = self;
        let name = match number {
            0 => "standard input",
            1 => "standard output",
            _ => "standard error",
        };
        let what = match kind {
            Kind::Socket { family, .. } if matches!(*family, libc::AF_INET | libc::AF_INET6) => {
                "a network connection made outside the job, which would be an open way out"
            }
            Kind::Socket { .. } => "a socket made outside the job",
            Kind::Path => "a directory, which leads past what is hidden from the job",
            Kind::File { .. } => "a file through which the kernel or another process is controlled",
            Kind::Device { .. } | Kind::Other | Kind::Pipe | Kind::Terminal => {
                "nothing that is known to be harmless to a job"
            }
        };
        let remedy = if *number == 0 {
            "put `cat |` before cordon"
        } else {
            "put `| cat` behind cordon (`2>&1 | cat` for standard error)"
        };
        format!("{name} (`{}`) is {what}; {remedy}", target.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(number: i32, kind: Kind) -> Verdict {
        let target = PathBuf::from("socket:[1]");
        Descriptor {
            number,
            kind,
            target,
        }
        .verdict()
    }

    #[test]
    fn what_builds_hand_over_is_kept() {
        let ext4 = Kind::File {
            file_system: 0xef53,
        };
        let null = Kind::Device { major: 1, minor: 3 };
        for kind in [ext4, Kind::Pipe, Kind::Terminal, null] {
            assert_eq!(verdict(0, kind), Verdict::Keep);
            assert_eq!(verdict(7, kind), Verdict::Keep);
        }
    }

    #[test]
    fn a_stream_of_a_unix_socket_is_kept_as_a_standard_stream_only() {
        let socket = |family, kind| Kind::Socket { family, kind };
        let stream = socket(libc::AF_UNIX, libc::SOCK_STREAM);
        assert_eq!(verdict(1, stream), Verdict::Keep);
        assert_eq!(verdict(3, stream), Verdict::Withhold);
        // It could send to any other one.
        let datagram = socket(libc::AF_UNIX, libc::SOCK_DGRAM);
        assert_eq!(verdict(1, datagram), Verdict::Refuse);
        for family in [
            libc::AF_INET,
            libc::AF_INET6,
            libc::AF_VSOCK,
            libc::AF_NETLINK,
        ] {
            assert_eq!(
                verdict(0, socket(family, libc::SOCK_STREAM)),
                Verdict::Refuse
            );
            assert_eq!(
                verdict(9, socket(family, libc::SOCK_STREAM)),
                Verdict::Withhold
            );
        }
    }

    #[test]
    fn what_reaches_past_the_job_is_withheld() {
        let tun = Kind::Device {
            major: 10,
            minor: 200,
        };
        for kind in [tun, Kind::Path, Kind::Other] {
            assert_eq!(verdict(3, kind), Verdict::Withhold);
            assert_eq!(verdict(2, kind), Verdict::Refuse);
        }
        for file_system in SEALED {
            assert_eq!(verdict(3, Kind::File { file_system }), Verdict::Withhold);
        }
    }

    #[test]
    fn a_refusal_names_the_stream_and_the_remedy() {
        let socket = Descriptor {
            number: 0,
            kind: Kind::Socket {
                family: libc::AF_INET,
                kind: libc::SOCK_STREAM,
            },
            target: "socket:[17]".into(),
        };
        let text = socket.refusal();
        assert!(text.contains("standard input (`socket:[17]`)"), "{text}");
        assert!(text.contains("cat |"), "{text}");
    }
}
