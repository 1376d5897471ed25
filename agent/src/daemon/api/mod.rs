//! What the control socket offers: HTTP and JSON, described by [`OPENAPI`].
//!
//! Each handler asks [`Caller::may`] first; what a job asks for and may not have is noted in its evidence.

pub mod types;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use hyper::body::{Bytes, Frame};
use serde::Serialize;
use tokio::sync::{broadcast, mpsc, oneshot};

use self::types::{
    CommandRequest, Done, EndedRequest, JobStatus, NarrowRequest, Own, Problem, StartRequest,
};
use super::Daemon;
use super::caller::{Action, Caller, Target};
use super::feed::Line;
use super::jobs::StartError;
use super::peer::Peer;
use crate::attribution::{Living as _, Proc};
use crate::enforce::{chain, unit_id};
use crate::job::attended::Order;
use crate::job::life::CommandEnd;
use crate::job::narrowing::{Narrow, NarrowError};
use crate::report::attendance::Kind;
use crate::report::escape::escape;

/// The description of all this, in the form of `OpenAPI` 3.1.
pub const OPENAPI: &str = include_str!("openapi.json");

/// Every path with its methods, as in [`OPENAPI`].
pub const ROUTES: [(&str, &str); 14] = [
    ("get", "/openapi.json"),
    ("get", "/v1/status"),
    ("get", "/v1/self"),
    ("get", "/v1/jobs"),
    ("post", "/v1/jobs"),
    ("get", "/v1/jobs/{id}"),
    ("get", "/v1/jobs/{id}/events"),
    ("post", "/v1/jobs/{id}/finish"),
    ("post", "/v1/jobs/{id}/attach"),
    ("post", "/v1/jobs/{id}/narrow"),
    ("post", "/v1/jobs/{id}/end"),
    ("post", "/v1/jobs/{id}/ended"),
    ("post", "/v1/commands"),
    ("post", "/v1/reload"),
];

/// Bytes of a request's body.
const BODY_BYTES: usize = 64 << 10;
/// Bytes of a command's request: its policy has as many rules as a ruleset can have. Only root may send them.
const COMMAND_BYTES: usize = 64 << 20;
/// Lines that may wait for a watcher who reads slowly.
const LINES: usize = 64;

/// Whether a connection watches a job.
#[derive(Debug, Default)]
pub struct Watching(AtomicBool);

impl Watching {
    /// Whether it does.
    pub fn is_so(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// One connection.
#[derive(Clone, Debug)]
struct Session {
    daemon: Arc<Daemon>,
    peer: Peer,
    watching: Arc<Watching>,
}

/// An answer that is no success.
struct Failure(StatusCode, String);

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let Self(status, error) = self;
        (status, axum::Json(Problem { error })).into_response()
    }
}

type Answer<T> = Result<axum::Json<T>, Failure>;

/// What one peer is offered.
pub fn router(daemon: Arc<Daemon>, peer: Peer, watching: Arc<Watching>) -> Router {
    let session = Session {
        daemon,
        peer,
        watching,
    };
    Router::new()
        .route("/openapi.json", get(openapi))
        .route("/v1/status", get(status))
        .route("/v1/self", get(own))
        .route("/v1/jobs", get(list).post(start))
        .route("/v1/jobs/{id}", get(job))
        .route("/v1/jobs/{id}/events", get(events))
        .route("/v1/jobs/{id}/finish", post(finish))
        .route("/v1/jobs/{id}/attach", post(attach))
        .route("/v1/jobs/{id}/narrow", post(narrow))
        .route("/v1/jobs/{id}/end", post(end))
        .route("/v1/jobs/{id}/ended", post(ended))
        .route("/v1/commands", post(command))
        .route("/v1/reload", post(reload))
        .fallback(async || {
            Failure(
                StatusCode::NOT_FOUND,
                "there is nothing here; `/openapi.json` says what there is".to_owned(),
            )
        })
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .with_state(session)
}

impl Session {
    /// Who asks, and whether they may. A job that may not has it in its evidence.
    fn judge(&self, action: &Action<'_>) -> Result<Caller, Failure> {
        let caller = self.daemon.caller(&self.peer);
        caller.may(action).map_err(|denied| {
            let inside = match &caller {
                Caller::Job { id } => Some(id.clone()),
                Caller::Runner { unit } => Some(unit_id(unit)),
                _ => None,
            };
            if let Some(id) = inside {
                self.order(
                    &id,
                    Order::Note {
                        kind: Kind::RefusedRequest,
                        detail: format!("{denied}; asked by {}", self.words()),
                    },
                );
            }
            tracing::warn!(%denied, "refused");
            Failure(StatusCode::FORBIDDEN, denied.to_string())
        })?;
        Ok(caller)
    }

