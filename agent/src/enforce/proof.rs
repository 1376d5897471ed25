//! The proof: before the command may start, a process is sent into the job's cgroup and tries a
//! destination that is somebody else's. What it meets must be what the ruleset says.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, UdpSocket};
use std::sync::Arc;

use cordon_ebpf::abi::address::Address;
use cordon_ebpf::abi::flow::FlowKey;
use cordon_ebpf::abi::verdict::Verdict;
use cordon_ebpf::abi::{TCP, UDP};
use cordon_ebpf::decide::{Destination, Listener, decide};

use super::maps::JobMaps;
use super::{EnforceError, Host, Place, kernel};
use crate::policy::Ruleset;
use crate::sys::spawn::{self, Attempt, Transport};

/// Enforcement was set up and does not hold. The job does not start.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// The kernel's entry of the job is not what was published.
    #[error("the kernel does not have the job's ruleset")]
    NotPublished,
    /// The probe could not be made.
    #[error("the probe with {transport} could not run")]
    Probe {
        /// What was probed.
        transport: Transport,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The probe met something else than the ruleset says.
    #[error(
        "a probe with {transport} from inside the job met {met:?}, the ruleset says {expected:?}"
    )]
    Disagrees {
        /// What was probed.
        transport: Transport,
        /// What happened.
        met: Attempt,
        /// What should have.
        expected: Attempt,
    },
    /// A refused probe arrived.
    #[error("a refused probe with {transport} arrived")]
    Leaked {
        /// What was probed.
        transport: Transport,
    },
    /// The kernel did not count what it judged.
    #[error("the kernel did not record the probe with {transport}")]
    NotCounted {
        /// What was probed.
        transport: Transport,
    },
}

/// Two sockets outside the job that the job has no business with.
struct Canary {
    tcp: TcpListener,
    udp: UdpSocket,
}

impl Canary {
    fn bind() -> io::Result<Self> {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        tcp.set_nonblocking(true)?;
        udp.set_nonblocking(true)?;
        Ok(Self { tcp, udp })
    }

    fn address(&self, transport: Transport) -> io::Result<SocketAddrV4> {
        let address = match transport {
            Transport::Tcp => self.tcp.local_addr()?,
            Transport::Udp => self.udp.local_addr()?,
        };
        match address {
            SocketAddr::V4(address) => Ok(address),
            SocketAddr::V6(_) => Err(io::Error::other("an IPv4 socket has an IPv6 address")),
        }
    }

    /// Whether anything arrived.
    fn heard(&self, transport: Transport) -> bool {
        match transport {
            Transport::Tcp => self.tcp.accept().is_ok(),
            Transport::Udp => self.udp.recv(&mut [0; 1]).is_ok(),
        }
    }
}

impl Host {
    /// Proves a published job; returns what was shown, for the report.
    pub(super) fn prove(
        &mut self,
        place: &Place,
        ruleset: &Arc<Ruleset>,
        maps: &mut JobMaps,
    ) -> Result<Vec<String>, EnforceError> {
        kernel::check_links(&self.root, &self.pins)?;
        let job = place.cgroup.id();
        let entry = self.kernel.maps.job(job)?.ok_or(ProofError::NotPublished)?;
        if entry.ruleset != ruleset.digest.short() || entry.mode != ruleset.mode.into() {
            return Err(ProofError::NotPublished.into());
        }
        let mut shown = vec![format!(
            "every program is attached to cgroup {}, and the kernel holds ruleset {}",
            self.root.cgroup.id(),
            ruleset.digest,
        )];
        for transport in [Transport::Tcp, Transport::Udp] {
            shown.push(probe(place, ruleset, maps, transport)?);
        }
        // The probes were none of the job's doing.
        maps.clear_flows()?;
        self.kernel.maps.reset_losses(job)?;
        if let Some(ring) = &mut maps.records {
            ring.drain(&mut drop);
        }
        Ok(shown)
    }
}

fn probe(
    place: &Place,
    ruleset: &Ruleset,
    maps: &JobMaps,
    transport: Transport,
) -> Result<String, ProofError> {
    let failed = |source| ProofError::Probe { transport, source };
    let canary = Canary::bind().map_err(failed)?;
    let address = canary.address(transport).map_err(failed)?;
    let to = Destination {
        address: Address::from_v4(address.ip().octets()),
        port: address.port(),
        protocol: match transport {
            Transport::Tcp => TCP,
            Transport::Udp => UDP,
        },
        listener: Listener::Foreign,
    };
    let verdict = abi_mode(ruleset).verdict(decide(ruleset, &to, 0).reason);
    let expected = match verdict {
        Verdict::DENY => Attempt::Refused(libc::EPERM),
        _ => Attempt::Reached,
    };
    let met = spawn::attempt(place.cgroup.path(), transport, address).map_err(failed)?;
    if met != expected {
        return Err(ProofError::Disagrees {
            transport,
            met,
            expected,
        });
    }
    if verdict == Verdict::DENY && canary.heard(transport) {
        return Err(ProofError::Leaked { transport });
    }
    let counted = maps.flows().is_ok_and(|lines| {
        lines
            .iter()
            .any(|(key, _)| is_probe(key, &to) && key.verdict == verdict)
    });
    if !counted {
        return Err(ProofError::NotCounted { transport });
    }
    Ok(format!(
        "a process in the job tried {transport} to a socket outside the job: {}, and was recorded",
        match verdict {
            Verdict::DENY => "refused with EPERM, nothing arrived",
            Verdict::WOULD_DENY => "let pass, marked as what enforce mode would refuse",
            _ => "allowed, as a rule of the job says",
        }
    ))
}

fn is_probe(key: &FlowKey, to: &Destination) -> bool {
    key.address == to.address && key.port == to.port && key.protocol == to.protocol
}

fn abi_mode(ruleset: &Ruleset) -> cordon_ebpf::abi::verdict::Mode {
    ruleset.mode.into()
}
