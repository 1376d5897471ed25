//! What coverage and findings come to: one pure function, and the order of the lists.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::SweepReport;
use super::coverage::{Coverage, Execs, Processes, SweepKind, Unreadable};
use super::finding::{Finding, Severity};

/// What a sweep comes to.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Everything was looked into, and nothing was found that the policy does not want.
    Clean,
    /// Nothing was found in what was looked into, and not everything was.
    Incomplete,
    /// Something was found. Whether everything was looked into is said by the coverage.
    Findings,
}

/// Something that was not looked into, and how often.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Gap {
    /// There was no sweep.
    NoSweep,
    /// There was none when the job had ended, or nobody knows when it ended.
    NoSweepAtEnd,
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
        self.end_gap().into_iter().chain(counted).collect()
    }

    /// Whether a sweep is missing at the end.
    fn end_gap(&self) -> Option<Gap> {
        let Some(last) = self.coverage.last_sweep else {
            return Some(Gap::NoSweep);
        };
        if self.job.is_none() {
            return None;
        }
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
            Self::NoSweep | Self::NoSweepAtEnd => 1,
            Self::Unreadable(count)
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
