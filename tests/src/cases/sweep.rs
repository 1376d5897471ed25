//! The secret sweep: no process of a job carries a secret unseen, and nothing that is written holds one.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, ensure};
use cordon::report::sweep::{Class, Finding, SweepReport, Taken, Verdict};
use cordon_secrets::cases::{Case, cases};

use crate::client::step::Step;
use crate::harness::environment::Environment;
use crate::harness::job::Finished;
use crate::harness::network::{EVIL_V4, at};
use crate::harness::rules::cidr;
use crate::harness::world::World;
use crate::runner::{Story, Told};

pub(super) fn stories() -> Vec<Story> {
    vec![
        Story::new(
            "sweep::a_credential_in_a_process_that_lives_a_millisecond_is_found",
            short_lived,
        ),
        Story::new("sweep::a_clean_job_is_clean_and_all_of_it_was_read", clean),
        Story::new(
            "sweep::a_process_with_a_static_credential_is_killed_before_it_sends_anything",
            |environment| stopped(environment, ""),
        ),
        Story::new(
            "sweep::a_process_that_others_wake_before_its_verdict_sends_nothing",
            |environment| stopped(environment, WAKER),
        ),
        Story::new(
            "sweep::a_frozen_job_stands_still_and_is_ended_in_time",
            frozen,
        ),
        Story::conditional(
            "sweep::large_changed_hidden_and_foreign_environments_are_read_or_counted",
            |environment| {
                if environment.slowness > 1 && !Path::new("/usr/bin/python3").exists() {
                    let why = "the guest has no python3 to make such environments with";
                    return Ok(Told::NotHere(why.to_owned()));
                }
                odd_environments(environment).map(|()| Told::Whole)
            },
        ),
        Story::new(
            "sweep::nothing_that_cordon_writes_or_keeps_holds_a_secret",
            nothing_leaks,
        ),
        Story::new(
            "sweep::a_thousand_programs_in_a_row_are_all_accounted_for",
            many,
        ),
    ]
}

/// A text of each rule that is found, by the rule.
fn planted(rule: &str) -> Result<Case> {
    cases()
        .into_iter()
        .find(|case| case.expected == Some(rule))
        .with_context(|| format!("no case of {rule}"))
}

/// A script in a file, so that what it plants is in no command line.
fn script(world: &World, text: &str) -> Result<PathBuf> {
    let path = world.path("script.sh");
    fs::write(&path, text)?;
    Ok(path)
}

fn run(world: &World, profile: &Path, text: &str) -> Result<Finished> {
    let script = script(world, text)?;
    world
        .job()
        .profile(profile)
        .command(["sh".into(), script.into_os_string()])
        .run()
}

fn sweep_report(finished: &Finished) -> Result<SweepReport> {
    let path = finished.evidence.join("secret-sweep.json");
    let text = fs::read(&path).with_context(|| {
        format!(
            "read {}; cordon ended with {}:\n{}",
            path.display(),
            finished.status,
            finished.stderr
        )
    })?;
    Ok(serde_json::from_slice(&text)?)
}

fn of_rule<'r>(report: &'r SweepReport, rule: &str) -> Result<&'r Finding> {
    let mut findings = report.findings.iter();
    findings
        .find(|finding| finding.rule == rule)
        .with_context(|| format!("no finding of {rule} in {report:#?}"))
}

fn short_lived(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let profile = world.profile("empty", "")?;
    let token = planted("github-pat")?.text;
    let text = format!("DEPLOY={token} /bin/true\n/bin/true --auth={token}\n");
    let finished = run(&world, &profile, &text)?.expect_status(0)?;
    let report = sweep_report(&finished)?;
    ensure!(report.verdict == Verdict::Findings, "{report:#?}");
    let of_token = |finding: &&Finding| finding.rule == "github-pat";
    let findings: Vec<&Finding> = report.findings.iter().filter(of_token).collect();
    let [first, second] = findings.as_slice() else {
        anyhow::bail!("{findings:#?}");
    };
    ensure!(
        first.fingerprint == second.fingerprint,
        "two names for one secret: {findings:#?}"
    );
    for finding in &findings {
        ensure!(
            finding.class == Class::Static && finding.seen_at_exec,
            "{finding:#?}"
        );
        let mut chains = finding.processes.iter().map(|process| &process.chain);
        ensure!(
            chains.all(|chain| chain.first().is_some_and(|path| path == "/bin/true")),
            "{finding:#?}"
        );
    }
    ensure!(
        finished.stderr.contains("github-pat") && !finished.stderr.contains(&token),
        "{}",
        finished.stderr
    );
    Ok(())
}

