//! The project's tasks: `cargo xtask COMMAND`. One file per command; CI calls these and holds no
//! logic of its own.

#![expect(
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "tasks talk to the person who runs them"
)]
#![expect(
    clippy::disallowed_methods,
    reason = "tasks read and write plain files; their errors name the path by context"
)]

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod accuracy;
mod apt;
mod bench;
mod build;
mod clients;
mod demo;
mod escape;
mod exec;
mod foreign;
mod fuzz;
mod lint;
mod package;
mod privilege;
mod runners;
mod setup;
mod test;
mod vm;
mod workspace;

#[path = "../../agent/build/toolchain.rs"]
mod toolchain;

/// The tasks of cordon.
#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    version,
    max_term_width = 100
)]
struct Cli {
    #[command(subcommand)]
    command: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    Accuracy(accuracy::Options),
    Bench(bench::Options),
    Build(build::Options),
    Clients(clients::Options),
    Demo(demo::Options),
    Escape(escape::Options),
    Fuzz(fuzz::Options),
    Lint(lint::Options),
    Package(package::Options),
    Setup(setup::Options),
    Test(test::Options),
    Vm(vm::Options),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Task::Accuracy(options) => accuracy::run(&options),
        Task::Bench(options) => bench::run(&options),
        Task::Build(options) => build::run(&options),
        Task::Clients(options) => clients::run(&options),
        Task::Demo(options) => demo::run(&options),
        Task::Escape(options) => escape::run(&options),
        Task::Fuzz(options) => fuzz::run(&options),
        Task::Lint(options) => lint::run(&options),
        Task::Package(options) => package::run(&options),
        Task::Setup(options) => setup::run(&options),
        Task::Test(options) => test::run(&options),
        Task::Vm(options) => vm::run(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}
