//! Other pieces that a policy asks for.

use super::*;

const SBOM: &str = r#"{"bomFormat":"CycloneDX","metadata":{"timestamp":"2026-11-22T08:00:00Z"}}"#;

fn with_sbom(require: &str) -> Case {
    let mut case = Case::good().with(&format!("[[require]]\npath = \"sbom/app.json\"\n{require}"));
    case.put("sbom/app.json", SBOM);
    case
}

/// A statement by a key that may sign nothing else, about these digests.
fn attest(case: &mut Case, predicate_type: &str, digests: &[&str]) -> SigningKey {
    let key = SigningKey::generate().unwrap();
    let subject: Vec<_> = digests
        .iter()
        .map(|sha256| serde_json::json!({"name": "x", "digest": {"sha256": sha256}}))
        .collect();
    let statement = serde_json::json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": subject,
        "predicateType": predicate_type,
        "predicate": {"metadata": {"finishedOn": "2026-11-22T08:00:00Z"}},
    });
    let bundle = Bundle::sign(statement.to_string().as_bytes(), &key).unwrap();
    case.put(
        "other.sigstore.json",
        &serde_json::to_string(&bundle).unwrap(),
    );
    key
}

#[test]
fn a_file_that_is_asked_for_must_be_there_and_vouched_for() {
    let digest = format!("digest = \"{}\"\n", sha256_hex(SBOM.as_bytes()));
    assert_eq!(with_sbom(&digest).decide().status, 0);
    assert_eq!(with_sbom("").decide().status, 4);
    assert_eq!(with_sbom("unsigned = \"allow\"\n").decide().status, 0);
    let mut gone = with_sbom(&digest);
    gone.files.0.remove("sbom/app.json");
    assert_eq!(gone.decide().status, 3);
    let mut changed = with_sbom(&digest);
    changed.put("sbom/app.json", "{}");
    assert_eq!(changed.decide().status, 4);
    // One digest that is right does not make up for one that is wrong.
    let mut case = Case::good().with("[[require]]\npath = \"run.json\"\n");
    assert_eq!(case.decide().status, 0, "the seal vouches for it");
    case.policy.push_str(&digest);
    assert_eq!(case.decide().status, 4);
}

#[test]
fn a_file_that_says_what_it_is_must_be_that() {
    let schema = |name: &str| format!("unsigned = \"allow\"\nschema = \"{name}\"\n");
    assert_eq!(with_sbom(&schema("CycloneDX")).decide().status, 0);
    assert_eq!(with_sbom(&schema("SPDX")).decide().status, 7);
    let mut twice = with_sbom(&schema("CycloneDX"));
    twice.put(
        "sbom/app.json",
        r#"{"schema":"x","bomFormat":"a","bomFormat":"CycloneDX"}"#,
    );
    assert_eq!(twice.decide().status, 7);
}

#[test]
fn a_file_that_has_a_time_must_be_young_enough() {
    let age = |age: &str, time: &str| {
        let require = format!("unsigned = \"allow\"\nmax_age = \"{age}\"\ntime = \"{time}\"\n");
        with_sbom(&require).decide().status
    };
    assert_eq!(age("1h", "/metadata/timestamp"), 0);
    assert_eq!(age("30m", "/metadata/timestamp"), 6);
    assert_eq!(age("1h", "/metadata/time"), 7);
    assert_eq!(age("1h", "/bomFormat"), 7);
}

#[test]
fn a_statement_that_is_asked_for_must_be_by_a_key_that_may_sign_it_and_about_the_image() {
    let wanted = "https://slsa.dev/provenance/v1";
    let image = IMAGE.rsplit_once(':').unwrap().1.to_uppercase();
    let ask = |digests: &[&str], predicate_type, role: &str, may: &str| {
        let mut case = Case::good();
        let key = attest(&mut case, predicate_type, digests);
        let may = format!("predicate_types = [\"{may}\"]");
        case.policy.push_str(&trusted(&key, role, &may));
        case.policy
            .extend([format!("[[require]]\npredicate_type = \"{wanted}\"\n")]);
        case.decide()
    };
    let good = ask(&["00", &image], wanted, "other", wanted);
    assert_eq!(good.status, 0, "{good:#?}");
    assert_eq!(ask(&["00"], wanted, "other", wanted).status, 3);
    assert_eq!(
        ask(&[&image], "https://x.test", "other", "https://x.test").status,
        3
    );
    assert_eq!(ask(&[&image], wanted, "other", "https://x.test").status, 3);
    let untrusted = Case::good().with(&format!("[[require]]\npredicate_type = \"{wanted}\"\n"));
    assert_eq!(untrusted.decide().status, 3);
}

