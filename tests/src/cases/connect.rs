//! Every way to reach an address: the allowed one is reached, any other is refused at once and
//! nothing of it is on the wire.

use std::net::SocketAddr;

use anyhow::{Result, ensure};

use crate::client::step::{Form, SendCall, Step};
use crate::harness::environment::Environment;
use crate::harness::network::{EVIL_V4, EVIL_V6, GOOD_V4, GOOD_V6, at};
use crate::harness::rules::cidr;
use crate::harness::verdicts::{allowed, denial_of};
use crate::harness::world::World;
use crate::runner::Story;

/// One way to reach an address.
#[derive(Clone, Copy, Debug)]
struct Way {
    name: &'static str,
    protocol: &'static str,
    v6: bool,
    step: fn(SocketAddr) -> Step,
}

const fn way(
    name: &'static str,
    protocol: &'static str,
    v6: bool,
    step: fn(SocketAddr) -> Step,
) -> Way {
    Way {
        name,
        protocol,
        v6,
        step,
    }
}

fn udp(to: SocketAddr, form: Form, call: SendCall) -> Step {
    Step::Udp { to, form, call }
}

const WAYS: &[Way] = &[
    way("tcp_v4", "tcp", false, Step::tcp),
    way("tcp_v6", "tcp", true, Step::tcp),
    way("tcp_v4_mapped", "tcp", false, |to| Step::Tcp {
        to,
        form: Form::Mapped,
    }),
    way("tcp_fast_open_v4", "tcp", false, |to| Step::TcpFastOpen {
        to,
    }),
    way("tcp_fast_open_v6", "tcp", true, |to| Step::TcpFastOpen {
        to,
    }),
    way("udp_connect_v4", "udp", false, |to| {
        udp(to, Form::Plain, SendCall::Connect)
    }),
    way("udp_sendto_v4", "udp", false, |to| {
        udp(to, Form::Plain, SendCall::SendTo)
    }),
    way("udp_sendmsg_v4", "udp", false, |to| {
        udp(to, Form::Plain, SendCall::SendMsg)
    }),
    way("udp_sendmmsg_v4", "udp", false, |to| {
        udp(to, Form::Plain, SendCall::SendMmsg)
    }),
    way("udp_connect_v6", "udp", true, |to| {
        udp(to, Form::Plain, SendCall::Connect)
    }),
    way("udp_sendto_v6", "udp", true, |to| {
        udp(to, Form::Plain, SendCall::SendTo)
    }),
    way("udp_sendmsg_v6", "udp", true, |to| {
        udp(to, Form::Plain, SendCall::SendMsg)
    }),
    way("udp_sendmmsg_v6", "udp", true, |to| {
        udp(to, Form::Plain, SendCall::SendMmsg)
    }),
    way("udp_connect_v4_mapped", "udp", false, |to| {
        udp(to, Form::Mapped, SendCall::Connect)
    }),
    way("udp_sendto_v4_mapped", "udp", false, |to| {
        udp(to, Form::Mapped, SendCall::SendTo)
    }),
    way("udp_sendmsg_v4_mapped", "udp", false, |to| {
        udp(to, Form::Mapped, SendCall::SendMsg)
    }),
    way("udp_sendmmsg_v4_mapped", "udp", false, |to| {
        udp(to, Form::Mapped, SendCall::SendMmsg)
    }),
    way("udp_connect_v4_on_v6_socket", "udp", false, |to| {
        udp(to, Form::OtherFamily, SendCall::Connect)
    }),
    way("udp_sendto_v4_on_v6_socket", "udp", false, |to| {
        udp(to, Form::OtherFamily, SendCall::SendTo)
    }),
    way("udp_sendmsg_v4_on_v6_socket", "udp", false, |to| {
        udp(to, Form::OtherFamily, SendCall::SendMsg)
    }),
];

pub(super) fn stories() -> Vec<Story> {
    let mut stories: Vec<Story> = WAYS
        .iter()
        .map(|way| {
            let name = format!(
                "connect::{}_reaches_what_is_allowed_and_nothing_else",
                way.name
            );
            Story::new(name, |environment| only_the_allowed(environment, *way))
        })
        .collect();
    stories.push(Story::new(
        "connect::an_empty_profile_denies_everything",
        nothing_is_allowed,
    ));
    stories.push(Story::new(
        "connect::no_profile_denies_everything",
        no_profile,
    ));
    stories
}

fn only_the_allowed(environment: &Environment, way: Way) -> Result<()> {
    let (good, evil) = if way.v6 {
        (at(GOOD_V6, 8080), at(EVIL_V6, 8080))
    } else {
        (at(GOOD_V4, 8080), at(EVIL_V4, 8080))
    };
    let steps = [(way.step)(good), (way.step)(evil)];
    let control = World::new(environment)?;
    for outcome in control.free(&steps)?.run()?.steps::<2>()? {
        allowed(&outcome)?;
    }
    control.something_leaked()?;

    let world = World::new(environment)?;
    let prefix = if way.v6 { 128 } else { 32 };
    let rule = cidr(&format!("{}/{prefix}", good.ip()), "8080", way.protocol);
    let profile = world.profile("one-address", &rule)?;
    let before = world.good.at(good);
    let finished = world.enforced(&profile, &steps)?.run()?.expect_status(0)?;
    let [to_good, to_evil] = finished.steps()?;
    allowed(&to_good)?;
    ensure!(
        world.good.at(good) != before,
        "the allowed one did not arrive"
    );
    world.refused(&to_evil)?;
    world.nothing_leaked()?;
    let report = finished.report()?;
    let denial = denial_of(&report, evil, way.protocol)?;
    ensure!(denial.reason == "no-rule", "{denial:?}");
    ensure!(denial.attempts >= 1, "{denial:?}");
    // A UDP `connect` sends nothing and passes; then the packet itself is what is refused. Every
    // other way is refused before there is a packet, and so is a v6 socket with a v4 peer: its
    // `send` passes the hook of `sendto`.
    let on_the_wire = ["udp_connect_v4", "udp_connect_v6"].contains(&way.name);
    ensure!((denial.packets > 0) == on_the_wire, "{denial:?}");
    world.nothing_left()
}

fn nothing_is_allowed(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let profile = world.profile("empty", "")?;
    let steps = [
        Step::tcp(at(GOOD_V4, 8080)),
        Step::udp(at(GOOD_V6, 8080)),
        Step::tcp(at(EVIL_V4, 443)),
    ];
    for outcome in world.enforced(&profile, &steps)?.run()?.steps::<3>()? {
        world.refused(&outcome)?;
    }
    world.nothing_leaked()
}

fn no_profile(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let steps = [Step::tcp(at(GOOD_V4, 8080)), Step::resolve("good.test")];
    let finished = world.job().under_cordon(&[]).steps(&steps)?.run()?;
    let [tcp, name] = finished.steps()?;
    world.refused(&tcp)?;
    ensure!(name.error.is_some(), "{name:?}");
    world.nothing_leaked()
}
