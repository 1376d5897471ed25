//! The findings in SARIF 2.1.0, for code scanning and editors. Pure.
//!
//! Findings and notes are results; what the policy expects is counted only. What was not looked into
//! is a notification of the invocation, so that an empty list of results does not look like a clean
//! one.
//!
//! **Invariants**: messages hold no character with which SARIF or its viewers do anything (links,
//! placeholders, markup), whatever a job calls its processes and variables; a result is recognised
//! in the host's next run by the secret's keyed fingerprint and its place, never by process ids or
//! times.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::finding::{Class, Finding, Severity, Source, SweptProcess};
use super::{REPORT_NAME, SweepReport, words};
use crate::report::json;
use crate::report::sarif::{self, MAX_LOCATIONS, MAX_RESULTS, lines_of, name, sentence, text};

/// The findings of a report, whose file is the one that [`json::pretty`] makes of it.
///
/// # Errors
/// The report has no JSON form.
pub fn render(report: &SweepReport) -> Result<String, serde_json::Error> {
    sarif::log(&[run(report)?])
}

/// The run of a log that is about a sweep.
///
/// # Errors
/// The report has no JSON form.
pub fn run(report: &SweepReport) -> Result<Value, serde_json::Error> {
    let file = json::pretty(report)?;
    let listed = || report.findings.iter().chain(&report.notes);
    let lines = lines_of(&file, "findings").chain(lines_of(&file, "notes"));
    let rules = rules(listed());
    let results: Vec<Value> = listed()
        .zip(lines)
        .take(MAX_RESULTS)
        .map(|(finding, line)| result(report, &rules, finding, line))
        .collect();
    let omitted = listed().count().saturating_sub(results.len());
    Ok(json!({
        "tool": { "driver": {
            "name": "cordon",
            "version": text(&report.scanner.version),
            "rules": rules.values().map(|(_, rule)| rule).collect::<Vec<_>>(),
        }},
        "automationDetails": { "id": "cordon/secret-sweep/" },
        "columnKind": "unicodeCodePoints",
        "invocations": [invocation(report)],
        "results": results,
        "properties": {
            "verdict": report.came_to(),
            "expected": report.expected.len(),
            "resultsOmitted": omitted,
            "fingerprintKeyId": text(&report.scanner.key_id),
        },
    }))
}

/// Each rule with a result: its index, and what SARIF says of it.
fn rules<'r>(listed: impl Iterator<Item = &'r Finding>) -> BTreeMap<&'r str, (usize, Value)> {
    let mut worst: BTreeMap<&str, &Finding> = BTreeMap::new();
    for finding in listed {
        let kept = worst.entry(&finding.rule).or_insert(finding);
        if (finding.severity, finding.class_letter) < (kept.severity, kept.class_letter) {
            *kept = finding;
        }
    }
    let rule = |(index, (id, finding)): (usize, (&'r str, &Finding))| {
        let rule = json!({
            "id": text(id),
            "shortDescription": { "text": sentence(&finding.title) },
            "fullDescription": { "text": description(finding) },
            "help": { "text": words::advice(finding.class) },
            "defaultConfiguration": { "level": level(finding.severity) },
            "properties": {
                "tags": ["security", "secret", finding.class.name()],
                "precision": precision(finding),
                "security-severity": score(finding.class),
            },
        });
        (id, (index, rule))
    };
    worst.into_iter().enumerate().map(rule).collect()
}

fn description(finding: &Finding) -> String {
    let class = words::class(finding.class);
    format!("{}: {class}.", sentence(&finding.title))
}

fn invocation(report: &SweepReport) -> Value {
    let gaps = report.gaps();
    let notifications: Vec<_> = gaps
        .iter()
        .map(|gap| {
            let gap = sentence(&words::gap(*gap));
            json!({ "level": "warning", "message": { "text": format!("Not looked into: {gap}.") } })
        })
        .collect();
    let mut invocation = json!({
        "executionSuccessful": gaps.is_empty(),
        "toolExecutionNotifications": notifications,
    });
    if let (Some((from, to)), Some(object)) = (report.span(), invocation.as_object_mut()) {
        object.insert("startTimeUtc".into(), json!(from));
        object.insert("endTimeUtc".into(), json!(to));
    }
    invocation
}

