//! Denials in SARIF: one result for each refused destination, name, socket and call.
//!
//! Each points to its line of the report, and says in words what would allow it. What was lost is a
//! notification of the invocation, so that an empty list of results does not look like a whole one.
//!
//! **Invariant**: a result is recognised in the next run by reason, destination and program, never by
//! process ids, times or the addresses of a name.

use std::collections::BTreeMap;

use cordon_ebpf::abi::verdict::Reason;
use serde_json::{Value, json};

use super::{MAX_LOCATIONS, MAX_RESULTS, identity, lines_of, name, sentence, text};
use crate::report::attested::Attested as _;
use crate::report::explain::explanation;
use crate::report::text::{coverage, losses};
use crate::report::{
    Denial, Destination, IncidentSeen, NameAsked, ProcessChain, Report, ReportMode, SocketDenied,
    json,
};

/// A reason that this version has no name for.
const UNKNOWN: Reason = Reason(u8::MAX);

/// Something that was refused.
struct Result<'r> {
    rule: String,
    what: String,
    place: Value,
    help: &'static str,
    count: u64,
    processes: &'r [ProcessChain],
    line: usize,
}

/// The run of a log that is about what left a job.
///
/// # Errors
/// The report has no JSON form.
pub fn run(report: &Report) -> std::result::Result<Value, serde_json::Error> {
    let file = json::pretty(report)?;
    let all = results(report, &file);
    let rules: BTreeMap<&str, &Result<'_>> = all
        .iter()
        .map(|result| (result.rule.as_str(), result))
        .collect();
    let index: BTreeMap<&str, usize> = rules.keys().copied().zip(0..).collect();
    let level = match report.mode {
        ReportMode::Enforce => "error",
        ReportMode::Audit => "warning",
    };
    let listed: Vec<_> = all
        .iter()
        .take(MAX_RESULTS)
        .map(|result| one(result, level, &index))
        .collect();
    let rules: Vec<_> = rules.values().map(|result| rule(result, level)).collect();
    let omitted = all.len().saturating_sub(listed.len());
    Ok(json!({
        "tool": { "driver": {
            "name": "cordon",
            "version": text(&report.platform.agent_version),
            "rules": rules,
        }},
        "automationDetails": { "id": "cordon/egress/" },
        "columnKind": "unicodeCodePoints",
        "invocations": [invocation(report)],
        "results": listed,
        "properties": {
            "mode": report.mode,
            "denied": report.summary.denied,
            "resultsOmitted": omitted,
        },
    }))
}

fn results<'r>(report: &'r Report, file: &str) -> Vec<Result<'r>> {
    let lines = |list| {
        lines_of(file, list)
            .map(Some)
            .chain(std::iter::repeat(None))
    };
    let mut all = Vec::new();
    let denials = report.denials.iter().zip(lines("denials"));
    all.extend(denials.map(|(denial, line)| of_denial(denial, line.unwrap_or(1))));
    let names = report.dns.iter().zip(lines("dns"));
    let names = names.filter(|(name, _)| name.answer.is_refusal());
    all.extend(names.map(|(name, line)| of_name(name, line.unwrap_or(1))));
    let sockets = report.sockets.iter().zip(lines("sockets"));
    all.extend(sockets.map(|(socket, line)| of_socket(socket, line.unwrap_or(1))));
    let incidents = report.incidents.iter().zip(lines("incidents"));
    let incidents = incidents.filter(|(incident, _)| incident.verdict != "noted");
    all.extend(incidents.map(|(incident, line)| of_incident(incident, line.unwrap_or(1))));
    all
}

fn of_denial(denial: &Denial, line: usize) -> Result<'_> {
    let Destination {
        address,
        port,
        protocol,
        names,
    } = &denial.destination;
    let to = names
        .first()
        .map_or_else(|| address.to_string(), |first| name(first));
    let what = match port {
        0 => format!("{to}, {}", name(protocol)),
        port => format!("{to}, port {port}/{}", name(protocol)),
    };
    // Addresses of a name change from run to run.
    let address = names.is_empty().then_some(address);
    Result {
        rule: format!("egress/{}", text(&denial.reason)),
        what,
        place: json!([names, address, port, protocol, denial.shown_names]),
        help: of_reason(&denial.reason),
        count: denial.attempts.saturating_add(denial.packets),
        processes: &denial.processes,
        line,
    }
}

