//! A session with one repository of one registry: who we are there, where it sends us, and how often
//! it is asked again.
//!
//! **Invariants**: what says who we are goes to the registry's own origin alone, and credentials only
//! where nobody else reads them; a registry that asks for it a second time is not answered.

use std::cell::RefCell;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use ureq::http::Method;
use zeroize::Zeroizing;

use crate::auth::challenge::{self, Challenge};
use crate::auth::{self, Credentials};
use crate::digest::Digest;
use crate::error::OciError;
use crate::origin::{Address, Origin, Scheme};
use crate::reference::Reference;
use crate::wire::{Answer, Question, Wire};

/// Most redirects in a row: registries send a client on once, to their store.
const MAX_REDIRECTS: usize = 4;

/// How often something is asked that a busy registry may answer later.
const ATTEMPTS: u32 = 3;

/// Time before it is asked again; twice that the next time.
const PAUSE: Duration = Duration::from_millis(300);

/// 64 KiB: the longest answer of a token service.
const MAX_TOKEN: u64 = 64 << 10;

/// 4 KiB: what is read of an answer that only says what went wrong.
const MAX_SAID: u64 = 4 << 10;

/// How a registry is spoken to.
#[derive(Clone, Debug)]
pub struct Options {
    /// Without TLS.
    pub plain_http: bool,
    /// Certificates (PEM) that count besides those of the machine.
    pub authority: Option<PathBuf>,
    /// Where logins are; docker's and podman's places if not given.
    pub auth_file: Option<PathBuf>,
    /// How long all of it may take.
    pub timeout: Duration,
}

/// What will be done, for which a token is asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Access {
    /// Reading alone.
    Pull,
    /// Reading and writing.
    Push,
}

/// A repository.
pub struct Registry {
    pub(crate) reference: Reference,
    origin: Origin,
    pub(crate) wire: Wire,
    access: Access,
    auth_file: Option<PathBuf>,
    /// The value of the header that says who we are, once the registry asked.
    shown: RefCell<Option<Zeroizing<String>>>,
}

/// What is asked of a repository.
#[derive(Default)]
pub(crate) struct Request<'r> {
    pub(crate) accept: Option<&'r str>,
    /// Type and content of what is sent.
    pub(crate) body: Option<(&'r str, &'r [u8])>,
    /// A condition: the name of its header, and its value.
    pub(crate) condition: Option<(&'static str, String)>,
}

#[derive(Deserialize)]
struct Token {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
}

impl Registry {
    /// Prepares a session; nothing is sent yet.
    ///
    /// # Errors
    /// A file of the options cannot be used, or the host is none.
    pub fn new(reference: Reference, options: &Options, pushes: bool) -> Result<Self, OciError> {
        let scheme = if options.plain_http {
            Scheme::Http
        } else {
            Scheme::Https
        };
        let origin = Origin::of_registry(&reference.host, scheme);
        let origin = origin
            .ok_or_else(|| crate::reference::ReferenceError::Host(format!("oci://{reference}")))?;
        Ok(Self {
            wire: Wire::new(options.timeout, options.authority.as_deref())?,
            origin,
            access: if pushes { Access::Push } else { Access::Pull },
            auth_file: options.auth_file.clone(),
            shown: RefCell::default(),
            reference,
        })
    }

    /// An address of the repository.
    pub(crate) fn at(&self, kind: &str, what: &str) -> Address {
        let name = &self.reference.name;
        self.origin.at(&format!("/v2/{name}/{kind}/{what}"))
    }

    /// Asks for something that may be asked for twice; a registry that is busy is asked again.
    pub(crate) fn ask(
        &self,
        method: &Method,
        address: &Address,
        request: &Request<'_>,
    ) -> Result<Answer, OciError> {
        let mut pause = PAUSE;
        for _ in 1..ATTEMPTS {
            match self.once(method, address, request) {
                Ok(answer) if !is_busy(answer.status) => return Ok(answer),
                Err(error) if !matches!(error, OciError::Unreachable { .. }) => return Err(error),
                Ok(_) | Err(_) if self.wire.left() <= pause => break,
                Ok(_) | Err(_) => {}
            }
            std::thread::sleep(pause);
            pause = pause.saturating_mul(2);
        }
        self.once(method, address, request)
    }

