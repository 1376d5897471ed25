//! No silent downgrade: where something that enforces is missing, full or broken, the job does not
//! start or stays denied, and somebody is told why and what to do.

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use cordon::enforce::hooks::{Attach, HOOKS};
use cordon::report::NameVerdict;
use nix::mount::{MsFlags, mount};

use crate::client::step::Step;
use crate::harness::environment::Environment;
use crate::harness::job::Job;
use crate::harness::kernel::{FullHook, KernelMap};
use crate::harness::network::{EVIL_V4, GOOD_V4, at};
use crate::harness::rules::{cidr, host};
use crate::harness::verdicts::{allowed, name_asked};
use crate::harness::world::World;
use crate::runner::Story;

/// Documented statuses of cordon.
const NOT_ENFORCED: i32 = 120;
const USAGE: i32 = 121;
const UNSUPPORTED: i32 = 122;
const NO_EVIDENCE: i32 = 124;

pub(super) fn stories() -> Vec<Story> {
    vec![
        Story::new(
            "downgrade::a_hook_that_takes_no_program_stops_the_start",
            full_hooks,
        ),
        Story::new("downgrade::without_type_information_nothing_starts", no_btf),
        Story::new("downgrade::a_full_job_table_stops_the_start", full_jobs),
        Story::new(
            "downgrade::a_full_lease_table_withholds_the_answer",
            full_leases,
        ),
        Story::new(
            "downgrade::a_full_flow_table_is_counted_and_denies_as_before",
            full_flows,
        ),
        Story::new(
            "downgrade::a_name_that_does_not_resolve_stays_denied",
            unresolvable,
        ),
        Story::new("downgrade::a_dead_resolver_opens_nothing", dead_upstream),
        Story::new(
            "downgrade::a_profile_changed_under_a_running_job_changes_nothing",
            changed_profile,
        ),
        Story::new(
            "downgrade::an_evidence_directory_that_cannot_be_made_stops_the_start",
            no_evidence_dir,
        ),
        Story::new(
            "downgrade::evidence_that_cannot_be_written_is_a_failure_of_its_own",
            no_room_for_evidence,
        ),
    ]
}

/// The job of this attempt does not start, with this status and these words.
fn not_started(
    world: &World,
    status: i32,
    words: &[&str],
    change: impl FnOnce(Job<'_>) -> Job<'_>,
) -> Result<()> {
    let started = world.path("started");
    let job = world.job().under_cordon(&[]).steps(&[Step::Mark {
        path: started.clone(),
    }])?;
    let finished = change(job).run()?;
    ensure!(
        !started.exists(),
        "the command was started: {}",
        finished.stderr
    );
    let finished = finished.expect_status(status)?;
    for word in words {
        ensure!(
            finished.stderr.contains(word),
            "no `{word}`: {}",
            finished.stderr
        );
    }
    Ok(())
}

fn full_hooks(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let mut tried = 0;
    for hook in HOOKS {
        let Attach::Cgroup(attach_type) = hook.attach else {
            continue;
        };
        let full = FullHook::new(world.cgroup().root(), attach_type)?;
        // Of two programs on one hook the first finds no room.
        let first = HOOKS.iter().find(|other| other.attach == hook.attach);
        let first = first.context("the hook is in the table")?;
        let name = format!("does not attach program {}", first.name);
        not_started(
            &world,
            NOT_ENFORCED,
            &[&name, "64 programs", "detach what nobody needs"],
            |job| job,
        )?;
        drop(full);
        world.nothing_left()?;
        tried += 1;
    }
    ensure!(tried >= 11, "only {tried} hooks were tried");
    // With room again, the same start works.
    let finished = world.job().under_cordon(&[]).steps(&[])?.run()?;
    finished.expect_status(0)?;
    world.nothing_left()
}

fn no_btf(environment: &Environment) -> Result<()> {
    const NONE: Option<&str> = None;
    let world = World::new(environment)?;
    world.mounts().run(|| {
        mount(
            Some("none"),
            "/sys/kernel/btf",
            Some("tmpfs"),
            MsFlags::empty(),
            NONE,
        )
        .context("hide the kernel's BTF")
    })?;
    let words = [
        "/sys/kernel/btf/vmlinux",
        "type information",
        "CONFIG_DEBUG_INFO_BTF",
    ];
    not_started(&world, UNSUPPORTED, &words, |job| job)?;
    world.nothing_left()
}

/// Starts a job that waits for `go`, and does something to the maps meanwhile. `act` is told the
/// directory of the pins and the job's cgroup id.
fn with_maps<T: Send>(
    world: &World,
    profile: &Path,
    steps: &[Step],
    act: impl FnOnce(&Path, u64) -> Result<T> + Send,
    then: impl FnOnce(&World) -> Result<()>,
) -> Result<(T, crate::harness::job::Finished)> {
    use std::os::unix::fs::MetadataExt as _;
    let [ready, go] = ["ready", "go"].map(|name| world.path(name));
    let mut all = vec![
        Step::Mark {
            path: ready.clone(),
        },
        Step::Await { path: go.clone() },
    ];
    all.extend_from_slice(steps);
    let mut running = world.enforced(profile, &all)?.start()?;
    running.until(&ready)?;
    let slice = world.cgroup().root().join("cordon.slice");
    let mut jobs = fs::read_dir(&slice)?
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("job-"));
    let job = jobs.next().context("there is no job")?.metadata()?.ino();
    let pins = world.bpffs().join("cordon");
    let done = world.mounts().run(move || {
        let directory = fs::read_dir(&pins)?.flatten().next();
        act(&directory.context("nothing is pinned")?.path(), job)
    })?;
    then(world)?;
    File::create(&go)?;
    Ok((done, running.wait()?.expect_status(0)?))
}

