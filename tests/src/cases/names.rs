//! Two sites, one address: which of them a connection is for is what it shows, and it shows what the
//! rules allow or nothing of it leaves.
//!
//! Every stream goes to a port of its own, so that the report tells the fate of each. All of them
//! arrive without cordon.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Result, ensure};
use cordon::report::Report;

use crate::client::step::{Outcome, Step, Way};
use crate::harness::environment::Environment;
use crate::harness::hello::{extension, hello, hello_for, message, record, request, server_name};
use crate::harness::network::{GOOD_V4, GOOD_V6, at};
use crate::harness::verdicts::{allowed, denial_of};
use crate::harness::world::World;
use crate::runner::Story;

pub(super) fn stories() -> Vec<Story> {
    vec![
        Story::new("names::a_hello_in_any_shape_is_read", |environment| {
            told(environment, "tls", &hellos())
        }),
        Story::new(
            "names::a_hello_for_another_name_does_not_leave",
            |environment| told(environment, "tls", &other_hellos()),
        ),
        Story::new("names::what_was_read_is_what_arrives", |environment| {
            told(environment, "tls", &tricks())
        }),
        Story::new("names::every_request_shows_its_host", |environment| {
            told(environment, "http", &requests())
        }),
        Story::new("names::one_socket_two_connections", one_socket),
        Story::new("names::the_well_known_ports_are_checked", well_known),
        Story::new("names::audit_lets_pass_and_tells", audited),
    ]
}

/// The first port of the streams.
const FIRST: u16 = 9000;

/// A stream, and what is to become of it.
struct Case {
    what: &'static str,
    way: Way,
    pieces: Vec<Vec<u8>>,
    /// The reason that refuses it, and the name it is told to have shown.
    refused: Option<(&'static str, Option<&'static str>)>,
}

fn passes(what: &'static str, pieces: Vec<Vec<u8>>) -> Case {
    Case {
        what,
        way: Way::Write,
        pieces,
        refused: None,
    }
}

fn refused(what: &'static str, reason: &'static str, pieces: Vec<Vec<u8>>) -> Case {
    Case {
        refused: Some((reason, None)),
        ..passes(what, pieces)
    }
}

impl Case {
    fn shows(mut self, name: &'static str) -> Self {
        if let Some((_, shown)) = &mut self.refused {
            *shown = Some(name);
        }
        self
    }

    fn by(self, way: Way) -> Self {
        Self { way, ..self }
    }
}

fn bytes_of(stream: &[u8]) -> Vec<Vec<u8>> {
    stream.iter().map(|byte| vec![*byte]).collect()
}

fn halves(stream: &[u8], at: usize) -> Vec<Vec<u8>> {
    let (first, second) = stream.split_at(at);
    vec![first.to_vec(), second.to_vec()]
}

const GOOD: &str = "good.test";
const SAME_ADDRESS: &str = "shared.test";

fn hellos() -> Vec<Case> {
    let name = server_name(GOOD.as_bytes());
    let share = extension(51, &[5; 1216]);
    let whole = hello_for(GOOD);
    let long = hello(&[share.clone(), extension(35, &[6; 6000]), name.clone()]);
    let split = message(&[share.clone(), name.clone()]);
    let (front, back) = split.split_at(700);
    let records = [record(22, front), record(22, back)].concat();
    let near_the_end = whole.len() - 4;
    vec![
        passes("whole", vec![whole.clone()]),
        passes("name first", vec![hello(&[name.clone(), share])]),
        passes(
            "upper case, final dot",
            vec![hello(&[server_name(b"GOOD.Test.")])],
        ),
        passes("cut in the name", halves(&whole, near_the_end)),
        passes("cut before the name", halves(&whole, 700)),
        passes("one byte a packet", bytes_of(&hello(&[name]))),
        passes("long", vec![long.clone()]),
        passes("long, cut", halves(&long, 3000)),
        passes("two records", vec![records.clone()]),
        passes("two records, cut in the header", halves(&records, 708)),
        passes(
            "data behind it",
            vec![whole.clone(), record(23, &[1; 10_000])],
        ),
        passes("fast open", vec![whole.clone()]).by(Way::FastOpen),
        passes("multipath", vec![whole.clone()]).by(Way::Multipath),
        passes(
            "a second hello",
            vec![whole.clone(), record(20, &[1]), whole],
        ),
    ]
}

