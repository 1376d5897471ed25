//! Bounds, bad clients, and namespaces that lack something.

use std::io::Write as _;
use std::net::{Shutdown, UdpSocket};
use std::process::Command;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;
use nix::sched::{CloneFlags, unshare};

use super::client::{addresses, connect, query, receive, send, tcp, udp};
use super::upstream::{Script, address, good};
use super::*;

/// `good.example`, and `slow.wild.example` after this long.
fn with_slow(delay: Duration) -> Zone {
    let mut zone = good();
    let script = Script {
        delay,
        ..vec![address("slow.wild.example", 60, "192.0.2.2")].into()
    };
    zone.insert(("slow.wild.example", RecordType::A), script);
    zone
}

#[test]
fn one_connection_carries_several_questions_one_after_the_other() {
    let world = World::with_zone(good());
    let mut stream = connect(world.tcp4());
    for (id, kind) in [
        (1, RecordType::A),
        (2, RecordType::AAAA),
        (3, RecordType::A),
    ] {
        send(&mut stream, &query(id, "good.example.", kind));
        let answer = receive(&mut stream).unwrap();
        assert_eq!((answer.metadata.id, answer.answers.len()), (id, 1));
    }
}

#[test]
fn a_slow_name_does_not_hold_up_the_questions_behind_it() {
    let world = World::with_zone(with_slow(Duration::from_millis(700)));
    let mut stream = connect(world.tcp4());
    send(&mut stream, &query(1, "slow.wild.example.", RecordType::A));
    send(&mut stream, &query(2, "good.example.", RecordType::A));
    let order = [(); 2].map(|()| receive(&mut stream).unwrap().metadata.id);
    assert_eq!(order, [2, 1]);
}

#[test]
fn a_client_that_has_said_its_last_question_still_gets_the_answer() {
    let world = World::with_zone(with_slow(Duration::from_millis(300)));
    let mut stream = connect(world.tcp4());
    send(&mut stream, &query(1, "slow.wild.example.", RecordType::A));
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(addresses(&receive(&mut stream).unwrap()), [ip("192.0.2.2")]);
    assert!(receive(&mut stream).is_none());
}

#[test]
fn connections_beyond_the_bound_are_closed_and_counted() {
    let world = World::new(Setup {
        zone: good(),
        limits: Limits {
            connections: 2,
            ..Limits::default()
        },
        ..Setup::default()
    });
    let question = query(1, "good.example.", RecordType::A);
    let mut kept = [(); 2].map(|()| connect(world.tcp4()));
    for stream in &mut kept {
        send(stream, &question);
        receive(stream).unwrap();
    }
    assert!(receive(&mut connect(world.tcp4())).is_none());
    drop(kept);
    // Closing is seen by the listener a moment later.
    let served = (0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(20));
        let mut stream = connect(world.tcp4());
        send(&mut stream, &question);
        receive(&mut stream).is_some()
    });
    assert!(served, "places are not given back");
    assert!(world.counts().closed >= 1);
}

#[test]
fn questions_beyond_the_bound_are_refused_at_once_and_counted() {
    let world = World::new(Setup {
        zone: with_slow(Duration::from_secs(2)),
        limits: Limits {
            questions: 1,
            ..Limits::default()
        },
        ..Setup::default()
    });
    let first = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let slow = query(1, "slow.wild.example.", RecordType::A)
        .to_vec()
        .unwrap();
    first.send_to(&slow, world.udp4()).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    let question = query(2, "good.example.", RecordType::A);
    for answer in [udp(world.udp4(), &question), tcp(world.tcp4(), &question)] {
        assert_eq!(answer.metadata.response_code, ResponseCode::Refused);
    }
    first
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let mut buffer = [0; 512];
    let length = first.recv(&mut buffer).unwrap();
    let answer = Message::from_vec(&buffer[..length]).unwrap();
    assert_eq!(addresses(&answer), [ip("192.0.2.2")]);
    assert_eq!(addresses(&udp(world.udp4(), &question)), [ip("192.0.2.1")]);
    assert_eq!(world.counts().refused, 2);
}

#[test]
fn a_burst_of_questions_is_answered_to_the_last_one() {
    let world = World::with_zone(Zone::new());
    let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    client
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let mut buffer = [0; 512];
    for id in 0..150 {
        let question = query(id, "evil.example.", RecordType::A).to_vec().unwrap();
        client.send_to(&question, world.udp4()).unwrap();
    }
    for _ in 0..150 {
        client.recv(&mut buffer).unwrap();
    }
    assert_eq!(world.logged().len(), 150);
}

