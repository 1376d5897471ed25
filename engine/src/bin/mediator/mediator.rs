//! What is known of one job, and what happens to one request.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cordon_engine::job::Job;
use cordon_engine::protocol::{Ask, Note};
use cordon_engine::refusal::{Refusal, printable};
use cordon_engine::route::Route;
use http_body_util::BodyExt as _;
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response};

use super::answer::{Body, refused};
use super::build::Building;
use super::control::Control;
use super::ports::Published;
use super::upstream::Engine;

/// The job's side of the engine.
#[derive(Debug)]
pub(crate) struct Mediator {
    pub(crate) job: Job,
    pub(crate) control: Control,
    pub(crate) engine: Engine,
    /// Ports of its containers, on its loopback.
    pub(crate) published: Published,
    /// Names of images that it has given.
    pub(crate) tags: Mutex<BTreeSet<String>>,
    /// The job is over.
    pub(crate) over: AtomicBool,
    /// Held while its first network is made.
    pub(crate) network: tokio::sync::Mutex<bool>,
    /// What the engine is building.
    pub(crate) builds: Mutex<Vec<Building>>,
}

impl Mediator {
    pub(crate) fn new(job: Job, control: Control) -> Self {
        Self {
            job,
            engine: Engine::new(control.clone()),
            control,
            published: Published::default(),
            tags: Mutex::default(),
            over: AtomicBool::new(false),
            network: tokio::sync::Mutex::default(),
            builds: Mutex::default(),
        }
    }

    /// Answers one request, whatever it is.
    pub(crate) async fn answer(self: &Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        let target = request.uri().to_string();
        let path = target.split('?').next().unwrap_or_default();
        let shown = format!("{} {}", request.method(), printable(path));
        let answer = match Route::find(request.method().as_str(), &target) {
            Ok(_) if self.over.load(Ordering::Relaxed) => Err(Refusal::failed("the job is over")),
            Ok(route) => self.act(route, request).await,
            Err(refusal) => {
                heard(request.into_body()).await;
                Err(refusal)
            }
        };
        match answer {
            Ok(answer) => answer,
            Err(refusal) => {
                // What is missing is asked for all the time.
                if refusal.status != 404 {
                    let why = refusal.message.clone();
                    self.note(Note::Refused {
                        request: shown,
                        why,
                    })
                    .await;
                }
                refused(&refusal)
            }
        }
    }

    /// Tells cordon something for the report.
    pub(crate) async fn note(&self, note: Note) {
        // Where cordon is gone, so is this program, at once.
        let _noted = self.control.ask(Ask::Note(note)).await;
    }
}

/// Bytes of a refused request that are listened to.
const HEARD_BYTES: usize = 64 << 20;
/// And for how long.
const HEARD_PATIENCE: Duration = Duration::from_secs(20);

/// Lets a client finish what it says: one that is still sending when the connection closes shows an error of its
/// own, and not why it was refused.
pub(crate) async fn heard(mut body: Incoming) {
    let listen = async {
        let mut heard = 0_usize;
        while let Some(Ok(frame)) = body.frame().await {
            heard = heard.saturating_add(frame.data_ref().map_or(0, Bytes::len));
            if heard > HEARD_BYTES {
                return;
            }
        }
    };
    // Whoever takes longer sees the connection close.
    let _in_time = tokio::time::timeout(HEARD_PATIENCE, listen).await;
}

/// The engine did not answer.
pub(crate) fn unanswered(error: impl std::fmt::Display) -> Refusal {
    Refusal::failed(format!("the engine does not answer: {error}"))
}
