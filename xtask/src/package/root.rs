//! Roots of Debian to check packages in, made by `mmdebstrap` and kept as archives.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::make;
use crate::apt::debian_source;
use crate::exec::{run_quietly, step};
use crate::{setup, workspace};

/// A root to make.
#[derive(Debug)]
pub(super) struct Root {
    /// Name of its archive.
    pub(super) name: &'static str,
    /// What is in it beside the essential packages.
    pub(super) packages: &'static [&'static str],
    /// Options of dpkg: which files are left out.
    pub(super) paths: &'static [&'static str],
}

impl Root {
    /// Unpacks it into a new folder; makes it if that was never done.
    pub(super) fn unpack(&self, into: &Path) -> Result<()> {
        let archive = self.archive()?;
        setup::remove(into)?;
        make(into)?;
        let mut unpack = Command::new("tar");
        unpack
            .arg("--extract")
            .arg("--file")
            .arg(&archive)
            .arg("--directory")
            .arg(into);
        run_quietly(&mut unpack, "tar")
    }

    fn archive(&self) -> Result<PathBuf> {
        let folder = workspace::target()?.join("xtask");
        let release = release()?;
        let archive = folder.join(format!("{}-{release}.tar", self.name));
        if archive.is_file() {
            return Ok(archive);
        }
        make(&folder)?;
        setup::install(&["mmdebstrap"])?;
        step(&format!("a root of Debian {release} (minutes)"), || {
            let partial = folder.join(format!("{}.partial.tar", self.name));
            let (address, key) = debian_source()?;
            let mut bootstrap = Command::new("mmdebstrap");
            bootstrap
                .args(["--mode=root", "--variant=minbase"])
                .arg(format!("--include={}", self.packages.join(",")))
                .args(["--aptopt=APT::Install-Recommends \"false\""])
                .args(self.paths.iter().map(|path| format!("--dpkgopt={path}")))
                .arg(&release)
                .arg(&partial)
                .arg(format!("deb {key}{address} {release} main"));
            run_quietly(&mut bootstrap, "mmdebstrap")?;
            fs::rename(&partial, &archive).context("cannot keep the root")
        })?;
        Ok(archive)
    }
}

/// The machine's release of Debian: what is built here runs there.
fn release() -> Result<String> {
    let text = super::read(Path::new("/etc/os-release"))?;
    let name = text
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    Ok(name
        .context("this is not Debian: /etc/os-release names no release")?
        .to_owned())
}
