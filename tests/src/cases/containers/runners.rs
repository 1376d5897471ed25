//! Containers of a runner's jobs: what the runner itself starts for a job, and what steps of it do.

use std::fs;
use std::os::unix::fs::{chown, symlink};
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use cordon::report::Outcome as JobOutcome;
use nix::sys::signal::Signal;

use super::{Stage, says};
use crate::client::step::Step;
use crate::harness::engine::IMAGE;
use crate::harness::job::Job;
use crate::harness::network::{EVIL_V4, at};
use crate::harness::receiver::Received;
use crate::harness::rules::host;
use crate::harness::service::{Service, Unit};
use crate::harness::verdicts::{denial_of, name_asked};
use crate::harness::world::World;

/// Where jobs find their engine.
const PORT: u16 = 23_750;

const ONE: &str = "actions.runner.acme-1.service";
const OTHER: &str = "actions.runner.acme-2.service";

/// Ways out of a container, and the one that is allowed.
const TRIES: &str = "nc -w 3 198.51.100.66 8080 </dev/null && echo evil-tcp; \
                     nc -w 3 evil.test 8080 </dev/null && echo evil-name; \
                     echo x | nc -w 3 good.test 8080 && echo good";

/// A host whose jobs have an engine, and directories of its runners.
struct Host<'s, 'w> {
    stage: &'s Stage<'w>,
    service: Service<'w>,
    /// Where its runners work.
    work: PathBuf,
    /// Their own programs.
    externals: PathBuf,
}

impl<'s, 'w> Host<'s, 'w> {
    fn new(stage: &'s Stage<'w>) -> Result<Self> {
        let world = stage.world;
        let (work, externals) = (world.path("work"), world.path("externals"));
        fs::create_dir_all(work.join("repo"))?;
        fs::create_dir(&externals)?;
        fs::write(externals.join("tool"), "of the runner\n")?;
        Service::profile(world, "app", &mediated())?;
        Service::profile(world, "none", "")?;
        let settings = Self::settings(&[work.clone(), externals.clone()]);
        let job = world
            .job()
            .engine(&stage.engine.socket())
            .settings(&settings);
        let service = Service::start_from(world, job.settings_file()?)?;
        Ok(Self {
            stage,
            service,
            work,
            externals,
        })
    }

    fn settings(workspace: &[PathBuf]) -> String {
        format!(
            "[[runner]]\nunit = \"actions.runner.*.service\"\ncontrol_plane = [\"none\"]\n\
             worker = \"Runner.Worker\"\nengine_port = {PORT}\nworkspace = {workspace:?}\n\
             [[grant]]\nrepository = \"acme/*\"\nprofiles = [\"app\"]\n"
        )
    }

    /// Other settings, from now on.
    fn set(&self, settings: &str) -> Result<()> {
        let socket = self.stage.engine.socket();
        let new = self.stage.world.job().engine(&socket).settings(settings);
        self.service.replace(&new.settings_file()?)?;
        self.service.cordon(&["reload"])?.expect_status(0).map(drop)
    }

    /// A runner with one job, whose worker finds a client of the engine and is told where the engine is.
    fn runner(
        &self,
        unit: &Unit<'_, 'w>,
        repository: &str,
        steps: &[Step],
        script: &str,
    ) -> Result<Job<'w>> {
        let client = self.stage.engine.client();
        let folder = client.parent().context("the client's folder")?;
        let script = format!(
            "PATH={}:$PATH HOME=/tmp DOCKER_HOST=tcp://127.0.0.1:{PORT}\nexport HOME DOCKER_HOST\n{script}",
            folder.display()
        );
        unit.runner(repository, steps, &script)
    }

    fn nothing_left(&self) -> Result<()> {
        for words in [
            &["ps", "--all", "--quiet"][..],
            &["volume", "ls", "--quiet"],
            &["network", "ls", "--quiet", "--filter", "type=custom"],
        ] {
            let left = self.stage.engine.done(words)?;
            ensure!(left.is_empty(), "docker {words:?}: {left}");
        }
        Ok(())
    }
}

