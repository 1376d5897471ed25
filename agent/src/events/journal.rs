//! The journal: single events of one job, written while it runs, one line each.
//!
//! It lies beside the job's record, where only root can read it, and becomes part of the evidence at the end.
//! What it cannot keep is counted; nothing waits for it and nothing fails because of it.
//!
//! **Invariants**: lines are chained and never written over; what a cordon that was killed had written is kept,
//! up to its last whole line.

use std::cell::RefCell;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use cordon_ebpf::abi::record::{Connection, Hook, NameRefused};
use cordon_ebpf::abi::verdict::{Reason, Verdict};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::decode::Event;
use super::ledger::{Incident, Ledger, News, SocketKey, flow_of, refused_flow_of, shown};
use crate::attribution::{Chain, Living};
use crate::dns::Question;
use crate::report::ocsf::chain::{self, ChainError, EventFacts, Head};
use crate::report::ocsf::{self, Context, Happening};
use crate::report::statement::finished_hex;
use crate::sys::clock::{BootTime, Calendar};
use crate::sys::fs::{self, FileError};

/// Lines that wait to be written together, bytes.
const TOGETHER: usize = 64 << 10;

/// A journal that cannot be gone on with.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// Somebody changed it, or the disk did.
    #[error("the job's events in `{}` are not as they were written", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: ChainError,
    },
}

/// A job's journal, or none. What is cloned is the same one.
#[derive(Clone, Debug, Default)]
pub struct Journal(Rc<RefCell<Option<Open>>>);

#[derive(Debug)]
struct Open {
    path: PathBuf,
    file: File,
    context: Context,
    calendar: Calendar,
    head: Head,
    /// Most bytes it may have.
    limit: u64,
    waiting: Vec<u8>,
    dropped: u64,
    /// Nothing more is written: lines after a gap would break the chain.
    stopped: bool,
}

/// A journal that is at its end, and as it was written.
#[derive(Debug)]
pub struct Kept {
    /// It, open.
    pub file: File,
    /// SHA-256 of all of it, hex.
    pub sha256: String,
    /// What is in it.
    pub facts: EventFacts,
}

impl Journal {
    /// Begins the journal of a job that has none.
    ///
    /// # Errors
    /// It cannot be made, or the clock not be read.
    pub fn begin(path: PathBuf, context: Context, limit: u64) -> Result<Self, JournalError> {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        // A job's name is never used twice while one of it is there; what lies here has no owner.
        discard(&path)?;
        let file = fs::create_new(&path, 0o600)?;
        Self::open(path, file, context, (Head::default(), limit))
    }

    /// Goes on with the journal of a job whose cordon is gone. A last line without end is cut off.
    ///
    /// # Errors
    /// It is not there, cannot be read, or is not as it was written.
    pub fn adopt(path: PathBuf, context: Context, limit: u64) -> Result<Self, JournalError> {
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .open(&path)
            .map_err(FileError::on("open", &path))?;
        let head = match chain::check(&mut &file, &mut |_| {}) {
            Ok(head) => head,
            Err(ChainError::Torn { before, .. }) => {
                file.set_len(before.bytes)
                    .map_err(FileError::on("cut", &path))?;
                before
            }
            Err(source) => return Err(JournalError::Damaged { path, source }),
        };
        Self::open(path, file, context, (head, limit))
    }

    fn open(
        path: PathBuf,
        file: File,
        context: Context,
        (head, limit): (Head, u64),
    ) -> Result<Self, JournalError> {
        let calendar = Calendar::now().map_err(FileError::on("read the clock for", &path))?;
        Ok(Self(Rc::new(RefCell::new(Some(Open {
            path,
            file,
            context,
            calendar,
            head,
            limit,
            waiting: Vec::new(),
            dropped: 0,
            stopped: false,
        })))))
    }

    /// Takes what is happening now.
    pub fn now(&self, happening: &Happening<'_>) {
        self.at(Timestamp::now(), happening);
    }

