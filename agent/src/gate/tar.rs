//! Tar archives, read without tolerance: directories and regular files, and nothing that two readers
//! could see differently.
//!
//! The header is that of POSIX (`ustar`) or of GNU tar, and pax records are taken as far as they say
//! nothing about names and sizes. Links, devices, absolute names, `..`, a name twice, long names in
//! records of their own: refused.

use std::collections::BTreeMap;

use super::policy::is_relative;
use super::source::{Files, MAX_DEPTH, MAX_FILE, MAX_FILES, MAX_TOTAL};

/// Bytes of a block; headers are one, contents are padded to full ones.
const BLOCK: usize = 512;

/// 64 KiB of pax records for one entry: times and owners have a few hundred bytes.
const MAX_PAX: u64 = 64 << 10;

/// Pax records that change neither name nor size nor kind of a file.
const HARMLESS: [&str; 7] = ["atime", "comment", "ctime", "gid", "gname", "mtime", "uid"];

/// An archive that is not accepted.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TarError {
    /// It ends in the middle of something.
    #[error("the archive is cut short")]
    Cut,
    /// A header that is not one.
    #[error("the archive is no tar archive, or damaged: {0} at byte {1}")]
    Header(&'static str, usize),
    /// More than there may be.
    #[error("the archive has {0}, more than there may be")]
    Limit(&'static str),
    /// An entry that evidence does not need.
    #[error("`{name}` in the archive is {what}; only files and directories are taken")]
    Kind {
        /// The entry.
        name: String,
        /// What it is.
        what: &'static str,
    },
    /// A name that leads elsewhere, or is there twice.
    #[error("`{name}` in the archive is no name of one file below it")]
    Name {
        /// The entry.
        name: String,
    },
}

/// Whether bytes look like an archive at all: what they are named does not matter.
#[must_use]
pub fn is_archive(bytes: &[u8]) -> bool {
    bytes.get(257..262) == Some(b"ustar")
}

/// Reads an archive.
///
/// # Errors
/// See [`TarError`].
pub fn read(bytes: &[u8]) -> Result<Files, TarError> {
    let mut archive = Archive { bytes, at: 0 };
    let mut files = BTreeMap::new();
    let mut total = 0_u64;
    while let Some(entry) = archive.entry()? {
        let Entry {
            name,
            directory,
            content,
        } = entry;
        let name = plain(name, directory)?;
        let Some(name) = name else {
            continue;
        };
        total = total.saturating_add(content.len() as u64);
        if total > MAX_TOTAL {
            return Err(TarError::Limit("too many bytes"));
        }
        if files.len() >= MAX_FILES {
            return Err(TarError::Limit("too many files"));
        }
        if files.insert(name.clone(), content.to_vec()).is_some() {
            return Err(TarError::Name { name });
        }
    }
    Ok(Files(files))
}

/// The name of a file below the archive; none for a directory.
fn plain(name: String, directory: bool) -> Result<Option<String>, TarError> {
    let path = name.strip_prefix("./").unwrap_or(&name);
    let path = if directory {
        path.strip_suffix('/').unwrap_or(path)
    } else {
        path
    };
    if directory && matches!(name.as_str(), "." | "./") {
        return Ok(None);
    }
    if !is_relative(path) {
        return Err(TarError::Name { name });
    }
    if path.split('/').count() > MAX_DEPTH {
        return Err(TarError::Limit("directories too deep"));
    }
    Ok((!directory).then(|| path.to_owned()))
}

struct Archive<'b> {
    bytes: &'b [u8],
    at: usize,
}

struct Entry<'b> {
    name: String,
    directory: bool,
    content: &'b [u8],
}

