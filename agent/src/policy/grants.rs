//! Lists of grants, small enough for the kernel's entry.

use cordon_ebpf::abi::ruleset::{Grant, MAX_GRANTS, RuleIndex};
use cordon_ebpf::shown::Verify;

/// Puts new grants beside those an address has already: several names can have one address.
///
/// Grants that ran out by `now` (boot time, ns) are left out, and of two grants with the same
/// ports, protocol and rule the one that lasts longer stays. If the kernel's entry cannot hold the
/// result, grants that another one covers (its ports, at least as long, whatever its rule) go as
/// well; `None` if that does not help.
///
/// What is allowed at `now` and later is exactly the union of both lists, and a connection is asked for
/// a name exactly where each of them asks for one.
#[must_use]
pub fn merge_grants(existing: &[Grant], new: &[Grant], now: u64) -> Option<Vec<Grant>> {
    let mut merged: Vec<Grant> = Vec::new();
    for grant in existing.iter().chain(new) {
        if now > grant.expires {
            continue;
        }
        match merged.iter_mut().find(|known| same(known, grant)) {
            Some(known) => {
                known.expires = known.expires.max(grant.expires);
                known.verify.0 |= grant.verify.0;
            }
            None => merged.push(*grant),
        }
    }
    ask_together(&mut merged);
    merged.sort_by_key(order);
    fit(merged)
}

/// The kernel goes by the first grant that speaks of a destination. Where several do and ask for a
/// name in different ways, each says all of them: which rule allows the name decides in the end.
fn ask_together(list: &mut [Grant]) {
    let all = list.to_vec();
    for grant in list.iter_mut().filter(|grant| grant.verify != Verify::NONE) {
        let beside = all.iter().filter(|other| {
            other.protocol == grant.protocol
                && other.first_port <= grant.last_port
                && other.last_port >= grant.first_port
        });
        grant.verify.0 |= beside.fold(0, |asked, other| asked | other.verify.0);
    }
}

/// Makes a list short enough for the kernel's entry without changing what it allows; `None` if that
/// cannot be done.
///
/// A list that is short enough stays whole, so that of several rules that allow the first is named.
pub(crate) fn fit(list: Vec<Grant>) -> Option<Vec<Grant>> {
    // Comparing each with each takes time; nothing people write comes near this.
    const LONGEST: usize = 1024;
    if list.len() <= MAX_GRANTS {
        return Some(list);
    }
    if list.len() > LONGEST {
        return None;
    }
    let needed = without_covered(&list);
    (needed.len() <= MAX_GRANTS).then_some(needed)
}

/// Leaves out grants that add nothing to the others. Of equals the first stays.
fn without_covered(list: &[Grant]) -> Vec<Grant> {
    let needed = |(index, grant): &(usize, &Grant)| {
        !list.iter().enumerate().any(|(other_index, other)| {
            covers(other, grant) && (!covers(grant, other) || other_index < *index)
        })
    };
    list.iter()
        .enumerate()
        .filter(needed)
        .map(|(_, grant)| *grant)
        .collect()
}

/// Whether whatever `inner` allows, `outer` allows.
fn covers(outer: &Grant, inner: &Grant) -> bool {
    outer.protocol == inner.protocol
        && outer.first_port <= inner.first_port
        && outer.last_port >= inner.last_port
        && outer.expires >= inner.expires
        && (outer.verify == Verify::NONE
            || (inner.verify != Verify::NONE && outer.verify.0 & inner.verify.0 == inner.verify.0))
}

/// Of one rule, and about the same: asks for the same too.
fn same(one: &Grant, other: &Grant) -> bool {
    let about = |grant: &Grant| {
        (
            grant.rule,
            grant.protocol,
            grant.first_port,
            grant.last_port,
        )
    };
    about(one) == about(other)
}

/// Those that ask for no name first, then the order of the policy's rules: of several that allow, the
/// kernel names the first.
fn order(grant: &Grant) -> (bool, RuleIndex, u8, u16, u16) {
    (
        grant.verify != Verify::NONE,
        grant.rule,
        grant.protocol,
        grant.first_port,
        grant.last_port,
    )
}

#[cfg(test)]
mod tests {
    use cordon_ebpf::abi::ruleset::NEVER;
    use cordon_ebpf::abi::{TCP, UDP};
    use proptest::prelude::*;

    use super::*;

    fn grant(rule: RuleIndex, first_port: u16, last_port: u16, expires: u64) -> Grant {
        Grant {
            expires,
            first_port,
            last_port,
            rule,
            protocol: TCP,
            verify: Verify::NONE,
            reserved: [0; 6],
        }
    }

