//! What cordon writes, prints and keeps in memory holds no byte of a secret.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use cordon_secrets::cases::cases;
use nix::sys::signal::Signal;

use super::{planted, script, sweep_report};
use crate::cases::outlive::only_job;
use crate::harness::environment::Environment;
use crate::harness::world::World;

/// Every secret of every case, plain and encoded, planted in variables and arguments, and then looked for in all that is written,
/// printed or kept in memory.
pub(super) fn nothing_leaks(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let interval = environment.slowness;
    let profile = world.profile("empty", &format!("[secrets]\ninterval = \"{interval}s\"\n"))?;
    let mut secrets: Vec<(String, &str)> = cases()
        .into_iter()
        .filter(|case| case.text.len() >= 16 && !case.text.contains(['\'', '\0']))
        .filter_map(|case| Some((case.text, case.expected?)))
        // In a guest, looking through all memory for all of them takes too long.
        .step_by(if environment.slowness > 1 { 4 } else { 1 })
        .collect();
    // More would not fit into what is copied at exec.
    let every = 4;
    let encoded: Vec<_> = secrets
        .iter()
        .step_by(every)
        .map(|(secret, rule)| (hex(secret), *rule))
        .collect();
    secrets.extend(encoded);
    let planted = secrets.len();
    ensure!(
        planted > 1000 || environment.slowness > 1,
        "{planted} secrets"
    );
    let mut text = String::new();
    for (index, (secret, _rule)) in secrets.iter().enumerate() {
        text += &format!("export PLANTED_{index}='{secret}'\n/bin/true '{secret}'\n");
    }
    let (ready, go) = (world.path("ready"), world.path("go"));
    nix::unistd::mkfifo(&go, nix::sys::stat::Mode::S_IRWXU)?;
    // Nothing is started while the memory is looked through: what was just copied would be there rightly.
    text += &format!(
        "sleep 300 & echo >{}; read go <{}; kill $!\n",
        ready.display(),
        go.display()
    );
    let script = script(&world, &text)?;
    let mut running = world
        .job()
        .profile(&profile)
        .command(["sh".into(), script.clone().into_os_string()])
        .start()?;
    running.until(&ready)?;
    // At least one sweep of processes that still hold them.
    sleep(environment.seconds(2));
    forgotten(running.id(), &secrets, environment.seconds(1) / 3)?;
    fs::write(&go, "\n")?;
    let finished = running.wait()?.expect_status(0)?;
    let report = sweep_report(&finished)?;
    ensure!(
        report.findings.len() >= 85,
        "{} findings",
        report.findings.len()
    );
    let mut places: Vec<(String, Vec<u8>)> = vec![
        (
            "standard output".to_owned(),
            finished.stdout.clone().into_bytes(),
        ),
        ("standard error".to_owned(), finished.stderr.into_bytes()),
    ];
    collect(world.directory(), &mut places, &[&script])?;
    ensure!(
        places
            .iter()
            .any(|(name, _)| name.ends_with("secret-sweep.json")),
        "the report was not looked into"
    );
    match sight(&secrets, &places) {
        Some(sight) => bail!("{sight}"),
        None => Ok(()),
    }
}

/// How often the memory is looked through. While a sweep goes on, what it reads is there rightly; what was left
/// is there every time.
const LOOKS: usize = 6;

fn forgotten(process: u32, secrets: &[(String, &str)], pause: Duration) -> Result<()> {
    let mut seen = String::new();
    for _ in 0..LOOKS {
        match sight(secrets, &memory_of(process)?) {
            Some(sight) => seen = sight,
            None => return Ok(()),
        }
        sleep(pause);
    }
    bail!("{seen}, and so {LOOKS} times")
}

/// The first secret, or piece of one, in some texts.
fn sight(secrets: &[(String, &str)], places: &[(String, Vec<u8>)]) -> Option<String> {
    for (secret, rule) in secrets {
        for (name, bytes) in places {
            for part in [secret.as_bytes(), middle_of(secret)] {
                if let Some(at) = memchr::memmem::find(bytes, part) {
                    let (found, all) = (part.len(), secret.len());
                    return Some(format!(
                        "{found} bytes of a {rule} of {all} lie in {name} at {at}"
                    ));
                }
            }
        }
    }
    None
}

fn hex(text: &str) -> String {
    let digits = text.bytes().flat_map(|byte| [byte >> 4, byte & 0xf]);
    digits
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}

/// Of a token, enough of its middle that chance does not make it; ends can be those of every key. Other texts,
/// and long tokens, have parts that are no secrets, as names of hosts: they are looked for whole.
fn middle_of(secret: &str) -> &[u8] {
    let bytes = secret.as_bytes();
    let of_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-.+/=".contains(byte);
    let middle = bytes.len() / 2;
    let part = bytes.get(middle.saturating_sub(6)..middle + 6);
    part.filter(|_| bytes.len() <= 80 && bytes.iter().all(of_token))
        .unwrap_or(bytes)
}

