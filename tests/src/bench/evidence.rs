//! Evidence of few and of many flows: how long it takes to seal and to verify, in which memory, and how large it is.
//!
//! Each side is a process of its own, so that its largest memory is its own. What hashes the same bytes and does
//! nothing else is the baseline.

use std::ffi::OsString;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use cordon::attribution::Chain as Processes;
use cordon::events::journal::Journal;
use cordon::report::chain::Chain;
use cordon::report::ocsf::{Context, Happening};
use cordon::report::signer::SigningKey;
use cordon::report::sink::{EvidenceDir, Sealing};
use cordon::report::statement::Subject;
use cordon::report::sweep::SweepReport;
use cordon::report::{Outcome, Report};
use cordon_ebpf::abi::address::Address;
use cordon_ebpf::abi::flow::FlowKey;
use cordon_ebpf::abi::record::Hook;
use cordon_ebpf::abi::ruleset::NO_RULE;
use cordon_ebpf::abi::verdict::{Reason, Verdict};
use jiff::Timestamp;
use nix::sys::resource::{UsageWho, getrusage};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use crate::bench::figures::{median, sorted, times};
use crate::harness::environment::Environment;

/// Flows of a job.
const FLOWS: [u32; 3] = [10, 10_000, 1_000_000];
/// Lines the kernel's table of flows has: what is beyond is counted, and is in the events.
const TABLE: u32 = 16_384;
/// Bytes of events that a host keeps of a job at most.
const EVENTS: u64 = 256 << 20;
/// The image that the job made.
const IMAGE: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

/// Reports of a job, as the agent's own tests have them.
const EGRESS: &str = include_str!("../../../agent/src/report/golden/egress-report.json");
const SWEEP: &str = include_str!("../../../agent/src/report/golden/secret-sweep.json");

/// Arguments of `bench-seal`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Flows of the job
    flows: u32,
    /// Where evidence, key and policy are to be
    folder: PathBuf,
}

/// What sealing took.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
struct Sealed {
    /// Seconds, for all events together, to write them down while the job runs.
    noting: f64,
    /// Seconds from the end of the job to its sealed evidence.
    sealing: f64,
    /// Largest resident memory of the process, KiB.
    memory: i64,
    /// Events that were kept.
    events: u64,
}

/// Measures and prints a table.
pub(super) fn run(environment: &Environment, rounds: u16) -> Result<()> {
    println!("evidence; medians of {rounds} rounds");
    println!(
        "  {:>9} {:>12} {:>12} {:>10} {:>12} {:>12} {:>10} {:>10}",
        "flows", "noting", "seal", "memory", "verify", "memory", "sha256sum", "verify is"
    );
    let mut sizes = Vec::new();
    for flows in FLOWS {
        let mut rows = Vec::new();
        for _ in 0..rounds {
            let base = TempDir::new()?;
            rows.push(one(environment, flows, base.path())?);
            if rows.len() == 1 {
                sizes.push((flows, files(&base.path().join("evidence"))?));
            }
        }
        let of = |figure: fn(&Row) -> f64| median(&sorted(rows.iter().map(figure)));
        println!(
            "  {flows:>9} {:>9.1} ms {:>9.1} ms {:>6.0} MiB {:>9.1} ms {:>8.0} MiB {:>7.1} ms {:>10}",
            of(|row| row.sealed.noting * 1e3),
            of(|row| row.sealed.sealing * 1e3),
            of(|row| mebibytes(row.sealed.memory)),
            of(|row| row.verifying * 1e3),
            of(|row| mebibytes(row.memory)),
            of(|row| row.hashing * 1e3),
            times(of(|row| row.verifying / row.hashing)),
        );
        let kept = rows.first().map_or(0, |row| row.sealed.events);
        println!("            {kept} events kept of {flows} flows and the job's begin and end");
    }
    println!("bytes of each file");
    for (flows, files) in sizes {
        println!("  {flows} flows");
        for (name, bytes) in files {
            println!("    {name:<30} {bytes:>12}");
        }
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "memory far below 2^52 KiB")]
fn mebibytes(kib: i64) -> f64 {
    kib as f64 / 1024.0
}

