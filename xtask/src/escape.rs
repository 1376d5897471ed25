//! `cargo xtask escape`: every known way around enforcement, tried; and the page that says so.
//!
//! The stories' program tries them and prints one line of JSON for each; here the lines are kept, one
//! file for each kernel, and the page of the documentation is made from all files there are.

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::exec::{capture, run as execute, step};
use crate::{build, privilege, setup, workspace};

/// In front of each line that is kept.
const MARK: &str = "escape: ";

/// Try every known way around enforcement (as root).
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Only cases whose id holds this; then nothing is kept
    filter: Option<OsString>,
    /// Write docs/escapes.md from the results that were kept, instead of running
    #[arg(long, conflicts_with = "filter")]
    write_docs: bool,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    if options.write_docs {
        return write_docs();
    }
    setup::bpf_toolchain()?;
    setup::stories()?;
    let built = build::build(&build::Options { release: false })?;
    if !privilege::is_root() {
        bail!(
            "the suite makes namespaces, cgroups and BPF programs: run `cargo xtask escape` as root"
        );
    }
    let mut results = Results::default();
    let status = step("escape suite", || {
        let mut suite = built.stories()?;
        suite.arg("escape").args(&options.filter);
        pass_on(&mut suite, &mut results)
    })?;
    if options.filter.is_none() {
        let kernel = capture(Command::new("uname").arg("-r"))?;
        let file = results.keep(kernel.trim())?;
        eprintln!("results are in {}", file.display());
    }
    if !status {
        bail!("something got out, or a case did not prove itself");
    }
    Ok(())
}

/// Passes on what the suite says, without the lines that are kept. Returns whether it was content.
fn pass_on(suite: &mut Command, results: &mut Results) -> Result<bool> {
    let mut child = suite
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start the escape suite")?;
    let stdout = child.stdout.take().context("the suite has no output")?;
    for line in BufReader::new(stdout).lines() {
        let line = line.context("cannot read what the suite says")?;
        if !results.take(&line) {
            println!("{line}");
        }
    }
    Ok(child.wait().context("cannot wait for the suite")?.success())
}

/// Lines of results.
#[derive(Debug, Default)]
pub(crate) struct Results(Vec<String>);

impl Results {
    /// Takes the line if it is one of results.
    pub(crate) fn take(&mut self, line: &str) -> bool {
        let row = line.strip_prefix(MARK);
        self.0.extend(row.map(str::to_owned));
        row.is_some()
    }

    /// Writes them to the file of this kernel.
    pub(crate) fn keep(&self, kernel: &str) -> Result<PathBuf> {
        if self.0.is_empty() {
            bail!("the suite gave no results");
        }
        let folder = folder()?;
        fs::create_dir_all(&folder)
            .with_context(|| format!("cannot make `{}`", folder.display()))?;
        let file = folder.join(format!("{kernel}.json"));
        let text = format!("[\n{}\n]\n", self.0.join(",\n"));
        fs::write(&file, text).with_context(|| format!("cannot write `{}`", file.display()))?;
        Ok(file)
    }
}

fn folder() -> Result<PathBuf> {
    Ok(workspace::target()?.join("escape"))
}

fn write_docs() -> Result<()> {
    let built = build::build(&build::Options { release: false })?;
    let page = workspace::root()?.join("docs/escapes.md");
    let files = stored(&folder()?)?;
    let mut render = built.stories()?;
    render.arg("escape").arg("--page").arg(&page);
    execute(render.arg("--render").args(&files))?;
    eprintln!("{} is made from {} file(s)", page.display(), files.len());
    Ok(())
}

/// Prints one table of cases and kernels, from all results that were kept.
pub(crate) fn show(built: &build::Built) -> Result<()> {
    let mut render = built.stories()?;
    render.arg("escape").arg("--render");
    execute(render.args(stored(&folder()?)?))
}

fn stored(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| {
        format!(
            "no results in `{}`: `cargo xtask escape` and `cargo xtask vm --escape` make them",
            folder.display()
        )
    })?;
    let mut files: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "json")
        })
        .collect();
    files.sort();
    if files.is_empty() {
        bail!("no results in `{}`", folder.display());
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_marked_lines_are_results() {
        let mut results = Results::default();
        assert!(results.take(r#"escape: {"id":"x"}"#));
        assert!(!results.take("12 stopped"));
        assert_eq!(results.0, [r#"{"id":"x"}"#]);
    }

    #[test]
    fn no_results_are_not_kept() {
        Results::default().keep("6.1").unwrap_err();
    }
}
