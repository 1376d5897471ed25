//! What a policy can ask of evidence besides: how the key is kept, and single events.

use super::*;

/// Evidence whose parts say these classes: the egress report, with what is made of it, and the sweep.
fn kept(class: &str, sweep: &str) -> Case {
    let mut job = Job::default();
    class.clone_into(&mut job.egress.platform.key_protection);
    let swept = job.sweep.as_mut().unwrap();
    sweep.clone_into(&mut swept.platform.key_protection);
    job.case()
}

fn findings(decision: &Decision) -> String {
    let findings = decision.checks.iter().flat_map(|check| &check.findings);
    let bad = findings.filter(|finding| finding.refusal.is_some());
    bad.map(|finding| format!("{finding:?}"))
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn a_key_that_is_kept_otherwise_than_asked_for_is_refused_and_said() {
    let asked = "key_protection = [\"tpm\", \"systemd-creds-host+tpm2\"]";
    for class in ["tpm", "systemd-creds-host+tpm2"] {
        let decision = kept(class, class).asking(asked).decide();
        assert_eq!(decision.status, 0, "{}", findings(&decision));
    }
    // A class that is like one of them, or that nobody knows, is another.
    for class in ["file", "systemd-creds-tpm2", "TPM", "tpm ", "tpm2", ""] {
        assert_eq!(kept(class, class).decide().status, 0, "{class}");
        let decision = kept(class, class).asking(asked).decide();
        assert_eq!(decision.status, 1, "{class}");
        assert_eq!(failed(&decision), ["monitor"], "{class}");
        let said = format!("is kept as `{class}`, and the policy accepts");
        assert!(
            findings(&decision).contains(&said),
            "{}",
            findings(&decision)
        );
    }
}

#[test]
fn every_piece_says_how_the_key_is_kept_and_one_that_says_otherwise_is_refused() {
    let asked = "key_protection = [\"tpm\"]";
    let decision = kept("tpm", "file").asking(asked).decide();
    assert_eq!(decision.status, 1, "{}", findings(&decision));
    let mut case = kept("tpm", "tpm").asking(asked);
    case.sign_again(seal::BUNDLE_NAME, &published_key(), |statement| {
        statement["predicate"]["cordonKeyProtection"] = "file".into();
    });
    let decision = case.decide();
    assert_eq!(decision.status, 1, "{}", findings(&decision));
}

#[test]
fn events_that_are_asked_for_must_be_there_and_none_left_out() {
    let asked = "events = \"required\"";
    let decision = Case::good().asking(asked).decide();
    assert_eq!(decision.status, 0, "{}", findings(&decision));
    let none = Job {
        eventful: false,
        ..Job::default()
    };
    let some = Job {
        dropped_events: 7,
        ..Job::default()
    };
    for (job, status, said) in [
        (none, 3, "none were kept"),
        (some, 1, "7 more are only counted"),
    ] {
        assert_eq!(job.case().decide().status, 0, "{said}");
        let optional = job.case().asking("events = \"optional\"").decide();
        assert_eq!(optional.status, 0, "{said}");
        let decision = job.case().asking(asked).decide();
        assert_eq!(decision.status, status, "{}", findings(&decision));
        assert_eq!(failed(&decision), ["completeness"]);
        assert!(
            findings(&decision).contains(said),
            "{}",
            findings(&decision)
        );
    }
    let mut gone = Case::good().asking(asked);
    gone.files.0.remove("events.ocsf.jsonl");
    assert_eq!(gone.decide().status, 3);
}

#[test]
fn an_empty_list_of_classes_is_a_mistake() {
    let text = Case::good().asking("key_protection = []").policy;
    TrustPolicy::parse("policy.toml", text.as_bytes()).unwrap_err();
}
