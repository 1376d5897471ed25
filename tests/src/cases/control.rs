//! What controls a job is out of its reach, also when the job is root.

use anyhow::{Result, ensure};

use crate::harness::environment::Environment;
use crate::harness::world::World;
use crate::runner::Story;

pub fn stories() -> Vec<Story> {
    vec![
        Story::new("control::pins_are_hidden_from_a_root_job", pins),
        Story::new("control::a_root_job_cannot_leave_its_cgroup", cgroup),
    ]
}

/// Runs a shell script as the job and returns what it printed.
fn script(world: &World, script: &str) -> Result<String> {
    let profile = world.profile("empty", "")?;
    let finished = world
        .job()
        .under_cordon(&[])
        .profile(&profile)
        .command(["/bin/sh", "-c", script])
        .run()?
        .expect_status(0)?;
    world.nothing_left()?;
    Ok(finished.stdout)
}

fn pins(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let bpffs = world.bpffs().display().to_string();
    let seen = script(&world, &format!("ls -A {bpffs}; echo end"))?;
    ensure!(seen.trim() == "end", "the job sees {seen:?}");
    let own = script(
        &world,
        &format!("umount {bpffs} 2>/dev/null; ls -A {bpffs}; echo end"),
    )?;
    ensure!(own.trim() == "end", "after umount the job sees {own:?}");
    Ok(())
}

fn cgroup(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let root = world.cgroup().root().display().to_string();
    let tried = script(
        &world,
        &format!("echo 0 > {root}/cgroup.procs; cat /proc/self/cgroup"),
    )?;
    ensure!(tried.contains("/cordon.slice/job-"), "{tried}");
    Ok(())
}
