//! Runs a command inside a world, under cordon or without it, and collects what came of it.

use std::ffi::OsString;
use std::fs::{self, File};
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use cordon::report::Report;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::client::step::{Outcome, Step};
use crate::harness::namespace::Namespace;
use crate::harness::network::DNS_V4;
use crate::harness::world::World;

/// No story's command takes longer on a machine of today.
const PATIENCE_SECONDS: u32 = 60;

/// A command to be run.
#[derive(Debug)]
pub struct Job<'w> {
    world: &'w World,
    profiles: Vec<OsString>,
    /// Arguments of `cordon run` besides profiles and evidence; `None`: without cordon.
    cordon: Option<Vec<OsString>>,
    command: Vec<OsString>,
    /// Another of cordon's commands instead of `run`.
    subcommand: Option<Vec<OsString>>,
    upstream: IpAddr,
    config: String,
    dns: String,
    tables: String,
    settings: Option<PathBuf>,
    directory: Option<PathBuf>,
    cgroups: Vec<PathBuf>,
    evidence: Option<PathBuf>,
    machine: &'w Namespace,
    shown: bool,
    without_bpf: bool,
    without_clone3: bool,
    input: Option<OwnedFd>,
    user: Option<u32>,
    home: Option<PathBuf>,
    variables: Vec<(String, OsString)>,
    patience: u32,
}

impl<'w> Job<'w> {
    pub(super) fn new(world: &'w World) -> Self {
        Self {
            world,
            profiles: Vec::new(),
            cordon: None,
            command: Vec::new(),
            subcommand: None,
            upstream: DNS_V4.into(),
            config: String::new(),
            dns: String::new(),
            tables: String::new(),
            settings: None,
            directory: None,
            cgroups: vec![world.cgroup().host()],
            evidence: None,
            machine: &world.network.job,
            shown: false,
            without_bpf: false,
            without_clone3: false,
            input: None,
            user: None,
            home: None,
            variables: Vec::new(),
            patience: PATIENCE_SECONDS,
        }
    }

    /// Runs it under cordon, with one more profile.
    #[must_use]
    pub fn profile(mut self, profile: impl Into<OsString>) -> Self {
        self.profiles.push(profile.into());
        self.under_cordon(&[])
    }

    /// Runs it under cordon, with these arguments of `run`.
    #[must_use]
    pub fn under_cordon(mut self, arguments: &[&str]) -> Self {
        let list = self.cordon.get_or_insert_default();
        list.extend(arguments.iter().map(Into::into));
        self
    }

    /// Runs another of cordon's commands, such as `resume`, in the job's place.
    #[must_use]
    pub fn subcommand(mut self, words: &[&str]) -> Self {
        self.subcommand = Some(words.iter().map(Into::into).collect());
        self.under_cordon(&[])
    }

    /// One more variable in the environment.
    #[must_use]
    pub fn variable(mut self, key: &str, value: impl Into<OsString>) -> Self {
        self.variables.push((key.to_owned(), value.into()));
        self
    }

    /// Another resolver for cordon to ask.
    #[must_use]
    pub fn upstream(mut self, address: impl Into<IpAddr>) -> Self {
        self.upstream = address.into();
        self
    }

    /// Lets pass and records.
    #[must_use]
    pub fn audited(self) -> Self {
        self.under_cordon(&["--audit"])
    }

    /// Another value for one of cordon's `[host]` settings.
    #[must_use]
    pub fn host_setting(mut self, key: &str, value: &str) -> Self {
        self.config += &format!("{key} = \"{value}\"\n");
        self
    }

    /// One more of cordon's `[host]` settings that is a number.
    #[must_use]
    pub fn host_number(mut self, key: &str, value: u32) -> Self {
        self.config += &format!("{key} = {value}\n");
        self
    }

    /// One more of cordon's `[dns]` settings, in TOML.
    #[must_use]
    pub fn dns_setting(mut self, line: &str) -> Self {
        self.dns += line;
        self.dns.push('\n');
        self
    }

