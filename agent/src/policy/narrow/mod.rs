//! A job's own file, which takes from the job's policy and never adds to it. Pure.
//!
//! **Invariant**: what the narrowed policy allows, the policy allowed before: each rule of the file lies within
//! one rule that is in force. The rules the job cannot do without, those of its runner's control plane, stay.

use std::ops::Range;
use std::sync::Arc;

use cordon_ebpf::abi::ruleset::RuleIndex;

use super::diagnostic::{Mistake, Mistakes, SourceText};
use super::endpoint::Endpoint;
use super::pattern::Depth;
use super::profile::{FILE_BYTES, Profile};
use super::verify::{Verify, by_port};
use super::{Mode, Narrowed, Policy, Rule};

/// Rules of one file: each stays in the job's reports.
const MOST_RULES: usize = 256;
/// Rules a job can have given itself, over all files.
const MOST_IN_ALL: usize = 1024;
/// Rules that a refusal lists.
const LISTED: usize = 8;

/// The policy that is left when a job narrows it by a file. `name` is what the file is called in reports.
///
/// # Errors
/// The text is no profile, or says anything that would not make the policy narrower: all such places.
pub fn narrow(policy: &Policy, name: &str, bytes: &[u8]) -> Result<Policy, Mistakes> {
    if bytes.len() as u64 > FILE_BYTES {
        let mistake = Mistake::new(format!("`{name}` is larger than {FILE_BYTES} bytes"));
        return Err(mistake.into());
    }
    let (profile, mut mistakes) = Profile::parse(name, bytes.to_vec());
    // With mistakes in its text, what was read of it means nothing.
    if mistakes.is_empty() {
        mistakes = refused(policy, &profile);
    }
    Mistakes::check(mistakes)?;
    let granted = policy.narrowed.as_ref();
    let granted = granted.map_or(policy.rules.len(), |narrowed| narrowed.granted);
    let mut rules = policy.rules.clone();
    rules.extend(profile.rules);
    Ok(Policy {
        mode: profile.mode.unwrap_or(policy.mode),
        narrowed: Some(Narrowed {
            granted,
            from: policy.standing,
            to: policy.rules.len(),
        }),
        rules,
        ..policy.clone()
    })
}

/// All in a file that does not make a policy narrower.
fn refused(policy: &Policy, profile: &Profile) -> Vec<Mistake> {
    let Profile {
        name: _,
        description: _,
        extends,
        mode,
        rules,
        dns,
        secrets,
        limits,
        engine,
        sandbox,
        source,
    } = profile;
    let mut mistakes = Vec::new();
    for base in extends {
        let mistake = Mistake::new("a file that narrows a job extends nothing")
            .at(source, base.span())
            .help("write the rules it needs into the file itself");
        mistakes.push(mistake);
    }
    for (said, table) in [
        (dns.is_some(), "dns"),
        (secrets.is_some(), "secrets"),
        (limits.is_some(), "limits"),
        (engine.is_some(), "containers"),
        (sandbox.is_some(), "sandbox"),
    ] {
        if said {
            let mistake = Mistake::new(format!("`[{table}]` cannot be changed by a job"))
                .at(source, table_in(source, table))
                .help("leave it out: what the profiles of the job say of it goes on");
            mistakes.push(mistake);
        }
    }
    if (*mode, policy.mode) == (Some(Mode::Audit), Mode::Enforce) {
        let mistake = Mistake::new("the job is enforced, and cannot go back to audit mode")
            .at(source, key_in(source, "mode"))
            .help("leave `mode` out, or write `mode = \"enforce\"`");
        mistakes.push(mistake);
    }
    if rules.len() > MOST_RULES {
        let mistake = Mistake::new(format!(
            "{} rules, {MOST_RULES} are the most a job can give itself at once",
            rules.len()
        ));
        mistakes.push(mistake.at(source, 0..0));
    }
    let own = |narrowed: &Narrowed| policy.rules.len().saturating_sub(narrowed.granted);
    let own = policy.narrowed.as_ref().map_or(0, own);
    if own.saturating_add(rules.len()) > MOST_IN_ALL {
        let mistake = Mistake::new("the job has narrowed its policy too often")
            .help(format!("{MOST_IN_ALL} rules of its own are the most"));
        mistakes.push(mistake.at(source, 0..0));
    }
    let in_force: Vec<&Rule> = (policy.rules.iter().enumerate())
        .filter(|(index, _)| policy.is_in_force(*index))
        .map(|(_, rule)| rule)
        .collect();
    let wider = |rule: &&Rule| !in_force.iter().any(|outer| covers(outer, rule));
    mistakes.extend(rules.iter().filter(wider).map(|rule| {
        Mistake::new(format!("`{}` is more than the job may", rule.describe()))
            .at(source, source.span_of_line(rule.origin.line))
            .label("within no one rule of the job")
            .help(allowed(&in_force))
    }));
    mistakes
}

