//! Jobs whose cordon was killed: taken over, watched to their end or ended, and given evidence that
//! says so.
//!
//! The kernel went on enforcing and counting meanwhile. What was only in the dead cordon's memory is
//! lost: names that were asked, process chains of records it had read, the command's exit status.

#![expect(clippy::future_not_send, reason = "one job, one thread")]

use std::io;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

use super::attended::Inbox;
use super::life::{Ending, Life, Master};
use super::limiting::Limiting;
use super::namespaces::Namespaces;
use super::narrowing::{self, Effective};
use super::record::{Keeper, Record, Stage};
use super::run::{self, RunError, Tell};
use super::sealing::{self, Sealed};
use super::watch::{Questions, Watch};
use super::{journaling, sweeping};
use crate::cgroup::Cgroup;
use crate::config::Config;
use crate::dns::{Bound, Counts};
use crate::enforce::{EnforceError, Enforced, Host, Orphan, Place, chain};
use crate::events::ledger::{Ledger, News};
use crate::events::ring::Pump;
use crate::policy::{Mode, Policy, Ruleset};
use crate::report::ocsf::Happening;
use crate::report::rotation::steps::retired;
use crate::report::signer::{SigningKey, VerifyingKey};
use crate::report::sink::BUNDLE_NAME;
use crate::report::statement::REPORT_NAME;
use crate::report::sweep::SweepReport;
use crate::report::verify::verify;
use crate::report::{Coverage, Report, seal};
use crate::secrets::ledger::Occasion;
use crate::sys::signals::Signals;
use crate::sys::{fs, netns, privilege};

mod taken;

use taken::Taken;

/// Largest piece of earlier evidence that is looked at.
const EVIDENCE_LIMIT: u64 = 64 << 20;

/// What to do with a job that is taken over.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Until {
    /// Watch it until no process of it is left.
    Gone,
    /// End it now.
    Now,
}

/// A job that was taken over and has ended.
#[derive(Debug)]
pub struct Resumed {
    /// The job.
    pub id: String,
    /// Its evidence; `None` if it never ran, or had its evidence already.
    pub evidence: Option<Box<Sealed>>,
    /// What could not be cleared away afterwards.
    pub leftovers: Option<EnforceError>,
    /// It has not ended: whoever watched it left it to another cordon.
    pub left: bool,
}

/// Why no job was taken over.
#[derive(Debug, thiserror::Error)]
pub enum ResumeError {
    /// There is no such job, or its cordon lives.
    #[error("no job {id} waits for a cordon{}", list(.waiting))]
    NoOrphan {
        /// What was asked for.
        id: String,
        /// Those that do wait.
        waiting: Vec<String>,
    },
    /// Taking it over, or its evidence, failed.
    #[error(transparent)]
    Run(Box<RunError>),
}

impl From<RunError> for ResumeError {
    fn from(error: RunError) -> Self {
        Self::Run(Box::new(error))
    }
}

impl From<EnforceError> for ResumeError {
    fn from(error: EnforceError) -> Self {
        RunError::from(error).into()
    }
}

fn list(ids: &[String]) -> String {
    if ids.is_empty() {
        return "; none does".to_owned();
    }
    format!("; these do: {}", ids.join(", "))
}

/// Jobs whose cordon is dead.
///
/// # Errors
/// The kernel side cannot be opened.
pub fn orphans(config: &Config) -> Result<Vec<String>, ResumeError> {
    privilege::require().map_err(RunError::from)?;
    let mut host = Host::open(&config.host)?;
    let orphans = host.take_orphans();
    let ids = orphans.into_iter().map(|orphan| orphan.id).collect();
    host.close()?;
    Ok(ids)
}