/// All memory of a process that it can write, by mapping.
fn memory_of(process: u32) -> Result<Vec<(String, Vec<u8>)>> {
    use std::io::{Read as _, Seek as _, SeekFrom};
    let maps = fs::read_to_string(format!("/proc/{process}/maps"))?;
    let mut memory = fs::File::open(format!("/proc/{process}/mem"))?;
    let mut all = Vec::new();
    for line in maps.lines() {
        let range = line.split(' ').next().context("no range")?;
        if !line.contains(" rw") || line.contains("[vvar") {
            continue;
        }
        let (start, end) = range.split_once('-').context("no range")?;
        let (start, end) = (
            u64::from_str_radix(start, 16)?,
            u64::from_str_radix(end, 16)?,
        );
        memory.seek(SeekFrom::Start(start))?;
        let mut part = vec![0; usize::try_from(end - start)?];
        if memory.read_exact(&mut part).is_ok() {
            all.push((format!("memory {line}"), part));
        }
    }
    let bytes: usize = all.iter().map(|(_, part)| part.len()).sum();
    ensure!(bytes > 1 << 20, "only {bytes} bytes of memory");
    Ok(all)
}

fn collect(directory: &Path, places: &mut Vec<(String, Vec<u8>)>, but: &[&Path]) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if but.contains(&path.as_path()) || path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            collect(&path, places, but)?;
        } else if path.is_file() {
            let name = path.as_os_str().as_bytes();
            places.push((String::from_utf8_lossy(name).into_owned(), fs::read(&path)?));
        }
    }
    Ok(())
}

/// A signal that makes other programs leave their memory in a file.
pub(super) fn crash(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let profile = world.profile("empty", "[secrets]\ninterval = \"1s\"\n")?;
    let token = planted("github-pat")?.text;
    let ready = world.path("ready");
    let text = format!(
        "DEPLOY={token} sleep 60 &\nsleep 1.5; : >{}; wait\n",
        ready.display()
    );
    let words = world
        .job()
        .profile(&profile)
        .command([OsString::from("sh"), script(&world, &text)?.into()])
        .command_line()?;
    let crashing = |directory: &Path, command: Vec<OsString>| -> Vec<OsString> {
        let text = format!(
            "ulimit -c unlimited; cd {}; exec \"$@\"",
            directory.display()
        );
        let mut all: Vec<OsString> = ["sh", "-c", &text, "sh"].map(Into::into).to_vec();
        all.extend(command);
        all
    };
    let (ordinary, own) = (world.path("ordinary"), world.path("own"));
    fs::create_dir(&ordinary)?;
    fs::create_dir(&own)?;
    let control = ["sh", "-c", "kill -ABRT $$"].map(OsString::from);
    world
        .job()
        .command(crashing(&ordinary, control.to_vec()))
        .run()?;
    ensure!(
        fs::read_dir(&ordinary)?.count() == 1,
        "core files are made elsewhere, or not at all: this story proves nothing"
    );
    let mut running = world.job().command(crashing(&own, words)).start()?;
    running.until(&ready)?;
    swaps_nothing(running.id())?;
    let id = only_job(&world)?;
    running.signal(Signal::SIGABRT)?;
    running.wait()?.expect_status(134)?;
    ensure!(
        fs::read_dir(&own)?.count() == 0,
        "cordon left a core file: {:?}",
        fs::read_dir(&own)?.flatten().collect::<Vec<_>>()
    );
    let end = world.job().subcommand(&["resume", "--end", &id]);
    end.run()?.expect_status(0)?;
    Ok(())
}

/// Every page of a process that is in memory, and that it could write, is locked there. What it shares with the
/// kernel's maps is the kernel's memory, which is never swapped.
fn swaps_nothing(process: u32) -> Result<()> {
    let text = fs::read_to_string(format!("/proc/{process}/smaps"))?;
    let (mut name, mut rss, mut locked) = ("", 0_u64, 0_u64);
    for line in text.lines() {
        let kilobytes = || -> Result<u64> {
            let number = line.split_ascii_whitespace().nth(1).context("no number")?;
            Ok(number.parse()?)
        };
        let permissions = line.split_ascii_whitespace().nth(1);
        if permissions.is_some_and(|word| word.len() == 4 && word.ends_with(['p', 's'])) {
            name = line;
        } else if line.starts_with("Rss:") {
            rss = kilobytes()?;
        } else if line.starts_with("VmFlags:") && name.contains(" rw-p ") && rss > 0 {
            ensure!(
                line.split_ascii_whitespace().any(|flag| flag == "lo"),
                "{name} can be swapped: {line}"
            );
            locked += rss;
        }
    }
    ensure!(locked > 1024, "only {locked} kB are locked:\n{text}");
    Ok(())
}
