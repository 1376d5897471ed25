//! Metrics and telemetry of a real daemon, as Prometheus, `promtool`, hostile clients and jobs meet them.

#![expect(
    clippy::indexing_slicing,
    reason = "what is not there is null, or fails the story"
)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use cordon_secrets::cases::cases;
use nix::sys::signal::Signal;
use serde_json::Value;

use super::{SETTINGS, UNIT, world};
use crate::cases::doctor::answer;
use crate::client::step::Step;
use crate::harness::environment::Environment;
use crate::harness::job::Running;
use crate::harness::network::{EVIL_V4, GOOD_V4, at};
use crate::harness::rules::cidr;
use crate::harness::service::Service;
use crate::harness::verdicts::{allowed, denial_of};
use crate::harness::world::World;
use crate::runner::{Lack, Story, Told};

/// Where the daemons of these stories serve metrics, each in a network namespace of its own.
const PORT: u16 = 9477;
/// A token of a known kind, of no use to anybody.
pub(super) fn token() -> Result<String> {
    let case = cases()
        .into_iter()
        .find(|case| case.expected == Some("github-pat"));
    Ok(case.context("no case of that rule")?.text)
}

pub(super) fn stories() -> Vec<Story> {
    vec![
        Story::conditional("metrics::promtool_finds_nothing_wrong", promtool),
        Story::conditional(
            "metrics::prometheus_scrapes_a_daemon_and_every_query_has_data",
            prometheus,
        ),
        Story::new("metrics::denials_count_while_a_job_runs_and_once", counted),
        Story::new("metrics::a_restart_counts_no_denial_again", restarted),
        Story::new("metrics::a_job_reaches_them_only_if_it_may", reached),
        Story::new("metrics::half_open_requests_keep_nobody_out", held),
        Story::new(
            "metrics::whatever_is_sent_gets_no_more_than_the_page",
            whatever,
        ),
        Story::new("metrics::a_port_that_is_taken_is_said", taken),
        Story::new("metrics::a_reload_while_they_are_scraped", reloaded),
        Story::new("metrics::a_unix_socket_is_for_root_and_its_group", unix),
        Story::new("metrics::doctor_says_whether_somebody_would_hear", doctor),
    ]
}

const MISSING: &str = "no prometheus; `cargo xtask test metrics` unpacks one";

/// Where a program is.
fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let unpacked = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools/debian/usr/bin");
    std::iter::once(unpacked)
        .chain(std::env::split_paths(&path))
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
}

/// What is shipped for Prometheus.
fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../packaging/prometheus")
        .join(name)
}

pub(super) fn settings(more: &str) -> String {
    format!("{SETTINGS}\n[metrics]\nlisten = \"127.0.0.1:{PORT}\"\n{more}")
}

/// Asks over HTTP, on the machine of the daemon.
fn get(world: &World, words: &[&str]) -> Result<String> {
    let mut command = vec!["curl", "-sS", "--fail", "--max-time", "10"];
    command.extend(words);
    Ok(world.job().command(command).run()?.expect_status(0)?.stdout)
}

/// The page.
fn page(world: &World) -> Result<String> {
    get(world, &[&format!("http://127.0.0.1:{PORT}/metrics")])
}

/// Each series of it, as it is written there. What is asked for within a moment is one page.
pub(super) fn samples(world: &World) -> Result<BTreeMap<String, f64>> {
    std::thread::sleep(Duration::from_millis(250));
    read(&page(world)?)
}

fn read(page: &str) -> Result<BTreeMap<String, f64>> {
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (series, number) = line.rsplit_once(' ').context("no number")?;
            Ok((series.to_owned(), number.parse()?))
        })
        .collect()
}

fn denied(profile: &str) -> String {
    format!("cordon_egress_decisions_total{{verdict=\"denied\",profile=\"{profile}\"}}")
}

fn allowed_by(profile: &str) -> String {
    format!("cordon_egress_decisions_total{{verdict=\"allowed\",profile=\"{profile}\"}}")
}

