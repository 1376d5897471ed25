//! What a job asks, and whether it may be asked: from bytes to [`Act`]. Pure.
//!
//! Every rule about questions is here, so that it can be tested and fuzzed without a socket.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use cordon_ebpf::abi::ruleset::RuleIndex;
use cordon_ebpf::abi::verdict::Mode;
use hickory_proto::op::{Header, LowerQuery, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RecordType};
use hickory_proto::serialize::binary::{BinDecodable as _, BinDecoder};
use hickory_server::net::xfer::Protocol;
use hickory_server::server::Request;

use super::limiter::Beyond;
use super::message::{self, Reply, Reproach};
use super::{NamePolicy, reverse};
use crate::report::NameVerdict;

/// Bytes from a job, looked at.
#[derive(Debug)]
pub(super) enum Incoming {
    /// One question in a well-formed message.
    Question(Box<Request>),
    /// Anything else; with an answer if the sender may get one.
    Malformed(Option<Vec<u8>>),
}

/// Reads a message. Total: any bytes are either a question or malformed.
pub(super) fn read(bytes: Vec<u8>, from: SocketAddr, protocol: Protocol) -> Incoming {
    let Ok(header) = Header::read(&mut BinDecoder::new(&bytes)) else {
        return Incoming::Malformed(None);
    };
    // Answering an answer would let two listeners talk to each other for ever.
    if header.message_type == MessageType::Response {
        return Incoming::Malformed(None);
    }
    // Before the sections are read: the counts are the sender's, and memory is made for them.
    let fault = if header.op_code != OpCode::Query {
        Some(ResponseCode::NotImp)
    } else if header.counts.queries != 1
        || header.counts.answers != 0
        || header.counts.authorities != 0
    {
        Some(ResponseCode::FormErr)
    } else {
        None
    };
    if let Some(code) = fault {
        return Incoming::Malformed(message::bare(&header, code));
    }
    match Request::from_bytes(bytes, from, protocol) {
        Ok(request) if request.queries.len() == 1 => Incoming::Question(Box::new(request)),
        Ok(_) | Err(_) => Incoming::Malformed(message::bare(&header, ResponseCode::FormErr)),
    }
}

/// One question in canonical form.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Asked {
    /// Lower-case ASCII without the final dot; bytes no host name has are escaped as `\DDD`.
    pub name: String,
    /// The name as the job wrote it: its upper and lower case return in the answer.
    pub wire: Name,
    /// Record type.
    pub kind: RecordType,
    /// What reports call the type.
    pub kind_text: String,
}

/// What to do with a question.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Act {
    /// Ask upstream. No rules: audit mode, and no rule allows the name.
    Forward {
        /// Rules that allow the name.
        rules: Vec<RuleIndex>,
    },
    /// Say which names the address is leased for, without asking anybody.
    Reverse(IpAddr),
    /// Do not ask.
    Refuse(Refusal),
}

impl Act {
    /// Rules that allow the name.
    pub(super) fn rules(&self) -> &[RuleIndex] {
        match self {
            Self::Forward { rules } => rules,
            Self::Reverse(_) | Self::Refuse(_) => &[],
        }
    }
}

/// Why a question is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Refusal {
    /// No rule allows the name.
    Denied,
    /// The name has bytes that no host name has.
    NotAHostName,
    /// A record type that is not served.
    Kind,
    /// A reverse lookup of something the job holds no lease of.
    NotLeased,
    /// Not the Internet class.
    Class,
    /// More than a wildcard is for.
    Limited(Beyond),
}

impl Refusal {
    /// What the report says.
    pub(super) const fn verdict(self) -> NameVerdict {
        match self {
            Self::Denied | Self::NotAHostName => NameVerdict::Denied,
            Self::Kind | Self::NotLeased | Self::Class => NameVerdict::Unsupported,
            Self::Limited(_) => NameVerdict::Limited,
        }
    }

