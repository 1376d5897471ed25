//! How a compiled policy answers for names.

use super::NamePolicy;
use crate::policy::{DomainName, Ruleset};

impl NamePolicy for Ruleset {
    fn rules_for_name(&self, name: &str) -> Vec<u16> {
        // A name that is none has no rule.
        DomainName::parse(name).map_or_else(|_| Vec::new(), |name| self.rules_for_name(&name))
    }

    fn allows_private(&self, rules: &[u16]) -> bool {
        self.allows_private(rules)
    }
}
