//! Answers the mediator: the few things that need rights, each checked against what this job may have.

use std::io::{self, IoSlice};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use cordon_engine::protocol::{Answer, Ask, MESSAGE_BYTES, Setup, Subnet};
use ipnet::Ipv4Net;
use nix::sys::socket::sockopt::ReuseAddr;
use nix::sys::socket::{
    AddressFamily, Backlog, ControlMessage, MsgFlags, SockFlag, SockType, SockaddrIn, bind, listen,
    recv, send, sendmsg, setsockopt, socket,
};

use super::{EngineError, Noted};
use crate::cgroup::Cgroup;
use crate::enforce::chain;
use crate::enforce::maps::ContainerMaps;
use crate::policy::explain::{Explanation, Peer, Question, explain};
use crate::policy::{DomainName, Policy, Protocol, Ruleset};
use crate::sys::{fs, netns};

/// How long the mediator may take to look at the engine.
const READY_PATIENCE: Duration = Duration::from_secs(20);
/// How long a container may take to accept a connection inside its own network.
const DIAL_PATIENCE: Duration = Duration::from_secs(2);
/// Ports of one job.
const LISTENERS: usize = 256;
/// Networks of one job.
const NETWORKS: usize = 64;
/// Connections that wait.
const BACKLOG: i32 = 64;

/// What the job may reach, for questions about registries.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The policy.
    pub policy: Policy,
    /// The same, compiled.
    pub ruleset: Arc<Ruleset>,
}

/// An engine behind which requests can be judged.
#[derive(Debug)]
pub(super) struct Engine {
    pub(super) root: String,
    pub(super) name: String,
    pub(super) port: u16,
}

/// The thread that answers.
#[derive(Debug)]
pub(super) struct Broker {
    thread: Option<JoinHandle<()>>,
    looked: Receiver<Result<Engine, String>>,
    go: Sender<()>,
    socket: PathBuf,
    noted: Arc<Mutex<Noted>>,
}

/// What it answers with.
struct Desk {
    control: OwnedFd,
    socket: PathBuf,
    cgroup: Cgroup,
    maps: ContainerMaps,
    rules: Option<Rules>,
    networks: Vec<(Ipv4Net, Ipv4Addr)>,
    /// The first port is that of the engine itself.
    ports: Vec<u16>,
    looked: Sender<Result<Engine, String>>,
    go: Receiver<()>,
    noted: Arc<Mutex<Noted>>,
}

impl Broker {
    pub(super) fn start(
        control: OwnedFd,
        socket: PathBuf,
        cgroup: Cgroup,
        maps: ContainerMaps,
        rules: Option<Rules>,
        setup: &Setup,
    ) -> io::Result<Self> {
        let bytes = serde_json::to_vec(setup).map_err(io::Error::other)?;
        send(control.as_raw_fd(), &bytes, MsgFlags::MSG_NOSIGNAL)?;
        let (looked_at, looked) = channel();
        let (go, going) = channel();
        let noted = Arc::<Mutex<Noted>>::default();
        let desk = Desk {
            control,
            socket: socket.clone(),
            cgroup,
            maps,
            rules,
            networks: Vec::new(),
            ports: Vec::new(),
            looked: looked_at,
            go: going,
            noted: Arc::clone(&noted),
        };
        let thread = std::thread::Builder::new()
            .name("engine".to_owned())
            .spawn(move || desk.serve())?;
        Ok(Self {
            thread: Some(thread),
            looked,
            go,
            socket,
            noted,
        })
    }

    /// Waits until the mediator has looked at the engine.
    pub(super) fn ready(&self) -> Result<Engine, EngineError> {
        match self.looked.recv_timeout(READY_PATIENCE) {
            Ok(Ok(engine)) => Ok(engine),
            Ok(Err(why)) => Err(EngineError::Unfit {
                socket: self.socket.clone(),
                why,
            }),
            Err(error) => Err(EngineError::Silent(io::Error::other(error))),
        }
    }

    /// The mediator may serve now.
    pub(super) fn go(&self) -> io::Result<()> {
        self.go.send(()).map_err(io::Error::other)
    }

