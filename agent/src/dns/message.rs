//! Answers as bytes: sizes, truncation, and the words that say why (Extended DNS Errors).

use std::borrow::Cow;

use hickory_proto::op::{Edns, Header, HeaderCounts, Metadata, ResponseCode};
use hickory_proto::rr::Record;
use hickory_proto::rr::rdata::opt::EdnsOption;
use hickory_proto::serialize::binary::{BinEncodable as _, BinEncoder};
use hickory_server::net::xfer::Protocol;
use hickory_server::server::Request;
use hickory_server::zone_handler::MessageResponseBuilder;

/// Largest UDP answer, whatever the client offers. It never leaves loopback, so nothing fragments.
pub(super) const UDP_MAX: u16 = 4096;

/// Smallest size every client takes (RFC 1035 § 4.2.1).
const UDP_MIN: u16 = 512;

/// Longest text of an Extended DNS Error: with it and the longest name, a refusal still fits into
/// [`UDP_MIN`].
const REPROACH_MAX: usize = 200;

/// Number of the Extended DNS Error option (RFC 8914).
const EXTENDED_ERROR: u16 = 15;

/// Why an answer is not what was hoped for: an Extended DNS Error.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Reproach {
    code: u16,
    text: Cow<'static, str>,
}

impl Reproach {
    /// The operator's policy forbids it (15).
    pub(super) fn blocked(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(15, text)
    }

    /// Not something this listener does (21).
    pub(super) fn not_supported(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(21, text)
    }

    /// No answer from any upstream (22).
    pub(super) fn unreachable(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(22, text)
    }

    /// None of the codes fits (0).
    pub(super) fn other(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(0, text)
    }

    fn new(code: u16, text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            text: text.into(),
        }
    }

    fn option(&self) -> EdnsOption {
        let mut bytes = self.code.to_be_bytes().to_vec();
        let end = self.text.floor_char_boundary(REPROACH_MAX);
        bytes.extend_from_slice(self.text.get(..end).unwrap_or_default().as_bytes());
        EdnsOption::Unknown(EXTENDED_ERROR, bytes)
    }
}

/// An answer before it is bytes.
#[derive(Debug)]
pub(super) struct Reply {
    /// Response code.
    pub code: ResponseCode,
    /// Answer section.
    pub answers: Vec<Record>,
    /// Authority section: the zone's SOA, which says how long a "no" may be kept.
    pub authorities: Vec<Record>,
    /// Why, if it is not plain.
    pub reproach: Option<Reproach>,
}

impl Reply {
    /// A code and nothing else.
    pub(super) const fn code(code: ResponseCode) -> Self {
        Self {
            code,
            answers: Vec::new(),
            authorities: Vec::new(),
            reproach: None,
        }
    }

    /// A code and why.
    pub(super) fn refusal(code: ResponseCode, reproach: Reproach) -> Self {
        let mut reply = Self::code(code);
        reply.reproach = Some(reproach);
        reply
    }
}

/// The bytes of an answer: the question exactly as it was asked, and at most what the client takes.
/// If the records do not fit, none is sent and the TC bit tells the client to come back by TCP.
pub(super) fn encode(request: &Request, reply: &Reply) -> Vec<u8> {
    let limit = match request.protocol() {
        Protocol::Udp => request.max_payload().clamp(UDP_MIN, UDP_MAX),
        _ => u16::MAX,
    };
    let empty = Reply {
        answers: Vec::new(),
        authorities: Vec::new(),
        code: reply.code,
        reproach: reply.reproach.clone(),
    };
    try_encode(request, reply, limit, false)
        .or_else(|| try_encode(request, &empty, limit, true))
        .or_else(|| bare(&header_of(request), ResponseCode::ServFail))
        .unwrap_or_default()
}

/// `None` if it does not fit.
fn try_encode(request: &Request, reply: &Reply, limit: u16, truncated: bool) -> Option<Vec<u8>> {
    let mut metadata = Metadata::response_from_request(&request.metadata);
    metadata.recursion_available = true;
    metadata.response_code = reply.code;
    metadata.truncation = truncated;
    // An OPT record answers an OPT record only (RFC 6891 § 6.1.1).
    let edns = request.edns.as_ref().map(|_| edns(reply));
    let mut builder = MessageResponseBuilder::new(&request.queries, None);
    if let Some(edns) = &edns {
        builder.edns(edns);
    }
    let response = builder.build(metadata, &reply.answers, &reply.authorities, [], []);
    let mut bytes = Vec::new();
    let mut encoder = BinEncoder::new(&mut bytes);
    encoder.set_max_size(limit);
    let sent = response.destructive_emit(&mut encoder).ok()?;
    (sent.truncation == truncated).then_some(bytes)
}

fn edns(reply: &Reply) -> Edns {
    let mut edns = Edns::new();
    edns.set_max_payload(UDP_MAX);
    if let Some(reproach) = &reply.reproach {
        edns.options_mut().insert(reproach.option());
    }
    edns
}

fn header_of(request: &Request) -> Header {
    Header {
        metadata: request.metadata,
        counts: HeaderCounts::default(),
    }
}

/// A header alone: for messages whose question cannot be repeated.
pub(super) fn bare(asked: &Header, code: ResponseCode) -> Option<Vec<u8>> {
    let mut metadata = Metadata::response_from_request(&asked.metadata);
    metadata.response_code = code;
    let header = Header {
        metadata,
        counts: HeaderCounts::default(),
    };
    header.to_bytes().ok()
}
