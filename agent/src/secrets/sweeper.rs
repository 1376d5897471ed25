//! Brings the engine what processes carry.

use std::cell::OnceCell;
use std::io;
use std::num::NonZeroUsize;

use cordon_ebpf::abi::capture::Capture;
use cordon_secrets::{
    Block, Bounds, Detection, Engine, Judgement, Memory, Place, Scratch, Source, SweepPolicy, Tree,
    Usage,
};
use zeroize::Zeroize as _;

use super::ledger::{SweepLedger, Via};
use super::procfs::{ProcDir, ProcFs, Reading, Unreadable};
use crate::attribution::Chain;
use crate::sys::sensitive::{Locked, Slots};

/// The largest environment or argument list that is read whole: the most the kernel takes for both
/// together, whatever the stack limit (`_STK_LIM / 4 * 3`).
const LARGEST: usize = 6 << 20;
/// Room for decoded layers: four times an ordinary environment and its copies.
const SCRATCH: usize = 4 << 20;

/// Reads and scans processes. It holds bytes of theirs only while it does so.
#[derive(Debug)]
pub struct Sweeper {
    scanner: Scanner,
    buffer: Locked,
    slots: Option<Slots>,
    proc: ProcFs,
    /// What was seen.
    pub ledger: SweepLedger,
}

/// The engine with its memories.
struct Scanner {
    engine: Engine,
    memory: Memory,
    scratch: Locked,
    policy: SweepPolicy,
    usage: Usage,
    known_values: u64,
}

// Neither keys nor what it has seen.
impl std::fmt::Debug for Scanner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scanner").finish_non_exhaustive()
    }
}

/// Whose bytes are scanned.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The process.
    pub process: u32,
    /// Who that is.
    pub identity: &'a Identity<'a>,
    /// Boot time (ns).
    pub now: u64,
}

/// Who a process is: found out where something is found, since most processes carry nothing and asking costs
/// more than reading what they carry.
pub struct Identity<'a> {
    find: &'a dyn Fn() -> (Chain, Tree),
    found: OnceCell<(Chain, Tree)>,
}

impl std::fmt::Debug for Identity<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Identity").field(&self.found).finish()
    }
}

impl<'a> Identity<'a> {
    /// What `find` says, once it is asked for.
    #[must_use]
    pub fn new(find: &'a dyn Fn() -> (Chain, Tree)) -> Self {
        Self {
            find,
            found: OnceCell::new(),
        }
    }

    /// It and its ancestors.
    pub fn chain(&self) -> &Chain {
        &self.found.get_or_init(self.find).0
    }

    /// Whose it is.
    pub fn tree(&self) -> Tree {
        self.found.get_or_init(self.find).1
    }
}

/// Receives each detection, what is thought of it, and whether it is new in its place or its process.
pub type Sink<'a> = &'a mut dyn FnMut(&Detection, Judgement, bool);

impl Sweeper {
    /// A sweeper with this engine. `slots` is where the kernel copies to, if there is a job.
    ///
    /// # Errors
    /// There is no memory, or it may not be locked.
    pub fn new(
        engine: Engine,
        policy: SweepPolicy,
        seed: &[u8; 32],
        known_values: u64,
        slots: Option<Slots>,
    ) -> io::Result<Self> {
        let room = |bytes| Locked::new(NonZeroUsize::new(bytes).unwrap_or(NonZeroUsize::MIN));
        Ok(Self {
            scanner: Scanner {
                engine,
                memory: Memory::new(seed, Bounds::default()),
                scratch: room(SCRATCH)?,
                policy,
                usage: Usage::default(),
                known_values,
            },
            buffer: room(LARGEST)?,
            slots,
            proc: ProcFs::default(),
            ledger: SweepLedger::default(),
        })
    }

    /// How many registered values it looks for.
    #[must_use]
    pub fn known_values(&self) -> u64 {
        self.scanner.known_values
    }

