//! The stories: cordon on a real kernel, in worlds that this program makes and removes.
//!
//! `cordon-tests [FILTER]` runs them, `demo` shows the main job to a newcomer, `bench` measures.
//! Needs root, and neither the Internet nor anything of the machine's own network.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    clippy::format_push_string,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::use_debug,
    unreachable_pub,
    reason = "a test program: it prints, its files are its own, its texts are short, an overflow ends it, and it has no API"
)]

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod bench;
mod cases;
mod client;
mod clients;
mod demo;
mod escape;
mod harness;
mod runner;
mod supervisor;

/// Modes of the program; anything else is for the test runner.
#[derive(Debug, Parser)]
struct Cli {
    /// The machine is an emulated guest
    #[arg(long, hide = true)]
    vm: bool,
    #[command(subcommand)]
    mode: Mode,
}

#[derive(Debug, Subcommand)]
enum Mode {
    /// Show the main job with real clients and servers
    Demo(demo::Args),
    /// Measure what cordon costs
    Bench(bench::Args),
    /// Be the load of a measurement (used by `bench`)
    #[command(hide = true)]
    BenchLoad(bench::load::Args),
    /// Seal the evidence of a job that never was (used by `bench`)
    #[command(hide = true)]
    BenchSeal(bench::evidence::Args),
    /// Say what a program took (used by `bench`)
    #[command(hide = true)]
    BenchChild(bench::evidence::ChildArgs),
    /// Prove real clients against cordon
    Clients(clients::Args),
    /// Start clients one after another (used by `clients`)
    #[command(hide = true)]
    ClientsJob(clients::attempt::Args),
    /// Be a client of a Rust library (used by `clients`)
    #[command(hide = true, subcommand)]
    ClientsNative(clients::native::Args),
    /// Try every known way around enforcement
    Escape(escape::Args),
    /// Run hostile programs as a job (used by `escape`)
    #[command(hide = true)]
    EscapeJob(escape::hostile::Args),
    /// Help a job from outside (used by `escape`)
    #[command(hide = true)]
    EscapeAccomplice(escape::accomplice::Args),
    /// Send a word to the attacker (used by `escape`)
    #[command(hide = true)]
    EscapeSend {
        /// The word
        word: String,
    },
    /// Be one hostile program (used by `escape`)
    #[command(hide = true)]
    EscapeCase(escape::hostile::One),
    /// Do steps as a job (used by stories)
    #[command(hide = true)]
    Client(client::Args),
    /// Take a place in a world and become a command (used by stories)
    #[command(hide = true)]
    Enter(harness::enter::Place),
}

fn main() -> ExitCode {
    let first = std::env::args().skip(1).find(|word| word != runner::GUEST);
    let result = match first.as_deref() {
        Some(
            "demo" | "bench" | "bench-load" | "bench-seal" | "bench-child" | "client" | "clients"
            | "clients-job" | "clients-native" | "enter" | "escape" | "escape-job" | "escape-case"
            | "escape-accomplice" | "escape-send",
        ) => command(Cli::parse()),
        _ => supervisor::supervised(runner::run),
    };
    result.unwrap_or_else(|error| {
        eprintln!("cordon-tests: {error:#}");
        ExitCode::FAILURE
    })
}

fn command(Cli { vm, mode }: Cli) -> anyhow::Result<ExitCode> {
    match mode {
        Mode::Escape(args) => escape::run(&args, vm),
        Mode::EscapeAccomplice(args) => escape::accomplice::run(args),
        Mode::EscapeSend { word } => Ok(escape::accomplice::send(&word)),
        Mode::EscapeJob(args) => escape::hostile::run(&args),
        Mode::EscapeCase(args) => escape::hostile::one(&args),
        Mode::Client(args) => client::run(&args),
        Mode::BenchLoad(args) => bench::load::run(&args),
        Mode::BenchSeal(args) => bench::evidence::seal(&args),
        Mode::BenchChild(args) => bench::evidence::child(&args),
        Mode::Clients(args) => supervisor::supervised(|| clients::run(&args)),
        Mode::ClientsJob(args) => clients::attempt::run(&args),
        Mode::ClientsNative(args) => clients::native::run(&args),
        Mode::Enter(place) => place.become_command().map(|()| ExitCode::SUCCESS),
        Mode::Demo(args) => supervisor::supervised(|| demo::run(&args)),
        Mode::Bench(args) => supervisor::supervised(|| bench::run(&args)),
    }
}
