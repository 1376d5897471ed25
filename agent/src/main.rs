//! The `cordon` binary: parse, set up logging, run.

use std::process::ExitCode;

use cordon::cli;

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_env("CORDON_LOG"))
        .with_writer(std::io::stderr)
        .init();
    cli::main()
}
