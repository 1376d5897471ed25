//! Names that say that their value is a credential.

/// What a name promises.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Kind {
    /// It only may be one: `-pVALUE`.
    Guess,
    /// Something about authentication.
    Weak,
    /// A password, which people make up.
    Password,
    /// Something that a machine made: a token, a key.
    Secret,
}

/// Texts of which each name of a credential holds one. What is not so written is not seen. Four bytes each, as
/// shorter ones are in too many texts.
pub(crate) const NEEDLES: [&[u8]; 50] = [
    b"TOKEN",
    b"token",
    b"Token",
    b"SECRET",
    b"secret",
    b"Secret",
    b"PASS",
    b"pass",
    b"Pass",
    b"CREDENTIAL",
    b"credential",
    b"Credential",
    b"AUTH",
    b"auth",
    b"Auth",
    b"BEARER",
    b"bearer",
    b"Bearer",
    b"_PWD",
    b"_pwd",
    b"-pwd",
    b"PWD=",
    b"pwd=",
    b"Pwd=",
    b"pwd\"",
    b"Pwd\"",
    b"pwd:",
    // What a key is for, and the key.
    b"_KEY",
    b"_key",
    b"-key",
    b"-Key",
    b".key",
    b"IKEY",
    b"ikey",
    b"cKey",
    b"dKey",
    b"eKey",
    b"gKey",
    b"hKey",
    b"iKey",
    b"kKey",
    b"nKey",
    b"pKey",
    b"rKey",
    b"sKey",
    b"tKey",
    b"yKey",
    b"-KEY",
    b".KEY",
    b" key",
];

/// Parts that make a name one of a credential.
const SECRETS: [&[u8]; 8] = [
    b"apikey",
    b"apitoken",
    b"authtoken",
    b"credential",
    b"credentials",
    b"secret",
    b"secrets",
    b"token",
];
const PASSWORDS: [&[u8]; 6] = [
    b"pass",
    b"passphrase",
    b"passwd",
    b"password",
    b"passwords",
    b"pwd",
];
const WEAK: [&[u8]; 3] = [b"auth", b"authorization", b"bearer"];

/// What a key is for, where it is secret: `API_KEY`, and not `CACHE_KEY`.
const KEYS: [&[u8]; 22] = [
    b"access",
    b"account",
    b"api",
    b"app",
    b"auth",
    b"client",
    b"consumer",
    b"deploy",
    b"encryption",
    b"hmac",
    b"jwt",
    b"license",
    b"master",
    b"private",
    b"secret",
    b"service",
    b"session",
    b"shared",
    b"signing",
    b"ssh",
    b"storage",
    b"webhook",
];

/// Parts at the end of a name that say what its value is, and it is no secret.
const HARMLESS_ENDS: [&[u8]; 48] = [
    b"algorithm",
    b"arn",
    b"audience",
    b"bytes",
    b"checksum",
    b"count",
    b"digest",
    b"dir",
    b"directory",
    b"domain",
    b"email",
    b"enabled",
    b"endpoint",
    b"env",
    b"exp",
    b"expires",
    b"expiry",
    b"fd",
    b"file",
    b"filename",
    b"fingerprint",
    b"format",
    b"header",
    b"host",
    b"id",
    b"issuer",
    b"length",
    b"limit",
    b"method",
    b"mode",
    b"name",
    b"path",
    b"policy",
    b"port",
    b"prefix",
    b"provider",
    b"ref",
    b"scope",
    b"sha",
    b"sha256",
    b"sha512",
    b"size",
    b"sock",
    b"ttl",
    b"type",
    b"url",
    b"uri",
    b"version",
];

/// Parts that anywhere in a name say that its value is no secret.
const HARMLESS: [&[u8]; 4] = [b"public", b"pub", b"cache", b"primary"];

/// Longer names are no names.
const LONGEST: usize = 128;

/// What a name promises, if anything. Its parts are between `_`, `-`, `.` or other signs, and where a small
/// letter is followed by a capital one.
pub(crate) fn kind_of(name: &[u8]) -> Option<Kind> {
    if name.len() > LONGEST {
        return None;
    }
    let is =
        |part: &[u8], words: &[&[u8]]| words.iter().any(|word| part.eq_ignore_ascii_case(word));
    let mut kind = None;
    let mut before: &[u8] = &[];
    for part in parts(name) {
        if is(part, &HARMLESS) {
            return None;
        }
        let here = if is(part, &SECRETS) || (is(part, &[b"key"]) && is(before, &KEYS)) {
            Some(Kind::Secret)
        } else if is(part, &PASSWORDS) {
            Some(Kind::Password)
        } else if is(part, &WEAK) {
            Some(Kind::Weak)
        } else {
            None
        };
        kind = kind.max(here);
        before = part;
    }
    kind.filter(|_kind| !is(before, &HARMLESS_ENDS))
}

/// The parts of a name.
fn parts(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    name.split(|byte| !byte.is_ascii_alphanumeric())
        .flat_map(|part| {
            part.chunk_by(|one, next| !(one.is_ascii_lowercase() && next.is_ascii_uppercase()))
        })
        .filter(|part| !part.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_seen_by_a_needle() {
        let mut names: Vec<Vec<u8>> = Vec::new();
        names.extend(SECRETS.map(<[u8]>::to_vec));
        names.extend(PASSWORDS.map(<[u8]>::to_vec));
        names.extend(WEAK.map(<[u8]>::to_vec));
        names.extend(KEYS.map(|what| [what, b"_key"].concat()));
        for name in names {
            assert!(kind_of(&name).is_some());
            let mut camel = name.to_ascii_lowercase();
            if let Some(at) = camel.iter().position(|byte| *byte == b'_') {
                camel.remove(at);
                camel[at].make_ascii_uppercase();
            }
            let assigned = |name: Vec<u8>| [b"X_", name.as_slice(), b"="].concat();
            let names = [name.to_ascii_uppercase(), name.to_ascii_lowercase(), camel];
            for name in names.map(assigned) {
                let seen = NEEDLES
                    .iter()
                    .any(|needle| memchr::memmem::find(&name, needle).is_some());
                assert!(seen, "{}", String::from_utf8_lossy(&name));
            }
        }
    }

    #[test]
    fn names_are_taken_apart_as_people_write_them() {
        for (name, kind) in [
            ("accessToken", Some(Kind::Secret)),
            ("X-Api-Key", Some(Kind::Secret)),
            ("npm_config_//registry.test/:_authToken", Some(Kind::Secret)),
            ("spring.datasource.password", Some(Kind::Password)),
            ("Authorization", Some(Kind::Weak)),
            ("AUTH_PASSWORD", Some(Kind::Password)),
            ("cacheKey", None),
            ("", None),
        ] {
            assert_eq!(kind_of(name.as_bytes()), kind, "{name}");
        }
    }
}
