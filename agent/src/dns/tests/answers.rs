//! What comes back: leases first, then addresses, and only ones a job may have.

use std::net::UdpSocket;
use std::time::Instant;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;

use super::client::{addresses, edns_query, extended_error, query, tcp, udp};
use super::upstream::{Script, address, alias, good, soa};
use super::*;
use crate::report::NameVerdict;

fn zone_of(name: &'static str, script: impl Into<Script>) -> Zone {
    [((name, RecordType::A), script.into())].into()
}

fn ask(world: &World, name: &str) -> hickory_proto::op::Message {
    udp(world.udp4(), &edns_query(name, RecordType::A, 1232))
}

#[test]
fn no_byte_of_an_answer_is_sent_before_its_leases_are_granted() {
    let (begun, has_begun) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel();
    let sink = Sink {
        gate: Some((begun, Mutex::new(may_go_on))),
        ..Sink::default()
    };
    let world = World::new(Setup {
        zone: good(),
        sink: Arc::new(sink),
        ..Setup::default()
    });
    let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let question = query(1, "good.example.", RecordType::A).to_vec().unwrap();
    client.send_to(&question, world.udp4()).unwrap();
    has_begun.recv_timeout(Duration::from_secs(10)).unwrap();
    client
        .set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    let mut buffer = [0; 512];
    client
        .recv(&mut buffer)
        .expect_err("answered before the lease");
    go_on.send(()).unwrap();
    client
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    client.recv(&mut buffer).unwrap();
    assert_eq!(world.granted().len(), 1);
}

#[test]
fn an_answer_that_cannot_be_leased_is_not_given() {
    let world = World::with_zone(good());
    world.sink.full.store(true, Ordering::SeqCst);
    let answer = ask(&world, "good.example.");
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
    assert!(answer.answers.is_empty());
    let logged = world.only_logged();
    assert_eq!(logged.verdict, NameVerdict::NotLeased);
    assert!(logged.addresses.is_empty());
}

#[test]
fn a_public_name_with_a_private_address_is_refused_as_rebinding() {
    let world = World::with_zone(zone_of(
        "good.example",
        vec![
            address("good.example", 60, "127.0.0.1"),
            address("good.example", 60, "169.254.169.254"),
        ],
    ));
    let answer = ask(&world, "good.example.");
    assert_eq!(answer.metadata.response_code, ResponseCode::Refused);
    assert_eq!(extended_error(&answer).unwrap().0, 15);
    assert_eq!(world.granted(), []);
    let logged = world.only_logged();
    assert_eq!(logged.verdict, NameVerdict::Rebinding);
    assert_eq!(logged.addresses, [ip("127.0.0.1"), ip("169.254.169.254")]);
}

#[test]
fn a_rule_can_allow_private_addresses_for_its_name() {
    let world = World::with_zone(zone_of(
        "intern.example",
        vec![address("intern.example", 60, "10.1.2.3")],
    ));
    assert_eq!(addresses(&ask(&world, "intern.example.")), [ip("10.1.2.3")]);
    assert_eq!(world.granted()[0].rules, [2]);
}

#[test]
fn private_addresses_among_public_ones_are_removed() {
    let world = World::with_zone(zone_of(
        "good.example",
        vec![
            address("good.example", 60, "10.1.2.3"),
            address("good.example", 60, "192.0.2.1"),
        ],
    ));
    let answer = ask(&world, "good.example.");
    assert_eq!(addresses(&answer), [ip("192.0.2.1")]);
    assert_eq!(extended_error(&answer).unwrap().0, 15);
    assert_eq!(world.granted().len(), 1);
}

#[test]
fn a_chain_of_aliases_is_leased_to_the_asked_name() {
    let world = World::with_zone(zone_of(
        "good.example",
        vec![
            alias("good.example", 40, "edge.cdn.example"),
            address("edge.cdn.example", 300, "192.0.2.9"),
        ],
    ));
    let answer = ask(&world, "good.example.");
    assert_eq!(answer.answers.len(), 2);
    assert_eq!(addresses(&answer), [ip("192.0.2.9")]);
    let lease = &world.granted()[0];
    assert_eq!((lease.name.as_str(), lease.seconds), ("good.example", 40));
    let denied = ask(&world, "edge.cdn.example.");
    assert_eq!(denied.metadata.response_code, ResponseCode::Refused);
}

