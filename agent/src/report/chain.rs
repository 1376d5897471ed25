//! The chain of seals: which number the next one has, and which one was before it.
//!
//! There is one chain for each key, in `chain/KEY` of the state directory: the file `last.json` holds
//! the number and the digest of the seal that was made last. A key that took the place of another has no
//! chain of its own: `line.json` in its directory names the first key of the line, whose chain goes on.
//! While both sign, each takes the next number of that one chain.
//!
//! **Invariants**: a number is on disk before anything that bears it is published, so that a crash
//! leaves a number without evidence, and never two pieces of evidence with one number; of several
//! cordons, one at a time takes a number.

use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::json;
use super::run::Link;
use super::signer::VerifyingKey;
use super::statement::sha256_hex;
use crate::sys::dir::Directory;
use crate::sys::fs::FileError;

/// Value of the state's `schema`.
const SCHEMA: &str = "cordon/chain/v1";

/// The file that holds the state.
const LAST: &str = "last.json";

/// The file of a key that goes on with the chain of another.
const LINE: &str = "line.json";

/// Value of its `schema`.
const LINE_SCHEMA: &str = "cordon/chain-line/v1";

/// 4 KiB: the state has about 200 bytes.
const MAX_STATE: u64 = 4 << 10;

/// How often the lock is asked for, and how long is waited in between: 30 s together. Whoever has it
/// signs two statements and syncs one small file.
const ATTEMPTS: u32 = 3000;
const PAUSE: Duration = Duration::from_millis(10);

/// A number that could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// A key that has sealed already cannot go on with another's chain.
    #[error(
        "`{}` is a chain of seals of its own: a key that has sealed cannot take the place of another",
        path.display()
    )]
    Begun {
        /// The chain's directory.
        path: PathBuf,
    },
    /// Somebody holds the chain and does not let go.
    #[error(
        "another cordon holds the chain of seals in `{}` and does not let go; end it, or wait",
        path.display()
    )]
    Busy {
        /// The chain's directory.
        path: PathBuf,
    },
    /// The state has no JSON form.
    #[error("the chain of seals cannot be written as JSON")]
    Encode(#[source] serde_json::Error),
    /// There is no higher number.
    #[error("the chain of seals in `{}` has no number left", path.display())]
    Exhausted {
        /// The chain's directory.
        path: PathBuf,
    },
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// The state is not one of this version, or of another key.
    #[error(
        "`{}` is not the state of this key's chain of seals; restore it from a backup, or remove it \
         and tell those who verify that the numbers begin anew",
        path.display()
    )]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, if it is no JSON of this form.
        #[source]
        source: Option<serde_json::Error>,
    },
}

/// The chain of one key.
#[derive(Clone, Debug)]
pub struct Chain {
    base: PathBuf,
    path: PathBuf,
    key_id: String,
}

/// Which chain a key goes on with.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Line {
    schema: String,
    key: String,
    of: String,
}

/// A number that is taken, and held until it is kept.
#[derive(Debug)]
#[must_use = "a number that is not kept is given out again"]
pub struct Next {
    /// Number and predecessor of the seal to be made.
    pub link: Link,
    directory: Directory,
    key_id: String,
}

/// What is known of the seal that was made last.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Last {
    schema: String,
    key: String,
    sequence: u64,
    seal: String,
}

impl Chain {
    /// The chain of a key, in a state directory. Nothing is looked at yet.
    #[must_use]
    pub fn new(state_dir: &Path, key: VerifyingKey) -> Self {
        Self::of(state_dir.join("chain"), key.id())
    }

    fn of(base: PathBuf, key_id: String) -> Self {
        let path = base.join(sha256_hex(key_id.as_bytes()));
        Self { base, path, key_id }
    }

    /// The chain that this key goes on with: its own, if it took the place of no other key.
    fn resolved(&self) -> Result<Self, ChainError> {
        let directory = Directory::open_or_create(&self.path, 0o700)?;
        if !directory.contains(LINE)? {
            return Ok(self.clone());
        }
        let malformed = |source| ChainError::Malformed {
            path: self.path.join(LINE),
            source,
        };
        let bytes = directory.read(LINE, MAX_STATE)?;
        let line: Line = json::parse(&bytes).map_err(|source| malformed(Some(source)))?;
        if line.schema != LINE_SCHEMA || line.key != self.key_id || line.of == self.key_id {
            return Err(malformed(None));
        }
        Ok(Self::of(self.base.clone(), line.of))
    }