    /// What judged, and which of its entries were of use.
    #[must_use]
    pub fn judged(&self) -> (&SweepPolicy, &Usage) {
        (&self.scanner.policy, &self.scanner.usage)
    }

    /// The engine.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.scanner.engine
    }

    /// The text, or what stands for it because it holds a secret.
    pub fn presentable(&mut self, text: &str) -> String {
        let Scanner {
            engine, scratch, ..
        } = &mut self.scanner;
        match engine.disclose(&mut Scratch::new(scratch.bytes_mut()), text.as_bytes()) {
            Ok(_clean) => text.to_owned(),
            Err(withheld) => withheld.to_string(),
        }
    }

    /// Scans what a process was started with, as the kernel copied it, and gives the slots back.
    pub fn exec(&mut self, subject: Subject<'_>, capture: &Capture, sink: Sink<'_>) {
        self.ledger.noticed(subject.process);
        self.ledger.execs.seen = self.ledger.execs.seen.saturating_add(1);
        // What cannot be looked at counts as not copied, and is read from the process.
        let there = self.slots.as_mut().is_some_and(Slots::open);
        let whole = there && capture.is_whole();
        if whole || capture.copied > 0 {
            self.scan_capture(subject, capture, sink);
        }
        self.release(capture);
        let execs = if whole {
            &mut self.ledger.execs.whole
        } else {
            match self.complete(subject, capture, sink) {
                Completion::Whole => &mut self.ledger.execs.completed,
                Completion::None if capture.copied == 0 => &mut self.ledger.execs.lost,
                Completion::Other | Completion::None => &mut self.ledger.execs.cut,
            }
        };
        *execs = execs.saturating_add(1);
    }

    /// Reads a living process from `/proc` and scans it. Returns whether there was something to read.
    ///
    /// # Errors
    /// It could not be read; the ledger has counted it.
    pub fn process(&mut self, subject: Subject<'_>, sink: Sink<'_>) -> Result<bool, Unreadable> {
        self.ledger.noticed(subject.process);
        let read = self.proc.process(subject.process).and_then(|process| {
            let environ = self.scan_file(&process, Source::Environ, subject, sink)?;
            let arguments = self.scan_file(&process, Source::Arguments, subject, sink)?;
            Ok(environ.is_some() || arguments.is_some())
        });
        match read {
            Ok(true) => self.ledger.was_scanned(subject.process),
            Ok(false) => self.ledger.had_nothing(subject.process),
            Err(why) => self.ledger.not_read(subject.process, why),
        }
        read
    }

    /// Gives back what a record holds that nobody will scan.
    pub fn release(&mut self, capture: &Capture) {
        if let Some(slots) = &mut self.slots {
            for slot in used(capture) {
                slots.release(*slot);
            }
        }
    }

    /// Gives memory back that nobody used since this was asked last.
    pub fn rest(&mut self) {
        if let Some(slots) = &mut self.slots {
            slots.rest();
        }
    }

    fn scan_capture(&mut self, subject: Subject<'_>, capture: &Capture, sink: Sink<'_>) {
        let Some(slots) = &self.slots else {
            return;
        };
        let copied = capture.copied as usize;
        let used = used(capture);
        let bytes = if let [slot] = used {
            slots.data(*slot).and_then(|data| data.get(..copied))
        } else {
            gather(slots, used, self.buffer.bytes_mut());
            self.buffer.bytes().get(..copied)
        };
        let Some((arguments, environ)) =
            bytes.map(|bytes| bytes.split_at(bytes.len().min(capture.arguments as usize)))
        else {
            return;
        };
        let cut = |part: &[u8], whole: u32| part.len() < whole as usize;
        let blocks = [
            (
                Source::Arguments,
                arguments,
                cut(arguments, capture.arguments),
            ),
            (Source::Environ, environ, cut(environ, capture.environment)),
        ];
        for (source, bytes, truncated) in blocks {
            let block = Block {
                source,
                bytes,
                truncated,
            };
            self.scanner
                .scan(&block, subject, Via::Exec, &mut self.ledger, sink);
        }
        self.ledger.was_scanned(subject.process);
        if used.len() > 1 {
            wipe(self.buffer.bytes_mut(), copied);
        }
    }

    /// Reads what the kernel did not copy.
    fn complete(&mut self, subject: Subject<'_>, capture: &Capture, sink: Sink<'_>) -> Completion {
        let Ok(process) = self.proc.process(subject.process) else {
            return Completion::None;
        };
        let mut same = true;
        for (source, expected) in [
            (Source::Arguments, capture.arguments),
            (Source::Environ, capture.environment),
        ] {
            match self.scan_file(&process, source, subject, sink) {
                // Another length is another program's, or its own doing.
                Ok(Some((len, cut))) => same &= !cut && len == expected as usize,
                Ok(None) | Err(_) => return Completion::None,
            }
        }
        self.ledger.was_scanned(subject.process);
        if same {
            Completion::Whole
        } else {
            Completion::Other
        }
    }

    /// Reads one file and scans it; how long it was and whether it was cut, or `None` where there is nothing.
    fn scan_file(
        &mut self,
        process: &ProcDir,
        source: Source,
        subject: Subject<'_>,
        sink: Sink<'_>,
    ) -> Result<Option<(usize, bool)>, Unreadable> {
        let reading = process.read(source, self.buffer.bytes_mut());
        let (len, cut) = match reading {
            Ok(Reading::Bytes { len, cut }) => (len, cut),
            Ok(Reading::Nothing) => return Ok(None),
            Err(why) => return Err(why),
        };
        let block = Block {
            source,
            bytes: self.buffer.bytes().get(..len).unwrap_or_default(),
            truncated: cut,
        };
        self.scanner
            .scan(&block, subject, Via::Proc, &mut self.ledger, sink);
        wipe(self.buffer.bytes_mut(), len);
        Ok(Some((len, cut)))
    }
}

