//! Programs that run real workflows, as the service of a runner: `act`, the engine of Forgejo's and Gitea's runners, and
//! `gitlab-ci-local`. Both start the steps of a job on the host, as their own children.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use cordon::report::attendance::Kind;
use cordon::report::{Outcome as JobOutcome, ProcessChain};
use serde_json::{Value, json};

use super::world;
use crate::client::step::{Form, Outcome, SendCall, Step};
use crate::harness::engine::{Driver, Engine, IMAGE};
use crate::harness::environment::Environment;
use crate::harness::job::{Finished, Job};
use crate::harness::network::{EVIL_V4, EVIL_V6, GOOD_V4, OTHER_V4, at};
use crate::harness::rules::{cidr, host};
use crate::harness::service::{Evidence, Service, Unit};
use crate::harness::verdicts::{allowed, denial_of};
use crate::harness::world::World;
use crate::runner::{Lack, Story, Told};

pub(super) fn stories() -> Vec<Story> {
    vec![
        Story::conditional(
            "runners::steps_of_act_reach_what_was_granted_and_its_evidence_has_what_else_they_tried",
            steps,
        ),
        Story::conditional(
            "runners::a_workflow_of_act_without_a_start_has_what_its_runner_has",
            skipped,
        ),
        Story::conditional(
            "runners::steps_of_act_that_always_run_are_denied_after_a_refused_start",
            refused,
        ),
        Story::conditional(
            "runners::a_step_of_act_gives_up_what_later_ones_do_not_need",
            narrowed,
        ),
        Story::conditional(
            "runners::a_start_in_a_step_without_a_named_worker_is_for_that_step_alone",
            unnamed,
        ),
        Story::conditional(
            "runners::a_script_of_gitlab_ci_local_is_the_job_and_what_follows_is_the_runner",
            script,
        ),
        Story::conditional(
            "runners::a_container_job_of_act_and_its_service_are_the_job",
            containers,
        ),
    ]
}

const MISSING: &str = "no act and no gitlab-ci-local; `cargo xtask test runners` unpacks them";

const FORGEJO: &str = "forgejo-runner.service";
/// One whose worker the settings do not name.
const NAMELESS: &str = "nameless-runner.service";
const GITLAB: &str = "gitlab-runner.service";

const SETTINGS: &str = r#"
[[runner]]
unit = "forgejo-runner.service"
control_plane = ["plane"]
worker = "act"

[[runner]]
unit = "*-runner.service"
control_plane = ["plane"]

[[grant]]
repository = "acme/app"
profiles = ["app"]
"#;

/// A host whose jobs have a container engine.
const WITH_ENGINE: &str = r#"
[[runner]]
unit = "*-runner.service"
engine_port = 23750

[[grant]]
repository = "acme/app"
profiles = ["app"]
"#;

/// Where `cargo xtask test` puts the runners, with all that they need.
fn runners(environment: &Environment) -> Option<PathBuf> {
    let folder = environment.own.parent()?.parent()?.join("tools/runners");
    let needed = ["act", "gitlab-ci-local", "debian/usr/bin/rsync"];
    needed
        .iter()
        .all(|name| folder.join(name).is_file())
        .then_some(folder)
}

/// A checkout, what its steps say, and the programs that run them.
struct Checkout<'w> {
    world: &'w World,
    runners: PathBuf,
    directory: PathBuf,
}

impl<'w> Checkout<'w> {
    /// One of a repository of a forge.
    fn of(world: &'w World, runners: &Path, repository: &str) -> Result<Self> {
        let directory = world.path("checkout");
        fs::create_dir_all(directory.join(".github/workflows"))?;
        fs::create_dir(directory.join("home"))?;
        let remote = format!("https://forge.test/{repository}.git");
        for words in [
            &["init", "--quiet", "--initial-branch=main"][..],
            &["remote", "add", "origin", &remote],
            &["config", "user.name", "author"],
            &["config", "user.email", "author@forge.test"],
            &["commit", "--quiet", "--allow-empty", "--message=first"],
        ] {
            let status = Command::new("git")
                .arg("-C")
                .arg(&directory)
                .args(words)
                .env("HOME", directory.join("home"))
                .status()?;
            ensure!(status.success(), "git {words:?}: {status}");
        }
        Ok(Self {
            world,
            runners: runners.to_owned(),
            directory,
        })
    }