    #[test]
    fn the_same_grant_lasts_as_long_as_the_longer_of_both() {
        let merged = merge_grants(&[grant(0, 443, 443, 10)], &[grant(0, 443, 443, 20)], 5);
        assert_eq!(merged, Some(vec![grant(0, 443, 443, 20)]));
        let merged = merge_grants(&[grant(0, 443, 443, 20)], &[grant(0, 443, 443, 10)], 5);
        assert_eq!(merged, Some(vec![grant(0, 443, 443, 20)]));
    }

    #[test]
    fn a_grant_that_ran_out_is_left_out_and_one_in_its_last_moment_is_not() {
        let both = [grant(0, 1, 1, 4), grant(1, 2, 2, 5)];
        assert_eq!(merge_grants(&both, &[], 5), Some(vec![grant(1, 2, 2, 5)]));
    }

    #[test]
    fn rules_with_the_same_ports_are_merged_only_when_there_is_no_room() {
        let many: Vec<Grant> = (0..16).map(|rule| grant(rule, 443, 443, 10)).collect();
        assert_eq!(merge_grants(&many, &[], 0).unwrap().len(), 16);
        let longer = grant(16, 443, 443, 11);
        assert_eq!(merge_grants(&many, &[longer], 0), Some(vec![longer]));
    }

    #[test]
    fn too_many_different_grants_are_refused() {
        let many: Vec<Grant> = (1..=17)
            .map(|port| grant(port.into(), port, port, NEVER))
            .collect();
        assert_eq!(merge_grants(&many, &[], 0), None);
        assert!(merge_grants(&many[1..], &[], 0).is_some());
    }

    fn any_grant() -> impl Strategy<Value = Grant> {
        (
            0u32..4,
            1u16..6,
            0u16..4,
            0u64..6,
            prop_oneof![Just(TCP), Just(UDP)],
        )
            .prop_map(|(rule, first, more, expires, protocol)| Grant {
                protocol,
                // A rule asks for one thing.
                verify: Verify([0, 1, 2, 1][rule as usize]),
                ..grant(rule, first, first.saturating_add(more), expires)
            })
    }

    /// What the grants ask for: nothing if one does, else one bit for each thing that will do.
    fn asked(list: &[Grant], port: u16, protocol: u8, at: u64) -> Option<u8> {
        let speaking = speaking(list, port, protocol, at);
        let all: Vec<u8> = speaking.map(|grant| grant.verify.0).collect();
        let plain = all.contains(&0);
        (!all.is_empty()).then(|| {
            if plain {
                0
            } else {
                all.iter().fold(0, |sum, one| sum | one)
            }
        })
    }

    /// What the kernel asks for: what the first one says.
    fn first(list: &[Grant], port: u16, protocol: u8, at: u64) -> Option<u8> {
        speaking(list, port, protocol, at)
            .next()
            .map(|grant| grant.verify.0)
    }

    fn speaking(list: &[Grant], port: u16, protocol: u8, at: u64) -> impl Iterator<Item = &Grant> {
        list.iter().filter(move |grant| {
            grant.protocol == protocol
                && (grant.first_port..=grant.last_port).contains(&port)
                && at <= grant.expires
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2048))]

        #[test]
        fn merging_allows_and_asks_exactly_what_both_did(
            one in proptest::collection::vec(any_grant(), 0..20),
            two in proptest::collection::vec(any_grant(), 0..20),
            now in 0u64..6,
        ) {
            let Some(merged) = merge_grants(&one, &two, now) else { return Ok(()) };
            prop_assert!(merged.len() <= MAX_GRANTS);
            let compact = without_covered(&merged);
            let both = [&one[..], &two].concat();
            for (port, at) in (0..12).flat_map(|port| (now..7).map(move |at| (port, at))) {
                for protocol in [TCP, UDP] {
                    let wanted = asked(&both, port, protocol, at);
                    // What grants that have run out since asked for may still be said.
                    let most = asked(&both, port, protocol, now).unwrap_or(0);
                    for list in [&merged, &compact] {
                        let said = first(list, port, protocol, at);
                        prop_assert_eq!(said.is_some(), wanted.is_some());
                        let (Some(said), Some(wanted)) = (said, wanted) else { continue };
                        prop_assert_eq!(said == 0, wanted == 0);
                        prop_assert_eq!(said & wanted, wanted);
                        prop_assert!(most == 0 || wanted != 0 || said & !most == 0);
                    }
                }
            }
        }
    }
}
