//! Where allowed names are asked: the host's resolvers, or servers named in the policy.
//!
//! The way of a question: the cache → a question that is being asked already → the servers, in
//! order → the chain of CNAMEs, which is asked on where a server left it open.
//!
//! **Invariants**: a name and type is asked once at a time, however many wait for it; a question
//! takes no longer than the patience, whatever servers do; only what belongs to the asked name is
//! kept.
//!
//! **Not here**: `/etc/hosts`. It is a file of whoever reads it: programs of the job read their own
//! through libc, and the host's must not answer for the public DNS.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hickory_proto::ProtoError;
use hickory_proto::op::{Query, ResponseCode};
use hickory_proto::rr::{Name, Record, RecordType};
use hickory_resolver::net::NetError;
use tokio::sync::OnceCell;
use tokio::time::timeout;

use self::servers::{Failure, PassedOver, Servers};
use self::trust::Trust;
pub use self::trust::TrustError;
use super::cache::{Cache, Key, Resolved};
use super::chain::{self, Astray, Chain};
use crate::policy::Upstream as Place;
use crate::sys::fs;

mod servers;
mod trust;

/// The host's resolver configuration.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Why there is no upstream.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// The host's configuration cannot be read.
    #[error("cannot learn the host's DNS servers")]
    Read(#[from] fs::FileError),
    /// The host's configuration cannot be understood, or names no server.
    #[error("`{}` names no DNS server that can be used; set `dns.upstream` in the profile", path.display())]
    Configuration {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: NetError,
    },
    /// An empty list of servers.
    #[error("no DNS server is given; `dns.upstream` needs at least one")]
    NoServers,
    /// No certificate could be judged.
    #[error("no encrypted DNS server can be trusted")]
    Trust(#[from] TrustError),
    /// The resolver could not be made.
    #[error("cannot set up the DNS resolver")]
    Resolver(#[source] NetError),
}

/// A resolver with a cache and a bound on time.
#[derive(Debug)]
pub struct Upstream {
    servers: Servers,
    patience: Duration,
    /// The cache's clock.
    since: Instant,
    cache: Mutex<Cache>,
    /// What is being asked: at most as much as the listener answers at once.
    flights: Mutex<BTreeMap<Key, Arc<Flight>>>,
}

/// One question being asked, and what came of it, for all who wait.
type Flight = OnceCell<Result<Arc<Resolved>, Arc<ResolveError>>>;

/// Why upstream said nothing that can be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum ResolveError {
    /// Nobody answered in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The servers could not be reached, or answered with a failure.
    #[error("no server gave an answer: {}", Each(.0))]
    Servers(Vec<PassedOver>),
    /// The answer leads nowhere.
    #[error("the answer is of no use")]
    Astray(#[from] Astray),
    /// The name cannot be asked.
    #[error("the name cannot be asked")]
    Name(#[from] ProtoError),
}

impl ResolveError {
    /// What a job is told; it names no server.
    pub(super) fn why(&self) -> &'static str {
        let is_certificate = |(_, failure): &PassedOver| matches!(failure, Failure::Certificate(_));
        match self {
            Self::Servers(passed) if passed.iter().any(is_certificate) => {
                "the certificate of the upstream resolver was not accepted"
            }
            Self::Timeout(_) | Self::Servers(_) | Self::Name(_) => {
                "the upstream resolver gave no answer"
            }
            Self::Astray(_) => "the upstream resolver gave an answer without an end",
        }
    }
}

/// Each server with its failure.
struct Each<'a>(&'a [PassedOver]);

impl fmt::Display for Each<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (server, failure)) in self.0.iter().enumerate() {
            let comma = if number == 0 { "" } else { "; " };
            write!(f, "{comma}{server}: {failure}")?;
        }
        Ok(())
    }
}

/// Somebody's place among those who wait for a question. The last one to leave takes it away.
struct Waiting<'a> {
    upstream: &'a Upstream,
    key: &'a Key,
    flight: Arc<Flight>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut flights = lock(&self.upstream.flights);
        // The map's, and this one.
        let last = Arc::strong_count(&self.flight) <= 2;
        let same = |flight: &Arc<Flight>| Arc::ptr_eq(flight, &self.flight);
        if (last || self.flight.initialized()) && flights.get(self.key).is_some_and(same) {
            flights.remove(self.key);
        }
    }
}

impl Upstream {
    /// How long a question may take if nothing else is said.
    pub const DEFAULT_PATIENCE: Duration = Duration::from_secs(5);