pub(super) fn is(samples: &BTreeMap<String, f64>, series: &str, number: f64) -> Result<()> {
    let found = samples.get(series);
    ensure!(
        found == Some(&number),
        "{series}: {found:?} and not {number}"
    );
    Ok(())
}

pub(super) fn two() -> [Step; 2] {
    [Step::tcp(at(GOOD_V4, 8080)), Step::tcp(at(EVIL_V4, 8080))]
}

/// A job that does its steps, waits, and does them again.
struct Held<'w> {
    runner: Running<'w>,
    go: PathBuf,
}

fn hold<'w>(
    service: &Service<'w>,
    unit: &crate::harness::service::Unit<'_, 'w>,
) -> Result<Held<'w>> {
    let world = service.world();
    let (up, go) = (world.path("up"), world.path("go"));
    let script = format!(
        "cordon job start || exit 70\nsteps\ntouch '{}'\nwhile [ ! -e '{}' ]; do sleep 0.05; done\nsteps\n\
         cordon job finish\n",
        up.display(),
        go.display()
    );
    let mut runner = unit.runner("acme/app", &two(), &script)?.start()?;
    runner.until(&up)?;
    Ok(Held { runner, go })
}

impl Held<'_> {
    fn end(self) -> Result<()> {
        fs::write(&self.go, "")?;
        let steps: [_; 4] = self.runner.wait()?.expect_status(0)?.steps()?;
        allowed(&steps[0])
    }
}

fn promtool(environment: &Environment) -> Result<Told> {
    let Some(promtool) = program("promtool") else {
        return Ok(Told::NotHere(Lack::Prometheus, MISSING.to_owned()));
    };
    let check = |words: &[&str], input: &str| -> Result<(bool, String)> {
        let mut child = Command::new(&promtool)
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        child
            .stdin
            .take()
            .context("no input")?
            .write_all(input.as_bytes())?;
        let output = child.wait_with_output()?;
        let said = [output.stdout, output.stderr].concat();
        Ok((
            output.status.success(),
            String::from_utf8_lossy(&said).into_owned(),
        ))
    };
    let world = world(environment)?;
    let service = Service::start(&world, &settings(""))?;
    let unit = service.unit(UNIT)?;
    let held = hold(&service, &unit)?;
    for _ in 0..2 {
        let page = page(&world)?;
        let (well, said) = check(&["check", "metrics"], &page)?;
        ensure!(well && said.is_empty(), "{said}\n{page}");
    }
    held.end()?;
    service.evidence_of("acme/app")?;
    let page = page(&world)?;
    let (well, said) = check(&["check", "metrics"], &page)?;
    ensure!(well && said.is_empty(), "{said}\n{page}");
    // It does find what is wrong.
    let wrong = page.replace("# HELP cordon_jobs_active", "# Help cordon_jobs_active");
    ensure!(!check(&["check", "metrics"], &wrong)?.0);
    let rules = shipped("cordon.rules.yml");
    let (well, said) = check(&["check", "rules", &rules.display().to_string()], "")?;
    ensure!(well, "{said}");
    let tests = shipped("cordon.rules.test.yml");
    let (well, said) = check(&["test", "rules", &tests.display().to_string()], "")?;
    ensure!(well, "{said}");
    // Each alert has a test.
    let (rules, tests) = (fs::read_to_string(rules)?, fs::read_to_string(tests)?);
    for alert in rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
    {
        ensure!(tests.contains(&format!("alertname: {alert}\n")), "{alert}");
    }
    Ok(Told::Whole)
}

/// Every expression of the dashboard, as Grafana sends it.
fn queries() -> Result<Vec<String>> {
    let text = fs::read_to_string(shipped("grafana-dashboard.json"))?;
    let dashboard: Value = serde_json::from_str(&text)?;
    let panels = dashboard["panels"].as_array().context("no panels")?;
    let targets = panels
        .iter()
        .filter_map(|panel| panel["targets"].as_array());
    let expressions = targets.flatten().map(|target| {
        let text = target["expr"].as_str().context("no expression")?;
        let text = text
            .replace("$__rate_interval", "15s")
            .replace("$instance", ".*");
        ensure!(!text.contains('$'), "{text}");
        Ok(text)
    });
    expressions.collect()
}