    /// The container engine of the host, which cordon mediates.
    #[must_use]
    pub fn engine(mut self, socket: &Path) -> Self {
        let mediator = self
            .world
            .environment
            .cordon
            .with_file_name("cordon-engine");
        self.tables += &format!(
            "[containers]\nsocket = \"{}\"\nmediator = \"{}\"\n",
            socket.display(),
            mediator.display(),
        );
        self
    }

    /// The directory it starts in.
    #[must_use]
    pub fn within(mut self, directory: &Path) -> Self {
        self.directory = Some(directory.to_owned());
        self
    }

    /// More of cordon's settings, in TOML: whole tables.
    #[must_use]
    pub fn settings(mut self, tables: &str) -> Self {
        self.tables += tables;
        self
    }

    /// Writes cordon's settings, and returns where.
    pub fn settings_file(&self) -> Result<PathBuf> {
        self.configuration()
    }

    /// Cordon's settings, instead of new ones.
    #[must_use]
    pub fn settings_from(mut self, file: &Path) -> Self {
        self.settings = Some(file.to_owned());
        self
    }

    /// One more cgroup to start in.
    #[must_use]
    pub fn in_cgroup(mut self, directory: &Path) -> Self {
        self.cgroups.push(directory.to_owned());
        self
    }

    /// Where evidence goes, instead of a new directory.
    #[must_use]
    pub fn evidence(mut self, directory: &Path) -> Self {
        self.evidence = Some(directory.to_owned());
        self
    }

    /// Runs it on another machine of the world.
    #[must_use]
    pub fn on(mut self, machine: &'w Namespace) -> Self {
        self.machine = machine;
        self
    }

    /// Shows what it says, as it says it, instead of keeping it.
    #[must_use]
    pub fn shown(mut self) -> Self {
        self.shown = true;
        self
    }

    /// Starts cordon without the capabilities BPF needs.
    #[must_use]
    pub fn without_bpf(mut self) -> Self {
        self.without_bpf = true;
        self
    }

    /// Starts cordon where `clone3` is answered as by a kernel that does not know it.
    #[must_use]
    pub fn without_clone3(mut self) -> Self {
        self.without_clone3 = true;
        self
    }

    /// Gives it this as standard input.
    #[must_use]
    pub fn input(mut self, input: impl Into<OwnedFd>) -> Self {
        self.input = Some(input.into());
        self
    }

    /// Runs the command as another user: under cordon by its own option.
    #[must_use]
    pub fn user(mut self, user: u32) -> Self {
        if self.cordon.is_some() {
            return self.under_cordon(&["--user", &user.to_string()]);
        }
        self.user = Some(user);
        self
    }

    /// `HOME` of the command, and of cordon in front of it.
    #[must_use]
    pub fn home(mut self, home: impl Into<PathBuf>) -> Self {
        self.home = Some(home.into());
        self
    }

    /// Gives it this many seconds (on a machine of today) instead of the usual ones.
    #[must_use]
    pub fn patience(mut self, seconds: u32) -> Self {
        self.patience = seconds;
        self
    }

    /// The command is a client that does these steps.
    pub fn steps(self, steps: &[Step]) -> Result<Self> {
        let own = self.world.environment.own.clone();
        let steps = serde_json::to_string(steps)?;
        Ok(self.command([own.into_os_string(), "client".into(), steps.into()]))
    }

    /// The command.
    #[must_use]
    pub fn command<I>(mut self, words: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<OsString>,
    {
        self.command = words.into_iter().map(Into::into).collect();
        self
    }

    /// Runs it to its end.
    pub fn run(self) -> Result<Finished> {
        self.start()?.wait()
    }

    /// Starts it.
    pub fn start(mut self) -> Result<Running<'w>> {
        let world = self.world;
        let evidence = self
            .evidence
            .clone()
            .unwrap_or_else(|| world.path("evidence"));
        let (stdout, stderr) = (world.path("stdout"), world.path("stderr"));
        let words = self.words(&evidence)?;
        let mut command = self.entering();
        let child = command
            .args(words)
            .stdin(self.input.take().map_or_else(Stdio::null, Stdio::from))
            .stdout(stream(&stdout, self.shown)?)
            .stderr(stream(&stderr, self.shown)?)
            .spawn()
            .context("start a process")?;
        Ok(Running {
            world,
            child,
            started: Instant::now(),
            patience: self.patience,
            stdout,
            stderr,
            evidence,
        })
    }

