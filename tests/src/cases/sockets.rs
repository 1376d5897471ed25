//! Sockets that go around connect and sendto.

use anyhow::{Result, ensure};

use crate::client::step::{SocketKind, Step};
use crate::harness::environment::Environment;
use crate::harness::network::{EVIL_V4, EVIL_V6, GOOD_V4, GOOD_V6, at};
use crate::harness::rules::cidr;
use crate::harness::world::World;
use crate::runner::Story;

pub(super) fn stories() -> Vec<Story> {
    vec![
        Story::new("sockets::raw_ping_and_other_kinds_are_refused", kinds),
        Story::new(
            "sockets::a_routing_header_does_not_lead_to_the_attacker",
            routing_header,
        ),
        Story::new(
            "sockets::two_threads_cannot_lend_each_other_a_verdict",
            race,
        ),
    ]
}

const KINDS: [SocketKind; 6] = [
    SocketKind::Raw,
    SocketKind::RawV6,
    SocketKind::Ping,
    SocketKind::PingV6,
    SocketKind::UdpLite,
    SocketKind::Packet,
];

fn kinds(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let steps = KINDS.map(|kind| Step::Socket { kind });
    let free = world.free(&steps)?.run()?.steps::<6>()?;
    let possible = free.iter().filter(|outcome| outcome.ok).count();
    // A kernel may lack one (UDP-Lite is going away), not most.
    ensure!(possible >= 5, "{free:#?}");

    let profile = world.profile("empty", "")?;
    let finished = world.enforced(&profile, &steps)?.run()?;
    for outcome in finished.steps::<6>()? {
        ensure!(!outcome.ok, "was made: {outcome:?}");
    }
    let report = finished.report()?;
    ensure!(
        !report.sockets.is_empty(),
        "the report has no refused socket"
    );
    Ok(())
}

fn routing_header(environment: &Environment) -> Result<()> {
    let steps = [Step::RoutingHeader {
        to: GOOD_V6,
        through: EVIL_V6,
    }];
    let control = World::new(environment)?;
    control.free(&steps)?.run()?;
    control.something_leaked()?;

    let world = World::new(environment)?;
    let profile = world.profile("good", &cidr("2001:db8:a::10/128", "8080", "udp"))?;
    let finished = world.enforced(&profile, &steps)?.run()?;
    let [outcome] = finished.steps()?;
    ensure!(!outcome.ok, "{outcome:?}");
    world.nothing_leaked()
}

/// Tries of the race: each is two system calls.
const ROUNDS: usize = 30_000;

fn race(environment: &Environment) -> Result<()> {
    let steps = [Step::UdpRace {
        to: at(GOOD_V4, 8080),
        beside: at(EVIL_V4, 8080),
        rounds: ROUNDS / environment.slowness as usize,
    }];
    let control = World::new(environment)?;
    control.free(&steps)?.run()?;
    control.something_leaked()?;

    let world = World::new(environment)?;
    let profile = world.profile("good", &cidr("203.0.113.10/32", "8080", "udp"))?;
    world.enforced(&profile, &steps)?.run()?.expect_status(0)?;
    world.nothing_leaked()
}
