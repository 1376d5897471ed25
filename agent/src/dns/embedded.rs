//! The resolver a container's network brings along, at 127.0.0.11 of the container's own namespace.
//!
//! It alone knows the names of the containers beside a job's, so a name that no rule allows may be asked
//! there, if the job asked it there. It also asks the Internet for what it does not know. So that this
//! is no tunnel:
//!
//! - The name is one label. Whoever listens at the end of a tunnel needs a zone that is delegated to
//!   him, and nobody is given one below the root. A dotted name that ends in no known public suffix
//!   would not do: the list grows, and a site's own zones are not in it.
//! - Only `A` and `AAAA`, and only the records of that very name come back.
//! - One job asks for so many different names and no more.
//! - What is answered gets no lease: such an address is reached by a range rule, or not at all.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Record, RecordType};
use tokio::time::timeout;

use super::question::{Act, Asked, Refusal};
use crate::sys::netns;

/// Where it is.
const ADDRESS: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, 11), 53));

/// Different names one job may ask there: more services than an honest job has beside it.
const NAMES: usize = 128;

/// How long it may take. It is on the same machine.
const PATIENCE: Duration = Duration::from_secs(3);

/// Largest answer without EDNS.
const ANSWER_MAX: usize = 512;

/// Records of one answer that are passed on.
const RECORDS: usize = 32;

/// The names a job has asked there.
#[derive(Debug, Default)]
pub(super) struct Names(Mutex<BTreeSet<String>>);

impl Names {
    /// Whether this one may be asked, as one of those that are bounded.
    pub(super) fn take(&self, name: &str) -> bool {
        // A poisoned lock means a panic while a name was added; the set is whole.
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if names.contains(name) {
            return true;
        }
        names.len() < NAMES && names.insert(name.to_owned())
    }
}

/// Whether a question that was sent to `server` may be asked at the embedded resolver. Pure.
pub(super) fn may_ask(asked: &Asked, act: &Act, server: SocketAddr) -> bool {
    let no_rule = match act {
        Act::Refuse(refusal) => *refusal == Refusal::Denied,
        // Audit mode: elsewhere it would be asked of the upstream.
        Act::Forward { rules } => rules.is_empty(),
        Act::Reverse(_) => false,
    };
    no_rule
        && SocketAddr::new(server.ip().to_canonical(), server.port()) == ADDRESS
        && matches!(asked.kind, RecordType::A | RecordType::AAAA)
        && !asked.name.is_empty()
        && !asked.name.contains('.')
}

/// What it said.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Said {
    /// `NOERROR` or `NXDOMAIN`.
    pub(super) code: ResponseCode,
    /// Addresses of the name.
    pub(super) answers: Vec<Record>,
}

/// Asks it, from a socket in its own namespace.
///
/// # Errors
/// There is none, or it gave no answer that is one.
pub(super) async fn ask(namespace: &File, asked: &Asked, id: u16) -> io::Result<Said> {
    let socket = netns::within(namespace, || -> io::Result<UdpSocket> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        // Connected: it takes datagrams of that server alone.
        socket.connect(ADDRESS)?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    })?;
    let socket = tokio::net::UdpSocket::from_std(socket)?;
    let question = question(asked, id).to_vec().map_err(io::Error::other)?;
    socket.send(&question).await?;
    let mut buffer = [0; ANSWER_MAX];
    let answer = async {
        loop {
            let length = socket.recv(&mut buffer).await?;
            // What is no answer to this question is none at all.
            if let Some(said) = read(buffer.get(..length).unwrap_or_default(), asked, id) {
                return said;
            }
        }
    };
    timeout(PATIENCE, answer).await?
}

/// What it is asked. Upper and lower case are the job's choice, which could carry a message.
fn question(asked: &Asked, id: u16) -> Message {
    let mut question = Message::new(id, MessageType::Query, OpCode::Query);
    question.metadata.recursion_desired = true;
    question.add_query(Query::query(asked.wire.to_lowercase(), asked.kind));
    question
}

