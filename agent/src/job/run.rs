//! `cordon run`: one job whose daemon is the command itself.

#![expect(clippy::future_not_send, reason = "one job, one thread")]

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use cordon_ebpf::abi::flow::{FlowCounters, FlowKey};
use cordon_ebpf::abi::job::Losses;
use jiff::Timestamp;

use super::armed::Armed;
use super::coverage::{Surroundings, coverage};
use super::id::JobId;
use super::resume;
use super::sealing::Sealed;
use super::sweeping::Sweeping;
use super::watch::{Questions, Watch};
use crate::config::{Config, DnsConfig, UnixSockets};
use crate::dns::{self, Bound, Resolution};
use crate::enforce::maps::Leases;
use crate::enforce::{self, Enforced, Host, Place, object};
use crate::engine::{self, EngineError, Mediated};
use crate::events::ledger::{Ledger, News};
use crate::limits::LimitsError;
use crate::policy::{Engine, Policy, Ruleset, SandboxPolicy, SecretsPolicy};
use crate::report::build::{Facts, build};
use crate::report::key_place::{self, KeyPlace};
use crate::report::signer::{KeyError, SigningKey};
use crate::report::sink::{EvidenceDir, SinkError};
use crate::report::statement::Subject;
use crate::report::sweep::SweepReport;
use crate::report::{Attendance, Coverage, Interruption, JobFacts, Outcome, Platform, Report};
use crate::sandbox::confine::{ConfineError, Confined, Whose};
use crate::sandbox::filter::Judges;
use crate::sandbox::link::{Init, Message};
use crate::sandbox::mounts::{Cover, Mount};
use crate::sandbox::{self, InheritedError, Plan};
use crate::secrets;
use crate::secrets::ledger::Occasion;
use crate::sys::clock::Calendar;
use crate::sys::sensitive::Slots;
use crate::sys::signals::Signals;
use crate::sys::spawn::{self, Account};
use crate::sys::terminal::Foreground;
use crate::sys::{fs, privilege, sensitive};

/// Receives what happens while it happens.
pub type Tell<'a> = &'a mut dyn FnMut(News);

/// What to run, under what, and where its evidence goes.
#[derive(Debug)]
pub struct Request {
    /// Program and arguments.
    pub command: Vec<OsString>,
    /// Who runs it; `None` is the caller.
    pub account: Option<Account>,
    /// Under what.
    pub terms: Terms,
}

/// Under what a job runs, and where its evidence goes.
#[derive(Debug)]
pub struct Terms {
    /// What it is allowed.
    pub policy: Policy,
    /// The same, compiled.
    pub ruleset: Arc<Ruleset>,
    /// Host settings.
    pub config: Arc<Config>,
    /// Where the evidence goes.
    pub evidence: EvidenceDir,
    /// How it has a container engine, if its policy gives it one.
    pub engine: engine::Wish,
    /// What signs it.
    pub key: Arc<SigningKey>,
    /// What it makes, as far as that is known: images, by digest.
    pub subjects: Vec<Subject>,
    /// Who asked for it, where that was not a command line of the host.
    pub attendance: Option<Attendance>,
}

/// A job that ran, with its evidence on disk.
#[derive(Debug)]
pub struct Ended {
    /// How the command ended.
    pub outcome: Outcome,
    /// Why it did not start, for [`Outcome::NotStarted`].
    pub not_started: Option<io::Error>,
    /// The egress report.
    pub report: Report,
    /// The report of the secret sweep.
    pub sweep: Option<SweepReport>,
    /// Where they lie.
    pub evidence: PathBuf,
    /// What could not be cleared away afterwards.
    pub leftovers: Option<enforce::EnforceError>,
}

