//! Files of the engine and of cordon.
#![expect(
    clippy::disallowed_methods,
    reason = "errors name the path where they are made"
)]

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde_json::{Value, json};

/// Reads a file whole.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    fs::read(path)
}

/// Reads a JSON file.
pub(crate) fn json(path: &Path) -> Result<Value, String> {
    let bytes = read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    serde_json::from_slice(&bytes).map_err(|error| format!("{}: {error}", path.display()))
}

/// Writes a JSON file anew, whole or not at all.
pub(crate) fn replace(path: &Path, value: &Value) -> Result<(), String> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".cordon");
    let beside = Path::new(&beside);
    let written = || {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(beside)?;
        file.write_all(value.to_string().as_bytes())?;
        fs::rename(beside, path)
    };
    written().map_err(|error: io::Error| format!("{} cannot be written: {error}", path.display()))
}

/// Says why in the log that the engine reads errors from.
pub(crate) fn log(path: Option<&Path>, message: &str) {
    let Some(path) = path else {
        return;
    };
    let line = json!({"level": "error", "msg": message, "time": "1970-01-01T00:00:00Z"});
    let mut options = OpenOptions::new();
    let opened = options.append(true).create(true).mode(0o600).open(path);
    // It is said on standard error as well.
    let _said = opened.and_then(|mut file| writeln!(file, "{line}"));
}
