//! Headers of a tar file: those of POSIX (`ustar`, `pax`) and GNU's long names are read; one form is written.

use super::{BLOCK, padding_of, wrong};
use crate::refusal::{Refusal, printable};

/// Longest path, and longest target of a link.
const PATH_BYTES: usize = 4096;
/// Length of the field of a name.
const NAME_BYTES: usize = 100;

/// What an entry is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    File,
    HardLink,
    Link,
    Directory,
    /// Records for the next entry.
    Records,
    /// Records for all entries.
    Global,
    /// The next entry's name.
    LongName,
    /// The next entry's target.
    LongLink,
}

/// An entry, as far as it goes on.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) name: Vec<u8>,
    pub(super) kind: Kind,
    pub(super) size: u64,
    mode: u64,
    uid: u64,
    gid: u64,
    time: u64,
    pub(super) target: Vec<u8>,
    attributes: Vec<(String, Vec<u8>)>,
}

/// What headers of an entry said before its own.
#[derive(Debug, Default)]
pub(super) struct Records {
    name: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u64>,
    gid: Option<u64>,
    time: Option<u64>,
    attributes: Vec<(String, Vec<u8>)>,
}

/// Records that say nothing of what an image becomes.
const DROPPED: [&str; 11] = [
    "atime",
    "ctime",
    "charset",
    "comment",
    "gname",
    "uname",
    "LIBARCHIVE.creationtime",
    "SCHILY.dev",
    "SCHILY.ino",
    "SCHILY.nlink",
    "RHT.security.selinux",
];

/// Extended attributes that a file of an image may have.
const ATTRIBUTES: [&str; 2] = ["SCHILY.xattr.security.capability", "SCHILY.xattr.user."];

impl Header {
    /// Reads one block.
    pub(super) fn read(block: &[u8]) -> Result<Self, Refusal> {
        let field = |at: usize, length: usize| {
            let end = at.saturating_add(length);
            block.get(at..end).unwrap_or_default()
        };
        judge_packing(block)?;
        let sum: u64 = block
            .iter()
            .enumerate()
            .map(|(at, byte)| {
                if (148..156).contains(&at) {
                    u64::from(b' ')
                } else {
                    u64::from(*byte)
                }
            })
            .fold(0, u64::saturating_add);
        if number(field(148, 8))? != sum {
            return Err(wrong("it is no tar file"));
        }
        let text = |field: &[u8]| field.split(|byte| *byte == 0).next().map(<[u8]>::to_vec);
        let mut name = text(field(0, NAME_BYTES)).unwrap_or_default();
        let prefix = text(field(345, 155)).unwrap_or_default();
        if field(257, 6) == b"ustar\0" && !prefix.is_empty() {
            name = [prefix.as_slice(), b"/", name.as_slice()].concat();
        }
        let kind = match field(156, 1) {
            b"0" | b"\0" | b"7" => Kind::File,
            b"1" => Kind::HardLink,
            b"2" => Kind::Link,
            b"5" => Kind::Directory,
            b"x" => Kind::Records,
            b"g" => Kind::Global,
            b"L" => Kind::LongName,
            b"K" => Kind::LongLink,
            b"3" | b"4" | b"6" => {
                return Err(wrong(&format!(
                    "`{}` is a device or a pipe. Leave it out: name it in `.dockerignore`",
                    printable(&String::from_utf8_lossy(&name))
                )));
            }
            other => {
                return Err(wrong(&format!(
                    "it has an entry of the type `{}`. Pack it with `tar --format=pax`",
                    printable(&String::from_utf8_lossy(other))
                )));
            }
        };
        Ok(Self {
            name,
            kind,
            size: number(field(124, 12))?,
            mode: number(field(100, 8))? & 0o7777,
            uid: number(field(108, 8))?,
            gid: number(field(116, 8))?,
            time: number(field(136, 12))?,
            target: text(field(157, NAME_BYTES)).unwrap_or_default(),
            attributes: Vec::new(),
        })
    }

    /// Puts in what was said before.
    pub(super) fn extend(&mut self, records: Records) -> Result<(), Refusal> {
        let Records {
            name,
            target,
            size,
            uid,
            gid,
            time,
            attributes,
        } = records;
        self.name = name.unwrap_or_else(|| std::mem::take(&mut self.name));
        self.target = target.unwrap_or_else(|| std::mem::take(&mut self.target));
        self.size = size.unwrap_or(self.size);
        self.uid = uid.unwrap_or(self.uid);
        self.gid = gid.unwrap_or(self.gid);
        self.time = time.unwrap_or(self.time);
        self.attributes = attributes;
        // As old programs write it.
        if self.kind == Kind::File && self.name.ends_with(b"/") {
            self.kind = Kind::Directory;
        }
        if self.kind != Kind::File && self.size != 0 {
            return Err(wrong("it has a link or a directory with bytes of its own"));
        }
        self.target = match self.kind {
            // A name of the context.
            Kind::HardLink => path(&self.target)?.into_bytes(),
            Kind::Link if self.target.is_empty() || self.target.len() > PATH_BYTES => {
                return Err(wrong("it has a link that leads nowhere"));
            }
            Kind::Link => std::mem::take(&mut self.target),
            _ => Vec::new(),
        };
        Ok(())
    }

