//! Container engines: a job's containers are the job, and what would not be is refused.

use std::fs;
use std::path::PathBuf;

use anyhow::{Result, ensure};

use crate::harness::engine::{Driver, Engine};
use crate::harness::environment::Environment;
use crate::harness::job::{Finished, Running};
use crate::harness::rules::host;
use crate::harness::world::World;
use crate::runner::{Lack, Story, Told};

mod build;
mod compose;
mod edge;
mod life;
mod others;
mod refused;
mod runners;

pub(super) fn stories() -> Vec<Story> {
    type Tell = fn(&Stage<'_>) -> Result<()>;
    let stories: [(&str, Tell); 21] = [
        ("services_of_a_compose_file_are_the_job", compose::services),
        ("an_image_is_built_and_nothing_of_it_is_left", build::built),
        ("steps_of_a_build_are_enforced_and_attributed", build::steps),
        (
            "the_engine_fetches_nothing_for_a_build",
            build::fetches_nothing,
        ),
        ("a_dockerfile_that_hides_is_not_built", build::contexts),
        ("a_build_ends_with_its_job", build::ended),
        (
            "egress_of_a_container_is_enforced_and_attributed",
            edge::egress,
        ),
        (
            "containers_reach_each_other_and_the_job_their_ports_and_nobody_else_does",
            edge::services,
        ),
        (
            "what_leaves_the_sandbox_is_refused_in_words",
            refused::refused,
        ),
        ("requests_that_are_in_no_table_are_refused", refused::raw),
        ("a_link_in_the_workspace_leads_nowhere", refused::links),
        (
            "the_runtime_refuses_what_comes_past_the_mediator",
            refused::past_the_mediator,
        ),
        ("containers_of_others_are_not_there", others::others),
        (
            "connections_are_taken_over_and_files_copied",
            life::attached,
        ),
        ("nothing_is_left_when_a_job_ends", life::ended),
        (
            "a_killed_cordon_leaves_containers_denied_and_the_next_removes_them",
            life::killed,
        ),
        (
            "a_runners_container_job_and_its_services_are_the_job",
            runners::container_job,
        ),
        (
            "the_engine_of_a_runners_job_answers_that_job_alone",
            runners::alone,
        ),
        (
            "a_workspace_that_is_not_the_runners_is_none",
            runners::workspace,
        ),
        (
            "a_killed_daemon_leaves_containers_denied_and_the_next_mediates_again",
            runners::restarted,
        ),
        (
            "a_daemon_keeps_the_right_to_start_mediators_where_jobs_have_engines",
            runners::rights,
        ),
    ];
    let mut all: Vec<Story> = stories
        .into_iter()
        .map(|(name, tell)| {
            Story::conditional(format!("containers::{name}"), move |environment| {
                staged(environment, Driver::Cgroupfs, tell)
            })
        })
        .collect();
    // What an engine on a host with systemd has by default.
    let by_systemd: [(&str, Tell); 6] = [
        (
            "egress_of_a_container_is_enforced_and_attributed",
            edge::egress,
        ),
        (
            "containers_reach_each_other_and_the_job_their_ports_and_nobody_else_does",
            edge::services,
        ),
        ("services_of_a_compose_file_are_the_job", compose::services),
        ("an_image_is_built_and_nothing_of_it_is_left", build::built),
        ("nothing_is_left_when_a_job_ends", life::ended),
        (
            "the_runtime_refuses_what_comes_past_the_mediator",
            refused::past_the_mediator,
        ),
    ];
    all.extend(by_systemd.into_iter().map(|(name, tell)| {
        Story::conditional(
            format!("containers::by_systemd::{name}"),
            move |environment| staged(environment, Driver::Systemd, tell),
        )
    }));
    all.push(Story::conditional(
        "containers::an_engine_without_cordons_runtime_starts_no_job_and_says_what_to_set",
        life::unfit,
    ));
    all
}

const NO_ENGINE: &str =
    "no container engine in target/tools; `cargo xtask test containers` unpacks one";

/// A world with an engine, and a profile that may use it.
struct Stage<'w> {
    world: &'w World,
    engine: Engine<'w>,
    profile: PathBuf,
    workspace: PathBuf,
}

fn staged(
    environment: &Environment,
    driver: Driver,
    tell: fn(&Stage<'_>) -> Result<()>,
) -> Result<Told> {
    let world = World::new(environment)?;
    let Some(engine) = Engine::start(&world, driver)? else {
        return Ok(Told::NotHere(Lack::Engine, NO_ENGINE.to_owned()));
    };
    let rules = format!(
        "{}[containers]\nengine = \"mediate\"\n",
        host("good.test", "8080")
    );
    let stage = Stage {
        profile: world.profile("containers", &rules)?,
        workspace: world.path("workspace"),
        world: &world,
        engine,
    };
    fs::create_dir(&stage.workspace)?;
    tell(&stage)?;
    stage.engine.stop()?;
    Ok(Told::Whole)
}

impl<'w> Stage<'w> {
    /// A script as a mediated job, to its end.
    fn job(&self, script: &str) -> Result<Finished> {
        self.engine
            .job(&self.profile, &self.workspace, script)?
            .run()
    }

    /// The same, only started.
    fn start(&self, script: &str) -> Result<Running<'w>> {
        self.engine
            .job(&self.profile, &self.workspace, script)?
            .start()
    }
}

/// What it said holds these words.
fn says(said: &str, words: &str) -> Result<()> {
    ensure!(said.contains(words), "`{words}` is not in:\n{said}");
    Ok(())
}