    /// Takes what happened at some time.
    pub fn at(&self, time: Timestamp, happening: &Happening<'_>) {
        self.with(|open| open.take(time, happening));
    }

    /// Takes one record of the kernel; the ledger has it already.
    pub fn record(&self, event: &Event, ledger: &Ledger, living: &impl Living) {
        self.with(|open| open.record(event, ledger, living));
    }

    /// Takes one DNS question.
    pub fn question(&self, question: &Question, ledger: &Ledger, living: &impl Living) {
        self.with(|open| {
            let chain = question.process.map(|tgid| ledger.chain_of(tgid, living));
            let chain = chain.as_ref();
            open.take(Timestamp::now(), &Happening::Name { question, chain });
        });
    }

    /// Takes news that no record of the kernel is behind.
    pub fn news(&self, news: &News) {
        match news {
            News::Secret(seen) => self.now(&Happening::Secret(seen)),
            News::LimitMet { met, .. } => self.now(&Happening::LimitMet(met)),
            News::LimitChanged(change) => self.now(&Happening::LimitChanged(change)),
            News::Incident {
                incident: incident @ Incident::Unserved { .. },
                chain,
            } => self.now(&Happening::Incident { incident, chain }),
            News::TakenOver { .. } => self.now(&Happening::TakenOver),
            // Each of them has a record, or is about another job.
            News::Connection { .. }
            | News::Socket { .. }
            | News::Incident { .. }
            | News::Name { .. }
            | News::Orphan { .. } => {}
        }
    }

    /// Writes what waits.
    pub fn flush(&self) {
        self.with(Open::flush);
    }

    /// Ends it, and reads it once more. `None`: there is no journal.
    ///
    /// # Errors
    /// It cannot be read, or is not as it was written.
    pub fn close(&self) -> Result<Option<Kept>, JournalError> {
        let Some(mut open) = self.0.borrow_mut().take() else {
            return Ok(None);
        };
        open.flush();
        let Open {
            path,
            head,
            dropped,
            ..
        } = open;
        let mut file = fs::open(&path)?;
        let mut sha256 = Sha256::new();
        let read = chain::check(&mut file, &mut |bytes| sha256.update(bytes));
        let damaged = |source| JournalError::Damaged {
            path: path.clone(),
            source,
        };
        // A chain of its own that somebody put there is whole too.
        if read.map_err(damaged)? != head {
            return Err(damaged(ChainError::Broken { line: head.lines }));
        }
        file.rewind().map_err(FileError::on("read", &path))?;
        Ok(Some(Kept {
            file,
            sha256: finished_hex(sha256),
            facts: EventFacts {
                name: ocsf::NAME.to_owned(),
                lines: head.lines,
                head: head.hex(),
                dropped,
            },
        }))
    }

    fn with(&self, act: impl FnOnce(&mut Open)) {
        if let Some(open) = self.0.borrow_mut().as_mut() {
            act(open);
        }
    }
}

impl Open {
    fn take(&mut self, time: Timestamp, happening: &Happening<'_>) {
        if self.stopped {
            self.dropped = self.dropped.saturating_add(1);
            return;
        }
        let line = match ocsf::render(&self.context, &self.head, time, happening) {
            Ok(line) if line.len() < chain::MAX_LINE => line,
            Ok(_) | Err(_) => {
                self.dropped = self.dropped.saturating_add(1);
                return;
            }
        };
        let head = self.head.after(&line);
        if head.bytes > self.limit {
            self.stop("it has all the bytes that `events_mib` lets it have");
            return;
        }
        self.head = head;
        self.waiting.extend_from_slice(&line);
        self.waiting.push(b'\n');
        if self.waiting.len() >= TOGETHER {
            self.flush();
        }
    }

