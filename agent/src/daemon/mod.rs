//! `cordon daemon`: one process for all jobs of a host. It denies the runners of the slice everything but their
//! control plane, starts the jobs they ask for, and keeps each enforced, swept and recorded to its end.
//!
//! What enforces is in the kernel, and what must be known to go on is on disk: a daemon that is restarted, replaced
//! or killed leaves every job as it was, and the next one takes it over. Each job has a thread; the socket has
//! bounds. **Not here**: what a job is ([`crate::job`]), which profiles it may have ([`crate::admission`]).

#![expect(
    clippy::future_not_send,
    reason = "the daemon's own work has one thread"
)]
#![expect(
    clippy::significant_drop_tightening,
    reason = "the table is held as long as what was read of it counts"
)]

pub mod api;
pub mod caller;
pub mod client;
pub mod command;
pub mod feed;
pub mod jobs;
pub mod peer;
mod runners;
pub mod scrape;
pub mod server;
pub mod settings;
pub mod table;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use nix::sys::signal::Signal;
use sd_notify::NotifyState;
use tokio::net::UnixListener;
use tokio::time::{interval, timeout};

use self::api::types::{DaemonStatus, State};
use self::caller::{Caller, Facts};
use self::jobs::{Jobs, StartError};
use self::peer::Peer;
use self::server::ServerError;
use self::settings::{Settings, SettingsError};
use crate::cgroup::hierarchy::Hierarchy;
use crate::cgroup::{Cgroup, CgroupError};
use crate::enforce::{EnforceError, Host, Resident, chain};
use crate::job::attended::Order;
use crate::job::record::{Keeper, Record};
use crate::job::resume;
use crate::metrics::{Listen, Now};
use crate::report::attendance::Kind;
use crate::report::chain::{Chain, ChainError};
use crate::report::signer::SigningKey;
use crate::sys::privilege::{self, PrivilegeError};
use crate::sys::sensitive;
use crate::sys::signals::{Received, Signals};
use crate::telemetry;

