//! Socket options a job does not get. Pure.

const IPPROTO_IP: i32 = 0;
const IPPROTO_IPV6: i32 = 41;

/// Whether an option (`setsockopt(2)`: level, name) sends packets along another way than their
/// destination says, puts something before what the job sends, or makes the kernel itself send
/// packets to an address the job chose.
///
/// Memberships are here because joining a group sends its address, which the job chooses, to the
/// network; a flow label can carry a routing header. Numbers: `linux/in.h`, `linux/in6.h`.
#[must_use]
#[inline(always)]
pub const fn changes_the_way(level: i32, option: i32) -> bool {
    match level {
        IPPROTO_IP => matches!(
            option,
            // IP_HDRINCL, IP_OPTIONS, IP_TRANSPARENT
            3 | 4 | 19
            // IP_ADD_MEMBERSHIP, IP_UNBLOCK_SOURCE, IP_BLOCK_SOURCE, IP_ADD_SOURCE_MEMBERSHIP
            | 35 | 37 | 38 | 39
            // IP_MSFILTER, MCAST_JOIN_GROUP, MCAST_BLOCK_SOURCE, MCAST_UNBLOCK_SOURCE
            | 41 | 42 | 43 | 44
            // MCAST_JOIN_SOURCE_GROUP, MCAST_MSFILTER
            | 46 | 48
        ),
        IPPROTO_IPV6 => matches!(
            option,
            // IPV6_2292HOPOPTS, IPV6_2292DSTOPTS, IPV6_2292RTHDR, IPV6_2292PKTOPTIONS
            3 | 4 | 5 | 6
            // IPV6_ADD_MEMBERSHIP, IPV6_JOIN_ANYCAST, IPV6_FLOWLABEL_MGR, IPV6_HDRINCL
            | 20 | 27 | 32 | 36
            // MCAST_JOIN_GROUP and kin
            | 42 | 43 | 44 | 46 | 48
            // IPV6_HOPOPTS, IPV6_RTHDRDSTOPTS, IPV6_RTHDR, IPV6_DSTOPTS, IPV6_TRANSPARENT
            | 54 | 55 | 57 | 59 | 75
        ),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_and_memberships_are_refused() {
        for (level, option) in [
            (41, 57),
            (41, 5),
            (41, 32),
            (41, 20),
            (0, 4),
            (0, 35),
            (0, 42),
        ] {
            assert!(changes_the_way(level, option), "{level} {option}");
        }
    }

    #[test]
    fn what_every_program_sets_is_not() {
        // SO_REUSEADDR, SO_KEEPALIVE, TCP_NODELAY, IP_TOS, IP_TTL, IP_MULTICAST_TTL, IPV6_V6ONLY,
        // IPV6_RECVPKTINFO, IPV6_TCLASS, IP_BIND_ADDRESS_NO_PORT
        for (level, option) in [
            (1, 2),
            (1, 9),
            (6, 1),
            (0, 1),
            (0, 2),
            (0, 33),
            (41, 26),
            (41, 49),
            (41, 67),
            (0, 24),
        ] {
            assert!(!changes_the_way(level, option), "{level} {option}");
        }
    }
}
