//! The `cordon` binary: parse, set up logging, run.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use cordon::cli;
use tracing::Level;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    // A daemon is looked at afterwards; a command says by itself what there is to say.
    let is_daemon = std::env::args_os().any(|word| word == "daemon");
    let level = if is_daemon { Level::INFO } else { Level::ERROR };
    let filter = EnvFilter::builder()
        .with_default_directive(level.into())
        .with_env_var("CORDON_LOG")
        .from_env_lossy();
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    if std::env::var_os("JOURNAL_STREAM").is_some() {
        // The journal has a clock of its own.
        lines.without_time().init();
    } else {
        lines.init();
    }
    cli::main()
}
