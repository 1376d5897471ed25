//! What a job's policy says about how much of the host it may use.
//!
//! Of several profiles the narrowest limit of each resource holds, extended profiles included. What
//! none of them says is not limited, and reports say so.
//!
//! **Not here**: which file of the kernel gets which value is [`crate::limits`].

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

use serde::{Deserialize, Serialize};

mod read;
mod units;

pub(crate) use self::read::{IO, LIMITS, read_limits};
use self::units::{show_bytes, show_seconds};
use super::Origin;

/// Something that can be limited. The order is that of reports.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Resource {
    /// Memory, page cache included. Bytes.
    Memory,
    /// Swap beyond that memory. Bytes.
    Swap,
    /// Processes and threads that exist at a time.
    Pids,
    /// Processor time, in percent of one processor.
    Cpu,
    /// Bytes read from each disk in a second.
    IoRead,
    /// Bytes written to each disk in a second.
    IoWrite,
    /// Reads of each disk in a second.
    IoReadOps,
    /// Writes to each disk in a second.
    IoWriteOps,
    /// Files each process has open at a time.
    OpenFiles,
    /// Seconds from its release until a job is ended.
    Wall,
}

impl Resource {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Memory,
        Self::Swap,
        Self::Pids,
        Self::Cpu,
        Self::IoRead,
        Self::IoWrite,
        Self::IoReadOps,
        Self::IoWriteOps,
        Self::OpenFiles,
        Self::Wall,
    ];

    /// Its name in reports; in profiles, those of io are keys of the table `io`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Swap => "swap",
            Self::Pids => "pids",
            Self::Cpu => "cpu",
            Self::IoRead => "io-read",
            Self::IoWrite => "io-write",
            Self::IoReadOps => "io-read-ops",
            Self::IoWriteOps => "io-write-ops",
            Self::OpenFiles => "open-files",
            Self::Wall => "wall",
        }
    }

    /// An amount of it, as profiles write it.
    #[must_use]
    pub fn show(self, amount: u64) -> String {
        match self {
            Self::Memory | Self::Swap => show_bytes(amount),
            Self::IoRead | Self::IoWrite => format!("{}/s", show_bytes(amount)),
            Self::IoReadOps | Self::IoWriteOps => format!("{amount}/s"),
            Self::Cpu => format!("{amount}%"),
            Self::Pids | Self::OpenFiles => amount.to_string(),
            Self::Wall => show_seconds(amount),
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How much of one resource, and who says so.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Limit {
    /// How much at most, in the unit of the resource.
    pub amount: u64,
    /// Where it is written.
    pub origin: Origin,
}

/// The limits of a job; of a profile while it is being read.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct LimitsPolicy {
    limits: BTreeMap<Resource, Limit>,
}

impl LimitsPolicy {
    /// The narrowest limit of each resource; of equal ones the first.
    pub(crate) fn narrowest(said: &[&Self]) -> Self {
        let all = said.iter().copied().flat_map(Self::iter);
        all.map(|(resource, limit)| (resource, limit.clone()))
            .collect()
    }

    /// What is limited, and how.
    pub fn iter(&self) -> impl Iterator<Item = (Resource, &Limit)> {
        self.limits
            .iter()
            .map(|(resource, limit)| (*resource, limit))
    }

    /// The limit of one resource, if it has one.
    #[must_use]
    pub fn get(&self, resource: Resource) -> Option<&Limit> {
        self.limits.get(&resource)
    }

    /// How much of one resource, if it is limited.
    #[must_use]
    pub fn amount(&self, resource: Resource) -> Option<u64> {
        self.get(resource).map(|limit| limit.amount)
    }

    /// Whether nothing is limited.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.limits.is_empty()
    }
}

/// The narrowest of what is said of each resource; of equals the first.
impl FromIterator<(Resource, Limit)> for LimitsPolicy {
    fn from_iter<I: IntoIterator<Item = (Resource, Limit)>>(iter: I) -> Self {
        let mut limits: BTreeMap<Resource, Limit> = BTreeMap::new();
        for (resource, limit) in iter {
            match limits.entry(resource) {
                Entry::Vacant(place) => {
                    place.insert(limit);
                }
                Entry::Occupied(mut known) if limit.amount < known.get().amount => {
                    known.insert(limit);
                }
                Entry::Occupied(_) => {}
            }
        }
        Self { limits }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn said() -> impl Strategy<Value = LimitsPolicy> {
        let limit = (proptest::sample::select(Resource::ALL.to_vec()), 0u64..9);
        proptest::collection::vec(limit, 0..12).prop_map(|limits| {
            let limits = limits.into_iter().enumerate();
            limits
                .map(|(line, (resource, amount))| {
                    let origin = Origin {
                        source: "p.toml".to_owned(),
                        line,
                    };
                    (resource, Limit { amount, origin })
                })
                .collect()
        })
    }

    proptest! {
        #[test]
        fn no_profile_is_widened_by_the_others(all in proptest::collection::vec(said(), 0..4)) {
            let together = LimitsPolicy::narrowest(&all.iter().collect::<Vec<_>>());
            for resource in Resource::ALL {
                let each = all.iter().filter_map(|one| one.amount(resource));
                prop_assert_eq!(together.amount(resource), each.min());
            }
        }

        #[test]
        fn the_order_of_profiles_does_not_matter(all in proptest::collection::vec(said(), 0..4)) {
            let amounts = |policy: &LimitsPolicy| Resource::ALL.map(|resource| policy.amount(resource));
            prop_assert_eq!(
                amounts(&LimitsPolicy::narrowest(&all.iter().collect::<Vec<_>>())),
                amounts(&LimitsPolicy::narrowest(&all.iter().rev().collect::<Vec<_>>()))
            );
        }
    }

    #[test]
    fn names_are_those_of_reports() {
        for resource in Resource::ALL {
            let json = serde_json::to_value(resource).unwrap();
            assert_eq!(json, resource.name());
        }
    }
}
