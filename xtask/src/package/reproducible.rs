//! `--check-reproducible`: two builds of one tree in two folders, and every byte of them compared.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::{Packages, Recipe, build, copy};
use crate::exec::{capture, step};
use crate::setup;

pub(super) fn check(recipe: &Recipe) -> Result<()> {
    let elsewhere = std::env::temp_dir().join(format!("cordon-elsewhere-{}", std::process::id()));
    let outcome = twice(recipe, &elsewhere);
    setup::remove(&elsewhere)?;
    outcome
}

fn twice(recipe: &Recipe, elsewhere: &Path) -> Result<()> {
    let here = recipe.folder.join("first");
    // Nothing that an earlier build left may help, or differ.
    setup::remove(&here)?;
    let first = Recipe {
        folder: here,
        ..recipe.clone()
    };
    let second = Recipe {
        root: elsewhere.join("a/longer/way/to/cordon"),
        folder: elsewhere.join("built"),
        ..recipe.clone()
    };
    step("copy the tracked files elsewhere", || {
        copy_tree(&recipe.root, &second.root)
    })?;
    let first = step("first build", || build(&first))?;
    let second = step("second build, in another folder", || build(&second))?;
    let differ = differences(&first, &second)?;
    if !differ.is_empty() {
        let kept = recipe.folder.join("second");
        setup::remove(&kept)?;
        for file in second.all() {
            copy(file, &kept.join(file.file_name().unwrap_or_default()))?;
        }
        bail!(
            "not reproducible: {} (the second is kept in `{}`)",
            differ.join(", "),
            kept.display()
        );
    }
    for file in first.all() {
        let sum = capture(Command::new("sha256sum").arg(file))?;
        println!("the same twice: {}", sum.trim());
    }
    Ok(())
}

fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    let mut list = Command::new("git");
    let list = capture(list.current_dir(from).args(["ls-files", "-z"]))?;
    for file in list.split_terminator('\0') {
        let path = from.join(file);
        // What is deleted and not yet committed is in neither build.
        if path.exists() {
            copy(&path, &to.join(file))?;
        }
    }
    Ok(())
}

fn differences(first: &Packages, second: &Packages) -> Result<Vec<String>> {
    let mut differ = Vec::new();
    for (one, other) in first.all().into_iter().zip(second.all()) {
        let name = one
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if bytes(one)? != bytes(other)? {
            differ.push(name);
        }
    }
    Ok(differ)
}

fn bytes(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read `{}`", path.display()))
}