/// What the runner of GitHub Actions asks of the engine for a job with `container:` and `services:`, and a step.
pub(super) fn container_job(stage: &Stage<'_>) -> Result<()> {
    let world = stage.world;
    let host = Host::new(stage)?;
    let unit = host.service.unit(ONE)?;
    let (work, externals) = (&host.work, &host.externals);
    fs::write(
        work.join("step.sh"),
        format!(
            "cat /__e/tool\n(echo x > /__e/tool) 2>/dev/null || echo externals are read-only\npwd > made\n\
             nc -w 3 db 5432 </dev/null\n{TRIES}\n"
        ),
    )?;
    let script = format!(
        "docker version >/dev/null 2>&1 && echo too early\n\
         cordon job start || exit 70\n\
         set -e\n\
         docker network create --label runner github_network >/dev/null\n\
         docker create --name db --network github_network --network-alias db {IMAGE} \
           sh -c 'while true; do echo of-the-service | nc -l -p 5432; done' >/dev/null\n\
         docker start db >/dev/null\n\
         docker create --name job --label runner --workdir /__w/repo --network github_network -e CI=true \
           -v /var/run/docker.sock:/var/run/docker.sock -v '{work}':/__w -v '{externals}':/__e:ro \
           --entrypoint sleep {IMAGE} 600 >/dev/null\n\
         docker start job >/dev/null\n\
         sleep 0.3\n\
         docker exec -i --workdir /__w/repo job sh /__w/step.sh\n\
         docker rm --force job >/dev/null\n\
         echo 'name = \"less\"' >'{less}'; cordon job narrow '{less}' && echo narrowed\n\
         cordon job finish\n",
        less = world.path("less.toml").display(),
        work = work.display(),
        externals = externals.display(),
    );
    let freely = world.evil.at(at(EVIL_V4, 8080));
    let finished = host
        .runner(&unit, "acme/app", &[], &script)?
        .run()?
        .expect_status(0)?;
    for words in [
        "of the runner",
        "externals are read-only",
        "of-the-service",
        "good",
    ] {
        says(&finished.stdout, words)?;
    }
    says(&finished.stderr, "cannot give up rules while it runs")?;
    for words in ["evil", "too early", "narrowed"] {
        ensure!(!finished.stdout.contains(words), "{}", finished.stdout);
    }
    ensure!(
        fs::read_to_string(work.join("repo/made"))? == "/__w/repo\n",
        "another directory"
    );
    ensure!(
        fs::read_to_string(externals.join("tool"))? == "of the runner\n",
        "it was written"
    );
    unreached(world, &freely)?;

    let evidence = host.service.evidence_of("acme/app")?;
    let report = &evidence.report;
    ensure!(
        report.job.outcome == JobOutcome::Finished,
        "{:?}",
        report.job
    );
    let attendance = report.job.attendance.as_ref().context("no attendance")?;
    ensure!(attendance.findings.is_empty(), "{attendance:?}");
    let denial = denial_of(report, at(EVIL_V4, 8080), "tcp")?;
    says(&format!("{:?}", denial.processes), "/bin/sh")?;
    name_asked(report, "evil.test")?;
    let layers = &report.coverage.layers;
    let layer = layers.iter().find(|layer| layer.name == "container engine");
    let detail = &layer
        .context("the report says nothing of the engine")?
        .detail;
    says(detail, &format!("{IMAGE} (2)"))?;
    host.nothing_left()
}

