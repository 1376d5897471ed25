//! The chain of a job's single events: each line names the digest of the one before.
//!
//! A line is a JSON object; its `metadata.sequence` counts from 1, and `unmapped.previous` is the BLAKE3 (hex)
//! of the line before without its line feed, of the first line 64 zeros. A line that was changed, put in, left
//! out or moved breaks it; what was cut off at the end is seen in the [`Head`], which is signed.

use std::io::{self, Read};

use serde::{Deserialize, Serialize};

/// 64 KiB: most of a line. The longest that is written has a tenth of it.
pub const MAX_LINE: usize = 64 << 10;

/// What the first line names.
pub const NOTHING_BEFORE: [u8; 32] = [0; 32];

/// Where a chain ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Head {
    /// How many lines it has.
    pub lines: u64,
    /// How many bytes they have, line feeds included.
    pub bytes: u64,
    /// BLAKE3 of the last line.
    pub digest: [u8; 32],
}

impl Default for Head {
    fn default() -> Self {
        Self {
            lines: 0,
            bytes: 0,
            digest: NOTHING_BEFORE,
        }
    }
}

impl Head {
    /// The digest in hex: what the next line names.
    #[must_use]
    pub fn hex(&self) -> String {
        blake3::Hash::from_bytes(self.digest).to_hex().to_string()
    }

    /// The number of the next line.
    #[must_use]
    pub const fn next(&self) -> u64 {
        self.lines.saturating_add(1)
    }

    /// The chain with one more line, given without its line feed.
    #[must_use]
    pub fn after(&self, line: &[u8]) -> Self {
        Self {
            lines: self.next(),
            bytes: self
                .bytes
                .saturating_add(line.len() as u64)
                .saturating_add(1),
            digest: *blake3::hash(line).as_bytes(),
        }
    }
}

/// A chain that is not whole. Lines count from 1.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// A line is longer than any that is written.
    #[error("line {line} is longer than the {MAX_LINE} bytes a line may have")]
    Long {
        /// Which.
        line: u64,
    },
    /// A line is no event.
    #[error("line {line} is no event")]
    NoEvent {
        /// Which.
        line: u64,
        /// Why not.
        #[source]
        source: serde_json::Error,
    },
    /// A line does not follow the one before.
    #[error(
        "line {line} does not follow the line before it: something was changed, put in or left out"
    )]
    Broken {
        /// Which.
        line: u64,
    },
    /// The last line has no end.
    #[error("line {line} has no end")]
    Torn {
        /// Which.
        line: u64,
        /// The chain before it.
        before: Head,
    },
    /// It cannot be read.
    #[error("it cannot be read")]
    Read(#[from] io::Error),
}

/// The part of an event that makes the chain.
#[derive(Deserialize)]
struct Linked<'l> {
    metadata: Metadata,
    #[serde(borrow)]
    unmapped: Unmapped<'l>,
}

#[derive(Deserialize)]
struct Metadata {
    sequence: u64,
}

#[derive(Deserialize)]
struct Unmapped<'l> {
    #[serde(borrow)]
    previous: &'l str,
}

/// Follows a chain whose bytes come piece by piece. Keeps one line at most.
#[derive(Debug, Default)]
pub struct Follower {
    head: Head,
    /// The beginning of a line whose end has not come.
    begun: Vec<u8>,
}

impl Follower {
    /// Takes the next bytes.
    ///
    /// # Errors
    /// The chain is not whole: see [`ChainError`]. Nothing more is to be given.
    pub fn take(&mut self, bytes: &[u8]) -> Result<(), ChainError> {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            if self.begun.len().saturating_add(piece.len()) > MAX_LINE {
                let line = self.head.next();
                return Err(ChainError::Long { line });
            }
            match (piece.strip_suffix(b"\n"), self.begun.is_empty()) {
                (None, _) => self.begun.extend_from_slice(piece),
                (Some(line), true) => self.head = self.line(line)?,
                (Some(rest), false) => {
                    self.begun.extend_from_slice(rest);
                    self.head = self.line(&self.begun)?;
                    self.begun.clear();
                }
            }
        }
        Ok(())
    }

    /// Where the chain ends.
    ///
    /// # Errors
    /// Its last line has no end.
    pub fn finish(self) -> Result<Head, ChainError> {
        if self.begun.is_empty() {
            return Ok(self.head);
        }
        Err(ChainError::Torn {
            line: self.head.next(),
            before: self.head,
        })
    }

    fn line(&self, text: &[u8]) -> Result<Head, ChainError> {
        let line = self.head.next();
        let linked: Linked<'_> =
            serde_json::from_slice(text).map_err(|source| ChainError::NoEvent { line, source })?;
        if linked.metadata.sequence != line || linked.unmapped.previous != self.head.hex() {
            return Err(ChainError::Broken { line });
        }
        Ok(self.head.after(text))
    }
}

