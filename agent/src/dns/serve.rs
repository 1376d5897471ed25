//! Reading and answering on the listener's sockets, within bounds.
//!
//! The loops are cordon's own and not hickory's `Server`: that one takes any number of
//! connections, which would let a job use up cordon's file descriptors; drops answers when more
//! than a few wait to be sent, which a client meets as a timeout of five seconds; and does not tell
//! how many messages it threw away. Decoding, encoding and resolving are hickory's.

use std::future::Future;
use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use std::{fmt, io};

use hickory_proto::op::ResponseCode;
use hickory_server::net::xfer::Protocol;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::runtime::Handle;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::warn;

use super::embedded;
use super::handler::{self, Outcome, Resolution};
use super::listener::{Bound, Origin};
use super::message::{self, Reply, Reproach};
use super::question::{self, Incoming};

/// A question is small; more than this is not one.
const QUESTION_MAX: usize = 4096;

/// Rest after an accept or receive that failed, for example for want of file descriptors: the loop
/// must not spin.
const REST: Duration = Duration::from_millis(50);

/// How much one job may ask at once. What is beyond is refused at once and counted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Questions being answered, over all sockets.
    pub questions: usize,
    /// Questions being answered on one TCP connection; more are read when earlier ones are done.
    pub pipelined: usize,
    /// TCP connections.
    pub connections: usize,
    /// How long a TCP connection may take for its next question, or to take an answer.
    pub idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            questions: 256,
            pipelined: 32,
            connections: 64,
            idle: Duration::from_secs(10),
        }
    }
}

/// What a listener did not answer, or not in full, exactly. Only ever added to.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// Messages that were not one well-formed question.
    pub malformed: u64,
    /// Questions refused because too many were being answered.
    pub refused: u64,
    /// TCP connections closed because there were too many.
    pub closed: u64,
    /// Answers the kernel did not take, or that their client did not.
    pub undelivered: u64,
    /// Questions beyond what a wildcard is for.
    pub limited: u64,
}

#[derive(Debug, Default)]
struct Counters {
    malformed: AtomicU64,
    refused: AtomicU64,
    closed: AtomicU64,
    undelivered: AtomicU64,
    limited: AtomicU64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// A listener that serves. Dropping it ends it: nobody answers the job's DNS then.
#[derive(Debug)]
pub struct Listener {
    tasks: JoinSet<()>,
    shared: Arc<Shared>,
}

/// What all listeners of one job share: whatever namespace it asks in, its limits are the same.
struct Shared {
    resolution: Resolution,
    questions: Arc<Semaphore>,
    connections: Arc<Semaphore>,
    counters: Counters,
    embedded: embedded::Names,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("resolution", &self.resolution)
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}

impl Listener {
    pub(super) fn start(bound: Bound, resolution: Resolution) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            questions: Arc::new(Semaphore::new(resolution.limits.questions)),
            connections: Arc::new(Semaphore::new(resolution.limits.connections)),
            counters: Counters::default(),
            embedded: embedded::Names::default(),
            resolution,
        });
        Self::share(bound, shared)
    }

    /// Serves more sockets of the same job, in another network namespace, within the same limits; until
    /// that handle is dropped.
    ///
    /// # Errors
    /// Called outside a tokio runtime, or the runtime does not take the sockets.
    pub fn serve_also(&self, bound: Bound) -> io::Result<Self> {
        Self::share(bound, Arc::clone(&self.shared))
    }

    fn share(bound: Bound, shared: Arc<Shared>) -> io::Result<Self> {
        // Asked first: without a runtime tokio's own calls below would panic.
        let runtime = Handle::try_current().map_err(io::Error::other)?;
        let Bound {
            udp4,
            tcp4,
            udp6,
            tcp6,
            origin,
        } = bound;
        let service = Arc::new(Service {
            shared: Arc::clone(&shared),
            origin,
        });
        let mut tasks = JoinSet::new();
        for socket in [Some(udp4), udp6].into_iter().flatten() {
            socket.set_nonblocking(true)?;
            let socket = Arc::new(UdpSocket::from_std(socket)?);
            tasks.spawn_on(serve_udp(Arc::clone(&service), socket), &runtime);
        }
        for socket in [Some(tcp4), tcp6].into_iter().flatten() {
            socket.set_nonblocking(true)?;
            let socket = TcpListener::from_std(socket)?;
            tasks.spawn_on(serve_tcp(Arc::clone(&service), socket), &runtime);
        }
        Ok(Self { tasks, shared })
    }

    /// What was not answered so far, by all listeners of the job.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let Counters {
            malformed,
            refused,
            closed,
            undelivered,
            limited,
        } = &self.shared.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            malformed: read(malformed),
            refused: read(refused),
            closed: read(closed),
            undelivered: read(undelivered),
            limited: read(limited),
        }
    }

    /// Ends all tasks and returns when their sockets are closed, with the final counts.
    pub async fn shutdown(mut self) -> Counts {
        self.tasks.shutdown().await;
        self.counts()
    }
}

/// What all tasks of one listener share.
struct Service {
    shared: Arc<Shared>,
    origin: Origin,
}

impl Deref for Service {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.shared
    }
}

impl Service {
    /// The answer to one message, if it gets one; the permit is the message's place in the count
    /// of questions.
    async fn answer(
        &self,
        bytes: Vec<u8>,
        from: SocketAddr,
        protocol: Protocol,
        _permit: OwnedSemaphorePermit,
    ) -> Option<Vec<u8>> {
        let place = handler::Place {
            origin: &self.origin,
            embedded: &self.embedded,
        };
        match self.resolution.answer(bytes, from, protocol, place).await {
            Outcome::Answered { bytes, limited } => {
                if limited {
                    count(&self.counters.limited);
                }
                Some(bytes)
            }
            Outcome::Malformed(answer) => {
                count(&self.counters.malformed);
                answer
            }
        }
    }

