//! [`LimitsPolicy`] as text.

use serde::{Deserialize, Serialize};

use crate::policy::limits::{Limit, Resource};
use crate::policy::{LimitsPolicy, Origin};

/// What a policy limits, each resource in its own unit.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub(super) struct StoredLimits(Vec<StoredLimit>);

#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct StoredLimit {
    resource: Resource,
    amount: u64,
    source: String,
    line: usize,
}

impl From<&LimitsPolicy> for StoredLimits {
    fn from(policy: &LimitsPolicy) -> Self {
        let stored = policy.iter().map(|(resource, limit)| {
            let Limit {
                amount,
                origin: Origin { source, line },
            } = limit.clone();
            StoredLimit {
                resource,
                amount,
                source,
                line,
            }
        });
        Self(stored.collect())
    }
}

impl StoredLimits {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn load(&self) -> LimitsPolicy {
        let limits = self.0.iter().cloned().map(|stored| {
            let StoredLimit {
                resource,
                amount,
                source,
                line,
            } = stored;
            let origin = Origin { source, line };
            (resource, Limit { amount, origin })
        });
        limits.collect()
    }
}