/// Name of the control socket below the run directory.
pub const SOCKET: &str = "cordon.sock";
/// How often the slice is looked at for units that came.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How long no process may be in the unit of a job's runner: one that starts anew has none for a moment.
const ABANDONED: Duration = Duration::from_secs(2);
/// How long jobs have to put their work down when the daemon stops.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why there is no daemon.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// It may not do what it needs.
    #[error(transparent)]
    Privilege(#[from] PrivilegeError),
    /// Its settings.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// Nothing can be enforced.
    #[error("this host cannot be enforced")]
    Enforce(#[from] EnforceError),
    /// Where the cgroups are.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    /// The chain of seals.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The socket.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The slice was removed and made again: nothing enforces the new one.
    #[error(
        "the slice was removed and made again while the daemon ran; it starts anew, to enforce that one"
    )]
    OtherSlice,
    /// Anything else.
    #[error("{what}")]
    Io {
        /// What.
        what: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// The daemon.
#[derive(Debug)]
pub struct Daemon {
    path: Option<PathBuf>,
    settings: RwLock<Arc<Settings>>,
    /// All jobs.
    pub jobs: Arc<Jobs>,
    host: Mutex<Host>,
    /// Path of the slice as `/proc` shows it.
    slice: String,
    since: Timestamp,
    /// Jobs whose runner is gone, with when that was seen; nothing once they were told to end.
    abandoned: Mutex<BTreeMap<String, Option<Instant>>>,
}

/// Runs the daemon until it is told to stop. `path` are its settings, `key` signs.
///
/// # Errors
/// It cannot start, or cannot go on; jobs stay as they are.
pub fn run(path: Option<&Path>, settings: Settings, key: SigningKey) -> Result<(), DaemonError> {
    let failed = |what| move |source| DaemonError::Io { what, source };
    privilege::require()?;
    sensitive::shield().map_err(failed(
        "its secrets could not be kept out of core files and swap",
    ))?;
    let state_dir = &settings.config.host.state_dir;
    Chain::new(state_dir, key.public()).check()?;
    let mut host = Host::open(&settings.config.host)?;
    let resident = host.reside()?;
    // While there is the capability to give it to its group.
    let socket = settings.config.host.run_dir.join(SOCKET);
    let listener = server::bind(&socket)?;
    host.kernel
        .maps
        .mark_control(&listener)
        .map_err(EnforceError::from)?;
    // While it may still have a port below 1024, if the service manager lets it.
    let metrics = settings.config.metrics.as_ref();
    let metrics = metrics.map(scrape::bind).transpose()?;
    privilege::keep_for_daemon(settings.has_engines())?;
    if let Some(file) = &settings.config.telemetry
        && let Err(error) = telemetry::file::mend(file)
    {
        tracing::error!(error = %chain(&error), "telemetry cannot be written; jobs have their evidence all the same");
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(failed("no runtime"))?;
    runtime.block_on(serve(
        path,
        settings,
        key,
        (host, resident),
        (listener, metrics),
    ))
}

async fn serve(
    path: Option<&Path>,
    settings: Settings,
    key: SigningKey,
    (mut host, resident): (Host, Resident),
    (listener, metrics): (std::os::unix::net::UnixListener, Option<scrape::Listener>),
) -> Result<(), DaemonError> {
    let failed = |what| move |source| DaemonError::Io { what, source };
    // Blocked before threads are made, which then have them blocked as well.
    let mut signals = Signals::block().map_err(failed("signals cannot be collected"))?;
    let orphans = host.take_orphans();
    let jobs = Arc::new(Jobs::new(key));
    know(&jobs, &settings);
    take_over(&jobs, &settings, &host, orphans)?;
    host.unlock();
    let slice = slice_path(&host)?;
    let socket = settings.config.host.run_dir.join(SOCKET);
    let listener =
        UnixListener::from_std(listener).map_err(failed("the socket cannot be waited on"))?;
    let daemon = Arc::new(Daemon {
        path: path.map(Path::to_owned),
        settings: RwLock::new(Arc::new(settings)),
        jobs,
        host: Mutex::new(host),
        slice,
        since: Timestamp::now(),
        abandoned: Mutex::default(),
    });
    let server = tokio::spawn(server::serve(listener, Arc::clone(&daemon)));
    let scraped = metrics.map(|listener| {
        let daemon = Arc::clone(&daemon);
        tokio::spawn(async move {
            if let Err(error) = scrape::serve(listener, daemon).await {
                tracing::error!(%error, "metrics are not served");
            }
        })
    });
    notify(&[NotifyState::Ready]);
    tracing::info!(socket = %socket.display(), "ready");
    let stopped = daemon.watch(&mut signals).await;
    notify(&[NotifyState::Stopping]);
    server.abort();
    daemon.leave_jobs().await;
    if let Some(scraped) = scraped {
        scraped.abort();
    }
    if let Some(Listen::Unix(path)) = &daemon.settings().config.metrics
        && let Err(error) = std::fs::remove_file(path)
    {
        tracing::warn!(%error, "the socket of metrics could not be removed");
    }
    drop(resident);
    if let Err(error) = std::fs::remove_file(&socket) {
        tracing::warn!(%error, "the socket could not be removed");
    }
    let mut host = daemon.host.lock().unwrap_or_else(PoisonError::into_inner);
    if let Err(error) = host.close() {
        tracing::error!(error = %chain(&error), "the programs could not be taken down");
    }
    stopped
}

/// Goes on with what another daemon left, and ends what nobody else will.
fn take_over(
    jobs: &Arc<Jobs>,
    settings: &Settings,
    host: &Host,
    orphans: Vec<crate::enforce::Orphan>,
) -> Result<(), DaemonError> {
    let mut ended = false;
    for orphan in orphans {
        let id = orphan.id.clone();
        let record = Record::read(&host.record_of(&id)).ok().flatten();
        let counted = host.counts_of(&id);
        // Its own thread takes the lock.
        drop(orphan);
        match record {
            Some(record) if record.keeper == Keeper::Anyone => ended = true,
            record => jobs
                .take_over(settings, &id, record.as_ref(), counted)
                .map_err(|source| DaemonError::Io {
                    what: "a thread for a job that waits could not be made",
                    source,
                })?,
        }
    }
    if ended {
        let (config, key) = (Arc::clone(&settings.config), jobs.key());
        std::thread::Builder::new()
            .name("left-behind".to_owned())
            .spawn(move || resume::end_left_behind(&config, &key))
            .map(drop)
            .map_err(|source| DaemonError::Io {
                what: "a thread could not be made",
                source,
            })?;
    }
    Ok(())
}

/// Has series of metrics for every policy that the settings name, before anything is counted.
fn know(jobs: &Jobs, settings: &Settings) {
    let mut metrics = jobs.metrics();
    for policy in settings.policies() {
        metrics.know(&policy);
    }
}

/// The slice as `/proc/PID/cgroup` shows it.
fn slice_path(host: &Host) -> Result<String, DaemonError> {
    let hierarchy = Hierarchy::find()?;
    let path = host.slice().path();
    let below = path.strip_prefix(hierarchy.mount_point()).unwrap_or(path);
    Ok(format!("/{}", below.display()))
}

fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "the service manager could not be told");
    }
}

