//! Keys: kept as credentials, rotated, revoked, and none in the place of another.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::daemon;
use super::gate::{IMAGE, Policy, beside, cordon, field, gate, made, text};
use crate::client::step::Step;
use crate::harness::environment::Environment;
use crate::harness::network::{GOOD_V4, at};
use crate::harness::service::{Evidence, Service};
use crate::harness::world::World;
use crate::runner::Story;

mod tpm;

pub(super) fn stories() -> Vec<Story> {
    let mut stories = vec![
        Story::new(
            "keys::a_rotated_key_goes_on_with_the_chain_and_the_gate_follows_it",
            rotated,
        ),
        Story::new(
            "keys::a_rotation_that_is_killed_leaves_a_key_and_the_next_one_finishes",
            killed,
        ),
        Story::new(
            "keys::a_daemon_signs_with_the_new_key_and_jobs_under_way_keep_theirs",
            reloaded,
        ),
        Story::new(
            "keys::nothing_of_a_revoked_key_is_promoted_whatever_list_is_shown",
            revoked,
        ),
        Story::new(
            "keys::a_host_signs_neither_policies_nor_lists_and_no_key_revokes_itself",
            apart,
        ),
        Story::new(
            "keys::a_job_of_root_does_not_see_the_file_of_the_key",
            hidden,
        ),
        Story::new(
            "keys::a_credential_signs_and_evidence_says_how_it_is_kept",
            credential,
        ),
    ];
    stories.extend(tpm::stories());
    stories
}

/// Signs a policy of these tables with the key of policies.
fn signed(world: &World, name: &str, tables: &str) -> Result<Policy> {
    let key = owner(world)?;
    let file = world.path(name);
    fs::write(&file, format!("name = \"release\"\n{tables}\n"))?;
    let words = ["key", "sign-policy", text(&file)?, "--key", text(&key)?];
    cordon(world, &words, 0)?;
    Ok(Policy {
        file,
        public: beside(&key, ".pub"),
    })
}

/// The key of policies; made when it is asked for first.
fn owner(world: &World) -> Result<PathBuf> {
    let key = world.directory().join("owner.pem");
    if !key.exists() {
        cordon(world, &["key", "generate", "--out", text(&key)?], 0)?;
    }
    Ok(key)
}

fn printed(world: &World, words: &[&str]) -> Result<String> {
    Ok(String::from_utf8(cordon(world, words, 0)?.stdout)?)
}

const RULES: &str = "[evidence]\nmax_age = \"1h\"\nchain = \"unbroken\"\n";

/// Rotates the world's key.
fn rotate(world: &World) -> Result<String> {
    let (settings, key) = (world.job().settings_file()?, world.key()?);
    let words = ["--config", text(&settings)?, "key", "rotate"];
    let words: Vec<_> = words.into_iter().chain(["--key", text(&key)?]).collect();
    printed(world, &words)
}

/// The file beside the world's key whose name goes on so and ends so.
fn remains(world: &World, middle: &str, end: &str) -> Result<PathBuf> {
    for entry in fs::read_dir(world.directory())? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        if name.is_some_and(|name| name.contains(middle) && name.ends_with(end)) {
            return Ok(path);
        }
    }
    anyhow::bail!("no `{middle}…{end}`")
}

