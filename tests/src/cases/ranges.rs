//! The edges of port ranges and address ranges.

use anyhow::Result;

use crate::client::step::{Outcome, Step};
use crate::harness::environment::Environment;
use crate::harness::network::{GOOD_V4, GOOD_V6, OTHER_V4, OTHER_V6, at};
use crate::harness::rules::cidr;
use crate::harness::verdicts::allowed;
use crate::harness::world::World;
use crate::runner::Story;

pub(super) fn stories() -> Vec<Story> {
    vec![
        Story::new(
            "ranges::the_first_and_last_port_are_inside_and_no_other",
            port_edges,
        ),
        Story::new(
            "ranges::the_smallest_and_largest_port_can_be_allowed",
            extreme_ports,
        ),
        Story::new("ranges::a_v4_prefix_ends_where_it_says", v4_prefix),
        Story::new("ranges::a_v6_prefix_ends_where_it_says", v6_prefix),
        Story::new(
            "ranges::a_narrow_range_keeps_what_a_wide_one_allows",
            nested,
        ),
    ]
}

fn expect(world: &World, outcomes: &[Outcome], expected: &[bool]) -> Result<()> {
    anyhow::ensure!(outcomes.len() == expected.len(), "{outcomes:#?}");
    for (outcome, &passes) in outcomes.iter().zip(expected) {
        if passes {
            allowed(outcome)?;
        } else {
            world.refused(outcome)?;
        }
    }
    Ok(())
}

fn port_edges(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    for port in [5999, 6000, 6010, 6011] {
        world.listen_good(port)?;
    }
    let profile = world.profile("ports", &cidr("203.0.113.10/32", "\"6000-6010\"", "tcp"))?;
    let steps = [5999, 6000, 6010, 6011].map(|port| Step::tcp(at(GOOD_V4, port)));
    let outcomes = world.enforced(&profile, &steps)?.run()?.outcomes()?;
    expect(&world, &outcomes, &[false, true, true, false])
}

fn extreme_ports(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    for port in [1, 65535] {
        world.listen_good(port)?;
    }
    let profile = world.profile("ports", &cidr("2001:db8:a::10/128", "1, 65535", "udp"))?;
    let steps = [1, 65535, 8080].map(|port| Step::udp(at(GOOD_V6, port)));
    let outcomes = world.enforced(&profile, &steps)?.run()?.outcomes()?;
    expect(&world, &outcomes, &[true, true, false])
}

fn v4_prefix(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let steps = [Step::tcp(at(GOOD_V4, 8080)), Step::tcp(at(OTHER_V4, 8080))];
    for (range, expected) in [
        ("203.0.113.10/31", [true, true]),
        ("203.0.113.8/31", [false, false]),
        ("203.0.113.11/32", [false, true]),
        ("203.0.113.0/24", [true, true]),
        ("203.0.112.0/24", [false, false]),
    ] {
        let profile = world.profile("prefix", &cidr(range, "8080", "tcp"))?;
        let outcomes = world.enforced(&profile, &steps)?.run()?.outcomes()?;
        expect(&world, &outcomes, &expected)?;
    }
    Ok(())
}

fn v6_prefix(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let steps = [Step::tcp(at(GOOD_V6, 8080)), Step::tcp(at(OTHER_V6, 8080))];
    for (range, expected) in [
        ("2001:db8:a::10/127", [true, true]),
        ("2001:db8:a::11/128", [false, true]),
        ("2001:db8:a::/48", [true, true]),
        ("2001:db8:b::/48", [false, false]),
    ] {
        let profile = world.profile("prefix", &cidr(range, "8080", "tcp"))?;
        let outcomes = world.enforced(&profile, &steps)?.run()?.outcomes()?;
        expect(&world, &outcomes, &expected)?;
    }
    Ok(())
}

/// The kernel looks only at the longest prefix that matches.
fn nested(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let rules = cidr("203.0.113.0/24", "8080", "tcp") + &cidr("203.0.113.10/32", "443", "tcp");
    let profile = world.profile("nested", &rules)?;
    let steps = [
        Step::tcp(at(GOOD_V4, 8080)),
        Step::tcp(at(GOOD_V4, 443)),
        Step::tcp(at(OTHER_V4, 8080)),
        Step::tcp(at(OTHER_V4, 443)),
    ];
    let outcomes = world.enforced(&profile, &steps)?.run()?.outcomes()?;
    expect(&world, &outcomes, &[true, true, true, false])
}