/// The part of each alert that is compared with a number, which has data while all is well.
fn alerts() -> Result<Vec<(String, String)>> {
    let text = fs::read_to_string(shipped("cordon.rules.yml"))?;
    let mut alerts = Vec::new();
    let mut lines = text.lines().map(str::trim);
    while let Some(line) = lines.next() {
        let Some(name) = line.strip_prefix("- alert: ") else {
            continue;
        };
        let expression = lines.next().and_then(|line| line.strip_prefix("expr: '"));
        let expression = expression.and_then(|text| text.strip_suffix('\''));
        let (compared, _) = expression
            .and_then(|text| text.rsplit_once(" > ").or_else(|| text.rsplit_once(" == ")))
            .context("an alert compares nothing")?;
        alerts.push((name.to_owned(), compared.to_owned()));
    }
    Ok(alerts)
}

/// Asks Prometheus.
fn ask(world: &World, path: &str, words: &[&str]) -> Result<Value> {
    let address = format!("http://127.0.0.1:9090/api/v1/{path}");
    let mut all = vec!["-G", address.as_str()];
    all.extend(words);
    Ok(serde_json::from_str(&get(world, &all)?)?)
}

/// What an expression comes to there.
fn query(world: &World, expression: &str) -> Result<Vec<Value>> {
    let words = format!("query={expression}");
    let answer = ask(world, "query", &["--data-urlencode", &words])?;
    ensure!(answer["status"] == "success", "{expression}: {answer}");
    let found = answer["data"]["result"].as_array().cloned();
    Ok(found.unwrap_or_default())
}

/// Every query of the dashboard, and what every alert compares.
fn everything_has_data(world: &World) -> Result<()> {
    let queries = queries()?;
    ensure!(queries.len() > 25, "{}", queries.len());
    for expression in queries {
        ensure!(
            !query(world, &expression)?.is_empty(),
            "no data: {expression}"
        );
    }
    let alerts = alerts()?;
    ensure!(alerts.len() == 12, "{}", alerts.len());
    for (name, compared) in &alerts {
        ensure!(
            !query(world, compared)?.is_empty(),
            "no data for {name}: {compared}"
        );
    }
    let known = ask(world, "rules", &[])?;
    let rules = known["data"]["groups"][0]["rules"]
        .as_array()
        .context("no rules")?;
    ensure!(rules.len() == alerts.len(), "{known}");
    for rule in rules {
        ensure!(rule["health"] == "ok", "{rule}");
    }
    Ok(())
}

