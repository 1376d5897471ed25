//! Keys in a TPM, which `swtpm` plays, and which `tpm2-tools` ask from outside.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{RULES, printed, remains, signed};
use crate::cases::daemon;
use crate::cases::gate::{IMAGE, beside, cordon, field, gate, text};
use crate::client::step::Step;
use crate::harness::environment::Environment;
use crate::harness::job::{Finished, Job};
use crate::harness::network::{GOOD_V4, at};
use crate::harness::service::Service;
use crate::harness::world::World;
use crate::runner::Story;

pub(super) fn stories() -> Vec<Story> {
    vec![
        Story::new(
            "keys::tpm::a_key_in_a_tpm_signs_and_tools_of_others_find_it_there",
            signs,
        ),
        Story::new(
            "keys::tpm::without_its_own_tpm_a_key_signs_nothing_and_no_job_starts",
            refused,
        ),
        Story::new(
            "keys::tpm::a_daemon_whose_tpm_goes_loses_no_report_and_starts_no_job",
            gone,
        ),
        Story::new(
            "keys::tpm::a_key_is_rotated_into_the_tpm_and_there_and_the_chain_goes_on",
            rotated,
        ),
    ]
}

/// How `tpm2-tools` reach the socket of the emulator: its commands and answers over two pipes.
const WAY: &str = r"
import os, socket, struct, sys

tpm = socket.socket(socket.AF_UNIX)
tpm.connect(sys.argv[1])

def whole(read):
    def exactly(count):
        found = b''
        while len(found) < count:
            piece = read(count - len(found))
            if not piece:
                sys.exit(0)
            found += piece
        return found
    head = exactly(10)
    return head + exactly(struct.unpack('>I', head[2:6])[0] - 10)

while True:
    tpm.sendall(whole(lambda count: os.read(0, count)))
    os.write(1, whole(tpm.recv))
";

/// An emulated TPM.
struct Tpm {
    child: Child,
    state: PathBuf,
    socket: PathBuf,
    way: PathBuf,
}

impl Tpm {
    fn new(world: &World, name: &str) -> Result<Self> {
        let state = world.path(name);
        fs::create_dir(&state)?;
        let way = world.path("tpm-way.py");
        fs::write(&way, WAY)?;
        let socket = world.path(&format!("{name}.sock"));
        let child = Self::power(&state, &socket)?;
        Ok(Self {
            child,
            state,
            socket,
            way,
        })
    }

    fn power(state: &Path, socket: &Path) -> Result<Child> {
        let child = Command::new("swtpm")
            .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"])
            .arg("--tpmstate")
            .arg(format!("dir={}", state.display()))
            .arg("--server")
            .arg(format!("type=unixio,path={}", socket.display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("swtpm, which `cargo xtask setup` installs")?;
        for _ in 0..200 {
            if socket.exists() {
                return Ok(child);
            }
            sleep(Duration::from_millis(20));
        }
        anyhow::bail!("swtpm does not listen")
    }

    fn off(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        fs::remove_file(&self.socket)?;
        Ok(())
    }

    fn on(&mut self) -> Result<()> {
        self.child = Self::power(&self.state, &self.socket)?;
        Ok(())
    }

    /// Runs one of `tpm2-tools`, and unloads what it left: there is nobody between them and the TPM.
    fn tool(&self, name: &str, words: &[&str]) -> Result<String> {
        let run = |name: &str, words: &[&str]| -> Result<String> {
            let way = format!(
                "cmd:python3 '{}' '{}'",
                self.way.display(),
                self.socket.display()
            );
            let output = Command::new(name)
                .args(words)
                .env("TPM2TOOLS_TCTI", way)
                .output()
                .with_context(|| format!("run {name}"))?;
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            ensure!(output.status.success(), "{name}: {said}");
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        };
        let said = run(name, words)?;
        run("tpm2_flushcontext", &["--transient-object"])?;
        Ok(said)
    }
}

impl Drop for Tpm {
    fn drop(&mut self) {
        if self.child.kill().is_ok() {
            drop(self.child.wait());
        }
    }
}

/// Settings of a host whose key is in this file, and its TPM there.
fn on<'w>(job: Job<'w>, key: &Path, tpm: &Tpm) -> Result<Job<'w>> {
    let key = format!("tpm:{}", text(key)?);
    Ok(job
        .host_setting("signing_key", &key)
        .host_setting("tpm", text(&tpm.socket)?))
}