fn rotated(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let one = made(&world, "one")?;
    let old_public = world.path("old.pub");
    fs::copy(world.public_key()?, &old_public)?;
    let told = rotate(&world)?;
    ensure!(told.contains("replaces = [\"SHA256:"), "{told}");
    let (two, three) = (made(&world, "two")?, made(&world, "three")?);
    let statement = remains(&world, ".rotation-", ".intoto.jsonl")?;
    let table = ["key", "table", text(&statement)?, "--known"];
    let tables: Vec<_> = table.into_iter().chain([text(&old_public)?]).collect();
    let tables = printed(&world, &tables)?;
    ensure!(told.ends_with(&tables), "{told}\n---\n{tables}");
    // Nobody but who trusts the old key is told anything.
    let stranger = beside(&owner(&world)?, ".pub");
    let strange: Vec<_> = table.into_iter().chain([text(&stranger)?]).collect();
    cordon(&world, &strange, 1)?;
    let policy = signed(&world, "both.toml", &format!("{RULES}{tables}"))?;
    let memory = world.path("gate.json");
    let state = ["--state", text(&memory)?];
    for (evidence, number) in [(&one, 1), (&two, 2), (&three, 3)] {
        let decision = gate(&world, &policy, evidence, IMAGE, &state, 0)?;
        ensure!(
            *field(&decision, "/seal/sequence") == number,
            "{decision:#}"
        );
    }
    // A policy that does not say that one key replaces the other sees a gap.
    let apart: Vec<_> = tables
        .lines()
        .filter(|line| !line.starts_with("replaces"))
        .collect();
    let apart = signed(
        &world,
        "apart.toml",
        &format!("{RULES}{}", apart.join("\n")),
    )?;
    let memory = world.path("apart.json");
    let state = ["--state", text(&memory)?];
    gate(&world, &apart, &one, IMAGE, &state, 0)?;
    gate(&world, &apart, &two, IMAGE, &state, 6)?;
    // After the overlap the old key's evidence is refused, before the rotation the new one's.
    let soon = ["--now", "2999-01-01T00:00:00Z"];
    let late = gate(&world, &policy, &one, IMAGE, &soon, 4)?;
    ensure!(late.to_string().contains("counted only until"), "{late:#}");
    let early = ["--now", "2020-01-01T00:00:00Z"];
    let early = gate(&world, &policy, &two, IMAGE, &early, 4)?;
    ensure!(early.to_string().contains("counts only from"), "{early:#}");
    // The old key is kept, and readable by its owner alone.
    let kept = remains(&world, ".retired-", ".pub")?.with_extension("");
    ensure!(fs::metadata(&kept)?.permissions().mode() & 0o7777 == 0o400);
    world.nothing_left()
}

fn killed(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let (settings, key) = (world.job().settings_file()?, world.key()?);
    let program = environment.cordon()?;
    let mut ended = 0;
    for round in 0_u64..40 {
        let mut child = Command::new(program)
            .args(["--config", text(&settings)?, "key", "rotate", "--key"])
            .arg(&key)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        sleep(Duration::from_micros(round.saturating_mul(700)));
        child.kill()?;
        ended += i32::from(child.wait()?.success());
        // There is a key, and it signs.
        let shown = printed(&world, &["key", "show", text(&key)?])?;
        ensure!(shown.contains("SHA256:"), "{shown}");
    }
    ensure!(ended < 40, "it was never killed");
    rotate(&world)?;
    let private = printed(&world, &["key", "show", text(&key)?])?;
    let public = printed(&world, &["key", "show", text(&world.public_key()?)?])?;
    let id = |text: &str| {
        let mut words = text.split_whitespace();
        words
            .find(|word| word.starts_with("SHA256:"))
            .map(str::to_owned)
    };
    ensure!(id(&private) == id(&public), "{private}\n{public}");
    for entry in fs::read_dir(world.directory())? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        ensure!(
            !name.contains("report.pem.next") && !name.contains(".new-"),
            "{name} is left"
        );
    }
    made(&world, "one")?;
    world.nothing_left()
}

