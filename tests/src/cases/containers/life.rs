//! A job's containers from start to end, whatever ends it.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;

use super::{NO_ENGINE, Stage, says};
use crate::harness::engine::{Driver, Engine, IMAGE};
use crate::harness::environment::Environment;
use crate::harness::network::{EVIL_V4, at};
use crate::harness::world::World;
use crate::runner::{Lack, Told};

/// Documented statuses of cordon.
const NOT_ENFORCED: i32 = 120;

pub(super) fn attached(stage: &Stage<'_>) -> Result<()> {
    let script = format!(
        "set -e\n\
         echo through-run | docker run --rm -i {IMAGE} cat\n\
         docker run -d --name it -e WORD=of-the-environment {IMAGE} sh -c 'echo from-logs; exec sleep 60' >/dev/null\n\
         echo through-exec | docker exec -i it cat\n\
         docker exec it sh -c 'exit 7' || echo status $?\n\
         docker exec it sh -c 'echo $WORD'\n\
         sleep 0.5; docker logs it\n\
         echo copied-in > here; docker cp here it:/tmp/there; docker exec it cat /tmp/there\n\
         docker cp it:/etc/passwd back; cat back\n\
         docker commit it made:1 >/dev/null; docker run --rm made:1 cat /tmp/there\n\
         docker export it | tar t | grep -c tmp/there\n\
         docker stop -t 0 it >/dev/null; docker wait it\n"
    );
    let finished = stage.job(&script)?.expect_status(0)?;
    for words in [
        "through-run",
        "through-exec",
        "status 7",
        "of-the-environment",
        "from-logs",
        "copied-in\nroot:x:0:0",
        "/bin/sh\ncopied-in\n1\n137",
    ] {
        says(&finished.stdout, words)?;
    }
    let images = stage
        .engine
        .done(&["images", "--format", "{{.Repository}}:{{.Tag}}"])?;
    ensure!(images == IMAGE, "images are left: {images}");
    Ok(())
}

pub(super) fn ended(stage: &Stage<'_>) -> Result<()> {
    let script = format!(
        "docker network create n >/dev/null; docker volume create v >/dev/null\n\
         docker run -d --restart always --network n -v v:/v -v /anonymous {IMAGE} sleep 600\n\
         docker create {IMAGE} true\n\
         docker run -d --rm {IMAGE} sleep 600\n"
    );
    let finished = stage.job(&script)?.expect_status(0)?;
    says(&finished.stderr, "the restart policy `always` was left out")?;
    for words in [
        &["ps", "--all", "--quiet"][..],
        &["volume", "ls", "--quiet"],
        &["network", "ls", "--quiet", "--filter", "type=custom"],
    ] {
        let left = stage.engine.done(words)?;
        ensure!(left.is_empty(), "docker {words:?}: {left}");
    }
    let slices = stage.world.cgroup().slices();
    ensure!(slices.is_empty(), "cgroups are left: {slices:?}");
    Ok(())
}

pub(super) fn killed(stage: &Stage<'_>) -> Result<()> {
    let Stage { world, engine, .. } = stage;
    let (ready, evil) = (world.path("ready"), at(EVIL_V4, 8080));
    let script = format!(
        "docker run -d --name it {IMAGE} sh -c \
           'while true; do nc -w 1 198.51.100.66 8080 </dev/null; echo tried; sleep 0.1; done' >/dev/null\n\
         sleep 1; echo $DOCKER_HOST > {}; sleep 600\n",
        ready.display()
    );
    let mut running = stage.start(&script)?;
    running.until(&ready)?;
    running.signal(Signal::SIGKILL)?;
    drop(running.wait()?);
    let tried = |engine: &Engine<'_>| -> Result<usize> {
        Ok(engine.done(&["logs", "it"])?.lines().count())
    };
    let before = tried(engine)?;
    std::thread::sleep(std::time::Duration::from_secs(1));
    ensure!(
        tried(engine)? > before,
        "the container does not run: nothing is proved"
    );
    world.nothing_leaked()?;
    ensure!(
        world.evil.at(evil).connections == 0,
        "the attacker was reached"
    );
    // Nobody mediates any more.
    let endpoint = fs::read_to_string(&ready)?;
    let port: u16 = endpoint
        .trim()
        .rsplit(':')
        .next()
        .context("a port")?
        .parse()?;
    let reached = world.network.job.run(|| {
        Ok(std::net::TcpStream::connect(at(std::net::Ipv4Addr::LOCALHOST, port)).is_ok())
    })?;
    ensure!(!reached, "the mediator outlives cordon");
    // The next job finds nothing of it, and neither does the engine.
    let next = stage.job("docker ps -aq")?.expect_status(0)?;
    ensure!(next.stdout.is_empty(), "{}", next.stdout);
    let left = engine.done(&["ps", "--all", "--quiet"])?;
    ensure!(left.is_empty(), "containers are left: {left}");
    world.nothing_leaked()
}

pub(super) fn unfit(environment: &Environment) -> Result<Told> {
    let world = World::new(environment)?;
    let Some(engine) = Engine::start_with(&world, Driver::Cgroupfs, &serde_json::json!({}))? else {
        return Ok(Told::NotHere(Lack::Engine, NO_ENGINE.to_owned()));
    };
    let profile = world.profile("containers", "[containers]\nengine = \"mediate\"\n")?;
    let marker = world.path("ran");
    let script = format!("touch {}", marker.display());
    let finished = engine
        .job(&profile, world.directory(), &script)?
        .run()?
        .expect_status(NOT_ENFORCED)?;
    says(&finished.stderr, "the engine's default runtime is `runc`")?;
    says(&finished.stderr, "\"default-runtime\": \"cordon\"")?;
    ensure!(!marker.exists(), "the job ran");
    // Nobody answers at all.
    let nowhere = world.path("nowhere.sock");
    let job = world
        .job()
        .profile(&profile)
        .engine(&nowhere)
        .command(["true"]);
    let finished = job.run()?.expect_status(NOT_ENFORCED)?;
    says(&finished.stderr, "the engine does not answer")?;
    // What a container would give back.
    let rules = "[containers]\nengine = \"mediate\"\n[sandbox]\nhide_credentials = true\n";
    let profile = world.profile("confined", rules)?;
    let finished = engine
        .job(&profile, world.directory(), &script)?
        .run()?
        .expect_status(NOT_ENFORCED)?;
    says(
        &finished.stderr,
        "of `[sandbox]` would not hold for containers",
    )?;
    ensure!(!marker.exists(), "the job ran");
    engine.stop()?;
    world.nothing_left()?;
    Ok(Told::Whole)
}
