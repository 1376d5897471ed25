//! What is written is read back, and what was changed is refused.

use super::*;
use crate::report::statement::Subject;

const PROFILE: &str = r#"
name = "all-kinds"
mode = "audit"
[[allow]]
host = "**.good.test"
ports = [443, "6000-6010"]
verify = "none"
reason = "why"
private = true
[[allow]]
cidr = "203.0.113.0/24"
ports = ["5000-5001"]
protocol = "udp"
[[allow]]
cidr = "2001:db8::/32"
ports = [1]
[dns]
upstream = ["tls://192.0.2.53:5353#dns.example", "system"]
ca = "/etc/ca.pem"
[secrets]
on_finding = "freeze"
policy = "lenient"
interval = "2s"
freeze_for = "3m"
max_lifetime = "4h"
holders = ["git", "/usr/bin/*"]
[[secrets.allow]]
variable = "DEPLOY_*"
class = "static"
process = "**/deploy"
fingerprint = "00112233445566778899aabbccddeeff"
rule = "known-value"
reason = "why"
expires = "2027-01-31"
[[secrets.allow]]
variable = "B"
reason = "r"
[limits]
memory = "64MiB"
io = { write_ops = 7 }
wall = "2h"
[sandbox]
private_tmp = true
hide = ["~/.x", "/y"]
writable = ["."]
capabilities = ["chown"]
"#;

fn record() -> (Policy, Record) {
    let policy = Policy::parse("p.toml", PROFILE.as_bytes()).unwrap();
    let ruleset = compile(&policy).unwrap();
    let dns = DnsConfig {
        upstream: Some(vec![Upstream::parse("192.0.2.1").unwrap()]),
        ca: None,
        ttl_floor: 3,
        timeout_ms: 700,
        wildcard: WildcardLimits {
            names: 7,
            ..WildcardLimits::default()
        },
    };
    let record = Record::new(Start {
        id: "0123",
        cgroup: 42,
        netns: 7,
        evidence: Path::new("/evidence"),
        subjects: &[Subject::new("registry.test/app", &"1a".repeat(32))],
        command: "/usr/bin/make",
        arguments: 2,
        as_root: false,
        dns: &dns,
        policy: &policy,
        ruleset: &ruleset,
    });
    (policy, record.unwrap())
}

#[test]
fn a_record_gives_back_policy_and_settings() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("jobs/job-0123.json");
    assert!(Record::read(&path).unwrap().is_none());
    let (policy, record) = record();
    record.write(&path).unwrap();
    let read = Record::read(&path).unwrap().unwrap();
    assert_eq!(read, record);
    assert_eq!(read.policy().unwrap().0, policy);
    assert_eq!((read.dns().ttl_floor, read.dns().timeout_ms), (3, 700));
    assert_eq!(read.dns().upstream.unwrap().len(), 1);
    assert_eq!(read.dns().wildcard.names, 7);
    assert!(read.is_of_this_boot());
}

#[test]
fn a_record_whose_policy_was_changed_is_refused() {
    let (_, mut record) = record();
    record.policy.rules[1].cidr = Some("203.0.112.0/23".to_owned());
    assert!(matches!(record.policy(), Err(RecordError::OtherPolicy)));
    record.policy.rules[1].cidr = Some("nonsense".to_owned());
    assert!(matches!(record.policy(), Err(RecordError::OtherPolicy)));
    let (_, mut record) = self::record();
    record.policy.mode = Mode::Enforce;
    assert!(matches!(record.policy(), Err(RecordError::OtherPolicy)));
}

#[test]
fn a_record_from_before_the_sweep_has_its_defaults() {
    let (policy, record) = record();
    let mut old = serde_json::to_value(&record).unwrap();
    let stored = old["policy"].as_object_mut().unwrap();
    assert!(stored.remove("secrets").is_some());
    let old = Record::parse(old.to_string().as_bytes()).unwrap();
    let secrets = old.policy().unwrap().0.secrets;
    assert_ne!(secrets, policy.secrets);
    assert_eq!(secrets, crate::policy::SecretsPolicy::default());
}

#[test]
fn no_part_of_a_stored_allowance_is_passed_over() {
    let (_, record) = record();
    for key in ["variable", "class", "process", "fingerprint"] {
        let mut changed = serde_json::to_value(&record).unwrap();
        changed["policy"]["secrets"]["allow"][0][key] = "*".into();
        let changed = Record::parse(changed.to_string().as_bytes()).unwrap();
        assert!(
            matches!(changed.policy(), Err(RecordError::OtherPolicy)),
            "{key}"
        );
    }
}

#[test]
fn half_a_record_and_one_of_another_version_are_refused() {
    let (_, record) = record();
    let bytes = serde_json::to_vec(&record).unwrap();
    for length in [0, 1, bytes.len() / 2, bytes.len() - 1] {
        let cut = Record::parse(&bytes[..length]);
        assert!(matches!(cut, Err(RecordError::Damaged(_))), "{length}");
    }
    let other = String::from_utf8(bytes)
        .unwrap()
        .replace("\"version\":1", "\"version\":2");
    let other = Record::parse(other.as_bytes());
    assert!(matches!(other, Err(RecordError::Version { found: 2 })));
}

/// A policy goes to the daemon in this form, too.
#[test]
fn a_policy_is_the_same_afterwards() {
    let (policy, record) = record();
    assert_eq!(record.policy.load(), Some(policy));
}
