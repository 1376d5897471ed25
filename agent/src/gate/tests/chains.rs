//! Seals one after the other, and what the gate remembers of them.

use super::*;

/// The case of a job that was sealed after so many others, with a state that saw the seal before.
fn after(before: u64, unbroken: bool) -> Case {
    let job = Job {
        before,
        ..Job::default()
    };
    let mut case = job.case();
    if unbroken {
        let chain = "max_age = \"1h\"\nchain = \"unbroken\"";
        case.policy = case.policy.replacen("max_age = \"1h\"", chain, 1);
    }
    case.state = Some(State::default());
    case
}

fn remember(case: &mut Case, sequence: u64, seal: &str) {
    let id = published_key().public().id();
    let state = case.state.as_mut().unwrap();
    state
        .seen
        .entry(id)
        .or_default()
        .insert(sequence, seal.to_owned());
}

#[test]
fn a_seal_follows_the_one_that_was_seen() {
    let mut case = after(3, true);
    remember(&mut case, 3, &sha256_hex(b"2"));
    assert_eq!(case.decide().status, 0, "{:#?}", case.decide());
    assert_eq!(after(0, true).decide().status, 0);
}

#[test]
fn a_gap_is_refused_where_the_policy_asks_for_none() {
    let mut case = after(3, true);
    assert_eq!(case.decide().status, 6);
    remember(&mut case, 2, &sha256_hex(b"1"));
    let decision = case.decide();
    assert_eq!((decision.status, failed(&decision)), (6, vec!["replay"]));
    // And told where it does not.
    assert_eq!(after(3, false).decide().status, 0);
    // Without a state nobody can say that there is none.
    let mut case = after(3, true);
    case.state = None;
    assert_eq!(case.decide().status, 3);
}

#[test]
fn a_seal_that_does_not_follow_the_one_seen_is_refused_by_any_policy() {
    for unbroken in [true, false] {
        let mut case = after(3, unbroken);
        remember(&mut case, 3, &sha256_hex(b"other"));
        assert_eq!(case.decide().status, 6);
    }
}

#[test]
fn a_number_that_another_seal_had_is_refused() {
    let mut case = after(3, false);
    remember(&mut case, 3, &sha256_hex(b"2"));
    remember(&mut case, 4, &sha256_hex(b"another"));
    assert_eq!(case.decide().status, 6);
    let own = sha256_hex(&case.files.0["seal.sigstore.json"]);
    remember(&mut case, 4, &own);
    assert_eq!(case.decide().status, 0);
}

#[test]
fn a_seal_is_good_for_one_image() {
    let first = Case::good().decide();
    let seal = first.seal.clone().unwrap();
    let mut case = after(0, false);
    let state = case.state.as_mut().unwrap();
    state.see(&seal);
    state.promote(&seal, &first.target, first.now.time);
    assert_eq!(case.decide().status, 0);
    // The same evidence bound to one more image: genuine, and used already.
    let state = case.state.as_mut().unwrap();
    state.promoted.get_mut(&seal.digest.sha256).unwrap().target = OTHER.to_owned();
    let decision = case.decide();
    assert_eq!((decision.status, failed(&decision)), (6, vec!["replay"]));
}

/// The case of a key that took the place of another, whose third seal was the last one of its own.
fn rotated(unbroken: bool) -> (Case, String) {
    let old = SigningKey::generate().unwrap().public().id();
    let mut case = after(3, unbroken);
    case.policy += &["replaces = [\"", &old, "\"]\n"].concat();
    (case, old)
}

fn remember_of(case: &mut Case, key: &str, sequence: u64, seal: &str) {
    let state = case.state.as_mut().unwrap();
    let of_key = state.seen.entry(key.to_owned()).or_default();
    of_key.insert(sequence, seal.to_owned());
}

#[test]
fn the_chain_of_a_replaced_key_goes_on_in_the_new_one() {
    let (mut case, old) = rotated(true);
    assert_eq!(case.decide().status, 6);
    remember_of(&mut case, &old, 3, &sha256_hex(b"2"));
    assert_eq!(case.decide().status, 0, "{:#?}", case.decide());
    // Only because the policy says so.
    let replaces = format!("replaces = [\"{old}\"]\n");
    case.policy = case.policy.replace(&replaces, "");
    assert_eq!(case.decide().status, 6);
    // And in the other direction: a job of the old key that ended after the new one had sealed.
    let (new, mut case) = (SigningKey::generate().unwrap(), after(3, true));
    let replaces = format!("replaces = [\"{}\"]", published_key().public().id());
    case.policy.push_str(&trusted(&new, "report", &replaces));
    remember_of(&mut case, &new.public().id(), 3, &sha256_hex(b"2"));
    assert_eq!(case.decide().status, 0, "{:#?}", case.decide());
}

#[test]
fn a_replaced_key_cannot_seal_beside_the_chain() {
    for unbroken in [true, false] {
        // The old key sealed another third one than the new key goes on with.
        let (mut case, old) = rotated(unbroken);
        remember_of(&mut case, &old, 3, &sha256_hex(b"other"));
        assert_eq!(case.decide().status, 6);
        // It does not help that the one that fits is known as well.
        remember(&mut case, 3, &sha256_hex(b"2"));
        assert_eq!(case.decide().status, 6);
        // Or it sealed a fourth one.
        let (mut case, old) = rotated(unbroken);
        remember_of(&mut case, &old, 3, &sha256_hex(b"2"));
        remember_of(&mut case, &old, 4, &sha256_hex(b"another"));
        assert_eq!(case.decide().status, 6);
    }
}

#[test]
fn places_that_cannot_be_are_refused() {
    for (sequence, previous) in [(0, None), (2, None), (1, Some("00"))] {
        let mut case = Case::good();
        case.sign_again("seal.sigstore.json", &published_key(), |statement| {
            let predicate = &mut statement["predicate"];
            predicate["cordonSequence"] = sequence.into();
            predicate["cordonPrevious"] = previous.into();
        });
        assert_eq!(case.decide().status, 4, "{sequence}");
        assert!(failed(&case.decide()).contains(&"replay"));
    }
}

#[test]
fn what_is_remembered_stays() {
    let seal = Case::good().decide().seal.unwrap();
    let mut state = State::default();
    state.see(&seal);
    state.promote(&seal, "sha256:one", seal_time());
    let mut other = seal.clone();
    other.digest.sha256 = "other".into();
    state.see(&other);
    state.promote(&seal, "sha256:two", seal_time());
    assert_eq!(
        state.seal(&seal.key_id, 1),
        Some(seal.digest.sha256.as_str())
    );
    assert_eq!(state.promoted[&seal.digest.sha256].target, "sha256:one");
    let text = json::pretty(&state).unwrap();
    assert_eq!(State::parse(text.as_bytes()).unwrap(), state);
    State::parse(text.replacen("state/v1", "state/v2", 1).as_bytes()).unwrap_err();
    State::parse(b"{}").unwrap_err();
}

fn seal_time() -> Timestamp {
    NOW.parse().unwrap()
}
