//! Asking servers: in order, the next one when one fails or takes long.
//!
//! The protocols are hickory's: connections, retries over UDP, TCP after a truncated answer, TLS,
//! HTTPS. The order is cordon's own, because hickory passes over a server that is silent and not
//! one that answers with a failure, and asks two at the same time.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hickory_proto::op::{DnsRequestOptions, DnsResponse, Query, ResponseCode};
use hickory_proto::rr::{Record, RecordType};
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolverOpts, ServerOrderingStrategy,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::xfer::{DnsHandle as _, FirstAnswer as _};
use hickory_resolver::net::{DnsError, NetError, NoRecords};
use hickory_resolver::system_conf::parse_resolv_conf;
use hickory_resolver::{NameServerPool, PoolContext, TlsConfig};
use tokio::sync;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tracing::{error, info, warn};

use super::UpstreamError;
use super::trust::{Judge, Trust};
use crate::policy::Upstream as Place;
use crate::sys::fs;

/// 64 KiB: a resolver configuration is a few lines.
const RESOLV_CONF_LIMIT: u64 = 64 << 10;

/// EDNS size that crosses the Internet without fragments (DNS Flag Day 2020).
const EDNS_PAYLOAD: u16 = 1232;

/// Questions on one connection at the same time: as many as a job may ask at once.
const PER_CONNECTION: usize = 256;

/// A server that took this long is waited for no longer alone.
const ALONE: Duration = Duration::from_secs(1);

/// How long a server that failed is asked after the others.
const REST: Duration = Duration::from_secs(10);

/// What a server said.
#[derive(Debug)]
pub(super) struct Said {
    /// `NOERROR` or `NXDOMAIN`.
    pub code: ResponseCode,
    /// Answer section.
    pub answers: Vec<Record>,
    /// The zone's SOA, if it came along.
    pub authorities: Vec<Record>,
}

/// Why a server said nothing that can be used.
#[derive(Clone, Debug, thiserror::Error)]
pub(in crate::dns) enum Failure {
    /// It answered with a failure.
    #[error("it answers {0}")]
    Code(ResponseCode),
    /// It answered something else than was asked.
    #[error("it answers another question")]
    OtherQuestion,
    /// It is not who it should be.
    #[error("its certificate is not accepted: {0}")]
    Certificate(rustls::Error),
    /// It cannot be reached, is silent, or speaks another language.
    #[error(transparent)]
    Net(NetError),
}

impl Failure {
    /// Whether it says something about the server, and not about what was asked.
    const fn is_of_server(&self) -> bool {
        !matches!(self, Self::Code(_))
    }
}

impl From<NetError> for Failure {
    fn from(error: NetError) -> Self {
        if let NetError::Dns(DnsError::ResponseCode(code)) = &error {
            return Self::Code(*code);
        }
        Self::Net(error)
    }
}

/// A server, and why it was passed over.
pub(in crate::dns) type PassedOver = (Arc<str>, Failure);

/// All servers of a job, in order.
#[derive(Debug)]
pub(super) struct Servers(Vec<Arc<Server>>);

struct Server {
    /// As a profile writes it.
    label: Arc<str>,
    pool: NameServerPool<TokioRuntimeProvider>,
    /// Who judges its certificate, if it has one.
    judge: Option<Arc<Judge>>,
    /// For servers with a handshake: questions wait here for the first one, so that a burst of them
    /// does not open a connection each.
    gate: Option<sync::Mutex<()>>,
    /// Whether the last question was answered.
    ready: AtomicBool,
    /// Since when it rests.
    failed: Mutex<Option<Instant>>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Server").field(&self.label).finish()
    }
}

impl Servers {
    /// The servers of these places; `trust` is for those that have certificates.
    pub(super) fn new(
        places: &[Place],
        trust: Option<&Trust>,
        resolv_conf: &Path,
        patience: Duration,
    ) -> Result<Self, UpstreamError> {
        let mut configured = Vec::new();
        for place in places {
            match place {
                Place::System => {
                    for server in system_servers(resolv_conf)? {
                        configured.push(Place::Server(server));
                    }
                }
                other => configured.push(other.clone()),
            }
        }
        if configured.is_empty() {
            return Err(UpstreamError::NoServers);
        }
        let server = |place: &Place| {
            let trust = trust.filter(|_| place.is_encrypted());
            Ok(Arc::new(Server::new(place, trust, patience)?))
        };
        let servers: Result<_, UpstreamError> = configured.iter().map(server).collect();
        Ok(Self(servers?))
    }