fn full_jobs(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let profile = world.profile("empty", "")?;
    let steps = [Step::udp(at(EVIL_V4, 8080))];
    let fill = |pins: &Path, _job| KernelMap::pinned(&pins.join("map_JOBS"))?.fill(8, &[0; 16]);
    let (added, finished) = with_maps(&world, &profile, &steps, fill, |world| {
        let words = ["publish map JOBS", "full", "wait"];
        not_started(world, NOT_ENFORCED, &words, |job| job)
    })?;
    ensure!(added == 1023, "{added} entries were added");
    let [_, _, evil] = finished.steps()?;
    world.refused(&evil)?;
    world.nothing_leaked()?;
    world.nothing_left()
}

fn full_leases(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let profile = world.profile("good", &host("good.test", "8080"))?;
    let steps = [
        Step::resolve("good.test"),
        Step::tcp(at(GOOD_V4, 8080)),
        Step::tcp(at(EVIL_V4, 8080)),
    ];
    // One grant of nothing that never runs out, so that nobody collects it.
    let mut value = [0; 264];
    if let Some((len, rest)) = value.split_first_mut() {
        *len = 1;
        rest.iter_mut()
            .skip(7)
            .take(8)
            .for_each(|byte| *byte = 0xff);
    }
    let fill = |pins: &Path, job| {
        KernelMap::pinned(&pins.join("map_LEASES"))?
            .inner(job)?
            .fill(16, &value)
    };
    let (added, finished) = with_maps(&world, &profile, &steps, fill, |_world| Ok(()))?;
    ensure!(added == 65_536, "{added} entries were added");
    let [_, _, name, good, evil] = finished.steps()?;
    ensure!(
        name.addresses.is_empty(),
        "answered without a lease: {name:?}"
    );
    world.refused(&good)?;
    world.refused(&evil)?;
    let report = finished.report()?;
    let asked = name_asked(&report, "good.test")?;
    ensure!(asked.answer == NameVerdict::NotLeased, "{asked:?}");
    ensure!(
        finished.stderr.contains("could not be leased"),
        "{}",
        finished.stderr
    );
    world.nothing_leaked()?;
    world.nothing_left()
}

fn full_flows(environment: &Environment) -> Result<()> {
    const PORTS: u16 = 17_000;
    /// Lines of a job's flow table.
    const LINES: u64 = 16_384;
    let world = World::new(environment)?;
    let profile = world.profile("good", &cidr("203.0.113.10/32", "8080", "tcp"))?;
    let steps = [
        Step::Spray {
            to: EVIL_V4.into(),
            ports: PORTS,
        },
        Step::tcp(at(GOOD_V4, 8080)),
        Step::tcp(at(EVIL_V4, 443)),
    ];
    let finished = world.enforced(&profile, &steps)?.run()?.expect_status(0)?;
    let [sprayed, good, evil] = finished.steps()?;
    // Port 53 is the listener's.
    let refused = usize::from(PORTS) - 1;
    ensure!(
        sprayed.bytes == refused,
        "{} of {refused} were refused",
        sprayed.bytes
    );
    allowed(&good)?;
    world.refused(&evil)?;
    let report = finished.report()?;
    let denied = refused as u64 + 1;
    ensure!(report.summary.denied == denied, "{:?}", report.summary);
    ensure!(report.losses.flows >= denied - LINES, "{:?}", report.losses);
    ensure!(finished.stderr.contains("not whole"), "does not say so");
    world.nothing_leaked()?;
    world.nothing_left()
}