fn other_hellos() -> Vec<Case> {
    let wrong = hello_for(SAME_ADDRESS);
    let good = server_name(GOOD.as_bytes());
    let evil = server_name(SAME_ADDRESS.as_bytes());
    let split = message(std::slice::from_ref(&evil));
    let (front, back) = split.split_at(90);
    let records = [record(22, front), record(22, back)].concat();
    let first = hello(&[good.clone(), extension(42, &[])]);
    let not_allowed = |what, pieces| refused(what, "name-not-allowed", pieces).shows(SAME_ADDRESS);
    let unreadable = |what, stream: Vec<u8>| refused(what, "not-readable", vec![stream]);
    vec![
        not_allowed("another name of the address", vec![wrong.clone()]),
        not_allowed("cut", halves(&wrong, 900)),
        not_allowed(
            "one byte a packet",
            bytes_of(&hello(std::slice::from_ref(&evil))),
        ),
        not_allowed("two records", vec![records]),
        not_allowed("fast open", vec![wrong.clone()]).by(Way::FastOpen),
        not_allowed("multipath", vec![wrong.clone()]).by(Way::Multipath),
        not_allowed(
            "a second hello",
            vec![hello(std::slice::from_ref(&good)), wrong.clone()],
        ),
        not_allowed(
            "a second hello after early data",
            vec![first, record(23, &[0; 500]), wrong],
        ),
        // Allowed by a rule of its own, which has not leased this address.
        refused(
            "an allowed name of another address",
            "name-not-allowed",
            vec![hello_for("other.test")],
        )
        .shows("other.test"),
        refused(
            "below the name",
            "name-not-allowed",
            vec![hello_for("x.good.test")],
        )
        .shows("x.good.test"),
        refused(
            "no name",
            "no-name",
            vec![hello(&[extension(51, &[1; 32])])],
        ),
        refused("no extensions", "no-name", vec![hello(&[])]),
        unreadable("NUL", hello(&[server_name(b"shared.test\0good.test")])),
        unreadable("two names", hello(&[good.clone(), evil])),
        unreadable("an address", hello(&[server_name(b"[2001:db8::1]")])),
        unreadable("not TLS", b"SSH-2.0-OpenSSH_9.2p1\r\n".to_vec()),
        unreadable("HTTP", request("/", &["Host: good.test"])),
        unreadable("TLS 1.2 by another door", record(23, &[0; 40])),
        refused(
            "too long",
            "name-too-late",
            vec![hello(&[extension(21, &[0; 16_330]), good])],
        ),
    ]
}

/// What the sender could still change, or the receiver reads in another order.
fn tricks() -> Vec<Case> {
    let good = vec![hello_for(GOOD)];
    vec![
        refused("sendfile", "shared-memory", good.clone()).by(Way::SendFile),
        refused("splice", "shared-memory", good.clone()).by(Way::Splice),
        refused("zero copy", "shared-memory", good.clone()).by(Way::ZeroCopy),
        refused("urgent", "not-readable", good.clone()).by(Way::Urgent),
        passes("none of these", good),
    ]
}

fn requests() -> Vec<Case> {
    let good = request("/a?b", &["Accept: */*", "hOST:  Good.test:80 "]);
    let wrong = request("/", &["Host: shared.test"]);
    let post = |host: &str, body: &str| {
        let length = body.len();
        let head = format!("POST / HTTP/1.1\r\nContent-Length: {length}\r\nHost: {host}\r\n\r\n");
        [head.as_bytes(), body.as_bytes()].concat()
    };
    let inside = String::from_utf8_lossy(&wrong).into_owned();
    let head = post(GOOD, "a file").len() - "a file".len();
    let not_allowed = |what, pieces| refused(what, "name-not-allowed", pieces).shows(SAME_ADDRESS);
    let unreadable = |what, stream: Vec<u8>| refused(what, "not-readable", vec![stream]);
    vec![
        passes("a request", vec![good.clone()]),
        passes("one byte a packet", bytes_of(&good)),
        passes(
            "three on one connection",
            vec![good.clone(), post(GOOD, &inside), good.clone()],
        ),
        passes(
            "three in one packet",
            vec![[good.clone(), post(GOOD, &inside), good.clone()].concat()],
        ),
        passes(
            "a large body",
            vec![post(GOOD, &"x".repeat(10_000)), good.clone()],
        ),
        // Programs give files to the kernel; only what is read must be in memory of its own.
        passes("a body by sendfile", halves(&post(GOOD, "a file"), head)).by(Way::SendFileAfter),
        refused(
            "a request by sendfile, behind another",
            "shared-memory",
            vec![good.clone(), good.clone()],
        )
        .by(Way::SendFileAfter),
        not_allowed("another host", vec![wrong.clone()]),
        not_allowed("another host, cut", halves(&wrong, 25)),
        not_allowed("another host second", vec![good.clone(), wrong.clone()]),
        not_allowed(
            "another host behind a body",
            vec![post(GOOD, "body"), wrong.clone()],
        ),
        not_allowed(
            "another host in one packet",
            vec![[good.clone(), wrong.clone()].concat()],
        ),
        refused("no host", "no-name", vec![request("/", &["Accept: */*"])]),
        unreadable(
            "two hosts",
            request("/", &["Host: good.test", "Host: shared.test"]),
        ),
        unreadable(
            "a host in the target",
            request("http://shared.test/", &["Host: good.test"]),
        ),
        unreadable("folded", request("/", &["Host: good.test", " shared.test"])),
        unreadable(
            "chunked",
            request("/", &["Host: good.test", "Transfer-Encoding: chunked"]),
        ),
        unreadable("HTTP/0.9", b"GET /secret\r\n".to_vec()),
        unreadable(
            "a tunnel",
            b"CONNECT shared.test:443 HTTP/1.1\r\nHost: good.test\r\n\r\n".to_vec(),
        ),
        unreadable("TLS", hello_for(GOOD)),
    ]
}