/// Takes a job over.
///
/// # Errors
/// It does not wait for a cordon, or cannot be watched, or its evidence cannot be written. What
/// could not be read of it is no error, it is in the evidence.
pub fn resume(
    config: &Config,
    key: &SigningKey,
    id: &str,
    until: Until,
    tell: Tell<'_>,
) -> Result<Resumed, ResumeError> {
    privilege::require().map_err(RunError::from)?;
    run::shield()?;
    let runtime = run::runtime()?;
    let mut host = Host::open(&config.host)?;
    let mut orphans = host.take_orphans();
    let Some(index) = orphans.iter().position(|orphan| orphan.id == id) else {
        let waiting = orphans.into_iter().map(|orphan| orphan.id).collect();
        let id = id.to_owned();
        host.close()?;
        return Err(ResumeError::NoOrphan { id, waiting });
    };
    let orphan = orphans.swap_remove(index);
    // The others go on waiting.
    drop(orphans);
    host.unlock();
    let resumed = runtime.block_on(async {
        let mut signals = Signals::block().map_err(run::no_signals)?;
        let how = match until {
            Until::Gone => Some(Watching {
                master: &mut signals,
                life: Life::Processes,
            }),
            Until::Now => None,
        };
        end(&mut host, orphan, config, key, how, tell).await
    });
    host.close()?;
    Ok(resumed?)
}

/// Takes a job of the daemon's over, in this thread, and watches it until it is over.
///
/// # Errors
/// As [`resume`].
pub fn attend(
    config: &Config,
    key: &SigningKey,
    id: &str,
    inbox: &mut Inbox,
    tell: Tell<'_>,
) -> Result<Resumed, ResumeError> {
    let runtime = run::runtime()?;
    let mut host = Host::open(&config.host)?;
    let orphan = host.take_orphans().into_iter().find(|found| found.id == id);
    let Some(orphan) = orphan else {
        return Err(ResumeError::NoOrphan {
            id: id.to_owned(),
            waiting: Vec::new(),
        });
    };
    host.unlock();
    let record = Record::read(&host.record_of(id)).ok().flatten();
    let life = record.map_or(Life::Processes, |record| record.life());
    let resumed = runtime.block_on(async {
        let watching = Watching {
            master: inbox,
            life,
        };
        end(&mut host, orphan, config, key, Some(watching), tell).await
    });
    host.close()?;
    Ok(resumed?)
}

/// Ends the jobs of dead cordons that nobody waits for, as the next `cordon run` would.
pub fn end_left_behind(config: &Config, key: &SigningKey) {
    let ended = || -> Result<(), RunError> {
        let runtime = run::runtime()?;
        let mut host = Host::open(&config.host)?;
        let mut tell = |news: News| {
            if let News::Orphan { id, evidence } = news {
                tracing::info!(
                    job = id,
                    ?evidence,
                    "ended a job whose cordon had been killed"
                );
            }
        };
        runtime.block_on(end_orphans(&mut host, config, key, &mut tell));
        Ok(host.close()?)
    };
    if let Err(error) = ended() {
        tracing::error!(error = %chain(&error), "jobs of dead cordons were not ended");
    }
}

/// Ends all jobs whose cordon is dead, and writes their evidence. A job that cannot be ended stays
/// as it is: denied what it was, for the next cordon to try. Jobs of the daemon's wait for it.
pub(super) async fn end_orphans(
    host: &mut Host,
    config: &Config,
    key: &SigningKey,
    tell: Tell<'_>,
) {
    for orphan in host.take_orphans() {
        if is_kept(host, &orphan) {
            continue;
        }
        let id = orphan.id.clone();
        let ended = end::<Signals>(host, orphan, config, key, None, tell).await;
        let evidence = match ended {
            Ok(Resumed { evidence: None, .. }) => continue,
            Ok(Resumed {
                evidence: Some(evidence),
                ..
            }) => Ok(evidence.written.directory),
            Err(error) => Err(chain(&error)),
        };
        tell(News::Orphan { id, evidence });
    }
}

