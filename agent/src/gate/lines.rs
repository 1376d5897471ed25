//! Evidence in one file of lines, `.intoto.jsonl`: envelopes as in-toto's bundles have them, and the
//! files they are about.
//!
//! An envelope is all that a signed statement needs: its Sigstore bundle is made of it again, byte
//! for byte. Reports stand on lines of their own, which readers of in-toto bundles pass over, as
//! their specification asks of lines that they do not know. Neither order nor completeness of lines
//! means anything: the seal says what must be there.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::policy::is_relative;
use super::source::{Files, MAX_DEPTH, MAX_FILE, MAX_FILES};
use crate::report::attested::{Attestation as _, Attested as _};
use crate::report::binding::{self, BindingPredicate};
use crate::report::envelope::Bundle;
use crate::report::run::{RunPredicate, RunReport};
use crate::report::seal::{self, SealPredicate};
use crate::report::sweep::{SweepPredicate, SweepReport};
use crate::report::{Report, json, statement};

/// What a line with a file says that it is.
const FILE: &str = "application/vnd.cordon.file.v1";

/// How such a file of lines ends.
pub const SUFFIX: &str = ".intoto.jsonl";

/// Types of statements, and the names of the files that evidence has them in.
const NAMES: [(&str, &str); 5] = [
    (statement::PREDICATE_TYPE, Report::BUNDLE_NAME),
    (SweepPredicate::TYPE, SweepReport::BUNDLE_NAME),
    (RunPredicate::TYPE, RunReport::BUNDLE_NAME),
    (SealPredicate::TYPE, seal::BUNDLE_NAME),
    (BindingPredicate::TYPE, binding::BUNDLE_NAME),
];

/// A line with a file.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Line {
    media_type: String,
    name: String,
    /// Base64.
    content: String,
}

/// Lines that are not accepted.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum LinesError {
    /// More than there may be.
    #[error("it has {0}, more than there may be")]
    Limit(&'static str),
    /// A name that leads elsewhere, or is there twice.
    #[error("`{0}` in it is no name of one file")]
    Name(String),
    /// A file whose content is no base64.
    #[error("the content of `{0}` in it is no base64")]
    Content(String),
}

/// Whether bytes can be such lines.
#[must_use]
pub fn are_lines(bytes: &[u8]) -> bool {
    bytes.first() == Some(&b'{')
}

/// Reads lines. What is neither an envelope nor a file is passed over.
///
/// # Errors
/// See [`LinesError`].
pub fn read(bytes: &[u8]) -> Result<Files, LinesError> {
    let mut files = BTreeMap::new();
    let lines = bytes.split(|byte| *byte == b'\n');
    let lines = lines.filter(|line| !line.is_empty());
    for (number, line) in lines.enumerate() {
        if number >= MAX_FILES {
            return Err(LinesError::Limit("too many lines"));
        }
        if let Some((name, content)) = file(line)? {
            if files.insert(name.clone(), content).is_some() {
                return Err(LinesError::Name(name));
            }
        } else if let Some((name, text)) = statement(line) {
            // Several of one type: the later ones count as statements of others.
            let free = name.filter(|name| !files.contains_key(*name));
            let name = free.map_or_else(|| format!("lines/{number}.sigstore.json"), str::to_owned);
            if files.insert(name.clone(), text).is_some() {
                return Err(LinesError::Name(name));
            }
        }
    }
    Ok(Files(files))
}

/// The file on a line; none if it is something else.
fn file(line: &[u8]) -> Result<Option<(String, Vec<u8>)>, LinesError> {
    let Ok(Line {
        media_type,
        name,
        content,
    }) = json::parse(line)
    else {
        return Ok(None);
    };
    if media_type != FILE {
        return Ok(None);
    }
    if !is_relative(&name) || name.split('/').count() > MAX_DEPTH {
        return Err(LinesError::Name(name));
    }
    let Ok(content) = STANDARD.decode(content) else {
        return Err(LinesError::Content(name));
    };
    if content.len() as u64 > MAX_FILE {
        return Err(LinesError::Limit("a file too large"));
    }
    Ok(Some((name, content)))
}

