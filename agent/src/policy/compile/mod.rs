//! Policy to ruleset: the form the kernel's maps and the DNS listener take. Pure.
//!
//! The kernel looks an address up in a longest-prefix trie and sees one entry only, so every range
//! is given the grants of all ranges around it. Names have no entries: a *lease* of an address is
//! made of the grants of the rules that allow the name, when DNS answers.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use cordon_ebpf::abi::ruleset::{Grant, Grants, MAX_GRANTS, NEVER, RuleIndex};
use cordon_ebpf::shown::name::RULES_MAX;

pub use self::names::Names;
use self::ruleset::masked;
pub use self::ruleset::{CompiledRule, Net, Ruleset, RulesetDigest};
use super::grants::fit;
use super::name::DomainName;
use super::pattern::{Depth, DomainPattern};
use super::{Narrowed, Policy, Rule, narrow};

mod names;
mod ruleset;

/// Rules a ruleset can have: as many as there are names for them in the kernel.
const MAX_RULES: usize = 131_072;

/// Why a policy has no kernel form.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CompileError {
    /// More port ranges on one destination than the kernel looks at.
    #[error(
        "{endpoint} has {count} port ranges, {MAX_GRANTS} are the most; merge ports of these rules: {}",
        rules.join("; ")
    )]
    TooManyGrants {
        /// The name or range, as a rule's endpoint is printed.
        endpoint: String,
        /// How many it would need.
        count: usize,
        /// The rules that make them, each with the line it comes from.
        rules: Vec<String>,
    },
    /// More rules allow one name than the kernel looks at.
    #[error(
        "{count} rules allow names like `{name}`, {RULES_MAX} are the most; merge these rules: {}",
        rules.join("; ")
    )]
    TooManyRulesOfName {
        /// The name, or the name all of them are below of.
        name: String,
        /// How many rules there are.
        count: usize,
        /// The rules, each with the line it comes from.
        rules: Vec<String>,
    },
    /// More rules than rule numbers.
    #[error("the policy has {count} rules, {MAX_RULES} are the most")]
    TooManyRules {
        /// How many there are.
        count: usize,
    },
}

/// Compiles a policy.
///
/// # Errors
/// The kernel's tables cannot hold it; the error names the rules.
pub fn compile(policy: &Policy) -> Result<Ruleset, CompileError> {
    let Policy {
        name: _,
        mode,
        rules,
        dns: _,
        secrets: _,
        limits: _,
        engine: _,
        sandbox: _,
        profiles: _,
        standing: _,
        narrowed,
    } = policy;
    if rules.len() > MAX_RULES {
        return Err(CompileError::TooManyRules { count: rules.len() });
    }
    let compiled: Vec<CompiledRule> = (rules.iter().enumerate())
        .map(|(index, rule)| CompiledRule {
            in_force: policy.is_in_force(index),
            within: narrowed
                .as_ref()
                .and_then(|narrowed| narrow::within(rules, narrowed, index)),
            ..CompiledRule::from(rule)
        })
        .collect();
    let nets = compile_nets(rules, &compiled)?;
    let names = Names::of(&compiled).map_err(|full| full.error(rules))?;
    let withdrawn = narrowed.as_ref().map_or(0..0, withdrawn);
    let ruleset = Ruleset::new(*mode, nets, names, compiled, withdrawn);
    check_names(&ruleset, rules)?;
    Ok(ruleset)
}

/// The rules that were given up, as the kernel counts them.
fn withdrawn(narrowed: &Narrowed) -> Range<RuleIndex> {
    let index = |index: usize| RuleIndex::try_from(index).unwrap_or(RuleIndex::MAX);
    index(narrowed.from)..index(narrowed.to)
}

fn compile_nets(
    rules: &[Rule],
    compiled: &[CompiledRule],
) -> Result<BTreeMap<Net, Grants>, CompileError> {
    let numbered = || (0..).zip(compiled);
    let mut by_net: BTreeMap<Net, Vec<(RuleIndex, &CompiledRule)>> = BTreeMap::new();
    for (index, rule) in numbered() {
        if let Some(net) = rule.net().filter(|_| rule.in_force) {
            by_net.entry(net).or_default().push((index, rule));
        }
    }
    let mut nets = BTreeMap::new();
    for net in by_net.keys() {
        let mut holding: Vec<(RuleIndex, &CompiledRule)> = (0..=net.prefix_len)
            .filter_map(|prefix_len| {
                let address = masked(&net.address, prefix_len);
                by_net.get(&Net {
                    address,
                    prefix_len,
                })
            })
            .flatten()
            .copied()
            .collect();
        holding.sort_by_key(|(index, _)| *index);
        let grants: Vec<Grant> = holding
            .iter()
            .flat_map(|(index, rule)| rule.grants(*index, NEVER))
            .collect();
        let count = grants.len();
        let Some(value) = fit(grants).and_then(|grants| Grants::new(&grants)) else {
            let indices: Vec<RuleIndex> = holding.iter().map(|(index, _)| *index).collect();
            return Err(too_many(format!("cidr {net}"), count, &indices, rules));
        };
        nets.insert(*net, value);
    }
    Ok(nets)
}

/// Makes sure that a lease of any name fits the kernel's entry, so that no allowed name fails
/// only when a job asks for it.
fn check_names(ruleset: &Ruleset, rules: &[Rule]) -> Result<(), CompileError> {
    let mut checked = BTreeSet::new();
    for pattern in ruleset.patterns() {
        for name in examples(pattern) {
            let allowing = ruleset.rules_for_name(&name);
            if !checked.insert(allowing.clone()) {
                continue;
            }
            let grants = ruleset.grants_for_rules(&allowing, NEVER);
            let count = grants.len();
            if fit(grants).is_none() {
                return Err(too_many(format!("host {pattern}"), count, &allowing, rules));
            }
        }
    }
    Ok(())
}

/// Names that, together over all patterns, meet every set of rules that any name can meet: the
/// exact names, and for wildcards one name each of every depth that makes a difference.
fn examples(pattern: &DomainPattern) -> Vec<DomainName> {
    let base = pattern.base();
    let below = |front: &str| DomainName::parse(&format!("{front}.{base}")).ok();
    match pattern.depth() {
        Depth::Exact => vec![base.clone()],
        Depth::OneLabel => below("x").into_iter().collect(),
        Depth::AnyDepth => below("x").into_iter().chain(below("x.x")).collect(),
    }
}

fn too_many(endpoint: String, count: usize, indices: &[RuleIndex], rules: &[Rule]) -> CompileError {
    CompileError::TooManyGrants {
        endpoint,
        count,
        rules: cited(indices, rules),
    }
}

/// Rules with the lines they come from, as many as people read.
fn cited(indices: &[RuleIndex], rules: &[Rule]) -> Vec<String> {
    let named = |index: &RuleIndex| {
        let rule = rules.get(*index as usize)?;
        Some(format!("{} ({})", rule.describe(), rule.origin))
    };
    let more = indices.len().saturating_sub(MAX_GRANTS);
    let more = (more > 0).then(|| format!("and {more} more"));
    let listed = indices.iter().take(MAX_GRANTS).filter_map(named);
    listed.chain(more).collect()
}

#[cfg(test)]
mod tests;
