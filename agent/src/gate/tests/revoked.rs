//! The list of revoked keys, and what brings no key back.

use super::*;
use crate::gate::revocations::{Reason, RevocationsPredicate, Revoked};
use crate::gate::state::SeenList;

/// A minute before the present of the cases.
const ISSUED: &str = "2026-11-22T08:35:41Z";

fn entry(key: &SigningKey) -> Revoked {
    Revoked {
        key: key.public().id(),
        revoked_on: ISSUED.parse().unwrap(),
        reason: Reason::Compromised,
        note: None,
    }
}

/// A list of this number.
fn list(number: u64, revoked: Vec<Revoked>, issued: &str) -> RevocationsPredicate {
    let issued = issued.parse().unwrap();
    let mut last = None;
    for _ in 1..number {
        last = Some(RevocationsPredicate::after(last, Vec::new(), issued).unwrap());
    }
    RevocationsPredicate::after(last, revoked, issued).unwrap()
}

fn signed(list: RevocationsPredicate, key: &SigningKey) -> Vec<u8> {
    let bundle = Bundle::sign(&list.statement().to_bytes().unwrap(), key).unwrap();
    serde_json::to_vec(&bundle).unwrap()
}

/// Good evidence under a policy that asks for a list, with the key that may sign one.
fn case() -> (Case, SigningKey) {
    let owner = SigningKey::generate().unwrap();
    let more = format!(
        "[revocations]\nmax_age = \"1h\"\n{}",
        trusted(&owner, "policy", "")
    );
    (Case::good().with(&more), owner)
}

fn came_to(case: &Case) -> (u8, Vec<String>) {
    let decision = case.decide();
    let failed = failed(&decision).into_iter().map(str::to_owned).collect();
    (decision.status, failed)
}

fn refused(status: u8) -> (u8, Vec<String>) {
    (status, vec!["key".to_owned()])
}

#[test]
fn a_list_that_names_others_stops_nothing_and_is_in_the_decision() {
    let (mut case, owner) = case();
    let other = SigningKey::generate().unwrap();
    case.list = Some(signed(list(7, vec![entry(&other)], ISSUED), &owner));
    let decision = case.decide();
    assert_eq!(decision.status, 0, "{decision:#?}");
    let facts = decision.revocations.clone().unwrap();
    assert_eq!((facts.number, facts.signed_by), (7, owner.public().id()));
    let text = json::pretty(&decision).unwrap();
    assert_eq!(json::parse::<Decision>(text.as_bytes()).unwrap(), decision);
}

#[test]
fn nothing_of_a_listed_key_counts_whatever_time_it_claims() {
    let (mut case, owner) = case();
    // The job had ended before the key was revoked, by the key's own word.
    case.list = Some(signed(
        list(1, vec![entry(&published_key())], ISSUED),
        &owner,
    ));
    let decision = case.decide();
    assert_eq!(decision.status, 4, "{decision:#?}");
    assert!(failed(&decision).contains(&"key"), "{decision:#?}");
    // Nor what it says beside the evidence of another.
    let other = SigningKey::generate().unwrap();
    let mut bound = Case::good().with(&trusted(&owner, "policy", ""));
    bound.policy.push_str(&trusted(&other, "report", ""));
    bound.bind("x.sigstore.json", OTHER, &other);
    assert_eq!(bound.decide().status, 5);
    bound.list = Some(signed(list(1, vec![entry(&other)], ISSUED), &owner));
    assert_eq!(bound.decide().status, 0, "{:#?}", bound.decide());
}

#[test]
fn a_list_is_signed_by_a_key_that_may_sign_policies_or_is_none() {
    let (mut case, owner) = case();
    let plain = || list(1, Vec::new(), ISSUED);
    case.list = Some(signed(plain(), &SigningKey::generate().unwrap()));
    assert_eq!(came_to(&case), refused(4));
    for role in ["report", "gate", "other"] {
        let wrong = SigningKey::generate().unwrap();
        let mut case = case.clone();
        case.policy.push_str(&trusted(&wrong, role, ""));
        case.list = Some(signed(plain(), &wrong));
        assert_eq!(came_to(&case), refused(4), "{role}");
    }
    // The host whose evidence it is about.
    case.list = Some(signed(plain(), &published_key()));
    assert_eq!(came_to(&case), refused(4));
    for window in [
        "not_after = \"2026-11-22T08:00:00Z\"",
        "not_before = \"2026-11-23T08:00:00Z\"",
        "revoked_from = \"2026-11-22T08:00:00Z\"",
    ] {
        let mut case = Case::good().with("[revocations]\nmax_age = \"1h\"\n");
        case.policy.push_str(&trusted(&owner, "policy", window));
        case.list = Some(signed(plain(), &owner));
        assert_eq!(came_to(&case), refused(4), "{window}");
    }
    // The key that signed the policy needs no table in it.
    let key = SigningKey::generate().unwrap();
    case.list = Some(signed(plain(), &key));
    case.policy_key = Some(key.public());
    assert_eq!(case.decide().status, 0);
}