fn rules(verify: &str) -> String {
    let rule = |host: &str| {
        format!("[[allow]]\nhost = \"{host}\"\nports = [\"9000-9999\"]\nverify = \"{verify}\"\n")
    };
    [rule(GOOD), rule("other.test")].concat()
}

/// A world with a receiver for every case.
fn with_ports(environment: &Environment, cases: &[Case]) -> Result<World> {
    let world = World::new(environment)?;
    for (port, _) in (FIRST..).zip(cases) {
        world.listen_good(port)?;
    }
    Ok(world)
}

fn steps(cases: &[Case], address: IpAddr) -> Vec<Step> {
    let shows = (FIRST..).zip(cases).map(|(port, case)| Step::Show {
        to: at(address, port),
        way: case.way,
        pieces: case.pieces.clone(),
    });
    [GOOD, "other.test"]
        .map(Step::resolve)
        .into_iter()
        .chain(shows)
        .collect()
}

fn told(environment: &Environment, verify: &str, cases: &[Case]) -> Result<()> {
    for address in [IpAddr::from(GOOD_V4), GOOD_V6.into()] {
        let control = with_ports(environment, cases)?;
        control
            .free(&steps(cases, address))?
            .run()?
            .expect_status(0)?;
        for (port, case) in (FIRST..).zip(cases) {
            let arrived = control.good.at(at(address, port)).bytes;
            // The last byte of urgent data is not read with the others.
            let sent = length(case) - u64::from(case.way == Way::Urgent);
            ensure!(
                arrived >= sent,
                "{}: {arrived} of {sent} bytes without cordon",
                case.what
            );
        }

        let world = with_ports(environment, cases)?;
        let profile = world.profile("named", &rules(verify))?;
        let finished = world
            .enforced(&profile, &steps(cases, address))?
            .run()?
            .expect_status(0)?;
        let outcomes = finished.outcomes()?;
        let report = finished.report()?;
        for ((port, case), outcome) in (FIRST..).zip(cases).zip(outcomes.iter().skip(2)) {
            judge(&world, case, at(address, port), outcome, &report).with_context(|| {
                format!(
                    "{} to {address}: {outcome:?}\n{}",
                    case.what, finished.stderr
                )
            })?;
        }
        world.nothing_leaked()?;
        world.nothing_left()?;
    }
    Ok(())
}

fn length(case: &Case) -> u64 {
    case.pieces.iter().map(|piece| piece.len() as u64).sum()
}

