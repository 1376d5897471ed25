//! One story's world: machines, servers, a cgroup subtree, a bpffs, and a place for files.

use std::ffi::OsStr;
use std::fs;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result, ensure};
use nix::mount::{MsFlags, mount};

use crate::client::step::Step;
use crate::harness::capture::{Capture, Frame};
use crate::harness::cgroup::Tree;
use crate::harness::encrypted::{Certificate, Protocol};
use crate::harness::environment::Environment;
use crate::harness::http3::{Files, Http3};
use crate::harness::job::Job;
use crate::harness::leftovers;
use crate::harness::namespace::Namespace;
use crate::harness::network::{
    DNS_V4, DNS_V6, EVIL_MAC, EVIL_V4, EVIL_V6, GOOD_V4, GOOD_V6, Network, OTHER_V4, OTHER_V6,
    PORTS, at,
};
use crate::harness::receiver::{Receiver, reset_connections};
use crate::harness::servers::Servers;
use crate::harness::zone::Zone;

/// TTL of the names every world has: longer than any story.
const TTL: u32 = 300;

/// Everything one story uses. Dropping it removes all of it.
#[derive(Debug)]
pub struct World {
    // In this order: processes end first, files go last.
    cgroup: Tree,
    servers: Servers,
    capture: Capture,
    /// What runs where.
    pub network: Network,
    mounts: Namespace,
    /// Names.
    pub zone: Zone,
    /// Listeners of the allowed machine.
    pub good: Receiver,
    /// Listeners of the attacker.
    pub evil: Receiver,
    scratch: Scratch,
    /// The machine.
    pub environment: Environment,
    numbers: AtomicU32,
}

/// A directory of its own.
#[derive(Debug)]
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("directory {} is left: {error}", self.0.display());
        }
    }
}

static WORLDS: AtomicU32 = AtomicU32::new(0);

impl World {
    /// A world with its usual names and receivers.
    pub fn new(environment: &Environment) -> Result<Self> {
        let world = Self::without_servers(environment)?;
        for port in PORTS {
            world.listen_good(port)?;
        }
        Ok(world)
    }

    /// A world in which nobody listens on the allowed machine yet.
    pub fn without_servers(environment: &Environment) -> Result<Self> {
        let name = leftovers::name(WORLDS.fetch_add(1, Ordering::Relaxed));
        let directory = std::env::temp_dir().join(&name);
        fs::create_dir(&directory).context("create a directory")?;
        let scratch = Scratch(directory);
        let mounts = Namespace::mount(|| private_mounts(&scratch.0, environment.slowness))?;
        let network = Network::new()?;
        let world = Self {
            cgroup: Tree::new(&environment.cgroup2, &name)?,
            servers: Servers::start()?,
            capture: Capture::start(&network.evil, EVIL_MAC)?,
            network,
            mounts,
            zone: Zone::default(),
            good: Receiver::default(),
            evil: Receiver::default(),
            scratch,
            environment: environment.clone(),
            numbers: AtomicU32::new(0),
        };
        world.populate()?;
        Ok(world)
    }

    fn populate(&self) -> Result<()> {
        for port in PORTS {
            self.listen_evil(port)?;
        }
        self.listen_evil(53)?;
        for (name, v4, v6) in [
            ("good.test", GOOD_V4, GOOD_V6),
            ("api.good.test", GOOD_V4, GOOD_V6),
            ("deep.api.good.test", GOOD_V4, GOOD_V6),
            ("other.test", OTHER_V4, OTHER_V6),
            ("evil.test", EVIL_V4, EVIL_V6),
        ] {
            self.zone.add(name, v4, TTL);
            self.zone.add(name, v6, TTL);
        }
        let addresses = [at(DNS_V4, 53), at(DNS_V6, 53)];
        self.zone
            .serve(&self.servers, &self.network.dns, &addresses)
    }

    /// Serves names on one more port of the resolver.
    pub fn serve_names(&self, zone: &Zone, port: u16) -> Result<()> {
        let addresses = [at(DNS_V4, port), at(DNS_V6, port)];
        zone.serve(&self.servers, &self.network.dns, &addresses)
    }

