//! The gate's memory: a file that one gate at a time reads, decides by and writes.

use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use super::Failure;
use crate::gate::decision::{Decision, Outcome, Verdict};
use crate::gate::state::{MAX_STATE, State};
use crate::report::json;
use crate::sys::dir::Directory;

/// How often the lock is asked for, and how long is waited in between: 30 s together.
const ATTEMPTS: u32 = 3000;
const PAUSE: Duration = Duration::from_millis(10);

/// Checks that say that a seal is genuine.
const GENUINE: [&str; 4] = ["envelope", "signature", "key", "statement"];

/// The file, locked until this is dropped.
pub(super) struct Memory {
    directory: Directory,
    name: String,
    pub(super) state: State,
}

impl Memory {
    /// Reads the state; a new one where there is no file.
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let nameless = || Failure::NoFileName { path: path.into() };
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(nameless)?.to_owned();
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        let directory = Directory::open_or_create(&parent, 0o700)?;
        lock(&directory, path)?;
        let state = if directory.contains(&name)? {
            State::parse(&directory.read(&name, MAX_STATE)?)?
        } else {
            State::default()
        };
        Ok(Self {
            directory,
            name,
            state,
        })
    }

    /// Remembers what was decided, on disk when this returns.
    pub(super) fn keep(mut self, decision: &Decision) -> Result<(), Failure> {
        let before = self.state.clone();
        // A list that was signed by one who may is remembered whatever the evidence is worth.
        if let Some(list) = &decision.revocations {
            self.state.see_list(list);
        }
        let passed = |name: &str| {
            let mut checks = decision.checks.iter();
            checks.any(|check| check.name == name && check.outcome == Outcome::Passed)
        };
        let genuine = GENUINE.iter().all(|name| passed(name));
        if let Some(seal) = decision.seal.as_ref().filter(|_| genuine) {
            self.state.see(seal);
            if decision.verdict == Verdict::Promote {
                self.state
                    .promote(seal, &decision.target, decision.now.time);
            }
        }
        if self.state == before {
            return Ok(());
        }
        let text = json::pretty(&self.state)?;
        Ok(self.directory.replace(&self.name, text.as_bytes(), 0o600)?)
    }
}

fn lock(directory: &Directory, path: &Path) -> Result<(), Failure> {
    for _ in 0..ATTEMPTS {
        if directory.try_lock()? {
            return Ok(());
        }
        sleep(PAUSE);
    }
    Err(Failure::Busy { path: path.into() })
}
