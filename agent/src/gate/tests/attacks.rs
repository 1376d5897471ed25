//! Evidence that is wrong in one way, and the status that each way has.

use super::*;
use crate::limits::evidence::State;
use crate::report::{Flow, Losses, ReportMode};

/// How a case is spoilt.
type Spoil = fn(&mut Case);

/// What is wrong, the status it must have, the check that must find it, and how it is made.
const ATTACKS: &[(&str, u8, &str, Spoil)] = &[
    (
        "one byte of a signed payload flipped",
        4,
        "signature",
        |case| {
            let name = "egress.sigstore.json";
            let text = case.text(name);
            let (before, payload) = text.split_once("\"payload\":\"").unwrap();
            let (kept, flipped) = payload.split_at(100);
            let other = if flipped.starts_with('A') { "B" } else { "A" };
            let rest = flipped.split_at(1).1;
            case.put(name, &format!("{before}\"payload\":\"{kept}{other}{rest}"));
        },
    ),
    ("one byte of a report flipped", 4, "completeness", |case| {
        let text = case.text("egress-report.json");
        case.put(
            "egress-report.json",
            &text.replacen("\"attempts\": 3", "\"attempts\": 2", 1),
        );
    }),
    (
        "one byte of a file that only the seal names",
        4,
        "completeness",
        |case| {
            let text = case.text("secret-sweep.sarif");
            case.put("secret-sweep.sarif", &text.replacen("cordon", "cardon", 1));
        },
    ),
    ("signed with another key", 4, "signature", |case| {
        case.files = Job::default().files(&SigningKey::generate().unwrap());
    }),
    (
        "one piece signed with another key",
        4,
        "signature",
        |case| {
            let other = SigningKey::generate().unwrap();
            case.sign_again("run.sigstore.json", &other, |_| {});
            case.seal_again(&published_key());
        },
    ),
    (
        "one piece signed with another trusted key",
        4,
        "job",
        |case| {
            let other = SigningKey::generate().unwrap();
            case.policy.push_str(&trusted(&other, "report", ""));
            case.sign_again("run.sigstore.json", &other, |_| {});
            case.seal_again(&published_key());
        },
    ),
    ("a key of the role gate", 4, "key", |case| {
        case.policy = policy(&published_key(), "gate");
    }),
    ("a key of the role policy", 4, "key", |case| {
        case.policy = policy(&published_key(), "policy");
    }),
    ("a revoked key", 4, "key", |case| {
        case.policy
            .push_str("revoked_from = \"2026-11-22T08:30:00Z\"\n");
    }),
    ("an expired key", 4, "key", |case| {
        case.policy
            .push_str("not_after = \"2026-11-22T08:30:00Z\"\n");
    }),
    ("a key whose time has not come", 4, "key", |case| {
        case.policy
            .push_str("not_before = \"2026-11-23T00:00:00Z\"\n");
    }),
    (
        "a key whose time had not come when the job ended",
        4,
        "key",
        |case| {
            case.policy
                .push_str("not_before = \"2026-11-22T08:20:00Z\"\n");
        },
    ),
    ("a key of another host", 4, "key", |case| {
        case.policy.push_str("hosts = [\"build-*.test\"]\n");
    }),
    ("another image", 5, "subject", |case| {
        case.target = OTHER.into();
    }),
    ("no image", 5, "subject", |case| {
        let job = Job {
            images: Vec::new(),
            ..Job::default()
        };
        case.files = job.files(&published_key());
    }),
    (
        "one statement that names another image",
        5,
        "subject",
        |case| {
            let other = OTHER.rsplit_once(':').unwrap().1;
            case.sign_again("egress.sigstore.json", &published_key(), |statement| {
                statement["subject"][1]["digest"]["sha256"] = other.into();
            });
            case.seal_again(&published_key());
        },
    ),
    ("a sibling that names another image", 5, "subject", |case| {
        case.bind("binding.sigstore.json", OTHER, &published_key());
    }),
    (
        "a sibling of any name that names another image",
        5,
        "subject",
        |case| {
            case.bind("x/y.sigstore.json", OTHER, &published_key());
        },
    ),
    ("a line that names another image", 5, "subject", |case| {
        case.bind("x", OTHER, &published_key());
        let bundle: Value = json::parse(case.text("x").as_bytes()).unwrap();
        let lines = case.text("evidence.intoto.jsonl") + &bundle["dsseEnvelope"].to_string();
        case.put("evidence.intoto.jsonl", &lines);
    }),
    ("a binding by another trusted key", 5, "subject", |case| {
        let other = SigningKey::generate().unwrap();
        case.policy.push_str(&trusted(&other, "report", ""));
        case.bind("binding.sigstore.json", IMAGE, &other);
    }),
    ("a binding of another seal", 5, "subject", |case| {
        case.bind("binding.sigstore.json", IMAGE, &published_key());
        case.sign_again("binding.sigstore.json", &published_key(), |statement| {
            statement["predicate"]["seal"]["sha256"] = "00".repeat(32).into();
        });
    }),
    ("another predicate type", 7, "statement", |case| {
        case.sign_again("run.sigstore.json", &published_key(), |statement| {
            statement["predicateType"] = "urn:cordon:attestation:secret-sweep:v1".into();
        });
        case.seal_again(&published_key());
    }),
    (
        "a predicate type that the key may not sign",
        4,
        "key",
        |case| {
            case.sign_again("run.sigstore.json", &published_key(), |statement| {
                statement["predicateType"] = "https://slsa.dev/provenance/v1".into();
            });
            case.seal_again(&published_key());
        },
    ),
    ("another statement type", 7, "statement", |case| {
        case.sign_again("run.sigstore.json", &published_key(), |statement| {
            statement["_type"] = "https://in-toto.io/Statement/v0.1".into();
        });
        case.seal_again(&published_key());
    }),
    ("references that are no seal", 7, "statement", |case| {
        case.sign_again("seal.sigstore.json", &published_key(), |statement| {
            statement["predicate"]["attester"]["id"] = "https://sbom.test".into();
        });
    }),
    ("two signatures", 7, "envelope", |case| {
        let text = case.text("run.sigstore.json");
        let mut bundle: Value = json::parse(text.as_bytes()).unwrap();
        let signatures = bundle["dsseEnvelope"]["signatures"].as_array_mut().unwrap();
        signatures.push(signatures[0].clone());
        case.put("run.sigstore.json", &bundle.to_string());
        case.seal_again(&published_key());
    }),
    ("a keyid that is not the hint", 7, "envelope", |case| {
        let text = case.text("run.sigstore.json");
        let mut bundle: Value = json::parse(text.as_bytes()).unwrap();
        bundle["verificationMaterial"]["publicKey"]["hint"] = "SHA256:other".into();
        case.put("run.sigstore.json", &bundle.to_string());
        case.seal_again(&published_key());
    }),
    ("a key of a bundle twice", 7, "envelope", |case| {
        let text = case.text("run.sigstore.json");
        let twice = text.replacen('{', "{\"mediaType\":\"text/plain\",", 1);
        case.put("run.sigstore.json", &twice);
        case.seal_again(&published_key());
    }),
    ("a key of a statement twice", 7, "statement", |case| {
        let mut statement = case.statement("run.sigstore.json").to_string();
        statement.insert_str(1, "\"predicateType\":\"x\",");
        let bundle = Bundle::sign(statement.as_bytes(), &published_key()).unwrap();
        case.put(
            "run.sigstore.json",
            &serde_json::to_string(&bundle).unwrap(),
        );
        case.seal_again(&published_key());
    }),
    ("another monitor", 4, "monitor", |case| {
        case.sign_again("egress.sigstore.json", &published_key(), |statement| {
            statement["predicate"]["monitor"]["type"] = "https://monitor.test/v1".into();
        });
        case.seal_again(&published_key());
    }),
    ("another host than that of the key", 4, "monitor", |case| {
        case.sign_again("run.sigstore.json", &published_key(), |statement| {
            statement["predicate"]["monitoredProcess"]["hostID"] = "urn:cordon:host:x".into();
        });
        case.seal_again(&published_key());
    }),
    ("stale", 6, "freshness", |case| {
        case.now = "2026-11-22T09:16:42Z".parse().unwrap();
    }),
    ("of the future", 6, "freshness", |case| {
        case.now = "2026-11-22T08:11:41Z".parse().unwrap();
    }),
    ("an expired policy", 6, "freshness", |case| {
        case.policy
            .insert_str(0, "expires = \"2026-11-22T08:36:41Z\"\n");
    }),
    ("ended before it began", 7, "freshness", |case| {
        let mut job = Job::default();
        job.egress.job.started = "2026-11-22T08:20:00Z".parse().unwrap();
        case.files = job.files(&published_key());
    }),
    ("a bundle deleted", 3, "find", |case| {
        case.files.0.remove("egress.sigstore.json");
    }),
    ("a report deleted", 3, "completeness", |case| {
        case.files.0.remove("run.json");
    }),
    ("a rendering deleted", 3, "completeness", |case| {
        case.files.0.remove("secret-sweep.sarif");
    }),
    ("the sweep deleted", 3, "find", |case| {
        case.files
            .0
            .retain(|name, _| !name.starts_with("secret-sweep"));
    }),
    ("the seal deleted", 3, "find", |case| {
        case.files.0.remove("seal.sigstore.json");
    }),
    ("nothing at all", 3, "find", |case| case.files.0.clear()),
    ("a piece of another run", 4, "completeness", |case| {
        let mut job = Job::default();
        job.egress.job.id = "another".into();
        let other = job.files(&published_key());
        for name in ["egress-report.json", "egress.sigstore.json"] {
            case.files.0.insert(name.into(), other.0[name].clone());
        }
    }),
    ("a piece of another run, sealed", 4, "job", |case| {
        let mut job = Job::default();
        job.egress.job.id = "another".into();
        let other = job.files(&published_key());
        for name in ["egress-report.json", "egress.sigstore.json"] {
            case.files.0.insert(name.into(), other.0[name].clone());
        }
        case.seal_again(&published_key());
    }),
    ("the seal of another run", 4, "completeness", |case| {
        let job = Job {
            before: 1,
            ..Job::default()
        };
        let other = job.files(&published_key());
        let name = "seal.sigstore.json";
        case.files.0.insert(name.into(), other.0[name].clone());
    }),
    ("a seal that lists too little", 3, "completeness", |case| {
        case.sign_again("seal.sigstore.json", &published_key(), |statement| {
            let references = &mut statement["predicate"]["references"];
            references
                .as_array_mut()
                .unwrap()
                .retain(|at| at["name"] != "egress-report.json");
        });
    }),
    (
        "a seal that names a file elsewhere",
        7,
        "statement",
        |case| {
            case.sign_again("seal.sigstore.json", &published_key(), |statement| {
                statement["predicate"]["references"][0]["name"] = "../egress-report.json".into();
            });
        },
    ),
    (
        "a run report that says better things",
        7,
        "completeness",
        |case| {
            let text = case
                .text("run.json")
                .replacen("\"denied\": 5", "\"denied\": 0", 1);
            case.put("run.json", &text);
            let sha256 = sha256_hex(text.as_bytes());
            case.sign_again("run.sigstore.json", &published_key(), |statement| {
                statement["subject"][0]["digest"]["sha256"] = sha256.clone().into();
                statement["predicate"]["report"]["sha256"] = sha256.into();
            });
            case.seal_again(&published_key());
        },
    ),
    ("audit mode", 1, "integrity", |case| {
        let mut job = Job::default();
        job.egress.mode = ReportMode::Audit;
        case.files = job.files(&published_key());
    }),
    ("losses", 1, "integrity", |case| {
        let mut job = Job::default();
        job.egress.losses = Losses {
            records: 1,
            ..Losses::default()
        };
        case.files = job.files(&published_key());
    }),
    ("a gap of enforcement", 1, "integrity", |case| {
        let mut job = Job::default();
        let gap = "ENFORCEMENT HAD A GAP: connect4 is not attached".to_owned();
        job.egress.coverage.blind_spots.push(gap);
        case.files = job.files(&published_key());
    }),
    ("a layer that was not active", 1, "integrity", |case| {
        case.policy
            .push_str("[run]\nlayers = [\"connect4\", \"lsm-socket\"]\n");
    }),
    ("a limit that nobody set", 1, "integrity", |case| {
        case.policy.push_str("[run]\nlimits = [\"open-files\"]\n");
    }),
    ("a limit that is not proved", 1, "integrity", |case| {
        let mut job = Job::default();
        let limits = job.egress.limits.as_mut().unwrap();
        limits.resources[0].state = State::NotProved;
        case.files = job.files(&published_key());
    }),
    ("events left out at the end", 4, "completeness", |case| {
        let text = case.text("events.ocsf.jsonl");
        let first = text.lines().next().unwrap();
        case.put("events.ocsf.jsonl", &format!("{first}\n"));
    }),
    (
        "no events, which the run names",
        3,
        "completeness",
        |case| {
            case.files.0.remove("events.ocsf.jsonl");
        },
    ),
    (
        "fewer events than were signed for",
        7,
        "completeness",
        |case| {
            let job = Job {
                missing_events: 1,
                ..Job::default()
            };
            case.files = job.files(&published_key());
        },
    ),
    ("no sweep", 3, "completeness", |case| {
        let job = Job {
            sweep: None,
            ..Job::default()
        };
        case.files = job.files(&published_key());
    }),
    ("a sweep that was not whole", 1, "integrity", |case| {
        let mut job = Job::default();
        let mut swept = job.sweep.take().unwrap();
        swept.coverage.records_lost = 1;
        job.sweep = Some(swept.concluded());
        case.files = job.files(&published_key());
    }),
    ("findings", 1, "verdict", |case| {
        let mut job = Job::default();
        let mut swept = sweep::clean();
        swept.job = Some(job.egress.job.clone());
        swept.findings = sweep::report().findings;
        job.sweep = Some(swept.concluded());
        case.files = job.files(&published_key());
    }),
    ("a command that failed", 1, "verdict", |case| {
        let mut job = Job::default();
        job.egress.job.outcome = Ending::Exited { code: 2 };
        case.files = job.files(&published_key());
    }),
    (
        "a command of which nobody knows how it ended",
        1,
        "verdict",
        |case| {
            let mut job = Job::default();
            job.egress.job.outcome = Ending::Unknown;
            case.files = job.files(&published_key());
        },
    ),
    ("denied and then reached", 1, "verdict", |case| {
        let mut job = Job::default();
        let to = job.egress.denials[0].destination.clone();
        let flow = job.egress.flows[0].clone();
        job.egress.flows.push(Flow {
            destination: to,
            ..flow
        });
        case.files = job.files(&published_key());
    }),
    ("more denials than allowed", 1, "verdict", |case| {
        case.policy.push_str("[run]\nmax_denied = 6\n");
    }),
    ("a profile that is not approved", 1, "verdict", |case| {
        let one = "11".repeat(32);
        case.policy
            .extend([format!("[run]\nprofiles = [\"{one}\"]\n")]);
    }),
    ("a ruleset that is not approved", 1, "verdict", |case| {
        let one = "11".repeat(32);
        case.policy
            .extend([format!("[run]\nrulesets = [\"{one}\"]\n")]);
    }),
    ("a command that is not approved", 1, "job", |case| {
        case.policy
            .push_str("[run]\ncommands = [\"/usr/bin/cargo\"]\n");
    }),
    ("an old cordon", 1, "monitor", |case| {
        case.policy.push_str("[run]\nmin_version = \"0.1.1\"\n");
    }),
    ("a BPF object that is not known", 1, "monitor", |case| {
        let one = "11".repeat(32);
        case.policy
            .extend([format!("[run]\nobjects = [\"{one}\"]\n")]);
    }),
    ("a bundle that is too large", 7, "find", |case| {
        let large = vec![b' '; crate::report::envelope::MAX_BUNDLE + 1];
        case.files.0.insert("egress.sigstore.json".into(), large);
        case.seal_again(&published_key());
    }),
    ("a payload that is too deep", 7, "statement", |case| {
        let deep = "[".repeat(100_000);
        let bundle = Bundle::sign(deep.as_bytes(), &published_key()).unwrap();
        case.put(
            "run.sigstore.json",
            &serde_json::to_string(&bundle).unwrap(),
        );
        case.seal_again(&published_key());
    }),
    ("too many envelopes", 7, "find", |case| {
        case.put("evidence.intoto.jsonl", &"{}\n".repeat(1025));
    }),
];

