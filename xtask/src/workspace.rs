//! Where things are.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// The root of the source tree.
pub(crate) fn root() -> Result<&'static Path> {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .context("the package xtask has no workspace around it")
}

/// The target folder that cargo uses: this program was built there.
pub(crate) fn target() -> Result<PathBuf> {
    let this = env::current_exe().context("cannot tell where this program is")?;
    this.parent()
        .and_then(Path::parent)
        .map(Path::to_path_buf)
        .with_context(|| format!("`{}` is not in a target folder", this.display()))
}

/// Tools of this workspace, never installed globally.
pub(crate) fn tools() -> Result<PathBuf> {
    Ok(root()?.join("target/tools"))
}

/// A program that setup put into the tools folder, or one on PATH, or one where only root looks.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    tool_folders()
        .into_iter()
        .chain(env::split_paths(&path))
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
}

/// PATH with the tools in front.
pub(crate) fn search_path() -> Result<std::ffi::OsString> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = tool_folders()
        .into_iter()
        .chain(env::split_paths(&path))
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    env::join_paths(folders).context("PATH holds a folder that cannot be part of it")
}

fn tool_folders() -> Vec<PathBuf> {
    tools().map_or_else(
        |_| Vec::new(),
        |tools| {
            vec![
                tools.join("bin"),
                tools.join("debian/usr/sbin"),
                tools.join("debian/usr/bin"),
                tools.join("debian/bin"),
            ]
        },
    )
}
