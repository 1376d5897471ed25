//! Connections of the job.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::mediator::Mediator;

/// Connections at once. Others wait.
const CONNECTIONS: usize = 256;
/// How long a client may take to say what it wants.
const HEAD_PATIENCE: Duration = Duration::from_secs(30);
/// Bytes of a request's head.
const HEAD_BYTES: usize = 64 << 10;

/// Serves the job until this is dropped.
pub(crate) async fn serve(mediator: Arc<Mediator>, listener: TcpListener) -> io::Result<()> {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let place = Arc::clone(&room)
            .acquire_owned()
            .await
            .map_err(io::Error::other)?;
        let Ok((stream, _peer)) = listener.accept().await else {
            // Too many files are open, or the client has gone: the next one may do better.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let mediator = Arc::clone(&mediator);
        drop(tokio::spawn(async move {
            let answer = service_fn(move |request| {
                let mediator = Arc::clone(&mediator);
                async move { Ok::<_, Infallible>(mediator.answer(request).await) }
            });
            let mut server = http1::Builder::new();
            server
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_PATIENCE)
                .max_buf_size(HEAD_BYTES);
            // A client that hangs up has said all it wanted to.
            let _ended = server
                .serve_connection(TokioIo::new(stream), answer)
                .with_upgrades()
                .await;
            drop(place);
        }));
    }
}
