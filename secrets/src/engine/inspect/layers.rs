//! Taking layers off, within bounds.

use std::ops::Range;

use super::{Inspection, Naming, Text, Unknown};
use crate::decode::{base64, escapes, hex, percent};
use crate::detection::Layer;
use crate::engine::claims::Taken;
use crate::engine::survey::{Encoded, Seen, Survey};
use crate::scratch::Scratch;

/// A part of a text that is encoded.
pub(super) struct Part {
    pub(super) span: Range<usize>,
    pub(super) layer: Layer,
    /// What the text's name says of what it encodes.
    pub(super) naming: Naming,
    /// Whether secrets of no known format are looked for in it.
    pub(super) unknown: Unknown,
}

impl Inspection<'_> {
    /// What is encoded in the text.
    pub(super) fn layers(
        &mut self,
        text: Text<'_>,
        seen: Seen<'_>,
        is_document: bool,
        taken: &mut Taken,
        scratch: &mut Scratch<'_>,
    ) {
        for Encoded { span, layer } in seen.encoded() {
            self.layer(text, span, layer, taken, scratch);
        }
        if seen.escapes.is_empty() {
            return;
        }
        let name = 0..text.value.saturating_sub(1).min(text.bytes.len());
        let value = text.value..text.bytes.len();
        for span in [name, value] {
            let part = text.bytes.get(span.clone()).unwrap_or_default();
            // The texts of a document were decoded one by one.
            let is_escaped = !is_document && escapes::is_in(part);
            for (is_in, layer) in [
                (percent::is_in(part), Layer::Percent),
                (is_escaped, Layer::Escapes),
            ] {
                if is_in {
                    self.layer(text, span.clone(), layer, taken, scratch);
                }
            }
        }
    }

    fn layer(
        &mut self,
        text: Text<'_>,
        span: Range<usize>,
        layer: Layer,
        taken: &mut Taken,
        scratch: &mut Scratch<'_>,
    ) {
        // If that is the whole value, but for quotes perhaps, the name stays its name.
        let is_around = |part: Option<&[u8]>| {
            part.is_some_and(|part| part.iter().all(|byte| b"\"' \t\r\n".contains(byte)))
        };
        let whole = is_around(text.bytes.get(text.value..span.start))
            && is_around(text.bytes.get(span.end..));
        let part = Part {
            span: span.clone(),
            layer,
            naming: if whole { text.naming } else { Naming::Around },
            unknown: if taken.meets(&span) {
                Unknown::Ignored
            } else {
                text.unknown
            },
        };
        if self.decode(text, part, scratch) {
            taken.take(&span);
        }
    }

    /// Decodes a part of the text and looks at what comes out. Whether something was found in it.
    pub(super) fn decode(&mut self, text: Text<'_>, part: Part, scratch: &mut Scratch<'_>) -> bool {
        let Part {
            span,
            layer,
            naming,
            unknown,
        } = part;
        let Some(encoded) = text.bytes.get(span.clone()) else {
            return false;
        };
        let Some(layers) = text.layers.within(layer) else {
            self.undecoded.deep = self.undecoded.deep.saturating_add(1);
            return false;
        };
        let size = match layer {
            Layer::Base64 => encoded.len().div_ceil(4).saturating_mul(3),
            Layer::Hex => encoded.len().div_ceil(2),
            Layer::Percent | Layer::Escapes => encoded.len(),
        };
        let Some(left) = self.budget.checked_sub(size) else {
            self.undecoded.output = self.undecoded.output.saturating_add(1);
            return false;
        };
        self.budget = left;
        let before = self.found.len();
        let engine = self.engine;
        let lent = scratch.with(size, |room, deeper| {
            let length = match layer {
                Layer::Base64 => base64::decode(encoded, room),
                Layer::Hex => hex::decode(encoded, room),
                Layer::Percent => percent::decode(encoded, room),
                Layer::Escapes => escapes::decode(encoded, room),
            };
            let Some(decoded) = length.and_then(|length| room.get_mut(..length)) else {
                return;
            };
            let length = crate::decode::squeeze(decoded);
            let decoded = decoded.get(..length).unwrap_or_default();
            self.visit(length);
            let inner = Text {
                bytes: decoded,
                value: 0,
                name: text.name,
                naming,
                field: text.field,
                unknown,
                layers,
                origin: Some(text.origin.unwrap_or(span.start)),
            };
            let mut survey = Survey::default();
            survey.of(engine, decoded);
            self.look(inner, survey.all(), deeper);
        });
        if lent.is_none() {
            self.undecoded.scratch = self.undecoded.scratch.saturating_add(1);
        }
        self.found.len() > before
    }
}
