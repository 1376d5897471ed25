//! `cordon host`: what of cordon is in the kernel, and its replacement under way.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use super::output::{self, complaint, deliver};
use super::run::{NOT_ENFORCED, PERMISSION, USAGE};
use crate::config::Config;
use crate::enforce::pins::Held;
use crate::enforce::status::{JobStatus, Status, status};
use crate::enforce::{EnforceError, Host};
use crate::sys::privilege;

/// Arguments of `cordon host`.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// Show programs, pins and jobs of this host
    ///
    /// Exit status: 0; 1 if what is pinned is damaged or half made; 120, 121 and 123 as for
    /// `cordon run`.
    Status,
    /// Replace the programs in the kernel by those of this version, while jobs run
    ///
    /// Every start of cordon does so by itself where the object differs. Nothing is detached, and
    /// maps and jobs stay. Only programs with the same layout of maps can take over; others are
    /// refused while jobs run. Exit status: 0; 120, 121 and 123 as for `cordon run`.
    Upgrade {
        /// Also if the same object runs already
        #[arg(long)]
        force: bool,
    },
}

impl Args {
    /// Runs the command.
    #[must_use]
    pub fn run(self, config: Option<&Path>) -> ExitCode {
        let config = match Config::load(config) {
            Ok(config) => config,
            Err(mistakes) => {
                output::mistakes(&mistakes);
                return ExitCode::from(USAGE);
            }
        };
        if let Err(error) = privilege::require() {
            complaint(&error);
            return ExitCode::from(PERMISSION);
        }
        match self.command {
            Command::Status => match status(&config.host) {
                Ok(status) => {
                    let healthy = status.wrong.is_empty() && status.held != Held::HalfMade;
                    deliver(&render(&status), ExitCode::from(u8::from(!healthy)))
                }
                Err(error) => refused(&error),
            },
            Command::Upgrade { force } => match upgrade(&config, force) {
                Ok(text) => deliver(&text, ExitCode::SUCCESS),
                Err(error) => refused(&error),
            },
        }
    }
}

fn refused(error: &EnforceError) -> ExitCode {
    complaint(error);
    ExitCode::from(NOT_ENFORCED)
}

fn upgrade(config: &Config, force: bool) -> Result<String, EnforceError> {
    let before = status(&config.host)?;
    if before.held == Held::Nothing && before.jobs.is_empty() && before.others.is_empty() {
        return Ok("no programs are loaded: the next job brings its own\n".to_owned());
    }
    // Opening brings programs of another object up to date.
    let mut host = Host::open(&config.host)?;
    let current = before.held
        == Held::Loaded {
            object: before.own_object.clone(),
        };
    if current && force {
        host.upgrade()?;
    }
    drop(host.take_orphans());
    host.close()?;
    // Which has the host lock, and status takes it.
    drop(host);
    let after = status(&config.host)?;
    Ok(match (current, force) {
        (true, false) => format!("object {} runs already\n", short(&after.own_object)),
        (true, true) | (false, _) => format!(
            "replaced {} programs by those of object {}\n",
            changed(&before, &after),
            short(&after.own_object)
        ),
    })
}

/// How many hooks run another program than before.
fn changed(before: &Status, after: &Status) -> usize {
    let program = |status: &Status, name: &str| {
        let hook = status.hooks.iter().find(|(hook, _)| *hook == name);
        hook.and_then(|(_, ids)| ids.map(|(_, program)| program))
    };
    let hooks = after.hooks.iter();
    hooks
        .filter(|(name, _)| program(before, name) != program(after, name))
        .count()
}

/// Enough of a digest to tell two apart.
fn short(digest: &str) -> &str {
    digest.get(..16).unwrap_or(digest)
}

/// The status for a terminal. Pure.
fn render(status: &Status) -> String {
    let Status {
        root,
        pins,
        held,
        own_object,
        wrong,
        hooks,
        jobs,
        others,
    } = status;
    let mut text = String::new();
    let mut line = |key: &str, value: &str| {
        // Writing to a string cannot fail.
        let _infallible = writeln!(text, "{key:<10}{value}");
    };
    line("root", &root.display().to_string());
    line("pins", &pins.display().to_string());
    line(
        "object",
        &match held {
            Held::Nothing => "none: the next job brings its own".to_owned(),
            Held::HalfMade => {
                "half made, its loader was killed: the next job starts anew".to_owned()
            }
            Held::Loaded { object } if object == own_object => {
                format!("{}, that of this cordon", short(object))
            }
            Held::Loaded { object } => format!(
                "{}; this cordon has {}: the next job replaces it",
                short(object),
                short(own_object)
            ),
            Held::Upgrading { object } => format!(
                "being replaced by {}, cut short: the next job finishes that",
                short(object)
            ),
        },
    );
    for wrong in wrong {
        line("DAMAGED", wrong);
    }
    for other in others {
        line("other", &format!("{}, of another layout", other.display()));
    }
    if *held != Held::Nothing {
        for (name, ids) in hooks {
            line(
                "program",
                &match ids {
                    Some((link, program)) => format!("{name:<28}link {link:<6}program {program}"),
                    None => format!("{name:<28}not attached"),
                },
            );
        }
    }
    if jobs.is_empty() {
        line("jobs", "none");
    }
    for JobStatus {
        id,
        watched,
        processes,
    } in jobs
    {
        let who = if *watched {
            "watched by its cordon"
        } else {
            "its cordon is dead: `cordon resume` goes on with it"
        };
        line("job", &format!("{id:<14}{processes:>4} processes, {who}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Status {
        Status {
            root: "/sys/fs/cgroup".into(),
            pins: "/sys/fs/bpf/cordon/1-2-3".into(),
            held: Held::Loaded {
                object: "ab".repeat(32),
            },
            own_object: "ab".repeat(32),
            wrong: Vec::new(),
            hooks: vec![("egress", Some((3, 40))), ("connect4", None)],
            jobs: vec![JobStatus {
                id: "0123456789ab".to_owned(),
                watched: false,
                processes: 2,
            }],
            others: Vec::new(),
        }
    }

    #[test]
    fn a_status_is_one_aligned_line_for_each_thing() {
        let text = render(&sample());
        assert!(
            text.contains("object    abababababababab, that of this cordon\n"),
            "{text}"
        );
        assert!(
            text.contains("program   egress                      link 3     program 40\n"),
            "{text}"
        );
        assert!(
            text.contains("program   connect4                    not attached\n"),
            "{text}"
        );
        assert!(text.contains("its cordon is dead"), "{text}");
    }

    #[test]
    fn what_changed_is_counted_by_program() {
        let (before, mut after) = (sample(), sample());
        assert_eq!(changed(&before, &after), 0);
        after.hooks[0].1 = Some((3, 41));
        after.hooks[1].1 = Some((9, 42));
        assert_eq!(changed(&before, &after), 2);
    }
}
