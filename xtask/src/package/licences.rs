//! The licences of every crate in the programs, with their texts.
//!
//! **Invariant**: a crate without a text of its licence stops the build, and so does one without a
//! licence. A text that is the same for many crates is there once.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use super::crates::{Crate, Crates};
use super::sbom::spdx;

/// Name of the file in the package.
pub(super) const NAME: &str = "third-party-licences.txt";

const HEADER: &str = "\
The programs of this package contain the crates below, each under its own licence. Where a licence
gives a choice (OR), cordon takes any of them. The texts follow; each names the crates it came with.
The standard library of Rust is in them too, under MIT OR Apache-2.0.
";

/// How files with a licence, a copyright or a notice begin, in lower case.
const BEGINNINGS: [&str; 6] = [
    "licen",
    "copying",
    "notice",
    "unlicense",
    "copyright",
    "third-party",
];

/// The whole text.
pub(super) fn write(root: &Path, crates: &Crates) -> Result<String> {
    let mut text = String::from(HEADER);
    let mut texts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut without = Vec::new();
    for ((name, version), one) in crates.foreign() {
        let Some(licence) = &one.licence else {
            bail!("{name} {version} says no licence");
        };
        let licence = spdx(licence);
        text.extend(["\n", name, " ", version, ": ", &licence]);
        if let Some(repository) = &one.repository {
            text.extend(["\n    ", repository]);
        }
        let own = texts_of(one)?;
        if own.is_empty() {
            without.push((format!("{name} {version}"), licence));
        }
        for own in own {
            texts
                .entry(own)
                .or_default()
                .insert(format!("{name} {version}"));
        }
    }
    for (id, licence) in without {
        let path = fallback(&licence)
            .with_context(|| format!("{id} ({licence}) brings no text of its licence"))?;
        let licence = super::read(&root.join(path))?;
        let whose = format!("{id} (which brings none; that of cordon)");
        texts
            .entry(licence.trim().to_owned())
            .or_default()
            .insert(whose);
    }
    for (licence, whose) in texts {
        text.push_str("\n\n");
        text.push_str(&"-".repeat(78));
        text.push('\n');
        for id in whose {
            text.extend([id.as_str(), "\n"]);
        }
        text.push('\n');
        text.push_str(&licence);
        text.push('\n');
    }
    Ok(text)
}

/// The standard text to use where a crate brings none. MIT has the holder in its text, so such a crate
/// is taken under Apache-2.0 where it gives the choice.
fn fallback(licence: &str) -> Option<&'static str> {
    let choices: Vec<&str> = licence
        .split(" OR ")
        .map(|one| one.trim_matches(['(', ')', ' ']))
        .collect();
    choices.contains(&"Apache-2.0").then_some("LICENSE-APACHE")
}

/// What the crate says in files of its first folder, without blanks at ends of lines.
fn texts_of(one: &Crate) -> Result<Vec<String>> {
    let list = || format!("cannot list `{}`", one.folder.display());
    let mut texts = Vec::new();
    for entry in std::fs::read_dir(&one.folder).with_context(list)? {
        let path = entry.with_context(list)?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .to_lowercase();
        if !path.is_file()
            || !BEGINNINGS
                .iter()
                .any(|beginning| name.starts_with(beginning))
        {
            continue;
        }
        let text = super::read(&path)?;
        let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
        texts.push(lines.join("\n").trim_matches('\n').to_owned());
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_licence_without_a_name_in_it_can_be_said_for_another() {
        assert_eq!(fallback("MIT OR Apache-2.0"), Some("LICENSE-APACHE"));
        assert_eq!(fallback("(MIT OR Apache-2.0)"), Some("LICENSE-APACHE"));
        assert_eq!(fallback("MIT"), None);
        assert_eq!(fallback("Apache-2.0 AND ISC"), None);
    }
}
