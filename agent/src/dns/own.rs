//! The host's own addresses: as forbidden in answers as private ones, also where they are public.
//!
//! A name of somebody else's zone that has the host's public address would lead a job to what the
//! host serves to its own network.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::ifaddrs::getifaddrs;

/// How old the list may be. An address that is added is refused a moment later; asking the kernel
/// for each answer would be slow on hosts with many interfaces.
const FRESH: Duration = Duration::from_secs(1);

/// Says which addresses are the host's own.
pub trait OwnAddresses: Send + Sync + 'static {
    /// Whether the host has this address.
    ///
    /// # Errors
    /// The kernel does not tell. Nobody knows then what an answer leads to.
    fn has(&self, address: IpAddr) -> io::Result<bool>;
}

/// What is configured on the interfaces of the calling process's network namespace.
#[derive(Debug, Default)]
pub struct Interfaces {
    known: Mutex<Option<Known>>,
}

#[derive(Debug)]
struct Known {
    since: Instant,
    addresses: BTreeSet<IpAddr>,
}

impl OwnAddresses for Interfaces {
    fn has(&self, address: IpAddr) -> io::Result<bool> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let is_fresh = |known: &Known| known.since.elapsed() < FRESH;
        if let Some(known) = known.as_ref().filter(|known| is_fresh(known)) {
            return Ok(known.addresses.contains(&address));
        }
        let addresses = configured()?;
        let has = addresses.contains(&address);
        *known = Some(Known {
            since: Instant::now(),
            addresses,
        });
        Ok(has)
    }
}

fn configured() -> io::Result<BTreeSet<IpAddr>> {
    let address = |interface: nix::ifaddrs::InterfaceAddress| {
        let address = interface.address?;
        let v4 = address
            .as_sockaddr_in()
            .map(|v4| Ipv4Addr::from(v4.ip()).into());
        v4.or_else(|| {
            address
                .as_sockaddr_in6()
                .map(|v6| Ipv6Addr::from(v6.ip()).into())
        })
    };
    Ok(getifaddrs()?.filter_map(address).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_an_address_of_this_host_and_a_documentation_address_is_not() {
        let interfaces = Interfaces::default();
        for _ in 0..2 {
            assert!(interfaces.has(Ipv4Addr::LOCALHOST.into()).unwrap());
            assert!(!interfaces.has("203.0.113.250".parse().unwrap()).unwrap());
        }
    }
}