    /// What was noted, when the mediator has ended.
    pub(super) fn end(mut self) -> Noted {
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that answers the mediator panicked");
        }
        std::mem::take(&mut *self.noted.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Desk {
    /// Answers until the mediator is gone.
    fn serve(mut self) {
        let mut bytes = vec![0; MESSAGE_BYTES];
        loop {
            let read = match recv(self.control.as_raw_fd(), &mut bytes, MsgFlags::empty()) {
                Ok(0) | Err(_) => return,
                Ok(read) => read,
            };
            let asked = serde_json::from_slice(bytes.get(..read).unwrap_or_default());
            let (answer, along) = match asked {
                Ok(ask) => self.answer(ask),
                Err(error) => (Answer::Refused(error.to_string()), None),
            };
            if self.reply(&answer, along.as_ref()).is_err() {
                return;
            }
        }
    }

    fn reply(&self, answer: &Answer, along: Option<&OwnedFd>) -> io::Result<()> {
        let bytes = serde_json::to_vec(answer).map_err(io::Error::other)?;
        let sockets = along.map(|socket| [socket.as_raw_fd()]);
        let rights = sockets
            .as_ref()
            .map(|sockets| ControlMessage::ScmRights(sockets));
        let flags = MsgFlags::MSG_NOSIGNAL;
        sendmsg::<()>(
            self.control.as_raw_fd(),
            &[IoSlice::new(&bytes)],
            rights.as_slice(),
            flags,
            None,
        )?;
        Ok(())
    }

    fn answer(&mut self, ask: Ask) -> (Answer, Option<OwnedFd>) {
        let done = |done: Result<(), String>| match done {
            Ok(()) => (Answer::Done, None),
            Err(why) => (Answer::Refused(why), None),
        };
        match ask {
            Ask::Connect => match UnixStream::connect(&self.socket) {
                Ok(stream) => (Answer::Done, Some(stream.into())),
                Err(error) => {
                    let why = format!("`{}`: {error}", self.socket.display());
                    (Answer::Refused(why), None)
                }
            },
            Ask::Ready {
                engine_root,
                engine,
            } => done(self.ready(engine_root, engine)),
            Ask::Unfit { why } => done(self.looked.send(Err(why)).map_err(|gone| gone.to_string())),
            Ask::AllowNetwork(subnet) => done(self.allow(subnet)),
            Ask::ForgetNetwork(subnet) => done(self.forget(subnet)),
            Ask::Listen { port } => match self.listen(port) {
                Ok((port, socket)) => (Answer::Port(port), Some(socket)),
                Err(error) => (Answer::Refused(error), None),
            },
            Ask::Dial { process, to } => match self.dial(process, to) {
                Ok(socket) => (Answer::Done, Some(socket)),
                Err(error) => (Answer::Refused(error), None),
            },
            Ask::MayReach { host, port } => done(self.may_reach(&host, port)),
            Ask::Note(note) => {
                self.noted
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .take(note);
                (Answer::Done, None)
            }
        }
    }

    /// Says that the engine is fit, and waits until all is set up for its containers.
    fn ready(&self, root: String, name: String) -> Result<(), String> {
        let port = self.ports.first().copied().ok_or("there is no port yet")?;
        let engine = Engine { root, name, port };
        self.looked
            .send(Ok(engine))
            .map_err(|gone| gone.to_string())?;
        self.go.recv().map_err(|gone| gone.to_string())
    }

    /// Opens a network that the engine has made for the job: one of private addresses, whose bridge is on
    /// this host.
    fn allow(&mut self, subnet: Subnet) -> Result<(), String> {
        let (network, gateway) = checked(subnet)?;
        if self.networks.contains(&(network, gateway)) {
            return Ok(());
        }
        if self.networks.len() >= NETWORKS {
            return Err(format!("a job has {NETWORKS} networks at most"));
        }
        if !is_own_bridge(network, gateway)? {
            return Err(format!("no bridge of this host has the network {network}"));
        }
        let rules = self
            .rules
            .as_ref()
            .ok_or("nothing is opened for a job that is over")?;
        let ruled = rules.ruleset.nets.iter().any(|(known, _)| {
            u32::from(network.prefix_len()).saturating_add(96) == known.prefix_len
                && known.address
                    == cordon_ebpf::abi::address::Address::from(std::net::IpAddr::V4(
                        network.network(),
                    ))
        });
        if ruled {
            return Err(format!(
                "the job has a rule for {network} itself; give the engine other address pools"
            ));
        }
        self.maps
            .allow(network, gateway)
            .map_err(|error| chain(&error))?;
        self.networks.push((network, gateway));
        Ok(())
    }

    fn forget(&mut self, subnet: Subnet) -> Result<(), String> {
        let (network, gateway) = checked(subnet)?;
        let known = self
            .networks
            .iter()
            .position(|known| *known == (network, gateway));
        let Some(known) = known else {
            return Ok(());
        };
        self.maps
            .forget(network, gateway)
            .map_err(|error| chain(&error))?;
        self.networks.swap_remove(known);
        Ok(())
    }

    /// A listener that the job reaches, and nobody else; so before it listens.
    fn listen(&mut self, port: u16) -> Result<(u16, OwnedFd), String> {
        if self.ports.len() >= LISTENERS {
            return Err(format!("a job publishes {LISTENERS} ports at most"));
        }
        let made = || -> nix::Result<OwnedFd> {
            let flags = SockFlag::SOCK_CLOEXEC;
            let socket = socket(AddressFamily::Inet, SockType::Stream, flags, None)?;
            setsockopt(&socket, ReuseAddr, &true)?;
            let address = SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port));
            bind(socket.as_raw_fd(), &address)?;
            Ok(socket)
        };
        let socket = made().map_err(|errno| errno.desc().to_owned())?;
        self.maps.admit(&socket).map_err(|error| chain(&error))?;
        let listening = Backlog::new(BACKLOG).and_then(|backlog| listen(&socket, backlog));
        listening.map_err(|errno| errno.desc().to_owned())?;
        let listener = std::net::TcpListener::from(socket);
        let port = listener
            .local_addr()
            .map_err(|error| error.to_string())?
            .port();
        self.ports.push(port);
        Ok((port, listener.into()))
    }

