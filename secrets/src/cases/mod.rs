//! Labelled texts: what each format must find, and what nothing may find.
//!
//! All tokens are made here, from a seed and with right checksums, so that no text that looks like a
//! real secret stands in the source. They open nothing anywhere.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "it makes material for tests, from constants"
)]

use crate::credential::Class;
use crate::formats::FORMATS;
use crate::{generic, known};

mod cloud;
mod harmless;
mod keys;
mod passwords;
mod platforms;
mod random;
mod services;
mod simple;

/// A text and what is in it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Case {
    /// The name of the variable whose value the text is, if it matters.
    pub variable: Option<&'static str>,
    /// The text.
    pub text: String,
    /// The id of the only rule that finds something in it; `None` if nothing is to be found.
    pub expected: Option<&'static str>,
    /// What the case is about.
    pub why: &'static str,
}

impl Case {
    fn found(rule: &'static str, text: impl Into<String>, why: &'static str) -> Self {
        Self {
            variable: None,
            text: text.into(),
            expected: Some(rule),
            why,
        }
    }

    fn nothing(text: impl Into<String>, why: &'static str) -> Self {
        Self {
            variable: None,
            text: text.into(),
            expected: None,
            why,
        }
    }

    fn named(mut self, variable: &'static str) -> Self {
        self.variable = Some(variable);
        self
    }
}

/// The classes that what a rule finds can have; `None` if there is no such rule.
pub fn classes(rule: &str) -> Option<&'static [Class]> {
    let of_none = generic::RULES.into_iter().chain([known::RULE]);
    if of_none.into_iter().any(|one| one.id == rule) {
        return Some(&[Class::Unknown]);
    }
    let mut formats = FORMATS.iter().flat_map(|family| family.iter());
    formats
        .find(|format| format.rule.id == rule)
        .map(|format| format.about.classes)
}

/// All cases, in the same order on every call.
pub fn cases() -> Vec<Case> {
    [
        simple::cases(),
        platforms::cases(),
        cloud::cases(),
        keys::cases(),
        passwords::cases(),
        services::cases(),
        harmless::cases(),
    ]
    .concat()
}