#[test]
fn each_attack_has_its_status_and_is_found_by_its_check() {
    let mut wrong = Vec::new();
    for (name, status, check, spoil) in ATTACKS {
        let mut case = Case::good();
        spoil(&mut case);
        let decision = case.decide();
        let found = failed(&decision);
        if decision.status != *status || !found.contains(check) {
            let got = decision.status;
            let texts: Vec<_> = decision
                .checks
                .iter()
                .flat_map(|check| &check.findings)
                .filter(|finding| finding.refusal.is_some())
                .collect();
            wrong.push(format!(
                "{name}: wanted {status} by {check}, got {got} by {found:?}: {texts:?}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_status_is_one_that_some_attack_has() {
    for status in [1, 3, 4, 5, 6, 7] {
        assert!(ATTACKS.iter().any(|attack| attack.1 == status), "{status}");
    }
}

#[test]
fn a_policy_can_accept_what_the_strict_one_refuses() {
    let mut job = Job::default();
    job.egress.losses.records = 2;
    job.egress.job.outcome = Ending::Exited { code: 3 };
    let mut swept = sweep::clean();
    swept.job = Some(job.egress.job.clone());
    swept.findings = sweep::report().findings;
    job.sweep = Some(swept.concluded());
    let strict = job.case();
    assert_eq!(strict.decide().status, 1);
    let lenient = strict.with(
        "hosts = [\"x\", \"runner-*.test\"]\nnot_before = \"2026-11-22T08:16:41Z\"\n\
         not_after = \"2026-11-22T09:00:00Z\"\nrevoked_from = \"2026-11-23T00:00:00Z\"\n\
         [run]\nstatus = [0, 3]\nmax_denied = 99\nlayers = [\"connect4\"]\nmin_version = \"0.1\"\n\
         commands = [\"/usr/bin/make\"]\n\
         [allowed]\nlosses = 2\n[sweep]\nfindings = \"allow\"\n",
    );
    let decision = lenient.decide();
    assert_eq!(decision.status, 0, "{decision:#?}");
    let none = Job {
        sweep: None,
        ..Job::default()
    };
    let case = none.case().with("[sweep]\nrequired = false\n");
    assert_eq!(case.decide().status, 0, "{:#?}", case.decide());
}

#[test]
fn a_binding_makes_up_for_an_image_that_was_not_known() {
    let unbound = Job {
        images: Vec::new(),
        ..Job::default()
    };
    let mut case = unbound.case();
    assert_eq!(case.decide().status, 5);
    case.bind("binding.sigstore.json", IMAGE, &published_key());
    assert_eq!(case.decide().status, 0, "{:#?}", case.decide());
    // One that nobody of the policy signed is nothing.
    case.bind(
        "binding.sigstore.json",
        IMAGE,
        &SigningKey::generate().unwrap(),
    );
    assert_eq!(case.decide().status, 5);
}

#[test]
fn what_strangers_put_beside_the_evidence_changes_nothing() {
    let mut case = Case::good();
    case.put("x.sigstore.json", "no bundle");
    case.put("README.md", "hello");
    case.put("other.intoto.jsonl", "{}\n\nnot json\n");
    case.bind("y.sigstore.json", OTHER, &SigningKey::generate().unwrap());
    assert_eq!(case.decide().status, 0, "{:#?}", case.decide());
}
