//! A daemon in a world, and runners of a CI system for it: the process tree, environment and hook calls of a real
//! one, played by shells with the names of its programs.

#![expect(
    clippy::indexing_slicing,
    reason = "what is not there is null, or fails the story"
)]

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use cordon::report::Report;
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::client::step::Step;
use crate::harness::job::{Finished, Job, Running};
use crate::harness::world::World;

/// Seconds something of the daemon's may take to be seen.
const PATIENCE: u32 = 20;

/// A daemon.
#[derive(Debug)]
pub struct Service<'w> {
    world: &'w World,
    settings: PathBuf,
    daemon: Option<Running<'w>>,
}

impl<'w> Service<'w> {
    /// Starts one with these tables in its settings, and waits until it is ready.
    pub fn start(world: &'w World, tables: &str) -> Result<Self> {
        Self::start_from(world, world.job().settings(tables).settings_file()?)
    }

    /// Starts one with settings of its own, and waits until it is ready.
    pub fn start_from(world: &'w World, settings: PathBuf) -> Result<Self> {
        let mut service = Self {
            world,
            settings,
            daemon: None,
        };
        service.restart()?;
        Ok(service)
    }

    /// Starts one more, after the first was stopped or killed.
    pub fn restart(&mut self) -> Result<()> {
        let job = self.world.job().settings_from(&self.settings);
        let mut daemon = job.subcommand(&["daemon"]).start()?;
        daemon.until_stderr("ready")?;
        self.daemon = Some(daemon);
        Ok(())
    }

    /// Other tables for its settings, from the next reading on.
    pub fn set(&self, tables: &str) -> Result<()> {
        self.replace(&self.world.job().settings(tables).settings_file()?)
    }

    /// The settings of a file in the place of its own, from the next reading on.
    pub fn replace(&self, settings: &Path) -> Result<()> {
        fs::copy(settings, &self.settings)?;
        Ok(())
    }

    /// One more line in `[host]` of its settings, from the next reading on.
    pub fn allow(&self, line: &str) -> Result<()> {
        let text = fs::read_to_string(&self.settings)?;
        let text = text.replacen("[host]\n", &format!("[host]\n{line}\n"), 1);
        Ok(fs::write(&self.settings, text)?)
    }

    /// The world it is in.
    pub fn world(&self) -> &'w World {
        self.world
    }

    /// The daemon's process.
    pub fn running(&self) -> Result<&Running<'w>> {
        self.daemon.as_ref().context("the daemon was stopped")
    }

    /// Ends it with a signal, and waits until it is gone.
    pub fn end(&mut self, signal: Signal) -> Result<Finished> {
        let daemon = self.daemon.take().context("the daemon was stopped")?;
        daemon.signal(signal)?;
        daemon.wait()
    }

    /// A profile of the host.
    pub fn profile(world: &World, name: &str, body: &str) -> Result<()> {
        let directory = world.directory().join("profiles.d");
        fs::create_dir_all(&directory)?;
        fs::write(
            directory.join(format!("{name}.toml")),
            format!("name = \"{name}\"\n{body}\n"),
        )?;
        Ok(())
    }

    /// Runs a command of cordon's as root of the host.
    pub fn cordon(&self, words: &[&str]) -> Result<Finished> {
        self.world
            .job()
            .settings_from(&self.settings)
            .subcommand(words)
            .run()
    }

    /// A command under a profile of the host, by `cordon run`.
    pub fn command(&self, profile: &str) -> Result<Job<'w>> {
        ensure!(self.daemon.is_some(), "the daemon was stopped");
        let job = self.world.job().settings_from(&self.settings);
        Ok(job.profile(profile))
    }

    /// Makes the unit of a runner, as a service manager does, and waits until the daemon knows it.
    pub fn unit(&self, name: &str) -> Result<Unit<'_, 'w>> {
        let path = self.world.cgroup().root().join("cordon.slice").join(name);
        fs::create_dir(&path).with_context(|| format!("make {}", path.display()))?;
        self.until("the unit is known", || {
            let status = self.ask("/v1/status")?;
            let runners = status["runners"].as_array().cloned().unwrap_or_default();
            let known = |runner: &Value| runner["unit"] == name && runner["state"] != "starting";
            Ok(runners.iter().any(known))
        })?;
        Ok(Unit {
            service: self,
            name: name.to_owned(),
            path,
        })
    }

    /// Where its socket is.
    pub fn socket(&self) -> PathBuf {
        self.world.directory().join("run/cordon.sock")
    }

    /// Asks it, as root of the host.
    pub fn ask(&self, path: &str) -> Result<Value> {
        let output = self.curl(&[path])?;
        let text = String::from_utf8_lossy(&output.stdout);
        serde_json::from_str(&text)
            .with_context(|| format!("{path}: curl ended with {}, `{text}`", output.status))
    }

    /// Asks it by curl, with a path last.
    pub fn curl(&self, words: &[&str]) -> Result<Output> {
        let (path, options) = words.split_last().context("no path")?;
        Command::new("curl")
            .args(["-s", "--max-time", "30", "--unix-socket"])
            .arg(self.socket())
            .args(options)
            .arg(format!("http://cordon{path}"))
            .output()
            .context("run curl")
    }

    /// Waits until something is so.
    pub fn until(&self, what: &str, is: impl Fn() -> Result<bool>) -> Result<()> {
        let deadline = Instant::now() + self.world.environment.seconds(PATIENCE);
        while !is()? {
            ensure!(Instant::now() < deadline, "not in time: {what}");
            sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Waits for the evidence of the only job of a repository, and reads it.
    pub fn evidence_of(&self, repository: &str) -> Result<Evidence> {
        let find = || -> Result<Option<Value>> {
            let jobs = self.ask("/v1/jobs")?;
            let mut jobs = jobs.as_array().cloned().unwrap_or_default().into_iter();
            Ok(jobs.find(|job| {
                job["identity"]["repository"] == repository
                    && (job["state"] == "sealed" || job["state"] == "failed")
            }))
        };
        self.until("its evidence is there", || Ok(find()?.is_some()))?;
        let job = find()?.context("it is gone again")?;
        let path = job["evidence"].as_str().context("it has no evidence")?;
        Evidence::read(Path::new(path))
    }
}

impl Drop for Service<'_> {
    fn drop(&mut self) {
        if let Some(daemon) = self.daemon.take()
            && (daemon.signal(Signal::SIGKILL).is_err() || daemon.wait().is_err())
        {
            eprintln!("a daemon is left");
        }
    }
}

