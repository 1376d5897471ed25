//! What coverage and findings come to: one pure function, and the order of the lists.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::SweepReport;
use super::coverage::{Coverage, Execs, Processes, SweepKind, Unreadable};
use super::finding::{Finding, Severity};

/// What a sweep comes to.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Everything was looked into, and nothing was found that the policy does not want.
    Clean,
    /// Nothing was found in what was looked into, and not everything was.
    Incomplete,
    /// Something was found. Whether everything was looked into stands in the coverage.
    Findings,
}

/// Something that was not looked into, and how often.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Gap {
    /// Nobody swept for a time, so often.
    Interrupted(u64),
    /// There was no sweep.
    NoSweep,
    /// There was none when the job had ended, or nobody knows when it ended.
    NoSweepAtEnd,
    /// No process at all was looked into.
    NothingScanned,
    /// Processes that could not be read.
    Unreadable(u64),
    /// Processes of which nobody knows what became.
    NotAccounted(u64),
    /// Executions of which a part was not seen.
    ExecsCut(u64),
    /// Executions that were not seen.
    ExecsLost(u64),
    /// Records of the kernel that were lost.
    RecordsLost(u64),
    /// Credentials or processes without room in the ledger.
    DetailsDropped(u64),
    /// Credentials that one entry had too many of.
    Excess(u64),
    /// Encoded layers beyond the scanner's bounds.
    Undecoded(u64),
}

impl Verdict {
    /// Its name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::Incomplete => "incomplete",
            Self::Findings => "findings",
        }
    }
}

impl SweepReport {
    /// The same report with its lists in order and the verdict they come to: the last step of
    /// building one.
    #[must_use]
    pub fn concluded(mut self) -> Self {
        for list in [&mut self.findings, &mut self.notes, &mut self.expected] {
            for finding in list.iter_mut() {
                finding.facts.sort();
                finding.processes.sort();
            }
            list.sort_by(|one, other| place(one).cmp(&place(other)));
        }
        self.coverage.sweeps.sort();
        self.coverage.unreadable.retain(|line| line.count > 0);
        self.coverage.unreadable.sort_by_key(|line| line.why);
        self.verdict = self.came_to();
        self
    }

    /// What its coverage and findings come to, whatever its `verdict` says.
    #[must_use]
    pub fn came_to(&self) -> Verdict {
        if !self.findings.is_empty() {
            Verdict::Findings
        } else if self.gaps().is_empty() {
            Verdict::Clean
        } else {
            Verdict::Incomplete
        }
    }

    /// What was not looked into, the worst first.
    #[must_use]
    pub fn gaps(&self) -> Vec<Gap> {
        let Coverage {
            interruptions,
            processes,
            unreadable,
            nothing_to_read,
            execs,
            undecoded,
            excess,
            details_dropped,
            records_lost,
            ..
        } = &self.coverage;
        let unreadable = sum(unreadable);
        let Processes { seen, scanned } = *processes;
        let accounted = scanned
            .saturating_add(unreadable)
            .saturating_add(*nothing_to_read);
        let Execs {
            seen: executed,
            whole,
            completed_from_proc,
            cut,
            lost,
        } = *execs;
        // What the kernel counted and nobody can account for is as good as lost.
        let arrived = whole
            .saturating_add(completed_from_proc)
            .saturating_add(cut);
        let lost = executed.saturating_sub(arrived).max(lost);
        let counted = [
            Gap::Interrupted(interruptions.len() as u64),
            Gap::Unreadable(unreadable),
            Gap::NotAccounted(seen.saturating_sub(accounted)),
            Gap::ExecsCut(cut),
            Gap::ExecsLost(lost),
            Gap::RecordsLost(*records_lost),
            Gap::DetailsDropped(*details_dropped),
            Gap::Excess(*excess),
            Gap::Undecoded(undecoded.bounded()),
        ];
        let counted = counted.into_iter().filter(|gap| gap.count() > 0);
        let nothing = (scanned == 0).then_some(Gap::NothingScanned);
        let mut gaps: Vec<_> = self.end_gap().into_iter().chain(nothing).collect();
        gaps.extend(counted);
        gaps.sort();
        gaps
    }

    /// Whether a sweep is missing at the end.
    fn end_gap(&self) -> Option<Gap> {
        let Some(last) = self.coverage.last_sweep else {
            return Some(Gap::NoSweep);
        };
        // Without a job there is no end to wait for.
        self.job.as_ref()?;
        let at_end = match last.kind {
            SweepKind::End | SweepKind::BeforeSeal => true,
            SweepKind::Start | SweepKind::Interval | SweepKind::Request => {
                let after = |end: Timestamp| last.finished >= end;
                self.coverage.job_end.is_some_and(after)
            }
        };
        (!at_end).then_some(Gap::NoSweepAtEnd)
    }
}

impl Gap {
    /// How many it is about; 1 where it is about the sweep as a whole.
    #[must_use]
    pub const fn count(self) -> u64 {
        match self {
            Self::NoSweep | Self::NoSweepAtEnd | Self::NothingScanned => 1,
            Self::Interrupted(count)
            | Self::Unreadable(count)
            | Self::NotAccounted(count)
            | Self::ExecsCut(count)
            | Self::ExecsLost(count)
            | Self::RecordsLost(count)
            | Self::DetailsDropped(count)
            | Self::Excess(count)
            | Self::Undecoded(count) => count,
        }
    }
}

fn sum(unreadable: &[Unreadable]) -> u64 {
    let counts = unreadable.iter().map(|line| line.count);
    counts.fold(0, u64::saturating_add)
}

