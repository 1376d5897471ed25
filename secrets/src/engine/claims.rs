//! What formats claim of one text, and who is right where claims meet.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::credential::{Checksum, Class, Confidence, Fact, Rule};
use crate::formats::Credential;
use crate::residue::{Lifetime, wipe_stack};

/// A format's word that there is a credential.
pub(super) struct Claim {
    /// Where in the text.
    pub(super) span: Range<usize>,
    /// The place of the format among all: from the specific to the general.
    pub(super) order: usize,
    pub(super) rule: Rule,
    pub(super) class: Class,
    pub(super) life: Lifetime,
    pub(super) confidence: Confidence,
    pub(super) checksum: Checksum,
    pub(super) facts: Vec<Fact>,
    /// Where in the text the name of the field is that it is in; empty where there is none.
    pub(super) field: Range<usize>,
}

impl Claim {
    /// What a format found in a part of the text that begins at `base`.
    pub(super) fn of(order: usize, rule: Rule, base: usize, credential: Credential) -> Self {
        let Credential {
            span,
            class,
            life,
            confidence,
            checksum,
            facts,
        } = credential;
        let life = Lifetime::of(life);
        // The format has read the secret; the claim goes to the heap.
        wipe_stack();
        Self {
            span: span.start.saturating_add(base)..span.end.saturating_add(base),
            order,
            rule,
            class,
            life,
            confidence,
            checksum,
            facts,
            field: 0..0,
        }
    }
}

/// Parts of a text that are spoken for, by where they begin; no two overlap.
#[derive(Default)]
pub(super) struct Taken(BTreeMap<usize, usize>);

impl Taken {
    /// Whether any of these bytes is spoken for.
    pub(super) fn meets(&self, span: &Range<usize>) -> bool {
        let before = self.0.range(..span.end).next_back();
        before.is_some_and(|(_start, end)| *end > span.start)
    }

    /// Speaks for these bytes, if nobody does. Whether nobody did.
    pub(super) fn take(&mut self, span: &Range<usize>) -> bool {
        let free = !span.is_empty() && !self.meets(span);
        if free {
            self.0.insert(span.start, span.end);
        }
        free
    }
}

/// The claims that hold: where some overlap they are about one secret, and the most specific format
/// knows best what it is. In the order of their places.
pub(super) fn settle(mut claims: Vec<Claim>, taken: &mut Taken) -> Vec<Claim> {
    claims.sort_by_key(|claim| (claim.order, claim.span.start));
    claims.retain(|claim| taken.take(&claim.span));
    claims.sort_by_key(|claim| claim.span.start);
    claims
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlapping_parts_are_spoken_for_once() {
        let mut taken = Taken::default();
        assert!(taken.take(&(10..20)));
        assert!(taken.take(&(20..21)));
        assert!(taken.take(&(0..10)));
        for span in [10..11, 5..25, 19..21, 0..1, 9..10, 12..12] {
            assert!(!taken.take(&span), "{span:?}");
        }
        assert!(!taken.meets(&(21..30)));
        assert!(taken.take(&(21..30)));
    }
}
