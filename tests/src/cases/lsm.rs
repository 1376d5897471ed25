//! What only BPF LSM refuses. Where the kernel does not run it, these say so and are counted apart.

use std::fs::{self, File};
use std::io::{ErrorKind, IoSlice};
use std::net::TcpStream;
use std::os::fd::AsRawFd as _;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use cordon::report::Report;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

use crate::client::step::{Outcome, SocketKind, Step, Touch, UnixKind, Use};
use crate::harness::environment::Environment;
use crate::harness::job::Finished;
use crate::harness::network::{EVIL_V4, at};
use crate::harness::world::World;
use crate::runner::{Lack, Story, Told};

type Tell = fn(&Environment) -> Result<()>;

pub fn stories() -> Vec<Story> {
    let stories: [(&str, Tell); 15] = [
        (
            "lsm::every_hook_is_a_layer_and_closes_its_blind_spot",
            coverage,
        ),
        ("lsm::vsock_packet_and_alg_sockets_are_refused", families),
        (
            "lsm::unix_sockets_of_others_are_refused_and_own_ones_work",
            unix,
        ),
        (
            "lsm::a_connection_on_standard_input_cannot_be_used",
            connected_input,
        ),
        ("lsm::a_connection_that_is_passed_cannot_be_used", passed),
        (
            "lsm::processes_outside_cannot_be_touched_by_the_same_user",
            |environment| processes(environment, NOBODY),
        ),
        (
            "lsm::processes_outside_cannot_be_touched_by_root",
            |environment| processes(environment, 0),
        ),
        ("lsm::bpf_is_refused", bpf),
        (
            "lsm::cgroups_cannot_be_mounted_the_old_or_the_new_way",
            mounts,
        ),
        (
            "lsm::control_files_cannot_be_written_even_through_a_handed_directory",
            control_files,
        ),
        (
            "lsm::a_process_that_is_moved_in_lists_itself_once_more_and_writes_nothing_else",
            arrival,
        ),
        (
            "lsm::who_was_started_in_a_job_or_executed_a_program_there_lists_nobody",
            no_arrival,
        ),
        (
            "lsm::a_process_that_is_moved_in_speaks_to_services_until_it_executes_a_program",
            arrival_speaks,
        ),
        ("lsm::audit_does_not_open_what_protects_evidence", audit),
        ("lsm::ordinary_work_goes_on", ordinary_work),
    ];
    stories
        .into_iter()
        .map(|(name, tell)| {
            Story::conditional(name, move |environment| match without_lsm(environment)? {
                Some(why) => Ok(Told::NotHere(Lack::BpfLsm, why)),
                None => tell(environment).map(|()| Told::Whole),
            })
        })
        .collect()
}

/// `nobody`, in every Debian.
const NOBODY: u32 = 65_534;

/// Why the kernel takes no LSM programs, if it does not. An emulated guest always does.
pub(super) fn without_lsm(environment: &Environment) -> Result<Option<String>> {
    let output = Command::new(environment.cordon()?)
        .args(["doctor", "--json"])
        .output()?;
    let told: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let findings = told.get("findings").and_then(|list| list.as_array());
    let lsm = findings
        .context("doctor tells nothing")?
        .iter()
        .find(|finding| finding.get("name").is_some_and(|name| name == "BPF LSM"))
        .context("doctor does not speak of BPF LSM")?;
    let works = lsm.get("answer").is_some_and(|answer| answer == "works");
    ensure!(
        works || environment.slowness == 1,
        "the guest has no BPF LSM: {lsm}"
    );
    Ok((!works).then(|| format!("BPF LSM: {}", lsm.get("detail").unwrap_or(lsm))))
}

/// Does something inside a running job's cgroup and without the sandbox of `cordon run`: as a process
/// that a runner has moved there. What is refused then, is refused by the kernel's programs alone.
fn inside<T>(
    world: &World,
    arguments: &[&str],
    act: impl FnOnce(&Path) -> Result<T>,
) -> Result<(T, Report)> {
    let (ready, done) = (world.path("ready"), world.path("done"));
    let script = format!(
        "touch {}; while [ ! -e {} ]; do sleep 0.05; done",
        ready.display(),
        done.display()
    );
    let profile = world.profile("empty", "")?;
    let mut host = world
        .job()
        .profile(&profile)
        .under_cordon(arguments)
        .command(["sh", "-c", &script])
        .start()?;
    host.until(&ready)?;
    let slice = world.cgroup().root().join("cordon.slice");
    let jobs = fs::read_dir(&slice).context("the slice")?;
    let job = jobs
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.is_dir())
        .context("the job has no cgroup")?;
    let acted = act(&job);
    fs::write(&done, "")?;
    let finished = host.wait()?;
    Ok((acted?, finished.expect_status(0)?.report()?))
}

