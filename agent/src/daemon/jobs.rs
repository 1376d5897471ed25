//! Starts jobs, each in a thread of its own, and keeps account of them.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cordon_ebpf::abi::job::Losses as KernelCounts;
use cordon_secrets::Outcome;
use jiff::Timestamp;
use tokio::sync::{Notify, oneshot};

use super::api::types::{CommandRequest, Entrance, Processes, StartRequest, State};
use super::feed::Feed;
use super::peer::Peer;
use super::settings::{Settings, SettingsError};
use super::table::{Entry, Table};
use crate::admission::Refusal;
use crate::attribution::{Living as _, Proc};
use crate::cgroup::Cgroup;
use crate::enforce::chain;
use crate::engine::{Mounts, Wish, endpoint};
use crate::events::ledger::News;
use crate::job::attended::{self, Begun, Commanded, Order, Orders, Over, Whose};
use crate::job::id::JobId;
use crate::job::record::{Record, Worker};
use crate::job::run::{RunError, Terms};
use crate::job::sealing::Sealed;
use crate::job::{narrowing, resume};
use crate::metrics::{Ended, Metrics};
use crate::policy::{self, Engine, Mode, Policy, Ruleset, compile};
use crate::report::attendance::{Asker, Attendance, Identity, Narrowing};
use crate::report::image::Image;
use crate::report::news::describe;
use crate::report::signer::SigningKey;
use crate::report::sink::{EvidenceDir, SinkError};
use crate::report::statement::Subject;
use crate::sys::process;

/// Executables of an asker's chain that are kept.
const ASKED_BY: usize = 8;
/// Ancestors of an asker that are looked at for its worker.
const ANCESTORS: usize = 64;
/// Bytes of stack of a job's thread: what is used of it is far less, and what is not used is not there.
const STACK: usize = 2 << 20;