/// Evidence on disk.
#[derive(Debug)]
pub struct Evidence {
    /// Where.
    pub directory: PathBuf,
    /// The egress report.
    pub report: Report,
}

impl Evidence {
    /// Reads it.
    pub fn read(directory: &Path) -> Result<Self> {
        let path = directory.join("egress-report.json");
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        Ok(Self {
            directory: directory.to_owned(),
            report: serde_json::from_str(&text)?,
        })
    }
}

/// The unit of a runner.
#[derive(Debug)]
pub struct Unit<'s, 'w> {
    service: &'s Service<'w>,
    name: String,
    path: PathBuf,
}

impl<'w> Unit<'_, 'w> {
    /// A runner that runs one job: a listener, which starts a worker, which does what is written in `worker`, a
    /// shell script. There `cordon` is the command, `steps` a client that prints its outcomes.
    pub fn runner(&self, repository: &str, steps: &[Step], worker: &str) -> Result<Job<'w>> {
        let world = self.service.world;
        let own = world.environment.own.display().to_string();
        let steps = serde_json::to_string(steps)?;
        let cordon = world.environment.cordon()?.display().to_string();
        let script = world.path("worker.sh");
        fs::write(
            &script,
            format!(
                "export CORDON_CONFIG='{}' GITHUB_ACTIONS=true GITHUB_REPOSITORY='{repository}' \
                 GITHUB_EVENT_NAME=\"${{EVENT:-push}}\" GITHUB_REF=refs/heads/main GITHUB_RUN_ID=7\n\
                 cordon() {{ '{cordon}' \"$@\" >&2; }}\n\
                 steps() {{ '{own}' client '{steps}'; }}\n{worker}\n",
                self.service.settings.display()
            ),
        )?;
        let program = |name: &str| -> Result<PathBuf> {
            let path = world.directory().join(name);
            if !path.exists() {
                fs::copy("/bin/bash", &path)?;
            }
            Ok(path)
        };
        let (listener, worker) = (program("Runner.Listener")?, program("Runner.Worker")?);
        // It waits for its worker as the real one does, and is not replaced by it.
        let listens = format!("'{}' '{}'; exit $?", worker.display(), script.display());
        let job = world.job().in_cgroup(&self.path);
        Ok(job.command([listener.into_os_string(), "-c".into(), listens.into()]))
    }

    /// A program that is the service: what it starts finds the daemon.
    pub fn program<I>(&self, words: I) -> Job<'w>
    where
        I: IntoIterator,
        I::Item: Into<OsString>,
    {
        let job = self.service.world.job().in_cgroup(&self.path);
        job.variable("CORDON_CONFIG", &self.service.settings)
            .command(words)
    }

    /// A client in the unit that is no worker.
    pub fn client(&self, steps: &[Step]) -> Result<Job<'w>> {
        self.service.world.job().in_cgroup(&self.path).steps(steps)
    }

    /// Removes it, as a service manager does when the service has stopped, and reads the runner's evidence.
    pub fn remove(self) -> Result<Evidence> {
        let status = self.service.ask("/v1/status")?;
        ensure!(status["runners"].is_array(), "{status}");
        fs::remove_dir(&self.path).with_context(|| format!("remove {}", self.path.display()))?;
        let state = self.service.world.directory().join("state/evidence");
        let ending = format!("-unit-{}", self.name);
        let find = || -> Result<Option<PathBuf>> {
            let mut found = fs::read_dir(&state)?.flatten().map(|entry| entry.path());
            Ok(found.find(|path| {
                path.to_string_lossy().ends_with(&ending)
                    && path.join("seal.sigstore.json").exists()
            }))
        };
        self.service
            .until("the runner's evidence is there", || Ok(find()?.is_some()))?;
        Evidence::read(&find()?.context("it is gone again")?)
    }
}
