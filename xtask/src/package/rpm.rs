//! The .rpm: the same staged tree, put together by `rpmbuild`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::files::{DOC, FOLDERS, SETTINGS, ZSH_ELSEWHERE};
use super::{Recipe, architecture, files_below, make, read, version, write};
use crate::exec::run_quietly;
use crate::setup;

pub(super) fn build(recipe: &Recipe, staged: &Path, out: &Path) -> Result<PathBuf> {
    let (_, architecture) = architecture()?;
    let top = recipe.folder.join("rpm");
    setup::remove(&top)?;
    let tree = top.join("tree");
    make(&top)?;
    let mut copy_all = Command::new("cp");
    run_quietly(copy_all.arg("--archive").arg(staged).arg(&tree), "cp")?;
    let (here, there) = ZSH_ELSEWHERE;
    std::fs::rename(tree.join(here), tree.join(there)).context("cannot move a completion")?;
    let template = read(&recipe.root.join("packaging/rpm/cordon.spec"))?;
    let spec = template
        .replace("@VERSION@", version())
        .replace("@TREE@", &tree.to_string_lossy())
        .replace("@FILES@", &list(&tree)?);
    let path = top.join("cordon.spec");
    write(&path, spec)?;
    let mut build = Command::new("rpmbuild");
    build
        .args(["-bb", "--target", architecture])
        .args(["--define", &format!("_topdir {}", top.display())])
        .args(["--define", &format!("_dbpath {}", top.join("db").display())])
        .arg(&path)
        .env("SOURCE_DATE_EPOCH", recipe.epoch.to_string());
    run_quietly(&mut build, "rpmbuild")?;
    let name = format!("cordon-{}-1.{architecture}.rpm", version());
    let package = out.join(&name);
    super::copy(&top.join("RPMS").join(architecture).join(name), &package)?;
    Ok(package)
}

/// The files with what they are.
fn list(tree: &Path) -> Result<String> {
    let mut lines = Vec::new();
    for file in files_below(tree)? {
        let name = file.to_string_lossy();
        let kind = if name == SETTINGS {
            "%config(noreplace) "
        } else if name.starts_with(DOC) {
            "%doc "
        } else {
            ""
        };
        lines.push(format!("{kind}/{name}"));
    }
    let own = ["etc/cordon", DOC];
    lines.extend(
        own.iter()
            .chain(&FOLDERS)
            .map(|folder| format!("%dir /{folder}")),
    );
    Ok(lines.join("\n"))
}
