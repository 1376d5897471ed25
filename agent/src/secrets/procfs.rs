//! What a living process carries, read from `/proc`.
//!
//! A process is held by its directory: a number that is used again is another directory's, and reads
//! through this one fail. Bytes go straight into the memory the caller lends.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use cordon_secrets::Source;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::Mode;
use zeroize::Zeroize as _;

/// Flag of kernel threads in `stat` (`PF_KTHREAD`).
const KERNEL_THREAD: u64 = 0x0020_0000;

/// A mounted proc file system.
#[derive(Clone, Debug)]
pub struct ProcFs {
    root: PathBuf,
}

/// A process, by its directory.
#[derive(Debug)]
pub struct ProcDir {
    dir: OwnedFd,
}

/// What reading a process gave.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reading {
    /// So many bytes; `cut` if there is more than fits.
    Bytes {
        /// How many.
        len: usize,
        /// Whether the end is missing.
        cut: bool,
    },
    /// It has no memory of its own: a kernel thread, or a process that has ended.
    Nothing,
}

/// Why a process could not be read.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Unreadable {
    /// It ended before it was read.
    Vanished,
    /// The kernel refuses: another user namespace, a security module.
    Refused,
    /// It lives, and this `/proc` does not show it (`hidepid`).
    Hidden,
    /// Anything else.
    Failed,
}

impl Unreadable {
    /// Its name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Vanished => "vanished",
            Self::Refused => "refused",
            Self::Hidden => "hidden",
            Self::Failed => "failed",
        }
    }

    fn from_errno(errno: Errno) -> Self {
        match errno {
            Errno::ENOENT | Errno::ESRCH => Self::Vanished,
            Errno::EACCES | Errno::EPERM => Self::Refused,
            _ => Self::Failed,
        }
    }

    fn from_io(error: &io::Error) -> Self {
        Self::from_errno(Errno::from_raw(error.raw_os_error().unwrap_or(0)))
    }
}

impl Default for ProcFs {
    fn default() -> Self {
        Self::at(Path::new("/proc"))
    }
}

impl ProcFs {
    /// The one that is mounted here.
    #[must_use]
    pub fn at(root: &Path) -> Self {
        Self { root: root.into() }
    }

    /// Numbers of all processes that it shows, in order.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn processes(&self) -> io::Result<Vec<u32>> {
        let mut numbers = Vec::new();
        for entry in std::fs::read_dir(&self.root)? {
            let name = entry?.file_name();
            if let Some(number) = name.to_str().and_then(|name| name.parse().ok()) {
                numbers.push(number);
            }
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// The process that has this number now.
    ///
    /// # Errors
    /// See [`Unreadable`].
    pub fn process(&self, number: u32) -> Result<ProcDir, Unreadable> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let path = self.root.join(number.to_string());
        match open(&path, flags, Mode::empty()) {
            Ok(dir) => Ok(ProcDir { dir }),
            Err(Errno::ENOENT) if is_alive(number) => Err(Unreadable::Hidden),
            Err(errno) => Err(Unreadable::from_errno(errno)),
        }
    }
}

impl ProcDir {
    /// Reads its environment or its arguments into `into`.
    ///
    /// Of a process that executes another program in between the new one is read, by a second try.
    ///
    /// # Errors
    /// See [`Unreadable`].
    pub fn read(&self, source: Source, into: &mut [u8]) -> Result<Reading, Unreadable> {
        let name = match source {
            Source::Environ => "environ",
            Source::Arguments => "cmdline",
        };
        for _try in 0..2 {
            match self.read_file(name, into) {
                Ok((0, _)) => {}
                Ok((len, cut)) => return Ok(Reading::Bytes { len, cut }),
                // So newer kernels say that it has no memory; of one that is gone there is no `stat`.
                Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {
                    into.zeroize();
                    return self.stat().map(|_| Reading::Nothing);
                }
                Err(error) => {
                    // A part may have been read.
                    into.zeroize();
                    return Err(Unreadable::from_io(&error));
                }
            }
        }
        // An empty environment, or none: the process says which.
        match self.state()? {
            State::Empty => Ok(Reading::Nothing),
            State::Lives => Ok(Reading::Bytes { len: 0, cut: false }),
        }
    }

    /// When it began, in ticks since boot: with its number, one process for ever.
    ///
    /// # Errors
    /// It has ended.
    pub fn start_time(&self) -> Result<u64, Unreadable> {
        let stat = self.stat()?;
        field(&stat, 22).ok_or(Unreadable::Failed)
    }