fn unresolvable(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let profile = world.profile("absent", &host("absent.test", "8080"))?;
    let steps = [
        Step::resolve("absent.test"),
        Step::tcp(at(GOOD_V4, 8080)),
        Step::tcp(at(EVIL_V4, 8080)),
    ];
    let finished = world.enforced(&profile, &steps)?.run()?.expect_status(0)?;
    let [name, good, evil] = finished.steps()?;
    ensure!(name.addresses.is_empty(), "{name:?}");
    world.refused(&good)?;
    world.refused(&evil)?;
    world.nothing_leaked()?;
    world.nothing_left()
}

fn dead_upstream(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let profile = world.profile("good", &host("good.test", "8080"))?;
    let steps = [
        Step::resolve("good.test"),
        Step::tcp(at(GOOD_V4, 8080)),
        Step::tcp(at(EVIL_V4, 8080)),
    ];
    // Nobody answers DNS at the job's own address.
    let job = world
        .enforced(&profile, &steps)?
        .upstream(Ipv4Addr::LOCALHOST);
    let finished = job.run()?.expect_status(0)?;
    let [name, good, evil] = finished.steps()?;
    ensure!(name.addresses.is_empty(), "{name:?}");
    world.refused(&good)?;
    world.refused(&evil)?;
    let report = finished.report()?;
    let asked = name_asked(&report, "good.test")?;
    ensure!(asked.answer == NameVerdict::Failed, "{asked:?}");
    ensure!(
        finished.stderr.contains("did not answer"),
        "{}",
        finished.stderr
    );
    world.nothing_leaked()?;
    world.nothing_left()
}

fn changed_profile(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let open = format!(
        "name = \"good\"\n{}",
        cidr("198.51.100.0/24", "8080", "tcp")
    );
    for text in [open.as_str(), "this is no profile [[["] {
        let profile = world.profile("good", &cidr("203.0.113.10/32", "8080", "tcp"))?;
        let steps = [Step::tcp(at(GOOD_V4, 8080)), Step::tcp(at(EVIL_V4, 8080))];
        let (written, finished) = with_maps(
            &world,
            &profile,
            &steps,
            |_pins, _job| Ok(fs::write(&profile, text)?),
            |_world| Ok(()),
        )?;
        let () = written;
        let [_, _, good, evil] = finished.steps()?;
        allowed(&good)?;
        world.refused(&evil)?;
        world.nothing_leaked()?;
    }
    // The next job sees it: a broken one stops it.
    let profile = world.profile("broken", "[[[")?;
    not_started(&world, USAGE, &["broken.toml"], |job| job.profile(&profile))?;
    world.nothing_left()
}

fn no_evidence_dir(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    // Not even root makes a directory there.
    let nowhere = Path::new("/proc/cordon-evidence");
    let words = ["create directory", "/proc/cordon-evidence"];
    not_started(&world, USAGE, &words, |job| job.evidence(nowhere))?;
    world.nothing_left()
}

fn no_room_for_evidence(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let evidence = world.path("evidence");
    fs::create_dir(&evidence)?;
    let place = evidence.clone();
    world.mounts().run(move || {
        let size = Some("size=4k");
        mount(Some("none"), &place, Some("tmpfs"), MsFlags::empty(), size).context("mount")
    })?;
    let started = world.path("started");
    let steps = [
        Step::Mark {
            path: started.clone(),
        },
        Step::udp(at(EVIL_V4, 8080)),
    ];
    let profile = world.profile("empty", "")?;
    let job = world.enforced(&profile, &steps)?.evidence(&evidence);
    let finished = job.run()?.expect_status(NO_EVIDENCE)?;
    ensure!(started.exists(), "the command did not run");
    ensure!(
        finished.stderr.contains("could not be written"),
        "{}",
        finished.stderr
    );
    let [_, evil] = finished.steps()?;
    world.refused(&evil)?;
    world.nothing_leaked()?;
    world.nothing_left()
}
