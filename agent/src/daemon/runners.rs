//! Units in the slice: which are new, and what is said of one that no setting is for. Pure.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;

use super::api::types::State;
use super::table::{Entry, Table};
use crate::cgroup::Cgroup;
use crate::policy::Mode;
use crate::report::attendance::Identity;

/// Names of units that are to be enrolled: those nobody knows, and those that are there again.
pub(super) fn new_units(table: &Table, units: &[Cgroup]) -> Vec<String> {
    let known: BTreeSet<&str> = table
        .runners()
        // One that was refused stays so until it is gone or the settings are read again.
        .filter(|entry| entry.is_alive() || entry.state == State::Failed)
        .filter_map(|entry| entry.unit.as_deref())
        .collect();
    let names = units.iter().map(Cgroup::name);
    names
        .filter(|name| !known.contains(name.as_str()))
        .collect()
}

/// Jobs whose runner is gone, each with its unit: the unit was removed, or no process is left in it. `lives` says
/// whether one is.
pub(super) fn abandoned(table: &Table, lives: impl Fn(&str) -> bool) -> Vec<(String, String)> {
    let enforced = table.jobs().filter(|entry| entry.state == State::Enforced);
    enforced
        .filter_map(|entry| Some((entry.id.clone(), entry.unit.clone()?)))
        .filter(|(_, unit)| !lives(unit))
        .collect()
}

/// A unit that is denied everything.
pub(super) fn denied(id: &str, unit: &str, error: String) -> Entry {
    Entry {
        id: id.to_owned(),
        unit: Some(unit.to_owned()),
        state: State::Failed,
        since: Timestamp::now(),
        policy: "none".to_owned(),
        ruleset_digest: String::new(),
        mode: Mode::Enforce,
        identity: Identity::default(),
        grant: None,
        moved: 0,
        evidence: None,
        engine: None,
        error: Some(error),
        telemetry_error: None,
        feed: Arc::default(),
        told: Arc::default(),
        orders: None,
    }
}