/// The port of a job is nobody else's, and a second job waits for none.
pub(super) fn alone(stage: &Stage<'_>) -> Result<()> {
    let world = stage.world;
    let host = Host::new(stage)?;
    let (one, other) = (host.service.unit(ONE)?, host.service.unit(OTHER)?);
    let endpoint = Step::tcp(([127, 0, 0, 1], PORT).into());
    let [up, go] = ["up", "go"].map(|name| world.path(name));
    let script = format!(
        "cordon job start || exit 70\nsteps\ntouch '{}'\nwhile [ ! -e '{}' ]; do sleep 0.05; done\ncordon job finish\n",
        up.display(),
        go.display()
    );
    let tried = std::slice::from_ref(&endpoint);
    let mut first = host.runner(&one, "acme/app", tried, &script)?.start()?;
    first.until(&up)?;
    // Its own runner, another one, and root of the host.
    let mut clients = vec![one.client(tried)?, other.client(tried)?, world.free(tried)?];
    for client in clients.drain(..) {
        let [outcome] = client.run()?.steps()?;
        ensure!(
            outcome.call.as_deref() == Some("connect"),
            "the engine of a job answered somebody else: {outcome:?}"
        );
    }
    let second = host.runner(
        &other,
        "acme/other",
        tried,
        "cordon job start; echo status $?\nsteps\n",
    )?;
    let second = second.run()?.expect_status(0)?;
    says(&second.stdout, "status 120")?;
    says(&second.stderr, &format!("port {PORT} of 127.0.0.1"))?;
    says(&second.stderr, "`engine_port`")?;
    fs::write(&go, "")?;
    let [own] = first.wait()?.expect_status(0)?.steps()?;
    // An engine waits for what is asked of it.
    ensure!(
        own.call.as_deref() == Some("recv"),
        "the job did not reach its own engine: {own:?}"
    );
    host.service.evidence_of("acme/app")?;
    // And now it is free, also for a job that is filled later.
    let script = format!(
        "id=$('{cordon}' job start --open --quiet) || exit 70\n\
         '{cordon}' job attach $id -- docker run --rm {IMAGE} echo filled || exit 71\ncordon job finish $id\n",
        cordon = world.environment.cordon()?.display()
    );
    let third = host.runner(&other, "acme/third", tried, &script)?;
    says(&third.run()?.expect_status(0)?.stdout, "filled")?;
    host.service.evidence_of("acme/third")?;
    host.nothing_left()
}

/// What containers would own must be the runner's, and is what the engine sees there.
pub(super) fn workspace(stage: &Stage<'_>) -> Result<()> {
    let world = stage.world;
    let host = Host::new(stage)?;
    let unit = host.service.unit(ONE)?;
    let (foreign, link) = (world.path("foreign"), world.path("link"));
    fs::create_dir(&foreign)?;
    chown(&foreign, Some(12_345), None)?;
    symlink(&host.work, &link)?;
    for (path, why) in [(foreign, "belongs to user 12345"), (link, "symbolic link")] {
        host.set(&Host::settings(&[path]))?;
        let refused = host.runner(&unit, "acme/app", &[], "cordon job start; echo status $?\n")?;
        let refused = refused.run()?.expect_status(0)?;
        says(&refused.stdout, "status 120")?;
        says(&refused.stderr, why)?;
    }
    // Without any, a container mounts nothing of the host; steps learn where the engine is from a file.
    host.set(&Host::settings(&[]))?;
    let file = world.path("env");
    let script = format!(
        "unset DOCKER_HOST\ncordon job start --env-file '{file}' || exit 70\nset -a; . '{file}'; set +a\n\
         echo $DOCKER_HOST $DOCKER_BUILDKIT\ndocker run --rm -v '{work}':/w {IMAGE} true; echo run $?\n\
         docker run --rm {IMAGE} echo ran\ncordon job finish\n",
        file = file.display(),
        work = host.work.display(),
    );
    let finished = host
        .runner(&unit, "acme/app", &[], &script)?
        .run()?
        .expect_status(0)?;
    says(
        &finished.stdout,
        &format!("tcp://127.0.0.1:{PORT} 0\nrun 125\nran"),
    )?;
    host.nothing_left()
}

