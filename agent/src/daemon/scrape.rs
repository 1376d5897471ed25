//! Serves metrics: a page for `GET /metrics`, and nothing else, to whoever can reach a loopback port or a Unix socket.
//!
//! Nobody who asks waits for somebody else: there is room for a few connections, and where there is none the oldest is
//! closed, which is one that has not sent its request in the time that a thousand others took to come. Pages that are
//! asked for in one moment are one page, so that asking costs the kernel nothing.

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use super::Daemon;
use super::server::{self, ServerError};
use crate::metrics::Listen;
use crate::metrics::text::CONTENT_TYPE;

/// Connections at once.
const CONNECTIONS: usize = 32;
/// How long a request may take to be sent.
const HEADERS: Duration = Duration::from_secs(2);
/// How long a connection may last.
const WHOLE: Duration = Duration::from_secs(10);
/// Bytes of the header of a request: the least that hyper takes.
const HEADER_BYTES: usize = 8 << 10;
/// For how long a page is good: less than anybody scrapes.
const FRESH: Duration = Duration::from_millis(200);

/// Where metrics are served, not to be waited on yet.
#[derive(Debug)]
pub enum Listener {
    /// A loopback port.
    Tcp(TcpListener),
    /// A socket in the file system.
    Unix(UnixListener),
}

/// Makes it. A Unix socket is for root and the group `cordon`, or, without that group, for root alone.
///
/// # Errors
/// The port or the socket is another's, or cannot be made.
pub fn bind(listen: &Listen) -> Result<Listener, ServerError> {
    match listen {
        Listen::Unix(path) => server::bind_for(path, 0o600).map(Listener::Unix),
        Listen::Tcp(address) => {
            port(*address)
                .map(Listener::Tcp)
                .map_err(|source| match source.kind() {
                    io::ErrorKind::AddrInUse => ServerError::PortInUse(*address),
                    _ => ServerError::Port {
                        address: *address,
                        source,
                    },
                })
        }
    }
}

fn port(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// The last page, and when it was made.
#[derive(Debug, Default)]
pub struct Last(Mutex<Option<(Instant, Arc<str>)>>);

impl Last {
    fn page(&self, daemon: &Daemon) -> Arc<str> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((made, page)) = &*last
            && made.elapsed() < FRESH
        {
            return Arc::clone(page);
        }
        let page: Arc<str> = daemon.metrics().into();
        *last = Some((Instant::now(), Arc::clone(&page)));
        page
    }
}

/// What a connection needs.
#[derive(Clone, Debug)]
struct Shared {
    daemon: Arc<Daemon>,
    last: Arc<Last>,
}

/// Answers until it is aborted.
///
/// # Errors
/// The socket cannot be waited on.
#[expect(
    clippy::infinite_loop,
    reason = "its task is aborted when the daemon stops"
)]
pub async fn serve(listener: Listener, daemon: Arc<Daemon>) -> io::Result<()> {
    let shared = Shared {
        daemon,
        last: Arc::default(),
    };
    let router = Router::new()
        .route("/metrics", get(metrics))
        .fallback(async || (StatusCode::NOT_FOUND, "metrics are at /metrics\n"))
        .with_state(shared);
    let mut open = VecDeque::new();
    match listener {
        Listener::Tcp(listener) => {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            loop {
                take(listener.accept().await, &router, &mut open).await;
            }
        }
        Listener::Unix(listener) => {
            let listener = tokio::net::UnixListener::from_std(listener)?;
            loop {
                take(listener.accept().await, &router, &mut open).await;
            }
        }
    }
}

/// Has a connection answered, and closes the oldest where there are too many.
async fn take<S, A>(accepted: io::Result<(S, A)>, router: &Router, open: &mut VecDeque<AbortHandle>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    match accepted {
        Ok((stream, _)) => {
            open.retain(|connection| !connection.is_finished());
            while open.len() >= CONNECTIONS {
                if let Some(oldest) = open.pop_front() {
                    oldest.abort();
                }
            }
            let connection = tokio::spawn(answer(stream, router.clone()));
            open.push_back(connection.abort_handle());
        }
        Err(error) => {
            // Out of descriptors, most likely: not worth a busy loop.
            tracing::warn!(%error, "a connection for metrics was not accepted");
            sleep(Duration::from_millis(100)).await;
        }
    }
}

async fn answer<S>(stream: S, router: Router)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS)
        .max_buf_size(HEADER_BYTES)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    match timeout(WHOLE, connection).await {
        Ok(Err(error)) => tracing::debug!(%error, "a connection for metrics ended badly"),
        Ok(Ok(())) => {}
        Err(_elapsed) => tracing::debug!("a connection for metrics took too long"),
    }
}

async fn metrics(State(shared): State<Shared>) -> Response {
    let page = shared.last.page(&shared.daemon);
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], page.to_string()).into_response()
}
