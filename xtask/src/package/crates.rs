//! Which crates are in the programs: what cargo resolves for them, without what only builds or tests.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::Recipe;
use super::files::{KERNEL_PACKAGE, PROGRAMS};
use crate::exec::capture;
use crate::toolchain::TARGET as KERNEL_TARGET;

/// Name and version.
pub(super) type Id = (String, String);

/// One crate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Crate {
    /// An SPDX expression, as its manifest has it.
    pub(super) licence: Option<String>,
    /// Its description, in one line.
    pub(super) description: Option<String>,
    /// Where its sources are kept.
    pub(super) repository: Option<String>,
    /// SHA-256 of the archive it comes from; the workspace's own have none.
    pub(super) sha256: Option<String>,
    /// Where its sources are on this machine.
    pub(super) folder: PathBuf,
    /// Crates it uses.
    pub(super) uses: BTreeSet<Id>,
}

/// All crates of the programs.
#[derive(Clone, Debug, Default)]
pub(super) struct Crates(pub(super) BTreeMap<Id, Crate>);

impl Crates {
    /// Asks cargo.
    pub(super) fn read(recipe: &Recipe) -> Result<Self> {
        let mut uses = BTreeMap::new();
        let host = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
        for program in PROGRAMS {
            tree(recipe, program.package, &host, &mut uses)?;
        }
        tree(recipe, KERNEL_PACKAGE, KERNEL_TARGET, &mut uses)?;
        let mut metadata = cargo(recipe);
        metadata.args(["metadata", "--format-version", "1", "--locked"]);
        let metadata: Value = serde_json::from_str(&capture(&mut metadata)?)
            .context("cargo's metadata is no JSON")?;
        let sums = checksums(&super::read(&recipe.root.join("Cargo.lock"))?);
        let mut crates = Self::default();
        let packages = metadata.get("packages").and_then(Value::as_array);
        for package in packages.into_iter().flatten() {
            let text = |key: &str| Some(package.get(key)?.as_str()?.to_owned());
            let (Some(name), Some(version)) = (text("name"), text("version")) else {
                bail!("cargo knows a package without a name");
            };
            let id = (name, version);
            let Some(uses) = uses.remove(&id) else {
                continue;
            };
            let manifest = PathBuf::from(text("manifest_path").unwrap_or_default());
            let description = text("description");
            let one = Crate {
                licence: text("license"),
                description: description
                    .map(|text| text.split_whitespace().collect::<Vec<_>>().join(" ")),
                repository: text("repository"),
                sha256: sums.get(&id).cloned(),
                folder: manifest
                    .parent()
                    .context("a manifest without a folder")?
                    .to_owned(),
                uses,
            };
            crates.0.insert(id, one);
        }
        if let Some((name, version)) = uses.keys().next() {
            bail!("cargo has no metadata of {name} {version}, which is in the programs");
        }
        Ok(crates)
    }

    /// Those that are not of this workspace.
    pub(super) fn foreign(&self) -> impl Iterator<Item = (&Id, &Crate)> {
        self.0.iter().filter(|(_, one)| one.sha256.is_some())
    }
}

fn cargo(recipe: &Recipe) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(&recipe.root);
    cargo
}

/// What a package is linked from on a target. Procedural macros run while it is built and are not in
/// it.
fn tree(
    recipe: &Recipe,
    package: &str,
    target: &str,
    uses: &mut BTreeMap<Id, BTreeSet<Id>>,
) -> Result<()> {
    let mut tree = cargo(recipe);
    tree.args(["tree", "--locked", "--package", package, "--target", target])
        .args(["--edges", "normal,no-proc-macro", "--prefix", "depth"])
        .args(["--format", " {p}"]);
    edges(&capture(&mut tree)?, uses)
}

/// Reads lines such as `2 serde v1.0.1 (/path) (*)`: the number says how deep below the first it is.
fn edges(text: &str, uses: &mut BTreeMap<Id, BTreeSet<Id>>) -> Result<()> {
    let mut above: Vec<Id> = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let mut words = line.split_whitespace();
        let parsed = (|| {
            let depth: usize = words.next()?.parse().ok()?;
            let name = words.next()?.to_owned();
            let version = words.next()?.strip_prefix('v')?.to_owned();
            Some((depth, (name, version)))
        })();
        let (depth, id) = parsed.with_context(|| format!("`cargo tree` says `{line}`"))?;
        above.truncate(depth);
        if let Some(parent) = above.last() {
            uses.entry(parent.clone()).or_default().insert(id.clone());
        }
        uses.entry(id.clone()).or_default();
        above.push(id);
    }
    Ok(())
}

/// The sums of a lock file.
fn checksums(lock: &str) -> BTreeMap<Id, String> {
    let field = |part: &str, name: &str| {
        part.lines()
            .find_map(|line| {
                line.strip_prefix(name)?
                    .strip_prefix(" = \"")?
                    .strip_suffix('"')
            })
            .map(str::to_owned)
    };
    lock.split("[[package]]")
        .filter_map(|part| {
            let id = (field(part, "name")?, field(part, "version")?);
            Some((id, field(part, "checksum")?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> Id {
        (name.to_owned(), "1.0.0".to_owned())
    }

    #[test]
    fn who_uses_whom_is_read_from_the_depths() {
        let text = "0 a v1.0.0 (/x/y)\n1 b v1.0.0\n2 c v1.0.0\n1 d v1.0.0\n2 c v1.0.0 (*)\n";
        let mut uses = BTreeMap::new();
        edges(text, &mut uses).unwrap();
        assert_eq!(uses[&id("a")], BTreeSet::from([id("b"), id("d")]));
        assert_eq!(uses[&id("b")], BTreeSet::from([id("c")]));
        assert_eq!(uses[&id("d")], BTreeSet::from([id("c")]));
        assert!(uses[&id("c")].is_empty());
        edges("nonsense\n", &mut uses).unwrap_err();
    }

    #[test]
    fn only_what_has_a_sum_has_one() {
        let lock = "version = 4\n[[package]]\nname = \"a\"\nversion = \"1.0.0\"\n\n[[package]]\nname = \"b\"\n\
                    version = \"1.0.0\"\nsource = \"x\"\nchecksum = \"00ff\"\n";
        assert_eq!(
            checksums(lock),
            BTreeMap::from([(id("b"), "00ff".to_owned())])
        );
    }
}