/// Makes the key that the settings name.
fn generate(world: &World, key: &Path, tpm: &Tpm) -> Result<PathBuf> {
    let settings = on(world.job(), key, tpm)?.settings_file()?;
    let told = printed(world, &["--config", text(&settings)?, "key", "generate"])?;
    ensure!(told.contains("protection   tpm: in the TPM"), "{told}");
    Ok(settings)
}

/// Runs a job under these settings.
fn run(world: &World, settings: &Path, evidence: &Path, script: &str) -> Result<Finished> {
    let profile = world.profile("empty", "")?;
    let job = world.job().command(["sh", "-c", script]).profile(profile);
    let job = job.under_cordon(&["--subject", IMAGE]).evidence(evidence);
    job.settings_from(settings).run()
}

/// The wrapped key, as tools take it: its two parts are the last things in its file.
fn parts(key: &Path) -> Result<[Vec<u8>; 2]> {
    let output = Command::new("openssl")
        .args(["asn1parse", "-in", text(key)?])
        .output()?;
    let lines = String::from_utf8(output.stdout)?;
    let octets = lines.lines().filter(|line| line.contains("OCTET STRING"));
    let parts: Vec<_> = octets
        .map(|line| -> Result<Vec<u8>> {
            let (_, hex) = line.rsplit_once(':').context("no content")?;
            let digits: Vec<_> = hex.trim().as_bytes().chunks(2).collect();
            let bytes = digits.into_iter().map(|digits| -> Result<u8> {
                Ok(u8::from_str_radix(str::from_utf8(digits)?, 16)?)
            });
            bytes.collect()
        })
        .collect::<Result<_>>()?;
    parts.try_into().ok().context("not two parts")
}

fn stated(evidence: &Path) -> Result<Vec<Value>> {
    let files = ["egress-report.json", "run.json", "secret-sweep.json"];
    let stated = files.map(|file| -> Result<Value> {
        let report: Value = serde_json::from_str(&fs::read_to_string(evidence.join(file))?)?;
        Ok(field(&report, "/platform/keyProtection").clone())
    });
    stated.into_iter().collect()
}

