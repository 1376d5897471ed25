//! A job of the daemon's: its processes are somebody else's. A runner's unit, the worker of a CI job that was
//! moved out of it, or nothing yet.
//!
//! One thread each, as for `cordon run`: what holds one job up holds up no other. The daemon speaks to it by
//! [`Order`]s; when the daemon goes, the job stays enforced, and the next daemon takes it over.

#![expect(clippy::future_not_send, reason = "one job, one thread")]

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};

use super::armed::Armed;
use super::attach::{AttachError, attach};
use super::coverage::Surroundings;
use super::life::{CommandEnd, Ending, Life, Master, Wish};
use super::narrowing::Narrow;
use super::record::{Keeper, Worker};
use super::run::{self, Job, Ran, RunError, Tell, Terms};
use super::sealing::Sealed;
use super::watch::{Watch, Workers};
use crate::cgroup::Cgroup;
use crate::dns::Bound;
use crate::enforce::{Host, Place};
use crate::engine::Mediated;
use crate::report::attendance::{Attendance, Kind, Narrowing};
use crate::sandbox::Limited;
use crate::secrets::ledger::Occasion;
use crate::sys::pidfd::Process;
use crate::sys::{netns, process};

/// Orders that may wait.
const ORDERS: usize = 64;

/// Whose processes a job has.
#[derive(Clone, Debug)]
pub enum Whose {
    /// Those of a cgroup in the slice, as they come and go.
    Unit {
        /// Its name.
        unit: String,
        /// The program that is a worker.
        worker: Option<String>,
    },
    /// A worker's, which are in this cgroup of the slice and are moved.
    Worker {
        /// The job's name.
        id: String,
        /// The cgroup they are in.
        from: Cgroup,
        /// The worker.
        worker: Worker,
    },
    /// A command's that `cordon run` starts.
    Command(Box<Commanded>),
    /// Nobody's yet: they are moved into it one after another.
    Open {
        /// The job's name.
        id: String,
        /// The cgroup of the runner they will come from, if it is a runner's.
        from: Option<Cgroup>,
    },
}

/// A command that somebody else starts and waits for.
#[derive(Clone, Debug)]
pub struct Commanded {
    /// The job's name.
    pub id: String,
    /// Who starts it.
    pub by: Worker,
    /// First word of the command.
    pub command: String,
    /// How many arguments follow.
    pub arguments: usize,
    /// Whether it runs as root.
    pub as_root: bool,
    /// Whether who starts it counts on the kernel's LSM programs.
    pub lsm: bool,
    /// What is put around it.
    pub around: Surroundings,
}

/// What the daemon tells a job.
#[derive(Debug)]
pub enum Order {
    /// End every process of it.
    End,
    /// It is over.
    Finish,
    /// Who waited for its command says how that ended.
    Ended(CommandEnd),
    /// Let it go on without this daemon.
    Leave,
    /// From inside: it is about to be over. By whom is for the report.
    Announce {
        /// Executables of who said so.
        by: String,
    },
    /// To a runner: this worker of it is a job now.
    Started {
        /// The worker.
        worker: u32,
    },
    /// Something about it is not as it should be.
    Note {
        /// What.
        kind: Kind,
        /// In words.
        detail: String,
    },
    /// Makes its policy narrower.
    Narrow(Box<Narrow>),
    /// Moves a process and all that descend from it into the job.
    Attach {
        /// The cgroup they are in.
        from: Cgroup,
        /// The process.
        process: Worker,
        /// How many were moved.
        answer: oneshot::Sender<Result<u64, String>>,
    },
}

/// The daemon's end of the way to a job.
#[derive(Clone, Debug)]
pub struct Orders {
    sender: mpsc::Sender<Order>,
}

/// The job's end.
#[derive(Debug)]
pub struct Inbox {
    receiver: mpsc::Receiver<Order>,
    attendance: Arc<Mutex<Attendance>>,
    /// Who announced the end first, and how many programs had been started then.
    announced: Option<(String, u64)>,
    /// Workers of this runner that became jobs.
    started: BTreeSet<u32>,
    /// How the command ended, by who waited for it.
    ended: Option<CommandEnd>,
}

