//! `--check-systemd`: the package on a machine with systemd, emulated.
//!
//! What a package does is mostly done by systemd, and a root without one shows nothing of it. The guest is
//! a small root of Debian as its first file system; `packaging/check/guest.py` does the work inside.

use std::fs::File;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::check::{SCRIPTS, older};
use super::root::Root;
use super::{Packages, Recipe, copy};
use crate::exec::step;
use crate::{privilege, setup, vm};

const ROOT: Root = Root {
    name: "guest",
    packages: &["iproute2", "procps", "python3-minimal", "systemd"],
    // All of it is in the memory of the guest.
    paths: &[
        "path-exclude=/usr/share/doc/*",
        "path-exclude=/usr/share/info/*",
        "path-exclude=/usr/share/locale/*",
        "path-exclude=/usr/share/man/*",
        "path-include=/usr/share/doc/cordon/*",
    ],
};

/// The oldest kernel that is supported.
const KERNEL: &str = "6.1";

/// Four minutes where two guests share two processors.
const TIMEOUT: Duration = Duration::from_mins(15);

/// What would wait for devices or write to the console.
const MASKED: [&str; 3] = [
    "getty@tty1.service",
    "serial-getty@ttyS0.service",
    "systemd-timesyncd.service",
];

pub(super) fn check(recipe: &Recipe, packages: &Packages) -> Result<()> {
    if !privilege::is_root() {
        bail!("the check makes a root: run `cargo xtask package --check-systemd` as root");
    }
    setup::install(&["cpio"])?;
    let older = step("an older package", || older(recipe))?;
    let root = recipe.folder.join("guest");
    let archive = recipe.folder.join("guest.cpio");
    step("the file system of the guest", || {
        ROOT.unpack(&root)?;
        fill(recipe, &root, &older, &packages.deb)?;
        pack(&root, &archive)
    })?;
    setup::remove(&root)?;
    let tally = vm::boot(KERNEL, "systemd", archive, TIMEOUT)?;
    println!(
        "{} passed, {} failed, {} skipped",
        tally.passed, tally.failed, tally.ignored
    );
    Ok(())
}

fn fill(recipe: &Recipe, root: &Path, older: &Path, deb: &Path) -> Result<()> {
    let scripts = recipe.root.join(SCRIPTS);
    let units = root.join("etc/systemd/system");
    let wanted = units.join("multi-user.target.wants");
    copy(older, &root.join("check/old.deb"))?;
    copy(deb, &root.join("check/new.deb"))?;
    for name in ["guest.py", "tally.py"] {
        copy(&scripts.join(name), &root.join("check").join(name))?;
    }
    copy(&scripts.join("check.service"), &units.join("check.service"))?;
    super::make(&wanted)?;
    let link = |to: &str, from: &Path| {
        symlink(to, from).with_context(|| format!("cannot make `{}`", from.display()))
    };
    link(
        "/etc/systemd/system/check.service",
        &wanted.join("check.service"),
    )?;
    for name in MASKED {
        link("/dev/null", &units.join(name))?;
    }
    setup::remove(&root.join("var/lib/apt/lists"))?;
    link("lib/systemd/systemd", &root.join("init"))
}

/// The archive that the kernel unpacks; cpio knows links, owners and modes.
fn pack(root: &Path, archive: &Path) -> Result<()> {
    let file = File::create(archive).context("cannot make the archive of the guest")?;
    let mut cpio = Command::new("sh");
    cpio.current_dir(root)
        .args([
            "-c",
            "find . -print0 | cpio --null --create --format=newc --quiet",
        ])
        .stdout(file);
    let status = cpio.status().context("cannot start sh")?;
    if !status.success() {
        bail!("cpio ended with {status}");
    }
    Ok(())
}
