//! What the listener says of names besides their addresses: why not, whose, and how many.

use anyhow::{Context as _, Result, ensure};
use cordon::report::NameVerdict;
use hickory_proto::rr::rdata::svcb::{Alpn, EchConfigList, IpHint, SvcParamKey, SvcParamValue};
use hickory_proto::rr::rdata::{A, HTTPS, SVCB};
use hickory_proto::rr::{Name, RData};

use crate::client::step::{Answer, Step, Transport};
use crate::harness::environment::Environment;
use crate::harness::network::{DNS_V4, EVIL_V4, GOOD_V4, JOB_V4, JOB_V6, at};
use crate::harness::rules::host;
use crate::harness::verdicts::{allowed, name_asked};
use crate::harness::world::World;
use crate::runner::Story;

const REFUSED: &str = "Query Refused";

pub(super) fn stories() -> Vec<Story> {
    vec![
        Story::new(
            "dns_names::a_refusal_says_which_profile_refused",
            refusal_names_profile,
        ),
        Story::new(
            "dns_names::a_reverse_lookup_is_answered_from_leases_and_asks_nobody",
            reverse,
        ),
        Story::new("dns_names::a_wildcard_is_no_tunnel", tunnel),
        Story::new(
            "dns_names::long_labels_under_a_wildcard_never_leave",
            long_labels,
        ),
        Story::new(
            "dns_names::in_audit_mode_a_tunnel_is_seen_and_works",
            audited_tunnel,
        ),
        Story::new(
            "dns_names::the_hosts_own_address_is_not_given_to_a_public_name",
            own_address,
        ),
        Story::new(
            "dns_names::a_service_record_hides_no_names_and_leads_nowhere",
            service,
        ),
    ]
}

fn ask(names: &[&str], kind: &str) -> Step {
    asked(names.iter().map(|&name| name.to_owned()).collect(), kind)
}

fn asked(names: Vec<String>, kind: &str) -> Step {
    Step::Dns {
        server: at(DNS_V4, 53),
        transport: Transport::Tcp,
        names,
        kind: kind.to_owned(),
    }
}

fn only(answers: &[Answer]) -> Result<&Answer> {
    let [answer] = answers else {
        anyhow::bail!("{answers:#?}");
    };
    Ok(answer)
}

fn refusal_names_profile(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let profile = world.profile("ci-names", &host("good.test", "443"))?;
    let steps = [
        ask(&["evil.test"], "A"),
        ask(&["good.test"], "ANY"),
        ask(&["good.test"], "AXFR"),
        ask(&["good.test"], "CAA"),
    ];
    let outcomes = world.enforced(&profile, &steps)?.run()?.steps::<4>()?;
    for (outcome, why) in outcomes.iter().zip([
        "denied by profile ci-names",
        "denied by profile ci-names: record type not served",
        "denied by profile ci-names: record type not served",
        "denied by profile ci-names: record type not served",
    ]) {
        let answer = only(&outcome.answers)?;
        ensure!(answer.code == REFUSED, "{outcome:?}");
        ensure!(answer.why.as_deref() == Some(why), "{outcome:?}");
    }
    let asked = world.zone.names_asked();
    ensure!(asked.is_empty(), "left: {asked:?}");
    Ok(())
}

fn reverse(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let profile = world.profile("names", &host("good.test", "443"))?;
    let of_good = "10.113.0.203.in-addr.arpa";
    let of_evil = "66.100.51.198.in-addr.arpa";
    let steps = [
        ask(&[of_good], "PTR"),
        Step::resolve("good.test"),
        ask(&[of_good], "PTR"),
        ask(&[of_evil], "PTR"),
    ];
    let finished = world.enforced(&profile, &steps)?.run()?;
    let [before, name, after, other] = finished.steps()?;
    ensure!(name.addresses.contains(&GOOD_V4.into()), "{name:?}");
    for refused in [&before, &other] {
        let answer = only(&refused.answers)?;
        ensure!(answer.code == REFUSED, "{refused:?}");
    }
    let records = &only(&after.answers)?.records;
    let names_good = |record: &String| record.ends_with("PTR good.test.");
    ensure!(
        records.len() == 1 && records.iter().all(names_good),
        "{after:?}"
    );
    let left = world.zone.names_asked();
    ensure!(left == ["good.test"], "left: {left:?}");
    Ok(())
}

fn tunnel_names(count: usize) -> Vec<String> {
    (0..count).map(|i| format!("secret{i}.good.test")).collect()
}

/// How many names of a tunnel the zone's owner saw.
fn seen(world: &World) -> usize {
    let is_tunnel = |name: &&String| name.starts_with("secret");
    world.zone.names_asked().iter().filter(is_tunnel).count()
}

