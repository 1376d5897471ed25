//! The formats, a file for each family of vendors.
//!
//! A format says by its [`Mark`]s where it could be, and its `read` looks there: exact characters,
//! length, boundary, then structure. `read` sees each mark's place once and must not search the text
//! by itself, so the cost of a scan stays linear.
//!
//! [`FORMATS`] goes from the specific to the general. Where what two of them found overlaps, it is
//! the same secret, and the earlier one knows better what it is.

use std::ops::Range;

use crate::credential::{Checksum, Class, Confidence, Fact, Life, Rule};
use crate::scratch::Scratch;

mod ai;
mod aws;
mod azure;
mod azure_keys;
mod base64;
mod chat;
mod ci;
mod clouds;
mod data_platforms;
mod github;
mod gitlab;
mod google;
mod jwt;
mod keys;
mod monitoring;
mod package_registries;
mod passwords;
mod pem;
mod secret_stores;
mod services;
mod shape;
mod time;
mod token;
mod url;

/// A credential format.
#[derive(Clone, Copy)]
pub(crate) struct Format {
    pub(crate) rule: Rule,
    pub(crate) marks: &'static [Mark],
    #[cfg_attr(
        not(any(test, feature = "cases")),
        expect(dead_code, reason = "a test makes the table of it")
    )]
    pub(crate) about: About,
    pub(crate) read: fn(&Sighting<'_>, &mut Scratch<'_>) -> Option<Credential>,
}

/// What the table of rules (docs/secret-formats.md) says of a format.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(
    not(test),
    expect(
        dead_code,
        reason = "a test makes the table of it; the engine has no use for words"
    )
)]
pub(crate) struct About {
    /// What is checked, in a few words.
    pub(crate) check: &'static str,
    /// How long such credentials live, in a few words.
    pub(crate) life: &'static str,
    /// The classes they can have.
    pub(crate) classes: &'static [Class],
}

/// Where a format could be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mark {
    /// Three bytes or more, searched for anywhere: at the start of the token or inside it. The first four should be
    /// rare in ordinary text, since each place where they are costs a look.
    Anywhere(&'static [u8]),
    /// The same, where that is common in ordinary text: looked at only if a glance says that it is worth it. A format
    /// with such a mark has no other.
    AnywhereIf(&'static [u8], Glance),
    /// Looked for where a run of token characters (letters, digits, `_`, `-`) begins, only. Three bytes or
    /// more.
    AtRun(&'static [u8]),
    /// The whole value of a variable that is called so (upper case, exactly).
    Named(&'static [&'static str]),
}

/// Tells from a text and the place of a mark in it whether a close look could find something. The text may go on over
/// the NUL at the end of the entry.
pub(crate) type Glance = fn(&[u8], usize) -> bool;

/// A place where a mark was seen.
#[derive(Clone, Copy)]
pub(crate) struct Sighting<'t> {
    /// The value of a variable, an argument, or what one of them decodes to.
    pub(crate) text: &'t [u8],
    /// Where the mark begins in it; 0 for [`Mark::Named`].
    pub(crate) at: usize,
    /// The variable's name, where the text is a variable's value (or decoded from one).
    pub(crate) name: Option<&'t [u8]>,
}

impl Sighting<'_> {
    /// The same so many bytes before: where the token begins whose mark is inside it.
    fn back(&self, bytes: usize) -> Option<Self> {
        Some(Self {
            at: self.at.checked_sub(bytes)?,
            ..*self
        })
    }

    /// Whether the text is the value of a variable with one of these names (upper case, exactly).
    fn is_named(&self, names: &[&str]) -> bool {
        self.name
            .is_some_and(|name| names.iter().any(|one| one.as_bytes() == name))
    }
}

/// What a format found.
pub(crate) struct Credential {
    /// The bytes that make up the secret, of `Sighting::text`: what the fingerprint is made of.
    pub(crate) span: Range<usize>,
    pub(crate) class: Class,
    pub(crate) life: Life,
    pub(crate) confidence: Confidence,
    pub(crate) checksum: Checksum,
    pub(crate) facts: Vec<Fact>,
}

impl Credential {
    /// Without a checksum and without facts.
    fn new(span: Range<usize>, class: Class, life: Life, confidence: Confidence) -> Self {
        Self {
            span,
            class,
            life,
            confidence,
            checksum: Checksum::None,
            facts: Vec::new(),
        }
    }

    /// Says what became of the checksum: the right one makes it certain, a wrong one less likely.
    fn checked(mut self, valid: bool) -> Self {
        (self.checksum, self.confidence) = if valid {
            (Checksum::Valid, Confidence::High)
        } else {
            (Checksum::Invalid, self.confidence.lowered())
        };
        self
    }

    /// Adds a fact, if the text is fit to be shown: printable ASCII, not empty, at most 128 bytes.
    fn fact(mut self, what: &'static str, text: &[u8]) -> Self {
        let printable = text
            .iter()
            .all(|byte| byte.is_ascii_graphic() || *byte == b' ');
        if printable && (1..=FACT_MAX).contains(&text.len()) {
            self.facts.push(Fact {
                what,
                text: String::from_utf8_lossy(text).into_owned(),
            });
        }
        self
    }
}

impl Confidence {
    /// One step less sure.
    const fn lowered(self) -> Self {
        match self {
            Self::High => Self::Medium,
            Self::Medium | Self::Low => Self::Low,
        }
    }
}

/// Bytes of a fact's text, at most.
const FACT_MAX: usize = 128;

/// All of them. A rule's position is not part of any report.
pub(crate) const FORMATS: &[&[Format]] = &[
    github::FORMATS,
    gitlab::FORMATS,
    package_registries::FORMATS,
    aws::FORMATS,
    google::FORMATS,
    azure::FORMATS,
    azure_keys::FORMATS,
    chat::FORMATS,
    ai::FORMATS,
    clouds::FORMATS,
    services::FORMATS,
    secret_stores::FORMATS,
    monitoring::FORMATS,
    data_platforms::FORMATS,
    keys::FORMATS,
    ci::FORMATS,
    jwt::FORMATS,
    pem::FORMATS,
    passwords::FORMATS,
    url::FORMATS,
];

#[cfg(test)]
mod tests;
