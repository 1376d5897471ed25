//! Network namespaces a job makes for itself, as rootless containers do: each gets its job's DNS, none
//! gets more, and nothing of them stays.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use cordon::report::NameVerdict;
use nix::sys::signal::Signal;

use crate::client::step::{Answer, Step, Transport};
use crate::harness::environment::Environment;
use crate::harness::job::Running;
use crate::harness::namespace::Namespace;
use crate::harness::network::{EVIL_V4, EVIL_V6, at};
use crate::harness::rules::host;
use crate::harness::verdicts::{allowed, name_asked};
use crate::harness::world::World;
use crate::harness::zone::Zone;
use crate::runner::Story;

const REFUSED: &str = "Query Refused";

/// A user that has no rights on the host.
const USER: u32 = 65_534;

/// Namespaces of one job that have DNS at once.
const BOUND: usize = 64;

pub(super) fn stories() -> Vec<Story> {
    vec![
        Story::new(
            "netns::a_job_of_root_has_its_dns_in_a_namespace_of_its_own",
            |environment| own_namespace(environment, None),
        ),
        Story::new(
            "netns::a_job_of_a_user_has_its_dns_in_a_namespace_of_its_own",
            |environment| own_namespace(environment, Some(USER)),
        ),
        Story::new(
            "netns::dns_is_refused_there_until_somebody_serves_it",
            closed_until_served,
        ),
        Story::new(
            "netns::a_killed_cordon_leaves_dns_there_closed_and_the_next_one_opens_it",
            killed,
        ),
        Story::new(
            "netns::namespaces_come_and_go_and_nothing_of_them_stays",
            come_and_go,
        ),
        Story::new(
            "netns::a_job_with_too_many_namespaces_is_refused_more_and_the_report_says_so",
            too_many,
        ),
        Story::new(
            "netns::the_listener_of_another_job_is_not_reached_there",
            other_job,
        ),
        Story::new(
            "netns::names_beside_the_job_are_asked_of_its_own_network_and_give_no_lease",
            embedded,
        ),
    ]
}

fn question(server: SocketAddr, transport: Transport, names: &[&str]) -> Step {
    Step::Dns {
        server,
        transport,
        names: names.iter().map(|&name| name.to_owned()).collect(),
        kind: if server.is_ipv4() { "A" } else { "AAAA" }.to_owned(),
    }
}

fn good() -> Step {
    question(at(EVIL_V4, 53), Transport::Udp, &["good.test"])
}

fn codes(answers: &[Answer]) -> Vec<&str> {
    answers.iter().map(|answer| answer.code.as_str()).collect()
}

/// Time for cordon to notice a namespace.
fn moment(environment: &Environment) -> Step {
    Step::Sleep {
        ms: 300 * u64::from(environment.slowness),
    }
}

fn mark(path: &Path) -> Step {
    Step::Mark {
        path: path.to_owned(),
    }
}

fn wait(path: &Path) -> Step {
    Step::Await {
        path: path.to_owned(),
    }
}

/// A place where a job of any user can make files.
fn marks<const N: usize>(world: &World, names: [&str; N]) -> [PathBuf; N] {
    names.map(|name| world.path(name))
}

fn own_namespace(environment: &Environment, user: Option<u32>) -> Result<()> {
    let world = World::new(environment)?;
    let profile = world.profile("names", &host("good.test", "8080"))?;
    let mut steps = vec![Step::Apart, moment(environment)];
    for transport in [Transport::Udp, Transport::Tcp] {
        for server in [at(EVIL_V4, 53), at(EVIL_V6, 53)] {
            steps.push(question(
                server,
                transport,
                &["good.test", "secret.evil.test", "good.test"],
            ));
        }
    }
    steps.push(Step::resolve("good.test"));
    let mut job = world.enforced(&profile, &steps)?;
    if let Some(user) = user {
        let user = user.to_string();
        job = job.under_cordon(&["--user", &user]);
    }
    let finished = job.run()?;
    let [apart, _moment, asked @ .., resolved] = finished.steps::<7>()?;
    allowed(&apart)?;
    for outcome in &asked {
        allowed(outcome)?;
        ensure!(
            codes(&outcome.answers) == ["No Error", REFUSED, "No Error"],
            "{outcome:?}"
        );
    }
    ensure!(resolved.addresses.len() >= 2, "{resolved:?}");
    ensure!(world.zone.questions("good.test") > 0);
    ensure!(world.zone.questions("secret.evil.test") == 0);
    let report = finished.report()?;
    let named = name_asked(&report, "secret.evil.test")?;
    ensure!(named.answer == NameVerdict::Denied, "{named:?}");
    ensure!(!named.processes.is_empty(), "nobody asked: {named:?}");
    world.nothing_leaked()?;
    world.nothing_left()
}

