//! What surrounds a command besides its cgroup: it sees no process outside, exact statuses come
//! back, calls that reach past the hooks are refused, sockets of daemons are hidden.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use cordon::report::Outcome as JobOutcome;
use nix::mount::{MsFlags, mount};
use nix::pty::openpty;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, ttyname};

use crate::cases::lsm::without_lsm;
use crate::client::step::{Abi, Outcome, Step};
use crate::harness::environment::Environment;
use crate::harness::job::{Finished, Job};
use crate::harness::world::World;
use crate::runner::Story;

pub(super) fn stories() -> Vec<Story> {
    vec![
        Story::new("sandbox::processes_outside_do_not_exist_for_root", |all| {
            outside(all, Who::Root)
        }),
        Story::new(
            "sandbox::processes_outside_do_not_exist_for_their_user",
            |all| outside(all, Who::Nobody),
        ),
        Story::new("sandbox::init_is_out_of_a_root_jobs_reach", init),
        Story::new("sandbox::a_killed_init_takes_the_job_with_it", killed_init),
        Story::new("sandbox::every_signal_and_status_is_passed_on", statuses),
        Story::new("sandbox::orphans_are_reaped", orphans),
        Story::new(
            "sandbox::an_interrupt_from_the_terminal_ends_the_command",
            terminal,
        ),
        Story::new("sandbox::a_stopped_command_goes_on", stopped),
        Story::new(
            "sandbox::refused_calls_are_refused_by_every_way_in_for_root",
            |all| calls(all, Who::Root),
        ),
        Story::new(
            "sandbox::refused_calls_are_refused_by_every_way_in_for_a_user",
            |all| calls(all, Who::Nobody),
        ),
        Story::new("sandbox::what_builds_need_still_works", builds),
        Story::new("sandbox::a_user_makes_namespaces_of_its_own", namespaces),
        Story::new(
            "sandbox::a_root_job_starts_no_process_in_another_cgroup",
            other_cgroup,
        ),
        Story::new("sandbox::message_queues_are_the_jobs_own", queues),
        Story::new(
            "sandbox::settings_of_the_host_are_read_only_for_root",
            settings,
        ),
        Story::new(
            "sandbox::unix_sockets_are_refused_unless_the_host_allows_them",
            unix,
        ),
        Story::new(
            "sandbox::an_engines_socket_is_hidden_also_behind_a_link",
            engine,
        ),
        Story::new(
            "sandbox::a_connection_as_standard_input_is_refused",
            connection,
        ),
    ]
}

/// Who the job is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Who {
    Root,
    Nobody,
}

impl Who {
    /// Under cordon.
    fn enforced<'w>(self, world: &'w World, steps: &[Step]) -> Result<Job<'w>> {
        let job = world.job().steps(steps)?.under_cordon(&[]);
        Ok(match self {
            Self::Root => job,
            Self::Nobody => job.under_cordon(&["--user", "nobody"]),
        })
    }

    /// Without cordon.
    fn free(self, world: &World, steps: &[Step]) -> Result<Vec<Outcome>> {
        let job = self.becomes(world.free(steps)?);
        job.run()?.expect_status(0)?.outcomes()
    }

    /// A command without cordon, as this user.
    fn becomes(self, job: Job<'_>) -> Job<'_> {
        match self {
            Self::Root => job,
            Self::Nobody => job.user(65_534),
        }
    }
}

/// Runs a shell script as the job.
fn script(world: &World, who: Who, script: &str) -> Result<Finished> {
    let job = world
        .job()
        .command(["/bin/sh", "-c", script])
        .under_cordon(&[]);
    match who {
        Who::Root => job.run(),
        Who::Nobody => job.under_cordon(&["--user", "nobody"]).run(),
    }
}

