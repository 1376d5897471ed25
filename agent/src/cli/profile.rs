//! `cordon profile`: check, explain, suggest and list profiles.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use jiff::Timestamp;

use super::output;
use crate::config::Config;
use crate::policy::explain::{Explanation, Question, explain};
use crate::policy::secrets::{OnFinding, show_time};
use crate::policy::suggest::suggest;
use crate::policy::{
    CompileError, Library, LimitsPolicy, Mistakes, Mode, Policy, Ruleset, SandboxPolicy,
    SecretsPolicy, Verify, compile,
};
use crate::report::{Report, SCHEMA};
use crate::sys::fs;

/// Name of the report in an evidence directory.
const REPORT_FILE: &str = "egress-report.json";

/// Largest report that is read: the ledger's own bounds keep reports far below.
const REPORT_BYTES: u64 = 64 << 20;

/// Exit status of `explain` for a destination that is not allowed.
const NOT_ALLOWED: u8 = 1;

/// Arguments of `cordon profile`.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print what profiles allow, or every mistake in them
    ///
    /// Allowances that have expired are warned of. Exit status: 0 if all are good, 64 if one is not.
    Check {
        /// Files, or names of profiles
        #[arg(required = true, value_name = "FILE|NAME")]
        profiles: Vec<String>,
    },
    /// Say whether a destination would be allowed, and by which rule of which file
    ///
    /// Exit status: 0 if it is allowed, 1 if it is not, 64 if the question or the profile is wrong.
    Explain {
        /// A file, or the name of a profile
        #[arg(value_name = "FILE|NAME")]
        profile: String,
        /// `HOST:PORT`, `IP:PORT` or `[IPV6]:PORT`, with `/udp` behind it if it is not TCP
        destination: String,
    },
    /// Write a minimal profile from the report of an audited run
    ///
    /// The profile goes to standard output. Exit status: 0, or 64 if there is no such report.
    Suggest {
        /// The evidence directory of the run, or its egress-report.json
        evidence: PathBuf,
        /// Name of the profile
        #[arg(long, default_value = "suggested", value_parser = profile_name)]
        name: String,
    },
    /// List the profiles that can be used by name
    List,
}

impl Args {
    /// Runs it.
    #[must_use]
    pub fn run(self, config: Option<&Path>) -> ExitCode {
        match self.command {
            // Needs no settings.
            Command::Suggest { evidence, name } => run_suggest(&evidence, &name),
            Command::Check { profiles } => {
                with_library(config, |library| check(&profiles, library))
            }
            Command::Explain {
                profile,
                destination,
            } => with_library(config, |library| {
                run_explain(&profile, &destination, library)
            }),
            Command::List => with_library(config, list),
        }
    }
}

/// Why a profile cannot be used.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error(transparent)]
    Compile(#[from] CompileError),
    #[error(transparent)]
    Mistakes(#[from] Mistakes),
}

impl Unusable {
    fn show(&self) -> ExitCode {
        match self {
            Self::Compile(error) => output::usage(error),
            Self::Mistakes(mistakes) => output::mistakes(mistakes),
        }
    }
}

fn with_library(config: Option<&Path>, run: impl FnOnce(&Library) -> ExitCode) -> ExitCode {
    match Config::load(config) {
        Ok(config) => run(&Library {
            directory: Some(config.host.profiles_dir),
        }),
        Err(mistakes) => output::mistakes(&mistakes),
    }
}

fn load(profile: &str, library: &Library) -> Result<(Policy, Ruleset), Unusable> {
    let policy = Policy::load(&[profile.to_owned()], library)?;
    let ruleset = compile(&policy)?;
    Ok((policy, ruleset))
}

fn check(profiles: &[String], library: &Library) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    let mut text = String::new();
    for profile in profiles {
        match load(profile, library) {
            Ok((policy, ruleset)) => {
                text.push_str(&describe(&policy, &ruleset));
                warn_of_expired(&policy.secrets);
            }
            Err(unusable) => code = unusable.show(),
        }
    }
    output::deliver(&text, code)
}