/// Runs steps as a job that no rule allows anything.
fn enforced<const N: usize>(world: &World, steps: &[Step; N]) -> Result<([Outcome; N], Report)> {
    inside(world, &[], |job| {
        world.free(steps)?.in_cgroup(job).run()?.steps()
    })
}

fn refused(outcomes: &[Outcome]) -> Result<()> {
    for outcome in outcomes {
        ensure!(!outcome.ok && outcome.is_refused(), "{outcome:?}");
    }
    Ok(())
}

fn allowed(outcomes: &[Outcome]) -> Result<()> {
    for outcome in outcomes {
        ensure!(outcome.ok, "{outcome:?}");
    }
    Ok(())
}

/// Fails unless the report has a refused call with these words.
fn recorded(report: &Report, reason: &str) -> Result<()> {
    let text = serde_json::to_string(report)?;
    ensure!(text.contains(reason), "no `{reason}` in {text}");
    Ok(())
}

fn coverage(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let profile = world.profile("empty", "")?;
    let steps = [Step::Sleep { ms: 1 }];
    let finished = world.enforced(&profile, &steps)?.run()?;
    allowed(&finished.steps::<1>()?)?;
    let report = finished.report()?;
    let layers: Vec<_> = report
        .coverage
        .layers
        .iter()
        .filter(|layer| layer.name.starts_with("lsm"))
        .collect();
    ensure!(layers.len() >= 25, "{layers:#?}");
    ensure!(layers.iter().all(|layer| layer.active), "{layers:#?}");
    let blind = report.coverage.blind_spots.join("\n");
    ensure!(
        !blind.contains("vsock") && !blind.contains("same user") && !blind.contains("GAP"),
        "{blind}"
    );
    world.nothing_left()
}

fn families(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let steps =
        [SocketKind::Vsock, SocketKind::Alg, SocketKind::Packet].map(|kind| Step::Socket { kind });
    // A kernel may lack a family; what it says then is not EPERM.
    for outcome in world.free(&steps)?.run()?.steps::<3>()? {
        ensure!(!outcome.is_refused(), "{outcome:?}");
    }
    let (outcomes, report) = enforced(&world, &steps)?;
    refused(&outcomes)?;
    // AF_VSOCK is among the refused sockets.
    recorded(&report, "family 40")
}

/// Somebody outside the job on its machine, at a name each for streams, datagrams and packets.
struct Outside {
    _streams: Vec<UnixListener>,
    datagrams: Vec<UnixDatagram>,
}

fn outside(world: &World) -> Result<Outside> {
    let directory = world.directory();
    // Abstract names belong to a network namespace.
    world.network.job.run(|| {
        let abstract_name = |name: &str| SocketAddr::from_abstract_name(name);
        let outside = Outside {
            _streams: vec![
                UnixListener::bind(directory.join("outside-stream"))?,
                UnixListener::bind_addr(&abstract_name("cordon-tests-outside-stream")?)?,
            ],
            datagrams: vec![
                UnixDatagram::bind(directory.join("outside-datagram"))?,
                UnixDatagram::bind_addr(&abstract_name("cordon-tests-outside-datagram")?)?,
            ],
        };
        for socket in &outside.datagrams {
            socket.set_nonblocking(true)?;
        }
        Ok(outside)
    })
}

impl Outside {
    fn heard(&self) -> usize {
        let heard = |socket: &UnixDatagram| {
            std::iter::repeat_with(|| socket.recv(&mut [0; 64]))
                .take_while(Result::is_ok)
                .count()
        };
        self.datagrams.iter().map(heard).sum()
    }
}

