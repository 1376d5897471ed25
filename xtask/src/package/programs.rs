//! The programs of a package, built so that the same tree gives the same bytes anywhere.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::Recipe;
use super::files::PROGRAMS;
use crate::exec::{run as execute, run_quietly, step};
use crate::{build, setup, workspace};

/// What was built.
#[derive(Debug)]
pub(super) struct Built {
    /// The programs of [`PROGRAMS`], stripped, in its order.
    pub(super) programs: Vec<PathBuf>,
    /// What `cordon-manual` wrote.
    pub(super) manual: PathBuf,
}

pub(super) fn build(recipe: &Recipe) -> Result<Built> {
    let title = if recipe.debug {
        "build the programs, unoptimised"
    } else {
        "build the programs (minutes)"
    };
    step(title, || execute(&mut cargo(recipe)?))?;
    let folder = if recipe.debug {
        workspace::target()?.join("debug")
    } else {
        recipe.folder.join("build/release")
    };
    let manual = recipe.folder.join("manual");
    setup::remove(&manual)?;
    let mut write = Command::new(folder.join("cordon-manual"));
    write.arg(&manual).arg(recipe.epoch.to_string());
    run_quietly(&mut write, "cordon-manual")?;
    let programs = PROGRAMS.iter().map(|program| {
        let stripped = recipe.folder.join("programs").join(program.name);
        strip(&folder.join(program.name), &stripped)?;
        Ok(stripped)
    });
    Ok(Built {
        programs: programs.collect::<Result<_>>()?,
        manual,
    })
}

fn cargo(recipe: &Recipe) -> Result<Command> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // A nested cargo is told of the outer one's package, and hands that to what it builds.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CARGO_PKG_") {
            cargo.env_remove(name);
        }
    }
    cargo
        .current_dir(&recipe.root)
        .args(["build", "--locked", "--package", "cordon-manual"])
        .env("CORDON_REQUIRE_OBJECT", "1")
        .env("SOURCE_DATE_EPOCH", recipe.epoch.to_string());
    for program in PROGRAMS {
        cargo.args(["--package", program.package]);
    }
    cargo.args(["--features", build::FEATURES]);
    if recipe.debug {
        // What `cargo xtask build` builds, so that little is built anew.
        cargo.args(["--package", "cordon-tests"]);
        return Ok(cargo);
    }
    let toolchain = setup::bpf_toolchain()?;
    cargo
        .arg("--release")
        .arg("--target-dir")
        .arg(recipe.folder.join("build"))
        // In a copy of the tree there are no tools.
        .env("CORDON_BPF_RUSTC", &toolchain.rustc)
        .env("CORDON_BPF_LINKER", &toolchain.linker)
        .env_remove("RUSTFLAGS")
        .env("CARGO_ENCODED_RUSTFLAGS", flags(&recipe.root)?);
    Ok(cargo)
}

/// No path of the machine gets into a program.
fn flags(root: &Path) -> Result<OsString> {
    let home = std::env::var_os("CARGO_HOME").map_or_else(
        || {
            let home = std::env::var_os("HOME").context("neither CARGO_HOME nor HOME is set")?;
            Ok::<_, anyhow::Error>(PathBuf::from(home).join(".cargo"))
        },
        |home| Ok(PathBuf::from(home)),
    )?;
    let mut flags = OsString::from("--remap-path-prefix=");
    flags.push(&home);
    flags.push("=/cargo\x1f--remap-path-prefix=");
    flags.push(root);
    flags.push("=/cordon");
    Ok(flags)
}

/// Without symbols and debug information.
fn strip(from: &Path, to: &Path) -> Result<()> {
    super::copy(from, to)?;
    let mut strip = Command::new("strip");
    strip
        .args([
            "--strip-all",
            "--remove-section=.comment",
            "--remove-section=.note",
        ])
        .arg(to);
    run_quietly(&mut strip, "strip")
}
