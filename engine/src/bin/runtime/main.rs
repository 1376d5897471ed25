//! `cordon-runtime`: what a container engine starts instead of `runc`.
//!
//! A container of a job is judged and tightened (`cordon_engine::spec`), its mounts are opened without
//! following a link, and it is in its job's cgroup before it runs, or it does not run. Everything else is
//! passed to `runc` as it came.

#![forbid(unsafe_code)]
#![expect(
    clippy::print_stderr,
    reason = "the engine reads why a container did not start"
)]

mod call;
mod files;
mod mounts;

use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use cordon_engine::passport::Passport;
use cordon_engine::spec::{self, Shared};
use serde_json::Value;

use self::call::Call;

/// The runtime behind, as the engine's own search path has it.
const RUNC: &str = "runc";

fn main() -> ExitCode {
    let call = Call::read(std::env::args_os().skip(1));
    match run(&call) {
        Ok(code) => code,
        Err(why) => {
            let message = format!("cordon: this container is not one of a job: {why}");
            files::log(call.log.as_deref(), &message);
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn run(call: &Call) -> Result<ExitCode, String> {
    match call.command.as_str() {
        "create" | "run" => create(call),
        "restore" => {
            let spec = files::json(&call.bundle()?.join("config.json"))?;
            match spec::job_of(spec::cgroups_path(&spec)) {
                Some(_) => {
                    Err("it would go on from a checkpoint, which nobody has judged".to_owned())
                }
                None => pass_on(call),
            }
        }
        "exec" => one_more(call),
        _ => pass_on(call),
    }
}

/// Becomes `runc`.
fn pass_on(call: &Call) -> Result<ExitCode, String> {
    let error = Command::new(RUNC).args(&call.words).exec();
    Err(format!("`{RUNC}` cannot be started: {error}"))
}

fn create(call: &Call) -> Result<ExitCode, String> {
    let bundle = call.bundle()?;
    let config = bundle.join("config.json");
    let mut spec = files::json(&config)?;
    let Some(job) = spec::job_of(spec::cgroups_path(&spec)) else {
        return pass_on(call);
    };
    let passport = passport(call, job)?;
    if call.command != "create" {
        return Err("it would run before it was looked at".to_owned());
    }
    let shared = spec::tighten(&passport, &mut spec)?;
    judge_namespaces(&passport, &shared)?;
    mounts::pin(&shared.mounts, &bundle, &mut spec)?;
    files::replace(&config, &spec)?;
    let status = Command::new(RUNC)
        .args(call.words_for_a_path())
        .status()
        .map_err(|error| format!("`{RUNC}` cannot be started: {error}"))?;
    if !status.success() {
        let code = status.code().or_else(|| status.signal()).unwrap_or(1);
        return Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)));
    }
    // What was made stands still until the engine says `start`.
    let admitted = bound(call, &passport).and_then(|process| admitted(call, &passport, process));
    admitted.inspect_err(|_why| remove(call))?;
    Ok(ExitCode::SUCCESS)
}

/// How long cordon may take to be ready for it.
const PATIENCE: Duration = Duration::from_secs(15);

/// Waits until the job's DNS is served in its network.
fn admitted(call: &Call, passport: &Passport, process: u32) -> Result<(), String> {
    let name = Passport::door_of(&passport.job).unwrap_or_default();
    let path = call.passports().join(name);
    let ask = || -> io::Result<String> {
        let mut door = UnixStream::connect(&path)?;
        door.set_read_timeout(Some(PATIENCE))?;
        door.write_all(process.to_string().as_bytes())?;
        door.shutdown(Shutdown::Write)?;
        let mut answer = String::new();
        door.take(4096).read_to_string(&mut answer)?;
        Ok(answer)
    };
    let asked = ask().map_err(|error| format!("its job's cordon does not answer: {error}"));
    match asked?.as_str() {
        "ok" => Ok(()),
        why => Err(why.to_owned()),
    }
}

/// One more process in a container.
fn one_more(call: &Call) -> Result<ExitCode, String> {
    let state = files::json(&call.state()?)?;
    let place = state
        .pointer("/config/cgroups/path")
        .and_then(Value::as_str);
    let place = place.ok_or("its state does not say in which cgroup it is")?;
    let Some(job) = spec::job_of(place) else {
        return pass_on(call);
    };
    // Its job is over: so is what may be started for it.
    let _passport = passport(call, job)?;
    let path = call
        .process
        .as_deref()
        .ok_or("a process without a file that says what it may do")?;
    let mut process = files::json(path)?;
    let object = process.as_object_mut().ok_or("its process is none")?;
    spec::tighten_process(object)?;
    files::replace(path, &process)?;
    pass_on(call)
}

/// What is known of a job; nothing of it starts otherwise.
fn passport(call: &Call, job: &str) -> Result<Passport, String> {
    let file = Passport::file_of(job).ok_or_else(|| format!("`{job}` is no job"))?;
    let path = call.passports().join(file);
    let read = files::read(&path).map_err(|error| {
        format!(
            "cordon knows no job `{job}` that may have containers ({}: {error})",
            path.display()
        )
    })?;
    serde_json::from_slice(&read).map_err(|error| format!("{} is damaged: {error}", path.display()))
}

/// A namespace that exists must be one of the job's containers'.
fn judge_namespaces(passport: &Passport, shared: &Shared) -> Result<(), String> {
    for path in &shared.namespaces {
        let process = path
            .strip_prefix("/proc/")
            .and_then(|rest| rest.split_once('/'));
        let process = process.and_then(|(process, _)| process.parse::<u32>().ok());
        let process = process.ok_or_else(|| format!("it joins the namespace `{path}`"))?;
        if !is_in(process, &passport.cgroup)? {
            return Err(format!(
                "it joins the namespace `{path}`, which is not the job's"
            ));
        }
    }
    Ok(())
}

/// Whether its first process is where its job is: the whole point of it.
fn bound(call: &Call, passport: &Passport) -> Result<u32, String> {
    let path = call
        .pid_file
        .as_deref()
        .ok_or("nobody would know its process")?;
    let process = String::from_utf8_lossy(&files::read(path).map_err(|error| error.to_string())?)
        .trim()
        .parse()
        .map_err(|_no_number| "its process has no number".to_owned())?;
    if is_in(process, &passport.cgroup)? {
        return Ok(process);
    }
    Err(format!(
        "its process is not in the job's cgroup `{}` of cgroup v2",
        passport.cgroup
    ))
}

/// Whether a process is below a cgroup of the v2 hierarchy.
fn is_in(process: u32, cgroup: &str) -> Result<bool, String> {
    let path = format!("/proc/{process}/cgroup");
    let text = files::read(Path::new(&path)).map_err(|error| format!("{path}: {error}"))?;
    let text = String::from_utf8_lossy(&text);
    let place = text.lines().find_map(|line| line.strip_prefix("0::"));
    let below = place.and_then(|place| place.strip_prefix(cgroup));
    Ok(below.is_some_and(|rest| rest.starts_with('/')))
}

/// Takes back what was made.
fn remove(call: &Call) {
    let mut delete = Command::new(RUNC);
    if let Some(root) = &call.root {
        delete.arg("--root").arg(root);
    }
    let removed = delete
        .args(["delete", "--force"])
        .arg(&call.container)
        .status();
    if !removed.is_ok_and(|status| status.success()) {
        eprintln!("cordon: the container that was made could not be removed; it never ran");
    }
}