fn unix(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let outside = outside(&world)?;
    let at = |name: &str| world.directory().join(name).display().to_string();
    symlink(at("outside-stream"), at("link-stream"))?;
    symlink(at("outside-datagram"), at("link-datagram"))?;
    let to = |to: String, kind| Step::Unix { to, kind };
    let steps = [
        to(at("outside-stream"), UnixKind::Stream),
        to(at("link-stream"), UnixKind::Stream),
        to("@cordon-tests-outside-stream".to_owned(), UnixKind::Stream),
        to(at("outside-datagram"), UnixKind::Datagram),
        to(at("link-datagram"), UnixKind::Datagram),
        to(
            "@cordon-tests-outside-datagram".to_owned(),
            UnixKind::Datagram,
        ),
    ];
    allowed(&world.free(&steps)?.run()?.steps::<6>()?)?;
    ensure!(outside.heard() == 3, "the datagrams did not arrive");
    let (outcomes, report) = enforced(&world, &steps)?;
    refused(&outcomes)?;
    ensure!(outside.heard() == 0, "a datagram arrived");
    recorded(&report, "unix-socket-not-own")?;

    let own = world.path("own");
    fs::create_dir(&own)?;
    let (outcomes, report) = enforced(&world, &[Step::UnixOwn { directory: own }])?;
    allowed(&outcomes)?;
    ensure!(
        !serde_json::to_string(&report)?.contains("unix-socket-not-own"),
        "something of the job's own was refused"
    );
    Ok(())
}

/// A connection to the attacker, made outside the job on its machine.
fn connection(world: &World) -> Result<TcpStream> {
    let attacker = at(EVIL_V4, 8080);
    world
        .network
        .job
        .run(|| TcpStream::connect(attacker).context("connect to the attacker"))
}

fn connected_input(environment: &Environment) -> Result<()> {
    // What is received is the echo of what was sent.
    let steps = [Use::Send, Use::SendFile, Use::Receive].map(|way| Step::Input { way });
    let control = World::new(environment)?;
    let free = control.free(&steps)?.input(connection(&control)?).run()?;
    allowed(&free.steps::<3>()?)?;
    control.something_leaked()?;

    let world = World::new(environment)?;
    let connection = connection(&world)?;
    let (outcomes, report) = inside(&world, &[], |job| {
        let client = world.free(&steps)?.input(connection).in_cgroup(job);
        client.run()?.steps::<3>()
    })?;
    refused(&outcomes)?;
    let arrived = world.evil.at(at(EVIL_V4, 8080));
    ensure!(arrived.bytes == 0, "{arrived:?}");
    recorded(&report, "socket-not-own")
}

/// A name is there a moment before somebody listens at it.
fn connect_patiently(path: &Path) -> Result<UnixStream> {
    for _ in 0..200 {
        match UnixStream::connect(path) {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                sleep(Duration::from_millis(10));
            }
            connected => return connected.context("connect to the job"),
        }
    }
    bail!("nobody listens at {}", path.display())
}

fn passed(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let hand_over = |name: &str, job: Option<&Path>| -> Result<Finished> {
        let path = world.path(name);
        let steps = [Step::Take { at: path.clone() }];
        let client = world.free(&steps)?;
        let job = match job {
            Some(job) => client.in_cgroup(job),
            None => client,
        };
        let mut running = job.start()?;
        running.until(&path)?;
        let connection = connection(&world)?;
        let stream = connect_patiently(&path)?;
        let fds = [connection.as_raw_fd()];
        sendmsg::<()>(
            stream.as_raw_fd(),
            &[IoSlice::new(b"!")],
            &[ControlMessage::ScmRights(&fds)],
            MsgFlags::empty(),
            None,
        )
        .context("pass a connection")?;
        running.wait()
    };
    allowed(&hand_over("free", None)?.steps::<1>()?)?;
    let (finished, report) = inside(&world, &[], |job| hand_over("enforced", Some(job)))?;
    refused(&finished.steps::<1>()?)?;
    recorded(&report, "receive-fd")
}

/// A process outside every job; ends with this value.
struct Bystander(Child);

impl Bystander {
    fn new(user: u32) -> Result<Self> {
        let child = Command::new("sleep")
            .arg("600")
            .uid(user)
            .gid(user)
            .spawn()
            .context("start a process outside")?;
        Ok(Self(child))
    }

    fn id(&self) -> Result<i32> {
        Ok(i32::try_from(self.0.id())?)
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        if let Err(error) = self.0.kill().and_then(|()| self.0.wait()) {
            eprintln!("a process is left: {error}");
        }
    }
}

/// Opens what Yama closes, as many hosts do; put back at the end.
struct Yama(Option<String>);

const PTRACE_SCOPE: &str = "/proc/sys/kernel/yama/ptrace_scope";

