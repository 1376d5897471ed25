//! A close look at one unit in which something was seen, and at what is encoded in it.

use std::ops::Range;

use super::claims::{Claim, Taken, settle};
use super::scanned::Undecoded;
use super::survey::{Encoded, Seen, Survey};
use super::targets::Target;
use super::{Engine, assignments, fields};
use crate::credential::{Checksum, Class, Confidence, Fact, Life, Rule};
use crate::decode::{base64, escapes, hex, percent};
use crate::detection::{Layer, Layers, LengthClass, Variable};
use crate::fingerprint::Fingerprint;
use crate::formats::Sighting;
use crate::generic::{self, Kind};
use crate::known;
use crate::scratch::Scratch;

/// Credentials of one unit that are reported. One that holds more is a list of them, and counted.
const MOST: usize = 512;
/// How much may be decoded, in multiples of the unit's length.
const OUTPUT: usize = 4;
/// A fact or name that has so many bytes in a row of the secret is not shown.
const SHARED: usize = 6;

/// A text to be looked at.
#[derive(Clone, Copy)]
pub(super) struct Text<'t> {
    pub(super) bytes: &'t [u8],
    /// Where the value begins; before that is its name.
    pub(super) value: usize,
    /// The name, where the text is a value or decoded from one.
    pub(super) name: Option<&'t [u8]>,
    /// Whether the name is that of the whole value, and not only of something around it.
    pub(super) naming: Naming,
    /// The field of a document that it is in.
    pub(super) field: Option<&'t [u8]>,
    /// What was decoded to get it.
    pub(super) layers: Layers,
    /// Where in the unit it comes from, if it was decoded.
    pub(super) origin: Option<usize>,
}

/// What a name says of a text.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Naming {
    /// The text is the variable's value.
    Variable,
    /// The text is the value of an option, of one letter perhaps.
    Option,
    /// The text is the value of this field of a document.
    Field,
    /// The text is somewhere in the value.
    Around,
}

/// A credential that was found in a unit.
pub(super) struct Found {
    /// Where it, or what it was decoded from, begins in the unit.
    pub(super) at: usize,
    pub(super) rule: Rule,
    pub(super) class: Class,
    pub(super) life: Life,
    pub(super) confidence: Confidence,
    pub(super) checksum: Checksum,
    pub(super) facts: Vec<Fact>,
    pub(super) layers: Layers,
    pub(super) length: LengthClass,
    pub(super) fingerprint: Fingerprint,
    pub(super) field: Variable,
    /// Whether the name of the variable has too much in common with it.
    pub(super) in_name: bool,
}

/// Whether facts are collected.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Facts {
    /// They are, those that hold no credential themselves.
    Collected,
    /// Only whether there is a credential is asked for.
    Ignored,
}

/// Looks at one unit.
pub(super) struct Inspection<'e> {
    engine: &'e Engine,
    facts: Facts,
    /// How many bytes may still be decoded.
    budget: usize,
    /// The name of the unit's variable.
    variable: &'e [u8],
    /// Where the value begins in the unit.
    value: usize,
    pub(super) found: Vec<Found>,
    pub(super) undecoded: Undecoded,
    pub(super) visited: u64,
    pub(super) excess: u64,
}

impl<'e> Inspection<'e> {
    /// For the unit that a text is.
    pub(super) fn new(engine: &'e Engine, unit: Text<'e>, facts: Facts) -> Self {
        Self {
            engine,
            facts,
            budget: unit.bytes.len().saturating_mul(OUTPUT),
            variable: unit.name.unwrap_or_default(),
            value: unit.value,
            found: Vec::new(),
            undecoded: Undecoded::default(),
            visited: 0,
            excess: 0,
        }
    }

    /// Looks at a text in which something was seen, or that has a name.
    pub(super) fn look(&mut self, text: Text<'_>, seen: Seen<'_>, scratch: &mut Scratch<'_>) {
        let mut taken = Taken::default();
        let mut claims = self.marked(text, seen, scratch);
        self.named(text, &mut claims, scratch);
        let mut assigned = Vec::new();
        let value = text.bytes.get(text.value..).unwrap_or_default();
        let is_document = !seen.escapes.is_empty() && fields::is_document(value);
        if is_document {
            fields::each(text, |field| {
                self.field(text, &field, &mut claims, &mut assigned, scratch)
            });
        }
        for claim in settle(claims, &mut taken) {
            self.report(text, claim, scratch);
        }
        for claim in self.known(text, seen) {
            // Beside what a format says of it: the operator's word stands by itself.
            taken.take(&claim.span);
            self.report(text, claim, scratch);
        }
        self.layers(text, seen, is_document, &mut taken, scratch);
        if !is_document {
            assigned.extend(own_name(text));
        }
        self.words(text, seen, &mut assigned);
        // What is inside another value comes first: it says more exactly what the secret is.
        assigned.sort_by_key(|assigned| assigned.value.len());
        self.assigned(text, assigned, &mut taken, scratch);
    }

