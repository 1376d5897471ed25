//! What a job of the daemon's costs: its start and end, the daemon's memory and its processor time when nothing
//! happens, with one job and with many.

#![expect(
    clippy::indexing_slicing,
    reason = "what is not there is null, or fails the story"
)]

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::bench::figures::{median, part, sorted};
use crate::bench::memory;
use crate::harness::environment::Environment;
use crate::harness::rules::cidr;
use crate::harness::service::Service;
use crate::harness::world::World;

/// Jobs at once, one size after the other.
const SIZES: [usize; 5] = [1, 10, 100, 500, 1_000];
/// Descriptors the daemon may have: what its unit says, or what this machine lets it have.
const DESCRIPTORS: u64 = 65_536;
/// And no job of it needs more than so many.
const OF_A_JOB: u64 = 40;
/// How long the daemon is watched doing nothing.
const IDLE: Duration = Duration::from_secs(10);

/// Measures and prints tables.
pub(super) fn run(environment: &Environment, rounds: u16) -> Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let descriptors = most.min(DESCRIPTORS);
    setrlimit(Resource::RLIMIT_NOFILE, descriptors, most)?;
    let world = World::new(environment)?;
    Service::profile(&world, "app", &cidr("203.0.113.10/32", "8080", "tcp"))?;
    let mut service = Service::start(&world, "")?;
    let measured = measure(&service, rounds, descriptors);
    if let Err(error) = measured {
        let daemon = service.end(Signal::SIGKILL)?;
        bail!("{error:#}; the daemon had said:\n{}", daemon.stderr);
    }
    Ok(())
}

fn measure(service: &Service<'_>, rounds: u16, descriptors: u64) -> Result<()> {
    let daemon = service.running()?.id();
    let (resident, processor) = (memory::resident(daemon)?, idle(daemon)?);
    println!(
        "the daemon without jobs: {resident:.1} MiB resident, {processor:.3} % of a processor"
    );
    println!("\njobs of one rule, without processes, asked for one after another over the socket");
    println!(
        "  {:>9} {:>13} {:>13} {:>13} {:>13} {:>11} {:>11}",
        "at once", "start p50", "start p99", "end p50", "end p99", "resident", "idle"
    );
    for size in SIZES {
        let needed = OF_A_JOB.saturating_mul(size as u64);
        if needed > descriptors {
            println!(
                "  {size:>9} not measured: {needed} descriptors are needed, and a process has {descriptors} here"
            );
            continue;
        }
        let (mut starts, mut ends) = (Vec::new(), Vec::new());
        let (mut resident, mut processor) = (0.0, 0.0);
        let times = if size == 1 {
            usize::from(rounds) * 4
        } else {
            1
        };
        for _ in 0..times {
            let mut ids = Vec::new();
            for _ in 0..size {
                let begun = Instant::now();
                let job = ask(
                    service,
                    "POST",
                    "/v1/jobs",
                    r#"{"profiles":["app"],"processes":"none"}"#,
                )?;
                starts.push(begun.elapsed().as_secs_f64() * 1e3);
                ids.push(
                    job["id"]
                        .as_str()
                        .with_context(|| job.to_string())?
                        .to_owned(),
                );
            }
            if processor == 0.0 {
                processor = idle(daemon)?;
                resident = memory::resident(daemon)?;
            }
            for id in ids {
                let begun = Instant::now();
                ask(service, "POST", &format!("/v1/jobs/{id}/finish"), "")?;
                let path = format!("/v1/jobs/{id}");
                loop {
                    let job = ask(service, "GET", &path, "")?;
                    ensure!(job["state"] != "failed", "{job}");
                    if job["state"] == "sealed" {
                        break;
                    }
                    sleep(Duration::from_millis(1));
                }
                ends.push(begun.elapsed().as_secs_f64() * 1e3);
            }
        }
        let (starts, ends) = (sorted(starts), sorted(ends));
        println!(
            "  {size:>9} {:>10.1} ms {:>10.1} ms {:>10.1} ms {:>10.1} ms {resident:>7.1} MiB {processor:>9.3} %",
            median(&starts),
            part(&starts, 99, 100),
            median(&ends),
            part(&ends, 99, 100),
        );
    }
    let mut runs = Vec::new();
    for _ in 0..rounds {
        let begun = Instant::now();
        service.cordon(&["run", "--", "true"])?.expect_status(0)?;
        runs.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    println!(
        "\n`cordon run -- true`, beside the daemon: p50 {:.0} ms",
        median(&sorted(runs))
    );
    println!("an end is measured to its sealed evidence");
    Ok(())
}

/// Percent of one processor that a process takes while nothing is asked of it.
fn idle(process: u32) -> Result<f64> {
    sleep(Duration::from_secs(1));
    let before = used(process)?;
    let begun = Instant::now();
    sleep(IDLE);
    let used = used(process)?.saturating_sub(before);
    Ok(used.as_secs_f64() / begun.elapsed().as_secs_f64() * 100.0)
}

/// Processor time of all threads that there are.
fn used(process: u32) -> Result<Duration> {
    let mut all = Duration::ZERO;
    for task in fs::read_dir(format!("/proc/{process}/task"))? {
        let text = fs::read_to_string(task?.path().join("schedstat"))?;
        let nanoseconds = text.split_ascii_whitespace().next().context("no time")?;
        all += Duration::from_nanos(nanoseconds.parse()?);
    }
    Ok(all)
}

/// One request; the body of the answer.
fn ask(service: &Service<'_>, method: &str, path: &str, body: &str) -> Result<Value> {
    let mut stream = UnixStream::connect(service.socket())?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (_, body) = answer.split_once("\r\n\r\n").context("no body")?;
    serde_json::from_str(body).with_context(|| answer.clone())
}