/// While cordon is stopped, nobody can make a listener: what is asked meanwhile is refused.
fn closed_until_served(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let profile = world.profile("names", &host("good.test", "8080"))?;
    let [ready, stopped, asked, goes_on] = marks(&world, ["ready", "stopped", "asked", "goes-on"]);
    let steps = [
        mark(&ready),
        wait(&stopped),
        Step::Apart,
        good(),
        mark(&asked),
        wait(&goes_on),
        moment(environment),
        good(),
    ];
    let mut running = world.enforced(&profile, &steps)?.start()?;
    running.until(&ready)?;
    running.signal(Signal::SIGSTOP)?;
    File::create(&stopped)?;
    let reached = running.until(&asked);
    running.signal(Signal::SIGCONT)?;
    reached?;
    File::create(&goes_on)?;
    let finished = running.wait()?;
    let [_, _, apart, early, _, _, _, late] = finished.steps()?;
    allowed(&apart)?;
    world.refused(&early)?;
    allowed(&late)?;
    ensure!(codes(&late.answers) == ["No Error"]);
    let report = finished.report()?;
    let denied = report
        .denials
        .iter()
        .any(|denial| denial.reason == "no-resolver-here");
    ensure!(denied, "{:#?}", report.denials);
    world.nothing_leaked()
}

fn killed(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let profile = world.profile("names", &host("good.test", "8080"))?;
    let [ready, killed, asked, resumed] = marks(&world, ["ready", "killed", "asked", "resumed"]);
    let steps = [
        Step::Apart,
        moment(environment),
        good(),
        mark(&ready),
        wait(&killed),
        good(),
        question(at(EVIL_V6, 53), Transport::Tcp, &["good.test"]),
        mark(&asked),
        wait(&resumed),
        // A new socket tells the new cordon.
        good(),
        moment(environment),
        good(),
    ];
    let mut running = world.enforced(&profile, &steps)?.start()?;
    running.until(&ready)?;
    let before = world.zone.questions("good.test");
    ensure!(before > 0, "not served before: this story proves nothing");
    let id = only_job(&world)?;
    running.signal(Signal::SIGKILL)?;
    File::create(&killed)?;
    let deadline = Instant::now() + environment.seconds(20);
    while !asked.exists() {
        ensure!(Instant::now() < deadline, "the job does not go on");
        sleep(Duration::from_millis(5));
    }
    ensure!(world.zone.questions("good.test") == before);

    let mut taken = world.job().subcommand(&["resume", &id]).start()?;
    taken.until_stderr("took over")?;
    File::create(&resumed)?;
    taken.wait()?.expect_status(0)?;
    let [_, _, first, _, _, udp, tcp, _, _, _, _, last] = running.wait()?.steps()?;
    for (outcome, answered) in [(&first, true), (&udp, false), (&tcp, false), (&last, true)] {
        ensure!(outcome.ok == answered, "{outcome:?}");
    }
    ensure!(codes(&last.answers) == ["No Error"]);
    world.nothing_leaked()
}

/// The job's id, by its cgroup.
fn only_job(world: &World) -> Result<String> {
    let slice = world.cgroup().root().join("cordon.slice");
    let mut ids = fs::read_dir(&slice)?
        .flatten()
        .filter_map(|entry| Some(entry.file_name().to_str()?.strip_prefix("job-")?.to_owned()));
    ids.next().context("there is no job")
}

fn descriptors(running: &Running<'_>) -> Result<usize> {
    Ok(fs::read_dir(format!("/proc/{}/fd", running.id()))?.count())
}