fn result(
    report: &SweepReport,
    rules: &BTreeMap<&str, (usize, Value)>,
    finding: &Finding,
    line: usize,
) -> Value {
    let place = words::place(finding, name);
    let holder = finding
        .processes
        .first()
        .and_then(|process| process.chain.first());
    let holder = holder.map_or_else(String::new, |path| format!(" in {}", name(path)));
    let message = format!(
        "{}{holder}: {place}. {}",
        sentence(&finding.title),
        sentence(&finding.explanation)
    );
    let mut processes = finding
        .processes
        .iter()
        .map(Some)
        .take(MAX_LOCATIONS)
        .collect::<Vec<_>>();
    if processes.is_empty() {
        processes.push(None);
    }
    let locations: Vec<_> = processes
        .into_iter()
        .map(|process| location(finding, process, line))
        .collect();
    json!({
        "ruleId": text(&finding.rule),
        "ruleIndex": rules.get(finding.rule.as_str()).map(|(index, _)| index),
        "level": level(finding.severity),
        "message": { "text": message },
        "locations": locations,
        "partialFingerprints": {
            "cordonSecret/v1": text(&finding.fingerprint),
            "primaryLocationLineHash": identity(finding),
        },
        "properties": {
            "class": finding.class,
            "classLetter": finding.class_letter,
            "confidence": finding.confidence,
            "checksum": finding.checksum,
            "reason": text(&finding.reason),
            "fingerprintKeyId": text(&report.scanner.key_id),
            "seenAtExec": finding.seen_at_exec,
            "seenInProc": finding.seen_in_proc,
            "processes": finding.processes_omitted.saturating_add(finding.processes.len() as u64),
        },
    })
}

/// The finding's line of the report, for viewers that show nothing without a file; and the place in
/// the process.
fn location(finding: &Finding, process: Option<&SweptProcess>, line: usize) -> Value {
    let chain = process.map_or(&[][..], |process| &process.chain);
    let mut path: Vec<_> = chain.iter().rev().map(|path| name(path)).collect();
    path.push(words::place(finding, name));
    let kind = match finding.source {
        Source::Environ => "variable",
        Source::Arguments => "parameter",
    };
    json!({
        "physicalLocation": {
            "artifactLocation": { "uri": REPORT_NAME },
            "region": { "startLine": line },
        },
        "logicalLocations": [{
            "name": words::variable(&finding.variable, name),
            "fullyQualifiedName": path.join(" > "),
            "kind": kind,
        }],
    })
}

/// The same for the same secret at the same place, under one key; in the form of code scanning.
fn identity(finding: &Finding) -> String {
    let Finding {
        rule,
        fingerprint,
        source,
        variable,
        field,
        ..
    } = finding;
    // Serialised as a whole, so that no name can be taken for two.
    let place = json!([rule, fingerprint, source, variable, field]).to_string();
    sarif::identity(&place)
}

const fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Violation => "error",
        Severity::Warning => "warning",
        Severity::Note | Severity::Expected => "note",
    }
}

const fn precision(finding: &Finding) -> &'static str {
    use super::finding::Confidence;
    match finding.confidence {
        Confidence::High => "very-high",
        Confidence::Medium => "high",
        Confidence::Low => "low",
    }
}

