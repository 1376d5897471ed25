//! DNS: every question ends at the job's own listener, only allowed names leave it, and only what
//! they resolve to can be reached.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use cordon::report::NameVerdict;

use crate::client::step::{Answer, Step, Transport};
use crate::harness::environment::Environment;
use crate::harness::network::{EVIL_V4, EVIL_V6, GOOD_V4, GOOD_V6, at};
use crate::harness::rules::host;
use crate::harness::verdicts::{allowed, name_asked};
use crate::harness::world::World;
use crate::harness::zone::Behaviour;
use crate::runner::Story;

const REFUSED: &str = "Query Refused";

pub(super) fn stories() -> Vec<Story> {
    let mut stories = Vec::new();
    for (name, transport) in [("udp", Transport::Udp), ("tcp", Transport::Tcp)] {
        for (family, server) in [("v4", at(EVIL_V4, 53)), ("v6", at(EVIL_V6, 53))] {
            stories.push(Story::new(
                format!("dns::{name}_{family}_to_any_server_ends_at_the_jobs_listener"),
                move |environment| any_server(environment, server, transport),
            ));
        }
    }
    stories.extend([
        Story::new(
            "dns::an_allowed_name_can_be_resolved_and_reached",
            allowed_name,
        ),
        Story::new("dns::a_denied_name_never_leaves_the_host", denied_name),
        Story::new(
            "dns::an_address_of_a_denied_name_is_not_reached",
            unleased_address,
        ),
        Story::new("dns::one_star_is_one_label_and_not_the_apex", one_label),
        Story::new("dns::two_stars_are_any_depth_and_not_the_apex", any_depth),
        Story::new("dns::a_cname_belongs_to_the_name_that_was_asked", alias),
        Story::new(
            "dns::a_public_name_with_a_private_address_is_refused",
            rebinding,
        ),
        Story::new("dns::a_slow_resolver_is_waited_for", slow_upstream),
        Story::new(
            "dns::a_resolver_that_fails_is_an_error_and_not_a_hang",
            failing_upstream,
        ),
    ]);
    stories
}

fn question(server: SocketAddr, transport: Transport, names: &[&str]) -> Step {
    Step::Dns {
        server,
        transport,
        names: names.iter().map(|&name| name.to_owned()).collect(),
        kind: if server.is_ipv4() { "A" } else { "AAAA" }.to_owned(),
    }
}

fn codes(answers: &[Answer]) -> Vec<&str> {
    answers.iter().map(|answer| answer.code.as_str()).collect()
}

/// The attacker has a resolver of its own; asked by address, it must never see the question.
fn any_server(environment: &Environment, server: SocketAddr, transport: Transport) -> Result<()> {
    let steps = [question(
        server,
        transport,
        &["good.test", "secret.evil.test", "good.test"],
    )];
    let control = World::new(environment)?;
    control.free(&steps)?.run()?;
    control.something_leaked()?;

    let world = World::new(environment)?;
    let profile = world.profile("names", &host("good.test", "8080"))?;
    let finished = world.enforced(&profile, &steps)?.run()?;
    let [outcome] = finished.steps()?;
    allowed(&outcome)?;
    ensure!(
        codes(&outcome.answers) == ["No Error", REFUSED, "No Error"],
        "{outcome:?}"
    );
    if transport == Transport::Udp {
        ensure!(
            outcome.from == Some(server),
            "the answer came from {:?}",
            outcome.from
        );
    }
    ensure!(world.zone.questions("secret.evil.test") == 0);
    world.nothing_leaked()
}

fn allowed_name(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let profile = world.profile("names", &host("good.test", "8080"))?;
    let steps = [
        Step::tcp(at(GOOD_V4, 8080)),
        Step::resolve("good.test"),
        Step::tcp(at(GOOD_V4, 8080)),
        Step::tcp(at(GOOD_V6, 8080)),
        Step::tcp(at(GOOD_V4, 443)),
        Step::udp(at(GOOD_V4, 8080)),
    ];
    let finished = world.enforced(&profile, &steps)?.run()?;
    let [before, name, v4, v6, port, protocol] = finished.steps()?;
    world.refused(&before)?;
    ensure!(name.addresses.len() >= 2, "{name:?}");
    allowed(&v4)?;
    allowed(&v6)?;
    world.refused(&port)?;
    world.refused(&protocol)?;

    let report = finished.report()?;
    let asked = name_asked(&report, "good.test")?;
    ensure!(
        (asked.answer, asked.rule) == (NameVerdict::Allowed, Some(0)),
        "{asked:?}"
    );
    for reason in ["port-not-allowed", "protocol-not-allowed"] {
        let named = report
            .denials
            .iter()
            .any(|denial| denial.reason == reason && denial.destination.names == ["good.test"]);
        ensure!(named, "no denial says {reason}: {:#?}", report.denials);
    }
    Ok(())
}

