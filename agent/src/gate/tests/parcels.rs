//! Evidence that comes from a registry: sets beside each other, and what is packed for one.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Case, IMAGE, failed, published_key};
use crate::gate::decision::{Decision, Outcome, PolicyFacts, Verdict};
use crate::gate::parcel::{Opened, PackError, Parcel, Store, Wrapped, pack};
use crate::gate::policy::TrustPolicy;
use crate::gate::source::{ReadError, Source as _};
use crate::gate::{Question, decide};
use crate::report::image::Image;
use crate::report::statement::sha256_hex;

#[derive(Default)]
struct Memory(BTreeMap<String, Vec<u8>>);

impl Store for Memory {
    fn read(&self, sha256: &str, limit: u64) -> Result<Vec<u8>, ReadError> {
        let bytes = self.0.get(sha256).ok_or(ReadError::Missing)?;
        assert!(bytes.len() as u64 <= limit);
        Ok(bytes.clone())
    }
}

/// A case whose evidence names its image, packed for it.
fn packed(case: &Case) -> Wrapped {
    let image: Image = IMAGE.parse().unwrap();
    let packed = pack(&case.files, Some(image.digest), &[]).unwrap();
    packed.wrap().unwrap()
}

fn list(packed: &Wrapped) -> Value {
    serde_json::from_str(&packed.list).unwrap()
}

/// What the gate says of a parcel.
fn decided(case: &Case, list: &Value, memory: &Memory) -> Decision {
    let parcel = Parcel::parse(list.to_string().as_bytes()).unwrap();
    let policy = TrustPolicy::parse("policy.toml", case.policy.as_bytes()).unwrap();
    let facts = PolicyFacts {
        name: policy.name.clone(),
        source: "policy.toml".into(),
        sha256: sha256_hex(case.policy.as_bytes()),
        signed_by: None,
    };
    let question = Question {
        target: &case.target.parse().unwrap(),
        policy: &policy,
        policy_facts: &facts,
        now: crate::gate::decision::Now {
            time: case.now,
            given: true,
        },
        state: None,
        policy_key: None,
        revocations: None,
    };
    let sets = parcel.unpack();
    let decisions = sets
        .iter()
        .map(|set| decide(question, &Opened { set, store: memory }));
    Decision::closest(decisions.collect()).unwrap()
}

#[test]
fn what_was_packed_is_decided_on_like_the_directory() {
    let case = Case::good();
    let packed = packed(&case);
    let decision = decided(&case, &list(&packed), &Memory(packed.files));
    assert_eq!(decision, case.decide());
    assert_eq!(decision.verdict, Verdict::Promote);
}

#[test]
fn bad_sets_beside_a_good_one_stop_nothing_and_are_told() {
    let case = Case::good();
    let packed = packed(&case);
    let mut list = list(&packed);
    let mut bad = Vec::new();
    for kind in ["missing", "refused", "failed"] {
        bad.push(json!({"files": [], "absent": {"kind": kind, "reason": "x"}}));
    }
    let piece = |name: &str| json!({"name": name, "mediaType": "x", "digest": format!("sha256:{}", "0".repeat(64))});
    for name in [
        "../x",
        "/etc/passwd",
        "a\\b",
        "",
        "a//b",
        "d/d/d/d/d/d/d/d/d",
    ] {
        bad.push(json!({"files": [piece(name)]}));
    }
    bad.push(json!({"files": [piece("a"), piece("a")]}));
    bad.push(
        json!({"files": [{"name": "a", "mediaType": "x", "digest": "sha256:../../etc/passwd"}]}),
    );
    let count = bad.len();
    let alone = json!({"schema": list["schema"], "sets": bad.clone()});
    let sets = list["sets"].as_array_mut().unwrap();
    bad.append(sets);
    *sets = bad;
    let memory = Memory(packed.files);
    let decision = decided(&case, &list, &memory);
    assert_eq!(decision.verdict, Verdict::Promote);
    let told = format!("the {count} other(s) came to status 3, 7, 8, 7");
    let findings = &decision.checks[1].findings;
    assert!(
        findings.iter().any(|finding| finding.text.contains(&told)),
        "{findings:?}"
    );
    // Without the good one nothing is promoted.
    let decision = decided(&case, &alone, &memory);
    assert_eq!(decision.verdict, Verdict::Deny);
    for (kind, status) in [("missing", 3), ("refused", 7), ("failed", 8)] {
        let one = json!({"schema": list["schema"], "sets": [{"files": [], "absent": {"kind": kind, "reason": "x"}}]});
        assert_eq!(decided(&case, &one, &memory).status, status, "{kind}");
    }
}

