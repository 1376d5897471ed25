//! The pages of the commands, from what the command line says of itself.

use anyhow::{Context as _, Result};
use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, roman};

use crate::page::{Page, entry, heading, paragraph, see_also, tidy};
use crate::words::{Piece, pieces};

/// What `cordon(1)` and others say of files: where the settings have no other place.
const FILES: [(&str, &str); 5] = [
    (
        "/etc/cordon/config.toml",
        "Settings of the host: cordon.toml(5).",
    ),
    (
        "/etc/cordon/profiles.d/NAME.toml",
        "The host's own profiles: cordon-profile(5). One that is called like a built-in profile stands in for it.",
    ),
    (
        "/var/lib/cordon",
        "Keys, evidence, records of jobs. Nothing there is ever removed by an upgrade or a removal of the package.",
    ),
    ("/run/cordon", "Locks."),
    (
        "/sys/fs/bpf/cordon",
        "Programs and maps in the kernel: they enforce also when no process of cordon lives.",
    ),
];

/// `CORDON_…` variables that are not options.
const VARIABLES: [(&str, &str); 2] = [
    ("CORDON_CONFIG", "The file of settings, as with `--config`."),
    (
        "CORDON_LOG",
        "What is logged to standard error: `error`, `warn`, `info`, `debug` or `trace`, also for a part, as in `cordon::dns=debug`.",
    ),
];

/// A page for the program, and one for each command and its commands.
pub(crate) fn pages(command: &Command, date: &str) -> Result<Vec<Page>> {
    let mut command = command.clone().disable_help_subcommand(true);
    command.build();
    let mut pages = Vec::new();
    add(&command, None, date, &mut pages)?;
    Ok(pages)
}

fn add(command: &Command, above: Option<&str>, date: &str, pages: &mut Vec<Page>) -> Result<()> {
    let name = name_of(command);
    pages.push(Page {
        name: format!("{name}.1"),
        text: page(command, &name, above, date)?,
    });
    for below in command
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
    {
        add(below, Some(&name), date, pages)?;
    }
    Ok(())
}

/// `cordon-profile-check`.
fn name_of(command: &Command) -> String {
    command
        .get_display_name()
        .unwrap_or_else(|| command.get_name())
        .to_owned()
}

fn page(command: &Command, name: &str, above: Option<&str>, date: &str) -> Result<String> {
    let man = Man::new(command.clone())
        .title(name)
        .section("1")
        .date(date)
        .source(format!("cordon {}", env!("CARGO_PKG_VERSION")))
        .manual("cordon");
    let mut text = Vec::new();
    let written = "cannot write to memory";
    man.render_title(&mut text).context(written)?;
    man.render_name_section(&mut text).context(written)?;
    let mut synopsis = Roff::new();
    heading(&mut synopsis, "SYNOPSIS");
    synopsis.text(usage(command));
    text.extend(synopsis.render().into_bytes());
    man.render_description_section(&mut text).context(written)?;
    if command.get_subcommands().next().is_some() {
        man.render_subcommands_section(&mut text).context(written)?;
    }
    man.render_options_section(&mut text).context(written)?;
    let text = String::from_utf8(text).context("a page that is no text")?;
    let mut roff = Roff::new();
    behind(&mut roff, command, name, above);
    Ok(tidy(&(emphasised(&text) + &roff.render())))
}

/// How the command is called, as its help says it; that of `clap_mangen` has no values and no `--`.
fn usage(command: &Command) -> Vec<Inline> {
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage:").trim();
    let called = command.get_bin_name().unwrap_or_default();
    match usage.strip_prefix(called) {
        Some(rest) => vec![bold(called), roman(rest)],
        None => vec![roman(usage)],
    }
}

/// What stands behind the options.
fn behind(roff: &mut Roff, command: &Command, name: &str, above: Option<&str>) {
    let said = command
        .get_after_long_help()
        .or_else(|| command.get_after_help())
        .map(ToString::to_string)
        .unwrap_or_default();
    let said = pieces(&said);
    let is_list = |piece: &&Piece| matches!(piece, Piece::Statuses(_));
    let first_list = said.iter().position(|piece| is_list(&piece));
    let (notes, statuses) = said.split_at(first_list.unwrap_or(said.len()));
    for (title, part) in [("NOTES", notes), ("EXIT STATUS", statuses)] {
        if !part.is_empty() {
            heading(roff, title);
            for piece in part {
                write(roff, piece);
            }
        }
    }
    if above.is_none() {
        for (title, list) in [("ENVIRONMENT", &VARIABLES[..]), ("FILES", &FILES)] {
            heading(roff, title);
            for (term, text) in list {
                entry(roff, vec![bold(*term)], text);
            }
        }
    }
    see_also(roff, &others(command, name, above));
}