    /// Writes it, under a name that was read by [`path`].
    pub(super) fn write(&self, name: &str, out: &mut Vec<u8>) {
        let mut name = name.as_bytes().to_vec();
        if self.kind == Kind::Directory {
            name.push(b'/');
        }
        let mut records = Vec::new();
        let plain = |text: &[u8]| text.len() < NAME_BYTES && text.is_ascii();
        if !plain(&name) {
            record("path", &name, &mut records);
        }
        if !plain(&self.target) {
            record("linkpath", &self.target, &mut records);
        }
        for (key, number) in [("uid", self.uid), ("gid", self.gid)] {
            if number > 0o777_7777 {
                record(key, number.to_string().as_bytes(), &mut records);
            }
        }
        for (key, value) in &self.attributes {
            record(key, value, &mut records);
        }
        if !records.is_empty() {
            let size = u64::try_from(records.len()).unwrap_or(u64::MAX);
            block(b"x", b"x", b"", [0o644, 0, 0, size, 0], out);
            out.append(&mut records);
            pad(size, out);
        }
        let kind: &[u8] = match self.kind {
            Kind::HardLink => b"1",
            Kind::Link => b"2",
            Kind::Directory => b"5",
            _ => b"0",
        };
        let short = |text: &[u8]| {
            if plain(text) {
                text.to_vec()
            } else {
                b"x".to_vec()
            }
        };
        let small = |number: u64| if number > 0o777_7777 { 0 } else { number };
        let numbers = [
            self.mode,
            small(self.uid),
            small(self.gid),
            self.size,
            self.time,
        ];
        block(&short(&name), kind, &short(&self.target), numbers, out);
    }
}

impl Records {
    /// Reads what an entry says of the next one.
    pub(super) fn read(&mut self, kind: Kind, bytes: &[u8]) -> Result<(), Refusal> {
        let text = || bytes.split(|byte| *byte == 0).next().map(<[u8]>::to_vec);
        match kind {
            Kind::LongName => self.name = text(),
            Kind::LongLink => self.target = text(),
            Kind::Global => {
                let mut all = Self::default();
                all.read_records(bytes)?;
                // `git archive` has a comment in it.
                if !all.is_empty() {
                    return Err(wrong("it has a header that changes all its entries"));
                }
            }
            _ => self.read_records(bytes)?,
        }
        Ok(())
    }

    const fn is_empty(&self) -> bool {
        let Self {
            name,
            target,
            size,
            uid,
            gid,
            time,
            attributes,
        } = self;
        name.is_none()
            && target.is_none()
            && size.is_none()
            && uid.is_none()
            && gid.is_none()
            && time.is_none()
            && attributes.is_empty()
    }

    fn read_records(&mut self, mut bytes: &[u8]) -> Result<(), Refusal> {
        let damaged = || wrong("it has a damaged header");
        while !bytes.is_empty() {
            let space = bytes.iter().position(|byte| *byte == b' ');
            let (length, _) = bytes
                .split_at_checked(space.ok_or_else(damaged)?)
                .ok_or_else(damaged)?;
            let digits = length.len();
            let length = decimal(length).ok_or_else(damaged)?;
            let length = usize::try_from(length).map_err(|_too_long| damaged())?;
            let (one, rest) = bytes.split_at_checked(length).ok_or_else(damaged)?;
            let one = one.get(digits.saturating_add(1)..).ok_or_else(damaged)?;
            let one = one.strip_suffix(b"\n").ok_or_else(damaged)?;
            let equals = one.iter().position(|byte| *byte == b'=');
            let (key, value) = one
                .split_at_checked(equals.ok_or_else(damaged)?)
                .ok_or_else(damaged)?;
            let value = value.get(1..).unwrap_or_default();
            self.take(&String::from_utf8_lossy(key), value)?;
            bytes = rest;
        }
        Ok(())
    }

    fn take(&mut self, key: &str, value: &[u8]) -> Result<(), Refusal> {
        let damaged = || wrong("it has a damaged header");
        let number = || decimal(value).ok_or_else(damaged);
        match key {
            "path" => self.name = Some(value.to_vec()),
            "linkpath" => self.target = Some(value.to_vec()),
            "size" => self.size = Some(number()?),
            "uid" => self.uid = Some(number()?),
            "gid" => self.gid = Some(number()?),
            "mtime" => {
                let seconds = value.split(|byte| *byte == b'.').next().unwrap_or_default();
                // Before 1970 is as good as then.
                self.time = Some(decimal(seconds).unwrap_or(0).min(0o777_7777_7777));
            }
            known if DROPPED.contains(&known) => {}
            known
                if ATTRIBUTES.iter().any(|good| {
                    known == *good || (good.ends_with('.') && known.starts_with(good))
                }) && !known.contains('=') =>
            {
                self.attributes.push((known.to_owned(), value.to_vec()));
            }
            other => {
                return Err(wrong(&format!(
                    "the header `{}` in it is not known",
                    printable(other)
                )));
            }
        }
        Ok(())
    }
}

