//! Limits: they hold, they cannot be left or raised, what meets them is told, and nothing starts where
//! they cannot be pinned. On cgroup v2, and on the v1 hierarchies of hybrid hosts.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use cordon::limits::estimate::Method;
use cordon::limits::evidence::{Answer, Holder, Kind, Limits, Met, Pinned, State};
use cordon::policy::limits::Resource;
use cordon::report::{Outcome as JobOutcome, Report};
use nix::sys::signal::Signal;

use crate::cases::doctor::answer;
use crate::cases::lsm::without_lsm;
use crate::client::step::Step;
use crate::harness::environment::{Environment, legacy_mounts};
use crate::harness::job::{Finished, Job, Running};
use crate::harness::verdicts::allowed;
use crate::harness::world::World;
use crate::runner::{Lack, Story, Told};

/// Documented statuses of cordon.
const TIME_OVER: i32 = 118;
const NOT_ENFORCED: i32 = 120;
const USAGE: i32 = 121;

/// Longer than any limit of time here.
const LONG: Step = Step::Sleep { ms: 600_000 };

pub(super) fn stories() -> Vec<Story> {
    let story = |name: &str, tell: fn(&Environment) -> Result<()>| {
        Story::conditional(format!("limits::{name}"), move |environment| {
            if let Some(why) = controllers_missing(environment)? {
                return Ok(Told::NotHere(Lack::Controllers, why));
            }
            tell(environment).map(|()| Told::Whole)
        })
    };
    vec![
        Story::new(
            "limits::what_nobody_limits_is_said_and_its_use_counted",
            free,
        ),
        story("a_memory_hog_is_killed_and_named", memory),
        story("a_fork_bomb_stops_at_its_number", pids),
        story("a_busy_job_waits_for_its_share_of_processors", cpu),
        story("disks_are_pinned_one_by_one", io),
        Story::new(
            "limits::open_files_are_refused_and_the_limit_is_not_raised",
            open_files,
        ),
        Story::new(
            "limits::a_job_whose_time_is_over_is_asked_to_end_then_killed",
            wall,
        ),
        story(
            "a_root_job_neither_leaves_its_cgroups_nor_writes_to_them",
            leave,
        ),
        Story::conditional("limits::a_root_job_mounts_no_hierarchy_of_its_own", mount),
        story(
            "a_limit_changed_from_outside_is_put_back_and_reported",
            changed,
        ),
        story("limits_and_time_outlive_a_killed_cordon", outlive),
        Story::new(
            "limits::a_job_whose_cordon_is_dead_ends_when_its_time_is_over",
            abandoned,
        ),
        Story::new("limits::a_wrong_limit_starts_nothing", wrong),
        story(
            "a_controller_that_does_not_reach_the_job_stops_the_start",
            absent,
        ),
    ]
}

/// Why controllers cannot be had on this machine. A guest is the tests' own: there its root hands them
/// down.
fn controllers_missing(environment: &Environment) -> Result<Option<String>> {
    if !legacy_mounts().is_empty() {
        return Ok(None);
    }
    let root = environment.cgroup2.join("cgroup.subtree_control");
    for controller in ["memory", "pids", "cpu", "io"] {
        if environment.slowness > 1 {
            fs::write(&root, format!("+{controller}")).context("hand a controller down")?;
        } else if !fs::read_to_string(&root)?.contains(controller) {
            return Ok(Some(format!(
                "the root of cgroup v2 does not hand `{controller}` down"
            )));
        }
    }
    Ok(None)
}

/// A job of these steps, with these lines in its `[limits]`.
fn limited<'w>(world: &'w World, limits: &str, steps: &[Step]) -> Result<Job<'w>> {
    let profile = world.profile("limited", &format!("[limits]\n{limits}"))?;
    world.enforced(&profile, steps)
}

fn limits_of(report: &Report) -> Result<&Limits> {
    report.limits.as_ref().context("the report has no limits")
}

fn pinned(limits: &Limits, resource: Resource) -> Result<&Pinned> {
    let mut each = limits.resources.iter();
    each.find(|one| one.resource == resource)
        .with_context(|| format!("{resource} is not in the report"))
}