#[test]
fn a_statement_can_vouch_for_a_file() {
    let wanted = "https://cyclonedx.org/bom";
    let ask = |sha256: &str, predicate_type: &str| {
        let mut case = with_sbom(&format!("predicate_type = \"{wanted}\"\n"));
        let key = attest(&mut case, predicate_type, &[sha256]);
        let may = format!("predicate_types = [\"{predicate_type}\"]");
        case.policy.push_str(&trusted(&key, "other", &may));
        case.decide().status
    };
    assert_eq!(ask(&sha256_hex(SBOM.as_bytes()), wanted), 0);
    assert_eq!(ask(&sha256_hex(b"other"), wanted), 3);
    assert_eq!(ask(&sha256_hex(SBOM.as_bytes()), "https://x.test"), 3);
}

#[test]
fn a_statement_that_is_too_old_is_refused() {
    let wanted = "https://slsa.dev/provenance/v1";
    let image = IMAGE.rsplit_once(':').unwrap().1;
    for (age, status) in [("1h", 0), ("10m", 6)] {
        let mut case = Case::good();
        let key = attest(&mut case, wanted, &[image]);
        let may = format!("predicate_types = [\"{wanted}\"]");
        case.policy.push_str(&trusted(&key, "other", &may));
        case.policy.extend([format!(
            "[[require]]\npredicate_type = \"{wanted}\"\nmax_age = \"{age}\"\n\
             time = \"/metadata/finishedOn\"\n"
        )]);
        assert_eq!(case.decide().status, status, "{age}");
    }
}

#[test]
fn a_file_must_say_what_the_policy_asks_for() {
    let decide = |values: &str, document: &str| {
        let mut case = with_sbom(&format!("unsigned = \"allow\"\nvalues = [{values}]\n"));
        case.put("sbom/app.json", document);
        case.decide().status
    };
    let budget = "{ at = \"/errors\", at_most = 3 }, { at = \"/same\", is = true }";
    assert_eq!(decide(budget, r#"{"errors": 3, "same": true}"#), 0);
    assert_eq!(decide(budget, r#"{"errors": 4, "same": true}"#), 1);
    assert_eq!(decide(budget, r#"{"errors": 3, "same": false}"#), 1);
    assert_eq!(decide(budget, r#"{"errors": 3, "same": "true"}"#), 1);
    assert_eq!(decide(budget, r#"{"errors": 3}"#), 7);
    assert_eq!(decide(budget, r#"{"errors": "3", "same": true}"#), 7);
    assert_eq!(decide(budget, "errors: 3"), 7);
    let real = "{ at = \"/coverage\", at_least = 0.8 }";
    assert_eq!(decide(real, r#"{"coverage": 0.8}"#), 0);
    assert_eq!(decide(real, r#"{"coverage": 0.79}"#), 1);
}

#[test]
fn a_statement_must_say_what_the_policy_asks_for() {
    let wanted = "https://slsa.dev/provenance/v1";
    let image = IMAGE.rsplit_once(':').unwrap().1;
    for (time, status) in [("2026-11-22T08:00:00Z", 0), ("2026-11-22T09:00:00Z", 1)] {
        let mut case = Case::good();
        let key = attest(&mut case, wanted, &[image]);
        let may = format!("predicate_types = [\"{wanted}\"]");
        case.policy.push_str(&trusted(&key, "other", &may));
        case.policy.extend([format!(
            "[[require]]\npredicate_type = \"{wanted}\"\n\
             values = [{{ at = \"/metadata/finishedOn\", is = \"{time}\" }}]\n"
        )]);
        assert_eq!(case.decide().status, status, "{time}");
    }
}

#[test]
fn two_bills_of_materials_must_have_the_same_components() {
    let decide = |arm: &str| {
        let table = |path: &str, more: &str| {
            format!("[[require]]\npath = \"{path}\"\nunsigned = \"allow\"\n{more}")
        };
        let parity = "parity = { with = \"amd64.json\", at = \"/components\", by = [\"/name\", \"/version\"] }\n";
        let both = [table("amd64.json", ""), table("arm64.json", parity)].concat();
        let mut case = Case::good().with(&both);
        case.put(
            "amd64.json",
            r#"{"components": [{"name": "a", "version": "1"}, {"name": "b", "version": "2"}]}"#,
        );
        case.put("arm64.json", arm);
        case.decide().status
    };
    let swapped =
        r#"{"components": [{"name": "b", "version": "2"}, {"name": "a", "version": "1"}]}"#;
    assert_eq!(decide(swapped), 0);
    assert_eq!(decide(&swapped.replace("\"2\"", "\"3\"")), 1);
    assert_eq!(
        decide(r#"{"components": [{"name": "a", "version": "1"}]}"#),
        1
    );
    assert_eq!(decide(r#"{"components": []}"#), 1);
    assert_eq!(decide("{}"), 7);
}
