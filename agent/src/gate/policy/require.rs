//! `[[require]]`: other pieces that the release's bundle must have.

use super::{Requirement, field, read};
use crate::policy::Mistake;
use crate::policy::reader::{Reader, Schema, Table};
use crate::report::image::Image;

const REQUIRE: Schema = Schema {
    what: "a `[[require]]`",
    keys: &[
        "path",
        "predicate_type",
        "schema",
        "digest",
        "max_age",
        "time",
        "unsigned",
    ],
    later: &[],
};

pub(super) fn read(reader: &mut Reader, root: Table<'_>) -> Vec<Requirement> {
    let Some(list) = reader.array(root, "require") else {
        return Vec::new();
    };
    let mut requirements = Vec::new();
    for item in *list.get_ref() {
        if let Some(table) = reader.as_table("require", item, &REQUIRE) {
            requirements.push(requirement(reader, table));
        }
    }
    requirements
}

fn requirement(reader: &mut Reader, table: Table<'_>) -> Requirement {
    let path = field::text(
        reader,
        table,
        "path",
        "a path below the bundle",
        "write it relative, without `.` and `..`",
        |text| is_relative(text).then(|| text.to_owned()),
    );
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let mut name = |key| field::text(reader, table, key, "a name", "write some text", some);
    let (predicate_type, schema) = (name("predicate_type"), name("schema"));
    let help = "write it as \"sha256:HEX\"";
    let digest = field::text(reader, table, "digest", "a digest", help, |text| {
        Some(text.parse::<Image>().ok()?.digest)
    });
    let time = field::text(
        reader,
        table,
        "time",
        "a JSON pointer",
        "write it as \"/metadata/timestamp\"",
        |text| text.starts_with('/').then(|| text.to_owned()),
    );
    let requirement = Requirement {
        path,
        predicate_type,
        schema,
        digest,
        max_age: field::length(reader, table, "max_age"),
        time,
        unsigned: read::answer(reader, table, "unsigned"),
    };
    if let Some((message, help)) = senseless(&requirement) {
        reader.push(&table.span(), Mistake::new(message).help(help));
    }
    requirement
}

/// What asks for nothing, or for something that cannot be found.
fn senseless(requirement: &Requirement) -> Option<(&'static str, &'static str)> {
    let Requirement {
        path,
        predicate_type,
        schema,
        digest,
        max_age,
        time,
        unsigned: _,
    } = requirement;
    if path.is_none() && predicate_type.is_none() {
        return Some((
            "this asks for no piece",
            "name its `path`, or the `predicate_type` of a signed statement",
        ));
    }
    if path.is_none() && (schema.is_some() || digest.is_some()) {
        return Some(("`schema` and `digest` are of a file", "name its `path`"));
    }
    if max_age.is_some() != time.is_some() {
        return Some((
            "`max_age` and `time` go together",
            "`time` says where the document has its time, as in \"/metadata/timestamp\"",
        ));
    }
    None
}

/// Whether a path leads to a place below where it begins.
pub(crate) fn is_relative(path: &str) -> bool {
    let plain = |part: &str| !part.is_empty() && part != "." && part != "..";
    !path.contains(['\0', '\\']) && path.split('/').all(plain)
}
