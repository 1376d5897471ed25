//! Which rules an engine uses.

use std::collections::BTreeSet;

use crate::credential::Rule;
use crate::formats::{FORMATS, Format};
use crate::{generic, known};

/// The rules of an engine: all, or all but some.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Rules {
    off: BTreeSet<&'static str>,
}

/// There is no such rule.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("there is no rule `{0}`; `cordon sweep rules` lists them")]
pub struct UnknownRule(pub String);

impl Rules {
    /// All rules.
    pub fn all() -> Self {
        Self::default()
    }

    /// All rules but these.
    ///
    /// # Errors
    /// One of them does not exist.
    pub fn without(ids: &[&str]) -> Result<Self, UnknownRule> {
        let off = ids.iter().map(|id| {
            every()
                .map(|rule| rule.id)
                .find(|known| known == id)
                .ok_or_else(|| UnknownRule((*id).to_owned()))
        });
        Ok(Self {
            off: off.collect::<Result<_, _>>()?,
        })
    }

    /// The rules, in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = Rule> {
        let on: BTreeSet<Rule> = every().filter(|rule| self.has(*rule)).collect();
        on.into_iter()
    }

    /// Whether a rule is among them.
    pub(crate) fn has(&self, rule: Rule) -> bool {
        !self.off.contains(rule.id)
    }

    /// The formats of these rules.
    pub(crate) fn formats(&self) -> Vec<Format> {
        let formats = FORMATS.iter().flat_map(|family| family.iter());
        formats
            .copied()
            .filter(|format| self.has(format.rule))
            .collect()
    }
}

/// Every rule there is.
fn every() -> impl Iterator<Item = Rule> {
    let formats = FORMATS.iter().flat_map(|family| family.iter());
    formats
        .map(|format| format.rule)
        .chain(generic::RULES)
        .chain([known::RULE])
}