fn parts(rule: &Rule) -> Vec<(u16, u16, Verify)> {
    by_port(&rule.endpoint, &rule.ports, rule.protocol, rule.verify)
}

fn allowed(rules: &[&Rule]) -> String {
    if rules.is_empty() {
        return "the job is allowed nothing".to_owned();
    }
    let listed: Vec<String> = (rules.iter().take(LISTED))
        .map(|rule| rule.describe())
        .collect();
    let more = rules.len().saturating_sub(LISTED);
    let more = if more > 0 {
        format!("; and {more} more")
    } else {
        String::new()
    };
    format!("the job is allowed: {}{more}", listed.join("; "))
}

/// Whether all that `inner` allows, `outer` alone allows.
fn covers(outer: &Rule, inner: &Rule) -> bool {
    let Rule {
        endpoint,
        ports,
        protocol,
        private,
        verify: _,
        reason: _,
        origin: _,
    } = outer;
    let reaches = match (endpoint, &inner.endpoint) {
        (Endpoint::Host(outer), Endpoint::Host(inner)) => outer.includes(inner),
        (Endpoint::Net(outer), Endpoint::Net(inner)) => outer.contains(inner),
        (Endpoint::Host(_), Endpoint::Net(_)) | (Endpoint::Net(_), Endpoint::Host(_)) => false,
    };
    reaches
        && *protocol == inner.protocol
        && (*private || !inner.private)
        && ports.includes(&inner.ports)
        && verifies(outer, inner)
}

/// Whether `inner` asks for at least what `outer` asks for, at each port it has.
fn verifies(outer: &Rule, inner: &Rule) -> bool {
    let outer = parts(outer);
    parts(inner).iter().all(|(first, last, asks)| {
        let mut over = outer.iter().filter(|(a, b, _)| a <= last && first <= b);
        over.all(|(.., asked)| *asked == Verify::None || asked == asks)
    })
}

/// The rule a job began with that one of its own rules is a part of; one that spells names out before a wildcard.
pub(super) fn within(rules: &[Rule], narrowed: &Narrowed, index: usize) -> Option<RuleIndex> {
    if index < narrowed.granted {
        return None;
    }
    let rule = rules.get(index)?;
    let covering = (0..)
        .zip(rules.iter().take(narrowed.granted))
        .filter(|(_, outer)| covers(outer, rule));
    let reach = |outer: &Rule| match &outer.endpoint {
        Endpoint::Host(pattern) => match pattern.depth() {
            Depth::Exact => 0,
            Depth::OneLabel => 1,
            Depth::AnyDepth => 2,
        },
        Endpoint::Net(_) => 0,
    };
    let nearest = covering.min_by_key(|(_, outer)| reach(outer));
    nearest.map(|(index, _)| index)
}

/// Where a key of a file's root begins a line.
fn key_in(source: &Arc<SourceText>, key: &str) -> Range<usize> {
    let is = |line: &&str| {
        let rest = line.trim_start().strip_prefix(key);
        rest.is_some_and(|rest| rest.trim_start().starts_with(['=', '.']))
    };
    span_of(source, is)
}

fn table_in(source: &Arc<SourceText>, table: &str) -> Range<usize> {
    let head = format!("[{table}");
    span_of(source, |line| line.trim_start().starts_with(&head))
}

fn span_of(source: &Arc<SourceText>, is: impl FnMut(&&str) -> bool) -> Range<usize> {
    let mut is = is;
    let line = source.text().lines().position(|line| is(&line));
    line.map_or(0..0, |line| source.span_of_line(line.saturating_add(1)))
}

#[cfg(test)]
mod tests;
