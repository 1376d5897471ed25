//! The hidden `bench-load` command: what is measured, from inside a job.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, ToSocketAddrs as _, UdpSocket};
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RecordType};
use nix::time::{ClockId, clock_gettime};
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use serde::{Deserialize, Serialize};

use crate::bench::processor::pin;
use crate::clients::native::trusting;

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// When a question is sent again: as resolvers of libraries do, a datagram can be lost.
const AGAIN: Duration = Duration::from_secs(1);

/// Between two tries to send: each refusal is a record that cordon has to read meanwhile.
const PAUSE: Duration = Duration::from_micros(50);

/// What to do.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub enum Load {
    /// Ask for addresses, so many questions being on their way at once. Each round of the list is
    /// repeated until there are enough.
    Ask {
        /// Whom.
        server: SocketAddr,
        /// For what.
        names: Vec<String>,
        /// First once each, unmeasured, so that the answers are in a cache.
        known: bool,
        /// How often.
        count: usize,
        /// At once.
        window: usize,
    },
    /// Ask for each name, and see when its address can be sent to.
    Leases {
        /// Whom.
        server: SocketAddr,
        /// Names and their addresses.
        names: Vec<(String, Ipv4Addr)>,
        /// Upstream takes at least this long, in microseconds: sending is tried from then on.
        after: u64,
    },
    /// Connect and shake hands, one after another.
    Handshakes {
        /// Resolved first; the name that is asked for.
        name: String,
        /// The CA's certificate.
        ca: PathBuf,
        /// How often.
        count: usize,
    },
    /// Connect under an allowed name, greet another one, and see when that fails.
    Hellos {
        /// Resolved first.
        name: String,
        /// Greeted.
        other: String,
        /// The CA's certificate.
        ca: PathBuf,
        /// How often.
        count: usize,
    },
    /// Connect to a name's address; whoever is there resets.
    Connects {
        /// Resolved first.
        name: String,
        /// Where.
        port: u16,
        /// How often.
        count: usize,
    },
}

/// What it gave.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct Measured {
    /// Of each operation.
    pub nanoseconds: Vec<u64>,
    /// Of all of them.
    pub whole: Duration,
    /// Of leases: on the monotonic clock, when sending first passed and when the answer came.
    pub moments: Vec<(Duration, Duration)>,
    /// Of questions: answers of no use, and how often one was sent again.
    pub failed: usize,
    /// See `failed`.
    pub again: usize,
    /// Of hellos: how many were not refused, and what the first refusal was.
    pub passed: usize,
    /// See `passed`.
    pub error: Option<String>,
}

/// Arguments of `bench-load`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The processor to run on
    #[arg(long)]
    processor: usize,
    /// Where the load is described, as JSON
    plan: PathBuf,
}

/// Does it and prints what it gave.
pub fn run(args: &Args) -> Result<ExitCode> {
    pin(args.processor)?;
    let load: Load = serde_json::from_str(&std::fs::read_to_string(&args.plan)?)?;
    let started = Instant::now();
    let mut measured = match &load {
        Load::Ask {
            server,
            names,
            known,
            count,
            window,
        } => {
            if *known {
                ask(*server, names, names.len(), 1)?;
            }
            ask(*server, names, *count, *window)?
        }
        Load::Leases {
            server,
            names,
            after,
        } => leases(*server, names, Duration::from_micros(*after))?,
        Load::Handshakes { name, ca, count } => handshakes(name, ca, *count)?,
        Load::Hellos {
            name,
            other,
            ca,
            count,
        } => hellos(name, other, ca, *count)?,
        Load::Connects { name, port, count } => connects(name, *port, *count)?,
    };
    if measured.whole.is_zero() {
        measured.whole = started.elapsed();
    }
    println!("{}", serde_json::to_string(&measured)?);
    Ok(ExitCode::SUCCESS)
}

/// The same moments in all processes.
pub fn now() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_MONOTONIC)?.into())
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn question(name: &str, id: u16) -> Result<Vec<u8>> {
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    let name = Name::from_str(&format!("{name}."))?;
    message.add_query(Query::query(name, RecordType::A));
    Ok(message.to_vec()?)
}

/// The id of an answer, and whether it says no error and has records.
fn read(answer: &[u8]) -> Result<(u16, bool)> {
    let [high, low, _, code, _, _, count @ ..] = answer else {
        bail!("a short answer");
    };
    let worked = code % 16 == 0 && count.get(..2) != Some(&[0, 0]);
    Ok((u16::from_be_bytes([*high, *low]), worked))
}

fn connected(server: SocketAddr) -> Result<UdpSocket> {
    let own: IpAddr = if server.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        std::net::Ipv6Addr::UNSPECIFIED.into()
    };
    let socket = UdpSocket::bind((own, 0))?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket)
}

/// A question that is on its way.
struct Sent {
    first: Instant,
    last: Instant,
    question: Vec<u8>,
}