#[test]
fn a_file_whose_content_is_another_is_refused() {
    let case = Case::good();
    let packed = packed(&case);
    let mut files = packed.files.clone();
    let sha256 = sha256_hex(&case.files.0["run.json"]);
    files.insert(sha256, b"{}".to_vec());
    let decision = decided(&case, &list(&packed), &Memory(files));
    assert_eq!(decision.status, 7, "{decision:#?}");
}

#[test]
fn statements_on_their_own_count_as_if_they_lay_beside_the_evidence() {
    let mut case = Case::good();
    let packed = packed(&case);
    // The key that sealed says that the job made another image: found as a referrer of this one.
    case.bind(
        "other",
        &format!("app@sha256:{}", "a".repeat(64)),
        &published_key(),
    );
    let bundle = case.files.0.remove("other").unwrap();
    let sha256 = sha256_hex(&bundle);
    let mut files = packed.files.clone();
    files.insert(sha256.clone(), bundle);
    let memory = Memory(files);
    let mut list = list(&packed);
    let origin = format!("sha256:{}", "b".repeat(64));
    list["statements"] = json!([{"origin": origin, "digest": format!("sha256:{sha256}")}]);
    let decision = decided(&case, &list, &memory);
    assert_eq!((decision.status, failed(&decision)), (5, vec!["subject"]));
    // One that could not be had could say the same; one that is none, or gone, says nothing.
    for (kind, status) in [("failed", 8), ("refused", 0), ("missing", 0)] {
        list["statements"] = json!([{"origin": origin, "absent": {"kind": kind, "reason": "x"}}]);
        assert_eq!(decided(&case, &list, &memory).status, status, "{kind}");
        let parcel = Parcel::parse(list.to_string().as_bytes()).unwrap();
        assert_eq!(parcel.remarks().len(), usize::from(status == 0));
    }
    // Those that are in the set are not read twice.
    let seal = &list["sets"][0]["files"][0]["digest"];
    list["statements"] = json!([{"origin": origin, "digest": seal}]);
    let parcel = Parcel::parse(list.to_string().as_bytes()).unwrap();
    let set = &parcel.unpack()[0];
    let opened = Opened {
        set,
        store: &memory,
    };
    assert!(
        !opened
            .names()
            .iter()
            .any(|name| name.starts_with("referrers/"))
    );
}

#[test]
fn nothing_found_is_missing_evidence() {
    let case = Case::good();
    let empty = json!({"schema": "cordon/parcel/v1", "sets": []});
    let decision = decided(&case, &empty, &Memory::default());
    assert_eq!(decision.status, 3);
    assert_eq!(decision.checks[1].outcome, Outcome::Failed);
    for bad in [
        "",
        "{}",
        r#"{"schema": "cordon/parcel/v2", "sets": []}"#,
        r#"{"schema": "cordon/parcel/v1", "sets": [], "x": 1}"#,
    ] {
        Parcel::parse(bad.as_bytes()).unwrap_err();
    }
}

#[test]
fn only_evidence_of_the_image_is_packed_and_only_what_is_sealed() {
    let image = IMAGE.parse::<Image>().unwrap().digest;
    let mut case = Case::good();
    case.put("notes.txt", "for nobody else");
    let packed = pack(&case.files, Some(image), &[]).unwrap();
    assert_eq!(packed.left, ["notes.txt"]);
    assert!(!packed.contents.contains_key("notes.txt"));
    let packed = pack(&case.files, Some(image), &["notes.txt".to_owned()]).unwrap();
    assert!(packed.left.is_empty());
    let types: Vec<_> = list(&packed.wrap().unwrap())["sets"][0]["files"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|piece| piece["predicateType"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(types.len(), 4, "{types:?}");
    let status = |case: &Case, more: &[String]| {
        pack(&case.files, Some(image), more)
            .map_err(|error| error.status())
            .unwrap_err()
    };
    assert_eq!(status(&case, &["nowhere".to_owned()]), 3);
    let other = "a".repeat(64).parse::<Image>().unwrap().digest;
    let error = pack(&case.files, Some(other), &[]).unwrap_err();
    assert!(matches!(error, PackError::OtherImage { .. }));
    assert_eq!(error.status(), 5);
    for (name, status_of) in [("run.json", 3), ("seal.sigstore.json", 3)] {
        let mut case = Case::good();
        case.files.0.remove(name);
        assert_eq!(status(&case, &[]), status_of, "{name}");
    }
    let mut case = Case::good();
    case.put("run.json", "{}");
    assert_eq!(status(&case, &[]), 4);
    case.put("seal.sigstore.json", "{}");
    assert_eq!(status(&case, &[]), 7);
}
