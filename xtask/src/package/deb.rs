//! The .deb: a staged tree and its control files, put together by `dpkg-deb`.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::files::{DOC, PROGRAMS, SETTINGS};
use super::{Recipe, architecture, compress, copy, date, files_below, maintainer, write};
use crate::exec::{capture, run_quietly};
use crate::setup;

const DESCRIPTION: &str = "\
kernel edge for CI jobs on self-hosted runners
 cordon runs a CI job so that it reaches only what a profile allows. The
 kernel refuses everything else, by eBPF at the job's cgroup, and the job's
 DNS is answered by cordon, so that hosts are allowed by name. Processes of
 the job are swept for leaked secrets, its limits are pinned, and what
 happened is written into signed evidence, which a promotion gate or a
 reviewer checks offline.
 .
 It needs Linux 6.1 or later with cgroup v2 and BTF; `cordon doctor` says
 whether a host has all of it.
";

/// Scripts that dpkg calls.
const SCRIPTS: [&str; 3] = ["postinst", "prerm", "postrm"];

/// Builds the package of a version: that of the workspace, but for tests of upgrades.
pub(super) fn build(recipe: &Recipe, staged: &Path, out: &Path, version: &str) -> Result<PathBuf> {
    let (architecture, _) = architecture()?;
    let tree = recipe.folder.join("deb");
    setup::remove(&tree)?;
    let mut copy_all = Command::new("cp");
    run_quietly(copy_all.arg("--archive").arg(staged).arg(&tree), "cp")?;
    let changes = tree.join(DOC).join("changelog.Debian");
    write(&changes, changelog(recipe, version)?)?;
    compress(&changes)?;
    let overrides = recipe.root.join("packaging/debian/lintian-overrides");
    copy(&overrides, &tree.join("usr/share/lintian/overrides/cordon"))?;
    let control = tree.join("DEBIAN");
    let sums = sums(&tree)?;
    let fields = [
        ("Package", "cordon".to_owned()),
        ("Version", format!("{version}-1")),
        ("Architecture", architecture.to_owned()),
        ("Maintainer", maintainer()),
        ("Installed-Size", installed_kib(&tree)?.to_string()),
        // The scripts make a group: with systemd's program, or else with that of passwd.
        (
            "Depends",
            format!("{}, systemd | passwd", libraries(recipe, &tree)?),
        ),
        ("Recommends", "ca-certificates, systemd".to_owned()),
        ("Section", "admin".to_owned()),
        ("Priority", "optional".to_owned()),
        ("Description", DESCRIPTION.to_owned()),
    ];
    let fields: Vec<_> = fields
        .iter()
        .map(|(name, value)| format!("{name}: {}\n", value.trim_end()))
        .collect();
    write(&control.join("control"), fields.concat())?;
    write(&control.join("conffiles"), format!("/{SETTINGS}\n"))?;
    write(&control.join("md5sums"), sums)?;
    for name in SCRIPTS {
        let script = control.join(name);
        copy(&recipe.root.join("packaging/debian").join(name), &script)?;
        fs::set_permissions(&script, Permissions::from_mode(0o755)).context("cannot set a mode")?;
    }
    let package = out.join(format!("cordon_{version}-1_{architecture}.deb"));
    let mut pack = Command::new("dpkg-deb");
    pack.args(["--root-owner-group", "-Zxz", "--build"])
        .arg(&tree)
        .arg(&package)
        .env("SOURCE_DATE_EPOCH", recipe.epoch.to_string());
    run_quietly(&mut pack, "dpkg-deb")?;
    Ok(package)
}

fn changelog(recipe: &Recipe, version: &str) -> Result<String> {
    let time = date(recipe.epoch, "+%a, %d %b %Y %H:%M:%S +0000")?;
    let who = maintainer();
    Ok(format!(
        "cordon ({version}-1) unstable; urgency=medium\n\n  * What changed is in /{DOC}/changelog.gz.\n\n -- \
         {who}  {time}\n"
    ))
}

/// The libraries the programs ask for, in words of Debian: `libc6 (>= 2.34), …`.
fn libraries(recipe: &Recipe, tree: &Path) -> Result<String> {
    let folder = recipe.folder.join("shlibdeps");
    let fields = "Source: cordon\n\nPackage: cordon\nArchitecture: any\n";
    write(&folder.join("debian/control"), fields)?;
    let mut ask = Command::new("dpkg-shlibdeps");
    ask.current_dir(&folder).arg("-O");
    for program in PROGRAMS {
        let path = tree.join(program.folder).join(program.name);
        ask.arg(format!("-e{}", path.display()));
    }
    let said = capture(&mut ask)?;
    let libraries = said.trim().strip_prefix("shlibs:Depends=");
    Ok(libraries
        .context("dpkg-shlibdeps names no library")?
        .to_owned())
}

/// As dpkg wants them: without a leading slash, without settings.
fn sums(tree: &Path) -> Result<String> {
    let files = files_below(tree)?;
    let files = files.iter().filter(|file| *file != Path::new(SETTINGS));
    let mut md5sum = Command::new("md5sum");
    capture(md5sum.current_dir(tree).args(files))
}

fn installed_kib(tree: &Path) -> Result<u64> {
    let mut kib: u64 = 0;
    for file in files_below(tree)? {
        let size = fs::metadata(tree.join(&file))
            .context("cannot look at a staged file")?
            .len();
        kib = kib.saturating_add(size.div_ceil(1024));
    }
    Ok(kib)
}