/// The limit was read back at both ends, and is a layer of the report.
fn held(report: &Report, resource: Resource, expected: &str) -> Result<()> {
    let limits = limits_of(report)?;
    let pinned = pinned(limits, resource)?;
    ensure!(pinned.state == State::Pinned, "{pinned:?}");
    ensure!(!pinned.proofs.is_empty(), "{pinned:?}");
    for proof in &pinned.proofs {
        ensure!(
            proof.at_start == expected && proof.at_end.as_deref() == Some(expected),
            "{pinned:?}"
        );
    }
    let hybrid = !legacy_mounts().is_empty();
    let holder = if hybrid {
        Holder::CgroupV1
    } else {
        Holder::CgroupV2
    };
    ensure!(pinned.held_by == Some(holder), "{pinned:?}");
    ensure!(limits.changes.is_empty(), "{:?}", limits.changes);
    layer(report, true)
}

/// The report has the limits as a layer that was active, or not.
fn layer(report: &Report, active: bool) -> Result<()> {
    let mut layers = report.coverage.layers.iter();
    let layer = layers.find(|layer| layer.name == "limits");
    ensure!(
        layer.is_some_and(|layer| layer.active == active),
        "{layer:?}"
    );
    Ok(())
}

fn met(report: &Report, kind: Kind) -> Result<&Met> {
    let limits = limits_of(report)?;
    let mut events = limits.events.iter();
    events
        .find(|met| met.kind == kind)
        .with_context(|| format!("{kind:?} is not among {:?}", limits.events))
}

fn free(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let profile = world.profile("free", "")?;
    let steps = [Step::Allocate { mib: 32 }, Step::Burn { ms: 200 }];
    let finished = world.enforced(&profile, &steps)?.run()?.expect_status(0)?;
    let report = finished.report()?;
    let limits = limits_of(&report)?;
    for one in &limits.resources {
        ensure!(one.state == State::NotLimited, "{one:?}");
    }
    ensure!(
        !report
            .coverage
            .layers
            .iter()
            .any(|layer| layer.name == "limits"),
        "what is not there is no layer"
    );
    let usage = &limits.usage;
    ensure!(usage.wall_milliseconds >= 200, "{usage:?}");
    ensure!(usage.cpu_microseconds >= Some(100_000), "{usage:?}");
    // Whoever does not hand memory down does not count it either, and the report says so.
    match usage.memory_peak_bytes {
        Some(peak) => ensure!(peak >= 32 << 20, "{usage:?}"),
        None => ensure!(!usage.unknown.is_empty(), "{usage:?}"),
    }
    let estimate = &limits.estimate;
    let model = estimate.method == Method::VcpuModel;
    ensure!(model || estimate.method == Method::Rapl, "{estimate:?}");
    ensure!(estimate.energy_millijoules > Some(0), "{estimate:?}");
    ensure!(
        estimate.operational_micrograms_co2e.is_none() && estimate.cost_millionths.is_none(),
        "nobody configured a grid or a price: {estimate:?}"
    );
    world.nothing_left()
}

fn memory(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    // As much as that is no matter without a limit.
    let hog = [Step::Allocate { mib: 200 }];
    allowed(&world.free(&hog)?.run()?.steps::<1>()?[0])?;
    let again = [Step::Again {
        count: 1,
        steps: hog.to_vec(),
    }];
    let job = limited(&world, "memory = \"64MiB\"\nswap = \"0\"", &again)?;
    let finished = job.run()?.expect_status(0)?;
    let [outcome] = finished.steps()?;
    ensure!(outcome.bytes == 0, "the hog had its memory: {outcome:?}");
    let report = finished.report()?;
    held(&report, Resource::Memory, &(64 << 20).to_string())?;
    let peak = limits_of(&report)?.usage.memory_peak_bytes;
    ensure!(
        peak.is_some_and(|peak| peak > 48 << 20 && peak <= 64 << 20),
        "{peak:?}"
    );
    let killed = met(&report, Kind::OutOfMemory)?;
    ensure!(killed.count == 1, "{killed:?}");
    // The kernel's log has its name, where there is one.
    if Path::new("/dev/kmsg").exists() {
        let [victim] = killed.processes.as_slice() else {
            anyhow::bail!("not one victim: {killed:?}");
        };
        let own = world.environment.own.to_string_lossy();
        ensure!(
            victim.executables.len() == 2 && victim.executables.iter().all(|path| *path == own),
            "{killed:?}"
        );
        ensure!(killed.processes_unknown == 0, "{killed:?}");
    }
    ensure!(
        finished
            .stderr
            .contains("limit memory (64MiB): none was left"),
        "{}",
        finished.stderr
    );
    world.nothing_left()
}