fn denied_name(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let profile = world.profile("names", &host("good.test", "443"))?;
    let steps = [Step::resolve("evil.test"), Step::resolve("notgood.test")];
    let finished = world.enforced(&profile, &steps)?.run()?;
    for outcome in finished.steps::<2>()? {
        ensure!(
            outcome.error.is_some() && outcome.addresses.is_empty(),
            "{outcome:?}"
        );
        // A refusal, not a resolver that timed out.
        ensure!(
            outcome.ms < 1500 * u64::from(environment.slowness),
            "{outcome:?}"
        );
    }
    ensure!(
        world.zone.names_asked().is_empty(),
        "left: {:?}",
        world.zone.names_asked()
    );
    let report = finished.report()?;
    let asked = name_asked(&report, "evil.test")?;
    ensure!(asked.answer == NameVerdict::Denied, "{asked:?}");
    let remedy = asked.remedy.as_deref().unwrap_or_default();
    ensure!(remedy.contains("host = \"evil.test\""), "{asked:?}");
    ensure!(report.summary.names_denied >= 2, "{:?}", report.summary);
    ensure!(
        finished.stderr.contains("cordon: denied "),
        "{}",
        finished.stderr
    );
    Ok(())
}

fn unleased_address(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let profile = world.profile("names", &host("good.test", "8080"))?;
    let steps = [Step::resolve("evil.test"), Step::tcp(at(EVIL_V4, 8080))];
    let [_name, tcp] = world.enforced(&profile, &steps)?.run()?.steps()?;
    world.refused(&tcp)?;
    world.nothing_leaked()
}

fn resolved(environment: &Environment, pattern: &str, expected: [bool; 3]) -> Result<()> {
    let world = World::new(environment)?;
    let profile = world.profile("wildcard", &host(pattern, "8080"))?;
    let names = ["good.test", "api.good.test", "deep.api.good.test"];
    let steps = names.map(Step::resolve);
    let outcomes = world.enforced(&profile, &steps)?.run()?.steps::<3>()?;
    let answered = outcomes
        .each_ref()
        .map(|outcome| !outcome.addresses.is_empty());
    ensure!(answered == expected, "{pattern}: {outcomes:#?}");
    for (name, answered) in names.into_iter().zip(expected) {
        ensure!(
            (world.zone.questions(name) > 0) == answered,
            "{name} in the zone"
        );
    }
    Ok(())
}

fn one_label(environment: &Environment) -> Result<()> {
    resolved(environment, "*.good.test", [false, true, false])
}

fn any_depth(environment: &Environment) -> Result<()> {
    resolved(environment, "**.good.test", [false, true, true])
}

fn alias(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    world.zone.alias("www.good.test", "edge.other.test", 60)?;
    world.zone.add("edge.other.test", GOOD_V4, 60);
    let profile = world.profile("alias", &host("www.good.test", "8080"))?;
    let steps = [
        Step::resolve("edge.other.test"),
        Step::resolve("www.good.test"),
        Step::tcp(at(GOOD_V4, 8080)),
    ];
    let [target, name, tcp] = world.enforced(&profile, &steps)?.run()?.steps()?;
    ensure!(target.addresses.is_empty(), "{target:?}");
    ensure!(name.addresses.contains(&GOOD_V4.into()), "{name:?}");
    allowed(&tcp)
}

fn rebinding(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    world
        .zone
        .add("rebind.test", std::net::Ipv4Addr::LOCALHOST, 60);
    world.zone.add(
        "metadata.test",
        std::net::Ipv4Addr::new(169, 254, 169, 254),
        60,
    );
    let rules = host("rebind.test", "8080") + &host("metadata.test", "80");
    let profile = world.profile("rebinding", &rules)?;
    let steps = [Step::resolve("rebind.test"), Step::resolve("metadata.test")];
    let finished = world.enforced(&profile, &steps)?.run()?;
    for outcome in finished.steps::<2>()? {
        ensure!(outcome.addresses.is_empty(), "{outcome:?}");
    }
    let report = finished.report()?;
    let asked = name_asked(&report, "rebind.test")?;
    ensure!(asked.answer == NameVerdict::Rebinding, "{asked:?}");
    Ok(())
}

fn slow_upstream(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    world
        .zone
        .behave(Behaviour::Delay(Duration::from_millis(700)));
    let profile = world.profile("names", &host("good.test", "8080"))?;
    let steps = [Step::resolve("good.test"), Step::tcp(at(GOOD_V4, 8080))];
    let [name, tcp] = world.enforced(&profile, &steps)?.run()?.steps()?;
    ensure!(name.addresses.contains(&GOOD_V4.into()), "{name:?}");
    allowed(&tcp)
}

fn failing_upstream(environment: &Environment) -> Result<()> {
    for behaviour in [Behaviour::Fail, Behaviour::Silent] {
        let world = World::new(environment)?;
        world.zone.behave(behaviour);
        let profile = world.profile("names", &host("good.test", "8080"))?;
        let finished = world
            .enforced(&profile, &[Step::resolve("good.test")])?
            .run()?;
        let [name] = finished.steps()?;
        ensure!(
            name.addresses.is_empty() && name.error.is_some(),
            "{name:?}"
        );
        let limit = environment.seconds(20);
        ensure!(
            Duration::from_millis(name.ms) < limit,
            "{behaviour:?}: {name:?}"
        );
        let report = finished.report()?;
        let asked = name_asked(&report, "good.test")?;
        ensure!(asked.answer == NameVerdict::Failed, "{asked:?}");
    }
    Ok(())
}
