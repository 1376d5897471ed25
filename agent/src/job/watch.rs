//! The loop of a running job: records, questions, signals, until the command is gone.

#![expect(clippy::future_not_send, reason = "one job, one thread")]

use std::collections::BTreeSet;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cordon_ebpf::abi::record::{Exec, Unserved};
use nix::sys::signal::Signal;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tokio::time::{Interval, interval};

use super::closing::Closing;
use super::life::{Ending, Life, Master, Wish};
use super::limiting::Limiting;
use super::namespaces::Namespaces;
use super::narrowing::Effective;
use super::run::Tell;
use super::sweeping::{Alarm, Sweeping};
use crate::attribution::Proc;
use crate::cgroup::Cgroup;
use crate::dns::{Counts, NameLog, Question};
use crate::enforce::maps::Leases;
use crate::enforce::{Host, Place};
use crate::engine::{Waiting, Wanted};
use crate::events::decode::Event;
use crate::events::journal::Journal;
use crate::events::ledger::{Ledger, News};
use crate::events::ring::Pump;
use crate::report::{Outcome, Report};
use crate::sandbox::link::Init;
use crate::secrets::ledger::Occasion;
use crate::sys::clock::BootTime;
use crate::sys::readiness;
use crate::sys::signals::{Received, Signals};

/// Questions that may wait for the ledger. Beyond: answered all the same, counted, not listed.
const QUESTIONS: usize = 4096;
/// How often leases that ran out are collected.
const COLLECT_EVERY: Duration = Duration::from_secs(30);
/// How often cordon says that it lives: how exactly the next one knows when it was killed.
const TOUCH_EVERY: Duration = Duration::from_secs(1);
/// How often a job is asked whether it has ended, if there is nothing that could be waited for.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The DNS listener's end of the way to the ledger.
#[derive(Debug)]
pub struct Questions {
    sender: mpsc::Sender<Question>,
    lost: Arc<AtomicU64>,
}