    /// Who asks, for reports.
    fn words(&self) -> String {
        let pid = self.peer.process.pid;
        let executable = Proc
            .executable(pid)
            .unwrap_or_else(|| "(unknown)".to_owned());
        format!("process {pid} ({})", escape(&executable))
    }

    /// Gives an order to a job, or to nobody if it is over.
    fn order(&self, id: &str, order: Order) -> bool {
        let table = self.daemon.jobs.table();
        let orders = table.get(id).and_then(|entry| entry.orders.as_ref());
        orders.is_some_and(|orders| orders.give(order))
    }

    /// A job and the unit it is of.
    fn find(&self, id: &str) -> Option<JobStatus> {
        let table = self.daemon.jobs.table();
        table
            .get(id)
            .filter(|entry| !entry.is_runner())
            .map(super::table::Entry::status)
    }

    /// Judges what somebody wants of a job. One that is not there is told apart from one that may not be seen only
    /// to who may list them.
    fn about<'a>(
        &self,
        id: &'a str,
        status: Option<&'a JobStatus>,
        action: impl FnOnce(Target<'a>) -> Action<'a>,
    ) -> Result<Caller, Failure> {
        let unit = status.and_then(|status| status.unit.as_deref());
        let caller = self.judge(&action(Target { id, unit }))?;
        if status.is_none() {
            return Err(no_job(id));
        }
        Ok(caller)
    }
}

fn no_job(id: &str) -> Failure {
    Failure(
        StatusCode::NOT_FOUND,
        format!(
            "there is no job `{}`; `cordon job list` has those there are",
            escape(id)
        ),
    )
}

fn over(id: &str) -> Failure {
    Failure(
        StatusCode::CONFLICT,
        format!("job {} is over, or takes no orders now", escape(id)),
    )
}

fn done(words: impl Into<String>) -> axum::Json<Done> {
    axum::Json(Done { done: words.into() })
}

async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}

async fn status(State(session): State<Session>) -> Answer<types::DaemonStatus> {
    session.judge(&Action::List)?;
    Ok(axum::Json(session.daemon.status()))
}

async fn own(State(session): State<Session>) -> Answer<Own> {
    let caller = session.judge(&Action::Own)?;
    let table = session.daemon.jobs.table();
    let job = match &caller {
        Caller::Job { id } => table.get(id).map(super::table::Entry::status),
        _ => None,
    };
    let runner = match &caller {
        Caller::Runner { unit } => table.runner(unit).map(super::table::Entry::runner_status),
        _ => None,
    };
    Ok(axum::Json(Own {
        caller: caller.to_string(),
        job,
        runner,
    }))
}

async fn list(State(session): State<Session>) -> Answer<Vec<JobStatus>> {
    session.judge(&Action::List)?;
    let table = session.daemon.jobs.table();
    Ok(axum::Json(
        table.jobs().map(super::table::Entry::status).collect(),
    ))
}

async fn start(State(session): State<Session>, body: Bytes) -> Result<Response, Failure> {
    let caller = session.judge(&Action::Start)?;
    let request = StartRequest::parse(&body).map_err(|error| {
        Failure(
            StatusCode::BAD_REQUEST,
            format!("the request is not what `/openapi.json` describes: {error}"),
        )
    })?;
    let started = session.daemon.start(&session.peer, &caller, request).await;
    let id = started.map_err(|error| not_started(&caller, &error))?;
    let status = session.find(&id).ok_or_else(|| no_job(&id))?;
    Ok((StatusCode::CREATED, axum::Json(status)).into_response())
}

fn not_started(caller: &Caller, error: &StartError) -> Failure {
    let status = match error {
        StartError::Refused(_) => StatusCode::FORBIDDEN,
        StartError::Request(_) => StatusCode::BAD_REQUEST,
        StartError::Settings(_) => StatusCode::UNPROCESSABLE_ENTITY,
        StartError::Runner(_) => StatusCode::CONFLICT,
        StartError::Evidence(_) | StartError::Failed(_) | StartError::Io(_) => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
    };
    let error = chain(error);
    tracing::warn!(%caller, error, "job not started");
    Failure(status, error)
}

