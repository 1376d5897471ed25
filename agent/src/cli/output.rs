//! The terminal: data on standard output, everything else on standard error.

use std::error::Error;
use std::io::{self, Write as _};

use crate::report::escape::escape;

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
