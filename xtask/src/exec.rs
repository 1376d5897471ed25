//! Runs programs, so that a person sees what is going on and errors say what was run.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::workspace;

/// How often a silent step says that it is still there.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);
/// Lines of a silent step's output that its error shows.
const TAIL: usize = 40;

/// Announces a step, does it, and says how long it took.
pub(crate) fn step<T>(title: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    eprintln!("==> {title}");
    let start = Instant::now();
    let outcome = work();
    let seconds = start.elapsed().as_secs_f64();
    match &outcome {
        Ok(_) => eprintln!("    done in {seconds:.1} s: {title}"),
        Err(_) => eprintln!("    FAILED after {seconds:.1} s: {title}"),
    }
    outcome
}

/// Runs a program that talks to the terminal itself.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| cannot_start(command))?;
    check(command, status)
}

/// Runs a talkative program with its output in a log, which is shown only when it fails.
pub(crate) fn run_quietly(command: &mut Command, log: &str) -> Result<()> {
    let path = workspace::target()?
        .join("xtask")
        .join(log)
        .with_extension("log");
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot make `{}`", folder.display()))?;
    }
    let file = File::create(&path).with_context(|| format!("cannot make `{}`", path.display()))?;
    let child = command
        .stdin(Stdio::null())
        .stdout(file.try_clone().context("cannot share the log")?)
        .stderr(file)
        .spawn()
        .with_context(|| cannot_start(command))?;
    let status = wait_with_signs_of_life(child)?;
    check(command, status).with_context(|| {
        let text = fs::read_to_string(&path).unwrap_or_default();
        let from = text.lines().count().saturating_sub(TAIL);
        let tail: Vec<&str> = text.lines().skip(from).collect();
        format!("{}\n(all of it: {})", tail.join("\n"), path.display())
    })
}

fn wait_with_signs_of_life(mut child: Child) -> Result<ExitStatus> {
    let start = Instant::now();
    let mut next = SIGN_OF_LIFE;
    loop {
        if let Some(status) = child.try_wait().context("cannot wait for a program")? {
            return Ok(status);
        }
        if start.elapsed() >= next {
            eprintln!("    … {} s", next.as_secs());
            next = next.saturating_add(SIGN_OF_LIFE);
        }
        sleep(Duration::from_millis(50));
    }
}

/// Runs a program for its standard output.
pub(crate) fn capture(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| cannot_start(command))?;
    check(command, output.status)
        .with_context(|| String::from_utf8_lossy(&output.stderr).trim().to_owned())?;
    String::from_utf8(output.stdout)
        .with_context(|| format!("{} printed bytes that are no text", words(command)))
}

/// Becomes the program: its signals, its terminal and its exit status are the caller's.
pub(crate) fn become_program(command: &mut Command) -> Result<()> {
    let error = command.exec();
    Err(error).with_context(|| cannot_start(command))
}

/// `cargo`, the one that runs this.
pub(crate) fn cargo() -> Result<Command> {
    let mut cargo = Command::new(
        std::env::var_os("CARGO").unwrap_or_else(|| std::ffi::OsString::from("cargo")),
    );
    cargo.current_dir(workspace::root()?);
    Ok(cargo)
}

fn check(command: &Command, status: ExitStatus) -> Result<()> {
    if !status.success() {
        bail!("{} ended with {status}", words(command));
    }
    Ok(())
}

fn cannot_start(command: &Command) -> String {
    format!("cannot start {}", words(command))
}

fn words(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    format!("`{line}`")
}
