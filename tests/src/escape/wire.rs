//! Every frame that reaches a machine of the world, and which case it is of.
//!
//! **Invariant**: no frame is left out. What is not plainly allowed traffic is a case's, or nobody's
//! and then the run fails.

use std::collections::BTreeMap;
use std::io::IoSliceMut;
use std::net::IpAddr;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockProtocol, SockType, recvmsg,
    setsockopt, socket, sockopt,
};
use nix::sys::time::TimeSpec;

use super::case::{number_of, tagged};
use crate::harness::namespace::Namespace;

/// Bytes kept of each frame: headers and the first of the payload.
const KEPT: usize = 512;

/// Room for frames nobody has read yet, bytes: tens of thousands of small ones.
const ROOM: usize = 64 << 20;

/// A packet socket on one machine.
#[derive(Debug)]
pub struct Tap {
    machine: Machine,
    socket: OwnedFd,
}

/// Whose frames they are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Machine {
    /// The attacker: nothing may arrive.
    Evil,
    /// The allowed host: untagged traffic of its allowed addresses and port may arrive.
    Good,
    /// The resolver: untagged DNS may arrive.
    Dns,
}

/// A frame.
#[derive(Clone, Debug)]
pub struct Frame {
    /// When it arrived, ns of the real-time clock.
    pub time: u64,
    machine: Machine,
    bytes: Vec<u8>,
}

impl Tap {
    /// Listens on all devices of a machine.
    pub fn new(machine: Machine, namespace: &Namespace) -> Result<Self> {
        let socket = namespace.run(|| {
            let socket = socket(
                AddressFamily::Packet,
                SockType::Raw,
                SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
                SockProtocol::EthAll,
            )
            .context("make a packet socket")?;
            setsockopt(&socket, sockopt::RcvBufForce, &ROOM).context("SO_RCVBUFFORCE")?;
            setsockopt(&socket, sockopt::ReceiveTimestampns, &true).context("SO_TIMESTAMPNS")?;
            Ok(socket)
        })?;
        Ok(Self { machine, socket })
    }

    /// The frames from the job that arrived since the last call.
    pub fn take(&self) -> Result<Vec<Frame>> {
        let mut frames = Vec::new();
        let mut bytes = [0; KEPT];
        let mut control = nix::cmsg_space!(TimeSpec);
        loop {
            let (length, time) = {
                let mut parts = [IoSliceMut::new(&mut bytes)];
                let fd = self.socket.as_raw_fd();
                let flags = MsgFlags::empty();
                match recvmsg::<()>(fd, &mut parts, Some(&mut control), flags) {
                    Ok(message) => {
                        let time = message.cmsgs()?.find_map(|piece| match piece {
                            ControlMessageOwned::ScmTimestampns(time) => Some(time),
                            _ => None,
                        });
                        (message.bytes, time.context("a frame without a time")?)
                    }
                    Err(Errno::EAGAIN) => return Ok(frames),
                    Err(error) => return Err(error).context("read captured frames"),
                }
            };
            let frame = Frame {
                time: u64::try_from(Duration::from(time).as_nanos())?,
                machine: self.machine,
                bytes: bytes.get(..length).unwrap_or_default().to_vec(),
            };
            if frame.is_from_job() {
                frames.push(frame);
            }
        }
    }
}

/// Ends of a connection as the job's side numbers them.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Ends {
    protocol: u8,
    from: u16,
    to: u16,
}

/// What a frame's headers say.
#[derive(Clone, Copy, Debug)]
struct Headers {
    to: IpAddr,
    ends: Ends,
}

impl Frame {
    /// A frame for tests of what is made of it.
    #[cfg(test)]
    pub fn made(machine: Machine, time: u64, bytes: Vec<u8>) -> Self {
        Self {
            time,
            machine,
            bytes,
        }
    }