/// Why a job was not started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// It may not be.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// What was asked for cannot be.
    #[error("{0}")]
    Request(String),
    /// Its profiles.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// Its evidence.
    #[error(transparent)]
    Evidence(#[from] SinkError),
    /// The runner it would be of is not enforced itself.
    #[error("its runner is not enforced: {0}")]
    Runner(String),
    /// It could not be enforced.
    #[error("{0}")]
    Failed(String),
    /// Anything else.
    #[error("the job was not started")]
    Io(#[from] io::Error),
}

/// Starts jobs and knows of all of them.
#[derive(Debug)]
pub struct Jobs {
    table: Mutex<Table>,
    key: Mutex<Arc<SigningKey>>,
    metrics: Arc<Mutex<Metrics>>,
    /// Told when a job is over.
    pub changed: Notify,
}

/// What is started.
struct Launch {
    entry: Entry,
    terms: Terms,
    whose: Whose,
    attendance: Attendance,
}

impl Jobs {
    /// None yet.
    #[must_use]
    pub fn new(key: SigningKey) -> Self {
        Self {
            table: Mutex::default(),
            key: Mutex::new(Arc::new(key)),
            metrics: Arc::default(),
            changed: Notify::new(),
        }
    }

    /// What signs the evidence of jobs that start now.
    #[must_use]
    pub fn key(&self) -> Arc<SigningKey> {
        Arc::clone(&self.key.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Has jobs that start from now on signed with another key. Those under way keep theirs: no
    /// evidence is signed with two.
    pub fn sign_with(&self, key: SigningKey) {
        *self.key.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(key);
    }

    /// What is counted.
    pub fn metrics(&self) -> MutexGuard<'_, Metrics> {
        // Counts are only added to: what a panic left out is one of them.
        self.metrics.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The table of them.
    pub fn table(&self) -> MutexGuard<'_, Table> {
        // Each change of it is one assignment.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a job that somebody asked for. `unit` is the runner they are of, with its cgroup; `None`: root of
    /// the host asks.
    ///
    /// # Errors
    /// It may not run, or could not be enforced; then it did not start.
    pub async fn start(
        self: &Arc<Self>,
        settings: &Settings,
        peer: &Peer,
        unit: Option<(&str, Cgroup)>,
        request: StartRequest,
    ) -> Result<String, StartError> {
        let admitted = self.admit(settings, peer, unit, request);
        if let Err(StartError::Refused(_)) = &admitted {
            self.metrics().refused();
        }
        let launch = admitted?;
        let id = launch.entry.id.clone();
        if let (Whose::Worker { worker, .. }, Some(unit)) = (&launch.whose, &launch.entry.unit) {
            // Whether or not it comes to a job: it was asked for.
            let table = self.table();
            let orders = table.runner(unit).and_then(|runner| runner.orders.as_ref());
            let order = Order::Started { worker: worker.pid };
            if !orders.is_some_and(|orders| orders.give(order)) {
                tracing::warn!(unit, "a runner could not be told of its job");
            }
        }
        self.begin(launch).await?;
        Ok(id)
    }

    /// Starts a job whose command somebody else starts: root of the host, by `cordon run`.
    ///
    /// # Errors
    /// What was asked for cannot be, or could not be enforced; then it did not start.
    pub async fn start_command(
        self: &Arc<Self>,
        settings: &Settings,
        peer: &Peer,
        request: CommandRequest,
    ) -> Result<Entrance, StartError> {
        let CommandRequest {
            version: _,
            policy,
            ruleset_digest,
            command,
            arguments,
            as_root,
            subjects,
            lsm,
            around,
        } = request;
        let wrong = |error: &dyn std::fmt::Display| StartError::Request(error.to_string());
        let policy = policy.load().ok_or_else(|| wrong(&"`policy` is none"))?;
        if policy.engine != Engine::Deny {
            let why =
                "a job with a container engine is its own daemon; `cordon run` asks nobody for it";
            return Err(wrong(&why));
        }
        let ruleset = compile(&policy).map_err(|error| wrong(&error))?;
        if ruleset.digest.to_string() != ruleset_digest {
            return Err(wrong(
                &"the policy makes another ruleset here; are both of the same version? Restart the daemon: \
                  `systemctl restart cordon`",
            ));
        }
        let subjects = made(&subjects)?;
        let id = JobId::random().map_err(io::Error::other)?.to_string();
        let terms = self.terms(settings, &id, (policy, ruleset), subjects, None)?;
        let whose = Whose::Command(Box::new(Commanded {
            id: id.clone(),
            by: peer.process,
            command,
            arguments,
            as_root,
            lsm,
            around,
        }));
        let launch = Launch {
            entry: entry(&id, None, &terms),
            terms,
            whose,
            attendance: Attendance::default(),
        };
        let Begun {
            cgroup,
            limited,
            evidence,
            ..
        } = self.begin(launch).await?;
        Ok(Entrance {
            id,
            evidence,
            cgroup,
            limited,
        })
    }

    /// Launches a job, and waits until it is enforced.
    async fn begin(self: &Arc<Self>, launch: Launch) -> Result<Begun, StartError> {
        let id = launch.entry.id.clone();
        let begun = self.launch(launch)?;
        if let Ok(begun) = begun.await {
            self.enforced(&id, &begun);
            return Ok(begun);
        }
        self.until_over(&id).await;
        let table = self.table();
        let error = table.get(&id).and_then(|entry| entry.error.clone());
        let why = error.unwrap_or_else(|| "its thread ended".to_owned());
        Err(StartError::Failed(why))
    }

    /// Until its thread has said why it ended: who waits for a job can hear sooner that there is none.
    async fn until_over(&self, id: &str) {
        loop {
            let changed = self.changed.notified();
            let entry = self.table().get(id).map(|entry| entry.state);
            if entry != Some(State::Starting) {
                return;
            }
            changed.await;
        }
    }

    fn admit(
        &self,
        settings: &Settings,
        peer: &Peer,
        unit: Option<(&str, Cgroup)>,
        request: StartRequest,
    ) -> Result<Launch, StartError> {
        let StartRequest {
            profiles,
            identity,
            processes,
            subjects,
            narrow,
        } = request;
        let wrong = |error: &dyn std::fmt::Display| StartError::Request(error.to_string());
        identity.check().map_err(|error| wrong(&error))?;
        let subjects = made(&subjects)?;
        let Ground {
            profiles,
            standing,
            grant,
            worker,
            engine,
        } = ground(
            settings,
            peer,
            unit.as_ref().map(|(unit, _)| *unit),
            &identity,
            profiles,
        )?;
        let (mut policy, mut ruleset) = settings.job_policy(&profiles)?;
        if !standing.is_empty() {
            policy.standing = settings.policy(&standing)?.0.rules.len();
        }
        let mut narrowed = Vec::new();
        if let Some(request) = &narrow {
            let file = request
                .check()
                .map_err(|error| StartError::Request(error.to_owned()))?;
            policy = policy::narrow::narrow(&policy, &file, request.text.as_bytes())
                .map_err(|mistakes| StartError::Request(mistakes.render(policy::Palette::Plain)))?;
            ruleset = compile(&policy).map_err(|error| wrong(&error))?;
            narrowed.push(Narrowing {
                at: Timestamp::now(),
                file,
                sha256: narrowing::hex(&request.text),
                ruleset_digest: ruleset.digest.to_string(),
                by: format!("process {}, with the start of the job", peer.process.pid),
            });
        }
        let id = JobId::random().map_err(io::Error::other)?.to_string();
        let name = unit.as_ref().map(|(unit, _)| (*unit).to_owned());
        let whose = match (processes, unit) {
            (Processes::None, unit) => Whose::Open {
                id: id.clone(),
                from: unit.map(|(_, from)| from),
            },
            (Processes::Worker, Some((_, from))) => Whose::Worker {
                id: id.clone(),
                worker: find_worker(peer, &from, worker.as_deref())?,
                from,
            },
            (Processes::Worker, None) => {
                return Err(StartError::Request(
                    "who asks is in no runner, so there is no worker to be the job; ask for a job without \
                     processes, or use `cordon run`"
                        .to_owned(),
                ));
            }
        };
        let attendance = Attendance {
            runner: name.clone(),
            identity: identity.clone(),
            grant: grant.clone(),
            asked_by: asker(peer),
            narrowed,
            ..Attendance::default()
        };
        let of = (policy, ruleset);
        let terms = Terms {
            engine,
            ..self.terms(settings, &id, of, subjects, Some(&attendance))?
        };
        let entry = Entry {
            identity,
            grant,
            ..entry(&id, name, &terms)
        };
        Ok(Launch {
            entry,
            terms,
            whose,
            attendance,
        })
    }

    /// Starts enforcing the unit of a runner.
    ///
    /// # Errors
    /// Its profiles make no policy, or its thread cannot be made.
    pub fn enrol(
        self: &Arc<Self>,
        settings: &Settings,
        unit: &str,
    ) -> Result<oneshot::Receiver<Begun>, StartError> {
        let runner = settings.config.grants.runner(unit);
        let runner = runner.ok_or_else(|| {
            StartError::Runner(format!(
                "no `[[runner]]` of the host settings is for `{unit}`"
            ))
        })?;
        let (policy, ruleset) = settings.plane(&runner.control_plane)?;
        let id = crate::enforce::unit_id(unit);
        let attendance = Attendance {
            runner: Some(unit.to_owned()),
            ..Attendance::default()
        };
        let of = (policy, ruleset);
        let terms = self.terms(settings, &id, of, Vec::new(), Some(&attendance))?;
        let entry = entry(&id, Some(unit.to_owned()), &terms);
        self.launch(Launch {
            entry,
            terms,
            whose: Whose::Unit {
                unit: unit.to_owned(),
                worker: runner.worker.clone(),
            },
            attendance,
        })
    }

    /// Goes on with a job or runner of a daemon that is gone.
    ///
    /// # Errors
    /// Its thread cannot be made.
    pub fn take_over(
        self: &Arc<Self>,
        settings: &Settings,
        id: &str,
        record: Option<&Record>,
        counted: Option<KernelCounts>,
    ) -> io::Result<()> {
        let attendance = record
            .and_then(|record| record.attendance.clone())
            .unwrap_or_default();
        let policy = record.map_or_else(
            || "unknown".to_owned(),
            |record| record.policy_name().to_owned(),
        );
        let digest = record.map_or_else(String::new, |record| record.ruleset_digest.clone());
        let unit = crate::enforce::unit_of(id).map(str::to_owned);
        let entry = Entry {
            id: id.to_owned(),
            unit: unit.or_else(|| attendance.runner.clone()),
            state: State::Enforced,
            since: record.map_or_else(Timestamp::now, |record| record.started),
            policy,
            ruleset_digest: digest,
            mode: record.map_or(Mode::Enforce, Record::mode),
            identity: attendance.identity.clone(),
            grant: attendance.grant.clone(),
            moved: attendance.moved,
            evidence: record.map(|record| record.evidence.clone()),
            engine: record
                .and_then(|record| record.engine.as_ref())
                .map(|seat| endpoint(seat.port)),
            error: None,
            telemetry_error: None,
            feed: Arc::default(),
            told: Arc::default(),
            orders: None,
        };
        let (orders, mut inbox) = Orders::new(attendance);
        let (jobs, config) = (Arc::clone(self), Arc::clone(&settings.config));
        let (key, name) = (self.key(), id.to_owned());
        let mut tell = teller(&entry, &self.metrics);
        {
            let mut metrics = self.metrics();
            metrics.begun(id, &entry.policy, entry.mode);
            // Without its counts, all of them are what is new: too much is told rather than too little.
            metrics.taken_over(id, &counted.unwrap_or_default());
        }
        self.table().add(Entry {
            orders: Some(orders),
            ..entry
        });
        let spawned = thread(id).spawn(move || {
            let resumed = resume::attend(&config, &key, &name, &mut inbox, &mut tell);
            let over = resumed.map(|resumed| resumed.evidence);
            jobs.over(&name, over.map_err(|error| chain(&error)));
        });
        spawned.map(drop).inspect_err(|_| self.forget(id))
    }

    fn terms(
        &self,
        settings: &Settings,
        id: &str,
        (policy, ruleset): (Policy, Ruleset),
        subjects: Vec<Subject>,
        attendance: Option<&Attendance>,
    ) -> Result<Terms, StartError> {
        let now = Timestamp::now().strftime("%Y%m%dT%H%M%S");
        let state = &settings.config.host.state_dir;
        let directory = state.join("evidence").join(format!("{now}-{id}"));
        Ok(Terms {
            policy,
            ruleset: Arc::new(ruleset),
            config: Arc::clone(&settings.config),
            evidence: EvidenceDir::prepare(&directory)?,
            // Where there is one, it is said by whom the job is.
            engine: Wish {
                port: None,
                mounts: Mounts::Named {
                    paths: Vec::new(),
                    user: 0,
                },
            },
            key: self.key(),
            subjects,
            attendance: attendance.cloned(),
        })
    }

    fn launch(self: &Arc<Self>, launch: Launch) -> Result<oneshot::Receiver<Begun>, StartError> {
        let Launch {
            entry,
            terms,
            whose,
            attendance,
        } = launch;
        let id = entry.id.clone();
        let (orders, inbox) = Orders::new(attendance);
        let (begin, begun) = oneshot::channel();
        let mut tell = teller(&entry, &self.metrics);
        self.metrics().begun(&id, &entry.policy, entry.mode);
        self.table().add(Entry {
            orders: Some(orders),
            ..entry
        });
        let (jobs, name) = (Arc::clone(self), id.clone());
        let spawned = thread(&id).spawn(move || {
            let over = attended::run(&terms, &whose, inbox, begin, &mut tell);
            if over.is_err() {
                terms.evidence.discard();
            }
            jobs.over(&name, ended(over));
        });
        if let Err(error) = spawned {
            self.forget(&id);
            return Err(error.into());
        }
        Ok(begun)
    }

    fn forget(&self, id: &str) {
        self.table().forget(id);
        self.metrics().forget(id);
    }

    /// Notes that one is enforced.
    pub fn enforced(&self, id: &str, begun: &Begun) {
        let moved = begun.moved;
        if let Some(entry) = self.table().get_mut(id)
            && entry.state == State::Starting
        {
            entry.state = State::Enforced;
            entry.moved = moved;
            entry.evidence = Some(begun.evidence.clone());
            entry.engine = begun.engine.map(endpoint);
        }
        self.metrics().enforced(id);
        tracing::info!(job = id, moved, "enforced");
    }

    /// Counts how one ended. With the table held, so that whoever reads both sees it once.
    fn count(&self, id: &str, over: &Result<Option<Box<Sealed>>, String>) {
        let is_job = crate::enforce::unit_of(id).is_none();
        let mut metrics = self.metrics();
        let ended = match over {
            Ok(Some(sealed)) => {
                if let Some(telemetry) = &sealed.telemetry {
                    metrics.line(telemetry.is_ok());
                }
                Ended::Sealed {
                    report: &sealed.report,
                    sweep: sealed.sweep.as_ref(),
                }
            }
            Ok(None) => Ended::Left,
            Err(_) => Ended::Failed,
        };
        metrics.over(id, is_job, ended);
    }

    /// Notes how one ended.
    fn over(&self, id: &str, over: Result<Option<Box<Sealed>>, String>) {
        let mut table = self.table();
        self.count(id, &over);
        if let Some(entry) = table.get_mut(id) {
            entry.orders = None;
            match over {
                Ok(Some(sealed)) => {
                    let Sealed {
                        report,
                        written,
                        telemetry,
                        ..
                    } = *sealed;
                    entry.state = State::Sealed;
                    entry.telemetry_error = telemetry.and_then(Result::err);
                    if let Some(error) = &entry.telemetry_error {
                        entry
                            .feed
                            .tell_end(format!("no line of telemetry was written: {error}"));
                    }
                    let denied = report
                        .summary
                        .denied
                        .saturating_add(report.summary.names_denied);
                    let allowed = report.summary.allowed;
                    let evidence = entry
                        .evidence
                        .insert(written.directory)
                        .display()
                        .to_string();
                    entry.feed.tell_end(format!(
                        "{denied} denied, {allowed} allowed; evidence in `{evidence}`"
                    ));
                    tracing::info!(job = id, denied, allowed, evidence, "sealed");
                }
                Ok(None) => tracing::info!(job = id, "left to the next daemon"),
                Err(error) => {
                    tracing::error!(job = id, error, "failed");
                    entry.state = State::Failed;
                    entry.feed.tell_end(format!("failed: {error}"));
                    entry.error = Some(error);
                }
            }
        }
        table.is_over(id);
        drop(table);
        self.changed.notify_waiters();
        self.changed.notify_one();
    }
}

/// What the host's settings give a job that somebody asked for.
struct Ground {
    /// All its profiles.
    profiles: Vec<String>,
    /// Those of its runner, whose rules it cannot give up.
    standing: Vec<String>,
    /// Where its grant stands.
    grant: Option<String>,
    /// The program that is its worker.
    worker: Option<String>,
    engine: Wish,
}

fn ground(
    settings: &Settings,
    peer: &Peer,
    unit: Option<&str>,
    identity: &Identity,
    asked: Vec<String>,
) -> Result<Ground, StartError> {
    let engine = |port, paths| Wish {
        port,
        mounts: Mounts::Named {
            paths,
            user: peer.uid,
        },
    };
    let Some(unit) = unit else {
        return Ok(Ground {
            profiles: asked,
            standing: Vec::new(),
            grant: None,
            worker: None,
            engine: engine(None, Vec::new()),
        });
    };
    let grants = &settings.config.grants;
    let granted = grants.decide(unit, identity, &asked)?;
    let runner = grants.runner(unit).ok_or_else(|| {
        StartError::Runner(format!(
            "no `[[runner]]` of the host settings is for `{unit}`"
        ))
    })?;
    // Its worker goes on talking to the CI system from inside the job. First, so that its rules are
    // the first, which the job cannot give up.
    let standing = runner.control_plane.clone();
    Ok(Ground {
        profiles: standing.iter().cloned().chain(granted.profiles).collect(),
        standing,
        grant: Some(granted.place),
        worker: runner.worker.clone(),
        engine: engine(runner.engine_port, runner.workspace.clone()),
    })
}

/// What a job makes, as it was said.
fn made(subjects: &[String]) -> Result<Vec<Subject>, StartError> {
    let subjects = subjects.iter().map(|text| {
        let image: Image = text
            .parse()
            .map_err(|error| StartError::Request(format!("{error}")))?;
        Ok(Subject::from(&image))
    });
    subjects.collect()
}

fn ended(over: Result<Over, RunError>) -> Result<Option<Box<Sealed>>, String> {
    match over {
        Ok(Over::Sealed(sealed)) => Ok(Some(sealed)),
        Ok(Over::Left) => Ok(None),
        Err(error) => Err(chain(&error)),
    }
}

fn thread(id: &str) -> std::thread::Builder {
    std::thread::Builder::new()
        .name(id.to_owned())
        .stack_size(STACK)
}

fn teller(entry: &Entry, metrics: &Arc<Mutex<Metrics>>) -> impl FnMut(News) + Send + 'static {
    let (id, metrics) = (entry.id.clone(), Arc::clone(metrics));
    let (feed, told, mode): (Arc<Feed>, Arc<AtomicU64>, Mode) =
        (Arc::clone(&entry.feed), Arc::clone(&entry.told), entry.mode);
    move |news| {
        told.fetch_add(1, Ordering::Relaxed);
        if let News::Secret(seen) = &news
            && matches!(seen.judgement.outcome, Outcome::Finding(_))
        {
            let mut metrics = metrics.lock().unwrap_or_else(PoisonError::into_inner);
            metrics.found(&id, seen.detection.rule.id);
        }
        feed.tell(describe(&news, mode));
    }
}

fn entry(id: &str, unit: Option<String>, terms: &Terms) -> Entry {
    Entry {
        id: id.to_owned(),
        unit,
        state: State::Starting,
        since: Timestamp::now(),
        policy: terms.policy.name.clone(),
        ruleset_digest: terms.ruleset.digest.to_string(),
        mode: terms.policy.mode,
        identity: Identity::default(),
        grant: None,
        moved: 0,
        evidence: None,
        engine: None,
        error: None,
        telemetry_error: None,
        feed: Arc::default(),
        told: Arc::default(),
        orders: None,
    }
}

fn asker(peer: &Peer) -> Asker {
    let mut executables = Vec::new();
    let mut next = Some(peer.process.pid);
    while let Some(pid) = next.filter(|pid| *pid > 1 && executables.len() < ASKED_BY) {
        executables.push(
            Proc.executable(pid)
                .unwrap_or_else(|| "(unknown)".to_owned()),
        );
        next = Proc.parent(pid);
    }
    Asker {
        uid: peer.uid,
        pid: peer.process.pid,
        executables,
    }
}

/// The process whose tree becomes the job: the nearest ancestor that executes a program of this name, or the parent;
/// both in the runner's cgroup, as the asker is.
fn find_worker(peer: &Peer, from: &Cgroup, name: Option<&str>) -> Result<Worker, StartError> {
    let inside = from.processes().map_err(io::Error::other)?;
    let mut pid = peer.process.pid;
    for _ in 0..ANCESTORS {
        pid = process::stat(pid)?.parent;
        if !inside.contains(&pid) {
            break;
        }
        let is_worker = match name {
            Some(name) => process::program(pid).as_deref() == Some(name),
            None => true,
        };
        if is_worker {
            return Ok(Worker::find(pid)?);
        }
    }
    Err(StartError::Request(match name {
        Some(name) => format!(
            "no ancestor of process {} in its runner executes `{name}` (`worker` of its `[[runner]]`), so \
             there is nothing to be the job",
            peer.process.pid
        ),
        None => "its parent is not in the runner, so there is nothing to be the job".to_owned(),
    }))
}
