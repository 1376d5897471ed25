//! Which entries of a policy were of use.

use std::collections::BTreeSet;

use super::{Judgement, Reason, SweepPolicy};

/// Collects which entries allowed something.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Usage {
    used: BTreeSet<usize>,
}

/// An entry that allows nothing, and should be removed or renewed.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Stale {
    /// Nothing matched it. By its place in the policy.
    Unused(usize),
    /// It has expired.
    Expired(usize),
    /// It gives nothing to match.
    Vacuous(usize),
}

impl Usage {
    /// Takes note of a judgement.
    pub fn note(&mut self, judgement: &Judgement) {
        if let Reason::Allowed(at) = judgement.reason {
            self.used.insert(at);
        }
    }

    /// The entries that were of no use, in their order. `now` is in seconds of the Unix epoch.
    pub fn stale(&self, policy: &SweepPolicy, now: i64) -> Vec<Stale> {
        let entries = policy.allow.iter().enumerate();
        entries
            .filter_map(|(at, entry)| {
                if entry.is_vacuous() {
                    return Some(Stale::Vacuous(at));
                }
                if entry.expires.is_some_and(|expires| expires <= now) {
                    return Some(Stale::Expired(at));
                }
                (!self.used.contains(&at)).then_some(Stale::Unused(at))
            })
            .collect()
    }
}