impl Yama {
    fn open() -> Result<Self> {
        let Ok(before) = fs::read_to_string(PTRACE_SCOPE) else {
            return Ok(Self(None));
        };
        fs::write(PTRACE_SCOPE, "0").context("open Yama")?;
        Ok(Self(Some(before)))
    }
}

impl Drop for Yama {
    fn drop(&mut self) {
        if let Some(before) = &self.0
            && let Err(error) = fs::write(PTRACE_SCOPE, before)
        {
            eprintln!("{PTRACE_SCOPE} is left open: {error}");
        }
    }
}

const WAYS: [Touch; 7] = [
    Touch::Signal,
    Touch::Trace,
    Touch::Descriptor,
    Touch::Memory,
    Touch::Environment,
    Touch::Limit,
    Touch::Priority,
];

fn processes(environment: &Environment, user: u32) -> Result<()> {
    let world = World::new(environment)?;
    let _open = Yama::open()?;
    fs::set_permissions(world.directory(), fs::Permissions::from_mode(0o755))?;
    // Newer kernels let CAP_PERFMON read a process' files without asking anybody. Jobs do not have it;
    // root outside the sandbox, as here, does.
    let ways = || {
        WAYS.into_iter()
            .filter(|how| user != 0 || *how != Touch::Environment)
    };
    let touches = |process| {
        ways()
            .map(|how| Step::Touch { process, how })
            .collect::<Vec<_>>()
    };
    let bystander = Bystander::new(user)?;
    let steps = touches(bystander.id()?);
    allowed(&world.free(&steps)?.user(user).run()?.outcomes()?)?;

    let bystander = Bystander::new(user)?;
    let steps = touches(bystander.id()?);
    let (outcomes, report) = inside(&world, &[], |job| {
        let client = world.free(&steps)?.user(user).in_cgroup(job);
        client.run()?.outcomes()
    })?;
    ensure!(outcomes.len() == ways().count(), "{outcomes:?}");
    for outcome in &outcomes {
        // The files of a process say EACCES.
        let errno = outcome.errno.as_deref().unwrap_or_default();
        ensure!(
            !outcome.ok && (errno.starts_with("EPERM") || errno.starts_with("EACCES")),
            "{outcome:?}"
        );
    }
    recorded(&report, "process-not-own")
}

fn bpf(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    allowed(&world.free(&[Step::Bpf])?.run()?.steps::<1>()?)?;
    let (outcomes, report) = enforced(&world, &[Step::Bpf])?;
    refused(&outcomes)?;
    recorded(&report, "control")
}

fn mounts(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    // Linux 6.1 refuses a BPF file system in a user namespace by itself: that shows nothing.
    for by_name in [true, false] {
        let place = world.path("place");
        fs::create_dir(&place)?;
        let steps = [Step::Mount {
            kind: "cgroup2".to_owned(),
            at: place,
            by_name,
        }];
        allowed(&world.free(&steps)?.run()?.steps::<1>()?)?;
        let (outcomes, report) = enforced(&world, &steps)?;
        refused(&outcomes)?;
        // Not for want of a user namespace.
        ensure!(
            outcomes
                .iter()
                .all(|outcome| outcome.call.as_deref() != Some("unshare")),
            "{outcomes:?}"
        );
        recorded(&report, "control")?;
    }
    Ok(())
}

/// Runs a shell script that has a directory of the host as its standard input; inside a job if there is
/// one.
fn with_directory(
    world: &World,
    directory: File,
    script: &str,
    job: Option<&Path>,
) -> Result<Finished> {
    let shell = world.job().command(["/bin/sh", "-c", script]);
    let shell = match job {
        Some(job) => shell.in_cgroup(job),
        None => shell,
    };
    shell.input(directory).run()?.expect_status(0)
}

const HERE: &str = "/proc/self/fd/0";

