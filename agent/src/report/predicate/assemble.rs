//! A report becomes a predicate.

use std::path::Path;

use cordon_ebpf::abi::verdict::Verdict;
use serde::Serialize;

use super::{
    Connection, Digest, InvokingProcess, MONITOR_TYPE, Metadata, Monitor, MonitorLog,
    MonitoredProcess, Omitted, Predicate, Resource, TracePolicy, TraceRule,
};
use crate::report::{
    Denial, Destination, Flow, NameAsked, NameVerdict, PolicyFacts, ProcessChain, ProfileFacts,
    Report, ReportMode,
};

/// 12 MiB for the lists, of the 16 MiB that attestation stores take of a whole predicate.
pub(in crate::report) const LISTS_BUDGET: usize = 12 << 20;

/// The rule of what no rule allows.
const DEFAULT_DENY: &str = "default-deny";

impl Predicate {
    /// The predicate of a report, whose file has this digest and is signed by the key of this id.
    #[must_use]
    pub fn new(report: &Report, report_sha256: &str, key_id: &str) -> Self {
        let mut budget = Budget::new(LISTS_BUDGET);
        let (network, network_omitted) = budget.take(connections(report));
        let not_allowed = |name: &&NameAsked| name.answer != NameVerdict::Allowed;
        let (cordon_names, names) = budget.take(report.dns.iter().filter(not_allowed).cloned());
        let (cordon_sockets, sockets) = budget.take(report.sockets.iter().cloned());
        let (cordon_incidents, incidents) = budget.take(report.incidents.iter().cloned());
        Self {
            cordon_mode: report.mode,
            cordon_interruptions: report.interruptions.clone(),
            cordon_coverage: report.coverage.clone(),
            cordon_losses: report.losses,
            cordon_summary: report.summary,
            cordon_omitted: Omitted {
                network: network_omitted,
                names,
                sockets,
                incidents,
            },
            monitor: Monitor::new(&report.policy, report.mode),
            monitored_process: MonitoredProcess::job(key_id, &report.job.id),
            monitor_log: MonitorLog {
                network,
                cordon_names,
                cordon_sockets,
                cordon_incidents,
            },
            metadata: Metadata {
                build_started_on: report.job.started,
                build_finished_on: report.job.finished,
            },
            cordon_platform: report.platform.clone(),
            cordon_report: Digest {
                sha256: report_sha256.into(),
            },
        }
    }
}

impl MonitoredProcess {
    /// A job of the host with this key.
    pub(in crate::report) fn job(key_id: &str, id: &str) -> Self {
        Self {
            host_id: format!("urn:cordon:host:{key_id}"),
            r#type: "urn:cordon:job:v1".into(),
            event: format!("urn:cordon:job:v1:{}", percent_encoded(id, b"")),
        }
    }

    /// Processes of the host with this key that are no job.
    pub(in crate::report) fn processes(key_id: &str) -> Self {
        Self {
            host_id: format!("urn:cordon:host:{key_id}"),
            r#type: "urn:cordon:processes:v1".into(),
            event: "urn:cordon:processes:v1".into(),
        }
    }
}

impl Monitor {
    fn new(policy: &PolicyFacts, mode: ReportMode) -> Self {
        let cordon_profiles: Vec<_> = policy.profiles.iter().map(Resource::from).collect();
        let no_profile = || Resource {
            name: policy.name.clone(),
            uri: None,
            digest: None,
        };
        let rules = policy.rules.iter().map(|rule| TraceRule {
            text: rule.text.clone(),
            origin: rule.origin.clone(),
            reason: rule.reason.clone(),
        });
        Self {
            r#type: MONITOR_TYPE.into(),
            config_source: cordon_profiles.last().cloned().unwrap_or_else(no_profile),
            trace_policy: TracePolicy {
                name: policy.name.clone(),
                mode,
                ruleset_digest: policy.ruleset_digest.clone(),
                rules: rules.collect(),
            },
            cordon_profiles,
        }
    }
}

impl From<&ProfileFacts> for Resource {
    fn from(profile: &ProfileFacts) -> Self {
        let source = profile.source.as_str();
        let uri = match source.strip_prefix("built-in:") {
            Some(name) => Some(format!("urn:cordon:profile:{}", percent_encoded(name, b""))),
            None if Path::new(source).is_absolute() => {
                Some(format!("file://{}", percent_encoded(source, b"/")))
            }
            // A relative path has no URI.
            None => None,
        };
        Self {
            name: profile.name.clone(),
            uri,
            digest: Some(Digest {
                sha256: profile.sha256.clone(),
            }),
        }
    }
}

impl From<&ProcessChain> for InvokingProcess {
    fn from(chain: &ProcessChain) -> Self {
        Self {
            pid: chain.pid,
            exe: chain.executables.first().cloned(),
        }
    }
}

fn connections(report: &Report) -> impl Iterator<Item = Connection> {
    let refused = match report.mode {
        ReportMode::Enforce => Verdict::DENY,
        ReportMode::Audit => Verdict::WOULD_DENY,
    };
    let denials = report
        .denials
        .iter()
        .map(move |denial| denied(denial, refused));
    denials.chain(
        report
            .flows
            .iter()
            .map(|flow| allowed(flow, &report.policy)),
    )
}

