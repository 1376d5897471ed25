//! Values that stand where a secret would: documentation, templates, masks.
//!
//! Pure and without memory. Only whole shapes and long words count, since a random token holds any
//! short word sooner or later.

/// Words that no secret holds by chance: seven letters and more, in lower case.
const TELLING: [&[u8]; 18] = [
    b"change-me",
    b"change_me",
    b"changeit",
    b"changeme",
    b"example",
    b"insert-your",
    b"insert_your",
    b"masked-by",
    b"not-a-real",
    b"not_a_real",
    b"notarealkey",
    b"placeholder",
    b"redacted",
    b"replace-me",
    b"replace_me",
    b"replaceme",
    b"youraccesstoken",
    b"yourpassword",
];

/// Shorter words, that tell only as a whole part between characters that are no letters.
const PARTS: [&[u8]; 17] = [
    b"demo",
    b"dummy",
    b"fake",
    b"fixme",
    b"foobar",
    b"hidden",
    b"insert",
    b"invalid",
    b"masked",
    b"mock",
    b"notset",
    b"sample",
    b"secret-here",
    b"tbd",
    b"todo",
    b"unset",
    b"your",
];

/// Whole values that say that there is none.
const NOTHING: [&[u8]; 18] = [
    b"default",
    b"disabled",
    b"empty",
    b"enabled",
    b"false",
    b"missing",
    b"nil",
    b"no",
    b"none",
    b"null",
    b"off",
    b"on",
    b"password",
    b"secret",
    b"token",
    b"true",
    b"undefined",
    b"yes",
];

/// What opens and closes a reference that something else fills in.
const REFERENCES: [(&[u8], &[u8]); 6] = [
    (b"${", b"}"),
    (b"$(", b")"),
    (b"{{", b"}}"),
    (b"<%", b"%>"),
    (b"#{", b"}"),
    (b"%(", b")s"),
];

/// Longer than this is no placeholder, whatever words are in it. Real samples are shorter; a long value
/// that holds such a word, a key file with a comment perhaps, holds much else.
const LONGEST: usize = 256;

/// Whether this is a placeholder rather than a secret. `secret` is the secret itself, with or without its
/// prefix, and not what surrounds it: the password of a URL, not the URL.
pub fn is_placeholder(secret: &[u8]) -> bool {
    let text = secret.trim_ascii();
    if text.is_empty() || is_reference(text) {
        return true;
    }
    if text.len() > LONGEST {
        return is_monotonous(text);
    }
    NOTHING.iter().any(|word| text.eq_ignore_ascii_case(word))
        || memchr::memmem::find(text, b"***").is_some()
        || is_enclosed(text)
        || is_monotonous(text)
        || TELLING.iter().any(|word| holds(text, word))
        || holds_part(text)
}

/// `$NAME`, `%NAME%`, or anything that holds `${…}`, `$(…)`, `{{…}}` and the like.
fn is_reference(text: &[u8]) -> bool {
    let is_name = |name: &[u8]| {
        name.first()
            .is_some_and(|byte| byte.is_ascii_uppercase() || *byte == b'_')
            && name
                .iter()
                .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'_')
    };
    if text.strip_prefix(b"$").is_some_and(is_name) {
        return true;
    }
    if text
        .strip_prefix(b"%")
        .and_then(|rest| rest.strip_suffix(b"%"))
        .is_some_and(is_name)
    {
        return true;
    }
    text.len() <= LONGEST
        && REFERENCES.iter().any(|(open, close)| {
            memchr::memmem::find(text, open)
                .and_then(|at| text.get(at..))
                .is_some_and(|rest| memchr::memmem::find(rest, close).is_some())
        })
}

/// `<token>`, `[token]`, `__TOKEN__`, `@@token@@`: words between marks that say "fill in".
fn is_enclosed(text: &[u8]) -> bool {
    let between = |open: &[u8], close: &[u8]| {
        text.strip_prefix(open)
            .and_then(|rest| rest.strip_suffix(close))
            .is_some_and(|inner| {
                let is_word = |byte: &u8| byte.is_ascii_alphabetic() || b"_- .:".contains(byte);
                !inner.is_empty() && inner.iter().all(is_word)
            })
    };
    between(b"<", b">") || between(b"[", b"]") || between(b"__", b"__") || between(b"@@", b"@@")
}

/// Whether most characters repeat the one before or follow it in order: `xxxxxxxx`, `12345678`, `abcdefgh`.
///
/// In random hexadecimal digits one in eight does, in letters and digits one in thirty. Three in five never do by
/// chance in anything long enough to be a secret.
fn is_monotonous(text: &[u8]) -> bool {
    let mut steps = 0_usize;
    for (before, after) in text.iter().zip(text.iter().skip(1)) {
        let follows = *after == before.wrapping_add(1) && before.is_ascii_alphanumeric();
        if before == after || follows {
            steps = steps.saturating_add(1);
        }
    }
    let of = text.len().saturating_sub(1);
    of >= 3 && steps.saturating_mul(5) >= of.saturating_mul(3)
}

/// Whether `text` holds `word`, in any case.
fn holds(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len())
        .any(|window| window.eq_ignore_ascii_case(word))
}

/// Whether one of the shorter words stands in `text` with no letter or digit beside it.
///
/// A random token has such separators too (`-` and `_` of base64url), so a short word alone says too little in a
/// long one: it must be a third of the text, or the text must consist of words only.
fn holds_part(text: &[u8]) -> bool {
    let is_wordy = text
        .iter()
        .all(|byte| byte.is_ascii_alphabetic() || b"_- .".contains(byte))
        && (text.iter().all(|byte| !byte.is_ascii_uppercase())
            || text.iter().all(|byte| !byte.is_ascii_lowercase()));
    text.split(|byte| !byte.is_ascii_alphanumeric())
        .any(|part| {
            (is_wordy || part.len().saturating_mul(3) >= text.len())
                && PARTS.iter().any(|word| part.eq_ignore_ascii_case(word))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_documents_and_templates_write_is_a_placeholder() {
        for text in [
            "",
            "   ",
            "changeme",
            "ChangeMe123",
            "${SECRET}",
            "prefix-${SECRET}-suffix",
            "$(cat /run/secret)",
            "{{ secrets.TOKEN }}",
            "$TOKEN",
            "%TOKEN%",
            "***",
            "****************",
            "[REDACTED]",
            "REDACTED",
            "your-token-here",
            "YOUR_API_KEY",
            "<token>",
            "<your token>",
            "__TOKEN__",
            "true",
            "none",
            "AKIAIOSFODNN7EXAMPLE",
            "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            "xxxxxxxxxxxxxxxxxxxx",
            "ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
            "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
            "00000000-0000-0000-0000-000000000000",
            "1234567890",
            "dummy-token",
            "fake",
        ] {
            assert!(is_placeholder(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn what_could_be_a_secret_is_none() {
        for text in [
            "correct horse battery staple",
            "p4$$w0rd!Q",
            "ghp_0g1bM9dYtKqjVx3aLr7UuE5sWc2NfH4iZo6T",
            "3f7a9c01e4b25d86",
            "Tr0ub4dor&3",
            "a-b_c-fake-9fK2mQ7rXz5TnV1wLp8Yd3HsJ6GbUe4C",
            "kP9$x",
            "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7",
        ] {
            assert!(!is_placeholder(text.as_bytes()), "{text}");
        }
    }
}