    /// What the job is told: by which profile, and if it is not for want of a rule, why.
    pub(super) fn reproach(self, profile: &str) -> Reproach {
        let denied = |why: &str| format!("denied by profile {profile}: {why}");
        match self {
            Self::Denied => Reproach::blocked(format!("denied by profile {profile}")),
            Self::NotAHostName => Reproach::blocked(denied("not a host name")),
            Self::NotLeased => Reproach::blocked(denied("no lease of this address")),
            Self::Limited(beyond) => Reproach::blocked(denied(beyond.why())),
            Self::Kind => Reproach::not_supported(denied("record type not served")),
            Self::Class => Reproach::not_supported(denied("only class IN is served")),
        }
    }
}

/// Decides about a question; nothing is sent or granted here.
#[must_use]
pub(super) fn admit(query: &LowerQuery, policy: &dyn NamePolicy, mode: Mode) -> (Asked, Act) {
    let wire = query.original().name().clone();
    let kind = query.query_type();
    let (name, is_host_name) = canonical(&wire);
    let class = query.query_class();
    let kind_text = if class == DNSClass::IN {
        kind.to_string()
    } else {
        format!("{class} {kind}")
    };
    let asked = Asked {
        name,
        wire,
        kind,
        kind_text,
    };
    let act = if class != DNSClass::IN {
        Act::Refuse(Refusal::Class)
    } else if kind == RecordType::PTR {
        let address = reverse::address_of(&asked.wire);
        address.map_or(Act::Refuse(Refusal::NotLeased), Act::Reverse)
    } else if !is_served(kind) {
        Act::Refuse(Refusal::Kind)
    } else if !is_host_name {
        Act::Refuse(Refusal::NotAHostName)
    } else {
        admit_name(&asked, policy, mode)
    };
    (asked, act)
}

fn admit_name(asked: &Asked, policy: &dyn NamePolicy, mode: Mode) -> Act {
    let rules = policy.rules_for_name(&asked.name);
    if rules.is_empty() && mode != Mode::AUDIT {
        Act::Refuse(Refusal::Denied)
    } else {
        Act::Forward { rules }
    }
}

const fn is_served(kind: RecordType) -> bool {
    matches!(
        kind,
        RecordType::A
            | RecordType::AAAA
            | RecordType::CNAME
            | RecordType::HTTPS
            | RecordType::MX
            | RecordType::SRV
            | RecordType::SVCB
            | RecordType::TXT
    )
}

/// The one spelling of a name, and whether it is a host name: non-empty labels of letters, digits,
/// hyphens and underscores. A dot, NUL or blank inside a label is escaped, so that two different
/// names never have one spelling.
fn canonical(wire: &Name) -> (String, bool) {
    let mut text = String::new();
    let mut is_host_name = !wire.is_root();
    for label in wire {
        if !text.is_empty() {
            text.push('.');
        }
        for byte in label {
            if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') {
                text.push(char::from(byte.to_ascii_lowercase()));
            } else {
                is_host_name = false;
                text.push('\\');
                text.extend(decimal(*byte));
            }
        }
    }
    (text, is_host_name)
}

/// Three digits, as escapes in zone files have them.
fn decimal(byte: u8) -> [char; 3] {
    [byte / 100, byte / 10 % 10, byte % 10].map(|digit| char::from(b'0'.saturating_add(digit)))
}