fn control_files(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    // The tree's own root, by a mount that can be written to.
    let root = || File::open(world.cgroup().root()).context("open the cgroup");
    let leave = format!(
        "echo 0 > {HERE}/cgroup.procs && echo left; cat {HERE}/cgroup.procs >/dev/null && echo read"
    );
    let free = with_directory(&world, root()?, &leave, None)?;
    ensure!(free.stdout == "left\nread\n", "{free:?}");
    let (finished, report) = inside(&world, &[], |job| {
        with_directory(&world, root()?, &leave, Some(job))
    })?;
    ensure!(finished.stdout == "read\n", "{finished:?}");
    recorded(&report, "control")?;

    let bpffs = || {
        let path = world.bpffs();
        world
            .mounts()
            .run(|| File::open(&path).context("open the bpffs"))
    };
    let change = format!(
        "mkdir {HERE}/made 2>&1 && echo made; mv {HERE}/made {HERE}/moved && echo moved; \
         ls {HERE}/ >/dev/null && echo listed; rmdir {HERE}/moved && echo removed; true"
    );
    let free = with_directory(&world, bpffs()?, &change, None)?;
    ensure!(free.stdout == "made\nmoved\nlisted\nremoved\n", "{free:?}");
    // Pins are files; the links of this very job are there.
    let change = format!("{change}; rm -f {HERE}/cordon/*/link_egress");
    let (finished, report) = inside(&world, &[], |job| {
        with_directory(&world, bpffs()?, &change, Some(job))
    })?;
    for word in ["made", "moved", "listed", "removed"] {
        ensure!(
            !finished.stdout.lines().any(|line| line == word),
            "{finished:?}"
        );
    }
    ensure!(
        !report.coverage.blind_spots.join("\n").contains("GAP"),
        "{:?}",
        report.coverage
    );
    recorded(&report, "control")
}

/// Writes the own process, or another one, to a file of a cgroup.
fn list(cgroup: &Path, file: &str, process: &str) -> Step {
    Step::Write {
        path: cgroup.join(file),
        text: process.to_owned(),
    }
}

/// As a service manager does it: from both sides, before it executes the service.
fn arrival(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let bystander = Bystander::new(0)?;
    let process = bystander.id()?.to_string();
    let ((entered, others, leaves), report) = inside(&world, &[], |job| {
        let slice = job.parent().context("the slice")?;
        let below = job.join("below");
        fs::create_dir(&below)?;
        // Outside of every job when it was started, and it executes nothing afterwards.
        let enter = [0; 3].map(|_| list(job, "cgroup.procs", "0"));
        let other = [
            list(job, "cgroup.threads", "0"),
            list(job, "cgroup.freeze", "0"),
            list(job, "cgroup.subtree_control", "+pids"),
            list(&below, "cgroup.procs", "0"),
            list(slice, "cgroup.procs", "0"),
            list(world.cgroup().root(), "cgroup.procs", "0"),
            list(world.cgroup().root(), "cgroup.procs", &process),
        ];
        let steps: Vec<_> = enter.iter().chain(&other).cloned().collect();
        let mut outcomes = world.free(&steps)?.run()?.outcomes()?;
        let others = outcomes.split_off(enter.len());
        // Below a job there is no service manager.
        let down = [
            list(&below, "cgroup.procs", "0"),
            list(&below, "cgroup.procs", "0"),
        ];
        let leaves = world.free(&down)?.run()?.steps::<2>()?;
        Ok((outcomes, others, leaves))
    })?;
    allowed(&entered)?;
    ensure!(others.len() == 7, "{others:?}");
    refused(&others)?;
    let [down, again] = leaves;
    allowed(&[down])?;
    refused(&[again])?;
    recorded(&report, "control")
}

/// A service manager's own process tells it who it is, and opens the journal, after it was moved.
fn arrival_speaks(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let outside = outside(&world)?;
    let speaks = || {
        let to = |name: &str, kind| Step::Unix {
            to: world.directory().join(name).display().to_string(),
            kind,
        };
        [
            to("outside-stream", UnixKind::Stream),
            to("outside-datagram", UnixKind::Datagram),
        ]
    };
    let ((arrived, executed, below), report) = inside(&world, &[], |job| {
        let enters = |cgroup: &Path| -> Vec<Step> {
            let enter = list(cgroup, "cgroup.procs", "0");
            std::iter::once(enter).chain(speaks()).collect()
        };
        let arrived = world.free(&enters(job))?.run()?.outcomes()?;
        let executed = world.free(&speaks())?.in_cgroup(job).run()?.steps::<2>()?;
        let deeper = job.join("deeper");
        fs::create_dir(&deeper)?;
        let below = world.free(&enters(&deeper))?.run()?.outcomes()?;
        Ok((arrived, executed, below))
    })?;
    allowed(&arrived)?;
    ensure!(
        arrived.len() == 3 && below.len() == 3,
        "{arrived:?} {below:?}"
    );
    refused(&executed)?;
    let (entered, spoke) = below.split_at(1);
    allowed(entered)?;
    refused(spoke)?;
    drop(outside);
    recorded(&report, "unix-socket-not-own")
}

