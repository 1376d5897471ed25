//! `--check-systemd` and `--check-containers`: the package on machines with systemd, emulated.
//!
//! What a package does is mostly done by systemd, and a root without one shows nothing of it. A guest is
//! a small root of Debian as its first file system; a script of `packaging/check` does the work inside.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::check::{SCRIPTS, older};
use super::root::Root;
use super::{Packages, Recipe, copy};
use crate::exec::{run_quietly, step};
use crate::{privilege, setup, vm};

/// All of it is in the memory of the guest.
const PATHS: &[&str] = &[
    "path-exclude=/usr/share/doc/*",
    "path-exclude=/usr/share/info/*",
    "path-exclude=/usr/share/locale/*",
    "path-exclude=/usr/share/man/*",
    "path-include=/usr/share/doc/cordon/*",
];

/// A machine to check the package on.
#[derive(Debug)]
pub(super) struct Machine {
    root: Root,
    /// What it does, of `packaging/check`.
    script: &'static str,
    /// MiB.
    memory: u32,
    /// Its kernel finds modules, and its root is one that processes can leave for another: what container runtimes
    /// ask of a machine.
    runs_containers: bool,
}

/// The life of a package, from its first install to its purge.
pub(super) const SYSTEMD: Machine = Machine {
    root: Root {
        name: "guest",
        packages: &["iproute2", "procps", "python3-minimal", "systemd"],
        paths: PATHS,
    },
    script: "guest.py",
    memory: 1500,
    runs_containers: false,
};

/// Jobs with containers, on a host with cgroup v2 alone and Docker as Debian sets it up.
pub(super) const CONTAINERS: Machine = Machine {
    root: Root {
        name: "containers",
        packages: &[
            "busybox-static",
            "docker.io",
            "iproute2",
            "iptables",
            "kmod",
            "procps",
            "python3",
            "systemd",
        ],
        paths: PATHS,
    },
    script: "containers.py",
    // Its root is copied once, before the first one is let go.
    memory: 4000,
    runs_containers: true,
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

/// Folders of modules that container runtimes need.
const MODULES: [&str; 4] = ["drivers/net", "fs/overlayfs", "lib", "net"];

/// Leaves the first file system, which no container could.
const LEAVE: &str = "#!/bin/sh -e
mount -t tmpfs -o size=80%,mode=755 tmpfs /mnt
tar --create --one-file-system --directory=/ . | tar --extract --directory=/mnt
exec switch_root /mnt /lib/systemd/systemd
";

pub(super) fn check(recipe: &Recipe, packages: &Packages, machine: &Machine) -> Result<()> {
    if !privilege::is_root() {
        bail!("the check makes a root: run `cargo xtask package` as root");
    }
    setup::install(&["cpio", "kmod"])?;
    let older = step("an older package", || older(recipe))?;
    let root = recipe.folder.join(machine.root.name);
    let archive = root.with_extension("cpio");
    step("the file system of the guest", || {
        machine.root.unpack(&root)?;
        machine.fill(recipe, &root, &older, &packages.deb)?;
        pack(&root, &archive)
    })?;
    setup::remove(&root)?;
    let tally = vm::boot(KERNEL, machine.root.name, archive, machine.memory, TIMEOUT)?;
    println!(
        "{} passed, {} failed, {} skipped",
        tally.passed, tally.failed, tally.ignored
    );
    Ok(())
}

impl Machine {
    fn fill(&self, recipe: &Recipe, root: &Path, older: &Path, deb: &Path) -> Result<()> {
        let scripts = recipe.root.join(SCRIPTS);
        let units = root.join("etc/systemd/system");
        let wanted = units.join("multi-user.target.wants");
        copy(older, &root.join("check/old.deb"))?;
        copy(deb, &root.join("check/new.deb"))?;
        copy(&scripts.join(self.script), &root.join("check/check.py"))?;
        copy(&scripts.join("tally.py"), &root.join("check/tally.py"))?;
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
        let init = root.join("init");
        if !self.runs_containers {
            return link("lib/systemd/systemd", &init);
        }
        super::write(&init, LEAVE)?;
        fs::set_permissions(&init, Permissions::from_mode(0o755))
            .with_context(|| format!("cannot change `{}`", init.display()))?;
        modules(root)
    }
}

/// Copies the kernel's modules, and lists what depends on what.
fn modules(root: &Path) -> Result<()> {
    let (version, folder) = vm::modules(KERNEL)?;
    let into = root.join("lib/modules").join(&version);
    for part in MODULES {
        let parent = into.join("kernel").join(part);
        let parent = parent.parent().context("modules without a folder")?;
        super::make(parent)?;
        let mut copy = Command::new("cp");
        copy.arg("--archive")
            .arg(folder.join("kernel").join(part))
            .arg(parent);
        run_quietly(&mut copy, "cp")?;
    }
    for name in [
        "modules.builtin",
        "modules.builtin.modinfo",
        "modules.order",
    ] {
        copy(&folder.join(name), &into.join(name))?;
    }
    let mut depmod = Command::new("depmod");
    depmod.arg("--basedir").arg(root).arg(&version);
    run_quietly(&mut depmod, "depmod")
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
