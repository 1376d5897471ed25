//! `cargo xtask test`: all tests, and a count of those that could not run here.

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::exec::{capture, cargo, step};
use crate::{build, privilege, runners, setup, workspace};

/// Run all tests: units everywhere, stories as root.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Only tests whose name holds one of these
    filters: Vec<OsString>,
}

/// The filter that asks for the checks of pages in a browser.
const PAGES: &str = "pages";

/// What was counted.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) ignored: u64,
    /// Programs that ended badly, whatever they counted.
    broken: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, other: Self) {
        let Self {
            passed,
            failed,
            ignored,
            broken,
        } = other;
        self.passed = self.passed.saturating_add(passed);
        self.failed = self.failed.saturating_add(failed);
        self.ignored = self.ignored.saturating_add(ignored);
        self.broken = self.broken.saturating_add(broken);
    }
}

pub(crate) fn run(options: &Options) -> Result<()> {
    // All that is missing is installed first, so that a long run does not end with a surprise.
    let mut ready = setup::bpf_toolchain().and_then(|_| setup::stories());
    if wants_engine(&options.filters) {
        ready = ready.and_then(|()| setup::engine());
    }
    if wants_metrics(&options.filters) {
        ready = ready.and_then(|()| setup::prometheus());
    }
    if wants_runners(&options.filters)
        && let Err(missing) = runners::setup()
    {
        eprintln!("{missing:#}");
        // They come from registries that a machine may not reach; their stories count as skipped, but not where
        // a change is judged.
        if std::env::var_os("CI").is_some() {
            ready = ready.and(Err(missing));
        }
    }
    let mut tally = Tally::default();
    tally.add(units(&options.filters)?);
    let not_run = stories(&options.filters, ready, &mut tally)?;
    if options.filters.is_empty() {
        tally.add(verifiers()?);
    }
    if options.filters.is_empty() || options.filters.iter().any(|filter| filter == PAGES) {
        tally.add(pages()?);
    }
    let Tally {
        passed,
        failed,
        ignored,
        broken,
    } = tally;
    if let Some(reason) = &not_run {
        eprintln!("\n!!! NOT RUN: {reason}");
    }
    if broken > 0 {
        eprintln!("\n{broken} test program(s) ended with an error");
    }
    println!(
        "\n{passed} passed, {failed} failed, {ignored} skipped{}",
        match not_run {
            Some(_) => ", the stories were NOT RUN",
            None => "",
        }
    );
    if failed > 0 || broken > 0 {
        bail!("tests failed");
    }
    if passed == 0 {
        bail!("no test was run: nothing has such a name");
    }
    Ok(())
}

/// Whether stories of metrics are among those that run.
fn wants_metrics(filters: &[OsString]) -> bool {
    let names = |filter: &OsString| filter.to_string_lossy().contains("metrics");
    filters.is_empty() || filters.iter().any(names)
}

/// Whether stories of real runners are among those that run.
fn wants_runners(filters: &[OsString]) -> bool {
    let names = |filter: &OsString| filter.to_string_lossy().contains("runners");
    filters.is_empty() || filters.iter().any(names)
}

/// Whether stories of containers are among those that run.
fn wants_engine(filters: &[OsString]) -> bool {
    let names = |filter: &OsString| filter.to_string_lossy().contains("containers");
    filters.is_empty() || filters.iter().any(names)
}

fn units(filters: &[OsString]) -> Result<Tally> {
    let mut tally = Tally::default();
    // The programs of `ebpf` do not link on the host; its library does.
    let selections: [&[&str]; 2] = [
        &["--workspace", "--exclude", "cordon-ebpf"],
        &["--package", "cordon-ebpf", "--lib"],
    ];
    for selection in selections {
        step(&format!("unit tests: {}", selection.join(" ")), || {
            let mut test = cargo()?;
            test.args(["test", "--no-fail-fast"]).args(selection);
            test.arg("--").args(filters);
            tally.add(count(&mut test)?);
            Ok(())
        })?;
    }
    Ok(tally)
}