impl NameLog for Questions {
    fn record(&self, question: Question) {
        if self.sender.try_send(question).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// What a running job is watched through.
#[derive(Debug)]
pub struct Watch {
    pump: Pump,
    questions: mpsc::Receiver<Question>,
    lost: Arc<AtomicU64>,
    pub(super) leases: Arc<Leases>,
    closing: Closing,
    /// The job's DNS, once it is served.
    pub namespaces: Option<Namespaces>,
    /// The secret sweep, once it is set up.
    pub sweeping: Option<Sweeping>,
    /// The job's limits, once they are pinned.
    pub limiting: Option<Limiting>,
    /// Its containers that are about to run, if it may have any.
    pub containers: Option<Waiting>,
    /// Where processes that are moved into it go, if not into its cgroup itself.
    pub home: Option<PathBuf>,
    /// What was seen.
    pub ledger: Ledger,
    /// The same, event by event.
    pub journal: Journal,
    /// Workers that were started in the unit of a runner.
    pub workers: Option<Workers>,
    /// What the job is allowed now, if it narrowed that since it is watched.
    pub narrowed: Option<Effective>,
}

/// Processes that executed a program of this name.
#[derive(Clone, Debug, Default)]
pub struct Workers {
    name: String,
    seen: BTreeSet<u32>,
}

/// Workers that are kept account of.
const WORKERS: usize = 4096;

impl Workers {
    /// None yet.
    #[must_use]
    pub fn of(name: String) -> Self {
        Self {
            name,
            seen: BTreeSet::new(),
        }
    }

    /// Which they were.
    #[must_use]
    pub fn seen(&self) -> &BTreeSet<u32> {
        &self.seen
    }

    fn executed(&mut self, record: &Exec) {
        let len = (record.path_len as usize).min(record.path.len());
        let path = record.path.get(..len).unwrap_or_default();
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        if name == self.name.as_bytes() && self.seen.len() < WORKERS {
            self.seen.insert(record.header.tgid);
        }
    }
}

impl Watch {
    /// Watches a job that has not been released yet; `home` is the name of its cgroup.
    #[must_use]
    pub fn new(pump: Pump, leases: Arc<Leases>, home: String) -> (Self, Questions) {
        let (sender, questions) = mpsc::channel(QUESTIONS);
        let lost = Arc::<AtomicU64>::default();
        let log = Questions {
            sender,
            lost: Arc::clone(&lost),
        };
        (
            Self {
                pump,
                questions,
                lost,
                leases,
                closing: Closing::default(),
                namespaces: None,
                sweeping: None,
                limiting: None,
                containers: None,
                home: None,
                ledger: Ledger::of(home),
                journal: Journal::default(),
                workers: None,
                narrowed: None,
            },
            log,
        )
    }

    /// Watches until the command is gone.
    ///
    /// # Errors
    /// Something cannot be watched any more; the job must end.
    pub async fn until_gone(
        &mut self,
        init: &mut Init,
        host: &mut Host,
        place: &Place,
        signals: &mut Signals,
        tell: Tell<'_>,
    ) -> io::Result<Outcome> {
        let journal = self.journal.clone();
        let tell: Tell<'_> = &mut |news| noted(&journal, news, tell);
        let mut rhythm = Rhythm::new();
        let mut asked_to_end = false;
        loop {
            tokio::select! {
                status = init.ended() => return Ok(outcome(status?)),
                received = signals.next() => {
                    forward(received?, init, &place.cgroup, &mut asked_to_end)?;
                }
                turn = self.turn(&mut rhythm, host, place, tell) => {
                    if turn? == Turn::TimeOver {
                        Limiting::end(self.limiting.as_mut(), Some(&*init), place, tell)?;
                    }
                }
            }
        }
    }

    /// Watches a job without a command of cordon's: until its worker has ended, until no process of it is
    /// left, or until somebody says so.
    ///
    /// # Errors
    /// Something cannot be watched any more; the job must end.
    pub async fn until_over(
        &mut self,
        life: &Life,
        host: &mut Host,
        place: &Place,
        master: &mut impl Master,
        tell: Tell<'_>,
    ) -> io::Result<Ending> {
        let journal = self.journal.clone();
        let tell: Tell<'_> = &mut |news| noted(&journal, news, tell);
        let mut rhythm = Rhythm::new();
        let mut process = life.process().map(readiness::end_of).transpose()?;
        // What nobody tells of is looked for; the others are looked at once a second with everything else.
        let mut look = match life {
            Life::Processes | Life::Command(None) => Some(interval(LOOK_EVERY)),
            Life::Worker(_) | Life::Command(Some(_)) | Life::Unit | Life::Open => None,
        };
        loop {
            tokio::select! {
                () = ended(process.as_ref()) => {
                    process = None;
                    look = Some(interval(LOOK_EVERY));
                }
                () = next_look(look.as_mut()) => {
                    if life.is_over(&place.cgroup)? {
                        return Ok(Ending::Over);
                    }
                }
                wish = master.next() => match wish? {
                    Wish::End => {
                        place.cgroup.kill().map_err(io::Error::other)?;
                        return Ok(Ending::Ended);
                    }
                    Wish::Leave => return Ok(Ending::Left),
                    Wish::Finish => return Ok(Ending::Over),
                    Wish::Ended(end) => {
                        master.ended(*end);
                        return Ok(Ending::Over);
                    }
                    Wish::Announced { by } => {
                        // What was started before is in records that may lie there still.
                        self.pump.hurry();
                        self.records(host, place, tell)?;
                        master.announced(by, self.ledger.executed);
                    }
                    Wish::Attach(attach) => self.attach(host, place, *attach),
                    Wish::Narrow(narrow) => {
                        if let Some(narrowing) = self.narrow(host, place, *narrow) {
                            master.narrowed(narrowing);
                        }
                    }
                    Wish::Nothing => {}
                },
                turn = self.turn(&mut rhythm, host, place, tell) => match turn? {
                    Turn::Done => {}
                    Turn::Touched => {
                        if life.is_over(&place.cgroup)? {
                            return Ok(Ending::Over);
                        }
                    }
                    Turn::TimeOver => {
                        Limiting::end(self.limiting.as_mut(), life.asked(), place, tell)?;
                    }
                }
            }
        }
    }

    /// Waits for the next thing a running job needs, and does it. Nothing is lost when it is given up.
    async fn turn(
        &mut self,
        rhythm: &mut Rhythm,
        host: &mut Host,
        place: &Place,
        tell: Tell<'_>,
    ) -> io::Result<Turn> {
        let Self {
            pump,
            questions,
            leases,
            namespaces,
            sweeping,
            limiting,
            containers,
            ledger,
            journal,
            ..
        } = self;
        tokio::select! {
            ready = pump.ready() => {
                ready?;
                self.records(host, place, tell)?;
            }
            Some(question) = questions.recv() => {
                // Who asked is in records that may lie there still.
                pump.hurry();
                self.records(host, place, tell)?;
                self.question(question, tell)?;
            }
            wanted = next_container(containers.as_mut()) => {
                admit(wanted, namespaces.as_mut(), host, place);
            }
            _ = rhythm.collect.tick() => leases.collect_expired(),
            () = Limiting::time_over(limiting.as_ref()) => return Ok(Turn::TimeOver),
            () = next_slice(sweeping.as_ref()) => {
                go_on(sweeping.as_mut(), ledger, host, place, tell)?;
            }
            _ = rhythm.touch.tick() => {
                place.touch()?;
                pump.rest();
                journal.flush();
                let_go(namespaces.as_mut(), host, place);
                look_after(sweeping.as_mut(), ledger, host, place, tell)?;
                Limiting::look(limiting.as_mut(), ledger, place, tell)?;
                return Ok(Turn::Touched);
            }
        }
        Ok(Turn::Done)
    }

    /// Takes records that are due, and does what they ask for.
    fn records(&mut self, host: &mut Host, place: &Place, tell: Tell<'_>) -> io::Result<()> {
        let drained = self.drain(host, tell)?;
        act(self.sweeping.as_mut(), drained.alarm, host, place)?;
        let (namespaces, ledger) = (self.namespaces.as_mut(), &mut self.ledger);
        serve(namespaces, host, place, &drained.unserved, ledger, tell);
        Ok(())
    }

    fn question(&mut self, question: Question, tell: Tell<'_>) -> io::Result<()> {
        self.journal.question(&question, &self.ledger, &Proc);
        let now = BootTime::now()?.0;
        if let Some(news) = self.ledger.question(question, now, &Proc) {
            tell(news);
        }
        Ok(())
    }

    /// Ends the job's DNS; what was not answered.
    pub async fn end_dns(&mut self) -> Counts {
        match self.namespaces.take() {
            Some(namespaces) => namespaces.shutdown().await,
            None => Counts::default(),
        }
    }

    /// Writes into the report what became of the job's limits.
    pub fn conclude(&mut self, report: &mut Report, tell: Tell<'_>) {
        if let Some(limiting) = self.limiting.take() {
            let journal = &self.journal;
            limiting.conclude(report, &self.ledger, &mut |news| noted(journal, news, tell));
        }
        self.journal.flush();
    }

    /// Sweeps all processes of the job at once.
    ///
    /// # Errors
    /// They cannot be listed, or a finding cannot be acted on; the job must end.
    pub fn sweep(
        &mut self,
        occasion: Occasion,
        host: &mut Host,
        place: &Place,
        tell: Tell<'_>,
    ) -> io::Result<()> {
        let Some(sweeping) = &mut self.sweeping else {
            return Ok(());
        };
        let (ledger, journal) = (&self.ledger, &self.journal);
        let chain_of = |process| ledger.chain_of(process, &Proc);
        let alarm = sweeping.sweep(occasion, host, place, &chain_of, &mut |seen| {
            noted(journal, News::Secret(Box::new(seen)), tell);
        })?;
        act(Some(sweeping), alarm, host, place)
    }

    /// Takes what is still on its way, after the last process is gone.
    ///
    /// # Errors
    /// The clock cannot be read.
    pub fn finish(&mut self, host: &mut Host, tell: Tell<'_>) -> io::Result<()> {
        self.pump.hurry();
        let journal = self.journal.clone();
        let tell: Tell<'_> = &mut |news| noted(&journal, news, tell);
        // No process is left that could ask for a name, or send what it holds.
        let _nothing_to_do = self.drain(host, tell)?;
        while let Ok(question) = self.questions.try_recv() {
            self.question(question, tell)?;
        }
        let lost = self.lost.swap(0, Ordering::Relaxed);
        self.ledger.dropped.names = self.ledger.dropped.names.saturating_add(lost);
        Ok(())
    }

    /// Takes what the ring holds, closes what was refused for its name, and sweeps what was started.
    fn drain(&mut self, host: &mut Host, tell: Tell<'_>) -> io::Result<Drained> {
        let mut drained = Drained {
            unserved: Vec::new(),
            alarm: None,
        };
        let maps = &mut host.kernel.maps;
        let Self {
            pump,
            closing,
            sweeping,
            ledger,
            journal,
            workers,
            ..
        } = self;
        pump.take(&mut |event| {
            if let (Ok(Event::Exec(record)), Some(workers)) = (&event, &mut *workers) {
                workers.executed(record);
            }
            match &event {
                Ok(Event::Unserved(record)) => drained.unserved.push(*record),
                Ok(Event::NameRefused(record)) => closing.close(record),
                _ => {}
            }
            if let Some(news) = ledger.take(&event, &Proc) {
                tell(news);
            }
            match (&event, &mut *sweeping) {
                (Ok(Event::Fork(record)), Some(sweeping)) => {
                    sweeping.forked(record.header.tgid, record.child);
                }
                (Ok(Event::Exec(record)), Some(sweeping)) => {
                    let chain_of = |process| ledger.chain_of(process, &Proc);
                    let alarm = sweeping.exec(record, &chain_of, maps, &mut |seen| {
                        tell(News::Secret(Box::new(seen)));
                    });
                    if drained.alarm.is_none() {
                        drained.alarm = alarm;
                    }
                }
                _ => {}
            }
            // Last: a process may be waiting for its verdict.
            if let Ok(event) = &event {
                journal.record(event, ledger, &Proc);
            }
        })?;
        journal.flush();
        Ok(drained)
    }
}

/// News that the journal takes down before anybody else hears of them.
fn noted(journal: &Journal, news: News, tell: Tell<'_>) {
    journal.news(&news);
    tell(news);
}

/// When what is done again and again is due.
struct Rhythm {
    collect: Interval,
    touch: Interval,
}

impl Rhythm {
    fn new() -> Self {
        Self {
            collect: interval(COLLECT_EVERY),
            touch: interval(TOUCH_EVERY),
        }
    }
}

/// What a turn came to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Turn {
    Done,
    /// What is due once a second was done.
    Touched,
    /// The job's time is over, or its grace is.
    TimeOver,
}

/// What came out of the ring and must be dealt with.
struct Drained {
    /// Namespaces in which the job has no DNS.
    unserved: Vec<Unserved>,
    /// A secret that must be acted on.
    alarm: Option<Alarm>,
}

fn act(
    sweeping: Option<&mut Sweeping>,
    alarm: Option<Alarm>,
    host: &mut Host,
    place: &Place,
) -> io::Result<()> {
    match (sweeping, alarm) {
        (Some(sweeping), Some(alarm)) => sweeping.act(alarm, host, place),
        _ => Ok(()),
    }
}

/// Returns when there are processes to be swept; other work has its turn in between.
async fn next_slice(sweeping: Option<&Sweeping>) {
    match sweeping {
        Some(sweeping) if sweeping.is_under_way() => tokio::task::yield_now().await,
        _ => std::future::pending().await,
    }
}

fn go_on(
    sweeping: Option<&mut Sweeping>,
    ledger: &Ledger,
    host: &mut Host,
    place: &Place,
    tell: Tell<'_>,
) -> io::Result<()> {
    let Some(sweeping) = sweeping else {
        return Ok(());
    };
    let chain_of = |process| ledger.chain_of(process, &Proc);
    let alarm = sweeping.go_on(&chain_of, &mut |seen| tell(News::Secret(Box::new(seen))))?;
    act(Some(sweeping), alarm, host, place)
}

/// Begins the next sweep when it is due, sweeps processes whose records were lost, and ends a job that was frozen
/// for too long.
fn look_after(
    sweeping: Option<&mut Sweeping>,
    ledger: &Ledger,
    host: &mut Host,
    place: &Place,
    tell: Tell<'_>,
) -> io::Result<()> {
    let Some(sweeping) = sweeping else {
        return Ok(());
    };
    if sweeping.has_waited() {
        place.cgroup.kill().map_err(io::Error::other)?;
        return Ok(());
    }
    sweeping.rest();
    if sweeping.is_due() {
        sweeping.begin(Occasion::Interval, host, place)?;
    }
    let chain_of = |process| ledger.chain_of(process, &Proc);
    let alarm = sweeping.overdue(host, place, &chain_of, &mut |seen| {
        tell(News::Secret(Box::new(seen)));
    })?;
    act(Some(sweeping), alarm, host, place)
}

fn serve(
    namespaces: Option<&mut Namespaces>,
    host: &mut Host,
    place: &Place,
    unserved: &[Unserved],
    ledger: &mut Ledger,
    tell: Tell<'_>,
) {
    let Some(namespaces) = namespaces.filter(|_| !unserved.is_empty()) else {
        return;
    };
    let maps = &mut host.kernel.maps;
    for (record, why) in namespaces.notice(maps, &place.cgroup, unserved) {
        if let Some(news) = ledger.unserved(record, why, &Proc) {
            tell(news);
        }
    }
}

/// Returns when the process has ended.
async fn ended(process: Option<&AsyncFd<BorrowedFd<'_>>>) {
    if let Some(process) = process
        && process.readable().await.is_ok()
    {
        return;
    }
    std::future::pending::<()>().await;
}

/// When a job is looked at whose end nobody tells.
async fn next_look(look: Option<&mut Interval>) {
    match look {
        Some(look) => {
            look.tick().await;
        }
        None => std::future::pending().await,
    }
}

/// The next container that is about to run.
async fn next_container(containers: Option<&mut Waiting>) -> Wanted {
    if let Some(containers) = containers
        && let Some(wanted) = containers.recv().await
    {
        return wanted;
    }
    std::future::pending().await
}

fn admit(wanted: Wanted, namespaces: Option<&mut Namespaces>, host: &mut Host, place: &Place) {
    let served = match namespaces {
        Some(namespaces) => namespaces.admit(&mut host.kernel.maps, &place.cgroup, wanted.process),
        None => Err("the job has no DNS".to_owned()),
    };
    wanted.answer(served);
}

fn let_go(namespaces: Option<&mut Namespaces>, host: &mut Host, place: &Place) {
    if let Some(namespaces) = namespaces {
        namespaces.collect(&mut host.kernel.maps, &place.cgroup);
    }
}

pub(crate) fn outcome(status: std::process::ExitStatus) -> Outcome {
    match (status.code(), status.signal()) {
        (Some(code), _) => Outcome::Exited { code },
        (None, Some(signal)) => Outcome::Signalled { signal },
        // Neither: the status of a stopped process, which `wait` does not return.
        (None, None) => Outcome::Exited { code: 125 },
    }
}

/// Whether a signal asks to end.
pub(super) fn ends(signal: Signal) -> bool {
    matches!(signal, Signal::SIGINT | Signal::SIGTERM | Signal::SIGQUIT)
}

/// Passes a signal on to the command. What a terminal sent, the command has already: both are in
/// the terminal's foreground. Who asks twice to end, and is not the terminal, means the whole job.
pub(crate) fn forward(
    received: Received,
    init: &Init,
    cgroup: &Cgroup,
    asked_to_end: &mut bool,
) -> io::Result<()> {
    let Received {
        signal,
        from_terminal,
    } = received;
    let ends = ends(signal);
    if ends && *asked_to_end && !from_terminal {
        cgroup.kill().map_err(io::Error::other)?;
        return Ok(());
    }
    *asked_to_end |= ends;
    if from_terminal {
        return Ok(());
    }
    init.signal(signal)
}
