//! The text that a set of known values is kept as: one line for each form of each value.
//!
//! ```text
//! # cordon known values 1
//! # key 0123456789abcdef
//! 1 deploy/password static whole 24 3f2a1 00112233445566778899aabbccddeeff 1795000000
//! ```
//!
//! Number, label, class, form, length in bytes, filter, digest, time of registration.

use std::fmt;

use super::{Digest, Form, KnownSet, LONGEST, SHORTEST, is_label};
use crate::credential::Class;
use crate::fingerprint::{KeyId, read_hex};

const HEAD: &str = "# cordon known values 1";
const KEY: &str = "# key ";

/// A line of the file is not as it should be.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("line {line} of the known values: {mistake}")]
pub struct FileError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub mistake: Mistake,
}

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Mistake {
    /// The first line.
    #[error("it is not `{HEAD}`; this is no such file, or one of a newer cordon")]
    Head,
    /// The second line.
    #[error("it is not `{KEY}` and 16 hexadecimal digits")]
    Key,
    /// Too few fields, or too many.
    #[error("it has not eight fields with one space between them")]
    Fields,
    /// Not a number from 1.
    #[error("the number is not one from 1")]
    Id,
    /// Not a label.
    #[error("the label has characters that labels have not")]
    Label,
    /// Not a class.
    #[error("there is no such class")]
    Class,
    /// Not a form.
    #[error("there is no such form")]
    Form,
    /// Not a length.
    #[error("the length is not a number, or too small or large")]
    Length,
    /// Not a filter.
    #[error("the filter is not five hexadecimal digits")]
    Filter,
    /// Not a digest.
    #[error("the digest is not 32 hexadecimal digits")]
    Digest,
    /// Not a time.
    #[error("the time is not in seconds of the Unix epoch")]
    Registered,
    /// The value's other lines say something else.
    #[error("the number, label, class and time of one value differ between its lines")]
    Differs,
}

impl KnownSet {
    /// Reads what [`KnownSet`]'s `Display` writes. Empty lines are passed over.
    ///
    /// # Errors
    /// A line is not as it should be: nothing is read then.
    pub fn parse(text: &str) -> Result<Self, FileError> {
        let mut lines = text.lines().enumerate();
        let mut next = || lines.next().unwrap_or_default().1;
        let fail = |line, mistake| FileError { line, mistake };
        if next() != HEAD {
            return Err(fail(1, Mistake::Head));
        }
        let key = next().strip_prefix(KEY).and_then(KeyId::parse);
        let mut set = Self::new(key.ok_or_else(|| fail(2, Mistake::Key))?);
        for (at, line) in lines.filter(|(_at, line)| !line.is_empty()) {
            let number = at.saturating_add(1);
            let digest = read(line).map_err(|mistake| fail(number, mistake))?;
            if set.digests.iter().any(|other| !agree(other, &digest)) {
                return Err(fail(number, Mistake::Differs));
            }
            set.digests.push(digest);
        }
        Ok(set)
    }
}

/// Whether two lines can be in one file: of different values, or of one.
fn agree(one: &Digest, other: &Digest) -> bool {
    let same = one.id == other.id;
    same == (one.label == other.label)
        && (!same || (one.class == other.class && one.registered == other.registered))
}

fn read(line: &str) -> Result<Digest, Mistake> {
    let mut fields = line.split(' ');
    let mut field = || fields.next().ok_or(Mistake::Fields);
    let (id, label, class, form) = (field()?, field()?, field()?, field()?);
    let (length, filter, digest, registered) = (field()?, field()?, field()?, field()?);
    if fields.next().is_some() {
        return Err(Mistake::Fields);
    }
    let longest = LONGEST.saturating_mul(3);
    let is_length = |length: &u32| {
        usize::try_from(*length).is_ok_and(|length| (SHORTEST..=longest).contains(&length))
    };
    Ok(Digest {
        id: number(id).filter(|id| *id > 0).ok_or(Mistake::Id)?,
        label: Some(label)
            .filter(|label| is_label(label))
            .ok_or(Mistake::Label)?
            .to_owned(),
        class: Class::parse(class).ok_or(Mistake::Class)?,
        form: Form::ALL
            .into_iter()
            .find(|known| known.name() == form)
            .ok_or(Mistake::Form)?,
        length: number(length).filter(is_length).ok_or(Mistake::Length)?,
        filter: read_filter(filter).ok_or(Mistake::Filter)?,
        hash: read_hex(digest.as_bytes()).ok_or(Mistake::Digest)?,
        registered: registered.parse().map_err(|_error| Mistake::Registered)?,
    })
}

/// Digits only: `parse` would take a sign.
fn number(digits: &str) -> Option<u32> {
    digits
        .bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| digits.parse().ok())?
}

fn read_filter(text: &str) -> Option<u32> {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    (text.len() == 5 && text.bytes().all(is_digit)).then(|| u32::from_str_radix(text, 16).ok())?
}

impl fmt::Display for KnownSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEAD}\n{KEY}{}", self.key)?;
        for digest in &self.digests {
            writeln!(f, "{digest}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            id,
            label,
            class,
            form,
            length,
            filter,
            hash,
            registered,
        } = self;
        let (class, form) = (class.name(), form.name());
        write!(f, "{id} {label} {class} {form} {length} {filter:05x} ")?;
        crate::fingerprint::write_hex(f, hash)?;
        write!(f, " {registered}")
    }
}