/// Each way in which a program of the job could have the file open.
fn no_arrival(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let bystander = Bystander::new(0)?;
    let other = bystander.id()?;
    let ((executed, shell, traced), report) = inside(&world, &[], |job| {
        let own = job.join("cgroup.procs");
        let own = own.display();
        // Moved, then executed.
        let steps = [
            list(job, "cgroup.procs", "0"),
            list(job, "cgroup.procs", &other.to_string()),
        ];
        let executed = world.free(&steps)?.in_cgroup(job).run()?.steps::<2>()?;
        // Started there, and nothing executed since; the last one has lost its parents, too.
        let script = format!(
            "(echo 0 >{own}) && echo child\n( (sleep 0.5; echo 0 >{own} && echo orphan) & )\nsleep 1\n\
             (exec 9<>{own}) && echo kept\ntrue"
        );
        let shell = world.job().in_cgroup(job).command(["sh", "-c", &script]);
        let shell = shell.run()?.expect_status(0)?;
        // Who has only just arrived is nobody's to act through.
        let there = world.path("there");
        let arrives = [
            list(job, "cgroup.procs", "0"),
            Step::Mark {
                path: there.clone(),
            },
            Step::Sleep {
                ms: u64::from(3_000 * environment.slowness),
            },
        ];
        let mut arrived = world.free(&arrives)?.start()?;
        arrived.until(&there)?;
        let process = i32::try_from(arrived.id())?;
        let ways = [Touch::Trace, Touch::Descriptor, Touch::Memory];
        let steps = ways.map(|how| Step::Touch { process, how });
        let traced = world.free(&steps)?.in_cgroup(job).run()?.steps::<3>()?;
        allowed(&arrived.wait()?.steps::<3>()?)?;
        Ok((executed, shell, traced))
    })?;
    refused(&executed)?;
    ensure!(shell.stdout.is_empty(), "{shell:?}");
    for outcome in &traced {
        ensure!(!outcome.ok, "{outcome:?}");
    }
    refused(&traced[..2])?;
    recorded(&report, "control")?;
    recorded(&report, "process-not-own")
}

fn audit(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let outside = outside(&world)?;
    let bystander = Bystander::new(0)?;
    let steps = [
        Step::Bpf,
        Step::Touch {
            process: bystander.id()?,
            how: Touch::Signal,
        },
        Step::Unix {
            to: "@cordon-tests-outside-datagram".to_owned(),
            kind: UnixKind::Datagram,
        },
    ];
    let ([bpf, signal, unix], report) = inside(&world, &["--audit"], |job| {
        world.free(&steps)?.in_cgroup(job).run()?.steps()
    })?;
    refused(&[bpf, signal])?;
    allowed(&[unix])?;
    ensure!(outside.heard() == 1, "the datagram did not arrive");
    recorded(&report, "would-deny")
}

const WORK: &str = r#"
set -e
seq 1 1000 | sort -rn | head -n 1
sleep 60 & kill -TERM $!; wait $! || true
trap 'echo caught' USR1; kill -USR1 $$
(exec sh -c 'kill -9 $$') || echo killed
yes | head -n 1
ps > /dev/null; ls /proc > /dev/null
mkdir -p "$1/a"; echo text > "$1/a/b"; cp "$1/a/b" "$1/c"; rm -r "$1/a"; cat "$1/c"
setsid sh -c 'echo session'
kill -0 1 2> /dev/null && echo there
"#;

fn ordinary_work(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let profile = world.profile("empty", "")?;
    let run = |profile: Option<&Path>| -> Result<Finished> {
        let place = world.path("work");
        fs::create_dir(&place)?;
        let words = ["/bin/sh", "-c", WORK, "sh"].map(Into::into);
        let job = world
            .job()
            .command(words.into_iter().chain([place.into_os_string()]));
        match profile {
            Some(profile) => job.profile(profile),
            None => job,
        }
        .run()?
        .expect_status(0)
    };
    let (free, enforced) = (run(None)?, run(Some(&profile))?);
    ensure!(free.stdout == enforced.stdout, "{free:?}\n{enforced:?}");
    ensure!(free.stdout.ends_with("session\nthere\n"), "{free:?}");
    // Nothing of this is worth a word.
    let report = enforced.report()?;
    ensure!(
        !serde_json::to_string(&report)?.contains("process-not-own"),
        "{report:#?}"
    );
    world.nothing_left()
}
