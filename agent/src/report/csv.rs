//! The egress report as one table for spreadsheets (RFC 4180). Pure.
//!
//! **Invariants**: every field is quoted; what a job chose is escaped, and no field begins in a way that a
//! spreadsheet takes for a formula.

use super::escape::escape;
use super::{Destination, ProcessChain, Report, ReportMode};

/// The columns, in order.
const COLUMNS: [&str; 15] = [
    "verdict",
    "kind",
    "name",
    "address",
    "port",
    "protocol",
    "reason",
    "rule",
    "attempts",
    "packets",
    "bytes_out",
    "bytes_in",
    "first_seen",
    "last_seen",
    "programs",
];

/// One line of the table; what a kind does not have is empty.
#[derive(Default)]
struct Row {
    verdict: &'static str,
    kind: &'static str,
    name: String,
    address: String,
    port: String,
    protocol: String,
    reason: String,
    rule: String,
    attempts: u64,
    packets: Option<u64>,
    bytes: Option<(u64, u64)>,
    seen: Option<(String, String)>,
    programs: String,
}

/// The table: what was refused, what was let pass, names, sockets, calls.
#[must_use]
pub fn render(report: &Report) -> String {
    let refused = match report.mode {
        ReportMode::Audit => "would-deny",
        ReportMode::Enforce => "denied",
    };
    let rule =
        |index: Option<u32>| index.map_or_else(String::new, |rule| report.policy.rule_text(rule));
    let denials = report.denials.iter().map(|denial| Row {
        verdict: refused,
        reason: denial.reason.clone(),
        attempts: denial.attempts,
        packets: Some(denial.packets),
        seen: Some((denial.first_seen.to_string(), denial.last_seen.to_string())),
        programs: programs(&denial.processes),
        ..Row::to(&denial.destination)
    });
    let flows = report.flows.iter().map(|flow| Row {
        verdict: "allowed",
        reason: flow.reason.clone(),
        rule: rule(flow.rule),
        attempts: flow.attempts,
        packets: Some(flow.packets_out.saturating_add(flow.packets_in)),
        bytes: Some((flow.bytes_out, flow.bytes_in)),
        seen: Some((flow.first_seen.to_string(), flow.last_seen.to_string())),
        programs: programs(&flow.processes),
        ..Row::to(&flow.destination)
    });
    let names = report.dns.iter().map(|asked| Row {
        verdict: asked.answer.name(),
        kind: "name",
        name: asked.name.clone(),
        address: joined(asked.addresses.iter().map(ToString::to_string)),
        protocol: asked.kind.clone(),
        rule: rule(asked.rule),
        attempts: asked.count,
        seen: Some((asked.first_seen.to_string(), asked.last_seen.to_string())),
        programs: programs(&asked.processes),
        ..Row::default()
    });
    let sockets = report.sockets.iter().map(|socket| Row {
        verdict: refused,
        kind: "socket",
        name: socket.kind.clone(),
        attempts: socket.count,
        programs: programs(&socket.processes),
        ..Row::default()
    });
    let incidents = report.incidents.iter().map(|incident| Row {
        verdict: if incident.verdict == "noted" {
            "noted"
        } else {
            refused
        },
        kind: "call",
        name: format!("{}: {}", incident.call, incident.about),
        reason: incident.reason.clone(),
        attempts: incident.count,
        programs: programs(&incident.processes),
        ..Row::default()
    });
    let rows = denials.chain(flows).chain(names);
    let rows = rows.chain(sockets).chain(incidents);
    let mut table = COLUMNS.join(",");
    table.push_str("\r\n");
    for row in rows {
        table.push_str(&row.line());
    }
    table
}

impl Row {
    fn to(destination: &Destination) -> Self {
        Self {
            kind: "connection",
            name: joined(destination.names.iter().cloned()),
            address: destination.address.to_string(),
            port: destination.port.to_string(),
            protocol: destination.protocol.clone(),
            ..Self::default()
        }
    }