    /// What would be run, with cordon in front, for a shell or a terminal to run.
    pub fn command_line(&self) -> Result<Vec<OsString>> {
        self.words(&self.world.path("evidence"))
    }

    /// The part in front: takes the process to its place.
    fn entering(&self) -> Command {
        let world = self.world;
        let mut command = Command::new(&world.environment.own);
        command.arg("enter");
        command.arg("--network").arg(self.machine.path());
        command.arg("--mount").arg(world.mounts().path());
        for directory in &self.cgroups {
            command.arg("--cgroup").arg(directory);
        }
        if self.without_bpf {
            command.args(["--without", "CAP_BPF", "--without", "CAP_SYS_ADMIN"]);
        }
        if self.without_clone3 {
            command.arg("--without-clone3");
        }
        if let Some(directory) = &self.directory {
            command.arg("--directory").arg(directory);
        }
        if let Some(user) = self.user {
            command.arg("--user").arg(user.to_string());
        }
        command.envs(self.home.iter().map(|home| ("HOME", home)));
        command.envs(self.variables.iter().map(|(key, value)| (key, value)));
        command.arg("--");
        command
    }

    fn words(&self, evidence: &Path) -> Result<Vec<OsString>> {
        let Some(arguments) = &self.cordon else {
            return Ok(self.command.clone());
        };
        let cordon = self.world.environment.cordon()?;
        let config = self.configuration()?;
        let mut words: Vec<OsString> = vec![cordon.into(), "--config".into(), config.into()];
        if let Some(subcommand) = &self.subcommand {
            words.extend(subcommand.iter().cloned());
            return Ok(words);
        }
        words.extend(["run".into(), "--evidence".into(), evidence.into()]);
        for profile in &self.profiles {
            words.extend(["--profile".into(), profile.clone()]);
        }
        words.extend(arguments.iter().cloned());
        words.push("--".into());
        words.extend(self.command.iter().cloned());
        Ok(words)
    }

    /// Writes cordon's settings.
    fn configuration(&self) -> Result<PathBuf> {
        if let Some(settings) = &self.settings {
            return Ok(settings.clone());
        }
        let world = self.world;
        let (directory, key) = (world.directory(), world.key()?);
        let mut host = format!(
            "run_dir = \"{0}/run\"\n\
             state_dir = \"{0}/state\"\n\
             profiles_dir = \"{0}/profiles.d\"\n",
            directory.display(),
        );
        if !self.config.contains("signing_key") {
            host += &format!("signing_key = \"{}\"\n", key.display());
        }
        for (setting, value) in [
            ("cgroup_root", world.cgroup().root()),
            ("bpffs", world.bpffs().as_path()),
        ] {
            if !self.config.contains(setting) {
                host += &format!("{setting} = \"{}\"\n", value.display());
            }
        }
        let path = world.path("cordon.toml");
        let text = format!(
            "[host]\n{host}{}\n[dns]\nupstream = [\"{}\"]\nttl_floor = 1\n{}\n{}",
            self.config, self.upstream, self.dns, self.tables,
        );
        fs::write(&path, text)?;
        Ok(path)
    }
}

fn stream(file: &Path, shown: bool) -> Result<Stdio> {
    let file = File::create(file)?;
    Ok(if shown { Stdio::inherit() } else { file.into() })
}

/// A command that runs.
#[derive(Debug)]
pub struct Running<'w> {
    world: &'w World,
    child: Child,
    started: Instant,
    patience: u32,
    stdout: PathBuf,
    stderr: PathBuf,
    evidence: PathBuf,
}

