//! Where `cordon-runtime` asks for a container before it runs: its network namespace gets the job's DNS.
//!
//! A socket that only root reaches. Without an answer the container does not start: the first name it asks
//! for would be refused.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::cgroup::Cgroup;
use crate::enforce::chain;
use crate::sys::fs::FileError;

/// How long the job's watch may take to make DNS sockets.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the runtime may take to say which process it is.
const READ_PATIENCE: Duration = Duration::from_secs(2);
/// Digits of a process, and the end of the line.
const QUESTION_BYTES: u64 = 16;

/// A container that waits.
#[derive(Debug)]
pub struct Wanted {
    /// Its first process.
    pub process: u32,
    answer: Sender<Result<(), String>>,
}

impl Wanted {
    /// Lets it go on, or not.
    pub fn answer(self, served: Result<(), String>) {
        // Who no longer waits needs no answer.
        let _waits = self.answer.send(served);
    }
}

/// The containers that wait, for the job's watch.
pub type Waiting = mpsc::UnboundedReceiver<Wanted>;

/// The socket, and the thread that listens on it.
#[derive(Debug)]
pub(super) struct Door {
    path: PathBuf,
    closing: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Door {
    /// Opens it.
    pub(super) fn open(path: &Path, cgroup: Cgroup) -> Result<(Self, Waiting), FileError> {
        let listener = UnixListener::bind(path).map_err(FileError::on("listen on", path))?;
        let (sender, waiting) = mpsc::unbounded_channel();
        let closing = Arc::<AtomicBool>::default();
        let flag = Arc::clone(&closing);
        let thread = std::thread::Builder::new()
            .name("containers".to_owned())
            .spawn(move || serve(&listener, &cgroup, &sender, &flag))
            .map_err(FileError::on("serve", path))?;
        let door = Self {
            path: path.to_owned(),
            closing,
            thread: Some(thread),
        };
        Ok((door, waiting))
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::Relaxed);
        let woken = UnixStream::connect(&self.path).is_ok();
        let _gone = std::fs::remove_file(&self.path);
        if let Some(thread) = self.thread.take().filter(|_| woken)
            && thread.join().is_err()
        {
            tracing::error!("the thread that waits for containers panicked");
        }
    }
}

fn serve(
    listener: &UnixListener,
    cgroup: &Cgroup,
    waiting: &mpsc::UnboundedSender<Wanted>,
    closing: &AtomicBool,
) {
    for stream in listener.incoming() {
        if closing.load(Ordering::Relaxed) {
            return;
        }
        let Ok(mut stream) = stream else {
            continue;
        };
        let answer = match attend(&mut stream, cgroup, waiting) {
            Ok(()) => "ok".to_owned(),
            Err(why) => why,
        };
        // The runtime that is gone has started nothing.
        let _told = stream.write_all(answer.as_bytes());
    }
}

fn attend(
    stream: &mut UnixStream,
    cgroup: &Cgroup,
    waiting: &mpsc::UnboundedSender<Wanted>,
) -> Result<(), String> {
    let process = question(stream).map_err(|error| error.to_string())?;
    let inhabitants = cgroup.processes().map_err(|error| chain(&error))?;
    if !inhabitants.contains(&process) {
        return Err(format!("process {process} is not in the job's cgroup"));
    }
    let (answer, served) = channel();
    let wanted = Wanted { process, answer };
    waiting
        .send(wanted)
        .map_err(|_gone| "the job is over".to_owned())?;
    served
        .recv_timeout(PATIENCE)
        .map_err(|_late| "the job's DNS was not set up in time".to_owned())?
}

fn question(stream: &mut UnixStream) -> io::Result<u32> {
    stream.set_read_timeout(Some(READ_PATIENCE))?;
    let mut text = String::new();
    stream.take(QUESTION_BYTES).read_to_string(&mut text)?;
    text.trim().parse().map_err(io::Error::other)
}
