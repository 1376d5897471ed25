//! Would this destination be allowed, by which rule, and if not, what comes nearest. Pure.
//!
//! The answer is that of the function the kernel runs, over the same tables: for a name, over the
//! lease that its lookup would make.

use cordon_ebpf::abi::address::Address;
use cordon_ebpf::abi::ruleset::{Grants, NEVER, RuleIndex};
use cordon_ebpf::decide::{Destination, Listener, Tables, decide};

pub use self::question::{Peer, Question, QuestionError};
use super::compile::Ruleset;
use super::diagnostic::nearest;
use super::endpoint::Endpoint;
use super::grants::merge_grants;
use super::name::DomainName;
use super::pattern::Depth;
use super::remedy::remedy;
use super::verify::Verify;
use super::{Policy, Rule};

mod question;

/// Goes to the job's own listener, whatever a rule says.
const DNS: u16 = 53;

/// The answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Explanation {
    /// A rule allows it.
    Allowed {
        /// Index of the rule in the policy.
        rule: usize,
        /// What the connection must show the name in.
        verify: Verify,
    },
    /// No rule allows it.
    Denied {
        /// What comes nearest, in words, one line each; may be empty.
        near: Vec<String>,
        /// The TOML that would allow it, if anything can.
        remedy: Option<String>,
    },
}

/// Answers a question about a policy and the ruleset that was compiled from it.
#[must_use]
pub fn explain(policy: &Policy, ruleset: &Ruleset, question: &Question) -> Explanation {
    if question.port == DNS {
        let near =
            "port 53 always goes to the job's own DNS listener, which answers for allowed names";
        return Explanation::Denied {
            near: vec![near.to_owned()],
            remedy: None,
        };
    }
    match deciding_rule(ruleset, question) {
        Some(rule) => Explanation::Allowed {
            rule,
            verify: policy
                .rules
                .get(rule)
                .map_or(Verify::None, |rule| rule.verify_at(question.port)),
        },
        None => Explanation::Denied {
            near: near_misses(policy, question),
            remedy: remedy_for(question),
        },
    }
}

/// The rule by which the kernel would allow it.
fn deciding_rule(ruleset: &Ruleset, question: &Question) -> Option<usize> {
    // Which address a name has is not known here, and its lease is the same for each of them.
    let (address, leased) = match &question.peer {
        Peer::Address(address) => (Address::from(*address), None),
        Peer::Name(name) => {
            let rules = ruleset.rules_for_name(name);
            let grants = merge_grants(&ruleset.grants_for_rules(&rules, NEVER), &[], 0)?;
            (Address::UNSPECIFIED, Some(Grants::new(&grants)?))
        }
    };
    let to = Destination {
        address,
        port: question.port,
        protocol: question.protocol.number(),
        listener: Listener::Foreign,
    };
    let decision = match leased {
        Some(grants) => decide(&Lease(grants), &to, 0),
        None => decide(ruleset, &to, 0),
    };
    decision.reason.allows().then(|| decision.rule as usize)
}

/// The tables of a job that has looked up one name and nothing else.
struct Lease(Grants);

impl Tables for Lease {
    fn lease(&self, _address: &Address) -> Option<&Grants> {
        Some(&self.0)
    }

    fn net(&self, _address: &Address) -> Option<&Grants> {
        None
    }

    fn held(&self, _address: &Address, _rule: RuleIndex) -> Option<&Grants> {
        None
    }
}

fn remedy_for(question: &Question) -> Option<String> {
    let protocol = question.protocol.number();
    match &question.peer {
        Peer::Address(address) => remedy(&[], Some(*address), question.port, protocol),
        Peer::Name(name) => remedy(&[name.to_string()], None, question.port, protocol),
    }
}

/// Rules about the same endpoint with other ports; else, for a name, what is written almost alike.
fn near_misses(policy: &Policy, question: &Question) -> Vec<String> {
    let mut near: Vec<String> = Vec::new();
    for rule in &policy.rules {
        if meets(&rule.endpoint, &question.peer) {
            let what = if rule.protocol == question.protocol {
                "other ports"
            } else {
                "another protocol"
            };
            near.push(format!("allowed with {what}: {}", cited(rule)));
        }
    }
    if !near.is_empty() {
        return near;
    }
    match &question.peer {
        Peer::Name(name) if name.is_localhost() => vec![format!(
            "`{name}` is not looked up in DNS: ask about 127.0.0.1:{0} and [::1]:{0}",
            question.port
        )],
        Peer::Name(name) => similar_names(policy, name),
        Peer::Address(_) if has_hosts(policy) => vec![
            "rules with `host` allow an address only after the job has looked one of their names up"
                .to_owned(),
        ],
        Peer::Address(_) => Vec::new(),
    }
}

fn meets(endpoint: &Endpoint, peer: &Peer) -> bool {
    match (endpoint, peer) {
        (Endpoint::Host(pattern), Peer::Name(name)) => pattern.matches(name),
        (Endpoint::Net(net), Peer::Address(address)) => net.contains(address),
        (Endpoint::Host(_), Peer::Address(_)) | (Endpoint::Net(_), Peer::Name(_)) => false,
    }
}