/// One round.
struct Row {
    sealed: Sealed,
    verifying: f64,
    /// Of the verifier, KiB.
    memory: i64,
    hashing: f64,
}

fn one(environment: &Environment, flows: u32, folder: &Path) -> Result<Row> {
    let output = Command::new(&environment.own)
        .args(["bench-seal", &flows.to_string()])
        .arg(folder)
        .stderr(Stdio::inherit())
        .output()?;
    ensure!(output.status.success(), "sealing failed");
    let sealed = serde_json::from_slice(&output.stdout)?;
    let evidence = folder.join("evidence");
    let sign = ["key", "sign-policy"].map(OsString::from);
    let sign = [&[environment.cordon()?.into()], sign.as_slice()].concat();
    let policy = folder.join("policy.toml");
    let by = ["--key".into(), folder.join("policy.pem").into()];
    took(
        environment,
        &[sign.as_slice(), &[policy.clone().into()], &by].concat(),
    )?;
    let words: [OsString; 9] = [
        environment.cordon()?.into(),
        "verify".into(),
        evidence.clone().into(),
        "--subject".into(),
        format!("sha256:{IMAGE}").into(),
        "--policy".into(),
        policy.into(),
        "--policy-key".into(),
        folder.join("policy.pem.pub").into(),
    ];
    let verified = took(environment, &words)?;
    let names = files(&evidence)?.into_iter();
    let names = names.map(|(name, _)| evidence.join(name).into_os_string());
    let hash: Vec<OsString> = std::iter::once("sha256sum".into()).chain(names).collect();
    let hashed = took(environment, &hash)?;
    Ok(Row {
        sealed,
        verifying: verified.seconds,
        memory: verified.memory,
        hashing: hashed.seconds,
    })
}
/// What a program took.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
struct Took {
    seconds: f64,
    /// Largest resident memory, KiB.
    memory: i64,
}

/// Arguments of `bench-child`.
#[derive(clap::Args, Debug)]
pub struct ChildArgs {
    /// Program and arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

/// Runs a program and prints what it took; a process of its own, whose only child it is.
pub fn child(args: &ChildArgs) -> Result<ExitCode> {
    let (program, arguments) = args.command.split_first().context("no program")?;
    let began = Instant::now();
    let status = Command::new(program)
        .args(arguments)
        .stdout(Stdio::null())
        .status()?;
    ensure!(status.success(), "{}: {status}", program.display());
    let took = Took {
        seconds: began.elapsed().as_secs_f64(),
        memory: getrusage(UsageWho::RUSAGE_CHILDREN)?.max_rss(),
    };
    println!("{}", serde_json::to_string(&took)?);
    Ok(ExitCode::SUCCESS)
}

fn took(environment: &Environment, words: &[OsString]) -> Result<Took> {
    let output = Command::new(&environment.own)
        .args(["bench-child", "--"])
        .args(words)
        .stderr(Stdio::inherit())
        .output()?;
    ensure!(output.status.success(), "{words:?} failed");
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Names and sizes of the files of a directory, in order.
fn files(folder: &Path) -> Result<Vec<(String, u64)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        files.push((name, entry.metadata()?.len()));
    }
    files.sort();
    Ok(files)
}