    /// Asks once; says who we are if the registry asks for it.
    pub(crate) fn once(
        &self,
        method: &Method,
        address: &Address,
        request: &Request<'_>,
    ) -> Result<Answer, OciError> {
        let answer = self.follow(method, address, request)?;
        if answer.status != 401 || address.origin != self.origin || self.shown.borrow().is_some() {
            return self.permitted(answer, address);
        }
        let challenges = answer.headers.get_all("www-authenticate");
        let challenge = challenges
            .iter()
            .filter_map(|value| value.to_str().ok())
            .find_map(challenge::parse);
        let Some(challenge) = challenge else {
            return self.permitted(answer, address);
        };
        let shown = self.answer_to(&challenge)?;
        let Some(shown) = shown else {
            return self.permitted(answer, address);
        };
        self.shown.replace(Some(shown));
        let answer = self.follow(method, address, request)?;
        self.permitted(answer, address)
    }

    fn permitted(&self, answer: Answer, address: &Address) -> Result<Answer, OciError> {
        match answer.status {
            status @ (401 | 403) => Err(OciError::Unauthorised {
                origin: self.origin.to_string(),
                what: address.path.clone(),
                status,
            }),
            _ => Ok(answer),
        }
    }

    /// Asks, and goes where the registry sends those who read.
    fn follow(
        &self,
        method: &Method,
        address: &Address,
        request: &Request<'_>,
    ) -> Result<Answer, OciError> {
        let mut address = address.clone();
        for _ in 0..=MAX_REDIRECTS {
            let answer = self.exchange(method, &address, request)?;
            if !matches!(answer.status, 301 | 302 | 303 | 307 | 308) {
                return Ok(answer);
            }
            let location = answer.header("location").unwrap_or_default().to_owned();
            let refused = |reason| OciError::Redirect {
                origin: address.origin.to_string(),
                location: location.clone(),
                reason,
            };
            if *method != Method::GET && *method != Method::HEAD {
                return Err(refused("what is sent is sent to the registry alone"));
            }
            address = address.follow(&location).map_err(refused)?;
        }
        Err(OciError::Redirect {
            origin: self.origin.to_string(),
            location: address.to_string(),
            reason: "that is one redirect after the other",
        })
    }

    /// One exchange, with what says who we are if it is with the registry itself.
    fn exchange(
        &self,
        method: &Method,
        address: &Address,
        request: &Request<'_>,
    ) -> Result<Answer, OciError> {
        let mut headers = Vec::new();
        if let Some(accept) = request.accept {
            headers.push(("accept", accept.to_owned()));
        }
        if let Some((media_type, _)) = request.body {
            headers.push(("content-type", media_type.to_owned()));
        }
        if let Some((name, value)) = &request.condition {
            headers.push((name, value.clone()));
        }
        if let Some(shown) = &*self.shown.borrow()
            && address.origin == self.origin
        {
            headers.push(("authorization", shown.as_str().to_owned()));
        }
        self.wire.ask(&Question {
            method: method.clone(),
            address,
            headers,
            body: request.body.map(|(_, bytes)| bytes),
        })
    }

    /// What to show to a registry that asks; none if there is nothing.
    pub(crate) fn answer_to(
        &self,
        challenge: &Challenge,
    ) -> Result<Option<Zeroizing<String>>, OciError> {
        let credentials = auth::find(self.auth_file.as_deref(), &self.reference.host)?;
        if credentials.is_some() && !self.origin.is_private() {
            let origin = self.origin.to_string();
            return Err(OciError::PlainCredentials { origin });
        }
        match challenge {
            Challenge::Basic => Ok(credentials.as_ref().and_then(Credentials::basic)),
            Challenge::Bearer { realm, service } => self
                .token(realm, service.as_deref(), credentials.as_ref())
                .map(Some),
        }
    }

