//! The trie of names that connections may show: every pattern whose rules ask for a name.
//!
//! The kernel finds the nearest pattern of a name and sees no other, so every pattern is given the
//! rules of all patterns around it. What it then allows is what `DomainPattern::matches` says, which
//! is also what decides about DNS questions.

use std::collections::BTreeMap;

use cordon_ebpf::abi::ruleset::RuleIndex;
use cordon_ebpf::shown::name::{End, KEY_BYTES, NameRule, NameRules, key};

use super::{CompileError, CompiledRule, cited};
use crate::policy::Rule;
use crate::policy::endpoint::Endpoint;
use crate::policy::name::DomainName;
use crate::policy::pattern::{Depth, DomainPattern};

/// A pattern's place in the trie.
type Place = (DomainName, Reach);

/// Whether a place is a name, or what is below of one.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Reach {
    Exact,
    Below,
}

impl From<Reach> for End {
    fn from(reach: Reach) -> Self {
        match reach {
            Reach::Exact => Self::Exact,
            Reach::Below => Self::Below,
        }
    }
}

/// The trie's entries.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Names(BTreeMap<Place, NameRules>);

/// More rules than an entry holds.
pub(super) struct TooManyRules {
    name: DomainName,
    rules: Vec<RuleIndex>,
}

impl TooManyRules {
    pub(super) fn error(self, rules: &[Rule]) -> CompileError {
        CompileError::TooManyRulesOfName {
            name: self.name.to_string(),
            count: self.rules.len(),
            rules: cited(&self.rules, rules),
        }
    }
}

impl Names {
    /// The entries for the rules that ask for names.
    pub(super) fn of(rules: &[CompiledRule]) -> Result<Self, TooManyRules> {
        let mut by_pattern: BTreeMap<&DomainPattern, Vec<RuleIndex>> = BTreeMap::new();
        for (index, rule) in (0..).zip(rules) {
            if let Endpoint::Host(pattern) = &rule.endpoint
                && rule.in_force
                && rule.verifies()
            {
                by_pattern.entry(pattern).or_default().push(index);
            }
        }
        let rules_of = |pattern: &DomainPattern, labels| {
            let rules = by_pattern.get(pattern).into_iter().flatten();
            rules.map(move |rule| NameRule {
                rule: *rule,
                labels,
                reserved: [0; 3],
            })
        };
        let mut entries = BTreeMap::new();
        for pattern in by_pattern.keys() {
            let base = pattern.base();
            let (place, mut list): (Place, Vec<NameRule>) = if pattern.depth() == Depth::Exact {
                let around = DomainPattern::all_matching(base);
                let list = around.flat_map(|pattern| rules_of(&pattern, 0).collect::<Vec<_>>());
                ((base.clone(), Reach::Exact), list.collect())
            } else {
                let around = DomainPattern::all_below(base);
                let list = around.flat_map(|pattern| {
                    let labels = match pattern.depth() {
                        Depth::OneLabel => labels(base).saturating_add(1),
                        Depth::AnyDepth | Depth::Exact => 0,
                    };
                    rules_of(&pattern, labels).collect::<Vec<_>>()
                });
                ((base.clone(), Reach::Below), list.collect())
            };
            list.sort_unstable_by_key(|rule| rule.rule);
            let Some(value) = NameRules::new(&list) else {
                return Err(TooManyRules {
                    name: base.clone(),
                    rules: list.iter().map(|rule| rule.rule).collect(),
                });
            };
            entries.insert(place, value);
        }
        Ok(Self(entries))
    }

    /// Key data, bits of it that count, and value of every entry.
    pub fn entries(&self) -> impl Iterator<Item = ([u8; KEY_BYTES], u32, NameRules)> + '_ {
        self.0.iter().filter_map(|((name, reach), rules)| {
            let (data, bits) = key(name.as_str(), (*reach).into())?;
            Some((data, bits, *rules))
        })
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether no connection has to show a name.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn labels(name: &DomainName) -> u8 {
    let labels = name.as_str().split('.').count();
    u8::try_from(labels).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::ports::PortSet;
    use crate::policy::{Protocol, Verify};

    fn rule(pattern: &str, verify: Option<Verify>) -> CompiledRule {
        CompiledRule {
            endpoint: Endpoint::Host(DomainPattern::parse(pattern).unwrap()),
            ports: PortSet::single(443).unwrap(),
            protocol: Protocol::Tcp,
            private: false,
            verify,
            in_force: true,
            within: None,
        }
    }

    /// What the kernel does: the longest prefix, then each of its rules.
    fn found(names: &Names, name: &str) -> Vec<RuleIndex> {
        let (own, bits) = key(name, End::Exact).unwrap();
        let labels = labels(&DomainName::parse(name).unwrap());
        let nearest = names
            .entries()
            .filter(|(data, length, _)| {
                let bytes = usize::try_from(*length).unwrap() / 8;
                *length <= bits && data[..bytes] == own[..bytes]
            })
            .max_by_key(|(_, length, _)| *length);
        let Some((.., rules)) = nearest else {
            return Vec::new();
        };
        let allowing = rules.as_slice().iter().filter(|rule| rule.allows(labels));
        allowing.map(|rule| rule.rule).collect()
    }

    #[test]
    fn rules_that_ask_for_no_name_are_not_in_the_trie() {
        let names = Names::of(&[rule("a.example", Some(Verify::None))])
            .ok()
            .unwrap();
        assert!(names.is_empty());
    }

    #[test]
    fn a_name_with_too_many_rules_is_named() {
        let rules: Vec<_> = (0..17).map(|_| rule("a.example", None)).collect();
        assert!(Names::of(&rules[..16]).is_ok());
        let full = Names::of(&rules).err().unwrap();
        assert_eq!((full.name.as_str(), full.rules.len()), ("a.example", 17));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn the_kernel_finds_exactly_the_rules_whose_pattern_matches(
            patterns in proptest::collection::vec("(|\\*\\.|\\*\\*\\.)([ab]\\.){0,3}example\\.com", 1..12),
            names in proptest::collection::vec("([ab]{1,2}\\.){0,5}example\\.com", 1..8),
        ) {
            let rules: Vec<_> = patterns.iter().map(|pattern| rule(pattern, None)).collect();
            let Ok(trie) = Names::of(&rules) else { return Ok(()) };
            for name in names {
                let parsed = DomainName::parse(&name).unwrap();
                let expected: Vec<RuleIndex> = (0..).zip(&patterns)
                    .filter(|(_, pattern)| DomainPattern::parse(pattern).unwrap().matches(&parsed))
                    .map(|(index, _)| index)
                    .collect();
                prop_assert_eq!(found(&trie, &name), expected, "{}", name);
            }
        }
    }
}
