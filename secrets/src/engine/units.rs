//! What is scanned and remembered as one: an entry, or an option with the argument after it.

use std::num::NonZeroUsize;
use std::ops::Range;

use super::sieve::is_token;
use crate::block::{Block, Entries, Extent, Source};

/// The longest name of a variable that is taken for one.
const LONGEST_NAME: usize = 256;
/// The longest name of an option.
const LONGEST_OPTION: usize = 64;

/// One entry, or an option that has its value in the next entry.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Unit {
    /// Which entry it is, or begins with.
    pub(super) index: u32,
    /// Where it begins in the block, in bytes.
    pub(super) start: usize,
    /// Where it ends.
    pub(super) end: usize,
    /// Where the second entry begins, counted from the start, if there is one.
    // Not a plain number, which leaves its bytes unset where there is none.
    pub(super) second: Option<NonZeroUsize>,
}

/// Iterates over the units of a block.
pub(super) struct Units<'b> {
    block: Block<'b>,
    entries: Entries<'b>,
    /// The argument after the last one given, for options that have their value there.
    next: Option<Extent>,
}

impl<'b> Units<'b> {
    pub(super) fn of(block: Block<'b>) -> Self {
        let mut entries = block.entries();
        let next = match block.source {
            Source::Environ => None,
            Source::Arguments => entries.next(),
        };
        Self {
            block,
            entries,
            next,
        }
    }
}

impl Iterator for Units<'_> {
    type Item = Unit;

    #[inline]
    fn next(&mut self) -> Option<Unit> {
        if self.block.source == Source::Environ {
            return self.entries.next().map(Unit::from);
        }
        let this = self.next?;
        self.next = self.entries.next();
        let mut unit = Unit::from(this);
        if let Some(following) = self.next
            && following.start == this.end.saturating_add(1)
            && is_option(this.of(self.block.bytes))
            && following.of(self.block.bytes).first() != Some(&b'-')
        {
            unit.end = following.end;
            unit.second = NonZeroUsize::new(following.start.saturating_sub(this.start));
            self.next = self.entries.next();
        }
        Some(unit)
    }
}

impl From<Extent> for Unit {
    fn from(entry: Extent) -> Self {
        Self {
            index: entry.index,
            start: entry.start,
            end: entry.end,
            second: None,
        }
    }
}

impl Unit {
    pub(super) fn of(self, block: &[u8]) -> &[u8] {
        block.get(self.start..self.end).unwrap_or_default()
    }

    /// How many entries it has.
    pub(super) const fn entries(self) -> u64 {
        if self.second.is_some() { 2 } else { 1 }
    }

    /// Where in the unit its name and its value are; without a name, all of it is the value.
    pub(super) fn parts(self, source: Source, unit: &[u8]) -> (Option<Range<usize>>, usize) {
        if let Some(second) = self.second.map(NonZeroUsize::get) {
            // After `-e` or `--env` there is a variable, and its name says more than the option's.
            let argument = unit.get(second..).unwrap_or_default();
            let place = |at: usize| at.saturating_add(second);
            return match split_named(argument, 0) {
                Some((name, value)) => (Some(place(name.start)..place(name.end)), place(value)),
                None => (Some(dashes(unit)..second.saturating_sub(1)), second),
            };
        }
        let named = match source {
            Source::Environ => split_variable(unit),
            Source::Arguments => split_argument(unit),
        };
        named.map_or((None, 0), |(name, value)| (Some(name), value))
    }
}

/// `NAME=VALUE`, with whatever name.
fn split_variable(entry: &[u8]) -> Option<(Range<usize>, usize)> {
    let equals = memchr::memchr(b'=', entry)?;
    (1..=LONGEST_NAME)
        .contains(&equals)
        .then(|| (0..equals, equals.saturating_add(1)))
}

/// `--name=VALUE`, `NAME=VALUE`, `-pVALUE`, `-uVALUE`.
fn split_argument(argument: &[u8]) -> Option<(Range<usize>, usize)> {
    split_named(argument, dashes(argument)).or_else(|| {
        // The options of MySQL and curl that take a password glued to them.
        let is_glued = matches!(argument, [b'-', b'p' | b'u', _, ..]);
        is_glued.then_some((1..2, 2))
    })
}

/// A name from `start`, an equals sign, and the value.
fn split_named(argument: &[u8], start: usize) -> Option<(Range<usize>, usize)> {
    let bare = argument.get(start..)?.iter().take(LONGEST_OPTION);
    let name = bare.take_while(|byte| is_name(**byte)).count();
    let end = start.saturating_add(name);
    let is_named = name > 0 && argument.get(end) == Some(&b'=');
    is_named.then(|| (start..end, end.saturating_add(1)))
}

/// Whether an argument is an option that may have its value in the next one.
fn is_option(argument: &[u8]) -> bool {
    let dashes = dashes(argument);
    let name = argument.get(dashes..).unwrap_or_default();
    (1..=2).contains(&dashes)
        && (1..=LONGEST_OPTION).contains(&name.len())
        && name.iter().all(|byte| is_token(*byte))
}

fn dashes(argument: &[u8]) -> usize {
    argument
        .iter()
        .take(3)
        .take_while(|byte| **byte == b'-')
        .count()
}

/// Whether a byte may be in a name that is given a value.
pub(super) const fn is_name(byte: u8) -> bool {
    is_token(byte) || byte == b'.'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(source: Source, text: &str) -> Vec<(u32, Option<String>, String)> {
        let bytes = text.replace('|', "\0");
        let block = Block {
            source,
            bytes: bytes.as_bytes(),
            truncated: false,
        };
        Units::of(block)
            .map(|unit| {
                let text = unit.of(block.bytes);
                let (name, value) = unit.parts(source, text);
                let string = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                (
                    unit.index,
                    name.map(|name| string(&text[name])),
                    string(&text[value..]),
                )
            })
            .collect()
    }

    #[test]
    fn variables_have_a_name_before_the_first_equals_sign() {
        let named =
            |index, name: &str, value: &str| (index, Some(name.to_owned()), value.to_owned());
        assert_eq!(
            parts(Source::Environ, "A=1=2|--token|x|=3|F()=4|"),
            [
                named(0, "A", "1=2"),
                (1, None, "--token".to_owned()),
                (2, None, "x".to_owned()),
                (3, None, "=3".to_owned()),
                named(4, "F()", "4"),
            ]
        );
    }

    #[test]
    fn arguments_have_options_in_several_forms() {
        let named =
            |index, name: &str, value: &str| (index, Some(name.to_owned()), value.to_owned());
        let bare = |index, value: &str| (index, None, value.to_owned());
        assert_eq!(
            parts(
                Source::Arguments,
                "cmd|--token=a=b|--token|c|A_B.c=d|-pe|-u|f:g|--quiet|--x||y|-e|N=v|-p|"
            ),
            [
                bare(0, "cmd"),
                named(1, "token", "a=b"),
                named(2, "token", "c"),
                named(4, "A_B.c", "d"),
                named(5, "p", "e"),
                named(6, "u", "f:g"),
                bare(8, "--quiet"),
                bare(9, "--x"),
                bare(11, "y"),
                named(12, "N", "v"),
                bare(14, "-p"),
            ]
        );
    }
}