fn reloaded(environment: &Environment) -> Result<()> {
    let world = daemon::world(environment)?;
    let service = Service::start(&world, daemon::SETTINGS)?;
    let units = [daemon::UNIT, "actions.runner.acme-2.service"];
    let [one, other] = [service.unit(units[0])?, service.unit(units[1])?];
    let [up, go] = ["first-up", "go"].map(|name| world.path(name));
    let tried = [Step::tcp(at(GOOD_V4, 8080))];
    let waits = format!(
        "cordon job start || exit 70\ntouch '{}'\nwhile [ ! -e '{}' ]; do sleep 0.05; done\nsteps\ncordon job finish\n",
        up.display(),
        go.display()
    );
    let mut first = one.runner("acme/app", &tried, &waits)?.start()?;
    first.until(&up)?;
    let old = world.path("old.pub");
    fs::copy(world.public_key()?, &old)?;
    rotate(&world)?;
    service.cordon(&["reload"])?.expect_status(0)?;
    let script = "cordon job start || exit 70\nsteps\ncordon job finish\n";
    let second = other.runner("acme/open", &tried, script)?.run()?;
    second.expect_status(0)?;
    // A job is over for the daemon some time after its last process.
    let second = service.evidence_of("acme/open")?;
    fs::write(&go, "")?;
    first.wait()?.expect_status(0)?;
    let verify = |evidence: &Evidence, key: &Path, status: i32| -> Result<()> {
        let directory = text(&evidence.directory)?;
        cordon(
            &world,
            &["report", "verify", directory, "--key", text(key)?],
            status,
        )?;
        Ok(())
    };
    let first = service.evidence_of("acme/app")?;
    verify(&first, &old, 0)?;
    verify(&second, &world.public_key()?, 0)?;
    ensure!(verify(&second, &old, 0).is_err(), "the old key signed it");
    // One chain, whichever key: the job that ended later has the later number.
    let number = |evidence: &Evidence| -> Result<u64> {
        let run = fs::read_to_string(evidence.directory.join("run.json"))?;
        let run: Value = serde_json::from_str(&run)?;
        field(&run, "/chain/sequence").as_u64().context("no number")
    };
    let numbers = (number(&second)?, number(&first)?);
    ensure!(numbers == (1, 2), "{numbers:?}");
    // A key that cannot be used is not taken, and the one in force goes on.
    let key = world.key()?;
    fs::set_permissions(&key, fs::Permissions::from_mode(0o444))?;
    let refused = service.cordon(&["reload"])?.expect_status(121)?;
    ensure!(refused.stderr.contains("chmod 0400"), "{}", refused.stderr);
    Ok(())
}

fn revoked(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let evidence = made(&world, "one")?;
    let (owner, host) = (owner(&world)?, world.key()?);
    let public = world.public_key()?;
    let own_table = printed(&world, &["key", "table", text(&public)?])?;
    let rules = "[evidence]\nmax_age = \"1h\"\n[revocations]\nmax_age = \"1h\"\n";
    let policy = signed(&world, "policy.toml", &format!("{rules}{own_table}"))?;
    let memory = world.path("gate.json");
    let list = world.path("revoked.sigstore.json");
    let issue = |more: &[&str]| -> Result<()> {
        let words = [
            "key",
            "revoke",
            "--list",
            text(&list)?,
            "--key",
            text(&owner)?,
        ];
        cordon(&world, &[words.as_slice(), more].concat(), 0)?;
        Ok(())
    };
    let asked = |list: &Path, status: i32| -> Result<Value> {
        let more = ["--revocations", text(list)?, "--state", text(&memory)?];
        gate(&world, &policy, &evidence, IMAGE, &more, status)
    };
    // There must be one.
    gate(&world, &policy, &evidence, IMAGE, &[], 3)?;
    issue(&[])?;
    let first = world.path("first.sigstore.json");
    fs::copy(&list, &first)?;
    asked(&list, 0)?;
    issue(&[
        "--reason",
        "compromised",
        "--note",
        "runner-3",
        text(&public)?,
    ])?;
    let decision = asked(&list, 4)?;
    ensure!(
        decision
            .to_string()
            .contains("is on the list of revoked keys"),
        "{decision:#}"
    );
    // The list from before, which does not name it: this gate has seen a newer one.
    asked(&first, 6)?;
    // One of its own making, by the host or by anybody.
    for key in [&host, &world.path("stranger.pem")] {
        if !key.exists() {
            cordon(&world, &["key", "generate", "--out", text(key)?], 0)?;
        }
        let forged = beside(key, ".list");
        let words = [
            "key",
            "revoke",
            "--list",
            text(&forged)?,
            "--key",
            text(key)?,
        ];
        cordon(&world, &words, 0)?;
        asked(&forged, 4)?;
    }
    // Altered, or not signed at all.
    let altered = world.path("altered.sigstore.json");
    let bundle: Value = serde_json::from_str(&fs::read_to_string(&list)?)?;
    fs::write(
        &altered,
        field(&bundle, "/dsseEnvelope/payload").to_string(),
    )?;
    asked(&altered, 7)?;
    let withheld = ["--state", text(&memory)?];
    gate(&world, &policy, &evidence, IMAGE, &withheld, 3)?;
    let later = [
        "--revocations",
        text(&first)?,
        "--now",
        "2999-01-01T00:00:00Z",
    ];
    gate(&world, &policy, &evidence, IMAGE, &later, 6)?;
    world.nothing_left()
}