fn ask(server: SocketAddr, names: &[String], count: usize, window: usize) -> Result<Measured> {
    let socket = connected(server)?;
    socket.set_read_timeout(Some(AGAIN))?;
    let questions: Vec<Vec<u8>> = names
        .iter()
        .map(|name| question(name, 0))
        .collect::<Result<_>>()?;
    let mut questions = questions.iter().cycle().take(count);
    let started = Instant::now();
    let mut next = |slot: u16| -> Result<Option<Sent>> {
        let Some(question) = questions.next() else {
            return Ok(None);
        };
        let mut question = question.clone();
        question.splice(..2, slot.to_be_bytes());
        let now = Instant::now();
        socket.send(&question)?;
        Ok(Some(Sent {
            first: now,
            last: now,
            question,
        }))
    };
    let mut slots = (0..u16::try_from(window)?)
        .map(&mut next)
        .collect::<Result<Vec<_>>>()?;
    let mut measured = Measured::default();
    let mut buffer = [0; 4096];
    while slots.iter().any(Option::is_some) {
        match socket.recv(&mut buffer) {
            Ok(length) => {
                let (slot, worked) = read(buffer.get(..length).unwrap_or_default())?;
                let room = slots.get_mut(usize::from(slot));
                let room = room.context("an unknown answer")?;
                // Both answers of a question that was sent twice may come.
                let Some(sent) = room.take() else { continue };
                if worked {
                    measured.nanoseconds.push(nanoseconds(sent.first.elapsed()));
                } else {
                    measured.failed += 1;
                }
                *room = next(slot)?;
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                for sent in slots.iter_mut().flatten() {
                    ensure!(sent.first.elapsed() < PATIENCE, "an answer is missing");
                    if sent.last.elapsed() >= AGAIN {
                        socket.send(&sent.question)?;
                        sent.last = Instant::now();
                        measured.again += 1;
                    }
                }
            }
            Err(error) => return Err(error).context("receive"),
        }
    }
    measured.whole = started.elapsed();
    Ok(measured)
}

fn leases(server: SocketAddr, names: &[(String, Ipv4Addr)], after: Duration) -> Result<Measured> {
    let resolver = connected(server)?;
    resolver.set_nonblocking(true)?;
    let probe = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    let mut measured = Measured::default();
    let mut buffer = [0; 4096];
    for (name, address) in names {
        // The discard port.
        let target = SocketAddr::from((*address, 9));
        ensure!(probe.send_to(b"", target).is_err(), "{name} had a lease");
        let started = Instant::now();
        resolver.send(&question(name, 1)?)?;
        let (mut passed, mut answered) = (None, None);
        let mut next = after;
        while passed.is_none() || answered.is_none() {
            ensure!(started.elapsed() < PATIENCE, "no lease for {name}");
            if passed.is_none() && started.elapsed() >= next {
                next = started.elapsed() + PAUSE;
                passed = probe.send_to(b"", target).is_ok().then(now).transpose()?;
            }
            if answered.is_none()
                && let Ok(length) = resolver.recv(&mut buffer)
            {
                answered = Some(now()?);
                let (_, worked) = read(buffer.get(..length).unwrap_or_default())?;
                ensure!(worked, "no address for {name}");
            }
        }
        measured.moments.extend(passed.zip(answered));
    }
    Ok(measured)
}

/// The name's first IPv4 address. On a busy machine the first question may come to nothing.
fn resolve(name: &str, port: u16) -> Result<SocketAddr> {
    let started = Instant::now();
    loop {
        match (name, port).to_socket_addrs() {
            Ok(mut found) => return found.find(SocketAddr::is_ipv4).context("no address"),
            Err(error) if started.elapsed() > PATIENCE => return Err(error).context("resolve"),
            Err(_) => {}
        }
    }
}

/// Every handshake is a whole one.
fn settings(ca: &std::path::Path) -> Result<Arc<ClientConfig>> {
    let mut settings = (*trusting(ca)?).clone();
    settings.resumption = Resumption::disabled();
    Ok(Arc::new(settings))
}

fn shake_hands(
    stream: &mut TcpStream,
    name: &str,
    settings: &Arc<ClientConfig>,
) -> std::io::Result<()> {
    let name = ServerName::try_from(name.to_owned()).map_err(std::io::Error::other)?;
    let mut connection =
        ClientConnection::new(Arc::clone(settings), name).map_err(std::io::Error::other)?;
    while connection.is_handshaking() {
        connection.complete_io(stream)?;
    }
    Ok(())
}

fn handshakes(name: &str, ca: &std::path::Path, count: usize) -> Result<Measured> {
    let (address, settings) = (resolve(name, 443)?, settings(ca)?);
    let mut measured = Measured::default();
    for _ in 0..count {
        let started = Instant::now();
        let mut stream = TcpStream::connect(address)?;
        shake_hands(&mut stream, name, &settings)?;
        measured.nanoseconds.push(nanoseconds(started.elapsed()));
    }
    Ok(measured)
}

fn hellos(name: &str, other: &str, ca: &std::path::Path, count: usize) -> Result<Measured> {
    let (address, settings) = (resolve(name, 443)?, settings(ca)?);
    let mut measured = Measured::default();
    for _ in 0..count {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let started = Instant::now();
        match shake_hands(&mut stream, other, &settings) {
            Ok(()) => measured.passed += 1,
            Err(error) => {
                measured.nanoseconds.push(nanoseconds(started.elapsed()));
                measured.error.get_or_insert_with(|| error.to_string());
            }
        }
    }
    Ok(measured)
}

fn connects(name: &str, port: u16, count: usize) -> Result<Measured> {
    let address = resolve(name, port)?;
    let mut measured = Measured::default();
    for _ in 0..count {
        let started = Instant::now();
        // The reset may overtake the end of `connect`.
        match TcpStream::connect(address) {
            Ok(mut stream) => {
                measured.nanoseconds.push(nanoseconds(started.elapsed()));
                let mut byte = [0];
                ensure!(!matches!(stream.read(&mut byte), Ok(1..)), "it speaks");
                stream.flush()?;
            }
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {
                measured.nanoseconds.push(nanoseconds(started.elapsed()));
            }
            Err(error) => return Err(error).context("connect"),
        }
    }
    Ok(measured)
}