fn has_hosts(policy: &Policy) -> bool {
    let mut endpoints = policy.rules.iter().map(|rule| &rule.endpoint);
    endpoints.any(|endpoint| matches!(endpoint, Endpoint::Host(_)))
}

fn similar_names(policy: &Policy, name: &DomainName) -> Vec<String> {
    let mut near = Vec::new();
    let mut bases = Vec::new();
    for rule in &policy.rules {
        let Endpoint::Host(pattern) = &rule.endpoint else {
            continue;
        };
        let base = pattern.base();
        let below = name.as_str().strip_suffix(base.as_str());
        let below = below.is_some_and(|front| front.ends_with('.'));
        match pattern.depth() {
            Depth::Exact if below => {
                near.push(format!("a rule allows `{base}` alone: {}", cited(rule)));
            }
            Depth::OneLabel | Depth::AnyDepth if base == name => near.push(format!(
                "a wildcard does not include `{base}` itself: {}",
                cited(rule)
            )),
            Depth::OneLabel if below => {
                near.push(format!("`*` stands for one label only: {}", cited(rule)));
            }
            Depth::Exact | Depth::OneLabel | Depth::AnyDepth => bases.push((base.as_str(), rule)),
        }
    }
    if near.is_empty()
        && let Some(alike) = nearest(name.as_str(), bases.iter().map(|(base, _)| *base))
        && let Some((_, rule)) = bases.iter().find(|(base, _)| *base == alike)
    {
        near.push(format!("a rule is written almost alike: {}", cited(rule)));
    }
    near
}

fn cited(rule: &Rule) -> String {
    format!("{} ({})", rule.describe(), rule.origin)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::compile;

    const PROFILE: &str = r#"name = "x"
[[allow]]
host = "api.example.com"
ports = [443, 8443]
[[allow]]
host = "*.cdn.example.com"
[[allow]]
cidr = "10.0.0.0/8"
ports = [5432]
[[allow]]
cidr = "10.1.0.0/16"
ports = [53, 6000]
protocol = "udp"
"#;

    fn ask(question: &str) -> Explanation {
        let policy = Policy::parse("x.toml", PROFILE.as_bytes()).unwrap();
        explain(
            &policy,
            &compile(&policy).unwrap(),
            &question.parse().unwrap(),
        )
    }

    #[test]
    fn what_a_rule_allows_is_explained_by_that_rule() {
        for (question, rule) in [
            ("api.example.com:443", 0),
            ("API.example.com.:8443/tcp", 0),
            ("a.cdn.example.com:443", 1),
            ("10.1.2.3:5432", 2),
            ("[::ffff:10.1.2.3]:5432", 2),
            ("10.1.2.3:6000/udp", 3),
        ] {
            let verify = match question {
                "api.example.com:443" | "a.cdn.example.com:443" => Verify::Tls,
                _ => Verify::None,
            };
            let expected = Explanation::Allowed { rule, verify };
            assert_eq!(ask(question), expected, "{question}");
        }
    }

    #[test]
    fn what_no_rule_allows_comes_with_the_nearest_miss_and_the_remedy() {
        for (question, miss, add) in [
            (
                "api.example.com:80",
                "other ports: host api",
                "ports = [80]",
            ),
            (
                "api.example.com:443/udp",
                "another protocol",
                "protocol = \"udp\"",
            ),
            ("x.api.example.com:443", "`api.example.com` alone", "x.api"),
            (
                "cdn.example.com:443",
                "does not include",
                "\"cdn.example.com\"",
            ),
            ("a.b.cdn.example.com:443", "one label only", "a.b.cdn"),
            ("apo.example.com:443", "almost alike", "apo"),
            ("10.9.9.9:80", "other ports: cidr 10.0.0.0/8", "10.9.9.9/32"),
            (
                "192.0.2.1:443",
                "looked one of their names up",
                "192.0.2.1/32",
            ),
        ] {
            let Explanation::Denied { near, remedy } = ask(question) else {
                panic!("{question} is allowed");
            };
            assert!(near.iter().any(|line| line.contains(miss)), "{near:?}");
            assert!(remedy.as_ref().unwrap().contains(add), "{remedy:?}");
        }
    }

    #[test]
    fn a_remedy_allows_what_it_was_given_for() {
        for question in [
            "x.example.com:80",
            "a.cdn.example.com:9/udp",
            "[2001:db8::1]:443",
        ] {
            let Explanation::Denied { remedy, .. } = ask(question) else {
                panic!("{question} is allowed");
            };
            let text = format!("{PROFILE}{}\n", remedy.unwrap());
            let policy = Policy::parse("x.toml", text.as_bytes()).unwrap();
            let answer = explain(
                &policy,
                &compile(&policy).unwrap(),
                &question.parse().unwrap(),
            );
            assert!(
                matches!(answer, Explanation::Allowed { rule: 4, .. }),
                "{answer:?}"
            );
        }
    }

    #[test]
    fn dns_is_explained_and_has_no_remedy() {
        let answer = ask("10.1.2.3:53/udp");
        assert!(
            matches!(answer, Explanation::Denied { remedy: None, .. }),
            "{answer:?}"
        );
    }
}
