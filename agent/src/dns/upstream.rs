//! Where allowed names are asked: the host's resolvers, or servers named in the policy.
//!
//! One per job, cache included: what one job has asked cannot be seen by another from how fast an
//! answer comes.
//!
//! **Not here**: `/etc/hosts`. It is a file of whoever reads it: programs of the job read their own
//! through libc, and the host's must not answer for the public DNS.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, Record, RecordType};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError, NoRecords};
use hickory_resolver::system_conf::parse_resolv_conf;
use tokio::time::timeout;

use crate::policy::Upstream as Place;
use crate::sys::fs;

/// The host's resolver configuration.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// 64 KiB: a resolver configuration is a few lines.
const RESOLV_CONF_LIMIT: u64 = 64 << 10;

/// Answers kept per job.
const CACHED_ANSWERS: u64 = 1024;

/// Servers asked at the same time.
const AT_ONCE: usize = 2;

/// EDNS size that crosses the Internet without fragments (DNS Flag Day 2020).
const EDNS_PAYLOAD: u16 = 1232;

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
    /// The resolver could not be made.
    #[error("cannot set up the DNS resolver")]
    Resolver(#[source] NetError),
}

/// A resolver with a cache and a bound on time.
#[derive(Debug)]
pub struct Upstream {
    resolver: TokioResolver,
    /// One for each server, if there are several: hickory passes over a server that is silent, not
    /// one that answers with a failure.
    each: Vec<TokioResolver>,
    patience: Duration,
}

/// What upstream said.
#[derive(Debug)]
pub(super) struct Resolved {
    /// `NOERROR` or `NXDOMAIN`.
    pub code: ResponseCode,
    /// Answer section.
    pub answers: Vec<Record>,
    /// Of a negative answer: the zone's SOA.
    pub authorities: Vec<Record>,
}

/// Why upstream said nothing that can be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum ResolveError {
    /// Nobody answered in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The servers could not be reached, or answered with a failure.
    #[error("no server gave an answer")]
    Servers(#[source] Box<NetError>),
}

impl Upstream {
    /// How long a question may take if nothing else is said.
    pub const DEFAULT_PATIENCE: Duration = Duration::from_secs(5);

    /// Makes a resolver that asks these places. `System` stands for the servers of the
    /// `resolv.conf` of cordon's own mount namespace; a local stub there (`127.0.0.53`) is fine:
    /// cordon is not in the job, so its DNS is not redirected. `patience` bounds one question, retries and all servers together.
    ///
    /// # Errors
    /// The host's configuration is needed and cannot be used, or the list of servers is empty.
    pub fn new(places: &[Place], patience: Duration) -> Result<Self, UpstreamError> {
        let mut servers = Vec::new();
        for place in places {
            match place {
                Place::System => servers.extend(system_servers(Path::new(RESOLV_CONF))?),
                Place::Server(server) => servers.push(name_server(*server)),
            }
        }
        if servers.is_empty() {
            return Err(UpstreamError::NoServers);
        }
        let each = if servers.len() > 1 {
            let alone = |server: &NameServerConfig| resolver(vec![server.clone()], patience);
            servers.iter().map(alone).collect::<Result<_, _>>()?
        } else {
            Vec::new()
        };
        Ok(Self {
            resolver: resolver(servers, patience)?,
            each,
            patience,
        })
    }

    /// Asks for the records of a name, given in canonical form: the upper and lower case a job
    /// chose does not leave the host, it could carry a message.
    pub(super) async fn resolve(
        &self,
        name: &str,
        kind: RecordType,
    ) -> Result<Resolved, ResolveError> {
        let mut absolute = Name::from_ascii(name)
            .map_err(|error| ResolveError::Servers(Box::new(error.into())))?;
        absolute.set_fqdn(true);
        match timeout(self.patience, self.lookup(absolute, kind)).await {
            Err(_elapsed) => Err(ResolveError::Timeout(self.patience)),
            Ok(Ok(lookup)) => Ok(Resolved {
                code: ResponseCode::NoError,
                answers: lookup.answers().to_vec(),
                authorities: Vec::new(),
            }),
            Ok(Err(NetError::Dns(DnsError::NoRecordsFound(none)))) => negative(none),
            Ok(Err(error)) => Err(ResolveError::Servers(Box::new(error))),
        }
    }

