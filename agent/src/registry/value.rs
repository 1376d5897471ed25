//! One secret value, on its way from a descriptor into a digest. All that time it lies in
//! locked memory.

use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, BorrowedFd};

use cordon_secrets::{
    Class, Fingerprint, FingerprintKey, KnownSet, LengthClass, RegisterError, Scratch,
    is_placeholder,
};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::sys::sensitive::Locked;
use crate::sys::terminal::Unseen;

/// The longest value, in bytes: an argument or variable has no more (`MAX_ARG_STRLEN`).
const LONGEST: usize = 128 * 1024;
/// What the engine takes off a value's end; it is put there, so that it takes nothing else.
const GUARD: &[u8] = b"\r\n";
/// A value, a line break behind it or the guard in its place, and one byte more, at which a value is too
/// long.
const ROOM: NonZeroUsize = NonZeroUsize::MIN.saturating_add(LONGEST + 2);
/// Longest line that a terminal hands over (`N_TTY_BUF_SIZE`, less one); it cuts the rest off.
const TERMINAL_LINE: usize = 4095;
/// Milliseconds in which the rest of something pasted has arrived.
const PASTED: u8 = 100;
/// A value with fewer different bytes is found where nobody put it.
const FEWEST_BYTES: usize = 5;

/// A value that could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ValueError {
    /// The person went away.
    #[error("interrupted; nothing was read")]
    Interrupted,
    /// Several lines were typed or pasted.
    #[error(
        "there is more than one line; a terminal gives one: give the value over a pipe or from a file, \
         as in `< FILE`"
    )]
    Lines,
    /// More than a value can have.
    #[error("the value has more than {LONGEST} bytes, which no variable or argument can have")]
    Long,
    /// There is no locked memory for it.
    #[error("no memory can be locked for the value; raise `ulimit -l`, or run cordon as root")]
    Memory(#[source] io::Error),
    /// The descriptor cannot be read.
    #[error("the value cannot be read")]
    Read(#[source] io::Error),
    /// The terminal would show it.
    #[error(
        "the terminal would show the value; give it over a pipe or from a file, as in `< FILE`"
    )]
    Shown(#[source] io::Error),
    /// The line has been cut off.
    #[error(
        "a terminal gives at most {TERMINAL_LINE} bytes of a line; give the value over a pipe or from a \
         file, as in `< FILE`"
    )]
    TerminalLine,
}

/// What becomes of a line break at the value's end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ending {
    /// It is cut off.
    Cut,
    /// It belongs to the value.
    Kept,
}

/// A secret value.
#[expect(missing_debug_implementations, reason = "it is a secret")]
pub struct Value {
    memory: Locked,
    length: usize,
}

impl Value {
    /// Reads a value, until the end, from anything but a terminal.
    ///
    /// # Errors
    /// See [`ValueError`].
    pub fn read(from: impl AsFd, ending: Ending) -> Result<Self, ValueError> {
        let from = from.as_fd();
        let mut value = Self::empty()?;
        while value.read_more(from)? > 0 {
            if value.length == ROOM.get() {
                return Err(ValueError::Long);
            }
        }
        value.end(ending)
    }

    /// Reads a line that is typed at a terminal, and not seen there. `ask` is called when the terminal
    /// is ready for it.
    ///
    /// # Errors
    /// See [`ValueError`].
    pub fn ask(terminal: BorrowedFd<'_>, ask: impl FnOnce()) -> Result<Self, ValueError> {
        let unseen = Unseen::begin(terminal).map_err(ValueError::Shown)?;
        ask();
        if !unseen.wait().map_err(ValueError::Read)? {
            return Err(ValueError::Interrupted);
        }
        let mut value = Self::empty()?;
        let length = value.read_more(terminal)?;
        if length >= TERMINAL_LINE {
            return Err(ValueError::TerminalLine);
        }
        if is_readable(terminal, PollTimeout::from(PASTED)).map_err(ValueError::Read)? {
            return Err(ValueError::Lines);
        }
        value.end(Ending::Cut)
    }

