//! What a report says about one destination or name: why it was refused, who tried, what would allow
//! it. Pure.

use serde::Serialize;

use super::escape::escape;
use super::text::layout::{Page, Tone};
use super::text::quantity::{bytes, count, time};
use super::{Denial, Destination, Flow, NameAsked, ProcessChain, Report};

/// Entries of each kind that are shown; a part of a name may match thousands.
const SHOWN: usize = 20;

/// What was found.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Inquiry<'r> {
    /// Refused destinations.
    pub denials: Vec<Numbered<'r>>,
    /// Names asked.
    pub names: Vec<&'r NameAsked>,
    /// Allowed destinations.
    pub flows: Vec<&'r Flow>,
    /// How many more there are of all of them.
    pub omitted: usize,
}

/// A denial and its number.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Numbered<'r> {
    /// Its place in the report, from 1.
    pub number: usize,
    /// The denial.
    #[serde(flatten)]
    pub denial: &'r Denial,
}

impl<'r> Inquiry<'r> {
    /// Looks for a number of a denial; or for a name or address, alone or with a port after a colon;
    /// or, where nothing is called so, for a part of a name.
    #[must_use]
    pub fn new(report: &'r Report, what: &str) -> Self {
        if let Ok(number) = what.parse::<usize>() {
            return Self::numbered(report, number);
        }
        let what = what.trim().trim_end_matches('.').to_ascii_lowercase();
        let (name, port) = split(&what);
        let name = name.trim_end_matches('.');
        let exact = Self::matching(report, port, |text| text.eq_ignore_ascii_case(name));
        if !exact.is_empty() || name.is_empty() {
            return exact;
        }
        Self::matching(report, port, |text| {
            text.to_ascii_lowercase().contains(name)
        })
    }

    fn numbered(report: &'r Report, number: usize) -> Self {
        let denial = number
            .checked_sub(1)
            .and_then(|index| report.denials.get(index));
        Self {
            denials: denial
                .map(|denial| Numbered { number, denial })
                .into_iter()
                .collect(),
            names: Vec::new(),
            flows: Vec::new(),
            omitted: 0,
        }
    }

    fn matching(report: &'r Report, port: Option<u16>, is: impl Fn(&str) -> bool) -> Self {
        let to = |destination: &Destination| {
            let names = destination.names.iter().any(|name| is(name));
            let called = names || is(&destination.address.to_string());
            called && port.is_none_or(|port| port == destination.port)
        };
        let shown = |denial: &Denial| denial.shown_names.iter().any(|name| is(name));
        let denials = report.denials.iter().zip(1..);
        let mut denials: Vec<_> = denials
            .filter(|(denial, _)| to(&denial.destination) || shown(denial))
            .map(|(denial, number)| Numbered { number, denial })
            .collect();
        let names = report.dns.iter();
        let mut names: Vec<_> = names
            .filter(|name| port.is_none() && is(&name.name))
            .collect();
        let flows = report.flows.iter();
        let mut flows: Vec<_> = flows.filter(|flow| to(&flow.destination)).collect();
        let mut omitted = 0_usize;
        let mut cut = |length: usize| {
            omitted = omitted.saturating_add(length.saturating_sub(SHOWN));
        };
        cut(denials.len());
        cut(names.len());
        cut(flows.len());
        denials.truncate(SHOWN);
        names.truncate(SHOWN);
        flows.truncate(SHOWN);
        Self {
            denials,
            names,
            flows,
            omitted,
        }
    }

    /// Whether nothing was found.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.denials.is_empty() && self.names.is_empty() && self.flows.is_empty()
    }
}

/// A name or address, and the port behind its colon: `a.example:443`, `[2001:db8::1]:443`.
fn split(what: &str) -> (&str, Option<u16>) {
    let bare = what
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    if let Some(address) = bare {
        return (address, None);
    }
    let Some((name, port)) = what.rsplit_once(':') else {
        return (what, None);
    };
    let name = match name.strip_prefix('[') {
        Some(address) => address.strip_suffix(']').unwrap_or(address),
        // An address of version 6 without brackets has more colons, and no port.
        None if name.contains(':') => return (what, None),
        None => name,
    };
    port.parse().map_or((what, None), |port| (name, Some(port)))
}