#[test]
fn a_chain_the_upstream_leaves_open_is_followed_to_its_end() {
    let mut zone = zone_of(
        "good.example",
        vec![alias("good.example", 40, "cdn.example")],
    );
    zone.extend(zone_of(
        "cdn.example",
        vec![address("cdn.example", 300, "192.0.2.9")],
    ));
    let world = World::with_zone(zone);
    assert_eq!(addresses(&ask(&world, "good.example.")), [ip("192.0.2.9")]);
    assert_eq!(world.granted()[0].name, "good.example");
    assert_eq!(world.granted()[0].seconds, 40);
}

#[test]
fn a_lease_is_not_shorter_than_the_floor() {
    let world = World::new(Setup {
        zone: zone_of(
            "good.example",
            vec![address("good.example", 1, "192.0.2.1")],
        ),
        ttl_floor: 30,
        ..Setup::default()
    });
    assert_eq!(ask(&world, "good.example.").answers[0].ttl, 1);
    assert_eq!(world.granted()[0].seconds, 30);
}

#[test]
fn a_second_question_is_answered_from_the_cache_and_leased_again() {
    let world = World::with_zone(good());
    ask(&world, "good.example.");
    std::thread::sleep(Duration::from_millis(1100));
    let answer = ask(&world, "good.example.");
    assert_eq!(world.upstream.seen().len(), 1);
    let seconds: Vec<_> = world.granted().iter().map(|lease| lease.seconds).collect();
    assert!(seconds[1] < seconds[0], "{seconds:?}");
    assert_eq!(answer.answers[0].ttl, seconds[1]);
}

#[test]
fn a_name_that_does_not_exist_is_answered_so_with_the_soa() {
    let script = Script {
        code: ResponseCode::NXDomain,
        authorities: vec![soa("example", 90)],
        ..Script::default()
    };
    let world = World::with_zone(zone_of("good.example", script));
    let answer = ask(&world, "good.example.");
    assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain);
    assert_eq!(answer.authorities.len(), 1);
    assert_eq!(world.only_logged().verdict, NameVerdict::Allowed);
}

#[test]
fn a_name_without_the_asked_records_is_answered_empty() {
    let script = Script {
        authorities: vec![soa("example", 90)],
        ..Script::default()
    };
    let world = World::with_zone(zone_of("good.example", script));
    let answer = ask(&world, "good.example.");
    assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
    assert!(answer.answers.is_empty());
}

#[track_caller]
fn assert_fails(script: Script, silent: usize, patience: Duration, within: Duration) {
    let silent: Vec<_> = (0..silent)
        .map(|_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap())
        .collect();
    let world = World::new(Setup {
        zone: zone_of("good.example", script),
        dead: silent
            .iter()
            .map(|socket| socket.local_addr().unwrap())
            .collect(),
        patience,
        ..Setup::default()
    });
    let start = Instant::now();
    let answer = ask(&world, "good.example.");
    assert!(start.elapsed() < within, "{:?}", start.elapsed());
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
    assert_eq!(extended_error(&answer).unwrap().0, 22);
    assert_eq!(world.only_logged().verdict, NameVerdict::Failed);
    assert_eq!(world.granted(), []);
}

#[test]
fn a_silent_upstream_is_a_failure_within_the_bound() {
    let script = Script {
        silent: true,
        ..Script::default()
    };
    // With others as silent: the bound is one for all servers together.
    assert_fails(
        script,
        3,
        Duration::from_millis(900),
        Duration::from_secs(2),
    );
}

#[test]
fn an_answer_with_a_foreign_id_is_no_answer() {
    let script = Script {
        wrong_id: true,
        ..vec![address("good.example", 60, "192.0.2.66")].into()
    };
    assert_fails(
        script,
        0,
        Duration::from_millis(900),
        Duration::from_secs(2),
    );
}

