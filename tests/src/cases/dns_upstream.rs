//! The resolvers cordon asks: encrypted ones, ones that are down, ones that lie.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use cordon::report::NameVerdict;

use crate::client::step::{Outcome, Step, Transport};
use crate::harness::encrypted::{Certificate, Protocol};
use crate::harness::environment::Environment;
use crate::harness::lie::Lie;
use crate::harness::network::{DNS_V4, DNS_V6, EVIL_V4, GOOD_V4, at};
use crate::harness::rules::host;
use crate::harness::verdicts::{allowed, name_asked};
use crate::harness::world::World;
use crate::harness::zone::{Behaviour, Zone};
use crate::runner::Story;

/// The name in the resolver's certificate.
const RESOLVER: &str = "resolver.test";

/// How long cordon may take for a question in these stories.
const PATIENCE_MS: u64 = 1500;

pub(super) fn stories() -> Vec<Story> {
    let mut stories = Vec::new();
    for (name, protocol) in [("tls", Protocol::Tls), ("https", Protocol::Https)] {
        stories.extend([
            Story::new(
                format!("dns_upstream::{name}_is_asked_when_its_certificate_fits"),
                move |environment| encrypted(environment, protocol),
            ),
            Story::new(
                format!("dns_upstream::{name}_with_a_wrong_certificate_is_not_asked_and_told_so"),
                move |environment| wrong_certificate(environment, protocol),
            ),
            Story::new(
                format!("dns_upstream::{name}_that_hangs_up_after_each_answer_is_asked_again"),
                move |environment| hangs_up(environment, protocol),
            ),
        ]);
    }
    for lie in Lie::WITHOUT_ANSWER {
        stories.push(Story::new(
            format!(
                "dns_upstream::{}_opens_nothing_and_costs_little",
                lie.name()
            ),
            move |environment| lying(environment, lie),
        ));
    }
    stories.extend([
        Story::new(
            "dns_upstream::foreign_records_in_an_answer_open_nothing",
            foreign,
        ),
        Story::new(
            "dns_upstream::one_that_refuses_fails_or_is_silent_is_passed_over",
            failover,
        ),
        Story::new(
            "dns_upstream::one_that_was_down_is_asked_again_when_it_is_back",
            restart,
        ),
        Story::new(
            "dns_upstream::three_hundred_addresses_of_a_name_are_all_leased",
            three_hundred,
        ),
        Story::new(
            "dns_upstream::fifty_who_ask_at_once_are_one_question",
            fifty,
        ),
    ]);
    stories
}

fn question(names: &[&str], kind: &str, transport: Transport) -> Step {
    Step::Dns {
        server: at(DNS_V4, 53),
        transport,
        names: names.iter().map(|&name| name.to_owned()).collect(),
        kind: kind.to_owned(),
    }
}

/// A profile that allows `good.test` and asks these resolvers.
fn profile(
    world: &World,
    upstream: &[String],
    authority: Option<&Path>,
) -> Result<std::path::PathBuf> {
    let ca = authority.map_or_else(String::new, |path| format!("ca = \"{}\"\n", path.display()));
    let rules = host("good.test", "8080");
    let body = format!("{rules}[dns]\nupstream = {upstream:?}\n{ca}");
    world.profile("names", &body)
}

fn address(protocol: Protocol, name: &str) -> [String; 2] {
    match protocol {
        Protocol::Tls => [
            format!("tls://{DNS_V4}#{name}"),
            format!("tls://[{DNS_V6}]:853#{name}"),
        ],
        Protocol::Https => [
            format!("https://{DNS_V4}/dns-query#{name}"),
            format!("https://[{DNS_V6}]:443#{name}"),
        ],
    }
}

fn port(protocol: Protocol) -> u16 {
    match protocol {
        Protocol::Tls => 853,
        Protocol::Https => 443,
    }
}

fn encrypted(environment: &Environment, protocol: Protocol) -> Result<()> {
    for server in 0..2 {
        let world = World::new(environment)?;
        let certificate = Certificate::new(RESOLVER, world.path("ca.pem"))?;
        world.serve_encrypted(&certificate, protocol, port(protocol))?;
        let upstream = address(protocol, RESOLVER).get(server).cloned();
        let upstream = upstream.context("two servers")?;
        let profile = profile(&world, &[upstream], Some(certificate.authority()))?;
        let steps = [
            question(&["good.test", "evil.test"], "A", Transport::Tcp),
            Step::tcp(at(GOOD_V4, 8080)),
        ];
        let [name, tcp] = world.enforced(&profile, &steps)?.run()?.steps()?;
        let [good, evil] = &name.answers[..] else {
            anyhow::bail!("{name:?}");
        };
        ensure!(good.addresses == [GOOD_V4], "{name:?}");
        ensure!(evil.code == "Query Refused", "{name:?}");
        allowed(&tcp)?;
        ensure!(world.zone.names_asked() == ["good.test"]);
    }
    Ok(())
}