/// A job whose command the caller starts. Who may not ask for one has not a byte of it read.
async fn command(State(session): State<Session>, body: Body) -> Result<Response, Failure> {
    let caller = session.judge(&Action::Command)?;
    let bad = |error: &dyn std::fmt::Display| {
        Failure(
            StatusCode::BAD_REQUEST,
            format!("the request is not what `/openapi.json` describes: {error}"),
        )
    };
    let body = axum::body::to_bytes(body, COMMAND_BYTES).await;
    let request = CommandRequest::parse(&body.map_err(|error| bad(&error))?);
    let request = request.map_err(|error| bad(&error))?;
    let settings = session.daemon.settings();
    let jobs = &session.daemon.jobs;
    let started = jobs.start_command(&settings, &session.peer, request).await;
    let entrance = started.map_err(|error| not_started(&caller, &error))?;
    Ok((StatusCode::CREATED, axum::Json(entrance)).into_response())
}

/// Who started the command of a job says how it ended.
async fn ended(
    State(session): State<Session>,
    Path(id): Path<String>,
    body: Bytes,
) -> Answer<Done> {
    session.judge(&Action::Ended)?;
    let request = EndedRequest::parse(&body).map_err(|error| {
        Failure(
            StatusCode::BAD_REQUEST,
            format!("the request is not what `/openapi.json` describes: {error}"),
        )
    })?;
    if session.find(&id).is_none() {
        return Err(no_job(&id));
    }
    let end = match request {
        EndedRequest {
            outcome: Some(outcome),
            ..
        } => CommandEnd::Ran(outcome),
        EndedRequest { not_entered, .. } => CommandEnd::NotEntered {
            why: not_entered.unwrap_or_default(),
        },
    };
    if !session.order(&id, Order::Ended(end)) {
        return Err(over(&id));
    }
    Ok(done("the job is being sealed"))
}

async fn job(State(session): State<Session>, Path(id): Path<String>) -> Answer<JobStatus> {
    let status = session.find(&id);
    session.about(&id, status.as_ref(), Action::Watch)?;
    status.map(axum::Json).ok_or_else(|| no_job(&id))
}

/// From inside the job it is an announcement; from outside it is the end.
async fn finish(State(session): State<Session>, Path(id): Path<String>) -> Answer<Done> {
    let status = session.find(&id);
    if let Caller::Job { .. } = session.daemon.caller(&session.peer) {
        session.about(&id, status.as_ref(), Action::Announce)?;
        let by = session.words();
        if !session.order(&id, Order::Announce { by }) {
            return Err(over(&id));
        }
        return Ok(done(
            "noted; the job stays enforced until its worker has ended",
        ));
    }
    session.about(&id, status.as_ref(), Action::Finish)?;
    if !session.order(&id, Order::Finish) {
        return Err(over(&id));
    }
    Ok(done("the job is being ended and sealed"))
}

async fn attach(State(session): State<Session>, Path(id): Path<String>) -> Answer<Done> {
    let status = session.find(&id);
    let caller = session.about(&id, status.as_ref(), Action::Attach)?;
    let Caller::Runner { unit } = caller else {
        return Err(Failure(
            StatusCode::BAD_REQUEST,
            "only processes of a runner can be moved into a job; others start with `cordon run`"
                .to_owned(),
        ));
    };
    let from = session
        .daemon
        .unit(&unit)
        .map_err(|error| Failure(StatusCode::CONFLICT, chain(&error)))?;
    let (answer, moved) = oneshot::channel();
    let process = session.peer.process;
    let order = Order::Attach {
        from,
        process,
        answer,
    };
    if !session.order(&id, order) {
        return Err(over(&id));
    }
    match moved.await {
        Ok(Ok(count)) => Ok(done(format!("{count} processes are in the job now"))),
        Ok(Err(error)) => Err(Failure(StatusCode::CONFLICT, error)),
        Err(_gone) => Err(over(&id)),
    }
}

