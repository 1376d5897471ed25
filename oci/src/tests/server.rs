//! A registry for tests: blobs, manifests and referrers in memory, spoken to over a socket of this
//! machine. It knows the distribution specification as far as evidence needs it, and can be told to
//! misbehave.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use crate::digest::Digest;

/// What a client asked.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: Vec<u8>,
}

/// What it is told.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Content,
}

#[derive(Clone, Debug)]
pub(super) enum Content {
    Bytes(Vec<u8>),
    /// Never ends; no length is said.
    Endless,
    /// A byte now and then, of as many as are promised.
    Drip(usize),
    /// Fewer than were promised.
    Short(Vec<u8>, usize),
    /// The connection is closed without an answer.
    Nothing,
    /// Headers without end.
    Headers,
}

/// Answers in place of the registry, where it gives an answer.
pub(super) type Hook = Box<dyn Fn(&Asked, &mut State) -> Option<Told> + Send>;

#[derive(Default)]
pub(super) struct State {
    pub(super) blobs: BTreeMap<String, Vec<u8>>,
    /// By digest and by tag: type and content.
    pub(super) manifests: BTreeMap<String, (String, Vec<u8>)>,
    /// Whether it has the Referrers API.
    pub(super) api: bool,
    /// Entries on a page of it.
    pub(super) page: usize,
    pub(super) asked: Vec<Asked>,
    pub(super) hook: Option<Hook>,
}

pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) state: Arc<Mutex<State>>,
}

impl Told {
    pub(super) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Content::Bytes(body.into()),
        }
    }

    pub(super) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub(super) fn content(status: u16, body: Content) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body,
        }
    }
}

impl Asked {
    pub(super) fn is(&self, method: &str, part: &str) -> bool {
        self.method == method && self.path.contains(part)
    }

    /// Whether it may change what the registry has.
    pub(super) fn sends(&self) -> bool {
        self.method != "GET" && self.method != "HEAD"
    }
}

impl Server {
    pub(super) fn new(api: bool) -> Self {
        Self::start(api, None)
    }

    pub(super) fn start(api: bool, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State {
            api,
            page: 1000,
            ..State::default()
        }));
        let shared = Arc::clone(&state);
        // Ends with the process; nothing waits for it.
        drop(thread::spawn(move || {
            for stream in listener.incoming() {
                let (Ok(stream), state, tls) = (stream, Arc::clone(&shared), tls.clone()) else {
                    return;
                };
                drop(thread::spawn(move || {
                    stream
                        .set_read_timeout(Some(Duration::from_secs(20)))
                        .unwrap();
                    match tls {
                        None => converse(stream, &state),
                        Some(tls) => {
                            let connection = ServerConnection::new(tls).unwrap();
                            converse(StreamOwned::new(connection, stream), &state);
                        }
                    }
                }));
            }
        }));
        Self { address, state }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(super) fn hook(&self, hook: impl Fn(&Asked, &mut State) -> Option<Told> + Send + 'static) {
        self.state().hook = Some(Box::new(hook));
    }

    /// All that was asked.
    pub(super) fn asked(&self) -> Vec<Asked> {
        self.state().asked.clone()
    }

    /// How often something was asked.
    pub(super) fn count(&self, method: &str, part: &str) -> usize {
        self.asked()
            .iter()
            .filter(|asked| asked.is(method, part))
            .count()
    }

    /// Puts an image there; returns its digest.
    pub(super) fn image(&self, content: &[u8]) -> Digest {
        let digest = Digest::of(content);
        let kind = "application/vnd.oci.image.manifest.v1+json".to_owned();
        self.state()
            .manifests
            .insert(digest.to_string(), (kind, content.to_vec()));
        digest
    }

    /// Puts any manifest there; returns its digest.
    pub(super) fn manifest(&self, value: &Value) -> Digest {
        self.image(value.to_string().as_bytes())
    }

    pub(super) fn blob(&self, content: &[u8]) -> Digest {
        let digest = Digest::of(content);
        self.state()
            .blobs
            .insert(digest.to_string(), content.to_vec());
        digest
    }
}

fn converse(mut stream: impl Read + Write, state: &Mutex<State>) {
    let Some(asked) = read(&mut stream) else {
        return;
    };
    let mut state = state
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    state.asked.push(asked.clone());
    let hook = state.hook.take();
    let told = hook.as_ref().and_then(|hook| hook(&asked, &mut state));
    state.hook = hook;
    let told = told.unwrap_or_else(|| state.answer(&asked));
    drop(state);
    // A client that had enough hangs up.
    drop(tell(&mut stream, &asked, &told));
}

fn read(stream: &mut impl Read) -> Option<Asked> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers
        .get("content-length")
        .and_then(|text| text.parse().ok())
        .unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Asked {
        method,
        path,
        headers,
        body,
    })
}