/// Right authority and another name; right name and an authority nobody knows.
fn wrong_certificate(environment: &Environment, protocol: Protocol) -> Result<()> {
    for known in [true, false] {
        let world = World::new(environment)?;
        let name = if known { "other.test" } else { RESOLVER };
        let certificate = Certificate::new(name, world.path("ca.pem"))?;
        let stranger = Certificate::new(RESOLVER, world.path("stranger.pem"))?;
        world.serve_encrypted(&certificate, protocol, port(protocol))?;
        let trusted = if known { &certificate } else { &stranger };
        let upstream = address(protocol, RESOLVER);
        let profile = profile(&world, &upstream, Some(trusted.authority()))?;
        let steps = [question(&["good.test"], "A", Transport::Tcp)];
        let finished = world.enforced(&profile, &steps)?.run()?;
        let [name] = finished.steps()?;
        let [answer] = &name.answers[..] else {
            anyhow::bail!("{name:?}");
        };
        ensure!(answer.code == "Server Failure", "{name:?}");
        let why = answer.why.as_deref().unwrap_or_default();
        ensure!(why.contains("certificate"), "{name:?}\n{}", finished.stderr);
        ensure!(
            finished.stderr.contains("its certificate is not accepted"),
            "{}",
            finished.stderr
        );
        ensure!(world.zone.names_asked().is_empty(), "it was asked");
    }
    Ok(())
}

fn hangs_up(environment: &Environment, protocol: Protocol) -> Result<()> {
    let world = World::new(environment)?;
    world.zone.behave(Behaviour::HangUp);
    let certificate = Certificate::new(RESOLVER, world.path("ca.pem"))?;
    world.serve_encrypted(&certificate, protocol, port(protocol))?;
    let [upstream, _] = address(protocol, RESOLVER);
    let profile = profile(&world, &[upstream], Some(certificate.authority()))?;
    let steps = ["A", "AAAA", "TXT"].map(|kind| question(&["good.test"], kind, Transport::Tcp));
    for outcome in world.enforced(&profile, &steps)?.run()?.steps::<3>()? {
        let code = outcome.answers.first().map(|answer| answer.code.as_str());
        ensure!(code == Some("No Error"), "{outcome:?}");
    }
    ensure!(world.zone.questions("good.test") >= 3);
    Ok(())
}

/// The question failed, in time.
fn failed(environment: &Environment, outcome: &Outcome) -> Result<()> {
    let [answer] = &outcome.answers[..] else {
        anyhow::bail!("{outcome:?}");
    };
    ensure!(answer.code == "Server Failure", "{outcome:?}");
    ensure!(answer.addresses.is_empty(), "{outcome:?}");
    let limit = Duration::from_millis(PATIENCE_MS) + environment.seconds(1);
    ensure!(Duration::from_millis(outcome.ms) < limit, "{outcome:?}");
    Ok(())
}

fn lying(environment: &Environment, lie: Lie) -> Result<()> {
    let world = World::new(environment)?;
    world.zone.behave(Behaviour::Lie(lie));
    let profile = world.profile("names", &host("good.test", "8080"))?;
    let steps = [
        question(&["good.test"], "A", Transport::Tcp),
        question(&["good.test"], "A", Transport::Udp),
        Step::tcp(at(EVIL_V4, 8080)),
        Step::tcp(at(GOOD_V4, 8080)),
    ];
    let job = world.enforced(&profile, &steps)?;
    let finished = job
        .dns_setting(&format!("timeout_ms = {PATIENCE_MS}"))
        .run()?;
    let [first, second, evil, good] = finished.steps()?;
    failed(environment, &first)?;
    failed(environment, &second)?;
    world.refused(&evil)?;
    world.refused(&good)?;
    // Circles are not run round, nor is a liar asked for ever.
    let asked: u64 = world
        .zone
        .names_asked()
        .iter()
        .map(|name| world.zone.questions(name))
        .sum();
    ensure!(asked <= 60, "{asked} questions");
    let report = finished.report()?;
    let line = name_asked(&report, "good.test")?;
    let verdicts = [NameVerdict::Failed, NameVerdict::NotLeased];
    ensure!(verdicts.contains(&line.answer), "{line:?}");
    world.nothing_leaked()
}

fn foreign(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    world.zone.behave(Behaviour::Lie(Lie::Foreign));
    let profile = world.profile("names", &host("good.test", "8080"))?;
    let steps = [
        question(&["good.test"], "A", Transport::Udp),
        Step::tcp(at(EVIL_V4, 8080)),
        Step::tcp(at(GOOD_V4, 8080)),
    ];
    let [name, evil, good] = world.enforced(&profile, &steps)?.run()?.steps()?;
    let records = &name.answers.first().context("no answer")?.records;
    ensure!(records.len() == 1, "{name:?}");
    ensure!(
        name.answers
            .iter()
            .all(|answer| answer.addresses == [GOOD_V4]),
        "{name:?}"
    );
    world.refused(&evil)?;
    allowed(&good)?;
    world.nothing_leaked()
}

