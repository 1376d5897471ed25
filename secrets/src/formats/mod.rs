//! The formats, a file for each family of vendors.
//!
//! A format says by its [`Mark`]s where it could be, and its `read` looks there: exact characters,
//! length, boundary, then structure. `read` sees each mark's place once and must not search the text
//! by itself, so the cost of a scan stays linear.

use std::ops::Range;

use crate::credential::{Checksum, Class, Confidence, Fact, Life, Rule};
use crate::scratch::Scratch;

/// A credential format.
#[derive(Clone, Copy)]
pub(crate) struct Format {
    pub(crate) rule: Rule,
    pub(crate) marks: &'static [Mark],
    pub(crate) read: fn(&Sighting<'_>, &mut Scratch<'_>) -> Option<Credential>,
}

/// Where a format could be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mark {
    /// Four bytes or more, searched for anywhere: at the start of the token or inside it.
    Anywhere(&'static [u8]),
    /// Fewer bytes: looked for where a run of token characters (letters, digits, `_`, `-`) begins, only.
    AtRun(&'static [u8]),
    /// The whole value of a variable that is called so (upper case, exactly).
    Named(&'static [&'static str]),
}

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

/// All of them. A rule's position is not part of any report.
pub(crate) const FORMATS: &[&[Format]] = &[];
