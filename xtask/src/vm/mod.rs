//! `cargo xtask vm`: the stories on other kernels.
//!
//! A kernel of Debian is unpacked (never installed), an initramfs is made that holds busybox, the
//! agent, the stories and the libraries they ask for, and QEMU boots both by pure emulation, which
//! needs no KVM and no root. The guest's console is shown line by line; one line of it is the
//! verdict. Failures are collected over all kernels.

use std::ffi::OsString;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::exec::step;
use crate::{build, setup, workspace};

mod archive;
mod guest;
mod initramfs;
mod kernel;

/// Run the stories on Debian kernels in QEMU.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// A kernel series of Debian; may be given several times
    #[arg(long = "kernel", default_value = "6.1", value_name = "SERIES")]
    kernels: Vec<String>,
    /// What one guest may take before it is ended
    #[arg(long, default_value_t = 600, value_name = "SECONDS")]
    timeout: u64,
    /// What is passed on to the stories: a filter, mostly
    #[arg(last = true)]
    arguments: Vec<OsString>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    setup::stories()?;
    setup::emulator()?;
    let built = build::build(&build::Options { release: false })?;
    let mut failed = Vec::new();
    for series in &options.kernels {
        if let Err(error) = run_on(series, &built, options) {
            eprintln!("kernel {series}: {error:#}");
            failed.push(series.as_str());
        }
    }
    if !failed.is_empty() {
        bail!("failed on kernel {}", failed.join(", "));
    }
    Ok(())
}

fn run_on(series: &str, built: &build::Built, options: &Options) -> Result<()> {
    let folder = workspace::target()?.join("vm").join(series);
    let kernel = step(&format!("kernel {series}"), || {
        kernel::obtain(series, &folder)
    })?;
    let initramfs = step("initramfs", || {
        initramfs::pack(&folder, &kernel, built, &options.arguments)
    })?;
    let timeout = Duration::from_secs(options.timeout);
    let tally = step(&format!("stories on Linux {}", kernel.version), || {
        guest::run(&kernel, &initramfs, timeout)
    })
    .with_context(|| format!("Linux {}", kernel.version))?;
    println!(
        "Linux {}: {} passed, {} failed",
        kernel.version, tally.passed, tally.failed
    );
    Ok(())
}
