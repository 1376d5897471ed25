//! What calls cost: loopback connects and sends inside a job against the same without cordon, and
//! the time of a whole `cordon run`.

use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;

use anyhow::{Result, ensure};

use crate::bench::figures::{median, sorted};
use crate::client::step::Step;
use crate::harness::environment::Environment;
use crate::harness::job::Job;
use crate::harness::network::at;
use crate::harness::rules::cidr;
use crate::harness::world::World;

/// Connections and datagrams of one round: a few hundred milliseconds.
const CONNECTS: usize = 3_000;
const SENDS: usize = 50_000;
const PORT: u16 = 7000;

/// Measures and prints a table.
pub(super) fn run(environment: &Environment, rounds: u16) -> Result<()> {
    let world = World::new(environment)?;
    let service = at(Ipv4Addr::LOCALHOST, PORT);
    world.reset_beside_job(service)?;
    // Never read: what does not fit is dropped, at the same price on both sides.
    let _sink = world.network.job.run(|| Ok(UdpSocket::bind(service)?))?;
    let ports = PORT.to_string();
    let rules = cidr("127.0.0.1/32", &ports, "tcp") + &cidr("127.0.0.1/32", &ports, "udp");
    let profile = world.profile("bench", &rules)?;

    println!(
        "{:<34} {:>12} {:>12} {:>22}",
        "", "without", "with cordon", "ratio (least to most)"
    );
    for (name, count, step) in [
        (
            "TCP connect and close, loopback",
            CONNECTS,
            Step::Connects {
                to: service,
                count: CONNECTS,
            },
        ),
        (
            "UDP sendto, loopback",
            SENDS,
            Step::Flood {
                to: service,
                count: SENDS,
            },
        ),
    ] {
        let sides = alternate(rounds, |job| {
            let finished = with(job, &world, &profile)
                .steps(std::slice::from_ref(&step))?
                .run()?;
            let [outcome] = finished.expect_status(0)?.steps()?;
            ensure!(outcome.ok && outcome.bytes == 0, "{outcome:?}");
            #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
            let each = outcome.us as f64 / count as f64;
            Ok(each)
        })?;
        row(name, "us", &sides);
    }
    let sides = alternate(rounds, |job| {
        let finished = with(job, &world, &profile).command(["true"]).run()?;
        Ok(finished.expect_status(0)?.elapsed.as_secs_f64() * 1e3)
    })?;
    row("`true`, start to end", "ms", &sides);
    println!("medians of {rounds} alternating rounds");
    Ok(())
}

/// Which side a round is on.
#[derive(Clone, Copy)]
enum Side {
    Without,
    With,
}

fn with<'w>(side: Side, world: &'w World, profile: &Path) -> Job<'w> {
    match side {
        Side::Without => world.job(),
        Side::With => world.job().profile(profile),
    }
}

/// Both sides' values, round by round.
fn alternate(rounds: u16, measure: impl Fn(Side) -> Result<f64>) -> Result<Vec<(f64, f64)>> {
    (0..rounds)
        .map(|_| Ok((measure(Side::Without)?, measure(Side::With)?)))
        .collect()
}

fn row(name: &str, unit: &str, sides: &[(f64, f64)]) {
    let without = sorted(sides.iter().map(|(without, _)| *without));
    let with = sorted(sides.iter().map(|(_, with)| *with));
    let ratios = sorted(sides.iter().map(|(without, with)| with / without));
    let least = ratios.first().copied().unwrap_or(f64::NAN);
    let most = ratios.last().copied().unwrap_or(f64::NAN);
    println!(
        "{name:<34} {:>9.2} {unit} {:>9.2} {unit} {:>8.2} ({least:.2} to {most:.2})",
        median(&without),
        median(&with),
        median(&ratios),
    );
}
