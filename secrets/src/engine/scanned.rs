//! What a scan did, and above all what it did not.

/// What was done with a block. Sums of several blocks are of the same type.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Scanned {
    /// Bytes of the block.
    pub bytes: u64,
    /// Entries that are not empty.
    pub entries: u64,
    /// Of those, the ones that were known from before: all of a block that was, and of others those that would have
    /// been looked at closely, and were not again.
    pub seen: u64,
    /// Blocks without their end: the last entry may be cut.
    pub truncated: u64,
    /// Bytes that the passes over entries and decoded layers went through: what it cost.
    pub visited: u64,
    /// What was not looked into.
    pub undecoded: Undecoded,
    /// Credentials that were found and are not reported, because one entry holds too many.
    pub excess: u64,
}

impl Scanned {
    /// With another scan's numbers added.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_add(other.bytes),
            entries: self.entries.saturating_add(other.entries),
            seen: self.seen.saturating_add(other.seen),
            truncated: self.truncated.saturating_add(other.truncated),
            visited: self.visited.saturating_add(other.visited),
            undecoded: self.undecoded.and(other.undecoded),
            excess: self.excess.saturating_add(other.excess),
        }
    }
}

/// Layers that were seen and not decoded, by why. An entry that is known from before counts again.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Undecoded {
    /// Deeper than [`Layers::DEEPEST`](crate::Layers::DEEPEST).
    pub deep: u64,
    /// The layers of one entry together would be more than four times as long as the entry.
    pub output: u64,
    /// More than the scratch has room for.
    pub scratch: u64,
    /// Compressed: gzip inside another layer. No compression is undone.
    pub compressed: u64,
}

impl Undecoded {
    /// How many there are.
    pub const fn total(self) -> u64 {
        self.deep
            .saturating_add(self.output)
            .saturating_add(self.scratch)
            .saturating_add(self.compressed)
    }

    /// With other numbers added.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            deep: self.deep.saturating_add(other.deep),
            output: self.output.saturating_add(other.output),
            scratch: self.scratch.saturating_add(other.scratch),
            compressed: self.compressed.saturating_add(other.compressed),
        }
    }
}
