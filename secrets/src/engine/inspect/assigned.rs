//! Secrets of no known format, under names that tell.

use std::ops::Range;

use super::{Inspection, Naming, Text};
use crate::credential::{Checksum, Class};
use crate::engine::assignments;
use crate::engine::claims::{Claim, Taken};
use crate::engine::survey::Seen;
use crate::engine::targets::Target;
use crate::generic::{self, Kind};
use crate::residue::Lifetime;
use crate::scratch::Scratch;

impl Inspection<'_> {
    /// Values under telling names inside the text.
    pub(super) fn words(&self, text: Text<'_>, seen: Seen<'_>, assigned: &mut Vec<Assigned>) {
        let (mut last, mut quoted) = (0, 0);
        for hit in seen.hits() {
            let is_word = self.engine.targets.target(hit.needle) == Some(Target::Word);
            if !is_word || hit.at < last {
                continue;
            }
            let Some(name) = assignments::name_around(text.bytes, hit.at) else {
                continue;
            };
            last = name.end;
            // The variable's own name is given all of the value.
            let is_own = name.end < text.value;
            let shown = text.bytes.get(name.clone()).unwrap_or_default();
            let Some(kind) = generic::kind_of(shown).filter(|_kind| !is_own) else {
                continue;
            };
            if let Some(given) = assignments::given(text.bytes, name.end) {
                // Inside quotes there may be another one; inside that, nothing is looked at again.
                let is_inside = hit.at < quoted;
                last = last.max(if is_inside {
                    given.value.end
                } else {
                    given.next
                });
                quoted = quoted.max(given.value.end);
                assigned.push(Assigned {
                    kind,
                    value: given.value,
                    field: name,
                });
            }
        }
    }

    /// Judges values under telling names that nothing else has found.
    pub(super) fn assigned(
        &mut self,
        text: Text<'_>,
        mut assigned: Vec<Assigned>,
        taken: &mut Taken,
        scratch: &mut Scratch<'_>,
    ) {
        // What is inside another value comes first: it says more exactly what the secret is.
        assigned.sort_by_key(|assigned| assigned.value.len());
        for Assigned { kind, value, field } in assigned {
            let bytes = text.bytes.get(value.clone()).unwrap_or_default();
            // A user's password in base64 is a format of its own.
            if assignments::is_basic(bytes) {
                continue;
            }
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
                    life: Lifetime::UNKNOWN,
                    confidence,
                    checksum: Checksum::None,
                    facts: Vec::new(),
                    field,
                };
                self.report(text, claim, scratch);
            }
        }
    }
}

/// A value under a telling name.
pub(super) struct Assigned {
    pub(super) kind: Kind,
    pub(super) value: Range<usize>,
    /// Where its name is, if that is not the variable's; else empty.
    pub(super) field: Range<usize>,
}

/// The text's own value under its own name.
pub(super) fn own_name(text: Text<'_>) -> Option<Assigned> {
    let name = text.name?;
    let mut value = text.value..text.bytes.len();
    let kind = match text.naming {
        Naming::Around => None,
        // Where a shell is, or was before; whatever folders are called.
        Naming::Variable if is_directory(name, text) => None,
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
        field: 0..0,
    })
}

/// Whether a variable is one that shells keep a directory in.
fn is_directory(name: &[u8], text: Text<'_>) -> bool {
    matches!(name, b"PWD" | b"OLDPWD") && text.bytes.get(text.value) == Some(&b'/')
}