#[test]
fn an_answer_to_another_question_is_no_answer() {
    // Over UDP another one may still come; over TCP there is nothing to wait for.
    for truncate in [false, true] {
        let script = Script {
            other_question: true,
            truncate,
            ..vec![address("good.example", 60, "192.0.2.66")].into()
        };
        assert_fails(
            script,
            0,
            Duration::from_millis(900),
            Duration::from_secs(2),
        );
    }
}

#[test]
fn aliases_in_a_circle_are_a_failure() {
    for answers in [
        vec![alias("good.example", 60, "good.example")],
        vec![
            alias("good.example", 60, "b.example"),
            alias("b.example", 60, "good.example"),
        ],
    ] {
        let world = World::with_zone(zone_of("good.example", answers));
        let answer = ask(&world, "good.example.");
        assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
        assert!(answer.answers.is_empty());
        assert_eq!(world.only_logged().verdict, NameVerdict::Failed);
    }
    // One that only comes round over several answers.
    let mut zone = zone_of("good.example", vec![alias("good.example", 60, "b.example")]);
    zone.extend(zone_of(
        "b.example",
        vec![alias("b.example", 60, "good.example")],
    ));
    let world = World::with_zone(zone);
    let answer = ask(&world, "good.example.");
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
    assert_eq!(world.upstream.seen().len(), 2);
}

#[test]
fn fifty_who_ask_at_the_same_time_are_one_question() {
    let slowly = Script {
        delay: Duration::from_millis(500),
        ..vec![address("good.example", 60, "192.0.2.1")].into()
    };
    let world = World::with_zone(zone_of("good.example", slowly));
    let clients: Vec<_> = (0..50)
        .map(|id| {
            let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let mut question = edns_query("good.example.", RecordType::A, 1232);
            question.metadata.id = id;
            let question = question.to_vec().unwrap();
            client.send_to(&question, world.udp4()).unwrap();
            client
        })
        .collect();
    for client in clients {
        client
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        let mut buffer = [0; 512];
        let length = client.recv(&mut buffer).unwrap();
        let answer = hickory_proto::op::Message::from_vec(&buffer[..length]).unwrap();
        assert_eq!(addresses(&answer), [ip("192.0.2.1")], "{answer}");
    }
    assert_eq!(world.upstream.questions(), 1);
    // Each of them has its lease.
    assert_eq!(world.granted().len(), 50);
}

#[test]
fn fifty_who_ask_a_silent_upstream_all_hear_of_it() {
    let silent = Script {
        silent: true,
        ..Script::default()
    };
    let world = World::new(Setup {
        zone: zone_of("good.example", silent),
        patience: Duration::from_millis(300),
        ..Setup::default()
    });
    let start = Instant::now();
    let clients: Vec<_> = (0..50)
        .map(|_| {
            let server = world.udp4();
            std::thread::spawn(move || udp(server, &query(1, "good.example.", RecordType::A)))
        })
        .collect();
    for client in clients {
        let answer = client.join().unwrap();
        assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
    }
    assert!(
        start.elapsed() < Duration::from_secs(3),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(world.upstream.questions(), 1);
}

#[test]
fn a_no_is_kept_as_long_as_its_zone_says() {
    let script = Script {
        code: ResponseCode::NXDomain,
        authorities: vec![soa("example", 90)],
        ..Script::default()
    };
    let world = World::with_zone(zone_of("good.example", script));
    for _ in 0..3 {
        let answer = ask(&world, "good.example.");
        assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain);
    }
    assert_eq!(world.upstream.seen().len(), 1);
}

#[test]
fn the_hosts_own_public_address_is_refused_as_rebinding() {
    let own = OWN.to_string();
    for (name, given) in [("good.example", false), ("intern.example", true)] {
        let world = World::with_zone(zone_of(name, vec![address(name, 60, &own)]));
        let answer = ask(&world, &format!("{name}."));
        assert_eq!(!addresses(&answer).is_empty(), given, "{name}");
        assert_eq!(world.granted().is_empty(), !given, "{name}");
        let rebinding = world.only_logged().verdict == NameVerdict::Rebinding;
        assert_eq!(rebinding, !given, "{name}");
    }
}