/// A daemon that is killed takes no container with it, lets none out, and the next one mediates again.
pub(super) fn restarted(stage: &Stage<'_>) -> Result<()> {
    let world = stage.world;
    let mut host = Host::new(stage)?;
    let [up, again, go] = ["up", "again", "go"].map(|name| world.path(name));
    let script = format!(
        "cordon job start || exit 70\n\
         docker run -d --name it {IMAGE} sh -c 'while true; do nc -w 1 198.51.100.66 8080 </dev/null; sleep 0.1; done' \
           >/dev/null || exit 71\n\
         touch '{up}'; while [ ! -e '{go}' ]; do sleep 0.05; done\n\
         for i in $(seq 100); do docker version >/dev/null 2>&1 && break; sleep 0.1; done\n\
         docker exec it sh -c '{TRIES}'\n\
         docker run -d --name db {IMAGE} sh -c 'while true; do echo of-the-second | nc -l -p 5432; done' >/dev/null\n\
         sleep 0.3; docker exec it nc -w 3 db 5432 </dev/null\n\
         touch '{again}'; cordon job finish\n",
        up = up.display(),
        go = go.display(),
        again = again.display(),
    );
    let freely = world.evil.at(at(EVIL_V4, 8080));
    // Outlives the borrow of the service: a unit is a directory.
    let mut first = {
        let unit = host.service.unit(ONE)?;
        host.runner(&unit, "acme/app", &[], &script)?.start()?
    };
    first.until(&up)?;
    host.service.end(Signal::SIGKILL)?;
    std::thread::sleep(std::time::Duration::from_millis(500));
    let runs = stage.engine.done(&["ps", "--quiet"])?;
    ensure!(
        !runs.is_empty(),
        "the container does not run: nothing is proved"
    );
    world.nothing_leaked()?;
    host.service.restart()?;
    host.service.until("the job is there again", || {
        let jobs = host.service.ask("/v1/jobs")?;
        let engine = jobs
            .pointer("/0/engine")
            .and_then(serde_json::Value::as_str);
        Ok(engine == Some(&format!("tcp://127.0.0.1:{PORT}")))
    })?;
    fs::write(&go, "")?;
    let finished = first.wait()?.expect_status(0)?;
    says(&finished.stdout, "good")?;
    says(&finished.stdout, "of-the-second")?;
    ensure!(
        !finished.stdout.contains("evil") && again.exists(),
        "{}",
        finished.stdout
    );
    unreached(world, &freely)?;
    let evidence = host.service.evidence_of("acme/app")?;
    let report = &evidence.report;
    let effects: Vec<&String> = report
        .interruptions
        .iter()
        .flat_map(|one| &one.effects)
        .collect();
    let told = effects
        .iter()
        .any(|effect| effect.contains("Requests to the container engine got no answer"));
    ensure!(told, "{effects:?}");
    denial_of(report, at(EVIL_V4, 8080), "tcp")?;
    host.nothing_left()
}

/// A daemon keeps the right to start a mediator only where a job may have one.
pub(super) fn rights(stage: &Stage<'_>) -> Result<()> {
    const USERS: u64 = 1 << 6 | 1 << 7;
    let world = stage.world;
    let held = |service: &Service<'_>| -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", service.running()?.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
        Ok(u64::from_str_radix(line.context("no set")?.trim(), 16)? & USERS)
    };
    let mut host = Host::new(stage)?;
    ensure!(held(&host.service)? == USERS, "it cannot start a mediator");
    // Profiles that gain an engine later are refused as a whole, and so are their jobs.
    Service::profile(world, "app", &rules())?;
    host.service.end(Signal::SIGTERM)?;
    host.service.restart()?;
    ensure!(held(&host.service)? == 0, "it keeps what it does not need");
    Service::profile(world, "app", &mediated())?;
    let reload = host.service.cordon(&["reload"])?;
    ensure!(reload.status != 0, "{}", reload.stdout);
    says(&reload.stderr, "systemctl restart cordon")?;
    let unit = host.service.unit(ONE)?;
    let refused = host.runner(&unit, "acme/app", &[], "cordon job start; echo status $?\n")?;
    let refused = refused.run()?.expect_status(0)?;
    says(
        &refused.stderr,
        "gave up the right to start `cordon-engine`",
    )?;
    ensure!(!refused.stdout.contains("status 0"), "{}", refused.stdout);
    // A runner itself has none.
    let plane = "name = \"none\"\n[containers]\nengine = \"mediate\"\n";
    fs::write(world.directory().join("profiles.d/none.toml"), plane)?;
    let reload = host.service.cordon(&["reload"])?;
    ensure!(reload.status != 0, "{}", reload.stdout);
    says(&reload.stderr, "a runner has no engine of its own")
}

/// Nothing came to the attacker since it had this.
fn unreached(world: &World, before: &Received) -> Result<()> {
    world.nothing_leaked()?;
    let now = world.evil.at(at(EVIL_V4, 8080));
    ensure!(now == *before, "the attacker was reached: {now:?}");
    Ok(())
}

fn rules() -> String {
    host("good.test", "8080")
}

/// The same, with an engine.
fn mediated() -> String {
    format!("{}[containers]\nengine = \"mediate\"\n", rules())
}