#[test]
fn what_is_not_signed_or_not_what_was_signed_is_malformed() {
    let (mut case, owner) = case();
    for text in [b"".as_slice(), b"{}", b"SHA256:x"] {
        case.list = Some(text.to_vec());
        assert_eq!(came_to(&case), refused(7));
    }
    let mut other = list(2, Vec::new(), ISSUED);
    other.number = 3;
    case.list = Some(signed(other, &owner));
    assert_eq!(came_to(&case), refused(7));
    // A policy's signature is no list.
    let policy = TrustPolicy::parse("p", case.policy.as_bytes()).unwrap();
    let statement = Statement::trust(&policy, case.policy.as_bytes(), case.now);
    let bundle = Bundle::sign(&statement.to_bytes().unwrap(), &owner).unwrap();
    case.list = Some(serde_json::to_vec(&bundle).unwrap());
    assert_eq!(came_to(&case), refused(7));
}

#[test]
fn withholding_the_newest_list_does_not_help() {
    let (mut case, owner) = case();
    assert_eq!(came_to(&case), refused(3));
    // An hour and a second old.
    case.list = Some(signed(list(1, Vec::new(), "2026-11-22T07:36:40Z"), &owner));
    assert_eq!(came_to(&case), refused(6));
    case.list = Some(signed(list(1, Vec::new(), "2026-11-22T07:36:41Z"), &owner));
    assert_eq!(case.decide().status, 0);
    // One that is good for ever.
    case.list = Some(signed(list(1, Vec::new(), "2027-11-22T08:36:41Z"), &owner));
    assert_eq!(came_to(&case), refused(6));
}

#[test]
fn a_gate_that_remembers_takes_no_older_list_no_other_one_and_not_none() {
    let (mut case, owner) = case();
    let now = list(5, Vec::new(), ISSUED);
    case.state = Some(State {
        revocations: Some(SeenList {
            number: 5,
            sha256: now.list.sha256.clone(),
        }),
        ..State::default()
    });
    case.list = Some(signed(now, &owner));
    assert_eq!(case.decide().status, 0, "{:#?}", case.decide());
    case.list = Some(signed(list(4, Vec::new(), ISSUED), &owner));
    assert_eq!(came_to(&case), refused(6));
    let other = entry(&SigningKey::generate().unwrap());
    case.list = Some(signed(list(5, vec![other], ISSUED), &owner));
    assert_eq!(came_to(&case), refused(6));
    case.list = Some(signed(list(6, Vec::new(), ISSUED), &owner));
    assert_eq!(case.decide().status, 0);
    // Though no policy asks for one.
    case.list = None;
    case.policy = case.policy.replace("[revocations]\nmax_age = \"1h\"\n", "");
    assert_eq!(came_to(&case), refused(3));
    case.state = None;
    assert_eq!(case.decide().status, 0);
}

#[test]
fn the_highest_number_is_remembered() {
    let (mut case, owner) = case();
    let mut state = State::default();
    for (number, highest) in [(3, 3), (2, 3), (4, 4)] {
        case.list = Some(signed(list(number, Vec::new(), ISSUED), &owner));
        state.see_list(&case.decide().revocations.unwrap());
        assert_eq!(state.revocations.as_ref().unwrap().number, highest);
    }
    let text = json::pretty(&state).unwrap();
    assert_eq!(State::parse(text.as_bytes()).unwrap(), state);
}

#[test]
fn a_list_or_a_policy_of_a_revoked_key_falls_too() {
    let (mut case, owner) = case();
    case.list = Some(signed(list(1, vec![entry(&owner)], ISSUED), &owner));
    assert_eq!(came_to(&case), refused(4));
    let signer = SigningKey::generate().unwrap();
    case.policy_key = Some(signer.public());
    case.list = Some(signed(list(1, vec![entry(&signer)], ISSUED), &owner));
    assert_eq!(came_to(&case), refused(4));
}

#[test]
fn a_list_grows_and_keeps_what_was_on_it() {
    let now: Timestamp = ISSUED.parse().unwrap();
    let first = entry(&published_key());
    let one = RevocationsPredicate::after(None, vec![first.clone()], now).unwrap();
    let mut again = first.clone();
    again.reason = Reason::Retired;
    let other = entry(&SigningKey::generate().unwrap());
    let two = RevocationsPredicate::after(Some(one), vec![again, other.clone()], now).unwrap();
    assert_eq!((two.number, two.revoked.len()), (2, 2));
    assert_eq!(two.entry(&first.key), Some(&first));
    assert_eq!(two.entry(&other.key), Some(&other));
    let full = RevocationsPredicate {
        number: u64::MAX,
        ..two
    };
    RevocationsPredicate::after(Some(full), Vec::new(), now).unwrap_err();
}