/// A policy for a person: what it does first, then each rule with its number and where it is from.
fn describe(policy: &Policy, ruleset: &Ruleset) -> String {
    let upstream: Vec<String> = policy
        .dns
        .upstream
        .iter()
        .map(ToString::to_string)
        .collect();
    let mut lines = vec![
        format!("profile {}", policy.name),
        format!("mode    {} ({})", policy.mode, meaning(policy.mode)),
        format!("dns     {}", upstream.join(", ")),
        format!("ruleset {}", ruleset.digest),
    ];
    for source in &policy.profiles {
        lines.push(format!("from    {} ({})", source.source, source.name));
    }
    if policy.rules.is_empty() {
        lines.push("rules   none: every destination is denied".to_owned());
    }
    for (index, rule) in policy.rules.iter().enumerate() {
        let reason = rule.reason.as_ref().map(|reason| format!("  # {reason}"));
        lines.push(format!(
            "rule {index:<3}{} ({}){}",
            rule.describe(),
            rule.origin,
            reason.unwrap_or_default()
        ));
    }
    describe_limits(&policy.limits, &mut lines);
    describe_sandbox(&policy.sandbox, &mut lines);
    describe_secrets(&policy.secrets, &mut lines);
    lines.join("\n") + "\n\n"
}

/// What is limited, and by which line of which file.
fn describe_limits(limits: &LimitsPolicy, lines: &mut Vec<String>) {
    if limits.is_empty() {
        lines.push("limits  none: the job may use all of the host".to_owned());
    }
    for (resource, limit) in limits.iter() {
        let amount = resource.show(limit.amount);
        lines.push(format!("limit   {resource} {amount} ({})", limit.origin));
    }
}

/// What is taken from the command, and by which line of which file.
fn describe_sandbox(sandbox: &SandboxPolicy, lines: &mut Vec<String>) {
    if sandbox.is_empty() {
        lines
            .push("sandbox nothing beyond what surrounds every command of `cordon run`".to_owned());
    }
    lines.extend(
        sandbox
            .describe()
            .iter()
            .map(|line| format!("sandbox {line}")),
    );
}

/// What is looked for, what a finding does, and what is expected all the same.
fn describe_secrets(secrets: &SecretsPolicy, lines: &mut Vec<String>) {
    let SecretsPolicy {
        on_finding,
        stance,
        interval,
        freeze_for,
        max_lifetime,
        holders,
        allow,
    } = secrets;
    let act = match on_finding {
        OnFinding::Report => "findings are reported".to_owned(),
        OnFinding::Freeze => format!(
            "a finding freezes the job, which is killed after {}",
            show_time(*freeze_for)
        ),
        OnFinding::Kill => "a finding kills the job".to_owned(),
    };
    lines.push(format!(
        "secrets {}: {act}; swept every {}, short-lived is at most {}",
        stance.name(),
        show_time(*interval),
        show_time(*max_lifetime),
    ));
    for list in &holders.lists {
        let list: Vec<String> = list.iter().map(ToString::to_string).collect();
        lines.push(format!("holders {}", list.join(", ")));
    }
    for (index, allowance) in allow.iter().enumerate() {
        let until = match allowance.expires {
            Some(day) if allowance.has_expired(Timestamp::now()) => format!(", expired {day}"),
            Some(day) => format!(", until {day}"),
            None => String::new(),
        };
        lines.push(format!(
            "expect {index:<3}{allowance}{until} ({})  # {}",
            allowance.origin, allowance.reason
        ));
    }
}

/// Allowances that do not apply any more are no mistake: a profile must not stop working overnight.
fn warn_of_expired(secrets: &SecretsPolicy) {
    let now = Timestamp::now();
    for allowance in &secrets.allow {
        if let Some(day) = allowance.expires.filter(|_day| allowance.has_expired(now)) {
            output::warning(&format!(
                "{}: the allowance of {allowance} expired on {day} and does not apply; remove it, or \
                 give it a later day",
                allowance.origin
            ));
        }
    }
}

fn meaning(mode: Mode) -> &'static str {
    match mode {
        Mode::Audit => "what no rule allows is let pass and recorded",
        Mode::Enforce => "what no rule allows is refused",
    }
}

