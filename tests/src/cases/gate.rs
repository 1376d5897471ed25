//! The promotion gate decides on the evidence of real jobs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::daemon;
use crate::client::step::Step;
use crate::harness::environment::Environment;
use crate::harness::job::Finished;
use crate::harness::network::{EVIL_V4, GOOD_V4, at};
use crate::harness::service::Service;
use crate::harness::world::World;
use crate::runner::Story;

pub(super) fn stories() -> Vec<Story> {
    vec![
        Story::new(
            "gate::a_job_is_promoted_for_its_image_and_for_no_other",
            promoted,
        ),
        Story::new(
            "gate::evidence_that_was_touched_is_refused_each_way_with_its_status",
            touched,
        ),
        Story::new(
            "gate::an_image_that_was_not_known_is_bound_later_and_only_once",
            bound,
        ),
        Story::new("gate::an_audited_job_is_denied_by_policy", audited),
        Story::new(
            "gate::seals_are_numbered_and_one_that_is_held_back_is_missed",
            numbered,
        ),
        Story::new("gate::jobs_at_once_get_a_number_each", at_once),
        Story::new(
            "gate::a_job_that_is_ended_for_a_dead_cordon_is_sealed_with_its_image",
            orphan,
        ),
        Story::new(
            "gate::a_runners_job_is_promoted_only_where_the_policy_asks_for_it",
            runners_job,
        ),
        Story::new(
            "gate::a_digest_that_is_none_is_refused_before_anything_starts",
            no_digest,
        ),
    ]
}

pub(super) const IMAGE: &str = "registry.test/app@sha256:\
                     ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
const OTHER: &str = "sha256:00000000000000000000000000000000000000000000000000000000000000aa";

/// A job that made an image, under a profile that allows nothing.
fn job(world: &World, arguments: &[&str], evidence: &Path) -> Result<Finished> {
    let profile = world.profile("empty", "")?;
    let job = world.enforced(&profile, &[Step::tcp(at(EVIL_V4, 443))])?;
    let job = job.under_cordon(arguments).evidence(evidence);
    job.run()?.expect_status(0)
}

pub(super) fn made(world: &World, name: &str) -> Result<PathBuf> {
    let evidence = world.path(name);
    job(world, &["--subject", IMAGE], &evidence)?;
    Ok(evidence)
}

/// A policy that trusts the world's key, and its signature by another.
pub(super) struct Policy {
    pub(super) file: PathBuf,
    pub(super) public: PathBuf,
}

fn policy(world: &World, more: &str) -> Result<Policy> {
    let key = world.path("policy.pem");
    cordon(world, &["key", "generate", "--out", text(&key)?], 0)?;
    let pem = fs::read_to_string(world.public_key()?)?;
    let shown = cordon(world, &["key", "show", text(&world.public_key()?)?], 0)?;
    let shown = String::from_utf8(shown.stdout)?;
    let id = shown
        .split_whitespace()
        .find(|word| word.starts_with("SHA256:"));
    let id = id.context("no fingerprint")?;
    let file = world.path("policy.toml");
    let body = format!(
        "name = \"release\"\n[[key]]\nrole = \"report\"\nfingerprint = \"{id}\"\npem = \
         \"\"\"\n{pem}\"\"\"\n[evidence]\nmax_age = \"1h\"\n{more}\n"
    );
    fs::write(&file, body)?;
    let words = ["key", "sign-policy", text(&file)?, "--key", text(&key)?];
    cordon(world, &words, 0)?;
    Ok(Policy {
        file,
        public: beside(&key, ".pub"),
    })
}

pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

pub(super) fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is no text")
}

/// Runs cordon, which must end with this status.
pub(super) fn cordon(world: &World, words: &[&str], status: i32) -> Result<Output> {
    let output = world.cordon(words)?;
    ensure!(
        output.status.code() == Some(status),
        "wanted {status} of `cordon {}`, got {}:\n{}{}",
        words.join(" "),
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    Ok(output)
}

/// Asks the gate, whose status must be this one; returns its decision.
pub(super) fn gate(
    world: &World,
    policy: &Policy,
    evidence: &Path,
    subject: &str,
    more: &[&str],
    status: i32,
) -> Result<Value> {
    let mut words = vec!["verify", text(evidence)?, "--subject", subject, "--json"];
    words.extend(["--policy", text(&policy.file)?]);
    words.extend(["--policy-key", text(&policy.public)?]);
    words.extend(more);
    let output = cordon(world, &words, status)?;
    let decision: Value = serde_json::from_slice(&output.stdout)?;
    ensure!(*field(&decision, "/status") == status, "{decision:#}");
    let checks = field(&decision, "/checks")
        .as_array()
        .context("no checks")?;
    ensure!(checks.len() == 15, "{decision:#}");
    Ok(decision)
}

/// A field of a document; nothing where there is none.
pub(super) fn field<'v>(document: &'v Value, pointer: &str) -> &'v Value {
    document.pointer(pointer).unwrap_or(&Value::Null)
}