/// Why a job did not run, or has no evidence.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Cordon itself may not do what it needs.
    #[error(transparent)]
    Privilege(#[from] privilege::PrivilegeError),
    /// Enforcement could not be established or proved.
    #[error("the job was not started: it could not be enforced")]
    Enforce(#[from] enforce::EnforceError),
    /// Nothing could sign its evidence.
    #[error("the job was not started: its evidence could not be signed")]
    Key(#[from] KeyError),
    /// The daemon of this host did not take it.
    #[error("the job was not started: the daemon did not take it")]
    Daemon(#[source] Box<dyn std::error::Error>),
    /// The job's DNS could not be set up.
    #[error("the job was not started: its DNS listener could not be set up")]
    Listener(#[from] dns::BindError),
    /// No upstream resolver.
    #[error("the job was not started: there is no DNS server to ask")]
    Upstream(#[from] dns::UpstreamError),
    /// A process could not be put into the job.
    #[error("the job was not started: its first process could not enter it")]
    Enter(#[source] io::Error),
    /// Something needed for running was refused.
    #[error("the job was not started: {what}")]
    Start {
        /// What.
        what: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Its processes could not be swept for secrets.
    #[error("the job was not started: it could not be swept for secrets")]
    Sweep(#[from] secrets::SweepError),
    /// A limit could not be pinned.
    #[error("the job was not started: its limits could not be pinned")]
    Limits(#[from] LimitsError),
    /// It has no container engine, which its profile asks for.
    #[error("the job was not started: its container engine could not be mediated")]
    Engine(#[from] EngineError),
    /// What its profiles take away could not be taken.
    #[error("the job was not started: its sandbox could not be made")]
    Sandbox(#[from] ConfineError),
    /// It would have inherited what a job must not have.
    #[error("the job was not started")]
    Inherited(#[from] InheritedError),
    /// The running job could not be watched any more and was ended.
    #[error("the job was ended: it could not be watched any more")]
    Watch(#[source] io::Error),
    /// A file.
    #[error(transparent)]
    File(#[from] fs::FileError),
    /// The job ran, and something it left behind could not be ended.
    #[error("the job ran, and what it left behind could not be ended")]
    Survivors(#[source] enforce::EnforceError),
    /// The job ran; its report could not be made.
    #[error("the job ran, but its report could not be made")]
    Report(#[source] Box<dyn std::error::Error>),
    /// The job ran; its evidence could not be written.
    #[error("the job ran, but its evidence could not be written")]
    Evidence(#[from] SinkError),
}

/// Runs a job. Returns when no process of it is left.
///
/// # Errors
/// See [`RunError`]; the command ran only for those that say so.
pub fn run(request: &Request, tell: Tell<'_>) -> Result<Ended, RunError> {
    privilege::require()?;
    sandbox::withhold_inherited()?;
    shield()?;
    runtime()?.block_on(run_job(request, tell))
}

/// Keeps what this process will read of the job to itself.
pub(super) fn shield() -> Result<(), RunError> {
    sensitive::shield().map_err(|source| RunError::Start {
        what: "its secrets could not be kept out of core files and swap",
        source,
    })
}

/// One job, one thread.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, RunError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| RunError::Start {
            what: "no runtime",
            source,
        })
}

pub(crate) fn no_signals(source: io::Error) -> RunError {
    RunError::Start {
        what: "signals cannot be collected",
        source,
    }
}

pub(super) fn unwatchable(source: io::Error) -> RunError {
    RunError::Start {
        what: "its records cannot be read",
        source,
    }
}

/// What a report says of a job, whether its cordon was always there or not.
#[derive(Clone)]
pub(super) struct Job<'a> {
    pub(super) policy: &'a Policy,
    pub(super) ruleset: &'a Arc<Ruleset>,
    pub(super) dns: DnsConfig,
    pub(super) command: String,
    pub(super) arguments: usize,
    pub(super) as_root: bool,
    pub(super) around: Surroundings,
    pub(super) interruptions: Vec<Interruption>,
    pub(super) attendance: Option<Attendance>,
}

impl Request {
    fn start(&self) -> Start<'_> {
        Start {
            command: &self.command,
            account: self.account.as_ref(),
            sandbox: &self.terms.policy.sandbox,
            config: &self.terms.config,
        }
    }

    fn job(&self) -> Job<'_> {
        let program = self.command.first();
        Job {
            command: program.map_or_else(String::new, |name| name.to_string_lossy().into_owned()),
            arguments: self.command.len().saturating_sub(1),
            as_root: self.start().as_root(),
            ..self.terms.job()
        }
    }
}

impl Terms {
    /// A job under them, of which nothing else is known yet.
    pub(super) fn job(&self) -> Job<'_> {
        Job {
            policy: &self.policy,
            ruleset: &self.ruleset,
            dns: self.config.dns.clone(),
            command: String::new(),
            arguments: 0,
            as_root: true,
            around: Surroundings::unknown(),
            interruptions: Vec::new(),
            attendance: self.attendance.clone(),
        }
    }
}

async fn run_job(request: &Request, tell: Tell<'_>) -> Result<Ended, RunError> {
    // Blocked before anything exists that a signal could leave behind.
    let mut signals = Signals::block().map_err(no_signals)?;
    let terms = &request.terms;
    let mut host = Host::open(&terms.config.host)?;
    resume::end_orphans(&mut host, &terms.config, &terms.key, tell).await;
    let place = host.place(JobId::random()?.as_str())?;
    // On the heap: it is the whole life of a job.
    let ended = Box::pin(run_placed(request, &mut host, &place, &mut signals, tell)).await;
    let retired = host.retire(place);
    match (ended, retired) {
        (Ok(mut ended), retired) => {
            ended.leftovers = retired.err();
            Ok(ended)
        }
        // The first error says why there was no job; what is left over comes second.
        (Err(error), retired) => {
            if let Err(leftovers) = retired {
                tracing::error!(error = %enforce::chain(&leftovers), "not all was cleared away");
            }
            Err(error)
        }
    }
}

async fn run_placed(
    request: &Request,
    host: &mut Host,
    place: &Place,
    signals: &mut Signals,
    tell: Tell<'_>,
) -> Result<Ended, RunError> {
    let terms = &request.terms;
    let mut job = request.job();
    let mut armed = Armed::new(terms, &job, host, place, Bound::bind()?)?;
    let mut plan = plan(&request.start(), place.cgroup.path(), armed.enforced.lsm)?;
    plan.limited = armed.limited();
    let mut engine = mediate(terms, host, place)?;
    if let Some(engine) = &engine {
        plan.environment.extend(engine.environment());
        engine.command().clone_into(&mut plan.cgroup);
    }
    job.around = Surroundings::of(&plan, job.as_root);
    if let Some(engine) = &mut engine {
        armed.mediated(&mut job, engine);
    }
    armed.serve(terms, &job, host, place)?;
    let watch = &mut armed.watch;
    let ran = release(request, &plan, host, place, watch, signals, tell).await;
    if let Some(engine) = engine {
        let name = engine.engine().to_owned();
        let noted = engine.end(&place.cgroup.name())?;
        job.around.mediated(&name, &noted);
    }
    let ran = ran?;
    let evidence = armed.wind_up(terms, &job, host, place, &ran, tell).await?;
    let Ran {
        outcome,
        not_started,
        ..
    } = ran;
    let Sealed {
        report,
        sweep,
        written,
        telemetry: _,
    } = evidence;
    Ok(Ended {
        outcome,
        not_started,
        report,
        sweep,
        evidence: written.directory,
        leftovers: None,
    })
}

/// The job's way to the container engine, if its profile gives it one. A job that ends before it is
/// released takes it along.
pub(super) fn mediate(
    terms: &Terms,
    host: &Host,
    place: &Place,
) -> Result<Option<Mediated>, RunError> {
    if terms.policy.engine == Engine::Deny {
        return Ok(None);
    }
    if let Some(line) = terms.policy.sandbox.describe().into_iter().next() {
        return Err(EngineError::Confined { line }.into());
    }
    let mediated = engine::start(
        host,
        engine::Request {
            config: &terms.config,
            place,
            rules: engine::rules(&terms.policy, &terms.ruleset),
            seat: terms.engine.seat(&terms.config)?,
            again: false,
        },
    )?;
    Ok(Some(mediated))
}

/// A job's secret sweep.
pub(super) fn sweeping(
    config: &Config,
    policy: SecretsPolicy,
    slots: Option<Slots>,
) -> Result<Sweeping, RunError> {
    let sweeper = secrets::sweeper(config, &policy, slots)?;
    Ok(Sweeping::new(sweeper, policy))
}

/// Who answers the job's DNS questions, and how.
pub(super) fn resolution(
    host: &Host,
    place: &Place,
    job: &Job<'_>,
    enforced: &Enforced,
    log: Questions,
) -> Result<Resolution, RunError> {
    let names: Arc<dyn dns::NamePolicy> = Arc::<Leases>::clone(&enforced.maps.leases);
    let leases: Arc<dyn dns::LeaseSink> = Arc::<Leases>::clone(&enforced.maps.leases);
    Ok(Resolution {
        profile: job.policy.name.clone(),
        ruleset: names,
        mode: job.ruleset.mode.into(),
        sink: leases,
        clients: Arc::new(host.kernel.maps.dns_clients(place.cgroup.id())),
        log: Arc::new(log),
        own: Arc::new(dns::Interfaces::default()),
        upstream: upstream(job)?,
        memory: dns::Memory::new(job.dns.wildcard),
        ttl_floor: job.dns.ttl_floor,
        limits: dns::Limits::default(),
    })
}

/// Sends the job's DNS, in this network namespace, to the listener's sockets.
pub(super) fn direct_dns(host: &mut Host, place: &Place, bound: &Bound) -> Result<(), RunError> {
    let job = place.cgroup.id();
    let maps = &mut host.kernel.maps;
    maps.mark_resolvers(job, bound)
        .and_then(|()| maps.set_resolver(job, bound.netns(), bound.ports()))
        .map_err(enforce::EnforceError::from)?;
    Ok(())
}

fn upstream(job: &Job<'_>) -> Result<dns::Upstream, RunError> {
    let upstreams = job.dns.resolve(&job.policy.dns.upstream);
    let patience = Duration::from_millis(job.dns.timeout_ms.into());
    let authorities = job.dns.authorities(&job.policy.dns);
    Ok(dns::Upstream::new(&upstreams, &authorities, patience)?)
}

/// How a released job went.
pub(super) struct Ran {
    pub(super) outcome: Outcome,
    pub(super) not_started: Option<io::Error>,
    pub(super) started: Timestamp,
    pub(super) finished: Timestamp,
    pub(super) survivors: u64,
}

/// A command, who runs it, and what its sandbox depends on.
#[derive(Clone, Copy, Debug)]
pub struct Start<'a> {
    /// Program and arguments.
    pub command: &'a [OsString],
    /// Who runs it; `None` is the caller.
    pub account: Option<&'a Account>,
    /// What its profiles take away.
    pub sandbox: &'a SandboxPolicy,
    /// Host settings.
    pub config: &'a Config,
}

impl Start<'_> {
    /// Whether the command runs as root.
    #[must_use]
    pub fn as_root(&self) -> bool {
        self.account
            .map_or_else(privilege::is_root, Account::is_root)
    }
}

/// How a command starts in this cgroup. Only a job that is enforced is released by such a plan.
pub(crate) fn plan(start: &Start<'_>, cgroup: &Path, lsm: bool) -> Result<Plan, RunError> {
    let judges = Judges {
        lsm,
        any_unix: start.config.host.unix_sockets == UnixSockets::Any,
        root: start.as_root(),
    };
    let account = start.account.cloned();
    let homes = homes(account.as_ref());
    let directory = std::env::current_dir().map_err(|source| RunError::Start {
        what: "the working directory cannot be found",
        source,
    })?;
    let whose = Whose {
        homes: &homes,
        start: &directory,
    };
    let confined = Confined::new(start.sandbox, whose)?;
    let mut plan = Plan {
        confined,
        ..Plan::new(cgroup, account, judges)?
    };
    if let KeyPlace::Credential { .. } = start.config.host.signing_key() {
        // The key that signs is in there, and a job of root could read it.
        plan.hidden.extend(
            std::env::var_os(key_place::DIRECTORY).map(|directory| Mount {
                at: directory.into(),
                what: Cover::Empty,
            }),
        );
        plan.environment
            .push((key_place::DIRECTORY.to_owned(), None));
    }
    let host = &start.config.host;
    if let Some(file) = host.signing_key().file() {
        // A job of root could sign with it; with the file of a key in a TPM, by asking that.
        let places = [file, &host.tpm].into_iter();
        let there = places.filter_map(|place| place.canonicalize().ok());
        plan.hidden.extend(there.map(|at| Mount {
            at,
            what: Cover::Null,
        }));
    }
    Ok(plan)
}

/// Where the user of a job keeps things: by the host's list of users, and by the environment that the job
/// inherits.
fn homes(account: Option<&Account>) -> Vec<PathBuf> {
    let own = nix::unistd::geteuid();
    let listed = account.map_or_else(
        || Some(nix::unistd::User::from_uid(own).ok()??.dir),
        |account| Some(account.home().to_owned()),
    );
    let told = std::env::var_os("HOME").map(PathBuf::from);
    let mut homes: Vec<PathBuf> = listed.into_iter().chain(told).collect();
    homes.retain(|home| home.is_absolute() && home != Path::new("/"));
    homes.dedup();
    homes
}

/// Starts the command and waits until nothing of it is left.
async fn release(
    request: &Request,
    plan: &Plan,
    host: &mut Host,
    place: &Place,
    watch: &mut Watch,
    signals: &mut Signals,
    tell: Tell<'_>,
) -> Result<Ran, RunError> {
    let _foreground = Foreground::note();
    let started = Timestamp::now();
    let mut init = start_init(plan, &request.command)?;
    let (outcome, not_started) = match first_message(&mut init).await? {
        None => {
            let watched = watch
                .until_gone(&mut init, host, place, signals, tell)
                .await;
            (watched.map_err(RunError::Watch)?, None)
        }
        Some(error) => (Outcome::NotStarted, Some(error)),
    };
    watch
        .sweep(Occasion::End, host, place, tell)
        .map_err(RunError::Watch)?;
    let survivors = host.kill(place).map_err(RunError::Survivors)?;
    Ok(Ran {
        outcome,
        not_started,
        started,
        finished: Timestamp::now(),
        survivors: survivors as u64,
    })
}

pub(crate) fn start_init(plan: &Plan, command: &[OsString]) -> Result<Init, RunError> {
    let (child, pipe) = spawn::start_init(plan, command).map_err(RunError::Enter)?;
    Init::new(child, pipe).map_err(RunError::Enter)
}

/// Waits until the command runs. Returns why it cannot be executed, if it cannot.
pub(crate) async fn first_message(init: &mut Init) -> Result<Option<io::Error>, RunError> {
    match init.next().await.map_err(RunError::Enter)? {
        Some(Message::Started) => Ok(None),
        Some(Message::NotExecuted { errno }) => Ok(Some(io::Error::from_raw_os_error(errno))),
        Some(Message::NotEntered { what, errno }) => {
            let why = io::Error::from_raw_os_error(errno);
            Err(RunError::Enter(io::Error::other(format!(
                "cannot {what}: {why}"
            ))))
        }
        Some(Message::Ended { .. }) | None => Err(RunError::Enter(io::Error::other(
            "its init ended before the command was started",
        ))),
    }
}

/// Reads the kernel's counters and builds the report.
pub(super) fn report(
    job: &Job<'_>,
    host: &Host,
    enforced: &Enforced,
    place: &Place,
    ledger: &Ledger,
    dns: dns::Counts,
    ran: &Ran,
) -> Result<Report, RunError> {
    let unread = |error: enforce::maps::MapsError| RunError::Report(error.into());
    let flows = enforced.maps.flows().map_err(unread)?;
    let losses = host.kernel.maps.losses(place.cgroup.id()).map_err(unread)?;
    let holds = host.holds(place, job.ruleset);
    let object = host.object();
    let mut coverage = coverage(enforced, holds, &job.around);
    if object != object::sha256() {
        coverage.proof.push(format!(
            "while the job ran, the programs were replaced in place by those of object {object}"
        ));
    }
    let counted = (flows.as_slice(), losses, dns);
    build_report(job, &place.id, coverage, ledger, counted, ran, object)
}

/// The report of a job's secret sweep; the facts of the job are those of its egress report.
pub(super) fn sweep_report(
    job: &Job<'_>,
    host: &Host,
    place: &Place,
    watch: &Watch,
    egress: &Report,
) -> Result<Option<SweepReport>, RunError> {
    let Some(sweeping) = &watch.sweeping else {
        return Ok(None);
    };
    let losses = host.kernel.maps.losses(place.cgroup.id());
    let facts = secrets::report::Facts {
        policy: job.policy,
        acted: sweeping.acted.as_ref(),
        losses: losses.map_err(|error| RunError::Report(error.into()))?,
        interruptions: &job.interruptions,
        job: Some(egress.job.clone()),
        platform: egress.platform.clone(),
        calendar: Calendar::now().map_err(|error| RunError::Report(error.into()))?,
    };
    Ok(Some(secrets::report::of_job(sweeping, facts)))
}

/// What the kernel and the listener counted.
type Counted<'a> = (&'a [(FlowKey, FlowCounters)], Losses, dns::Counts);

/// Builds the report of what is known.
pub(super) fn build_report(
    job: &Job<'_>,
    id: &str,
    coverage: Coverage,
    ledger: &Ledger,
    (flows, losses, dns): Counted<'_>,
    ran: &Ran,
    object: String,
) -> Result<Report, RunError> {
    Ok(build(Facts {
        policy: job.policy,
        ruleset: job.ruleset,
        interruptions: job.interruptions.clone(),
        coverage,
        job: JobFacts {
            id: id.to_owned(),
            command: job.command.clone(),
            arguments: job.arguments,
            started: ran.started,
            finished: ran.finished,
            outcome: ran.outcome,
            survivors: ran.survivors,
            attendance: job.attendance.clone(),
        },
        platform: platform(object).map_err(RunError::Report)?,
        ledger,
        flows,
        losses,
        dns,
        calendar: Calendar::now().map_err(|error| RunError::Report(error.into()))?,
    }))
}

/// What a report says of its key until one signs it.
const UNSIGNED: &str = "unsigned";

pub(crate) fn platform(object_sha256: String) -> Result<Platform, Box<dyn std::error::Error>> {
    // Of one process it stays the same, and hashing takes longer than most of what a job needs.
    static AGENT: OnceLock<String> = OnceLock::new();
    let system = nix::sys::utsname::uname()?;
    let agent_sha256 = if let Some(known) = AGENT.get() {
        known.clone()
    } else {
        let found = object::hex(&fs::sha256(Path::new("/proc/self/exe"))?);
        AGENT.get_or_init(|| found).clone()
    };
    Ok(Platform {
        kernel: system.release().to_string_lossy().into_owned(),
        architecture: system.machine().to_string_lossy().into_owned(),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        agent_sha256,
        object_sha256,
        key_protection: UNSIGNED.to_owned(),
    })
}