fn come_and_go(environment: &Environment) -> Result<()> {
    const TIMES: usize = 50;
    let world = World::new(environment)?;
    let profile = world.profile("names", &host("good.test", "8080"))?;
    let [ready, begin, done, end] = marks(&world, ["ready", "begin", "done", "end"]);
    let soon = Step::Soon {
        ms: 2_000,
        step: Box::new(good()),
    };
    let each = vec![Step::Apart, soon];
    let steps = [
        mark(&ready),
        wait(&begin),
        Step::Again {
            count: TIMES,
            steps: each,
        },
        mark(&done),
        wait(&end),
    ];
    let mut running = world.enforced(&profile, &steps)?.patience(60).start()?;
    running.until(&ready)?;
    let before = descriptors(&running)?;
    File::create(&begin)?;
    let mut most = before;
    while !done.exists() {
        most = most.max(descriptors(&running)?);
        ensure!(running.ended()?.is_none(), "ended early");
        sleep(Duration::from_millis(20));
    }
    ensure!(
        most > before,
        "nothing was served: this story proves nothing"
    );
    let deadline = Instant::now() + environment.seconds(10);
    loop {
        let now = descriptors(&running)?;
        if now <= before {
            break;
        }
        ensure!(
            Instant::now() < deadline,
            "{now} descriptors, {before} before; {most} in between"
        );
        sleep(Duration::from_millis(50));
    }
    File::create(&end)?;
    let finished = running.wait()?.expect_status(0)?;
    let [_, _, again, ..] = finished.steps::<5>()?;
    ensure!(again.bytes == TIMES, "{} of {TIMES} had DNS", again.bytes);
    world.nothing_leaked()?;
    world.nothing_left()
}

fn too_many(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let profile = world.profile("names", &host("good.test", "8080"))?;
    let until = world.path("until");
    let there: Vec<PathBuf> = (0..BOUND).map(|_| world.path("there")).collect();
    let mut steps = Vec::new();
    for path in &there {
        steps.push(Step::Background {
            steps: vec![Step::Apart, mark(path), wait(&until)],
        });
        // One after the other, so that which one is too much is no matter of chance.
        steps.push(wait(path));
    }
    steps.push(moment(environment));
    steps.push(Step::Again {
        count: 1,
        steps: vec![Step::Apart, moment(environment), good()],
    });
    // In the first namespace nothing has changed.
    steps.push(good());
    steps.push(mark(&until));
    let finished = world.enforced(&profile, &steps)?.patience(60).run()?;
    let outcomes = finished.outcomes()?;
    let [.., again, home, _mark] = outcomes.as_slice() else {
        anyhow::bail!("{} outcomes", outcomes.len());
    };
    ensure!(again.bytes == 0, "one more was served: {again:?}");
    allowed(home)?;
    let report = finished.report()?;
    let told = report
        .incidents
        .iter()
        .any(|incident| incident.call == "network-namespace" && incident.about.contains("64"));
    ensure!(told, "{:#?}", report.incidents);
    ensure!(finished.stderr.contains("no DNS in this network namespace"));
    world.nothing_leaked()?;
    world.nothing_left()
}

/// The network namespace a job made for itself.
fn other_network(world: &World) -> Result<Namespace> {
    let processes = world.cgroup().processes();
    let apart = processes
        .into_iter()
        .find(|process| !world.network.job.has(*process));
    Namespace::network_of(apart.context("no process is in another network")?)
}

/// A port of 127.0.0.1 in the thread's namespace on which somebody waits.
fn waiting(protocol: &str, state: &str) -> Result<u16> {
    let table = fs::read_to_string(format!("/proc/thread-self/net/{protocol}"))?;
    let port = table.lines().find_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let port = words.next()?.strip_prefix("0100007F:")?;
        (words.nth(1)? == state).then(|| u16::from_str_radix(port, 16).ok())?
    });
    port.with_context(|| format!("nobody waits for {protocol}:\n{table}"))
}