/// Runs all that is done with a job's bytes before anything is asked, under a policy without rules:
/// the entry point of the DNS fuzz target.
#[doc(hidden)]
pub fn fuzz_query(bytes: &[u8]) {
    struct Nothing;
    impl NamePolicy for Nothing {
        fn rules_for_name(&self, _name: &str) -> Vec<RuleIndex> {
            Vec::new()
        }
        fn wildcard_part<'a>(&self, _rule: RuleIndex, _name: &'a str) -> Option<&'a str> {
            None
        }
        fn allows_private(&self, _rules: &[RuleIndex]) -> bool {
            false
        }
    }
    let from = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    if let Incoming::Question(request) = read(bytes.to_vec(), from, Protocol::Udp)
        && let [query] = request.queries.queries()
    {
        let (asked, act) = admit(query, &Nothing, Mode::ENFORCE);
        assert!(
            matches!(act, Act::Refuse(_) | Act::Reverse(_)),
            "no rule, yet admitted: {asked:?}"
        );
        let reply = Reply::code(ResponseCode::Refused);
        let answer = message::encode(&request, &reply);
        assert!(answer.len() <= usize::from(message::UDP_MAX), "{asked:?}");
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::op::{Message, Query};
    use proptest::prelude::*;

    use super::*;

    struct Allow(&'static str);
    impl NamePolicy for Allow {
        fn rules_for_name(&self, name: &str) -> Vec<RuleIndex> {
            if name == self.0 { vec![3] } else { Vec::new() }
        }
        fn wildcard_part<'a>(&self, _rule: RuleIndex, _name: &'a str) -> Option<&'a str> {
            None
        }
        fn allows_private(&self, _rules: &[RuleIndex]) -> bool {
            false
        }
    }

    fn ask(labels: &[&[u8]], kind: RecordType, mode: Mode) -> (Asked, Act) {
        let mut name = Name::from_labels(labels.iter().copied()).unwrap();
        name.set_fqdn(true);
        let query = Query::query(name, kind);
        admit(&query.into(), &Allow("good.example"), mode)
    }

    const GOOD: &[&[u8]] = &[b"gOOd", b"Example"];
    const EVIL: &[&[u8]] = &[b"evil", b"example"];

    #[test]
    fn an_allowed_name_is_forwarded_in_lower_case_with_its_rules() {
        let (asked, act) = ask(GOOD, RecordType::A, Mode::ENFORCE);
        assert_eq!(asked.name, "good.example");
        assert_eq!(asked.wire.to_ascii(), "gOOd.Example.");
        assert_eq!(act, Act::Forward { rules: vec![3] });
    }

    #[test]
    fn a_name_without_a_rule_is_forwarded_only_in_audit_mode() {
        let (_, act) = ask(EVIL, RecordType::A, Mode::ENFORCE);
        assert_eq!(act, Act::Refuse(Refusal::Denied));
        let (_, act) = ask(EVIL, RecordType::A, Mode(9));
        assert_eq!(act, Act::Refuse(Refusal::Denied));
        let (_, act) = ask(EVIL, RecordType::A, Mode::AUDIT);
        assert_eq!(act, Act::Forward { rules: vec![] });
    }

    #[test]
    fn only_the_served_types_are_forwarded() {
        for kind in (0..=300).map(RecordType::from) {
            let (_, act) = ask(GOOD, kind, Mode::ENFORCE);
            let expected = match kind.to_string().as_str() {
                "A" | "AAAA" | "CNAME" | "HTTPS" | "MX" | "SRV" | "SVCB" | "TXT" => {
                    Act::Forward { rules: vec![3] }
                }
                "PTR" => Act::Refuse(Refusal::NotLeased),
                _ => Act::Refuse(Refusal::Kind),
            };
            assert_eq!(act, expected, "{kind}");
        }
    }

    #[test]
    fn a_denied_name_is_denied_for_https_as_well() {
        let (_, act) = ask(EVIL, RecordType::HTTPS, Mode::ENFORCE);
        assert_eq!(act, Act::Refuse(Refusal::Denied));
    }

    #[test]
    fn bytes_that_look_like_an_allowed_name_are_not_that_name() {
        let not_host_names: [&[&[u8]]; 10] = [
            &[b"good.example"],
            &[b"good\0", b"example"],
            &[b"good", b"example\0"],
            &[b"good", b"example", b"\0evil"],
            &[b"good ", b"example"],
            &[b"good@", b"example"],
            &[b"g\xc3\xb6\xc3\xb6d", b"example"],
            &[b"good", b"example\n"],
            &[b"good%2e", b"example"],
            &[],
        ];
        for labels in not_host_names {
            for mode in [Mode::ENFORCE, Mode::AUDIT] {
                let (asked, act) = ask(labels, RecordType::A, mode);
                assert_eq!(act, Act::Refuse(Refusal::NotAHostName), "{asked:?}");
                assert_ne!(asked.name, "good.example");
                assert!(asked.name.bytes().all(|byte| byte.is_ascii_graphic()));
            }
        }
    }

    #[test]
    fn a_reverse_lookup_asks_nobody_in_any_mode() {
        let reverse: &[&[u8]] = &[b"1", b"2", b"0", b"192", b"in-addr", b"arpa"];
        for mode in [Mode::ENFORCE, Mode::AUDIT] {
            let (_, act) = ask(reverse, RecordType::PTR, mode);
            assert_eq!(act, Act::Reverse([192, 0, 2, 1].into()));
            let (_, act) = ask(&reverse[1..], RecordType::PTR, mode);
            assert_eq!(act, Act::Refuse(Refusal::NotLeased));
        }
    }

    #[test]
    fn another_class_is_refused_and_named() {
        let mut query = Query::query(Name::from_ascii("good.example.").unwrap(), RecordType::TXT);
        query.set_query_class(DNSClass::CH);
        let (asked, act) = admit(&query.into(), &Allow("good.example"), Mode::AUDIT);
        assert_eq!(act, Act::Refuse(Refusal::Class));
        assert_eq!(asked.kind_text, "CH TXT");
    }

    fn read_bytes(bytes: &[u8]) -> Incoming {
        let from = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
        read(bytes.to_vec(), from, Protocol::Udp)
    }

    fn message(questions: u16, flags: u16, answers: u16) -> Vec<u8> {
        let mut bytes = Vec::new();
        for word in [0x1234, flags, questions, answers, 0, 0] {
            bytes.extend_from_slice(&u16::to_be_bytes(word));
        }
        bytes.extend_from_slice(b"\x04good\x07example\0\0\x01\0\x01");
        bytes
    }

    #[track_caller]
    fn assert_fault(bytes: &[u8], code: ResponseCode) {
        let Incoming::Malformed(Some(answer)) = read_bytes(bytes) else {
            panic!("no answer to {bytes:x?}");
        };
        let answer = Message::from_vec(&answer).unwrap();
        assert_eq!(answer.response_code, code);
        assert_eq!(answer.id, 0x1234);
    }

    #[test]
    fn a_message_holds_one_question_and_nothing_else() {
        assert!(matches!(
            read_bytes(&message(1, 0x0100, 0)),
            Incoming::Question(_)
        ));
        assert_fault(&message(0, 0x0100, 0), ResponseCode::FormErr);
        assert_fault(&message(2, 0x0100, 0), ResponseCode::FormErr);
        assert_fault(&message(u16::MAX, 0x0100, 0), ResponseCode::FormErr);
        assert_fault(&message(1, 0x0100, 1), ResponseCode::FormErr);
        assert_fault(&message(1, 0x2800, 0), ResponseCode::NotImp);
        assert_fault(&message(1, 0x0100, 0)[..20], ResponseCode::FormErr);
    }

    #[test]
    fn an_answer_and_a_stump_get_no_answer() {
        for bytes in [
            message(1, 0x8180, 0).as_slice(),
            &message(1, 0x0100, 0)[..11],
            b"",
        ] {
            assert!(matches!(read_bytes(bytes), Incoming::Malformed(None)));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_without_a_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            fuzz_query(&bytes);
        }

        #[test]
        fn any_bytes_after_a_good_header_are_taken_without_a_panic(
            tail in proptest::collection::vec(any::<u8>(), 0..200), additional in 0u8..3,
        ) {
            let mut bytes = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, additional];
            bytes.extend(tail);
            fuzz_query(&bytes);
        }

        #[test]
        fn different_names_have_different_spellings(
            one in proptest::collection::vec(proptest::collection::vec(0u8..64, 1..3), 1..4),
            other in proptest::collection::vec(proptest::collection::vec(0u8..64, 1..3), 1..4),
        ) {
            // Below `@` there are no letters, so no two bytes are one letter in two cases.
            let spell = |labels: &Vec<Vec<u8>>| {
                canonical(&Name::from_labels(labels.iter().map(Vec::as_slice)).unwrap()).0
            };
            prop_assert_eq!(one == other, spell(&one) == spell(&other));
        }
    }
}
