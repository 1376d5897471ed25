//! What no tracked file may hold, and how long it should be.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::Outcome;
use crate::exec::capture;
use crate::workspace;

/// Above this a file is to be split.
const LINES: usize = 800;

/// The hosts of public package registries, in two halves so that this file passes its own check.
/// They differ from site to site, so that a profile or a test with one of them works at one only.
const REGISTRIES: [(&str, &str); 12] = [
    ("crates", ".io"),
    ("pypi", ".org"),
    ("pythonhosted", ".org"),
    ("npmjs", ".org"),
    ("npmjs", ".com"),
    ("yarnpkg", ".com"),
    ("rubygems", ".org"),
    ("proxy.golang", ".org"),
    ("repo.maven", ".apache.org"),
    ("debian", ".org"),
    ("archive.ubuntu", ".com"),
    ("packagist", ".org"),
];

/// Files that tools write and that must name a registry.
const GENERATED: [&str; 2] = ["Cargo.lock", "tests/fuzz/Cargo.lock"];

/// Made by a program as well, and checked all the same: one table as long as what it lists.
const LONG: [&str; 1] = ["docs/escapes.md"];

pub(super) fn check() -> Result<Outcome> {
    let root = workspace::root()?;
    let mut mistakes = Vec::new();
    let list = capture(
        Command::new("git")
            .current_dir(root)
            .args(["ls-files", "-z"]),
    )?;
    for file in list.split_terminator('\0') {
        let path = root.join(file);
        // A link or a deletion that is not yet committed has no text of its own.
        if !path.is_file() || path.is_symlink() {
            continue;
        }
        let bytes = fs::read(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
        let text = String::from_utf8_lossy(&bytes);
        if !GENERATED.contains(&file) {
            mistakes.extend(registries_in(&text).map(|mistake| format!("{file}:{mistake}")));
        }
        let lines = text.lines().count();
        let may_be_long =
            GENERATED.contains(&file) || LONG.contains(&file) || file.starts_with("LICENSE");
        if lines > LINES && !may_be_long {
            eprintln!("warning: {file} has {lines} lines; above {LINES} a file is to be split");
        }
    }
    if !mistakes.is_empty() {
        bail!("{}", mistakes.join("\n"));
    }
    Ok(Outcome::Passed)
}

fn registries_in(text: &str) -> impl Iterator<Item = String> + '_ {
    text.lines().enumerate().flat_map(|(index, line)| {
        let line = line.to_ascii_lowercase();
        REGISTRIES
            .iter()
            .map(|(front, back)| format!("{front}{back}"))
            .filter(move |host| line.contains(host.as_str()))
            .map(move |host| {
                let number = index.saturating_add(1);
                format!("{number}: names `{host}`, a public package registry; use registry.test")
            })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_is_found_in_any_case_and_under_any_subdomain() {
        let (front, back) = REGISTRIES[0];
        let text = format!("fine\nhost = \"Static.{}{back}\"\n", front.to_uppercase());
        let found: Vec<String> = registries_in(&text).collect();
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("2: "), "{found:?}");
    }

    #[test]
    fn the_names_to_use_instead_are_no_mistake() {
        assert_eq!(registries_in("registry.test api.example.com").count(), 0);
    }
}
