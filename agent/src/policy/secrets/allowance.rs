//! A secret that a profile expects, and how its line is read.

use std::fmt;
use std::str::FromStr as _;

use cordon_secrets::{Class, Fingerprint, Rules};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use toml::Spanned;
use toml::de::DeValue;

use super::read::{read_program, read_word, take_pattern};
use super::{ProgramPattern, VariablePattern};
use crate::policy::Origin;
use crate::policy::diagnostic::{Mistake, nearest};
use crate::policy::profile::read_line;
use crate::policy::reader::{Reader, Schema, Table};

pub(crate) const ALLOWANCE: Schema = Schema {
    what: "an allowance",
    keys: &[
        "variable",
        "class",
        "process",
        "fingerprint",
        "rule",
        "reason",
        "expires",
    ],
    later: &[],
};

/// What says which secret is meant. A class alone would be every secret of it.
const NARROWING: [&str; 4] = ["variable", "rule", "fingerprint", "process"];

/// A secret that is expected. All that is said must hold for it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Allowance {
    /// In variables that are called so.
    pub variable: Option<VariablePattern>,
    /// Of this class.
    pub class: Option<Class>,
    /// In processes of these programs.
    pub process: Option<ProgramPattern>,
    /// This very value.
    pub fingerprint: Option<Fingerprint>,
    /// Found by the rule with this id.
    pub rule: Option<String>,
    /// Why, in the author's words.
    pub reason: String,
    /// The last day on which it applies, in UTC.
    pub expires: Option<Date>,
    /// Where it is written.
    pub origin: Origin,
}

impl Allowance {
    /// Whether its last day is over.
    #[must_use]
    pub fn has_expired(&self, now: Timestamp) -> bool {
        let today = now.to_zoned(TimeZone::UTC).date();
        self.expires.is_some_and(|last| last < today)
    }

    /// The moment from which on it does not apply any more.
    #[must_use]
    pub fn end(&self) -> Option<Timestamp> {
        let after = self.expires?.tomorrow().ok()?;
        Some(after.to_zoned(TimeZone::UTC).ok()?.timestamp())
    }

    /// Whether another one is about the same secrets, for whatever reason and however long.
    pub(super) fn is_about_what(&self, other: &Self) -> bool {
        let Self {
            variable,
            class,
            process,
            fingerprint,
            rule,
            reason: _,
            expires: _,
            origin: _,
        } = self;
        *variable == other.variable
            && *class == other.class
            && *process == other.process
            && *fingerprint == other.fingerprint
            && *rule == other.rule
    }
}

/// What it is about in one line, for example `variable DEPLOY_*, class static`.
impl fmt::Display for Allowance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            variable,
            class,
            process,
            fingerprint,
            rule,
            reason: _,
            expires: _,
            origin: _,
        } = self;
        let words = [
            variable.as_ref().map(|name| format!("variable {name}")),
            rule.as_ref().map(|id| format!("rule {id}")),
            fingerprint.map(|value| format!("fingerprint {value}")),
            class.map(|class| format!("class {}", class.name())),
            process.as_ref().map(|program| format!("process {program}")),
        ];
        let words: Vec<String> = words.into_iter().flatten().collect();
        f.write_str(&words.join(", "))
    }
}

/// Reads one; `None` if something is wrong with it.
pub(super) fn read_allowance(
    reader: &mut Reader,
    item: &Spanned<DeValue<'_>>,
) -> Option<Allowance> {
    let table = reader.as_table("allow", item, &ALLOWANCE)?;
    let is_narrow = NARROWING.iter().any(|key| table.has(key));
    if !is_narrow {
        let mistake = Mistake::new("an allowance needs `variable`, `rule`, `fingerprint` or `process`")
            .help("without one of them it would allow far more than is meant: say which secret it is, or where");
        reader.push(&table.span(), mistake);
    }
    // All keys are read, so that all mistakes are found.
    let variable = read_variable(reader, table);
    let class = read_word(
        reader,
        table,
        "class",
        Class::parse,
        &Class::ALL.map(Class::name),
    );
    let process = reader.string(table, "process").and_then(|text| {
        let all = "leave `process` out if it may be in any program";
        read_program(reader, &text, all)
    });
    let fingerprint = read_fingerprint(reader, table);
    let rule = read_rule_id(reader, table);
    let reason = read_reason(reader, table);
    let expires = read_expires(reader, table);
    let is_whole = is_narrow
        && variable.is_some() == table.has("variable")
        && class.is_some() == table.has("class")
        && process.is_some() == table.has("process")
        && fingerprint.is_some() == table.has("fingerprint")
        && rule.is_some() == table.has("rule")
        && expires.is_some() == table.has("expires");
    let reason = reason.filter(|_reason| is_whole)?;
    Some(Allowance {
        variable,
        class,
        process,
        fingerprint,
        rule,
        reason,
        expires,
        origin: Origin {
            source: reader.source().name().to_owned(),
            line: reader.source().line(item.span().start),
        },
    })
}

fn read_variable(reader: &mut Reader, table: Table<'_>) -> Option<VariablePattern> {
    let text = reader.string(table, "variable")?;
    let variable = VariablePattern::parse(text.get_ref());
    let all = "leave `variable` out if it may be in any variable";
    take_pattern(reader, &text.span(), variable, all)
}

fn read_fingerprint(reader: &mut Reader, table: Table<'_>) -> Option<Fingerprint> {
    let text = reader.string(table, "fingerprint")?;
    let found = Fingerprint::parse(text.get_ref());
    if found.is_none() {
        let mistake = Mistake::new("this is not a fingerprint").help(
            "a fingerprint is 32 hexadecimal digits in lower case, as in reports; \
             `cordon secrets fingerprint` prints that of a value",
        );
        reader.push(&text.span(), mistake);
    }
    found
}

fn read_rule_id(reader: &mut Reader, table: Table<'_>) -> Option<String> {
    let text = reader.string(table, "rule")?;
    let id = *text.get_ref();
    let rules = Rules::all();
    if rules.iter().any(|rule| rule.id == id) {
        return Some(id.to_owned());
    }
    let help = match nearest(id, rules.iter().map(|rule| rule.id)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "rules are called as in reports of secrets".to_owned(),
    };
    let mistake = Mistake::new(format!("there is no rule `{id}`")).help(help);
    reader.push(&text.span(), mistake);
    None
}

fn read_reason(reader: &mut Reader, table: Table<'_>) -> Option<String> {
    let reason = read_line(reader, table, "reason");
    let reason = reader.required(table, "reason", "`reason = \"why it is expected\"`", reason)?;
    if reason.trim().is_empty() {
        let mistake = Mistake::new("`reason` is empty")
            .help("say why this secret is expected: it is shown in reports");
        reader.push(&table.span_of("reason"), mistake);
        return None;
    }
    Some(reason)
}

/// A day, as text or as TOML has it.
fn read_expires(reader: &mut Reader, table: Table<'_>) -> Option<Date> {
    let value = table.value("expires")?;
    let day = match value.get_ref() {
        DeValue::String(text) => Some(text.to_string()),
        // With a time of day it is longer than a day, and refused below.
        DeValue::Datetime(day) => Some(day.to_string()),
        DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Array(_)
        | DeValue::Table(_) => None,
    };
    // Other spellings of a day are none.
    let found = day.and_then(|day| {
        let date = Date::from_str(&day).ok()?;
        (date.to_string() == day).then_some(date)
    });
    if found.is_none() {
        let mistake = Mistake::new("`expires` must be a day")
            .help("write the last day on which it applies, as in \"2027-01-31\"");
        reader.push(&value.span(), mistake);
    }
    found
}
