//! Ports of the job's containers on the job's loopback, where only the job reaches them.
//!
//! The engine publishes nothing: its own way listens on the host's addresses, and comes to the container
//! from the host's end of the network, which is not the job's. Here the connection to the container is
//! made inside the container's own network.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddrV4;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cordon_engine::protocol::{Answer, Ask};
use cordon_engine::refusal::Refusal;
use cordon_engine::shown::{Ports, text, whereabouts};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

use super::mediator::{Mediator, unanswered};
use super::upstream::failed;

/// Listeners by container.
#[derive(Debug, Default)]
pub(crate) struct Published(Mutex<BTreeMap<String, Vec<Port>>>);

#[derive(Debug)]
struct Port {
    inside: u16,
    outside: u16,
    task: AbortHandle,
}

/// Sockets that wait for their container.
pub(crate) type Reserved = Vec<(u16, u16, TcpListener)>;

impl Published {
    /// Where a container's ports are.
    pub(crate) fn of(&self, container: &str) -> Ports {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ports = known.get(container).into_iter().flatten();
        let ports = ports.map(|port| (port.inside, port.outside)).collect();
        drop(known);
        ports
    }

    /// The container that has a port.
    fn holder(&self, outside: u16) -> Option<String> {
        let ports = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let holds = |of: &Vec<Port>| of.iter().any(|port| port.outside == outside);
        ports
            .iter()
            .find(|(_, of)| holds(of))
            .map(|(container, _)| container.clone())
    }

    /// A container is gone.
    pub(crate) fn forget(&self, container: &str) {
        let mut ports = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for port in ports.remove(container).into_iter().flatten() {
            port.task.abort();
        }
    }
}

impl Mediator {
    /// Takes ports for a container that is about to be made.
    pub(crate) async fn reserve(&self, wanted: &[(u16, u16)]) -> Result<Reserved, Refusal> {
        let mut reserved = Vec::new();
        for (inside, outside) in wanted {
            let (port, listener) = match self.listen(*outside).await {
                Err(why) => match self.published.holder(*outside) {
                    // Containers that remove themselves say nothing, and one that has ended makes room for the
                    // one that takes its place.
                    Some(holder) if self.has_ended(&holder).await => {
                        self.published.forget(&holder);
                        tokio::time::sleep(Duration::from_millis(10)).await;
                        self.listen(*outside).await
                    }
                    _ => Err(why),
                },
                listens => listens,
            }
            .map_err(|why| {
                Refusal::failed(format!(
                    "the port {outside} cannot be published on 127.0.0.1: {why}"
                ))
            })?;
            reserved.push((*inside, port, listener));
        }
        Ok(reserved)
    }

    async fn listen(&self, port: u16) -> io::Result<(u16, TcpListener)> {
        match self.control.ask_for(Ask::Listen { port }).await? {
            (Answer::Port(port), Some(socket)) => Ok((port, listener(socket)?)),
            (Answer::Refused(why), _) => Err(failed(why)),
            _ => Err(failed("cordon gave no socket")),
        }
    }

    async fn has_ended(&self, container: &str) -> bool {
        let asked = self
            .engine
            .get(&format!("/containers/{container}/json"))
            .await;
        asked.is_ok_and(|(status, found)| {
            status == 404 || (status == 200 && text(&found, "/State/Status") == "exited")
        })
    }

    /// Leads connections to a container that was made.
    pub(crate) fn publish(self: &Arc<Self>, container: &str, reserved: Reserved) {
        let ports: Vec<Port> = reserved
            .into_iter()
            .map(|(inside, outside, listener)| {
                let (mediator, container) = (Arc::clone(self), container.to_owned());
                let task =
                    tokio::spawn(async move { mediator.relay(&container, inside, listener).await });
                let task = task.abort_handle();
                Port {
                    inside,
                    outside,
                    task,
                }
            })
            .collect();
        if !ports.is_empty() {
            let mut published = self
                .published
                .0
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            published.insert(container.to_owned(), ports);
        }
    }

    /// Until it is ended with its container.
    async fn relay(self: Arc<Self>, container: &str, inside: u16, listener: TcpListener) -> ! {
        loop {
            let Ok((mut near, _peer)) = listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            };
            let (mediator, container) = (Arc::clone(&self), container.to_owned());
            drop(tokio::spawn(async move {
                // A connection that is not taken is closed: the client sees that nobody is there.
                if let Ok(mut far) = mediator.dial(&container, inside).await {
                    let _ended = copy_bidirectional(&mut near, &mut far).await;
                }
            }));
        }
    }

    async fn dial(&self, container: &str, port: u16) -> Result<TcpStream, Refusal> {
        let asked = self
            .engine
            .get(&format!("/containers/{container}/json"))
            .await;
        let (_, container) = asked.map_err(unanswered)?;
        let (process, address) =
            whereabouts(&container).ok_or_else(|| Refusal::failed("the container does not run"))?;
        let to = SocketAddrV4::new(address, port);
        match self
            .control
            .ask_for(Ask::Dial { process, to })
            .await
            .map_err(unanswered)?
        {
            (Answer::Done, Some(socket)) => stream(socket).map_err(unanswered),
            (Answer::Refused(why), _) => Err(Refusal::failed(why)),
            _ => Err(Refusal::failed("cordon gave no socket")),
        }
    }
}

/// A listening socket that cordon made.
pub(crate) fn listener(socket: OwnedFd) -> io::Result<TcpListener> {
    let listener = std::net::TcpListener::from(socket);
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

fn stream(socket: OwnedFd) -> io::Result<TcpStream> {
    let stream = std::net::TcpStream::from(socket);
    stream.set_nonblocking(true)?;
    TcpStream::from_std(stream)
}
