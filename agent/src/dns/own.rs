//! The host's own addresses: as forbidden in answers as private ones, also where they are public.
//!
//! A name of somebody else's zone that has the host's public address would lead a job to what the
//! host serves to its own network.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
    known: Mutex<Option<Arc<Known>>>,
}

#[derive(Debug)]
struct Known {
    since: Instant,
    addresses: BTreeSet<IpAddr>,
}

impl OwnAddresses for Interfaces {
    fn has(&self, address: IpAddr) -> io::Result<bool> {
        let fresh = self.fresh(address);
        fresh.map_or_else(|| self.ask(address), Ok)
    }
}

impl Interfaces {
    /// What a list that is not old says.
    fn fresh(&self, address: IpAddr) -> Option<bool> {
        let list = lock(&self.known).clone()?;
        (list.since.elapsed() < FRESH).then(|| list.addresses.contains(&address))
    }

    /// What the kernel says, which is kept.
    fn ask(&self, address: IpAddr) -> io::Result<bool> {
        let since = Instant::now();
        let addresses = configured()?;
        let has = addresses.contains(&address);
        *lock(&self.known) = Some(Arc::new(Known { since, addresses }));
        Ok(has)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn configured() -> io::Result<BTreeSet<IpAddr>> {
    let address = |interface: nix::ifaddrs::InterfaceAddress| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|v4| v4.ip().into());
        v4.or_else(|| address.as_sockaddr_in6().map(|v6| v6.ip().into()))
    };
    Ok(getifaddrs()?.filter_map(address).collect())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

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
