//! The terminal: data on standard output, everything else on standard error.

use std::error::Error;
use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;

use crate::policy::{Mistakes, Palette};
use crate::report::escape::escape;

/// Exit status for bad arguments, profiles and settings (`EX_USAGE` of `sysexits.h`).
pub(super) const USAGE: u8 = 64;

/// Prints data. A reader that has gone away has seen enough.
///
/// # Errors
/// Standard output cannot be written.
pub(super) fn data(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    let written = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Prints data, and returns the exit status: `code`, or failure if it could not be printed.
pub(super) fn deliver(text: &str, code: ExitCode) -> ExitCode {
    match data(text) {
        Ok(()) => code,
        Err(error) => {
            complaint(&error);
            ExitCode::FAILURE
        }
    }
}

/// Shows mistakes in files; returns the exit status for them.
pub(super) fn mistakes(mistakes: &Mistakes) -> ExitCode {
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let palette = if io::stderr().is_terminal() && !plain {
        Palette::Ansi
    } else {
        Palette::Plain
    };
    // Rendered lines are not escaped as a whole: the renderer does it, around its own colours.
    drop(writeln!(
        io::stderr().lock(),
        "{}",
        mistakes.render(palette)
    ));
    ExitCode::from(USAGE)
}

/// Prints an error for which the arguments are to blame; returns the exit status for it.
pub(super) fn usage(error: &dyn Error) -> ExitCode {
    complaint(error);
    ExitCode::from(USAGE)
}

/// Prints an error and its causes on one line, whatever bytes they quote.
pub(super) fn complaint(error: &dyn Error) {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line.push_str(": ");
        line.push_str(&error.to_string());
        cause = error.source();
    }
    tell("error", &line);
}

/// Prints what the daemon says of a request that it refuses: mistakes in files have several lines.
pub(super) fn refusal(error: &str) {
    let lines: Vec<_> = error.lines().map(escape).collect();
    drop(writeln!(
        io::stderr().lock(),
        "cordon: error: {}",
        lines.join("\n")
    ));
}

/// Asks for something at the terminal; the answer follows on the same line.
pub(super) fn ask(what: &str) {
    // Nobody is left to ask that standard error is gone.
    drop(write!(io::stderr().lock(), "cordon: {what}"));
}

/// Prints something that is wrong and stops nothing.
pub(super) fn warning(text: &str) {
    tell("warning", text);
}

/// Prints something to try or to know.
pub(super) fn hint(text: &str) {
    tell("hint", text);
}

fn tell(kind: &str, text: &str) {
    // Nobody is left to tell that standard error is gone.
    drop(writeln!(
        io::stderr().lock(),
        "cordon: {kind}: {}",
        escape(text)
    ));
}
