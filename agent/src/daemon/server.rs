//! The control socket: accepts, asks the kernel who that is, and has HTTP spoken within bounds. A slow, huge or
//! endless request costs a connection of a few, for a few seconds.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use nix::unistd::Group;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::peer::Peer;
use super::{Daemon, api};

/// Connections at once; more wait in the kernel.
const CONNECTIONS: usize = 64;
/// How long a request may take to be sent.
const HEADERS: Duration = Duration::from_secs(5);
/// How long a connection may last that watches nothing. A start waits for its proof.
const WHOLE: Duration = Duration::from_mins(1);
/// Bytes of the header of a request.
const HEADER_BYTES: usize = 16 << 10;
/// The group whose members may connect.
const GROUP: &str = "cordon";

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Another daemon has it.
    #[error("another daemon listens on `{}`", .0.display())]
    InUse(PathBuf),
    /// Another program has the port for metrics.
    #[error("another program listens on `{0}`; end it, or name another port in `[metrics] listen`")]
    PortInUse(SocketAddr),
    /// There is no such port to be had.
    #[error("cannot listen on `{address}`, as `[metrics] listen` says")]
    Port {
        /// Where.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It cannot be made.
    #[error("cannot listen on `{}`", path.display())]
    Bind {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Makes the socket, not to be waited on: for root and the group `cordon`, or, without that group, for everybody. Who asks is judged by
/// the kernel's word and not by the mode of a file, so that runners of any user can ask.
///
/// # Errors
/// Another daemon listens there, or it cannot be made.
pub fn bind(path: &Path) -> Result<std::os::unix::net::UnixListener, ServerError> {
    bind_for(path, 0o666)
}

/// Makes a socket for root and the group `cordon`; `otherwise` is its mode where there is no such group.
///
/// # Errors
/// As [`bind`].
pub(super) fn bind_for(
    path: &Path,
    otherwise: u32,
) -> Result<std::os::unix::net::UnixListener, ServerError> {
    let failed = |source| ServerError::Bind {
        path: path.to_owned(),
        source,
    };
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(ServerError::InUse(path.to_owned()));
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        removed => removed.map_err(failed)?,
    }
    let listener = std::os::unix::net::UnixListener::bind(path).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let group = Group::from_name(GROUP).ok().flatten();
    let mode = if let Some(group) = group {
        nix::unistd::chown(path, None, Some(group.gid)).map_err(|errno| failed(errno.into()))?;
        0o660
    } else {
        otherwise
    };
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(failed)?;
    Ok(listener)
}

/// Answers until it is aborted.
pub async fn serve(listener: UnixListener, daemon: Arc<Daemon>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let daemon = Arc::clone(&daemon);
                tokio::spawn(async move {
                    answer(stream, daemon).await;
                    drop(permit);
                });
            }
            Err(error) => {
                // Out of descriptors, most likely: not worth a busy loop.
                tracing::warn!(%error, "a connection was not accepted");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn answer(stream: UnixStream, daemon: Arc<Daemon>) {
    let peer = match Peer::of(&stream) {
        Ok(peer) => peer,
        Err(error) => {
            tracing::warn!(%error, "a caller that cannot be known was not answered");
            return;
        }
    };
    let watching = Arc::new(api::Watching::default());
    let router = api::router(daemon, peer, Arc::clone(&watching));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS)
        .max_buf_size(HEADER_BYTES)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(connection);
    let served = match timeout(WHOLE, connection.as_mut()).await {
        Ok(served) => served,
        // Who watches a job may do so as long as it lasts.
        Err(_elapsed) if watching.is_so() => connection.await,
        Err(_elapsed) => return,
    };
    if let Err(error) = served {
        tracing::debug!(%error, "a connection ended badly");
    }
}
