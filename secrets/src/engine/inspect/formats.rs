//! What formats and known values find in a text.

use super::assigned::Assigned;
use super::layers::Part;
use super::{Inspection, Naming, Text};
use crate::credential::{Checksum, Confidence, Fact};
use crate::decode::base64;
use crate::detection::Layer;
use crate::engine::claims::{Claim, Taken, settle};
use crate::engine::fields::{self, Field};
use crate::engine::sieve::Hit;
use crate::engine::survey::Seen;
use crate::engine::targets::Target;
use crate::formats::Sighting;
use crate::residue::Lifetime;
use crate::scratch::Scratch;
use crate::{generic, known};

impl Inspection<'_> {
    /// What formats find where their marks are.
    pub(super) fn marked(
        &mut self,
        text: Text<'_>,
        seen: Seen<'_>,
        scratch: &mut Scratch<'_>,
    ) -> Vec<Claim> {
        let mut claims: Vec<Claim> = Vec::new();
        for hit in seen.hits() {
            let order = match self.engine.targets.target(hit.needle) {
                Some(Target::Format(order)) => order,
                Some(Target::Compressed) if base64::is_long(text.bytes, hit.at) => {
                    self.undecoded.compressed = self.undecoded.compressed.saturating_add(1);
                    continue;
                }
                _ => continue,
            };
            // Other marks of a format inside what it has found already.
            let last = claims
                .iter()
                .rev()
                .take(4)
                .find(|claim| claim.order == order);
            if last.is_some_and(|claim| claim.span.contains(&hit.at)) {
                continue;
            }
            // A secret in the name may go on over the equals sign.
            let (base, name) = if hit.at < text.value {
                (0, None)
            } else {
                (text.value, text.name)
            };
            let part = text.bytes.get(base..).unwrap_or_default();
            let sighting = Sighting {
                text: part,
                at: hit.at.saturating_sub(base),
                name,
            };
            claims.extend(self.read(order, sighting, base, scratch));
        }
        claims
    }

    /// What formats find that ask for the variable's name.
    pub(super) fn named(
        &self,
        text: Text<'_>,
        seen: Seen<'_>,
        claims: &mut Vec<Claim>,
        scratch: &mut Scratch<'_>,
    ) {
        let (Some(name), true) = (text.name, text.naming != Naming::Around) else {
            return;
        };
        // A variable that is written as they all are was looked for with the marks.
        let is_usual = text.layers.depth() == 0
            && text.naming == Naming::Variable
            && !name.iter().any(u8::is_ascii_lowercase);
        let is_marked = |hit: &Hit| self.engine.targets.target(hit.needle) == Some(Target::Name);
        if is_usual && !seen.hits.iter().any(is_marked) {
            return;
        }
        let value = text.bytes.get(text.value..).unwrap_or_default();
        self.named_value(name, value, text.value, claims, scratch);
    }

    fn named_value(
        &self,
        name: &[u8],
        value: &[u8],
        base: usize,
        claims: &mut Vec<Claim>,
        scratch: &mut Scratch<'_>,
    ) {
        fields::with_spellings(name, |name| {
            let mut any = false;
            for (order, _format) in self.engine.targets.named(name) {
                any = true;
                let sighting = Sighting {
                    text: value,
                    at: 0,
                    name: Some(name),
                };
                claims.extend(self.read(order, sighting, base, scratch));
            }
            any
        });
    }

    fn read(
        &self,
        order: usize,
        sighting: Sighting<'_>,
        base: usize,
        scratch: &mut Scratch<'_>,
    ) -> Option<Claim> {
        let format = self.engine.targets.formats.get(order)?;
        let credential = (format.read)(&sighting, scratch)?;
        Some(Claim::of(order, format.rule, base, credential))
    }

    /// A field of a document: its name counts as a variable's.
    pub(super) fn field(
        &self,
        field: &Field<'_>,
        claims: &mut Vec<Claim>,
        assigned: &mut Vec<Assigned>,
        scratch: &mut Scratch<'_>,
    ) {
        let before = claims.len();
        self.named_value(field.name, field.value, field.at, claims, scratch);
        for claim in claims.iter_mut().skip(before) {
            claim.field = field.name_span();
        }
        if let Some(kind) = generic::kind_of(field.name) {
            assigned.push(Assigned {
                kind,
                value: field.span(),
                field: field.name_span(),
            });
        }
    }

    /// A field with escapes: what it stands for, or, if there is nothing in that, what is written.
    pub(super) fn escaped_field(
        &mut self,
        text: Text<'_>,
        field: &Field<'_>,
        taken: &mut Taken,
        assigned: &mut Vec<Assigned>,
        scratch: &mut Scratch<'_>,
    ) {
        // A format that knows documents has spoken for it.
        if taken.meets(&field.span()) {
            return;
        }
        let inner = Text {
            name: Some(field.name),
            field: Some(field.name),
            ..text
        };
        let part = Part {
            span: field.span(),
            layer: Layer::Escapes,
            naming: Naming::Field,
            unknown: text.unknown,
        };
        if self.decode(inner, part, scratch) {
            taken.take(&field.span());
            return;
        }
        let mut claims = Vec::new();
        self.field(field, &mut claims, assigned, scratch);
        self.settle(text, claims, taken, scratch);
    }

    /// Known values, the longest where they overlap.
    pub(super) fn known(&self, text: Text<'_>, seen: Seen<'_>) -> Vec<Claim> {
        let Some(search) = &self.engine.known else {
            return Vec::new();
        };
        let claims = seen.known().filter_map(|(at, number)| {
            let digest = search.digest(number)?;
            let length = usize::try_from(digest.length).unwrap_or(usize::MAX);
            let span = at..at.saturating_add(length);
            text.bytes.get(span.clone())?;
            let label = Fact {
                what: "label",
                text: digest.label.clone(),
            };
            Some(Claim {
                // The longest first.
                order: usize::MAX.saturating_sub(length),
                span,
                rule: known::RULE,
                class: digest.class,
                life: Lifetime::UNKNOWN,
                confidence: Confidence::High,
                checksum: Checksum::None,
                facts: vec![label],
                field: 0..0,
            })
        });
        settle(claims.collect(), &mut Taken::default())
    }
}
