//! A job that is enforced and watched, before its first process and after its last one: what all kinds of
//! jobs have in common, whoever starts their processes.

#![expect(clippy::future_not_send, reason = "one job, one thread")]

use std::io;
use std::sync::Arc;

use jiff::Timestamp;

use super::limiting::Limiting;
use super::namespaces::Namespaces;
use super::record::{Keeper, Record, Stage, Start};
use super::run::{self, Job, Ran, RunError, Tell, Terms};
use super::sealing::Sealed;
use super::watch::{Questions, Watch};
use super::{journaling, sealing, sweeping};
use crate::dns::Bound;
use crate::enforce::{self, Enforced, Host, Place};
use crate::engine::{Mediated, Noted};
use crate::events::ring::Pump;
use crate::policy::Mode;
use crate::report::ocsf::Happening;
use crate::sandbox::Limited;
use crate::secrets::ledger::Occasion;

/// A job whose ruleset is in force and proved, whose limits are pinned, and which is recorded.
#[derive(Debug)]
pub(super) struct Armed {
    pub(super) enforced: Enforced,
    pub(super) watch: Watch,
    pub(super) record: Record,
    bound: Option<(Bound, Questions)>,
}

impl Armed {
    /// Publishes the job, proves it, and pins its limits. `bound` is where its DNS will be.
    pub(super) fn new(
        terms: &Terms,
        job: &Job<'_>,
        host: &mut Host,
        place: &Place,
        bound: Bound,
    ) -> Result<Self, RunError> {
        let mut record = record(terms, job, place, &bound)?;
        write_record(host, &record)?;
        let mut enforced = host.arm(place, &terms.ruleset)?;
        run::direct_dns(host, place, &bound)?;
        let ring = enforced
            .maps
            .records
            .take()
            .ok_or_else(|| run::unwatchable(io::Error::other("the job's ring is taken")))?;
        let pace = sweeping::pace(&terms.policy.secrets);
        let pump = Pump::new(ring, pace).map_err(run::unwatchable)?;
        let leases = Arc::clone(&enforced.maps.leases);
        let (mut watch, log) = Watch::new(pump, leases, place.cgroup.name());
        watch.journal = journaling::begin(terms, host, place)?;
        let limits = &terms.policy.limits;
        let rates = &terms.config.estimate;
        let mut limiting = Limiting::pin(limits, rates, host.controllers(), place)?;
        limiting.begin().map_err(RunError::Watch)?;
        record.limits = Some(limiting.kept());
        watch.limiting = Some(limiting);
        Ok(Self {
            enforced,
            watch,
            record,
            bound: Some((bound, log)),
        })
    }

    /// What the first process must do about its limits.
    pub(super) fn limited(&self) -> Limited {
        let limiting = self.watch.limiting.as_ref();
        limiting.map_or_else(Limited::default, Limiting::limited)
    }

    /// Notes that the job has an engine: its containers are watched, and what is known of it is recorded.
    pub(super) fn mediated(&mut self, job: &mut Job<'_>, engine: &mut Mediated) {
        self.watch.containers = engine.waiting.take();
        self.watch.home = Some(engine.command().to_owned());
        self.record.engine = Some(engine.seat().clone());
        job.around.mediated(engine.engine(), &Noted::default());
    }

    /// Answers its DNS, sweeps it, and records that it may have processes now.
    pub(super) fn serve(
        &mut self,
        terms: &Terms,
        job: &Job<'_>,
        host: &mut Host,
        place: &Place,
    ) -> Result<(), RunError> {
        let slots = self.enforced.maps.slots.take();
        let sweeping = run::sweeping(&terms.config, terms.policy.secrets.clone(), slots)?;
        if sweeping.holds() {
            let maps = &mut host.kernel.maps;
            maps.hold(place.cgroup.id())
                .map_err(enforce::EnforceError::from)?;
        }
        self.watch.sweeping = Some(sweeping);
        if let Some((bound, log)) = self.bound.take() {
            let home = bound.netns();
            let resolution = run::resolution(host, place, job, &self.enforced, log)?;
            let listener = bound.serve(resolution)?;
            self.watch.namespaces = Some(Namespaces::new(place.cgroup.id(), home, listener));
        }
        let record = &mut self.record;
        record.stage = Stage::Released;
        record.started = Timestamp::now();
        record.layers.clone_from(&self.enforced.layers);
        record.proof.clone_from(&self.enforced.proof);
        record.around.clone_from(&job.around);
        write_record(host, record)?;
        self.watch.journal.now(&Happening::Started {
            mode: mode(terms.policy.mode),
            ruleset: &record.ruleset_digest,
        });
        self.watch.journal.flush();
        Ok(())
    }

    /// Writes and seals the evidence. No process is left: nothing more can be asked, and what was said is in
    /// the ring.
    pub(super) async fn wind_up(
        mut self,
        terms: &Terms,
        job: &Job<'_>,
        host: &mut Host,
        place: &Place,
        ran: &Ran,
        tell: Tell<'_>,
    ) -> Result<Sealed, RunError> {
        let watch = &mut self.watch;
        let dns = watch.end_dns().await;
        watch.finish(host, tell).map_err(RunError::Watch)?;
        watch
            .sweep(Occasion::BeforeSeal, host, place, tell)
            .map_err(RunError::Watch)?;
        let mut report = run::report(job, host, &self.enforced, place, &watch.ledger, dns, ran)?;
        watch.conclude(&mut report, tell);
        let events = journaling::end(Ok(watch.journal.clone()), &mut report);
        let sweep = run::sweep_report(job, host, place, watch, &report)?;
        let by = (&*terms.config, &*terms.key);
        let made = &terms.subjects;
        Ok(sealing::seal(
            &terms.evidence,
            by,
            (report, sweep),
            made,
            events.as_ref(),
        )?)
    }
}

/// A mode, as reports spell it.
const fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Audit => "audit",
        Mode::Enforce => "enforce",
    }
}

/// What another cordon needs to go on with the job.
fn record(terms: &Terms, job: &Job<'_>, place: &Place, bound: &Bound) -> Result<Record, RunError> {
    let mut record = Record::new(Start {
        id: &place.id,
        cgroup: place.cgroup.id(),
        netns: bound.netns(),
        evidence: terms.evidence.path(),
        subjects: &terms.subjects,
        command: &job.command,
        arguments: job.arguments,
        as_root: job.as_root,
        dns: &terms.config.dns,
        policy: &terms.policy,
        ruleset: &terms.ruleset,
    })?;
    record.attendance.clone_from(&job.attendance);
    if record.attendance.is_some() {
        record.keeper = Keeper::Daemon;
    }
    Ok(record)
}

pub(super) fn write_record(host: &Host, record: &Record) -> Result<(), RunError> {
    record
        .write(&host.record_of(&record.id))
        .map_err(|error| RunError::Start {
            what: "its record could not be written, without which nobody could go on with it",
            source: io::Error::other(enforce::chain(&error)),
        })
}
