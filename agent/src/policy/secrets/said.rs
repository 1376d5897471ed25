//! What one profile says about secrets, and what several say together.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Allowance, Holders, OnFinding, ProgramPattern, SecretsPolicy, Stance};

/// The `[secrets]` table of one profile: what it says, and nothing for what it does not.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Said {
    pub(crate) on_finding: Option<OnFinding>,
    pub(crate) stance: Option<Stance>,
    pub(crate) interval: Option<Duration>,
    pub(crate) freeze_for: Option<Duration>,
    pub(crate) max_lifetime: Option<Duration>,
    /// Never empty: an empty list says nothing.
    pub(crate) holders: Option<BTreeSet<ProgramPattern>>,
    pub(crate) allow: Vec<Allowance>,
}

impl SecretsPolicy {
    /// The strictest of what profiles say; what none of them says has its default.
    pub(crate) fn strictest(said: &[&Said]) -> Self {
        let default = Self::default();
        let each = || said.iter().copied();
        let shortest = |of: fn(&Said) -> Option<Duration>| each().filter_map(of).min();
        let on_finding = each().filter_map(|said| said.on_finding).max();
        let stance = each().filter_map(|said| said.stance).max();
        Self {
            on_finding: on_finding.unwrap_or(default.on_finding),
            stance: stance.unwrap_or(default.stance),
            interval: shortest(|said| said.interval).unwrap_or(default.interval),
            freeze_for: shortest(|said| said.freeze_for).unwrap_or(default.freeze_for),
            max_lifetime: shortest(|said| said.max_lifetime).unwrap_or(default.max_lifetime),
            holders: Holders {
                lists: each().filter_map(|said| said.holders.clone()).collect(),
            },
            allow: each().flat_map(|said| said.allow.iter().cloned()).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seconds(range: std::ops::Range<u64>) -> impl Strategy<Value = Option<Duration>> {
        proptest::option::of(range.prop_map(Duration::from_secs))
    }

    fn program() -> impl Strategy<Value = ProgramPattern> {
        "(/a/)?[bc]".prop_map(|text| ProgramPattern::parse(&text).unwrap())
    }

    fn said() -> impl Strategy<Value = Said> {
        let words = (
            proptest::option::of(proptest::sample::select(OnFinding::ALL.to_vec())),
            proptest::option::of(proptest::sample::select(Stance::ALL.to_vec())),
        );
        let times = (seconds(1..100), seconds(1..100), seconds(60..160));
        let holders = proptest::option::of(proptest::collection::btree_set(program(), 1..3));
        (words, times, holders).prop_map(|(words, times, holders)| Said {
            on_finding: words.0,
            stance: words.1,
            interval: times.0,
            freeze_for: times.1,
            max_lifetime: times.2,
            holders,
            allow: Vec::new(),
        })
    }

    proptest! {
        #[test]
        fn no_profile_is_weakened_by_the_others(all in proptest::collection::vec(said(), 0..4)) {
            let together = SecretsPolicy::strictest(&all.iter().collect::<Vec<_>>());
            for one in &all {
                prop_assert!(one.on_finding.is_none_or(|said| together.on_finding >= said));
                prop_assert!(one.stance.is_none_or(|said| together.stance >= said));
                prop_assert!(one.interval.is_none_or(|said| together.interval <= said));
                prop_assert!(one.freeze_for.is_none_or(|said| together.freeze_for <= said));
                prop_assert!(one.max_lifetime.is_none_or(|said| together.max_lifetime <= said));
            }
            for path in ["/a/b", "/a/c", "/x/b", "/x/c", "/x/d"] {
                let by_each = all.iter().all(|said| {
                    let holders = said.holders.as_ref();
                    holders.is_none_or(|list| list.iter().any(|program| program.matches(path)))
                });
                prop_assert_eq!(together.holders.admit(path), by_each, "{}", path);
            }
        }

        #[test]
        fn the_order_of_profiles_does_not_matter(all in proptest::collection::vec(said(), 0..4)) {
            prop_assert_eq!(
                SecretsPolicy::strictest(&all.iter().collect::<Vec<_>>()),
                SecretsPolicy::strictest(&all.iter().rev().collect::<Vec<_>>())
            );
        }
    }

    #[test]
    fn what_nobody_says_has_its_default() {
        let silent = Said::default();
        assert_eq!(
            SecretsPolicy::strictest(&[&silent, &silent]),
            SecretsPolicy::default()
        );
    }
}
