//! `cordon key revoke`.

use std::io;
use std::path::Path;

use jiff::Timestamp;

use super::Failure;
use crate::cli::output;
use crate::gate::revocations::{MAX_LIST, Reason, RevocationsPredicate, Revoked};
use crate::report::envelope::Bundle;
use crate::report::escape::escape;
use crate::report::signer::{VerifyingKey, is_fingerprint};
use crate::sys::dir::Directory;
use crate::sys::fs::FileError;

/// What is put on the list, and why.
#[derive(Debug)]
pub(super) struct Entries<'a> {
    /// Fingerprints, or files of public keys.
    pub(super) keys: &'a [String],
    pub(super) reason: Reason,
    pub(super) note: Option<String>,
}

/// Signs the next list. The one before must be signed by the same key, or by `before`.
pub(super) fn revoke(
    list: &Path,
    (key, config): (&Path, Option<&Path>),
    before: Option<&Path>,
    entries: &Entries<'_>,
) -> Result<(), Failure> {
    let key = super::load(key, config)?;
    let before = before.map(VerifyingKey::load).transpose()?;
    let now = Timestamp::now();
    let further = entries.revoked(now)?;
    if let Some(own) = further
        .iter()
        .find(|revoked| revoked.key == key.public().id())
    {
        let id = own.key.clone();
        return Err(Failure::RevokesItself { id });
    }
    let name = list.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| {
        let nameless = io::Error::new(io::ErrorKind::InvalidInput, "this names no file");
        FileError::on("write", list)(nameless)
    })?;
    let parent = list.parent().filter(|path| !path.as_os_str().is_empty());
    let dir = Directory::open(parent.unwrap_or_else(|| Path::new(".")))?;
    if !dir.try_lock()? {
        let path = dir.path().to_owned();
        return Err(Failure::Busy { path });
    }
    let last = if dir.contains(name)? {
        let signers: Vec<_> = [key.public()].into_iter().chain(before).collect();
        Some(RevocationsPredicate::open(&dir.read(name, MAX_LIST)?, &signers)?.0)
    } else {
        None
    };
    let next = RevocationsPredicate::after(last, further, now)?;
    let shown = description(&next, list);
    let payload = next.statement().to_bytes()?;
    let mut text = serde_json::to_string(&Bundle::sign(&payload, &key)?)?;
    text.push('\n');
    dir.replace(name, text.as_bytes(), 0o644)?;
    Ok(output::data(&shown)?)
}

impl Entries<'_> {
    fn revoked(&self, now: Timestamp) -> Result<Vec<Revoked>, Failure> {
        let ids = self.keys.iter().map(|key| {
            if is_fingerprint(key) {
                return Ok(key.clone());
            }
            // A slip in a fingerprint must not revoke a key that nobody has.
            if key.starts_with("SHA256:") {
                return Err(Failure::NoFingerprint { text: key.clone() });
            }
            Ok(VerifyingKey::load(Path::new(key))?.id())
        });
        ids.map(|id| {
            Ok(Revoked {
                key: id?,
                revoked_on: now,
                reason: self.reason,
                note: self.note.clone(),
            })
        })
        .collect()
    }
}

fn description(list: &RevocationsPredicate, path: &Path) -> String {
    let mut text = format!(
        "list       `{}`, number {}, of {}\n",
        escape(&path.to_string_lossy()),
        list.number,
        list.issued_on,
    );
    for revoked in &list.revoked {
        let note = revoked.note.as_deref().map(escape);
        let note = note.map_or_else(String::new, |note| format!(": {note}"));
        text.extend([format!(
            "revoked    {}  {} {}{note}\n",
            revoked.key, revoked.revoked_on, revoked.reason,
        )]);
    }
    if list.revoked.is_empty() {
        text.push_str("revoked    none\n");
    }
    text
}