/// What `/proc` gave for a capture that was not whole.
enum Completion {
    /// As much as the kernel said there was.
    Whole,
    /// Something else: the process has changed since.
    Other,
    /// Nothing.
    None,
}

impl Scanner {
    fn scan(
        &mut self,
        block: &Block<'_>,
        subject: Subject<'_>,
        via: Via,
        ledger: &mut SweepLedger,
        sink: Sink<'_>,
    ) {
        let mut scratch = Scratch::new(self.scratch.bytes_mut());
        let who = subject.identity;
        let now = jiff::Timestamp::now().as_second();
        let (policy, usage) = (&self.policy, &mut self.usage);
        let scanned = self
            .engine
            .scan(&mut self.memory, &mut scratch, block, &mut |detection| {
                let chain = who.chain();
                let place = Place {
                    path: chain.executables.first().map_or("", String::as_str),
                    tree: who.tree(),
                };
                let judgement = policy.judge(&detection, &place, now);
                usage.note(&judgement);
                let new = ledger.detected(&detection, judgement, chain, via, subject.now);
                sink(&detection, judgement, new);
            });
        ledger.add(scanned);
    }
}

/// The slots that hold bytes.
fn used(capture: &Capture) -> &[u16] {
    let used = usize::from(capture.used).min(capture.slots.len());
    capture.slots.get(..used).unwrap_or_default()
}

/// Copies the slots behind each other.
fn gather(slots: &Slots, used: &[u16], into: &mut [u8]) {
    let mut rest = into;
    for data in used.iter().filter_map(|slot| slots.data(*slot)) {
        let Some((to, left)) = rest.split_at_mut_checked(data.len()) else {
            return;
        };
        to.copy_from_slice(data);
        rest = left;
    }
}

/// Zeroes what was read.
fn wipe(bytes: &mut [u8], len: usize) {
    if let Some(read) = bytes.get_mut(..len) {
        read.zeroize();
    }
}