fn prometheus(environment: &Environment) -> Result<Told> {
    let Some(prometheus) = program("prometheus") else {
        return Ok(Told::NotHere(Lack::Prometheus, MISSING.to_owned()));
    };
    let world = world(environment)?;
    let service = Service::start(&world, &settings(""))?;
    let configuration = world.path("prometheus.yml");
    fs::write(
        &configuration,
        format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: ['{}']\nscrape_configs:\n  \
             - job_name: cordon\n    static_configs: [{{targets: ['127.0.0.1:{PORT}']}}]\n",
            fs::canonicalize(shipped("cordon.rules.yml"))?.display()
        ),
    )?;
    let data = world.path("prometheus");
    let started = world
        .job()
        .command([
            prometheus.into_os_string(),
            format!("--config.file={}", configuration.display()).into(),
            format!("--storage.tsdb.path={}", data.display()).into(),
            "--web.listen-address=127.0.0.1:9090".into(),
        ])
        .start()?;
    let query = |expression: &str| query(&world, expression);
    let value = |expression: &str| -> Result<Option<String>> {
        let found = query(expression)?;
        let first = found.first();
        Ok(first
            .and_then(|sample| sample["value"][1].as_str())
            .map(str::to_owned))
    };
    service.until("Prometheus scrapes the daemon", || {
        Ok(query("up{job=\"cordon\"} == 1").is_ok_and(|found| !found.is_empty()))
    })?;
    let unit = service.unit(UNIT)?;
    let token = token()?;
    let script = format!(
        "cordon job start || exit 70\nsteps\nTOKEN='{token}' sleep 1\nsteps\ncordon job finish\n"
    );
    let runner = unit.runner("acme/app", &two(), &script)?;
    runner.run()?.expect_status(0)?;
    let evidence = service.evidence_of("acme/app")?;
    ensure!(
        evidence.report.summary.denied == 2,
        "{:?}",
        evidence.report.summary
    );
    service.until("the denials are in Prometheus", || {
        let found =
            value("sum(cordon_egress_decisions_total{verdict=\"denied\",profile=\"plane+app\"})")?;
        Ok(found.as_deref() == Some("2"))
    })?;
    service.until(
        "the end of the job is there, and more than one scrape of it",
        || {
            let found = value("sum(increase(cordon_jobs_total{result=\"sealed\"}[15s])) > 0")?;
            Ok(found.is_some())
        },
    )?;
    everything_has_data(&world)?;
    let firing = || -> Result<Vec<Value>> {
        let answer = ask(&world, "alerts", &[])?;
        Ok(answer["data"]["alerts"]
            .as_array()
            .cloned()
            .unwrap_or_default())
    };
    service.until("the alert about the secret fires", || {
        let found = firing()?;
        let secret = |alert: &Value| {
            alert["labels"]["alertname"] == "CordonSecretFound"
                && alert["labels"]["rule"] == "github-pat"
        };
        Ok(found.iter().any(secret))
    })?;
    let others: Vec<Value> = firing()?;
    ensure!(others.len() == 1, "{others:?}");
    started.signal(Signal::SIGTERM)?;
    started.wait()?;
    Ok(Told::Whole)
}

fn counted(environment: &Environment) -> Result<()> {
    let world = world(environment)?;
    let service = Service::start(&world, &settings(""))?;
    let unit = service.unit(UNIT)?;
    let series = denied("plane+app");
    let before = samples(&world)?;
    is(&before, &series, 0.0)?;
    is(&before, "cordon_enforcement_active", 1.0)?;
    is(&before, "cordon_runners{state=\"enforced\"}", 1.0)?;
    let held = hold(&service, &unit)?;
    let during = samples(&world)?;
    is(&during, &series, 1.0)?;
    is(&during, &allowed_by("plane+app"), 0.0)?;
    is(&during, "cordon_jobs_active", 1.0)?;
    held.end()?;
    let evidence = service.evidence_of("acme/app")?;
    let after = samples(&world)?;
    let summary = evidence.report.summary;
    ensure!(summary.denied == 2 && summary.allowed == 2, "{summary:?}");
    is(&after, &series, 2.0)?;
    is(&after, &allowed_by("plane+app"), 2.0)?;
    is(&after, "cordon_jobs_active", 0.0)?;
    is(&after, "cordon_jobs_total{result=\"sealed\"}", 1.0)?;
    is(
        &after,
        "cordon_reports_signed_total{result=\"sealed\"}",
        1.0,
    )?;
    is(&after, "cordon_job_duration_seconds_count", 1.0)?;
    for (before, after) in [(&before, &during), (&during, &after)] {
        for (series, number) in before
            .iter()
            .filter(|(series, _)| series.contains("_total"))
        {
            ensure!(after.get(series) >= Some(number), "{series} went down");
        }
    }
    // One that no grant is for.
    let refused = "cordon job start; echo \"status $?\" >&2\n";
    unit.runner("acme/none", &[], refused)?.run()?;
    is(
        &samples(&world)?,
        "cordon_jobs_total{result=\"refused\"}",
        1.0,
    )
}