/// Reads all lines, and says where the chain ends. `seen` gets all bytes too, as they are read.
///
/// # Errors
/// It is not whole: see [`ChainError`].
pub fn check(file: &mut impl Read, seen: &mut impl FnMut(&[u8])) -> Result<Head, ChainError> {
    let mut follower = Follower::default();
    let mut buffer = vec![0; MAX_LINE];
    loop {
        let read = file.read(&mut buffer)?;
        let bytes = buffer.get(..read).unwrap_or_default();
        if bytes.is_empty() {
            return follower.finish();
        }
        seen(bytes);
        follower.take(bytes)?;
    }
}

/// What a run says of its single events.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EventFacts {
    /// The file they are in.
    pub name: String,
    /// How many.
    pub lines: u64,
    /// BLAKE3 (hex) of the last line: where the chain ends.
    pub head: String,
    /// Events that are only counted, because the file was full or could not be written.
    pub dropped: u64,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn chain(words: &[String]) -> (Vec<u8>, Head) {
        let (mut file, mut head) = (Vec::new(), Head::default());
        for word in words {
            let line = serde_json::json!({
                "metadata": {"sequence": head.next()},
                "unmapped": {"word": word, "previous": head.hex()},
            })
            .to_string();
            file.extend_from_slice(line.as_bytes());
            file.push(b'\n');
            head = head.after(line.as_bytes());
        }
        (file, head)
    }

    /// Reads three bytes at a time: lines begin and end anywhere in what is read.
    fn checked(mut bytes: &[u8]) -> Result<Head, ChainError> {
        let mut all = bytes;
        let whole = check(&mut all, &mut |_| {});
        let mut follower = Follower::default();
        let pieces = std::iter::from_fn(|| bytes.split_off(..bytes.len().min(3)))
            .take_while(|piece| !piece.is_empty());
        let taken = pieces
            .into_iter()
            .try_for_each(|piece| follower.take(piece));
        let pieced = taken.and_then(|()| follower.finish());
        assert_eq!(format!("{whole:?}"), format!("{pieced:?}"));
        whole
    }

    fn words() -> impl Strategy<Value = Vec<String>> {
        prop::collection::vec(".{0,12}", 1..12)
    }

    proptest! {
        #[test]
        fn a_chain_is_whole_and_ends_where_it_was_written_to(words in words()) {
            let (file, head) = chain(&words);
            prop_assert_eq!(checked(&file).unwrap(), head);
        }

        #[test]
        fn whatever_is_changed_is_seen(words in words(), at in any::<prop::sample::Index>(), to: u8) {
            let (mut file, head) = chain(&words);
            let at = at.index(file.len());
            prop_assume!(file[at] != to);
            file[at] = to;
            prop_assert_ne!(checked(&file).ok(), Some(head));
        }

        #[test]
        fn a_line_that_is_left_out_is_seen(words in words(), at in any::<prop::sample::Index>()) {
            let (file, head) = chain(&words);
            let lines: Vec<_> = file.split_inclusive(|byte| *byte == b'\n').collect();
            let at = at.index(lines.len());
            let rest: Vec<u8> = lines[..at].iter().chain(lines.iter().skip(at.saturating_add(1))).copied().flatten().copied().collect();
            prop_assert_ne!(checked(&rest).ok(), Some(head));
        }

        #[test]
        fn any_bytes_are_read_without_harm(bytes: Vec<u8>) {
            let _any = checked(&bytes);
        }
    }

    #[test]
    fn a_torn_end_says_where_the_whole_part_ends() {
        let (file, _) = chain(&["a".into(), "b".into()]);
        let (first, head) = chain(&["a".into()]);
        let Err(ChainError::Torn { line: 2, before }) = checked(&file[..file.len() - 1]) else {
            panic!("not torn");
        };
        assert_eq!(before, head);
        assert_eq!(before.bytes, first.len() as u64);
    }

    #[test]
    fn a_line_without_end_is_not_read_to_its_end() {
        let long = vec![b'x'; MAX_LINE + 7];
        let found = checked(&long);
        assert!(matches!(found, Err(ChainError::Long { line: 1 })));
    }

    #[test]
    fn nothing_is_a_chain_of_no_lines() {
        assert_eq!(checked(&[]).unwrap(), Head::default());
    }
}
