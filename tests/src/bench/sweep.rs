//! The secret sweep: what it adds to a program's start, and how fast it reads.

use std::path::PathBuf;

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

/// Measures and prints tables.
pub(super) fn run(environment: &Environment, rounds: u16) -> Result<()> {
    execs(environment, rounds)?;
    sweep_engine::run(rounds)
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
