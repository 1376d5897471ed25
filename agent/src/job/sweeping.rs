//! The secret sweep of a running job: every program it starts, and all its processes every so often.
//!
//! A job whose findings are acted on is held: the kernel stops each process at exec, before its first
//! instruction, and lets nothing of it leave, until it was swept here.

use std::io;
use std::time::{Duration, Instant};

use cordon_ebpf::abi::record::Exec;
use cordon_secrets::{Detection, Judgement, Outcome, Severity, Tree};

use crate::attribution::Chain;
use crate::cgroup::CgroupError;
use crate::enforce::maps::{Maps, MapsError};
use crate::enforce::{Host, Place};
use crate::events::ring::Pace;
use crate::policy::secrets::{OnFinding, SecretsPolicy};
use crate::secrets::ledger::{Occasion, Seen, SweepDone};
use crate::secrets::sweeper::{Identity, Subject, Sweeper};
use crate::sys::clock::BootTime;
use crate::sys::pidfd;

/// Processes that are read in one go before other work has its turn.
const AT_ONCE: usize = 64;
/// How long a process may wait to be swept before it is looked for: its record may be lost.
const OVERDUE: Duration = Duration::from_millis(200);

/// What was done, and when: boot times in ns.
#[derive(Clone, Debug)]
pub struct Acted {
    /// The finding.
    pub detection: Detection,
    /// Who had it.
    pub chain: Chain,
    /// Why it is one.
    pub judgement: Judgement,
    /// When the program that had it was started, if it was seen at exec.
    pub exec: Option<u64>,
    /// When it was found.
    pub found: u64,
    /// When the kernel let nothing of the job leave any more.
    pub closed: u64,
    /// When the job's processes were told to stop, or killed.
    pub ended: u64,
    /// What was done.
    pub taken: OnFinding,
}

/// A finding that must be acted on.
#[derive(Clone, Debug)]
pub struct Alarm {
    detection: Detection,
    chain: Chain,
    judgement: Judgement,
    exec: Option<u64>,
    found: u64,
}

/// The sweep of one job.
#[derive(Debug)]
pub struct Sweeping {
    /// Reads and scans.
    pub sweeper: Sweeper,
    /// How.
    pub policy: SecretsPolicy,
    /// What was done about the first finding that asked for it.
    pub acted: Option<Acted>,
    frozen: Option<Instant>,
    waiting: Option<Waiting>,
    last: Instant,
}

/// A sweep that is not at its end.
#[derive(Debug)]
struct Waiting {
    occasion: Occasion,
    started: u64,
    processes: Vec<u32>,
    looked_at: u64,
}

impl Sweeping {
    /// The sweep of a job that has not started.
    #[must_use]
    pub fn new(sweeper: Sweeper, policy: SecretsPolicy) -> Self {
        Self {
            sweeper,
            policy,
            acted: None,
            frozen: None,
            waiting: None,
            last: Instant::now(),
        }
    }

    /// Whether processes are stopped until they are swept.
    #[must_use]
    pub fn holds(&self) -> bool {
        holds(&self.policy)
    }

    /// Sweeps what a process was started with, and lets it go on if nothing is found that must be acted
    /// on.
    pub fn exec(
        &mut self,
        record: &Exec,
        chain_of: &dyn Fn(u32) -> Chain,
        maps: &mut Maps,
        tell: &mut dyn FnMut(Seen),
    ) -> Option<Alarm> {
        let process = record.header.tgid;
        let exec = record.header.time;
        let find = || (chain_of(process), Tree::Job);
        let identity = Identity::new(&find);
        let subject = Subject {
            process,
            identity: &identity,
            now: exec,
        };
        let mut found = Found::default();
        self.sweeper.exec(
            subject,
            &record.capture,
            &mut |detection, judgement, new| {
                found.take(detection, judgement, new, &identity, tell);
            },
        );
        let now = BootTime::now().map_or(exec, |now| now.0);
        let alarm = self.alarm(found, &identity, Some(exec), now);
        if record.capture.held != 0 {
            self.sweeper.ledger.was_held(now.saturating_sub(exec));
            if alarm.is_none() {
                release(maps, process);
            }
        }
        alarm
    }

