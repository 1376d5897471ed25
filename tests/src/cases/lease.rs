//! Leases: what DNS answered is reachable for as long as the answer was good.

use anyhow::{Result, ensure};

use crate::client::step::Step;
use crate::harness::environment::Environment;
use crate::harness::network::{GOOD_V4, at};
use crate::harness::rules::host;
use crate::harness::verdicts::denial_of;
use crate::harness::world::World;
use crate::runner::Story;

pub(super) fn stories() -> Vec<Story> {
    vec![
        Story::new(
            "lease::a_new_connection_is_refused_after_the_ttl_and_a_live_one_stays",
            expiry,
        ),
        Story::new("lease::asking_again_renews_it", renewal),
    ]
}

/// Seconds a name is good for, and milliseconds until it surely is not.
const TTL: u32 = 2;
const OVER: u64 = 3500;

fn expiry(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    world.zone.add("short.test", GOOD_V4, TTL);
    let profile = world.profile("short", &host("short.test", "8080"))?;
    let (until, held) = (world.path("until"), world.path("held"));
    let good = at(GOOD_V4, 8080);
    let steps = [
        Step::resolve("short.test"),
        Step::Background {
            steps: vec![
                Step::Hold {
                    to: good,
                    until: until.clone(),
                },
                Step::Mark { path: held.clone() },
            ],
        },
        Step::Sleep { ms: OVER },
        Step::tcp(good),
        Step::Mark { path: until },
        Step::Await { path: held },
    ];
    let finished = world.enforced(&profile, &steps)?.run()?;
    let outcomes = finished.outcomes()?;
    let of = |name: &str| {
        let found = outcomes
            .iter()
            .find(|outcome| outcome.step.starts_with(name));
        found.ok_or_else(|| anyhow::anyhow!("no step {name}: {outcomes:#?}"))
    };
    let live = of("Hold")?;
    ensure!(
        live.ok && live.bytes == 8,
        "the live connection did not stay: {live:?}"
    );
    world.refused(of("Tcp")?)?;
    let report = finished.report()?;
    let denial = denial_of(&report, good, "tcp")?;
    ensure!(denial.reason == "lease-expired", "{denial:?}");
    ensure!(denial.destination.names == ["short.test"], "{denial:?}");
    Ok(())
}

fn renewal(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    world.zone.add("short.test", GOOD_V4, TTL);
    let profile = world.profile("short", &host("short.test", "8080"))?;
    let steps = [
        Step::resolve("short.test"),
        Step::Sleep { ms: OVER },
        Step::tcp(at(GOOD_V4, 8080)),
        Step::resolve("short.test"),
        Step::tcp(at(GOOD_V4, 8080)),
    ];
    let [_, _, late, _, renewed] = world.enforced(&profile, &steps)?.run()?.steps()?;
    world.refused(&late)?;
    ensure!(renewed.ok, "{renewed:?}");
    Ok(())
}
