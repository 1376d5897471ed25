//! What a run comes to: one pure function of its facts.

use serde::{Deserialize, Serialize};

use super::{Integrity, RunReport};
use crate::report::{ReportMode, sweep};

/// What the evidence of a job comes to. Whether its command did what it should is not in it.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Egress was enforced, nothing was lost, and the sweep was whole and found nothing.
    Clean,
    /// Something was lost, not looked into or not swept, enforcement had a gap, or a limit is not proved to
    /// have held.
    Incomplete,
    /// Egress was watched and not enforced.
    Audited,
    /// The sweep found a secret.
    Findings,
}

impl Verdict {
    /// Its name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::Incomplete => "incomplete",
            Self::Audited => "audited",
            Self::Findings => "findings",
        }
    }
}

impl RunReport {
    /// What its facts come to, whatever its `verdict` says.
    #[must_use]
    pub fn came_to(&self) -> Verdict {
        let swept = self.sweep.map(|sweep| sweep.verdict);
        if swept == Some(sweep::Verdict::Findings) {
            Verdict::Findings
        } else if self.mode == ReportMode::Audit {
            Verdict::Audited
        } else if self.integrity == Integrity::default() && swept == Some(sweep::Verdict::Clean) {
            Verdict::Clean
        } else {
            Verdict::Incomplete
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Losses;
    use crate::report::run::fixture;

    fn after(change: impl FnOnce(&mut RunReport)) -> Verdict {
        let mut run = fixture::clean();
        change(&mut run);
        run.came_to()
    }

    #[test]
    fn a_whole_run_is_clean() {
        assert_eq!(after(|_| {}), Verdict::Clean);
    }

    #[test]
    fn whatever_is_missing_makes_it_incomplete() {
        let spoils: [fn(&mut RunReport); 7] = [
            |run| {
                run.integrity.losses = Losses {
                    records: 1,
                    ..Losses::default()
                }
            },
            |run| {
                run.integrity.losses = Losses {
                    members: 1,
                    ..Losses::default()
                }
            },
            |run| run.integrity.interruptions = 1,
            |run| run.integrity.enforcement_gaps = 1,
            |run| run.integrity.sweep_gaps = 1,
            |run| run.integrity.limits_unproved = 1,
            |run| run.sweep = None,
        ];
        for spoil in spoils {
            assert_eq!(after(spoil), Verdict::Incomplete);
        }
    }

    #[test]
    fn a_worse_verdict_hides_a_better_one() {
        let audit = |run: &mut RunReport| {
            run.mode = ReportMode::Audit;
            run.integrity.interruptions = 1;
        };
        assert_eq!(after(audit), Verdict::Audited);
        assert_eq!(fixture::report().came_to(), Verdict::Findings);
    }
}
