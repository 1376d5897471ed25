//! A close look at one unit in which something was seen, and at what is encoded in it.

use super::claims::{Claim, Taken, settle};
use super::scanned::Undecoded;
use super::survey::Seen;
use super::{Engine, fields};
use crate::credential::{Checksum, Class, Confidence, Fact, Rule};
use crate::detection::{Layers, LengthClass};
use crate::fingerprint::Fingerprint;
use crate::generic;
use crate::residue::{Label, Lifetime};
use crate::scratch::Scratch;

mod assigned;
mod formats;
mod layers;

use assigned::own_name;

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
    /// Whether secrets of no known format are looked for.
    pub(super) unknown: Unknown,
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

/// Whether secrets of no known format are told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Unknown {
    /// They are.
    Told,
    /// They are not: the text is part of what a format knows.
    Ignored,
}

/// A credential that was found in a unit.
pub(super) struct Found {
    /// Where it, or what it was decoded from, begins in the unit.
    pub(super) at: usize,
    pub(super) rule: Rule,
    pub(super) class: Class,
    pub(super) life: Lifetime,
    pub(super) confidence: Confidence,
    pub(super) checksum: Checksum,
    pub(super) facts: Vec<Fact>,
    pub(super) layers: Layers,
    pub(super) length: LengthClass,
    pub(super) fingerprint: Fingerprint,
    pub(super) field: Label,
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
        self.named(text, seen, &mut claims, scratch);
        let value = text.bytes.get(text.value..).unwrap_or_default();
        let is_document = !seen.escapes.is_empty() && fields::is_document(value);
        let fields = if is_document {
            fields::of(text)
        } else {
            Vec::new()
        };
        for claim in &mut claims {
            if let Some(field) = fields::around(&fields, claim.span.start) {
                claim.field = field.name_span();
            }
        }
        let mut assigned = Vec::new();
        for field in fields.iter().filter(|field| !field.is_escaped()) {
            self.field(field, &mut claims, &mut assigned, scratch);
        }
        self.settle(text, claims, &mut taken, scratch);
        for claim in self.known(text, seen) {
            // Beside what a format says of it: the operator's word stands by itself.
            taken.take(&claim.span);
            self.report(text, claim, scratch);
        }
        for field in fields.iter().filter(|field| field.is_escaped()) {
            self.escaped_field(text, field, &mut taken, &mut assigned, scratch);
        }
        self.layers(text, seen, is_document, &mut taken, scratch);
        if text.unknown == Unknown::Told {
            if !is_document {
                assigned.extend(own_name(text));
            }
            self.words(text, seen, &mut assigned);
            self.assigned(text, assigned, &mut taken, scratch);
        }
    }

    /// Reports the claims that hold.
    fn settle(
        &mut self,
        text: Text<'_>,
        claims: Vec<Claim>,
        taken: &mut Taken,
        scratch: &mut Scratch<'_>,
    ) {
        for claim in settle(claims, taken) {
            self.report(text, claim, scratch);
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
        let own = text
            .bytes
            .get(claim.field.clone())
            .filter(|name| !name.is_empty());
        let field = self.label(own.or(text.field), secret, scratch);
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

    /// A name as it can be shown beside a secret.
    fn label(&self, name: Option<&[u8]>, secret: &[u8], scratch: &mut Scratch<'_>) -> Label {
        let Some(name) = name else {
            return Label::none();
        };
        if shares(secret, name) || self.engine.credential_in(name, scratch).is_some() {
            return Label::withheld();
        }
        Label::of(name)
    }

    /// The facts that can be shown.
    fn admit(&self, mut facts: Vec<Fact>, secret: &[u8], scratch: &mut Scratch<'_>) -> Vec<Fact> {
        if self.facts == Facts::Ignored {
            facts.clear();
        }
        facts.retain_mut(|fact| {
            let text = fact.text.as_bytes();
            let shown = Label::is_fit(text)
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

fn is_generic(rule: Rule) -> bool {
    generic::RULES.contains(&rule)
}

/// Whether a text that is to be shown has too much in common with a secret.
fn shares(secret: &[u8], shown: &[u8]) -> bool {
    shown
        .windows(SHARED)
        .any(|part| memchr::memmem::find(secret, part).is_some())
}
