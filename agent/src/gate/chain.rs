//! Check 11: the seal's place in the chain of its key, against what the gate has seen before.

use super::decision::{Log, Refusal, SealFacts};
use super::policy::ChainRule;
use super::state::State;

const CHECK: &str = "replay";

/// Whether the seal follows from those that were seen, and was not used for another image.
pub(super) fn check(
    log: &mut Log,
    seal: &SealFacts,
    target: &str,
    rule: ChainRule,
    state: Option<&State>,
) {
    let SealFacts {
        digest,
        sequence,
        previous,
        key_id,
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
    if let Some(other) = state.seal(key_id, *sequence)
        && other != digest.sha256
    {
        bad(
            log,
            format!("another seal of this key had number {sequence}: {other}"),
        );
    }
    let Some(previous) = previous else {
        finish(log, "the first seal of its key".to_owned());
        return;
    };
    match state.seal(key_id, sequence.saturating_sub(1)) {
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