    fn read_file(&self, name: &str, into: &mut [u8]) -> io::Result<(usize, bool)> {
        let mut file = self.open(name)?;
        let mut len = 0usize;
        while let Some(rest) = into.get_mut(len..).filter(|rest| !rest.is_empty()) {
            match file.read(rest) {
                Ok(0) => return Ok((len, false)),
                Ok(count) => len = len.saturating_add(count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        // Full: whether there is more is not worth a copy outside of the lent memory.
        Ok((len, true))
    }

    fn open(&self, name: &str) -> io::Result<File> {
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        Ok(File::from(openat(&self.dir, name, flags, Mode::empty())?))
    }

    fn stat(&self) -> Result<String, Unreadable> {
        let mut text = Vec::new();
        let read = self
            .open("stat")
            .and_then(|file| file.take(4096).read_to_end(&mut text));
        read.map_err(|error| Unreadable::from_io(&error))?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    fn state(&self) -> Result<State, Unreadable> {
        let stat = self.stat()?;
        let ended = state_of(&stat).is_some_and(|state| matches!(state, 'Z' | 'X'));
        let flags: u64 = field(&stat, 9).ok_or(Unreadable::Failed)?;
        if ended || flags & KERNEL_THREAD != 0 {
            Ok(State::Empty)
        } else {
            Ok(State::Lives)
        }
    }
}

enum State {
    /// A kernel thread, or ended: no memory.
    Empty,
    Lives,
}

/// What follows the name in a line of `stat`: the name may hold anything, parentheses included.
fn after_name(stat: &str) -> Option<&str> {
    stat.rsplit_once(')').map(|(_, rest)| rest)
}

fn state_of(stat: &str) -> Option<char> {
    after_name(stat)?.trim_start().chars().next()
}

/// A numeric field of `stat`, numbered as in `proc_pid_stat(5)`: the state is 3.
fn field(stat: &str, number: usize) -> Option<u64> {
    let index = number.checked_sub(3)?;
    after_name(stat)?
        .split_ascii_whitespace()
        .nth(index)?
        .parse()
        .ok()
}

fn is_alive(number: u32) -> bool {
    i32::try_from(number).is_ok_and(|number| {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(number), None) != Err(Errno::ESRCH)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(fs: &ProcFs, number: u32, source: Source) -> Result<Vec<u8>, Unreadable> {
        let mut bytes = vec![0; 1 << 21];
        let process = fs.process(number)?;
        Ok(match process.read(source, &mut bytes)? {
            Reading::Bytes { len, cut } => {
                assert!(!cut);
                bytes[..len].to_vec()
            }
            Reading::Nothing => Vec::new(),
        })
    }

    #[test]
    fn this_process_is_read_as_it_was_started() {
        let fs = ProcFs::default();
        let arguments = read(&fs, std::process::id(), Source::Arguments).unwrap();
        let first = std::env::args_os().next().unwrap();
        assert!(arguments.starts_with(first.as_encoded_bytes()));
        assert!(fs.processes().unwrap().contains(&std::process::id()));
    }

    #[test]
    fn more_than_fits_is_cut_and_said() {
        let fs = ProcFs::default();
        let process = fs.process(std::process::id()).unwrap();
        let mut bytes = [0; 4];
        let reading = process.read(Source::Arguments, &mut bytes).unwrap();
        assert_eq!(reading, Reading::Bytes { len: 4, cut: true });
    }

    #[test]
    fn a_process_that_is_gone_has_vanished_and_its_directory_stays_its_own() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let fs = ProcFs::default();
        let process = fs.process(child.id()).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        let mut bytes = [0; 64];
        let gone = process.read(Source::Environ, &mut bytes);
        assert_eq!(gone, Err(Unreadable::Vanished));
        assert_eq!(fs.process(child.id()).unwrap_err(), Unreadable::Vanished);
    }

    #[test]
    fn what_lives_and_is_not_shown_is_hidden() {
        // Under `hidepid` there is no directory, as in this empty one.
        let empty = tempfile::tempdir().unwrap();
        let fs = ProcFs::at(empty.path());
        let hidden = fs.process(std::process::id()).unwrap_err();
        assert_eq!(hidden, Unreadable::Hidden);
    }

    #[test]
    fn a_process_that_ended_has_nothing_to_read() {
        let fs = ProcFs::default();
        let mut child = std::process::Command::new("true").spawn().unwrap();
        // Ended and not waited for.
        let waited = nix::sys::wait::waitid(
            nix::sys::wait::Id::Pid(nix::unistd::Pid::from_raw(child.id().cast_signed())),
            nix::sys::wait::WaitPidFlag::WEXITED | nix::sys::wait::WaitPidFlag::WNOWAIT,
        );
        waited.unwrap();
        let mut bytes = [0; 64];
        let process = fs.process(child.id()).unwrap();
        assert_eq!(
            process.read(Source::Environ, &mut bytes),
            Ok(Reading::Nothing)
        );
        child.wait().unwrap();
    }

    #[test]
    fn kernel_threads_have_nothing_to_read() {
        let fs = ProcFs::default();
        let is_thread = |process: &ProcDir| {
            let flags = process.stat().ok().and_then(|stat| field(&stat, 9));
            flags.is_some_and(|flags: u64| flags & KERNEL_THREAD != 0)
        };
        // In a process namespace of its own a machine shows none.
        let shown = crate::sys::fs::read_to_string(Path::new("/proc/2/comm"), 64)
            .is_ok_and(|name| name == "kthreadd\n");
        let mut threads = 0;
        for number in fs.processes().unwrap() {
            let Ok(process) = fs.process(number) else {
                continue;
            };
            if !is_thread(&process) {
                continue;
            }
            for source in [Source::Environ, Source::Arguments] {
                let reading = process.read(source, &mut [0; 64]);
                let ended = reading == Err(Unreadable::Vanished);
                assert!(ended || reading == Ok(Reading::Nothing), "{reading:?}");
                threads += u32::from(!ended);
            }
        }
        assert_eq!(threads > 0, shown);
    }

    #[test]
    fn a_name_in_stat_that_looks_like_fields_is_none() {
        let stat = "7 (a) Z 1 2) S 3 4 5 6 7 2097152 0";
        assert_eq!(state_of(stat), Some('S'));
        assert_eq!(field(stat, 4), Some(3));
        assert_eq!(field(stat, 9), Some(2_097_152));
        assert_eq!(field("7 no parenthesis", 9), None);
    }
}
