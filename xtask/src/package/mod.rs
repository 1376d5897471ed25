//! `cargo xtask package`: what is installed on hosts, a .deb and a .rpm.
//!
//! One tree is staged, and both packages are made from it by the tools of the distributions
//! (`dpkg-deb`, `rpmbuild`): a staged tree can be looked at, and these tools say themselves how to be
//! reproducible. Everything in it comes from the last commit's tree or is made from its code, with the
//! time of that commit.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::exec::{capture, run_quietly, step};
use crate::{setup, workspace};

mod check;
mod crates;
mod deb;
mod files;
mod guest;
mod licences;
mod programs;
mod reproducible;
mod root;
mod rpm;
mod sbom;
mod stage;

/// Build the packages: .deb and .rpm, with their bill of materials.
#[derive(Debug, clap::Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line, and they go together"
)]
pub(crate) struct Options {
    /// Also check them: lint, install, upgrade under a job, remove, purge, in a root made for it
    /// (as root)
    #[arg(long)]
    check: bool,
    /// Also check them on a machine with systemd, in QEMU (as root, minutes)
    #[arg(long)]
    check_systemd: bool,
    /// Also check jobs with containers on such a machine, with Debian's Docker (as root, minutes)
    #[arg(long)]
    check_containers: bool,
    /// Build twice, in two folders, and compare every byte (many minutes)
    #[arg(long, conflicts_with_all = ["check", "check_systemd", "check_containers", "debug"])]
    check_reproducible: bool,
    /// Unoptimised programs: for work on the packages themselves
    #[arg(long)]
    debug: bool,
}

/// How packages are built.
#[derive(Clone, Debug)]
pub(super) struct Recipe {
    /// The source tree.
    root: PathBuf,
    /// Where everything is built.
    folder: PathBuf,
    /// Seconds since 1970: that of everything that has a time.
    epoch: u64,
    /// Whether it is built unoptimised.
    debug: bool,
}

/// The packages.
#[derive(Clone, Debug)]
pub(super) struct Packages {
    deb: PathBuf,
    rpm: PathBuf,
    sbom: PathBuf,
}

impl Packages {
    fn all(&self) -> [&Path; 3] {
        [&self.deb, &self.rpm, &self.sbom]
    }
}

pub(crate) fn run(options: &Options) -> Result<()> {
    setup::bpf_toolchain()?;
    setup::install(&["dpkg-dev", "rpm"])?;
    let root = workspace::root()?;
    let recipe = Recipe {
        root: root.to_owned(),
        folder: workspace::target()?.join("package"),
        epoch: epoch(root)?,
        debug: options.debug,
    };
    if options.check_reproducible {
        return reproducible::check(&recipe);
    }
    let packages = build(&recipe)?;
    if options.check {
        check::check(&recipe, &packages)?;
    }
    if options.check_systemd {
        guest::check(&recipe, &packages, &guest::SYSTEMD)?;
    }
    if options.check_containers {
        guest::check(&recipe, &packages, &guest::CONTAINERS)?;
    }
    for package in packages.all() {
        println!("{}", package.display());
    }
    Ok(())
}

/// Builds both.
fn build(recipe: &Recipe) -> Result<Packages> {
    let built = programs::build(recipe)?;
    let crates = step("what the programs are made of", || {
        crates::Crates::read(recipe)
    })?;
    let staged = step("stage the files", || stage::stage(recipe, &built, &crates))?;
    let out = recipe.folder.join("out");
    setup::remove(&out)?;
    make(&out)?;
    let sbom = out.join(format!("cordon_{}.cdx.json", version()));
    copy(&staged.join(files::DOC).join(sbom::NAME), &sbom)?;
    Ok(Packages {
        deb: step("the .deb", || deb::build(recipe, &staged, &out, version()))?,
        rpm: step("the .rpm", || rpm::build(recipe, &staged, &out))?,
        sbom,
    })
}

/// The version of all packages of the workspace.
const fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

/// Of whoever makes packages from this tree; `DEBEMAIL` and `DEBFULLNAME` say who that is.
fn maintainer() -> String {
    let said = |name: &str, otherwise: &str| {
        std::env::var(name).unwrap_or_else(|_not_said| otherwise.to_owned())
    };
    format!(
        "{} <{}>",
        said("DEBFULLNAME", "the cordon authors"),
        said("DEBEMAIL", "cordon@localhost.localdomain")
    )
}

/// The time of the last commit, unless `SOURCE_DATE_EPOCH` says another.
fn epoch(root: &Path) -> Result<u64> {
    let text = match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => text,
        Err(_not_set) => {
            let mut log = Command::new("git");
            log.current_dir(root).args(["log", "-1", "--format=%ct"]);
            capture(&mut log).context("no commit to take the time from; set SOURCE_DATE_EPOCH")?
        }
    };
    let text = text.trim();
    text.parse()
        .with_context(|| format!("`{text}` is no number of seconds"))
}

/// A time in UTC, in a format of date(1).
fn date(seconds: u64, format: &str) -> Result<String> {
    let mut date = Command::new("date");
    date.env("LC_ALL", "C");
    let text = capture(date.args(["--utc", &format!("--date=@{seconds}"), format]))?;
    Ok(text.trim().to_owned())
}

fn make(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make `{}`", folder.display()))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    if let Some(folder) = to.parent() {
        make(folder)?;
    }
    std::fs::copy(from, to)
        .with_context(|| format!("cannot copy `{}` to `{}`", from.display(), to.display()))?;
    Ok(())
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))
}

fn write(path: &Path, text: impl AsRef<[u8]>) -> Result<()> {
    if let Some(folder) = path.parent() {
        make(folder)?;
    }
    std::fs::write(path, text).with_context(|| format!("cannot write `{}`", path.display()))
}

/// The files below a folder, as paths from it, in order.
fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut waiting = vec![folder.to_owned()];
    while let Some(next) = waiting.pop() {
        let entries = std::fs::read_dir(&next)
            .with_context(|| format!("cannot list `{}`", next.display()))?;
        for entry in entries {
            let path = entry
                .with_context(|| format!("cannot list `{}`", next.display()))?
                .path();
            if path.is_dir() && !path.is_symlink() {
                waiting.push(path);
            } else {
                found.push(path.strip_prefix(folder).unwrap_or(&path).to_owned());
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Compresses a file in place: no name and no time inside.
fn compress(path: &Path) -> Result<()> {
    let mut gzip = Command::new("gzip");
    run_quietly(gzip.args(["-9", "--no-name", "--force"]).arg(path), "gzip")
}

/// The architecture, as Debian and as others call it.
fn architecture() -> Result<(&'static str, &'static str)> {
    match std::env::consts::ARCH {
        "x86_64" => Ok(("amd64", "x86_64")),
        "aarch64" => Ok(("arm64", "aarch64")),
        other => bail!("no package is made for {other}"),
    }
}
