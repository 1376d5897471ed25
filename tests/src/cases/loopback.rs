//! Loopback is a destination too, and an open port is no way out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpStream};
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, SockaddrIn, bind, connect, recv, setsockopt,
    socket, sockopt,
};

use crate::client::step::Step;
use crate::harness::environment::Environment;
use crate::harness::job::Running;
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
            "loopback::a_socket_that_hides_behind_the_jobs_own_is_not_reached",
            shadowed,
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

/// Two sockets can share a UDP port. Which of them gets a datagram depends on its sender: somebody
/// outside waits for one from a certain port, where a look at the port alone finds the job's own.
fn shadowed(environment: &Environment) -> Result<()> {
    const SHARED: u16 = 7100;
    const SENDER: u16 = 7101;
    let world = World::new(environment)?;
    let outside = world.network.job.run(|| {
        let flags = SockFlag::SOCK_NONBLOCK;
        let outside = socket(AddressFamily::Inet, SockType::Datagram, flags, None)?;
        setsockopt(&outside, sockopt::ReuseAddr, &true)?;
        let fd = outside.as_raw_fd();
        bind(fd, &SockaddrIn::new(127, 0, 0, 1, SHARED))?;
        connect(fd, &SockaddrIn::new(127, 0, 0, 1, SENDER))?;
        Ok(outside)
    })?;
    let heard = || recv(outside.as_raw_fd(), &mut [0; 8], MsgFlags::empty()).is_ok();
    let steps = [Step::UdpShadow {
        port: SHARED,
        from: SENDER,
    }];
    let [sent] = world.free(&steps)?.run()?.steps()?;
    allowed(&sent)?;
    ensure!(heard(), "without cordon it should have been heard");

    let profile = world.profile("empty", "")?;
    let [sent] = world.enforced(&profile, &steps)?.run()?.steps()?;
    world.refused(&sent)?;
    ensure!(!heard(), "it was heard outside the job");
    Ok(())
}

/// The attacker connects to the job; not even the handshake's answer may leave.
fn inbound(environment: &Environment, address: IpAddr) -> Result<()> {
    let listener = at(address, 9000);
    let attack = |world: &World, ready: &Path, mut running: Running<'_>| {
        running.until(ready)?;
        let connected = world.network.evil.run(|| {
            Ok(TcpStream::connect_timeout(&listener, Duration::from_millis(700)).is_ok())
        })?;
        running.wait().map(|finished| (connected, finished))
    };
    let control = World::new(environment)?;
    let ready = control.path("ready");
    let steps = [Step::Serve {
        at: listener,
        ready: ready.clone(),
    }];
    let (connected, _) = attack(&control, &ready, control.free(&steps)?.start()?)?;
    ensure!(connected, "without cordon the attacker should get in");
    control.something_leaked()?;

    let world = World::new(environment)?;
    let ready = world.path("ready");
    let steps = [Step::Serve {
        at: listener,
        ready: ready.clone(),
    }];
    let profile = world.profile("empty", "")?;
    let (connected, _) = attack(&world, &ready, world.enforced(&profile, &steps)?.start()?)?;
    ensure!(!connected, "the attacker got in");
    world.nothing_leaked()
}