fn run_explain(profile: &str, destination: &str, library: &Library) -> ExitCode {
    let question: Question = match destination.parse() {
        Ok(question) => question,
        Err(error) => return output::usage(&error),
    };
    let (policy, ruleset) = match load(profile, library) {
        Ok(loaded) => loaded,
        Err(unusable) => return unusable.show(),
    };
    let answer = explain(&policy, &ruleset, &question);
    let code = match answer {
        Explanation::Allowed { .. } => ExitCode::SUCCESS,
        Explanation::Denied { .. } => ExitCode::from(NOT_ALLOWED),
    };
    output::deliver(&answer_text(&policy, &question, &answer), code)
}

fn answer_text(policy: &Policy, question: &Question, answer: &Explanation) -> String {
    let mut lines = Vec::new();
    match answer {
        Explanation::Allowed {
            rule: index,
            verify,
        } => {
            lines.push(format!("{question} is allowed"));
            match verify {
                Verify::Tls => lines.push("if the connection shows this name in TLS".to_owned()),
                Verify::Http => {
                    lines.push("if each request of the connection shows this name".to_owned());
                }
                Verify::None => {}
            }
            if let Some(rule) = policy.rules.get(*index) {
                lines.push(format!("by rule {index}: {}", rule.describe()));
                lines.push(format!("in {}", rule.origin));
                lines.extend(
                    rule.reason
                        .iter()
                        .map(|reason| format!("because: {reason}")),
                );
            }
        }
        Explanation::Denied { near, remedy } => {
            lines.push(format!("{question} is not allowed by any rule"));
            if policy.mode == Mode::Audit {
                lines.push("in audit mode it is let pass and recorded".to_owned());
            }
            lines.extend(near.iter().map(|miss| format!("near: {miss}")));
            if let Some(remedy) = remedy {
                lines.push(format!("to allow it, add:\n\n{remedy}"));
            }
        }
    }
    if !policy.limits.is_empty() {
        lines.push(String::new());
        describe_limits(&policy.limits, &mut lines);
    }
    if !policy.sandbox.is_empty() {
        lines.push(String::new());
        describe_sandbox(&policy.sandbox, &mut lines);
    }
    lines.join("\n") + "\n"
}

/// Why there is nothing to suggest from.
#[derive(Debug, thiserror::Error)]
enum SuggestError {
    #[error("`{}` is not an egress report of this version of cordon", path.display())]
    Format {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error(transparent)]
    Read(#[from] fs::FileError),
    #[error("`{}` has the schema `{schema}`; this version of cordon reads `{SCHEMA}`", path.display())]
    Schema { path: PathBuf, schema: String },
}

fn run_suggest(evidence: &Path, name: &str) -> ExitCode {
    match read_report(evidence) {
        Ok(report) => output::deliver(&suggest(&report, name), ExitCode::SUCCESS),
        Err(error) => output::usage(&error),
    }
}

fn read_report(evidence: &Path) -> Result<Report, SuggestError> {
    let path = if evidence.is_dir() {
        evidence.join(REPORT_FILE)
    } else {
        evidence.to_owned()
    };
    let bytes = fs::read(&path, REPORT_BYTES)?;
    match serde_json::from_slice::<Report>(&bytes) {
        Ok(report) if report.schema == SCHEMA => Ok(report),
        Ok(Report { schema, .. }) => Err(SuggestError::Schema { path, schema }),
        Err(source) => Err(SuggestError::Format { path, source }),
    }
}

fn profile_name(text: &str) -> Result<String, String> {
    if crate::policy::is_profile_name(text) {
        return Ok(text.to_owned());
    }
    Err("use lower-case letters, digits, `-`, `_` and `.`; at most 64 of them".to_owned())
}

fn list(library: &Library) -> ExitCode {
    let (listed, wrong) = library.list();
    let width = listed.iter().map(|profile| profile.name.len()).max();
    let width = width.unwrap_or_default();
    let mut text = String::new();
    for profile in &listed {
        let description = profile.description.as_deref().unwrap_or("");
        let line = format!(
            "{:width$}  {description} ({})\n",
            profile.name, profile.source
        );
        text.push_str(&line);
    }
    let code = match Mistakes::check(wrong) {
        Ok(()) => ExitCode::SUCCESS,
        Err(mistakes) => output::mistakes(&mistakes),
    };
    output::deliver(&text, code)
}