    /// What formats find where their marks are.
    fn marked(&mut self, text: Text<'_>, seen: Seen<'_>, scratch: &mut Scratch<'_>) -> Vec<Claim> {
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
    fn named(&mut self, text: Text<'_>, claims: &mut Vec<Claim>, scratch: &mut Scratch<'_>) {
        let (Some(name), true) = (text.name, text.naming != Naming::Around) else {
            return;
        };
        let value = text.bytes.get(text.value..).unwrap_or_default();
        self.named_value(name, value, text.value, claims, scratch);
    }

    fn named_value(
        &mut self,
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
    fn field(
        &mut self,
        text: Text<'_>,
        field: &fields::Field<'_>,
        claims: &mut Vec<Claim>,
        assigned: &mut Vec<Assigned>,
        scratch: &mut Scratch<'_>,
    ) {
        let span = field.at..field.at.saturating_add(field.value.len());
        let shown = Variable::of(field.name);
        if escapes::is_in(field.value) {
            let inner = Text {
                name: Some(field.name),
                field: Some(field.name),
                ..text
            };
            let part = Part {
                span: span.clone(),
                layer: Layer::Escapes,
                naming: Naming::Field,
            };
            if self.decode(inner, part, scratch) {
                return;
            }
        }
        let before = claims.len();
        self.named_value(field.name, field.value, field.at, claims, scratch);
        for claim in claims.iter_mut().skip(before) {
            claim.field = shown.clone();
        }
        if let Some(kind) = generic::kind_of(field.name) {
            assigned.push(Assigned {
                kind,
                value: span,
                field: shown,
            });
        }
    }

    /// Known values, the longest where they overlap.
    fn known(&self, text: Text<'_>, seen: Seen<'_>) -> Vec<Claim> {
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
                life: Life::Unknown,
                confidence: Confidence::High,
                checksum: Checksum::None,
                facts: vec![label],
                field: Variable::None,
            })
        });
        settle(claims.collect(), &mut Taken::default())
    }

    /// What is encoded in the text.
    fn layers(
        &mut self,
        text: Text<'_>,
        seen: Seen<'_>,
        is_document: bool,
        taken: &mut Taken,
        scratch: &mut Scratch<'_>,
    ) {
        for Encoded { span, layer } in seen.encoded() {
            if self.decode(text, text.part(span.clone(), layer), scratch) {
                taken.take(&span);
            }
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
                if is_in && self.decode(text, text.part(span.clone(), layer), scratch) {
                    taken.take(&span);
                }
            }
        }
    }

    /// Decodes a part of the text and looks at what comes out. Whether something was found in it.
    fn decode(&mut self, text: Text<'_>, part: Part, scratch: &mut Scratch<'_>) -> bool {
        let Part {
            span,
            layer,
            naming,
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

    /// Values under telling names inside the text.
    fn words(&self, text: Text<'_>, seen: Seen<'_>, assigned: &mut Vec<Assigned>) {
        let mut last = 0;
        for hit in seen.hits() {
            let is_word = self.engine.targets.target(hit.needle) == Some(Target::Word);
            if !is_word || hit.at < last {
                continue;
            }
            let Some(found) = assignments::around(text.bytes, hit.at) else {
                continue;
            };
            last = found.name.end;
            // The variable's own name is given all of the value.
            let is_own = found.name.end < text.value;
            let name = text.bytes.get(found.name.clone()).unwrap_or_default();
            if let (false, Some(kind)) = (is_own, generic::kind_of(name)) {
                assigned.push(Assigned {
                    kind,
                    value: found.value,
                    field: Variable::of(name),
                });
            }
        }
    }

    /// Judges values under telling names that nothing else has found.
    fn assigned(
        &mut self,
        text: Text<'_>,
        assigned: Vec<Assigned>,
        taken: &mut Taken,
        scratch: &mut Scratch<'_>,
    ) {
        for Assigned { kind, value, field } in assigned {
            let bytes = text.bytes.get(value.clone()).unwrap_or_default();
            let scheme = assignments::scheme(bytes);
            let span = value.start.saturating_add(scheme)..value.end;
            let secret = text.bytes.get(span.clone()).unwrap_or_default();
            self.visit(secret.len());
            let judged = generic::judge(kind, secret);
            let judged = judged.filter(|(rule, _)| self.engine.rules.has(*rule));
            if let (Some((rule, confidence)), true) = (judged, taken.take(&span)) {
                let claim = Claim {
                    span,
                    order: usize::MAX,
                    rule,
                    class: Class::Unknown,
                    life: Life::Unknown,
                    confidence,
                    checksum: Checksum::None,
                    facts: Vec::new(),
                    field,
                };
                self.report(text, claim, scratch);
            }
        }
    }

    /// Takes a claim for true.
    fn report(&mut self, text: Text<'_>, claim: Claim, scratch: &mut Scratch<'_>) {
        let Some(secret) = text.bytes.get(claim.span.clone()) else {
            return;
        };
        let fingerprint = self.engine.fingerprints.fingerprint(secret);
        let is_again = |found: &Found| {
            found.fingerprint == fingerprint && (found.rule == claim.rule || is_generic(claim.rule))
        };
        if self.found.iter().any(is_again) {
            return;
        }
        if self.found.len() >= MOST {
            self.excess = self.excess.saturating_add(1);
            return;
        }
        let at = text.origin.unwrap_or(claim.span.start);
        let in_name = at < self.value || shares(secret, self.variable);
        let field = match (claim.field, text.field) {
            (Variable::None, Some(name)) => Variable::of(name),
            (field, _) => field,
        };
        let field = field.unless(|name| {
            shares(secret, name) || self.engine.credential_in(name, scratch).is_some()
        });
        let facts = self.admit(claim.facts, secret, scratch);
        self.found.push(Found {
            at,
            rule: claim.rule,
            class: claim.class,
            life: claim.life,
            confidence: claim.confidence,
            checksum: claim.checksum,
            facts,
            layers: text.layers,
            length: LengthClass::of(secret.len()),
            fingerprint,
            field,
            in_name,
        });
    }

    /// The facts that can be shown.
    fn admit(&self, mut facts: Vec<Fact>, secret: &[u8], scratch: &mut Scratch<'_>) -> Vec<Fact> {
        if self.facts == Facts::Ignored {
            facts.clear();
        }
        facts.retain_mut(|fact| {
            let text = fact.text.as_bytes();
            let shown = Variable::of(text).name().is_some()
                && !shares(secret, text)
                && self.engine.credential_in(text, scratch).is_none();
            if !shown {
                zeroize::Zeroize::zeroize(&mut fact.text);
            }
            shown
        });
        facts
    }

    fn visit(&mut self, bytes: usize) {
        self.visited = self
            .visited
            .saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
    }
}

impl Text<'_> {
    /// A part of it that is encoded. If that is the whole value, the name stays its name.
    const fn part(self, span: Range<usize>, layer: Layer) -> Part {
        let whole = span.start == self.value && span.end == self.bytes.len();
        Part {
            span,
            layer,
            naming: if whole { self.naming } else { Naming::Around },
        }
    }
}

