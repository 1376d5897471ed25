//! DNS steps: by libc, and by hand.

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::str::FromStr as _;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query};
use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};
use hickory_proto::rr::{Name, RData, RecordType};
use nix::errno::Errno;
use nix::sys::socket::{
    MsgFlags, SockType, SockaddrLike as _, SockaddrStorage, recv, recvfrom, send, sendto,
};

use crate::client::step::{Answer, Form, Outcome, Transport};
use crate::client::{Done, Refused, at, socket};

/// Asks libc. Its failure is an outcome: there is no system call to blame.
pub(super) fn resolve(name: &str) -> Done {
    let outcome = match (name, 0).to_socket_addrs() {
        Ok(addresses) => Outcome {
            addresses: addresses.map(|address| address.ip()).collect(),
            ..Outcome::default()
        },
        Err(error) => Outcome {
            error: Some(error.to_string()),
            ..Outcome::default()
        },
    };
    Done { bytes: 0, outcome }
}

/// Asks a server for each name, on one socket.
pub(super) fn ask(
    server: SocketAddr,
    transport: Transport,
    names: &[String],
    kind: &str,
) -> Result<Done, Refused> {
    let kind = RecordType::from_str(kind).map_err(|_unknown| at("parse")(Errno::EINVAL))?;
    let mut outcome = Outcome::default();
    match transport {
        Transport::Udp => {
            let (socket, address) = socket::for_address(server, Form::Plain, SockType::Datagram)?;
            for name in names {
                let (reply, from) = ask_udp(&socket, &address, &question(name, kind)?)?;
                outcome.from = from;
                outcome.answers.push(read(name, &reply));
            }
        }
        Transport::Tcp => {
            let (socket, address) = socket::for_address(server, Form::Plain, SockType::Stream)?;
            socket::connect_to(socket.as_raw_fd(), &address)?;
            for name in names {
                let reply = ask_tcp(&socket, &question(name, kind)?)?;
                outcome.answers.push(read(name, &reply));
            }
        }
    }
    Ok(Done { bytes: 0, outcome })
}

fn question(name: &str, kind: RecordType) -> Result<Vec<u8>, Refused> {
    let invalid = || at("parse")(Errno::EINVAL);
    let name = Name::from_str(&format!("{name}.")).map_err(|_bad| invalid())?;
    let mut message = Message::new(0x0c0d, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(name, kind));
    let mut edns = Edns::new();
    edns.set_max_payload(1232);
    message.set_edns(edns);
    message.to_vec().map_err(|_too_long| invalid())
}

fn ask_udp(
    socket: &OwnedFd,
    server: &SockaddrStorage,
    question: &[u8],
) -> Result<(Vec<u8>, Option<SocketAddr>), Refused> {
    let fd = socket.as_raw_fd();
    sendto(fd, question, server, MsgFlags::empty()).map_err(at("sendto"))?;
    let mut buffer = [0; 4096];
    let (length, from) = recvfrom::<SockaddrStorage>(fd, &mut buffer).map_err(at("recvfrom"))?;
    let reply = buffer.get(..length).unwrap_or_default().to_vec();
    Ok((reply, from.and_then(to_std)))
}

fn to_std(address: SockaddrStorage) -> Option<SocketAddr> {
    match address.family()? {
        nix::sys::socket::AddressFamily::Inet => address
            .as_sockaddr_in()
            .map(|v4| SocketAddr::V4((*v4).into())),
        _ => address
            .as_sockaddr_in6()
            .map(|v6| SocketAddr::V6((*v6).into())),
    }
}

fn ask_tcp(socket: &OwnedFd, question: &[u8]) -> Result<Vec<u8>, Refused> {
    let length = u16::try_from(question.len()).unwrap_or(u16::MAX);
    let framed = [&length.to_be_bytes()[..], question].concat();
    send(socket.as_raw_fd(), &framed, MsgFlags::MSG_NOSIGNAL).map_err(at("send"))?;
    let length = read_exact(socket, 2)?;
    let length = length.try_into().map_or(0, u16::from_be_bytes);
    read_exact(socket, usize::from(length))
}

fn read_exact(socket: &OwnedFd, length: usize) -> Result<Vec<u8>, Refused> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    while bytes.len() < length {
        let wanted = (length - bytes.len()).min(buffer.len());
        let slice = buffer.get_mut(..wanted).unwrap_or_default();
        match recv(socket.as_raw_fd(), slice, MsgFlags::empty()).map_err(at("recv"))? {
            0 => return Err(at("recv")(Errno::ECONNRESET)),
            received => bytes.extend(buffer.get(..received).unwrap_or_default()),
        }
    }
    Ok(bytes)
}

fn read(name: &str, reply: &[u8]) -> Answer {
    let mut answer = Answer {
        name: name.to_owned(),
        ..Answer::default()
    };
    let Ok(message) = Message::from_vec(reply) else {
        "malformed".clone_into(&mut answer.code);
        return answer;
    };
    answer.code = message.metadata.response_code.to_string();
    answer.truncated = message.metadata.truncation;
    answer.records = message.answers.iter().map(ToString::to_string).collect();
    answer.why = message.edns.as_ref().and_then(extended_error);
    answer.addresses = message
        .answers
        .iter()
        .filter_map(|record| match &record.data {
            RData::A(address) => Some(address.0.into()),
            RData::AAAA(address) => Some(address.0.into()),
            _ => None,
        })
        .collect();
    answer
}

/// The text of an extended error (RFC 8914).
fn extended_error(edns: &Edns) -> Option<String> {
    match edns.option(EdnsCode::Unknown(15))? {
        EdnsOption::Unknown(_, bytes) => {
            let text = bytes.get(2..).unwrap_or_default();
            Some(String::from_utf8_lossy(text).into_owned())
        }
        _ => None,
    }
}
