//! Asks the daemon: one request a connection.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::api::types::Problem;

/// Bytes of an answer.
const ANSWER_BYTES: usize = 16 << 20;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(90);

/// Why the daemon did not do it.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// It is not there.
    #[error(
        "no daemon answers on `{}`; is it running? `systemctl status cordon`, or start `cordon daemon`",
        path.display()
    )]
    NoDaemon {
        /// Where it was looked for.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Somebody else listens.
    #[error(
        "what answers on `{}` is a program of user {uid}, and not the daemon, which is root's",
        path.display()
    )]
    Stranger {
        /// Where.
        path: PathBuf,
        /// Whose.
        uid: u32,
    },
    /// It says no.
    #[error("{error}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// Its words.
        error: String,
    },
    /// What it says is not understood.
    #[error("the daemon's answer is not understood; are both of the same version?")]
    Answer(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It takes too long.
    #[error("the daemon did not answer in {} s", PATIENCE.as_secs())]
    TooSlow,
}

/// The daemon of a host.
#[derive(Clone, Debug)]
pub struct Client {
    path: PathBuf,
}

impl Client {
    /// Of the daemon with this socket.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
        }
    }

    /// Gets something.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let response = self.ask(Method::GET, path, Bytes::new()).await?;
        read(response).await
    }

    /// Has something done.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).map_err(|error| ClientError::Answer(error.into()))?;
        let response = self.ask(Method::POST, path, body.into()).await?;
        read(response).await
    }

    /// Gets lines as they come, until there are no more.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn lines(&self, path: &str, mut take: impl FnMut(&str)) -> Result<(), ClientError> {
        let response = self.ask(Method::GET, path, Bytes::new()).await?;
        let mut response = checked(response).await?;
        let mut held = Vec::new();
        while let Some(frame) = response.body_mut().frame().await {
            let frame = frame.map_err(|error| ClientError::Answer(error.into()))?;
            let Some(data) = frame.data_ref() else {
                continue;
            };
            held.extend_from_slice(data);
            while let Some(end) = held.iter().position(|byte| *byte == b'\n') {
                let rest = held.split_off(end.saturating_add(1));
                let line = std::mem::replace(&mut held, rest);
                take(String::from_utf8_lossy(&line).trim_end());
            }
            if held.len() > ANSWER_BYTES {
                return Err(ClientError::Answer("a line without end".into()));
            }
        }
        Ok(())
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Response<Incoming>, ClientError> {
        let stream =
            UnixStream::connect(&self.path)
                .await
                .map_err(|source| ClientError::NoDaemon {
                    path: self.path.clone(),
                    source,
                })?;
        // Who is believed that a job is enforced could have it run without.
        let uid = stream
            .peer_cred()
            .map_err(|error| ClientError::Answer(error.into()))?
            .uid();
        if uid != 0 {
            return Err(ClientError::Stranger {
                path: self.path.clone(),
                uid,
            });
        }
        let other = |error: hyper::Error| ClientError::Answer(error.into());
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(other)?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "the connection to the daemon ended badly");
            }
        });
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(hyper::header::HOST, "cordon")
            .header(hyper::header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| ClientError::Answer(error.into()))?;
        match timeout(PATIENCE, sender.send_request(request)).await {
            Ok(response) => response.map_err(other),
            Err(_elapsed) => Err(ClientError::TooSlow),
        }
    }
}

async fn checked(response: Response<Incoming>) -> Result<Response<Incoming>, ClientError> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let bytes = body(response).await?;
    let error = serde_json::from_slice::<Problem>(&bytes).map_or_else(
        |_| String::from_utf8_lossy(&bytes).into_owned(),
        |problem| problem.error,
    );
    Err(ClientError::Refused {
        status: StatusCode::as_u16(&status),
        error,
    })
}

async fn read<T: DeserializeOwned>(response: Response<Incoming>) -> Result<T, ClientError> {
    let bytes = body(checked(response).await?).await?;
    serde_json::from_slice(&bytes).map_err(|error| ClientError::Answer(error.into()))
}

async fn body(response: Response<Incoming>) -> Result<Bytes, ClientError> {
    let limited = Limited::new(response.into_body(), ANSWER_BYTES);
    let collected = limited.collect().await.map_err(ClientError::Answer)?;
    Ok(collected.to_bytes())
}
