//! Which questions leave the host, and what the others are told.

use hickory_proto::op::{Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};

use super::client::{addresses, edns_query, extended_error, query, tcp, udp, udp_bytes};
use super::upstream::{address, good, text};
use super::*;
use crate::report::NameVerdict;

#[test]
fn an_allowed_name_is_answered_over_udp_and_tcp_by_ipv4_and_ipv6() {
    let world = World::with_zone(good());
    let (a, aaaa) = (
        query(1, "good.example.", RecordType::A),
        query(2, "good.example.", RecordType::AAAA),
    );
    for answer in [
        udp(world.udp4(), &a),
        udp(world.udp6(), &a),
        tcp(world.tcp4(), &a),
    ] {
        assert_eq!(addresses(&answer), [ip("192.0.2.1")]);
        assert!(answer.metadata.recursion_available && answer.metadata.recursion_desired);
    }
    for answer in [udp(world.udp4(), &aaaa), tcp(world.tcp6(), &aaaa)] {
        assert_eq!(addresses(&answer), [ip("2001:db8::1")]);
    }
    let lease = &world.granted()[0];
    assert_eq!(
        (lease.name.as_str(), lease.address),
        ("good.example", ip("192.0.2.1"))
    );
    assert_eq!(
        (lease.rules.as_slice(), lease.seconds),
        ([0].as_slice(), 60)
    );
    let logged = world.logged();
    assert_eq!(logged.len(), 5);
    assert!(
        logged
            .iter()
            .all(|question| question.verdict == NameVerdict::Allowed)
    );
    assert_eq!(logged[0].addresses, [ip("192.0.2.1")]);
    assert_eq!((logged[0].rule, logged[0].kind.as_str()), (Some(0), "A"));
    assert_eq!(world.counts(), Counts::default());
}

#[test]
fn a_denied_name_is_refused_with_the_reason_and_never_reaches_the_upstream() {
    let zone = [(
        ("evil.example", RecordType::A),
        vec![address("evil.example", 60, "192.0.2.66")].into(),
    )];
    let world = World::with_zone(zone.into());
    let question = edns_query("evil.example.", RecordType::A, 1232);
    for answer in [udp(world.udp4(), &question), tcp(world.tcp4(), &question)] {
        assert_eq!(answer.metadata.response_code, ResponseCode::Refused);
        assert_eq!(
            extended_error(&answer),
            Some((15, "denied by policy".into()))
        );
        assert!(answer.answers.is_empty());
    }
    assert_eq!(world.upstream.seen(), []);
    assert_eq!(world.granted(), []);
    let logged = world.logged();
    assert_eq!(logged[0].verdict, NameVerdict::Denied);
    assert_eq!(logged[0].name, "evil.example");
    // Who asked is looked up by transport and port.
    let protocols: Vec<_> = logged
        .iter()
        .map(|question| question.process.unwrap() >> 16)
        .collect();
    assert_eq!(protocols, [17, 6]);
}

#[test]
fn a_client_without_edns_gets_no_edns() {
    let world = World::with_zone(Zone::new());
    let answer = udp(world.udp4(), &query(1, "evil.example.", RecordType::A));
    assert_eq!(answer.metadata.response_code, ResponseCode::Refused);
    assert_eq!(answer.edns, None);
}

#[test]
fn a_wildcard_is_what_the_policy_says_it_is() {
    let zone = [(
        ("a.wild.example", RecordType::A),
        vec![address("a.wild.example", 60, "192.0.2.7")].into(),
    )];
    let world = World::with_zone(zone.into());
    let answer = udp(world.udp4(), &query(1, "a.wild.example.", RecordType::A));
    assert_eq!(addresses(&answer), [ip("192.0.2.7")]);
    assert_eq!(world.granted()[0].rules, [1]);
    let apex = udp(world.udp4(), &query(1, "wild.example.", RecordType::A));
    assert_eq!(apex.metadata.response_code, ResponseCode::Refused);
}