fn signs(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let tpm = Tpm::new(&world, "tpm")?;
    let key = world.path("report.tpm");
    let (settings, public) = (generate(&world, &key, &tpm)?, beside(&key, ".pub"));
    ensure!(fs::metadata(&key)?.permissions().mode() & 0o7777 == 0o400);
    // A job of root can neither read the key's file nor reach the TPM.
    let evidence = world.path("evidence");
    let look = format!(
        "id -u; cat '{}' | wc -c; test -S '{}' && echo reached",
        key.display(),
        tpm.socket.display()
    );
    let finished = run(&world, &settings, &evidence, &format!("{look}; true"))?;
    let finished = finished.expect_status(0)?;
    ensure!(finished.stdout.trim() == "0\n0", "{}", finished.stdout);
    let words = [
        "report",
        "verify",
        text(&evidence)?,
        "--key",
        text(&public)?,
    ];
    cordon(&world, &words, 0)?;
    for class in stated(&evidence)? {
        ensure!(class == "tpm", "{class}");
    }
    // The gate asks for the class, and for one that it is not.
    let table = printed(&world, &["key", "table", text(&public)?])?;
    for (class, status) in [("tpm", 0), ("systemd-creds-tpm2", 1)] {
        let rules = format!(
            "[evidence]\nmax_age = \"1h\"\nkey_protection = [\"{class}\"]\nevents = \"required\"\n"
        );
        let policy = signed(&world, &format!("{class}.toml"), &format!("{rules}{table}"))?;
        let decision = gate(&world, &policy, &evidence, IMAGE, &[], status)?;
        let said = decision.to_string().contains("is kept as `tpm`");
        ensure!(said == (status != 0), "{decision:#}");
    }
    bound_later(&world, &key, &settings, &table)?;
    // Tools of others load the same key in the same TPM, and sign with it.
    let [public_part, private_part] = parts(&key)?;
    let file = |name: &str| world.path(name);
    let [public_file, private_file, message, signature] =
        ["key.public", "key.private", "message", "signature"].map(file);
    fs::write(&public_file, public_part)?;
    fs::write(&private_file, private_part)?;
    fs::write(&message, "signed by others")?;
    let attributes =
        "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|restricted|decrypt";
    let (parent, context) = (file("parent.context"), file("key.context"));
    let primary = [
        "-C",
        "o",
        "-g",
        "sha256",
        "-G",
        "ecc256:aes128cfb",
        "-a",
        attributes,
        "-c",
    ];
    let primary: Vec<_> = primary.into_iter().chain([text(&parent)?]).collect();
    tpm.tool("tpm2_createprimary", &primary)?;
    let load = [
        "-C",
        text(&parent)?,
        "-u",
        text(&public_file)?,
        "-r",
        text(&private_file)?,
    ];
    let load = [load.as_slice(), &["-c", text(&context)?]].concat();
    tpm.tool("tpm2_load", &load)?;
    let read = tpm.tool("tpm2_readpublic", &["-c", text(&context)?])?;
    ensure!(
        read.contains("fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|sign\n"),
        "{read}"
    );
    let sign = ["-c", text(&context)?, "-g", "sha256", "-f", "plain", "-o"];
    let sign = [sign.as_slice(), &[text(&signature)?, text(&message)?]].concat();
    tpm.tool("tpm2_sign", &sign)?;
    let verified = Command::new("openssl")
        .args(["dgst", "-sha256", "-verify", text(&public)?, "-signature"])
        .args([&signature, &message])
        .output()?;
    ensure!(verified.stdout == b"Verified OK\n", "{verified:?}");
    world.nothing_left()
}

/// Evidence that names no image is bound to one with the key that sealed it, in its TPM, and with no other.
fn bound_later(world: &World, key: &Path, settings: &Path, table: &str) -> Result<()> {
    let evidence = world.path("unbound");
    let profile = world.profile("empty", "")?;
    let job = world.job().command(["true"]).profile(profile);
    let job = job.evidence(&evidence).settings_from(settings);
    job.run()?.expect_status(0)?;
    let rules = "[evidence]\nmax_age = \"1h\"\nkey_protection = [\"tpm\"]\n";
    let policy = signed(world, "bound.toml", &format!("{rules}{table}"))?;
    gate(world, &policy, &evidence, IMAGE, &[], 5)?;
    let other = world.path("other.pem");
    cordon(world, &["key", "generate", "--out", text(&other)?], 0)?;
    let settings = ["--config", text(settings)?];
    let bind = |key: &Path, status| {
        let words = [
            "bind",
            text(&evidence)?,
            "--subject",
            IMAGE,
            "--key",
            text(key)?,
        ];
        cordon(world, &[settings.as_slice(), &words].concat(), status)
    };
    bind(&other, 4)?;
    bind(key, 0)?;
    gate(world, &policy, &evidence, IMAGE, &[], 0)?;
    Ok(())
}