impl Orders {
    /// A way to a job.
    #[must_use]
    pub fn new(attendance: Attendance) -> (Self, Inbox) {
        let (sender, receiver) = mpsc::channel(ORDERS);
        let inbox = Inbox {
            receiver,
            attendance: Arc::new(Mutex::new(attendance)),
            announced: None,
            started: BTreeSet::new(),
            ended: None,
        };
        (Self { sender }, inbox)
    }

    /// Gives an order. False: the job is over, or has more orders than it can take.
    #[must_use]
    pub fn give(&self, order: Order) -> bool {
        self.sender.try_send(order).is_ok()
    }
}

impl Master for Inbox {
    async fn next(&mut self) -> io::Result<Wish> {
        Ok(match self.receiver.recv().await {
            // Nobody can say anything any more: as when the daemon goes.
            None | Some(Order::Leave) => Wish::Leave,
            Some(Order::End) => Wish::End,
            Some(Order::Finish) => Wish::Finish,
            Some(Order::Ended(end)) => Wish::Ended(Box::new(end)),
            Some(Order::Announce { by }) => Wish::Announced { by },
            Some(Order::Started { worker }) => {
                self.started.insert(worker);
                Wish::Nothing
            }
            Some(Order::Note { kind, detail }) => {
                self.note(kind, detail);
                Wish::Nothing
            }
            Some(Order::Narrow(narrow)) => Wish::Narrow(narrow),
            Some(Order::Attach {
                from,
                process,
                answer,
            }) => Wish::Attach(Box::new(Attach {
                from,
                process,
                answer,
            })),
        })
    }

    fn announced(&mut self, by: String, executed: u64) {
        if self.announced.is_none() {
            self.announced = Some((by, executed));
        }
    }

    fn narrowed(&mut self, narrowing: Narrowing) {
        self.with(|attendance| attendance.narrowed.push(narrowing));
    }

    fn ended(&mut self, end: CommandEnd) {
        self.ended = Some(end);
    }

    fn end(&self) -> Option<&CommandEnd> {
        self.ended.as_ref()
    }

    fn conclude(&mut self, life: &Life, watch: &Watch) -> Option<Attendance> {
        if let Some(workers) = &watch.workers {
            for worker in workers.seen().difference(&self.started) {
                self.note(
                    Kind::NoStart,
                    format!(
                        "process {worker} was a worker and never a job; it was enforced as the runner is. Was \
                         the hook that starts jobs removed or skipped?"
                    ),
                );
            }
        }
        Some(self.look_back(life, watch.ledger.executed))
    }
}

/// A process that is to be moved into a running job.
#[derive(Debug)]
pub struct Attach {
    pub(super) from: Cgroup,
    pub(super) process: Worker,
    pub(super) answer: oneshot::Sender<Result<u64, String>>,
}

impl Inbox {
    fn note(&self, kind: Kind, detail: String) {
        self.with(|attendance| attendance.note(kind, detail));
    }

    fn with<T>(&self, act: impl FnOnce(&mut Attendance) -> T) -> T {
        let mut attendance = self
            .attendance
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        act(&mut attendance)
    }

    /// What was found about the job's end, after so many programs.
    fn look_back(&self, life: &Life, executed: u64) -> Attendance {
        match (&self.announced, life) {
            (None, Life::Worker(_)) => self.note(
                Kind::NoFinish,
                "its worker ended, and nobody in the job had said that it would; was the hook that says \
                 so removed or skipped?"
                    .to_owned(),
            ),
            (Some((by, then)), _) if executed > *then => {
                let more = executed.saturating_sub(*then);
                let detail = format!(
                    "after {by} had said that the job was over, {more} programs were started in it; they \
                     were enforced and are in this report"
                );
                self.note(Kind::EarlyFinish, detail);
            }
            _ => {}
        }
        self.with(|attendance| attendance.clone())
    }
}