/// The bundle of the envelope on a line, and the name that evidence has it under.
fn statement(line: &[u8]) -> Option<(Option<&'static str>, Vec<u8>)> {
    let bundle = Bundle::parse_envelope(line).ok()?;
    let name = name_of(&bundle);
    let mut text = serde_json::to_vec(&bundle).ok()?;
    text.push(b'\n');
    Some((name, text))
}

fn name_of(bundle: &Bundle) -> Option<&'static str> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Head {
        predicate_type: String,
    }
    let head: Head = json::parse(&bundle.unverified_payload().ok()?).ok()?;
    let mut names = NAMES.iter();
    let (_, name) = names.find(|(kind, _)| *kind == head.predicate_type)?;
    Some(name)
}

/// Writes files as lines: statements as envelopes, if their bundle can be made of these again.
///
/// # Errors
/// They have no JSON form.
pub fn write(files: &BTreeMap<String, Vec<u8>>) -> Result<String, serde_json::Error> {
    let mut text = String::new();
    for (name, content) in files {
        if name == seal::ENVELOPES_NAME {
            // It is these lines.
            continue;
        }
        if let Some(line) = envelope_line(name, content) {
            text.push_str(&line);
            continue;
        }
        let line = Line {
            media_type: FILE.to_owned(),
            name: name.clone(),
            content: STANDARD.encode(content),
        };
        text.push_str(&serde_json::to_string(&line)?);
        text.push('\n');
    }
    Ok(text)
}

fn envelope_line(name: &str, content: &[u8]) -> Option<String> {
    let line = Bundle::parse(content).ok()?.envelope_line().ok()?;
    let (found, text) = statement(line.as_bytes())?;
    (found == Some(name) && text == content).then_some(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::source::Source as _;
    use crate::gate::tests::Case;

    #[test]
    fn evidence_in_lines_is_decided_on_like_the_directory() {
        let case = Case::good();
        let text = write(&case.files.0).unwrap();
        assert!(are_lines(text.as_bytes()));
        let files = read(text.as_bytes()).unwrap();
        let in_lines = Case {
            files,
            ..Case::good()
        };
        assert_eq!(in_lines.decide(), case.decide());
        assert_eq!(in_lines.decide().status, 0);
        // Whatever the order, and whatever else somebody wrote there.
        let mut lines: Vec<_> = text.lines().collect();
        lines.reverse();
        lines.extend(["{}", "[1]", "no JSON", "{\"payloadType\": \"other\"}"]);
        let files = read(lines.join("\n").as_bytes()).unwrap();
        let turned = Case {
            files,
            ..Case::good()
        };
        assert_eq!(turned.decide().status, 0);
        // A line that is gone is missed.
        for number in 0..text.lines().count() {
            let rest = text.lines().enumerate().filter(|(at, _)| *at != number);
            let rest: Vec<_> = rest.map(|(_, line)| line).collect();
            let files = read(rest.join("\n").as_bytes()).unwrap();
            let case = Case {
                files,
                ..Case::good()
            };
            assert_eq!(case.decide().status, 3, "{number}");
        }
    }

    #[test]
    fn envelopes_alone_are_incomplete_evidence() {
        let mut case = Case::good();
        let envelopes = case.files.0[seal::ENVELOPES_NAME].clone();
        case.files = read(&envelopes).unwrap();
        assert_eq!(case.files.names().len(), 4);
        assert_eq!(case.decide().status, 3);
    }

    #[test]
    fn names_that_lead_elsewhere_or_come_twice_are_refused() {
        let line = |name: &str, content: &str| {
            format!(r#"{{"mediaType": "{FILE}", "name": "{name}", "content": "{content}"}}"#)
        };
        for name in ["", "/a", "../a", "a/../b", "a//b", "d/d/d/d/d/d/d/d/a"] {
            let error = read(line(name, "").as_bytes()).unwrap_err();
            assert!(matches!(error, LinesError::Name(_)), "{name}");
        }
        let twice = [line("a", ""), line("a", "AA==")].join("\n");
        assert_eq!(read(twice.as_bytes()), Err(LinesError::Name("a".into())));
        let error = read(line("a", "!").as_bytes()).unwrap_err();
        assert_eq!(error, LinesError::Content("a".into()));
        let many = "{}\n".repeat(MAX_FILES + 1);
        assert!(matches!(read(many.as_bytes()), Err(LinesError::Limit(_))));
    }
}
