//! The hidden `client` command: what a job does in a story, step by step, one JSON line each.
//!
//! Runs as the job's command and, for the control, without cordon. Each step goes to the system
//! call it is named for: a resolver library or a retry would hide which of them was refused.

mod call;
mod consume;
mod dns;
mod process;
mod show;
mod socket;
pub mod step;
mod tamper;
mod tcp;
mod udp;
mod unix;

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::errno::Errno;

use crate::client::step::{Form, Outcome, Step};

/// How long a step waits for a peer.
const PATIENCE: Duration = Duration::from_secs(3);

/// Arguments of the hidden `client` command.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Leave the session first, as a daemon does
    #[arg(long)]
    detached: bool,
    /// The steps, as a JSON list
    steps: String,
}

/// A system call that failed.
#[derive(Debug)]
struct Refused {
    call: &'static str,
    errno: Errno,
}

/// For `map_err`.
fn at(call: &'static str) -> impl FnOnce(Errno) -> Refused {
    move |errno| Refused { call, errno }
}

/// For `map_err` of what std calls.
fn io_at(call: &'static str) -> impl FnOnce(std::io::Error) -> Refused {
    move |error| {
        // An error of std's own has no number; the only one a step can meet is a timeout.
        let errno = error
            .raw_os_error()
            .map_or(Errno::ETIMEDOUT, Errno::from_raw);
        Refused { call, errno }
    }
}

/// What a step that worked has to tell.
#[derive(Debug, Default)]
struct Done {
    /// Bytes that came back.
    bytes: usize,
    /// Everything else.
    outcome: Outcome,
}

/// Runs all steps; a step that fails does not stop the next one.
pub fn run(args: &Args) -> Result<ExitCode> {
    if args.detached {
        nix::unistd::setsid().context("setsid")?;
    }
    let steps: Vec<Step> = serde_json::from_str(&args.steps).context("steps")?;
    for step in &steps {
        if let Step::Exit { code } = step {
            return Ok(ExitCode::from(*code));
        }
        println!("{}", serde_json::to_string(&attempt(step))?);
    }
    Ok(ExitCode::SUCCESS)
}

/// Does one step.
pub fn attempt(step: &Step) -> Outcome {
    let started = Instant::now();
    let result = perform(step);
    let mut outcome = match result {
        Ok(done) => Outcome {
            ok: true,
            bytes: done.bytes,
            ..done.outcome
        },
        Err(Refused { call, errno }) => Outcome {
            call: Some(call.to_owned()),
            errno: Some(errno.to_string()),
            ..Outcome::default()
        },
    };
    outcome.step = step.name();
    let elapsed = started.elapsed();
    outcome.ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
    outcome.us = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
    outcome
}

fn perform(step: &Step) -> Result<Done, Refused> {
    match step {
        Step::Tcp { to, form } => tcp::exchange(*to, *form),
        Step::TcpFastOpen { to } => tcp::fast_open(*to),
        Step::Hold { to, until } => tcp::hold(*to, until),
        Step::Serve { at, ready } => tcp::serve(*at, ready),
        Step::Loopback { address } => tcp::loopback(*address),
        Step::Udp { to, form, call } => udp::exchange(*to, *form, *call),
        Step::Show { to, way, pieces } => show::stream(*to, *way, pieces),
        Step::ShowAgain { to, first, second } => show::again(*to, first, second),
        Step::Connects { to, count } => tcp::connects(*to, *count),
        Step::Execs { count } => process::execs(*count),
        Step::Flood { to, count } => udp::flood(*to, *count),
        Step::UdpRace { to, beside, rounds } => udp::race(*to, *beside, *rounds),
        Step::UdpShadow { port, from } => udp::shadow(*port, *from),
        Step::Spray { to, ports } => udp::spray(*to, *ports),
        Step::Hammer { good, evil, until } => Ok(hammer(*good, *evil, until)),
        Step::RoutingHeader { to, through } => udp::routed(*to, *through),
        Step::Socket { kind } => socket::special(*kind),
        Step::Call {
            abi,
            number,
            arguments,
        } => call::perform(*abi, *number, *arguments),
        Step::TakeDescriptor { pid, number } => process::take_descriptor(*pid, *number),
        Step::UnixConnect { path } => socket::unix(path),
        Step::StartIn { cgroup } => process::start_in(cgroup),
        Step::Unix { to, kind } => unix::speak(to, *kind),
        Step::UnixOwn { directory } => unix::own(directory),
        Step::Input { way } => tamper::use_input(*way),
        Step::Take { at } => unix::take(at),
        Step::Touch { process, how } => tamper::touch(*process, *how),
        Step::Bpf => tamper::bpf(),
        Step::Mount { kind, at, by_name } => tamper::mount(kind, at, *by_name),
        Step::Resolve { name } => Ok(dns::resolve(name)),
        Step::Dns {
            server,
            transport,
            names,
            kind,
        } => dns::ask(*server, *transport, names, kind),
        Step::Background { steps } => process::background(steps),
        Step::Apart => process::apart(),
        Step::Again { count, steps } => process::again(*count, steps),
        Step::Soon { ms, step } => soon(Duration::from_millis(*ms), step),
        Step::Mark { path } => process::mark(path),
        Step::Write { path, text } => process::write(path, text),
        Step::Await { path } => process::wait_for(path),
        Step::Sleep { ms } => Ok(process::sleep(*ms)),
        Step::Raise { signal } => process::raise(*signal),
        Step::Allocate { mib } => Ok(consume::allocate(*mib)),
        Step::Crowd { count } => consume::crowd(*count),
        Step::OpenFiles { count } => consume::open_files(*count),
        Step::Burn { ms } => Ok(consume::burn(Duration::from_millis(*ms))),
        Step::Exit { .. } => Ok(Done::default()),
    }
}

fn soon(limit: Duration, step: &Step) -> Result<Done, Refused> {
    let deadline = Instant::now() + limit;
    loop {
        let done = perform(step);
        if done.is_ok() || Instant::now() > deadline {
            return done;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// All at the pace of the slowest: refusals are immediate, and what is not refused must not wait for
/// an answer.
fn hammer(good: SocketAddr, evil: SocketAddr, until: &Path) -> Done {
    let mut bytes = 0;
    while !until.exists() {
        bytes += usize::from(tcp::exchange(good, Form::Plain).is_ok());
        // Whatever becomes of these: who they are meant for counts what arrives.
        drop(udp::flood(evil, 4));
        drop(tcp::attempt(evil));
    }
    Done {
        bytes,
        ..Done::default()
    }
}
