//! The limits of a running job: what it meets is told, what somebody changes is put back, and when its
//! time is over it is ended.
//!
//! A limit that was changed is written again and read back: the change is a finding, and the job goes on
//! as it was meant to. One that cannot be put back ends the job.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use jiff::Timestamp;
use nix::unistd::{SysconfVar, sysconf};
use serde::{Deserialize, Serialize};

use super::life::Asked;
use super::run::Tell;
use crate::attribution::Proc;
use crate::cgroup::controllers::Controllers;
use crate::enforce::{Place, chain};
use crate::events::ledger::{Ledger, News};
use crate::limits::LimitsError;
use crate::limits::assemble::{file_of, resources, usage};
use crate::limits::counters::Counters;
use crate::limits::estimate::{Rates, Used, estimate};
use crate::limits::evidence::{Answer, Change, Kind, Limits, Met, Victim};
use crate::limits::meter::Meter;
use crate::limits::pins::{Deviation, Pin, Pins};
use crate::limits::victims::Log;
use crate::policy::LimitsPolicy;
use crate::policy::limits::Resource;
use crate::report::{Layer, Report};
use crate::sandbox::Limited;
use crate::sys::clock::BootTime;

/// How long a command has to end by itself when its time is over.
pub const GRACE: Duration = Duration::from_secs(5);
/// Processes that are named for one kind of event.
const NAMED: usize = 16;
/// How often a job without limits is looked at: what is counted of it can only come of the host's.
const LOOK_UNLIMITED: u32 = 10;
/// Changes that are listed. Who changes limits again and again is known after these.
const CHANGES: usize = 256;

/// What another cordon needs to go on with a job's limits.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Kept {
    /// What is in force.
    pub pins: Vec<Pin>,
    /// When the job was released, boot time in ns.
    pub released: u64,
    /// When its time is over, boot time in ns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<u64>,
}

/// How far the end of a job's time has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Time {
    /// It is not over.
    Left,
    /// The command was asked to end, at this boot time in ns.
    Asked(u64),
    /// All processes were killed.
    Over,
}

/// The limits of one job.
#[derive(Debug)]
pub struct Limiting {
    policy: LimitsPolicy,
    pins: Pins,
    rates: Rates,
    /// Name of the job's cgroup.
    job: String,
    log: io::Result<Log>,
    meter: Option<Meter>,
    released: u64,
    deadline: Option<u64>,
    time: Time,
    base: Counters,
    changes: Vec<Change>,
    met: BTreeMap<Kind, Met>,
    looked: u32,
}

impl Limiting {
    /// Pins the limits of a job that has no process yet.
    ///
    /// # Errors
    /// One of them cannot be had, or does not hold: the job must not start.
    pub fn pin(
        policy: &LimitsPolicy,
        rates: &Rates,
        controllers: &Controllers,
        place: &Place,
    ) -> Result<Self, LimitsError> {
        let pins = Pins::pin(policy, controllers, &place.cgroup)?;
        let mut limiting = Self::new(policy, rates, pins, place);
        limiting.base = limiting.pins.counters();
        limiting.meter = Meter::find();
        Ok(limiting)
    }

    /// The limits of a job that is taken over.
    #[must_use]
    pub fn adopt(
        policy: &LimitsPolicy,
        rates: &Rates,
        controllers: &Controllers,
        place: &Place,
        kept: Kept,
    ) -> Self {
        let Kept {
            pins,
            released,
            deadline,
        } = kept;
        let pins = Pins::watched(controllers, &place.cgroup, pins);
        let mut limiting = Self::new(policy, rates, pins, place);
        limiting.released = released;
        limiting.deadline = deadline;
        limiting
    }

    fn new(policy: &LimitsPolicy, rates: &Rates, pins: Pins, place: &Place) -> Self {
        Self {
            policy: policy.clone(),
            pins,
            rates: rates.clone(),
            job: place.cgroup.name(),
            log: Log::open(),
            meter: None,
            released: 0,
            deadline: None,
            time: Time::Left,
            base: Counters::default(),
            changes: Vec::new(),
            met: BTreeMap::new(),
            looked: 0,
        }
    }

    /// The job's time begins.
    ///
    /// # Errors
    /// The clock cannot be read.
    pub fn begin(&mut self) -> io::Result<()> {
        self.released = BootTime::now()?.0;
        let wall = self.policy.amount(Resource::Wall);
        self.deadline = wall.map(|seconds| {
            let length = seconds.saturating_mul(1_000_000_000);
            self.released.saturating_add(length)
        });
        Ok(())
    }

    /// For the job's record.
    #[must_use]
    pub fn kept(&self) -> Kept {
        Kept {
            pins: self.pins.pins().to_vec(),
            released: self.released,
            deadline: self.deadline,
        }
    }