fn outside(environment: &Environment, who: Who) -> Result<()> {
    let world = World::new(environment)?;
    let mut victim = who.becomes(world.job().command(["sleep", "60"])).start()?;
    let pid = victim.id();
    let process = i64::from(pid);
    let words = Path::new("/proc").join(pid.to_string()).join("cmdline");
    // It has become `sleep`.
    let deadline = Instant::now() + environment.seconds(10);
    while !fs::read_to_string(&words)?.starts_with("sleep") {
        ensure!(
            Instant::now() < deadline,
            "the process outside did not start"
        );
        sleep(Duration::from_millis(5));
    }
    let steps = [
        Step::call(libc::SYS_kill, [process, 0, 0, 0]),
        Step::call(libc::SYS_pidfd_open, [process, 0, 0, 0]),
        Step::TakeDescriptor { pid, number: 0 },
        // Last: a traced process lives on when its tracer ends.
        Step::call(libc::SYS_ptrace, [PTRACE_SEIZE, process, 0, 0]),
    ];
    for outcome in who.free(&world, &steps)? {
        ensure!(outcome.ok, "not possible without cordon: {outcome:?}");
    }
    let finished = who.enforced(&world, &steps)?.run()?.expect_status(0)?;
    for outcome in finished.outcomes()? {
        ensure!(!outcome.ok && is(&outcome, "ESRCH"), "{outcome:?}");
    }
    // Now with the signal that counts, and with every process there is to see.
    let kill = [
        Step::call(libc::SYS_kill, [process, 9, 0, 0]),
        Step::call(libc::SYS_kill, [-1, 15, 0, 0]),
    ];
    who.enforced(&world, &kill)?.run()?.expect_status(0)?;
    let seen = script(
        &world,
        who,
        "echo /proc/[0-9]*; cut -d' ' -f5 /proc/self/stat",
    )?;
    let seen = seen.expect_status(0)?.stdout;
    ensure!(
        !seen.contains(&format!("/proc/{pid}\n")) && !seen.contains(&format!("/proc/{pid} ")),
        "{seen}"
    );
    let group = seen.lines().last().unwrap_or_default();
    ensure!(group != "0", "its process group is one of outside: {seen}");
    ensure!(victim.ended()?.is_none(), "the process outside is gone");
    victim.signal(Signal::SIGKILL)?;
    victim.wait()?;
    world.nothing_left()
}

const PTRACE_SEIZE: i64 = 0x4206;

fn is(outcome: &Outcome, errno: &str) -> bool {
    outcome
        .errno
        .as_deref()
        .is_some_and(|found| found.starts_with(errno))
}

fn init(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let steps = [Step::call(libc::SYS_ptrace, [PTRACE_SEIZE, 1, 0, 0])];
    let finished = Who::Root
        .enforced(&world, &steps)?
        .run()?
        .expect_status(0)?;
    let [traced] = finished.steps()?;
    ensure!(traced.is_refused(), "{traced:?}");
    // The numbers of its descriptors can be listed; what they are, and using them, is refused.
    let looked = "readlink /proc/1/fd/* /proc/1/exe /proc/1/cwd; cat /proc/1/environ /proc/1/mem; \
                  for f in /proc/1/fd/*; do echo '{\"Ended\":{\"status\":0}}' > $f; done; \
                  kill -9 1; kill -TERM 1; sleep 0.2; echo here; cat /proc/1/cgroup";
    let finished = script(&world, Who::Root, looked)?.expect_status(0)?;
    let (before, after) = finished.stdout.split_once("here\n").context("it is gone")?;
    ensure!(before.trim().is_empty(), "{before}");
    ensure!(
        !after.contains("/job-"),
        "init is in the job's cgroup: {after}"
    );
    world.nothing_left()
}

fn killed_init(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let ready = world.path("ready");
    let text = format!("(setsid sleep 60 &); : > {}; sleep 60", ready.display());
    let mut running = world
        .job()
        .command(["/bin/sh", "-c", &text])
        .under_cordon(&[])
        .start()?;
    running.until(&ready)?;
    // The command may be there before its init has said so.
    sleep(environment.seconds(1));
    let cordon = running.id();
    let children = fs::read_to_string(format!("/proc/{cordon}/task/{cordon}/children"))?;
    let init = children.trim().parse().context("one child: init")?;
    kill(Pid::from_raw(init), Signal::SIGKILL)?;
    let finished = running.wait()?.expect_status(137)?;
    let outcome = finished.report()?.job.outcome;
    ensure!(
        outcome == JobOutcome::Signalled { signal: 9 },
        "{outcome:?}"
    );
    world.nothing_left()
}

