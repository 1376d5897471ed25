//! What a job may ask under a wildcard: a bound on the channel that names are. Pure.
//!
//! Whoever owns a zone sees every name that is asked below it, so `*.example.com` lets a job say
//! something to the owner of `example.com` with each new name. A rule that says so cannot be
//! refused, but what a tunnel needs can be: long labels, many names, quickly.
//!
//! Names a rule spells out are not limited: they say nothing that the policy does not know.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use cordon_ebpf::abi::ruleset::RuleIndex;
use serde::{Deserialize, Serialize};

/// How long a name counts as new.
const MINUTE: Duration = Duration::from_mins(1);

/// How much a job may ask under one wildcard rule.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct WildcardLimits {
    /// Bytes of each label that the wildcard stands for.
    pub label: u32,
    /// Bytes of all of them together, with the dots between them.
    pub length: u32,
    /// Different names, in the job's life.
    pub names: u32,
    /// Names not asked before, in any minute.
    pub names_per_minute: u32,
}

impl Default for WildcardLimits {
    fn default() -> Self {
        Self {
            // A SHA-1 in hexadecimal, the longest label that common services make up, fits.
            label: 40,
            length: 80,
            names: 500,
            names_per_minute: 120,
        }
    }
}

/// Which limit a name is beyond.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Beyond {
    /// A label is too long.
    Label,
    /// All labels together are too long.
    Length,
    /// Too many names in the job's life.
    Names,
    /// Too many new names in a minute.
    Rate,
}

impl Beyond {
    /// What a job is told.
    pub(super) const fn why(self) -> &'static str {
        match self {
            Self::Label => "a label under a wildcard is too long",
            Self::Length => "the name is too long for a wildcard",
            Self::Names => "too many names under a wildcard",
            Self::Rate => "too many new names under a wildcard in a minute",
        }
    }
}

/// What was asked under each wildcard rule of one job. Holds at most as many names as are allowed.
#[derive(Debug)]
pub(super) struct Limiter {
    limits: WildcardLimits,
    rules: BTreeMap<RuleIndex, Asked>,
}

#[derive(Debug, Default)]
struct Asked {
    /// What the wildcard stood for.
    names: BTreeSet<String>,
    /// When names of the last minute were asked first, oldest first.
    recent: VecDeque<Duration>,
}

impl Limiter {
    pub(super) fn new(limits: WildcardLimits) -> Self {
        Self {
            limits,
            rules: BTreeMap::new(),
        }
    }

    /// Whether a name may be asked in which the wildcard of `rule` stands for `part`; `now` is the
    /// time since any fixed moment, and never runs backwards.
    ///
    /// # Errors
    /// It is beyond a limit, which leaves everything as it was.
    pub(super) fn admit(
        &mut self,
        rule: RuleIndex,
        part: &str,
        now: Duration,
    ) -> Result<(), Beyond> {
        let WildcardLimits {
            label,
            length,
            names,
            names_per_minute,
        } = self.limits;
        let longer = |text: &str, most: u32| text.len() > most as usize;
        if part.split('.').any(|text| longer(text, label)) {
            return Err(Beyond::Label);
        }
        if longer(part, length) {
            return Err(Beyond::Length);
        }
        let asked = self.rules.entry(rule).or_default();
        if asked.names.contains(part) {
            return Ok(());
        }
        if asked.names.len() >= names as usize {
            return Err(Beyond::Names);
        }
        let is_over = |then: &Duration| now.saturating_sub(*then) >= MINUTE;
        while asked.recent.front().is_some_and(is_over) {
            asked.recent.pop_front();
        }
        if asked.recent.len() >= names_per_minute as usize {
            return Err(Beyond::Rate);
        }
        asked.recent.push_back(now);
        asked.names.insert(part.to_owned());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn limiter(names: u32, names_per_minute: u32) -> Limiter {
        Limiter::new(WildcardLimits {
            names,
            names_per_minute,
            ..WildcardLimits::default()
        })
    }

    #[test]
    fn the_longest_label_and_the_longest_name_are_the_last_that_pass() {
        let mut limiter = limiter(100, 100);
        let label = |length: usize| "a".repeat(length);
        let mut admit = |part: &str| limiter.admit(0, part, SECOND);
        assert_eq!(admit(&label(40)), Ok(()));
        assert_eq!(admit(&label(41)), Err(Beyond::Label));
        assert_eq!(admit(&format!("x.{}", label(41))), Err(Beyond::Label));
        assert_eq!(admit(&format!("{}.{}", label(40), label(39))), Ok(()));
        let beyond = format!("{}.{}", label(40), label(40));
        assert_eq!(admit(&beyond), Err(Beyond::Length));
    }

    #[test]
    fn the_same_name_is_asked_as_often_as_one_likes() {
        let mut limiter = limiter(1, 1);
        for _ in 0..1000 {
            assert_eq!(limiter.admit(0, "a", SECOND), Ok(()));
        }
        assert_eq!(limiter.admit(0, "b", SECOND), Err(Beyond::Names));
        assert_eq!(limiter.admit(0, "a", SECOND), Ok(()));
    }

    #[test]
    fn each_rule_has_its_own_names() {
        let mut limiter = limiter(1, 1);
        assert_eq!(limiter.admit(0, "a", SECOND), Ok(()));
        assert_eq!(limiter.admit(1, "b", SECOND), Ok(()));
        assert_eq!(limiter.admit(1, "c", SECOND), Err(Beyond::Names));
    }

    #[test]
    fn a_minute_later_there_is_room_for_new_names() {
        let mut limiter = limiter(100, 2);
        assert_eq!(limiter.admit(0, "a", SECOND), Ok(()));
        assert_eq!(limiter.admit(0, "b", 30 * SECOND), Ok(()));
        assert_eq!(limiter.admit(0, "c", 60 * SECOND), Err(Beyond::Rate));
        assert_eq!(limiter.admit(0, "c", 61 * SECOND), Ok(()));
        assert_eq!(limiter.admit(0, "d", 62 * SECOND), Err(Beyond::Rate));
        assert_eq!(limiter.admit(0, "d", 90 * SECOND), Ok(()));
    }

    proptest! {
        /// Compared with one that remembers everything.
        #[test]
        fn no_sequence_gets_more_than_the_limits(
            asked in proptest::collection::vec((0u32..3, "[a-c]{1,4}", 0u32..40), 1..200),
            names in 1u32..12,
            rate in 1u32..8,
        ) {
            let mut limiter = limiter(names, rate);
            let mut now = Duration::ZERO;
            let mut admitted: Vec<(RuleIndex, String, Duration)> = Vec::new();
            for (rule, part, later) in asked {
                now = now.saturating_add(SECOND.saturating_mul(later));
                let of_rule = || admitted.iter().filter(|(of, ..)| *of == rule);
                let known = of_rule().any(|(_, name, _)| *name == part);
                let recent = of_rule().filter(|(.., then)| now.saturating_sub(*then) < MINUTE).count();
                let expected = if known {
                    Ok(())
                } else if of_rule().count() >= names as usize {
                    Err(Beyond::Names)
                } else if recent >= rate as usize {
                    Err(Beyond::Rate)
                } else {
                    Ok(())
                };
                prop_assert_eq!(limiter.admit(rule, &part, now), expected);
                if expected.is_ok() && !known {
                    admitted.push((rule, part, now));
                }
            }
        }
    }
}