/// A job that is enforced now.
#[derive(Clone, Debug)]
pub struct Begun {
    /// Where its command starts, and how.
    pub cgroup: PathBuf,
    /// What its first process must do about limits.
    pub limited: Limited,
    /// Processes that were moved into it.
    pub moved: u64,
    /// Where its evidence will be.
    pub evidence: PathBuf,
    /// Port of 127.0.0.1 at which it finds its container engine, if it has one.
    pub engine: Option<u16>,
}

/// How it went.
#[derive(Debug)]
pub enum Over {
    /// It has evidence.
    Sealed(Box<Sealed>),
    /// It goes on, unwatched.
    Left,
}

/// Runs a job of the daemon's in this thread. `begun` hears when it is enforced, or why it is not.
///
/// # Errors
/// See [`RunError`]; a job that cannot begin has no process, or none that was not ended.
pub fn run(
    terms: &Terms,
    whose: &Whose,
    mut inbox: Inbox,
    begun: oneshot::Sender<Begun>,
    tell: Tell<'_>,
) -> Result<Over, RunError> {
    run::runtime()?.block_on(run_job(terms, whose, &mut inbox, begun, tell))
}

async fn run_job(
    terms: &Terms,
    whose: &Whose,
    inbox: &mut Inbox,
    begun: oneshot::Sender<Begun>,
    tell: Tell<'_>,
) -> Result<Over, RunError> {
    // The daemon read its key when it started, and a TPM may be gone since.
    terms.key.prove()?;
    let mut host = Host::join(&terms.config.host)?;
    let mut place = match whose {
        Whose::Unit { unit, .. } => host.place_of_unit(unit)?,
        Whose::Worker { id, .. } | Whose::Open { id, .. } => host.place(id)?,
        Whose::Command(command) => host.place(&command.id)?,
    };
    place.parent = whose.parent();
    // On the heap: it is the whole life of a job.
    let over = Box::pin(in_place(
        terms,
        whose,
        inbox,
        (&mut host, &place),
        begun,
        tell,
    ))
    .await;
    if matches!(over, Ok(Over::Left)) {
        return over;
    }
    let retired = host.retire(place);
    match (over, retired) {
        (Ok(over), Ok(())) => Ok(over),
        (over, Err(leftovers)) => {
            let error = crate::enforce::chain(&leftovers);
            tracing::error!(error, "not all of a job was cleared away");
            over
        }
        (Err(error), Ok(())) => Err(error),
    }
}

async fn in_place(
    terms: &Terms,
    whose: &Whose,
    inbox: &mut Inbox,
    (host, place): (&mut Host, &Place),
    begun: oneshot::Sender<Begun>,
    tell: Tell<'_>,
) -> Result<Over, RunError> {
    let mut job = whose.job(terms);
    let mut armed = Armed::new(terms, &job, host, place, whose.bind()?)?;
    let (around, life) = whose.look(armed.enforced.lsm)?;
    job.around = around;
    if let Whose::Worker { worker, .. } = whose {
        armed.record.worker = Some(*worker);
    }
    if let Whose::Unit { worker, .. } = whose {
        armed.watch.workers = worker.clone().map(Workers::of);
    }
    if let Whose::Command(command) = whose {
        armed.record.keeper = Keeper::Daemon;
        armed.record.waits = Some(command.by);
    }
    let mut engine = run::mediate(terms, host, place)?;
    if let Some(engine) = &mut engine {
        armed.mediated(&mut job, engine);
    }
    let started = Timestamp::now();
    let watched = async {
        let begins = begin(terms, whose, (&job, &mut armed), host, place)?;
        inbox.with(|attendance| attendance.moved = begins.moved);
        if begun.send(begins).is_err() {
            tracing::debug!("who asked for a job did not wait for it");
        }
        (armed.watch)
            .until_over(&life, host, place, inbox, tell)
            .await
            .map_err(RunError::Watch)
    };
    let ending = Box::pin(watched).await;
    if matches!(ending, Ok(Ending::Left)) {
        let left = place.touch();
        left.map_err(RunError::Watch)?;
        return Ok(Over::Left);
    }
    Box::pin(end(
        terms,
        (&mut job, engine),
        (armed, ending.map(drop)),
        (host, place),
        (inbox, &life),
        started,
        tell,
    ))
    .await
}

