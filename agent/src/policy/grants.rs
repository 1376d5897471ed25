//! Lists of grants, small enough for the kernel's entry.

use cordon_ebpf::abi::ruleset::{Grant, MAX_GRANTS};

/// Puts new grants beside those an address has already: several names can have one address.
///
/// Grants that ran out by `now` (boot time, ns) are left out, and of two grants with the same
/// ports, protocol and rule the one that lasts longer stays. If the kernel's entry cannot hold the
/// result, grants that another one covers (its ports, at least as long, whatever its rule) go as
/// well; `None` if that does not help.
///
/// What is allowed at `now` and later is exactly the union of both lists.
#[must_use]
pub fn merge_grants(existing: &[Grant], new: &[Grant], now: u64) -> Option<Vec<Grant>> {
    let mut merged: Vec<Grant> = Vec::new();
    for grant in existing.iter().chain(new) {
        if now > grant.expires {
            continue;
        }
        match merged.iter_mut().find(|known| same(known, grant)) {
            Some(known) => known.expires = known.expires.max(grant.expires),
            None => merged.push(*grant),
        }
    }
    merged.sort_by_key(order);
    fit(merged)
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
}

fn same(one: &Grant, other: &Grant) -> bool {
    order(one) == order(other)
}

/// The order of the policy's rules: of several that allow, the kernel names the first.
fn order(grant: &Grant) -> (u16, u8, u16, u16) {
    (
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

    fn grant(rule: u16, first_port: u16, last_port: u16, expires: u64) -> Grant {
        Grant {
            expires,
            first_port,
            last_port,
            rule,
            protocol: TCP,
            reserved: 0,
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
            .map(|port| grant(port, port, port, NEVER))
            .collect();
        assert_eq!(merge_grants(&many, &[], 0), None);
        assert!(merge_grants(&many[1..], &[], 0).is_some());
    }

    fn any_grant() -> impl Strategy<Value = Grant> {
        (
            0u16..4,
            1u16..6,
            0u16..4,
            0u64..6,
            prop_oneof![Just(TCP), Just(UDP)],
        )
            .prop_map(|(rule, first, more, expires, protocol)| Grant {
                protocol,
                ..grant(rule, first, first.saturating_add(more), expires)
            })
    }

    fn allows(list: &[Grant], port: u16, protocol: u8, at: u64) -> bool {
        list.iter().any(|grant| {
            grant.protocol == protocol
                && (grant.first_port..=grant.last_port).contains(&port)
                && at <= grant.expires
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2048))]

        #[test]
        fn merging_allows_exactly_what_both_allowed(
            one in proptest::collection::vec(any_grant(), 0..20),
            two in proptest::collection::vec(any_grant(), 0..20),
            now in 0u64..6,
        ) {
            let Some(merged) = merge_grants(&one, &two, now) else { return Ok(()) };
            prop_assert!(merged.len() <= MAX_GRANTS);
            let compact = without_covered(&merged);
            for (port, at) in (0..12).flat_map(|port| (now..7).map(move |at| (port, at))) {
                for protocol in [TCP, UDP] {
                    let before =
                        allows(&one, port, protocol, at) || allows(&two, port, protocol, at);
                    prop_assert_eq!(allows(&merged, port, protocol, at), before);
                    prop_assert_eq!(allows(&compact, port, protocol, at), before);
                }
            }
        }
    }
}
