//! Pieces of evidence: read within bounds, their signatures checked, and only then looked into.

use std::cell::Cell;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::decision::{Log, Refusal};
use super::policy::{KeyStatus, TrustPolicy, TrustedKey};
use super::revocations::RevocationsPredicate;
use super::source::{MAX_TOTAL, ReadError, Source};
use crate::report::envelope::{Bundle, EnvelopeError, MAX_BUNDLE};
use crate::report::json;
use crate::report::statement::{STATEMENT_TYPE, Subject};

/// Most envelopes of one `.intoto.jsonl`.
const MAX_ENVELOPES: usize = 1024;

/// Where pieces are read from, and whose signatures count.
pub(super) struct Cabinet<'q> {
    pub(super) policy: &'q TrustPolicy,
    pub(super) now: Timestamp,
    /// Keys that count for nothing.
    revoked: Option<&'q RevocationsPredicate>,
    source: &'q dyn Source,
    /// Bytes read so far.
    read: Cell<u64>,
}

/// A statement that a trusted key signed.
#[derive(Clone, Debug)]
pub(super) struct Signed<'q> {
    /// The file it is in.
    pub(super) name: String,
    /// Who signed.
    pub(super) key: &'q TrustedKey,
    /// Exactly the bytes that were signed.
    pub(super) payload: Vec<u8>,
    /// What they begin with.
    pub(super) head: Head,
}

/// What all statements have.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Head {
    #[serde(rename = "_type")]
    r#type: String,
    /// What it is about. Digests of other algorithms than SHA-256 are none that count.
    #[serde(default)]
    subject: Vec<AnySubject>,
    /// Its type.
    pub(super) predicate_type: String,
    /// What it says.
    #[serde(default)]
    pub(super) predicate: Value,
}

#[derive(Clone, Debug, Deserialize)]
struct AnySubject {
    #[serde(default)]
    name: String,
    #[serde(default)]
    digest: std::collections::BTreeMap<String, String>,
}

/// Why a bundle does not count.
pub(super) enum Flaw<'q> {
    /// It is no bundle.
    Form(String),
    /// No key of the policy signed it.
    Unsigned(String),
    /// What was signed is no statement.
    Statement(String),
    /// A key signed it that may not.
    Key(&'q TrustedKey, KeyStatus, String),
}

impl Head {
    /// SHA-256 (hex, as written) of what it is about.
    pub(super) fn subjects(&self) -> impl Iterator<Item = &str> {
        let digests = self.subject.iter().map(|subject| &subject.digest);
        digests.filter_map(|digest| digest.get("sha256").map(String::as_str))
    }

    /// What it is about besides its report.
    pub(super) fn artefacts(&self) -> Vec<Subject> {
        let rest = self.subject.get(1..).unwrap_or_default().iter();
        rest.filter_map(|subject| {
            let sha256 = subject.digest.get("sha256")?;
            Some(Subject::new(&subject.name, sha256))
        })
        .collect()
    }

    /// The job that a statement of cordon's is about.
    pub(super) fn job(&self) -> Option<&str> {
        let places = ["/cordonProcess/event", "/monitoredProcess/event"];
        let mut found = places.iter().filter_map(|at| self.predicate.pointer(at));
        found.next().and_then(Value::as_str)
    }
}

impl<'q> Cabinet<'q> {
    pub(super) fn new(
        source: &'q dyn Source,
        policy: &'q TrustPolicy,
        now: Timestamp,
        revoked: Option<&'q RevocationsPredicate>,
    ) -> Self {
        Self {
            policy,
            now,
            revoked,
            source,
            read: Cell::new(0),
        }
    }

    /// The names of all files.
    pub(super) fn names(&self) -> Vec<String> {
        self.source.names()
    }

