//! Values that an operator has registered: found wherever they are, and never kept.
//!
//! Of a value only this stays: how long it is, 20 bits of a keyed hash of its first eight bytes, and a keyed BLAKE3 of
//! the whole. Without the host's key that says nothing of it; with the key a guess can be tried, which is why the key
//! stays on the host.

use zeroize::Zeroize as _;

use crate::credential::{Class, Rule};
use crate::fingerprint::{FingerprintKey, KeyId};
use crate::scratch::Scratch;

mod file;
mod forms;
mod search;

pub use file::{FileError, Mistake};
pub(crate) use search::Search;

/// The rule of detections of known values.
pub(crate) const RULE: Rule = Rule {
    id: "known-value",
    title: "value registered by the operator",
};

/// Shorter values are in too many texts by chance, and could be guessed.
const SHORTEST: usize = 8;
/// The longest value. An argument or variable is at most 128 KiB.
const LONGEST: usize = 128 * 1024;
/// Shorter lines of a value of several lines are not registered by themselves.
const SHORTEST_LINE: usize = 12;
/// Label: `[A-Za-z0-9._/-]`, at most so many bytes.
const LONGEST_LABEL: usize = 64;

/// The registered values of a host. It holds none of them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KnownSet {
    key: KeyId,
    digests: Vec<Digest>,
}

/// One form of one value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Digest {
    /// The value's number in the set.
    pub(crate) id: u32,
    pub(crate) label: String,
    pub(crate) class: Class,
    pub(crate) form: Form,
    /// How long the form is, in bytes.
    pub(crate) length: u32,
    /// 20 bits of the keyed hash of the form's first eight bytes.
    pub(crate) filter: u32,
    /// The keyed hash of all of it.
    pub(crate) hash: [u8; 16],
    /// When it was registered, in seconds of the Unix epoch.
    pub(crate) registered: i64,
}

/// How a value may stand in a text.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) enum Form {
    /// As it is.
    Whole,
    /// One line of it.
    Line,
    /// As in a JSON string.
    Json,
    /// With `%2F`.
    Percent,
    /// Between the single quotes of a shell.
    Quoted,
    /// With a backslash before what a shell would interpret.
    Backslashed,
}

impl Form {
    pub(crate) const ALL: [Self; 6] = [
        Self::Whole,
        Self::Line,
        Self::Json,
        Self::Percent,
        Self::Quoted,
        Self::Backslashed,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Line => "line",
            Self::Json => "json",
            Self::Percent => "percent",
            Self::Quoted => "quoted",
            Self::Backslashed => "backslashed",
        }
    }
}

/// Why a value cannot be registered.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RegisterError {
    /// The set belongs to another key.
    #[error("the set was made under the key {set}, and the key is {key}; start a new set")]
    OtherKey {
        /// The key given.
        key: KeyId,
        /// The set's key.
        set: KeyId,
    },
    /// Too short.
    #[error("a value has at least {SHORTEST} bytes; a shorter one would be found everywhere")]
    Short,
    /// Too long.
    #[error("a value has at most {LONGEST} bytes")]
    Long,
    /// One character again and again.
    #[error("the value repeats one byte; it would be found everywhere")]
    Monotonous,
    /// The label cannot be written.
    #[error("a label has 1 to {LONGEST_LABEL} of the characters A-Z a-z 0-9 . _ / -")]
    Label,
    /// The label is in the set.
    #[error("there is a value with this label; remove it first")]
    Taken,
    /// The escaped forms do not fit into the scratch.
    #[error("the scratch memory is too small for the escaped forms of the value")]
    Scratch,
}

/// A registered value, without the value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KnownValue {
    /// Its label.
    pub label: String,
    /// Its class.
    pub class: Class,
    /// How many forms of it are looked for, itself included.
    pub forms: usize,
    /// When it was registered, in seconds of the Unix epoch.
    pub registered: i64,
}

impl KnownSet {
    /// A set of no values.
    pub const fn new(key: KeyId) -> Self {
        Self {
            key,
            digests: Vec::new(),
        }
    }

    /// The key its digests are made with.
    pub const fn key(&self) -> KeyId {
        self.key
    }

    /// Whether it has no values.
    pub fn is_empty(&self) -> bool {
        self.digests.is_empty()
    }