    /// Serves the world's names encrypted, with this certificate.
    pub fn serve_encrypted(
        &self,
        certificate: &Certificate,
        protocol: Protocol,
        port: u16,
    ) -> Result<()> {
        let addresses = [at(DNS_V4, port), at(DNS_V6, port)];
        let dns = &self.network.dns;
        certificate.serve(&self.zone, protocol, &self.servers, dns, &addresses)
    }

    /// Serves files over HTTP/3 at the allowed host's addresses.
    pub fn serve_http3(&self, files: &Files<'_>) -> Result<Http3> {
        let addresses = [at(GOOD_V4, 443), at(GOOD_V6, 443)];
        Http3::serve(files, &self.servers, &self.network.good, &addresses)
    }

    /// Listens on one more port of all the allowed machine's addresses.
    pub fn listen_good(&self, port: u16) -> Result<()> {
        let addresses = [
            at(GOOD_V4, port),
            at(GOOD_V6, port),
            at(OTHER_V4, port),
            at(OTHER_V6, port),
        ];
        self.good
            .listen(&self.servers, &self.network.good, &addresses)
    }

    /// Listens on one more port of the attacker's addresses.
    pub fn listen_evil(&self, port: u16) -> Result<()> {
        let addresses = [at(EVIL_V4, port), at(EVIL_V6, port)];
        self.evil
            .listen(&self.servers, &self.network.evil, &addresses)
    }

    /// Listens on one more port of every address of the attacker.
    pub fn listen_everywhere_evil(&self, port: u16) -> Result<()> {
        let addresses = [at(Ipv6Addr::UNSPECIFIED, port)];
        self.evil
            .listen(&self.servers, &self.network.evil, &addresses)
    }

    /// Answers questions for the world's names at one more address of a machine.
    pub fn resolve_at(&self, machine: &Namespace, address: SocketAddr) -> Result<()> {
        self.zone.serve(&self.servers, machine, &[address])
    }

    /// Starts a receiver that runs outside every job, on the job's own machine.
    pub fn listen_beside_job(&self, addresses: &[SocketAddr]) -> Result<Receiver> {
        let receiver = Receiver::default();
        receiver.listen(&self.servers, &self.network.job, addresses)?;
        Ok(receiver)
    }

    /// Serves names in a namespace that is none of the world's machines.
    pub fn serve_names_in(
        &self,
        zone: &Zone,
        namespace: &Namespace,
        addresses: &[SocketAddr],
    ) -> Result<()> {
        zone.serve(&self.servers, namespace, addresses)
    }

    /// Starts a listener on the job's own machine that resets every connection.
    pub fn reset_beside_job(&self, address: SocketAddr) -> Result<()> {
        self.reset_at(&self.network.job, address)
    }

    /// A path for a new file.
    pub fn path(&self, name: &str) -> PathBuf {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        self.scratch.0.join(format!("{number}-{name}"))
    }

    /// Starts a listener of a machine that resets every connection.
    pub fn reset_at(&self, machine: &Namespace, address: SocketAddr) -> Result<()> {
        reset_connections(&self.servers, machine, address)
    }

    /// The world's directory.
    pub fn directory(&self) -> &Path {
        &self.scratch.0
    }

    /// The cgroup subtree.
    pub fn cgroup(&self) -> &Tree {
        &self.cgroup
    }

    /// The mount namespace, with the world's bpffs and `resolv.conf`.
    pub fn mounts(&self) -> &Namespace {
        &self.mounts
    }

    /// Where the world's bpffs is, inside its mount namespace.
    pub fn bpffs(&self) -> PathBuf {
        self.scratch.0.join("bpf")
    }