impl<'b> Archive<'b> {
    /// The next file or directory; none after the last.
    fn entry(&mut self) -> Result<Option<Entry<'b>>, TarError> {
        // One record before an entry at most: that of pax.
        let mut described = false;
        loop {
            let at = self.at;
            let header = self.take(BLOCK)?;
            if header.iter().all(|byte| *byte == 0) {
                return self.end(described);
            }
            check_sum(header, at)?;
            let header = Header { header, at };
            let (name, size) = (header.name()?, header.size()?);
            let what = match header.kind() {
                b'0' | 0 => {
                    let content = self.content(size)?;
                    return Ok(Some(Entry {
                        name,
                        directory: false,
                        content,
                    }));
                }
                b'5' => {
                    let content = self.content(size)?;
                    return Ok(Some(Entry {
                        name,
                        directory: true,
                        content,
                    }));
                }
                b'x' if !described && size <= MAX_PAX => {
                    harmless(self.content(size)?, &name)?;
                    described = true;
                    continue;
                }
                b'1' => "a hard link",
                b'2' => "a symbolic link",
                b'3' | b'4' => "a device",
                b'6' => "a pipe",
                b'L' | b'K' => "a name of more than 255 bytes",
                b'g' => "a record about all files",
                b'S' => "a file with holes",
                _ => "of an unknown kind",
            };
            return Err(TarError::Kind { name, what });
        }
    }

    /// After one block of zeros there are only zeros.
    fn end(&mut self, described: bool) -> Result<Option<Entry<'b>>, TarError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        if described || rest.iter().any(|byte| *byte != 0) {
            return Err(TarError::Header("something after the end", self.at));
        }
        self.at = self.bytes.len();
        Ok(None)
    }

    fn content(&mut self, size: u64) -> Result<&'b [u8], TarError> {
        if size > MAX_FILE {
            return Err(TarError::Limit("a file too large"));
        }
        let size = usize::try_from(size).map_err(|_too_large| TarError::Cut)?;
        let content = self.take(size)?;
        let padding = size.next_multiple_of(BLOCK).saturating_sub(size);
        self.take(padding)?;
        Ok(content)
    }

    fn take(&mut self, size: usize) -> Result<&'b [u8], TarError> {
        let end = self.at.checked_add(size).ok_or(TarError::Cut)?;
        let taken = self.bytes.get(self.at..end).ok_or(TarError::Cut)?;
        self.at = end;
        Ok(taken)
    }
}

/// The header of an entry: fields at fixed places (POSIX.1-2017, pax, "ustar Interchange Format").
struct Header<'b> {
    header: &'b [u8],
    at: usize,
}

impl Header<'_> {
    fn field(&self, from: usize, to: usize) -> &[u8] {
        self.header.get(from..to).unwrap_or_default()
    }

    fn kind(&self) -> u8 {
        self.header.get(156).copied().unwrap_or_default()
    }

    fn size(&self) -> Result<u64, TarError> {
        octal(self.field(124, 136)).ok_or(TarError::Header("a size that is none", self.at))
    }

    fn name(&self) -> Result<String, TarError> {
        let no_name = || TarError::Header("a name that is none", self.at);
        let name = text(self.field(0, 100)).ok_or_else(no_name)?;
        // GNU tar has times where POSIX has the beginning of a long name.
        let prefix = match self.field(257, 265) {
            b"ustar\x0000" => text(self.field(345, 500)).ok_or_else(no_name)?,
            b"ustar  \0" => String::new(),
            _ => return Err(TarError::Header("no `ustar`", self.at)),
        };
        if prefix.is_empty() {
            return Ok(name);
        }
        Ok(format!("{prefix}/{name}"))
    }
}

/// The sum of all bytes of a header, its own field taken as blanks.
fn check_sum(header: &[u8], at: usize) -> Result<(), TarError> {
    let field = 148..156;
    let sum = header.iter().enumerate().map(|(index, byte)| {
        let byte = if field.contains(&index) { b' ' } else { *byte };
        u64::from(byte)
    });
    let sum = sum.fold(0, u64::saturating_add);
    if header.get(field.clone()).and_then(octal) != Some(sum) {
        return Err(TarError::Header("a wrong sum", at));
    }
    Ok(())
}

