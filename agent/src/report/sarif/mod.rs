//! SARIF 2.1.0, for code scanning and editors: what the logs of egress and of the sweep have in
//! common. Pure.
//!
//! **Invariant**: what a job can choose is percent-encoded wherever SARIF or its viewers would do
//! something with it: make links, fill placeholders, read markup.

use serde_json::{Value, json};

use super::json;
use super::predicate::percent_encoded;
use super::statement::sha256_hex;

pub mod egress;

/// The schema of what is written here.
const SCHEMA_URI: &str =
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

/// Results that code scanning takes of one run. Further ones are counted in the run's properties.
pub(super) const MAX_RESULTS: usize = 25_000;

/// Locations that code scanning keeps of one result.
pub(super) const MAX_LOCATIONS: usize = 100;

/// Characters of a text that are shown. Linux has no longer paths.
pub(super) const MAX_TEXT: usize = 4096;

/// What a sentence may hold as it is, besides letters and digits. No brackets, which make links; no
/// braces, which make placeholders; no markup.
const PLAIN: &[u8] = b" .,:;()/'=+";

/// A log of runs, each about another report.
///
/// # Errors
/// It has no JSON form.
pub fn log(runs: &[Value]) -> Result<String, serde_json::Error> {
    json::pretty(&json!({
        "$schema": SCHEMA_URI,
        "version": "2.1.0",
        "runs": runs,
    }))
}

/// What a result is recognised by in the next run, in the form of code scanning. The facts are
/// serialised as a whole, so that none can be taken for two.
pub(super) fn identity(facts: &str) -> String {
    let digest = sha256_hex(facts.as_bytes());
    format!("{}:1", digest.get(..16).unwrap_or(&digest))
}

/// The lines, from 1, on which the objects of a list at the top of the report begin. No string of a
/// JSON file holds a line feed, so none can pretend to be one.
pub(super) fn lines_of<'f>(file: &'f str, list: &str) -> impl Iterator<Item = usize> + use<'f> {
    let head = format!("  \"{list}\": [");
    let lines = file.lines().zip(1..);
    lines
        .skip_while(move |(line, _)| *line != head)
        .take_while(|(line, _)| *line != "  ],")
        .filter(|(line, _)| *line == "    {")
        .map(|(_, number)| number)
}

/// A sentence of cordon's, which stays one even if somebody edited the report.
pub(super) fn sentence(text: &str) -> String {
    shown(text, PLAIN)
}

/// A name of the job's, so that different ones stay different.
pub(super) fn name(text: &str) -> String {
    shown(text, b"/")
}

/// The beginning of a text, with everything but letters, digits, `-._~` and the `kept` ones encoded.
fn shown(text: &str, kept: &[u8]) -> String {
    let mut characters = text.chars();
    let beginning: String = characters.by_ref().take(MAX_TEXT).collect();
    let more = if characters.next().is_some() {
        "..."
    } else {
        ""
    };
    format!("{}{more}", percent_encoded(&beginning, kept))
}

/// A word of cordon's.
pub(super) fn text(text: &str) -> String {
    name(text)
}
