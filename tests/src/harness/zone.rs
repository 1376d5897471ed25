//! An authoritative DNS server with a story's own names, that counts the questions it gets, and
//! lies if it is told to.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use nix::time::{ClockId, clock_gettime};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, UdpSocket};

use crate::client::step::Transport;
use crate::harness::lie::Lie;
use crate::harness::namespace::Namespace;
use crate::harness::servers::Servers;

/// Largest answer over UDP: what resolvers of today ask for.
const UDP_MAX: usize = 1232;

/// How the server behaves.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Behaviour {
    /// Answers.
    #[default]
    Answer,
    /// Answers later.
    Delay(Duration),
    /// Answers SERVFAIL.
    Fail,
    /// Says nothing.
    Silent,
    /// Closes each connection after one answer.
    HangUp,
    /// Tells lies.
    Lie(Lie),
}

#[derive(Debug, Default)]
struct Content {
    records: BTreeMap<String, Vec<(u32, RData)>>,
    questions: BTreeMap<String, u64>,
    answered: BTreeMap<String, Duration>,
    behaviour: Behaviour,
}

/// The server's content; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Zone {
    content: Arc<Mutex<Content>>,
}

impl Zone {
    /// Serves UDP and TCP at each address, inside a namespace.
    pub fn serve(
        &self,
        servers: &Servers,
        namespace: &Namespace,
        addresses: &[SocketAddr],
    ) -> Result<()> {
        for &address in addresses {
            let (tcp, udp) = namespace.run(|| {
                let tcp = std::net::TcpListener::bind(address)?;
                let udp = std::net::UdpSocket::bind(address)?;
                tcp.set_nonblocking(true)?;
                udp.set_nonblocking(true)?;
                Ok((tcp, udp))
            })?;
            let _runtime = servers.enter();
            let context = || format!("serve DNS on {address}");
            servers.add(serve_udp(
                UdpSocket::from_std(udp).with_context(context)?,
                self.clone(),
            ));
            servers.add(serve_tcp(
                TcpListener::from_std(tcp).with_context(context)?,
                self.clone(),
            ));
        }
        Ok(())
    }

    /// Adds an address of a name.
    pub fn add(&self, name: &str, address: impl Into<IpAddr>, ttl: u32) {
        let data = match address.into() {
            IpAddr::V4(v4) => RData::A(A(v4)),
            IpAddr::V6(v6) => RData::AAAA(AAAA(v6)),
        };
        self.add_record(name, ttl, data);
    }

    /// Makes this the only address of a name.
    pub fn set(&self, name: &str, address: impl Into<IpAddr>, ttl: u32) {
        self.content().records.remove(name);
        self.add(name, address, ttl);
    }

    /// Makes a name an alias of another.
    pub fn alias(&self, name: &str, target: &str, ttl: u32) -> Result<()> {
        let target = Name::from_str(&format!("{target}."))?;
        self.add_record(name, ttl, RData::CNAME(CNAME(target)));
        Ok(())
    }

    /// Adds a record of any type.
    pub fn add_record(&self, name: &str, ttl: u32, data: RData) {
        let mut content = self.content();
        content
            .records
            .entry(name.to_owned())
            .or_default()
            .push((ttl, data));
    }

    /// Changes how it behaves from now on.
    pub fn behave(&self, behaviour: Behaviour) {
        self.content().behaviour = behaviour;
    }

    /// How many questions for a name arrived.
    pub fn questions(&self, name: &str) -> u64 {
        self.content().questions.get(name).copied().unwrap_or(0)
    }

    /// All names asked for.
    pub fn names_asked(&self) -> Vec<String> {
        self.content().questions.keys().cloned().collect()
    }

    /// When an answer for a name was ready to be sent, on the monotonic clock of all processes.
    pub fn answered_at(&self, name: &str) -> Option<Duration> {
        self.content().answered.get(name).copied()
    }