    /// A command of a step: does these, and keeps what came of it under a name.
    fn tries(&self, name: &str, steps: &[Step]) -> Result<String> {
        Ok(format!(
            "'{}' client '{}' >>'{}'",
            self.world.environment.own.display(),
            serde_json::to_string(steps)?,
            self.file(name).display()
        ))
    }

    /// The same in a process that the step leaves behind, and that waits until a later step says `go`.
    fn leaves(&self, name: &str, steps: &[Step]) -> Result<String> {
        let [up, go, done] = ["up", "go", "done"].map(|name| self.file(name).display().to_string());
        let script = self.file("left.sh");
        fs::write(
            &script,
            format!(
                "touch '{up}'\nwhile [ ! -e '{go}' ]; do sleep 0.05; done\n{}\ntouch '{done}'\n",
                self.tries(name, steps)?
            ),
        )?;
        // Before it has a session of its own, the end of the step's terminal would end it.
        Ok(format!(
            "(setsid sh '{}' </dev/null >/dev/null 2>&1 &)\nwhile [ ! -e '{up}' ]; do sleep 0.05; done",
            script.display()
        ))
    }

    /// Lets what was left go on, and waits until it has tried.
    fn lets_go(&self) -> String {
        let [go, done] = ["go", "done"].map(|name| self.file(name).display().to_string());
        format!("touch '{go}'; while [ ! -e '{done}' ]; do sleep 0.05; done")
    }

    /// A command of cordon's in a step.
    fn cordon(&self, words: &str) -> Result<String> {
        let cordon = self.world.environment.cordon()?;
        Ok(format!("'{}' {words}", cordon.display()))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.join("home").join(name)
    }

    /// What came of it.
    fn outcomes<const N: usize>(&self, name: &str) -> Result<[Outcome; N]> {
        let text = fs::read_to_string(self.file(name))
            .with_context(|| format!("`{name}` was never tried"))?;
        let outcomes: Result<Vec<Outcome>, _> = text.lines().map(serde_json::from_str).collect();
        <[Outcome; N]>::try_from(outcomes?)
            .map_err(|outcomes| anyhow::anyhow!("{name}: not {N} outcomes: {outcomes:?}"))
    }

    /// Has `act` run a workflow of one job with these steps. Each is a command, and whether it runs always.
    fn act(&self, job: Job<'w>, steps: &[(bool, String)]) -> Result<Finished> {
        let step = |(always, run): &(bool, String)| -> Value {
            let condition = if *always { "always()" } else { "success()" };
            json!({"if": condition, "run": run})
        };
        let steps: Vec<Value> = steps.iter().map(step).collect();
        // JSON is YAML.
        let workflow =
            json!({"on": "push", "jobs": {"build": {"runs-on": "host", "steps": steps}}});
        fs::write(
            self.directory.join(".github/workflows/ci.yml"),
            workflow.to_string(),
        )?;
        self.started(job).run()
    }

    /// `act`, as the service of a runner starts it.
    fn command(&self) -> Vec<String> {
        let act = self.runners.join("act");
        [
            "sh",
            "-c",
            "\"$@\"; exit $?",
            "service",
            &act.to_string_lossy(),
            "push",
            "--platform=host=-self-hosted",
            "--github-instance=forge.test",
            "--action-offline-mode",
            "--no-cache-server",
            "--pull=false",
        ]
        .map(str::to_owned)
        .into()
    }

