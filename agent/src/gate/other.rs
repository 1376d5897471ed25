//! The rest of check 12: other pieces that the policy asks for, by path or by type.
//!
//! A file alone proves nothing. It counts if the policy has its digest, if the seal lists it, if a
//! trusted key signed a statement about it, or if the policy says that it needs none of that.

use jiff::Timestamp;
use serde_json::Value;

use super::contents::{self, Unmet};
use super::decision::{Log, Refusal};
use super::evidence::Evidence;
use super::piece::{Cabinet, Signed, unread};
use super::policy::{Answer, Requirement};
use super::source::MAX_FILE;
use crate::report::image::ImageDigest;
use crate::report::json;
use crate::report::statement::sha256_hex;

const CHECK: &str = "completeness";

/// Keys in which a JSON document says which schema it follows.
const SCHEMA_KEYS: [&str; 3] = ["$schema", "schema", "bomFormat"];

pub(super) fn check(
    cabinet: &Cabinet<'_>,
    log: &mut Log,
    evidence: &Evidence<'_>,
    target: ImageDigest,
) {
    for requirement in &cabinet.policy.require {
        let asked = Asked {
            cabinet,
            evidence,
            target,
            requirement,
        };
        match &requirement.path {
            Some(path) => asked.file(log, path),
            None => asked.statement(log),
        }
    }
}

/// One requirement, and where to look for what it asks.
struct Asked<'a, 'q> {
    cabinet: &'a Cabinet<'q>,
    evidence: &'a Evidence<'q>,
    target: ImageDigest,
    requirement: &'a Requirement,
}

impl Asked<'_, '_> {
    /// A signed statement of the type, about the target.
    fn statement(&self, log: &mut Log) {
        let wanted = self
            .requirement
            .predicate_type
            .as_deref()
            .unwrap_or_default();
        let found = self.of_type(wanted).find(|signed| {
            let about = |hex: &str| ImageDigest::from_hex(hex) == Some(self.target);
            signed.head.subjects().any(about)
        });
        match found {
            None => {
                let text = format!("no trusted statement of type `{wanted}` is about the image");
                log.bad(CHECK, Refusal::Missing, None, text);
            }
            Some(signed) => {
                let name = Some(signed.name.as_str());
                self.age(log, &signed.name, &signed.head.predicate);
                self.says(log, &signed.name, &signed.head.predicate);
                log.note(
                    CHECK,
                    name,
                    format!("a statement of type `{wanted}` is there"),
                );
            }
        }
    }