fn restarted(environment: &Environment) -> Result<()> {
    let world = world(environment)?;
    let mut service = Service::start(&world, &settings(""))?;
    let series = denied("plane+app");
    let held = {
        let unit = service.unit(UNIT)?;
        hold(&service, &unit)?
    };
    is(&samples(&world)?, &series, 1.0)?;
    service.end(Signal::SIGKILL)?;
    service.restart()?;
    is(&samples(&world)?, &series, 0.0)?;
    held.end()?;
    let evidence = service.evidence_of("acme/app")?;
    ensure!(
        evidence.report.summary.denied == 2,
        "{:?}",
        evidence.report.summary
    );
    is(&samples(&world)?, &series, 1.0)
}

fn reached(environment: &Environment) -> Result<()> {
    let world = world(environment)?;
    let port = PORT.to_string();
    Service::profile(&world, "scraper", &cidr("127.0.0.1/32", &port, "tcp"))?;
    let grant = "[[grant]]\nrepository = \"acme/scraper\"\nprofiles = [\"scraper\"]\n";
    let service = Service::start(&world, &settings(grant))?;
    let unit = service.unit(UNIT)?;
    let to = at(Ipv4Addr::LOCALHOST, PORT);
    // Anybody of the host may.
    ensure!(page(&world)?.contains("cordon_build_info"));
    let script = "cordon job start || exit 70\nsteps\ncordon job finish\n";
    let [outcome] = unit
        .runner("acme/app", &[Step::tcp(to)], script)?
        .run()?
        .expect_status(0)?
        .steps()?;
    world.refused(&outcome)?;
    let evidence = service.evidence_of("acme/app")?;
    let denial = denial_of(&evidence.report, to, "tcp")?;
    ensure!(denial.reason == "loopback-not-own", "{denial:?}");
    let curl = format!(
        "cordon job start || exit 70\ncurl -sS --max-time 5 http://127.0.0.1:{PORT}/metrics | grep -c ^cordon_build_info\n\
         cordon job finish\n"
    );
    let finished = unit
        .runner("acme/scraper", &[], &curl)?
        .run()?
        .expect_status(0)?;
    ensure!(finished.stdout.trim() == "1", "{}", finished.stdout);
    Ok(())
}

fn held(environment: &Environment) -> Result<()> {
    let world = world(environment)?;
    let service = Service::start(&world, &settings(""))?;
    let open = || -> Result<Vec<TcpStream>> {
        (0..1000)
            .map(|_| {
                let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, PORT))?;
                // It may have been closed already for one that came later.
                drop(stream.write_all(b"GET /metrics HTTP/1.1\r\nHost:"));
                Ok(stream)
            })
            .collect()
    };
    let mut streams = world.network.job.run(open)?;
    let begun = Instant::now();
    ensure!(page(&world)?.contains("cordon_build_info"));
    let took = begun.elapsed();
    ensure!(took < environment.seconds(2), "{took:?}");
    let process = service.running()?.id();
    let descriptors = fs::read_dir(format!("/proc/{process}/fd"))?.count();
    ensure!(descriptors < 200, "{descriptors} descriptors");
    // Those that are left end by themselves.
    let last = streams.last_mut().context("none")?;
    last.set_read_timeout(Some(environment.seconds(10)))?;
    let mut rest = Vec::new();
    drop(last.read_to_end(&mut rest));
    ensure!(!String::from_utf8_lossy(&rest).contains("200 OK"));
    service.ask("/v1/status").map(drop)
}

