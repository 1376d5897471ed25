//! The `[sandbox]` table of a profile.

use std::collections::BTreeSet;

use toml::Spanned;

use super::path::JobPath;
use super::{Capabilities, Named, SandboxPolicy, Writable};
use crate::policy::Origin;
use crate::policy::diagnostic::{Mistake, nearest};
use crate::policy::reader::{Reader, Schema, Table};
use crate::sys::privilege;

pub(crate) const SANDBOX: Schema = Schema {
    what: "`[sandbox]`",
    keys: &[
        "private_tmp",
        "hide_credentials",
        "user_namespace",
        "hide",
        "read_only",
        "writable",
        "capabilities",
    ],
    later: &[],
};

/// Paths in one list: each is a mount, or a rule of the kernel.
const MOST_PATHS: usize = 256;

/// Reads the table, if there is one.
pub(crate) fn read_sandbox(reader: &mut Reader, root: Table<'_>) -> Option<SandboxPolicy> {
    let table = reader.child(root, "sandbox", &SANDBOX)?;
    Some(SandboxPolicy {
        private_tmp: switch(reader, table, "private_tmp"),
        hide_credentials: switch(reader, table, "hide_credentials"),
        user_namespace: switch(reader, table, "user_namespace"),
        hide: named(reader, table, "hide"),
        read_only: named(reader, table, "read_only"),
        writable: writable(reader, table).into_iter().collect(),
        capabilities: capabilities(reader, table).into_iter().collect(),
    })
}

/// Something that can only be turned on: a profile takes back nothing that another one asks for.
fn switch(reader: &mut Reader, table: Table<'_>, key: &str) -> Option<Origin> {
    let value = reader.boolean(table, key)?;
    value.get_ref().then(|| origin(reader, value.span().start))
}

fn origin(reader: &Reader, at: usize) -> Origin {
    let source = reader.source();
    Origin {
        source: source.name().to_owned(),
        line: source.line(at),
    }
}

/// Paths, each with where it is; and where the list is.
fn paths(
    reader: &mut Reader,
    table: Table<'_>,
    key: &str,
) -> Option<Spanned<Vec<Spanned<JobPath>>>> {
    let list = reader.strings(table, key)?;
    let span = list.span();
    if list.get_ref().len() > MOST_PATHS {
        let mistake = Mistake::new(format!("`{key}` has more than {MOST_PATHS} paths"))
            .help("name the directory that holds them");
        reader.push(&span, mistake);
    }
    let mut paths = Vec::new();
    for text in list.into_inner() {
        match JobPath::parse(text.get_ref()) {
            Ok(path) => paths.push(Spanned::new(text.span(), path)),
            Err(error) => {
                let mistake = Mistake::new(format!("`{key}` has a path that cannot be used"))
                    .help(error.to_string());
                reader.push(&text.span(), mistake);
            }
        }
    }
    Some(Spanned::new(span, paths))
}

fn named(reader: &mut Reader, table: Table<'_>, key: &str) -> Vec<Named> {
    let list = paths(reader, table, key).map(Spanned::into_inner);
    let list = list.unwrap_or_default().into_iter();
    list.map(|path| Named {
        origin: origin(reader, path.span().start),
        path: path.into_inner(),
    })
    .collect()
}

fn writable(reader: &mut Reader, table: Table<'_>) -> Option<Writable> {
    let list = paths(reader, table, "writable")?;
    Some(Writable {
        origin: origin(reader, list.span().start),
        paths: list
            .into_inner()
            .into_iter()
            .map(Spanned::into_inner)
            .collect(),
    })
}

fn capabilities(reader: &mut Reader, table: Table<'_>) -> Option<Capabilities> {
    let list = reader.strings(table, "capabilities")?;
    let origin = origin(reader, list.span().start);
    let mut names = BTreeSet::new();
    for text in list.into_inner() {
        let name = text.get_ref().to_ascii_lowercase();
        let name = name.strip_prefix("cap_").unwrap_or(&name);
        match privilege::is_left(name) {
            Some(true) => {
                names.insert(name.to_owned());
            }
            Some(false) => {
                let mistake = Mistake::new(format!("no job can have `{name}`"))
                    .help("with it a job could undo what cordon does; leave it out");
                reader.push(&text.span(), mistake);
            }
            None => {
                let known = privilege::names();
                let near = nearest(name, known.iter().map(String::as_str));
                let help = near.map_or_else(
                    || "they are listed in capabilities(7), and written without `CAP_`".to_owned(),
                    |near| format!("did you mean `{near}`?"),
                );
                let mistake = Mistake::new(format!("there is no capability `{name}`")).help(help);
                reader.push(&text.span(), mistake);
            }
        }
    }
    Some(Capabilities { names, origin })
}
