//! What an agent and the maps in the kernel must agree on, as data.
//!
//! Agents with the same layout can work on each other's maps, whatever their programs are; agents
//! with different ones never touch each other's. **Not here**: I/O.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fmt;

use cordon_ebpf::abi::ABI_VERSION;

use super::maps;

/// First bytes of what a layout's digest is made of; changes with the encoding.
const DIGEST_CONTEXT: &str = "cordon map layout v1";
/// Hexadecimal digits of the digest in the name of a directory.
const DIGITS: usize = 16;

/// The shape of one map.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Shape {
    /// `BPF_MAP_TYPE_*`
    pub kind: u32,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value.
    pub value_size: u32,
    /// How many entries it takes.
    pub max_entries: u32,
    /// `BPF_F_*`
    pub flags: u32,
}

impl Shape {
    /// Every field with its name, in one order.
    fn fields(&self) -> [(&'static str, u32); 5] {
        let Self {
            kind,
            key_size,
            value_size,
            max_entries,
            flags,
        } = *self;
        [
            ("type", kind),
            ("key size", key_size),
            ("value size", value_size),
            ("entries", max_entries),
            ("flags", flags),
        ]
    }

    /// What another shape has differently, in words; `None` if nothing.
    #[must_use]
    pub fn difference(&self, found: &Self) -> Option<String> {
        let differ: Vec<String> = self
            .fields()
            .into_iter()
            .zip(found.fields())
            .filter(|((_, needed), (_, found))| needed != found)
            .map(|((field, needed), (_, found))| format!("{field} {found}, not {needed}"))
            .collect();
        (!differ.is_empty()).then(|| differ.join(", "))
    }
}

impl From<&aya_obj::Map> for Shape {
    fn from(map: &aya_obj::Map) -> Self {
        Self {
            kind: map.map_type(),
            key_size: map.key_size(),
            value_size: map.value_size(),
            max_entries: map.max_entries(),
            flags: map.map_flags(),
        }
    }
}

/// Why the object has no layout.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// It is no object.
    #[error("the BPF object cannot be read")]
    Object(#[source] Box<aya_obj::ParseError>),
    /// A map is not in it.
    #[error("the BPF object has no map {map}")]
    NoMap {
        /// Its name.
        map: &'static str,
    },
}

/// The shapes of all pinned maps, and of the maps in them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Layout {
    maps: BTreeMap<&'static str, Vec<Shape>>,
}

impl Layout {
    /// The layout of an object, and of the inner maps this agent makes for it.
    ///
    /// # Errors
    /// It is no object, or not ours.
    pub fn of(object: &[u8]) -> Result<Self, LayoutError> {
        let object = aya_obj::Object::parse(object)
            .map_err(Box::new)
            .map_err(LayoutError::Object)?;
        let mut layout = BTreeMap::new();
        for name in maps::NAMES {
            let map = object
                .maps
                .get(name)
                .ok_or(LayoutError::NoMap { map: name })?;
            let shapes = std::iter::once(Shape::from(map))
                .chain(map.inner().as_ref().map(Shape::from))
                .chain(maps::inner_entries(name).map(|max_entries| {
                    Shape {
                        max_entries,
                        ..map
                            .inner()
                            .as_ref()
                            .map_or_else(|| Shape::from(map), Shape::from)
                    }
                }));
            layout.insert(name, shapes.collect());
        }
        Ok(Self { maps: layout })
    }

    /// The shape a pinned map must have.
    #[must_use]
    pub fn shape(&self, map: &str) -> Option<&Shape> {
        self.maps.get(map)?.first()
    }

    /// What identifies the layout in the name of a directory.
    #[must_use]
    pub fn digest(&self) -> LayoutDigest {
        let mut hash = blake3::Hasher::new();
        hash.update(DIGEST_CONTEXT.as_bytes());
        hash.update(&ABI_VERSION.to_be_bytes());
        for (name, shapes) in &self.maps {
            hash.update(name.as_bytes());
            // Ends the name and says how many shapes follow: no two layouts have one encoding.
            hash.update(&[0]);
            hash.update(&(shapes.len() as u64).to_be_bytes());
            for (_, number) in shapes.iter().flat_map(Shape::fields) {
                hash.update(&number.to_be_bytes());
            }
        }
        let mut digits = hash.finalize().to_hex().to_string();
        digits.truncate(DIGITS);
        LayoutDigest(digits)
    }
}

/// Identifies a layout.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LayoutDigest(String);

impl fmt::Display for LayoutDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::enforce::object;

    const SHAPE: Shape = Shape {
        kind: 1,
        key_size: 8,
        value_size: 16,
        max_entries: 1024,
        flags: 0,
    };

    fn layout(shapes: &[Shape]) -> Layout {
        Layout {
            maps: BTreeMap::from([("JOBS", shapes.to_vec())]),
        }
    }

    #[test]
    fn every_field_of_every_shape_is_in_the_digest() {
        let digest = layout(&[SHAPE]).digest();
        let changed = [
            Shape { kind: 2, ..SHAPE },
            Shape {
                key_size: 9,
                ..SHAPE
            },
            Shape {
                value_size: 24,
                ..SHAPE
            },
            Shape {
                max_entries: 1,
                ..SHAPE
            },
            Shape { flags: 1, ..SHAPE },
        ];
        for shape in changed {
            assert_ne!(layout(&[shape]).digest(), digest, "{shape:?}");
            assert!(SHAPE.difference(&shape).is_some());
        }
        assert_ne!(layout(&[SHAPE, SHAPE]).digest(), digest);
        assert_eq!(layout(&[SHAPE]).digest(), digest);
        assert_eq!(SHAPE.difference(&SHAPE), None);
    }

    #[test]
    fn a_difference_says_what_was_found_and_what_is_needed() {
        let found = Shape {
            value_size: 24,
            flags: 1,
            ..SHAPE
        };
        assert_eq!(
            SHAPE.difference(&found).unwrap(),
            "value size 24, not 16, flags 1, not 0"
        );
    }

    #[test]
    fn the_object_has_a_shape_for_every_map_and_inner_maps_for_those_of_a_job() {
        let Some(object) = object::bytes() else {
            return;
        };
        let layout = Layout::of(object).unwrap();
        for name in maps::NAMES {
            assert!(layout.shape(name).is_some(), "{name}");
            let inner = maps::inner_entries(name).is_some();
            assert_eq!(layout.maps[name].len(), if inner { 3 } else { 1 }, "{name}");
        }
    }
}