    /// Makes a resolver that asks these places. `System` stands for the servers of the
    /// `resolv.conf` of cordon's own mount namespace; a local stub there (`127.0.0.53`) is fine:
    /// cordon is not in the job, so its DNS is not redirected. `authorities` are files of
    /// certificates that encrypted servers may be certified by, besides the system's. `patience`
    /// bounds one question, retries and all servers together.
    ///
    /// # Errors
    /// The host's configuration is needed and cannot be used, the list of servers is empty, or
    /// nobody certifies the encrypted ones.
    pub fn new(
        places: &[Place],
        authorities: &[PathBuf],
        patience: Duration,
    ) -> Result<Self, UpstreamError> {
        let encrypted = places.iter().any(Place::is_encrypted);
        let trust = encrypted.then(|| Trust::new(authorities)).transpose()?;
        Ok(Self {
            servers: Servers::new(places, trust.as_ref(), Path::new(RESOLV_CONF), patience)?,
            patience,
            since: Instant::now(),
            cache: Mutex::default(),
            flights: Mutex::default(),
        })
    }

    /// Asks for the records of a name, given in canonical form: the upper and lower case a job
    /// chose does not leave the host, it could carry a message.
    pub(super) async fn resolve(
        &self,
        name: &str,
        kind: RecordType,
    ) -> Result<Resolved, Arc<ResolveError>> {
        let key = (name.to_owned(), kind);
        let kept = lock(&self.cache).get(&key, self.since.elapsed());
        if let Some(resolved) = kept {
            return Ok(resolved);
        }
        let flight = Arc::clone(lock(&self.flights).entry(key.clone()).or_default());
        let waiting = Waiting {
            upstream: self,
            key: &key,
            flight,
        };
        let outcome = waiting.flight.get_or_init(|| self.ask(&key)).await;
        outcome.clone().map(|resolved| Resolved::clone(&resolved))
    }

    /// Asks the servers, and keeps what they say.
    async fn ask(&self, key: &Key) -> Result<Arc<Resolved>, Arc<ResolveError>> {
        let (name, kind) = key;
        let asked = timeout(self.patience, Box::pin(self.follow(name, *kind))).await;
        let resolved = asked.map_err(|_elapsed| ResolveError::Timeout(self.patience))??;
        let resolved = Arc::new(resolved);
        let now = self.since.elapsed();
        lock(&self.cache).put(key.clone(), Arc::clone(&resolved), now);
        Ok(resolved)
    }

    /// The answer, with the whole chain of CNAMEs: it is the proof that an address belongs to the
    /// asked name.
    async fn follow(&self, name: &str, kind: RecordType) -> Result<Resolved, ResolveError> {
        let mut from = Name::from_ascii(name)?;
        from.set_fqdn(true);
        let mut owner = from.clone();
        let mut answers: Vec<Record> = Vec::new();
        loop {
            let query = Query::query(owner.clone(), kind);
            let said = self.servers.ask(&query, self.patience).await;
            let said = said.map_err(ResolveError::Servers)?;
            let Chain { links, finals, .. } = chain::follow(&owner, kind, &said.answers)?;
            let found = !finals.is_empty();
            // An alias, and neither what it stands for nor a word that there is no such thing.
            let open = !links.is_empty()
                && !found
                && said.authorities.is_empty()
                && said.code == ResponseCode::NoError;
            answers.extend(links);
            answers.extend(finals);
            if !open {
                return Ok(Resolved {
                    code: said.code,
                    answers,
                    authorities: if found { Vec::new() } else { said.authorities },
                });
            }
            // Circles and lengths count over all parts.
            owner = chain::follow(&from, kind, &answers)?.end;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn servers_of(text: &str) -> Result<Vec<IpAddr>, UpstreamError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("resolv.conf");
        fs::write_atomic(&path, text.as_bytes(), 0o600).unwrap();
        let servers = servers::system_servers(&path)?;
        Ok(servers.iter().map(std::net::SocketAddr::ip).collect())
    }

    #[test]
    fn the_hosts_servers_are_taken_in_order() {
        let servers =
            servers_of("search corp.example\nnameserver 192.0.2.53\nnameserver 2001:db8::53\n");
        let expected: Vec<IpAddr> = ["192.0.2.53", "2001:db8::53"]
            .map(|text| text.parse().unwrap())
            .into();
        assert_eq!(servers.unwrap(), expected);
    }

    #[test]
    fn a_configuration_without_servers_says_what_to_do() {
        let error = servers_of("search corp.example\n").unwrap_err().to_string();
        assert!(
            error.contains("resolv.conf") && error.contains("dns.upstream"),
            "{error}"
        );
    }

    #[test]
    fn an_empty_list_of_servers_is_refused() {
        let error = Upstream::new(&[], &[], Duration::from_secs(1));
        assert!(matches!(error, Err(UpstreamError::NoServers)));
    }
}
