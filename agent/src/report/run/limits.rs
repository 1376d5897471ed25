//! What a run says of its limits: which held, what was met, what was used. The egress report has the proofs.

use serde::{Deserialize, Serialize};

use crate::limits::estimate::Estimate;
use crate::limits::evidence::{Kind, Limits, State, Usage};
use crate::policy::limits::Resource;

/// What became of a job's limits.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LimitFacts {
    /// Resources whose limit is proved to have held from start to end, in order.
    pub pinned: Vec<PinnedFacts>,
    /// Those that were to be limited, and of which that is not proved.
    pub unproved: Vec<Resource>,
    /// How often the job met one, by what happened.
    pub met: Vec<MetFacts>,
    /// [`Limits::usage`]
    pub usage: Usage,
    /// [`Limits::estimate`]
    pub estimate: Estimate,
}

/// A limit that held.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PinnedFacts {
    /// Of what.
    pub resource: Resource,
    /// The limit, in the words of profiles.
    pub limit: String,
}

/// What happened at a limit.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MetFacts {
    /// What.
    pub kind: Kind,
    /// How often.
    pub count: u64,
}

impl LimitFacts {
    pub(super) fn of(limits: &Limits) -> Self {
        let held = limits.resources.iter().filter_map(|pinned| {
            let limit = pinned.configured.clone()?;
            (pinned.state == State::Pinned).then_some(PinnedFacts {
                resource: pinned.resource,
                limit,
            })
        });
        Self {
            pinned: held.collect(),
            unproved: limits.unproved().map(|pinned| pinned.resource).collect(),
            met: limits
                .events
                .iter()
                .map(|met| MetFacts {
                    kind: met.kind,
                    count: met.count,
                })
                .collect(),
            usage: limits.usage.clone(),
            estimate: limits.estimate.clone(),
        }
    }
}
