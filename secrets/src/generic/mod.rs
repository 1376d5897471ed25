//! Secrets that no format knows: a value that looks random, or like a password, under a name that
//! says what it is.
//!
//! A name alone is never a finding, and neither is a random value under any other name: builds are full
//! of digests. So both must be there, and everything that is well known to be harmless is passed over.

use crate::credential::{Confidence, Rule};
use crate::placeholder::is_placeholder;

mod value;
mod words;

pub(crate) use words::{Kind, NEEDLES, kind_of};

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

/// Judges the value of an assignment whose name is of this kind.
pub(crate) fn judge(kind: Kind, value: &[u8]) -> Option<(Rule, Confidence)> {
    if is_placeholder(value) || value::is_harmless(value) {
        return None;
    }
    match kind {
        Kind::Secret => value::is_random(value).then_some((SECRET, Confidence::Medium)),
        Kind::Weak => value::is_random(value).then_some((SECRET, Confidence::Low)),
        Kind::Password if value::is_random(value) => Some((SECRET, Confidence::Medium)),
        Kind::Password => value::is_plausible(value).then_some((PASSWORD, Confidence::Low)),
        Kind::Guess => value::is_random(value).then_some((PASSWORD, Confidence::Low)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(name: &str, value: &str) -> Option<(&'static str, Confidence)> {
        let (rule, confidence) = judge(kind_of(name.as_bytes())?, value.as_bytes())?;
        Some((rule.id, confidence))
    }

    #[test]
    fn random_values_under_telling_names_are_secrets() {
        let medium = Some(("generic-secret", Confidence::Medium));
        for (name, value) in [
            ("ACME_TOKEN", "f3Kq9ZrT7bWm2XcV8nLp"),
            ("acmeToken", "9f86d081884c7d659a2feaa0c55ad015"),
            ("client_secret", "q7R~x2Lw.9vNc4Tz_8kMb3Yd"),
            ("DB_PASSWORD", "vX9!kq2LmZ#7tRw4"),
            ("api-key", "0c2f4b8e91d7a36558ce"),
            ("SIGNING_KEY", "Zm9vYmFyYmF6cXV4MTIzNDU2Nzg5MA"),
        ] {
            assert_eq!(judged(name, value), medium, "{name}={value}");
        }
        assert_eq!(
            judged("HTTP_AUTH", "f3Kq9ZrT7bWm2XcV8nLp"),
            Some(("generic-secret", Confidence::Low))
        );
    }

    #[test]
    fn passwords_that_people_make_up_are_told_with_doubt() {
        let low = Some(("generic-password", Confidence::Low));
        for (name, value) in [
            ("PASSWORD", "hunter2!"),
            ("DB_PASS", "Summer2026"),
            ("passwd", "correct horse battery staple"),
        ] {
            assert_eq!(judged(name, value), low, "{name}={value}");
        }
    }

    #[test]
    fn a_name_alone_is_no_finding() {
        for (name, value) in [
            ("TOKEN", ""),
            ("TOKEN", "true"),
            ("TOKEN", "${TOKEN}"),
            ("PASSWORD", "changeme"),
            ("PASSWORD", "postgres"),
            ("PASSWORD", "1234"),
            ("PASSWORD", "********"),
            ("DB_PASSWORD", "/run/secrets/db"),
            ("API_KEY", "https://keys.test/v1/2f4b8e91d7a3"),
            ("API_KEY", "550e8400-e29b-41d4-a716-446655440000"),
            ("SECRET", "my-production-database-secret-name"),
            ("SECRET_KEY", "com.acme.product.SecretProvider2"),
            ("TOKEN", "2026-11-22T10:15:30Z"),
            ("TOKEN", "arn:aws:iam::123456789012:role/x1y2z3"),
            ("AUTH_TOKEN", "someone@mail.test"),
            ("ACCESS_KEY", "SomeClassNameInCamelCase"),
        ] {
            assert_eq!(judged(name, value), None, "{name}={value}");
        }
    }

    #[test]
    fn names_that_say_something_else_are_passed_over() {
        let random = "f3Kq9ZrT7bWm2XcV8nLp";
        for name in [
            "MONKEY",
            "KEYBOARD",
            "PUBLIC_KEY",
            "SECRET_NAME",
            "TOKEN_URL",
            "PASSWORD_FILE",
            "TOKEN_SHA",
            "SECRET_DIGEST",
            "KEY_CHECKSUM",
            "AUTHOR",
            "GIT_AUTHOR_NAME",
            "TOKENIZER",
            "COMPASS",
            "SSH_AUTH_SOCK",
            "CACHE_KEY",
            "AWS_ACCESS_KEY_ID",
            "PATH",
        ] {
            assert_eq!(judged(name, random), None, "{name}");
        }
    }
}