/// Lets the job have processes, and moves those that are there already.
fn begin(
    terms: &Terms,
    whose: &Whose,
    (job, armed): (&Job<'_>, &mut Armed),
    host: &mut Host,
    place: &Place,
) -> Result<Begun, RunError> {
    armed.serve(terms, job, host, place)?;
    let limited = armed.limited();
    let moved = match whose {
        Whose::Worker { from, worker, .. } => {
            let into = (armed.watch.home(place), &limited);
            bring(host, place, into, from, worker.pid).map_err(entered)?
        }
        Whose::Unit { .. } | Whose::Open { .. } | Whose::Command(_) => 0,
    };
    Ok(Begun {
        moved,
        evidence: terms.evidence.path().to_owned(),
        engine: armed.record.engine.as_ref().map(|seat| seat.port),
        cgroup: place.cgroup.path().to_owned(),
        limited,
    })
}

async fn end(
    terms: &Terms,
    (job, engine): (&mut Job<'_>, Option<Mediated>),
    (mut armed, ending): (Armed, Result<(), RunError>),
    (host, place): (&mut Host, &Place),
    (inbox, life): (&mut Inbox, &Life),
    started: Timestamp,
    tell: Tell<'_>,
) -> Result<Over, RunError> {
    // What the engine has of the job goes, however it ended.
    let unmediate = |job: &mut Job<'_>| -> Result<(), RunError> {
        if let Some(engine) = engine {
            let name = engine.engine().to_owned();
            let noted = engine.end(&place.cgroup.name())?;
            job.around.mediated(&name, &noted);
        }
        Ok(())
    };
    let ending = match (ending, inbox.end()) {
        (Ok(()), Some(CommandEnd::NotEntered { why })) => {
            Err(RunError::Enter(io::Error::other(why.clone())))
        }
        (ending, _) => ending,
    };
    if let Err(error) = ending {
        // The error is the one to tell.
        drop(unmediate(job));
        return Err(error);
    }
    let watch = &mut armed.watch;
    let there = place.cgroup.path().exists();
    if there {
        watch
            .sweep(Occasion::End, host, place, tell)
            .map_err(RunError::Watch)?;
    }
    let survivors = match life {
        // What is left in a unit is its service manager's to end; nothing of it is enforced less.
        Life::Unit => 0,
        _ => host.kill(place).map_err(RunError::Survivors)?,
    };
    unmediate(job)?;
    let attendance = inbox.conclude(life, watch);
    // A command line of the host was not asked for by anybody else; what was found of it is told all the same.
    job.attendance = attendance.filter(|found| job.attendance.is_some() || !found.is_bare());
    let effective = watch.narrowed.take();
    let job = &match &effective {
        Some(effective) => effective.of(job),
        None => job.clone(),
    };
    let ran = Ran {
        outcome: life.outcome(inbox.end()),
        not_started: None,
        started,
        finished: Timestamp::now(),
        survivors: survivors as u64,
    };
    let sealed = armed.wind_up(terms, job, host, place, &ran, tell).await?;
    Ok(Over::Sealed(Box::new(sealed)))
}

/// Moves processes, and ends those that came if not all did.
fn bring(
    host: &mut Host,
    place: &Place,
    into: (&Path, &Limited),
    from: &Cgroup,
    root: u32,
) -> Result<u64, AttachError> {
    let moved = attach(host, place, into, from, root);
    if moved.is_err() {
        // The error is the one to tell; who is in the job already has no business outside of it.
        drop(host.kill(place));
    }
    moved
}

fn entered(error: AttachError) -> RunError {
    RunError::Enter(io::Error::other(error))
}

impl Watch {
    /// Where processes go that are moved into the job.
    fn home<'a>(&'a self, place: &'a Place) -> &'a Path {
        self.home.as_deref().unwrap_or_else(|| place.cgroup.path())
    }

    /// Moves a process into the running job, and says how that went.
    pub(super) fn attach(&self, host: &mut Host, place: &Place, attach: Attach) {
        let Attach {
            from,
            process,
            answer,
        } = attach;
        let limited = self
            .limiting
            .as_ref()
            .map_or_else(Limited::default, super::limiting::Limiting::limited);
        let moved = if process.is_still() {
            let into = (self.home(place), &limited);
            super::attach::attach(host, place, into, &from, process.pid)
                .map_err(|error| crate::enforce::chain(&error))
        } else {
            Err("the process is gone".to_owned())
        };
        if answer.send(moved).is_err() {
            tracing::debug!("who asked for a process to be moved did not wait");
        }
    }
}

impl Worker {
    /// The process that has this number now.
    ///
    /// # Errors
    /// There is none.
    pub fn find(pid: u32) -> io::Result<Self> {
        let started = process::stat(pid)?.started;
        Ok(Self { pid, started })
    }

    /// Whether it is still this process that has the number.
    #[must_use]
    pub fn is_still(self) -> bool {
        process::stat(self.pid).is_ok_and(|stat| stat.started == self.started)
    }

    /// It, held. `None`: it is gone.
    #[must_use]
    pub fn hold(self) -> Option<Process> {
        let process = Process::open(self.pid).ok()?;
        self.is_still().then_some(process)
    }
}

impl Whose {
    /// Id of the runner's cgroup, or 0.
    fn parent(&self) -> u64 {
        match self {
            Self::Worker { from, .. } => from.id(),
            Self::Open { from, .. } => from.as_ref().map_or(0, Cgroup::id),
            Self::Unit { .. } | Self::Command(_) => 0,
        }
    }

    /// What is known of it before it begins.
    fn job<'a>(&self, terms: &'a Terms) -> Job<'a> {
        let job = Job {
            command: self.words(),
            as_root: false,
            ..terms.job()
        };
        match self {
            Self::Command(command) => Job {
                arguments: command.arguments,
                as_root: command.as_root,
                ..job
            },
            _ => job,
        }
    }

    fn words(&self) -> String {
        match self {
            Self::Command(command) => command.command.clone(),
            Self::Unit { unit, .. } => unit.clone(),
            Self::Worker { worker, .. } => {
                process::program(worker.pid).unwrap_or_else(|| "unknown".to_owned())
            }
            Self::Open { .. } => "none of its own".to_owned(),
        }
    }

    /// DNS sockets where its processes are.
    fn bind(&self) -> Result<Bound, RunError> {
        let network = match self {
            Self::Worker { worker, .. } => Some(process::network(worker.pid)?),
            Self::Command(command) => Some(process::network(command.by.pid)?),
            Self::Unit { .. } | Self::Open { .. } => None,
        };
        match network {
            Some(network) => {
                let bind = || -> io::Result<_> { Ok(Bound::bind()) };
                let bound = netns::within(network, bind).map_err(RunError::Enter)?;
                Ok(bound?)
            }
            None => Ok(Bound::bind()?),
        }
    }

    /// What stands around its processes, and what it lives as long as.
    fn look(&self, lsm: bool) -> Result<(Surroundings, Life), RunError> {
        match self {
            Self::Worker { worker, .. } => {
                let powers = process::powers(worker.pid).map_err(RunError::Enter)?;
                let process = worker.hold().ok_or_else(|| entered(AttachError::Gone))?;
                Ok((Surroundings::attended(&powers, lsm), Life::Worker(process)))
            }
            Self::Command(command) => {
                if command.lsm != lsm {
                    return Err(RunError::Start {
                        what: "whether the kernel judges with LSM programs changed meanwhile; start it again",
                        source: io::Error::other("who starts it made another sandbox"),
                    });
                }
                let waits = command.by.hold();
                let waits = waits
                    .ok_or_else(|| RunError::Enter(io::Error::other("who asked for it is gone")))?;
                Ok((command.around.clone(), Life::Command(Some(waits))))
            }
            // Whoever will be in it: nothing is promised.
            Self::Unit { .. } => Ok((Surroundings::attended(&process::UNKNOWN, lsm), Life::Unit)),
            Self::Open { .. } => Ok((Surroundings::attended(&process::UNKNOWN, lsm), Life::Open)),
        }
    }
}