/// A step inside the job gives up what the job does not need any more.
async fn narrow(
    State(session): State<Session>,
    Path(id): Path<String>,
    body: Bytes,
) -> Answer<Done> {
    let status = session.find(&id);
    let caller = session.about(&id, status.as_ref(), Action::Narrow)?;
    let bad = |error: String| Failure(StatusCode::BAD_REQUEST, error);
    let request = NarrowRequest::parse(&body).map_err(|error| {
        bad(format!(
            "the request is not what `/openapi.json` describes: {error}"
        ))
    })?;
    let file = request.check().map_err(|error| bad(error.to_owned()))?;
    let text = request.text;
    let (answer, narrowed) = oneshot::channel();
    let order = Order::Narrow(Box::new(Narrow {
        file: file.clone(),
        text,
        by: session.words(),
        answer,
    }));
    if !session.order(&id, order) {
        return Err(over(&id));
    }
    match narrowed.await {
        Ok(Ok(left)) => {
            let words = left.words();
            if let Some(entry) = session.daemon.jobs.table().get_mut(&id) {
                entry.feed.tell(format!("narrowed its policy: {words}"));
                entry.ruleset_digest = left.digest;
                entry.mode = left.mode;
            }
            Ok(done(words))
        }
        Ok(Err(error)) => {
            let status = match &error {
                NarrowError::Refused(_) | NarrowError::Engine | NarrowError::Compile(_) => {
                    StatusCode::UNPROCESSABLE_ENTITY
                }
                NarrowError::Record(_) | NarrowError::File(_) | NarrowError::Enforce(_) => {
                    StatusCode::INTERNAL_SERVER_ERROR
                }
            };
            if let (Caller::Job { .. }, NarrowError::Refused(_)) = (&caller, &error) {
                let by = session.words();
                let detail = format!(
                    "a policy that is not narrower, from file {}; asked by {by}",
                    escape(&file)
                );
                let kind = Kind::RefusedRequest;
                session.order(&id, Order::Note { kind, detail });
            }
            let error = match &error {
                // Its mistakes are shown whole, and once.
                NarrowError::Refused(_) => error.to_string(),
                other => chain(other),
            };
            Err(Failure(status, error))
        }
        Err(_gone) => Err(over(&id)),
    }
}

async fn end(State(session): State<Session>, Path(id): Path<String>) -> Answer<Done> {
    session.judge(&Action::End)?;
    if session.find(&id).is_none() {
        return Err(no_job(&id));
    }
    if !session.order(&id, Order::End) {
        return Err(over(&id));
    }
    Ok(done("its processes are killed, and it is sealed"))
}

async fn reload(State(session): State<Session>) -> Answer<Done> {
    session.judge(&Action::Reload)?;
    session.daemon.reload().map_err(|error| {
        Failure(
            StatusCode::UNPROCESSABLE_ENTITY,
            format!("settings not read, the old ones hold:\n{error}"),
        )
    })?;
    Ok(done("settings and profiles were read"))
}

async fn events(
    State(session): State<Session>,
    Path(id): Path<String>,
) -> Result<Response, Failure> {
    let status = session.find(&id);
    session.about(&id, status.as_ref(), Action::Watch)?;
    let (last, receiver) = {
        let table = session.daemon.jobs.table();
        let entry = table.get(&id).ok_or_else(|| no_job(&id))?;
        let (last, receiver) = entry.feed.watch();
        (last, entry.is_alive().then_some(receiver))
    };
    session.watching.0.store(true, Ordering::Relaxed);
    let (sender, lines) = mpsc::channel(LINES);
    let daemon = Arc::clone(&session.daemon);
    tokio::spawn(async move {
        // Who watched went away.
        let _ended = pass_on(&daemon, &id, last, receiver, &sender).await;
    });
    let body = Body::new(Lines(lines));
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

/// Passes lines on until the job is over or nobody listens.
async fn pass_on(
    daemon: &Daemon,
    id: &str,
    last: Vec<Line>,
    receiver: Option<broadcast::Receiver<Line>>,
    sender: &mpsc::Sender<Bytes>,
) -> Result<(), mpsc::error::SendError<Bytes>> {
    for line in &last {
        sender.send(json_line(line)).await?;
    }
    let Some(mut receiver) = receiver else {
        return Ok(());
    };
    loop {
        let alive = || {
            daemon
                .jobs
                .table()
                .get(id)
                .is_some_and(super::table::Entry::is_alive)
        };
        let changed = daemon.jobs.changed.notified();
        let is_alive = alive();
        tokio::select! {
            biased;
            line = receiver.recv() => match line {
                Ok(line) => sender.send(json_line(&line)).await?,
                Err(broadcast::error::RecvError::Lagged(missed)) => {
                    let line = serde_json::json!({ "missed": missed });
                    sender.send(json_line(&line)).await?;
                }
                Err(broadcast::error::RecvError::Closed) => return Ok(()),
            },
            () = std::future::ready(()), if !is_alive => return Ok(()),
            () = changed => {}
            () = sender.closed() => return Ok(()),
        }
    }
}

fn json_line(line: &impl Serialize) -> Bytes {
    let mut bytes = serde_json::to_vec(line).unwrap_or_default();
    bytes.push(b'\n');
    bytes.into()
}

/// A body of lines as they come.
struct Lines(mpsc::Receiver<Bytes>);

impl hyper::body::Body for Lines {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0
            .poll_recv(cx)
            .map(|line| line.map(|line| Ok(Frame::data(line))))
    }
}

#[cfg(test)]
mod tests;
