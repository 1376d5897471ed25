//! Offsets of kernel structure members, from the kernel's own BTF.
//!
//! Rust emits no relocatable field accesses for BPF, so the loader resolves the few offsets the
//! programs need and gives them as constants. Pure: bytes in, numbers out; a member that is not
//! there is `None`, never a guess. Format: <https://docs.kernel.org/bpf/btf.html>.

use std::collections::BTreeMap;

const MAGIC: u16 = 0xeb9f;
/// Bytes of the head of each type: name, info, size or type.
const TYPE: usize = 12;
/// Bytes of one member: name, type, offset.
const MEMBER: usize = 12;

/// Kinds of types that matter here.
mod kind {
    pub(super) const INT: u32 = 1;
    pub(super) const ARRAY: u32 = 3;
    pub(super) const STRUCT: u32 = 4;
    pub(super) const UNION: u32 = 5;
    pub(super) const ENUM: u32 = 6;
    pub(super) const TYPEDEF: u32 = 8;
    pub(super) const VOLATILE: u32 = 9;
    pub(super) const CONST: u32 = 10;
    pub(super) const RESTRICT: u32 = 11;
    pub(super) const FUNC_PROTO: u32 = 13;
    pub(super) const VAR: u32 = 14;
    pub(super) const DATASEC: u32 = 15;
    pub(super) const DECL_TAG: u32 = 17;
    pub(super) const TYPE_TAG: u32 = 18;
    pub(super) const ENUM64: u32 = 19;
}

/// The kernel's types.
#[derive(Debug)]
pub struct Types {
    data: Vec<u8>,
    /// Where each type starts; index 0 is `void`, which has no bytes.
    starts: Vec<usize>,
    strings: usize,
    structs: BTreeMap<Vec<u8>, usize>,
}

impl Types {
    /// Indexes BTF; `None` if it is not BTF, is cut short, or has a kind unknown here.
    #[must_use]
    pub fn parse(data: Vec<u8>) -> Option<Self> {
        let header = word(&data, 4)? as usize;
        if word(&data, 0)? & 0xffff != u32::from(MAGIC) {
            return None;
        }
        let mut at = header.checked_add(word(&data, 8)? as usize)?;
        let end = at.checked_add(word(&data, 12)? as usize)?;
        let strings = header.checked_add(word(&data, 16)? as usize)?;
        let (mut starts, mut structs) = (vec![0], BTreeMap::new());
        while at < end {
            let info = word(&data, at.checked_add(4)?)?;
            if kind_of(info) == kind::STRUCT {
                let name = string(&data, strings, word(&data, at)?)?;
                if !name.is_empty() {
                    // The first of a name: later ones are copies made private by a compiler.
                    structs.entry(name.to_vec()).or_insert(starts.len());
                }
            }
            starts.push(at);
            at = at.checked_add(TYPE)?.checked_add(tail(info)?)?;
        }
        Some(Self {
            data,
            starts,
            strings,
            structs,
        })
    }

    /// Byte offset of a member; `path` may lead through several, joined by dots. Members of
    /// anonymous structures count as the outer one's.
    #[must_use]
    pub fn offset(&self, structure: &str, path: &str) -> Option<u64> {
        let mut id = *self.structs.get(structure.as_bytes())?;
        let mut offset = 0u64;
        for name in path.split('.') {
            let (bytes, next) = self.member(id, name.as_bytes(), 0)?;
            offset = offset.checked_add(bytes)?;
            id = next;
        }
        Some(offset)
    }

    fn member(&self, id: usize, wanted: &[u8], depth: u32) -> Option<(u64, usize)> {
        // Anonymous structures nest a few levels; a cycle in hostile data must end.
        if depth > 16 {
            return None;
        }
        let at = *self.starts.get(self.resolve(id)?)?;
        let info = word(&self.data, at.checked_add(4)?)?;
        if !matches!(kind_of(info), kind::STRUCT | kind::UNION) {
            return None;
        }
        let bit_fields = info >> 31 == 1;
        (0..count(info)).find_map(|index| {
            let member = at
                .checked_add(TYPE)?
                .checked_add(index.checked_mul(MEMBER)?)?;
            let name = string(&self.data, self.strings, word(&self.data, member)?)?;
            let inner = word(&self.data, member.checked_add(4)?)? as usize;
            let raw = word(&self.data, member.checked_add(8)?)?;
            let bits = if bit_fields { raw & 0x00ff_ffff } else { raw };
            let bytes = u64::from(bits.checked_div(8)?);
            if name.is_empty() {
                let (offset, found) = self.member(inner, wanted, depth.checked_add(1)?)?;
                return Some((bytes.checked_add(offset)?, found));
            }
            (name == wanted && bits.is_multiple_of(8)).then_some((bytes, inner))
        })
    }

