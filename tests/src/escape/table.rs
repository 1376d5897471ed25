//! Shows rows: on the terminal, as lines for the program that collects them, as a page.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};

use super::case::Case;
use super::judge::{Outcome, Privilege, Row};

/// In front of each row that `cargo xtask escape` keeps.
const MARK: &str = "escape: ";

/// How many ended how.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Counts {
    stopped: usize,
    arrived: usize,
    not_possible: usize,
    unproven: usize,
}

impl Counts {
    fn of<'r, I>(rows: I) -> Self
    where
        I: IntoIterator<Item = &'r Row>,
    {
        let mut counts = Self::default();
        for row in rows {
            *match row.outcome {
                Outcome::Stopped => &mut counts.stopped,
                Outcome::Arrived => &mut counts.arrived,
                Outcome::NotPossible => &mut counts.not_possible,
                Outcome::Unproven => &mut counts.unproven,
            } += 1;
        }
        counts
    }
}

/// Prints all rows and the count; fails if anything got out or nothing was proved.
pub fn print(rows: &[Row]) -> Result<ExitCode> {
    let wide = rows
        .iter()
        .map(|row| row.id.len())
        .max()
        .unwrap_or_default();
    for row in rows {
        println!(
            "{:wide$}  {:4}  {:12}  {}",
            row.id,
            row.privilege.name(),
            word(row.outcome),
            details(row)
        );
    }
    for row in rows {
        println!("{MARK}{}", serde_json::to_string(row)?);
    }
    let Counts {
        stopped,
        arrived,
        not_possible,
        unproven,
    } = Counts::of(rows);
    let frames: usize = rows.iter().map(|row| row.arrived).sum();
    println!(
        "\n{stopped} stopped, {arrived} arrived ({frames} frames), {not_possible} not possible \
         here, {unproven} unproven"
    );
    let failed = arrived + unproven;
    println!("{stopped} passed, {failed} failed, {not_possible} skipped");
    Ok(if failed == 0 && stopped > 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

const fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Stopped => "stopped",
        Outcome::Arrived => "ARRIVED",
        Outcome::NotPossible => "not possible",
        Outcome::Unproven => "UNPROVEN",
    }
}

fn details(row: &Row) -> String {
    let Row {
        outcome,
        by,
        error,
        arrived,
        control,
        ..
    } = row;
    match outcome {
        Outcome::Stopped => format!("by {by}; saw {error}; {arrived} frames, free: {control}"),
        Outcome::Arrived => format!("{arrived} frames; saw {error}; free: {control}"),
        Outcome::NotPossible => format!("free: {by}"),
        Outcome::Unproven => format!("{by}; saw {error}; {arrived} frames, free: {control}"),
    }
}