    /// A token of the registry's service, for what is about to be done and no more.
    fn token(
        &self,
        realm: &str,
        service: Option<&str>,
        credentials: Option<&Credentials>,
    ) -> Result<Zeroizing<String>, OciError> {
        let unusable = || OciError::Realm {
            realm: realm.to_owned(),
        };
        let address = Address::parse(realm).ok_or_else(unusable)?;
        let here = address.origin.is_loopback() && self.origin.is_loopback();
        let public = credentials.is_none() && self.origin.scheme == Scheme::Http;
        if address.origin.scheme == Scheme::Http && !here && !public {
            return Err(unusable());
        }
        let name = &self.reference.name;
        let actions = match self.access {
            Access::Pull => "pull",
            Access::Push => "pull,push",
        };
        let mut parameters = vec![("scope", format!("repository:{name}:{actions}"))];
        parameters.extend(service.map(|service| ("service", service.to_owned())));
        let mut headers = vec![("accept", "application/json".to_owned())];
        let mut form = None;
        if let Some(Credentials::Refresh(token)) = credentials {
            parameters.push(("grant_type", "refresh_token".to_owned()));
            parameters.push(("refresh_token", token.as_str().to_owned()));
            parameters.push(("client_id", "cordon-oci".to_owned()));
            headers.push((
                "content-type",
                "application/x-www-form-urlencoded".to_owned(),
            ));
            form = Some(Zeroizing::new(encode(&parameters)));
        } else if let Some(basic) = credentials.and_then(Credentials::basic) {
            headers.push(("authorization", basic.as_str().to_owned()));
        }
        let address = match &form {
            Some(_) => address,
            None => address.with(&encode(&parameters)),
        };
        let answer = self.wire.ask(&Question {
            method: form.as_ref().map_or(Method::GET, |_| Method::POST),
            address: &address,
            headers,
            body: form.as_ref().map(|form| form.as_bytes()),
        })?;
        if answer.status != 200 {
            return Err(OciError::Unauthorised {
                origin: address.origin.to_string(),
                what: "a token".to_owned(),
                status: answer.status,
            });
        }
        let body = Zeroizing::new(self.wire.read(answer, "the token", MAX_TOKEN)?);
        let none = || OciError::refused("the token", "it is not the JSON that token services give");
        let token: Token = serde_json::from_slice(&body).map_err(|_quotes_the_secret| none())?;
        let token = token.token.or(token.access_token).ok_or_else(none)?;
        let token = Zeroizing::new(token);
        // What may stand in a header (RFC 6750, 2.1).
        let good = |byte: u8| {
            byte.is_ascii_alphanumeric()
                || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/' | b'=')
        };
        if token.is_empty() || !token.bytes().all(good) {
            return Err(none());
        }
        Ok(Zeroizing::new(format!("Bearer {}", token.as_str())))
    }

    /// The error for a status that was not expected, with what the registry says of it.
    pub(crate) fn unexpected(&self, answer: Answer, what: &str) -> OciError {
        let status = answer.status;
        // What cannot be read says nothing.
        let body = self.wire.read(answer, what, MAX_SAID).unwrap_or_default();
        let said = serde_json::from_slice::<serde_json::Value>(&body).ok();
        let said = said.as_ref().and_then(|value| {
            let message = value.pointer("/errors/0/message")?.as_str()?;
            Some(format!(
                ": {}",
                message.chars().take(200).collect::<String>()
            ))
        });
        OciError::Status {
            origin: self.origin.to_string(),
            what: what.to_owned(),
            status,
            said: said.unwrap_or_default(),
        }
    }

    /// Whether something is there.
    pub(crate) fn has(
        &self,
        kind: &str,
        digest: &Digest,
        accept: Option<&str>,
    ) -> Result<bool, OciError> {
        let address = self.at(kind, digest.as_str());
        let request = Request {
            accept,
            ..Request::default()
        };
        let answer = self.ask(&Method::HEAD, &address, &request)?;
        match answer.status {
            200 => Ok(true),
            404 => Ok(false),
            _ => Err(self.unexpected(answer, &format!("HEAD {}", address.path))),
        }
    }
}

/// Too many requests, or a failure that may pass.
const fn is_busy(status: u16) -> bool {
    matches!(status, 429 | 500 | 502 | 503 | 504)
}

/// Parameters as in a query or a form; all but letters, digits and `-._~` is escaped.
fn encode(parameters: &[(&str, String)]) -> String {
    let mut text = String::new();
    for (name, value) in parameters {
        if !text.is_empty() {
            text.push('&');
        }
        text.push_str(name);
        text.push('=');
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
                text.push(char::from(byte));
            } else {
                text.push('%');
                let nibbles = [byte >> 4, byte & 0xf].into_iter();
                let digits = nibbles.filter_map(|digit| char::from_digit(digit.into(), 16));
                text.extend(digits.map(|digit| digit.to_ascii_uppercase()));
            }
        }
    }
    text
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry")
            .field("reference", &self.reference)
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}