/// What was found as text of at most `width` columns (but not below 40); remedies keep their lines.
#[must_use]
pub fn render(found: &Inquiry<'_>, report: &Report, width: usize, colour: bool) -> String {
    let mut page = Page::new(width, colour);
    for numbered in &found.denials {
        denied(&mut page, numbered, report);
        page.gap();
    }
    for name in &found.names {
        asked(&mut page, name, report);
        page.gap();
    }
    for flow in &found.flows {
        allowed(&mut page, flow, report);
        page.gap();
    }
    if found.omitted > 0 {
        let more = count(found.omitted as u64, "further entry");
        page.line(
            Tone::Warn,
            &format!("{more} of the report; say it more exactly"),
        );
    }
    let text = page.into_text();
    format!("{}\n", text.trim_end())
}

fn denied(page: &mut Page, numbered: &Numbered<'_>, report: &Report) {
    let Numbered { number, denial } = numbered;
    let what = match report.mode {
        super::ReportMode::Audit => "Would have been denied",
        super::ReportMode::Enforce => "Denied",
    };
    page.line(
        Tone::Bad,
        &format!("{what} (number {number}): {}", place(&denial.destination)),
    );
    let (reason, explanation) = (escape(&denial.reason), escape(&denial.explanation));
    page.fact("  why", Tone::Strong, &reason);
    page.fact("", Tone::Plain, &explanation);
    if !denial.shown_names.is_empty() {
        let shown: Vec<_> = denial.shown_names.iter().map(|name| escape(name)).collect();
        page.fact("  showed", Tone::Plain, &shown.join(", "));
    }
    if !denial.hooks.is_empty() {
        let hooks: Vec<_> = denial.hooks.iter().map(|hook| escape(hook)).collect();
        page.fact("  refused at", Tone::Plain, &hooks.join(", "));
    }
    let attempts = count(denial.attempts, "attempt");
    let tried = match denial.packets {
        0 => attempts,
        packets => format!("{attempts}, {}", count(packets, "packet")),
    };
    page.fact("  tried", Tone::Plain, &tried);
    let (first, last) = (time(denial.first_seen), time(denial.last_seen));
    page.fact("  seen", Tone::Plain, &format!("{first} to {last}"));
    chains(page, &denial.processes);
    remedy(page, denial.remedy.as_deref());
}

fn asked(page: &mut Page, name: &NameAsked, report: &Report) {
    let (tone, what) = if name.answer.is_refusal() {
        (Tone::Bad, "Name refused")
    } else {
        (Tone::Good, "Name asked")
    };
    let (text, kind) = (escape(&name.name), escape(&name.kind));
    page.line(tone, &format!("{what}: {text} {kind}"));
    page.fact("  asked", Tone::Plain, &count(name.count, "time"));
    if let Some(rule) = name.rule {
        let rule = report.policy.rule_text(rule);
        page.fact("  rule", Tone::Plain, &escape(&rule));
    }
    if !name.addresses.is_empty() {
        let addresses: Vec<_> = name.addresses.iter().map(ToString::to_string).collect();
        page.fact("  answer", Tone::Plain, &addresses.join(", "));
    }
    chains(page, &name.processes);
    if name.remedy.is_some() {
        remedy(page, name.remedy.as_deref());
    }
}

fn allowed(page: &mut Page, flow: &Flow, report: &Report) {
    page.line(
        Tone::Good,
        &format!("Allowed: {}", place(&flow.destination)),
    );
    match flow
        .rule
        .and_then(|rule| report.policy.rules.get(rule as usize))
    {
        Some(rule) => {
            let (text, origin) = (escape(&rule.text), escape(&rule.origin));
            page.fact("  rule", Tone::Plain, &format!("{text} ({origin})"));
        }
        None => page.fact("  because", Tone::Plain, &escape(&flow.reason)),
    }
    let volume = format!(
        "{}, {} out, {} in",
        count(flow.attempts, "attempt"),
        bytes(flow.bytes_out),
        bytes(flow.bytes_in)
    );
    page.fact("  used", Tone::Plain, &volume);
    chains(page, &flow.processes);
}

