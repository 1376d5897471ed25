//! What the controllers count, read from their files. Pure and total: what is not there, or not
//! readable, is not known.

use crate::cgroup::controllers::{Controller, Generation};

/// What was counted of a job so far; `None` where nobody counts, or the file does not say.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// Processor time, microseconds.
    pub cpu: Option<u64>,
    /// Of that, in programs.
    pub cpu_user: Option<u64>,
    /// Of that, in the kernel.
    pub cpu_system: Option<u64>,
    /// Periods in which the job had to wait for its next share.
    pub throttled_periods: Option<u64>,
    /// How long it waited, all processors together, microseconds.
    pub throttled: Option<u64>,
    /// Most memory in use at a time, bytes.
    pub memory_peak: Option<u64>,
    /// How often memory was at its limit and had to be freed.
    pub memory_full: Option<u64>,
    /// Processes killed because no memory was left.
    pub oom_kills: Option<u64>,
    /// Forks refused by the limit.
    pub forks_refused: Option<u64>,
    /// Most processes and threads at a time.
    pub pids_peak: Option<u64>,
    /// Bytes read from disks.
    pub io_read: Option<u64>,
    /// Bytes written to disks.
    pub io_written: Option<u64>,
}

/// A file to read, and what to take from it.
type Source = (&'static str, fn(&mut Counters, &str));

/// The files of one controller that count. `cpu.stat` of cgroup v2 is there without its controller,
/// and is read in any case: see [`take_cpu`].
#[must_use]
pub fn sources(controller: Controller, generation: Generation) -> &'static [Source] {
    match (controller, generation) {
        (Controller::Memory, Generation::Unified) => &[
            ("memory.peak", |counters, text| {
                counters.memory_peak = number(text);
            }),
            ("memory.events", |counters, text| {
                counters.memory_full = keyed(text, "max");
                counters.oom_kills = keyed(text, "oom_kill");
            }),
        ],
        (Controller::Memory, Generation::Legacy) => &[
            ("memory.max_usage_in_bytes", |counters, text| {
                counters.memory_peak = number(text);
            }),
            ("memory.failcnt", |counters, text| {
                counters.memory_full = number(text);
            }),
            ("memory.oom_control", |counters, text| {
                counters.oom_kills = keyed(text, "oom_kill");
            }),
        ],
        (Controller::Pids, Generation::Unified | Generation::Legacy) => &[
            ("pids.events", |counters, text| {
                counters.forks_refused = keyed(text, "max");
            }),
            ("pids.peak", |counters, text| {
                counters.pids_peak = number(text);
            }),
        ],
        (Controller::Cpu, Generation::Unified) => &[("cpu.stat", |counters, text| {
            counters.throttled_periods = keyed(text, "nr_throttled");
            counters.throttled = keyed(text, "throttled_usec");
        })],
        (Controller::Cpu, Generation::Legacy) => &[("cpu.stat", |counters, text| {
            counters.throttled_periods = keyed(text, "nr_throttled");
            // v1 counts nanoseconds.
            counters.throttled = keyed(text, "throttled_time").map(|time| time / 1000);
        })],
        (Controller::Io, Generation::Unified) => &[("io.stat", |counters, text| {
            counters.io_read = Some(pairs(text, "rbytes"));
            counters.io_written = Some(pairs(text, "wbytes"));
        })],
        (Controller::Io, Generation::Legacy) => {
            &[("blkio.throttle.io_service_bytes", |counters, text| {
                counters.io_read = Some(operations(text, "Read"));
                counters.io_written = Some(operations(text, "Write"));
            })]
        }
    }
}

/// Takes processor time from the `cpu.stat` of the job's cgroup in v2.
pub fn take_cpu(counters: &mut Counters, text: &str) {
    counters.cpu = keyed(text, "usage_usec");
    counters.cpu_user = keyed(text, "user_usec");
    counters.cpu_system = keyed(text, "system_usec");
}

/// A file that is one number.
fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// The number behind a key, one key a line.
pub(super) fn keyed(text: &str, key: &str) -> Option<u64> {
    let mut pairs = text.lines().filter_map(|line| line.split_once(' '));
    pairs.find_map(|(name, value)| (name == key).then(|| number(value))?)
}