    /// Has this key go on with the chain of `old`, whose place it takes, on disk when this returns. It
    /// does nothing where that is so already.
    ///
    /// # Errors
    /// This key has sealed already, or a file cannot be read or written.
    pub fn join(&self, old: &Self) -> Result<(), ChainError> {
        let of = old.resolved()?.key_id;
        let directory = Directory::open_or_create(&self.path, 0o700)?;
        self.lock(&directory)?;
        if directory.contains(LAST)? {
            let path = self.path.clone();
            return Err(ChainError::Begun { path });
        }
        if directory.contains(LINE)? && self.resolved()?.key_id == of {
            return Ok(());
        }
        let line = Line {
            schema: LINE_SCHEMA.to_owned(),
            key: self.key_id.clone(),
            of,
        };
        let text = json::pretty(&line).map_err(ChainError::Encode)?;
        Ok(directory.replace(LINE, text.as_bytes(), 0o600)?)
    }

    /// Whether a number could be taken now; makes the chain where it is missing.
    ///
    /// # Errors
    /// It cannot be made or read, or is not whole.
    pub fn check(&self) -> Result<(), ChainError> {
        let chain = self.resolved()?;
        let directory = Directory::open_or_create(&chain.path, 0o700)?;
        read(&directory, &chain.key_id)?;
        Ok(())
    }

    /// Takes the next number; waits while another cordon has it.
    ///
    /// # Errors
    /// See [`ChainError`].
    pub fn next(&self) -> Result<Next, ChainError> {
        let chain = self.resolved()?;
        let directory = Directory::open_or_create(&chain.path, 0o700)?;
        chain.lock(&directory)?;
        let last = read(&directory, &chain.key_id)?;
        let link = match last {
            None => Link {
                sequence: 1,
                previous: None,
            },
            Some(last) => Link {
                sequence: last.sequence.checked_add(1).ok_or_else(|| {
                    let path = self.path.clone();
                    ChainError::Exhausted { path }
                })?,
                previous: Some(last.seal),
            },
        };
        Ok(Next {
            link,
            directory,
            key_id: chain.key_id,
        })
    }

    fn lock(&self, directory: &Directory) -> Result<(), ChainError> {
        for _ in 0..ATTEMPTS {
            if directory.try_lock()? {
                return Ok(());
            }
            sleep(PAUSE);
        }
        let path = self.path.clone();
        Err(ChainError::Busy { path })
    }
}

impl Next {
    /// Writes down that this number is that of the seal with this SHA-256 (hex), on disk when this
    /// returns. Only then may the seal be shown to anybody.
    ///
    /// # Errors
    /// It cannot be written; then the number is given out again, and nothing may bear it.
    pub fn keep(self, seal_sha256: &str) -> Result<(), ChainError> {
        let Self {
            link,
            directory,
            key_id,
        } = self;
        let last = Last {
            schema: SCHEMA.to_owned(),
            key: key_id,
            sequence: link.sequence,
            seal: seal_sha256.to_owned(),
        };
        let text = json::pretty(&last).map_err(ChainError::Encode)?;
        Ok(directory.replace(LAST, text.as_bytes(), 0o600)?)
    }
}