/// Seals the evidence of a job with so many flows, and prints what it took.
pub fn seal(args: &Args) -> Result<ExitCode> {
    let Args { flows, folder } = args;
    fs::create_dir_all(folder)?;
    let key = SigningKey::generate()?;
    fs::write(folder.join("policy.toml"), policy(&key)?)?;
    SigningKey::generate()?.save(&folder.join("policy.pem"))?;
    let egress = egress(*flows)?;
    let mut sweep: SweepReport = serde_json::from_str(SWEEP)?;
    sweep.job = Some(egress.job.clone());
    let journal = Journal::begin(
        folder.join("events"),
        Context {
            job: egress.job.id.clone(),
            host: "runner-3.test".into(),
            policy: egress.policy.name.clone(),
        },
        EVENTS,
    )?;
    let began = Instant::now();
    note(&journal, *flows, egress.job.outcome);
    let noting = began.elapsed().as_secs_f64();
    let evidence = EvidenceDir::prepare(&folder.join("evidence"))?;
    let began = Instant::now();
    let kept = journal.close()?.context("no journal")?;
    evidence.seal(
        &egress,
        Some(&sweep),
        Sealing {
            key: &key,
            chain: &Chain::new(&folder.join("state"), key.public()),
            host: "runner-3.test",
            artefacts: &[Subject::new("registry.test/app", IMAGE)],
            events: Some(&kept),
        },
    )?;
    let sealed = Sealed {
        noting,
        sealing: began.elapsed().as_secs_f64(),
        memory: getrusage(UsageWho::RUSAGE_SELF)?.max_rss(),
        events: kept.facts.lines,
    };
    println!("{}", serde_json::to_string(&sealed)?);
    Ok(ExitCode::SUCCESS)
}

/// A policy that accepts the evidence.
fn policy(key: &SigningKey) -> Result<String> {
    let (id, pem) = (key.public().id(), key.public().to_pem()?);
    Ok(format!(
        "name = \"bench\"\n[[key]]\nrole = \"report\"\nfingerprint = \"{id}\"\npem = \"\"\"\n{pem}\"\"\"\n\
         [evidence]\nmax_age = \"1h\"\n[run]\ndenied_then_allowed = \"allow\"\n[sweep]\nfindings = \"allow\"\n\
         [allowed]\nlosses = 99999999\ninterruptions = 99\nsweep_gaps = 99\n"
    ))
}

/// A report with so many flows, half of them refused; no more than the kernel's table has lines.
fn egress(flows: u32) -> Result<Report> {
    let mut report: Report = serde_json::from_str(EGRESS)?;
    report.job.outcome = Outcome::Exited { code: 0 };
    report.job.started = Timestamp::now();
    report.job.finished = Timestamp::now();
    report.limits = None;
    report.interruptions.clear();
    let listed = flows.min(TABLE);
    let denial = report.denials.first().context("no denial")?.clone();
    let flow = report.flows.first().context("no flow")?.clone();
    report.denials = (0..listed / 2)
        .map(|number| {
            let mut denial = denial.clone();
            denial.destination.address = address(number).into();
            denial
        })
        .collect();
    report.flows = (listed / 2..listed)
        .map(|number| {
            let mut flow = flow.clone();
            flow.destination.address = address(number).into();
            flow
        })
        .collect();
    report.losses.flows = u64::from(flows.saturating_sub(listed));
    Ok(report)
}

fn address(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 0, 0, 0)) | number)
}

/// Writes each flow down as the event that it was.
fn note(journal: &Journal, flows: u32, outcome: Outcome) {
    let chain = Processes {
        tgid: 4201,
        executables: ["/usr/bin/curl", "/bin/sh", "/usr/bin/make"]
            .map(Into::into)
            .into(),
    };
    let names = ["files.example.com".to_owned()];
    journal.now(&Happening::Started {
        mode: "enforce",
        ruleset: "5e",
    });
    for number in 0..flows {
        let flow = FlowKey {
            address: Address::from_v4(address(number).octets()),
            port: 443,
            protocol: 6,
            verdict: Verdict::DENY,
            reason: Reason::NO_RULE,
            reserved: [0; 7],
            rule: NO_RULE,
        };
        journal.now(&Happening::Connection {
            flow: &flow,
            hook: Hook::CONNECT4,
            names: &names,
            shown: None,
            chain: &chain,
            user: Some(1000),
        });
    }
    journal.now(&Happening::Ended { outcome });
    journal.flush();
}