fn failover(environment: &Environment) -> Result<()> {
    for behaviour in [None, Some(Behaviour::Fail), Some(Behaviour::Silent)] {
        let world = World::new(environment)?;
        // Without a server there, the first one's machine refuses.
        let first = Zone::default();
        if let Some(behaviour) = behaviour {
            first.behave(behaviour);
            world.serve_names(&first, 5399)?;
        }
        let upstream = [format!("{DNS_V4}:5399"), DNS_V4.to_string()];
        let profile = profile(&world, &upstream, None)?;
        let steps = [
            question(&["good.test"], "A", Transport::Tcp),
            question(&["good.test"], "AAAA", Transport::Tcp),
        ];
        let [a, aaaa] = world.enforced(&profile, &steps)?.run()?.steps()?;
        for outcome in [&a, &aaaa] {
            let answered = outcome
                .answers
                .iter()
                .all(|answer| !answer.addresses.is_empty());
            ensure!(answered, "{behaviour:?}: {outcome:?}");
            ensure!(
                outcome.ms < 4000 * u64::from(environment.slowness),
                "{outcome:?}"
            );
        }
        if behaviour == Some(Behaviour::Silent) {
            // Its silence is remembered.
            ensure!(aaaa.ms < 900 * u64::from(environment.slowness), "{aaaa:?}");
        }
    }
    Ok(())
}

fn restart(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    world.zone.behave(Behaviour::Silent);
    let profile = world.profile("names", &host("good.test", "8080"))?;
    let (down, up) = (world.path("down"), world.path("up"));
    let steps = [
        question(&["good.test"], "A", Transport::Tcp),
        Step::Mark { path: down.clone() },
        Step::Await { path: up.clone() },
        question(&["good.test"], "A", Transport::Tcp),
        Step::tcp(at(GOOD_V4, 8080)),
    ];
    let job = world.enforced(&profile, &steps)?;
    let mut running = job
        .dns_setting(&format!("timeout_ms = {PATIENCE_MS}"))
        .start()?;
    running.until(&down)?;
    world.zone.behave(Behaviour::Answer);
    fs::write(&up, "")?;
    let [before, _, _, after, tcp] = running.wait()?.steps()?;
    failed(environment, &before)?;
    ensure!(
        after
            .answers
            .iter()
            .all(|answer| answer.addresses == [GOOD_V4]),
        "{after:?}"
    );
    allowed(&tcp)
}

fn three_hundred(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    for number in 0..299_u32 {
        let bits = u32::from(Ipv4Addr::new(192, 0, 2, 200)) + number;
        world.zone.add("many.test", Ipv4Addr::from(bits), 60);
    }
    world.zone.add("many.test", GOOD_V4, 60);
    let profile = world.profile("many", &host("many.test", "8080"))?;
    let steps = [
        question(&["many.test"], "A", Transport::Udp),
        Step::tcp(at(GOOD_V4, 8080)),
        question(&["many.test"], "A", Transport::Tcp),
        question(&["94.3.0.192.in-addr.arpa"], "PTR", Transport::Tcp),
        Step::resolve("many.test"),
    ];
    let outcomes = world.enforced(&profile, &steps)?.run()?.steps()?;
    let [udp, good, tcp, middle, libc] = outcomes;
    let first = udp.answers.first().context("no answer")?;
    ensure!(first.truncated && first.records.is_empty(), "{udp:?}");
    // Leased all the same: the answer was known.
    allowed(&good)?;
    let whole = tcp.answers.first().context("no answer")?;
    ensure!(whole.addresses.len() == 300 && !whole.truncated, "{tcp:?}");
    ensure!(whole.addresses.last() == Some(&GOOD_V4.into()), "{tcp:?}");
    let names = middle.answers.first().context("no answer")?;
    ensure!(names.records.len() == 1, "{middle:?}");
    ensure!(libc.addresses.contains(&GOOD_V4.into()), "{libc:?}");
    // `A` over UDP and TCP; `AAAA`, for which the zone says no TTL, each time libc asks, and on a busy machine it asks
    // again. Once for each address would be hundreds.
    let asked = world.zone.questions("many.test");
    ensure!(asked <= 24, "asked {asked} times");
    Ok(())
}

fn fifty(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let delay = Duration::from_millis(1500) * environment.slowness;
    world.zone.behave(Behaviour::Delay(delay));
    let profile = world.profile("names", &host("good.test", "8080"))?;
    let done: Vec<_> = (0..50).map(|i| world.path(&format!("done{i}"))).collect();
    let ask = question(&["good.test"], "A", Transport::Tcp);
    let mut steps: Vec<Step> = done
        .iter()
        .map(|path| Step::Background {
            steps: vec![ask.clone(), Step::Mark { path: path.clone() }],
        })
        .collect();
    steps.extend(done.iter().map(|path| Step::Await { path: path.clone() }));
    let job = world.enforced(&profile, &steps)?;
    let finished = job.dns_setting("timeout_ms = 60000").run()?;
    let report = finished.report()?;
    let line = name_asked(&report, "good.test")?;
    ensure!(line.answer == NameVerdict::Allowed, "{line:?}");
    ensure!(line.count == 50, "{line:?}");
    let asked = world.zone.questions("good.test");
    // UDP is sent again when nothing comes; that is the same question.
    ensure!(asked <= 4, "the zone was asked {asked} times");
    Ok(())
}