fn promoted(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let evidence = made(&world, "one")?;
    let key = world.path("gate.pem");
    cordon(&world, &["key", "generate", "--out", text(&key)?], 0)?;
    let pem = fs::read_to_string(beside(&key, ".pub"))?;
    let shown = cordon(&world, &["key", "show", text(&key)?], 0)?;
    let shown = String::from_utf8(shown.stdout)?;
    let id = shown
        .split_whitespace()
        .find(|word| word.starts_with("SHA256:"));
    let more = format!(
        "[[key]]\nrole = \"gate\"\nfingerprint = \"{}\"\npem = \"\"\"\n{pem}\"\"\"\n",
        id.context("no fingerprint")?
    );
    let policy = policy(&world, &more)?;
    let vsa = world.path("vsa.sigstore.json");
    let sign = ["--vsa-key", text(&key)?, "--vsa", text(&vsa)?];
    let decision = gate(&world, &policy, &evidence, IMAGE, &sign, 0)?;
    ensure!(*field(&decision, "/verdict") == "promote", "{decision:#}");
    ensure!(
        field(&decision, "/policy/signedBy").is_string(),
        "{decision:#}"
    );
    let bundle: Value = serde_json::from_str(&fs::read_to_string(&vsa)?)?;
    ensure!(
        field(&bundle, "/dsseEnvelope/payload").is_string(),
        "{bundle:#}"
    );
    let other = gate(&world, &policy, &evidence, OTHER, &[], 5)?;
    ensure!(*field(&other, "/verdict") == "deny", "{other:#}");
    // The same as an archive, whatever made it.
    for format in ["gnu", "ustar", "posix"] {
        let archive = world.path("evidence.tar");
        let tar = Command::new("tar")
            .args(["--create", "--format", format, "--file"])
            .arg(&archive)
            .arg("--directory")
            .args([text(&evidence)?, "."])
            .status()?;
        ensure!(tar.success(), "tar failed");
        gate(&world, &policy, &archive, IMAGE, &[], 0)?;
    }
    // A key that is no gate's signs no decision.
    let own = world.key()?;
    let words = ["--vsa-key", text(&own)?, "--vsa", "x"];
    let words: Vec<_> = ["verify", text(&evidence)?, "--subject", IMAGE]
        .into_iter()
        .chain(["--policy", text(&policy.file)?, "--unsigned-policy"])
        .chain(words)
        .collect();
    cordon(&world, &words, 2)?;
    world.nothing_left()
}

fn touched(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let evidence = made(&world, "one")?;
    let other = made(&world, "two")?;
    let policy = policy(&world, "")?;
    gate(&world, &policy, &evidence, IMAGE, &[], 0)?;
    let with = |name: &str, status: i32, touch: &dyn Fn(&Path) -> Result<()>| -> Result<()> {
        let copy = world.path(name);
        let copied = Command::new("cp")
            .arg("-r")
            .args([&evidence, &copy])
            .status()?;
        ensure!(copied.success(), "cp failed");
        touch(&copy)?;
        gate(&world, &policy, &copy, IMAGE, &[], status).context(name.to_owned())?;
        Ok(())
    };
    with("untouched", 0, &|_| Ok(()))?;
    with("changed", 4, &|copy| {
        let file = copy.join("egress-report.json");
        let text = fs::read_to_string(&file)?.replacen("enforce", "ENFORCE", 1);
        Ok(fs::write(file, text)?)
    })?;
    for name in ["run.json", "egress.sigstore.json", "seal.sigstore.json"] {
        with(&format!("without-{name}"), 3, &|copy| {
            Ok(fs::remove_file(copy.join(name))?)
        })?;
    }
    for name in ["egress.sigstore.json", "run.json", "seal.sigstore.json"] {
        with(&format!("foreign-{name}"), 4, &|copy| {
            fs::copy(other.join(name), copy.join(name))?;
            Ok(())
        })?;
    }
    with("link", 7, &|copy| {
        fs::remove_file(copy.join("run.json"))?;
        std::os::unix::fs::symlink(evidence.join("run.json"), copy.join("run.json"))?;
        Ok(())
    })?;
    let later = ["--now", "2999-01-01T00:00:00Z"];
    let stale = gate(&world, &policy, &evidence, IMAGE, &later, 6)?;
    ensure!(*field(&stale, "/now/given") == true, "{stale:#}");
    gate(&world, &policy, &world.path("nowhere"), IMAGE, &[], 3)?;
    // A policy that was changed after it was signed is not asked.
    let text_of = fs::read_to_string(&policy.file)?;
    fs::write(&policy.file, text_of.replace("1h", "9h"))?;
    let words = ["verify", text(&evidence)?, "--subject", IMAGE, "--policy"];
    let key = ["--policy-key", text(&policy.public)?];
    let words: Vec<_> = words
        .into_iter()
        .chain([text(&policy.file)?])
        .chain(key)
        .collect();
    cordon(&world, &words, 4)?;
    world.nothing_left()
}