    /// Connects to a container of the job from inside its network.
    fn dial(&self, process: u32, to: SocketAddrV4) -> Result<OwnedFd, String> {
        let own = |(network, gateway): &(Ipv4Net, Ipv4Addr)| {
            network.contains(to.ip()) && gateway != to.ip()
        };
        if !self.networks.iter().any(own) {
            return Err(format!("{} is in no network of the job", to.ip()));
        }
        let inhabitants = self.cgroup.processes().map_err(|error| chain(&error))?;
        if !inhabitants.contains(&process) {
            return Err("the process is not the job's".to_owned());
        }
        let path = PathBuf::from(format!("/proc/{process}/ns/net"));
        let namespace = fs::open(&path).map_err(|error| chain(&error))?;
        let connected = netns::within(namespace, || {
            TcpStream::connect_timeout(&SocketAddr::V4(to), DIAL_PATIENCE)
        });
        connected
            .map(OwnedFd::from)
            .map_err(|error: io::Error| error.to_string())
    }

    fn may_reach(&self, host: &str, port: u16) -> Result<(), String> {
        let rules = self.rules.as_ref().ok_or("the job is over")?;
        let peer = match host.parse() {
            Ok(address) => Peer::Address(address),
            Err(_) => Peer::Name(DomainName::parse(host).map_err(|error| error.to_string())?),
        };
        let question = Question {
            peer,
            port,
            protocol: Protocol::Tcp,
        };
        match explain(&rules.policy, &rules.ruleset, &question) {
            Explanation::Allowed { .. } => Ok(()),
            Explanation::Denied { remedy, .. } => Err(match remedy {
                Some(remedy) => format!("add {}", remedy.trim().replace('\n', " ")),
                None => "there is none that could".to_owned(),
            }),
        }
    }
}

/// Addresses as they can be a container network's.
fn checked(subnet: Subnet) -> Result<(Ipv4Net, Ipv4Addr), String> {
    let Subnet {
        address,
        bits,
        gateway,
    } = subnet;
    let network = Ipv4Net::new(address, bits).map_err(|error| error.to_string())?;
    if !address.is_private() || !(12..=30).contains(&bits) || network.network() != address {
        return Err(format!("{network} is no network of private addresses"));
    }
    if !network.contains(&gateway) || gateway == address {
        return Err(format!("{gateway} is not in {network}"));
    }
    Ok((network, gateway))
}

/// Whether an interface of the host has this address in this network.
fn is_own_bridge(network: Ipv4Net, gateway: Ipv4Addr) -> Result<bool, String> {
    let interfaces = nix::ifaddrs::getifaddrs().map_err(|errno| errno.desc().to_owned())?;
    let v4 =
        |address: Option<nix::sys::socket::SockaddrStorage>| Some(address?.as_sockaddr_in()?.ip());
    let own = |interface: nix::ifaddrs::InterfaceAddress| {
        v4(interface.address) == Some(gateway) && v4(interface.netmask) == Some(network.netmask())
    };
    Ok(interfaces.into_iter().any(own))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(address: [u8; 4], bits: u8, gateway: [u8; 4]) -> Subnet {
        Subnet {
            address: address.into(),
            bits,
            gateway: gateway.into(),
        }
    }

    #[test]
    fn only_private_networks_with_their_own_gateway_are_opened() {
        checked(subnet([172, 18, 0, 0], 16, [172, 18, 0, 1])).unwrap();
        for (address, bits, gateway) in [
            ([0, 0, 0, 0], 0, [0, 0, 0, 1]),
            ([203, 0, 113, 0], 24, [203, 0, 113, 1]),
            ([10, 0, 0, 0], 8, [10, 0, 0, 1]),
            ([172, 18, 0, 1], 16, [172, 18, 0, 1]),
            ([172, 18, 0, 0], 16, [172, 19, 0, 1]),
            ([172, 18, 0, 0], 40, [172, 18, 0, 1]),
        ] {
            assert!(
                checked(subnet(address, bits, gateway)).err().is_some(),
                "{address:?}/{bits}"
            );
        }
    }
}