    /// A process was made.
    pub fn forked(&mut self, parent: u32, child: u32) {
        self.sweeper.ledger.forked(parent, child);
    }

    /// Whether it is time to read all processes again.
    #[must_use]
    pub fn is_due(&self) -> bool {
        self.waiting.is_none() && self.last.elapsed() >= self.policy.interval
    }

    /// Begins to read all processes of the job.
    ///
    /// # Errors
    /// They cannot be listed.
    pub fn begin(&mut self, occasion: Occasion, host: &Host, place: &Place) -> io::Result<()> {
        self.last = Instant::now();
        self.waiting = Some(Waiting {
            occasion,
            started: BootTime::now()?.0,
            processes: processes(host, place).map_err(io::Error::other)?,
            looked_at: 0,
        });
        Ok(())
    }

    /// Whether a sweep is under way.
    #[must_use]
    pub fn is_under_way(&self) -> bool {
        self.waiting.is_some()
    }

    /// Goes on with the sweep that is under way.
    ///
    /// # Errors
    /// The clock cannot be read.
    pub fn go_on(
        &mut self,
        chain_of: &dyn Fn(u32) -> Chain,
        tell: &mut dyn FnMut(Seen),
    ) -> io::Result<Option<Alarm>> {
        let Some(mut waiting) = self.waiting.take() else {
            return Ok(None);
        };
        let mut alarm = None;
        for _ in 0..AT_ONCE {
            let Some(process) = waiting.processes.pop() else {
                self.sweeper.ledger.swept(SweepDone {
                    occasion: waiting.occasion,
                    started: waiting.started,
                    finished: BootTime::now()?.0,
                    processes: waiting.looked_at,
                });
                return Ok(alarm);
            };
            waiting.looked_at = waiting.looked_at.saturating_add(1);
            let found = self.process(process, chain_of, tell)?;
            alarm = alarm.or(found);
        }
        self.waiting = Some(waiting);
        Ok(alarm)
    }

    /// Reads all processes of the job now.
    ///
    /// # Errors
    /// They cannot be listed.
    pub fn sweep(
        &mut self,
        occasion: Occasion,
        host: &Host,
        place: &Place,
        chain_of: &dyn Fn(u32) -> Chain,
        tell: &mut dyn FnMut(Seen),
    ) -> io::Result<Option<Alarm>> {
        self.begin(occasion, host, place)?;
        let mut alarm = None;
        while self.is_under_way() {
            let found = self.go_on(chain_of, tell)?;
            alarm = alarm.or(found);
        }
        Ok(alarm)
    }

    /// Gives memory back that was not used lately.
    pub fn rest(&mut self) {
        self.sweeper.rest();
    }

    /// Sweeps processes that wait and of which no record came.
    ///
    /// # Errors
    /// They cannot be listed.
    pub fn overdue(
        &mut self,
        host: &mut Host,
        place: &Place,
        chain_of: &dyn Fn(u32) -> Chain,
        tell: &mut dyn FnMut(Seen),
    ) -> io::Result<Option<Alarm>> {
        if !self.holds() || self.acted.is_some() {
            return Ok(None);
        }
        let maps = &mut host.kernel.maps;
        let waiting = maps.unswept(place.cgroup.id()).map_err(io::Error::other)?;
        let now = BootTime::now()?.0;
        for (process, since) in waiting {
            if Duration::from_nanos(now.saturating_sub(since)) < OVERDUE {
                continue;
            }
            if let Some(alarm) = self.process(process, chain_of, tell)? {
                return Ok(Some(alarm));
            }
            let now = BootTime::now()?.0;
            self.sweeper.ledger.was_held(now.saturating_sub(since));
            release(maps, process);
        }
        Ok(None)
    }