fn bound(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let evidence = world.path("one");
    job(&world, &[], &evidence)?;
    let policy = policy(&world, "")?;
    gate(&world, &policy, &evidence, IMAGE, &[], 5)?;
    let key = world.key()?;
    let bind = |image: &str, status| {
        let words = [
            "bind",
            text(&evidence)?,
            "--subject",
            image,
            "--key",
            text(&key)?,
        ];
        cordon(&world, &words, status)
    };
    bind(IMAGE, 0)?;
    gate(&world, &policy, &evidence, IMAGE, &[], 0)?;
    bind(IMAGE, 0)?;
    bind(OTHER, 5)?;
    gate(&world, &policy, &evidence, OTHER, &[], 5)?;
    // A job that said which image it makes cannot be given another one.
    let said = made(&world, "two")?;
    let words = [
        "bind",
        text(&said)?,
        "--subject",
        OTHER,
        "--key",
        text(&key)?,
    ];
    cordon(&world, &words, 5)?;
    world.nothing_left()
}

fn audited(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let evidence = world.path("one");
    job(&world, &["--audit", "--subject", IMAGE], &evidence)?;
    let policy = policy(&world, "")?;
    let decision = gate(&world, &policy, &evidence, IMAGE, &[], 1)?;
    ensure!(
        *field(&decision, "/refusals") == serde_json::json!(["denied"]),
        "{decision:#}"
    );
    world.nothing_left()
}

fn numbered(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let runs = ["one", "two", "three"].map(|name| made(&world, name));
    let [one, two, three] = runs;
    let (one, two, three) = (one?, two?, three?);
    for (number, evidence) in [&one, &two, &three].into_iter().enumerate() {
        let run: Value = serde_json::from_str(&fs::read_to_string(evidence.join("run.json"))?)?;
        ensure!(*field(&run, "/chain/sequence") == number + 1, "{run:#}");
    }
    let policy = policy(&world, "chain = \"unbroken\"")?;
    let state = world.path("state.json");
    let state = ["--state", text(&state)?];
    gate(&world, &policy, &one, IMAGE, &[], 3)?;
    gate(&world, &policy, &one, IMAGE, &state, 0)?;
    gate(&world, &policy, &three, IMAGE, &state, 6)?;
    gate(&world, &policy, &two, IMAGE, &state, 0)?;
    gate(&world, &policy, &three, IMAGE, &state, 0)?;
    gate(&world, &policy, &one, IMAGE, &state, 0)?;
    world.nothing_left()
}

fn at_once(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let profile = world.profile("empty", "")?;
    let end = world.path("end");
    let mut running = Vec::new();
    for name in ["one", "two", "three"] {
        let ready = world.path(&format!("{name}-ready"));
        let steps = [
            Step::Mark {
                path: ready.clone(),
            },
            Step::Await { path: end.clone() },
        ];
        let job = world.enforced(&profile, &steps)?;
        let mut job = job.evidence(&world.path(name)).start()?;
        job.until(&ready)?;
        running.push(job);
    }
    // All of them seal now.
    fs::File::create(&end)?;
    let mut numbers = Vec::new();
    for job in running {
        let finished = job.wait()?.expect_status(0)?;
        let run = fs::read_to_string(finished.evidence.join("run.json"))?;
        let run: Value = serde_json::from_str(&run)?;
        numbers.push(
            field(&run, "/chain/sequence")
                .as_u64()
                .context("no number")?,
        );
    }
    numbers.sort_unstable();
    ensure!(numbers == [1, 2, 3], "{numbers:?}");
    world.nothing_left()
}

