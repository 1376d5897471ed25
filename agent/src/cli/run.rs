//! `cordon run`: a command as a job.
//!
//! The command's own exit status is passed on (128 + N for signal N). Cordon's failures have codes
//! of their own, beyond what commands commonly use and below those of a shell.

#![expect(
    clippy::print_stderr,
    reason = "the terminal is what this module is for"
)]

use std::error::Error as _;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use crate::config::{Config, HostConfig};
use crate::daemon::command;
use crate::dns::BindError;
use crate::enforce::{self, chain, kernel};
use crate::engine::{self, Mounts};
use crate::events::ledger::News;
use crate::job::run::{Ended, Request, RunError, Start, Terms, run};
use crate::policy::{Library, Mode, Policy, compile};
use crate::report::Outcome;
use crate::report::chain::Chain;
use crate::report::escape::escape;
use crate::report::image::Image;
use crate::report::key_place::KeyPlace;
use crate::report::news::describe;
use crate::report::signer::SigningKey;
use crate::report::sink::EvidenceDir;
use crate::report::statement::Subject;
use crate::report::sweep::{Taken, line};
use crate::sandbox::InheritedError;
use crate::sys::spawn::Account;

/// The job could not be enforced, and was not started.
pub const NOT_ENFORCED: u8 = 120;
/// The job was ended, because a process of it carried a secret.
pub const SECRET: u8 = 119;
/// The job was ended, because its time was over.
pub const TIME_OVER: u8 = 118;
/// A profile, the configuration or an argument is wrong.
pub const USAGE: u8 = 121;
/// The kernel, or this build of cordon, lacks what enforcement needs.
pub const UNSUPPORTED: u8 = 122;
/// Cordon may not do what it needs.
pub const PERMISSION: u8 = 123;
/// The job ran; its evidence is not there.
pub const NO_EVIDENCE: u8 = 124;
/// The job was ended, because cordon could not go on.
pub const INTERNAL: u8 = 125;
/// The command cannot be executed, as shells say it.
pub const NOT_EXECUTABLE: u8 = 126;
/// The command is not there, as shells say it.
pub const NOT_FOUND: u8 = 127;

const EXIT_STATUS: &str = "\
Exit status:
  the command's own, or 128+N if signal N ended it; else
  118  cordon ended the job, because its time was over (`wall` in `[limits]` of the profile)
  119  cordon ended the job, because a process of it carried a secret (`[secrets]` of the profile)
  120  the job could not be enforced, or a limit not pinned; it was not started
  121  a profile, the configuration or an argument is wrong; nothing was started
  122  the kernel or this build lacks what enforcement needs; nothing was started
  123  cordon lacks a permission; nothing was started
  124  the job ran, but its report could not be made or its evidence not written
  125  the job was ended because cordon could not go on, or could not end what it left behind
  126  the command cannot be executed
  127  the command was not found
A command that itself ends with one of these is told apart by --status-file.";

/// Arguments of `cordon run`.
#[derive(clap::Args, Debug)]
#[command(after_help = EXIT_STATUS)]
pub struct Args {
    /// What the job may reach: a file, or the name of a profile; several are joined. Without one,
    /// nothing
    #[arg(long, short, value_name = "FILE|NAME")]
    profile: Vec<String>,
    /// Let everything pass and mark what would have been denied
    #[arg(long)]
    audit: bool,
    /// Where the signed report goes; a new directory below the state directory if not given
    #[arg(long, value_name = "DIR")]
    evidence: Option<PathBuf>,
    /// An image that the command makes, by its sha256; may be repeated. `cordon bind` says it later
    #[arg(long, value_name = "DIGEST")]
    subject: Vec<Image>,
    /// Run the command as this user
    #[arg(long, value_name = "NAME|UID")]
    user: Option<String>,
    /// Write who ended the run, and with which status, to this file, as JSON
    #[arg(long, value_name = "FILE")]
    status_file: Option<PathBuf>,
    /// Do not tell of denials while they happen
    #[arg(long, short)]
    quiet: bool,
    /// The command and its arguments
    #[arg(required = true, last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// A failure of cordon's own, and its exit status.
#[derive(Debug)]
pub(super) struct Failure {
    code: u8,
    text: String,
}

impl Failure {
    /// Says it; returns the status.
    pub(super) fn exit(self) -> ExitCode {
        eprintln!("cordon: {}", self.text.trim_end());
        ExitCode::from(self.code)
    }

