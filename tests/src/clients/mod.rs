//! Real clients, proved against cordon: resolvers and libraries of TLS and HTTP as Debian ships them,
//! each in a world of its own.
//!
//! Each attempt is made without cordon first, where it has to work: what then fails under cordon
//! fails because of cordon. A client that is not on the machine was not proved, and that is a
//! failure unless it was asked for.

pub mod attempt;
pub mod native;

mod dns;
mod http3;
mod needs;
mod programs;
mod table;
mod trial;
mod web;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;

use crate::clients::needs::TOOLS;
use crate::clients::table::{Row, Table};
use crate::harness::environment::Environment;

/// Arguments of `clients`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Only clients whose name holds this (`dns`, `web`, `curl`)
    filter: Option<String>,
    /// Content although a client could not be run
    #[arg(long)]
    allow_missing: bool,
    /// Leave out what needs this; may be repeated
    #[arg(long, value_name = "WORD")]
    skip: Vec<String>,
}

/// A program that is tried.
#[derive(Debug)]
struct Client {
    /// `group/name`
    name: &'static str,
    /// Names of [`TOOLS`].
    needs: &'static [&'static str],
    /// What a shell runs to have the version printed.
    version: &'static str,
}

/// Where programs are.
#[derive(Debug)]
struct Workshop {
    environment: Environment,
    programs: PathBuf,
}

/// Tries all that the arguments name, and prints one table.
pub fn run(args: &Args) -> Result<ExitCode> {
    let environment = Environment::detect(false)?;
    environment.cordon()?;
    let workshop = Workshop {
        programs: programs::folder(&environment)?,
        environment,
    };
    let mut table = Table::default();
    let wanted = |client: &Client| {
        let filter = args.filter.as_deref().unwrap_or_default();
        client.name.contains(filter)
    };
    for resolver in dns::RESOLVERS.iter().filter(|one| wanted(&one.client)) {
        let rows = workshop.attempt(&resolver.client, args, || dns::tell(&workshop, resolver));
        table.extend(rows);
    }
    for fetcher in web::FETCHERS.iter().filter(|one| wanted(&one.client)) {
        let rows = workshop.attempt(&fetcher.client, args, || web::tell(&workshop, fetcher));
        table.extend(rows);
    }
    for speaker in http3::SPEAKERS.iter().filter(|one| wanted(&one.client)) {
        let rows = workshop.attempt(&speaker.client, args, || http3::tell(&workshop, speaker));
        table.extend(rows);
    }
    Ok(table.conclude(args.allow_missing))
}

impl Workshop {
    /// Rows of one client; its absence, or a failure of the harness itself, is a row too.
    fn attempt(
        &self,
        client: &Client,
        args: &Args,
        tell: impl FnOnce() -> Result<Vec<Row>>,
    ) -> Vec<Row> {
        if let Some(reason) = self.missing(client, args) {
            return vec![Row::not_run(client.name, reason)];
        }
        let version = self.version(client);
        match tell() {
            Ok(rows) => rows
                .into_iter()
                .map(|row| row.of(client.name, &version))
                .collect(),
            Err(error) => vec![Row::broken(&error).of(client.name, &version)],
        }
    }

    /// Why it cannot be run.
    fn missing(&self, client: &Client, args: &Args) -> Option<String> {
        for need in client.needs {
            let Some(tool) = TOOLS.iter().find(|tool| tool.name == *need) else {
                return Some(format!("`{need}` is in no table"));
            };
            if let Some(word) = tool
                .big
                .filter(|word| args.skip.iter().any(|it| it == word))
            {
                return Some(format!("left out by --skip {word}"));
            }
            if !tool.is_there() {
                return Some(format!(
                    "no {} on this machine (package {})",
                    tool.file,
                    tool.package()
                ));
            }
            if let Err(error) = programs::build(&self.programs, need) {
                return Some(format!("{error:#}"));
            }
        }
        None
    }

    /// The first word of what the client says that looks like a version.
    fn version(&self, client: &Client) -> String {
        let output = std::process::Command::new("/bin/sh")
            .args(["-c", client.version])
            .env("PROGRAMS", &self.programs)
            .env("NATIVE", &self.environment.own)
            .output();
        let Ok(output) = output else {
            return "unknown".to_owned();
        };
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        let is_version = |word: &&str| {
            word.starts_with(|first: char| first.is_ascii_digit()) && word.contains('.')
        };
        text.split(|letter: char| letter.is_whitespace() || "(),\"".contains(letter))
            .map(|word| word.trim_start_matches(['v', 'g', 'o']))
            .map(|word| word.trim_end_matches(['.', ';']))
            .find(is_version)
            // Debian's own part says nothing here.
            .and_then(|word| word.split(['-', '~']).next())
            .unwrap_or("unknown")
            .to_owned()
    }
}
