//! A job's journal of single events: begun with it, gone on with after a cordon was killed, ended before the
//! seal.

use std::io;

use super::run::{RunError, Terms};
use super::sealing::host_name;
use crate::config::Config;
use crate::enforce::{Host, Place, chain};
use crate::events::journal::{Journal, JournalError, Kept};
use crate::policy::Policy;
use crate::report::Report;
use crate::report::ocsf::{Context, Happening};

/// Where the single events of a new job are kept, if they are.
pub(super) fn begin(terms: &Terms, host: &Host, place: &Place) -> Result<Journal, RunError> {
    let limit = terms.config.host.events_bytes();
    if limit == 0 {
        return Ok(Journal::default());
    }
    let path = host.events_of(&place.id);
    let begun = Journal::begin(path, context(&place.id, &terms.policy), limit);
    begun.map_err(|error| RunError::Start {
        what: "its events could not be written down",
        source: io::Error::other(chain(&error)),
    })
}

/// The single events that a cordon that was killed had written down, to go on with.
pub(super) fn adopt(
    host: &Host,
    config: &Config,
    id: &str,
    policy: &Policy,
) -> Result<Journal, JournalError> {
    let limit = config.host.events_bytes();
    if limit == 0 {
        return Ok(Journal::default());
    }
    Journal::adopt(host.events_of(id), context(id, policy), limit)
}

/// The same; a job goes on without it too, and its evidence will say so.
pub(super) fn adopt_or_none(host: &Host, config: &Config, id: &str, policy: &Policy) -> Journal {
    adopt(host, config, id, policy).unwrap_or_else(|error| {
        tracing::warn!(error = %chain(&error), "a job's events are not gone on with");
        Journal::default()
    })
}

/// Ends a job's journal, and says in its report what is missing from it. Evidence is not lost for it.
pub(super) fn end(journal: Result<Journal, JournalError>, report: &mut Report) -> Option<Kept> {
    let outcome = report.job.outcome;
    let closed = journal.and_then(|journal| {
        journal.now(&Happening::Ended { outcome });
        journal.close()
    });
    let (kept, spot) = match closed {
        Ok(Some(kept)) if kept.facts.dropped > 0 => {
            let (lines, dropped) = (kept.facts.lines, kept.facts.dropped);
            let spot = format!(
                "Single events are listed up to the first {lines}; {dropped} more are only in the counts of \
                 this report: the host keeps no more of a job, or could not write them."
            );
            (Some(kept), spot)
        }
        Ok(whole) => return whole,
        Err(error) => {
            let spot = format!(
                "Single events are not listed: {}. The counts of this report are whole all the same.",
                chain(&error)
            );
            (None, spot)
        }
    };
    report.coverage.blind_spots.push(spot);
    kept
}

fn context(id: &str, policy: &Policy) -> Context {
    Context {
        job: id.to_owned(),
        host: host_name(),
        policy: policy.name.clone(),
    }
}