/// Whether a job waits for the daemon.
fn is_kept(host: &Host, orphan: &Orphan) -> bool {
    let record = Record::read(&host.record_of(&orphan.id)).ok().flatten();
    // Without its maps it has no processes any more, and nothing to wait for.
    orphan.lost.is_none() && record.is_some_and(|record| record.keeper == Keeper::Daemon)
}

/// Who watches a job that is taken over, and how long.
struct Watching<'a, M> {
    master: &'a mut M,
    life: Life,
}

/// What is known of a job that is taken over.
enum Known {
    /// It was never released, or its evidence is there: there is nothing to tell.
    Nothing,
    /// Its record, and what that gives.
    All(Box<(Record, Policy, Arc<Ruleset>)>),
    /// The kernel's tables at most, and why no more.
    Little(Option<Box<Record>>, String),
}

async fn end<M: Master>(
    host: &mut Host,
    orphan: Orphan,
    config: &Config,
    key: &SigningKey,
    watching: Option<Watching<'_, M>>,
    tell: Tell<'_>,
) -> Result<Resumed, RunError> {
    let id = orphan.id.clone();
    let known = examine(host, &orphan, &keys_of(config, key));
    if matches!(known, Known::Nothing) {
        host.clear_orphan(orphan)?;
        return Ok(Resumed {
            id,
            evidence: None,
            leftovers: None,
            left: false,
        });
    }
    let last_seen = orphan
        .last_seen
        .and_then(|time| Timestamp::try_from(time).ok());
    let lost = orphan.lost.clone();
    let mut taken = Taken::new(known, last_seen)?;
    let evidence = taken.evidence_dir(&id, config)?;
    let ((mut report, sweep), cleared) = match (orphan.into_place(), lost) {
        (Ok(place), None) => {
            let report = take_over(host, &place, &mut taken, config, watching, tell).await;
            // A job that cannot be watched is ended all the same, with what is known.
            let report = report.or_else(|error| {
                let why = format!("the job could not be taken over: {}", chain(&error));
                Ok::<_, RunError>(Some((bare(host, Some(&place), &mut taken, &why)?, None)))
            })?;
            let Some(report) = report else {
                return Ok(Resumed {
                    id,
                    evidence: None,
                    leftovers: None,
                    left: true,
                });
            };
            (report, Cleared::Place(place))
        }
        (Ok(place), Some(why)) => {
            let why = format!("the kernel's tables are lost: {why}");
            let report = (bare(host, None, &mut taken, &why)?, None);
            (report, Cleared::Place(place))
        }
        (Err(orphan), lost) => {
            let why = lost.map_or_else(
                || taken.where_it_went().to_owned(),
                |why| format!("the kernel's tables are lost: {why}"),
            );
            let report = (bare(host, None, &mut taken, &why)?, None);
            (report, Cleared::Orphan(orphan))
        }
    };
    let journal = journaling::adopt(host, config, &id, &taken.policy);
    let events = journaling::end(journal, &mut report);
    let record = taken.record.as_ref();
    let subjects = record.map_or_else(Vec::new, |record| record.subjects.clone());
    let (by, reports) = ((config, key), (report, sweep));
    let sealed = sealing::seal(&evidence, by, reports, &subjects, events.as_ref());
    let cleared = match cleared {
        Cleared::Place(place) => {
            taken.clear_engine(host, config, &place);
            host.clear_place(place)
        }
        Cleared::Orphan(orphan) => host.clear_orphan(*orphan),
    };
    Ok(Resumed {
        id,
        evidence: Some(Box::new(sealed?)),
        leftovers: cleared.err(),
        left: false,
    })
}

enum Cleared {
    Place(Place),
    Orphan(Box<Orphan>),
}