fn whatever(environment: &Environment) -> Result<()> {
    let world = world(environment)?;
    let service = Service::start(&world, &settings(""))?;
    let send = |bytes: &[u8]| -> Result<String> {
        world.network.job.run(|| {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, PORT))?;
            stream.set_read_timeout(Some(Duration::from_secs(20)))?;
            drop(stream.write_all(bytes));
            let mut answer = Vec::new();
            drop(stream.read_to_end(&mut answer));
            Ok(String::from_utf8_lossy(&answer).into_owned())
        })
    };
    let huge = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(1 << 20));
    let many = format!(
        "GET /metrics HTTP/1.1\r\n{}\r\n",
        "a: b\r\n".repeat(100_000)
    );
    for (bytes, status) in [
        ("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", Some("200")),
        ("GET /metrics HTTP/1.0\r\n\r\n", Some("200")),
        ("HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n", Some("200")),
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", Some("404")),
        ("GET /v1/jobs HTTP/1.1\r\nHost: x\r\n\r\n", Some("404")),
        (
            "GET /metrics/../v1/status HTTP/1.1\r\nHost: x\r\n\r\n",
            Some("404"),
        ),
        (
            "POST /v1/reload HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
            Some("404"),
        ),
        (
            "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
            Some("405"),
        ),
        ("\0\0\0\0\r\n\r\n", Some("400")),
        (&huge, None),
        (&many, None),
    ] {
        let answer = send(bytes.as_bytes())?;
        let start = bytes.chars().take(60).collect::<String>();
        match status {
            Some(status) => ensure!(
                answer.starts_with(&format!("HTTP/1.1 {status}"))
                    || answer.starts_with(&format!("HTTP/1.0 {status}")),
                "{start:?}: {answer:?}"
            ),
            None => ensure!(!answer.contains("200 OK"), "{start:?}: {answer:?}"),
        }
    }
    // A body that never comes holds nothing up.
    let body = send(b"GET /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999999\r\n\r\n")?;
    ensure!(body.contains("200 OK") || body.is_empty(), "{body}");
    service.ask("/v1/status").map(drop)
}

fn taken(environment: &Environment) -> Result<()> {
    let world = world(environment)?;
    let bind = || Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, PORT))?);
    let listener = world.network.job.run(bind)?;
    let tables = settings("");
    let job = world.job().settings(&tables).subcommand(&["daemon"]);
    let failed = job.run()?.expect_status(120)?;
    let words = format!("another program listens on `127.0.0.1:{PORT}`");
    ensure!(
        failed.stderr.contains(&words) && failed.stderr.contains("[metrics] listen"),
        "{}",
        failed.stderr
    );
    drop(listener);
    let service = Service::start(&world, &tables)?;
    ensure!(page(&world)?.contains("cordon_build_info"));
    // And what others than this host could reach is a mistake.
    service.set(&format!(
        "{SETTINGS}\n[metrics]\nlisten = \"0.0.0.0:{PORT}\"\n"
    ))?;
    let failed = service.cordon(&["reload"])?.expect_status(121)?;
    ensure!(
        failed.stderr.contains("must be a loopback address"),
        "{}",
        failed.stderr
    );
    Ok(())
}

fn reloaded(environment: &Environment) -> Result<()> {
    let world = world(environment)?;
    let service = Service::start(&world, &settings(""))?;
    let loop_of = format!(
        "for i in $(seq 100); do curl -sS --fail --max-time 5 http://127.0.0.1:{PORT}/metrics | grep -c \
         ^cordon_build_info || exit 1; done"
    );
    let scrapes = world.job().command(["bash", "-c", &loop_of]).start()?;
    for _ in 0..20 {
        service.cordon(&["reload"])?.expect_status(0)?;
    }
    let finished = scrapes.wait()?.expect_status(0)?;
    ensure!(
        finished.stdout.lines().count() == 100,
        "{}",
        finished.stdout
    );
    let more = "[[grant]]\nrepository = \"acme/new\"\nprofiles = [\"wide\"]\nalways = [\"app\"]\n";
    service.set(&settings(more))?;
    service.cordon(&["reload"])?.expect_status(0)?;
    // What the new settings name is counted from zero, before there is a job.
    is(&samples(&world)?, &denied("plane+wide+app"), 0.0)?;
    service.set(&settings("").replace(&PORT.to_string(), "9478"))?;
    let failed = service.cordon(&["reload"])?.expect_status(121)?;
    ensure!(
        failed
            .stderr
            .contains("`[metrics] listen` cannot change while the daemon runs"),
        "{}",
        failed.stderr
    );
    let after = samples(&world)?;
    is(
        &after,
        "cordon_settings_reloads_total{result=\"read\"}",
        21.0,
    )?;
    is(
        &after,
        "cordon_settings_reloads_total{result=\"refused\"}",
        1.0,
    )
}

