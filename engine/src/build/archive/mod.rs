//! The context of a build, a tar file: read entry by entry as it comes, and packed anew.
//!
//! There are many dialects of tar, and programs that read one differently. What goes on to the engine has one
//! form, in which each entry is what was understood of it here; what is not understood is refused.

mod header;

use header::{Header, Kind, Records};

use super::DOCKERFILE;
use crate::refusal::{Refusal, printable};

/// Size of a block.
pub(crate) const BLOCK: usize = 512;
/// Largest Dockerfile, and largest `.dockerignore`.
const TEXT_BYTES: u64 = 1 << 20;
/// Largest header of several blocks.
const RECORD_BYTES: u64 = 64 << 10;
/// Largest context.
const CONTEXT_BYTES: u64 = 8 << 30;
/// Most files.
const ENTRIES: u64 = 1_000_000;

const IGNORE: &str = ".dockerignore";

/// Reads a context.
#[derive(Debug)]
pub struct Context {
    /// Path of the Dockerfile, and the one that is taken if there is none.
    wanted: Vec<String>,
    state: State,
    /// A block that has not come whole.
    block: Vec<u8>,
    /// What headers of an entry said before its own.
    records: Records,
    entries: u64,
    bytes: u64,
    dockerfiles: Vec<(String, Vec<u8>)>,
    ignore: Option<Vec<u8>>,
}

#[derive(Debug)]
enum State {
    /// A header comes next.
    Header,
    /// Bytes of a file, and what fills its last block.
    Data { left: u64, padding: u64, to: Sink },
    /// The archive has ended.
    Ended,
}

/// Where an entry's bytes go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Sink {
    /// On.
    Forward,
    /// On, and kept: this is a Dockerfile.
    Both,
    /// Kept: it is sent last, changed.
    Ignore,
    /// Read as a header of the next entry.
    Records(Kind),
}

impl Context {
    /// A context whose Dockerfile has this path; empty for the usual one.
    ///
    /// # Errors
    /// It is no path in a context.
    pub fn new(dockerfile: &str) -> Result<Self, Refusal> {
        let wanted = match dockerfile {
            "" | "Dockerfile" => vec!["Dockerfile".to_owned(), "dockerfile".to_owned()],
            other => vec![header::path(other.as_bytes())?],
        };
        Ok(Self {
            wanted,
            state: State::Header,
            block: Vec::new(),
            records: Records::default(),
            entries: 0,
            bytes: 0,
            dockerfiles: Vec::new(),
            ignore: None,
        })
    }

    /// The beginning of what goes on: a header of our own, so that no file's name makes the whole look like
    /// something that is compressed.
    #[must_use]
    pub fn begin() -> Vec<u8> {
        let mut out = Vec::new();
        header::directory("./", &mut out);
        out
    }

    /// Reads some bytes; what goes on is added to `out`.
    ///
    /// # Errors
    /// It is no context, or one that is too large.
    pub fn push(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.bytes = self.bytes.saturating_add(length);
        if self.bytes > CONTEXT_BYTES {
            return Err(wrong("it is larger than 8 GiB"));
        }
        while !bytes.is_empty() {
            bytes = match self.state {
                State::Ended => &[],
                State::Header => self.fill(bytes, out)?,
                State::Data { left, padding, to } => self.take(bytes, left, padding, to, out)?,
            };
        }
        Ok(())
    }