#[test]
fn an_idle_connection_and_a_half_sent_question_are_closed() {
    let world = World::new(Setup {
        zone: good(),
        limits: Limits {
            idle: Duration::from_millis(200),
            ..Limits::default()
        },
        ..Setup::default()
    });
    let mut idle = connect(world.tcp4());
    let mut half = connect(world.tcp4());
    half.write_all(&[0, 40, 1, 2, 3]).unwrap();
    assert!(receive(&mut idle).is_none());
    assert!(receive(&mut half).is_none());
}

#[test]
fn garbage_is_counted_and_harms_nobody() {
    let world = World::with_zone(good());
    let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut answer_packet = query(1, "good.example.", RecordType::A);
    answer_packet.metadata.message_type = hickory_proto::op::MessageType::Response;
    for bytes in [
        Vec::new(),
        vec![0; 11],
        vec![0xff; 600],
        answer_packet.to_vec().unwrap(),
    ] {
        client.send_to(&bytes, world.udp4()).unwrap();
    }
    let mut stream = connect(world.tcp4());
    stream.write_all(&[0xff; 100]).unwrap();
    assert!(
        receive(&mut stream).is_none(),
        "a question of 64 KiB is none"
    );
    let answer = udp(world.udp4(), &query(1, "good.example.", RecordType::A));
    assert_eq!(addresses(&answer), [ip("192.0.2.1")]);
    assert_eq!(world.counts().malformed, 5);
}

#[test]
fn an_ended_listener_answers_nobody() {
    let world = World::with_zone(good());
    let (udp4, tcp4) = (world.udp4(), world.tcp4());
    let mut open = connect(tcp4);
    world.counts();
    assert!(receive(&mut open).is_none());
    std::net::TcpStream::connect(tcp4).unwrap_err();
    assert!(UdpSocket::bind(udp4).is_ok(), "the port is free again");
}

/// Enters a new network namespace with the calling thread and runs a shell command there; `None`
/// without the right to make one.
fn enter_new_netns(command: &str) -> Option<()> {
    if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
        eprintln!("not tested: making a network namespace needs root: {error}");
        return None;
    }
    let status = Command::new("sh").args(["-ec", command]).status().unwrap();
    assert!(status.success(), "{command}");
    Some(())
}

fn bind_in_new_netns(command: &'static str) -> Option<Result<Bound, BindError>> {
    let bind = move || enter_new_netns(command).map(|()| Bound::bind());
    std::thread::spawn(bind).join().unwrap()
}

#[test]
fn sockets_bound_in_a_namespace_answer_there_and_are_served_and_resolved_from_here() {
    let (bound, is_bound) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel();
    let client = std::thread::spawn(move || {
        enter_new_netns("ip link set lo up")?;
        bound.send(Bound::bind().unwrap()).unwrap();
        let (udp4, tcp6) = may_go_on.recv().unwrap();
        let question = query(1, "good.example.", RecordType::A);
        Some([udp(udp4, &question), tcp(tcp6, &question)])
    });
    let Ok(bound) = is_bound.recv() else {
        assert!(client.join().unwrap().is_none());
        return;
    };
    let setup = Setup {
        zone: good(),
        ..Setup::default()
    };
    let world = World::serving(bound, setup);
    go_on.send((world.udp4(), world.tcp6())).unwrap();
    for answer in client.join().unwrap().unwrap() {
        assert_eq!(addresses(&answer), [ip("192.0.2.1")]);
    }
    assert_eq!(world.logged().len(), 2);
}

#[test]
fn loopback_that_is_down_is_an_error_that_says_what_to_do() {
    if let Some(bound) = bind_in_new_netns("true") {
        let error = bound.unwrap_err();
        assert!(matches!(error, BindError::LoopbackDown(_)), "{error:?}");
        assert!(error.to_string().contains("ip link set lo up"), "{error}");
    }
}

#[test]
fn without_ipv6_there_are_only_the_ipv4_ports() {
    let command = "echo 1 > /proc/sys/net/ipv6/conf/lo/disable_ipv6; ip link set lo up";
    if let Some(bound) = bind_in_new_netns(command) {
        let ports = bound.unwrap().ports();
        assert_eq!((ports.udp6, ports.tcp6), (0, 0));
        assert!(ports.udp4 != 0 && ports.tcp4 != 0);
    }
}
