//! Processes that are hard to read: read all the same, or counted.

use std::ffi::OsString;
use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use cordon::report::sweep::SweepReport;

use super::{of_rule, planted, sweep_report};
use crate::harness::environment::Environment;
use crate::harness::world::World;

pub(super) fn odd_environments(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let profile = world.profile("empty", "[secrets]\ninterval = \"1s\"\n")?;
    let (large, behind, raw, namespaced, changed, threaded, overwritten) = (
        planted("github-pat")?.text,
        planted("gitlab-pat")?.text,
        planted("npm-token")?.text,
        planted("slack-bot-token")?.text,
        planted("sendgrid-key")?.text,
        planted("pypi-token")?.text,
        planted("stripe-live-key")?.text,
    );
    // 1.9 MiB before the secret: beyond what is copied at exec.
    let text = format!(
        r#"python3 - <<'END'
import os, threading, time
big = {{f'FILL_{{i}}': 'x y ' * 24000 for i in range(19)}}
big['Z_BEHIND'] = '{behind}'
def start(path, arguments, env):
    if os.fork() == 0:
        os.execve(path, arguments, env)
start('/bin/sleep', ['sleep', '2'], dict(SMALL='1', DEPLOY='{large}'))
start('/bin/sleep', ['sleep', '2'], big)
start('/bin/sleep', ['sleep', '2'], {{b'RAW\xff\xfe': b'\xff {raw}'}})
start('/usr/bin/unshare', ['unshare', '-Urpf', '/bin/sleep', '2'], dict(INSIDE='{namespaced}'))
# Replaced by a thread that is not its first.
if os.fork() == 0:
    threading.Thread(target=os.execve, args=('/bin/sleep', ['sleep', '2'], dict(BY='{threaded}'))).start()
    time.sleep(60)
# Writes a title over its arguments and environment.
start('/usr/bin/perl', ['perl', '-e', '$0 = "x" x 9000; sleep 2; open F, "</proc/self/environ"; print <F>'],
      dict(OVERWRITTEN='{overwritten}'))
# A zombie until its parent waits.
if os.fork() == 0:
    os._exit(0)
time.sleep(2.5)
END
CHANGED={changed} exec -a title sleep 0.1
"#
    );
    let path = world.path("odd.sh");
    fs::write(&path, text)?;
    let finished = world
        .job()
        .profile(&profile)
        .command(["bash".into(), path.into_os_string()])
        .run()?
        .expect_status(0)?;
    let report = sweep_report(&finished)?;
    ensure!(
        finished.elapsed >= Duration::from_secs(2),
        "the script ended early: {}",
        finished.stderr
    );
    for rule in [
        "github-pat",
        "gitlab-pat",
        "npm-token",
        "slack-bot-token",
        "sendgrid-key",
        "pypi-token",
        "stripe-live-key",
    ] {
        of_rule(&report, rule)?;
    }
    ensure!(
        !finished.stdout.contains(&overwritten) && finished.stdout.contains("xxx"),
        "the environment was not overwritten: {}",
        finished.stdout
    );
    let behind = of_rule(&report, "gitlab-pat")?;
    ensure!(behind.seen_in_proc, "{behind:#?}");
    let coverage = &report.coverage;
    ensure!(coverage.execs.completed_from_proc >= 1, "{coverage:#?}");
    ensure!(
        coverage.execs.cut == 0 && coverage.execs.lost == 0,
        "{coverage:#?}"
    );
    Ok(())
}

/// A process of another user, under a `/proc` that shows it to nobody who may not trace it.
pub(super) fn hidden(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let token = planted("github-pat")?.text;
    let mut other = Command::new(&environment.own)
        .args(["enter", "--user", "65534", "--", "sleep", "60"])
        .env_clear()
        .env("DEPLOY", &token)
        .spawn()?;
    let told = ask(&world, other.id());
    other.kill()?;
    other.wait()?;
    let (with, without) = told?;
    ensure!(with.0 == 1, "{with:?}");
    let report: SweepReport = serde_json::from_str(&with.1)?;
    of_rule(&report, "github-pat")?;
    // Who may not read all is told so, and does not get half an answer.
    ensure!(
        without.0 == 8 && without.1.is_empty() && without.2.contains("CAP_SYS_PTRACE"),
        "{without:?}"
    );
    Ok(())
}

type Told = (i32, String, String);

fn ask(world: &World, process: u32) -> Result<(Told, Told)> {
    let process = process.to_string();
    let words = world
        .job()
        .subcommand(&["sweep", "--format", "json", "--pid", &process])
        .command_line()?;
    let run = |before: &str| -> Result<Told> {
        let text =
            format!("mount -t proc -o hidepid=ptraceable proc /proc && exec {before} \"$@\"");
        let mut all: Vec<OsString> = ["unshare", "--mount", "sh", "-c", &text, "sh"]
            .map(Into::into)
            .to_vec();
        all.extend(words.iter().cloned());
        let finished = world.job().command(all).run()?;
        Ok((finished.status, finished.stdout, finished.stderr))
    };
    let own = world.environment.own.display();
    let less = format!("{own} enter --without CAP_SYS_PTRACE --");
    Ok((run("")?, run(&less)?))
}