fn place(destination: &Destination) -> String {
    let Destination {
        address,
        port,
        protocol,
        names,
    } = destination;
    let names: Vec<_> = names.iter().map(|name| escape(name)).collect();
    let protocol = escape(protocol);
    let port = match port {
        0 => protocol.into_owned(),
        port => format!("port {port}/{protocol}"),
    };
    if names.is_empty() {
        return format!("{address}, {port}");
    }
    format!("{} ({address}), {port}", names.join(" or "))
}

/// Every chain, whole.
fn chains(page: &mut Page, chains: &[ProcessChain]) {
    for chain in chains {
        let path: Vec<_> = chain.executables.iter().map(|path| escape(path)).collect();
        let times = count(chain.events, "time");
        let path = path.join(" < ");
        page.fact(
            "  by",
            Tone::Plain,
            &format!("{path} (pid {}), {times}", chain.pid),
        );
    }
}

fn remedy(page: &mut Page, remedy: Option<&str>) {
    let Some(remedy) = remedy else {
        page.fact("  to allow", Tone::Plain, "no rule can");
        return;
    };
    page.fact(
        "  to allow",
        Tone::Plain,
        "add to a profile, if it is legitimate:",
    );
    for line in remedy.lines() {
        page.unwrapped(&format!("    {}", escape(line)));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::report::escape::tests::{HOSTILE, MARKUP};
    use crate::report::fixture;
    use crate::report::text::tests::{harmful, uncoloured};

    fn numbers(what: &str) -> (Vec<usize>, usize, usize) {
        let report = fixture::report();
        let found = Inquiry::new(&report, what);
        let denials = found.denials.iter().map(|denial| denial.number).collect();
        (denials, found.names.len(), found.flows.len())
    }

    #[test]
    fn what_is_asked_for_is_found() {
        for (what, found) in [
            ("1", (vec![1], 0, 0)),
            ("0", (vec![], 0, 0)),
            ("4", (vec![], 0, 0)),
            ("evil.example.org", (vec![1], 0, 0)),
            ("EVIL.example.org.:443", (vec![1], 0, 0)),
            ("evil.example.org:80", (vec![], 0, 0)),
            ("2001:db8::25", (vec![2], 0, 0)),
            ("[2001:db8::25]:25", (vec![2], 0, 0)),
            ("198.51.100.7", (vec![3], 0, 0)),
            ("api.example.com", (vec![2], 1, 1)),
            ("example.com", (vec![2], 2, 1)),
            ("telemetry", (vec![], 1, 0)),
            ("nowhere.test", (vec![], 0, 0)),
            ("", (vec![], 0, 0)),
        ] {
            assert_eq!(numbers(what), found, "{what}");
        }
    }

    #[test]
    fn the_text_is_the_golden_one() {
        let report = fixture::report();
        let mut text = String::new();
        for what in ["1", "api.example.com", "telemetry"] {
            let found = Inquiry::new(&report, what);
            text.extend(["# ", what, "\n"]);
            text.push_str(&render(&found, &report, 80, false));
            assert_eq!(
                uncoloured(&render(&found, &report, 80, true)),
                render(&found, &report, 80, false)
            );
        }
        fixture::assert_golden("explain-80.txt", &text);
    }

    #[test]
    fn hostile_words_are_harmless() {
        for words in HOSTILE.iter().chain(MARKUP) {
            let report = fixture::report_saying(words);
            let text = render(&Inquiry::new(&report, "1"), &report, 80, false);
            assert!(!harmful(&text), "{words:?}");
            for line in text.lines() {
                assert!(!line.trim_start().starts_with("::error"), "{line}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_question_has_an_answer(what in any::<String>(), words in any::<String>()) {
            let report = fixture::report_saying(&words);
            let text = render(&Inquiry::new(&report, &what), &report, 60, false);
            prop_assert!(!harmful(&text));
        }
    }
}