fn tell(stream: &mut impl Write, asked: &Asked, told: &Told) -> std::io::Result<()> {
    if matches!(told.body, Content::Nothing) {
        return Ok(());
    }
    write!(
        stream,
        "HTTP/1.1 {} X\r\nConnection: close\r\n",
        told.status
    )?;
    for (name, value) in &told.headers {
        write!(stream, "{name}: {value}\r\n")?;
    }
    match &told.body {
        Content::Bytes(bytes) => {
            write!(stream, "Content-Length: {}\r\n\r\n", bytes.len())?;
            if asked.method != "HEAD" {
                stream.write_all(bytes)?;
            }
        }
        Content::Short(bytes, promised) => {
            write!(stream, "Content-Length: {promised}\r\n\r\n")?;
            stream.write_all(bytes)?;
        }
        Content::Endless => {
            write!(stream, "\r\n")?;
            // Bounded, so that a client that reads for ever fails the test and not the machine.
            let block = vec![b'['; 64 << 10];
            for _ in 0..4096 {
                stream.write_all(&block)?;
            }
        }
        Content::Drip(promised) => {
            write!(stream, "Content-Length: {promised}\r\n\r\n")?;
            for _ in 0..20 {
                stream.write_all(b"x")?;
                stream.flush()?;
                thread::sleep(Duration::from_millis(500));
            }
        }
        Content::Headers => {
            for number in 0..100_000 {
                write!(stream, "X-{number}: {}\r\n", "y".repeat(100))?;
            }
        }
        Content::Nothing => {}
    }
    stream.flush()
}

impl State {
    fn answer(&mut self, asked: &Asked) -> Told {
        let (path, query) = asked.path.split_once('?').unwrap_or((&asked.path, ""));
        let Some(rest) = path.strip_prefix("/v2/app/") else {
            return Told::new(404, "");
        };
        let (kind, name) = rest.split_once('/').unwrap_or((rest, ""));
        match (asked.method.as_str(), kind) {
            ("POST", "blobs") => {
                Told::new(202, "").with("Location", "/v2/app/blobs/uploads/1?state=x")
            }
            ("PUT", "blobs") => {
                let digest = query.rsplit_once("digest=").unwrap().1.to_owned();
                assert_eq!(Digest::of(&asked.body).as_str(), digest);
                self.blobs.insert(digest, asked.body.clone());
                Told::new(201, "")
            }
            (_, "blobs") => match self.blobs.get(name) {
                Some(bytes) => Told::new(200, bytes.clone()),
                None => Told::new(404, ""),
            },
            ("PUT", "manifests") => {
                let kind = asked
                    .headers
                    .get("content-type")
                    .cloned()
                    .unwrap_or_default();
                let value: Value = serde_json::from_slice(&asked.body).unwrap();
                for layer in value
                    .pointer("/layers")
                    .and_then(Value::as_array)
                    .into_iter()
                    .flatten()
                {
                    let digest = layer["digest"].as_str().unwrap();
                    assert!(
                        self.blobs.contains_key(digest),
                        "blobs come before their manifest"
                    );
                }
                self.manifests
                    .insert(name.to_owned(), (kind, asked.body.clone()));
                let told = Told::new(201, "");
                match value.pointer("/subject/digest").and_then(Value::as_str) {
                    Some(subject) if self.api => told.with("OCI-Subject", subject),
                    _ => told,
                }
            }
            (_, "manifests") => match self.manifests.get(name) {
                Some((kind, bytes)) => Told::new(200, bytes.clone())
                    .with("Content-Type", kind)
                    .with("ETag", format!("\"{}\"", Digest::of(bytes))),
                None => Told::new(404, r#"{"errors": [{"message": "unknown"}]}"#),
            },
            ("GET", "referrers") if self.api => self.referrers(name, query),
            _ => Told::new(404, ""),
        }
    }

    fn referrers(&self, subject: &str, query: &str) -> Told {
        let from: usize = query
            .rsplit_once("from=")
            .map_or(0, |(_, from)| from.parse().unwrap());
        let all: Vec<Value> = self
            .manifests
            .iter()
            .filter_map(|(digest, (kind, bytes))| {
                let value: Value = serde_json::from_slice(bytes).ok()?;
                (value.pointer("/subject/digest")? == subject).then(|| {
                    json!({
                        "mediaType": kind, "digest": digest, "size": bytes.len(),
                        "artifactType": value.get("artifactType"),
                    })
                })
            })
            .collect();
        let manifests: Vec<_> = all.iter().skip(from).take(self.page).cloned().collect();
        let next = from.saturating_add(manifests.len());
        let index = json!({"schemaVersion": 2, "mediaType": crate::manifest::INDEX, "manifests": manifests});
        let told = Told::new(200, index.to_string()).with("Content-Type", crate::manifest::INDEX);
        if next < all.len() {
            let link = format!("</v2/app/referrers/{subject}?from={next}>; rel=\"next\"");
            return told.with("Link", link);
        }
        told
    }
}