#[test]
fn a_failing_upstream_is_a_failure() {
    let script = Script {
        code: ResponseCode::ServFail,
        ..Script::default()
    };
    assert_fails(script, 0, Duration::from_secs(5), Duration::from_secs(5));
}

#[test]
fn a_slow_upstream_has_the_whole_time() {
    let slowly = Script {
        delay: Duration::from_millis(2500),
        ..vec![address("good.example", 60, "192.0.2.1")].into()
    };
    let world = World::with_zone(zone_of("good.example", slowly));
    assert_eq!(addresses(&ask(&world, "good.example.")), [ip("192.0.2.1")]);
}

#[test]
fn an_upstream_that_is_not_there_is_passed_over_for_the_next() {
    let free = || {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.local_addr().unwrap()
    };
    // One that refuses, and two that swallow: more than are asked at the same time.
    let swallows = [0; 2].map(|_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
    let mut dead = vec![free()];
    dead.extend(swallows.iter().map(|socket| socket.local_addr().unwrap()));
    let world = World::new(Setup {
        zone: good(),
        dead,
        ..Setup::default()
    });
    let start = Instant::now();
    assert_eq!(addresses(&ask(&world, "good.example.")), [ip("192.0.2.1")]);
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn an_upstream_that_answers_with_a_failure_is_passed_over_for_the_next() {
    for code in [ResponseCode::ServFail, ResponseCode::Refused] {
        let failure = Script {
            code,
            ..Script::default()
        };
        let slowly = Script {
            delay: Duration::from_millis(300),
            ..vec![address("good.example", 60, "192.0.2.1")].into()
        };
        let world = World::new(Setup {
            zone: zone_of("good.example", slowly),
            first: Some(zone_of("good.example", failure)),
            ..Setup::default()
        });
        assert_eq!(addresses(&ask(&world, "good.example.")), [ip("192.0.2.1")]);
    }
}

#[test]
fn a_truncated_upstream_answer_is_fetched_by_tcp() {
    let script = Script {
        truncate: true,
        ..vec![address("good.example", 60, "192.0.2.1")].into()
    };
    let world = World::with_zone(zone_of("good.example", script));
    assert_eq!(addresses(&ask(&world, "good.example.")), [ip("192.0.2.1")]);
    let transports: Vec<_> = world.upstream.seen().iter().map(|seen| seen.tcp).collect();
    assert_eq!(transports, [false, true]);
}

#[test]
fn an_answer_too_big_for_the_client_is_truncated_and_comes_whole_by_tcp() {
    let many: Vec<_> = (0..100)
        .map(|i| address("good.example", 60, &format!("192.0.2.{i}")))
        .collect();
    let script = Script {
        truncate: true,
        ..many.into()
    };
    let world = World::with_zone(zone_of("good.example", script));
    let plain = query(1, "good.example.", RecordType::A);
    for (question, edns) in [
        (plain.clone(), false),
        (edns_query("good.example.", RecordType::A, 1232), true),
    ] {
        let answer = udp(world.udp4(), &question);
        assert!(answer.metadata.truncation, "{answer}");
        assert!(answer.answers.is_empty(), "{answer}");
        assert_eq!(answer.edns.is_some(), edns);
    }
    let whole = udp(
        world.udp4(),
        &edns_query("good.example.", RecordType::A, 4096),
    );
    assert_eq!(addresses(&whole).len(), 100);
    let whole = tcp(world.tcp4(), &plain);
    assert!(!whole.metadata.truncation);
    assert_eq!(addresses(&whole).len(), 100);
}

#[test]
fn more_addresses_than_can_be_leased_are_not_given() {
    let many: Vec<_> = (0..513)
        .map(|i| {
            address(
                "good.example",
                60,
                &format!("198.51.{}.{}", i / 256, i % 256),
            )
        })
        .collect();
    let script = Script {
        truncate: true,
        ..many.into()
    };
    let world = World::with_zone(zone_of("good.example", script));
    let answer = tcp(world.tcp4(), &query(1, "good.example.", RecordType::A));
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
    assert_eq!(world.only_logged().verdict, NameVerdict::NotLeased);
    assert_eq!(world.granted(), []);
}
