//! `[[require]]`: other pieces that the release's bundle must have.

use serde_json::{Number, Value};
use toml::Spanned;
use toml::de::DeValue;

use super::{Claim, Parity, Requirement, Says, field, read};
use crate::policy::Mistake;
use crate::policy::reader::{Reader, Schema, Table, as_i64};
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
        "values",
        "parity",
    ],
    later: &[],
};

const VALUE: Schema = Schema {
    what: "an entry of `values`",
    keys: &["at", "is", "at_most", "at_least"],
    later: &[],
};

const PARITY: Schema = Schema {
    what: "`parity`",
    keys: &["with", "at", "by"],
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
    let named = |with: &str| {
        let paths = requirements.iter().filter_map(|one| one.path.as_deref());
        paths.into_iter().any(|path| path == with)
    };
    for (requirement, item) in requirements.iter().zip(*list.get_ref()) {
        if let Some(parity) = &requirement.parity
            && (!named(&parity.with) || requirement.path.as_ref() == Some(&parity.with))
        {
            let mistake = Mistake::new(format!(
                "no other `[[require]]` has the path `{}`",
                parity.with
            ));
            let help = "ask for both files, so that somebody vouches for both";
            reader.push(&item.span(), mistake.help(help));
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
    let time = pointer(reader, table, "time", "/metadata/timestamp");
    let requirement = Requirement {
        path,
        predicate_type,
        schema,
        digest,
        max_age: field::length(reader, table, "max_age"),
        time,
        unsigned: read::answer(reader, table, "unsigned"),
        values: claims(reader, table),
        parity: parity(reader, table),
    };
    if let Some((message, help)) = senseless(&requirement) {
        reader.push(&table.span(), Mistake::new(message).help(help));
    }
    requirement
}

fn pointer(reader: &mut Reader, table: Table<'_>, key: &str, example: &str) -> Option<String> {
    let help = format!("write it as \"{example}\"");
    field::text(reader, table, key, "a JSON pointer", &help, as_pointer)
}

fn as_pointer(text: &str) -> Option<String> {
    text.starts_with('/').then(|| text.to_owned())
}

fn claims(reader: &mut Reader, table: Table<'_>) -> Vec<Claim> {
    let Some(list) = reader.array(table, "values") else {
        return Vec::new();
    };
    let mut claims = Vec::new();
    for item in *list.get_ref() {
        let table = reader.as_table("values", item, &VALUE);
        claims.extend(table.and_then(|table| claim(reader, table)));
    }
    claims
}

fn claim(reader: &mut Reader, table: Table<'_>) -> Option<Claim> {
    let at = pointer(reader, table, "at", "/summary/errors");
    let at = reader.required(table, "at", "`at = \"/summary/errors\"`", at);
    let is = table.value("is").map(|value| (value, plain(value)));
    let most = table.value("at_most").map(|value| (value, number(value)));
    let least = table.value("at_least").map(|value| (value, number(value)));
    let mut says = Vec::new();
    for (value, read) in [
        is.map(|(value, read)| (value, read.map(Says::Is))),
        most.map(|(value, read)| (value, read.map(Says::AtMost))),
        least.map(|(value, read)| (value, read.map(Says::AtLeast))),
    ]
    .into_iter()
    .flatten()
    {
        let Some(read) = read else {
            let mistake = Mistake::new("nothing can be compared to this");
            let help = "`is` takes a text, a whole number or true or false; `at_most` and `at_least` take a number";
            reader.push(&value.span(), mistake.help(help));
            return None;
        };
        says.push(read);
    }
    let [says] = <[Says; 1]>::try_from(says)
        .map_err(|_several| {
            let mistake = Mistake::new("an entry of `values` asks for one thing");
            let help = "write one of `is`, `at_most` and `at_least`; two bounds are two entries";
            reader.push(&table.span(), mistake.help(help));
        })
        .ok()?;
    Some(Claim { at: at?, says })
}

fn plain(value: &Spanned<DeValue<'_>>) -> Option<Value> {
    let value = value.get_ref();
    let text = value.as_str().map(Value::from);
    let truth = || value.as_bool().map(Value::from);
    text.or_else(truth)
        .or_else(|| as_i64(value).map(Value::from))
}

fn number(value: &Spanned<DeValue<'_>>) -> Option<Number> {
    let value = value.get_ref();
    as_i64(value).map(Number::from).or_else(|| {
        let text = value.as_float()?.as_str();
        Number::from_f64(text.parse().ok()?)
    })
}

fn parity(reader: &mut Reader, table: Table<'_>) -> Option<Parity> {
    let table = reader.child(table, "parity", &PARITY)?;
    let help = "write the `path` of another `[[require]]`";
    let with = field::text(
        reader,
        table,
        "with",
        "a path below the bundle",
        help,
        |text| is_relative(text).then(|| text.to_owned()),
    );
    let with = reader.required(table, "with", "`with = \"sbom/other.json\"`", with);
    let at = pointer(reader, table, "at", "/components");
    let at = reader.required(table, "at", "`at = \"/components\"`", at);
    let by = reader.strings(table, "by");
    let by = reader.required(table, "by", "`by = [\"/name\", \"/version\"]`", by)?;
    let pointers: Option<Vec<_>> = (by.get_ref().iter())
        .map(|text| as_pointer(text.get_ref()))
        .collect();
    let Some(pointers) = pointers.filter(|pointers| !pointers.is_empty()) else {
        let mistake = Mistake::new("`by` is not a list of JSON pointers");
        reader.push(
            &by.span(),
            mistake.help("write it as [\"/name\", \"/version\"]"),
        );
        return None;
    };
    Some(Parity {
        with: with?,
        at: at?,
        by: pointers,
    })
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
        values: _,
        parity,
    } = requirement;
    if path.is_none() && predicate_type.is_none() {
        return Some((
            "this asks for no piece",
            "name its `path`, or the `predicate_type` of a signed statement",
        ));
    }
    if path.is_none() && (schema.is_some() || digest.is_some() || parity.is_some()) {
        return Some((
            "`schema`, `digest` and `parity` are of a file",
            "name its `path`",
        ));
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
