//! Writes what a package holds beside programs and is made from their code: man pages, completions
//! for shells, and the default settings with comments.
//!
//! `cordon-manual FOLDER SECONDS` writes `man/`, `completions/` and `config.toml` into the folder.
//! SECONDS, since 1970, is the day in the pages: that of the last commit, so that every build writes the
//! same. A program of its own, because the tasks are built before there is a BPF toolchain, and the
//! agent is not.

#![expect(
    clippy::print_stderr,
    reason = "a program for the tasks talks to the person who runs them"
)]
#![expect(
    clippy::disallowed_methods,
    reason = "writes plain files; errors name the path by context"
)]

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::CommandFactory as _;
use clap_complete::Shell;
use jiff::Timestamp;
use jiff::tz::TimeZone;

mod commands;
mod keys;
mod page;
mod profile;
mod settings;
mod words;

use page::Page;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, seconds] = arguments.as_slice() else {
        bail!("usage: cordon-manual FOLDER SECONDS");
    };
    let seconds = seconds
        .parse()
        .with_context(|| format!("`{seconds}` is no number of seconds"))?;
    let date = date(seconds)?;
    let folder = Path::new(folder);
    let command = cordon::cli::Cli::command();
    let mut pages = commands::pages(&command, &date)?;
    pages.push(settings::page(&date));
    pages.push(profile::page(&date));
    pages.push(daemon(&date));
    for Page { name, text } in pages {
        write(&folder.join("man").join(name), text.as_bytes())?;
    }
    for (shell, name) in [
        (Shell::Bash, "cordon.bash"),
        (Shell::Zsh, "_cordon"),
        (Shell::Fish, "cordon.fish"),
    ] {
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut command.clone(), "cordon", &mut text);
        write(&folder.join("completions").join(name), &text)?;
    }
    write(&folder.join("config.toml"), settings::file().as_bytes())
}

/// The day, as in `2026-01-31`.
fn date(seconds: i64) -> Result<String> {
    let time = Timestamp::from_second(seconds).context("no time has this number of seconds")?;
    Ok(time.to_zoned(TimeZone::UTC).date().to_string())
}

/// cordon(8), which is written by hand: it is about what the commands share.
fn daemon(date: &str) -> Page {
    let text = include_str!("../../man/cordon.8");
    let version = env!("CARGO_PKG_VERSION");
    Page {
        name: "cordon.8".to_owned(),
        text: text.replace("@DATE@", date).replace("@VERSION@", version),
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().context("a file without a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("cannot make `{}`", folder.display()))?;
    fs::write(path, bytes).with_context(|| format!("cannot write `{}`", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_day_is_that_of_the_seconds_in_utc() {
        assert_eq!(date(0).unwrap(), "1970-01-01");
        assert_eq!(date(86_399).unwrap(), "1970-01-01");
        assert_eq!(date(86_400).unwrap(), "1970-01-02");
    }

    #[test]
    fn the_page_written_by_hand_has_its_date_and_version() {
        let Page { text, .. } = daemon("2026-01-31");
        assert!(text.contains("2026-01-31") && text.contains(env!("CARGO_PKG_VERSION")));
        assert!(!text.contains('@'), "{text}");
    }
}
