//! Loopback is a destination too, and an open port is no way out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpStream};
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::client::step::Step;
use crate::harness::environment::Environment;
use crate::harness::network::{JOB_V4, JOB_V6, at};
use crate::harness::rules::cidr;
use crate::harness::verdicts::{allowed, denial_of};
use crate::harness::world::World;
use crate::runner::Story;

pub(super) fn stories() -> Vec<Story> {
    vec![
        Story::new("loopback::a_job_reaches_its_own_listeners", own),
        Story::new("loopback::a_relay_outside_the_job_is_not_reached", foreign),
        Story::new(
            "loopback::a_listener_outside_the_job_can_be_allowed",
            allowed_foreign,
        ),
        Story::new(
            "loopback::an_inbound_v4_connection_gets_nothing_out",
            |environment| inbound(environment, JOB_V4.into()),
        ),
        Story::new(
            "loopback::an_inbound_v6_connection_gets_nothing_out",
            |environment| inbound(environment, JOB_V6.into()),
        ),
    ]
}

const LOOPBACKS: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::LOCALHOST),
    IpAddr::V6(Ipv6Addr::LOCALHOST),
];

/// A port on loopback that belongs to somebody else.
const PORT: u16 = 7000;

fn own(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let profile = world.profile("empty", "")?;
    let steps = LOOPBACKS.map(|address| Step::Loopback { address });
    let finished = world.enforced(&profile, &steps)?.run()?;
    for outcome in finished.steps::<2>()? {
        allowed(&outcome)?;
    }
    ensure!(finished.report()?.summary.denied == 0);
    Ok(())
}

fn foreign(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let relay = world.listen_beside_job(&LOOPBACKS.map(|address| at(address, PORT)))?;
    let mut steps: Vec<Step> = LOOPBACKS.map(|address| Step::tcp(at(address, PORT))).into();
    // connect(2) turns the unspecified address into loopback.
    steps.push(Step::tcp(at(Ipv4Addr::UNSPECIFIED, PORT)));
    steps.push(Step::udp(at(Ipv4Addr::LOCALHOST, PORT)));
    for outcome in world.free(&steps)?.run()?.steps::<4>()? {
        allowed(&outcome)?;
    }
    let before = LOOPBACKS.map(|address| relay.at(at(address, PORT)));

    let profile = world.profile("empty", "")?;
    let finished = world.enforced(&profile, &steps)?.run()?;
    for outcome in finished.steps::<4>()? {
        world.refused(&outcome)?;
    }
    ensure!(
        LOOPBACKS.map(|address| relay.at(at(address, PORT))) == before,
        "it was reached"
    );
    let report = finished.report()?;
    let denial = denial_of(&report, at(Ipv4Addr::LOCALHOST, PORT), "tcp")?;
    ensure!(denial.reason == "loopback-not-own", "{denial:?}");
    Ok(())
}

fn allowed_foreign(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let services = [PORT, PORT + 1].map(|port| at(Ipv4Addr::LOCALHOST, port));
    let _services = world.listen_beside_job(&services)?;
    let profile = world.profile("service", &cidr("127.0.0.1/32", "7000", "tcp"))?;
    let steps = services.map(Step::tcp);
    let [service, neighbour] = world.enforced(&profile, &steps)?.run()?.steps()?;
    allowed(&service)?;
    world.refused(&neighbour)
}

/// The attacker connects to the job; not even the handshake's answer may leave.
fn inbound(environment: &Environment, address: IpAddr) -> Result<()> {
    let world = World::new(environment)?;
    let listener = at(address, 9000);
    let attack = |ready: &Path, mut running: crate::harness::job::Running<'_>| {
        running.until(ready)?;
        let connected = world.network.evil.run(|| {
            Ok(TcpStream::connect_timeout(&listener, Duration::from_millis(700)).is_ok())
        })?;
        running.wait().map(|finished| (connected, finished))
    };
    let ready = world.path("ready");
    let steps = [Step::Serve {
        at: listener,
        ready: ready.clone(),
    }];
    let (connected, _) = attack(&ready, world.free(&steps)?.start()?)?;
    ensure!(connected, "without cordon the attacker should get in");
    world.something_leaked()?;

    let ready = world.path("ready");
    let steps = [Step::Serve {
        at: listener,
        ready: ready.clone(),
    }];
    let profile = world.profile("empty", "")?;
    let (connected, _) = attack(&ready, world.enforced(&profile, &steps)?.start()?)?;
    ensure!(!connected, "the attacker got in");
    world.nothing_leaked()
}
