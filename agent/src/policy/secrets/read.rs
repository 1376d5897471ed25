//! The `[secrets]` table of a profile.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

use super::allowance::read_allowance;
use super::said::Said;
use super::{Allowance, OnFinding, PatternError, ProgramPattern, Stance};
use crate::policy::diagnostic::{Mistake, nearest};
use crate::policy::reader::{Reader, Schema, Table};

pub(crate) const SECRETS: Schema = Schema {
    what: "`[secrets]`",
    keys: &[
        "on_finding",
        "policy",
        "interval",
        "freeze_for",
        "max_lifetime",
        "holders",
        "allow",
    ],
    later: &[],
};

/// Allowances of one profile: each is tried for each detection.
const MOST_ALLOWANCES: usize = 1024;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

/// Reads the table, if there is one.
pub(crate) fn read_secrets(reader: &mut Reader, root: Table<'_>) -> Option<Said> {
    let table = reader.child(root, "secrets", &SECRETS)?;
    Some(Said {
        on_finding: read_word(
            reader,
            table,
            "on_finding",
            OnFinding::parse,
            &OnFinding::ALL.map(OnFinding::name),
        ),
        stance: read_word(
            reader,
            table,
            "policy",
            Stance::parse,
            &Stance::ALL.map(Stance::name),
        ),
        interval: read_time(reader, table, "interval", SECOND, HOUR),
        freeze_for: read_time(reader, table, "freeze_for", SECOND, DAY),
        max_lifetime: read_time(reader, table, "max_lifetime", MINUTE, DAY),
        holders: read_holders(reader, table),
        allow: read_allow(reader, table),
    })
}

/// One of a few words.
pub(crate) fn read_word<T>(
    reader: &mut Reader,
    table: Table<'_>,
    key: &str,
    parse: impl Fn(&str) -> Option<T>,
    words: &[&str],
) -> Option<T> {
    let text = reader.string(table, key)?;
    let word = *text.get_ref();
    let found = parse(word);
    if found.is_none() {
        let help = match nearest(word, words.iter().copied()) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("write one of \"{}\"", words.join("\", \"")),
        };
        let mistake = Mistake::new(format!("unknown value `{word}` of `{key}`")).help(help);
        reader.push(&text.span(), mistake);
    }
    found
}

/// A length of time, as in `30s`, `10m` or `1h`.
pub(crate) fn read_time(
    reader: &mut Reader,
    table: Table<'_>,
    key: &str,
    least: Duration,
    most: Duration,
) -> Option<Duration> {
    let text = reader.string(table, key)?;
    let Some(time) = parse_time(text.get_ref()) else {
        let mistake = Mistake::new(format!("`{key}` is not a length of time"))
            .help("write a whole number and its unit: \"30s\", \"10m\" or \"1h\"");
        reader.push(&text.span(), mistake);
        return None;
    };
    if !(least..=most).contains(&time) {
        let (least, most) = (show_time(least), show_time(most));
        let mistake = Mistake::new(format!("`{key}` must be {least} to {most}"));
        reader.push(&text.span(), mistake);
        return None;
    }
    Some(time)
}

fn parse_time(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let seconds_each: u64 = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return None,
    };
    // Digits only: `parse` would take a sign.
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    number.checked_mul(seconds_each).map(Duration::from_secs)
}

/// A time as it is written in profiles, in the largest unit in which it is whole.
pub(crate) fn show_time(time: Duration) -> String {
    let seconds = time.as_secs();
    let (number, unit) = match (seconds.is_multiple_of(3600), seconds.is_multiple_of(60)) {
        (true, _) => (seconds / 3600, "h"),
        (false, true) => (seconds / 60, "m"),
        (false, false) => (seconds, "s"),
    };
    format!("{number}{unit}")
}