    /// Past typedefs and qualifiers.
    fn resolve(&self, mut id: usize) -> Option<usize> {
        for _ in 0..32 {
            let at = *self.starts.get(id)?;
            let info = word(&self.data, at.checked_add(4)?)?;
            match kind_of(info) {
                kind::TYPEDEF | kind::VOLATILE | kind::CONST | kind::RESTRICT | kind::TYPE_TAG => {
                    id = word(&self.data, at.checked_add(8)?)? as usize;
                }
                _ => return Some(id),
            }
        }
        None
    }
}

fn kind_of(info: u32) -> u32 {
    info >> 24 & 0x1f
}

fn count(info: u32) -> usize {
    (info & 0xffff) as usize
}

/// Bytes that follow a type's head.
fn tail(info: u32) -> Option<usize> {
    let n = count(info);
    match kind_of(info) {
        kind::INT | kind::VAR | kind::DECL_TAG => Some(4),
        kind::ARRAY => Some(12),
        kind::STRUCT | kind::UNION | kind::DATASEC | kind::ENUM64 => n.checked_mul(12),
        kind::ENUM | kind::FUNC_PROTO => n.checked_mul(8),
        0 => None,
        2 | 7..=12 | 16 | kind::TYPE_TAG => Some(0),
        _ => None,
    }
}

fn word(data: &[u8], at: usize) -> Option<u32> {
    let bytes = data.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

fn string(data: &[u8], strings: usize, offset: u32) -> Option<&[u8]> {
    let rest = data.get(strings.checked_add(offset as usize)?..)?;
    rest.split(|byte| *byte == 0).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// BTF of `struct outer { int a; struct { int b; int c; }; }`.
    fn sample() -> Vec<u8> {
        let strings = b"\0int\0outer\0a\0b\0c\0";
        let mut types: Vec<u32> = Vec::new();
        types.extend([1, kind::INT << 24, 4, 32]); // 1: int
        types.extend([0, kind::STRUCT << 24 | 2, 8, 13, 1, 0, 15, 1, 32]); // 2: { b, c }
        types.extend([5, kind::STRUCT << 24 | 2, 12, 11, 1, 0, 0, 2, 32]); // 3: outer
        let types: Vec<u8> = types.iter().flat_map(|word| word.to_le_bytes()).collect();
        let mut data = vec![0x9f, 0xeb, 1, 0];
        let len = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap();
        for word in [24, 0, len(&types), len(&types), len(strings)] {
            data.extend(word.to_le_bytes());
        }
        data.extend(types);
        data.extend(strings);
        data
    }

    #[test]
    fn members_of_anonymous_structures_are_found() {
        let types = Types::parse(sample()).unwrap();
        assert_eq!(types.offset("outer", "a"), Some(0));
        assert_eq!(types.offset("outer", "b"), Some(4));
        assert_eq!(types.offset("outer", "c"), Some(8));
        assert_eq!(types.offset("outer", "d"), None);
        assert_eq!(types.offset("inner", "a"), None);
    }

    #[test]
    fn data_cut_anywhere_is_no_panic() {
        let whole = sample();
        for len in 0..whole.len() {
            if let Some(types) = Types::parse(whole[..len].to_vec()) {
                assert!(types.offset("outer", "c").is_none_or(|offset| offset == 8));
            }
        }
    }

    #[test]
    fn the_running_kernel_has_the_offsets_the_programs_need() {
        let Ok(data) = crate::sys::fs::read("/sys/kernel/btf/vmlinux".as_ref(), 64 << 20) else {
            // Without BTF cordon refuses to start the feature; nothing to look up here.
            return;
        };
        let types = Types::parse(data).unwrap();
        let wanted = super::super::hooks::OFFSETS
            .into_iter()
            .chain(super::super::hooks::NAMESPACE_OFFSETS)
            .chain(super::super::hooks::LSM_OFFSETS);
        for (_, structure, member) in wanted {
            assert!(
                types.offset(structure, member).is_some(),
                "{structure}.{member}"
            );
        }
    }
}