/// Runs the stories, or gives the reason why not.
fn stories(filters: &[OsString], ready: Result<()>, tally: &mut Tally) -> Result<Option<String>> {
    if let Err(missing) = ready {
        return Ok(Some(format!(
            "the stories, since something is missing\n{missing:#}"
        )));
    }
    let built = build::build(&build::Options { release: false })?;
    if !privilege::is_root() {
        let list = capture(built.stories()?.arg("--list")).unwrap_or_default();
        let number = list.lines().filter(|line| line.ends_with(": test")).count();
        return Ok(Some(format!(
            "{number} stories, since they make namespaces, cgroups and BPF programs: run `cargo \
             xtask test` as root"
        )));
    }
    step("stories", || {
        // The stories take one filter at a time.
        let all = [None];
        let each: Vec<_> = filters.iter().map(Some).collect();
        for filter in if each.is_empty() { &all[..] } else { &each } {
            tally.add(count(built.stories()?.args(*filter))?);
        }
        Ok(())
    })?;
    Ok(None)
}

/// Has our evidence judged by verifiers that are not ours; needs the agent, not its programs.
fn verifiers() -> Result<Tally> {
    judged("foreign verifiers", "verifiers")
}

/// Has the page of our evidence judged by a browser and by axe.
fn pages() -> Result<Tally> {
    if let Err(missing) = setup::pages() {
        eprintln!("{missing:#}");
    }
    judged("pages in a browser", PAGES)
}

/// Runs the script of a folder of `tests`, which judges what the agent makes.
fn judged(title: &str, name: &str) -> Result<Tally> {
    let script = workspace::root()?.join("tests").join(name).join("run.py");
    let folder = workspace::target()?.join(name);
    let built = build::build_what_can_be(&build::Options { release: false })?;
    step(title, || {
        let mut verifiers = Command::new("python3");
        verifiers
            .current_dir(workspace::root()?)
            .arg(&script)
            // Some come from registries that a machine may not reach; those count as skipped, but
            // not where a change is judged.
            .args(
                std::env::var_os("CI")
                    .is_none()
                    .then_some("--allow-missing"),
            )
            .args([&built.agent, &folder]);
        count(&mut verifiers)
    })
}

/// Runs a test program, passes its output on and adds up its results.
fn count(command: &mut Command) -> Result<Tally> {
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", command.get_program().display()))?;
    let stdout = child
        .stdout
        .take()
        .context("a test program without output")?;
    let mut tally = Tally::default();
    for line in BufReader::new(stdout).split(b'\n') {
        let line = line.context("cannot read the output of a test program")?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        if let Some(result) = parse_result(&line) {
            tally.add(result);
        }
    }
    let status = child.wait().context("cannot wait for a test program")?;
    if !status.success() && tally.failed == 0 {
        tally.broken = 1;
    }
    Ok(tally)
}

/// Reads `test result: ok. 3 passed; 0 failed; 1 ignored; …`, or `3 passed, 0 failed` alone.
pub(crate) fn parse_result(line: &str) -> Option<Tally> {
    let counts = line.strip_prefix("test result: ").unwrap_or(line);
    let mut tally = Tally::default();
    let mut words = 0_u8;
    for part in counts.split(['.', ';', ',']) {
        let Some((number, word)) = part.trim().split_once(' ') else {
            continue;
        };
        let place = match word {
            "passed" => &mut tally.passed,
            "failed" => &mut tally.failed,
            "ignored" | "skipped" => &mut tally.ignored,
            _ => continue,
        };
        *place = number.parse().ok()?;
        words = words.saturating_add(1);
    }
    (words >= 2).then_some(tally)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_result_line_of_a_test_program_is_counted() {
        let line = "test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 4 filtered out; finished in 0.01s";
        assert_eq!(
            parse_result(line),
            Some(Tally {
                passed: 12,
                failed: 3,
                ignored: 1,
                broken: 0
            })
        );
    }

    #[test]
    fn the_closing_line_of_a_script_is_counted() {
        let tally = parse_result("17 passed, 2 failed, 1 skipped").unwrap();
        assert_eq!((tally.passed, tally.failed, tally.ignored), (17, 2, 1));
    }

    #[test]
    fn other_lines_count_nothing() {
        assert_eq!(parse_result("test a_test ... ok"), None);
        assert_eq!(parse_result("test result: strange"), None);
        assert_eq!(parse_result("it passed, and none failed"), None);
    }
}