/// Where a finding stands in its list: the worst first, then by what it is and where it was.
fn place(finding: &Finding) -> impl Ord + '_ {
    let Finding {
        rule,
        class_letter,
        severity,
        source,
        entry,
        variable,
        field,
        fingerprint,
        layers,
        first_seen,
        ..
    } = finding;
    let worst: (Severity, _) = (*severity, *class_letter);
    let whereabouts = (*source, variable, field, *entry, layers);
    (worst, rule, fingerprint, whereabouts, *first_seen)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::report::attested::Attested as _;
    use crate::report::sweep::{LastSweep, Undecoded, Why, fixture, line, sarif, text};

    /// Ways to leave something out, each with how often.
    fn spoil(report: &mut SweepReport, which: usize, times: u64) {
        let coverage = &mut report.coverage;
        match which {
            0 => coverage.unreadable.push(Unreadable {
                why: Why::Vanished,
                count: times,
            }),
            1 => coverage.processes.seen = coverage.processes.seen.saturating_add(times),
            2 => coverage.execs.cut = times,
            3 => coverage.execs.lost = times,
            4 => coverage.execs.seen = coverage.execs.seen.saturating_add(times),
            5 => coverage.records_lost = times,
            6 => coverage.details_dropped = times,
            7 => coverage.excess = times,
            8 => {
                coverage.undecoded = Undecoded {
                    deep: times,
                    ..Undecoded::default()
                }
            }
            9 => {
                coverage.undecoded = Undecoded {
                    output: times,
                    ..Undecoded::default()
                }
            }
            10 => {
                coverage.undecoded = Undecoded {
                    scratch: times,
                    ..Undecoded::default()
                }
            }
            11 => coverage.last_sweep = None,
            12 => early(coverage),
            13 => {
                early(coverage);
                coverage.job_end = None;
            }
            14 => coverage.processes.scanned = 0,
            _ => coverage.interruptions = fixture::report().coverage.interruptions,
        }
    }

    const WAYS: usize = 16;

    /// Leaves out the sweep at the end.
    fn early(coverage: &mut Coverage) {
        coverage.sweeps.pop();
        coverage.last_sweep = LastSweep::of(&coverage.sweeps, coverage.job_end);
    }

    #[test]
    fn nothing_found_in_everything_is_clean() {
        let report = fixture::clean();
        assert_eq!((report.verdict, report.gaps()), (Verdict::Clean, vec![]));
        assert_eq!(report.contradiction(), None);
        assert!(text::render(&report, 100, false).contains("Verdict      clean"));
    }

    #[test]
    fn each_way_to_leave_something_out_is_a_gap_of_its_own() {
        for which in 0..WAYS {
            let mut report = fixture::clean();
            spoil(&mut report, which, 3);
            let report = report.concluded();
            assert_eq!(report.verdict, Verdict::Incomplete, "{which}");
        }
    }

    #[test]
    fn findings_win_and_the_gaps_stay_visible() {
        let report = fixture::report();
        assert_eq!(report.verdict, Verdict::Findings);
        let text = text::render(&report, 200, false);
        assert!(text.contains("not everything was looked into"), "{text}");
        for gap in report.gaps() {
            assert!(text.contains(&words(gap)), "{gap:?}\n{text}");
        }
    }

    fn words(gap: Gap) -> String {
        format!("MISSING: {}", crate::report::sweep::words::gap(gap))
    }

    #[test]
    fn without_a_job_nobody_waits_for_its_end() {
        let mut report = fixture::clean();
        early(&mut report.coverage);
        report.coverage.job_end = None;
        report.job = None;
        assert_eq!(report.came_to(), Verdict::Clean);
    }

    #[test]
    fn a_sweep_on_request_after_the_end_is_one_at_the_end() {
        let mut report = fixture::clean();
        let coverage = &mut report.coverage;
        let last = coverage.sweeps.last_mut().unwrap();
        last.kind = SweepKind::Request;
        let end = coverage.job_end.unwrap();
        (last.started, last.finished) = (end, end);
        coverage.last_sweep = LastSweep::of(&coverage.sweeps, coverage.job_end);
        assert_eq!(coverage.last_sweep.unwrap().before_job_end_ns, None);
        assert_eq!(report.came_to(), Verdict::Clean);
    }

    proptest! {
        #[test]
        fn what_is_incomplete_never_looks_clean(
            ways in proptest::collection::vec((0..WAYS, 1..u64::MAX), 1..4),
            width in 40usize..160,
            claimed in prop_oneof![Just(Verdict::Clean), Just(Verdict::Incomplete)],
        ) {
            let mut report = fixture::clean();
            for (which, times) in ways {
                spoil(&mut report, which, times);
            }
            // Whatever the report calls itself.
            report.verdict = claimed;
            prop_assert_eq!(report.came_to(), Verdict::Incomplete);
            let text = text::render(&report, width, false);
            prop_assert!(!text.contains("clean") && text.contains("INCOMPLETE"), "{}", text);
            prop_assert!(text.contains("MISSING"), "{}", text);
            let line = line(&report);
            prop_assert!(!line.contains("none found,") && line.contains("INCOMPLETE"), "{}", line);
            let sarif = sarif::render(&report).unwrap();
            prop_assert!(sarif.contains("\"executionSuccessful\": false"), "{}", sarif);
            prop_assert!(!sarif.contains("clean"), "{}", sarif);
            prop_assert_eq!(report.contradiction().is_some(), claimed == Verdict::Clean);
        }
    }
}
