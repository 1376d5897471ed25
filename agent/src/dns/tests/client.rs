//! A stub resolver, as small as libc's.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query};
use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};
use hickory_proto::rr::{Name, RData, RecordType};

/// Longer than any bound the stories set.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) fn query(id: u16, name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

/// The same, by a client that takes answers of `size` bytes and extended errors.
pub(super) fn edns_query(name: &str, kind: RecordType, size: u16) -> Message {
    let mut message = query(7, name, kind);
    let mut edns = Edns::new();
    edns.set_max_payload(size);
    message.set_edns(edns);
    message
}

pub(super) fn udp_bytes(server: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let local: IpAddr = if server.is_ipv4() {
        [127, 0, 0, 1].into()
    } else {
        std::net::Ipv6Addr::LOCALHOST.into()
    };
    let socket = UdpSocket::bind((local, 0)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.connect(server).unwrap();
    socket.send(bytes).unwrap();
    let mut answer = vec![0; 65_535];
    let length = socket.recv(&mut answer).unwrap();
    answer.truncate(length);
    answer
}

pub(super) fn udp(server: SocketAddr, query: &Message) -> Message {
    let answer = udp_bytes(server, &query.to_vec().unwrap());
    let answer = Message::from_vec(&answer).unwrap();
    assert_eq!(answer.metadata.id, query.metadata.id);
    answer
}

pub(super) fn connect(server: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(server).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

pub(super) fn send(stream: &mut TcpStream, query: &Message) {
    let bytes = query.to_vec().unwrap();
    let mut framed = u16::try_from(bytes.len()).unwrap().to_be_bytes().to_vec();
    framed.extend(bytes);
    stream.write_all(&framed).unwrap();
}

/// The next answer; `None` when the listener has closed the connection.
pub(super) fn receive(stream: &mut TcpStream) -> Option<Message> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).ok()?;
    let mut bytes = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut bytes).unwrap();
    Some(Message::from_vec(&bytes).unwrap())
}

pub(super) fn tcp(server: SocketAddr, query: &Message) -> Message {
    let mut stream = connect(server);
    send(&mut stream, query);
    receive(&mut stream).unwrap()
}

pub(super) fn addresses(answer: &Message) -> Vec<IpAddr> {
    let address = |data: &RData| match data {
        RData::A(v4) => Some(IpAddr::V4(v4.0)),
        RData::AAAA(v6) => Some(IpAddr::V6(v6.0)),
        _ => None,
    };
    let answers = answer.answers.iter();
    answers.filter_map(|record| address(&record.data)).collect()
}

/// Code and text of the extended error in an answer.
pub(super) fn extended_error(answer: &Message) -> Option<(u16, String)> {
    match answer.edns.as_ref()?.option(EdnsCode::Unknown(15))? {
        EdnsOption::Unknown(_, bytes) => Some((
            u16::from_be_bytes([bytes[0], bytes[1]]),
            String::from_utf8(bytes[2..].to_vec()).unwrap(),
        )),
        _ => None,
    }
}
