//! `cordon resume`: goes on with a job whose cordon was killed.

#![expect(
    clippy::print_stderr,
    reason = "the terminal is what this module is for"
)]

use std::path::Path;
use std::process::{Command, ExitCode};

use super::output::{self, complaint, data};
use super::run;
use crate::config::Config;
use crate::enforce::chain;
use crate::events::ledger::News;
use crate::job::resume::{ResumeError, Resumed, Until, orphans, resume};
use crate::job::sealing::Sealed;
use crate::policy::Mode;
use crate::report::news::describe;
use crate::report::text;

const ABOUT: &str = "\
The kernel goes on enforcing a job whose cordon was killed: what no rule allows stays refused, live \
leases hold until they expire, new names get no answer. `cordon resume` answers names again, goes on \
recording, waits until no process of the job is left, and writes its evidence, which says from when to \
when nobody recorded, and that the command's exit status is unknown. SIGINT and SIGTERM end the job.
The next `cordon run` on the host does not wait for such jobs: it ends them and writes their evidence.
Exit status:
    0  the job has ended, its evidence is written; if it could not be taken over as it was, it was
       ended at once, and the evidence says why
  120  the kernel side cannot be opened; nothing was done
  121  no such job waits for a cordon, or the configuration is wrong
  122, 123, 125  as for `cordon run`
  124  the job was ended, and its evidence could not be written";

/// Arguments of `cordon resume`.
#[derive(clap::Args, Debug)]
#[command(after_help = ABOUT)]
pub struct Args {
    /// The job; all that wait for a cordon if not given
    #[arg(value_name = "JOB")]
    job: Option<String>,
    /// Do not wait: end the job now
    #[arg(long)]
    end: bool,
    /// Say which jobs wait for a cordon, and do nothing
    #[arg(long, conflicts_with_all = ["job", "end"])]
    list: bool,
    /// Do not tell of denials while they happen
    #[arg(long, short)]
    quiet: bool,
}

impl Args {
    /// Takes jobs over.
    #[must_use]
    pub fn run(self, config: Option<&Path>) -> ExitCode {
        let Self {
            job,
            end,
            list,
            quiet,
        } = self;
        let settings = match Config::load(config) {
            Ok(settings) => settings,
            Err(mistakes) => {
                output::mistakes(&mistakes);
                return ExitCode::from(run::USAGE);
            }
        };
        let Some(job) = job else {
            return match orphans(&settings) {
                Ok(ids) if list => show(&ids),
                Ok(ids) => all(&ids, config, end, quiet),
                Err(error) => failed(&error),
            };
        };
        let key = match run::signing_key(&settings.host) {
            Ok(key) => key,
            Err(failure) => return failure.exit(),
        };
        let until = if end { Until::Now } else { Until::Gone };
        let mut tell = |news: News| {
            if !quiet {
                eprintln!("cordon: {}", describe(&news, Mode::Enforce));
            }
        };
        match resume(&settings, &key, &job, until, &mut tell) {
            Ok(resumed) => conclude(&resumed),
            Err(error) => failed(&error),
        }
    }
}

fn show(ids: &[String]) -> ExitCode {
    let lines: Vec<String> = ids.iter().map(|id| format!("{id}\n")).collect();
    match data(&lines.concat()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complaint(&error);
            ExitCode::FAILURE
        }
    }
}

/// One process for each job: they end at different times, and each belongs into one network
/// namespace.
fn all(ids: &[String], config: Option<&Path>, end: bool, quiet: bool) -> ExitCode {
    if ids.is_empty() {
        eprintln!("cordon: no job waits for a cordon");
        return ExitCode::SUCCESS;
    }
    let start = |id: &String| {
        let mut command = Command::new("/proc/self/exe");
        if let Some(config) = config {
            command.arg("--config").arg(config);
        }
        command.arg("resume").args(end.then_some("--end"));
        command.args(quiet.then_some("--quiet")).arg(id).spawn()
    };
    let children: Vec<_> = ids.iter().map(start).collect();
    let mut worst = 0;
    for child in children {
        let status = child.and_then(|mut child| child.wait());
        let code = match status {
            Ok(status) => status.code().and_then(|code| u8::try_from(code).ok()),
            Err(error) => {
                complaint(&error);
                None
            }
        };
        worst = worst.max(code.unwrap_or(run::INTERNAL));
    }
    ExitCode::from(worst)
}

fn failed(error: &ResumeError) -> ExitCode {
    eprintln!("cordon: {}", chain(error));
    ExitCode::from(match error {
        ResumeError::NoOrphan { .. } => run::USAGE,
        ResumeError::Run(error) => run::code_of(error),
    })
}

fn conclude(resumed: &Resumed) -> ExitCode {
    let id = &resumed.id;
    match resumed.evidence.as_deref() {
        None => eprintln!("cordon: job {id} never ran or has its evidence; cleared away"),
        Some(Sealed {
            report, written, ..
        }) => eprintln!(
            "cordon: job {id} has ended; recording was interrupted, {}; evidence in `{}`",
            text::coverage(&report.coverage),
            written.directory.display()
        ),
    }
    if let Some(leftovers) = &resumed.leftovers {
        eprintln!("cordon: not all was cleared away: {}", chain(leftovers));
        return ExitCode::from(run::INTERNAL);
    }
    ExitCode::SUCCESS
}
