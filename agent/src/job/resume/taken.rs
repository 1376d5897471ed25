//! What is known of a job that is taken over, and what of it is lost.

use std::sync::Arc;

use jiff::Timestamp;

use super::Known;
use crate::config::Config;
use crate::enforce::{Host, Place, chain};
use crate::engine::{self, Mediated};
use crate::job::coverage::Surroundings;
use crate::job::record::{Record, Worker};
use crate::job::run::{Job, Ran, RunError};
use crate::job::watch::Watch;
use crate::policy::{Engine, Policy, Ruleset, compile};
use crate::report::sink::EvidenceDir;
use crate::report::{Attendance, Interruption, Layer, Outcome};

/// Said of a job whose command nobody waits for any more.
const STATUS_UNKNOWN: &str = "The command's exit status is unknown: who waited for it was killed.";

/// Said of a job that has its container engine again.
const ENGINE_AGAIN: &str = "Requests to the container engine got no answer in this time. What was asked of it before, \
    and what was refused, is not in the layer `container engine`; ports that containers had published on 127.0.0.1 are \
    closed since.";

/// A job that is being taken over, with all that can be said of it.
pub(super) struct Taken {
    pub(super) record: Option<Box<Record>>,
    pub(super) policy: Policy,
    pub(super) ruleset: Arc<Ruleset>,
    /// Whether policy and ruleset are those of the job.
    pub(super) known: bool,
    pub(super) interruptions: Vec<Interruption>,
    pub(super) last_seen: Option<Timestamp>,
    pub(super) effects: Vec<String>,
    pub(super) outcome: Outcome,
    /// What a container engine had of it is gone already.
    engine_ended: bool,
}

impl Taken {
    /// What is known of the end of a job that was watched to its end.
    pub(super) fn concluded(&mut self, outcome: Outcome, attendance: Option<Attendance>) {
        self.outcome = outcome;
        if let (Some(record), Some(attendance)) = (&mut self.record, attendance)
            && (record.attendance.is_some() || !attendance.is_bare())
        {
            record.attendance = Some(attendance);
        }
    }

    pub(super) fn new(known: Known, last_seen: Option<Timestamp>) -> Result<Self, RunError> {
        let mut effects = vec![
            STATUS_UNKNOWN.to_owned(),
            "What the kernel refused and let pass is counted exactly, also in this time.".to_owned(),
            "Names the job asked for before this time, and processes that were recorded before it, \
             are not listed: they were in the memory of the cordon that was killed."
                .to_owned(),
        ];
        let unknown = || -> Result<_, RunError> {
            let policy = Policy {
                name: "unknown".to_owned(),
                ..Policy::deny_all()
            };
            let ruleset = compile(&policy).map(Arc::new);
            let ruleset = ruleset.map_err(|error| RunError::Report(error.into()))?;
            Ok((policy, ruleset))
        };
        let (record, known, rules) = match known {
            Known::All(all) => {
                let (record, policy, ruleset) = *all;
                (Some(Box::new(record)), true, Ok((policy, ruleset)))
            }
            Known::Little(record, why) => {
                effects.push(format!(
                    "What the job was allowed is not known: {why}. The kernel enforced it all the \
                     same. Rules are not listed, and of the ruleset's digest only what the kernel \
                     keeps."
                ));
                (record, false, unknown())
            }
            Known::Nothing => (None, false, unknown()),
        };
        let (policy, ruleset) = rules?;
        let waits = record.as_ref().and_then(|record| record.waits);
        if waits.is_some_and(Worker::is_still) {
            effects.retain(|effect| effect != STATUS_UNKNOWN);
        }
        Ok(Self {
            interruptions: record
                .as_ref()
                .map_or_else(Vec::new, |record| record.interruptions.clone()),
            record,
            policy,
            ruleset,
            known,
            last_seen,
            effects,
            outcome: Outcome::Unknown,
            engine_ended: false,
        })
    }

    /// Where its evidence goes: where it was meant to, or else beside all other evidence.
    pub(super) fn evidence_dir(
        &mut self,
        id: &str,
        config: &Config,
    ) -> Result<EvidenceDir, RunError> {
        let meant = self.record.as_ref().map(|record| record.evidence.clone());
        if let Some(meant) = &meant {
            match EvidenceDir::prepare(meant) {
                Ok(evidence) => return Ok(evidence),
                Err(error) => self.effects.push(format!(
                    "This evidence is not where it was meant to be: {}",
                    chain(&error)
                )),
            }
        }
        let now = Timestamp::now().strftime("%Y%m%dT%H%M%S");
        let name = format!("{now}-job-{id}");
        let path = config.host.state_dir.join("evidence").join(name);
        Ok(EvidenceDir::prepare(&path)?)
    }