    fn of_type<'s>(&'s self, wanted: &'s str) -> impl Iterator<Item = &'s Signed<'s>> {
        let others = self.evidence.others.iter();
        others.filter(move |signed| signed.head.predicate_type == wanted)
    }

    /// A file, somebody's word for it, and what it says of itself.
    fn file(&self, log: &mut Log, path: &str) {
        let bytes = match self.cabinet.read(path, MAX_FILE) {
            Ok(bytes) => bytes,
            Err(error) => {
                unread(log, CHECK, path, &error);
                return;
            }
        };
        self.vouched(log, path, &sha256_hex(&bytes));
        let Requirement {
            schema,
            time,
            values,
            parity,
            ..
        } = self.requirement;
        if schema.is_none() && time.is_none() && values.is_empty() && parity.is_none() {
            return;
        }
        let Some(document) = document_of(log, path, &bytes) else {
            return;
        };
        if let Some(schema) = schema {
            let mut says = SCHEMA_KEYS
                .iter()
                .filter_map(|key| document.get(key)?.as_str());
            if !says.any(|says| says == schema) {
                let text = format!("it does not say that it follows `{schema}`");
                log.bad(CHECK, Refusal::Malformed, Some(path), text);
            }
        }
        self.age(log, path, &document);
        self.says(log, path, &document);
        if let Some(parity) = parity {
            // It is asked for itself: who vouches for it, and whether it is there, is told with it.
            let other = self.cabinet.read(&parity.with, MAX_FILE).ok();
            let other = other.and_then(|bytes| document_of(log, &parity.with, &bytes));
            let Some(other) = other else {
                let text = format!("`{}` cannot be compared with it", parity.with);
                log.bad(CHECK, Refusal::Missing, Some(path), text);
                return;
            };
            met(log, path, contents::same(parity, &document, &other));
        }
    }

    /// Whether it says what is asked for.
    fn says(&self, log: &mut Log, name: &str, document: &Value) {
        for claim in &self.requirement.values {
            met(log, name, contents::says(claim, document));
        }
    }

    /// Whether somebody who counts says that this is the file.
    fn vouched(&self, log: &mut Log, path: &str, sha256: &str) {
        let Requirement {
            predicate_type,
            digest,
            unsigned,
            ..
        } = self.requirement;
        let found = ImageDigest::from_hex(sha256);
        if digest.is_some() && *digest != found {
            let text = format!("its SHA-256 is {sha256}, which the policy does not name");
            log.bad(CHECK, Refusal::Untrusted, Some(path), text);
            return;
        }
        let about = |signed: &Signed<'_>| {
            let is = |hex: &str| found.is_some() && ImageDigest::from_hex(hex) == found;
            let of_type = |wanted: &String| *wanted == signed.head.predicate_type;
            signed.head.subjects().any(is) && predicate_type.as_ref().is_none_or(of_type)
        };
        let signed = self.evidence.others.iter().any(about);
        if predicate_type.is_some() && !signed {
            let text = "no trusted statement of the type that is asked for is about it";
            log.bad(CHECK, Refusal::Missing, Some(path), text);
            return;
        }
        let seal = self.evidence.seal.as_ref();
        let sealed = seal.is_some_and(|seal| seal.predicate.digest_of(path) == Some(sha256));
        if digest.is_some() || signed || sealed {
            log.note(CHECK, Some(path), "it is there, and vouched for");
        } else if *unsigned == Answer::Allow {
            let text = "it is there; NOBODY VOUCHES FOR IT, which the policy allows";
            log.note(CHECK, Some(path), text);
        } else {
            let text = "nobody who counts vouches for it: give its digest, or have it signed";
            log.bad(CHECK, Refusal::Untrusted, Some(path), text);
        }
    }

    fn age(&self, log: &mut Log, name: &str, document: &Value) {
        let Requirement { max_age, time, .. } = self.requirement;
        let (Some(max_age), Some(pointer)) = (max_age, time) else {
            return;
        };
        let time = document.pointer(pointer).and_then(Value::as_str);
        let Some(time) = time.and_then(|text| text.parse::<Timestamp>().ok()) else {
            let text = format!("it has no time at `{pointer}`");
            log.bad(CHECK, Refusal::Malformed, Some(name), text);
            return;
        };
        let age = self.cabinet.now.duration_since(time);
        let ahead = time.duration_since(self.cabinet.now);
        if age > *max_age || ahead > self.cabinet.policy.evidence.skew {
            let text = format!("it is of {time}: too old, or of the future");
            log.bad(CHECK, Refusal::Stale, Some(name), text);
        }
    }
}

/// The JSON document in a file.
fn document_of(log: &mut Log, path: &str, bytes: &[u8]) -> Option<Value> {
    let parsed = json::parse(bytes);
    parsed
        .map_err(|error| {
            let text = format!("it is no JSON document: {error}");
            log.bad(CHECK, Refusal::Malformed, Some(path), text);
        })
        .ok()
}

fn met(log: &mut Log, name: &str, found: Result<(), Unmet>) {
    match found {
        Ok(()) => {}
        Err(Unmet::Otherwise(text)) => log.bad(CHECK, Refusal::Denied, Some(name), text),
        Err(Unmet::Unreadable(text)) => log.bad(CHECK, Refusal::Malformed, Some(name), text),
    }
}
