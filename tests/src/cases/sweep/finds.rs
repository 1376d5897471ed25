//! What processes were started with is found, each and every one.

use anyhow::{Result, ensure};
use cordon::report::sweep::{Class, Finding, Verdict};

use super::{of_rule, planted, run, sweep_report};
use crate::harness::environment::Environment;
use crate::harness::world::World;

pub(super) fn short_lived(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let profile = world.profile("empty", "")?;
    let token = planted("github-pat")?.text;
    let text = format!("DEPLOY={token} /bin/true\n/bin/true --auth={token}\n");
    let finished = run(&world, &profile, &text)?.expect_status(0)?;
    let report = sweep_report(&finished)?;
    ensure!(report.verdict == Verdict::Findings, "{report:#?}");
    let of_token = |finding: &&Finding| finding.rule == "github-pat";
    let findings: Vec<&Finding> = report.findings.iter().filter(of_token).collect();
    let [first, second] = findings.as_slice() else {
        anyhow::bail!("{findings:#?}");
    };
    ensure!(
        first.fingerprint == second.fingerprint,
        "two names for one secret: {findings:#?}"
    );
    for finding in &findings {
        ensure!(
            finding.class == Class::Static && finding.seen_at_exec,
            "{finding:#?}"
        );
        let mut chains = finding.processes.iter().map(|process| &process.chain);
        ensure!(
            chains.all(|chain| chain.first().is_some_and(|path| path == "/bin/true")),
            "{finding:#?}"
        );
    }
    ensure!(
        finished.stderr.contains("github-pat") && !finished.stderr.contains(&token),
        "{}",
        finished.stderr
    );
    Ok(())
}

pub(super) fn clean(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let profile = world.profile("empty", "[secrets]\ninterval = \"1s\"\n")?;
    let text = "for i in 1 2 3; do /bin/true; done; sleep 2.5 & sleep 2.5; wait\n";
    let finished = run(&world, &profile, text)?.expect_status(0)?;
    let report = sweep_report(&finished)?;
    ensure!(report.verdict == Verdict::Clean, "{report:#?}");
    let coverage = &report.coverage;
    // The shell, three programs, two sleeps.
    ensure!(
        coverage.execs.seen == 6 && coverage.execs.whole == 6,
        "{coverage:#?}"
    );
    ensure!(
        coverage.processes.seen == coverage.processes.scanned,
        "{coverage:#?}"
    );
    ensure!(coverage.sweeps.len() >= 2, "{coverage:#?}");
    Ok(())
}

pub(super) fn many(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let profile = world.profile("empty", "")?;
    let token = planted("github-pat")?.text;
    let text =
        format!("i=0; while [ $i -lt 1000 ]; do DEPLOY={token} /bin/true; i=$((i+1)); done\n");
    let finished = run(&world, &profile, &text)?.expect_status(0)?;
    let report = sweep_report(&finished)?;
    let execs = &report.coverage.execs;
    ensure!(
        execs.seen + report.coverage.records_lost >= 1001,
        "{execs:?}"
    );
    ensure!(
        execs.seen == execs.whole + execs.completed_from_proc + execs.cut + execs.lost,
        "{execs:?}"
    );
    let finding = of_rule(&report, "github-pat")?;
    let sights: u64 = finding.processes.iter().map(|process| process.times).sum();
    ensure!(
        sights + finding.processes_omitted >= execs.whole - 1,
        "{sights} sights of {execs:?}"
    );
    Ok(())
}