    /// Why a job has no cgroup any more.
    pub(super) fn where_it_went(&self) -> &'static str {
        let restarted = self
            .record
            .as_ref()
            .is_some_and(|record| !record.is_of_this_boot());
        if restarted {
            "the host was restarted while it ran; the kernel's tables went with it"
        } else {
            "its cgroup is gone, and the kernel's tables with it"
        }
    }

    /// Ends the interruption: from now on there is a cordon again.
    pub(super) fn interrupted(&mut self) -> Timestamp {
        let to = Timestamp::now();
        self.interruptions.push(Interruption {
            // Times of files are coarser than the clock: not before the job began.
            from: self.last_seen.take().map(|seen| {
                let started = self.record.as_ref().map_or(seen, |record| record.started);
                seen.max(started).min(to)
            }),
            to,
            effects: std::mem::take(&mut self.effects),
        });
        to
    }

    pub(super) fn job(&self, config: &Config) -> Job<'_> {
        let record = self.record.as_ref();
        Job {
            policy: &self.policy,
            ruleset: &self.ruleset,
            dns: record.map_or_else(|| config.dns.clone(), |record| record.dns()),
            command: record.map_or_else(|| "unknown".to_owned(), |record| record.command.clone()),
            arguments: record.map_or(0, |record| record.arguments),
            as_root: record.is_none_or(|record| record.as_root),
            around: record.map_or_else(Surroundings::unknown, |record| record.around.clone()),
            interruptions: self.interruptions.clone(),
            attendance: record.and_then(|record| record.attendance.clone()),
        }
    }

    pub(super) fn ran(&self, survivors: usize) -> Ran {
        let finished = Timestamp::now();
        Ran {
            outcome: self.outcome,
            not_started: None,
            started: self
                .record
                .as_ref()
                .map_or(finished, |record| record.started),
            finished,
            survivors: survivors as u64,
        }
    }

    /// Gives the job its way to the container engine back, at the same port, if it had one.
    pub(super) fn mediate_again(
        &mut self,
        host: &Host,
        config: &Config,
        place: &Place,
        watch: &mut Watch,
    ) -> Option<Mediated> {
        let seat = self.record.as_ref()?.engine.clone()?;
        let request = engine::Request {
            config,
            place,
            rules: engine::rules(&self.policy, &self.ruleset),
            seat,
            again: true,
        };
        match engine::start(host, request) {
            Ok(mut engine) => {
                watch.containers = engine.waiting.take();
                watch.home = Some(engine.command().to_owned());
                self.effects.push(ENGINE_AGAIN.to_owned());
                Some(engine)
            }
            Err(error) => {
                self.effects.push(format!(
                    "The job has no container engine from this time on: {}.",
                    chain(&error)
                ));
                None
            }
        }
    }

    /// Ends the job's engine, and notes what was seen of it.
    pub(super) fn end_engine(&mut self, engine: Mediated, place: &Place) -> Result<(), RunError> {
        let name = engine.engine().to_owned();
        let noted = engine.end(&place.cgroup.name())?;
        if let Some(record) = &mut self.record {
            record.around.mediated(&name, &noted);
        }
        self.engine_ended = true;
        Ok(())
    }

    /// Removes what a container engine has of the job. Its processes are gone, and nothing of it starts.
    pub(super) fn clear_engine(&self, host: &Host, config: &Config, place: &Place) {
        if self.policy.engine == Engine::Deny || self.engine_ended {
            return;
        }
        match engine::clean(host, config, place) {
            Ok(noted) => {
                for what in noted.left {
                    tracing::warn!(what, "the container engine keeps it");
                }
            }
            Err(error) => {
                tracing::warn!(error = %chain(&error), "the container engine keeps what it has of the job");
            }
        }
    }

    pub(super) fn layers(&self) -> (Vec<Layer>, Vec<String>) {
        let record = self.record.as_ref();
        record.map_or_else(Default::default, |record| {
            (record.layers.clone(), record.proof.clone())
        })
    }
}
