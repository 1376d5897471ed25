//! A finding that must be acted on: nothing of it leaves, whoever watches or does not.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, ensure};
use cordon::report::sweep::Taken;
use nix::sys::signal::Signal;

use super::{of_rule, planted, run, script, sweep_report, sweep_report_in};
use crate::cases::outlive::only_job;
use crate::client::step::Step;
use crate::harness::environment::Environment;
use crate::harness::job::{Finished, Running};
use crate::harness::network::{EVIL_V4, at};
use crate::harness::rules::cidr;
use crate::harness::world::World;

/// Wakes everything it can see, all the time.
pub(super) const WAKER: &str = "(while :; do kill -CONT -1 2>/dev/null; done) &\nsleep 0.2\n";

pub(super) fn stopped(environment: &Environment, before: &str) -> Result<()> {
    let send = |world: &World, variable: &str, before: &str| -> Result<Finished> {
        let rule = format!(
            "{}[secrets]\non_finding = \"kill\"\n",
            cidr(&format!("{EVIL_V4}/32"), "9000", "udp")
        );
        let profile = world.profile("sends", &rule)?;
        let send = Step::udp(at(EVIL_V4, 9000));
        // Again later: woken too early on a busy machine, it may not send yet, harmless or not.
        let steps = [send.clone(), Step::Sleep { ms: 1000 }, send];
        let steps = serde_json::to_string(&steps)?;
        let own = environment.own.display();
        let text = format!("{before}{variable} {own} client '{steps}'\n");
        run(world, &profile, &text)
    };
    // What is sent without a secret arrives.
    let world = World::new(environment)?;
    let finished = send(&world, "HARMLESS=1", before)?;
    world
        .something_leaked()
        .with_context(|| format!("nothing was sent at all: {}", finished.stderr))?;
    let world = World::new(environment)?;
    let token = planted("github-pat")?.text;
    let finished = send(&world, &format!("DEPLOY={token}"), before)?;
    let leaked = world.leaked()?;
    ensure!(leaked.is_empty(), "{leaked:?}");
    ensure!(
        finished.status == SECRET,
        "{}: {}",
        finished.status,
        finished.stderr
    );
    let report = sweep_report(&finished)?;
    ensure!(report.action.taken == Taken::Killed, "{report:#?}");
    let finding = of_rule(&report, "github-pat")?;
    ensure!(
        report.action.fingerprint.as_ref() == Some(&finding.fingerprint),
        "{report:#?}"
    );
    let windows = report.action.windows.context("no windows")?;
    ensure!(
        windows.exec_to_killed_ns >= windows.exec_to_closed_ns,
        "{windows:?}"
    );
    Ok(())
}

/// How `cordon run` ends when it ended the job for a secret.
const SECRET: i32 = 119;

pub(super) fn frozen(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let rule = "[secrets]\non_finding = \"freeze\"\nfreeze_for = \"2s\"\n";
    let profile = world.profile("freezes", rule)?;
    let token = planted("github-pat")?.text;
    let mark = world.path("mark");
    let text = format!(
        "(sleep 0.3; DEPLOY={token} /bin/true) & for i in $(seq 100); do : >{}; sleep 0.05; done\n",
        mark.display()
    );
    let finished = run(&world, &profile, &text)?;
    ensure!(
        finished.status == SECRET,
        "{}: {}",
        finished.status,
        finished.stderr
    );
    let report = sweep_report(&finished)?;
    ensure!(report.action.taken == Taken::Frozen, "{report:#?}");
    ensure!(
        finished.elapsed >= Duration::from_secs(2),
        "{:?}",
        finished.elapsed
    );
    let last = fs::metadata(&mark)?.modified()?;
    let at = SystemTime::from(report.action.at.context("no time")?);
    ensure!(
        last <= at + Duration::from_millis(200),
        "the job went on for {:?}",
        last.duration_since(at)
    );
    Ok(())
}

/// A job whose shell does the rest of its script when the pipe is written to, and whose cordon was killed.
struct Abandoned<'w> {
    running: Running<'w>,
    id: String,
    go: PathBuf,
}

fn abandoned<'w>(world: &'w World, rules: &str, rest: &str) -> Result<Abandoned<'w>> {
    let profile = world.profile("abandoned", rules)?;
    let (ready, go) = (world.path("ready"), world.path("go"));
    nix::unistd::mkfifo(&go, nix::sys::stat::Mode::S_IRWXU)?;
    // No program is started for any of this: each would wait for a cordon.
    let text = format!(": >{}\nread go <{}\n{rest}", ready.display(), go.display());
    let mut running = world
        .job()
        .profile(&profile)
        .command([OsString::from("sh"), script(world, &text)?.into()])
        .start()?;
    running.until(&ready)?;
    let id = only_job(world)?;
    running.signal(Signal::SIGKILL)?;
    Ok(Abandoned { running, id, go })
}

pub(super) fn taken_over(environment: &Environment) -> Result<()> {
    let token = planted("github-pat")?.text;
    for (variable, is_secret) in [("HARMLESS=1", false), (&*format!("DEPLOY={token}"), true)] {
        let world = World::new(environment)?;
        let rules = format!(
            "{}[secrets]\non_finding = \"kill\"\n",
            cidr(&format!("{EVIL_V4}/32"), "9000", "udp")
        );
        let steps = serde_json::to_string(&[Step::udp(at(EVIL_V4, 9000))])?;
        let own = environment.own.display();
        let rest = format!("{variable} {own} client '{steps}'\n");
        let Abandoned { running, id, go } = abandoned(&world, &rules, &rest)?;
        fs::write(&go, "\n")?;
        // More than enough for the program to be started, and to send.
        sleep(environment.seconds(1));
        world.nothing_leaked().context("nobody has judged it")?;
        world
            .job()
            .subcommand(&["resume", &id])
            .run()?
            .expect_status(0)?;
        let evidence = running.evidence().to_owned();
        running.wait()?.expect_status(137)?;
        let report = sweep_report_in(&evidence)?;
        if !is_secret {
            ensure!(report.action.taken == Taken::None, "{report:#?}");
            world.something_leaked().context("it never went on")?;
            continue;
        }
        of_rule(&report, "github-pat")?;
        ensure!(report.action.taken == Taken::Killed, "{report:#?}");
        world.nothing_leaked()?;
    }
    Ok(())
}

pub(super) fn ended_for_another(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let token = planted("github-pat")?.text;
    let started = world.path("started");
    let rest = format!(
        ": >{0}\nDEPLOY={token} sleep 60 & wait\n",
        started.display()
    );
    let Abandoned { running, id, go } = abandoned(&world, "", &rest)?;
    fs::write(&go, "\n")?;
    while !started.exists() {
        sleep(Duration::from_millis(5));
    }
    sleep(environment.seconds(1));
    world
        .job()
        .subcommand(&["resume", "--end", &id])
        .run()?
        .expect_status(0)?;
    let evidence = running.evidence().to_owned();
    running.wait()?.expect_status(137)?;
    let report = sweep_report_in(&evidence)?;
    let finding = of_rule(&report, "github-pat")?;
    ensure!(finding.seen_at_exec && finding.seen_in_proc, "{finding:#?}");
    Ok(())
}