    fn usage(error: impl std::fmt::Display) -> Self {
        Self {
            code: USAGE,
            text: error.to_string(),
        }
    }
}

impl Args {
    /// Runs the job.
    #[must_use]
    pub fn run(self, config: Option<&Path>) -> ExitCode {
        let status_file = self.status_file.clone();
        let (code, own) = match self.run_job(config) {
            Ok(ended) => conclude(&ended),
            Err(Failure { code, text }) => {
                eprintln!("cordon: {}", text.trim_end());
                (code, true)
            }
        };
        match status_file.map(|path| write_status(&path, code, own)) {
            Some(Err(error)) => {
                eprintln!("cordon: {}", chain(&error));
                ExitCode::from(NO_EVIDENCE)
            }
            _ => ExitCode::from(code),
        }
    }

    fn run_job(self, config: Option<&Path>) -> Result<Ended, Failure> {
        let Self {
            profile,
            audit,
            evidence,
            subject,
            user,
            status_file: _,
            quiet,
            command,
        } = self;
        let config = Config::load(config).map_err(Failure::usage)?;
        let library = Library {
            directory: Some(config.host.profiles_dir.clone()),
        };
        let mut policy = Policy::load(&profile, &library).map_err(Failure::usage)?;
        if audit {
            policy.mode = Mode::Audit;
        }
        let ruleset = compile(&policy).map_err(|error| Failure::usage(chain(&error)))?;
        let account = user
            .map(|name| Account::find(&name))
            .transpose()
            .map_err(|error| Failure::usage(chain(&error)))?;
        // Before the key and the directory are made: without it they are of no use.
        crate::sys::privilege::require().map_err(|error| Failure {
            code: PERMISSION,
            text: chain(&error),
        })?;
        let mode = policy.mode;
        let failed = |error: RunError| Failure {
            code: code_of(&error),
            text: chain(&error),
        };
        if command::suits(&policy)
            && let Some(daemon) = command::find(&config).map_err(failed)?
        {
            let evidence = evidence.as_deref().map(EvidenceDir::prepare).transpose();
            let request = command::Request {
                start: Start {
                    command: &command,
                    account: account.as_ref(),
                    sandbox: &policy.sandbox,
                    config: &config,
                },
                policy: &policy,
                ruleset: &ruleset,
                subjects: subject.iter().map(ToString::to_string).collect(),
                evidence: evidence.map_err(|error| Failure::usage(chain(&error)))?,
            };
            let mut say = |text: &str| {
                if !quiet {
                    eprintln!("cordon: {text}");
                }
            };
            return command::run(&daemon, &request, &mut say).map_err(failed);
        }
        let key = signing_key(&config.host)?;
        // A chain that gives no numbers is found out now, and not when the job has run.
        Chain::new(&config.host.state_dir, key.public())
            .check()
            .map_err(|error| Failure::usage(chain(&error)))?;
        let evidence = evidence.unwrap_or_else(|| default_evidence(&config));
        let evidence =
            EvidenceDir::prepare(&evidence).map_err(|error| Failure::usage(chain(&error)))?;
        let wish = engine::Wish {
            port: None,
            mounts: Mounts::Here {
                user: account.as_ref().map(Account::uid),
            },
        };
        let request = Request {
            command,
            account,
            terms: Terms {
                engine: wish,
                policy,
                ruleset: Arc::new(ruleset),
                config: Arc::new(config),
                evidence,
                key: Arc::new(key),
                subjects: subject.iter().map(Subject::from).collect(),
                attendance: None,
            },
        };
        let mut tell = |news: News| {
            if !quiet || matches!(news, News::Orphan { .. }) {
                eprintln!("cordon: {}", describe(&news, mode));
            }
        };
        run(&request, &mut tell).map_err(failed)
    }
}

/// The host's key; made at the first run, and said so.
pub(super) fn signing_key(host: &HostConfig) -> Result<SigningKey, Failure> {
    let failed = |error| Failure {
        code: USAGE,
        text: chain(&error),
    };
    // A credential is made by whoever sets the service up, never here; so is a key in a TPM.
    let path = match host.signing_key() {
        KeyPlace::File(path) if !path.exists() => path,
        _ => return host.load_key().map_err(failed),
    };
    let key = SigningKey::generate().map_err(failed)?;
    let public = key.save(&path).map_err(failed)?;
    eprintln!(
        "cordon: made a signing key, `{}`; its public half is `{}`",
        path.display(),
        public.display()
    );
    Ok(key)
}

fn default_evidence(config: &Config) -> PathBuf {
    let now = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%S");
    let name = format!("{now}-{}", std::process::id());
    config.host.state_dir.join("evidence").join(name)
}

/// Which of the documented codes an error is.
pub(super) fn code_of(error: &RunError) -> u8 {
    match error {
        RunError::Privilege(_) => PERMISSION,
        RunError::Enforce(enforce::EnforceError::Kernel(error)) => match error {
            kernel::KernelError::NoObject
            | kernel::KernelError::NoBtf(_)
            | kernel::KernelError::NoOffset { .. }
            | kernel::KernelError::Load { .. } => UNSUPPORTED,
            _ => NOT_ENFORCED,
        },
        RunError::Listener(BindError::Namespace(_)) => UNSUPPORTED,
        RunError::Inherited(InheritedError::Stream(_)) | RunError::Sandbox(_) => USAGE,
        RunError::Enforce(error) if is_permission(error) => PERMISSION,
        RunError::Enforce(_)
        | RunError::Daemon(_)
        | RunError::Listener(_)
        | RunError::Upstream(_)
        | RunError::Enter(_)
        | RunError::Inherited(_)
        | RunError::Sweep(_)
        | RunError::Limits(_)
        | RunError::Engine(_)
        | RunError::Key(_)
        | RunError::Start { .. }
        | RunError::File(_) => NOT_ENFORCED,
        RunError::Watch(_) | RunError::Survivors(_) => INTERNAL,
        RunError::Report(_) | RunError::Evidence(_) => NO_EVIDENCE,
    }
}

fn is_permission(error: &enforce::EnforceError) -> bool {
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(error) = cause.downcast_ref::<io::Error>() {
            return error.kind() == io::ErrorKind::PermissionDenied;
        }
        source = cause.source();
    }
    false
}