    fn record(&mut self, event: &Event, ledger: &Ledger, living: &impl Living) {
        match event {
            Event::Connection(record) => self.connection(record, ledger, living),
            Event::NameRefused(record) => self.name_refused(record, ledger, living),
            Event::SocketRefused(record) => {
                let chain = ledger.chain(record.header.tgid, &record.comm, living);
                let socket = SocketKey {
                    family: record.family,
                    kind: record.kind,
                    protocol: record.protocol,
                };
                let happening = Happening::Socket {
                    socket,
                    verdict: record.verdict,
                    reason: record.reason,
                    chain: &chain,
                };
                self.take(self.at(record.header.time), &happening);
            }
            Event::CallRefused(record) => {
                let chain = ledger.chain(record.header.tgid, &record.comm, living);
                let incident = Incident::of_call(record);
                self.incident(record.header.time, &incident, &chain);
            }
            Event::Moved(record) => {
                if let Some(incident) = ledger.left(record) {
                    let chain = ledger.chain(record.header.tgid, &[0; 16], living);
                    self.incident(record.header.time, &incident, &chain);
                }
            }
            Event::Exec(record) => {
                let chain = ledger.chain(record.header.tgid, &record.comm, living);
                let happening = Happening::Executed {
                    chain: &chain,
                    user: record.uid,
                };
                self.take(self.at(record.header.time), &happening);
            }
            // A fork alone does nothing; where nobody serves DNS is told as news.
            Event::Fork(_) | Event::Unserved(_) => {}
        }
    }

    fn connection(&mut self, record: &Connection, ledger: &Ledger, living: &impl Living) {
        if record.verdict == Verdict::ALLOW && record.reason == Reason::RESOLVER {
            // The questions say more.
            return;
        }
        let flow = flow_of(record);
        let chain = ledger.chain(record.header.tgid, &record.comm, living);
        let happening = Happening::Connection {
            flow: &flow,
            hook: record.hook,
            names: &ledger.names_of(flow.address.into()),
            shown: None,
            chain: &chain,
            user: Some(record.uid),
        };
        self.take(self.at(record.header.time), &happening);
    }

    fn name_refused(&mut self, record: &NameRefused, ledger: &Ledger, living: &impl Living) {
        let flow = refused_flow_of(record);
        let chain = ledger.chain(record.header.tgid, &[0; 16], living);
        let shown = shown(record);
        let happening = Happening::Connection {
            flow: &flow,
            hook: Hook::EGRESS,
            names: &ledger.names_of(flow.address.into()),
            shown: shown.as_deref(),
            chain: &chain,
            user: None,
        };
        self.take(self.at(record.header.time), &happening);
    }

    fn incident(&mut self, time: u64, incident: &Incident, chain: &Chain) {
        self.take(self.at(time), &Happening::Incident { incident, chain });
    }

    fn at(&self, boot: u64) -> Timestamp {
        self.calendar.at(BootTime(boot))
    }

    fn flush(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        if let Err(error) = self.file.write_all(&self.waiting) {
            self.lose(&error);
        }
        self.waiting.clear();
    }

    /// What could not be written is not there: the chain ends before it.
    fn lose(&mut self, error: &io::Error) {
        let before = self.head;
        let written = fs::open(&self.path)
            .map_err(|error| error.source)
            .and_then(|mut file| match chain::check(&mut file, &mut |_| {}) {
                Ok(head) => Ok(head),
                Err(ChainError::Torn { before, .. }) => {
                    self.file.set_len(before.bytes)?;
                    Ok(before)
                }
                Err(error) => Err(io::Error::other(error)),
            });
        match written {
            Ok(head) => self.head = head,
            // Then the evidence will not have it: the digest does not fit.
            Err(error) => tracing::warn!(%error, "a job's events cannot be read back"),
        }
        let lost = before.lines.saturating_sub(self.head.lines);
        self.dropped = self.dropped.saturating_add(lost);
        self.stopped = true;
        tracing::warn!(%error, job = self.context.job, "events are only counted from now on");
    }

    fn stop(&mut self, why: &str) {
        self.stopped = true;
        self.dropped = self.dropped.saturating_add(1);
        tracing::warn!(
            why,
            job = self.context.job,
            "events are only counted from now on"
        );
    }
}