fn doctor(environment: &Environment) -> Result<()> {
    let world = world(environment)?;
    let folder = world.directory().join("lines");
    let socket = world.directory().join("metrics.sock");
    let places = [
        format!("127.0.0.1:{PORT}"),
        format!("unix:{}", socket.display()),
    ];
    for listen in places {
        let tables = format!(
            "{SETTINGS}\n[metrics]\nlisten = \"{listen}\"\n[telemetry]\nfile = \"{}/lines.ndjson\"\n",
            folder.display()
        );
        fs::create_dir(&folder)?;
        let mut service = Service::start(&world, &tables)?;
        let ask = |feature: &str| -> Result<String> {
            let said = service.cordon(&["doctor", "--json"])?.expect_status(0)?;
            answer(&serde_json::from_str(&said.stdout)?, feature)
        };
        ensure!(ask("metrics")? == "works" && ask("telemetry")? == "works");
        ensure!(
            !folder.join("lines.ndjson").exists(),
            "the question made a file"
        );
        fs::remove_dir(&folder)?;
        ensure!(ask("telemetry")? == "does-not-work");
        service.end(Signal::SIGTERM)?;
        ensure!(
            answer(
                &serde_json::from_str(&service.cordon(&["doctor", "--json"])?.stdout)?,
                "metrics"
            )? == "does-not-work"
        );
    }
    // Settings that name neither are asked for neither.
    let service = Service::start(&world, SETTINGS)?;
    let said = service.cordon(&["doctor", "--json"])?.expect_status(0)?;
    ensure!(
        !said.stdout.contains("\"name\":\"metrics\"") && !said.stdout.contains("telemetry"),
        "{}",
        said.stdout
    );
    // Somebody else answers there.
    drop(service);
    let listener = world
        .network
        .job
        .run(|| Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, PORT))?))?;
    let stranger = std::thread::spawn(move || -> std::io::Result<()> {
        let (mut stream, _) = listener.accept()?;
        let _request = stream.read(&mut [0; 256])?;
        stream.write_all(b"SSH-2.0-other\r\n")
    });
    let said = world
        .job()
        .settings(&settings(""))
        .subcommand(&["doctor"])
        .run()?
        .expect_status(0)?;
    ensure!(said.stdout.contains("what answers at"), "{}", said.stdout);
    stranger.join().ok().context("it panicked")??;
    Ok(())
}

fn unix(environment: &Environment) -> Result<()> {
    let world = world(environment)?;
    let socket = world.directory().join("metrics.sock");
    let tables = format!(
        "{SETTINGS}\n[metrics]\nlisten = \"unix:{}\"\n",
        socket.display()
    );
    let mut service = Service::start(&world, &tables)?;
    let path = socket.display().to_string();
    let ask = || get(&world, &["--unix-socket", &path, "http://cordon/metrics"]);
    ensure!(ask()?.contains("cordon_build_info"));
    let mode = fs::metadata(&socket)?.permissions().mode() & 0o777;
    let group = nix::unistd::Group::from_name("cordon")?;
    ensure!(
        mode == if group.is_some() { 0o660 } else { 0o600 },
        "{mode:o}"
    );
    let other =
        world
            .job()
            .user(1234)
            .command(["curl", "-sS", "--unix-socket", &path, "http://x/metrics"]);
    ensure!(other.run()?.expect_status(7)?.stdout.is_empty());
    // One that was killed leaves it, and the next takes its place; one that is stopped does not.
    service.end(Signal::SIGKILL)?;
    ensure!(socket.exists());
    service.restart()?;
    ensure!(ask()?.contains("cordon_build_info"));
    service.end(Signal::SIGTERM)?;
    ensure!(!socket.exists());
    Ok(())
}