    /// The first usable answer. A server that fails, or has not answered after a while, is not
    /// waited for alone: the next one is asked as well. The caller bounds the time of all together.
    pub(super) async fn ask(
        &self,
        query: &Query,
        patience: Duration,
    ) -> Result<Said, Vec<PassedOver>> {
        let mut waiting = self.in_order().into_iter();
        let share = patience
            .checked_div(u32::try_from(self.0.len()).unwrap_or(u32::MAX))
            .map_or(ALONE, |share| share.min(ALONE));
        let mut asked: Vec<(Arc<Server>, Instant)> = Vec::new();
        let mut passed_over: Vec<PassedOver> = Vec::new();
        let mut running = JoinSet::new();
        loop {
            let next = waiting.next();
            let is_last = next.is_none();
            if let Some(server) = next {
                asked.push((Arc::clone(&server), Instant::now()));
                let query = query.clone();
                running.spawn(async move {
                    let answer = server.ask(query).await;
                    (server, answer)
                });
            } else if running.is_empty() {
                return Err(passed_over);
            }
            let done = tokio::select! {
                done = running.join_next() => done,
                () = sleep(share), if !is_last => None,
            };
            match done {
                Some(Ok((server, Ok(said)))) => {
                    server.answered();
                    for (other, since) in asked {
                        let failed = passed_over.iter().any(|(label, _)| *label == other.label);
                        if !failed && !Arc::ptr_eq(&other, &server) && since.elapsed() >= share {
                            other.rests(&NetError::Timeout.into());
                        }
                    }
                    return Ok(said);
                }
                Some(Ok((server, Err(failure)))) => {
                    server.rests(&failure);
                    passed_over.push((Arc::clone(&server.label), failure));
                }
                // Nothing cancels a question but the end of this call; then nobody asks why.
                Some(Err(_)) | None => {}
            }
        }
    }

    /// Those that rest come last.
    fn in_order(&self) -> Vec<Arc<Server>> {
        let (resting, ready): (Vec<_>, Vec<_>) = self
            .0
            .iter()
            .cloned()
            .partition(|server| server.is_resting());
        ready.into_iter().chain(resting).collect()
    }
}

impl Server {
    fn new(
        place: &Place,
        trust: Option<&Trust>,
        patience: Duration,
    ) -> Result<Self, UpstreamError> {
        let (tls, judge) = match trust {
            Some(trust) => {
                let (config, judge) = trust.client()?;
                (TlsConfig { config }, Some(judge))
            }
            // Used by nobody; hickory wants one.
            None => (TlsConfig::new().map_err(UpstreamError::Resolver)?, None),
        };
        let context = Arc::new(PoolContext::new(options(patience), tls));
        let provider = TokioRuntimeProvider::default();
        Ok(Self {
            label: place.to_string().into(),
            pool: NameServerPool::from_config([name_server(place)], context, provider),
            judge,
            gate: place.is_encrypted().then(sync::Mutex::default),
            ready: AtomicBool::new(false),
            failed: Mutex::new(None),
        })
    }

    async fn ask(&self, query: Query) -> Result<Said, Failure> {
        let mut turn = match &self.gate {
            Some(gate) if !self.ready.load(Ordering::Relaxed) => Some(gate.lock().await),
            _ => None,
        };
        if self.ready.load(Ordering::Relaxed) {
            // Somebody before has opened the connection.
            turn = None;
        }
        let mut options = DnsRequestOptions::default();
        options.use_edns = true;
        options.edns_payload_len = EDNS_PAYLOAD;
        options.recursion_desired = true;
        let response = self
            .pool
            .lookup(query.clone(), options)
            .first_answer()
            .await;
        let said = match response {
            Ok(response) => said(&query, response),
            Err(NetError::Dns(DnsError::NoRecordsFound(none))) => negative(&query, none),
            Err(error) => {
                let refused = self.judge.as_ref().and_then(|judge| judge.take_refusal());
                Err(refused.map_or_else(|| error.into(), Failure::Certificate))
            }
        };
        let answers = said
            .as_ref()
            .err()
            .is_none_or(|failure| !failure.is_of_server());
        self.ready.store(answers, Ordering::Relaxed);
        drop(turn);
        said
    }