    /// Does what the profile says about a finding. Only the first one counts: after that nothing leaves.
    ///
    /// # Errors
    /// The job's egress could not be closed, or its processes not stopped. The job must end.
    pub fn act(&mut self, alarm: Alarm, host: &mut Host, place: &Place) -> io::Result<()> {
        if self.acted.is_some() {
            return Ok(());
        }
        let maps = &mut host.kernel.maps;
        let job = place.cgroup.id();
        maps.close(job).map_err(io::Error::other)?;
        let closed = BootTime::now()?.0;
        let taken = self.policy.on_finding;
        match taken {
            OnFinding::Report => {}
            OnFinding::Freeze => {
                place.cgroup.freeze().map_err(io::Error::other)?;
                self.frozen = Some(Instant::now());
            }
            OnFinding::Kill => drop(host.kill(place).map_err(io::Error::other)?),
        }
        let Alarm {
            detection,
            chain,
            judgement,
            exec,
            found,
        } = alarm;
        self.acted = Some(Acted {
            detection,
            chain,
            judgement,
            exec,
            found,
            closed,
            ended: BootTime::now()?.0,
            taken,
        });
        Ok(())
    }

    /// Whether the job has stood still for as long as it may.
    #[must_use]
    pub fn has_waited(&self) -> bool {
        self.frozen
            .is_some_and(|since| since.elapsed() >= self.policy.freeze_for)
    }

    fn process(
        &mut self,
        process: u32,
        chain_of: &dyn Fn(u32) -> Chain,
        tell: &mut dyn FnMut(Seen),
    ) -> io::Result<Option<Alarm>> {
        let now = BootTime::now()?.0;
        let find = || (chain_of(process), Tree::Job);
        let identity = Identity::new(&find);
        let subject = Subject {
            process,
            identity: &identity,
            now,
        };
        let mut found = Found::default();
        // What cannot be read is counted in the ledger.
        let _read = self
            .sweeper
            .process(subject, &mut |detection, judgement, new| {
                found.take(detection, judgement, new, &identity, tell);
            });
        Ok(self.alarm(found, &identity, None, now))
    }

    fn alarm(
        &self,
        found: Found,
        identity: &Identity<'_>,
        exec: Option<u64>,
        now: u64,
    ) -> Option<Alarm> {
        let (detection, judgement) = found.worst.filter(|_| self.holds())?;
        Some(Alarm {
            detection,
            chain: identity.chain().clone(),
            judgement,
            exec,
            found: now,
        })
    }
}

fn holds(policy: &SecretsPolicy) -> bool {
    policy.on_finding > OnFinding::Report
}

/// How soon the records of a job with this policy are needed.
#[must_use]
pub fn pace(policy: &SecretsPolicy) -> Pace {
    if holds(policy) {
        Pace::AtOnce
    } else {
        Pace::Together
    }
}

/// What one process had.
#[derive(Default)]
struct Found {
    worst: Option<(Detection, Judgement)>,
}

impl Found {
    fn take(
        &mut self,
        detection: &Detection,
        judgement: Judgement,
        new: bool,
        identity: &Identity<'_>,
        tell: &mut dyn FnMut(Seen),
    ) {
        if new && matches!(judgement.outcome, Outcome::Finding(_)) {
            tell(Seen {
                detection: detection.clone(),
                judgement,
                chain: identity.chain().clone(),
            });
        }
        let worse = |worst: &(Detection, Judgement)| judgement.outcome > worst.1.outcome;
        if must_act(judgement) && self.worst.as_ref().is_none_or(worse) {
            self.worst = Some((detection.clone(), judgement));
        }
    }
}

/// Whether a finding is grave enough to end a job for it: what gives access to something. What only may be
/// a secret is reported.
const fn must_act(judgement: Judgement) -> bool {
    matches!(
        judgement.outcome,
        Outcome::Finding(Severity::High | Severity::Critical)
    )
}

/// Lets a process go on: first what it sends, then itself.
fn release(maps: &mut Maps, process: u32) {
    let opened = pidfd::Process::open(process);
    maps.swept(process);
    if let Err(error) = opened.and_then(|process| process.go_on()) {
        // It was killed while it waited.
        tracing::debug!(%error, process, "a swept process cannot go on");
    }
}

/// Everything that is the job's: in its cgroup, and by descent.
fn processes(host: &Host, place: &Place) -> Result<Vec<u32>, ListError> {
    let mut all = place.cgroup.processes()?;
    all.extend(host.kernel.maps.members(place.cgroup.id())?);
    all.sort_unstable();
    all.dedup();
    Ok(all)
}

/// Processes that could not be listed.
#[derive(Debug, thiserror::Error)]
enum ListError {
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    #[error(transparent)]
    Maps(#[from] MapsError),
}
