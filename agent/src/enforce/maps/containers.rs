//! What changes in the kernel while a job's containers come and go.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd;

use aya::maps::lpm_trie::Key;
use aya::maps::{MapData, SkStorage};
use cordon_ebpf::abi::address::Address;
use cordon_ebpf::abi::job::{Socket, SocketRole};
use cordon_ebpf::abi::ruleset::{Grant, Grants, NEVER, NO_RULE};
use cordon_ebpf::abi::{TCP, UDP};
use cordon_ebpf::shown::Verify;
use ipnet::Ipv4Net;

use super::{MapsError, NetMap, failed, is_not_found};
use crate::sys::pod::Wire;

/// What changes in the kernel while a job's containers come and go. A handle of its own: others use the
/// maps meanwhile.
#[derive(Debug)]
pub struct ContainerMaps {
    pub(super) job: u64,
    pub(super) nets: NetMap,
    pub(super) sockets: SkStorage<MapData, Wire<Socket>>,
}

impl ContainerMaps {
    /// Lets the job reach one of its own networks, but not the host's end of it.
    ///
    /// # Errors
    /// A map takes no more.
    pub fn allow(&mut self, network: Ipv4Net, gateway: Ipv4Addr) -> Result<(), MapsError> {
        // First: never is the network open and the host's end with it.
        self.grant(Ipv4Net::from(gateway), &Grants::NONE)?;
        let everything = [TCP, UDP].map(|protocol| Grant {
            expires: NEVER,
            first_port: 0,
            last_port: u16::MAX,
            rule: NO_RULE,
            protocol,
            verify: Verify::NONE,
            reserved: [0; 6],
        });
        let grants = Grants::new(&everything).unwrap_or(Grants::NONE);
        self.grant(network, &grants)
    }

    fn grant(&mut self, net: Ipv4Net, grants: &Grants) -> Result<(), MapsError> {
        self.nets
            .insert(&net_key(net), Wire(*grants), 0)
            .map_err(failed("fill", "NETS"))
    }

    /// Takes that back.
    ///
    /// # Errors
    /// The network cannot be closed.
    pub fn forget(&mut self, network: Ipv4Net, gateway: Ipv4Addr) -> Result<(), MapsError> {
        for net in [network, Ipv4Net::from(gateway)] {
            match self.nets.remove(&net_key(net)) {
                Err(error) if !is_not_found(&error) => {
                    return Err(failed("withdraw from", "NETS")(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Has a listening socket reached by the job, and by nobody else.
    ///
    /// # Errors
    /// The kernel has no memory for it.
    pub fn admit(&mut self, listener: &impl AsFd) -> Result<(), MapsError> {
        use std::os::fd::AsRawFd as _;
        let kept = Socket {
            job: self.job,
            role: SocketRole::ENGINE,
            ..Socket::default()
        };
        self.sockets
            .insert(&listener.as_fd().as_raw_fd(), Wire(kept), 0)
            .map_err(failed("mark", "SOCKETS"))
    }
}

/// A range as the trie has it: all addresses are of IPv6's size.
fn net_key(net: Ipv4Net) -> Key<[u8; 16]> {
    let bits = u32::from(net.prefix_len()).saturating_add(96);
    Key::new(bits, Address::from(IpAddr::V4(net.network())).0)
}
