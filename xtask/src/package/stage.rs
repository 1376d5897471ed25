//! The tree of installed files, as it is below `/`.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::crates::Crates;
use super::files::{COMPLETIONS, DOC, FILES, FOLDERS, HOOKS, PROFILES, PROGRAMS, SETTINGS, TREES};
use super::programs::Built;
use super::{Recipe, compress, copy, files_below, licences, make, read, sbom, write};
use crate::setup;

/// The name of the form of `copyright`, which is an address of Debian. In two parts, because no file
/// names a host that has packages.
const FORMAT: &str = concat!(
    "https://www.debian",
    ".org/doc/packaging-manuals/copyright-format/1.0/"
);

/// Makes the tree anew; returns where it is.
pub(super) fn stage(recipe: &Recipe, built: &Built, crates: &Crates) -> Result<PathBuf> {
    let staged = recipe.folder.join("staged");
    setup::remove(&staged)?;
    for (program, from) in PROGRAMS.iter().zip(&built.programs) {
        copy(from, &staged.join(program.folder).join(program.name))?;
    }
    for (from, to) in FILES {
        copy(&recipe.root.join(from), &staged.join(to))?;
    }
    for (from, to) in TREES {
        let from = recipe.root.join(from);
        for name in files_below(&from)? {
            copy(&from.join(&name), &staged.join(to).join(&name))?;
        }
    }
    let profiles = recipe.root.join("profiles");
    for name in files_below(&profiles)? {
        if name
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            copy(&profiles.join(&name), &staged.join(PROFILES).join(&name))?;
        }
    }
    for folder in FOLDERS {
        make(&staged.join(folder))?;
    }
    copy(&built.manual.join("config.toml"), &staged.join(SETTINGS))?;
    for (from, to) in COMPLETIONS {
        copy(
            &built.manual.join("completions").join(from),
            &staged.join(to),
        )?;
    }
    manuals(&built.manual.join("man"), &staged)?;
    let doc = staged.join(DOC);
    write(&doc.join("copyright"), copyright(&recipe.root)?)?;
    write(
        &doc.join(licences::NAME),
        licences::write(&recipe.root, crates)?,
    )?;
    compress(&doc.join(licences::NAME))?;
    copy(&recipe.root.join("CHANGELOG.md"), &doc.join("changelog"))?;
    compress(&doc.join("changelog"))?;
    write(&doc.join(sbom::NAME), sbom::write(recipe, crates)?)?;
    permissions(&staged)?;
    Ok(staged)
}

/// Each page to the folder of its section.
fn manuals(from: &Path, staged: &Path) -> Result<()> {
    for name in files_below(from)? {
        let section = name.extension().context("a man page without a section")?;
        let folder = format!("usr/share/man/man{}", section.to_string_lossy());
        let to = staged.join(folder).join(&name);
        copy(&from.join(&name), &to)?;
        compress(&to)?;
    }
    Ok(())
}

/// The licence of cordon itself, in Debian's machine-readable form.
fn copyright(root: &Path) -> Result<String> {
    let mit = read(&root.join("LICENSE-MIT"))?;
    let (holder, terms) = mit
        .split_once("Copyright (c) ")
        .and_then(|(_, rest)| rest.split_once('\n'))
        .context("LICENSE-MIT names no holder")?;
    let mut text = format!(
        "Format: {FORMAT}\nUpstream-Name: cordon\n\
         Comment: Licences of the crates that are linked in are in {}.gz beside this\n \
         file, and in {}.\n\n\
         Files: *\nCopyright: {holder}\nLicense: MIT or Apache-2.0\n\nLicense: MIT\n",
        licences::NAME,
        sbom::NAME
    );
    for line in terms.trim().lines() {
        text.push_str(if line.trim().is_empty() { " ." } else { " " });
        text.push_str(line.trim());
        text.push('\n');
    }
    text.push_str(
        "\nLicense: Apache-2.0\n On Debian systems the text of the Apache License, version 2.0, is in\n \
         /usr/share/common-licenses/Apache-2.0.\n",
    );
    Ok(text)
}

/// The same for everybody who builds, whatever their umask.
fn permissions(staged: &Path) -> Result<()> {
    let mut waiting = vec![staged.to_owned()];
    while let Some(path) = waiting.pop() {
        let is_folder = path.is_dir();
        let below = path.strip_prefix(staged).unwrap_or(&path);
        let is_program = PROGRAMS
            .iter()
            .any(|program| below == Path::new(program.folder).join(program.name));
        let mode = if is_folder || is_program || below.starts_with(HOOKS) {
            0o755
        } else {
            0o644
        };
        fs::set_permissions(&path, Permissions::from_mode(mode))
            .with_context(|| format!("cannot set the mode of `{}`", path.display()))?;
        if is_folder {
            for entry in fs::read_dir(&path).context("cannot list the staged files")? {
                waiting.push(entry.context("cannot list the staged files")?.path());
            }
        }
    }
    Ok(())
}