    /// A command, by default without cordon.
    pub fn job(&self) -> Job<'_> {
        Job::new(self)
    }

    /// A client that does these steps, without cordon: the control of a story.
    pub fn free(&self, steps: &[Step]) -> Result<Job<'_>> {
        self.job().steps(steps)
    }

    /// A client that does these steps under a profile.
    pub fn enforced(&self, profile: &Path, steps: &[Step]) -> Result<Job<'_>> {
        self.job().profile(profile).steps(steps)
    }

    /// Runs another of cordon's commands, such as `report show`, on this machine.
    pub fn cordon<I>(&self, words: I) -> Result<Output>
    where
        I: IntoIterator,
        I::Item: AsRef<OsStr>,
    {
        let cordon = self.environment.cordon()?;
        Command::new(cordon)
            .args(words)
            .output()
            .context("run cordon")
    }

    /// Path of the key that signs this world's evidence; made when it is asked for first.
    pub fn key(&self) -> Result<PathBuf> {
        let path = self.scratch.0.join("report.pem");
        if !path.exists() {
            let words = [
                OsStr::new("key"),
                OsStr::new("generate"),
                OsStr::new("--out"),
            ];
            let output = self.cordon(words.into_iter().chain([path.as_os_str()]))?;
            ensure!(
                output.status.success(),
                "cordon key generate: {}: {}",
                output.status,
                String::from_utf8_lossy(&output.stderr),
            );
        }
        Ok(path)
    }

    /// Path of the public half of [`World::key`].
    pub fn public_key(&self) -> Result<PathBuf> {
        let mut beside = self.key()?.into_os_string();
        beside.push(".pub");
        Ok(PathBuf::from(beside))
    }

    /// Writes a profile; `body` follows its name.
    pub fn profile(&self, name: &str, body: &str) -> Result<PathBuf> {
        let path = self.path(&format!("{name}.toml"));
        fs::write(&path, format!("name = \"{name}\"\n{body}\n"))?;
        Ok(path)
    }

    /// Frames that reached the attacker since the last call.
    pub fn leaked(&self) -> Result<Vec<Frame>> {
        self.capture.take()
    }

    /// What cordon left pinned.
    pub fn pins(&self) -> Result<Vec<String>> {
        let bpffs = self.bpffs();
        self.mounts.run(move || {
            let entries = fs::read_dir(&bpffs).context("read the world's bpffs")?;
            Ok(entries
                .flatten()
                .map(|entry| entry.file_name().to_string_lossy().into_owned())
                // The kernel puts these two into every bpffs.
                .filter(|name| name != "maps.debug" && name != "progs.debug")
                .collect())
        })
    }
}

/// Inside a new mount namespace: no mount leaves it, a bpffs of its own, and the system's resolver
/// settings are the world's.
fn private_mounts(scratch: &Path, slowness: u32) -> Result<()> {
    const NONE: Option<&str> = None;
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE)
        .context("make / private")?;
    let bpf = scratch.join("bpf");
    fs::create_dir(&bpf)?;
    mount(Some("bpf"), &bpf, Some("bpf"), MsFlags::empty(), NONE).context("mount a bpffs")?;
    if !Path::new("/etc/resolv.conf").exists() {
        shadow_etc(scratch)?;
    }
    // Seconds; libc takes no more than 30.
    let patience = (2 * slowness).min(30);
    bind(
        scratch,
        "resolv.conf",
        &format!("nameserver {DNS_V4}\noptions timeout:{patience} attempts:1\n"),
    )?;
    if Path::new("/etc/nsswitch.conf").exists() {
        // nss-resolve and nscd would ask a daemon outside of the world.
        bind(
            scratch,
            "nsswitch.conf",
            "passwd: files\ngroup: files\nhosts: files dns\n",
        )?;
    }
    Ok(())
}

fn bind(scratch: &Path, name: &str, text: &str) -> Result<()> {
    const NONE: Option<&str> = None;
    let (source, target) = (scratch.join(name), Path::new("/etc").join(name));
    fs::write(&source, text)?;
    mount(Some(&source), &target, NONE, MsFlags::MS_BIND, NONE)
        .with_context(|| format!("bind {}", target.display()))
}

/// A copy of `/etc` that has a `resolv.conf` to mount over; the machine's own stays as it is.
fn shadow_etc(scratch: &Path) -> Result<()> {
    const NONE: Option<&str> = None;
    let copy = scratch.join("etc");
    let status = Command::new("cp")
        .args(["-a", "/etc"])
        .arg(&copy)
        .status()?;
    ensure!(status.success(), "cannot copy /etc");
    fs::write(copy.join("resolv.conf"), "")?;
    mount(Some(&copy), "/etc", NONE, MsFlags::MS_BIND, NONE).context("bind /etc")
}