    fn is_resting(&self) -> bool {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.is_some_and(|since| since.elapsed() < REST)
    }

    fn answered(&self) {
        let failed = self
            .failed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if failed.is_some() {
            info!(server = %self.label, "the DNS server answers again");
        }
    }

    /// Told once until it answers again.
    fn rests(&self, failure: &Failure) {
        if !failure.is_of_server() {
            return;
        }
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if failed.replace(Instant::now()).is_none() {
            if matches!(failure, Failure::Certificate(_)) {
                // Shown also where no log was asked for: somebody is not who they should be.
                error!(server = %self.label, error = %failure, "a DNS server is not asked");
            } else {
                warn!(server = %self.label, error = %failure, "a DNS server gives no answers");
            }
        }
    }
}

/// What a response says, if it is one to this question. Over UDP hickory looks at the question too,
/// and waits for another response; over a connection there is nothing to wait for.
fn said(query: &Query, response: DnsResponse) -> Result<Said, Failure> {
    if response.queries.as_slice() != std::slice::from_ref(query) {
        return Err(Failure::OtherQuestion);
    }
    let code = response.response_code;
    if !matches!(code, ResponseCode::NoError | ResponseCode::NXDomain) {
        return Err(Failure::Code(code));
    }
    let message = response.into_message();
    Ok(Said {
        code,
        answers: message.answers,
        authorities: zone(message.authorities),
    })
}

/// "No such name" and "no such records" are answers; the other codes are not.
fn negative(query: &Query, none: NoRecords) -> Result<Said, Failure> {
    if *none.query != *query {
        return Err(Failure::OtherQuestion);
    }
    match none.response_code {
        code @ (ResponseCode::NoError | ResponseCode::NXDomain) => Ok(Said {
            code,
            answers: Vec::new(),
            authorities: none
                .soa
                .map(|soa| soa.into_record_of_rdata())
                .into_iter()
                .collect(),
        }),
        code => Err(Failure::Code(code)),
    }
}

/// The SOA, which says how long a "no" may be kept.
fn zone(authorities: Vec<Record>) -> Vec<Record> {
    let is_soa = |record: &Record| record.record_type() == RecordType::SOA;
    authorities.into_iter().find(is_soa).into_iter().collect()
}

pub(super) fn system_servers(path: &Path) -> Result<Vec<SocketAddr>, UpstreamError> {
    let text = fs::read(path, RESOLV_CONF_LIMIT)?;
    let (config, _) = parse_resolv_conf(text).map_err(|source| UpstreamError::Configuration {
        path: path.into(),
        source,
    })?;
    let (_, _, servers) = config.into_parts();
    Ok(servers
        .into_iter()
        .map(|server| (server.ip, 53).into())
        .collect())
}

fn name_server(place: &Place) -> NameServerConfig {
    let (server, connections) = match place {
        // Was replaced by its servers.
        Place::System => return NameServerConfig::new([0; 4].into(), true, Vec::new()),
        Place::Server(server) => (
            server,
            vec![ConnectionConfig::udp(), ConnectionConfig::tcp()],
        ),
        Place::Tls { server, name } => (server, vec![ConnectionConfig::tls(name.as_str().into())]),
        Place::Https { server, name, path } => (
            server,
            vec![ConnectionConfig::https(
                name.as_str().into(),
                Some(path.as_str().into()),
            )],
        ),
    };
    let on_port = |mut connection: ConnectionConfig| {
        connection.port = server.port();
        connection
    };
    let connections = connections.into_iter().map(on_port).collect();
    NameServerConfig::new(server.ip(), true, connections)
}

fn options(patience: Duration) -> ResolverOpts {
    let mut options = ResolverOpts::default();
    options.timeout = patience;
    options.num_concurrent_reqs = 1;
    options.max_active_requests = PER_CONNECTION;
    options.server_ordering_strategy = ServerOrderingStrategy::UserProvidedOrder;
    options.edns0 = true;
    options.edns_payload_len = EDNS_PAYLOAD;
    options
}
