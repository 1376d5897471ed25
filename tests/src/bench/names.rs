//! What verification of names costs, how soon a greeting under another name fails, and what rulesets
//! with many names cost.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::bench::figures::{Round, median, over, part, ratio, sorted, times};
use crate::bench::load::{Load, Measured};
use crate::bench::processor::{Processors, on, pin};
use crate::bench::{PATIENCE, measure, memory};
use crate::harness::environment::Environment;
use crate::harness::job::Job;
use crate::harness::network::{DNS_V4, GOOD_V4, at};
use crate::harness::site::{Content, Site};
use crate::harness::world::World;

const ALLOWED: &str = "files.good.test";
const OTHER: &str = "hidden.good.test";

/// Handshakes and greetings of one round.
const HANDSHAKES: usize = 200;
const HELLOS: usize = 100;

/// Names of a ruleset; the last is about as many as there can be.
const SIZES: [usize; 3] = [10, 1_000, 100_000];

/// Connects, and fresh names, of one round.
const CONNECTS: usize = 2_000;
const FRESH: usize = 400;

/// Where whoever connects is reset.
const RESETS: u16 = 7000;

/// A profile has at most 1 MiB.
const NAMES_OF_A_FILE: usize = 10_000;

const TTL: u32 = 300;

/// Measures and prints tables.
pub(super) fn run(environment: &Environment, rounds: u16) -> Result<()> {
    let processors = Processors::find()?;
    pin(processors.load)?;
    verification(environment, processors, rounds)?;
    println!();
    rulesets(environment, processors, rounds)
}

fn verification(environment: &Environment, processors: Processors, rounds: u16) -> Result<()> {
    let world = World::without_servers(environment)?;
    world.zone.add(ALLOWED, GOOD_V4, TTL);
    let site = Site::start(
        &world,
        &Content {
            names: &[ALLOWED, OTHER],
            files: &[],
            repository: &[("README", "Nothing.\n")],
        },
    )?;
    let rule = format!("[[allow]]\nhost = \"{ALLOWED}\"\nports = [443]\n");
    // `tls` is the default on 443; a build without verification does not know the word.
    let verified = world.profile("verified", &rule)?;
    let unverified = world.profile("unverified", &format!("{rule}verify = \"none\"\n"))?;
    let shake = Load::Handshakes {
        name: ALLOWED.to_owned(),
        ca: site.ca.clone(),
        count: HANDSHAKES,
    };
    let greet = Load::Hellos {
        name: ALLOWED.to_owned(),
        other: OTHER.to_owned(),
        ca: site.ca.clone(),
        count: HELLOS,
    };
    let (mut none, mut tls, mut without) = (Vec::new(), Vec::new(), Vec::new());
    let mut refusals = Vec::new();
    let mut hellos = Measured::default();
    for _ in 0..rounds {
        for (side, profile) in [
            (&mut none, Some(&unverified)),
            (&mut tls, Some(&verified)),
            (&mut without, None),
        ] {
            let measured = measure(
                &world,
                ("handshakes", under(&world, profile)),
                processors,
                &shake,
            )?;
            side.push(Round::new(&measured.nanoseconds, measured.whole));
        }
        hellos = measure(
            &world,
            ("hellos", under(&world, Some(&verified))),
            processors,
            &greet,
        )?;
        #[expect(clippy::cast_precision_loss, reason = "times far below 2^52 ns")]
        refusals.extend(hellos.nanoseconds.iter().map(|&time| time as f64 / 1e3));
    }
    site.stop()?;
    println!("TCP connect and TLS handshake, one after another; ratios to the first line");
    println!(
        "  {:<34} {:>11} {:>7} {:>11} {:>7}",
        "", "p50", "", "p99", ""
    );
    for (name, rounds) in [
        ("verify = \"none\"", &none),
        ("verify = \"tls\" (the default)", &tls),
        ("without cordon", &without),
    ] {
        println!(
            "  {name:<34} {:>8.0} us {:>7} {:>8.0} us {:>7}",
            over(rounds, |round| round.p50),
            times(ratio(rounds, &none, |round| round.p50)),
            over(rounds, |round| round.p99),
            times(ratio(rounds, &none, |round| round.p99)),
        );
    }
    println!("\nfrom a greeting under a name that is not allowed to the client's error");
    if refusals.is_empty() {
        println!(
            "  NOT MEASURED: all {} were let through; this build does not verify names",
            hellos.passed
        );
    } else {
        let values = sorted(refusals);
        println!(
            "  p50 {:.0} us   p99 {:.0} us   of {}; let through: {}; the error: {}",
            median(&values),
            part(&values, 99, 100),
            values.len(),
            hellos.passed,
            hellos.error.unwrap_or_default(),
        );
    }
    println!("medians of {rounds} alternating rounds");
    Ok(())
}

fn under<'w>(world: &'w World, profile: Option<&PathBuf>) -> Job<'w> {
    match profile {
        Some(profile) => world.job().profile(profile),
        None => world.job(),
    }
}

/// Figures of one size.
#[derive(Debug, Default)]
struct Size {
    start: Vec<f64>,
    connect: Vec<Round>,
    fresh: Vec<Round>,
    memory: Vec<u64>,
}