    /// What init must do about it.
    #[must_use]
    pub fn limited(&self) -> Limited {
        Limited {
            groups: self.pins.to_join(),
            open_files: self.policy.amount(Resource::OpenFiles),
            deadline: self.deadline,
        }
    }

    /// Returns when the job's time is over, and once more when its grace is.
    pub async fn time_over(limiting: Option<&Self>) {
        match limiting.and_then(Self::remaining) {
            Some(time) => tokio::time::sleep(time).await,
            None => std::future::pending().await,
        }
    }

    /// Until something must be done about its time.
    fn remaining(&self) -> Option<Duration> {
        let then = match self.time {
            Time::Left => self.deadline?,
            Time::Asked(at) => {
                let grace = u64::try_from(GRACE.as_nanos()).unwrap_or(u64::MAX);
                at.saturating_add(grace)
            }
            Time::Over => return None,
        };
        let now = BootTime::now().ok()?.0;
        Some(Duration::from_nanos(then.saturating_sub(now)))
    }

    /// Ends a job whose time is over: the command is asked first, where there is one to be asked.
    ///
    /// # Errors
    /// It cannot be ended.
    pub fn end(
        limiting: Option<&mut Self>,
        asked: Option<&dyn Asked>,
        place: &Place,
        tell: Tell<'_>,
    ) -> io::Result<()> {
        let Some(limiting) = limiting else {
            return Ok(());
        };
        if limiting.remaining().is_none_or(|time| !time.is_zero()) {
            return Ok(());
        }
        if limiting.time == Time::Left {
            let met = Met {
                kind: Kind::TimeOver,
                count: 1,
                first_noticed: Timestamp::now(),
                processes: Vec::new(),
                processes_unknown: 0,
            };
            tell(limiting.news(&met));
            limiting.met.insert(met.kind, met);
            if let Some(asked) = asked {
                limiting.time = Time::Asked(BootTime::now()?.0);
                return asked.ask_to_end();
            }
        }
        limiting.time = Time::Over;
        place.cgroup.kill().map_err(io::Error::other)?;
        Ok(())
    }

    /// Looks at what the kernel counts, and whether it still holds what was pinned.
    ///
    /// # Errors
    /// A limit cannot be put back, and the job cannot be ended.
    pub fn look(
        limiting: Option<&mut Self>,
        ledger: &Ledger,
        place: &Place,
        tell: Tell<'_>,
    ) -> io::Result<()> {
        let Some(limiting) = limiting else {
            return Ok(());
        };
        if let Some(meter) = &mut limiting.meter {
            meter.tick();
        }
        limiting.looked = limiting.looked.wrapping_add(1);
        if limiting.policy.is_empty() && !limiting.looked.is_multiple_of(LOOK_UNLIMITED) {
            return Ok(());
        }
        let counters = limiting.pins.counters();
        limiting.notice(counters, ledger, tell);
        let mut lost = false;
        for deviation in limiting.pins.deviations() {
            let answer = match limiting.pins.restore(&deviation.setting) {
                Ok(()) => Answer::Restored,
                Err(error) => {
                    tracing::error!(error = %chain(&error), "a limit cannot be put back");
                    lost = true;
                    Answer::JobEnded
                }
            };
            limiting.changed(deviation, answer, tell);
        }
        if lost {
            place.cgroup.kill().map_err(io::Error::other)?;
        }
        Ok(())
    }

    fn changed(&mut self, deviation: Deviation, answer: Answer, tell: Tell<'_>) {
        let Deviation { setting, found } = deviation;
        if self.changes.len() >= CHANGES {
            return;
        }
        let change = Change {
            resource: setting.resource,
            file: file_of(&setting),
            expected: setting.expected,
            found,
            seen: Timestamp::now(),
            answer,
        };
        tell(News::LimitChanged(change.clone()));
        self.changes.push(change);
    }

    fn notice(&mut self, counters: Counters, ledger: &Ledger, tell: Tell<'_>) {
        type Count = fn(&Counters) -> Option<u64>;
        let kinds: [(Kind, Count); 3] = [
            (Kind::OutOfMemory, |counters| counters.oom_kills),
            (Kind::ForkRefused, |counters| counters.forks_refused),
            (Kind::Throttled, |counters| counters.throttled_periods),
        ];
        for (kind, of) in kinds {
            let base = of(&self.base).unwrap_or_default();
            let count = of(&counters).unwrap_or_default().saturating_sub(base);
            let known = self.met.get(&kind).map_or(0, |met| met.count);
            if count > known {
                self.grown(kind, count, ledger, tell);
            }
        }
    }