fn statuses(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    // 34 is a real-time signal; nothing but the number is known of it.
    for signal in [Signal::SIGHUP as i32, Signal::SIGSEGV as i32, 34, 64] {
        let finished = script(&world, Who::Root, &format!("kill -{signal} $$"))?;
        let finished = finished.expect_status(128 + signal)?;
        let outcome = finished.report()?.job.outcome;
        ensure!(outcome == JobOutcome::Signalled { signal }, "{outcome:?}");
    }
    for code in [1, 7, 255] {
        let finished = script(&world, Who::Root, &format!("exit {code}"))?;
        let outcome = finished.expect_status(code)?.report()?.job.outcome;
        ensure!(outcome == JobOutcome::Exited { code }, "{outcome:?}");
    }
    // A handler of the command's own, and its own status: the signal comes once.
    let ready = world.path("ready");
    let trap = format!(
        "n=0; trap 'n=$((n+1))' TERM; : > {}; while [ $n -eq 0 ]; do sleep 0.05; done; \
         sleep 0.3; exit $((40+n))",
        ready.display()
    );
    let mut running = world
        .job()
        .command(["/bin/sh", "-c", &trap])
        .under_cordon(&[])
        .start()?;
    running.until(&ready)?;
    running.signal(Signal::SIGTERM)?;
    running.wait()?.expect_status(41)?;
    world.nothing_left()
}

fn orphans(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let text = "for i in 1 2 3 4 5; do (sleep 0.1 &); done; sleep 1; \
                grep -l '^State:.Z' /proc/[0-9]*/status; echo end";
    let finished = script(&world, Who::Nobody, text)?.expect_status(0)?;
    ensure!(finished.stdout == "end\n", "zombies: {}", finished.stdout);
    ensure!(finished.report()?.job.survivors == 0, "survivors");
    world.nothing_left()
}

fn terminal(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let (ready, kept) = (world.path("ready"), world.path("kept"));
    let terminal = openpty(None, None)?;
    let name = ttyname(&terminal.slave)?;
    let cordon = world.job().under_cordon(&[]).command([
        "/bin/sh",
        "-c",
        &format!(": > {}; exec sleep 60", ready.display()),
    ]);
    let words: Vec<String> = cordon
        .command_line()?
        .into_iter()
        .map(|word| format!("'{}'", word.to_string_lossy()))
        .collect();
    // Who leads a session and opens a terminal has it from then on.
    let text = format!(
        "exec 0<>{} 1>&0 2>&0; trap : INT; {}; echo status $? > {}",
        name.display(),
        words.join(" "),
        kept.display(),
    );
    let mut running = world.job().command(["setsid", "sh", "-c", &text]).start()?;
    running.until(&ready)?;
    // Ctrl-C
    File::from(terminal.master.try_clone()?).write_all(&[3])?;
    running.wait()?;
    let status = fs::read_to_string(&kept)?;
    ensure!(status == "status 130\n", "{status}");
    world.nothing_left()
}

fn stopped(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let text = "(sleep 0.5; kill -CONT $$) & kill -STOP $$; exit 9";
    script(&world, Who::Root, text)?.expect_status(9)?;
    world.nothing_left()
}

