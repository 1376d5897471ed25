//! The secret sweep: what it adds to a program's start, and how fast it reads a host.

use std::path::PathBuf;
use std::process::{Child, Command};

use anyhow::{Context as _, Result, ensure};
use cordon::report::sweep::SweepReport;

use crate::bench::figures::{median, sorted};
use crate::bench::sweep_engine;
use crate::client::step::Step;
use crate::harness::environment::Environment;
use crate::harness::job::Job;
use crate::harness::world::World;

/// Programs that are started in one round.
const EXECS: usize = 500;

/// Processes of the host that is swept.
const PROCESSES: usize = 1000;
/// Variables that they all inherit, and those that each has of its own.
const INHERITED: usize = 60;
const OWN: usize = 2;

/// Measures and prints tables.
pub(super) fn run(environment: &Environment, rounds: u16) -> Result<()> {
    execs(environment, rounds)?;
    println!();
    host(environment, rounds)?;
    sweep_engine::run(rounds)
}

/// Processes that do nothing, ended when dropped.
struct Idle(Vec<Child>);

impl Drop for Idle {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // One that ended by itself is waited for all the same.
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// Text as paths and settings have it, of 20 to 120 bytes.
fn value(seed: usize) -> String {
    const ALPHABET: &[u8] = b"abcdefghijklmnopqrstuvwxyz/:._-0123456789";
    let mut state = (seed as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 40).unwrap_or_default()
    };
    let length = 20 + next() % 100;
    (0..length)
        .filter_map(|_| ALPHABET.get(next() % ALPHABET.len()))
        .map(|byte| char::from(*byte))
        .collect()
}

/// `cordon sweep` of many processes, as its report says.
fn host(environment: &Environment, rounds: u16) -> Result<()> {
    let world = World::new(environment)?;
    let shared: Vec<(String, String)> = (0..INHERITED)
        .map(|number| (format!("SETTING_{number}"), value(number)))
        .collect();
    let mut idle = Idle(Vec::new());
    for number in 0..PROCESSES {
        let own = (0..OWN).map(|which| {
            let seed = INHERITED + number * OWN + which;
            (format!("STEP_{which}"), value(seed))
        });
        let child = Command::new("sleep")
            .arg("600")
            .env_clear()
            .envs(shared.iter().cloned().chain(own))
            .spawn()?;
        idle.0.push(child);
    }
    let mut words = vec!["sweep".to_owned(), "--format".to_owned(), "json".to_owned()];
    for child in &idle.0 {
        words.extend(["--pid".to_owned(), child.id().to_string()]);
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (mut times, mut bytes, mut seen) = (Vec::new(), 0, 0);
    for _ in 0..rounds {
        let finished = world.job().subcommand(&words).run()?.expect_status(0)?;
        let report: SweepReport = serde_json::from_str(&finished.stdout)?;
        let coverage = &report.coverage;
        ensure!(
            coverage.processes.scanned == PROCESSES as u64,
            "{coverage:?}"
        );
        let [sweep] = coverage.sweeps.as_slice() else {
            anyhow::bail!("{coverage:?}");
        };
        let took = sweep.finished.duration_since(sweep.started);
        times.push(took.as_secs_f64() * 1e3);
        (bytes, seen) = (coverage.bytes, coverage.entries_seen_before);
    }
    println!(
        "`cordon sweep` of {PROCESSES} processes, {INHERITED} inherited variables and {OWN} of its own each"
    );
    println!(
        "  {:<28} {:>8.1} ms   {bytes} bytes, {seen} entries that were seen before",
        "read and scanned",
        median(&sorted(times))
    );
    println!("median of {rounds} rounds");
    Ok(())
}

/// One side of the comparison.
#[derive(Default)]
struct Side {
    /// Microseconds of one start, round by round.
    each: Vec<f64>,
    /// Nanoseconds from exec to verdict: median and 99th percentile.
    verdicts: Vec<(u64, u64)>,
}

fn execs(environment: &Environment, rounds: u16) -> Result<()> {
    let world = World::new(environment)?;
    let report = world.profile("report", "")?;
    let kill = world.profile("kill", "[secrets]\non_finding = \"kill\"\n")?;
    let names = [
        "without cordon",
        "on_finding = \"report\"",
        "on_finding = \"kill\"",
    ];
    let profiles: [Option<&PathBuf>; 3] = [None, Some(&report), Some(&kill)];
    let mut sides: [Side; 3] = Default::default();
    for _ in 0..rounds {
        for (side, profile) in sides.iter_mut().zip(profiles) {
            let job = profile.map_or_else(|| world.job(), |profile| world.job().profile(profile));
            side.measure(job, profile.is_some())?;
        }
    }
    println!("`/bin/true` started and waited for, {EXECS} times; ratios to the first line");
    let base = median(&sorted(sides[0].each.iter().copied()));
    for (name, side) in names.iter().zip(&sides) {
        let each = median(&sorted(side.each.iter().copied()));
        println!("  {name:<28} {each:>8.1} us   x{:.3}", each / base);
    }
    let [.., held] = &sides;
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let of = |which: fn(&(u64, u64)) -> u64| {
        median(&sorted(
            held.verdicts.iter().map(|all| which(all) as f64 / 1e3),
        ))
    };
    println!(
        "  from exec to verdict, while the program stands still: p50 {:.0} us, p99 {:.0} us",
        of(|verdict| verdict.0),
        of(|verdict| verdict.1)
    );
    println!("medians of {rounds} alternating rounds");
    Ok(())
}

impl Side {
    fn measure(&mut self, job: Job<'_>, under_cordon: bool) -> Result<()> {
        let finished = job.steps(&[Step::Execs { count: EXECS }])?.run()?;
        let [outcome] = finished.steps()?;
        ensure!(outcome.ok, "{outcome:?}");
        #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
        self.each.push(outcome.us as f64 / EXECS as f64);
        if under_cordon {
            let path = finished.evidence.join("secret-sweep.json");
            let text = std::fs::read(&path).with_context(|| format!("read {}", path.display()))?;
            let report: SweepReport = serde_json::from_slice(&text)?;
            ensure!(
                report.coverage.execs.seen > EXECS as u64,
                "{:?}",
                report.coverage
            );
            if let Some(held) = report.coverage.held {
                self.verdicts.push((held.p50_ns, held.p99_ns));
            }
        }
        std::fs::remove_dir_all(&finished.evidence).or_else(|error| {
            (error.kind() == std::io::ErrorKind::NotFound)
                .then_some(())
                .ok_or(error)
        })?;
        Ok(())
    }
}
