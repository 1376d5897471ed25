//! Whether this host can enforce: every feature is tried, and each answer says what follows from it.
//!
//! There are three answers. "Could not tell" is one of its own: a probe that was refused for want of
//! a permission says nothing about the kernel. For what enforcement needs, only "works" counts.

#![forbid(unsafe_code)]

use std::io;

use serde::Serialize;

pub mod limits;
pub mod probes;
pub mod telling;

/// What a probe found.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// It was done, and worked.
    Works,
    /// It was done, and does not.
    DoesNotWork,
    /// It could not be done.
    CouldNotTell,
}

impl Answer {
    /// In words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Works => "works",
            Self::DoesNotWork => "does not work",
            Self::CouldNotTell => "could not tell",
        }
    }

    /// The answer of a probe that failed. Who lacks privileges and is refused learns nothing.
    #[must_use]
    pub fn of_error(error: &io::Error, privileged: bool) -> Self {
        let refused = error.kind() == io::ErrorKind::PermissionDenied;
        if refused && !privileged {
            Self::CouldNotTell
        } else {
            Self::DoesNotWork
        }
    }
}

/// A feature that is looked at.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Feature {
    /// Its name.
    pub name: &'static str,
    /// Whether nothing starts without it.
    pub needed: bool,
    /// What its absence means for what cordon promises.
    pub without: &'static str,
    /// What to do about that.
    pub remedy: &'static str,
}

/// A feature that was looked at.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// Which.
    #[serde(flatten)]
    pub feature: Feature,
    /// What was found.
    pub answer: Answer,
    /// What exactly.
    pub detail: String,
}

impl Finding {
    /// Of a probe that tells details or why not.
    #[must_use]
    pub fn new(feature: Feature, tried: Result<String, (Answer, String)>) -> Self {
        let (answer, detail) = match tried {
            Ok(detail) => (Answer::Works, detail),
            Err(failed) => failed,
        };
        Self {
            feature,
            answer,
            detail,
        }
    }
}

/// Whether jobs can be enforced with these findings.
#[must_use]
pub fn can_enforce(findings: &[Finding]) -> bool {
    findings
        .iter()
        .all(|finding| !finding.feature.needed || finding.answer == Answer::Works)
}

/// The findings for a terminal of so many columns. Pure.
#[must_use]
pub fn render(system: &str, findings: &[Finding], width: usize) -> String {
    let mut text = format!("{system}\n");
    for (needed, title) in [
        (true, "Needed to enforce"),
        (
            false,
            "Not needed by every job; reports name what is missing",
        ),
    ] {
        text.push('\n');
        text.push_str(title);
        text.push('\n');
        for finding in findings {
            if finding.feature.needed == needed {
                lines_of(finding, width, &mut text);
            }
        }
    }
    let missing = |needed: bool| {
        let missing = findings
            .iter()
            .filter(|finding| finding.feature.needed == needed && finding.answer != Answer::Works);
        missing.count()
    };
    text.push('\n');
    let conclusion = match (missing(true), missing(false)) {
        (0, 0) => "Jobs can be enforced here, with every layer.\n".to_owned(),
        (0, some) => format!("Jobs can be enforced here. Layers that are not there: {some}.\n"),
        (some, _) => format!("No job starts here. Needed and not there: {some}.\n"),
    };
    text + &conclusion
}

/// Columns of the answer and of the name.
const ANSWER: usize = 15;
const NAME: usize = 24;
/// Where a word stands that is too long for its column.
const NARROW: usize = 4;

fn lines_of(finding: &Finding, width: usize, text: &mut String) {
    let Finding {
        feature,
        answer,
        detail,
    } = finding;
    let head = format!("  {:<ANSWER$}{:<NAME$} ", answer.words(), feature.name);
    paragraph(&head, detail, width, text);
    if *answer == Answer::Works {
        return;
    }
    let indent = " ".repeat(ANSWER.saturating_add(2));
    paragraph(&format!("{indent}means: "), feature.without, width, text);
    paragraph(&format!("{indent}remedy: "), feature.remedy, width, text);
}

/// Words after a head, further lines below the first word. A word longer than a line has one of its
/// own.
fn paragraph(head: &str, words: &str, width: usize, text: &mut String) {
    let indent = head.chars().count();
    text.push_str(head);
    let mut column = indent;
    for word in words.split_whitespace() {
        let length = word.chars().count();
        let fits = |column: usize| column.saturating_add(length) <= width;
        if column > indent && fits(column.saturating_add(1)) {
            text.push(' ');
            column = column.saturating_add(1);
        } else if column > indent || !fits(column) {
            // A path, mostly, if it does not fit below the first word: further left it may.
            column = if fits(indent) { indent } else { NARROW };
            text.push('\n');
            text.push_str(&" ".repeat(column));
        }
        text.push_str(word);
        column = column.saturating_add(length);
    }
    text.truncate(text.trim_end_matches(' ').len());
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEEDED: Feature = Feature {
        name: "BTF",
        needed: true,
        without: "no job starts: the programs need the offsets of kernel structures",
        remedy: "a kernel built with CONFIG_DEBUG_INFO_BTF, and sysfs mounted on /sys",
    };
    const EXTRA: Feature = Feature {
        name: "BPF LSM",
        needed: false,
        without: "sockets of other families are not refused in the kernel",
        remedy: "boot with bpf in the kernel parameter lsm=",
    };

    fn finding(feature: Feature, answer: Answer) -> Finding {
        Finding {
            feature,
            answer,
            detail: "what the kernel said, at some length, so that it needs more than a line"
                .to_owned(),
        }
    }

    #[test]
    fn only_what_works_is_enough_for_what_is_needed() {
        assert!(can_enforce(&[finding(NEEDED, Answer::Works)]));
        assert!(!can_enforce(&[finding(NEEDED, Answer::DoesNotWork)]));
        assert!(!can_enforce(&[finding(NEEDED, Answer::CouldNotTell)]));
        assert!(can_enforce(&[finding(EXTRA, Answer::DoesNotWork)]));
    }

    #[test]
    fn a_refusal_tells_nothing_to_who_has_no_privileges() {
        let refused = io::Error::from_raw_os_error(libc::EPERM);
        assert_eq!(Answer::of_error(&refused, false), Answer::CouldNotTell);
        assert_eq!(Answer::of_error(&refused, true), Answer::DoesNotWork);
        let unknown = io::Error::from_raw_os_error(libc::EINVAL);
        assert_eq!(Answer::of_error(&unknown, false), Answer::DoesNotWork);
    }

    #[test]
    fn what_does_not_work_says_what_follows_and_what_to_do() {
        let findings = [
            finding(NEEDED, Answer::Works),
            finding(EXTRA, Answer::DoesNotWork),
        ];
        let text = render("Linux 6.1", &findings, 80);
        assert!(!text.contains("offsets"), "{text}");
        assert!(text.contains("means: sockets of other families"), "{text}");
        assert!(text.contains("remedy: boot with bpf"), "{text}");
        assert!(text.contains("Layers that are not there: 1."), "{text}");
        assert!(
            text.lines().all(|line| line.chars().count() <= 80),
            "{text}"
        );
        let findings = [finding(NEEDED, Answer::CouldNotTell)];
        assert!(render("x", &findings, 80).contains("No job starts here."));
    }

    #[test]
    fn json_has_the_answer_in_one_word() {
        let json = serde_json::to_value(finding(EXTRA, Answer::CouldNotTell)).unwrap();
        assert_eq!(json["answer"], "could-not-tell");
        assert_eq!(json["name"], "BPF LSM");
        assert_eq!(json["needed"], false);
    }
}