    fn empty() -> Result<Self, ValueError> {
        let memory = Locked::new(ROOM).map_err(ValueError::Memory)?;
        Ok(Self { memory, length: 0 })
    }

    /// What arrives next, straight into the locked memory; how many bytes, 0 at the end.
    fn read_more(&mut self, from: BorrowedFd<'_>) -> Result<usize, ValueError> {
        loop {
            let room = self.memory.bytes_mut().get_mut(self.length..);
            match nix::unistd::read(from, room.unwrap_or_default()) {
                Ok(count) => {
                    self.length = self.length.saturating_add(count);
                    return Ok(count);
                }
                Err(Errno::EINTR) => {}
                // Somebody else has made it so.
                Err(Errno::EAGAIN) => {
                    is_readable(from, PollTimeout::NONE).map_err(ValueError::Read)?;
                }
                Err(errno) => return Err(ValueError::Read(errno.into())),
            }
        }
    }

    fn end(mut self, ending: Ending) -> Result<Self, ValueError> {
        let whole = self.bytes();
        let cut = whole.strip_suffix(b"\n").unwrap_or(whole);
        let cut = cut.strip_suffix(b"\r").unwrap_or(cut);
        self.length = match ending {
            // A carriage return alone is no line break.
            Ending::Cut if whole.ends_with(b"\n") => cut.len(),
            Ending::Cut | Ending::Kept => whole.len(),
        };
        if self.length > LONGEST {
            return Err(ValueError::Long);
        }
        Ok(self)
    }

    fn bytes(&self) -> &[u8] {
        self.memory.bytes().get(..self.length).unwrap_or_default()
    }

    /// Whether there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// How long it is.
    #[must_use]
    pub fn length_class(&self) -> LengthClass {
        LengthClass::of(self.length)
    }

    /// Its fingerprint.
    #[must_use]
    pub fn fingerprint(&self, key: &FingerprintKey) -> Fingerprint {
        key.fingerprint(self.bytes())
    }

    /// Whether it stands where a secret would, or is so plain that it is found where nobody put it.
    #[must_use]
    pub fn is_weak(&self) -> bool {
        let mut seen = [false; 256];
        for byte in self.bytes() {
            if let Some(seen) = seen.get_mut(usize::from(*byte)) {
                *seen = true;
            }
        }
        let different = seen.iter().filter(|seen| **seen).count();
        different < FEWEST_BYTES || is_placeholder(self.bytes())
    }

    /// Registers it in a set.
    ///
    /// # Errors
    /// Value or label are refused, and nothing has changed; or no memory can be locked.
    pub fn register(
        &mut self,
        set: &mut KnownSet,
        key: &FingerprintKey,
        label: &str,
        class: Class,
        now: i64,
    ) -> Result<(), RegisterFailure> {
        // Escaped forms are three times as long.
        let room = NonZeroUsize::new(self.length.saturating_mul(3)).unwrap_or(NonZeroUsize::MIN);
        let mut forms = Locked::new(room).map_err(ValueError::Memory)?;
        let mut scratch = Scratch::new(forms.bytes_mut());
        let end = self.length.saturating_add(GUARD.len());
        let guarded = self.memory.bytes_mut().get_mut(..end).unwrap_or_default();
        if let Some(guard) = guarded.get_mut(self.length..) {
            guard.copy_from_slice(GUARD);
        }
        set.register(key, &mut scratch, label, class, guarded, now)?;
        Ok(())
    }
}

/// Why a value was not registered.
#[derive(Debug, thiserror::Error)]
pub enum RegisterFailure {
    /// Value or label are refused.
    #[error(transparent)]
    Refused(#[from] RegisterError),
    /// No memory for its forms.
    #[error(transparent)]
    Value(#[from] ValueError),
}

/// Waits until there is something to read, or the end, or as long as is said.
fn is_readable(from: BorrowedFd<'_>, timeout: PollTimeout) -> io::Result<bool> {
    let mut wait = [PollFd::new(from, PollFlags::POLLIN)];
    loop {
        match poll(&mut wait, timeout) {
            Ok(count) => return Ok(count > 0),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}