fn orphan(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let profile = world.profile("empty", "")?;
    let (ready, never) = (world.path("ready"), world.path("never"));
    let steps = [
        Step::Mark {
            path: ready.clone(),
        },
        Step::Await { path: never },
    ];
    let evidence = world.path("orphan");
    let job_of = world.enforced(&profile, &steps)?;
    let job_of = job_of
        .under_cordon(&["--subject", IMAGE])
        .evidence(&evidence);
    let mut running = job_of.start()?;
    running.until(&ready)?;
    running.signal(Signal::SIGKILL)?;
    // The next job of the host ends it, and seals what there is.
    let next = made(&world, "next")?;
    drop(running.wait()?);
    let policy = policy(&world, "")?;
    // All pieces are there, its sweep too, and they say what the policy does not accept.
    let decision = gate(&world, &policy, &evidence, IMAGE, &[], 1)?;
    ensure!(*field(&decision, "/seal/sequence") == 1, "{decision:#}");
    let refusals = serde_json::json!(["denied"]);
    ensure!(*field(&decision, "/refusals") == refusals, "{decision:#}");
    let told = decision.to_string();
    ensure!(told.contains("times without a cordon"), "{decision:#}");
    ensure!(
        told.contains("nobody knows how the command ended"),
        "{decision:#}"
    );
    let decision = gate(&world, &policy, &next, IMAGE, &[], 0)?;
    ensure!(*field(&decision, "/seal/sequence") == 2, "{decision:#}");
    world.nothing_left()
}

fn no_digest(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let profile = world.profile("empty", "")?;
    let started = world.path("started");
    for subject in ["registry.test/app:latest", "sha1:00", "app"] {
        let steps = [Step::Mark {
            path: started.clone(),
        }];
        let job = world.enforced(&profile, &steps)?;
        let finished = job.under_cordon(&["--subject", subject]).run()?;
        let finished = finished.expect_status(121)?;
        ensure!(finished.stderr.contains("sha256"), "{}", finished.stderr);
        ensure!(!started.exists(), "it was started");
    }
    world.nothing_left()
}

fn runners_job(environment: &Environment) -> Result<()> {
    let world = daemon::world(environment)?;
    let service = Service::start(&world, daemon::SETTINGS)?;
    let unit = service.unit(daemon::UNIT)?;
    // A push says in its payload that it is of no fork.
    let payload = world.path("event.json");
    fs::write(&payload, "{}")?;
    let start = format!(
        "export GITHUB_EVENT_PATH={}\ncordon job start || exit 70\nsteps\n",
        payload.display()
    );
    let steps = [Step::tcp(at(GOOD_V4, 8080))];
    let evidence = |repository: &str, script: &str| -> Result<PathBuf> {
        let runner = unit.runner(repository, &steps, script)?;
        runner.run()?.expect_status(0)?;
        let evidence = service.evidence_of(repository)?.directory;
        let key = world.key()?;
        let words = [
            "bind",
            text(&evidence)?,
            "--subject",
            IMAGE,
            "--key",
            text(&key)?,
        ];
        cordon(&world, &words, 0)?;
        Ok(evidence)
    };
    let whole = evidence("acme/app", &format!("{start}cordon job finish\n"))?;
    let asked = |more: &str| format!("[job]\nfinished = \"allow\"\n{more}");
    let unit_of = format!("runners = [\"{}\"]\n", daemon::UNIT);
    let said = "repositories = [\"acme/*\"]\nrefs = [\"refs/heads/main\"]\nevents = [\"push\"]\n";
    for (more, status) in [
        (asked(&format!("{said}{unit_of}")), 0),
        (String::new(), 1),
        ("[job]\n".to_owned(), 1),
        (asked("repositories = [\"acme/other\"]\n"), 1),
        (asked("runners = [\"other.service\"]\n"), 1),
        (asked("commits = [\"*\"]\n"), 1),
    ] {
        let policy = policy(&world, &more)?;
        let decision = gate(&world, &policy, &whole, IMAGE, &[], status)?;
        ensure!(
            *field(&decision, "/status") == status,
            "{more}: {decision:#}"
        );
    }
    // Its end was never announced.
    let cut = evidence("acme/open", &start)?;
    let strict = policy(&world, &asked(""))?;
    gate(&world, &strict, &cut, IMAGE, &[], 1)?;
    let lenient = policy(&world, &asked("[allowed]\nattendance = 1\n"))?;
    gate(&world, &lenient, &cut, IMAGE, &[], 0)?;
    // And a job of nobody is none of a CI system.
    let nobodys = made(&world, "nobodys")?;
    gate(&world, &strict, &nobodys, IMAGE, &[], 1)?;
    Ok(())
}