fn refused(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let (mut tpm, other) = (Tpm::new(&world, "tpm")?, Tpm::new(&world, "other")?);
    let key = world.path("report.tpm");
    generate(&world, &key, &tpm)?;
    let started = world.path("started");
    let start = format!("touch '{}'", started.display());
    let no_job = |tpm: &Tpm, words: &str| -> Result<()> {
        let settings = on(world.job(), &key, tpm)?.settings_file()?;
        let finished = run(&world, &settings, &world.path("evidence"), &start)?;
        let finished = finished.expect_status(121)?;
        ensure!(finished.stderr.contains(words), "{}", finished.stderr);
        ensure!(!started.exists(), "it was started");
        Ok(())
    };
    // On another host, with all of this one's disk.
    no_job(&other, "it was made in another TPM")?;
    fs::set_permissions(&key, fs::Permissions::from_mode(0o440))?;
    no_job(&tpm, "chmod 0400")?;
    fs::set_permissions(&key, fs::Permissions::from_mode(0o400))?;
    tpm.tool("tpm2_changeauth", &["-c", "owner", "secret"])?;
    no_job(&tpm, "asks for a password of its owner hierarchy")?;
    tpm.tool("tpm2_changeauth", &["-c", "owner", "-p", "secret"])?;
    tpm.off()?;
    no_job(&tpm, "cannot be used: a host that has one")?;
    // In the same state as before, it signs.
    tpm.on()?;
    let settings = on(world.job(), &key, &tpm)?.settings_file()?;
    run(&world, &settings, &world.path("first"), "true")?.expect_status(0)?;
    tpm.tool("tpm2_clear", &[])?;
    no_job(&tpm, "or this one has been cleared since")?;
    // A key in a file is not what the settings ask for.
    let plain = world.key()?;
    let settings = on(world.job(), &plain, &tpm)?.settings_file()?;
    let finished = run(&world, &settings, &world.path("evidence"), &start)?.expect_status(121)?;
    ensure!(
        finished.stderr.contains("is no key in a TPM"),
        "{}",
        finished.stderr
    );
    world.nothing_left()
}

fn gone(environment: &Environment) -> Result<()> {
    let world = daemon::world(environment)?;
    let mut tpm = Tpm::new(&world, "tpm")?;
    let key = world.path("report.tpm");
    generate(&world, &key, &tpm)?;
    let settings = on(world.job().settings(daemon::SETTINGS), &key, &tpm)?.settings_file()?;
    let service = Service::start_from(&world, settings)?;
    let unit = service.unit(daemon::UNIT)?;
    let [up, go] = ["up", "go"].map(|name| world.path(name));
    let tried = [Step::tcp(at(GOOD_V4, 8080))];
    let waits = format!(
        "cordon job start || exit 70\ntouch '{}'\nwhile [ ! -e '{}' ]; do sleep 0.05; done\nsteps\ncordon job finish\n",
        up.display(),
        go.display()
    );
    let mut first = unit.runner("acme/app", &tried, &waits)?.start()?;
    first.until(&up)?;
    tpm.off()?;
    // No job starts that nobody could sign for.
    let script = "cordon job start || exit 70\nsteps\ncordon job finish\n";
    let second = unit.runner("acme/open", &tried, script)?.run()?;
    second.expect_status(70)?;
    let told =
        |words: &str| -> Result<bool> { Ok(service.ask("/v1/jobs")?.to_string().contains(words)) };
    ensure!(told("its evidence could not be signed")?);
    // What ran is told of, although nobody signs it.
    fs::write(&go, "")?;
    first.wait()?;
    let evidence = world.directory().join("state/evidence");
    let unsigned = || -> Result<Option<PathBuf>> {
        for entry in fs::read_dir(&evidence)? {
            let directory = entry?.path();
            let report = directory.join("egress-report.json");
            if report.exists()
                && fs::read_to_string(&report)?.contains("acme/app")
                && directory.join("events.ocsf.jsonl").exists()
            {
                return Ok(Some(directory));
            }
        }
        Ok(None)
    };
    service.until("the report is written", || Ok(unsigned()?.is_some()))?;
    service.until("it is told", || told("the evidence is not signed"))?;
    let unsigned = unsigned()?.context("no report")?;
    ensure!(unsigned.join("secret-sweep.json").exists());
    for entry in fs::read_dir(&unsigned)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        ensure!(!name.contains("sigstore"), "{name}");
    }
    // The TPM is back: the next job starts, and what was left is signed by hand.
    tpm.on()?;
    let third = unit.runner("acme/open", &tried, script)?.run()?;
    third.expect_status(0)?;
    let sealed_job = || -> Result<Option<String>> {
        let jobs = service.ask("/v1/jobs")?;
        let mut jobs = jobs.as_array().into_iter().flatten();
        let job = jobs.find(|job| *field(job, "/state") == "sealed");
        Ok(job.and_then(|job| Some(field(job, "/evidence").as_str()?.to_owned())))
    };
    service.until("it is sealed", || Ok(sealed_job()?.is_some()))?;
    let third = sealed_job()?.context("no evidence")?;
    let public = beside(&key, ".pub");
    let words = ["report", "verify", &third, "--key", text(&public)?];
    cordon(&world, &words, 0)?;
    let sealed = world.path("sealed");
    let reports = ["egress-report.json", "secret-sweep.json"].map(|name| unsigned.join(name));
    let words = [
        "report",
        "sign",
        text(&reports[0])?,
        text(&reports[1])?,
        "--seal",
    ];
    let words = [
        words.as_slice(),
        &["--key", text(&key)?, "--evidence", text(&sealed)?],
    ]
    .concat();
    service.cordon(&words)?.expect_status(0)?;
    let words = ["report", "verify", text(&sealed)?, "--key", text(&public)?];
    cordon(&world, &words, 0)?;
    Ok(())
}