/// The sum of `key=NUMBER` over all disks, a line each. No line: no disk was used.
fn pairs(text: &str, key: &str) -> u64 {
    let pairs = text
        .split_whitespace()
        .filter_map(|word| word.split_once('='));
    let values = pairs.filter_map(|(name, value)| (name == key).then(|| number(value))?);
    values.fold(0, u64::saturating_add)
}

/// The sum of `MAJOR:MINOR KIND NUMBER` lines of one kind. No line: no disk was used.
fn operations(text: &str, kind: &str) -> u64 {
    let values = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        (words.next() == Some(kind)).then(|| number(words.next()?))?
    });
    values.fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn take(controller: Controller, generation: Generation, texts: &[&str]) -> Counters {
        let mut counters = Counters::default();
        let sources = sources(controller, generation);
        assert_eq!(sources.len(), texts.len());
        for ((_, take), text) in sources.iter().zip(texts) {
            take(&mut counters, text);
        }
        counters
    }

    #[test]
    fn memory_of_both_generations() {
        let unified = take(
            Controller::Memory,
            Generation::Unified,
            &[
                "69632\n",
                "low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 0\n",
            ],
        );
        let legacy = take(
            Controller::Memory,
            Generation::Legacy,
            &[
                "69632\n",
                "12\n",
                "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
            ],
        );
        assert_eq!(unified, legacy);
        assert_eq!(unified.memory_peak, Some(69_632));
        assert_eq!(
            (unified.memory_full, unified.oom_kills),
            (Some(12), Some(2))
        );
    }

    #[test]
    fn processes_and_throttling() {
        let pids = take(Controller::Pids, Generation::Legacy, &["max 7\n", ""]);
        assert_eq!((pids.forks_refused, pids.pids_peak), (Some(7), None));
        let unified = take(
            Controller::Cpu,
            Generation::Unified,
            &["usage_usec 5\nnr_periods 9\nnr_throttled 4\nthrottled_usec 1500\n"],
        );
        let legacy = take(
            Controller::Cpu,
            Generation::Legacy,
            &["nr_periods 9\nnr_throttled 4\nthrottled_time 1500000\n"],
        );
        assert_eq!(unified, legacy);
        assert_eq!(
            (unified.throttled_periods, unified.throttled),
            (Some(4), Some(1500))
        );
        let mut counters = Counters::default();
        take_cpu(
            &mut counters,
            "usage_usec 30\nuser_usec 20\nsystem_usec 10\n",
        );
        let read = [counters.cpu, counters.cpu_user, counters.cpu_system];
        assert_eq!(read, [Some(30), Some(20), Some(10)]);
    }

    #[test]
    fn disks_are_added_up() {
        let unified = take(
            Controller::Io,
            Generation::Unified,
            &["8:0 rbytes=100 wbytes=7 rios=1 wios=1 dbytes=0 dios=0\n253:0 rbytes=1 wbytes=2\n"],
        );
        let legacy = take(
            Controller::Io,
            Generation::Legacy,
            &[
                "8:0 Read 100\n8:0 Write 7\n8:0 Sync 9\n8:0 Total 107\n253:0 Read 1\n253:0 Write 2\nTotal 110\n",
            ],
        );
        assert_eq!(unified, legacy);
        assert_eq!((unified.io_read, unified.io_written), (Some(101), Some(9)));
    }

    #[test]
    fn what_a_file_does_not_say_is_not_known() {
        assert_eq!(keyed("oom_kill_disable 0\n", "oom_kill"), None);
        assert_eq!(keyed("max\n", "max"), None);
        assert_eq!(keyed("max x\nmax 3\n", "max"), Some(3));
        assert_eq!(number("max\n"), None);
    }

    proptest! {
        #[test]
        fn reading_is_total(text in "[a-z0-9:= \n]{0,80}|\\PC{0,40}") {
            let mut counters = Counters::default();
            for controller in Controller::ALL {
                for generation in [Generation::Legacy, Generation::Unified] {
                    for (_, take) in sources(controller, generation) {
                        take(&mut counters, &text);
                    }
                }
            }
            take_cpu(&mut counters, &text);
        }
    }
}
