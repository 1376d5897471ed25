//! A container engine of a world: Debian's, unpacked, with its own data, socket, network namespace and
//! cgroups. Its default runtime is cordon's; images are made here.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread::sleep;
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::Signal;

use crate::harness::environment::Environment;
use crate::harness::job::{Job, Running};
use crate::harness::world::World;

/// The image every story runs: busybox.
pub const IMAGE: &str = "story:1";

/// Words of busybox that stories use.
const APPLETS: [&str; 22] = [
    "cat", "cp", "echo", "env", "grep", "hostname", "id", "ip", "ln", "ls", "mknod", "nc", "ps",
    "sh", "sleep", "tail", "tar", "tftp", "timeout", "touch", "true", "wget",
];

/// Hierarchies in which a runtime makes directories, and a world has none.
const OTHER_HIERARCHIES: [&str; 6] = [
    "cpuset",
    "cpuacct",
    "devices",
    "freezer",
    "systemd",
    "perf_event",
];

/// What puts its containers into cgroups.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Driver {
    /// The runtime itself.
    Cgroupfs,
    /// systemd, which there need not be: containers of jobs do without it, no others start.
    Systemd,
}

/// An engine that runs; at the latest it ends with the world's cgroup.
#[derive(Debug)]
pub struct Engine<'w> {
    world: &'w World,
    root: PathBuf,
    directory: PathBuf,
    driver: Driver,
    running: Option<Running<'w>>,
}

impl<'w> Engine<'w> {
    /// Where Debian's engine is unpacked, if it is.
    fn found(environment: &Environment) -> Option<PathBuf> {
        let root = environment.own.parent()?.parent()?.join("tools/engine");
        root.join("usr/sbin/dockerd").is_file().then_some(root)
    }

    /// One whose default runtime is cordon's; `None` where there is no engine.
    pub fn start(world: &'w World, driver: Driver) -> Result<Option<Self>> {
        let runtime = world.environment.cordon.with_file_name("cordon-runtime");
        let passports = world.directory().join("run");
        let settings = serde_json::json!({
            "runtimes": {"cordon": {
                "path": runtime,
                "runtimeArgs": [format!("--cordon-run-dir={}", passports.display())],
            }},
            "default-runtime": "cordon",
        });
        Self::start_with(world, driver, &settings)
    }

    /// One with these settings.
    pub fn start_with(
        world: &'w World,
        driver: Driver,
        settings: &serde_json::Value,
    ) -> Result<Option<Self>> {
        let Some(root) = Self::found(&world.environment) else {
            return Ok(None);
        };
        let directory = world.path("engine");
        fs::create_dir(&directory)?;
        let mut engine = Self {
            world,
            root,
            directory,
            driver,
            running: None,
        };
        engine.make_programs()?;
        fs::write(engine.directory.join("daemon.json"), settings.to_string())?;
        engine.running = Some(
            world
                .job()
                .command(engine.command())
                .patience(600)
                .start()?,
        );
        engine.wait()?;
        engine.make_image()?;
        Ok(Some(engine))
    }

    /// Debian's choice of iptables is a link that installing makes.
    fn make_programs(&self) -> Result<()> {
        let programs = self.directory.join("bin");
        fs::create_dir(&programs)?;
        for name in ["iptables", "ip6tables"] {
            symlink(
                self.root.join("usr/sbin/xtables-legacy-multi"),
                programs.join(name),
            )?;
        }
        Ok(())
    }

    fn command(&self) -> Vec<String> {
        let Self {
            root,
            directory,
            world,
            ..
        } = self;
        let (root, directory) = (root.display(), directory.display());
        let libraries = format!("{root}/usr/lib/x86_64-linux-gnu");
        let group = world.cgroup().host();
        let group = group
            .strip_prefix(&world.environment.cgroup2)
            .unwrap_or(&group);
        let path = std::env::var("PATH").unwrap_or_default();
        let (driver, parent) = match self.driver {
            Driver::Cgroupfs => ("cgroupfs", format!("/{}/docker", group.display())),
            Driver::Systemd => ("systemd", "others.slice".to_owned()),
        };
        [
            "env".to_owned(),
            format!("PATH={directory}/bin:{root}/usr/sbin:{root}/usr/bin:{path}"),
            format!("LD_LIBRARY_PATH={libraries}"),
            format!("XTABLES_LIBDIR={libraries}/xtables"),
            "dockerd".to_owned(),
            format!("--config-file={directory}/daemon.json"),
            format!("--data-root={directory}/data"),
            format!("--exec-root={directory}/exec"),
            format!("--host=unix://{directory}/docker.sock"),
            format!("--pidfile={directory}/pid"),
            format!("--exec-opt=native.cgroupdriver={driver}"),
            format!("--cgroup-parent={parent}"),
        ]
        .into()
    }