/// Calls with arguments that do nothing: the kernel refuses them for another reason.
fn refused_calls() -> Vec<Step> {
    const AF_ALG: i64 = 38;
    const AF_VSOCK: i64 = 40;
    const AF_PACKET: i64 = 17;
    const AF_UNIX: i64 = 1;
    const NO_FLAGS: i64 = 0x7fff_ffff;
    let of = |abi, calls: &[(u32, [i64; 4])]| {
        let step = |&(number, arguments): &(u32, [i64; 4])| Step::Call {
            abi,
            number,
            arguments,
        };
        calls.iter().map(step).collect::<Vec<_>>()
    };
    let x86_64 = of(
        Abi::X86_64,
        &[
            (41, [AF_UNIX, 1, 0, 0]),
            (41, [AF_ALG, 5, 0, 0]),
            (41, [AF_VSOCK, 1, 0, 0]),
            (41, [AF_PACKET, 3, 0, 0]),
            (53, [AF_UNIX, 2, 0, 0]),
            (16, [0, 0x5412, 0, 0]),
            (16, [0, 0x541c, 0, 0]),
            (321, [NO_FLAGS, 0, 0, 0]),
            (298, [0, 0, -1, -1]),
            (175, [0, 0, 0, 0]),
            (313, [-1, 0, NO_FLAGS, 0]),
            (176, [0, 0, 0, 0]),
            (246, [0, 0, 0, NO_FLAGS]),
            (320, [-1, -1, 0, 0]),
            (304, [-1, 0, 0, 0]),
            (438, [-1, 0, 0, 0]),
            (248, [0, 0, 0, 0]),
            (249, [0, 0, 0, 0]),
            (250, [-1, 0, 0, 0]),
            (425, [0, 0, 0, 0]),
            (426, [-1, 0, 0, 0]),
            (427, [-1, 0, 0, 0]),
        ],
    );
    let i386 = of(
        Abi::I386,
        &[
            (359, [AF_UNIX, 1, 0, 0]),
            (359, [AF_ALG, 5, 0, 0]),
            (359, [AF_VSOCK, 1, 0, 0]),
            (360, [AF_UNIX, 2, 0, 0]),
            (102, [1, 0, 0, 0]),
            (102, [8, 0, 0, 0]),
            (54, [0, 0x5412, 0, 0]),
            (357, [NO_FLAGS, 0, 0, 0]),
            (336, [0, 0, -1, -1]),
            (128, [0, 0, 0, 0]),
            (350, [-1, 0, NO_FLAGS, 0]),
            (129, [0, 0, 0, 0]),
            (342, [-1, 0, 0, 0]),
            (438, [-1, 0, 0, 0]),
            (286, [0, 0, 0, 0]),
            (287, [0, 0, 0, 0]),
            (288, [-1, 0, 0, 0]),
            (425, [0, 0, 0, 0]),
            (426, [-1, 0, 0, 0]),
            (427, [-1, 0, 0, 0]),
        ],
    );
    // socket and io_uring_setup of x32, where it exists or not.
    let x32 = of(Abi::X32, &[(41, [2, 1, 0, 0]), (425, [0, 0, 0, 0])]);
    [x86_64, i386, x32].concat()
}

/// Where BPF LSM judges sockets, the filter leaves alone what it could only refuse whole: Unix sockets
/// and their pairs, `io_uring`, and `socketcall`, whose arguments it cannot see.
fn is_left_to_lsm(step: &Step) -> bool {
    const UNIX: i64 = 1;
    let Step::Call {
        abi,
        number,
        arguments: [family, ..],
    } = step
    else {
        return false;
    };
    match (abi, number) {
        (Abi::X86_64, 41 | 53) | (Abi::I386, 359 | 360) => *family == UNIX,
        (Abi::X86_64 | Abi::I386, 425..=427) | (Abi::I386, 102) => true,
        _ => false,
    }
}

fn calls(environment: &Environment, who: Who) -> Result<()> {
    let world = World::new(environment)?;
    let mut steps = refused_calls();
    if without_lsm(environment)?.is_none() {
        steps.retain(|step| !is_left_to_lsm(step));
    }
    let free = who.free(&world, &steps)?;
    ensure!(free.len() == steps.len(), "{} outcomes", free.len());
    let shown = free.iter().filter(|outcome| !outcome.is_refused()).count();
    // A user may not load modules or open packet sockets anyway; root may try all of it.
    let least = if who == Who::Root {
        steps.len()
    } else {
        steps.len() / 2
    };
    ensure!(
        shown >= least,
        "only {shown} of {} pass without cordon: {free:?}",
        free.len()
    );
    let finished = who.enforced(&world, &steps)?.run()?.expect_status(0)?;
    let outcomes = finished.outcomes()?;
    ensure!(outcomes.len() == steps.len(), "{} outcomes", outcomes.len());
    for outcome in &outcomes {
        ensure!(outcome.is_refused(), "{outcome:?}");
    }
    let report = finished.report()?;
    let seccomp = report
        .coverage
        .layers
        .iter()
        .find(|layer| layer.name == "seccomp");
    ensure!(
        seccomp.is_some_and(|layer| layer.active),
        "the report does not name it"
    );
    world.nothing_left()
}