fn pids(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let crowd = [Step::Crowd { count: 40 }];
    let [free] = world.free(&crowd)?.run()?.steps()?;
    ensure!(free.bytes == 40, "{free:?}");
    let finished = limited(&world, "pids = 12", &crowd)?
        .run()?
        .expect_status(0)?;
    let [outcome] = finished.steps()?;
    // Itself, and one that std starts to start others with, perhaps.
    ensure!(
        (9..12).contains(&outcome.bytes) && outcome.error.is_some(),
        "{outcome:?}"
    );
    let report = finished.report()?;
    held(&report, Resource::Pids, "12")?;
    let refused = met(&report, Kind::ForkRefused)?;
    ensure!(refused.count >= 1, "{refused:?}");
    ensure!(
        finished.stderr.contains("limit pids (12)"),
        "{}",
        finished.stderr
    );
    world.nothing_left()
}

fn cpu(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let job = limited(&world, "cpu = \"20%\"", &[Step::Burn { ms: 1000 }])?;
    let report = job.run()?.expect_status(0)?.report()?;
    let limits = limits_of(&report)?;
    let pinned = pinned(limits, Resource::Cpu)?;
    ensure!(pinned.state == State::Pinned, "{pinned:?}");
    let throttled = met(&report, Kind::Throttled)?;
    ensure!(throttled.count > 0, "{throttled:?}");
    ensure!(
        limits.usage.throttled_microseconds > Some(0),
        "{:?}",
        limits.usage
    );
    layer(&report, true)?;
    world.nothing_left()
}

fn io(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let job = limited(&world, "io = { read = \"64MiB\", write_ops = 1000 }", &[])?;
    let finished = job.run()?;
    if finished.stderr.contains("no disk") {
        ensure!(finished.status == NOT_ENFORCED, "{finished:?}");
        return world.nothing_left();
    }
    let report = finished.expect_status(0)?.report()?;
    held(&report, Resource::IoRead, &(64 << 20).to_string())?;
    held(&report, Resource::IoWriteOps, "1000")?;
    world.nothing_left()
}

fn open_files(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let many = [Step::OpenFiles { count: 300 }];
    let [free] = world.free(&many)?.run()?.steps()?;
    ensure!(free.bytes == 300, "{free:?}");
    let finished = limited(&world, "open_files = 100", &many)?
        .run()?
        .expect_status(0)?;
    let [outcome] = finished.steps()?;
    ensure!(
        outcome.bytes < 100 && outcome.error.is_some(),
        "{outcome:?}"
    );
    let report = finished.report()?;
    let pinned = pinned(limits_of(&report)?, Resource::OpenFiles)?;
    ensure!(
        pinned.state == State::Pinned && pinned.held_by == Some(Holder::ProcessLimit),
        "{pinned:?}"
    );
    // Not even by root, and not in a user namespace of its own.
    let raise = "ulimit -n; ulimit -n 200 2>/dev/null && echo raised; ulimit -n";
    let script = format!("{raise}; unshare -U -r sh -c '{raise}' || true");
    let profile = world.profile("limited", "[limits]\nopen_files = 100")?;
    let shell = world.job().profile(profile).command(["sh", "-c", &script]);
    let finished = shell.run()?.expect_status(0)?;
    let lines: Vec<_> = finished.stdout.lines().collect();
    ensure!(
        lines.len() >= 2 && lines.iter().all(|line| *line == "100"),
        "{finished:?}"
    );
    world.nothing_left()
}

