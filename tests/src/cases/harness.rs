//! The harness itself: without cordon, everything arrives, and it is seen to arrive.
//!
//! Every other story's "nothing arrived" rests on these.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::client::step::{Form, SendCall, Step, Transport};
use crate::harness::datagrams::Datagrams;
use crate::harness::environment::Environment;
use crate::harness::network::{DNS_V6, EVIL_V4, EVIL_V6, GOOD_V4, GOOD_V6, at};
use crate::harness::verdicts::allowed;
use crate::harness::world::World;
use crate::runner::Story;

pub(super) fn stories() -> Vec<Story> {
    vec![
        Story::new("harness::a_quiet_world_carries_no_frame", is_quiet),
        Story::new(
            "harness::every_way_to_send_arrives_and_is_counted",
            everything_arrives,
        ),
        Story::new(
            "harness::datagrams_are_counted_where_nobody_listens",
            datagrams,
        ),
        Story::new(
            "harness::an_address_nobody_has_leads_to_the_attacker",
            default_route,
        ),
        Story::new("harness::names_resolve_and_questions_are_counted", names),
        Story::new("harness::a_world_is_removed_with_its_processes", is_removed),
    ]
}

fn is_quiet(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    world
        .free(&[Step::tcp(at(GOOD_V4, 8080)), Step::tcp(at(GOOD_V6, 8080))])?
        .run()?;
    // Longer than the delay of the kernel's first multicast reports.
    std::thread::sleep(Duration::from_millis(1200));
    world.nothing_leaked()
}

fn everything_arrives(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let mut steps = Vec::new();
    for (address, form) in [
        (at(EVIL_V4, 8080), Form::Plain),
        (at(EVIL_V4, 8080), Form::Mapped),
        (at(EVIL_V6, 8080), Form::Plain),
    ] {
        steps.push(Step::Tcp { to: address, form });
        for call in [
            SendCall::Connect,
            SendCall::SendTo,
            SendCall::SendMsg,
            SendCall::SendMmsg,
        ] {
            steps.push(Step::Udp {
                to: address,
                form,
                call,
            });
        }
    }
    steps.push(Step::Udp {
        to: at(EVIL_V4, 8080),
        form: Form::OtherFamily,
        call: SendCall::SendTo,
    });
    let outcomes = world.free(&steps)?.run()?.expect_status(0)?.outcomes()?;
    ensure!(outcomes.len() == steps.len());
    for outcome in &outcomes {
        allowed(outcome)?;
        ensure!(outcome.bytes == 4, "no echo: {outcome:?}");
    }
    let v4 = world.evil.at(at(EVIL_V4, 8080));
    // Two forms, five datagrams each; one of the other family.
    ensure!((v4.connections, v4.datagrams) == (2, 11), "{v4:?}");
    let v6 = world.evil.at(at(EVIL_V6, 8080));
    ensure!((v6.connections, v6.datagrams) == (1, 5), "{v6:?}");
    world.something_leaked()
}

fn datagrams(environment: &Environment) -> Result<()> {
    let world = World::without_servers(environment)?;
    let datagrams = Datagrams::start(&world.network.good)?;
    // Connected, so that each is told at once that nobody listens.
    let udp = |to| Step::Udp {
        to,
        form: Form::Plain,
        call: SendCall::Connect,
    };
    let steps = [
        udp(at(GOOD_V4, 443)),
        udp(at(GOOD_V6, 443)),
        udp(at(GOOD_V4, 444)),
        Step::tcp(at(GOOD_V4, 443)),
    ];
    world.free(&steps)?.run()?;
    let arrived = datagrams.arrived_at(443)?;
    ensure!(arrived == 2, "{arrived} instead of one of each family");
    let again = datagrams.arrived_at(443)?;
    ensure!(again == 0, "{again} are counted twice");
    Ok(())
}

fn default_route(environment: &Environment) -> Result<()> {
    for to in [
        "169.254.169.254:53",
        "10.1.2.3:4444",
        "[2001:db8:ffff::1]:853",
    ] {
        let world = World::new(environment)?;
        let to = to.parse()?;
        world.free(&[Step::Flood { to, count: 1 }])?.run()?;
        world.something_leaked()?;
    }
    Ok(())
}

fn names(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    world.zone.alias("www.good.test", "good.test", 60)?;
    let by_hand = |transport| Step::Dns {
        server: at(DNS_V6, 53),
        transport,
        names: vec!["www.good.test".to_owned(), "nobody.test".to_owned()],
        kind: "AAAA".to_owned(),
    };
    let steps = [
        Step::resolve("good.test"),
        by_hand(Transport::Udp),
        by_hand(Transport::Tcp),
    ];
    let [libc, udp, tcp] = world.free(&steps)?.run()?.expect_status(0)?.steps()?;
    for address in [GOOD_V4.into(), GOOD_V6.into()] {
        ensure!(libc.addresses.contains(&address), "{libc:?}");
    }
    for outcome in [udp, tcp] {
        allowed(&outcome)?;
        let codes: Vec<_> = outcome
            .answers
            .iter()
            .map(|answer| answer.code.as_str())
            .collect();
        ensure!(codes == ["No Error", "Non-Existent Domain"], "{outcome:?}");
        ensure!(
            outcome
                .answers
                .first()
                .is_some_and(|answer| answer.addresses == [GOOD_V6])
        );
    }
    ensure!(world.zone.questions("www.good.test") == 2);
    Ok(())
}

fn is_removed(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let ready = world.path("ready");
    let steps = [Step::Background {
        steps: vec![
            Step::Mark {
                path: ready.clone(),
            },
            Step::Sleep { ms: 60_000 },
        ],
    }];
    world.free(&steps)?.run()?.expect_status(0)?;
    while !ready.exists() {
        std::thread::sleep(Duration::from_millis(5));
    }
    let processes = world.cgroup().processes();
    ensure!(processes.len() == 1, "{processes:?}");
    let (cgroup, directory) = (
        world.cgroup().root().to_owned(),
        world.directory().to_owned(),
    );
    drop(world);
    for process in processes {
        // Whoever is process 1 may take its time to reap it.
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        ensure!(
            stat.is_empty() || stat.contains(") Z "),
            "process {process} lives: {stat}"
        );
    }
    ensure!(!cgroup.exists() && !directory.exists(), "something is left");
    Ok(())
}