fn examine(host: &Host, orphan: &Orphan, keys: &[VerifyingKey]) -> Known {
    let entry = || {
        let job = orphan.cgroup.as_ref().map(Cgroup::id)?;
        host.kernel.maps.job(job).ok().flatten()
    };
    let record = match Record::read(&host.record_of(&orphan.id)) {
        Ok(Some(record)) => record,
        // Killed before it was armed, or after it was retired.
        Ok(None) if entry().is_none() && orphan.lost.is_none() => return Known::Nothing,
        Ok(None) if orphan.cgroup.is_none() => return Known::Nothing,
        Ok(None) => return Known::Little(None, "its record is missing".to_owned()),
        Err(error) => return Known::Little(None, chain(&error)),
    };
    if record.stage == Stage::Placed || has_evidence(&record, keys) {
        return Known::Nothing;
    }
    let other = |cgroup: &Cgroup| cgroup.id() != record.cgroup;
    if orphan.cgroup.as_ref().is_some_and(other) {
        let why = "its record is of another cgroup".to_owned();
        return Known::Little(Some(Box::new(record)), why);
    }
    match record.policy() {
        Ok((policy, ruleset)) => Known::All(Box::new((record, policy, Arc::new(ruleset)))),
        Err(error) => {
            let why = chain(&error);
            Known::Little(Some(Box::new(record)), why)
        }
    }
}

/// Whether its cordon was killed after it had written the evidence, of which the seal is the last.
/// A job could have put files there; only our signature counts.
fn has_evidence(record: &Record, keys: &[VerifyingKey]) -> bool {
    let read = |name| fs::read(&record.evidence.join(name), EVIDENCE_LIMIT).ok();
    let (Some(report), Some(bundle)) = (read(REPORT_NAME), read(BUNDLE_NAME)) else {
        return false;
    };
    let seal = read(seal::BUNDLE_NAME).unwrap_or_default();
    keys.iter().any(|key| {
        seal::covers(&seal, *key, REPORT_NAME, &report)
            && verify::<Report>(&report, &bundle, *key)
                .is_ok_and(|verified| verified.report.job.id == record.id)
    })
}

/// Keys that this host signed with: the one in force, and those whose place it took.
fn keys_of(config: &Config, key: &SigningKey) -> Vec<VerifyingKey> {
    let place = config.host.signing_key();
    // Where they cannot be read, evidence of theirs is not known for our own, and written once more.
    let retired = place
        .file()
        .and_then(|path| retired(path).ok())
        .unwrap_or_default();
    let retired = retired.into_iter().map(|(_, key)| key);
    [key.public()].into_iter().chain(retired).collect()
}

