//! Which questions leave the host, and what the others are told.

use hickory_proto::op::{Query, ResponseCode};
use hickory_proto::rr::rdata::svcb::{Alpn, EchConfigList, SvcParamKey, SvcParamValue};
use hickory_proto::rr::rdata::{HTTPS, SVCB};
use hickory_proto::rr::{Name, RData, Record, RecordType};

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
            Some((15, "denied by profile test".into()))
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
    for (name, kind, code) in [
        ("1.2.0.192.in-addr.arpa.", RecordType::PTR, 15),
        ("good.example.", RecordType::PTR, 15),
        ("good.example.", RecordType::ANY, 21),
        ("good.example.", RecordType::AXFR, 21),
        ("good.example.", RecordType::NULL, 21),
        ("good.example.", RecordType::Unknown(65_280), 21),
    ] {
        let answer = udp(world.udp4(), &edns_query(name, kind, 1232));
        assert_eq!(
            answer.metadata.response_code,
            ResponseCode::Refused,
            "{kind}"
        );
        let (found, text) = extended_error(&answer).unwrap();
        assert_eq!(found, code, "{kind}");
        assert!(text.starts_with("denied by profile test: "), "{text}");
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
fn the_name_of_a_held_lease_answers_a_reverse_lookup_and_nobody_is_asked() {
    let world = World::with_zone(good());
    let reverse = query(1, "1.2.0.192.in-addr.arpa.", RecordType::PTR);
    let before = udp(world.udp4(), &reverse);
    assert_eq!(before.metadata.response_code, ResponseCode::Refused);
    udp(world.udp4(), &query(1, "good.example.", RecordType::A));
    udp(world.udp4(), &query(1, "good.example.", RecordType::AAAA));
    let six = format!("1.{}8.b.d.0.1.0.0.2.ip6.arpa.", "0.".repeat(23));
    for reverse in [reverse, query(1, &six, RecordType::PTR)] {
        let answer = udp(world.udp4(), &reverse);
        assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
        let [record] = &answer.answers[..] else {
            panic!("{answer}")
        };
        assert_eq!(record.data.to_string(), "good.example.");
        assert!((58..=60).contains(&record.ttl), "{record}");
    }
    assert_eq!(world.upstream.seen().len(), 2);
    let last = world.logged().pop().unwrap();
    assert_eq!((last.verdict, last.rule), (NameVerdict::Allowed, Some(0)));
}

#[test]
fn a_service_is_given_without_the_keys_that_would_hide_names() {
    let keys = SvcParamValue::EchConfigList(EchConfigList(b"secret-key".to_vec()));
    let alpn = SvcParamValue::Alpn(Alpn(vec!["h2".into()]));
    let params = vec![
        (SvcParamKey::Alpn, alpn),
        (SvcParamKey::EchConfigList, keys),
    ];
    let service = RData::HTTPS(HTTPS(SVCB::new(1, Name::root(), params)));
    let owner = Name::from_ascii("good.example.").unwrap();
    let record = Record::from_rdata(owner, 60, service);
    let zone = [(("good.example", RecordType::HTTPS), vec![record].into())];
    let world = World::with_zone(zone.into());
    let question = query(1, "good.example.", RecordType::HTTPS);
    let bytes = udp_bytes(world.udp4(), &question.to_vec().unwrap());
    assert!(!bytes.windows(10).any(|window| window == b"secret-key"));
    let answer = hickory_proto::op::Message::from_vec(&bytes).unwrap();
    assert_eq!(answer.answers[0].data.to_string(), "1 . alpn=h2,");
    assert_eq!(world.granted(), []);
    assert_eq!(world.only_logged().verdict, NameVerdict::Allowed);
}

#[test]
fn a_wildcard_has_limits_and_what_is_beyond_never_leaves() {
    let world = World::new(Setup {
        wildcard: WildcardLimits {
            names: 3,
            ..WildcardLimits::default()
        },
        ..Setup::default()
    });
    let long = "a".repeat(41);
    let mut codes = Vec::new();
    for label in [&long, "a", "b", "b", "c", "d", "a"] {
        let question = edns_query(&format!("{label}.wild.example."), RecordType::TXT, 1232);
        let answer = udp(world.udp4(), &question);
        if answer.metadata.response_code == ResponseCode::Refused {
            let (code, text) = extended_error(&answer).unwrap();
            assert_eq!(code, 15);
            assert!(text.starts_with("denied by profile test: "), "{text}");
        }
        codes.push(u16::from(answer.metadata.response_code));
    }
    assert_eq!(codes, [5, 3, 3, 3, 3, 5, 3]);
    let seen = world.upstream.seen();
    assert!(
        seen.iter()
            .all(|seen| seen.name.starts_with(['a', 'b', 'c']) && seen.name.len() < 20),
        "{seen:?}"
    );
    let limited = |question: &&Question| question.verdict == NameVerdict::Limited;
    assert_eq!(world.logged().iter().filter(limited).count(), 2);
    assert_eq!(world.counts().limited, 2);
}

#[test]
fn in_audit_mode_what_is_beyond_a_limit_is_answered_and_counted() {
    let world = World::new(Setup {
        mode: Mode::AUDIT,
        wildcard: WildcardLimits {
            names: 1,
            ..WildcardLimits::default()
        },
        ..Setup::default()
    });
    for label in ["a", "b"] {
        let question = query(1, &format!("{label}.wild.example."), RecordType::A);
        let answer = udp(world.udp4(), &question);
        assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain);
    }
    let verdicts: Vec<_> = world.logged().iter().map(|asked| asked.verdict).collect();
    assert_eq!(verdicts, [NameVerdict::Allowed, NameVerdict::Limited]);
    assert_eq!(world.counts().limited, 1);
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