fn apart(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let evidence = made(&world, "one")?;
    let (owner, host, public) = (owner(&world)?, world.key()?, world.public_key()?);
    let own_table = printed(&world, &["key", "table", text(&public)?])?;
    let rules = "[evidence]\nmax_age = \"1h\"\n";
    let policy = signed(&world, "policy.toml", &format!("{rules}{own_table}"))?;
    gate(&world, &policy, &evidence, IMAGE, &[], 0)?;
    let list = world.path("revoked.sigstore.json");
    let words = [
        "key",
        "revoke",
        "--list",
        text(&list)?,
        "--key",
        text(&owner)?,
    ];
    cordon(&world, &words, 0)?;
    // A list of another key is not gone on with, and no key revokes itself.
    let words = [
        "key",
        "revoke",
        "--list",
        text(&list)?,
        "--key",
        text(&host)?,
    ];
    cordon(&world, &words, 1)?;
    let own = beside(&owner, ".pub");
    let words = [
        "key",
        "revoke",
        "--list",
        text(&list)?,
        "--key",
        text(&owner)?,
    ];
    cordon(&world, &[words.as_slice(), &[text(&own)?]].concat(), 1)?;
    // Nor does a host vouch for the policy that trusts it.
    let words = [
        "key",
        "sign-policy",
        text(&policy.file)?,
        "--key",
        text(&host)?,
    ];
    fs::remove_file(beside(&policy.file, ".sigstore.json"))?;
    cordon(&world, &words, 0)?;
    let words = ["verify", text(&evidence)?, "--subject", IMAGE, "--policy"];
    let key = ["--policy-key", text(&public)?];
    let words: Vec<_> = words
        .into_iter()
        .chain([text(&policy.file)?])
        .chain(key)
        .collect();
    let output = cordon(&world, &words, 4)?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(said.contains("it has the role `report`"), "{said}");
    world.nothing_left()
}

/// The beginning of what `systemd-creds encrypt --with-key=host` of systemd 252 writes, for machines that
/// have no such program.
const BY_HOST: &str = "Whxqht+dQJax1aZeCGLxmiAAAAABAAAADAAAABAAAAA=";

/// Under its name and another one.
fn hidden(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let key = world.key()?;
    let other = world.path("other-name.pem");
    std::os::unix::fs::symlink(&key, &other)?;
    let read = format!("cat '{}' '{}'; echo end", text(&key)?, text(&other)?);
    let open = Command::new("/bin/sh").args(["-c", &read]).output()?;
    ensure!(
        String::from_utf8_lossy(&open.stdout).contains("PRIVATE KEY"),
        "outside of jobs it is not there: {open:?}"
    );
    let profile = world.profile("empty", "")?;
    let job = world.job().profile(&profile);
    let finished = job
        .command(["/bin/sh", "-c", &read])
        .run()?
        .expect_status(0)?;
    ensure!(finished.stdout == "end\n", "{}", finished.stdout);
    Ok(())
}

