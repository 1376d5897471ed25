//! The job's resolver against dnsmasq and unbound, and how soon an answer is a lease.
//!
//! The same load and the same upstream for all. What is measured has one processor for itself; load
//! and upstream are on another one. A question to cordon also passes the hooks of a job, one to the
//! others does not.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::bench::figures::{Round, median, microseconds, over, part, ratio, sorted, times};
use crate::bench::load::Load;
use crate::bench::measure;
use crate::bench::processor::{Processors, on, pin};
use crate::harness::environment::Environment;
use crate::harness::job::{Job, Running};
use crate::harness::network::{DNS_V4, GOOD_V4, at};
use crate::harness::rules::host;
use crate::harness::world::World;
use crate::harness::zone::Behaviour;

/// Time upstream takes for each answer.
const DELAY: Duration = Duration::from_millis(2);

/// Questions of one round, and how many are on their way at once. The many that are not cached wait
/// for upstream, not for the resolver.
const CACHED: (usize, usize) = (20_000, 16);
const UNCACHED: (usize, usize) = (1_000, 64);

/// Leases of one round: each has an address of its own.
const LEASES: u8 = 200;
const FIRST: u8 = 20;

/// How long a resolver may take to answer its first question.
const PATIENCE: Duration = Duration::from_secs(10);

const TTL: u32 = 300;

/// What is measured.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Side {
    Dnsmasq,
    Unbound,
    Cordon,
}

impl Side {
    const ALL: [Self; 3] = [Self::Dnsmasq, Self::Unbound, Self::Cordon];

    fn name(self) -> &'static str {
        match self {
            Self::Dnsmasq => "dnsmasq",
            Self::Unbound => "unbound",
            Self::Cordon => "cordon",
        }
    }

    fn address(self) -> SocketAddr {
        match self {
            Self::Dnsmasq => at(Ipv4Addr::LOCALHOST, 5301),
            Self::Unbound => at(Ipv4Addr::LOCALHOST, 5302),
            // Whatever server a job asks.
            Self::Cordon => at(DNS_V4, 53),
        }
    }

    fn package(self) -> &'static str {
        match self {
            Self::Dnsmasq => "dnsmasq-base",
            Self::Unbound => "unbound",
            Self::Cordon => "cordon",
        }
    }
}

/// Measures and prints tables.
pub(super) fn run(environment: &Environment, rounds: u16) -> Result<()> {
    let processors = Processors::find()?;
    // Before the world: upstream's thread is on it too.
    pin(processors.load)?;
    let world = World::without_servers(environment)?;
    throughput(&world, processors, rounds)?;
    println!();
    leases(&world, processors, rounds)
}

fn throughput(world: &World, processors: Processors, rounds: u16) -> Result<()> {
    world.zone.add("cached.bench.test", GOOD_V4, TTL);
    let profile = world.profile("bench", &host("*.bench.test", "443"))?;
    let mut others = Vec::new();
    let mut sides = vec![Side::Cordon];
    for side in [Side::Dnsmasq, Side::Unbound] {
        match start(world, processors, side) {
            Ok(running) => {
                others.push(running);
                sides.push(side);
            }
            Err(error) => println!("NOT MEASURED {}: {error:#}", side.name()),
        }
    }
    world.zone.behave(Behaviour::Delay(DELAY));
    let mut cached: Vec<Vec<Round>> = vec![Vec::new(); Side::ALL.len()];
    let mut uncached = cached.clone();
    let mut number = 0;
    for _ in 0..rounds {
        for (index, side) in Side::ALL.into_iter().enumerate() {
            if !sides.contains(&side) {
                continue;
            }
            let ask = |names: Vec<String>, (count, window), known| {
                let job = match side {
                    Side::Cordon => world.job().profile(&profile),
                    _ => world.job(),
                };
                let load = Load::Ask {
                    server: side.address(),
                    names,
                    known,
                    count,
                    window,
                };
                let measured = measure(world, (side.name(), job), processors, &load)?;
                Ok::<_, anyhow::Error>(Round::new(&measured.nanoseconds, measured.whole))
            };
            let known = ask(vec!["cached.bench.test".to_owned()], CACHED, true)?;
            let fresh: Vec<String> = (0..UNCACHED.0)
                .map(|_| {
                    number += 1;
                    format!("n{number}.bench.test")
                })
                .collect();
            for name in &fresh {
                world.zone.add(name, GOOD_V4, TTL);
            }
            let fresh = ask(fresh, UNCACHED, false)?;
            if let (Some(known_of), Some(fresh_of)) =
                (cached.get_mut(index), uncached.get_mut(index))
            {
                known_of.push(known);
                fresh_of.push(fresh);
            }
        }
    }
    world.zone.behave(Behaviour::Answer);
    println!(
        "answers from the cache, {} at once; ratios to the first line",
        CACHED.1
    );
    table(&cached);
    println!(
        "\nanswers from upstream, which takes {} ms for each, {} at once",
        DELAY.as_millis(),
        UNCACHED.1
    );
    table(&uncached);
    println!(
        "medians of {rounds} alternating rounds; the server has processor {}, load and upstream {}",
        processors.server, processors.load
    );
    for mut running in others {
        if let Some(said) = running.ended()? {
            println!("a server ended early: {said}");
        }
        running.signal(nix::sys::signal::Signal::SIGKILL)?;
        running.wait()?;
    }
    Ok(())
}