fn of_name(asked: &NameAsked, line: usize) -> Result<'_> {
    Result {
        rule: "egress/name".to_owned(),
        what: format!("the name {}, type {}", name(&asked.name), name(&asked.kind)),
        place: json!([asked.name, asked.kind]),
        help: "No rule allows this name, or its answer is one that it must not have. Allow the host by \
               name if the job needs it.",
        count: asked.count,
        processes: &asked.processes,
        line,
    }
}

fn of_socket(socket: &SocketDenied, line: usize) -> Result<'_> {
    Result {
        rule: format!("egress/{}", Reason::SOCKET_KIND.name()),
        what: format!("a socket of the kind {}", name(&socket.kind)),
        place: json!([socket.kind]),
        help: explanation(Reason::SOCKET_KIND),
        count: socket.count,
        processes: &socket.processes,
        line,
    }
}

fn of_incident(incident: &IncidentSeen, line: usize) -> Result<'_> {
    Result {
        rule: format!("egress/{}", text(&incident.reason)),
        what: format!("{} {}", name(&incident.call), name(&incident.about)),
        place: json!([incident.call, incident.about]),
        help: of_reason(&incident.reason),
        count: incident.count,
        processes: &incident.processes,
        line,
    }
}

/// The words for a reason: cordon's own, since those in a report can have been changed.
fn of_reason(name: &str) -> &'static str {
    let reason = Reason::ALL.iter().find(|reason| reason.name() == name);
    explanation(reason.copied().unwrap_or(UNKNOWN))
}

fn rule(result: &Result<'_>, level: &str) -> Value {
    json!({
        "id": result.rule,
        "shortDescription": { "text": format!("Egress refused: {}", result.rule) },
        "fullDescription": { "text": sentence(result.help) },
        "help": { "text": sentence(result.help) },
        "defaultConfiguration": { "level": level },
        "properties": {
            "tags": ["security", "egress"],
            "precision": "very-high",
            "security-severity": "5.0",
        },
    })
}

fn one(result: &Result<'_>, level: &str, index: &BTreeMap<&str, usize>) -> Value {
    let program = result
        .processes
        .first()
        .and_then(|chain| chain.executables.first());
    let by = program.map_or_else(String::new, |program| format!(" by {}", name(program)));
    let verb = if level == "error" {
        "was refused"
    } else {
        "would have been refused"
    };
    let message = format!(
        "{}{by} {verb}, {} times. {}",
        result.what,
        result.count,
        sentence(result.help)
    );
    let mut chains: Vec<_> = result
        .processes
        .iter()
        .map(Some)
        .take(MAX_LOCATIONS)
        .collect();
    if chains.is_empty() {
        chains.push(None);
    }
    let locations: Vec<_> = chains
        .into_iter()
        .map(|chain| location(result, chain))
        .collect();
    let facts = json!([result.rule, result.place, program]).to_string();
    json!({
        "ruleId": result.rule,
        "ruleIndex": index.get(result.rule.as_str()),
        "level": level,
        "message": { "text": message },
        "locations": locations,
        "partialFingerprints": { "primaryLocationLineHash": identity(&facts) },
        "occurrenceCount": result.count.clamp(1, i32::MAX.unsigned_abs().into()),
    })
}

fn location(result: &Result<'_>, chain: Option<&ProcessChain>) -> Value {
    let executables = chain.map_or(&[][..], |chain| &chain.executables);
    let mut path: Vec<_> = executables.iter().rev().map(|path| name(path)).collect();
    path.push(result.what.clone());
    json!({
        "physicalLocation": {
            "artifactLocation": { "uri": Report::REPORT_NAME },
            "region": { "startLine": result.line },
        },
        "logicalLocations": [{
            "name": result.what,
            "fullyQualifiedName": path.join(" > "),
            "kind": "resource",
        }],
    })
}

