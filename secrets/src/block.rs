//! What is scanned: the environment or the arguments of one process.

/// Where a block comes from.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Source {
    /// The environment: `NAME=VALUE` and anything else that a process puts there.
    Environ,
    /// The command line.
    Arguments,
}

impl Source {
    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Environ => "environ",
            Self::Arguments => "arguments",
        }
    }
}

/// A region of entries, each ended by a NUL, as the kernel keeps it for a process.
///
/// Nothing is expected of it: entries may have no `=`, be empty or no UTF-8, the last may lack its NUL, and a process
/// may have written over all of it.
#[expect(missing_debug_implementations, reason = "it borrows secrets")]
#[derive(Clone, Copy)]
pub struct Block<'b> {
    /// Where it comes from.
    pub source: Source,
    /// The bytes, in memory that the caller has locked.
    pub bytes: &'b [u8],
    /// Whether the end is missing, so that the last entry may be cut. It is counted and scanned as it is.
    pub truncated: bool,
}

impl<'b> Block<'b> {
    /// The entries that are not empty, in order.
    pub(crate) fn entries(&self) -> Entries<'b> {
        Entries {
            rest: self.bytes,
            at: 0,
            index: 0,
        }
    }
}

/// One entry of a block: numbers only.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Extent {
    /// Which entry it is; empty ones count too.
    pub(crate) index: u32,
    /// Where it begins in the block, in bytes.
    pub(crate) start: usize,
    /// Where it ends: its NUL, or the end of the block.
    pub(crate) end: usize,
}

impl Extent {
    /// The entry's bytes in `block`.
    pub(crate) fn of(self, block: &[u8]) -> &[u8] {
        block.get(self.start..self.end).unwrap_or_default()
    }
}

/// Iterates over the entries of a block that are not empty.
pub(crate) struct Entries<'b> {
    rest: &'b [u8],
    at: usize,
    index: u32,
}

impl Iterator for Entries<'_> {
    type Item = Extent;

    fn next(&mut self) -> Option<Extent> {
        while !self.rest.is_empty() {
            let length = memchr::memchr(0, self.rest).unwrap_or(self.rest.len());
            let extent = Extent {
                index: self.index,
                start: self.at,
                end: self.at.saturating_add(length),
            };
            let next = length.saturating_add(1);
            self.rest = self.rest.get(next..).unwrap_or_default();
            self.at = self.at.saturating_add(next);
            self.index = self.index.saturating_add(1);
            if length > 0 {
                return Some(extent);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(bytes: &[u8]) -> Vec<(u32, &[u8])> {
        let block = Block {
            source: Source::Environ,
            bytes,
            truncated: false,
        };
        block
            .entries()
            .map(|extent| (extent.index, extent.of(bytes)))
            .collect()
    }

    #[test]
    fn entries_keep_their_place_whatever_stands_between_them() {
        assert_eq!(entries(b""), []);
        assert_eq!(entries(b"\0\0\0"), []);
        assert_eq!(entries(b"A=1\0B=2\0"), [(0, &b"A=1"[..]), (1, b"B=2")]);
        assert_eq!(entries(b"A=1\0\0\0B"), [(0, &b"A=1"[..]), (3, b"B")]);
        assert_eq!(
            entries(b"\xff\xfe\0=\0"),
            [(0, &b"\xff\xfe"[..]), (1, b"=")]
        );
    }
}