#[test]
fn reverse_lookups_and_unknown_types_are_refused_as_not_served() {
    let world = World::with_zone(Zone::new());
    for (name, kind) in [
        ("1.2.0.192.in-addr.arpa.", RecordType::PTR),
        ("good.example.", RecordType::ANY),
        ("good.example.", RecordType::NULL),
        ("good.example.", RecordType::Unknown(65_280)),
    ] {
        let answer = udp(world.udp4(), &edns_query(name, kind, 1232));
        assert_eq!(
            answer.metadata.response_code,
            ResponseCode::Refused,
            "{kind}"
        );
        assert_eq!(extended_error(&answer).unwrap().0, 21);
    }
    assert_eq!(world.upstream.seen(), []);
    let logged = world.logged();
    assert!(
        logged
            .iter()
            .all(|question| question.verdict == NameVerdict::Unsupported)
    );
}

#[test]
fn https_records_do_not_exist_and_are_not_asked_for() {
    let world = World::with_zone(good());
    for kind in [RecordType::HTTPS, RecordType::SVCB] {
        let answer = udp(world.udp4(), &query(1, "good.example.", kind));
        assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
        assert!(answer.answers.is_empty());
    }
    assert_eq!(world.upstream.seen(), []);
}

#[test]
fn other_records_of_an_allowed_name_are_forwarded_without_a_lease() {
    let zone = [(
        ("good.example", RecordType::TXT),
        vec![text("good.example", 60, "hello")].into(),
    )];
    let world = World::with_zone(zone.into());
    let answer = udp(world.udp4(), &query(1, "good.example.", RecordType::TXT));
    assert_eq!(answer.answers.len(), 1);
    assert_eq!(world.granted(), []);
    assert_eq!(world.only_logged().verdict, NameVerdict::Allowed);
    let answer = udp(world.udp4(), &query(1, "evil.example.", RecordType::TXT));
    assert_eq!(answer.metadata.response_code, ResponseCode::Refused);
    assert_eq!(world.upstream.seen().len(), 1);
}

#[test]
fn two_questions_in_one_message_are_a_format_error() {
    let world = World::with_zone(good());
    let mut both = query(1, "good.example.", RecordType::A);
    both.add_query(Query::query(
        Name::from_ascii("evil.example.").unwrap(),
        RecordType::A,
    ));
    let answer = udp(world.udp4(), &both);
    assert_eq!(answer.metadata.response_code, ResponseCode::FormErr);
    assert_eq!(world.upstream.seen(), []);
    assert_eq!(world.counts().malformed, 1);
}

#[test]
fn an_unknown_edns_version_is_told_so() {
    let world = World::with_zone(good());
    let mut question = edns_query("good.example.", RecordType::A, 1232);
    question.edns.as_mut().unwrap().set_version(1);
    let answer = udp(world.udp4(), &question);
    // Compared as a number: it is also that of BADSIG.
    let code = u16::from(answer.metadata.response_code);
    assert_eq!(code, u16::from(ResponseCode::BADVERS));
    assert_eq!(world.upstream.seen(), []);
}

#[test]
fn the_case_of_a_name_returns_to_the_job_and_does_not_leave_the_host() {
    let world = World::with_zone(good());
    let question = query(1, "gOoD.eXaMpLe.", RecordType::A).to_vec().unwrap();
    let answer = udp_bytes(world.udp4(), &question);
    assert_eq!(
        answer[12..question.len()],
        question[12..],
        "question section"
    );
    let answer = hickory_proto::op::Message::from_vec(&answer).unwrap();
    assert_eq!(answer.answers[0].name.to_ascii(), "gOoD.eXaMpLe.");
    assert_eq!(world.upstream.seen()[0].name, "good.example.");
    assert_eq!(world.only_logged().name, "good.example");
}

#[test]
fn audit_mode_forwards_what_it_would_deny_and_grants_nothing() {
    let zone = [(
        ("evil.example", RecordType::A),
        vec![address("evil.example", 60, "10.0.0.66")].into(),
    )];
    let world = World::new(Setup {
        zone: zone.into(),
        mode: Mode::AUDIT,
        ..Setup::default()
    });
    let answer = udp(world.udp4(), &query(1, "evil.example.", RecordType::A));
    assert_eq!(addresses(&answer), [ip("10.0.0.66")]);
    let [lease] = &world.granted()[..] else {
        panic!("{:?}", world.granted())
    };
    assert_eq!(
        (lease.rules.len(), lease.name.as_str()),
        (0, "evil.example")
    );
    let logged = world.only_logged();
    assert_eq!(
        (logged.verdict, logged.rule),
        (NameVerdict::WouldDeny, None)
    );
    assert_eq!(logged.addresses, [ip("10.0.0.66")]);
}