/// Octal digits, ended by blanks or zero bytes.
fn octal(field: &[u8]) -> Option<u64> {
    let end = field.iter().position(|byte| matches!(byte, 0 | b' '));
    let (digits, rest) = field.split_at_checked(end.unwrap_or(field.len()))?;
    let clean = rest.iter().all(|byte| matches!(byte, 0 | b' '));
    if digits.is_empty() || !clean {
        return None;
    }
    u64::from_str_radix(str::from_utf8(digits).ok()?, 8).ok()
}

/// Text up to the first zero byte, after which there is nothing else.
fn text(field: &[u8]) -> Option<String> {
    let end = field.iter().position(|byte| *byte == 0);
    let (text, rest) = field.split_at_checked(end.unwrap_or(field.len()))?;
    if rest.iter().any(|byte| *byte != 0) {
        return None;
    }
    String::from_utf8(text.to_vec()).ok()
}

/// Whether pax records say nothing that changes what the entry is: `LENGTH KEY=VALUE` and a line
/// feed, LENGTH that of the whole.
fn harmless(mut records: &[u8], name: &str) -> Result<(), TarError> {
    let refused = || TarError::Kind {
        name: name.to_owned(),
        what: "described by a pax record about its name, its size or its kind",
    };
    while !records.is_empty() {
        let blank = records.iter().position(|byte| *byte == b' ');
        let blank = blank.ok_or_else(refused)?;
        let digits = records
            .get(..blank)
            .and_then(|text| str::from_utf8(text).ok());
        let length: usize = digits
            .and_then(|digits| digits.parse().ok())
            .ok_or_else(refused)?;
        let record = records.get(blank.saturating_add(1)..length);
        let record = record.and_then(|record| record.strip_suffix(b"\n"));
        let key = record
            .and_then(|record| record.split(|byte| *byte == b'=').next())
            .and_then(|key| str::from_utf8(key).ok())
            .ok_or_else(refused)?;
        if !HARMLESS.contains(&key) && key != "uname" {
            return Err(refused());
        }
        records = records.get(length..).unwrap_or_default();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::gate::source::Source as _;

    fn header(name: &[u8], kind: u8, size: u64) -> Vec<u8> {
        let mut header = vec![0; BLOCK];
        header[..name.len()].copy_from_slice(name);
        header[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
        header[156] = kind;
        header[257..265].copy_from_slice(b"ustar\x0000");
        summed(header)
    }

    fn summed(mut header: Vec<u8>) -> Vec<u8> {
        header[148..156].fill(b' ');
        let sum: u64 = header.iter().map(|byte| u64::from(*byte)).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        header
    }

    fn entry(name: &[u8], kind: u8, content: &[u8]) -> Vec<u8> {
        let mut entry = header(name, kind, content.len() as u64);
        entry.extend_from_slice(content);
        entry.resize(entry.len().next_multiple_of(BLOCK), 0);
        entry
    }

    fn archive(entries: &[Vec<u8>]) -> Vec<u8> {
        let mut archive = entries.concat();
        archive.extend([0; 2 * BLOCK]);
        archive
    }

    fn one(name: &str, kind: u8) -> Result<Files, TarError> {
        read(&archive(&[entry(name.as_bytes(), kind, b"")]))
    }

    #[test]
    fn files_come_out_as_they_went_in_and_directories_do_not() {
        let bytes = archive(&[
            entry(b"./", b'5', b""),
            entry(b"./seal.sigstore.json", b'0', b"{}"),
            entry(b"more/", b'5', b""),
            entry(b"more/a", 0, &[7; 1000]),
            entry(b"empty", b'0', b""),
        ]);
        assert!(is_archive(&bytes));
        let files = read(&bytes).unwrap();
        assert_eq!(files.names(), ["empty", "more/a", "seal.sigstore.json"]);
        assert_eq!(files.read("more/a", 1000).unwrap(), [7; 1000]);
        files.read("more/a", 999).unwrap_err();
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for name in [
            "/etc/x", "../x", "a/../x", "a//x", "./../x", "", ".", "a/", "a/.", "a\\b",
        ] {
            let error = one(name, b'0').unwrap_err();
            assert!(matches!(error, TarError::Name { .. }), "{name}: {error}");
        }
        for name in ["/", "..", "a/../b/", "/a/"] {
            one(name, b'5').unwrap_err();
        }
        let twice = archive(&[entry(b"a", b'0', b"1"), entry(b"./a", b'0', b"2")]);
        assert!(matches!(read(&twice), Err(TarError::Name { .. })));
    }

    #[test]
    fn whatever_is_no_file_is_refused() {
        for kind in *b"1234678LKgSxVM" {
            let error = one("a", kind);
            // An empty pax record is harmless, and then nothing follows it.
            assert!(error.is_err(), "{}", char::from(kind));
        }
    }

    #[test]
    fn pax_records_about_times_are_taken_and_those_about_names_are_not() {
        let with = |record: &str| {
            let file = entry(b"a", b'0', b"1");
            read(&archive(&[entry(b"p", b'x', record.as_bytes()), file]))
        };
        assert_eq!(with("20 mtime=1764000.25\n").unwrap().names(), ["a"]);
        assert_eq!(with("12 uid=1000\n").unwrap().names(), ["a"]);
        for bad in [
            "12 path=/etc\n",
            "9 size=9\n",
            "11 uid=1000\n",
            "15 linkpath=/a\n",
            "x",
            "99 mtime=1\n",
            "3 \n",
        ] {
            assert!(matches!(with(bad), Err(TarError::Kind { .. })), "{bad}");
        }
        let twice = archive(&[entry(b"p", b'x', b""), entry(b"p", b'x', b"")]);
        read(&twice).unwrap_err();
    }

    #[test]
    fn sizes_beyond_bounds_are_refused_before_anything_is_read() {
        let large = archive(&[header(b"a", b'0', MAX_FILE + 1)]);
        assert_eq!(read(&large), Err(TarError::Limit("a file too large")));
        let cut = archive(&[header(b"a", b'0', 9999)]);
        assert_eq!(read(&cut), Err(TarError::Cut));
        let deep = "d/".repeat(MAX_DEPTH) + "a";
        assert!(matches!(one(&deep, b'0'), Err(TarError::Limit(_))));
        let many: Vec<_> = (0..=MAX_FILES)
            .map(|number| entry(number.to_string().as_bytes(), b'0', b""))
            .collect();
        assert_eq!(
            read(&archive(&many)),
            Err(TarError::Limit("too many files"))
        );
        let mut negative = header(b"a", b'0', 0);
        negative[124] = 0x80;
        assert!(matches!(read(&summed(negative)), Err(TarError::Header(..))));
    }

    #[test]
    fn a_damaged_archive_is_refused() {
        let good = archive(&[entry(b"a", b'0', b"1")]);
        let mut wrong = good.clone();
        wrong[0] = b'b';
        assert!(matches!(
            read(&wrong),
            Err(TarError::Header("a wrong sum", 0))
        ));
        let mut more = good.clone();
        let last = more.len() - 1;
        more[last] = 1;
        read(&more).unwrap_err();
        read(&good[..BLOCK]).unwrap_err();
        read(b"").unwrap_err();
        // Where there is no second block of zeros, the first one still says that this is the end.
        read(&good[..3 * BLOCK]).unwrap();
    }

    proptest! {
        #[test]
        fn reading_is_total(bytes in any::<Vec<u8>>()) {
            drop(read(&bytes));
        }

        #[test]
        fn no_changed_byte_of_a_header_gives_a_file_outside(at in 0_usize..BLOCK, byte in any::<u8>()) {
            let mut bytes = entry(b"evidence/a", b'0', b"1");
            bytes[at] = byte;
            let head = summed(bytes[..BLOCK].to_vec());
            bytes[..BLOCK].copy_from_slice(&head);
            if let Ok(files) = read(&archive(&[bytes])) {
                prop_assert!(files.names().iter().all(|name| is_relative(name)));
            }
        }
    }
}
