//! What the values of a sweep's report mean, in words: for the text, the short line and SARIF.

use super::coverage::{SweepKind, Why};
use super::finding::{Class, Entry, Finding, Severity, Source, Variable};
use super::verdict::Gap;
use crate::report::text::quantity::count;

/// What was not looked into, in a clause.
pub(in crate::report) fn gap(gap: Gap) -> String {
    match gap {
        Gap::Interrupted(times) => format!(
            "sweeping was interrupted {}: cordon was killed, and what it had found is not here",
            count(times, "time")
        ),
        Gap::NoSweep => "running processes were never swept".into(),
        Gap::NoSweepAtEnd => "there was no sweep at the job's end".into(),
        Gap::NothingScanned => "no process was scanned".into(),
        Gap::Unreadable(number) => format!("{} could not be read", count(number, "process")),
        Gap::NotAccounted(number) => {
            format!("{} unaccounted for", count(number, "process"))
        }
        Gap::ExecsCut(number) => format!("{} seen in part only", count(number, "program start")),
        Gap::ExecsLost(number) => format!("{} not seen", count(number, "program start")),
        Gap::RecordsLost(number) => format!("{} lost", count(number, "record")),
        Gap::DetailsDropped(number) => {
            format!("{} dropped for want of room", count(number, "detail"))
        }
        Gap::Excess(number) => format!(
            "{} found and not listed: too many in one place",
            count(number, "credential")
        ),
        Gap::Undecoded(number) => {
            format!(
                "{} beyond the bounds of decoding",
                count(number, "encoded value")
            )
        }
    }
}

/// Why processes could not be read, in words that follow their number.
pub(in crate::report) const fn unreadable(why: Why) -> &'static str {
    match why {
        Why::Vanished => "gone before being read",
        Why::Refused => "refused by the kernel",
        Why::Hidden => "in no /proc that cordon can see",
    }
}

/// What a sweep was for.
pub(in crate::report) const fn sweep(kind: SweepKind) -> &'static str {
    match kind {
        SweepKind::Start => "at the start",
        SweepKind::Interval => "at the interval",
        SweepKind::End => "when the command had ended",
        SweepKind::BeforeSeal => "before the evidence was written",
        SweepKind::Request => "on request",
    }
}

/// A severity, as lists show it.
pub(in crate::report) const fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Violation => "VIOLATION",
        Severity::Warning => "WARNING",
        Severity::Note => "note",
        Severity::Expected => "expected",
    }
}

/// What a class is.
pub(in crate::report) const fn class(class: Class) -> &'static str {
    match class {
        Class::JobToken => "the platform's token of this job",
        Class::ShortLived => "short-lived, from an identity provider",
        Class::Pointer => "points to a credential, holds none",
        Class::Static => "lives until revoked",
        Class::PrivateKey => "private key",
        Class::RunnerIdentity => "identity of the runner itself",
        Class::Unknown => "lifetime not known",
    }
}

/// What to do about a credential of a class that is where it should not be, in sentences.
pub(in crate::report) const fn advice(class: Class) -> &'static str {
    match class {
        Class::JobToken => {
            "Give it only to the programs that need it, in the environment, where the platform puts it."
        }
        Class::ShortLived => {
            "Ask for it where it is used and for as long as it is used. If it should be there, allow it \
             in the profile, with a reason."
        }
        Class::Pointer => "See whether the job needs what it leads to.",
        Class::Static => {
            "Revoke it, and use a credential that is made for the job and ends with it. Until then allow \
             it by its fingerprint, with a reason and a last day."
        }
        Class::PrivateKey => {
            "Replace the key, and give jobs a file or an agent that signs for them instead."
        }
        Class::RunnerIdentity => {
            "Register the runner anew, and start jobs without the runner's own environment."
        }
        Class::Unknown => {
            "Find out what it is. Revoke it if it lives long; allow it by its fingerprint if it does not."
        }
    }
}

/// A name or why there is none; `show` makes a name safe for whoever reads it.
pub(in crate::report) fn variable(variable: &Variable, show: impl Fn(&str) -> String) -> String {
    match variable {
        Variable::None => String::new(),
        Variable::Named { name } => show(name),
        Variable::Unprintable => "(name not printable)".into(),
        Variable::Withheld => "(name withheld: holds a secret itself)".into(),
    }
}

/// Where in a process it was, in a phrase; `show` makes a name safe for whoever reads it.
pub(in crate::report) fn place(finding: &Finding, show: impl Fn(&str) -> String) -> String {
    let Finding {
        source,
        entry,
        variable: name,
        field,
        layers,
        ..
    } = finding;
    let named = |kind: &str| match name {
        Variable::None => kind.to_owned(),
        other => format!("{kind} {}", variable(other, &show)),
    };
    let mut place = match (source, entry) {
        (Source::Environ, Entry::Bare) => "environment, entry without a name".to_owned(),
        (Source::Environ, _) => named("variable"),
        (Source::Arguments, Entry::Bare) => "argument".to_owned(),
        (Source::Arguments, _) => named("argument"),
    };
    if *field != Variable::None {
        place.push_str(", field ");
        place.push_str(&variable(field, &show));
    }
    if !layers.is_empty() {
        let layers: Vec<_> = layers.iter().map(|layer| show(layer)).collect();
        place.push_str(", inside ");
        place.push_str(&layers.join(" > "));
    }
    place
}