    /// The values, in the order they were registered in.
    pub fn values(&self) -> Vec<KnownValue> {
        let mut values: Vec<KnownValue> = Vec::new();
        for digest in &self.digests {
            match values.last_mut() {
                Some(value) if value.label == digest.label => {
                    value.forms = value.forms.saturating_add(1);
                }
                _ => values.push(KnownValue {
                    label: digest.label.clone(),
                    class: digest.class,
                    forms: 1,
                    registered: digest.registered,
                }),
            }
        }
        values
    }

    /// Registers a value, each of its lines, and how it looks escaped. A line break at its end is not part of it.
    /// `scratch` needs room for three times the value's length and is given back zeroed.
    ///
    /// # Errors
    /// The value or its label is refused, and nothing has changed.
    pub fn register(
        &mut self,
        key: &FingerprintKey,
        scratch: &mut Scratch<'_>,
        label: &str,
        class: Class,
        value: &[u8],
        now: i64,
    ) -> Result<(), RegisterError> {
        let value = value.strip_suffix(b"\n").unwrap_or(value);
        let value = value.strip_suffix(b"\r").unwrap_or(value);
        self.admit(key.id(), label, value)?;
        let id = self
            .digests
            .iter()
            .map(|digest| digest.id)
            .max()
            .unwrap_or(0);
        let maker = Maker {
            digester: search::Digester::new(key),
            id: id.saturating_add(1),
            label,
            class,
            now,
        };
        let digests = maker.all_forms(value, scratch)?;
        self.digests.extend(digests);
        Ok(())
    }

    /// Removes a value. Whether there was one.
    pub fn remove(&mut self, label: &str) -> bool {
        let before = self.digests.len();
        self.digests.retain(|digest| digest.label != label);
        self.digests.len() != before
    }

    pub(crate) fn digests(&self) -> &[Digest] {
        &self.digests
    }

    fn admit(&self, key: KeyId, label: &str, value: &[u8]) -> Result<(), RegisterError> {
        if self.key != key {
            return Err(RegisterError::OtherKey { key, set: self.key });
        }
        if value.len() < SHORTEST {
            return Err(RegisterError::Short);
        }
        if value.len() > LONGEST {
            return Err(RegisterError::Long);
        }
        if value
            .iter()
            .zip(value.iter().skip(1))
            .all(|(one, next)| one == next)
        {
            return Err(RegisterError::Monotonous);
        }
        if !is_label(label) {
            return Err(RegisterError::Label);
        }
        if self.digests.iter().any(|digest| digest.label == label) {
            return Err(RegisterError::Taken);
        }
        Ok(())
    }
}

fn is_label(label: &str) -> bool {
    let may = |byte: u8| byte.is_ascii_alphanumeric() || b"._/-".contains(&byte);
    (1..=LONGEST_LABEL).contains(&label.len()) && label.bytes().all(may)
}

/// Makes the digests of one value.
struct Maker<'l> {
    digester: search::Digester,
    id: u32,
    label: &'l str,
    class: Class,
    now: i64,
}

impl Maker<'_> {
    fn all_forms(
        &self,
        value: &[u8],
        scratch: &mut Scratch<'_>,
    ) -> Result<Vec<Digest>, RegisterError> {
        let mut digests = vec![self.digest(Form::Whole, value)];
        for line in forms::lines(value) {
            digests.push(self.digest(Form::Line, line));
        }
        // The longest form of a byte is six bytes, of a control character in JSON; text takes three.
        let room = value.len().saturating_mul(3);
        for (form, escape) in forms::ESCAPES {
            let digest = scratch.with(room, |buffer, _rest| {
                let length = escape(value, buffer)?;
                let escaped = buffer.get(..length)?;
                let digest = (escaped != value).then(|| self.digest(form, escaped));
                buffer.zeroize();
                Some(digest)
            });
            // Binary values have no form that fits, and none that somebody writes either.
            digests.extend(digest.ok_or(RegisterError::Scratch)?.flatten());
        }
        let mut kept: Vec<Digest> = Vec::new();
        for digest in digests {
            if !kept.iter().any(|other| other.hash == digest.hash) {
                kept.push(digest);
            }
        }
        Ok(kept)
    }

    fn digest(&self, form: Form, text: &[u8]) -> Digest {
        Digest {
            id: self.id,
            label: self.label.to_owned(),
            class: self.class,
            form,
            // At most 3 * LONGEST.
            length: u32::try_from(text.len()).unwrap_or(u32::MAX),
            filter: self.digester.filter(text),
            hash: self.digester.digest(text),
            registered: self.now,
        }
    }
}

#[cfg(test)]
mod tests;