fn invocation(report: &Report) -> Value {
    let mut missing = Vec::new();
    if !report.losses.none() {
        missing.push(losses(&report.losses));
    }
    missing.extend(
        report
            .interruptions
            .iter()
            .map(crate::report::text::interrupted),
    );
    if report.coverage.layers.iter().any(|layer| !layer.active) {
        missing.push(coverage(&report.coverage));
    }
    let notifications: Vec<_> = missing
        .iter()
        .map(|words| json!({ "level": "warning", "message": { "text": sentence(words) } }))
        .collect();
    json!({
        "executionSuccessful": report.losses.none() && report.interruptions.is_empty(),
        "toolExecutionNotifications": notifications,
        "startTimeUtc": report.job.started,
        "endTimeUtc": report.job.finished,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::report::escape::tests::{HOSTILE, MARKUP};
    use crate::report::fixture;
    use crate::report::sarif::log;

    fn written(report: &Report) -> String {
        log(&[run(report).unwrap()]).unwrap()
    }

    /// The same document with every string emptied, but keys, rules and levels.
    fn shape(value: &Value) -> Value {
        match value {
            // The index of a rule follows from the order of their names.
            Value::String(_) | Value::Number(_) => Value::Null,
            Value::Array(list) => list.iter().map(shape).collect(),
            Value::Object(object) => object
                .iter()
                .map(|(key, value)| (key.clone(), shape(value)))
                .collect(),
            other => other.clone(),
        }
    }

    #[test]
    fn the_sarif_is_the_golden_one() {
        fixture::assert_golden("egress.sarif", &written(&fixture::report()));
    }

    #[test]
    fn each_result_points_to_its_own_line_of_the_report() {
        let report = fixture::report();
        let file = json::pretty(&report).unwrap();
        let lines: Vec<_> = file.lines().collect();
        let run = run(&report).unwrap();
        let results = run["results"].as_array().unwrap();
        // Three destinations, two names, a socket, a call; who left the cgroup is no denial.
        assert_eq!(results.len(), 7);
        for result in results {
            let region = &result["locations"][0]["physicalLocation"]["region"];
            let line = usize::try_from(region["startLine"].as_u64().unwrap()).unwrap();
            assert_eq!(lines[line - 1], "    {");
        }
    }

    #[test]
    fn a_denial_is_recognised_whatever_its_address_time_and_process_id() {
        let print =
            |report: &Report| run(report).unwrap()["results"][0]["partialFingerprints"].clone();
        let mut again = fixture::report();
        again.denials[0].destination.address = [203, 0, 113, 99].into();
        again.denials[0].processes[0].pid = 1;
        again.denials[0].attempts = 99;
        assert_eq!(print(&fixture::report()), print(&again));
        again.denials[0].destination.port = 8443;
        assert_ne!(print(&fixture::report()), print(&again));
    }

    #[test]
    fn what_was_lost_is_told() {
        let mut report = fixture::report();
        report.denials.clear();
        report.losses.flows = 1;
        let run = run(&report).unwrap();
        let invocation = &run["invocations"][0];
        assert_eq!(invocation["executionSuccessful"], false);
        assert!(invocation.to_string().contains("INCOMPLETE"));
    }

    #[test]
    fn hostile_words_change_nothing_but_words() {
        let plain: Value =
            json::parse(written(&fixture::report_saying("plain")).as_bytes()).unwrap();
        for words in HOSTILE.iter().chain(MARKUP) {
            let text = written(&fixture::report_saying(words));
            assert!(
                text.bytes()
                    .all(|byte| byte == b'\n' || (b' '..=b'~').contains(&byte))
            );
            let hostile: Value = json::parse(text.as_bytes()).unwrap();
            assert_eq!(shape(&plain), shape(&hostile), "{words:?}");
            let results = hostile["runs"][0]["results"].as_array().unwrap();
            for result in results {
                let message = result["message"]["text"].as_str().unwrap();
                assert!(
                    !message.contains(['[', ']', '{', '}', '<', '>', '`', '*']),
                    "{message}"
                );
            }
        }
    }

    proptest! {
        #[test]
        fn any_word_gives_the_same_document(words in any::<String>()) {
            let run = run(&fixture::report_saying(&words)).unwrap();
            prop_assert_eq!(run["results"].as_array().unwrap().len(), 7);
        }
    }
}
