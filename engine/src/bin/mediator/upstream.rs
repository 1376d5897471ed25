//! The engine behind: one connection for each request, which cordon makes.

use std::io;
use std::os::unix::net::UnixStream as StdUnixStream;

use http_body_util::{BodyExt as _, Empty, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

use super::answer::{Body, streamed};
use super::control::Control;

/// Largest answer that is read whole.
const ANSWER_BYTES: usize = 64 << 20;

/// What asks the engine.
#[derive(Clone, Debug)]
pub(crate) struct Engine(Control);

/// Why it did not answer.
pub(crate) type EngineError = Box<dyn std::error::Error + Send + Sync>;

impl Engine {
    pub(crate) const fn new(control: Control) -> Self {
        Self(control)
    }

    /// Passes a request on.
    pub(crate) async fn send(
        &self,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, EngineError> {
        let (mut connection, _held) = self.open().await?;
        connection.send(request).await
    }

    /// A connection for one request, and its socket, by which it can be hung up.
    pub(crate) async fn open(&self) -> Result<(Connection, StdUnixStream), EngineError> {
        let stream = StdUnixStream::from(self.0.connect().await?);
        stream.set_nonblocking(true)?;
        let held = stream.try_clone()?;
        let stream = UnixStream::from_std(stream)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        drop(tokio::spawn(async move {
            // How it ends is in the answer, or in what was taken over.
            let _ended = connection.with_upgrades().await;
        }));
        Ok((Connection(sender), held))
    }

    /// Asks for a JSON value.
    pub(crate) async fn get(&self, target: &str) -> Result<(u16, Value), EngineError> {
        self.ask(Method::GET, target, None).await
    }

    /// Asks, and reads the answer whole. An answer that is no JSON is null.
    pub(crate) async fn ask(
        &self,
        method: Method,
        target: &str,
        json: Option<&Value>,
    ) -> Result<(u16, Value), EngineError> {
        let mut request = Request::builder().method(method).uri(target);
        let body: Body = match json {
            Some(json) => {
                request = request.header(hyper::header::CONTENT_TYPE, "application/json");
                Full::new(Bytes::from(json.to_string()))
                    .map_err(|never| match never {})
                    .boxed()
            }
            None => Empty::new().map_err(|never| match never {}).boxed(),
        };
        let answer = self.send(request.body(body)?).await?;
        let status = answer.status().as_u16();
        let bytes = read(streamed(answer.into_body())).await?;
        Ok((status, serde_json::from_slice(&bytes).unwrap_or_default()))
    }
}

/// A connection to the engine.
#[derive(Debug)]
pub(crate) struct Connection(http1::SendRequest<Body>);

impl Connection {
    /// Sends a request; the answer may come before all of it has gone.
    pub(crate) async fn send(
        &mut self,
        mut request: Request<Body>,
    ) -> Result<Response<Incoming>, EngineError> {
        request.headers_mut().insert(
            hyper::header::HOST,
            hyper::header::HeaderValue::from_static("engine"),
        );
        Ok(self.0.send_request(request).await?)
    }
}

/// Reads an answer whole.
pub(crate) async fn read(body: Body) -> Result<Bytes, EngineError> {
    Ok(Limited::new(body, ANSWER_BYTES).collect().await?.to_bytes())
}

/// What the engine says is wrong.
pub(crate) fn message(answer: &Value) -> &str {
    answer
        .get("message")
        .and_then(Value::as_str)
        .unwrap_or("it does not say why")
}

/// Whether a status is one of success.
pub(crate) fn is_good(status: u16) -> bool {
    StatusCode::from_u16(status).is_ok_and(|status| status.is_success())
}

/// An error without one.
pub(crate) fn failed(what: impl Into<String>) -> io::Error {
    io::Error::other(what.into())
}
