//! A name in its one canonical form, the key of the names a job may show, and what is found there.

use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::abi::ruleset::RuleIndex;

/// Longest name (RFC 1035, 2.3.4).
pub const NAME_MAX: u8 = 253;

/// Bytes of a key's data: the longest a kernel's trie takes.
pub const KEY_BYTES: usize = 256;

/// Rules one name can have.
pub const RULES_MAX: usize = 16;

/// A host name while it is read: lower-case letters, digits, hyphens, underscores and dots.
#[derive(Clone, Copy, Debug, Eq, PartialEq, FromBytes, Immutable, IntoBytes)]
#[repr(C)]
pub struct Name {
    /// The bytes. The first `len` are meant.
    pub bytes: [u8; 256],
    /// How many.
    pub len: u8,
    /// How many labels.
    pub labels: u8,
    /// Whether the last byte was a dot that may be the final one.
    pub dot: u8,
    /// Always zero.
    pub reserved: [u8; 5],
}

/// Whether a byte was taken into a name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Push {
    /// It was.
    Taken,
    /// No host name has it there.
    Refused,
}

impl Name {
    /// No name.
    pub const EMPTY: Self = Self {
        bytes: [0; 256],
        len: 0,
        labels: 0,
        dot: 0,
        reserved: [0; 5],
    };

    /// Makes room for another name.
    #[inline(always)]
    pub fn clear(&mut self) {
        self.len = 0;
        self.labels = 0;
        self.dot = 0;
    }

    /// Takes the next byte. A final dot is not kept: the name is the same.
    #[inline(always)]
    pub fn push(&mut self, byte: u8) -> Push {
        if byte == b'.' {
            // Neither an empty label nor an empty name.
            if self.len == 0 || self.dot != 0 {
                return Push::Refused;
            }
            self.dot = 1;
            return Push::Taken;
        }
        let lower = if byte.is_ascii_uppercase() {
            byte | 0x20
        } else {
            byte
        };
        let named =
            lower.is_ascii_lowercase() || lower.is_ascii_digit() || lower == b'-' || lower == b'_';
        if !named || self.len >= NAME_MAX {
            return Push::Refused;
        }
        if self.dot != 0 {
            self.dot = 0;
            self.put(b'.');
            self.labels = self.labels.wrapping_add(1);
        } else if self.len == 0 {
            self.labels = 1;
        }
        if self.len >= NAME_MAX {
            return Push::Refused;
        }
        self.put(lower);
        Push::Taken
    }

    #[inline(always)]
    fn put(&mut self, byte: u8) {
        // A u8 is always inside of 256 bytes.
        if let Some(slot) = self.bytes.get_mut(usize::from(self.len)) {
            *slot = byte;
        }
        self.len = self.len.wrapping_add(1);
    }

    /// The name.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or(&[])
    }
}

/// What ends a key: whether the pattern is the name, or reaches below it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum End {
    /// The name itself.
    Exact,
    /// Names below it.
    Below,
}

impl End {
    /// The byte.
    #[must_use]
    #[inline(always)]
    pub const fn byte(self) -> u8 {
        match self {
            Self::Exact => 0,
            Self::Below => b'.',
        }
    }
}

/// Data of the key of a name in the trie of a job's names, and how many of its bits count: the name
/// backwards, then what ends it. The longest prefix of a name's own key is then the nearest pattern:
/// itself, else the longest name it is below of.
#[must_use]
pub fn key(name: &str, end: End) -> Option<([u8; KEY_BYTES], u32)> {
    if name.len() > usize::from(NAME_MAX) {
        return None;
    }
    let mut data = [0; KEY_BYTES];
    let bytes = name.bytes().rev().chain([end.byte()]);
    for (to, from) in data.iter_mut().zip(bytes) {
        *to = from;
    }
    let bits = u32::try_from(name.len())
        .ok()?
        .wrapping_add(1)
        .wrapping_mul(8);
    Some((data, bits))
}

/// A rule that allows names of one pattern.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, Immutable, IntoBytes)]
#[repr(C)]
pub struct NameRule {
    /// Its index in the job's ruleset.
    pub rule: RuleIndex,
    /// How many labels the name must have; 0: any number.
    pub labels: u8,
    /// Always zero.
    pub reserved: [u8; 3],
}

impl NameRule {
    /// Whether it allows a name of so many labels that was found at its pattern.
    #[must_use]
    #[inline(always)]
    pub const fn allows(self, labels: u8) -> bool {
        self.labels == 0 || self.labels == labels
    }
}

/// Value of a job's trie of names: all rules that can allow a name for which this pattern is the
/// nearest, those of the patterns around it included. The first `len` are meant.
#[derive(Clone, Copy, Debug, Eq, PartialEq, FromBytes, Immutable, IntoBytes)]
#[repr(C)]
pub struct NameRules {
    /// How many of `rules` hold.
    pub len: u32,
    /// Always zero.
    pub reserved: u32,
    /// The rules, in the policy's order.
    pub rules: [NameRule; RULES_MAX],
}

const _: () = assert!(size_of::<NameRules>() == 136);

impl NameRules {
    /// The value for a list; `None` if there are more than [`RULES_MAX`].
    #[must_use]
    pub fn new(list: &[NameRule]) -> Option<Self> {
        let mut rules = [NameRule::default(); RULES_MAX];
        rules.get_mut(..list.len())?.copy_from_slice(list);
        Some(Self {
            len: u32::try_from(list.len()).ok()?,
            reserved: 0,
            rules,
        })
    }

    /// The rules that are meant.
    #[must_use]
    pub fn as_slice(&self) -> &[NameRule] {
        self.rules
            .get(..(self.len as usize).min(RULES_MAX))
            .unwrap_or(&[])
    }
}
