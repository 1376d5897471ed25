//! What a resolver can say that it should not: bytes for cordon's own parsers and patience.

use std::net::Ipv4Addr;
use std::str::FromStr as _;

use hickory_proto::op::{Message, Query};
use hickory_proto::rr::rdata::{A, CNAME};
use hickory_proto::rr::{Name, RData, Record};

use crate::client::step::Transport;
use crate::harness::network::EVIL_V4;

/// A way to lie.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Lie {
    /// Answers with an id nobody asked with, an address of the attacker in it.
    WrongId,
    /// Answers another question, an address of the attacker in it.
    OtherQuestion,
    /// Answers with bytes that are no message.
    Garbage,
    /// Says that the answer is longer than it is.
    Cut,
    /// Sends more over UDP than was asked for: thousands of addresses.
    Oversized,
    /// Fills a message over TCP with addresses, thousands of them.
    Full,
    /// Says that the answer is too long for UDP, and over TCP says it again.
    AlwaysTruncated,
    /// The name is an alias of itself.
    Circle,
    /// Each name is an alias of a new one, for ever.
    Endless,
    /// Answers, and adds what it was not asked: the attacker's name and address, in all sections.
    Foreign,
}

impl Lie {
    /// All of them after which a name has no address.
    pub const WITHOUT_ANSWER: [Self; 9] = [
        Self::WrongId,
        Self::OtherQuestion,
        Self::Garbage,
        Self::Cut,
        Self::Oversized,
        Self::Full,
        Self::AlwaysTruncated,
        Self::Circle,
        Self::Endless,
    ];

    /// For the names of stories.
    pub const fn name(self) -> &'static str {
        match self {
            Self::WrongId => "wrong_id",
            Self::OtherQuestion => "other_question",
            Self::Garbage => "garbage",
            Self::Cut => "cut_message",
            Self::Oversized => "oversized_datagram",
            Self::Full => "full_message",
            Self::AlwaysTruncated => "endless_truncation",
            Self::Circle => "alias_of_itself",
            Self::Endless => "endless_aliases",
            Self::Foreign => "foreign_records",
        }
    }

    /// The lie about a question to which `truth` would be the answer.
    pub(super) fn tell(
        self,
        request: &Message,
        truth: &Message,
        transport: Transport,
    ) -> Option<Vec<u8>> {
        let asked = request.queries.first()?.clone();
        let mut lie = Message::response(request.metadata.id, request.metadata.op_code);
        lie.metadata.recursion_available = true;
        lie.add_query(asked.clone());
        let name = asked.name().clone();
        let evil = address(name.clone(), EVIL_V4);
        match self {
            Self::WrongId => {
                lie.metadata.id ^= 1;
                lie.add_answer(evil);
            }
            Self::OtherQuestion => {
                lie.queries = vec![Query::query(evil_name()?, asked.query_type())];
                lie.add_answer(evil);
            }
            Self::Garbage => {
                let id = request.metadata.id.to_be_bytes();
                return Some([&id[..], &[0xff; 400]].concat());
            }
            Self::Cut => {
                let whole = truth.to_vec().ok()?;
                return whole.get(..whole.len().checked_sub(3)?).map(<[u8]>::to_vec);
            }
            Self::Oversized | Self::Full => {
                if self == Self::Full && transport == Transport::Udp {
                    lie.metadata.truncation = true;
                    return lie.to_vec().ok();
                }
                // 16 bytes each: 64 KiB have room for a few more.
                for number in 0..4000_u32 {
                    let bits = u32::from(Ipv4Addr::new(198, 51, 0, 0)).checked_add(number)?;
                    lie.add_answer(address(name.clone(), Ipv4Addr::from(bits)));
                }
            }
            Self::AlwaysTruncated => {
                lie.metadata.truncation = true;
                lie.add_answer(evil);
            }
            Self::Circle => {
                lie.add_answer(alias(name.clone(), name));
            }
            Self::Endless => {
                let next = Name::from_str("x").ok()?.append_domain(&name).ok()?;
                lie.add_answer(alias(name, next));
            }
            Self::Foreign => {
                let foreign = address(evil_name()?, EVIL_V4);
                lie.answers.clone_from(&truth.answers);
                lie.add_answer(foreign.clone());
                lie.add_answer(alias(evil_name()?, name));
                lie.authorities.push(foreign.clone());
                lie.additionals.push(foreign);
            }
        }
        lie.to_vec().ok()
    }
}

fn evil_name() -> Option<Name> {
    Name::from_str("evil.test.").ok()
}

fn address(owner: Name, address: Ipv4Addr) -> Record {
    Record::from_rdata(owner, 60, RData::A(A(address)))
}

fn alias(owner: Name, target: Name) -> Record {
    Record::from_rdata(owner, 60, RData::CNAME(CNAME(target)))
}