    fn started(&self, job: Job<'w>) -> Job<'w> {
        job.within(&self.directory)
            .home(self.directory.join("home"))
    }

    /// Has `gitlab-ci-local` run a pipeline.
    fn gitlab(&self, unit: &Unit<'_, 'w>, pipeline: &Value) -> Result<Finished> {
        fs::write(self.directory.join(".gitlab-ci.yml"), pipeline.to_string())?;
        let debian = self.runners.join("debian/usr");
        let path = std::env::var("PATH").unwrap_or_default();
        let program = self.runners.join("gitlab-ci-local");
        let home = self.directory.join("home");
        let words = [
            "sh",
            "-c",
            "\"$@\"; exit $?",
            "service",
            "node",
            &program.to_string_lossy(),
            "--shell-executor-no-image",
            "--home",
            &home.to_string_lossy(),
        ];
        self.started(unit.program(words))
            .variable("PATH", format!("{}/bin:{path}", debian.display()))
            .variable("LD_LIBRARY_PATH", debian.join("lib/x86_64-linux-gnu"))
            .run()
    }
}

/// A step that runs if those before it have worked.
fn then(run: String) -> (bool, String) {
    (false, run)
}

/// A step that runs whatever happened before it.
fn always(run: String) -> (bool, String) {
    (true, run)
}

fn plane() -> Step {
    Step::tcp(at(OTHER_V4, 8080))
}

fn good() -> Step {
    Step::tcp(at(GOOD_V4, 8080))
}

fn evil() -> Step {
    Step::tcp(at(EVIL_V4, 8080))
}

/// Ways out, none of which is another's.
fn ways() -> [Step; 3] {
    [
        evil(),
        Step::tcp(at(EVIL_V6, 8080)),
        Step::Udp {
            to: at(EVIL_V4, 8080),
            form: Form::Plain,
            call: SendCall::SendTo,
        },
    ]
}

fn found(evidence: &Evidence, kind: Kind) -> Result<bool> {
    let attendance = evidence.report.job.attendance.as_ref();
    let findings = &attendance.context("no attendance")?.findings;
    Ok(findings.iter().any(|finding| finding.kind == kind))
}

/// Whether the process that tried is a client of the story's.
fn is_client(environment: &Environment, chain: &ProcessChain) -> bool {
    let first = chain.executables.first();
    first.is_some_and(|path| Path::new(path) == environment.own)
}

/// The steps of a job that fails in its middle; the first and the last are cordon's.
fn workflow(checkout: &Checkout<'_>) -> Result<Vec<(bool, String)>> {
    Ok(vec![
        then(checkout.tries("first", &[plane(), good(), evil()])?),
        then(checkout.leaves("left", &ways())?),
        // Membership is no matter of variables.
        then(format!("env -i {}", checkout.tries("bare", &ways())?)),
        then("exit 3".to_owned()),
        always(format!(
            "{}\n{}",
            checkout.lets_go(),
            checkout.tries("always", &ways())?
        )),
        always("(setsid sleep 600 </dev/null >/dev/null 2>&1 &)\nsleep 0.3".to_owned()),
    ])
}

fn steps(environment: &Environment) -> Result<Told> {
    let Some(runners) = runners(environment) else {
        return Ok(Told::NotHere(Lack::Runners, MISSING.to_owned()));
    };
    let control = world(environment)?;
    let checkout = Checkout::of(&control, &runners, "acme/app")?;
    let finished = checkout.act(
        control.job().command(checkout.command()),
        &workflow(&checkout)?,
    )?;
    ensure!(
        finished.status == 1,
        "{}\n{}",
        finished.stdout,
        finished.stderr
    );
    for name in ["left", "bare", "always"] {
        for outcome in checkout.outcomes::<3>(name)? {
            allowed(&outcome)?;
        }
    }
    drop(checkout);
    control.something_leaked()?;

    let world = world(environment)?;
    let service = Service::start(&world, SETTINGS)?;
    let unit = service.unit(FORGEJO)?;
    let checkout = Checkout::of(&world, &runners, "acme/app")?;
    let mut steps = workflow(&checkout)?;
    steps.insert(0, then(checkout.cordon("job start")?));
    steps.push(always(checkout.cordon("job finish")?));
    let finished = checkout.act(unit.program(checkout.command()), &steps)?;
    ensure!(
        finished.status == 1 && finished.stdout.contains("Job failed"),
        "{}\n{}",
        finished.stdout,
        finished.stderr
    );
    let [plane, good, evil] = checkout.outcomes("first")?;
    allowed(&plane)?;
    allowed(&good)?;
    world.refused(&evil)?;
    for name in ["left", "bare", "always"] {
        for outcome in checkout.outcomes::<3>(name)? {
            world.refused(&outcome)?;
        }
    }
    world.nothing_leaked()?;

    let evidence = service.evidence_of("acme/app")?;
    let report = &evidence.report;
    ensure!(
        report.job.outcome == JobOutcome::Finished && report.job.survivors == 1,
        "{:?}",
        report.job
    );
    let attendance = report.job.attendance.as_ref().context("no attendance")?;
    ensure!(
        attendance.runner.as_deref() == Some(FORGEJO) && attendance.findings.is_empty(),
        "{attendance:?}"
    );
    // Each of the four that tried, by what it was started from.
    let denial = denial_of(report, at(EVIL_V4, 8080), "tcp")?;
    ensure!(denial.attempts == 4, "{denial:?}");
    let by_steps = (denial.processes.iter())
        .filter(|chain| is_client(environment, chain))
        .filter(|chain| chain.executables.iter().any(|path| path.ends_with("/bash")))
        .map(|chain| chain.events)
        .sum::<u64>();
    ensure!(by_steps == 4, "{denial:#?}");
    // What ran before there was a job is in no chain; who asked for it is told all the way up.
    let asked = &attendance.asked_by.executables;
    ensure!(asked.iter().any(|path| path.ends_with("/act")), "{asked:?}");
    for (to, protocol) in [(at(EVIL_V6, 8080), "tcp"), (at(EVIL_V4, 8080), "udp")] {
        let denial = denial_of(report, to, protocol)?;
        ensure!(denial.attempts == 3, "{denial:?}");
    }
    Ok(Told::Whole)
}

fn skipped(environment: &Environment) -> Result<Told> {
    let Some(runners) = runners(environment) else {
        return Ok(Told::NotHere(Lack::Runners, MISSING.to_owned()));
    };
    let world = world(environment)?;
    let service = Service::start(&world, SETTINGS)?;
    let unit = service.unit(FORGEJO)?;
    let checkout = Checkout::of(&world, &runners, "acme/app")?;
    let steps = [then(checkout.tries("only", &[plane(), good(), evil()])?)];
    checkout
        .act(unit.program(checkout.command()), &steps)?
        .expect_status(0)?;
    let [plane, good, evil] = checkout.outcomes("only")?;
    allowed(&plane)?;
    world.refused(&good)?;
    world.refused(&evil)?;
    world.nothing_leaked()?;
    let evidence = unit.remove()?;
    ensure!(
        found(&evidence, Kind::NoStart)?,
        "{:?}",
        evidence.report.job
    );
    let denial = denial_of(&evidence.report, at(EVIL_V4, 8080), "tcp")?;
    let mut programs = denial.processes.iter().flat_map(|chain| &chain.executables);
    ensure!(programs.any(|path| path.ends_with("/act")), "{denial:?}");
    Ok(Told::Whole)
}

fn refused(environment: &Environment) -> Result<Told> {
    let Some(runners) = runners(environment) else {
        return Ok(Told::NotHere(Lack::Runners, MISSING.to_owned()));
    };
    let world = world(environment)?;
    let service = Service::start(&world, SETTINGS)?;
    let unit = service.unit(FORGEJO)?;
    let checkout = Checkout::of(&world, &runners, "evil/app")?;
    let steps = [
        then(checkout.cordon("job start")?),
        then(checkout.tries("next", &[evil()])?),
        always(checkout.tries("always", &[good(), evil()])?),
    ];
    let finished = checkout.act(unit.program(checkout.command()), &steps)?;
    ensure!(
        finished.status == 1 && finished.stdout.contains("no grant is for"),
        "{}",
        finished.stdout
    );
    ensure!(
        !checkout.file("next").exists(),
        "a step ran after a failure"
    );
    for outcome in checkout.outcomes::<2>("always")? {
        world.refused(&outcome)?;
    }
    world.nothing_leaked()?;
    Ok(Told::Whole)
}

fn narrowed(environment: &Environment) -> Result<Told> {
    let Some(runners) = runners(environment) else {
        return Ok(Told::NotHere(Lack::Runners, MISSING.to_owned()));
    };
    let world = world(environment)?;
    let both = format!(
        "{}\n{}",
        cidr("203.0.113.10/32", "8080", "tcp"),
        cidr("203.0.113.10/32", "8081", "tcp")
    );
    Service::profile(&world, "app", &both)?;
    let service = Service::start(&world, SETTINGS)?;
    let unit = service.unit(FORGEJO)?;
    let checkout = Checkout::of(&world, &runners, "acme/app")?;
    let less = checkout.file("less.toml");
    let rule = cidr("203.0.113.10/32", "8080", "tcp");
    fs::write(&less, format!("name = \"less\"\n{rule}\n"))?;
    let tried = [good(), Step::tcp(at(GOOD_V4, 8081)), plane(), evil()];
    let steps = [
        then(checkout.cordon("job start")?),
        then(checkout.tries("before", &tried)?),
        then(checkout.cordon(&format!("job narrow '{}'", less.display()))?),
        then(checkout.tries("after", &tried)?),
        then(checkout.cordon("job finish")?),
    ];
    checkout
        .act(unit.program(checkout.command()), &steps)?
        .expect_status(0)?;
    let [good, other, plane, evil] = checkout.outcomes("before")?;
    for outcome in [good, other, plane] {
        allowed(&outcome)?;
    }
    world.refused(&evil)?;
    let [good, other, plane, evil] = checkout.outcomes("after")?;
    allowed(&good)?;
    world.refused(&other)?;
    allowed(&plane)?;
    world.refused(&evil)?;
    world.nothing_leaked()?;
    let evidence = service.evidence_of("acme/app")?;
    let attendance = evidence.report.job.attendance.as_ref();
    let narrowed = &attendance.context("no attendance")?.narrowed;
    ensure!(narrowed.len() == 1, "{narrowed:?}");
    denial_of(&evidence.report, at(GOOD_V4, 8081), "tcp")?;
    Ok(Told::Whole)
}

/// The shell of the step is what called, so it alone is the job.
fn unnamed(environment: &Environment) -> Result<Told> {
    let Some(runners) = runners(environment) else {
        return Ok(Told::NotHere(Lack::Runners, MISSING.to_owned()));
    };
    let world = world(environment)?;
    let service = Service::start(&world, SETTINGS)?;
    let unit = service.unit(NAMELESS)?;
    let checkout = Checkout::of(&world, &runners, "acme/app")?;
    let steps = [
        then(format!(
            "{}\n{}",
            checkout.cordon("job start")?,
            checkout.tries("same", &[good(), evil()])?
        )),
        then(checkout.tries("next", &[plane(), good(), evil()])?),
    ];
    checkout
        .act(unit.program(checkout.command()), &steps)?
        .expect_status(0)?;
    let [good, evil] = checkout.outcomes("same")?;
    allowed(&good)?;
    world.refused(&evil)?;
    let [plane, good, evil] = checkout.outcomes("next")?;
    allowed(&plane)?;
    world.refused(&good)?;
    world.refused(&evil)?;
    world.nothing_leaked()?;
    Ok(Told::Whole)
}

fn script(environment: &Environment) -> Result<Told> {
    let Some(runners) = runners(environment) else {
        return Ok(Told::NotHere(Lack::Runners, MISSING.to_owned()));
    };
    let world = world(environment)?;
    let service = Service::start(&world, SETTINGS)?;
    let unit = service.unit(GITLAB)?;
    let checkout = Checkout::of(&world, &runners, "acme/app")?;
    let start = checkout.cordon("job start || exit 1")?;
    let go = checkout.file("go");
    let pipeline = json!({
        "build": {
            "before_script": [start],
            "script": [
                checkout.tries("first", &[plane(), good(), evil()])?,
                format!("env -i {}", checkout.tries("bare", &ways())?),
                checkout.leaves("left", &[evil()])?,
                "exit 3",
            ],
            "after_script": [
                format!("touch '{}'; sleep 0.3", go.display()),
                checkout.tries("after", &[plane(), good(), evil()])?,
            ],
        },
    });
    let finished = checkout.gitlab(&unit, &pipeline)?;
    ensure!(
        finished.status == 1,
        "{}\n{}",
        finished.stdout,
        finished.stderr
    );
    let [plane, good, evil] = checkout.outcomes("first")?;
    allowed(&plane)?;
    allowed(&good)?;
    world.refused(&evil)?;
    for outcome in checkout.outcomes::<3>("bare")? {
        world.refused(&outcome)?;
    }
    let [plane, good, evil] = checkout.outcomes("after")?;
    allowed(&plane)?;
    world.refused(&good)?;
    world.refused(&evil)?;
    // It was ended with the job, before it was let go.
    ensure!(!checkout.file("left").exists(), "it lived on");
    world.nothing_leaked()?;
    let evidence = service.evidence_of("acme/app")?;
    let report = &evidence.report;
    ensure!(report.job.survivors >= 1, "{:?}", report.job);
    ensure!(found(&evidence, Kind::NoFinish)?, "{:?}", report.job);
    let denial = denial_of(report, at(EVIL_V4, 8080), "tcp")?;
    ensure!(denial.attempts == 2, "{denial:?}");
    ensure!(
        (denial.processes.iter()).all(|chain| is_client(environment, chain)),
        "{denial:?}"
    );
    let denial = denial_of(&unit.remove()?.report, at(EVIL_V4, 8080), "tcp")?.clone();
    ensure!(denial.attempts == 1, "{denial:?}");
    Ok(Told::Whole)
}

/// An image whose containers serve one connection after the other on 5432.
const SERVICE: &str = "service:1";

/// `act` runs steps in a container of the engine, beside one of a service, in a network it makes.
fn containers(environment: &Environment) -> Result<Told> {
    let Some(runners) = runners(environment) else {
        return Ok(Told::NotHere(Lack::Runners, MISSING.to_owned()));
    };
    let world = world(environment)?;
    let Some(engine) = Engine::start(&world, Driver::Cgroupfs)? else {
        let why = "no container engine; `cargo xtask test containers` unpacks one";
        return Ok(Told::NotHere(Lack::Engine, why.to_owned()));
    };
    let serve = "while true; do echo of-the-service | nc -l -p 5432; done";
    engine.done(&["create", "--name", "serves", IMAGE, "sh", "-c", serve])?;
    engine.done(&["commit", "serves", SERVICE])?;
    engine.done(&["rm", "serves"])?;
    let rules = host("good.test", "8080");
    Service::profile(
        &world,
        "app",
        &format!("{rules}[containers]\nengine = \"mediate\"\n"),
    )?;
    let job = world.job().engine(&engine.socket()).settings(WITH_ENGINE);
    let service = Service::start_from(&world, job.settings_file()?)?;
    let unit = service.unit(FORGEJO)?;
    let checkout = Checkout::of(&world, &runners, "acme/app")?;
    let tries = "nc -w 3 db 5432 </dev/null; nc -w 3 198.51.100.66 8080 </dev/null && echo evil-tcp; \
                 nc -w 3 evil.test 8080 </dev/null && echo evil-name; echo x | nc -w 3 good.test 8080 && echo good";
    let step = |run: &str| json!({"shell": "sh", "run": run});
    let workflow = json!({"on": "push", "jobs": {"build": {
        "runs-on": "host", "container": IMAGE, "services": {"db": {"image": SERVICE}},
        "steps": [step("sleep 0.5; echo step-1; echo made > here"), step(&format!("cat here; {tries}; true"))],
    }}});
    fs::write(
        checkout.directory.join(".github/workflows/ci.yml"),
        workflow.to_string(),
    )?;
    let act = checkout.runners.join("act");
    let script = format!(
        "{} || exit 70; '{}' push --platform=host={IMAGE} --container-daemon-socket=- --github-instance=forge.test \
         --action-offline-mode --no-cache-server --pull=false; status=$?; {}; exit $status",
        checkout.cordon("job start --repository acme/app")?,
        act.display(),
        checkout.cordon("job finish")?,
    );
    let finished = checkout
        .started(unit.program(["sh", "-c", "sh -c \"$1\"; exit $?", "service", &script]))
        .variable("DOCKER_HOST", "tcp://127.0.0.1:23750")
        .run()?
        .expect_status(0)?;
    for words in ["step-1", "made", "of-the-service", "good"] {
        ensure!(
            finished.stdout.contains(words),
            "no `{words}`:\n{}",
            finished.stdout
        );
    }
    ensure!(!finished.stdout.contains("| evil"), "{}", finished.stdout);
    world.nothing_leaked()?;
    let report = service.evidence_of("acme/app")?.report;
    denial_of(&report, at(EVIL_V4, 8080), "tcp")?;
    let left = engine.done(&["ps", "--all", "--quiet"])?;
    ensure!(left.is_empty(), "containers are left: {left}");
    engine.stop()?;
    Ok(Told::Whole)
}
