//! One HTTP exchange, bounded in time and size. Knows nothing of registries.
//!
//! **Invariants**: no redirect is followed here; no body is longer than its caller said; nothing
//! lasts beyond the deadline that all exchanges share.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::crypto::ring;
use ureq::http::{self, HeaderMap, HeaderValue, Method};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Body, Proxy};

use crate::digest::{Digest, Hasher};
use crate::error::OciError;
use crate::origin::Address;

/// Looking up a name, and connecting: a registry that is there answers within seconds.
const CONNECT: Duration = Duration::from_secs(15);

/// 32 KiB of headers: registries send some hundred bytes, with signed addresses some thousand.
const MAX_HEADERS: usize = 32 << 10;

/// 1 MiB: the largest file of certificates.
const MAX_AUTHORITIES: u64 = 1 << 20;

/// What speaks HTTP, and until when.
pub(crate) struct Wire {
    remote: ureq::Agent,
    /// The same without a proxy: for this machine.
    local: ureq::Agent,
    deadline: Instant,
    /// What the deadline was made of, for errors.
    seconds: u64,
}

/// What is asked.
pub(crate) struct Question<'q> {
    pub(crate) method: Method,
    pub(crate) address: &'q Address,
    pub(crate) headers: Vec<(&'static str, String)>,
    /// Sent as it is; its type is among the headers.
    pub(crate) body: Option<&'q [u8]>,
}

/// What comes back, its body not read yet.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    origin: String,
    body: Body,
}

impl Wire {
    /// `authority` is a file of certificates that count besides those of the machine.
    pub(crate) fn new(timeout: Duration, authority: Option<&Path>) -> Result<Self, OciError> {
        let mut roots: Vec<Certificate<'static>> = rustls_native_certs::load_native_certs()
            .certs
            .iter()
            .map(|certificate| Certificate::from_der(certificate).to_owned())
            .collect();
        if let Some(path) = authority {
            roots.extend(authorities(path)?);
        }
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::Specific(Arc::new(roots)))
            .unversioned_rustls_crypto_provider(Arc::new(ring::default_provider()))
            .build();
        let agent = |proxy: Option<Proxy>| {
            ureq::Agent::config_builder()
                .http_status_as_error(false)
                .max_redirects(0)
                .max_redirects_will_error(false)
                .proxy(proxy)
                .tls_config(tls.clone())
                .max_response_header_size(MAX_HEADERS)
                .timeout_resolve(Some(CONNECT))
                .timeout_connect(Some(CONNECT))
                .user_agent(concat!("cordon-oci/", env!("CARGO_PKG_VERSION")))
                .build()
                .new_agent()
        };
        let now = Instant::now();
        Ok(Self {
            remote: agent(Proxy::try_from_env()),
            local: agent(None),
            deadline: now.checked_add(timeout).unwrap_or(now),
            seconds: timeout.as_secs(),
        })
    }

    /// The time that is left.
    pub(crate) fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Asks once.
    pub(crate) fn ask(&self, question: &Question<'_>) -> Result<Answer, OciError> {
        let origin = question.address.origin.to_string();
        let agent = if question.address.origin.is_loopback() {
            &self.local
        } else {
            &self.remote
        };
        let mut builder = http::Request::builder()
            .method(question.method.clone())
            .uri(question.address.to_string());
        for (name, value) in &question.headers {
            let mut value =
                HeaderValue::from_str(value).map_err(|error| OciError::Unreachable {
                    origin: origin.clone(),
                    reason: format!("the header `{name}` cannot be sent: {error}"),
                })?;
            value.set_sensitive(*name == "authorization");
            builder = builder.header(*name, value);
        }
        let failed = |error: ureq::Error| self.error(&origin, &error);
        let built = |error: http::Error| failed(error.into());
        let left = Some(self.left().max(Duration::from_millis(1)));
        // A method that may carry a body says that it carries none: left to itself the library sends an
        // empty one in chunks, which registries need not take (distribution specification, "Pushing a
        // blob in two requests": `Content-Length: 0`).
        let carries = !matches!(question.method, Method::GET | Method::HEAD);
        let body = question.body.or_else(|| carries.then_some(&[][..]));
        let answered = if let Some(body) = body {
            let request = builder.body(body).map_err(built)?;
            let request = agent.configure_request(request);
            agent.run(request.timeout_global(left).build())
        } else {
            let request = builder.body(()).map_err(built)?;
            let request = agent.configure_request(request);
            agent.run(request.timeout_global(left).build())
        };
        let (parts, body) = answered.map_err(failed)?.into_parts();
        Ok(Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            origin,
            body,
        })
    }

    /// The error of a library, in the words of this one.
    fn error(&self, origin: &str, error: &ureq::Error) -> OciError {
        if matches!(error, ureq::Error::Timeout(_)) && self.left().is_zero() {
            return OciError::Timeout {
                origin: origin.to_owned(),
                seconds: self.seconds,
            };
        }
        OciError::Unreachable {
            origin: origin.to_owned(),
            reason: error.to_string(),
        }
    }

    /// The whole body, if it has at most `limit` bytes.
    pub(crate) fn read(&self, answer: Answer, what: &str, limit: u64) -> Result<Vec<u8>, OciError> {
        let mut bytes = Vec::new();
        self.copy(answer, what, limit, |part| {
            bytes.extend_from_slice(part);
            Ok(())
        })?;
        Ok(bytes)
    }

    /// Gives the body to `sink`, part by part; returns its length and digest.
    pub(crate) fn copy(
        &self,
        answer: Answer,
        what: &str,
        limit: u64,
        mut sink: impl FnMut(&[u8]) -> Result<(), OciError>,
    ) -> Result<(u64, Digest), OciError> {
        let Answer { body, origin, .. } = answer;
        let too_large = || OciError::refused(what, format!("it has more than {limit} bytes"));
        if body.content_length().is_some_and(|length| length > limit) {
            return Err(too_large());
        }
        let mut reader = body.into_reader();
        let mut buffer = vec![0; 64 << 10];
        let (mut length, mut hasher) = (0_u64, Hasher::default());
        loop {
            let read = reader
                .read(&mut buffer)
                .map_err(|error| self.error(&origin, &ureq::Error::from(error)))?;
            let part = buffer.get(..read).unwrap_or_default();
            if part.is_empty() {
                return Ok((length, hasher.finish()));
            }
            length = length.saturating_add(part.len() as u64);
            if length > limit {
                return Err(too_large());
            }
            hasher.update(part);
            sink(part)?;
        }
    }
}

impl Answer {
    /// A header, if there is one of this name that is text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

fn authorities(path: &Path) -> Result<Vec<Certificate<'static>>, OciError> {
    let text = read_file(path, MAX_AUTHORITIES)?;
    let mut found = Vec::new();
    for item in parse_pem(&text) {
        if let Ok(PemItem::Certificate(certificate)) = item {
            found.push(certificate);
        }
    }
    if found.is_empty() {
        return Err(OciError::Authority { path: path.into() });
    }
    Ok(found)
}

/// Reads a file of at most `limit` bytes.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place of this crate that opens files to read; its errors name the path"
)]
pub(crate) fn read_file(path: &Path, limit: u64) -> Result<Vec<u8>, OciError> {
    let file = std::fs::File::open(path).map_err(OciError::file("open", path))?;
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(OciError::file("read", path))?;
    if bytes.len() as u64 > limit {
        let path = PathBuf::from(path);
        let source = std::io::Error::from(std::io::ErrorKind::FileTooLarge);
        return Err(OciError::File {
            action: "read",
            path,
            source,
        });
    }
    Ok(bytes)
}