fn read(directory: &Directory, key_id: &str) -> Result<Option<Last>, ChainError> {
    if !directory.contains(LAST)? {
        return Ok(None);
    }
    let malformed = |source| ChainError::Malformed {
        path: directory.path().join(LAST),
        source,
    };
    let bytes = directory.read(LAST, MAX_STATE)?;
    let last: Last = json::parse(&bytes).map_err(|source| malformed(Some(source)))?;
    if last.schema != SCHEMA || last.key != key_id || last.sequence == 0 {
        return Err(malformed(None));
    }
    Ok(Some(last))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::report::signer::SigningKey;
    use crate::report::signer::tests::published_key;

    fn chain(base: &Path) -> Chain {
        Chain::new(base, published_key().public())
    }

    #[test]
    fn numbers_count_up_and_name_the_seal_before() {
        let base = tempfile::tempdir().unwrap();
        let first = chain(base.path()).next().unwrap();
        assert_eq!((first.link.sequence, &first.link.previous), (1, &None));
        first.keep("aa").unwrap();
        let second = chain(base.path()).next().unwrap();
        let before = Some("aa".to_owned());
        assert_eq!((second.link.sequence, &second.link.previous), (2, &before));
    }

    #[test]
    fn each_key_has_a_chain_of_its_own() {
        let base = tempfile::tempdir().unwrap();
        chain(base.path()).next().unwrap().keep("aa").unwrap();
        let other = SigningKey::generate().unwrap().public();
        let other = Chain::new(base.path(), other);
        assert_eq!(other.next().unwrap().link.sequence, 1);
    }

    #[test]
    fn a_key_that_has_sealed_takes_no_other_ones_place_and_a_damaged_line_is_refused() {
        let base = tempfile::tempdir().unwrap();
        chain(base.path()).next().unwrap().keep("aa").unwrap();
        let other = Chain::new(base.path(), SigningKey::generate().unwrap().public());
        let error = chain(base.path()).join(&other).unwrap_err();
        assert!(matches!(error, ChainError::Begun { .. }), "{error}");
        other.join(&chain(base.path())).unwrap();
        other.join(&chain(base.path())).unwrap();
        assert_eq!(other.next().unwrap().link.sequence, 2);
        let file = other.path.join(LINE);
        let good = crate::sys::fs::read_to_string(&file, MAX_STATE).unwrap();
        let id = published_key().public().id();
        for bad in [
            "",
            "{}",
            &good.replace("line/v1", "line/v2"),
            &good.replace(&id, &other.key_id),
        ] {
            crate::sys::fs::write_atomic(&file, bad.as_bytes(), 0o600).unwrap();
            let error = other.next().unwrap_err();
            assert!(
                matches!(error, ChainError::Malformed { .. }),
                "{bad}: {error}"
            );
        }
    }

    #[test]
    fn a_number_that_was_kept_is_never_given_out_again_though_nothing_was_published() {
        let base = tempfile::tempdir().unwrap();
        // What a crash between keeping and publishing leaves behind.
        chain(base.path()).next().unwrap().keep("gone").unwrap();
        let after = chain(base.path()).next().unwrap().link;
        assert_eq!(after.sequence, 2);
        assert_eq!(after.previous.as_deref(), Some("gone"));
    }

    /// The file of the last link, and what is in it.
    fn last(base: &Path) -> (PathBuf, String) {
        let key = published_key().public();
        let file = base
            .join("chain")
            .join(sha256_hex(key.id().as_bytes()))
            .join(LAST);
        let text = crate::sys::fs::read_to_string(&file, MAX_STATE).unwrap();
        (file, text)
    }

    #[test]
    fn many_at_once_get_each_number_once() {
        let base = tempfile::tempdir().unwrap();
        let numbers = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (base, numbers) = (base.path(), &numbers);
                scope.spawn(move || {
                    for round in 0..5 {
                        let next = chain(base).next().unwrap();
                        let link = next.link.clone();
                        let seal = format!("{thread}-{round}");
                        next.keep(&seal).unwrap();
                        numbers.lock().unwrap().push((link, seal));
                    }
                });
            }
        });
        let mut links = numbers.into_inner().unwrap();
        links.sort_by_key(|(link, _)| link.sequence);
        let sequences: Vec<_> = links.iter().map(|(link, _)| link.sequence).collect();
        assert_eq!(sequences, (1..=20).collect::<Vec<_>>());
        for pair in links.windows(2) {
            assert_eq!(pair[1].0.previous.as_ref(), Some(&pair[0].1));
        }
    }

    #[test]
    fn a_state_that_is_not_whole_is_refused_before_a_job_starts() {
        let base = tempfile::tempdir().unwrap();
        chain(base.path()).next().unwrap().keep("aa").unwrap();
        let (file, good) = last(base.path());
        for bad in [
            "",
            "{}",
            &good.replace("chain/v1", "chain/v2"),
            &good.replace("SHA256:", "SHA256:x"),
            &good.replace("\"sequence\": 1", "\"sequence\": 0"),
            &good.replace("\"sequence\": 1", "\"sequence\": 1, \"sequence\": 2"),
        ] {
            crate::sys::fs::write_atomic(&file, bad.as_bytes(), 0o600).unwrap();
            let error = chain(base.path()).check().unwrap_err();
            assert!(
                matches!(error, ChainError::Malformed { .. }),
                "{bad}: {error}"
            );
        }
    }

    #[test]
    fn the_last_number_is_the_last() {
        let base = tempfile::tempdir().unwrap();
        chain(base.path()).next().unwrap().keep("aa").unwrap();
        let (file, good) = last(base.path());
        let full = good.replace("\"sequence\": 1", &format!("\"sequence\": {}", u64::MAX));
        crate::sys::fs::write_atomic(&file, full.as_bytes(), 0o600).unwrap();
        let error = chain(base.path()).next().unwrap_err();
        assert!(matches!(error, ChainError::Exhausted { .. }), "{error}");
    }
}
