//! A process of a job stays the job's wherever it is put, and its number does not when it is gone.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use crate::client::step::Step;
use crate::harness::cgroup::processes;
use crate::harness::environment::Environment;
use crate::harness::network::{EVIL_V4, EVIL_V6, at};
use crate::harness::world::World;
use crate::runner::Story;

/// The number after which the kernel looks for the next free one.
const LAST_NUMBER: &str = "/proc/sys/kernel/ns_last_pid";
/// Other processes of the machine take numbers too.
const TRIES: usize = 50;

pub(super) fn stories() -> Vec<Story> {
    vec![
        Story::new(
            "membership::a_process_moved_out_of_its_cgroup_stays_the_jobs",
            moved,
        ),
        Story::new(
            "membership::a_number_that_is_used_again_is_not_the_jobs",
            number,
        ),
    ]
}

/// Somebody with power over cgroups takes the job's processes out, and they go on.
fn moved(environment: &Environment) -> Result<()> {
    let attempts = |out: &Path| {
        vec![
            Step::Await {
                path: out.to_owned(),
            },
            Step::tcp(at(EVIL_V4, 443)),
            Step::tcp(at(EVIL_V6, 443)),
            Step::udp(at(EVIL_V4, 8080)),
            // A child of it is the job's too, and must not outlive it.
            Step::Background {
                steps: vec![Step::tcp(at(EVIL_V4, 8080)), Step::Sleep { ms: 600_000 }],
            },
            Step::Sleep { ms: 300 },
        ]
    };
    let begin = |ready: &Path, out: &Path| {
        let mut steps = vec![Step::Mark {
            path: ready.to_owned(),
        }];
        steps.extend(attempts(out));
        steps
    };
    let control = World::new(environment)?;
    let (ready, out) = (control.path("ready"), control.path("out"));
    fs::write(&out, "")?;
    let mut steps = begin(&ready, &out);
    steps.truncate(5);
    control.free(&steps)?.run()?;
    control.something_leaked()?;

    let world = World::new(environment)?;
    let (ready, out) = (world.path("ready"), world.path("out"));
    let profile = world.profile("empty", "")?;
    let mut running = world.enforced(&profile, &begin(&ready, &out))?.start()?;
    running.until(&ready)?;
    let slice = world.cgroup().root().join("cordon.slice");
    let mut taken = 0;
    for process in processes(&slice) {
        fs::write(
            world.cgroup().host().join("cgroup.procs"),
            process.to_string(),
        )
        .context("move a process out of the job")?;
        taken += 1;
    }
    ensure!(taken > 0, "the job has no process");
    fs::write(&out, "")?;
    let finished = running.wait()?.expect_status(0)?;
    for outcome in finished.outcomes()?.iter().skip(2).take(3) {
        world.refused(outcome)?;
    }
    world.nothing_leaked()?;
    let report = finished.report()?;
    ensure!(
        report
            .incidents
            .iter()
            .any(|incident| incident.call == "leave-cgroup"),
        "the report does not tell: {:#?}",
        report.incidents
    );
    ensure!(report.job.survivors > 0, "the child outside was not ended");
    world.nothing_left()
}

/// The kernel gives the number of a job's dead process to one outside, which must be free of the job.
fn number(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let [ready, end, ended, done] = ["ready", "end", "ended", "done"].map(|name| world.path(name));
    let wait = |path: &Path| format!("while [ ! -e {} ]; do sleep 0.05; done", path.display());
    let script = format!(
        "sh -c 'touch {}; {}; exit 0'; touch {}; {}",
        ready.display(),
        wait(&end),
        ended.display(),
        wait(&done),
    );
    let profile = world.profile("empty", "")?;
    let mut running = world
        .job()
        .profile(&profile)
        .command(["sh", "-c", &script])
        .start()?;
    let slice = world.cgroup().root().join("cordon.slice");
    running.until(&ready)?;
    let before = processes(&slice);
    fs::write(&end, "")?;
    running.until(&ended)?;
    let after = processes(&slice);
    let gone: Vec<_> = before
        .iter()
        .filter(|process| !after.contains(process))
        .collect();
    ensure!(!gone.is_empty(), "no process of the job ended");

    let mut taken = None;
    for _ in 0..TRIES {
        for number in &gone {
            fs::write(LAST_NUMBER, (*number - 1).to_string()).context(LAST_NUMBER)?;
            let outside = world.free(&[Step::tcp(at(EVIL_V4, 443))])?.start()?;
            let same = i32::try_from(outside.id())? == **number;
            let [reached] = outside.wait()?.steps()?;
            if same {
                taken = Some(reached);
            }
        }
        if taken.is_some() {
            break;
        }
    }
    fs::write(&done, "")?;
    running.wait()?.expect_status(0)?;
    let reached = taken.context("the kernel did not give out the number again")?;
    ensure!(
        reached.ok,
        "a process outside was taken for the job's by its number: {reached:?}"
    );
    world.something_leaked()
}