    fn array<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.bytes.get(offset..offset + N)?.try_into().ok()
    }

    /// The job's end of every cable has a hardware address that ends in 1 (`02:00:00:00:xx:01`);
    /// what a program puts there itself counts as the job's, and only what the machine itself sends,
    /// or hears on its loopback, does not.
    fn is_from_job(&self) -> bool {
        let source: Option<[u8; 6]> = self.array(6);
        let own = matches!(source, Some([2, 0, 0, 0, _, 2]));
        let loopback = self.array(0) == Some([0; 12]);
        !own && !loopback
    }

    /// Reports about multicast groups that the kernel itself joins (solicited nodes and the like).
    /// A group that a case joins has the case's mark in its address.
    fn is_housekeeping(&self) -> bool {
        self.array(12) == Some([0x86, 0xdd])
            && self.array(20) == Some([0])
            && self.array(54) == Some([58])
            && matches!(self.array(62), Some([131 | 143]))
            && self.group().is_none()
    }

    /// The case whose multicast group is named: `239.77.x.y` or `ff15::4d:xxyy`.
    fn group(&self) -> Option<u16> {
        const V4: [u8; 2] = [239, 77];
        const V6: [u8; 14] = [0xff, 0x15, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x4d];
        let packet = self.bytes.get(14..)?;
        let after = |front: &[u8]| {
            let at = packet.windows(front.len()).position(|part| part == front)?;
            let number = packet.get(at + front.len()..)?.first_chunk()?;
            Some(u16::from_be_bytes(*number))
        };
        after(&V6).or_else(|| after(&V4))
    }

    fn headers(&self) -> Option<Headers> {
        let (to, protocol, transport) = match self.array(12)? {
            [0x08, 0x00] => {
                let length = usize::from(self.array::<1>(14)?[0] & 0x0f) * 4;
                let to: [u8; 4] = self.array(30)?;
                (IpAddr::from(to), self.array::<1>(23)?[0], 14 + length)
            }
            [0x86, 0xdd] => {
                let to: [u8; 16] = self.array(38)?;
                let (protocol, transport) = self.after_extensions()?;
                (IpAddr::from(to), protocol, transport)
            }
            _ => return None,
        };
        let port = |offset| self.array(offset).map_or(0, u16::from_be_bytes);
        Some(Headers {
            to,
            ends: Ends {
                protocol,
                from: port(transport),
                to: port(transport + 2),
            },
        })
    }

    fn after_extensions(&self) -> Option<(u8, usize)> {
        let (mut next, mut at) = (self.array::<1>(20)?[0], 54);
        while matches!(next, 0 | 43 | 60) {
            let [following, length] = self.array(at)?;
            (next, at) = (following, at + 8 + usize::from(length) * 8);
        }
        if next == 44 {
            let [following] = self.array(at)?;
            (next, at) = (following, at + 8);
        }
        Some((next, at))
    }

    /// The case the frame itself names: by its payload, a group or a port.
    fn named(&self, cases: usize) -> Option<u16> {
        let known = |number: &u16| usize::from(*number) < cases;
        tagged(&self.bytes)
            .filter(known)
            .or_else(|| self.group().filter(known))
            .or_else(|| {
                let Ends { from, to, .. } = self.headers()?.ends;
                number_of(to, cases).or_else(|| number_of(from, cases))
            })
    }

    /// Traffic that nobody has to answer for.
    fn is_allowed(&self, good: &[IpAddr], port: u16) -> bool {
        let Some(Headers { to, ends }) = self.headers() else {
            return false;
        };
        let Ends {
            protocol,
            from,
            to: at,
        } = ends;
        // "Nobody listens there", about an answer that came too late: type 3, in IPv6 type 1.
        let unreachable = matches!((protocol, from >> 8), (1, 3) | (58, 1));
        match self.machine {
            Machine::Evil => false,
            Machine::Good => {
                let plain = at == port && matches!(protocol, 6 | 17);
                good.contains(&to) && (plain || unreachable)
            }
            Machine::Dns => (at == 53 && matches!(protocol, 6 | 17)) || unreachable,
        }
    }
}

impl std::fmt::Display for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.headers() {
            Some(Headers {
                to,
                ends: Ends {
                    protocol, to: at, ..
                },
            }) => write!(
                f,
                "{:?}: to {to}, protocol {protocol}, port {at}",
                self.machine
            ),
            None => write!(f, "{:?}: {:02x?}", self.machine, self.bytes.get(..32)),
        }
    }
}

/// When a case ran, ns of the real-time clock; the end includes the time for packets to settle.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// The case.
    pub number: u16,
    /// From.
    pub start: u64,
    /// To.
    pub end: u64,
}