fn wall(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let status = world.path("status");
    let run = |script: &str| -> Result<Finished> {
        let profile = world.profile("limited", "[limits]\nwall = \"2s\"")?;
        let options = ["--status-file", &status.to_string_lossy()];
        let job = world.job().profile(profile).under_cordon(&options);
        job.command(["sh", "-c", script]).run()
    };
    // Asked, it ends by itself.
    let finished = run("trap 'echo asked; exit 0' TERM; sleep 60 & wait")?;
    let finished = finished.expect_status(TIME_OVER)?;
    ensure!(finished.stdout == "asked\n", "{finished:?}");
    let report = finished.report()?;
    ensure!(
        report.job.outcome == JobOutcome::Exited { code: 0 },
        "{:?}",
        report.job.outcome
    );
    met(&report, Kind::TimeOver)?;
    let told = fs::read_to_string(&status)?;
    ensure!(told.contains("\"endedBy\":\"cordon\""), "{told}");
    // One that does not listen is killed.
    let finished = run("trap '' TERM; sleep 60")?.expect_status(TIME_OVER)?;
    let report = finished.report()?;
    ensure!(
        report.job.outcome == JobOutcome::Signalled { signal: 9 },
        "{:?}",
        report.job.outcome
    );
    // One that ends in time is not touched.
    let finished = run("exit 3")?.expect_status(3)?;
    ensure!(
        limits_of(&finished.report()?)?.events.is_empty(),
        "{finished:?}"
    );
    world.nothing_left()
}

/// Directories of the job, in every hierarchy, as they are once it runs.
fn directories(world: &World) -> Vec<PathBuf> {
    let tree = world.cgroup();
    let roots = std::iter::once(tree.root().to_owned()).chain(tree.legacy().to_vec());
    roots
        .flat_map(|root| fs::read_dir(root.join("cordon.slice")))
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect()
}

fn leave(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let roots: Vec<_> = std::iter::once(world.cgroup().root())
        .chain(world.cgroup().legacy().iter().map(PathBuf::as_path))
        .collect();
    let mut try_all = String::new();
    for root in &roots {
        let root = root.display();
        try_all += &format!(
            "for file in {root}/cgroup.procs {root}/cordon.slice/job-*/*.max \
             {root}/cordon.slice/job-*/memory.limit_in_bytes \
             {root}/cordon.slice/job-*/cpu.cfs_quota_us; do \
             [ -e $file ] && {{ echo tried; (echo 0 > $file) 2>/dev/null && echo wrote $file; }}; \
             done; mkdir {root}/cordon.slice/job-*/own 2>/dev/null && echo made; "
        );
    }
    let profile = world.profile(
        "limited",
        "[limits]\nmemory = \"64MiB\"\npids = 50\ncpu = \"100%\"",
    )?;
    let script = format!("{try_all} cat /proc/self/cgroup; true");
    let shell = world.job().profile(profile).command(["sh", "-c", &script]);
    let finished = shell.run()?.expect_status(0)?;
    let (tries, rest): (Vec<_>, Vec<_>) =
        finished.stdout.lines().partition(|line| *line == "tried");
    // In each hierarchy its root and a limit, in all.
    ensure!(tries.len() > 3, "{finished:?}");
    let outside = rest
        .iter()
        .filter(|line| !line.contains("/cordon.slice/job-"));
    let hierarchies = rest.len() - outside.clone().count();
    ensure!(hierarchies > world.cgroup().legacy().len(), "{finished:?}");
    ensure!(
        !outside
            .clone()
            .any(|line| line.contains("wrote") || line.contains("made")),
        "{finished:?}"
    );
    let report = finished.report()?;
    held(&report, Resource::Memory, &(64 << 20).to_string())?;
    held(&report, Resource::Pids, "50")?;
    world.nothing_left()
}

