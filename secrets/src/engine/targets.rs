//! What each mark is a mark of.

use super::sieve::{Needle, Sieve, Stand};
use crate::formats::{Format, Glance, Mark};
use crate::generic;

/// What a needle stands for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Target {
    /// A format, by its place in [`Targets::formats`], may be here.
    Format(usize),
    /// The entry has a name that some format asks for.
    Name,
    /// A word that names of credentials have.
    Word,
    /// What compressed data begins with in base64.
    Compressed,
}

/// gzip, zstd, bzip2.
const COMPRESSED: [&[u8]; 3] = [b"H4sI", b"KLUv", b"Qlpo"];

/// All formats of an engine, and what to look for.
pub(super) struct Targets {
    /// From the specific to the general.
    pub(super) formats: Vec<Format>,
    pub(super) sieve: Sieve,
    /// What each needle stands for.
    meanings: Vec<Target>,
    /// For each format, what tells whether its mark is worth a close look.
    glances: Vec<Option<Glance>>,
    /// Names of variables with the formats that ask for them, sorted.
    names: Vec<(&'static [u8], usize)>,
}

impl Targets {
    pub(super) fn new(formats: Vec<Format>, words: Words) -> Self {
        let mut needles = Vec::new();
        let mut meanings = Vec::new();
        let mut names = Vec::new();
        let mut add = |bytes, stand, target| {
            needles.push(Needle { bytes, stand });
            meanings.push(target);
        };
        for (at, format) in formats.iter().enumerate() {
            for mark in format.marks {
                match mark {
                    Mark::Anywhere(bytes) | Mark::AnywhereIf(bytes, _) => {
                        add(*bytes, Stand::Anywhere, Target::Format(at));
                    }
                    Mark::AtRun(bytes) => add(*bytes, Stand::Run, Target::Format(at)),
                    Mark::Named(asked) => {
                        for name in *asked {
                            add(name.as_bytes(), Stand::Entry, Target::Name);
                            names.push((name.as_bytes(), at));
                        }
                    }
                }
            }
        }
        for beginning in COMPRESSED {
            add(beginning, Stand::Run, Target::Compressed);
        }
        if words == Words::Told {
            for word in generic::NEEDLES {
                add(word, Stand::Anywhere, Target::Word);
            }
        }
        names.sort_unstable();
        let glance = |format: &Format| {
            format.marks.iter().find_map(|mark| match mark {
                Mark::AnywhereIf(_, glance) => Some(*glance),
                _ => None,
            })
        };
        let glances = formats.iter().map(glance).collect();
        Self {
            glances,
            formats,
            sieve: Sieve::new(&needles),
            meanings,
            names,
        }
    }

    /// What a needle stands for.
    pub(super) fn target(&self, needle: usize) -> Option<Target> {
        self.meanings.get(needle).copied()
    }

    /// Whether a format's mark is worth a close look.
    pub(super) fn is_worth(&self, format: usize, text: &[u8], at: usize) -> bool {
        let glance = self.glances.get(format).copied().flatten();
        glance.is_none_or(|glance| glance(text, at))
    }

    /// The formats that ask for a variable of this name, in their order.
    pub(super) fn named(&self, name: &[u8]) -> impl Iterator<Item = (usize, &Format)> {
        let from = self.names.partition_point(|(known, _format)| *known < name);
        let known = self.names.get(from..).unwrap_or_default().iter();
        known
            .take_while(move |(known, _format)| *known == name)
            .filter_map(|(_known, at)| Some((*at, self.formats.get(*at)?)))
    }
}

/// Whether words that tell a credential are looked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Words {
    /// They are.
    Told,
    /// No rule asks for them.
    Ignored,
}