/// Reads stored results and writes the page, or prints it.
pub fn render(cases: &[Case], files: &[PathBuf], page: Option<&Path>) -> Result<ExitCode> {
    let mut rows = Vec::new();
    for file in files {
        let context = || format!("results in {}", file.display());
        let text = std::fs::read_to_string(file).with_context(context)?;
        let stored: Vec<Row> = serde_json::from_str(&text).with_context(context)?;
        rows.extend(stored);
    }
    let text = markdown(cases, &rows)?;
    match page {
        None => println!("{text}"),
        Some(page) => {
            std::fs::write(page, text).with_context(|| format!("write {}", page.display()))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Rows by kernel, then case, then privilege.
type Results<'r> = BTreeMap<Release, BTreeMap<&'r str, BTreeMap<Privilege, &'r Row>>>;

/// A kernel release, in the order of its numbers.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Release {
    numbers: Vec<u64>,
    text: String,
}

impl Release {
    fn new(text: &str) -> Self {
        let digits = text.split(|character: char| !character.is_ascii_digit());
        Self {
            numbers: digits.filter_map(|part| part.parse().ok()).collect(),
            text: text.to_owned(),
        }
    }
}

const HEAD: &str = "\
# Escapes

This page is made by `cargo xtask escape --write-docs` from what the suite found; do not edit it.
`cargo xtask escape` runs the suite as root, `cargo xtask vm --escape --kernel 6.1` runs it on another
kernel. Each technique is tried without cordon (the control: it must arrive), as a job of an
unprivileged user and as a job of root, while packet sockets on all other machines count every frame.

*Stopped by* names what refused it, from the signed report: hooks with their reason, or a layer of the
report's coverage that leaves no record. *Not possible* is a technique that does not work on that kernel
and with that privilege even without cordon, with the error it meets; it is counted apart.
";

fn markdown(cases: &[Case], rows: &[Row]) -> Result<String> {
    let known: BTreeSet<&str> = cases.iter().map(|case| case.id).collect();
    let mut results = Results::new();
    for row in rows {
        ensure!(
            known.contains(row.id.as_str()),
            "results of {} have the case `{}`, which is no more: run the suite there again",
            row.kernel,
            row.id
        );
        let of_kernel = results.entry(Release::new(&row.kernel)).or_default();
        let of_case = of_kernel.entry(row.id.as_str()).or_default();
        of_case.insert(row.privilege, row);
    }
    for (kernel, of_kernel) in &results {
        for id in &known {
            ensure!(
                of_kernel.get(id).is_some_and(|row| row.len() == 2),
                "results of {} lack the case `{id}`: run the suite there again",
                kernel.text
            );
        }
    }
    let mut page = HEAD.to_owned();
    summary(&mut page, &results)?;
    matrix(&mut page, cases, &results)?;
    for (kernel, of_kernel) in results.iter().rev() {
        writeln!(page, "\n## Linux {}\n", kernel.text)?;
        page += "| case | as | outcome | stopped by | program saw | frames | control |\n";
        page += "| --- | --- | --- | --- | --- | --- | --- |\n";
        for case in cases {
            for row in of_kernel
                .get(case.id)
                .into_iter()
                .flat_map(BTreeMap::values)
            {
                writeln!(
                    page,
                    "| `{}` | {} | {} | {} | {} | {} | {} |",
                    row.id,
                    row.privilege.name(),
                    word(row.outcome),
                    cell(&row.by),
                    cell(&row.error),
                    row.arrived,
                    cell(&row.control)
                )?;
            }
        }
    }
    Ok(page)
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn summary(page: &mut String, results: &Results<'_>) -> Result<()> {
    *page +=
        "\n## Count\n\n| kernel | as | tried | stopped | arrived | not possible | unproven |\n";
    *page += "| --- | --- | --- | --- | --- | --- | --- |\n";
    for (kernel, of_kernel) in results {
        for privilege in Privilege::ALL {
            let rows = of_kernel.values().filter_map(|of| of.get(&privilege));
            let Counts {
                stopped,
                arrived,
                not_possible,
                unproven,
            } = Counts::of(rows.copied());
            writeln!(
                page,
                "| {} | {} | {} | {stopped} | {arrived} | {not_possible} | {unproven} |",
                kernel.text,
                privilege.name(),
                stopped + arrived + not_possible + unproven
            )?;
        }
    }
    Ok(())
}

fn matrix(page: &mut String, cases: &[Case], results: &Results<'_>) -> Result<()> {
    *page += "\n## Techniques\n\nEach cell: as a user / as root.\n\n| case | technique | id |";
    for kernel in results.keys() {
        write!(page, " {} |", kernel.text)?;
    }
    *page += "\n| --- | --- | --- |";
    *page += &" --- |".repeat(results.len());
    *page += "\n";
    for case in cases {
        let ids = case.catalogue.join(", ");
        write!(page, "| `{}` | {} | {ids} |", case.id, cell(case.technique))?;
        for of_kernel in results.values() {
            let words: Vec<&str> = of_kernel
                .get(case.id)
                .into_iter()
                .flat_map(BTreeMap::values)
                .map(|row| word(row.outcome))
                .collect();
            write!(page, " {} |", words.join(" / "))?;
        }
        *page += "\n";
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::cases;
    use super::*;

    #[test]
    fn the_page_has_every_case_of_the_catalogue_and_no_other() {
        let page = include_str!("../../../docs/escapes.md");
        let after = page.split("## Techniques").nth(1).unwrap();
        let table = after.split("\n## ").next().unwrap();
        let on_page: Vec<&str> = table
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
            .collect();
        let cases = cases::all();
        let catalogue: Vec<&str> = cases.iter().map(|case| case.id).collect();
        assert_eq!(
            on_page, catalogue,
            "docs/escapes.md is out of date: `cargo xtask escape --write-docs`"
        );
    }

    fn row(id: &str, outcome: Outcome) -> Row {
        Row {
            kernel: "6.1.0".to_owned(),
            id: id.to_owned(),
            privilege: Privilege::Root,
            outcome,
            by: String::new(),
            error: String::new(),
            arrived: 0,
            control: String::new(),
        }
    }

    #[test]
    fn results_of_another_catalogue_are_refused() {
        let cases = cases::all();
        markdown(&cases, &[row("no-such-case", Outcome::Stopped)]).unwrap_err();
        markdown(&cases, &[row(cases[0].id, Outcome::Stopped)]).unwrap_err();
    }

    #[test]
    fn only_stopped_cases_without_a_failure_are_success() {
        let of = |outcomes: &[Outcome]| {
            let rows: Vec<Row> = outcomes.iter().map(|outcome| row("x", *outcome)).collect();
            print(&rows).unwrap()
        };
        let debug = |code: ExitCode| format!("{code:?}");
        let success = debug(ExitCode::SUCCESS);
        assert_eq!(
            debug(of(&[Outcome::Stopped, Outcome::NotPossible])),
            success
        );
        for bad in [
            &[Outcome::Stopped, Outcome::Arrived][..],
            &[Outcome::Stopped, Outcome::Unproven],
            &[Outcome::NotPossible],
            &[],
        ] {
            assert_ne!(debug(of(bad)), success);
        }
    }

    #[test]
    fn releases_are_in_the_order_of_their_numbers() {
        assert!(Release::new("6.1.0-56-cloud") < Release::new("6.12.3"));
    }
}