    /// Gathers a header; returns what follows.
    fn fill<'a>(&mut self, bytes: &'a [u8], out: &mut Vec<u8>) -> Result<&'a [u8], Refusal> {
        let missing = BLOCK.saturating_sub(self.block.len()).min(bytes.len());
        let (now, later) = bytes.split_at_checked(missing).unwrap_or((bytes, &[]));
        self.block.extend_from_slice(now);
        if self.block.len() == BLOCK {
            let block = std::mem::take(&mut self.block);
            self.header(&block, out)?;
        }
        Ok(later)
    }

    fn header(&mut self, block: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
        if block.iter().all(|byte| *byte == 0) {
            self.state = State::Ended;
            return Ok(());
        }
        self.entries = self.entries.saturating_add(1);
        if self.entries > ENTRIES {
            return Err(wrong("it has more than a million files"));
        }
        let mut header = Header::read(block)?;
        if matches!(
            header.kind,
            Kind::Records | Kind::Global | Kind::LongName | Kind::LongLink
        ) {
            if header.size > RECORD_BYTES {
                return Err(wrong("a header in it is larger than 64 KiB"));
            }
            self.expect(header.size, Sink::Records(header.kind));
            return Ok(());
        }
        header.extend(std::mem::take(&mut self.records))?;
        let name = header::path(&header.name)?;
        if name.is_empty() {
            // The context itself, which is there.
            return match header.kind {
                Kind::Directory => Ok(()),
                _ => Err(wrong("it has a file without a name")),
            };
        }
        if name.split('/').next() == Some(DOCKERFILE) {
            let why = "it is the name under which cordon hands a Dockerfile on. Choose another";
            return Err(Refusal::forbidden(
                format!("a file named `{DOCKERFILE}`"),
                why,
            ));
        }
        let to = self.sink(&name, &header)?;
        if to != Sink::Ignore {
            header.write(&name, out);
        }
        self.expect(header.size, to);
        Ok(())
    }

    fn sink(&mut self, name: &str, header: &Header) -> Result<Sink, Refusal> {
        let is_dockerfile = self.wanted.iter().any(|wanted| wanted == name);
        let is_ignore = name == IGNORE;
        if !is_dockerfile && !is_ignore {
            return Ok(Sink::Forward);
        }
        match header.kind {
            Kind::File => {}
            Kind::Directory if is_dockerfile => return Ok(Sink::Forward),
            _ => {
                return Err(Refusal::forbidden(
                    format!("a `{}` that is no plain file", printable(name)),
                    "a link is read in the context of the engine. Name the file itself: \
                     `docker build -f FILE`",
                ));
            }
        }
        if header.size > TEXT_BYTES {
            return Err(wrong(&format!(
                "its `{}` is larger than 1 MiB",
                printable(name)
            )));
        }
        let known = self.dockerfiles.iter().any(|(known, _)| known == name);
        if known || (is_ignore && self.ignore.is_some()) {
            return Err(wrong(&format!("it has `{}` twice", printable(name))));
        }
        if is_ignore && !is_dockerfile {
            self.ignore = Some(Vec::new());
            return Ok(Sink::Ignore);
        }
        self.dockerfiles.push((name.to_owned(), Vec::new()));
        Ok(Sink::Both)
    }

    const fn expect(&mut self, size: u64, to: Sink) {
        let padding = padding_of(size);
        self.state = State::Data {
            left: size,
            padding,
            to,
        };
        if size == 0 && !matches!(to, Sink::Records(_)) {
            self.state = State::Header;
        }
    }

    /// Takes bytes of a file, or of what fills its last block; returns what follows.
    fn take<'a>(
        &mut self,
        bytes: &'a [u8],
        left: u64,
        padding: u64,
        to: Sink,
        out: &mut Vec<u8>,
    ) -> Result<&'a [u8], Refusal> {
        let want = if left > 0 { left } else { padding };
        let count = usize::try_from(want).unwrap_or(usize::MAX).min(bytes.len());
        let (now, later) = bytes.split_at_checked(count).unwrap_or((bytes, &[]));
        let taken = u64::try_from(count).unwrap_or(u64::MAX);
        let (left, padding) = if left > 0 {
            self.keep(now, to, out);
            (left.saturating_sub(taken), padding)
        } else {
            // Zeros, whatever came.
            if matches!(to, Sink::Forward | Sink::Both) {
                out.resize(out.len().saturating_add(count), 0);
            }
            (0, padding.saturating_sub(taken))
        };
        if left > 0 || padding > 0 {
            self.state = State::Data { left, padding, to };
            return Ok(later);
        }
        self.state = State::Header;
        if let Sink::Records(kind) = to {
            let block = std::mem::take(&mut self.block);
            self.records.read(kind, &block)?;
        }
        Ok(later)
    }

    fn keep(&mut self, bytes: &[u8], to: Sink, out: &mut Vec<u8>) {
        if matches!(to, Sink::Forward | Sink::Both) {
            out.extend_from_slice(bytes);
        }
        match to {
            Sink::Forward => {}
            Sink::Both => {
                if let Some((_, text)) = self.dockerfiles.last_mut() {
                    text.extend_from_slice(bytes);
                }
            }
            Sink::Ignore => {
                if let Some(text) = &mut self.ignore {
                    text.extend_from_slice(bytes);
                }
            }
            Sink::Records(_) => self.block.extend_from_slice(bytes),
        }
    }

    /// The Dockerfile, when all has come.
    ///
    /// # Errors
    /// There is none, or the context has not ended.
    pub fn dockerfile(&self) -> Result<&[u8], Refusal> {
        let whole = match self.state {
            State::Ended => true,
            State::Header => self.block.is_empty() && self.entries > 0,
            State::Data { .. } => false,
        };
        if !whole {
            header::judge_packing(&self.block)?;
            return Err(wrong("it is cut short"));
        }
        let found = self.wanted.iter().find_map(|wanted| {
            let found = self.dockerfiles.iter().find(|(name, _)| name == wanted)?;
            Some(found.1.as_slice())
        });
        found.ok_or_else(|| {
            let wanted = self.wanted.first().map(String::as_str).unwrap_or_default();
            wrong(&format!("it has no file `{}`", printable(wanted)))
        })
    }

    /// The end of what goes on: a Dockerfile, which is gone from the context before the engine copies from it.
    #[must_use]
    pub fn end(mut self, dockerfile: &str) -> Vec<u8> {
        // As clients do it that send a Dockerfile from elsewhere.
        let mut ignore = self
            .ignore
            .take()
            .unwrap_or_else(|| IGNORE.as_bytes().to_vec());
        ignore.extend_from_slice(format!("\n{DOCKERFILE}\n").as_bytes());
        let mut out = Vec::new();
        header::file(IGNORE, &ignore, &mut out);
        header::file(DOCKERFILE, dockerfile.as_bytes(), &mut out);
        out.resize(out.len().saturating_add(BLOCK.saturating_mul(2)), 0);
        out
    }
}

/// What fills the last block of so many bytes.
const fn padding_of(size: u64) -> u64 {
    let over = size & (BLOCK as u64).saturating_sub(1);
    if over == 0 {
        0
    } else {
        (BLOCK as u64).saturating_sub(over)
    }
}

/// A context that cannot be read.
pub(crate) fn wrong(why: &str) -> Refusal {
    Refusal::forbidden("the context of this build", why)
}

#[cfg(test)]
mod tests;
