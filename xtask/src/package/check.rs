//! `--check`: the packages in a root of Debian that is made for it, by tools that are not ours.
//!
//! The root holds what judges (lintian, mandoc, man-db, systemd, shells, rpm), so that nothing of it is
//! installed on the machine but `mmdebstrap`, which makes the root. `packaging/check/check.py` does the
//! work inside, in namespaces of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::root::Root;
use super::{Packages, Recipe, copy, deb, files, files_below, make};
use crate::exec::{run as execute, run_quietly, step};
use crate::{privilege, setup, workspace};

/// Who judges.
const ROOT: Root = Root {
    name: "root",
    packages: &[
        "bash-completion",
        "binutils",
        "fish",
        "iproute2",
        "lintian",
        "man-db",
        "mandoc",
        "procps",
        "python3",
        "rpm",
        "systemd",
        "zsh",
    ],
    // Images of containers leave out man pages; here they are looked at.
    paths: &["path-include=/usr/share/man/*"],
};

/// Where the checks themselves are.
pub(super) const SCRIPTS: &str = "packaging/check";

/// The version that is upgraded from.
const OLDER: &str = "0.0.9";

/// A validator of bills of materials, of those who define them.
const VALIDATOR: &str = "cyclonedx-python-lib[json-validation]==11.12.0";

/// Fails for a bill that is not valid, and for a validator that finds a spoilt one valid.
const VALIDATE: &str = "\
import json, sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
text = open(sys.argv[1]).read()
judge = JsonStrictValidator(SchemaVersion.V1_6)
wrong = judge.validate_str(text)
if wrong is not None: sys.exit(f'not valid: {wrong}')
spoilt = json.loads(text)
del spoilt['components'][0]['name']
if judge.validate_str(json.dumps(spoilt)) is None: sys.exit('a component without a name is valid for it')
";

pub(super) fn check(recipe: &Recipe, packages: &Packages) -> Result<()> {
    if !privilege::is_root() {
        bail!(
            "the check makes a root, namespaces and cgroups: run `cargo xtask package --check` as root"
        );
    }
    step("the bill of materials, by its schema", || {
        bill(&packages.sbom)
    })?;
    let older = step("an older package", || older(recipe))?;
    let root = recipe.folder.join("root");
    let outcome = step("the packages in a root of their own", || {
        ROOT.unpack(&root)?;
        let scripts = ["check.py", "tally.py"].map(|name| recipe.root.join(SCRIPTS).join(name));
        let [script, tally] = &scripts;
        for file in [script, tally, &older, &packages.deb, &packages.rpm] {
            copy(
                file,
                &root
                    .join("check")
                    .join(file.file_name().unwrap_or_default()),
            )?;
        }
        execute(&mut inside(&root, [&older, &packages.deb, &packages.rpm])?)
    });
    setup::remove(&root)?;
    outcome
}

/// The script in the root, with mounts that end with it.
fn inside(root: &Path, packages: [&PathBuf; 3]) -> Result<Command> {
    const ENTER: &str = "set -e; root=$1; shift
        mount --make-rprivate /
        mount --bind \"$root\" \"$root\"
        for folder in proc sys dev; do mount --rbind /$folder \"$root/$folder\"; done
        mount -t bpf bpf \"$root/sys/fs/bpf\"
        exec chroot \"$root\" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 \\
            DEBIAN_FRONTEND=noninteractive python3 /check/check.py \"$@\"";
    let mut unshare = Command::new("unshare");
    unshare
        .args([
            "--mount",
            "--net",
            "--ipc",
            "--uts",
            "--propagation",
            "private",
        ])
        .args(["sh", "-c", ENTER, "sh"])
        .arg(root);
    for package in packages {
        let name = package.file_name().context("a package without a name")?;
        unshare.arg(Path::new("/check").join(name));
    }
    Ok(unshare)
}

fn bill(sbom: &Path) -> Result<()> {
    let library = workspace::tools()?.join("cyclonedx");
    if !library.join("cyclonedx").is_dir() {
        let mut install = Command::new("python3");
        install
            .args(["-m", "pip", "install", "--quiet", "--target"])
            .arg(&library)
            .arg(VALIDATOR);
        run_quietly(&mut install, "pip")?;
    }
    let mut validate = Command::new("python3");
    validate
        .args(["-c", VALIDATE])
        .arg(sbom)
        .env("PYTHONPATH", library);
    run_quietly(&mut validate, "cyclonedx")
}

/// The same package as an older version, with another BPF object: a byte of its header that means
/// nothing is another, so the kernel does the same and cordon sees programs to be replaced.
pub(super) fn older(recipe: &Recipe) -> Result<PathBuf> {
    let staged = recipe.folder.join("staged");
    let tree = recipe.folder.join("staged-older");
    setup::remove(&tree)?;
    for file in files_below(&staged)? {
        copy(&staged.join(&file), &tree.join(&file))?;
    }
    for folder in files::FOLDERS {
        make(&tree.join(folder))?;
    }
    let [program, ..] = files::PROGRAMS;
    let path = tree.join(program.folder).join(program.name);
    let mut bytes = fs::read(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
    let changed = change_object(&mut bytes);
    if changed != 1 {
        bail!("{changed} BPF objects in `{}`, not one", path.display());
    }
    fs::write(&path, bytes).with_context(|| format!("cannot write `{}`", path.display()))?;
    let out = recipe.folder.join("older");
    make(&out)?;
    deb::build(recipe, &tree, &out, OLDER)
}

/// Changes the padding in the header of each BPF object; returns how many there are.
fn change_object(bytes: &mut [u8]) -> usize {
    // 64 bits, least byte first, version 1, no system; the machine is 16 bits behind the kind.
    const HEADER: &[u8] = b"\x7fELF\x02\x01\x01\x00";
    const MACHINE: [u8; 2] = 247_u16.to_le_bytes();
    let is_object = |window: &[u8]| window.starts_with(HEADER) && window.ends_with(&MACHINE);
    let found: Vec<usize> = bytes
        .windows(20)
        .enumerate()
        .filter(|(_, window)| is_object(window))
        .map(|(place, _)| place)
        .collect();
    for place in &found {
        if let Some(padding) = bytes.get_mut(place.saturating_add(15)) {
            *padding ^= 1;
        }
    }
    found.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_padding_of_an_object_is_changed() {
        let mut header = b"\x7fELF\x02\x01\x01\x00\0\0\0\0\0\0\0\0\x01\x00\xf7\x00".to_vec();
        let mut program = b"before".to_vec();
        program.append(&mut header);
        // The program itself is for another machine.
        program.extend_from_slice(b"\x7fELF\x02\x01\x01\x00\0\0\0\0\0\0\0\0\x03\x00\x3e\x00");
        let before = program.clone();
        assert_eq!(change_object(&mut program), 1);
        let differ: Vec<usize> = (0..before.len())
            .filter(|&at| before[at] != program[at])
            .collect();
        assert_eq!(differ, [6 + 15]);
    }
}
