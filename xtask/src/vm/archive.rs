//! Writes the archive format that the kernel unpacks as its first file system: cpio, "newc".
//!
//! <https://docs.kernel.org/driver-api/early-userspace/buffer-format.html>

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::Path;

/// An archive that is being written.
#[derive(Debug)]
pub(super) struct Archive<W> {
    out: W,
    written: usize,
    inode: u32,
    paths: BTreeSet<String>,
}

const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;

impl<W: Write> Archive<W> {
    pub(super) const fn new(out: W) -> Self {
        Self {
            out,
            written: 0,
            inode: 0,
            paths: BTreeSet::new(),
        }
    }

    /// Adds an empty folder, with its parents.
    pub(super) fn folder(&mut self, path: &str) -> io::Result<()> {
        if path.is_empty() || !self.paths.insert(path.to_owned()) {
            return Ok(());
        }
        self.folder(parent(path))?;
        self.entry(path, FOLDER, &[])
    }

    /// Adds an executable file, with its folders; a path that is there already stays as it is.
    pub(super) fn file(&mut self, path: &str, bytes: &[u8]) -> io::Result<()> {
        self.folder(parent(path))?;
        if !self.paths.insert(path.to_owned()) {
            return Ok(());
        }
        self.entry(path, PROGRAM, bytes)
    }

    /// Ends the archive.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.inode = 0;
        self.entry("TRAILER!!!", 0, &[])?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn entry(&mut self, path: &str, mode: u32, bytes: &[u8]) -> io::Result<()> {
        self.inode = self.inode.saturating_add(1);
        let name_size = path.len().saturating_add(1);
        let size = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        let name_size_32 = u32::try_from(name_size).map_err(io::Error::other)?;
        // inode, mode, uid, gid, links, mtime, size, device (4 numbers), name size, checksum
        let fields = [
            self.inode,
            mode,
            0,
            0,
            1,
            0,
            size,
            0,
            0,
            0,
            0,
            name_size_32,
            0,
        ];
        self.put(b"070701")?;
        for field in fields {
            self.put(format!("{field:08x}").as_bytes())?;
        }
        self.put(path.as_bytes())?;
        self.put(&[0])?;
        self.pad()?;
        self.put(bytes)?;
        self.pad()
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.written = self.written.saturating_add(bytes.len());
        self.out.write_all(bytes)
    }

    /// Names and files end at a multiple of four.
    fn pad(&mut self) -> io::Result<()> {
        let missing = self
            .written
            .next_multiple_of(4)
            .saturating_sub(self.written);
        self.put([0; 3].get(..missing).unwrap_or_default())
    }
}

fn parent(path: &str) -> &str {
    Path::new(path)
        .parent()
        .and_then(Path::to_str)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Six bytes of magic and 13 numbers of eight hexadecimal digits.
    const HEADER: usize = 6 + 13 * 8;

    #[test]
    fn folders_come_before_their_files_and_only_once() {
        let mut archive = Archive::new(Vec::new());
        archive.file("usr/lib/a", b"12345").unwrap();
        archive.file("usr/lib/b", b"").unwrap();
        let bytes = archive.finish().unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let names: Vec<&str> = text
            .split('\0')
            .filter_map(|part| part.find("070701").and_then(|at| part.get(at..)))
            .filter_map(|part| part.get(HEADER..))
            .collect();
        assert_eq!(
            names,
            ["usr", "usr/lib", "usr/lib/a", "usr/lib/b", "TRAILER!!!"]
        );
    }

    #[test]
    fn every_entry_begins_at_a_multiple_of_four() {
        let mut archive = Archive::new(Vec::new());
        for length in 0..5 {
            archive
                .file(&"x".repeat(length + 1), &vec![b'y'; length])
                .unwrap();
        }
        let bytes = archive.finish().unwrap();
        let starts: Vec<usize> = (0..bytes.len() - 6)
            .filter(|at| &bytes[*at..*at + 6] == b"070701")
            .collect();
        assert_eq!(starts.len(), 6);
        assert!(starts.iter().all(|at| at % 4 == 0), "{starts:?}");
        assert_eq!(bytes.len() % 4, 0);
    }
}
