//! Answers to the job.

use cordon_engine::refusal::Refusal;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, TRANSFER_ENCODING};
use hyper::{Response, StatusCode};
use serde_json::Value;

/// A body of a request or an answer.
pub(crate) type Body = BoxBody<Bytes, hyper::Error>;

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
    answer.map(BodyExt::boxed)
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