fn mount(environment: &Environment) -> Result<Told> {
    if without_lsm(environment)?.is_none() {
        return Ok(Told::NotHere(
            Lack::FreeMounts,
            "BPF LSM refuses mounts here".to_owned(),
        ));
    }
    if let Some(why) = controllers_missing(environment)? {
        return Ok(Told::NotHere(Lack::Controllers, why));
    }
    let world = World::new(environment)?;
    let place = world.path("place");
    fs::create_dir(&place)?;
    let at = place.display();
    // Its own cgroup is the root of what is mounted.
    let (kind, file) = if legacy_mounts().is_empty() {
        ("cgroup2", "memory.max")
    } else {
        ("cgroup -o memory", "memory.limit_in_bytes")
    };
    let inner = format!(
        "mount -t {kind} none {at} && echo mounted && echo 1T > {at}/{file} && echo raised"
    );
    let script = format!("unshare --user --map-root-user --mount --cgroup sh -c '{inner}'; true");
    let shell = || world.job().command(["sh", "-c", &script]);
    let free = shell().run()?.expect_status(0)?;
    ensure!(free.stdout.starts_with("mounted"), "{free:?}");
    let profile = world.profile("limited", "[limits]\nmemory = \"64MiB\"")?;
    let finished = shell().profile(profile).run()?.expect_status(0)?;
    ensure!(finished.stdout.is_empty(), "{finished:?}");
    held(
        &finished.report()?,
        Resource::Memory,
        &(64 << 20).to_string(),
    )?;
    world.nothing_left()?;
    Ok(Told::Whole)
}

/// Waits until this is so.
fn until(environment: &Environment, what: &str, is: impl Fn() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + environment.seconds(20);
    while !is()? {
        ensure!(Instant::now() < deadline, "{what} did not come");
        sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// The file of the job's limit of processes.
fn pids_max(world: &World) -> Result<PathBuf> {
    let files = directories(world)
        .into_iter()
        .map(|path| path.join("pids.max"));
    let mut files = files.filter(|path| path.exists());
    files.next().context("nothing limits processes")
}

/// A job that has begun, and waits.
fn waiting<'w>(world: &'w World, limits: &str) -> Result<Running<'w>> {
    let ready = world.path("ready");
    let steps = [
        Step::Mark {
            path: ready.clone(),
        },
        LONG,
    ];
    let mut running = limited(world, limits, &steps)?.start()?;
    running.until(&ready)?;
    Ok(running)
}

fn changed(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let mut running = waiting(&world, "pids = 50")?;
    let file = pids_max(&world)?;
    ensure!(fs::read_to_string(&file)? == "50\n", "{}", file.display());
    fs::write(&file, "max")?;
    running.until_stderr("LIMIT pids WAS CHANGED")?;
    until(environment, "the limit", || {
        Ok(fs::read_to_string(&file)? == "50\n")
    })?;
    running.signal(Signal::SIGTERM)?;
    let finished = running.wait()?.expect_status(143)?;
    let report = finished.report()?;
    let limits = limits_of(&report)?;
    let [change] = limits.changes.as_slice() else {
        anyhow::bail!("not one change: {:?}", limits.changes);
    };
    ensure!(
        change.answer == Answer::Restored
            && change.found.as_deref() == Some("max")
            && change.expected == "50",
        "{change:?}"
    );
    let pinned = pinned(limits, Resource::Pids)?;
    ensure!(pinned.state == State::Changed, "{pinned:?}");
    layer(&report, false)?;
    world.nothing_left()
}

/// Kills a job's cordon.
fn abandon(world: &World, running: Running<'_>) -> Result<()> {
    running.signal(Signal::SIGKILL)?;
    running.wait()?.expect_status(137)?;
    ensure!(!directories(world).is_empty(), "the job is gone");
    Ok(())
}