fn credential(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let (key, public) = (world.key()?, world.public_key()?);
    let (directory, sealed) = (world.path("credentials"), world.path("report.cred"));
    fs::create_dir(&directory)?;
    let handed = directory.join("report");
    let (secret, evidence) = (world.path("credential.secret"), world.path("evidence"));
    // Encrypted and decrypted again as the service manager does it, with a secret of its own.
    let tool = |words: &[&str]| -> Result<bool> {
        let ran = Command::new("systemd-creds")
            .args(words)
            .env("SYSTEMD_CREDENTIAL_SECRET", &secret)
            .stderr(Stdio::null())
            .status();
        Ok(ran.is_ok_and(|status| status.success()))
    };
    let name = "--name=report";
    if tool(&[
        "encrypt",
        "--with-key=host",
        name,
        text(&key)?,
        text(&sealed)?,
    ])? {
        let decrypted = tool(&["decrypt", name, text(&sealed)?, text(&handed)?])?;
        ensure!(
            decrypted,
            "systemd-creds does not decrypt what it encrypted"
        );
    } else {
        fs::copy(&key, &handed)?;
        fs::write(&sealed, BY_HOST)?;
    }
    let mode = |path: &Path, mode: u32| fs::set_permissions(path, fs::Permissions::from_mode(mode));
    mode(&handed, 0o400)?;
    mode(&directory, 0o500)?;
    let run = |directory: Option<&Path>, script: &str| -> Result<_> {
        let job = world.job().command(["sh", "-c", script]);
        let job = job
            .under_cordon(&[])
            .host_setting("signing_key", "credential:report");
        let job = job.host_setting("signing_credential", text(&sealed)?);
        let job = job.evidence(&evidence);
        match directory {
            Some(directory) => job.variable("CREDENTIALS_DIRECTORY", directory).run(),
            None => job.run(),
        }
    };
    // The job of root sees neither the variable nor what is in there.
    let look = format!(
        "echo \"found:${{CREDENTIALS_DIRECTORY}}:$(ls -A '{}')\"",
        directory.display()
    );
    let finished = run(Some(&directory), &look)?.expect_status(0)?;
    ensure!(finished.stdout.contains("found::\n"), "{}", finished.stdout);
    let words = [
        "report",
        "verify",
        text(&evidence)?,
        "--key",
        text(&public)?,
    ];
    cordon(&world, &words, 0)?;
    for (file, pointer) in [
        ("egress-report.json", "/platform/keyProtection"),
        ("run.json", "/platform/keyProtection"),
    ] {
        let report: Value = serde_json::from_str(&fs::read_to_string(evidence.join(file))?)?;
        let stated = field(&report, pointer);
        ensure!(*stated == "systemd-creds-host", "{file}: {stated}");
    }
    fs::remove_dir_all(&evidence)?;
    // Without credentials, with ones of others, or with a file that is not encrypted, nothing starts.
    let started = world.path("started");
    let start = format!("touch '{}'", started.display());
    let refused = |directory: Option<&Path>, words: &str| -> Result<()> {
        let finished = run(directory, &start)?.expect_status(121)?;
        ensure!(finished.stderr.contains(words), "{}", finished.stderr);
        ensure!(!started.exists(), "it was started");
        Ok(())
    };
    refused(None, "LoadCredentialEncrypted=report:FILE")?;
    refused(Some(&world.path("nowhere")), "nowhere")?;
    mode(&directory, 0o555)?;
    refused(Some(&directory), "chmod 0500")?;
    mode(&directory, 0o700)?;
    mode(&handed, 0o440)?;
    refused(Some(&directory), "chmod 0400")?;
    mode(&handed, 0o400)?;
    fs::copy(&public, &sealed)?;
    refused(Some(&directory), "is no encrypted credential")?;
    world.nothing_left()
}
