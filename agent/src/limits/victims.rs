//! Which process the kernel killed for want of memory: in its log, which says so for each.
//!
//! Only the kernel's own lines count: a root job can write to the log, under another facility.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::cgroup::SLICE;

const LOG: &str = "/dev/kmsg";
/// Longest record the kernel gives (`PRINTKRB_RECORD_MAX` and its prefix are less).
const RECORD: usize = 8192;
/// Records that are read in one go: whoever floods the log does not hold up the job.
const AT_ONCE: usize = 4096;

/// The kernel's log from now on.
#[derive(Debug)]
pub struct Log(File);

impl Log {
    /// Opens it at its end.
    ///
    /// # Errors
    /// It may not be read, or there is none.
    pub fn open() -> io::Result<Self> {
        let mut log = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(Path::new(LOG))?;
        log.seek(SeekFrom::End(0))?;
        Ok(Self(log))
    }

    /// Processes of a job that were killed since it was read last.
    pub fn victims(&mut self, job: &str) -> Vec<u32> {
        let mut record = vec![0; RECORD];
        let mut found = Vec::new();
        for _ in 0..AT_ONCE {
            match self.0.read(&mut record) {
                Ok(0) => break,
                Ok(length) => {
                    let text = String::from_utf8_lossy(record.get(..length).unwrap_or_default());
                    found.extend(victim(&text, job));
                }
                // EPIPE: records were overwritten before they were read; the next one is read then.
                Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
                Err(_) => break,
            }
        }
        found
    }
}

/// The process a record is about, if it says that one of this job was killed: `job` is the name of the
/// job's cgroup. The name of the process, which it chooses itself, stands between the two.
fn victim(record: &str, job: &str) -> Option<u32> {
    let (prefix, text) = record.split_once(';')?;
    let priority: u32 = prefix.split(',').next()?.parse().ok()?;
    // The facility is above the three bits of the level; the kernel's is 0.
    if priority >> 3 != 0 {
        return None;
    }
    let text = text.lines().next()?.strip_prefix("oom-kill:")?;
    let (_, rest) = text.split_once(",task_memcg=")?;
    let (group, rest) = rest.split_once(",task=")?;
    // The job's own cgroup, or that of one of its containers.
    let (_, below) = group.split_once(&format!("/{SLICE}/"))?;
    if below.split('/').next() != Some(job) {
        return None;
    }
    let (_, pid) = rest.rsplit_once(",uid=")?.0.rsplit_once(",pid=")?;
    pid.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(facility: u32, group: &str, task: &str) -> String {
        format!(
            "{},812,5140900,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,\
             mems_allowed=0,oom_memcg={group},task_memcg={group},task={task},pid=4242,uid=0\n \
             SUBSYSTEM=x\n",
            facility << 3 | 6
        )
    }

    #[test]
    fn the_kernels_word_on_this_job_counts_and_no_other() {
        let group = "/ci/cordon.slice/job-1f3a";
        assert_eq!(victim(&record(0, group, "hog"), "job-1f3a"), Some(4242));
        // Written by a program into the log.
        assert_eq!(victim(&record(1, group, "hog"), "job-1f3a"), None);
        assert_eq!(victim(&record(0, group, "hog"), "job-1f3"), None);
        assert_eq!(victim(&record(0, "/other", "hog"), "job-1f3a"), None);
        let container = format!("{group}/5f0c");
        assert_eq!(
            victim(&record(0, &container, "hog"), "job-1f3a"),
            Some(4242)
        );
        assert_eq!(victim(&record(0, &container, "hog"), "5f0c"), None);
        assert_eq!(victim("6,1,2,-;usb 1-1: new device\n", "job-1f3a"), None);
    }

    #[test]
    fn a_process_does_not_choose_what_is_said_of_it() {
        let group = "/cordon.slice/job-1f3a";
        for task in ["a,pid=1,uid=0", "x,task=y", ",task_memcg=/z"] {
            assert_eq!(
                victim(&record(0, group, task), "job-1f3a"),
                Some(4242),
                "{task}"
            );
        }
        let other = record(0, "/other", "x,task_memcg=/cordon.slice/job-1f3a,task=b");
        assert_eq!(victim(&other, "job-1f3a"), None);
    }

    proptest! {
        #[test]
        fn reading_is_total(text in "[0-9,;]{0,9}(oom-kill:|,task_memcg=|,task=|,pid=|,uid=|/|x|7|\\PC){0,12}") {
            let _victim = victim(&text, "job-1");
        }
    }
}