fn outlive(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let seconds = 8 * u64::from(environment.slowness);
    let begun = Instant::now();
    let running = waiting(&world, &format!("pids = 50\nwall = \"{seconds}s\""))?;
    let evidence = running.evidence().to_owned();
    abandon(&world, running)?;
    let file = pids_max(&world)?;
    ensure!(fs::read_to_string(&file)? == "50\n", "{}", file.display());
    let resumed = world
        .job()
        .subcommand(&["resume"])
        .run()?
        .expect_status(0)?;
    ensure!(
        begun.elapsed() < Duration::from_secs(seconds + 30 * u64::from(environment.slowness)),
        "its time did not end it: {resumed:?}"
    );
    let text = fs::read_to_string(evidence.join("egress-report.json"))?;
    let report: Report = serde_json::from_str(&text)?;
    held(&report, Resource::Pids, "50")?;
    met(&report, Kind::TimeOver)?;
    let usage = &limits_of(&report)?.usage;
    // Of all its life, not only of that under the second cordon.
    ensure!(usage.wall_milliseconds >= seconds * 1000, "{usage:?}");
    world.nothing_left()
}

fn abandoned(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let seconds = 4 * u64::from(environment.slowness);
    let running = waiting(&world, &format!("wall = \"{seconds}s\""))?;
    abandon(&world, running)?;
    let job = world.cgroup().root().join("cordon.slice");
    let processes = || crate::harness::cgroup::processes(&job);
    ensure!(!processes().is_empty(), "the job ended with its cordon");
    let patience = environment.seconds(20) + Duration::from_secs(seconds);
    let deadline = Instant::now() + patience;
    while !processes().is_empty() {
        ensure!(Instant::now() < deadline, "it outlived its time");
        sleep(Duration::from_millis(20));
    }
    world
        .job()
        .subcommand(&["resume"])
        .run()?
        .expect_status(0)?;
    world.nothing_left()
}

fn wrong(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let started = world.path("started");
    let steps = [Step::Mark {
        path: started.clone(),
    }];
    let job = limited(&world, "memory = \"4GB\"\nopen-files = 100", &steps)?;
    let finished = job.run()?.expect_status(USAGE)?;
    for words in [
        "limited.toml:3:10",
        "`memory` is not a size",
        "did you mean `open_files`?",
    ] {
        ensure!(finished.stderr.contains(words), "{}", finished.stderr);
    }
    ensure!(!started.exists(), "the command was started");
    world.nothing_left()
}

fn absent(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let started = world.path("started");
    let steps = [Step::Mark {
        path: started.clone(),
    }];
    let mut legacy = world.cgroup().legacy().iter();
    let pids = legacy.find(|path| path.parent().is_some_and(|mount| mount.ends_with("pids")));
    let guest = environment.cgroup2.join("cgroup.subtree_control");
    let expected = if let Some(directory) = pids {
        fs::remove_dir(directory).context("remove the world's place for processes")?;
        "mkdir -p"
    } else {
        ensure!(environment.slowness > 1, "only a guest is the tests' own");
        fs::write(&guest, "-pids").context("take the controller away")?;
        "is not handed down by"
    };
    let doctor = world.job().subcommand(&["doctor", "--json"]).run()?;
    let finished = limited(&world, "pids = 50", &steps)?.run()?;
    if pids.is_none() {
        File::options()
            .write(true)
            .open(&guest)
            .and_then(|mut file| std::io::Write::write_all(&mut file, b"+pids"))?;
    }
    let finished = finished.expect_status(NOT_ENFORCED)?;
    for words in ["its limits could not be pinned", "`pids`", expected] {
        ensure!(finished.stderr.contains(words), "{}", finished.stderr);
    }
    ensure!(!started.exists(), "the command was started");
    let findings: serde_json::Value = serde_json::from_str(&doctor.stdout)?;
    let (gone, there) = (
        answer(&findings, "limit pids")?,
        answer(&findings, "limit memory, swap")?,
    );
    ensure!(
        (gone.as_str(), there.as_str()) == ("does-not-work", "works"),
        "{findings}"
    );
    // Whoever asks for no such limit is not held up.
    let finished = limited(&world, "wall = \"1h\"", &steps)?.run()?;
    finished.expect_status(0)?;
    ensure!(started.exists(), "the command was not started");
    world.nothing_left()
}