/// Goes on with a job of which all is known, or else ends it and reads the kernel's tables.
///
/// `None`: it was left to another cordon.
async fn take_over<M: Master>(
    host: &mut Host,
    place: &Place,
    taken: &mut Taken,
    config: &Config,
    watching: Option<Watching<'_, M>>,
    tell: Tell<'_>,
) -> Result<Option<(Report, Option<SweepReport>)>, RunError> {
    if !taken.known {
        return Ok(Some((bare(host, Some(place), taken, "")?, None)));
    }
    let (layers, mut proof) = taken.layers();
    proof.push(format!(
        "when another cordon took the job over, every program was attached and the kernel held \
         ruleset {}",
        taken.ruleset.digest
    ));
    narrowing::finish(host, place, &taken.policy, &taken.ruleset)?;
    let mut enforced = host.readopt(place, &taken.ruleset, layers, proof)?;
    let ring = enforced.maps.records.take().ok_or_else(no_ring)?;
    let pace = sweeping::pace(&taken.policy.secrets);
    let pump = Pump::new(ring, pace).map_err(run::unwatchable)?;
    let (mut watch, log) = Watch::new(pump, Arc::clone(&enforced.maps.leases), place.cgroup.name());
    watch.journal = journaling::adopt_or_none(host, config, &place.id, &taken.policy);
    let slots = enforced.maps.slots.take();
    watch.sweeping = Some(run::sweeping(config, taken.policy.secrets.clone(), slots)?);
    let kept = taken
        .record
        .as_ref()
        .and_then(|record| record.limits.clone());
    let limits = &taken.policy.limits;
    watch.limiting =
        kept.map(|kept| Limiting::adopt(limits, &config.estimate, host.controllers(), place, kept));
    let (dns, survivors) = match watching {
        None => {
            taken
                .effects
                .push("The job was ended by the cordon that took it over.".to_owned());
            taken.interrupted();
            // What its processes hold can only be read while they live.
            watch
                .sweep(Occasion::End, host, place, tell)
                .map_err(RunError::Watch)?;
            (
                Counts::default(),
                host.kill(place).map_err(RunError::Survivors)?,
            )
        }
        Some(Watching { master, life }) => {
            answer_again(host, place, taken, config, &enforced, log, &mut watch)?;
            taken.effects.push(if watch.namespaces.is_some() {
                "DNS questions in this time got no answer.".to_owned()
            } else {
                "DNS questions got no answer from this time on: no listener could be made in the \
                 job's network namespace."
                    .to_owned()
            });
            let engine = taken.mediate_again(host, config, place, &mut watch);
            taken.interrupted();
            remember(host, place, taken)?;
            watch.journal.now(&Happening::TakenOver);
            tell(News::TakenOver {
                id: place.id.clone(),
            });
            let ending = watch
                .until_over(&life, host, place, master, tell)
                .await
                .map_err(RunError::Watch)?;
            if ending == Ending::Left {
                place.touch().map_err(RunError::Watch)?;
                return Ok(None);
            }
            watch
                .sweep(Occasion::End, host, place, tell)
                .map_err(RunError::Watch)?;
            let survivors = match life {
                Life::Unit => 0,
                _ => host.kill(place).map_err(RunError::Survivors)?,
            };
            if let Some(engine) = engine {
                taken.end_engine(engine, place)?;
            }
            let attendance = master.conclude(&life, &watch);
            taken.concluded(life.outcome(master.end()), attendance);
            if let Some(Effective { policy, ruleset }) = watch.narrowed.take() {
                (taken.policy, taken.ruleset) = (policy, ruleset);
            }
            (watch.end_dns().await, survivors)
        }
    };
    watch.finish(host, tell).map_err(RunError::Watch)?;
    watch
        .sweep(Occasion::BeforeSeal, host, place, tell)
        .map_err(RunError::Watch)?;
    let (job, ran) = (taken.job(config), taken.ran(survivors));
    let mut report = run::report(&job, host, &enforced, place, &watch.ledger, dns, &ran)?;
    watch.conclude(&mut report, tell);
    let sweep = run::sweep_report(&job, host, place, &watch, &report)?;
    Ok(Some((report, sweep)))
}

/// Answers the job's DNS questions again, if there can be a listener where it is.
fn answer_again(
    host: &mut Host,
    place: &Place,
    taken: &Taken,
    config: &Config,
    enforced: &Enforced,
    log: Questions,
    watch: &mut Watch,
) -> Result<(), RunError> {
    let bound = taken
        .record
        .as_ref()
        .and_then(|record| listen(record.netns, &place.cgroup));
    let job = taken.job(config);
    // The sockets of the cordon that was killed are gone, whatever namespace they were in.
    let maps = &mut host.kernel.maps;
    maps.forget_resolvers(place.cgroup.id());
    if let Some(bound) = bound {
        run::direct_dns(host, place, &bound)?;
        let home = bound.netns();
        let resolution = run::resolution(host, place, &job, enforced, log)?;
        let listener = bound.serve(resolution)?;
        watch.namespaces = Some(Namespaces::new(place.cgroup.id(), home, listener));
    }
    Ok(())
}

fn no_ring() -> RunError {
    run::unwatchable(io::Error::other("the job's ring is taken"))
}

/// Writes into the record that the job has a cordon again, for the case that this one is killed too.
fn remember(host: &Host, place: &Place, taken: &mut Taken) -> Result<(), RunError> {
    place.touch().map_err(RunError::Watch)?;
    if let Some(record) = &mut taken.record {
        record.cordon = std::process::id();
        record.interruptions.clone_from(&taken.interruptions);
        record.write(&host.record_of(&place.id))?;
    }
    Ok(())
}