fn tunnel(environment: &Environment) -> Result<()> {
    let steps = [asked(tunnel_names(200), "TXT")];
    let control = World::new(environment)?;
    control.free(&steps)?.run()?;
    ensure!(seen(&control) == 200, "the control sees {}", seen(&control));

    let world = World::new(environment)?;
    let profile = world.profile("wildcard", &host("*.good.test", "443"))?;
    let finished = world.enforced(&profile, &steps)?.run()?;
    let [outcome] = finished.steps()?;
    // Slow machines may take more than a minute, and then another name is new.
    let seen = seen(&world);
    ensure!((120..140).contains(&seen), "the zone's owner saw {seen}");
    let refused = outcome
        .answers
        .iter()
        .filter(|answer| answer.code == REFUSED);
    ensure!(refused.count() == 200 - seen, "{outcome:?}");
    let last = outcome.answers.last().context("no answers")?;
    let why = last.why.as_deref().unwrap_or_default();
    ensure!(
        why.starts_with("denied by profile wildcard: too many new names"),
        "{last:?}"
    );
    let report = finished.report()?;
    let summary = &report.summary;
    ensure!(summary.names_limited == 200 - seen as u64, "{summary:?}");
    let line = name_asked(&report, "secret199.good.test")?;
    ensure!(line.answer == NameVerdict::Limited, "{line:?}");
    ensure!(line.rule == Some(0), "{line:?}");
    let told = finished
        .stderr
        .matches("beyond the limits of the wildcard")
        .count();
    ensure!(told == 1, "told {told} times:\n{}", finished.stderr);
    Ok(())
}

fn long_labels(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let profile = world.profile("wildcard", &host("**.good.test", "443"))?;
    let names = vec![
        format!("{}.good.test", "a".repeat(40)),
        format!("{}.good.test", "b".repeat(41)),
        format!("x.{}.good.test", "c".repeat(63)),
        format!("{0}.{0}.{0}.good.test", "d".repeat(30)),
    ];
    let finished = world
        .enforced(&profile, &[asked(names.clone(), "A")])?
        .run()?;
    let [outcome] = finished.steps()?;
    let codes: Vec<&str> = outcome
        .answers
        .iter()
        .map(|answer| answer.code.as_str())
        .collect();
    ensure!(
        codes == ["Non-Existent Domain", REFUSED, REFUSED, REFUSED],
        "{codes:?}"
    );
    let left = world.zone.names_asked();
    ensure!(
        names.starts_with(&left) && left.len() == 1,
        "left: {left:?}"
    );
    Ok(())
}

fn audited_tunnel(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let profile = world.profile("wildcard", &host("*.good.test", "443"))?;
    let steps = [asked(tunnel_names(10), "TXT")];
    let job = world.enforced(&profile, &steps)?.audited();
    let finished = job.dns_setting("wildcard_names = 4").run()?;
    ensure!(seen(&world) == 10, "{:?}", world.zone.names_asked());
    let report = finished.report()?;
    ensure!(report.summary.names_limited == 6, "{:?}", report.summary);
    Ok(())
}

fn own_address(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    for name in ["own.test", "private.test"] {
        world.zone.add(name, JOB_V4, 60);
        world.zone.add(name, JOB_V6, 60);
    }
    let beside = world.listen_beside_job(&[at(JOB_V4, 8080)])?;
    let rules = host("own.test", "8080") + &host("private.test", "8080") + "private = true\n";
    let profile = world.profile("own", &rules)?;
    let steps = [
        ask(&["own.test"], "A"),
        ask(&["own.test"], "AAAA"),
        Step::tcp(at(JOB_V4, 8080)),
    ];
    let finished = world.enforced(&profile, &steps)?.run()?;
    let [v4, v6, tcp] = finished.steps()?;
    for outcome in [&v4, &v6] {
        let answer = only(&outcome.answers)?;
        ensure!(answer.code == REFUSED, "{outcome:?}");
    }
    world.refused(&tcp)?;
    let report = finished.report()?;
    let line = name_asked(&report, "own.test")?;
    ensure!(line.answer == NameVerdict::Rebinding, "{line:?}");
    drop(beside);

    let steps = [ask(&["private.test"], "A")];
    let [outcome] = world.enforced(&profile, &steps)?.run()?.steps()?;
    ensure!(only(&outcome.answers)?.addresses == [JOB_V4], "{outcome:?}");
    Ok(())
}

fn service(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let params = vec![
        (
            SvcParamKey::Alpn,
            SvcParamValue::Alpn(Alpn(vec!["h2".to_owned()])),
        ),
        (
            SvcParamKey::Ipv4Hint,
            SvcParamValue::Ipv4Hint(IpHint(vec![A(EVIL_V4)])),
        ),
        (
            SvcParamKey::EchConfigList,
            SvcParamValue::EchConfigList(EchConfigList(vec![0xec; 32])),
        ),
    ];
    let service = RData::HTTPS(HTTPS(SVCB::new(1, Name::root(), params)));
    world.zone.add_record("good.test", 60, service);
    let profile = world.profile("names", &host("good.test", "443"))?;
    let steps = [
        ask(&["good.test"], "HTTPS"),
        Step::tcp(at(EVIL_V4, 443)),
        Step::resolve("good.test"),
        Step::tcp(at(GOOD_V4, 443)),
    ];
    let [https, evil, _, good] = world.enforced(&profile, &steps)?.run()?.steps()?;
    let [record] = &only(&https.answers)?.records[..] else {
        anyhow::bail!("{https:?}");
    };
    ensure!(
        record.contains("alpn=") && record.contains("h2"),
        "{record}"
    );
    ensure!(
        !record.contains("ech") && !record.contains("hint"),
        "{record}"
    );
    world.refused(&evil)?;
    allowed(&good)?;
    world.nothing_leaked()
}