    fn grown(&mut self, kind: Kind, count: u64, ledger: &Ledger, tell: Tell<'_>) {
        let victims = match (kind, &mut self.log) {
            (Kind::OutOfMemory, Ok(log)) => log.victims(&self.job),
            _ => Vec::new(),
        };
        let is_new = !self.met.contains_key(&kind);
        let met = self.met.entry(kind).or_insert_with(|| Met {
            kind,
            count: 0,
            first_noticed: Timestamp::now(),
            processes: Vec::new(),
            processes_unknown: 0,
        });
        let more = count.saturating_sub(met.count);
        met.count = count;
        let found = victims.len() as u64;
        for tgid in victims {
            if met.processes.len() < NAMED {
                let chain = ledger.chain_of(tgid, &Proc);
                met.processes.push(Victim {
                    pid: chain.tgid,
                    executables: chain.executables,
                });
            }
        }
        if kind != Kind::Throttled {
            let unknown = more.saturating_sub(found);
            met.processes_unknown = met.processes_unknown.saturating_add(unknown);
        }
        let met = met.clone();
        // Having to wait for the next share is what a limit of processors is for.
        if kind == Kind::OutOfMemory || (kind == Kind::ForkRefused && is_new) {
            tell(self.news(&met));
        }
    }

    fn news(&self, met: &Met) -> News {
        let resource = match met.kind {
            Kind::OutOfMemory => Resource::Memory,
            Kind::ForkRefused => Resource::Pids,
            Kind::Throttled => Resource::Cpu,
            Kind::TimeOver => Resource::Wall,
        };
        let limit = self.policy.amount(resource);
        News::LimitMet {
            limit: limit.map(|amount| resource.show(amount)),
            met: met.clone(),
        }
    }

    /// Writes into the report what became of the limits. No process of the job is left.
    pub fn conclude(mut self, report: &mut Report, ledger: &Ledger, tell: Tell<'_>) {
        let counters = self.pins.counters();
        self.notice(counters, ledger, tell);
        for deviation in self.pins.deviations() {
            // What cannot be read is not changed: it is not proved.
            if deviation.found.is_some() {
                self.changed(deviation, Answer::JobOver, tell);
            }
        }
        let at_end = self.pins.read();
        let is_limited = !self.policy.is_empty();
        let evidence = self.evidence(report, counters, &at_end);
        if is_limited {
            report.coverage.layers.push(layer(&evidence));
        }
        report.limits = Some(evidence);
    }

    fn evidence(self, report: &Report, counters: Counters, at_end: &[Option<String>]) -> Limits {
        let Self {
            policy,
            pins,
            rates,
            log,
            meter,
            released,
            base,
            changes,
            met,
            ..
        } = self;
        let holder = |controller| pins.holder(controller);
        let now = BootTime::now().map_or(released, |now| now.0);
        // Microseconds.
        let wall = now.saturating_sub(released) / 1000;
        let mut used = usage(counters, base, wall / 1000);
        used.network_out_bytes = report.summary.bytes_out;
        used.network_in_bytes = report.summary.bytes_in;
        used.unknown
            .extend(pins.uncounted().map(|(controller, why)| {
                format!("Nothing is counted by the controller {controller}: {why}.")
            }));
        if let (Err(error), true) = (&log, met.contains_key(&Kind::OutOfMemory)) {
            used.unknown.push(format!(
                "Which processes were killed for want of memory: {error}."
            ));
        }
        let online = sysconf(SysconfVar::_NPROCESSORS_ONLN).ok().flatten();
        let estimate = estimate(
            &Used {
                wall,
                cpu: used.cpu_microseconds,
                cpu_limit: policy.amount(Resource::Cpu),
                processors: online
                    .and_then(|number| u64::try_from(number).ok())
                    .unwrap_or(1),
                metered: meter.and_then(Meter::finish),
            },
            &rates,
        );
        Limits {
            resources: resources(&policy, pins.pins(), at_end, &changes, &holder),
            changes,
            events: met.into_values().collect(),
            usage: used,
            estimate,
        }
    }
}

/// The limits as a layer of enforcement: there as a whole or not.
fn layer(limits: &Limits) -> Layer {
    let unproved: Vec<_> = limits.unproved().map(|one| one.resource.name()).collect();
    let detail = if unproved.is_empty() {
        "those in cgroups were read back before the start, looked at every second, and there at the end; open \
         files are limited in the first process, and time by cordon"
            .to_owned()
    } else {
        format!("did not hold from start to end: {}", unproved.join(", "))
    };
    Layer {
        name: "limits".to_owned(),
        active: unproved.is_empty(),
        detail,
    }
}