/// The answer to this question; `None` if it is to another, an error if there is nothing to pass on.
fn read(bytes: &[u8], asked: &Asked, id: u16) -> Option<io::Result<Said>> {
    let message = Message::from_vec(bytes).ok()?;
    let [query] = message.queries.as_slice() else {
        return None;
    };
    let answers_it = message.metadata.message_type == MessageType::Response
        && message.metadata.id == id
        && query.query_type() == asked.kind
        && query.name() == &asked.wire;
    if !answers_it {
        return None;
    }
    let code = message.metadata.response_code;
    if !matches!(code, ResponseCode::NoError | ResponseCode::NXDomain) {
        return Some(Err(io::Error::other(code.to_string())));
    }
    let own = |record: &Record| record.record_type() == asked.kind && record.name == asked.wire;
    let answers = message.answers.into_iter().filter(own).take(RECORDS);
    // Whoever asked gets the spelling back.
    let answers = answers.map(|mut record| {
        record.name = asked.wire.clone();
        record
    });
    Some(Ok(Said {
        code,
        answers: answers.collect(),
    }))
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::rdata::{A, TXT};
    use hickory_proto::rr::{Name, RData};

    use super::*;

    fn asked(name: &str, kind: RecordType) -> Asked {
        Asked {
            name: name.to_owned(),
            wire: Name::from_ascii(format!("{name}.")).unwrap(),
            kind,
            kind_text: kind.to_string(),
        }
    }

    const DENIED: Act = Act::Refuse(Refusal::Denied);

    #[test]
    fn the_jobs_spelling_is_not_passed_on_and_comes_back() {
        let asked = asked("dB", RecordType::A);
        let question = question(&asked, 7);
        assert_eq!(question.queries[0].name().to_ascii(), "db.");
        let mut answer = Message::response(7, OpCode::Query);
        answer.add_queries(question.queries);
        let lower = Name::from_ascii("db.").unwrap();
        answer.add_answer(Record::from_rdata(
            lower,
            9,
            RData::A(A::new(172, 18, 0, 2)),
        ));
        let said = read(&answer.to_vec().unwrap(), &asked, 7).unwrap().unwrap();
        assert_eq!(said.answers[0].name.to_ascii(), "dB.");
    }

    #[test]
    fn only_a_single_label_without_a_rule_is_asked_there() {
        let may = |name, kind, act: &Act| may_ask(&asked(name, kind), act, ADDRESS);
        assert!(may("db", RecordType::A, &DENIED));
        assert!(may("db", RecordType::AAAA, &DENIED));
        assert!(may("db", RecordType::A, &Act::Forward { rules: vec![] }));
        for name in ["db.internal", "secret.evil.example", ""] {
            assert!(!may(name, RecordType::A, &DENIED), "{name}");
        }
        for kind in [RecordType::TXT, RecordType::CNAME, RecordType::SRV] {
            assert!(!may("db", kind, &DENIED), "{kind}");
        }
        for act in [
            Act::Forward { rules: vec![1] },
            Act::Reverse(Ipv4Addr::new(192, 0, 2, 1).into()),
            Act::Refuse(Refusal::NotAHostName),
            Act::Refuse(Refusal::Kind),
        ] {
            assert!(!may("db", RecordType::A, &act), "{act:?}");
        }
    }

    #[test]
    fn only_what_was_asked_there_is_asked_there() {
        let may = |server: &str| {
            let server = server.parse().unwrap();
            may_ask(&asked("db", RecordType::A), &DENIED, server)
        };
        assert!(may("127.0.0.11:53"));
        assert!(may("[::ffff:127.0.0.11]:53"));
        for other in [
            "127.0.0.53:53",
            "127.0.0.11:54",
            "192.0.2.53:53",
            "[::1]:53",
        ] {
            assert!(!may(other), "{other}");
        }
    }

    #[test]
    fn different_names_are_bounded_and_known_ones_go_on() {
        let names = Names::default();
        for number in 0..NAMES {
            assert!(names.take(&format!("n{number}")));
        }
        assert!(!names.take("one-more"));
        assert!(names.take("n0"));
    }

    #[test]
    fn only_addresses_of_the_asked_name_come_back() {
        let question = asked("db", RecordType::A);
        let mut message = Message::new(7, MessageType::Response, OpCode::Query);
        message.add_query(Query::query(question.wire.clone(), RecordType::A));
        let record =
            |name: &str, data| Record::from_rdata(Name::from_ascii(name).unwrap(), 60, data);
        let address = RData::A(A(Ipv4Addr::new(172, 18, 0, 2)));
        message.add_answer(record("db.", address.clone()));
        message.add_answer(record("other.", address));
        message.add_answer(record("db.", RData::TXT(TXT::new(vec!["x".to_owned()]))));
        let bytes = message.to_vec().unwrap();
        let said = read(&bytes, &question, 7).unwrap().unwrap();
        assert_eq!(said.answers.len(), 1, "{said:?}");
        assert!(read(&bytes, &question, 8).is_none());
        assert!(read(&bytes, &asked("eb", RecordType::A), 7).is_none());
        assert!(read(&bytes[..9], &question, 7).is_none());
    }
}