/// A part of a text that is encoded.
struct Part {
    span: Range<usize>,
    layer: Layer,
    /// What the text's name says of what it encodes.
    naming: Naming,
}

/// A value under a telling name.
struct Assigned {
    kind: Kind,
    value: Range<usize>,
    field: Variable,
}

/// The text's own value under its own name.
fn own_name(text: Text<'_>) -> Option<Assigned> {
    let name = text.name?;
    let mut value = text.value..text.bytes.len();
    let kind = match text.naming {
        Naming::Around => None,
        Naming::Variable | Naming::Field => generic::kind_of(name),
        Naming::Option => match name {
            b"p" => Some(Kind::Guess),
            // `user:password`
            b"u" | b"user" => {
                let colon = memchr::memchr(b':', text.bytes.get(value.clone())?)?;
                value.start = value.start.saturating_add(colon).saturating_add(1);
                Some(Kind::Guess)
            }
            _ => generic::kind_of(name),
        },
    };
    Some(Assigned {
        kind: kind?,
        value,
        field: Variable::None,
    })
}

fn is_generic(rule: Rule) -> bool {
    generic::RULES.contains(&rule)
}

/// Whether a text that is to be shown has too much in common with a secret.
fn shares(secret: &[u8], shown: &[u8]) -> bool {
    shown
        .windows(SHARED)
        .any(|part| memchr::memmem::find(secret, part).is_some())
}
