//! Secrets that no format knows: a value that looks random, under a name that says what it is.

use crate::credential::Rule;

/// The rules of this file.
pub(crate) const RULES: [Rule; 2] = [SECRET, PASSWORD];

/// A value that looks random.
pub(crate) const SECRET: Rule = Rule {
    id: "generic-secret",
    title: "random value under a name of a credential",
};

/// A value that a person could have made up.
pub(crate) const PASSWORD: Rule = Rule {
    id: "generic-password",
    title: "value under a name of a password",
};