    /// What puts its containers into cgroups.
    pub fn driver(&self) -> Driver {
        self.driver
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.join("docker.sock")
    }

    /// The client.
    pub fn client(&self) -> PathBuf {
        self.root.join("usr/bin/docker")
    }

    /// What makes `compose` a command of a script.
    pub fn compose(&self) -> String {
        let root = self.root.display();
        format!(
            "compose() {{ PYTHONDONTWRITEBYTECODE=1 PYTHONPATH={root}/usr/lib/python3/dist-packages \
             /usr/bin/python3 {root}/usr/bin/docker-compose \"$@\"; }}"
        )
    }

    fn wait(&mut self) -> Result<()> {
        let deadline = Instant::now() + self.world.environment.seconds(60);
        while !self.docker(&["version"])?.status.success() {
            if let Some(said) = self
                .running
                .as_mut()
                .map(Running::ended)
                .transpose()?
                .flatten()
            {
                bail!("the engine did not start: {said}");
            }
            ensure!(Instant::now() < deadline, "the engine does not answer");
            sleep(std::time::Duration::from_millis(50));
        }
        Ok(())
    }

    fn make_image(&self) -> Result<()> {
        let files = self.directory.join("image");
        for part in ["bin", "etc", "tmp", "root"] {
            fs::create_dir_all(files.join(part))?;
        }
        fs::copy(self.root.join("bin/busybox"), files.join("bin/busybox"))?;
        for applet in APPLETS {
            symlink("busybox", files.join("bin").join(applet))?;
        }
        fs::write(files.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n")?;
        let archive = self.directory.join("image.tar");
        let packed = Command::new("tar")
            .arg("-C")
            .arg(&files)
            .arg("-cf")
            .arg(&archive)
            .arg(".")
            .status()?;
        ensure!(packed.success(), "tar: {packed}");
        self.done(&["import", &archive.display().to_string(), IMAGE])
            .map(drop)
    }

    /// Asks the engine as its owner does, past cordon.
    pub fn docker(&self, words: &[&str]) -> Result<Output> {
        Command::new(self.client())
            .env("DOCKER_HOST", format!("unix://{}", self.socket().display()))
            .env("DOCKER_BUILDKIT", "0")
            .env("HOME", &self.directory)
            .args(words)
            .output()
            .context("start docker")
    }

    /// The same, which must work; what it says.
    pub fn done(&self, words: &[&str]) -> Result<String> {
        let output = self.docker(words)?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "docker {words:?}: {said}");
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// A shell script as a job with this profile, in a workspace.
    pub fn job(&self, profile: &Path, workspace: &Path, script: &str) -> Result<Job<'w>> {
        let client = self.client();
        let folder = client.parent().context("the client's folder")?;
        let script = format!(
            "PATH={}:$PATH; HOME=/tmp; export HOME\n{script}",
            folder.display()
        );
        Ok(self
            .world
            .job()
            .profile(profile)
            .engine(&self.socket())
            .within(workspace)
            .command(["sh", "-c", &script]))
    }

    /// Ends it, with all its containers.
    pub fn stop(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        let Some(running) = self.running.take() else {
            return Ok(());
        };
        let listed = self.done(&["ps", "--all", "--quiet"]).unwrap_or_default();
        for container in listed.lines() {
            let _gone = self.docker(&["rm", "--force", container]);
        }
        running.signal(Signal::SIGTERM)?;
        running.wait()?;
        Ok(())
    }
}

impl Drop for Engine<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("an engine is left: {error:#}");
        }
        let name = self
            .world
            .cgroup()
            .root()
            .file_name()
            .unwrap_or_default()
            .to_owned();
        for hierarchy in OTHER_HIERARCHIES {
            let directory = Path::new("/sys/fs/cgroup").join(hierarchy).join(&name);
            remove_empty(&directory);
        }
    }
}

fn remove_empty(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            remove_empty(&entry.path());
        }
    }
    let _in_use = fs::remove_dir(directory);
}
