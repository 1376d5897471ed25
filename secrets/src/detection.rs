//! What the engine says of a credential it found: everything but the credential.

use std::fmt;
use std::sync::Arc;

use crate::block::Source;
use crate::credential::{Checksum, Class, Confidence, Fact, Life, Rule};
use crate::fingerprint::Fingerprint;

/// A credential that was found. No field holds six bytes in a row of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Detection {
    /// The format.
    pub rule: Rule,
    /// What kind of credential it is for a job.
    pub class: Class,
    /// How sure it is that this is one.
    pub confidence: Confidence,
    /// What became of its checksum.
    pub checksum: Checksum,
    /// How long it lives, as far as it says itself.
    pub life: Life,
    /// What it says of itself that is no secret.
    pub facts: Arc<[Fact]>,
    /// Where it is.
    pub place: Where,
    /// What had to be decoded to see it, the outermost first.
    pub layers: Layers,
    /// How long it is, roughly.
    pub length: LengthClass,
    /// Its name: the same for the same secret under the same key.
    pub fingerprint: Fingerprint,
}

/// Where in a process a credential is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Where {
    /// Environment or arguments.
    pub source: Source,
    /// Which entry, from 0; empty entries count.
    pub entry: u32,
    /// The environment variable, or the option of an argument.
    pub variable: Variable,
    /// The field of a document or the parameter inside the value, where that says what it is.
    pub field: Variable,
}

/// A name that is safe to show, or why it is not.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Variable {
    /// There is no name.
    None,
    /// The name: printable ASCII, at most 128 bytes.
    Named(Arc<str>),
    /// It is too long or has bytes that are not printable.
    Unprintable,
    /// It holds a secret itself.
    Withheld,
}

impl Variable {
    /// Longer names are not shown. Names that people write are shorter.
    pub(crate) const LONGEST: usize = 128;

    /// The name, where it is safe to show.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Named(name) => Some(name),
            Self::None | Self::Unprintable | Self::Withheld => None,
        }
    }
}

impl fmt::Display for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "",
            Self::Named(name) => name,
            Self::Unprintable => "[not printable]",
            Self::Withheld => "[withheld: holds a secret itself]",
        })
    }
}

/// A way in which bytes are wrapped.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Layer {
    /// Base64, of either alphabet, with or without padding and line breaks.
    Base64,
    /// Hexadecimal digits.
    Hex,
    /// `%2F`.
    Percent,
    /// Escapes with a backslash, as in JSON strings.
    Escapes,
}

impl Layer {
    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Base64 => "base64",
            Self::Hex => "hex",
            Self::Percent => "percent",
            Self::Escapes => "json",
        }
    }
}

/// The layers around a credential, the outermost first; at most [`Layers::DEEPEST`].
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Layers([Option<Layer>; Self::DEEPEST]);

impl Layers {
    /// How many layers are taken off.
    pub const DEEPEST: usize = 3;

    /// The layers, the outermost first.
    pub fn iter(&self) -> impl Iterator<Item = Layer> {
        self.0.iter().map_while(|layer| *layer)
    }

    /// How many there are.
    pub fn depth(&self) -> usize {
        self.iter().count()
    }

    /// With one more inside. `None` if that is too deep.
    pub(crate) fn within(mut self, layer: Layer) -> Option<Self> {
        let free = self.0.iter_mut().find(|place| place.is_none())?;
        *free = Some(layer);
        Some(self)
    }
}

impl fmt::Display for Layers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, layer) in self.iter().enumerate() {
            f.write_str(if at == 0 { "" } else { " > " })?;
            f.write_str(layer.name())?;
        }
        Ok(())
    }
}

/// How long a credential is, in bytes. Steps of two, since a length narrows what to guess; below 16, where guessing
/// could succeed, only that.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum LengthClass {
    /// Under 16.
    Under16,
    /// 16 to 31.
    To31,
    /// 32 to 63.
    To63,
    /// 64 to 127.
    To127,
    /// 128 to 255.
    To255,
    /// 256 to 1023.
    To1023,
    /// 1024 and more.
    Longer,
}

impl LengthClass {
    /// The class of a length in bytes.
    pub const fn of(length: usize) -> Self {
        match length {
            0..16 => Self::Under16,
            16..32 => Self::To31,
            32..64 => Self::To63,
            64..128 => Self::To127,
            128..256 => Self::To255,
            256..1024 => Self::To1023,
            _ => Self::Longer,
        }
    }

    /// Its name in reports, in bytes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Under16 => "<16",
            Self::To31 => "16-31",
            Self::To63 => "32-63",
            Self::To127 => "64-127",
            Self::To255 => "128-255",
            Self::To1023 => "256-1023",
            Self::Longer => ">=1024",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_shown_from_the_outside_and_end_at_three() {
        let layers = Layers::default();
        assert_eq!(layers.to_string(), "");
        let layers = layers
            .within(Layer::Base64)
            .unwrap()
            .within(Layer::Escapes)
            .unwrap();
        assert_eq!(
            (layers.to_string(), layers.depth()),
            ("base64 > json".to_owned(), 2)
        );
        assert_eq!(layers.within(Layer::Hex).unwrap().within(Layer::Hex), None);
    }
}
