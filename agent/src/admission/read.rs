//! Reads `[[runner]]` and `[[grant]]` from the host settings.

#![forbid(unsafe_code)]

use std::num::NonZeroU16;
use std::path::{Path, PathBuf};

use super::{Grant, Pattern, Runner};
use crate::engine::is_workspace;
use crate::policy::reader::{Reader, Schema, Table};
use crate::policy::{Mistake, is_profile_name};

/// Runners or grants of one host.
const MOST: usize = 1024;

pub(crate) const RUNNER: Schema = Schema {
    what: "a `[[runner]]`",
    keys: &[
        "unit",
        "control_plane",
        "worker",
        "engine_port",
        "workspace",
    ],
    later: &[],
};

pub(crate) const GRANT: Schema = Schema {
    what: "a `[[grant]]`",
    keys: &[
        "runner",
        "repository",
        "workflow",
        "ref",
        "events",
        "profiles",
        "always",
        "fork_profile",
        "pull_request_target_profile",
    ],
    later: &[],
};

/// All `[[runner]]` tables.
pub(crate) fn read_runners(reader: &mut Reader, root: Table<'_>) -> Vec<Runner> {
    tables(reader, root, "runner", &RUNNER, |reader, table| {
        let unit = pattern(reader, table, "unit");
        let unit = reader.required(table, "unit", "`unit = \"actions.runner.*.service\"`", unit);
        let control_plane = profiles(reader, table, "control_plane");
        let worker = program(reader, table);
        let engine_port = port(reader, table);
        let workspace = directories(reader, table);
        Some(Runner {
            unit: unit?,
            control_plane,
            worker,
            engine_port,
            workspace,
            line: reader.source().line(table.span().start),
        })
    })
}

/// All `[[grant]]` tables.
pub(crate) fn read_grants(reader: &mut Reader, root: Table<'_>) -> Vec<Grant> {
    tables(reader, root, "grant", &GRANT, |reader, table| {
        let repository = pattern(reader, table, "repository");
        let repository = reader.required(
            table,
            "repository",
            "`repository = \"owner/*\"`",
            repository,
        );
        let names = profiles(reader, table, "profiles");
        let given = table.has("profiles").then_some(());
        reader.required(table, "profiles", "`profiles = [\"NAME\"]`", given);
        let always = profiles(reader, table, "always");
        let fork_profile = profile(reader, table, "fork_profile");
        let target_profile = profile(reader, table, "pull_request_target_profile");
        let events = words(reader, table, "events");
        let runner = pattern(reader, table, "runner");
        let workflow = pattern(reader, table, "workflow");
        let reference = pattern(reader, table, "ref");
        let line = reader.source().line(table.span().start);
        Some(Grant {
            runner,
            repository: repository?,
            workflow,
            reference,
            events,
            profiles: names,
            always,
            fork_profile,
            target_profile,
            place: format!("{}:{line}", reader.source().name()),
        })
    })
}

fn tables<T>(
    reader: &mut Reader,
    root: Table<'_>,
    key: &str,
    schema: &Schema,
    read: impl Fn(&mut Reader, Table<'_>) -> Option<T>,
) -> Vec<T> {
    let Some(list) = reader.array(root, key) else {
        return Vec::new();
    };
    if list.get_ref().len() > MOST {
        let mistake = Mistake::new(format!("more than {MOST} tables `[[{key}]]`"));
        reader.push(&list.span(), mistake);
        return Vec::new();
    }
    let tables = list.get_ref().iter().filter_map(|item| {
        let table = reader.as_table(key, item, schema)?;
        read(reader, table)
    });
    tables.collect()
}

fn pattern(reader: &mut Reader, table: Table<'_>, key: &str) -> Option<Pattern> {
    let text = reader.string(table, key)?;
    let pattern = Pattern::parse(text.get_ref());
    if pattern.is_none() {
        let mistake = Mistake::new(format!("`{key}` is no pattern"))
            .help("a pattern has 1 to 256 bytes; `*` is anything but `/`, `**` is anything");
        reader.push(&text.span(), mistake);
    }
    pattern
}

fn profiles(reader: &mut Reader, table: Table<'_>, key: &str) -> Vec<String> {
    let Some(list) = reader.strings(table, key) else {
        return Vec::new();
    };
    let mut names = Vec::new();
    for text in list.get_ref() {
        if is_name(reader, key, text) {
            names.push((*text.get_ref()).to_owned());
        }
    }
    names
}

fn profile(reader: &mut Reader, table: Table<'_>, key: &str) -> Option<String> {
    let text = reader.string(table, key)?;
    is_name(reader, key, &text).then(|| (*text.get_ref()).to_owned())
}

/// Profiles are named, not pointed at: a path would be read with the rights of the daemon.
fn is_name(reader: &mut Reader, key: &str, text: &toml::Spanned<&str>) -> bool {
    let name = *text.get_ref();
    let good = is_profile_name(name);
    if !good {
        let mistake = Mistake::new(format!(
            "`{key}` names profiles, and this is no name of one"
        ))
        .help("put the file into the host's profile directory and write its name without `.toml`");
        reader.push(&text.span(), mistake);
    }
    good
}

fn words(reader: &mut Reader, table: Table<'_>, key: &str) -> Vec<String> {
    let Some(list) = reader.strings(table, key) else {
        return Vec::new();
    };
    let words = list.get_ref().iter();
    words.map(|text| (*text.get_ref()).to_owned()).collect()
}

fn program(reader: &mut Reader, table: Table<'_>) -> Option<String> {
    let text = reader.string(table, "worker")?;
    let name = *text.get_ref();
    if name.is_empty() || name.contains('/') || name.chars().any(char::is_control) {
        let mistake = Mistake::new("`worker` is the name of a program, without its directory")
            .help("write `worker = \"Runner.Worker\"`");
        reader.push(&text.span(), mistake);
        return None;
    }
    Some(name.to_owned())
}

fn port(reader: &mut Reader, table: Table<'_>) -> Option<NonZeroU16> {
    let number = reader.integer(table, "engine_port")?;
    let port = u16::try_from(*number.get_ref())
        .ok()
        .and_then(NonZeroU16::new);
    if port.is_none() {
        let mistake = Mistake::new("`engine_port` is a port of 127.0.0.1: 1 to 65535")
            .help("write `engine_port = 2375`, and `DOCKER_HOST=tcp://127.0.0.1:2375` into the runner's unit");
        reader.push(&number.span(), mistake);
    }
    port
}

/// What a container mounts, root in it owns: a whole file system, or a directory that leads to one, is none.
fn directories(reader: &mut Reader, table: Table<'_>) -> Vec<PathBuf> {
    let Some(list) = reader.strings(table, "workspace") else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for text in list.get_ref() {
        let path = Path::new(*text.get_ref());
        if is_workspace(path) {
            found.push(path.to_owned());
        } else {
            let mistake = Mistake::new(
                "`workspace` has absolute paths, at least two directories deep, without `.` and `..`",
            )
            .help("write `workspace = [\"/srv/runner/_work\"]`");
            reader.push(&text.span(), mistake);
        }
    }
    found
}
