//! `cargo xtask vm`: the stories on other kernels.
//!
//! A kernel of Debian is unpacked (never installed), an initramfs is made that holds busybox, the
//! agent, the stories and the libraries they ask for, and QEMU boots both by pure emulation, which
//! needs no KVM and no root. The guest's console is shown line by line; one line of it is the
//! verdict. Failures are collected over all kernels.

use std::ffi::OsString;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};

use self::guest::Guest;
use self::kernel::Kernel;
use self::matrix::Told;
use self::share::Share;
use crate::exec::step;
use crate::test::Tally;
use crate::{build, escape, setup, workspace};

mod archive;
mod guest;
mod initramfs;
mod kernel;
mod matrix;
mod share;

/// Kernels that are supported and tested besides the machine's own: Debian's old stable, stable and
/// newest.
const ALL: [&str; 3] = ["6.1", "6.12", kernel::NEWEST];

/// MiB of a guest that runs stories.
const MEMORY: u32 = 1500;

/// Run the stories on Debian kernels in QEMU.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// A kernel series of Debian, `newest`, or `all`; may be given several times
    #[arg(long = "kernel", default_value = "6.1", value_name = "SERIES")]
    kernels: Vec<String>,
    /// Guests at once, each with its share of the stories; as many as processors without it
    #[arg(long, value_name = "NUMBER")]
    guests: Option<usize>,
    /// What one guest may take before it is ended; three times as much for the escape suite
    #[arg(long, default_value_t = 600, value_name = "SECONDS")]
    timeout: u64,
    /// Run the escape suite instead of the stories, and keep its results
    #[arg(long)]
    escape: bool,
    /// What is passed on to the stories: a filter, mostly
    #[arg(last = true)]
    arguments: Vec<OsString>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    setup::stories()?;
    setup::emulator()?;
    let built = build::build(&build::Options { release: false })?;
    let (mut failed, mut table) = (Vec::new(), Vec::new());
    for series in series(&options.kernels) {
        let mut told = Told::default();
        if let Err(error) = run_on(series, &built, options, &mut told) {
            eprintln!("kernel {series}: {error:#}");
            failed.push(series);
        }
        table.push((series.to_owned(), told));
    }
    if !options.escape {
        println!("\n{}", matrix::table(&table));
    } else if options.arguments.is_empty() {
        escape::show(&built)?;
    }
    if !failed.is_empty() {
        bail!("failed on kernel {}", failed.join(", "));
    }
    Ok(())
}

/// Version of the unpacked kernel of a series, and the folder of its modules.
pub(crate) fn modules(series: &str) -> Result<(String, PathBuf)> {
    let folder = workspace::target()?.join("vm").join(series);
    let kernel = kernel::obtain(series, &folder, false)?;
    Ok((kernel.version, kernel.folder))
}

/// Boots a file system of another task on a kernel of this series, and takes its verdict. `memory` is in MiB.
pub(crate) fn boot(
    series: &str,
    name: &str,
    initramfs: PathBuf,
    memory: u32,
    timeout: Duration,
) -> Result<Tally> {
    setup::emulator()?;
    let folder = workspace::target()?.join("vm").join(series);
    let kernel = step(&format!("kernel {series}"), || {
        kernel::obtain(series, &folder, false)
    })?;
    let guest = Guest {
        name: name.to_owned(),
        initramfs,
        memory,
        stories: None,
        keeps: false,
    };
    step(&format!("{name} on Linux {}", kernel.version), || {
        guest.run(&kernel, timeout, &mut Told::default())
    })
}

/// The series that were asked for; `all` stands for each that is supported and tested.
fn series(asked: &[String]) -> Vec<&str> {
    let each = |name: &'static str| -> &str { name };
    asked
        .iter()
        .flat_map(|series| match series.as_str() {
            "all" => ALL.map(each).to_vec(),
            one => vec![one],
        })
        .collect()
}

fn run_on(series: &str, built: &build::Built, options: &Options, told: &mut Told) -> Result<()> {
    let folder = workspace::target()?.join("vm").join(series);
    let kernel = step(&format!("kernel {series}"), || {
        kernel::obtain(series, &folder, options.escape)
    })?;
    let shares = if options.escape {
        vec![Share::escape(&options.arguments)]
    } else {
        share::shares(built, &options.arguments, options.guests)
    };
    let guests = step("initramfs", || {
        let pack = |(index, share): (usize, &Share)| {
            let name = if shares.len() == 1 {
                series.to_owned()
            } else {
                format!("{series} {}/{}", index.saturating_add(1), shares.len())
            };
            let path = folder.join(format!("initramfs-{index}.cpio"));
            initramfs::pack(&path, &kernel, built, &share.arguments)?;
            Ok(Guest {
                name,
                initramfs: path,
                memory: MEMORY,
                stories: share.stories,
                keeps: options.escape && options.arguments.is_empty(),
            })
        };
        shares
            .iter()
            .enumerate()
            .map(pack)
            .collect::<Result<Vec<_>>>()
    })?;
    // The suite is one batch of four runs that no second guest can share.
    let times = if options.escape { 3 } else { 1 };
    let timeout = Duration::from_secs(options.timeout.saturating_mul(times));
    let tally = step(&format!("stories on Linux {}", kernel.version), || {
        run_all(&kernel, &guests, timeout, told)
    })?;
    println!(
        "Linux {}: {} passed, {} failed, {} skipped",
        kernel.version, tally.passed, tally.failed, tally.ignored
    );
    Ok(())
}

/// Runs guests side by side; each that fails is named, and the others go on.
fn run_all(kernel: &Kernel, guests: &[Guest], timeout: Duration, told: &mut Told) -> Result<Tally> {
    let outcomes: Vec<(Result<Tally>, Told)> = thread::scope(|scope| {
        let running: Vec<_> = guests
            .iter()
            .map(|guest| {
                scope.spawn(|| {
                    let mut told = Told::default();
                    (guest.run(kernel, timeout, &mut told), told)
                })
            })
            .collect();
        running
            .into_iter()
            .map(|guest| {
                guest
                    .join()
                    .unwrap_or_else(|_| (Err(anyhow!("its thread panicked")), Told::default()))
            })
            .collect()
    });
    let mut tally = Tally::default();
    let mut failed = Vec::new();
    for (guest, (outcome, by_guest)) in guests.iter().zip(outcomes) {
        told.add(by_guest);
        match outcome {
            Ok(counted) => tally.add(counted),
            Err(error) => failed.push(format!("guest {}: {error:#}", guest.name)),
        }
    }
    if !failed.is_empty() {
        bail!("{}", failed.join("\n"));
    }
    Ok(tally)
}
