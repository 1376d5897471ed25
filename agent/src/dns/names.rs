//! How a compiled policy answers for names.

use cordon_ebpf::abi::ruleset::RuleIndex;

use super::NamePolicy;
use crate::policy::pattern::Depth;
use crate::policy::{DomainName, Endpoint, Ruleset};

impl NamePolicy for Ruleset {
    fn rules_for_name(&self, name: &str) -> Vec<RuleIndex> {
        // A name that is none has no rule.
        DomainName::parse(name).map_or_else(|_| Vec::new(), |name| self.rules_for_name(&name))
    }

    fn wildcard_part<'a>(&self, rule: RuleIndex, name: &'a str) -> Option<&'a str> {
        let counted = self.counted_as(rule);
        let Endpoint::Host(pattern) = &self.rules.get(counted as usize)?.endpoint else {
            return None;
        };
        if pattern.depth() == Depth::Exact {
            return None;
        }
        let front = name.strip_suffix(pattern.base().as_str())?;
        front.strip_suffix('.')
    }

    fn counted_as(&self, rule: RuleIndex) -> RuleIndex {
        let found = self.rules.get(rule as usize);
        found.and_then(|rule| rule.within).unwrap_or(rule)
    }

    fn allows_private(&self, rules: &[RuleIndex]) -> bool {
        self.allows_private(rules)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Policy, compile};

    #[test]
    fn a_wildcard_stands_for_what_is_before_its_zone() {
        let text = "name = \"x\"\n[[allow]]\nhost = \"a.example.org\"\n\
                    [[allow]]\nhost = \"*.example.org\"\n[[allow]]\nhost = \"**.example.org\"\n";
        let policy = Policy::parse("x.toml", text.as_bytes()).unwrap();
        let ruleset = compile(&policy).unwrap();
        let part = |rule, name| ruleset.wildcard_part(rule, name);
        assert_eq!(part(0, "a.example.org"), None);
        assert_eq!(part(1, "b.example.org"), Some("b"));
        assert_eq!(part(2, "c.b.example.org"), Some("c.b"));
        assert_eq!(part(9, "b.example.org"), None);
    }
}