fn clean(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let profile = world.profile("empty", "[secrets]\ninterval = \"1s\"\n")?;
    let text = "for i in 1 2 3; do /bin/true; done; sleep 2.5 & sleep 2.5; wait\n";
    let finished = run(&world, &profile, text)?.expect_status(0)?;
    let report = sweep_report(&finished)?;
    ensure!(report.verdict == Verdict::Clean, "{report:#?}");
    let coverage = &report.coverage;
    // The shell, three programs, two sleeps.
    ensure!(
        coverage.execs.seen == 6 && coverage.execs.whole == 6,
        "{coverage:#?}"
    );
    ensure!(
        coverage.processes.seen == coverage.processes.scanned,
        "{coverage:#?}"
    );
    ensure!(coverage.sweeps.len() >= 2, "{coverage:#?}");
    Ok(())
}

/// Wakes everything it can see, all the time.
const WAKER: &str = "(while :; do kill -CONT -1 2>/dev/null; done) &\nsleep 0.2\n";

fn stopped(environment: &Environment, before: &str) -> Result<()> {
    let send = |world: &World, variable: &str, before: &str| -> Result<Finished> {
        let rule = format!(
            "{}[secrets]\non_finding = \"kill\"\n",
            cidr(&format!("{EVIL_V4}/32"), "9000", "udp")
        );
        let profile = world.profile("sends", &rule)?;
        let steps = serde_json::to_string(&[Step::udp(at(EVIL_V4, 9000))])?;
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

fn frozen(environment: &Environment) -> Result<()> {
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

fn odd_environments(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let profile = world.profile("empty", "[secrets]\ninterval = \"1s\"\n")?;
    let (large, behind, raw, namespaced, changed) = (
        planted("github-pat")?.text,
        planted("gitlab-pat")?.text,
        planted("npm-token")?.text,
        planted("slack-bot-token")?.text,
        planted("sendgrid-key")?.text,
    );
    // 1.9 MiB before the secret: beyond what is copied at exec.
    let text = format!(
        r"python3 - <<'END'
import os, time
big = {{f'FILL_{{i}}': 'x y ' * 24000 for i in range(19)}}
big['Z_BEHIND'] = '{behind}'
def start(path, arguments, env):
    if os.fork() == 0:
        os.execve(path, arguments, env)
start('/bin/sleep', ['sleep', '2'], dict(SMALL='1', DEPLOY='{large}'))
start('/bin/sleep', ['sleep', '2'], big)
start('/bin/sleep', ['sleep', '2'], {{b'RAW\xff\xfe': b'\xff {raw}'}})
start('/usr/bin/unshare', ['unshare', '-Urpf', '/bin/sleep', '2'], dict(INSIDE='{namespaced}'))
# A zombie until its parent waits.
if os.fork() == 0:
    os._exit(0)
time.sleep(2.5)
END
CHANGED={changed} exec -a title sleep 0.1
"
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
    ] {
        of_rule(&report, rule)?;
    }
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

/// Every secret of every case, planted in variables and arguments, and then looked for in all that is written,
/// printed or kept in memory.
fn nothing_leaks(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let profile = world.profile("empty", "[secrets]\ninterval = \"1s\"\n")?;
    let secrets: Vec<(String, &str)> = cases()
        .into_iter()
        .filter(|case| case.text.len() >= 16 && !case.text.contains(['\'', '\0']))
        .filter_map(|case| Some((case.text, case.expected?)))
        .collect();
    ensure!(secrets.len() >= 85, "{} secrets", secrets.len());
    let mut text = String::new();
    for (index, (secret, _rule)) in secrets.iter().enumerate() {
        text += &format!("export PLANTED_{index}='{secret}'\n/bin/true '{secret}'\n");
    }
    let (ready, go) = (world.path("ready"), world.path("go"));
    nix::unistd::mkfifo(&go, nix::sys::stat::Mode::S_IRWXU)?;
    // Nothing is started while the memory is looked through: what was just copied would be there rightly.
    text += &format!(
        "sleep 30 & echo >{}; read go <{}; kill $!\n",
        ready.display(),
        go.display()
    );
    let script = script(&world, &text)?;
    let mut running = world
        .job()
        .profile(&profile)
        .command(["sh".into(), script.clone().into_os_string()])
        .start()?;
    running.until(&ready)?;
    // At least one sweep of processes that still hold them.
    sleep(Duration::from_secs(2));
    let memory = memory_of(running.id())?;
    fs::write(&go, "\n")?;
    let finished = running.wait()?.expect_status(0)?;
    let report = sweep_report(&finished)?;
    ensure!(
        report.findings.len() >= 85,
        "{} findings",
        report.findings.len()
    );
    let mut places: Vec<(String, Vec<u8>)> = vec![
        (
            "standard output".to_owned(),
            finished.stdout.clone().into_bytes(),
        ),
        ("standard error".to_owned(), finished.stderr.into_bytes()),
    ];
    places.extend(memory);
    collect(world.directory(), &mut places, &[&script])?;
    ensure!(
        places
            .iter()
            .any(|(name, _)| name.ends_with("secret-sweep.json")),
        "the report was not looked into"
    );
    for (secret, rule) in &secrets {
        for (name, bytes) in &places {
            for part in [secret.as_bytes(), middle_of(secret)] {
                let at = memchr::memmem::find(bytes, part);
                ensure!(
                    at.is_none(),
                    "{} bytes of a {rule} of {} lie in {name} at {at:?}",
                    part.len(),
                    secret.len()
                );
            }
        }
    }
    Ok(())
}

/// Of a token, enough of its middle that chance does not make it; ends can be those of every key. Other texts,
/// and long tokens, have parts that are no secrets, as names of hosts: they are looked for whole.
fn middle_of(secret: &str) -> &[u8] {
    let bytes = secret.as_bytes();
    let of_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-.+/=".contains(byte);
    let middle = bytes.len() / 2;
    let part = bytes.get(middle.saturating_sub(6)..middle + 6);
    part.filter(|_| bytes.len() <= 80 && bytes.iter().all(of_token))
        .unwrap_or(bytes)
}

/// All memory of a process that it can write, by mapping.
fn memory_of(process: u32) -> Result<Vec<(String, Vec<u8>)>> {
    use std::io::{Read as _, Seek as _, SeekFrom};
    let maps = fs::read_to_string(format!("/proc/{process}/maps"))?;
    let mut memory = fs::File::open(format!("/proc/{process}/mem"))?;
    let mut all = Vec::new();
    for line in maps.lines() {
        let range = line.split(' ').next().context("no range")?;
        if !line.contains(" rw") || line.contains("[vvar") {
            continue;
        }
        let (start, end) = range.split_once('-').context("no range")?;
        let (start, end) = (
            u64::from_str_radix(start, 16)?,
            u64::from_str_radix(end, 16)?,
        );
        memory.seek(SeekFrom::Start(start))?;
        let mut part = vec![0; usize::try_from(end - start)?];
        if memory.read_exact(&mut part).is_ok() {
            all.push((format!("memory {line}"), part));
        }
    }
    let bytes: usize = all.iter().map(|(_, part)| part.len()).sum();
    ensure!(bytes > 1 << 20, "only {bytes} bytes of memory");
    Ok(all)
}

fn collect(directory: &Path, places: &mut Vec<(String, Vec<u8>)>, but: &[&Path]) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if but.contains(&path.as_path()) || path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            collect(&path, places, but)?;
        } else if path.is_file() {
            let name = path.as_os_str().as_bytes();
            places.push((String::from_utf8_lossy(name).into_owned(), fs::read(&path)?));
        }
    }
    Ok(())
}

fn many(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let profile = world.profile("empty", "")?;
    let token = planted("github-pat")?.text;
    let text =
        format!("i=0; while [ $i -lt 1000 ]; do DEPLOY={token} /bin/true; i=$((i+1)); done\n");
    let finished = run(&world, &profile, &text)?.expect_status(0)?;
    let report = sweep_report(&finished)?;
    let execs = &report.coverage.execs;
    ensure!(
        execs.seen + report.coverage.records_lost >= 1001,
        "{execs:?}"
    );
    ensure!(
        execs.seen == execs.whole + execs.completed_from_proc + execs.cut + execs.lost,
        "{execs:?}"
    );
    let finding = of_rule(&report, "github-pat")?;
    let sights: u64 = finding.processes.iter().map(|process| process.times).sum();
    ensure!(
        sights + finding.processes_omitted >= execs.whole - 1,
        "{sights} sights of {execs:?}"
    );
    Ok(())
}