/// How bad it is where nobody knows the place, from 0 to 10: what code scanning sorts by. Longer life
/// and wider reach come first.
const fn score(class: Class) -> &'static str {
    match class {
        Class::PrivateKey | Class::RunnerIdentity => "9.0",
        Class::Static => "8.0",
        Class::Unknown => "6.0",
        Class::JobToken => "5.0",
        Class::ShortLived => "4.0",
        Class::Pointer => "2.0",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::report::escape::tests::HOSTILE;
    use crate::report::fixture::assert_golden;
    use crate::report::sarif::MAX_TEXT;
    use crate::report::sweep::fixture;

    fn written(report: &SweepReport) -> Value {
        let text = render(report).unwrap();
        let mut sarif: Value = json::parse(text.as_bytes()).unwrap();
        sarif["runs"][0].take()
    }

    /// Every string of a document, keys included.
    fn strings(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::String(text) => found.push(text.clone()),
            Value::Array(list) => list.iter().for_each(|value| strings(value, found)),
            Value::Object(object) => {
                for (key, value) in object {
                    found.push(key.clone());
                    strings(value, found);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    #[test]
    fn the_sarif_is_the_golden_one() {
        assert_golden("secret-sweep.sarif", &render(&fixture::report()).unwrap());
    }

    #[test]
    fn findings_and_notes_are_results_and_what_is_expected_is_none() {
        let run = written(&fixture::report());
        let levels: Vec<_> = run["results"]
            .as_array()
            .unwrap()
            .iter()
            .map(|result| result["level"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(levels, ["error", "warning", "note"]);
        assert_eq!(run["properties"]["expected"], 1);
    }

    #[test]
    fn each_result_points_to_its_own_line_of_the_report() {
        let report = fixture::report();
        let file = json::pretty(&report).unwrap();
        let lines: Vec<_> = file.lines().collect();
        let run = written(&report);
        for result in run["results"].as_array().unwrap() {
            let region = &result["locations"][0]["physicalLocation"]["region"];
            let line = usize::try_from(region["startLine"].as_u64().unwrap()).unwrap();
            // Its line holds the brace, and the next one its rule.
            assert_eq!(lines[line - 1], "    {");
            let rule = format!("      \"rule\": {},", result["ruleId"]);
            assert_eq!(lines[line], rule);
        }
    }

    #[test]
    fn a_secret_is_recognised_whatever_process_has_it_and_whenever() {
        let mut again = fixture::report();
        for finding in &mut again.findings {
            finding.first_seen = "2026-12-01T00:00:00Z".parse().unwrap();
            finding.processes.clear();
        }
        let prints = |report: &SweepReport| -> Vec<Value> {
            let run = written(report);
            let results = run["results"].as_array().unwrap().iter();
            results
                .map(|result| result["partialFingerprints"].clone())
                .collect()
        };
        assert_eq!(prints(&fixture::report()), prints(&again));
        again.findings[0].variable = super::super::Variable::None;
        assert_ne!(prints(&fixture::report())[0], prints(&again)[0]);
    }

    #[test]
    fn words_of_the_job_make_no_links_placeholders_or_markup() {
        let words = "[here](http://evil.example) {0} <b>`x`</b> *y* \\ \u{1b}[2J";
        let run = written(&fixture::report_saying(words));
        let mut texts = vec![];
        strings(&run["results"], &mut texts);
        strings(&run["tool"], &mut texts);
        strings(&run["invocations"], &mut texts);
        assert!(
            texts.iter().any(|text| text.contains("%5Bhere%5D")),
            "{texts:?}"
        );
        for text in texts {
            assert!(
                !text.contains(['[', ']', '{', '}', '<', '>', '`', '*', '\\', '\u{1b}'])
                    || text.contains(" > "),
                "{text}"
            );
        }
    }

    #[test]
    fn hostile_words_reach_no_reader() {
        for words in HOSTILE {
            let text = render(&fixture::report_saying(words)).unwrap();
            assert!(
                text.trim_end()
                    .bytes()
                    .all(|byte| byte == b'\n' || (0x20..0x7f).contains(&byte))
            );
            let mut texts = vec![];
            strings(&written(&fixture::report_saying(words)), &mut texts);
            for text in texts {
                assert!(
                    !text.contains(crate::report::escape::tests::is_harmful),
                    "{text:?}"
                );
            }
        }
    }

    #[test]
    fn a_name_without_end_is_cut() {
        let long = "x".repeat(MAX_TEXT * 100);
        let text = render(&fixture::report_saying(&long)).unwrap();
        assert!(!text.contains(&"x".repeat(MAX_TEXT + 1)), "{}", text.len());
    }

    proptest! {
        #[test]
        fn any_word_gives_the_same_document(words in any::<String>()) {
            let run = written(&fixture::report_saying(&words));
            prop_assert_eq!(run["results"].as_array().unwrap().len(), 3);
            for result in run["results"].as_array().unwrap() {
                prop_assert!(result["ruleIndex"].is_u64());
                prop_assert!(result["locations"][0]["physicalLocation"]["region"]["startLine"].is_u64());
            }
        }
    }
}