fn table(sides: &[Vec<Round>]) {
    println!(
        "  {:<10} {:>10} {:>7} {:>11} {:>7} {:>11} {:>7}",
        "", "answers/s", "", "p50", "", "p99", ""
    );
    let Some(base) = sides.iter().find(|rounds| !rounds.is_empty()) else {
        return;
    };
    for (side, rounds) in Side::ALL.into_iter().zip(sides) {
        if rounds.is_empty() {
            continue;
        }
        println!(
            "  {:<10} {:>10.0} {:>7} {:>8.0} us {:>7} {:>8.0} us {:>7}",
            side.name(),
            over(rounds, |round| round.rate),
            times(ratio(rounds, base, |round| round.rate)),
            over(rounds, |round| round.p50),
            times(ratio(rounds, base, |round| round.p50)),
            over(rounds, |round| round.p99),
            times(ratio(rounds, base, |round| round.p99)),
        );
    }
}

/// Starts a resolver outside of every job and waits until it answers.
fn start(world: &World, processors: Processors, side: Side) -> Result<Running<'_>> {
    let program = found(side.name())
        .with_context(|| format!("not on this machine (package {})", side.package()))?;
    let job = world.job().command(command(world, side, &program)?);
    let mut running = on(processors.server, processors.load, || job.start())?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let load = Load::Ask {
            server: side.address(),
            names: vec!["good.test".to_owned()],
            known: false,
            count: 1,
            window: 1,
        };
        let asked = measure(world, (side.name(), world.job()), processors, &load);
        if asked.is_ok_and(|measured| measured.failed == 0) {
            return Ok(running);
        }
        if let Some(said) = running.ended()? {
            anyhow::bail!("ended: {said}");
        }
        ensure!(Instant::now() < deadline, "does not answer");
    }
}

fn found(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into()])
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
}

fn command(world: &World, side: Side, program: &Path) -> Result<Vec<String>> {
    let port = side.address().port();
    let program_text = program.display().to_string();
    if side == Side::Dnsmasq {
        let options = format!(
            "--keep-in-foreground --conf-file=/dev/null --no-resolv --no-hosts --server={DNS_V4} \
             --port={port} --listen-address=127.0.0.1 --bind-interfaces --cache-size=10000 \
             --dns-forward-max=1000 --user=root --pid-file= --log-facility=-"
        );
        let options = options.split(' ').map(str::to_owned);
        return Ok([program_text].into_iter().chain(options).collect());
    }
    let settings = world.path("unbound.conf");
    fs::write(
        &settings,
        format!(
            "server:\n do-daemonize: no\n directory: \"\"\n chroot: \"\"\n username: \"\"\n \
             pidfile: \"\"\n use-syslog: no\n logfile: \"\"\n num-threads: 1\n \
             interface: 127.0.0.1@{port}\n access-control: 127.0.0.0/8 allow\n do-ip6: no\n \
             local-zone: \"test.\" nodefault\n \
             module-config: \"iterator\"\n msg-cache-size: 16m\n rrset-cache-size: 16m\n \
             outgoing-range: 1024\n num-queries-per-thread: 1024\n\
             remote-control:\n control-enable: no\n\
             forward-zone:\n name: \".\"\n forward-addr: {DNS_V4}\n"
        ),
    )?;
    // Unpacked, not installed: its libraries are beside it.
    let libraries = program
        .ancestors()
        .nth(2)
        .map(|usr| usr.join(format!("lib/{}-linux-gnu", std::env::consts::ARCH)))
        .unwrap_or_default();
    Ok(vec![
        "env".to_owned(),
        format!("LD_LIBRARY_PATH={}", libraries.display()),
        program_text,
        "-d".to_owned(),
        "-c".to_owned(),
        settings.display().to_string(),
    ])
}

/// From upstream's answer to the kernel's lease.
fn leases(world: &World, processors: Processors, rounds: u16) -> Result<()> {
    world.zone.behave(Behaviour::Delay(DELAY));
    let rules = "[[allow]]\nhost = \"*.lease.test\"\nports = [9]\nprotocol = \"udp\"\n";
    let profile = world.profile("lease", rules)?;
    let (mut granted, mut answered) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let names: Vec<(String, Ipv4Addr)> = (FIRST..FIRST + LEASES)
            .map(|last| {
                (
                    format!("l{last}.lease.test"),
                    Ipv4Addr::new(203, 0, 113, last),
                )
            })
            .collect();
        world.zone.forget_when();
        for (name, address) in &names {
            world.zone.set(name, *address, TTL);
        }
        let load = Load::Leases {
            server: at(DNS_V4, 53),
            names: names.clone(),
            // Trying earlier would only give cordon refusals to count.
            after: u64::try_from((DELAY * 3 / 4).as_micros())?,
        };
        let job: Job<'_> = world.job().profile(&profile);
        let measured = measure(world, ("leases", job), processors, &load)?;
        for ((name, _), (passed, answer)) in names.iter().zip(measured.moments) {
            let left = world
                .zone
                .answered_at(name)
                .context("upstream was not asked")?;
            granted.push(microseconds(passed.saturating_sub(left)));
            answered.push(microseconds(answer.saturating_sub(left)));
        }
    }
    world.zone.behave(Behaviour::Answer);
    println!(
        "since upstream had its answer ready, of {} names",
        granted.len()
    );
    for (what, values) in [
        ("sending to the address passes", granted),
        ("the answer is at the client", answered),
    ] {
        let values = sorted(values);
        println!(
            "  {what:<32} p50 {:>7.0} us   p99 {:>7.0} us",
            median(&values),
            part(&values, 99, 100)
        );
    }
    Ok(())
}
