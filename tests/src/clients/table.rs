//! The table of all attempts.

use std::process::ExitCode;

/// What became of one expectation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// Seen as expected.
    Holds,
    /// Seen otherwise.
    Differs,
    /// Could not be tried.
    NotRun,
}

impl Verdict {
    /// Of an expectation.
    pub fn of(holds: bool) -> Self {
        if holds { Self::Holds } else { Self::Differs }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Holds => "ok",
            Self::Differs => "DIFFERS",
            Self::NotRun => "NOT RUN",
        }
    }
}

/// One attempt of one client.
#[derive(Clone, Debug)]
pub struct Row {
    client: String,
    version: String,
    tried: String,
    expected: String,
    seen: String,
    verdict: Verdict,
}

impl Row {
    /// An attempt; its client is added by [`Row::of`].
    pub fn new(tried: &str, expected: &str, seen: String, verdict: Verdict) -> Self {
        Self {
            client: String::new(),
            version: String::new(),
            tried: tried.to_owned(),
            expected: expected.to_owned(),
            seen,
            verdict,
        }
    }

    /// A client that could not be run.
    pub fn not_run(client: &str, reason: String) -> Self {
        Self::new("", "", reason, Verdict::NotRun).of(client, "")
    }

    /// A failure that is not the client's.
    pub fn broken(error: &anyhow::Error) -> Self {
        Self::new("", "an attempt", format!("{error:#}"), Verdict::Differs)
    }

    /// Whose attempt it is.
    pub fn of(mut self, client: &str, version: &str) -> Self {
        client.clone_into(&mut self.client);
        version.clone_into(&mut self.version);
        self
    }

    fn cells(&self) -> [&str; 6] {
        [
            self.verdict.word(),
            &self.client,
            &self.version,
            &self.tried,
            &self.expected,
            &self.seen,
        ]
    }
}

/// Widths of all columns but the last.
const WIDTHS: [usize; 5] = [7, 24, 14, 42, 34];

/// All rows, printed as they come.
#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<Row>,
}

impl Table {
    /// Prints rows and keeps them.
    pub fn extend(&mut self, rows: Vec<Row>) {
        if self.rows.is_empty() {
            line(["", "client", "version", "tried", "expected", "seen"]);
        }
        for row in &rows {
            line(row.cells());
        }
        self.rows.extend(rows);
    }

    /// Counts, says them, and whether all is well.
    pub fn conclude(&self, allow_missing: bool) -> ExitCode {
        let count = |verdict| {
            let rows = self.rows.iter();
            rows.filter(|row| row.verdict == verdict).count()
        };
        let (differ, missing) = (count(Verdict::Differs), count(Verdict::NotRun));
        println!(
            "{} as expected, {differ} not, {missing} not run",
            count(Verdict::Holds),
        );
        if self.rows.is_empty() {
            eprintln!("no client has such a name");
            return ExitCode::FAILURE;
        }
        if differ > 0 || (missing > 0 && !allow_missing) {
            return ExitCode::FAILURE;
        }
        ExitCode::SUCCESS
    }
}

fn line(cells: [&str; 6]) {
    let mut text = String::new();
    for (cell, width) in cells.iter().zip(WIDTHS) {
        text += &format!("{cell:<width$} ");
    }
    println!("{text}{}", cells[5]);
}
