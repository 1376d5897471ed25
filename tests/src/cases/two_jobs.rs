//! Two jobs at once: each has its own ruleset, and neither's end is the other's.

use std::fs::File;

use anyhow::{Result, ensure};

use crate::client::step::Step;
use crate::harness::environment::Environment;
use crate::harness::network::{EVIL_V4, GOOD_V4, OTHER_V4, at};
use crate::harness::rules::{cidr, host};
use crate::harness::verdicts::allowed;
use crate::harness::world::World;
use crate::runner::Story;

pub(super) fn stories() -> Vec<Story> {
    vec![
        Story::new(
            "two_jobs::each_has_its_own_ruleset_and_outlives_the_other",
            rulesets,
        ),
        Story::new("two_jobs::a_lease_of_one_is_none_of_the_other", leases),
    ]
}

fn rulesets(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let (good, other) = (at(GOOD_V4, 8080), at(OTHER_V4, 8080));
    let to_good = world.profile("to-good", &cidr("203.0.113.10/32", "8080", "tcp"))?;
    let to_other = world.profile("to-other", &cidr("203.0.113.11/32", "8080", "tcp"))?;
    let [first_up, second_up, go, end] =
        ["first-up", "second-up", "go", "end"].map(|name| world.path(name));
    let first = [
        Step::Mark {
            path: first_up.clone(),
        },
        Step::Await { path: go.clone() },
        Step::tcp(good),
        Step::tcp(other),
    ];
    let second = [
        Step::Mark {
            path: second_up.clone(),
        },
        Step::Await { path: go.clone() },
        Step::tcp(other),
        Step::tcp(good),
        Step::Await { path: end.clone() },
        Step::tcp(other),
        Step::tcp(at(EVIL_V4, 8080)),
    ];
    let mut first = world.enforced(&to_good, &first)?.start()?;
    first.until(&first_up)?;
    let mut second = world.enforced(&to_other, &second)?.start()?;
    second.until(&second_up)?;
    File::create(&go)?;

    let [_, _, own, foreign] = first.wait()?.expect_status(0)?.steps()?;
    allowed(&own)?;
    world.refused(&foreign)?;
    // The first is gone, and so may be what it attached.
    File::create(&end)?;
    let [_, _, own, foreign, _, own_later, evil] = second.wait()?.expect_status(0)?.steps()?;
    allowed(&own)?;
    world.refused(&foreign)?;
    allowed(&own_later)?;
    world.refused(&evil)?;
    world.nothing_leaked()?;
    world.nothing_left()
}

fn leases(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let asks = world.profile("asks", &host("good.test", "8080"))?;
    let [resolved, tried] = ["resolved", "tried"].map(|name| world.path(name));
    let first = [
        Step::resolve("good.test"),
        Step::Mark {
            path: resolved.clone(),
        },
        Step::Await {
            path: tried.clone(),
        },
        Step::tcp(at(GOOD_V4, 8080)),
    ];
    let second = [Step::tcp(at(GOOD_V4, 8080)), Step::Mark { path: tried }];
    let mut first = world.enforced(&asks, &first)?.start()?;
    first.until(&resolved)?;
    // The same profile: only the lease is missing.
    let [tcp, _] = world.enforced(&asks, &second)?.run()?.steps()?;
    world.refused(&tcp)?;
    let [_, _, _, tcp] = first.wait()?.steps()?;
    ensure!(tcp.ok, "{tcp:?}");
    world.nothing_left()
}