    /// The content of a file; all together are bounded.
    pub(super) fn read(&self, name: &str, limit: u64) -> Result<Vec<u8>, ReadError> {
        let left = MAX_TOTAL.saturating_sub(self.read.get());
        let bytes = self.source.read(name, limit.min(left))?;
        let read = self.read.get().saturating_add(bytes.len() as u64);
        self.read.set(read);
        Ok(bytes)
    }

    /// Hands over the content of a file, piece by piece; all together are bounded.
    pub(super) fn stream(
        &self,
        name: &str,
        limit: u64,
        take: &mut dyn FnMut(&[u8]),
    ) -> Result<(), ReadError> {
        let left = MAX_TOTAL.saturating_sub(self.read.get());
        let bytes = self.source.stream(name, limit.min(left), take)?;
        self.read.set(self.read.get().saturating_add(bytes));
        Ok(())
    }

    /// A piece that must be there and good; what is wrong with it is logged.
    pub(super) fn open(&self, log: &mut Log, name: &str) -> Option<(Signed<'q>, Vec<u8>)> {
        let bytes = match self.read(name, MAX_BUNDLE as u64) {
            Ok(bytes) => bytes,
            Err(error) => {
                unread(log, "find", name, &error);
                return None;
            }
        };
        match Bundle::parse(&bytes) {
            Ok(bundle) => match self.examine(name, &bundle) {
                Ok(signed) => Some((signed, bytes)),
                Err(flaw) => {
                    flawed(log, name, &flaw);
                    None
                }
            },
            Err(error) => {
                flawed(log, name, &Flaw::Form(error.to_string()));
                None
            }
        }
    }

    /// Every other statement beside the evidence that a trusted key signed: bundles, and envelopes in
    /// files of lines. What is no such statement is not an error: others may put theirs there.
    pub(super) fn others(&self, log: &mut Log, known: &[&str]) -> Vec<Signed<'q>> {
        let mut found = Vec::new();
        for name in self.names() {
            if known.contains(&name.as_str()) {
                continue;
            }
            if name.ends_with(".sigstore.json") {
                let bytes = match self.read(&name, MAX_BUNDLE as u64) {
                    Ok(bytes) => bytes,
                    Err(error) => {
                        // It could say that this is another image.
                        unread(log, "find", &name, &error);
                        continue;
                    }
                };
                let bundle = Bundle::parse(&bytes).map_err(|error| Flaw::Form(error.to_string()));
                self.other(log, &name, bundle, &mut found);
            } else if name.ends_with(".intoto.jsonl") {
                self.envelopes(log, &name, &mut found);
            }
        }
        found
    }

    fn envelopes(&self, log: &mut Log, name: &str, found: &mut Vec<Signed<'q>>) {
        let limit = (MAX_BUNDLE as u64).saturating_mul(4);
        let bytes = match self.read(name, limit) {
            Ok(bytes) => bytes,
            Err(error) => {
                unread(log, "find", name, &error);
                return;
            }
        };
        let lines = bytes.split(|byte| *byte == b'\n');
        let lines = lines.filter(|line| !line.is_empty());
        for (at, line) in lines.enumerate() {
            if at >= MAX_ENVELOPES {
                let text = format!("it has more than {MAX_ENVELOPES} lines");
                log.bad("find", Refusal::Malformed, Some(name), text);
                return;
            }
            let bundle = Bundle::parse_envelope(line);
            let bundle = bundle.map_err(|error| Flaw::Form(error.to_string()));
            self.other(log, name, bundle, found);
        }
    }

    fn other(
        &self,
        log: &mut Log,
        name: &str,
        bundle: Result<Bundle, Flaw<'q>>,
        found: &mut Vec<Signed<'q>>,
    ) {
        match bundle.and_then(|bundle| self.examine(name, &bundle)) {
            Ok(signed) => found.push(signed),
            Err(flaw) => {
                let (check, _, text) = said(&flaw);
                log.note(check, Some(name), format!("not taken into account: {text}"));
            }
        }
    }

    /// Who signed a bundle, and what.
    fn examine(&self, name: &str, bundle: &Bundle) -> Result<Signed<'q>, Flaw<'q>> {
        // What it says of its key only gives the order in which keys are tried.
        let keys = &self.policy.keys;
        let (first, rest): (Vec<_>, Vec<_>) = keys
            .iter()
            .partition(|trusted| trusted.key.id() == bundle.key_id());
        let mut refused = None;
        for trusted in first.into_iter().chain(rest) {
            let payload = match bundle.verify(trusted.key) {
                Ok(payload) => payload,
                Err(error) => {
                    refused.get_or_insert(error);
                    continue;
                }
            };
            let head: Head = json::parse(&payload)
                .map_err(|error| Flaw::Statement(format!("it is no statement: {error}")))?;
            if head.r#type != STATEMENT_TYPE {
                let text = format!("its `_type` is `{}`, not `{STATEMENT_TYPE}`", head.r#type);
                return Err(Flaw::Statement(text));
            }
            let listed = self.revoked.and_then(|list| list.entry(&trusted.key.id()));
            let status = match listed {
                Some(entry) => KeyStatus::Listed(entry.revoked_on, entry.reason),
                None => trusted.status(&head.predicate_type, self.now),
            };
            if status != KeyStatus::Good {
                return Err(Flaw::Key(trusted, status, head.predicate_type));
            }
            return Ok(Signed {
                name: name.to_owned(),
                key: trusted,
                payload,
                head,
            });
        }
        let named = bundle.key_id();
        Err(match refused {
            // Base64 that is none, or too much of it.
            Some(error) if !is_untrusted(&error) => Flaw::Form(error.to_string()),
            _ => Flaw::Unsigned(format!(
                "no key of the policy signed it; it names key {named}"
            )),
        })
    }
}