impl Daemon {
    /// Its settings, as they are now.
    pub fn settings(&self) -> Arc<Settings> {
        let settings = self.settings.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&settings)
    }

    /// Reads settings, profiles and the signing key again: all of them or none. Jobs that run keep what they
    /// have, the key too.
    ///
    /// # Errors
    /// Something is wrong with them; the old ones hold.
    pub fn reload(&self) -> Result<(), SettingsError> {
        let new = Settings::load(self.path.as_deref()).and_then(|new| {
            new.can_replace(&self.settings())?;
            let key = new.config.host.load_key()?;
            if key.public() != self.jobs.key().public() {
                Chain::new(&new.config.host.state_dir, key.public()).check()?;
                return Ok((new, Some(key)));
            }
            Ok((new, None))
        });
        self.jobs.metrics().reloaded(new.is_ok());
        let (new, key) = new?;
        know(&self.jobs, &new);
        if let Some(key) = key {
            tracing::info!(
                key = key.public().id(),
                "jobs that start now are signed with another key"
            );
            self.jobs.sign_with(key);
        }
        let mut settings = self
            .settings
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *settings = Arc::new(new);
        tracing::info!("settings read");
        Ok(())
    }

    /// Who is at the other end of a connection.
    pub fn caller(&self, peer: &Peer) -> Caller {
        let host = self.host.lock().unwrap_or_else(PoisonError::into_inner);
        let facts = Facts {
            uid: peer.uid,
            cgroup: peer.cgroup.clone(),
            member: host.member(peer.process.pid),
        };
        Caller::of(&facts, &self.slice)
    }

    /// The cgroup of a unit.
    ///
    /// # Errors
    /// There is none.
    pub fn unit(&self, name: &str) -> Result<Cgroup, CgroupError> {
        let host = self.host.lock().unwrap_or_else(PoisonError::into_inner);
        Cgroup::open(&host.slice().path().join(name))
    }

    /// How the daemon is.
    pub fn status(&self) -> DaemonStatus {
        let (object_sha256, lsm_missing) = {
            let host = self.host.lock().unwrap_or_else(PoisonError::into_inner);
            (host.object(), host.kernel.lsm.as_ref().err().cloned())
        };
        let table = self.jobs.table();
        DaemonStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            since: self.since,
            settings_read: self.settings().read,
            object_sha256,
            lsm_missing,
            runners: table.runners().map(table::Entry::runner_status).collect(),
            jobs: table.jobs().filter(|entry| entry.is_alive()).count() as u64,
        }
    }

    /// The page of metrics.
    pub fn metrics(&self) -> String {
        let to_read = self.jobs.metrics().to_read();
        let host = self.host.lock().unwrap_or_else(PoisonError::into_inner);
        let counts: Vec<_> = to_read
            .into_iter()
            .filter_map(|which| Some((host.counts_of(&which.0)?, which)))
            .collect();
        let enforcing = host.is_in_force();
        let (object, lsm) = (host.object(), host.kernel.lsm.is_ok());
        drop(host);
        if let Err(error) = &enforcing {
            tracing::error!(error = %chain(error), "not everything is enforced");
        }
        let milliseconds =
            |time: Timestamp| u64::try_from(time.as_millisecond()).unwrap_or_default();
        let settings_read = milliseconds(self.settings().read);
        let table = self.jobs.table();
        let runners = |is: fn(&State) -> bool| {
            let states = table.runners().map(|runner| &runner.state);
            states.filter(|state| is(state)).count() as u64
        };
        let now = Now {
            object,
            started: milliseconds(self.since),
            settings_read,
            enforcing: enforcing.is_ok(),
            lsm,
            runners: [
                runners(|state| matches!(state, State::Enforced)),
                runners(|state| matches!(state, State::Starting)),
                runners(|state| matches!(state, State::Failed)),
            ],
            jobs: table.jobs().filter(|entry| entry.is_alive()).count() as u64,
        };
        let mut metrics = self.jobs.metrics();
        for (counts, which) in &counts {
            metrics.counted(which, counts);
        }
        metrics.render(&now)
    }

    /// Until somebody says that it is enough.
    async fn watch(self: &Arc<Self>, signals: &mut Signals) -> Result<(), DaemonError> {
        let mut look = interval(LOOK_EVERY);
        let mut alive =
            interval(sd_notify::watchdog_enabled().map_or(PATIENCE, |time| time.mul_f64(0.3)));
        loop {
            tokio::select! {
                _ = look.tick() => self.look()?,
                _ = alive.tick() => notify(&[NotifyState::Watchdog]),
                received = signals.next() => {
                    let Received { signal, .. } = received.map_err(|source| DaemonError::Io {
                        what: "signals cannot be read",
                        source,
                    })?;
                    match signal {
                        Signal::SIGHUP => {
                            if let Err(error) = self.reload() {
                                tracing::error!("settings not read, the old ones hold:\n{error}");
                            }
                        }
                        Signal::SIGTERM | Signal::SIGINT | Signal::SIGQUIT => return Ok(()),
                        _ => {}
                    }
                }
            }
        }
    }

    /// Looks whether the slice is the one that is enforced, and for units that came.
    fn look(self: &Arc<Self>) -> Result<(), DaemonError> {
        let units = {
            let host = self.host.lock().unwrap_or_else(PoisonError::into_inner);
            if !host.has_its_slice() {
                return Err(DaemonError::OtherSlice);
            }
            host.units()?
        };
        // Not in the head of the loop, which would hold the table for all of it.
        let new = runners::new_units(&self.jobs.table(), &units);
        for unit in new {
            self.enrol(&unit);
        }
        self.end_abandoned(&units);
        Ok(())
    }

    /// Ends jobs whose runner is gone: nobody would hear of their end, or clean up after them.
    fn end_abandoned(&self, units: &[Cgroup]) {
        let lives = |unit: &str| {
            let mut units = units.iter();
            let unit = units.find(|cgroup| cgroup.name() == unit);
            // One that cannot be asked is not known to be gone.
            unit.is_some_and(|unit| unit.is_populated().unwrap_or_else(|_| unit.path().exists()))
        };
        let table = self.jobs.table();
        let now = runners::abandoned(&table, lives);
        let mut seen = self
            .abandoned
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        seen.retain(|id, _| now.iter().any(|(abandoned, _)| abandoned == id));
        for (id, unit) in now {
            let since = seen
                .entry(id.clone())
                .or_insert_with(|| Some(Instant::now()));
            if since.is_none_or(|since| since.elapsed() < ABANDONED) {
                continue;
            }
            let orders = table.get(&id).and_then(|entry| entry.orders.as_ref());
            let note = Order::Note {
                kind: Kind::RunnerGone,
                detail: format!("no process is left in `{unit}`; the job was ended"),
            };
            if orders.is_some_and(|orders| orders.give(note) && orders.give(Order::End)) {
                tracing::warn!(job = id, unit, "ended, because its runner is gone");
                *since = None;
            }
        }
    }

    fn enrol(self: &Arc<Self>, unit: &str) {
        let id = crate::enforce::unit_id(unit);
        match self.jobs.enrol(&self.settings(), unit) {
            Ok(begun) => {
                let jobs = Arc::clone(&self.jobs);
                tokio::spawn(async move {
                    if let Ok(begun) = begun.await {
                        jobs.enforced(&id, &begun);
                    }
                });
            }
            Err(error) => {
                let error = chain(&error);
                tracing::error!(unit, error, "runner not enrolled: it is denied everything");
                self.jobs.table().add(runners::denied(&id, unit, error));
            }
        }
    }

    /// Lets every job go on without this daemon.
    async fn leave_jobs(&self) {
        let changed = || self.jobs.changed.notified();
        for entry in self.jobs.table().alive() {
            if let Some(orders) = &entry.orders
                && !orders.give(Order::Leave)
            {
                tracing::warn!(job = entry.id, "could not be told that the daemon stops");
            }
        }
        let left = async {
            loop {
                let waiting = changed();
                if !self
                    .jobs
                    .table()
                    .alive()
                    .any(|entry| entry.orders.is_some())
                {
                    return;
                }
                waiting.await;
            }
        };
        if timeout(PATIENCE, left).await.is_err() {
            tracing::warn!(
                "some jobs did not put their work down in time; the next daemon takes them over"
            );
        }
    }

    /// Starts a job for a caller who may have one.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(
        &self,
        peer: &Peer,
        caller: &Caller,
        request: api::types::StartRequest,
    ) -> Result<String, StartError> {
        let settings = self.settings();
        let unit = match caller {
            Caller::Runner { unit } => {
                let error = match self.jobs.table().runner(unit) {
                    Some(entry) if entry.is_alive() => None,
                    Some(entry) => Some(
                        entry
                            .error
                            .clone()
                            .unwrap_or_else(|| "it has ended".to_owned()),
                    ),
                    None => Some("it is not known yet; ask again in a second".to_owned()),
                };
                if let Some(error) = error {
                    return Err(StartError::Runner(error));
                }
                let cgroup = self.unit(unit).map_err(io::Error::other)?;
                Some((unit.as_str(), cgroup))
            }
            _ => None,
        };
        self.jobs.start(&settings, peer, unit, request).await
    }
}