fn write(roff: &mut Roff, piece: &Piece) {
    match piece {
        Piece::Paragraph(text) => paragraph(roff, text),
        Piece::Statuses(rows) => {
            for (status, meaning) in rows {
                if meaning.is_empty() {
                    paragraph(roff, status);
                } else {
                    entry(roff, vec![bold(status)], meaning);
                }
            }
        }
    }
}

/// The page above, those below, and the pages about files that a command reads.
fn others(command: &Command, name: &str, above: Option<&str>) -> Vec<(String, u8)> {
    let mut pages: Vec<(String, u8)> = Vec::new();
    pages.extend(above.map(|above| (above.to_owned(), 1)));
    let below = command
        .get_subcommands()
        .filter(|command| !command.is_hide_set());
    pages.extend(below.map(|command| (name_of(command), 1)));
    let formats = [("cordon-profile", 5), ("cordon.toml", 5), ("cordon", 8)];
    let formats = formats.map(|(name, section)| (name.to_owned(), section));
    if above.is_none() || name.starts_with("cordon-profile") || name == "cordon-run" {
        pages.extend(formats);
    } else {
        pages.extend(formats.into_iter().skip(1));
    }
    pages
}

/// Bold in place of backticks in text lines of a page; there are none in its macros.
fn emphasised(text: &str) -> String {
    let mut lines = String::with_capacity(text.len());
    for line in text.lines() {
        // A leading backtick would be escaped, as a quote is.
        let whole = line.matches('`').count().is_multiple_of(2);
        if whole && !line.starts_with('.') {
            for (index, part) in line.split('`').enumerate() {
                if index > 0 {
                    lines.push_str(if index.is_multiple_of(2) {
                        r"\fR"
                    } else {
                        r"\fB"
                    });
                }
                lines.push_str(part);
            }
        } else {
            lines.push_str(line);
        }
        lines.push('\n');
    }
    lines
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn cordon() -> Vec<Page> {
        pages(&cordon::cli::Cli::command(), "2026-01-31").unwrap()
    }

    #[test]
    fn every_command_has_a_page_and_every_page_says_what_it_does() {
        let pages = cordon();
        let names: Vec<&str> = pages.iter().map(|page| page.name.as_str()).collect();
        for name in ["cordon.1", "cordon-run.1", "cordon-profile-check.1"] {
            assert!(names.contains(&name), "{names:?}");
        }
        for Page { name, text } in &pages {
            let about = text
                .split(".SH NAME\n")
                .nth(1)
                .unwrap()
                .lines()
                .next()
                .unwrap();
            let (_, about) = about
                .split_once(r" \- ")
                .unwrap_or_else(|| panic!("{name}: {about}"));
            assert!(about.len() > 10, "{name}: {about}");
            assert!(!text.contains('`'), "{name} has a backtick: {text}");
        }
    }

    #[test]
    fn exit_statuses_are_a_list_of_their_own() {
        let pages = cordon();
        let run = pages
            .iter()
            .find(|page| page.name == "cordon-run.1")
            .unwrap();
        let (_, statuses) = run.text.split_once(".SH \"EXIT STATUS\"").unwrap();
        assert!(statuses.contains(".TP\n\\fB120\\fR\n"), "{statuses}");
    }

    #[test]
    fn no_list_of_statuses_is_lost() {
        let mut command = cordon::cli::Cli::command();
        command.build();
        for below in command.get_subcommands() {
            let help = below
                .get_after_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            let listed = help.lines().any(|line| line == "Exit status:");
            let found = pieces(&help)
                .iter()
                .any(|piece| matches!(piece, Piece::Statuses(rows) if rows.len() > 1));
            assert_eq!(listed, found, "{}", below.get_name());
        }
    }

    #[test]
    fn a_synopsis_says_what_must_be_given() {
        let pages = cordon();
        let run = pages
            .iter()
            .find(|page| page.name == "cordon-run.1")
            .unwrap();
        let line = r"\fBcordon run\fR [OPTIONS] \-\- <COMMAND>...";
        assert!(run.text.contains(line), "{}", run.text);
    }

    #[test]
    fn emphasis_leaves_macros_alone() {
        assert_eq!(emphasised("a `b` c\n.SH `x`\n"), "a \\fBb\\fR c\n.SH `x`\n");
    }
}