fn read_holders(reader: &mut Reader, table: Table<'_>) -> Option<BTreeSet<ProgramPattern>> {
    let list = reader.strings(table, "holders")?;
    let mut holders = BTreeSet::new();
    for item in list.get_ref() {
        let Some(program) = read_program(reader, item, "leave `holders` out if any program may")
        else {
            continue;
        };
        if !holders.insert(program) {
            let mistake = Mistake::new(format!("`{}` is named twice", item.get_ref()));
            reader.push(&item.span(), mistake);
        }
    }
    Some(holders).filter(|holders| !holders.is_empty())
}

/// A pattern for programs; what to do if it matches all of them differs from key to key.
pub(super) fn read_program(
    reader: &mut Reader,
    text: &Spanned<&str>,
    if_all: &str,
) -> Option<ProgramPattern> {
    let program = ProgramPattern::parse(text.get_ref());
    take_pattern(reader, &text.span(), program, if_all)
}

/// The pattern, or the mistake in it.
pub(super) fn take_pattern<T>(
    reader: &mut Reader,
    span: &Range<usize>,
    pattern: Result<T, PatternError>,
    if_all: &str,
) -> Option<T> {
    match pattern {
        Ok(pattern) => Some(pattern),
        Err(error) => {
            let mistake = Mistake::new(error.to_string()).maybe_help(pattern_help(error, if_all));
            reader.push(span, mistake);
            None
        }
    }
}

fn pattern_help(error: PatternError, if_all: &str) -> Option<&str> {
    match error {
        PatternError::Everything => Some(if_all),
        PatternError::NoPath | PatternError::Relative => {
            Some("write a path, as in \"/usr/bin/git\", or a file name alone, as in \"git\"")
        }
        PatternError::Stars => {
            Some("`*` is any characters but `/`; `/opt/**/node` is `node` anywhere below `/opt`")
        }
        PatternError::Character(_) | PatternError::Empty | PatternError::Long => None,
    }
}

fn read_allow(reader: &mut Reader, table: Table<'_>) -> Vec<Allowance> {
    if let Some(DeValue::Table(_)) = table.value("allow").map(Spanned::get_ref) {
        let mistake = Mistake::new("`allow` must be a list of allowances").help(
            "write `[[secrets.allow]]` with two pairs of brackets above each, or \
             `allow = [{ … }, { … }]`",
        );
        reader.push(&table.span_of("allow"), mistake);
        return Vec::new();
    }
    let Some(list) = reader.array(table, "allow") else {
        return Vec::new();
    };
    if list.get_ref().len() > MOST_ALLOWANCES {
        let mistake = Mistake::new(format!("more than {MOST_ALLOWANCES} allowances"))
            .help("join them with patterns, or take the secrets out of the job");
        reader.push(&list.span(), mistake);
    }
    let mut allow: Vec<Allowance> = Vec::new();
    for item in list.get_ref().iter().take(MOST_ALLOWANCES) {
        let Some(allowance) = read_allowance(reader, item) else {
            continue;
        };
        if let Some(same) = allow.iter().find(|known| known.is_about_what(&allowance)) {
            let mistake = Mistake::new(format!("{allowance} is allowed twice"))
                .help(format!("the other one is in line {}", same.origin.line));
            reader.push(&item.span(), mistake);
        }
        allow.push(allowance);
    }
    allow
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_they_are_shown() {
        for text in ["1s", "90s", "10m", "1h", "24h", "0s"] {
            let time = parse_time(text).unwrap();
            assert_eq!(parse_time(&show_time(time)), Some(time), "{text}");
        }
        assert_eq!(parse_time("10m"), Some(Duration::from_mins(10)));
        assert_eq!(show_time(Duration::from_hours(1)), "1h");
        assert_eq!(show_time(Duration::from_secs(90)), "90s");
        for text in [
            "",
            "s",
            "10",
            "+1s",
            "-1s",
            "1.5h",
            "1 s",
            "1ms",
            "1d",
            "1h30m",
            "ä",
            "18446744073709551615h",
        ] {
            assert_eq!(parse_time(text), None, "{text}");
        }
    }
}