fn builds(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let may = [
        Step::call(libc::SYS_socket, [2, 1, 0, 0]),
        Step::call(libc::SYS_socket, [10, 2, 0, 0]),
        Step::call(libc::SYS_socket, [16, 3, 0, 0]),
        Step::Call {
            abi: Abi::I386,
            number: 359,
            arguments: [2, 1, 0, 0],
        },
    ];
    let finished = Who::Nobody
        .enforced(&world, &may)?
        .run()?
        .expect_status(0)?;
    for outcome in finished.outcomes()? {
        ensure!(outcome.ok, "{outcome:?}");
    }
    // A pair is made: what is refused is only where to put it.
    let pair = [Step::call(libc::SYS_socketpair, [1, 1, 0, 0])];
    let finished = Who::Nobody
        .enforced(&world, &pair)?
        .run()?
        .expect_status(0)?;
    let [pair] = finished.steps()?;
    ensure!(is(&pair, "EFAULT"), "{pair:?}");
    let text = "test $(id -un) = nobody && ps >/dev/null && sh -c 'kill -0 $PPID' \
                && cat /proc/sys/kernel/hostname >/dev/null && test -e /proc/self/fd/1 && echo well";
    let finished = script(&world, Who::Nobody, text)?.expect_status(0)?;
    ensure!(finished.stdout.ends_with("well\n"), "{}", finished.stdout);
    world.nothing_left()
}

fn namespaces(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let inner = "unshare --user --map-root-user --net --pid --fork --mount-proc \
                 sh -c 'echo $$ $(ls /proc/self/task | wc -l)'";
    let free = Who::Nobody.becomes(world.job().command(["/bin/sh", "-c", inner]));
    let free = free.run()?.expect_status(0)?;
    ensure!(free.stdout == "1 1\n", "without cordon: {}", free.stdout);
    let enforced = script(&world, Who::Nobody, inner)?.expect_status(0)?;
    ensure!(enforced.stdout == "1 1\n", "{}", enforced.stdout);
    world.nothing_left()
}

fn queues(environment: &Environment) -> Result<()> {
    const KEY: i64 = 0x636f_7264;
    const CREATE: i64 = 0o1000;
    let world = World::new(environment)?;
    let find = [Step::call(libc::SYS_msgget, [KEY, 0, 0, 0])];
    let made = Who::Root.free(
        &world,
        &[Step::call(libc::SYS_msgget, [KEY, CREATE | 0o666, 0, 0])],
    )?;
    let found = Who::Root.free(&world, &find);
    let enforced = Who::Root.enforced(&world, &find)?.run();
    let number = made
        .first()
        .map_or(-1, |made| i64::try_from(made.bytes).unwrap_or(-1));
    Who::Root.free(&world, &[Step::call(libc::SYS_msgctl, [number, 0, 0, 0])])?;
    ensure!(
        found?.iter().all(|outcome| outcome.ok),
        "not found without cordon"
    );
    let [outcome] = enforced?.expect_status(0)?.steps()?;
    ensure!(is(&outcome, "ENOENT"), "{outcome:?}");
    world.nothing_left()
}

fn other_cgroup(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let steps = [Step::StartIn {
        cgroup: world.cgroup().host(),
    }];
    let free = Who::Root.free(&world, &steps)?;
    ensure!(
        free.iter().all(|outcome| outcome.ok),
        "without cordon: {free:?}"
    );
    let enforced = Who::Root.enforced(&world, &steps)?.run()?;
    let [outcome] = enforced.expect_status(0)?.steps()?;
    ensure!(is(&outcome, "ENOSYS"), "{outcome:?}");
    world.nothing_left()
}

fn settings(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    // Writes what is there already: nothing changes, but it is a write.
    let text =
        "f=/proc/sys/kernel/core_pattern; v=$(cat $f) && printf '%s' \"$v\" > $f && echo written";
    let free = world
        .job()
        .command(["/bin/sh", "-c", text])
        .run()?
        .expect_status(0)?;
    ensure!(
        free.stdout == "written\n",
        "without cordon: {}",
        free.stderr
    );
    let enforced = script(&world, Who::Root, text)?;
    ensure!(
        enforced.stdout.is_empty() && enforced.status != 0,
        "{}",
        enforced.stdout
    );
    // Opens for writing, and writes nothing.
    let text = "f=$(find /sys/kernel /sys/module -type f -perm -200 | head -n 1); \
                test -n \"$f\" && : >> \"$f\" && echo opened";
    let free = world.job().command(["/bin/sh", "-c", text]).run()?;
    ensure!(free.stdout == "opened\n", "without cordon: {}", free.stderr);
    let enforced = script(&world, Who::Root, text)?;
    ensure!(enforced.stdout.is_empty(), "{}", enforced.stdout);
    world.nothing_left()
}

