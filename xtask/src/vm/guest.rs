//! Boots a guest, shows its console, and takes one verdict from it.
//!
//! **Invariant**: a guest without a verdict, or with two, has failed; so has one that ran no story.

use std::io::{BufRead as _, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::kernel::Kernel;
use super::matrix::Told;
use crate::escape::Results;
use crate::test::{Tally, parse_result};

/// The line by which `init.sh` tells how the stories ended.
const VERDICT: &str = "guest: exit ";
/// How the kernel says that it is over.
const CRASHES: [&str; 3] = [
    "Kernel panic - not syncing",
    "double fault",
    "BUG: unable to handle",
];

/// What the console said.
#[derive(Debug, Default)]
struct Console {
    verdicts: Vec<String>,
    crash: Option<String>,
    tally: Tally,
    results: Results,
}

/// A guest to boot.
#[derive(Debug)]
pub(super) struct Guest {
    /// How its lines are marked.
    pub(super) name: String,
    /// Its file system.
    pub(super) initramfs: PathBuf,
    /// MiB of its memory.
    pub(super) memory: u32,
    /// How many stories it is to count, where that is known.
    pub(super) stories: Option<usize>,
    /// Whether what the escape suite finds in it is kept.
    pub(super) keeps: bool,
}

impl Guest {
    /// Runs the stories of the guest.
    ///
    /// QEMU 7.2 emulates a crash of its own making now and then (a double fault where the memory is
    /// sound; seen with 6.12 guests), so a guest that crashes before its verdict is started once
    /// more, and says so.
    pub(super) fn run(&self, kernel: &Kernel, timeout: Duration, told: &mut Told) -> Result<Tally> {
        let mut console = self.boot(kernel, timeout, told)?;
        if let (Some(crash), true) = (&console.crash, console.verdicts.is_empty()) {
            eprintln!(
                "guest {} crashed ({crash}); once more, since the emulator is known for it",
                self.name
            );
            console = self.boot(kernel, timeout, told)?;
        }
        if self.keeps {
            let file = console.results.keep(&kernel.version)?;
            eprintln!("results are in {}", file.display());
        }
        let tally = judge(console)?;
        let counted = tally.passed.saturating_add(tally.ignored);
        match self.stories {
            Some(stories) if u64::try_from(stories).ok() != Some(counted) => {
                bail!("{counted} stories were counted, {stories} were to be run")
            }
            _ => Ok(tally),
        }
    }

    fn boot(&self, kernel: &Kernel, timeout: Duration, told: &mut Told) -> Result<Console> {
        let mut qemu = self.emulator(kernel).spawn().context("cannot start QEMU")?;
        let console = qemu.stdout.take().context("QEMU has no console")?;
        let watched = self.watch(&lines(console), timeout, told);
        // After the last line it ends by itself; after a timeout it does not.
        if watched.is_err() {
            stop(&mut qemu)?;
        }
        qemu.wait().context("cannot wait for QEMU")?;
        watched
    }

    fn emulator(&self, kernel: &Kernel) -> Command {
        let mut qemu = Command::new("qemu-system-x86_64");
        qemu.args(["-machine", "q35,accel=tcg", "-m"])
            .arg(self.memory.to_string())
            // More processors, a richer one, or mitigations crash the emulator of Debian 12.
            .args(["-cpu", "Haswell-noTSX", "-smp", "1"])
            .args(["-display", "none", "-monitor", "none", "-serial", "stdio"])
            .args(["-nic", "none", "-no-reboot", "-kernel"])
            .arg(&kernel.image)
            .arg("-initrd")
            .arg(&self.initramfs)
            .args([
                "-append",
                "console=ttyS0 quiet panic=-1 lsm=lockdown,yama,bpf mitigations=off",
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        qemu
    }

    /// What was told is kept also where the guest does not come to its end.
    fn watch(
        &self,
        lines: &Receiver<String>,
        timeout: Duration,
        told: &mut Told,
    ) -> Result<Console> {
        let start = Instant::now();
        let mut console = Console::default();
        loop {
            let left = timeout.saturating_sub(start.elapsed());
            match lines.recv_timeout(left) {
                Ok(line) => {
                    if !console.results.take(&line) {
                        println!("{} | {line}", self.name);
                        console.read(&line);
                        told.read(&line);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return Ok(console),
                Err(RecvTimeoutError::Timeout) => {
                    bail!("it took longer than {} s", timeout.as_secs())
                }
            }
        }
    }
}

fn judge(console: Console) -> Result<Tally> {
    let Console {
        verdicts,
        crash,
        tally,
        results: _,
    } = console;
    if let Some(crash) = crash {
        bail!("the guest's kernel crashed: {crash}");
    }
    match verdicts.as_slice() {
        [] => bail!("the guest ended without a verdict"),
        [verdict] if verdict == "0" && tally.passed == 0 => bail!("the guest ran no story"),
        [verdict] if verdict == "0" => Ok(tally),
        [verdict] => bail!("the stories ended with {verdict}"),
        [_, _, ..] => bail!("the guest gave {} verdicts: {verdicts:?}", verdicts.len()),
    }
}

fn stop(qemu: &mut Child) -> Result<()> {
    qemu.kill().context("cannot end QEMU")
}

/// Reads lines in a thread, so that a silent guest can be given up on.
fn lines(console: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(console).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).replace('\r', "");
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}

impl Console {
    fn read(&mut self, line: &str) {
        if let Some(status) = line.strip_prefix(VERDICT) {
            self.verdicts.push(status.to_owned());
        }
        if self.crash.is_none() && CRASHES.iter().any(|crash| line.contains(crash)) {
            self.crash = Some(line.trim().to_owned());
        }
        if let Some(result) = parse_result(line) {
            self.tally.add(result);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(lines: &[&str]) -> Result<Tally> {
        let mut console = Console::default();
        for line in lines {
            console.read(line);
        }
        judge(console)
    }

    const RESULT: &str = "test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured";

    #[test]
    fn one_good_verdict_after_stories_is_success() {
        assert_eq!(judged(&[RESULT, "guest: exit 0"]).unwrap().passed, 2);
    }

    #[test]
    fn no_verdict_or_two_or_a_bad_one_or_no_story_or_a_crash_is_failure() {
        for lines in [
            &[RESULT][..],
            &[RESULT, "guest: exit 0", "guest: exit 0"],
            &[RESULT, "guest: exit 101"],
            &["guest: exit 0"],
            &[
                RESULT,
                "guest: exit 0",
                "[ 1.0] Kernel panic - not syncing: x",
            ],
        ] {
            judged(lines).unwrap_err();
        }
    }
}