/// DNS sockets in the network namespace of the job: this one, or that of one of its processes.
fn listen(cookie: u64, cgroup: &Cgroup) -> Option<Bound> {
    let here = |socket: &UdpSocket| netns::cookie(socket).is_ok_and(|here| here == cookie);
    let bind = || {
        let bound = Bound::bind().ok()?;
        here(&bound.udp4).then_some(bound)
    };
    if let Some(bound) = bind() {
        return Some(bound);
    }
    let processes = cgroup.processes().ok()?;
    processes.iter().find_map(|process| {
        let path = PathBuf::from(format!("/proc/{process}/ns/net"));
        let namespace = fs::open(Path::new(&path)).ok()?;
        let there = || -> io::Result<Option<Bound>> { Ok(bind()) };
        netns::within(namespace, there).ok().flatten()
    })
}

/// The report of a job of which not all is known: it is ended, and the kernel's tables are read if
/// they are there.
fn bare(
    host: &mut Host,
    place: Option<&Place>,
    taken: &mut Taken,
    why: &str,
) -> Result<Report, RunError> {
    if !why.is_empty() {
        taken.effects.push(squeeze(why));
    }
    let survivors = match place {
        Some(place) => host.kill(place).map_err(RunError::Survivors)?,
        None => 0,
    };
    let maps = place.and_then(|place| {
        let maps = host.kernel.maps.reopen(place.cgroup.id(), &taken.ruleset);
        maps.ok()
    });
    let counted = maps.as_ref().and_then(|maps| {
        let losses = host.kernel.maps.losses(maps.job).ok()?;
        Some((maps.flows().ok()?, losses))
    });
    if counted.is_none() {
        taken.effects.push(
            "What the kernel counted is lost: the lists below are empty for that reason and no other."
                .to_owned(),
        );
        // Which would not be true any more.
        taken
            .effects
            .retain(|effect| !effect.starts_with("What the kernel refused"));
    }
    let (flows, losses) = counted.unwrap_or_default();
    let mut ledger = Ledger::default();
    if let Some(mut ring) = maps.and_then(|maps| maps.records) {
        let drained = ring.drain(&mut |event| drop(ledger.take(&event, &crate::attribution::Proc)));
        if let Err(error) = drained {
            taken
                .effects
                .push(format!("What the job's ring held was not read: {error}."));
        }
    }
    taken.interrupted();
    let entry = place.and_then(|place| host.kernel.maps.job(place.cgroup.id()).ok().flatten());
    let id = place.map_or_else(
        || {
            taken
                .record
                .as_ref()
                .map_or_else(|| "unknown".to_owned(), |record| record.id.clone())
        },
        |place| place.id.clone(),
    );
    let (mut layers, proof) = taken.layers();
    let config = Config::default();
    let around = taken.job(&config).around;
    layers.extend(around.layers);
    let unknown = "Whether every layer was active until the end was not found out.".to_owned();
    let limits = "Whether the job's limits held, and what it used, was not found out.".to_owned();
    let blind_spots = [unknown, limits]
        .into_iter()
        .chain(around.blind_spots)
        .collect();
    let mut report = run::build_report(
        &taken.job(&config),
        &id,
        Coverage {
            layers,
            blind_spots,
            proof,
        },
        &ledger,
        (&flows, losses, Counts::default()),
        &taken.ran(survivors),
        host.object(),
    )?;
    if !taken.known {
        report.policy.ruleset_digest = entry.map_or_else(
            || "unknown".to_owned(),
            |entry| format!("{:016x}", entry.ruleset),
        );
        if entry.is_some_and(|entry| entry.mode == Mode::Audit.into()) {
            report.mode = Mode::Audit.into();
        }
    }
    Ok(report)
}

fn squeeze(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