fn judge(
    world: &World,
    case: &Case,
    to: SocketAddr,
    outcome: &Outcome,
    report: &Report,
) -> Result<()> {
    let arrived = world.good.at(to).bytes;
    let Some((reason, shown)) = case.refused else {
        allowed(outcome)?;
        ensure!(outcome.bytes as u64 == length(case), "not all came back");
        let flow = report
            .flows
            .iter()
            .find(|flow| flow.destination.port == to.port());
        let flow = flow.context("the report has no flow")?;
        ensure!(flow.rule == Some(0), "{flow:?}");
        return Ok(());
    };
    ensure!(!outcome.ok, "it went through");
    let errno = outcome.errno.as_deref().unwrap_or_default();
    ensure!(
        ["ECONNABORTED", "ECONNRESET", "EPIPE"]
            .iter()
            .any(|error| errno.starts_with(error)),
        "not closed: {errno}"
    );
    // Far below any timeout of a client, and without the pauses between pieces.
    let pieces = case.pieces.len() as u64;
    ensure!(
        outcome.ms < (1000 + 30 * pieces) * u64::from(world.environment.slowness),
        "not at once"
    );
    ensure!(arrived < length(case), "all of it arrived");
    // What is whole in one packet does not leave at all; the beginning of what never becomes whole does.
    if case.pieces.len() == 1 && reason != "name-too-late" {
        ensure!(arrived == 0, "{arrived} bytes arrived");
    }
    let denial = denial_of(report, to, "tcp")?;
    ensure!(denial.reason == reason, "{denial:?}");
    let shown: Vec<&str> = shown.into_iter().collect();
    ensure!(denial.shown_names == shown, "{denial:?}");
    ensure!(
        denial.remedy.is_some() && !denial.processes.is_empty(),
        "{denial:?}"
    );
    Ok(())
}

/// The verdict about a first connection does not serve the second one of the same socket.
fn one_socket(environment: &Environment) -> Result<()> {
    let to = at(GOOD_V4, FIRST);
    let steps = [
        Step::resolve(GOOD),
        Step::ShowAgain {
            to,
            first: hello_for(GOOD),
            second: hello_for(SAME_ADDRESS),
        },
        Step::ShowAgain {
            to,
            first: hello_for(GOOD),
            second: hello_for(GOOD),
        },
    ];
    let control = World::new(environment)?;
    control.listen_good(FIRST)?;
    let [_, other, same] = control.free(&steps)?.run()?.steps()?;
    allowed(&other)?;
    allowed(&same)?;

    let world = World::new(environment)?;
    world.listen_good(FIRST)?;
    let profile = world.profile("named", &rules("tls"))?;
    let finished = world.enforced(&profile, &steps)?.run()?;
    let [_, other, same] = finished.steps()?;
    ensure!(!other.ok, "{other:?}");
    allowed(&same)?;
    let denial = finished.report()?;
    let denial = denial_of(&denial, to, "tcp")?;
    ensure!(denial.shown_names == [SAME_ADDRESS], "{denial:?}");
    Ok(())
}

/// A rule that says nothing has its names checked on 443, and its remedy says how not to.
fn well_known(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let show = |pieces: Vec<u8>, port| Step::Show {
        to: at(GOOD_V4, port),
        way: Way::Write,
        pieces: vec![pieces],
    };
    let steps = [
        Step::resolve(GOOD),
        show(hello_for(GOOD), 443),
        show(hello_for(SAME_ADDRESS), 443),
        show(b"SSH-2.0-x\r\n".to_vec(), 443),
        show(b"SSH-2.0-x\r\n".to_vec(), 8080),
    ];
    let profile = world.profile(
        "plain",
        "[[allow]]\nhost = \"good.test\"\nports = [443, 8080]\n",
    )?;
    let finished = world.enforced(&profile, &steps)?.run()?;
    let [_, good, wrong, ssh, other_port] = finished.steps()?;
    allowed(&good)?;
    ensure!(!wrong.ok && !ssh.ok, "{wrong:?} {ssh:?}");
    allowed(&other_port)?;
    let report = finished.report()?;
    let remedies: BTreeSet<_> = report
        .denials
        .iter()
        .filter_map(|denial| denial.remedy.as_deref())
        .collect();
    for part in ["host = \"shared.test\"", "verify = \"none\""] {
        ensure!(
            remedies.iter().any(|remedy| remedy.contains(part)),
            "{part}: {remedies:?}"
        );
    }
    ensure!(
        finished.stderr.contains("(shows shared.test)"),
        "{}",
        finished.stderr
    );
    Ok(())
}

fn audited(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    world.listen_good(FIRST)?;
    let to = at(GOOD_V4, FIRST);
    let wrong = Step::Show {
        to,
        way: Way::Write,
        pieces: halves(&hello_for(SAME_ADDRESS), 700),
    };
    let profile = world.profile("named", &rules("tls"))?;
    let finished = world
        .enforced(&profile, &[Step::resolve(GOOD), wrong])?
        .audited()
        .run()?;
    let [_, wrong] = finished.steps()?;
    allowed(&wrong)?;
    let report = finished.report()?;
    let denial = denial_of(&report, to, "tcp")?;
    ensure!(
        denial.reason == "name-not-allowed" && denial.shown_names == [SAME_ADDRESS],
        "{denial:?}"
    );
    Ok(())
}
