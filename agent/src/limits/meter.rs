//! The processor's energy meters (RAPL) and the time its processors were busy. Both can be absent, as they
//! are in most virtual machines.

use std::path::{Path, PathBuf};

use super::estimate::Metered;
use crate::sys::fs;

/// Where the kernel shows the meters.
const POWERCAP: &str = "/sys/class/powercap";
/// Names of whole sockets: what is inside of them (`core`, `uncore`) is in their number. `dram` is not.
const DOMAINS: [&str; 2] = ["package", "dram"];
const STAT: &str = "/proc/stat";

/// The meters of this host, read from time to time: their counters turn over within minutes.
#[derive(Debug)]
pub struct Meter {
    domains: Vec<Domain>,
    stat: PathBuf,
    /// Microseconds of one tick in `/proc/stat`.
    tick: u64,
    busy_before: u64,
    energy: u64,
    whole: bool,
}

#[derive(Debug)]
struct Domain {
    counter: PathBuf,
    /// Largest value of the counter.
    range: u64,
    last: u64,
}

impl Meter {
    /// The meters, if this host has any that can be read.
    #[must_use]
    pub fn find() -> Option<Self> {
        let ticks = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok()??;
        let tick = 1_000_000_u64.checked_div(u64::try_from(ticks).ok()?)?;
        Self::at(Path::new(POWERCAP), Path::new(STAT), tick)
    }

    fn at(powercap: &Path, stat: &Path, tick: u64) -> Option<Self> {
        let entries = std::fs::read_dir(powercap).ok()?.flatten();
        let mut directories: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        directories.sort();
        let domains: Vec<Domain> = directories
            .iter()
            .filter_map(|path| Domain::open(path))
            .collect();
        (!domains.is_empty()).then_some(())?;
        Some(Self {
            domains,
            busy_before: busy(&fs::read_to_string(stat, 1 << 20).ok()?)?,
            stat: stat.to_owned(),
            tick,
            energy: 0,
            whole: true,
        })
    }

    /// Reads the counters.
    pub fn tick(&mut self) {
        for domain in &mut self.domains {
            match domain.advance() {
                Some(spent) => self.energy = self.energy.saturating_add(spent),
                None => self.whole = false,
            }
        }
    }

    /// What was counted since it was made; `None` if a reading failed.
    #[must_use]
    pub fn finish(mut self) -> Option<Metered> {
        self.tick();
        let now = busy(&fs::read_to_string(&self.stat, 1 << 20).ok()?)?;
        self.whole.then_some(Metered {
            energy: self.energy,
            busy: now
                .saturating_sub(self.busy_before)
                .saturating_mul(self.tick),
        })
    }
}

impl Domain {
    fn open(directory: &Path) -> Option<Self> {
        let name = fs::read_to_string(&directory.join("name"), 256).ok()?;
        if !DOMAINS.iter().any(|known| name.starts_with(known)) {
            return None;
        }
        let counter = directory.join("energy_uj");
        Some(Self {
            last: number(&counter)?,
            range: number(&directory.join("max_energy_range_uj"))?,
            counter,
        })
    }

    /// Microjoules since the last reading.
    fn advance(&mut self) -> Option<u64> {
        let now = number(&self.counter)?;
        let spent = since(self.last, now, self.range);
        self.last = now;
        Some(spent)
    }
}

/// How far a counter went that begins anew after its largest value.
const fn since(last: u64, now: u64, range: u64) -> u64 {
    match now.checked_sub(last) {
        Some(spent) => spent,
        None => range
            .saturating_sub(last)
            .saturating_add(now)
            .saturating_add(1),
    }
}

fn number(path: &Path) -> Option<u64> {
    let text = fs::read_to_string(path, 64).ok()?;
    text.trim().parse().ok()
}

/// Ticks in which processors did something, from the first line of `/proc/stat`: user, nice, system,
/// irq, softirq and steal; guests are in user.
fn busy(stat: &str) -> Option<u64> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<u64> = line
        .split_whitespace()
        .map(str::parse)
        .collect::<Result<_, _>>()
        .ok()?;
    let [user, nice, system, _idle, _iowait, irq, softirq, steal, ..] = ticks.as_slice() else {
        return None;
    };
    let parts = [user, nice, system, irq, softirq, steal];
    Some(parts.into_iter().copied().fold(0, u64::saturating_add))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn write(path: &Path, text: &str) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write_atomic(path, text.as_bytes(), 0o600).unwrap();
    }

    fn domain(root: &Path, directory: &str, name: &str, energy: u64) {
        let place = root.join("powercap").join(directory);
        write(&place.join("name"), &format!("{name}\n"));
        write(&place.join("energy_uj"), &format!("{energy}\n"));
        write(&place.join("max_energy_range_uj"), "1000\n");
    }

    #[test]
    fn sockets_and_memory_are_added_up_over_their_turns() {
        let dir = tempfile::tempdir().unwrap();
        let (root, stat) = (dir.path(), dir.path().join("stat"));
        write(&stat, "cpu  100 0 0 5000 0 0 0 0 0 0\ncpu0 1 2\n");
        domain(root, "intel-rapl:0", "package-0", 900);
        domain(root, "intel-rapl:0:0", "core", 1);
        domain(root, "intel-rapl:0:1", "dram", 10);
        domain(root, "intel-rapl", "control", 1);
        let mut meter = Meter::at(&root.join("powercap"), &stat, 10_000).unwrap();
        assert_eq!(meter.domains.len(), 2);
        domain(root, "intel-rapl:0", "package-0", 50);
        domain(root, "intel-rapl:0:0", "core", 500);
        meter.tick();
        domain(root, "intel-rapl:0:1", "dram", 30);
        write(&stat, "cpu  110 1 2 9000 7 3 4 5 0 0\n");
        // 151 over the turn, and 20.
        let expected = Metered {
            energy: 171,
            busy: 25 * 10_000,
        };
        assert_eq!(meter.finish(), Some(expected));
    }

    #[test]
    fn a_host_without_meters_or_with_one_that_fails_has_no_measurement() {
        let dir = tempfile::tempdir().unwrap();
        let (root, stat) = (dir.path(), dir.path().join("stat"));
        write(&stat, "cpu  100 0 0 5000 0 0 0 0 0 0\n");
        assert!(Meter::at(&root.join("powercap"), &stat, 1).is_none());
        domain(root, "intel-rapl:0", "package-0", 900);
        let meter = Meter::at(&root.join("powercap"), &stat, 1).unwrap();
        std::fs::remove_file(root.join("powercap/intel-rapl:0/energy_uj")).unwrap();
        assert_eq!(meter.finish(), None);
    }

    proptest! {
        #[test]
        fn a_counter_never_goes_back(last in any::<u64>(), now in any::<u64>(), range in any::<u64>()) {
            let spent = since(last, now, range);
            prop_assert!(now < last || spent == now.saturating_sub(last));
        }

        #[test]
        fn reading_is_total(text in any::<String>()) {
            let _busy = busy(&text);
        }
    }
}
