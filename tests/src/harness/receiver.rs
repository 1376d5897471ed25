//! TCP and UDP listeners that echo, and count what reached them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use crate::harness::namespace::Namespace;
use crate::harness::servers::Servers;

/// What reached one address.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Received {
    /// TCP connections.
    pub connections: u64,
    /// UDP datagrams.
    pub datagrams: u64,
    /// Bytes of both.
    pub bytes: u64,
}

/// Accepts connections and resets each at once: no port has to wait before it is used again.
pub fn reset_connections(
    servers: &Servers,
    namespace: &Namespace,
    address: SocketAddr,
) -> Result<()> {
    let listener = namespace.run(|| {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    })?;
    let _runtime = servers.enter();
    let listener = TcpListener::from_std(listener)?;
    servers.add(async move {
        while let Ok((stream, _peer)) = listener.accept().await {
            if stream.set_zero_linger().is_err() {
                return;
            }
        }
    });
    Ok(())
}

type Counters = Arc<Mutex<BTreeMap<SocketAddr, Received>>>;

/// The listeners of one machine.
#[derive(Clone, Debug, Default)]
pub struct Receiver {
    counters: Counters,
}

impl Receiver {
    /// Listens on TCP and UDP at each address, inside a namespace.
    pub fn listen(
        &self,
        servers: &Servers,
        namespace: &Namespace,
        addresses: &[SocketAddr],
    ) -> Result<()> {
        for &address in addresses {
            let (tcp, udp) = namespace.run(|| {
                let tcp = std::net::TcpListener::bind(address)?;
                let udp = std::net::UdpSocket::bind(address)?;
                tcp.set_nonblocking(true)?;
                udp.set_nonblocking(true)?;
                Ok((tcp, udp))
            })?;
            let _runtime = servers.enter();
            let context = || format!("listen on {address}");
            let tcp = TcpListener::from_std(tcp).with_context(context)?;
            let udp = UdpSocket::from_std(udp).with_context(context)?;
            servers.add(serve_tcp(tcp, address, Arc::clone(&self.counters)));
            servers.add(serve_udp(udp, address, Arc::clone(&self.counters)));
        }
        Ok(())
    }

    /// What reached one address so far.
    pub fn at(&self, address: SocketAddr) -> Received {
        let counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        counters.get(&address).copied().unwrap_or_default()
    }
}

fn count(counters: &Counters, address: SocketAddr, add: impl FnOnce(&mut Received)) {
    let mut counters = counters.lock().unwrap_or_else(PoisonError::into_inner);
    add(counters.entry(address).or_default());
}

async fn serve_tcp(listener: TcpListener, address: SocketAddr, counters: Counters) {
    while let Ok((stream, _peer)) = listener.accept().await {
        count(&counters, address, |received| received.connections += 1);
        drop(tokio::spawn(echo(stream, address, Arc::clone(&counters))));
    }
}

async fn echo(mut stream: TcpStream, address: SocketAddr, counters: Counters) {
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
        count(&counters, address, |received| {
            received.bytes += length as u64;
        });
        let data = buffer.get(..length).unwrap_or_default();
        if stream.write_all(data).await.is_err() {
            return;
        }
    }
}

async fn serve_udp(socket: UdpSocket, address: SocketAddr, counters: Counters) {
    let mut buffer = [0; 4096];
    while let Ok((length, peer)) = socket.recv_from(&mut buffer).await {
        count(&counters, address, |received| {
            received.datagrams += 1;
            received.bytes += length as u64;
        });
        let data = buffer.get(..length).unwrap_or_default();
        drop(socket.send_to(data, peer).await);
    }
}