/// Removes a journal that nobody will read.
///
/// # Errors
/// It is there and cannot be removed.
pub fn discard(path: &Path) -> Result<(), FileError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(FileError::on("remove", path)(error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;
    use crate::report::Outcome;

    const LIMIT: u64 = 1 << 20;

    fn context() -> Context {
        Context {
            job: "1".into(),
            host: "h".into(),
            policy: "p".into(),
        }
    }

    fn begin(path: &Path, limit: u64) -> Journal {
        Journal::begin(path.into(), context(), limit).unwrap()
    }

    fn adopt(path: &Path) -> Result<Journal, JournalError> {
        Journal::adopt(path.into(), context(), LIMIT)
    }

    fn taken_over(journal: &Journal, times: usize) {
        for _ in 0..times {
            journal.now(&Happening::TakenOver);
        }
    }

    fn read(kept: &mut Kept) -> Vec<u8> {
        let mut bytes = Vec::new();
        kept.file.read_to_end(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn what_is_kept_is_whole_and_has_the_digest_it_says() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("deep/events");
        let journal = begin(&path, LIMIT);
        taken_over(&journal, 3);
        let outcome = Outcome::Unknown;
        journal.now(&Happening::Ended { outcome });
        let mut kept = journal.close().unwrap().unwrap();
        assert_eq!((kept.facts.lines, kept.facts.dropped), (4, 0));
        let bytes = read(&mut kept);
        let head = chain::check(&mut bytes.as_slice(), &mut |_| {}).unwrap();
        assert_eq!(head.hex(), kept.facts.head);
        assert_eq!(crate::report::statement::sha256_hex(&bytes), kept.sha256);
        assert!(journal.close().unwrap().is_none());
    }

    #[test]
    fn the_next_cordon_goes_on_after_the_last_whole_line() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("events");
        let journal = begin(&path, LIMIT);
        taken_over(&journal, 2);
        journal.flush();
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"{\"half\":").unwrap();
        let next = adopt(&path).unwrap();
        taken_over(&next, 1);
        let kept = next.close().unwrap().unwrap();
        assert_eq!((kept.facts.lines, kept.facts.dropped), (3, 0));
    }

    #[test]
    fn a_journal_that_somebody_changed_is_no_evidence() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("events");
        let journal = begin(&path, LIMIT);
        taken_over(&journal, 2);
        journal.flush();
        let text = fs::read_to_string(&path, LIMIT).unwrap();
        fs::write_existing(&path, text.replacen("\"h\"", "\"H\"", 1).as_bytes()).unwrap();
        assert!(matches!(adopt(&path), Err(JournalError::Damaged { .. })));
        assert!(matches!(journal.close(), Err(JournalError::Damaged { .. })));
    }

    #[test]
    fn a_whole_chain_that_is_another_one_is_no_evidence() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("events");
        let journal = begin(&path, LIMIT);
        taken_over(&journal, 2);
        journal.flush();
        let first = fs::read_to_string(&path, LIMIT).unwrap();
        let line = first.lines().next().unwrap();
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(line.len() as u64 + 1).unwrap();
        assert!(matches!(journal.close(), Err(JournalError::Damaged { .. })));
    }

    #[test]
    fn what_does_not_fit_is_counted_and_nothing_follows_the_gap() {
        let base = tempfile::tempdir().unwrap();
        let journal = begin(&base.path().join("events"), 1000);
        taken_over(&journal, 9);
        let mut kept = journal.close().unwrap().unwrap();
        assert_eq!(kept.facts.lines + kept.facts.dropped, 9);
        assert!(kept.facts.lines > 0 && kept.facts.dropped > 0);
        assert!(read(&mut kept).len() <= 1000);
    }

    #[test]
    fn a_disk_that_is_full_costs_events_and_nothing_else() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("events");
        let journal = begin(&path, LIMIT);
        taken_over(&journal, 1);
        journal.flush();
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        journal.with(|open| open.file = full);
        taken_over(&journal, 2);
        journal.flush();
        taken_over(&journal, 4);
        let kept = journal.close().unwrap().unwrap();
        assert_eq!((kept.facts.lines, kept.facts.dropped), (1, 6));
    }
}
