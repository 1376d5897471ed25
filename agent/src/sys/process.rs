//! Facts about a living process, from `/proc`.

use std::io;
use std::path::{Path, PathBuf};

use super::fs::{self, FileError};

/// More than any of these files has.
const LIMIT: u64 = 1 << 16;

/// What identifies a process, and where it came from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Stat {
    /// Number of its parent.
    pub parent: u32,
    /// When it was started, in ticks since boot. With its number, this means one process for ever.
    pub started: u64,
}

/// What a process may do, as far as that limits a job.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Powers {
    /// Effective user id.
    pub uid: u32,
    /// `no_new_privs` is set.
    pub no_new_privs: bool,
    /// It has a system call filter.
    pub filtered: bool,
    /// Capabilities it can ever get, as bits.
    pub bounding: u64,
}

/// Of a process that is not known: those that limit a job least.
pub const UNKNOWN: Powers = Powers {
    uid: 0,
    no_new_privs: false,
    filtered: false,
    bounding: u64::MAX,
};

/// Parent and start of a process.
///
/// # Errors
/// It is gone.
pub fn stat(pid: u32) -> io::Result<Stat> {
    let path = PathBuf::from(format!("/proc/{pid}/stat"));
    let text = fs::read_to_string(&path, LIMIT).map_err(|error| error.source)?;
    parse_stat(&text)
        .ok_or_else(|| io::Error::other(format!("`{}` is not as it was", path.display())))
}

/// The name in parentheses is the process' own, and can have parentheses and spaces.
fn parse_stat(text: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    // Fields are counted from 1; the state is the third.
    let parent = fields.nth(1)?.parse().ok()?;
    let started = fields.nth(17)?.parse().ok()?;
    Some(Stat { parent, started })
}

/// What a process may do.
///
/// # Errors
/// It is gone.
pub fn powers(pid: u32) -> io::Result<Powers> {
    let path = PathBuf::from(format!("/proc/{pid}/status"));
    let text = fs::read_to_string(&path, LIMIT).map_err(|error| error.source)?;
    parse_powers(&text)
        .ok_or_else(|| io::Error::other(format!("`{}` is not as it was", path.display())))
}

fn parse_powers(text: &str) -> Option<Powers> {
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key))?;
        Some(line.trim_start_matches(':').trim())
    };
    Some(Powers {
        uid: value("Uid")?
            .split_ascii_whitespace()
            .nth(1)?
            .parse()
            .ok()?,
        no_new_privs: value("NoNewPrivs")? == "1",
        filtered: value("Seccomp")? != "0",
        bounding: u64::from_str_radix(value("CapBnd")?, 16).ok()?,
    })
}

/// Name of the file a process executes, without its directory; `None` where it cannot be read.
#[must_use]
pub fn program(pid: u32) -> Option<String> {
    let path = std::fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    let name = path.file_name()?.to_str()?;
    // A runner that updated itself while it runs.
    Some(name.strip_suffix(" (deleted)").unwrap_or(name).to_owned())
}

/// The cgroup v2 path of a process, as this process' cgroup namespace shows it.
///
/// # Errors
/// It is gone.
pub fn cgroup(pid: u32) -> Result<String, FileError> {
    let path = PathBuf::from(format!("/proc/{pid}/cgroup"));
    let text = fs::read_to_string(&path, LIMIT)?;
    let line = text.lines().find_map(|line| line.strip_prefix("0::"));
    line.map(str::to_owned)
        .ok_or_else(|| io::Error::other("it is in no cgroup of v2"))
        .map_err(FileError::on("read the cgroup in", path))
}

/// The network namespace of a process, opened.
///
/// # Errors
/// It is gone.
pub fn network(pid: u32) -> Result<std::fs::File, FileError> {
    fs::open(Path::new(&format!("/proc/{pid}/ns/net")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_pretend_to_be_other_fields() {
        let text =
            "77 (a) R 1 (b) c) S 12 77 77 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 2314240 1";
        assert_eq!(
            parse_stat(text),
            Some(Stat {
                parent: 12,
                started: 4711
            })
        );
        assert_eq!(parse_stat("77 (a"), None);
        assert_eq!(parse_stat("77 (a) S"), None);
    }

    #[test]
    fn this_process_is_as_it_is() {
        let own = std::process::id();
        assert_eq!(
            stat(own).unwrap().parent,
            std::os::unix::process::parent_id()
        );
        assert!(program(own).unwrap().starts_with("cordon"));
        assert!(cgroup(own).unwrap().starts_with('/'));
        let powers = powers(own).unwrap();
        assert_eq!(powers.uid, nix::unistd::geteuid().as_raw());
        stat(u32::MAX >> 1).unwrap_err();
    }

    #[test]
    fn powers_are_read_by_name() {
        let text = "Name:\tx\nUid:\t1000\t1001\t1000\t1000\nCapBnd:\t000001ffffffffff\nNoNewPrivs:\t1\nSeccomp:\t2\n";
        assert_eq!(
            parse_powers(text),
            Some(Powers {
                uid: 1001,
                no_new_privs: true,
                filtered: true,
                bounding: 0x1ff_ffff_ffff
            })
        );
        assert_eq!(parse_powers("Name:\tx\n"), None);
    }
}