    /// All servers together, the quickest answer counts; after a failure each alone, in order.
    async fn lookup(&self, name: Name, kind: RecordType) -> Result<Lookup, NetError> {
        let mut outcome = self.resolver.lookup(name.clone(), kind).await;
        for server in &self.each {
            if !outcome.as_ref().is_err_and(is_servers_failure) {
                break;
            }
            outcome = server.lookup(name.clone(), kind).await;
        }
        outcome
    }
}

/// Whether another server may know better. "No such name" is an answer and stands.
const fn is_servers_failure(error: &NetError) -> bool {
    !matches!(
        error,
        NetError::Dns(DnsError::NoRecordsFound(NoRecords {
            response_code: ResponseCode::NoError | ResponseCode::NXDomain,
            ..
        }))
    )
}

fn resolver(
    servers: Vec<NameServerConfig>,
    patience: Duration,
) -> Result<TokioResolver, UpstreamError> {
    // No domain and no search list: the job's libc has applied its own, names here are whole.
    let options = options(servers.len(), patience);
    let config = ResolverConfig::from_parts(None, Vec::new(), servers);
    TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        .with_options(options)
        .build()
        .map_err(UpstreamError::Resolver)
}

/// "No such name" and "no such records" are answers; the other codes are not.
fn negative(none: NoRecords) -> Result<Resolved, ResolveError> {
    match none.response_code {
        code @ (ResponseCode::NoError | ResponseCode::NXDomain) => Ok(Resolved {
            code,
            answers: Vec::new(),
            authorities: none
                .soa
                .map(|soa| soa.into_record_of_rdata())
                .into_iter()
                .collect(),
        }),
        _ => Err(ResolveError::Servers(Box::new(none.into()))),
    }
}

fn system_servers(path: &Path) -> Result<Vec<NameServerConfig>, UpstreamError> {
    let text = fs::read(path, RESOLV_CONF_LIMIT)?;
    let (config, _) = parse_resolv_conf(text).map_err(|source| UpstreamError::Configuration {
        path: path.into(),
        source,
    })?;
    let (_, _, servers) = config.into_parts();
    Ok(servers
        .into_iter()
        .map(|server| name_server((server.ip, 53).into()))
        .collect())
}

fn name_server(server: SocketAddr) -> NameServerConfig {
    let on_port = |mut connection: ConnectionConfig| {
        connection.port = server.port();
        connection
    };
    let ip: IpAddr = server.ip();
    NameServerConfig::new(
        ip,
        true,
        vec![
            on_port(ConnectionConfig::udp()),
            on_port(ConnectionConfig::tcp()),
        ],
    )
}

fn options(servers: usize, patience: Duration) -> ResolverOpts {
    // The time is shared out, so that silent servers leave some for the ones behind them. A lost
    // packet needs no share: hickory sends again within each.
    let rounds = u32::try_from(servers.div_ceil(AT_ONCE)).unwrap_or(u32::MAX);
    let mut options = ResolverOpts::default();
    options.ndots = 0;
    options.use_hosts_file = ResolveHosts::Never;
    options.timeout = patience.checked_div(rounds).unwrap_or(patience);
    options.attempts = servers.div_ceil(AT_ONCE);
    options.num_concurrent_reqs = AT_ONCE;
    options.cache_size = CACHED_ANSWERS;
    options.edns0 = true;
    options.edns_payload_len = EDNS_PAYLOAD;
    // The chain of CNAMEs is the proof that an address belongs to the asked name.
    options.preserve_intermediates = true;
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers_of(text: &str) -> Result<Vec<IpAddr>, UpstreamError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("resolv.conf");
        fs::write_atomic(&path, text.as_bytes(), 0o600).unwrap();
        let servers = system_servers(&path)?;
        Ok(servers.iter().map(|server| server.ip).collect())
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
        let error = Upstream::new(&[], Duration::from_secs(1));
        assert!(matches!(error, Err(UpstreamError::NoServers)));
    }
}
