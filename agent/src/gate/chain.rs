//! Check 11: the seal's place in the chain of its key, against what the gate has seen before.

use std::collections::BTreeSet;

use super::decision::{Log, Refusal, SealFacts};
use super::policy::ChainRule;
use super::state::State;

const CHECK: &str = "replay";

/// Whether the seal follows from those that were seen, and was not used for another image.
pub(super) fn check(
    log: &mut Log,
    seal: &SealFacts,
    (target, line): (&str, &BTreeSet<String>),
    rule: ChainRule,
    state: Option<&State>,
) {
    let SealFacts {
        digest,
        sequence,
        previous,
        ..
    } = seal;
    let bad = |log: &mut Log, text: String| log.bad(CHECK, Refusal::Stale, None, text);
    if (*sequence == 1) != previous.is_none() || *sequence == 0 {
        let text = format!("seal {sequence} cannot be: only the first has no seal before it");
        log.bad(CHECK, Refusal::Malformed, None, text);
        return;
    }
    let Some(state) = state else {
        if rule == ChainRule::Unbroken {
            let text = "the policy asks for an unbroken chain, and there is no state to compare with \
                        (`--state FILE`)";
            log.bad(CHECK, Refusal::Missing, None, text);
            return;
        }
        let text = format!("seal {sequence} of its key; nothing is remembered to compare it with");
        log.good(CHECK, text);
        return;
    };
    if let Some(other) = state.promoted.get(&digest.sha256)
        && other.target != target
    {
        let (image, at) = (&other.target, other.at);
        bad(log, format!("this seal was used for {image}, at {at}"));
    }
    // A key that took the place of another goes on with its chain, and both may sign for a while.
    if let Some(other) = state
        .seal_of(line, *sequence)
        .find(|other| *other != digest.sha256)
    {
        bad(
            log,
            format!(
                "another seal of this key, or of one it replaces, had number {sequence}: {other}"
            ),
        );
    }
    let Some(previous) = previous else {
        finish(log, "the first seal of its key".to_owned());
        return;
    };
    let before = sequence.saturating_sub(1);
    let mut before = state.seal_of(line, before);
    // Where two are known, they contradict each other: the one that fits does not make that good.
    let other = before.clone().find(|seen| *seen != previous.as_str());
    match other.or_else(|| before.next()) {
        Some(seen) if seen == previous => {
            finish(log, format!("seal {sequence} follows the one seen before"));
        }
        Some(seen) => bad(
            log,
            format!("seal {sequence} follows {previous}, and the one before was {seen}"),
        ),
        None if rule == ChainRule::Unbroken => bad(
            log,
            format!("seal {sequence} follows one that was never shown: a gap"),
        ),
        None => finish(
            log,
            format!("seal {sequence}; the one before was never shown"),
        ),
    }
}

/// Good only if nothing else was found.
fn finish(log: &mut Log, text: String) {
    if log.clean(CHECK) {
        log.good(CHECK, text);
    } else {
        log.note(CHECK, None, text);
    }
}