    /// Forgets all of [`Zone::answered_at`].
    pub fn forget_when(&self) {
        self.content().answered.clear();
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn behaviour(&self) -> Behaviour {
        self.content().behaviour
    }

    /// The answer to one message; `None` if there is none.
    pub async fn respond(&self, request: &[u8], transport: Transport) -> Option<Vec<u8>> {
        let request = Message::from_vec(request).ok()?;
        let answer = self.answer(&request);
        match self.behaviour() {
            Behaviour::Answer | Behaviour::HangUp => self.ready(&request, answer, transport),
            Behaviour::Delay(delay) => {
                tokio::time::sleep(delay).await;
                self.ready(&request, answer, transport)
            }
            Behaviour::Silent => None,
            Behaviour::Fail => {
                let mut failure = Message::response(request.metadata.id, request.metadata.op_code);
                failure.metadata.response_code = ResponseCode::ServFail;
                failure.add_queries(request.queries);
                failure.to_vec().ok()
            }
            Behaviour::Lie(lie) => lie.tell(&request, &answer, transport),
        }
    }

    /// The bytes of an answer, and a note of when they were there.
    fn ready(&self, request: &Message, answer: Message, transport: Transport) -> Option<Vec<u8>> {
        let bytes = fitting(answer, transport)?;
        let name = plain(request.queries.first()?.name());
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC).ok()?;
        self.content().answered.insert(name, now.into());
        Some(bytes)
    }

    fn answer(&self, request: &Message) -> Message {
        let mut answer = Message::response(request.metadata.id, request.metadata.op_code);
        answer.metadata.authoritative = true;
        answer.metadata.recursion_desired = request.metadata.recursion_desired;
        answer.metadata.recursion_available = true;
        answer.add_queries(request.queries.iter().cloned());
        let Some(query) = request.queries.first() else {
            return answer;
        };
        let name = plain(query.name());
        if !self.content().ask(&name, query.query_type(), &mut answer) {
            answer.metadata.response_code = ResponseCode::NXDomain;
        }
        answer
    }
}

impl Content {
    /// Counts a question and answers it; whether the name exists.
    fn ask(&mut self, name: &str, kind: RecordType, answer: &mut Message) -> bool {
        *self.questions.entry(name.to_owned()).or_default() += 1;
        self.follow(name, kind, answer)
    }

    /// Adds the records of a name and of what it is an alias for; whether the name exists.
    fn follow(&self, name: &str, kind: RecordType, answer: &mut Message) -> bool {
        let Some(records) = self.records.get(name) else {
            return false;
        };
        let Ok(owner) = Name::from_str(&format!("{name}.")) else {
            return false;
        };
        for (ttl, data) in records {
            let target = if let RData::CNAME(target) = data {
                Some(plain(target))
            } else {
                None
            };
            if data.record_type() == kind || target.is_some() {
                answer.add_answer(Record::from_rdata(owner.clone(), *ttl, data.clone()));
            }
            if let Some(target) = target {
                self.follow(&target, kind, answer);
            }
        }
        true
    }
}

/// The bytes of an answer; over UDP nothing but the TC bit if there are too many.
fn fitting(mut answer: Message, transport: Transport) -> Option<Vec<u8>> {
    let bytes = answer.to_vec().ok()?;
    if transport == Transport::Tcp || bytes.len() <= UDP_MAX {
        return Some(bytes);
    }
    answer.answers.clear();
    answer.metadata.truncation = true;
    answer.to_vec().ok()
}

fn plain(name: &Name) -> String {
    name.to_ascii().trim_end_matches('.').to_ascii_lowercase()
}

async fn serve_udp(socket: UdpSocket, zone: Zone) {
    let socket = Arc::new(socket);
    let mut buffer = [0; 4096];
    while let Ok((length, peer)) = socket.recv_from(&mut buffer).await {
        let request = buffer.get(..length).unwrap_or_default().to_vec();
        let (socket, zone) = (Arc::clone(&socket), zone.clone());
        drop(tokio::spawn(async move {
            if let Some(answer) = zone.respond(&request, Transport::Udp).await {
                drop(socket.send_to(&answer, peer).await);
            }
        }));
    }
}

async fn serve_tcp(listener: TcpListener, zone: Zone) {
    while let Ok((stream, _peer)) = listener.accept().await {
        drop(tokio::spawn(serve_connection(stream, zone.clone())));
    }
}

/// Answers on one connection until it ends, over TLS or without.
pub async fn serve_connection(mut stream: impl AsyncRead + AsyncWrite + Unpin, zone: Zone) {
    while let Ok(length) = stream.read_u16().await {
        let mut request = vec![0; usize::from(length)];
        if stream.read_exact(&mut request).await.is_err() {
            return;
        }
        let Some(answer) = zone.respond(&request, Transport::Tcp).await else {
            continue;
        };
        let Ok(length) = u16::try_from(answer.len()) else {
            return;
        };
        let framed = [&length.to_be_bytes()[..], &answer].concat();
        if stream.write_all(&framed).await.is_err() || zone.behaviour() == Behaviour::HangUp {
            return;
        }
    }
}