/// Says where the evidence is; returns the status, and whether it is cordon's own.
fn conclude(ended: &Ended) -> (u8, bool) {
    let summary = &ended.report.summary;
    eprintln!(
        "cordon: {} mode, {} denied, {} allowed; evidence in `{}`",
        if ended.report.mode == crate::report::ReportMode::Audit {
            "audit"
        } else {
            "enforce"
        },
        summary.denied.saturating_add(summary.names_denied),
        summary.allowed,
        ended.evidence.display(),
    );
    if let Some(sweep) = &ended.sweep {
        eprintln!("cordon: {}", line(sweep));
        if sweep.action.taken != Taken::None {
            return (SECRET, true);
        }
    }
    if let Some(limits) = ended
        .report
        .limits
        .as_ref()
        .filter(|limits| limits.timed_out())
    {
        let wall = limits.usage.wall_milliseconds / 1000;
        eprintln!("cordon: the job's time was over; it was ended after {wall} s");
        return (TIME_OVER, true);
    }
    if !ended.report.losses.none() {
        eprintln!("cordon: the report is not whole; its first lines say what was lost");
    }
    if let Some(leftovers) = &ended.leftovers {
        eprintln!("cordon: not all was cleared away: {}", chain(leftovers));
    }
    match ended.outcome {
        Outcome::Exited { code } => (u8::try_from(code & 0xff).unwrap_or(INTERNAL), false),
        Outcome::Signalled { signal } => (
            u8::try_from(signal.saturating_add(128)).unwrap_or(INTERNAL),
            false,
        ),
        // Only of jobs that were taken over, which end elsewhere.
        Outcome::Unknown | Outcome::Finished => (INTERNAL, true),
        Outcome::NotStarted => {
            let error = ended.not_started.as_ref();
            let missing = error.is_some_and(|error| error.kind() == io::ErrorKind::NotFound);
            let why = error.map_or_else(String::new, ToString::to_string);
            eprintln!(
                "cordon: cannot execute `{}`: {why}",
                escape(&ended.report.job.command)
            );
            (if missing { NOT_FOUND } else { NOT_EXECUTABLE }, true)
        }
    }
}

fn write_status(path: &Path, code: u8, own: bool) -> Result<(), crate::sys::fs::FileError> {
    let by = if own { "cordon" } else { "command" };
    let text = format!("{{\"endedBy\":\"{by}\",\"status\":{code}}}\n");
    crate::sys::fs::write_atomic(path, text.as_bytes(), 0o644)
}