/// Frames by case.
#[derive(Debug, Default)]
pub struct Attributed {
    /// Of each case.
    pub of: BTreeMap<u16, Vec<Frame>>,
    /// Of none.
    pub unknown: Vec<Frame>,
}

/// Says whose each frame is: by what it names, else by the connection it is part of, else by time.
pub fn attribute(
    frames: Vec<Frame>,
    windows: &[Window],
    cases: usize,
    allowed: (&[IpAddr], u16),
) -> Attributed {
    let mut connections = BTreeMap::new();
    for frame in &frames {
        if let (Some(number), Some(headers)) = (frame.named(cases), frame.headers()) {
            connections.insert(headers.ends, number);
        }
    }
    let mut attributed = Attributed::default();
    for frame in frames {
        let named = frame.named(cases);
        if named.is_none() && (frame.is_housekeeping() || frame.is_allowed(allowed.0, allowed.1)) {
            continue;
        }
        let by_connection = || {
            let ends = frame.headers()?.ends;
            (ends.from != 0).then(|| connections.get(&ends).copied())?
        };
        let by_time = || {
            let during = |window: &&Window| (window.start..=window.end).contains(&frame.time);
            windows.iter().find(during).map(|window| window.number)
        };
        match named.or_else(by_connection).or_else(by_time) {
            Some(number) => attributed.of.entry(number).or_default().push(frame),
            None => attributed.unknown.push(frame),
        }
    }
    attributed
}

#[cfg(test)]
mod tests {
    use super::super::case::{port, tag};
    use super::*;

    /// UDP over IPv4 from port 40000.
    fn frame(machine: Machine, time: u64, to: [u8; 4], at: u16, payload: &str) -> Frame {
        let mut bytes = vec![2, 0, 0, 0, 1, 2, 2, 0, 0, 0, 1, 1, 8, 0];
        bytes.extend([0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 100]);
        bytes.extend(to);
        bytes.extend(40_000_u16.to_be_bytes());
        bytes.extend(at.to_be_bytes());
        bytes.extend([0; 4]);
        bytes.extend(payload.bytes());
        Frame::made(machine, time, bytes)
    }

    const EVIL: [u8; 4] = [198, 51, 100, 66];
    const GOOD: [u8; 4] = [203, 0, 113, 10];

    fn whose(frames: Vec<Frame>) -> (Vec<u16>, usize) {
        let windows = [Window {
            number: 5,
            start: 100,
            end: 200,
        }];
        let attributed = attribute(frames, &windows, 10, (&[GOOD.into()], 8080));
        let of = attributed
            .of
            .into_iter()
            .flat_map(|(number, frames)| vec![number; frames.len()]);
        (of.collect(), attributed.unknown.len())
    }

    #[test]
    fn a_frame_is_of_the_case_it_names_whenever_it_comes() {
        let tagged = frame(Machine::Evil, 999, EVIL, 53, &tag(3));
        let to_port = frame(Machine::Evil, 150, EVIL, port(4), "");
        assert_eq!(whose(vec![tagged, to_port]), (vec![3, 4], 0));
    }

    #[test]
    fn a_frame_without_a_name_goes_with_its_connection_then_by_time() {
        let tagged = frame(Machine::Evil, 120, EVIL, 53, &tag(3));
        let same = frame(Machine::Evil, 150, EVIL, 53, "");
        let other = frame(Machine::Evil, 150, EVIL, 853, "");
        assert_eq!(whose(vec![tagged, same, other]), (vec![3, 3, 5], 0));
    }

    #[test]
    fn nobodys_frame_is_kept_as_such() {
        assert_eq!(
            whose(vec![frame(Machine::Evil, 999, EVIL, 53, "")]),
            (vec![], 1)
        );
    }

    #[test]
    fn allowed_traffic_counts_for_nobody_unless_it_is_marked() {
        let plain = frame(Machine::Good, 150, GOOD, 8080, "hello");
        let marked = frame(Machine::Good, 150, GOOD, 8080, &tag(3));
        let other_port = frame(Machine::Good, 150, GOOD, 22, "hello");
        assert_eq!(whose(vec![plain, marked, other_port]), (vec![5], 0));
    }
}
