//! What a case's runs say together. Pure: the same observations give the same row.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use cordon::report::{ProcessChain, Report};
use serde::{Deserialize, Serialize};

use super::case::{Case, Proof, Refused, Seen, Unrecorded, number_of, tag};
use super::hostile::Attempt;

/// One case in one run.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// What the program told; nothing if it was not run.
    pub attempt: Option<Attempt>,
    /// Frames of it where none may be.
    pub frames: usize,
}

/// What the report of an enforced run says.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// Layers that refused, by case, each with its reason.
    records: BTreeMap<u16, BTreeSet<String>>,
    /// Active layers.
    layers: BTreeSet<String>,
}

/// As whom a job ran.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Privilege {
    /// `cordon run --user nobody`
    User,
    /// `cordon run` by root
    Root,
}

impl Privilege {
    /// Both.
    pub const ALL: [Self; 2] = [Self::User, Self::Root];

    /// In a word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Root => "root",
        }
    }
}

/// How a case ended.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Nothing arrived, and what stopped it is known.
    Stopped,
    /// It got out.
    Arrived,
    /// Without cordon it does not work either, because of an error it saw.
    NotPossible,
    /// Nothing can be concluded: the case is at fault, or what stopped it is not known.
    Unproven,
}

/// One line of the table.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Row {
    /// Kernel release.
    pub kernel: String,
    /// Id of the case.
    pub id: String,
    /// As whom it ran.
    pub privilege: Privilege,
    /// How it ended.
    pub outcome: Outcome,
    /// What stopped it; or why nothing can be said.
    pub by: String,
    /// The error the program saw.
    pub error: String,
    /// Frames that arrived under cordon.
    pub arrived: usize,
    /// What the same program did without cordon.
    pub control: String,
}

impl Evidence {
    /// Reads a report. A denial is of a case by the case's port, or by the path of the case's process.
    pub fn of(report: &Report, cases: &[Case]) -> Self {
        let mut evidence = Self::default();
        let by_process = |chains: &[ProcessChain]| -> BTreeSet<u16> {
            let paths = chains.iter().flat_map(|chain| &chain.executables);
            paths.filter_map(|path| named_by(path, cases)).collect()
        };
        for denial in &report.denials {
            let mut of = by_process(&denial.processes);
            of.extend(number_of(denial.destination.port, cases.len()));
            let hooks = match denial.hooks.as_slice() {
                [] => "a hook whose record was lost".to_owned(),
                hooks => hooks.join(", "),
            };
            for number in of {
                evidence.record(number, format!("{hooks} ({})", denial.reason));
            }
        }
        for socket in &report.sockets {
            for number in by_process(&socket.processes) {
                evidence.record(number, "sock_create (socket-kind)".to_owned());
            }
        }
        for incident in &report.incidents {
            // A process that was moved is noted, not refused.
            if incident.verdict == "deny" {
                for number in by_process(&incident.processes) {
                    evidence.record(number, format!("{} ({})", incident.call, incident.reason));
                }
            }
        }
        for asked in &report.dns {
            for number in (0_u16..).take(cases.len()) {
                if asked.name.contains(&tag(number)) {
                    evidence.record(number, "DNS listener (name not allowed)".to_owned());
                }
            }
        }
        let active = report.coverage.layers.iter().filter(|layer| layer.active);
        evidence.layers = active.map(|layer| layer.name.clone()).collect();
        evidence
    }

    fn record(&mut self, number: u16, text: String) {
        self.records.entry(number).or_default().insert(text);
    }

    /// What stopped a case.
    fn stopped_by(&self, number: u16, case: &Case, attempt: &Attempt) -> Option<String> {
        if let Some(records) = self.records.get(&number) {
            return Some(records.iter().cloned().collect::<Vec<_>>().join("; "));
        }
        let declared = |declared: &&Unrecorded| {
            self.layers.contains(declared.layer)
                && match declared.seen {
                    Seen::Error(call, errno) => {
                        attempt.error() == Refused { call, errno }.to_string()
                    }
                    Seen::Nothing(_) => attempt.went_through(),
                }
        };
        let Unrecorded { layer, seen } = case.unrecorded.iter().find(declared)?;
        Some(match seen {
            Seen::Error(..) => (*layer).to_owned(),
            Seen::Nothing(why) => format!("{layer} ({why})"),
        })
    }
}

fn named_by(path: &str, cases: &[Case]) -> Option<u16> {
    let path = Path::new(path);
    let id = path.file_name()?.to_str()?;
    path.parent()?.ends_with("cases").then_some(())?;
    let at = cases.iter().position(|case| case.id == id)?;
    u16::try_from(at).ok()
}

impl Observed {
    fn escaped(&self, proof: Proof) -> bool {
        let done = self.attempt.as_ref().is_some_and(Attempt::went_through);
        self.frames > 0 || (proof == Proof::Done && done)
    }

    fn in_words(&self, proof: Proof) -> String {
        let error = self.attempt.as_ref().map(Attempt::error);
        match (&self.attempt, proof) {
            (None, _) => "not run".to_owned(),
            (Some(_), _) if self.frames == 1 => "1 frame".to_owned(),
            (Some(_), _) if self.frames > 1 => format!("{} frames", self.frames),
            (Some(attempt), Proof::Done) if attempt.went_through() => "done".to_owned(),
            _ => error.unwrap_or_default(),
        }
    }
}