impl Running<'_> {
    /// Sends a signal to the process that was started (cordon, if it runs under cordon).
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let process = Pid::from_raw(i32::try_from(self.child.id())?);
        kill(process, signal).with_context(|| format!("send {signal}"))
    }

    /// The number of the process that was started; it stays when the process becomes another program.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until a file is there; fails if the process ends before.
    pub fn until(&mut self, path: &Path) -> Result<()> {
        self.until_that(&path.display().to_string(), |_stderr| path.exists())
    }

    /// Waits until it has said this on stderr; fails if the process ends before.
    pub fn until_stderr(&mut self, words: &str) -> Result<()> {
        self.until_that(words, |stderr| stderr.contains(words))
    }

    fn until_that(&mut self, what: &str, is: impl Fn(&str) -> bool) -> Result<()> {
        let deadline = Instant::now() + self.world.environment.seconds(self.patience);
        loop {
            let stderr = fs::read_to_string(&self.stderr)?;
            if is(&stderr) {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("ended with {status} before `{what}` was there:\n{stderr}");
            }
            ensure!(
                Instant::now() < deadline,
                "`{what}` did not appear:\n{stderr}"
            );
            sleep(Duration::from_millis(5));
        }
    }

    /// What it said, if it has ended already.
    pub fn ended(&mut self) -> Result<Option<String>> {
        let ended = self.child.try_wait()?.is_some();
        Ok(ended
            .then(|| fs::read_to_string(&self.stderr))
            .transpose()?)
    }

    /// Where its evidence will be.
    pub fn evidence(&self) -> &Path {
        &self.evidence
    }

    /// Waits for the end.
    pub fn wait(mut self) -> Result<Finished> {
        // From now on: until here, the story did other things with it.
        let deadline = Instant::now() + self.world.environment.seconds(self.patience);
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            if Instant::now() > deadline {
                self.child.kill()?;
                self.child.wait()?;
                let stderr = fs::read_to_string(&self.stderr).unwrap_or_default();
                bail!("did not end in time; killed. It had said:\n{stderr}");
            }
            sleep(Duration::from_millis(2));
        };
        Ok(Finished {
            status: code(status),
            elapsed: self.started.elapsed(),
            stdout: fs::read_to_string(&self.stdout)?,
            stderr: fs::read_to_string(&self.stderr)?,
            evidence: self.evidence,
        })
    }
}

/// A command that ended.
#[derive(Debug)]
pub struct Finished {
    /// As a shell shows it: 128 and the number of a signal.
    pub status: i32,
    /// From start to end.
    pub elapsed: Duration,
    /// What it said.
    pub stdout: String,
    /// What it said about itself.
    pub stderr: String,
    /// Where its evidence is, if cordon wrote any.
    pub evidence: PathBuf,
}

impl Finished {
    /// What became of the client's steps, in their order.
    pub fn outcomes(&self) -> Result<Vec<Outcome>> {
        self.stdout
            .lines()
            .map(|line| serde_json::from_str(line).with_context(|| format!("outcome `{line}`")))
            .collect()
    }

    /// The outcomes of a client that had this many steps, as an array.
    pub fn steps<const N: usize>(&self) -> Result<[Outcome; N]> {
        <[Outcome; N]>::try_from(self.outcomes()?).map_err(|outcomes| {
            anyhow::anyhow!(
                "{} outcomes instead of {N}; status {}, stderr:\n{}",
                outcomes.len(),
                self.status,
                self.stderr,
            )
        })
    }

    /// The egress report.
    pub fn report(&self) -> Result<Report> {
        serde_json::from_str(&self.report_text()?).context("egress-report.json is not a report")
    }

    /// The egress report as it was written.
    pub fn report_text(&self) -> Result<String> {
        let path = self.evidence.join("egress-report.json");
        fs::read_to_string(&path).with_context(|| {
            format!(
                "read {}; cordon ended with {}:\n{}",
                path.display(),
                self.status,
                self.stderr
            )
        })
    }

    /// Fails unless it ended with this status.
    pub fn expect_status(self, status: i32) -> Result<Self> {
        ensure!(
            self.status == status,
            "status {} instead of {status}; stderr:\n{}\nstdout:\n{}",
            self.status,
            self.stderr,
            self.stdout,
        );
        Ok(self)
    }
}

fn code(status: ExitStatus) -> i32 {
    status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .unwrap_or(-1)
}
