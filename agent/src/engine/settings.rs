//! Host settings of container engines: `[containers]`.

use std::path::PathBuf;

use crate::policy::Mistake;
use crate::policy::reader::{Reader, Schema, Table};

/// The table.
pub(crate) const CONTAINERS: Schema = Schema {
    what: "`[containers]`",
    keys: &["socket", "runtime", "mediator"],
    later: &[],
};

/// Which engine jobs may use, and through what.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EngineSettings {
    /// The engine's socket.
    pub socket: PathBuf,
    /// Name by which the engine knows `cordon-runtime`, its default runtime.
    pub runtime: String,
    /// The program `cordon-engine`.
    pub mediator: PathBuf,
}

impl Default for EngineSettings {
    fn default() -> Self {
        Self {
            socket: "/run/docker.sock".into(),
            runtime: "cordon".to_owned(),
            mediator: "/usr/lib/cordon/cordon-engine".into(),
        }
    }
}

/// Reads the table, if there is one. `path` reads an absolute path.
pub(crate) fn read(
    reader: &mut Reader,
    root: Table<'_>,
    path: impl Fn(&mut Reader, Table<'_>, &str) -> Option<PathBuf>,
) -> EngineSettings {
    let default = EngineSettings::default();
    let Some(table) = reader.child(root, "containers", &CONTAINERS) else {
        return default;
    };
    let runtime = reader.string(table, "runtime").map(|name| {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if name.get_ref().is_empty() || !name.get_ref().bytes().all(good) {
            let mistake = Mistake::new("`runtime` is no name of a runtime")
                .help("write the name that the engine's daemon.json gives `cordon-runtime`");
            reader.push(&name.span(), mistake);
        }
        (*name.get_ref()).to_owned()
    });
    EngineSettings {
        socket: path(reader, table, "socket").unwrap_or(default.socket),
        runtime: runtime.unwrap_or(default.runtime),
        mediator: path(reader, table, "mediator").unwrap_or(default.mediator),
    }
}
