//! An upstream that says what it is told to say, and counts what it is asked.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, SOA, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;

/// What is answered to one question.
#[expect(clippy::struct_excessive_bools, reason = "lies, each by itself")]
#[derive(Clone, Debug)]
pub(super) struct Script {
    pub code: ResponseCode,
    pub answers: Vec<Record>,
    pub authorities: Vec<Record>,
    pub delay: Duration,
    /// Over UDP: nothing but the TC bit.
    pub truncate: bool,
    /// Answers with an id nobody asked with.
    pub wrong_id: bool,
    /// Answers another question than was asked.
    pub other_question: bool,
    /// Does not answer.
    pub silent: bool,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            code: ResponseCode::NoError,
            answers: Vec::new(),
            authorities: Vec::new(),
            delay: Duration::ZERO,
            truncate: false,
            wrong_id: false,
            other_question: false,
            silent: false,
        }
    }
}

impl From<Vec<Record>> for Script {
    fn from(answers: Vec<Record>) -> Self {
        Self {
            answers,
            ..Self::default()
        }
    }
}

/// Scripts by name and type; NXDOMAIN for everything else.
pub(super) type Zone = BTreeMap<(&'static str, RecordType), Script>;

/// One query that came in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Seen {
    /// Of the message: a question that is sent again has the same.
    pub id: u16,
    /// As it was on the wire, upper and lower case included.
    pub name: String,
    pub kind: RecordType,
    pub tcp: bool,
}

/// The test's side of an upstream.
#[derive(Clone, Debug)]
pub(super) struct Fake {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    zone: Arc<Zone>,
}

impl Fake {
    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// How many questions there were; those that were sent again count once.
    pub(super) fn questions(&self) -> usize {
        let ids: std::collections::BTreeSet<u16> = self.seen().iter().map(|seen| seen.id).collect();
        ids.len()
    }

    async fn answer(&self, bytes: &[u8], tcp: bool) -> Option<Vec<u8>> {
        let query = Message::from_vec(bytes).unwrap();
        let question = query.queries[0].clone();
        self.seen.lock().unwrap().push(Seen {
            id: query.metadata.id,
            name: question.name().to_ascii(),
            kind: question.query_type(),
            tcp,
        });
        let name = question.name().to_lowercase().to_ascii();
        let known = self.zone.iter().find(|((owner, kind), _)| {
            name == format!("{owner}.") && *kind == question.query_type()
        });
        let script = known.map_or_else(
            || Script {
                code: ResponseCode::NXDomain,
                ..Script::default()
            },
            |(_, script)| script.clone(),
        );
        tokio::time::sleep(script.delay).await;
        if script.silent {
            return None;
        }
        let mut answer = Message::response(query.metadata.id, query.metadata.op_code);
        answer.metadata.response_code = script.code;
        if script.other_question {
            let other = Name::from_ascii("other.example.").unwrap();
            answer.add_query(Query::query(other, question.query_type()));
        } else {
            answer.add_query(question);
        }
        if script.wrong_id {
            answer.metadata.id ^= 1;
        }
        if script.truncate && !tcp {
            answer.metadata.truncation = true;
        } else {
            answer.add_answers(script.answers);
            answer.add_authorities(script.authorities);
        }
        Some(answer.to_vec().unwrap())
    }
}

/// Serves a zone by UDP and TCP on one port until the tasks are dropped.
pub(super) async fn serve(zone: Zone) -> (Fake, JoinSet<()>) {
    let (udp, tcp) = loop {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
            break (Arc::new(udp), tcp);
        }
    };
    let fake = Fake {
        address: udp.local_addr().unwrap(),
        seen: Arc::default(),
        zone: Arc::new(zone),
    };
    let mut tasks = JoinSet::new();
    tasks.spawn(serve_udp(fake.clone(), udp));
    tasks.spawn(serve_tcp(fake.clone(), tcp));
    (fake, tasks)
}

#[expect(clippy::infinite_loop, reason = "a task: it ends when the test does")]
async fn serve_udp(fake: Fake, socket: Arc<UdpSocket>) {
    let mut tasks = JoinSet::new();
    let mut buffer = [0; 4096];
    loop {
        let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
        let bytes = buffer[..length].to_vec();
        let (fake, socket) = (fake.clone(), Arc::clone(&socket));
        tasks.spawn(async move {
            if let Some(answer) = fake.answer(&bytes, false).await {
                socket.send_to(&answer, from).await.unwrap();
            }
        });
    }
}

#[expect(clippy::infinite_loop, reason = "a task: it ends when the test does")]
async fn serve_tcp(fake: Fake, listener: TcpListener) {
    let mut tasks = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        tasks.spawn(serve_connection(fake.clone(), stream));
    }
}

async fn serve_connection(fake: Fake, mut stream: TcpStream) {
    while let Ok(length) = stream.read_u16().await {
        let mut bytes = vec![0; usize::from(length)];
        stream.read_exact(&mut bytes).await.unwrap();
        if let Some(answer) = fake.answer(&bytes, true).await {
            let length = u16::try_from(answer.len()).unwrap();
            stream.write_u16(length).await.unwrap();
            stream.write_all(&answer).await.unwrap();
        }
    }
}

fn record(owner: &str, ttl: u32, data: RData) -> Record {
    Record::from_rdata(Name::from_ascii(format!("{owner}.")).unwrap(), ttl, data)
}

pub(super) fn address(owner: &str, ttl: u32, text: &str) -> Record {
    let data = match text.parse().unwrap() {
        IpAddr::V4(v4) => RData::A(A(v4)),
        IpAddr::V6(v6) => RData::AAAA(AAAA(v6)),
    };
    record(owner, ttl, data)
}

pub(super) fn alias(owner: &str, ttl: u32, target: &str) -> Record {
    let target = Name::from_ascii(format!("{target}.")).unwrap();
    record(owner, ttl, RData::CNAME(CNAME(target)))
}

pub(super) fn text(owner: &str, ttl: u32, text: &str) -> Record {
    record(owner, ttl, RData::TXT(TXT::new(vec![text.to_owned()])))
}

pub(super) fn soa(zone: &str, negative_ttl: u32) -> Record {
    let name = Name::from_ascii(format!("{zone}.")).unwrap();
    let data = SOA::new(name.clone(), name, 1, 1, 1, 1, negative_ttl);
    record(zone, negative_ttl, RData::SOA(data))
}

/// `good.example` with an address of each kind.
pub(super) fn good() -> Zone {
    [
        (
            ("good.example", RecordType::A),
            vec![address("good.example", 60, "192.0.2.1")].into(),
        ),
        (
            ("good.example", RecordType::AAAA),
            vec![address("good.example", 60, "2001:db8::1")].into(),
        ),
    ]
    .into()
}