/// The first blind spot of a report.
fn first_blind_spot(finished: &Finished) -> Result<String> {
    let report = finished.report()?;
    report
        .coverage
        .blind_spots
        .into_iter()
        .next()
        .context("no blind spot")
}

fn unix(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let path = world.path("daemon");
    let _daemon = UnixListener::bind(&path)?;
    let steps = [Step::UnixConnect { path }];
    let free = Who::Root.free(&world, &steps)?;
    ensure!(
        free.iter().all(|outcome| outcome.ok),
        "without cordon: {free:?}"
    );

    let own = Who::Root
        .enforced(&world, &steps)?
        .run()?
        .expect_status(0)?;
    let [outcome] = own.steps()?;
    let lsm = without_lsm(environment)?.is_none();
    let call = if lsm { "connect" } else { "socket" };
    ensure!(
        outcome.is_refused() && outcome.call.as_deref() == Some(call),
        "{outcome:?}"
    );
    ensure!(
        !first_blind_spot(&own)?.contains("unix_sockets"),
        "said to be open"
    );

    let any = Who::Root
        .enforced(&world, &steps)?
        .host_setting("unix_sockets", "any");
    let any = any.run()?.expect_status(0)?;
    let [outcome] = any.steps()?;
    // The setting is for kernels without BPF LSM: where it is, own and others can be told apart.
    ensure!(outcome.ok != lsm, "{outcome:?}");
    ensure!(
        first_blind_spot(&any)?.contains("unix_sockets") != lsm,
        "what the report says of it is not so"
    );
    world.nothing_left()
}

fn engine(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    // A /run of the world's own.
    let run = world.path("run-of-the-world");
    fs::create_dir(&run)?;
    let own_run = run.clone();
    world.mounts().run(move || {
        let none: Option<&str> = None;
        mount(Some(&own_run), "/run", none, MsFlags::MS_BIND, none).context("bind /run")
    })?;
    let _engine = UnixListener::bind(run.join("docker.sock"))?;
    fs::create_dir_all(run.join("podman"))?;
    let _other = UnixListener::bind(run.join("podman/podman.sock"))?;
    let link = world.path("link-to-the-engine");
    symlink("/run/docker.sock", &link)?;
    let paths: [PathBuf; 3] = [
        "/run/docker.sock".into(),
        link,
        "/run/podman/podman.sock".into(),
    ];
    let steps = paths.map(|path| Step::UnixConnect { path });
    let free = Who::Root.free(&world, &steps)?;
    ensure!(
        free.iter().all(|outcome| outcome.ok),
        "without cordon: {free:?}"
    );
    let finished = Who::Root
        .enforced(&world, &steps)?
        .host_setting("unix_sockets", "any")
        .run()?
        .expect_status(0)?;
    for outcome in finished.outcomes()? {
        let hidden = ["ECONNREFUSED", "EACCES", "ENOENT"];
        ensure!(
            hidden.iter().any(|errno| is(&outcome, errno)),
            "{outcome:?}"
        );
        ensure!(outcome.call.as_deref() == Some("connect"), "{outcome:?}");
    }
    let report = finished.report_text()?;
    ensure!(
        report.contains("/run/docker.sock"),
        "the report does not name what is hidden"
    );
    world.nothing_left()
}

fn connection(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let connected =
        || -> Result<OwnedFd> { Ok(TcpStream::connect(listener.local_addr()?)?.into()) };
    let write = ["/bin/sh", "-c", "echo out >&0; echo ran"];
    let free = world
        .job()
        .command(write)
        .input(connected()?)
        .run()?
        .expect_status(0)?;
    ensure!(free.stdout == "ran\n", "without cordon: {}", free.stdout);
    let refused = world
        .job()
        .command(write)
        .under_cordon(&[])
        .input(connected()?)
        .run()?;
    let refused = refused.expect_status(121)?;
    ensure!(refused.stdout.is_empty(), "it ran: {}", refused.stdout);
    ensure!(
        refused.stderr.contains("standard input") && refused.stderr.contains("cat |"),
        "{}",
        refused.stderr
    );
    world.nothing_left()
}