/// Two jobs in one namespace, the one that made it and one that was started there: each has its own
/// listener, and to the other's there is no way.
fn other_job(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let profile = world.profile("names", &host("good.test", "8080"))?;
    let [ready, end] = marks(&world, ["ready", "end"]);
    let steps = [
        Step::Apart,
        moment(environment),
        good(),
        mark(&ready),
        wait(&end),
    ];
    let mut running = world.enforced(&profile, &steps)?.start()?;
    running.until(&ready)?;
    let network = other_network(&world)?;
    let (tcp, udp) = network.run(|| {
        let (tcp, udp) = (waiting("tcp", "0A")?, waiting("udp", "07")?);
        // Who is no job gets there.
        TcpStream::connect((Ipv4Addr::LOCALHOST, tcp)).context("the listener")?;
        Ok((tcp, udp))
    })?;
    let steps = [
        Step::tcp(at(Ipv4Addr::LOCALHOST, tcp)),
        Step::udp(at(Ipv4Addr::LOCALHOST, udp)),
        question(at(EVIL_V4, 53), Transport::Udp, &["secret.evil.test"]),
    ];
    let other = world.enforced(&profile, &steps)?.on(&network).run()?;
    File::create(&end)?;
    let [to_tcp, to_udp, own] = other.steps()?;
    world.refused(&to_tcp)?;
    world.refused(&to_udp)?;
    ensure!(codes(&own.answers) == [REFUSED], "{own:?}");
    let foreign = other.report()?.denials;
    ensure!(
        foreign
            .iter()
            .filter(|denial| denial.reason == "loopback-not-own")
            .count()
            == 2,
        "{foreign:#?}"
    );
    let [_, _, first, ..] = running.wait()?.steps::<5>()?;
    allowed(&first)?;
    world.nothing_leaked()
}

/// A resolver like that of a container engine: outside the job, at 127.0.0.11 of the job's network.
fn embedded(environment: &Environment) -> Result<()> {
    const BESIDE: Ipv4Addr = Ipv4Addr::new(172, 18, 0, 5);
    let world = World::new(environment)?;
    let profile = world.profile("names", &host("good.test", "8080"))?;
    let [ready, served] = marks(&world, ["ready", "served"]);
    let own = at(Ipv4Addr::new(127, 0, 0, 11), 53);
    let names = ["db", "good.test", "secret.evil.test", "nobody"];
    let steps = [
        // Here there is no such resolver, and nothing is asked of one.
        question(own, Transport::Udp, &["db"]),
        Step::Apart,
        mark(&ready),
        wait(&served),
        question(own, Transport::Udp, &names),
        question(own, Transport::Tcp, &names),
        question(at(EVIL_V4, 53), Transport::Udp, &["db"]),
        Step::tcp(at(BESIDE, 8080)),
    ];
    let mut running = world.enforced(&profile, &steps)?.start()?;
    running.until(&ready)?;
    let network = other_network(&world)?;
    let beside = Zone::default();
    beside.add("db", BESIDE, 60);
    beside.add("good.test", BESIDE, 60);
    beside.add("secret.evil.test", BESIDE, 60);
    world.serve_names_in(&beside, &network, &[own])?;
    File::create(&served)?;
    let finished = running.wait()?;
    let [home, _, _, _, udp, tcp, elsewhere, connect] = finished.steps()?;
    ensure!(codes(&home.answers) == [REFUSED], "{home:?}");
    for outcome in [udp, tcp] {
        ensure!(
            codes(&outcome.answers) == ["No Error", "No Error", REFUSED, "Non-Existent Domain"],
            "{outcome:?}"
        );
        let [db, good, ..] = outcome.answers.as_slice() else {
            anyhow::bail!("{outcome:?}");
        };
        ensure!(db.addresses == [BESIDE], "{outcome:?}");
        // A name with a rule is asked where cordon always asks.
        ensure!(good.addresses != [BESIDE], "{outcome:?}");
    }
    ensure!(codes(&elsewhere.answers) == [REFUSED], "{elsewhere:?}");
    world.refused(&connect)?;
    let asked =
        ["db", "good.test", "secret.evil.test", "nobody"].map(|name| beside.questions(name));
    ensure!(asked == [2, 0, 0, 2], "{asked:?}");
    ensure!(world.zone.names_asked() == ["good.test"]);
    let report = finished.report()?;
    let answers: Vec<_> = report
        .dns
        .iter()
        .filter(|line| line.name == "db")
        .map(|line| line.answer)
        .collect();
    ensure!(
        answers.contains(&NameVerdict::Local) && answers.contains(&NameVerdict::Denied),
        "{answers:?}"
    );
    world.nothing_leaked()
}
