//! Answers to the job.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use cordon_engine::refusal::Refusal;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, TRANSFER_ENCODING};
use hyper::{Response, StatusCode};
use serde_json::Value;
use tokio::sync::mpsc;

/// A body of a request or an answer.
pub(crate) type Body = BoxBody<Bytes, io::Error>;

/// A piece of a body; an error cuts it short.
pub(crate) type Piece = io::Result<Bytes>;

/// Pieces that wait.
const PIECES: usize = 4;

struct Pieces(mpsc::Receiver<Piece>);

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.0
            .poll_recv(cx)
            .map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}

/// A body that is made while it is sent.
pub(crate) fn pieces() -> (mpsc::Sender<Piece>, Body) {
    let (sender, receiver) = mpsc::channel(PIECES);
    (sender, Pieces(receiver).boxed())
}

/// What a client or the engine sends, as it comes.
pub(crate) fn streamed(body: Incoming) -> Body {
    body.map_err(io::Error::other).boxed()
}

/// Nothing.
pub(crate) fn nothing() -> Body {
    Empty::new().map_err(|never| match never {}).boxed()
}

/// These bytes.
pub(crate) fn bytes(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed()
}

/// What the engine answers, as it comes.
pub(crate) fn passed(answer: Response<Incoming>) -> Response<Body> {
    answer.map(streamed)
}

/// What the engine answered, with another body.
pub(crate) fn changed(answer: Response<()>, value: &Value) -> Response<Body> {
    let mut answer = answer.map(|()| bytes(value.to_string()));
    let headers = answer.headers_mut();
    headers.remove(CONTENT_LENGTH);
    headers.remove(TRANSFER_ENCODING);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

/// A refusal, in the engine's form.
pub(crate) fn refused(refusal: &Refusal) -> Response<Body> {
    let mut answer = Response::new(bytes(refusal.body()));
    *answer.status_mut() = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::FORBIDDEN);
    let json = HeaderValue::from_static("application/json");
    answer.headers_mut().insert(CONTENT_TYPE, json);
    answer
}
