//! The person at the terminal: data goes to standard output, everything else to standard error.

use std::error::Error;
use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;

use crate::policy::{Mistakes, Palette};

/// Exit status for bad arguments, profiles and settings (`EX_USAGE` of `sysexits.h`).
pub(crate) const USAGE: u8 = 64;

/// Writes data, and returns `code`. A reader that has gone (`| head`) has read what it wanted.
pub(crate) fn data(text: &str, code: ExitCode) -> ExitCode {
    let mut stdout = io::stdout().lock();
    let written = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            note(&format!("error: cannot write to standard output: {error}"));
            ExitCode::FAILURE
        }
        _ => code,
    }
}

/// Writes a line for the person.
pub(crate) fn note(text: &str) {
    // Where standard error is closed there is nobody to tell.
    drop(writeln!(io::stderr().lock(), "{text}"));
}

/// Shows mistakes in files; returns the exit status for them.
pub(crate) fn mistakes(mistakes: &Mistakes) -> ExitCode {
    note(&mistakes.render(palette()));
    ExitCode::from(USAGE)
}

/// Shows an error with its sources, for which the arguments are to blame.
pub(crate) fn usage(error: &dyn Error) -> ExitCode {
    let mut chain = vec![error.to_string()];
    let mut source = error.source();
    while let Some(cause) = source {
        chain.push(cause.to_string());
        source = cause.source();
    }
    // Errors quote what others wrote, which must not steer the terminal.
    let text = chain.join(": ").replace(char::is_control, "\u{fffd}");
    note(&format!("error: {text}"));
    ExitCode::from(USAGE)
}

/// Colours where a person sees them and has not said otherwise (`NO_COLOR`).
fn palette() -> Palette {
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    if io::stderr().is_terminal() && !plain {
        Palette::Ansi
    } else {
        Palette::Plain
    }
}