fn denied(denial: &Denial, verdict: Verdict) -> Connection {
    let Destination {
        address,
        port,
        protocol,
        names,
    } = &denial.destination;
    Connection {
        ip: *address,
        hostname: names.first().cloned(),
        port: *port,
        protocol: protocol.clone(),
        invoking_process: denial.processes.first().map(InvokingProcess::from),
        cordon_verdict: verdict.name().into(),
        cordon_rule: Some(DEFAULT_DENY.into()),
        cordon_reason: denial.reason.clone(),
        cordon_count: denial.attempts,
        cordon_packets: denial.packets,
        cordon_bytes_out: 0,
        cordon_bytes_in: 0,
        cordon_first_seen: denial.first_seen,
        cordon_last_seen: denial.last_seen,
    }
}

fn allowed(flow: &Flow, policy: &PolicyFacts) -> Connection {
    let Destination {
        address,
        port,
        protocol,
        names,
    } = &flow.destination;
    Connection {
        ip: *address,
        hostname: names.first().cloned(),
        port: *port,
        protocol: protocol.clone(),
        invoking_process: flow.processes.first().map(InvokingProcess::from),
        cordon_verdict: Verdict::ALLOW.name().into(),
        cordon_rule: flow.rule.map(|index| policy.rule_text(index)),
        cordon_reason: flow.reason.clone(),
        cordon_count: flow.attempts,
        cordon_packets: flow.packets_out,
        cordon_bytes_out: flow.bytes_out,
        cordon_bytes_in: flow.bytes_in,
        cordon_first_seen: flow.first_seen,
        cordon_last_seen: flow.last_seen,
    }
}

/// Bytes that lists may still take.
pub(in crate::report) struct Budget(usize);

impl Budget {
    /// That many bytes.
    pub(in crate::report) const fn new(bytes: usize) -> Self {
        Self(bytes)
    }

    /// As many items as fit, in their order, and how many did not.
    pub(in crate::report) fn take<T: Serialize>(
        &mut self,
        items: impl Iterator<Item = T>,
    ) -> (Vec<T>, usize) {
        let mut taken = Vec::new();
        let mut items = items.peekable();
        while let Some(item) = items.next_if(|item| self.spend(item)) {
            taken.push(item);
        }
        (taken, items.count())
    }

    fn spend<T: Serialize>(&mut self, item: &T) -> bool {
        // An item without a JSON form fails the whole statement later; here it is merely large.
        let size = serde_json::to_vec(item).map_or(usize::MAX, |bytes| bytes.len());
        match self.0.checked_sub(size.saturating_add(1)) {
            Some(left) => {
                self.0 = left;
                true
            }
            None => false,
        }
    }
}

/// The text as a part of a URI: RFC 3986's unreserved characters, and the `kept` ones, as they are.
pub(crate) fn percent_encoded(text: &str, kept: &[u8]) -> String {
    text.bytes()
        .map(|byte| {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || kept.contains(&byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    #[test]
    fn denials_carry_the_verdict_of_the_mode() {
        let mut report = fixture::report();
        for (mode, word) in [
            (ReportMode::Enforce, "deny"),
            (ReportMode::Audit, "would-deny"),
        ] {
            report.mode = mode;
            let predicate = Predicate::new(&report, "00", "SHA256:x");
            let first = &predicate.monitor_log.network[0];
            assert_eq!(first.cordon_verdict, word);
            assert_eq!(first.cordon_rule.as_deref(), Some("default-deny"));
            assert_eq!(predicate.cordon_mode, mode);
        }
    }

    #[test]
    fn a_rule_that_is_not_there_is_named_so() {
        let mut report = fixture::report();
        report.flows[0].rule = Some(900);
        let predicate = Predicate::new(&report, "00", "SHA256:x");
        let flow = &predicate.monitor_log.network[report.denials.len()];
        assert_eq!(
            flow.cordon_rule.as_deref(),
            Some("rule 900 (not in the list)")
        );
    }

    #[test]
    fn names_that_were_simply_allowed_are_left_to_the_report() {
        let predicate = Predicate::new(&fixture::report(), "00", "SHA256:x");
        let names = &predicate.monitor_log.cordon_names;
        assert!(!names.is_empty());
        assert!(names.iter().all(|name| name.answer != NameVerdict::Allowed));
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let mut report = fixture::report();
        let mut denial = report.denials[0].clone();
        denial.processes[0].executables[0] = "x".repeat(1 << 20);
        report.denials = vec![denial; 14];
        let total = report.denials.len() + report.flows.len();
        let predicate = Predicate::new(&report, "00", "SHA256:x");
        assert_eq!(predicate.monitor_log.network.len(), 11);
        assert_eq!(predicate.cordon_omitted.network, total - 11);
        let size = serde_json::to_vec(&predicate).unwrap().len();
        assert!(size < crate::report::envelope::MAX_PAYLOAD, "{size}");
    }

    #[test]
    fn sources_become_uris() {
        let uri = |source: &str| {
            let profile = ProfileFacts {
                name: "p".into(),
                source: source.into(),
                sha256: "00".into(),
            };
            Resource::from(&profile).uri
        };
        assert_eq!(
            uri("built-in:base").as_deref(),
            Some("urn:cordon:profile:base")
        );
        assert_eq!(
            uri("/a b/ü.toml").as_deref(),
            Some("file:///a%20b/%C3%BC.toml")
        );
        assert_eq!(uri("ci/web.toml"), None);
    }
}
