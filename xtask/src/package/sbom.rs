//! The bill of materials: `CycloneDX` 1.6, JSON. Written from what cargo resolved and nothing else, so
//! that two builds of one tree have the same; a foreign validator judges it in `--check`.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::crates::{Crate, Crates, Id};
use super::files::PROGRAMS;
use super::{Recipe, date, version};

/// Name of the file in the package.
pub(super) const NAME: &str = "cordon.cdx.json";

pub(super) fn write(recipe: &Recipe, crates: &Crates) -> Result<String> {
    let [first, ..] = &PROGRAMS;
    let root = (first.package.to_owned(), version().to_owned());
    let own = crates
        .0
        .get(&root)
        .context("the program is not among its crates")?;
    let components: Vec<Value> = crates
        .0
        .iter()
        .filter(|(id, _)| **id != root)
        .map(|(id, one)| component(id, one, "library"))
        .collect();
    let dependencies: Vec<Value> = crates
        .0
        .iter()
        .map(|(id, one)| {
            let uses: Vec<String> = one.uses.iter().map(reference).collect();
            json!({ "ref": reference(id), "dependsOn": uses })
        })
        .collect();
    let bill = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": date(recipe.epoch, "+%Y-%m-%dT%H:%M:%SZ")?,
            "tools": { "components": [
                { "type": "application", "name": "cargo xtask package", "version": version() }
            ] },
            "component": component(&root, own, "application"),
        },
        "components": components,
        "dependencies": dependencies,
    });
    let text = serde_json::to_string_pretty(&bill).context("cannot write JSON")?;
    Ok(text + "\n")
}

/// A crate's package URL, which names it everywhere in the bill.
fn reference((name, version): &Id) -> String {
    // A build of our own is told by `+`, which a URL must not have as it is.
    format!("pkg:cargo/{name}@{}", version.replace('+', "%2B"))
}

fn component(id: &Id, one: &Crate, kind: &str) -> Value {
    let Crate {
        licence,
        description,
        repository,
        sha256,
        folder: _,
        uses: _,
    } = one;
    let (name, version) = id;
    let mut component = json!({
        "type": kind,
        "bom-ref": reference(id),
        "name": name,
        "version": version,
        "purl": reference(id),
    });
    let mut add = |key: &str, value: Option<Value>| {
        if let (Some(entries), Some(value)) = (component.as_object_mut(), value) {
            entries.insert(key.to_owned(), value);
        }
    };
    add("description", description.as_ref().map(|text| json!(text)));
    let expression = licence.as_ref().map(|text| spdx(text));
    add(
        "licenses",
        expression.map(|text| json!([{ "expression": text }])),
    );
    add(
        "hashes",
        sha256
            .as_ref()
            .map(|sum| json!([{ "alg": "SHA-256", "content": sum }])),
    );
    add(
        "externalReferences",
        repository
            .as_ref()
            .map(|url| json!([{ "type": "vcs", "url": url }])),
    );
    component
}

/// Old manifests have a slash for OR.
pub(super) fn spdx(licence: &str) -> String {
    if licence.contains(" OR ") || licence.contains(" AND ") || !licence.contains('/') {
        return licence.to_owned();
    }
    licence
        .split('/')
        .map(str::trim)
        .collect::<Vec<_>>()
        .join(" OR ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_old_way_to_say_or_is_put_right() {
        assert_eq!(spdx("MIT/Apache-2.0"), "MIT OR Apache-2.0");
        assert_eq!(spdx("Apache-2.0 AND ISC"), "Apache-2.0 AND ISC");
    }
}