fn rulesets(environment: &Environment, processors: Processors, rounds: u16) -> Result<()> {
    let world = World::without_servers(environment)?;
    world.reset_at(&world.network.good, at(GOOD_V4, RESETS))?;
    world.zone.add("n0.many.test", GOOD_V4, TTL);
    let fresh: Vec<String> = (0..FRESH).map(|one| format!("f{one}.fresh.test")).collect();
    for (name, last) in fresh.iter().zip((20..220).cycle()) {
        let address = std::net::Ipv4Addr::new(203, 0, 113, last);
        world.zone.add(name, address, TTL);
    }
    let profiles = SIZES
        .iter()
        .map(|&size| profiles(&world, size))
        .collect::<Result<Vec<_>>>()?;
    let connects = Load::Connects {
        name: "n0.many.test".to_owned(),
        port: RESETS,
        count: CONNECTS,
    };
    let ask = Load::Ask {
        server: at(DNS_V4, 53),
        names: fresh,
        known: false,
        count: FRESH,
        window: 1,
    };
    let mut sizes: [Size; SIZES.len()] = Default::default();
    for _ in 0..rounds {
        for (size, profile) in sizes.iter_mut().zip(&profiles) {
            let job = || enforced(&world, profile);
            let start = on(processors.server, processors.load, || {
                job().command(["true"]).patience(PATIENCE).run()
            })?;
            let start = start.expect_status(0)?.elapsed;
            size.start.push(start.as_secs_f64() * 1e3);
            let measured = measure(&world, ("connects", job()), processors, &connects)?;
            size.connect
                .push(Round::new(&measured.nanoseconds, measured.whole));
            let measured = measure(&world, ("fresh names", job()), processors, &ask)?;
            size.fresh
                .push(Round::new(&measured.nanoseconds, measured.whole));
        }
    }
    remembered(&world, &profiles, &mut sizes)?;
    print(&sizes);
    println!("medians of {rounds} alternating rounds; memory: the least of three");
    Ok(())
}

/// Profiles with so many names together, and one pattern for fresh ones.
fn profiles(world: &World, size: usize) -> Result<Vec<PathBuf>> {
    let numbers: Vec<usize> = (0..size).collect();
    let mut files = Vec::new();
    for (part, numbers) in numbers.chunks(NAMES_OF_A_FILE).enumerate() {
        let mut rules = String::new();
        if part == 0 {
            rules += "[[allow]]\nhost = \"*.fresh.test\"\nports = [443]\n";
        }
        for number in numbers {
            rules +=
                &format!("[[allow]]\nhost = \"n{number}.many.test\"\nports = [443, {RESETS}]\n");
        }
        files.push(world.profile(&format!("names-{size}-{part}"), &rules)?);
    }
    Ok(files)
}

/// A job under all of these.
fn enforced<'w>(world: &'w World, profiles: &[PathBuf]) -> Job<'w> {
    profiles.iter().fold(world.job(), Job::profile)
}

/// Memory of the maps of one job more.
fn remembered(world: &World, profiles: &[Vec<PathBuf>], sizes: &mut [Size]) -> Result<()> {
    let smallest = profiles.first().context("no profiles")?;
    // With it, what all jobs share is there.
    let (beside, end) = waiting(world, smallest)?;
    for _ in 0..3 {
        for (size, profile) in sizes.iter_mut().zip(profiles) {
            let known = memory::maps()?;
            let (running, end) = waiting(world, profile)?;
            size.memory.push(memory::locked_besides(&known)?);
            std::fs::write(end, "")?;
            running.wait()?.expect_status(0)?;
        }
    }
    std::fs::write(end, "")?;
    beside.wait()?.expect_status(0)?;
    Ok(())
}

/// A job that waits for a file.
fn waiting<'w>(
    world: &'w World,
    profiles: &[PathBuf],
) -> Result<(crate::harness::job::Running<'w>, PathBuf)> {
    let (ready, end) = (world.path("ready"), world.path("end"));
    let script = "touch $0; until [ -e $1 ]; do sleep 0.05; done";
    let words = [
        "sh".as_ref(),
        "-c".as_ref(),
        script.as_ref(),
        ready.as_os_str(),
        end.as_os_str(),
    ];
    let mut running = enforced(world, profiles)
        .patience(PATIENCE)
        .command(words)
        .start()?;
    running.until(&ready)?;
    Ok((running, end))
}

fn print(sizes: &[Size; SIZES.len()]) {
    println!("rulesets by their number of names; ratios to the first column");
    print!("  {:<44}", "");
    for size in SIZES {
        print!(" {size:>11} {:>7}", "");
    }
    println!();
    let Some(base) = sizes.first() else { return };
    let row = |name: &str, unit: &str, value: &dyn Fn(&Size) -> f64| {
        print!("  {name:<44}");
        for size in sizes {
            let (value, base) = (value(size), value(base));
            print!(" {value:>8.0} {unit:<2} {:>7}", times(value / base));
        }
        println!();
    };
    row("TCP connect to a leased address, p50", "us", &|size| {
        over(&size.connect, |round| round.p50)
    });
    row("a name nobody asked for yet: answer, p50", "us", &|size| {
        over(&size.fresh, |round| round.p50)
    });
    row("`true`, start to end", "ms", &|size| {
        median(&sorted(size.start.iter().copied()))
    });
    row("memory of the job's maps", "kB", &|size| {
        let least = size.memory.iter().min().copied().unwrap_or(0);
        #[expect(clippy::cast_precision_loss, reason = "bytes far below 2^52")]
        let kilobytes = least as f64 / 1e3;
        kilobytes
    });
}