fn is_untrusted(error: &EnvelopeError) -> bool {
    matches!(error, EnvelopeError::Untrusted { .. })
}

/// Logs that a file could not be read.
pub(super) fn unread(log: &mut Log, check: &'static str, name: &str, error: &ReadError) {
    let refusal = match error {
        ReadError::Missing => Refusal::Missing,
        ReadError::Refused(_) => Refusal::Malformed,
        ReadError::Failed(_) => Refusal::Undecided,
    };
    log.bad(check, refusal, Some(name), error.to_string());
}

fn flawed(log: &mut Log, name: &str, flaw: &Flaw<'_>) {
    let (check, refusal, text) = said(flaw);
    log.bad(check, refusal, Some(name), text);
}

/// Which check a flaw is of, what it weighs, and its words.
fn said(flaw: &Flaw<'_>) -> (&'static str, Refusal, String) {
    match flaw {
        Flaw::Form(text) => ("envelope", Refusal::Malformed, text.clone()),
        Flaw::Unsigned(text) => ("signature", Refusal::Untrusted, text.clone()),
        Flaw::Statement(text) => ("statement", Refusal::Malformed, text.clone()),
        Flaw::Key(key, status, predicate_type) => {
            let id = key.key.id();
            let text = match status {
                KeyStatus::Good => format!("key {id} counts"),
                KeyStatus::NotYet(from) => format!("key {id} counts only from {from}"),
                KeyStatus::Expired(until) => format!("key {id} counted only until {until}"),
                KeyStatus::Revoked(from) => format!(
                    "key {id} is revoked from {from}: nothing it signed counts, since its own clock \
                     is no witness"
                ),
                KeyStatus::Listed(on, reason) => format!(
                    "key {id} is on the list of revoked keys since {on} ({reason}): nothing it signed \
                     counts, since its own clock is no witness"
                ),
                KeyStatus::WrongRole(role) => {
                    format!("key {id} has the role `{role}` and may not sign `{predicate_type}`")
                }
            };
            ("key", Refusal::Untrusted, text)
        }
    }
}