fn rotated(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let tpm = Tpm::new(&world, "tpm")?;
    // The settings name a file, which becomes that of a key in the TPM.
    let key = world.key()?;
    let settings = world.job().host_setting("tpm", text(&tpm.socket)?);
    let settings = settings.settings_file()?;
    let config = ["--config", text(&settings)?, "key"];
    let told = |words: &[&str]| printed(&world, &[config.as_slice(), words].concat());
    let evidence = ["one", "two", "three"].map(|name| world.path(name));
    let [old, middle] = ["old.pub", "middle.pub"].map(|name| world.path(name));
    run(&world, &settings, &evidence[0], "true")?.expect_status(0)?;
    fs::copy(world.public_key()?, &old)?;
    told(&["rotate", "--tpm", "--key", text(&key)?])?;
    let shown = told(&["show", text(&key)?])?;
    ensure!(shown.contains("protection   tpm:"), "{shown}");
    let statement = remains(&world, ".rotation-", ".intoto.jsonl")?;
    let known = ["table", text(&statement)?, "--known", text(&old)?];
    let first = told(&known)?;
    run(&world, &settings, &evidence[1], "true")?.expect_status(0)?;
    fs::copy(world.public_key()?, &middle)?;
    fs::remove_file(&statement)?;
    // From the TPM it goes nowhere else.
    told(&["rotate", "--key", text(&key)?])?;
    let shown = told(&["show", text(&key)?])?;
    ensure!(shown.contains("protection   tpm:"), "{shown}");
    let statement = remains(&world, ".rotation-", ".intoto.jsonl")?;
    let known = ["table", text(&statement)?, "--known", text(&middle)?];
    let second = told(&known)?;
    run(&world, &settings, &evidence[2], "true")?.expect_status(0)?;
    let classes = evidence.iter().map(|evidence| stated(evidence));
    let classes: Vec<_> = classes.collect::<Result<_>>()?;
    for (stated, class) in classes.iter().zip(["file", "tpm", "tpm"]) {
        ensure!(stated.iter().all(|stated| stated == class), "{classes:?}");
    }
    // One chain: the tables of the first key and of the two that took its place.
    let (one, _) = first.split_once("\n\n[[key]]").context("one table")?;
    let (_, three) = second.split_once("\n\n[[key]]").context("one table")?;
    let two = printed(&world, &["key", "table", text(&middle)?])?;
    let id = |table: &str| -> Result<String> {
        let mut lines = table.lines();
        let line = lines.find(|line| line.starts_with("fingerprint"));
        Ok(line
            .context("no fingerprint")?
            .replace("fingerprint = ", ""))
    };
    let tables = format!("{one}\n{two}\nreplaces = [{}]\n[[key]]{three}", id(one)?);
    let policy = signed(&world, "all.toml", &format!("{RULES}{tables}"))?;
    let memory = world.path("gate.json");
    let state = ["--state", text(&memory)?];
    for (evidence, number) in evidence.iter().zip(1..) {
        let decision = gate(&world, &policy, evidence, IMAGE, &state, 0)?;
        ensure!(
            *field(&decision, "/seal/sequence") == number,
            "{decision:#}"
        );
    }
    let pruned = told(&["prune", "--key", text(&key)?])?;
    ensure!(
        pruned.contains("no key is kept beyond its overlap"),
        "{pruned}"
    );
    world.nothing_left()
}