/// Contexts come as they are.
pub(super) fn judge_packing(bytes: &[u8]) -> Result<(), Refusal> {
    let magics = [
        &[0x1f, 0x8b][..],
        b"BZh",
        &[0xfd, b'7', b'z'],
        &[0x28, 0xb5, 0x2f, 0xfd],
    ];
    if magics.iter().any(|magic| bytes.starts_with(magic)) {
        return Err(wrong(
            "it is compressed. Send it plain: leave `--compress` out",
        ));
    }
    Ok(())
}

/// A path in the context, without what leads nowhere; empty for the context itself.
///
/// # Errors
/// It leads out of it, or is no text.
pub(super) fn path(bytes: &[u8]) -> Result<String, Refusal> {
    let shown = || printable(&String::from_utf8_lossy(bytes));
    let text = str::from_utf8(bytes)
        .map_err(|_no_text| wrong(&format!("the name `{}` is not UTF-8", shown())))?;
    if text.len() > PATH_BYTES || text.contains('\0') {
        return Err(wrong(&format!("the name `{}` is too long", shown())));
    }
    let parts = || {
        text.split('/')
            .filter(|part| !part.is_empty() && *part != ".")
    };
    if parts().any(|part| part == "..") {
        return Err(wrong(&format!("the name `{}` leads out of it", shown())));
    }
    Ok(parts().collect::<Vec<_>>().join("/"))
}

/// Writes a directory.
pub(super) fn directory(name: &str, out: &mut Vec<u8>) {
    block(name.as_bytes(), b"5", b"", [0o755, 0, 0, 0, 0], out);
}

/// Writes a file.
pub(super) fn file(name: &str, bytes: &[u8], out: &mut Vec<u8>) {
    let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    block(name.as_bytes(), b"0", b"", [0o644, 0, 0, size, 0], out);
    out.extend_from_slice(bytes);
    pad(size, out);
}

fn pad(size: u64, out: &mut Vec<u8>) {
    let padding = usize::try_from(padding_of(size)).unwrap_or_default();
    out.resize(out.len().saturating_add(padding), 0);
}

/// Writes one block. `numbers` are mode, user, group, size, and time.
fn block(name: &[u8], kind: &[u8], target: &[u8], numbers: [u64; 5], out: &mut Vec<u8>) {
    let [mode, uid, gid, size, time] = numbers;
    let mut fields: Vec<u8> = Vec::with_capacity(BLOCK);
    let text = |value: &[u8], length: usize, fields: &mut Vec<u8>| {
        let end = fields.len().saturating_add(length);
        fields.extend_from_slice(value.get(..length).unwrap_or(value));
        fields.resize(end, 0);
    };
    let octal = |value: u64, digits: usize| format!("{value:0digits$o}\0").into_bytes();
    text(name, 100, &mut fields);
    for value in [mode, uid, gid] {
        text(&octal(value, 7), 8, &mut fields);
    }
    text(&octal(size, 11), 12, &mut fields);
    text(&octal(time.min(0o777_7777_7777), 11), 12, &mut fields);
    text(b"        ", 8, &mut fields);
    text(kind, 1, &mut fields);
    text(target, 100, &mut fields);
    text(b"ustar\x0000", 8, &mut fields);
    text(b"", BLOCK.saturating_sub(fields.len()), &mut fields);
    let sum: u64 = fields.iter().map(|byte| u64::from(*byte)).sum();
    let sum = format!("{sum:06o}\0 ");
    if let Some(place) = fields.get_mut(148..156) {
        place.copy_from_slice(sum.as_bytes());
    }
    out.append(&mut fields);
}

/// One record: its own length in digits, a key and a value.
fn record(key: &str, value: &[u8], out: &mut Vec<u8>) {
    let rest = key.len().saturating_add(value.len()).saturating_add(3);
    let mut length = rest;
    // The length counts its own digits.
    while length.to_string().len().saturating_add(rest) != length {
        length = length.to_string().len().saturating_add(rest);
    }
    out.extend_from_slice(format!("{length} {key}=").as_bytes());
    out.extend_from_slice(value);
    out.push(b'\n');
}

/// A number in octal digits, as fields have it. Other forms are not read.
fn number(field: &[u8]) -> Result<u64, Refusal> {
    let text = field
        .split(|byte| *byte == 0)
        .next()
        .unwrap_or_default()
        .trim_ascii();
    let mut number = 0_u64;
    for digit in text {
        let digit = char::from(*digit).to_digit(8).ok_or_else(|| {
            wrong("it has a number that is not octal. Pack it with `tar --format=pax`")
        })?;
        number = number
            .checked_mul(8)
            .and_then(|number| number.checked_add(u64::from(digit)))
            .ok_or_else(|| wrong("it has a number that is too large"))?;
    }
    Ok(number)
}

fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    str::from_utf8(digits).ok()?.parse().ok()
}
