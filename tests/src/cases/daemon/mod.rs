//! The daemon: runners are denied by default, their jobs get what was granted, and neither hooks nor kills nor the
//! socket give anybody more.

use anyhow::Result;

use crate::harness::environment::Environment;
use crate::harness::rules::cidr;
use crate::harness::service::Service;
use crate::harness::world::World;
use crate::runner::Story;

mod commands;
mod hooks;
mod life;
mod metrics;
mod narrow;
mod real;
mod runners;
mod socket;
mod telemetry;

/// Settings of a host with runners of GitHub Actions.
pub(super) const SETTINGS: &str = r#"
[[runner]]
unit = "actions.runner.*.service"
control_plane = ["plane"]
worker = "Runner.Worker"

[[grant]]
repository = "acme/app"
profiles = ["app", "wide"]

[[grant]]
repository = "acme/open"
profiles = ["app"]
fork_profile = "plane"
"#;

/// The unit of a runner.
pub(super) const UNIT: &str = "actions.runner.acme-1.service";

pub(super) fn stories() -> Vec<Story> {
    [
        runners::stories(),
        commands::stories(),
        hooks::stories(),
        life::stories(),
        socket::stories(),
        narrow::stories(),
        real::stories(),
        metrics::stories(),
        telemetry::stories(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A world with its profiles: the control plane is `other.test`'s address, jobs reach `good.test`'s.
pub(super) fn world(environment: &Environment) -> Result<World> {
    let world = World::new(environment)?;
    world.listen_good(8081)?;
    Service::profile(&world, "plane", &cidr("203.0.113.11/32", "8080", "tcp"))?;
    Service::profile(&world, "app", &cidr("203.0.113.10/32", "8080", "tcp"))?;
    Service::profile(&world, "wide", &cidr("203.0.113.10/32", "8081", "tcp"))?;
    Ok(world)
}
