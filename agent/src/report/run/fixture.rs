//! Run reports, for tests.

use super::{FileDigest, Link, RunReport};
use crate::report::statement::sha256_hex;
use crate::report::sweep::{SweepReport, fixture as sweep};
use crate::report::{Report, fixture as egress};

/// A run of the job that did a bit of everything, with findings.
pub(in crate::report) fn report() -> RunReport {
    of(&egress::report(), &sweep::report())
}

/// A run in which nothing was lost or found.
pub(in crate::report) fn clean() -> RunReport {
    of(&egress::held(), &sweep::clean())
}

fn of(egress: &Report, sweep: &SweepReport) -> RunReport {
    let file = |name: &str| FileDigest {
        name: name.into(),
        sha256: sha256_hex(name.as_bytes()),
    };
    let reports = ["secret-sweep.json", "egress-report.json"].map(file);
    let chain = Link {
        sequence: 7,
        previous: Some("5e".repeat(32)),
    };
    RunReport::new(egress, Some(sweep), reports.into(), "runner-3.test", chain)
}