    /// The answer when too many questions are being answered.
    fn refuse(&self, bytes: Vec<u8>, from: SocketAddr, protocol: Protocol) -> Option<Vec<u8>> {
        match question::read(bytes, from, protocol) {
            Incoming::Question(request) => {
                count(&self.counters.refused);
                let reproach = Reproach::other("too many questions at the same time");
                let reply = Reply::refusal(ResponseCode::Refused, reproach);
                Some(message::encode(&request, &reply))
            }
            Incoming::Malformed(_) => {
                count(&self.counters.malformed);
                None
            }
        }
    }

    fn permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.questions).try_acquire_owned().ok()
    }
}

#[expect(
    clippy::infinite_loop,
    reason = "a task: it ends when the listener is dropped"
)]
async fn serve_udp(service: Arc<Service>, socket: Arc<UdpSocket>) {
    let mut tasks = JoinSet::new();
    let mut buffer = [0; QUESTION_MAX];
    loop {
        reap(&mut tasks);
        let (length, from) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(error) => {
                warn!(%error, "cannot receive DNS questions");
                sleep(REST).await;
                continue;
            }
        };
        let bytes = buffer.get(..length).unwrap_or(&[]).to_vec();
        if let Some(permit) = service.permit() {
            tasks.spawn(answer_udp(
                Arc::clone(&service),
                Arc::clone(&socket),
                bytes,
                from,
                permit,
            ));
        } else if let Some(answer) = service.refuse(bytes, from, Protocol::Udp) {
            send_udp(&service, &socket, &answer, from).await;
        }
    }
}

async fn answer_udp(
    service: Arc<Service>,
    socket: Arc<UdpSocket>,
    bytes: Vec<u8>,
    from: SocketAddr,
    permit: OwnedSemaphorePermit,
) {
    if let Some(answer) = service.answer(bytes, from, Protocol::Udp, permit).await {
        send_udp(&service, &socket, &answer, from).await;
    }
}

async fn send_udp(service: &Service, socket: &UdpSocket, answer: &[u8], to: SocketAddr) {
    if socket.send_to(answer, to).await.is_err() {
        count(&service.counters.undelivered);
    }
}

#[expect(
    clippy::infinite_loop,
    reason = "a task: it ends when the listener is dropped"
)]
async fn serve_tcp(service: Arc<Service>, listener: TcpListener) {
    let mut tasks = JoinSet::new();
    loop {
        reap(&mut tasks);
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%error, "cannot accept DNS connections");
                sleep(REST).await;
                continue;
            }
        };
        if let Ok(permit) = Arc::clone(&service.connections).try_acquire_owned() {
            tasks.spawn(serve_connection(Arc::clone(&service), stream, from, permit));
        } else {
            count(&service.counters.closed);
        }
    }
}

/// Reads questions and answers them as they get ready, in whatever order: a slow name does not
/// hold up the others (RFC 7766 § 6.2.1.1).
async fn serve_connection(
    service: Arc<Service>,
    stream: TcpStream,
    from: SocketAddr,
    _permit: OwnedSemaphorePermit,
) {
    let Limits {
        pipelined, idle, ..
    } = service.resolution.limits;
    let (mut reader, writer) = stream.into_split();
    let writer = Arc::new(Mutex::new(writer));
    let mut tasks = JoinSet::new();
    loop {
        reap(&mut tasks);
        if tasks.len() >= pipelined {
            tasks.join_next().await;
        }
        let Some(bytes) = within(idle, read_question(&mut reader, &service.counters)).await else {
            break;
        };
        tasks.spawn(answer_tcp(
            Arc::clone(&service),
            Arc::clone(&writer),
            bytes,
            from,
        ));
    }
    // A client may close its side after its last question and still wait for the answers.
    while tasks.join_next().await.is_some() {}
}

/// One message with its length in front; `None` at the end, on an error, or if it is too long.
async fn read_question(reader: &mut OwnedReadHalf, counters: &Counters) -> Option<Vec<u8>> {
    let length = usize::from(reader.read_u16().await.ok()?);
    if length > QUESTION_MAX {
        count(&counters.malformed);
        return None;
    }
    let mut bytes = vec![0; length];
    reader.read_exact(&mut bytes).await.ok()?;
    Some(bytes)
}

async fn answer_tcp(
    service: Arc<Service>,
    writer: Arc<Mutex<OwnedWriteHalf>>,
    bytes: Vec<u8>,
    from: SocketAddr,
) {
    let answer = match service.permit() {
        Some(permit) => service.answer(bytes, from, Protocol::Tcp, permit).await,
        None => service.refuse(bytes, from, Protocol::Tcp),
    };
    let Some(answer) = answer else { return };
    let Ok(length) = u16::try_from(answer.len()) else {
        count(&service.counters.undelivered);
        return;
    };
    // Length and message in one write: two small segments would wait for each other's ACK.
    let mut framed = length.to_be_bytes().to_vec();
    framed.extend_from_slice(&answer);
    let write = async {
        // A client that takes no answers must not keep the others' tasks waiting for ever.
        writer.lock().await.write_all(&framed).await.ok()
    };
    if within(service.resolution.limits.idle, write)
        .await
        .is_none()
    {
        count(&service.counters.undelivered);
    }
}

async fn within<T>(limit: Duration, work: impl Future<Output = Option<T>> + Send) -> Option<T> {
    timeout(limit, work).await.ok().flatten()
}

fn reap(tasks: &mut JoinSet<()>) {
    while tasks.try_join_next().is_some() {}
}
