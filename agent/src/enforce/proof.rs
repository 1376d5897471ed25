//! The proof: before the command may start, a process is sent into the job's cgroup and tries a
//! destination that is somebody else's. What it meets must be what the ruleset says.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, UdpSocket};
use std::sync::Arc;

use cordon_ebpf::abi::address::Address;
use cordon_ebpf::abi::flow::FlowKey;
use cordon_ebpf::abi::job::Job;
use cordon_ebpf::abi::verdict::Verdict;
use cordon_ebpf::abi::{TCP, UDP};
use cordon_ebpf::decide::{Destination, Listener, decide};

use super::maps::JobMaps;
use super::{EnforceError, Host, Place, hooks, kernel};
use crate::policy::Ruleset;
use crate::sys::bpf;
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
        kernel::check_links(&self.root, &self.pins, &self.kernel)?;
        let job = place.cgroup.id();
        is_published(self.kernel.maps.job(job)?, ruleset)?;
        let mut shown = vec![format!(
            "every program is attached to cgroup {}, and the kernel holds ruleset {}",
            self.root.cgroup.id(),
            ruleset.digest,
        )];
        for transport in [Transport::Tcp, Transport::Udp] {
            shown.push(probe(place, ruleset, maps, transport)?);
        }
        if self.kernel.lsm.is_ok() {
            match probe_lsm(place) {
                Ok(text) => shown.push(text),
                Err(why) => self.kernel.lsm = Err(why),
            }
        }
        // The probes were none of the job's doing.
        maps.clear_flows()?;
        self.kernel.maps.reset_losses(job)?;
        maps.clear_records()?;
        Ok(shown)
    }
}

/// Programs can be attached to security hooks that the kernel never calls. Whether these are called
/// is seen by what only they refuse.
fn probe_lsm(place: &Place) -> Result<String, String> {
    let failed = |error: io::Error| format!("the probe of the LSM programs could not run: {error}");
    let outside = bpf::is_refused().map_err(failed)?;
    let inside = spawn::is_bpf_refused(place.cgroup.path()).map_err(failed)?;
    match (outside, inside) {
        (false, true) => Ok(
            "a process in the job called bpf(2): refused with EPERM by the LSM programs".to_owned(),
        ),
        (true, _) => {
            Err("bpf(2) is refused outside the job too, so that a probe shows nothing".to_owned())
        }
        (false, false) => Err(format!(
            "the programs are attached, and the kernel does not call them; {}",
            hooks::LSM_REMEDY
        )),
    }
}

/// Whether the kernel's entry of a job is that of the ruleset.
pub(super) fn is_published(entry: Option<Job>, ruleset: &Ruleset) -> Result<(), ProofError> {
    match entry {
        Some(entry)
            if entry.ruleset == ruleset.digest.short() && entry.mode == abi_mode(ruleset) =>
        {
            Ok(())
        }
        _ => Err(ProofError::NotPublished),
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