/// Judges one case.
pub fn judge(
    (number, case): (u16, &Case),
    control: &Observed,
    enforced: &Observed,
    evidence: &Evidence,
) -> (Outcome, String) {
    let Some(attempt) = &enforced.attempt else {
        return (Outcome::Unproven, "it was not run under cordon".to_owned());
    };
    if enforced.escaped(case.proof) {
        return (Outcome::Arrived, String::new());
    }
    if !control.escaped(case.proof) {
        return match &control.attempt {
            None => (Outcome::Unproven, "the control was not run".to_owned()),
            Some(free) if free.call.is_some() => (Outcome::NotPossible, free.error()),
            Some(free) if free.ended.is_some() => (
                Outcome::Unproven,
                format!("the control ended by {}", free.error()),
            ),
            Some(_) => (
                Outcome::Unproven,
                "the control saw no error, and nothing arrived".to_owned(),
            ),
        };
    }
    match evidence.stopped_by(number, case, attempt) {
        Some(by) => (Outcome::Stopped, by),
        None => (
            Outcome::Unproven,
            "unknown: no record, and no declared layer".to_owned(),
        ),
    }
}

impl Row {
    /// A line of the table.
    pub fn new(
        kernel: &str,
        privilege: Privilege,
        (number, case): (u16, &Case),
        control: &Observed,
        enforced: &Observed,
        evidence: &Evidence,
    ) -> Self {
        let (outcome, by) = judge((number, case), control, enforced, evidence);
        Self {
            kernel: kernel.to_owned(),
            id: case.id.to_owned(),
            privilege,
            outcome,
            by,
            error: enforced
                .attempt
                .as_ref()
                .map_or_else(|| "not run".to_owned(), Attempt::error),
            arrived: enforced.frames,
            control: control.in_words(case.proof),
        }
    }
}

#[cfg(test)]
mod tests {
    use nix::errno::Errno;

    use super::super::case::by;
    use super::*;

    const CASE: Case = Case::new("a-case", &["G01"], "A technique.", |_| Ok(())).stopped_by(&[by(
        "capabilities",
        "socket",
        Errno::EPERM,
    )]);

    fn observed(error: Option<(&str, &str)>, frames: usize) -> Observed {
        Observed {
            attempt: Some(Attempt {
                call: error.map(|(call, _)| call.to_owned()),
                errno: error.map(|(_, errno)| errno.to_owned()),
                ..Attempt::default()
            }),
            frames,
        }
    }

    fn evidence(record: bool, layer: bool) -> Evidence {
        let mut evidence = Evidence::default();
        if record {
            evidence.record(0, "connect4 (no-rule)".to_owned());
        }
        if layer {
            evidence.layers.insert("capabilities".to_owned());
        }
        evidence
    }

    const REFUSED: Option<(&str, &str)> = Some(("socket", "EPERM"));

    #[test]
    fn what_arrived_is_said_whatever_the_control_did() {
        for control in [observed(None, 1), observed(REFUSED, 0), Observed::default()] {
            let judged = judge(
                (0, &CASE),
                &control,
                &observed(REFUSED, 1),
                &evidence(true, true),
            );
            assert_eq!(judged.0, Outcome::Arrived);
        }
    }

    #[test]
    fn a_record_or_a_declared_active_layer_stopped_it() {
        let control = observed(None, 1);
        let of = |error, record, layer| {
            judge(
                (0, &CASE),
                &control,
                &observed(error, 0),
                &evidence(record, layer),
            )
        };
        assert_eq!(
            of(REFUSED, true, true),
            (Outcome::Stopped, "connect4 (no-rule)".to_owned())
        );
        assert_eq!(
            of(REFUSED, false, true),
            (Outcome::Stopped, "capabilities".to_owned())
        );
        assert_eq!(of(REFUSED, false, false).0, Outcome::Unproven);
        assert_eq!(
            of(Some(("socket", "EINVAL")), false, true).0,
            Outcome::Unproven
        );
        assert_eq!(of(None, false, true).0, Outcome::Unproven);
    }

    #[test]
    fn a_control_that_fails_is_not_possible_and_one_that_sends_nothing_proves_nothing() {
        let of = |control| {
            judge(
                (0, &CASE),
                &control,
                &observed(REFUSED, 0),
                &evidence(true, true),
            )
        };
        assert_eq!(of(observed(REFUSED, 0)).0, Outcome::NotPossible);
        assert_eq!(of(observed(None, 0)).0, Outcome::Unproven);
        assert_eq!(of(Observed::default()).0, Outcome::Unproven);
    }

    #[test]
    fn a_case_that_was_not_run_proves_nothing() {
        let judged = judge(
            (0, &CASE),
            &observed(None, 1),
            &Observed::default(),
            &evidence(true, true),
        );
        assert_eq!(judged.0, Outcome::Unproven);
    }

    #[test]
    fn a_path_names_its_case_only_in_the_folder_of_cases() {
        assert_eq!(named_by("/tmp/x/cases/a-case", &[CASE]), Some(0));
        assert_eq!(named_by("/usr/bin/a-case", &[CASE]), None);
        assert_eq!(named_by("/tmp/x/cases/other", &[CASE]), None);
    }
}
