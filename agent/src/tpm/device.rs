//! The way to a TPM: a character device of the kernel, or the Unix socket of an emulator.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::TpmError;
use super::key_file::KeyFile;
use super::wire::{self, Answer, Command, MAX_ANSWER};

/// 20 s: a discrete TPM takes up to about one for a command; the kernel gives up later.
const PATIENCE: u16 = 20_000;

/// How often a TPM that is busy is asked again, with pauses that double from [`PAUSE`]: about 6 s.
const TRIES: u32 = 7;
const PAUSE: Duration = Duration::from_millis(50);

/// An open TPM.
pub(super) struct Device {
    file: File,
    path: PathBuf,
}

impl Device {
    /// Opens it.
    pub(super) fn open(path: &Path) -> Result<Self, TpmError> {
        let file = open(path).map_err(unreachable(path))?;
        Ok(Self {
            file,
            path: path.into(),
        })
    }

    /// The key that others are below: the one that is made from the seed of the owner hierarchy, the
    /// same each time, or one that stays in the TPM.
    pub(super) fn parent(&mut self, parent: u32) -> Result<u32, TpmError> {
        if parent != wire::OWNER {
            return Ok(parent);
        }
        let answer = self.ask(&Command::create_primary(parent))?;
        answer.handle().ok_or_else(|| self.strange())
    }

    /// Makes a key below another; its private part, wrapped, and its public one.
    pub(super) fn create(&mut self, parent: u32) -> Result<(Vec<u8>, Vec<u8>), TpmError> {
        let answer = self.ask(&Command::create(parent))?;
        answer.created().ok_or_else(|| self.strange())
    }

    /// Loads a key.
    pub(super) fn load(&mut self, parent: u32, key: &KeyFile) -> Result<u32, TpmError> {
        let answer = self.ask(&Command::load(parent, &key.private, &key.public))?;
        answer.handle().ok_or_else(|| self.strange())
    }

    /// Signs the digest of a message.
    pub(super) fn sign(
        &mut self,
        key: u32,
        digest: &[u8; 32],
    ) -> Result<([u8; 32], [u8; 32]), TpmError> {
        let answer = self.ask(&Command::sign(key, digest))?;
        answer.signature().ok_or_else(|| self.strange())
    }

    /// Makes room for others.
    pub(super) fn flush(&mut self, handle: u32) -> Result<(), TpmError> {
        self.ask(&Command::flush(handle)).map(drop)
    }

    fn strange(&self) -> TpmError {
        TpmError::Answer {
            device: self.path.clone(),
        }
    }

    fn ask(&mut self, command: &Command) -> Result<Answer, TpmError> {
        let mut pause = PAUSE;
        for _ in 0..TRIES {
            let bytes = self.exchange(command).map_err(unreachable(&self.path))?;
            let answer = Answer::parse(&bytes, command).ok_or_else(|| self.strange())?;
            if !wire::is_busy(answer.code) {
                return match wire::refusal(answer.code, command.name, &self.path) {
                    None => Ok(answer),
                    Some(error) => Err(error),
                };
            }
            sleep(pause);
            pause = pause.saturating_mul(2);
        }
        let busy = io::Error::new(io::ErrorKind::ResourceBusy, "it is busy");
        Err(unreachable(&self.path)(busy))
    }

    /// Sends a command, and reads all of the answer.
    fn exchange(&mut self, command: &Command) -> io::Result<Vec<u8>> {
        self.file.write_all(&command.bytes)?;
        let mut answer = Vec::new();
        loop {
            let mut waited = [PollFd::new(self.file.as_fd(), PollFlags::POLLIN)];
            if poll(&mut waited, PollTimeout::from(PATIENCE))? == 0 {
                return Err(io::ErrorKind::TimedOut.into());
            }
            // The device gives an answer in one piece, and what is not taken is lost.
            let mut piece = [0; MAX_ANSWER];
            let count = self.file.read(&mut piece)?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            answer.extend_from_slice(piece.get(..count).unwrap_or_default());
            match wire::length(&answer) {
                Some(length) if length > MAX_ANSWER => {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                Some(length) if answer.len() >= length => return Ok(answer),
                _ => {}
            }
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    let kind = std::fs::metadata(path)?.file_type();
    if kind.is_socket() {
        return Ok(OwnedFd::from(UnixStream::connect(path)?).into());
    }
    // Commands that are written to a file would be in the place of what was in it.
    if !kind.is_char_device() {
        let what = "it is neither a device nor a socket";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    }
    OpenOptions::new().read(true).write(true).open(path)
}

fn unreachable(path: &Path) -> impl FnOnce(io::Error) -> TpmError {
    let device = path.into();
    |source| TpmError::Unreachable { device, source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;
    use crate::sys::fs;
    use crate::tpm::Key;

    #[test]
    fn a_file_is_never_written_to_as_if_it_were_a_tpm() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("tpm");
        fs::write_atomic(&path, b"precious", 0o600).unwrap();
        let error = Key::generate(&path).unwrap_err();
        assert!(matches!(error, TpmError::Unreachable { .. }), "{error}");
        assert_eq!(fs::read(&path, 100).unwrap(), b"precious");
        let error = Key::generate(&base.path().join("none")).unwrap_err();
        assert!(matches!(error, TpmError::Unreachable { .. }), "{error}");
    }

    /// What a TPM that says this comes to.
    fn told(answers: &'static [&'static [u8]]) -> TpmError {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("tpm");
        let listener = UnixListener::bind(&path).unwrap();
        let tpm = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            for answer in answers {
                let mut command = [0; 1024];
                assert_ne!(stream.read(&mut command).unwrap(), 0);
                for byte in *answer {
                    stream.write_all(&[*byte]).unwrap();
                }
            }
        });
        let error = Key::generate(&path).unwrap_err();
        tpm.join().unwrap();
        error
    }

    #[test]
    fn what_is_no_answer_is_refused_and_a_busy_tpm_is_asked_again() {
        const BUSY: &[u8] = &[0x80, 1, 0, 0, 0, 10, 0, 0, 9, 0x22];
        const LOCKED: &[u8] = &[0x80, 1, 0, 0, 0, 10, 0, 0, 9, 0x21];
        const EMPTY: &[u8] = &[0x80, 2, 0, 0, 0, 10, 0, 0, 0, 0];
        const LONG: &[u8] = &[0x80, 1, 0xff, 0, 0, 10];
        const SHORT: &[u8] = &[0x80, 1, 0, 0, 0, 11, 0, 0, 0, 0];
        const TINY: &[u8] = &[0x80, 1, 0, 0, 0, 2];
        assert!(matches!(told(&[BUSY, LOCKED]), TpmError::LockedOut { .. }));
        // Success, and nothing of what was asked for.
        assert!(matches!(told(&[EMPTY]), TpmError::Answer { .. }));
        // Longer than any answer; shorter than it says.
        assert!(matches!(told(&[LONG]), TpmError::Unreachable { .. }));
        assert!(matches!(told(&[SHORT]), TpmError::Unreachable { .. }));
        assert!(matches!(told(&[TINY]), TpmError::Answer { .. }));
    }
}