    fn line(self) -> String {
        let number = |number: Option<u64>| number.map_or_else(String::new, |it| it.to_string());
        let (bytes_out, bytes_in) = self.bytes.unzip();
        let (first, last) = self.seen.unwrap_or_default();
        let fields = [
            self.verdict.to_owned(),
            self.kind.to_owned(),
            self.name,
            self.address,
            self.port,
            self.protocol,
            self.reason,
            self.rule,
            self.attempts.to_string(),
            number(self.packets),
            number(bytes_out),
            number(bytes_in),
            first,
            last,
            self.programs,
        ];
        let mut line = fields.map(|text| field(&text)).join(",");
        line.push_str("\r\n");
        line
    }
}

/// A field: quoted, with nothing in it that is not plainly printable.
fn field(text: &str) -> String {
    let text = escape(text);
    // What spreadsheets take for the beginning of a formula, after spaces too.
    let formula = text.trim_start().starts_with(['=', '+', '-', '@']);
    let guard = if formula { "'" } else { "" };
    format!("\"{guard}{}\"", text.replace('"', "\"\""))
}

fn joined(words: impl Iterator<Item = String>) -> String {
    words.collect::<Vec<_>>().join(" ")
}

/// Each process with those above it, the nearest first.
fn programs(processes: &[ProcessChain]) -> String {
    let chains = processes.iter().map(|chain| chain.executables.join(" < "));
    chains.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::report::escape::tests::{HOSTILE, MARKUP, is_harmful};
    use crate::report::fixture;

    /// The fields of a table, by the rules of RFC 4180.
    fn read(table: &str) -> Vec<Vec<String>> {
        let mut rows = vec![vec![String::new()]];
        let (mut quoted, mut characters) = (false, table.chars().peekable());
        while let Some(character) = characters.next() {
            let row = rows.last_mut().unwrap();
            match character {
                '"' if quoted && characters.next_if_eq(&'"').is_some() => {
                    row.last_mut().unwrap().push('"');
                }
                '"' => quoted = !quoted,
                ',' if !quoted => row.push(String::new()),
                '\r' if !quoted => {}
                '\n' if !quoted => rows.push(vec![String::new()]),
                other => row.last_mut().unwrap().push(other),
            }
        }
        assert_eq!(
            rows.pop(),
            Some(vec![String::new()]),
            "it ends with a line feed"
        );
        rows
    }

    fn is_formula(field: &str) -> bool {
        field
            .trim_start()
            .starts_with(['=', '+', '-', '@', '\t', '\r'])
    }

    #[test]
    fn the_table_is_the_golden_one() {
        fixture::assert_golden("egress.csv", &render(&fixture::report()));
    }

    #[test]
    fn no_text_of_a_job_is_a_formula_or_another_field() {
        let usual = read(&render(&fixture::report_saying("plain")));
        let formulas = [
            "=1+1",
            "+1",
            "-1",
            "@SUM(A1)",
            " =1",
            "\t=1",
            "\"=1",
            "=cmd|' /C calc'!A0",
        ];
        for text in HOSTILE.iter().chain(MARKUP).chain(&formulas) {
            let table = render(&fixture::report_saying(text));
            let found = read(&table);
            let shape = |rows: &[Vec<String>]| rows.iter().map(Vec::len).collect::<Vec<_>>();
            assert_eq!(shape(&found), shape(&usual), "{text:?}");
            assert!(
                !found.iter().flatten().any(|field| is_formula(field)),
                "{text:?}"
            );
            assert!(!table.replace("\r\n", "").contains(is_harmful), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_words_give_the_same_table(text: String) {
            let found = read(&render(&fixture::report_saying(&text)));
            prop_assert!(found.iter().all(|row| row.len() == COLUMNS.len()));
            prop_assert!(!found.iter().flatten().any(|field| is_formula(field)));
        }
    }
}
