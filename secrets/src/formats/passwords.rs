//! Passwords in the places that hold passwords: HTTP headers, Docker's and netrc's files, connection
//! strings.

use super::base64::{decode, decoded_len};
use super::shape::{ALNUM, Alphabet, BASE64, BASE64_URL, Cursor, PADDING, begins, ends};
use super::url::{class_of, split_userinfo, tell_user};
use super::{About, Credential, Format, Mark, Sighting};
use crate::credential::{Class, Confidence, Life, Rule};
use crate::placeholder::is_placeholder;
use crate::scratch::Scratch;

pub(super) const FORMATS: &[Format] = &[
    Format {
        rule: Rule {
            id: "docker-config-auth",
            title: "Registry login of a Docker configuration",
        },
        marks: &[
            Mark::Anywhere(b"\"auth\""),
            Mark::Anywhere(b"\"identitytoken\""),
        ],
        about: About {
            check: "base64 of user and password",
            life: "unknown",
            classes: &[Class::JobToken, Class::ShortLived, Class::Unknown],
        },
        read: docker,
    },
    Format {
        rule: Rule {
            id: "basic-auth-header",
            title: "HTTP basic authorization",
        },
        marks: &[Mark::Anywhere(b"asic "), Mark::Anywhere(b"ASIC ")],
        about: About {
            check: "base64 of user and password",
            life: "that of the token inside, else unknown",
            classes: &[
                Class::JobToken,
                Class::ShortLived,
                Class::Static,
                Class::Unknown,
            ],
        },
        read: basic,
    },
    Format {
        rule: Rule {
            id: "netrc-password",
            title: "Password of a netrc entry",
        },
        marks: &[Mark::Anywhere(b"chine "), Mark::Anywhere(b"default login ")],
        about: About {
            check: "keywords in their order",
            life: "unknown",
            classes: &[Class::JobToken, Class::ShortLived, Class::Unknown],
        },
        read: netrc,
    },
    Format {
        rule: Rule {
            id: "connection-string-password",
            title: "Password of a database connection string",
        },
        marks: &[
            Mark::Anywhere(b"ssword="),
            Mark::Anywhere(b"SSWORD="),
            Mark::Anywhere(b"Pwd="),
            Mark::Anywhere(b"pwd="),
            Mark::Anywhere(b"PWD="),
        ],
        about: About {
            check: "among `key=value;`, with a server",
            life: "unknown",
            classes: &[Class::Unknown],
        },
        read: connection_string,
    },
];

/// Characters of an encoded login, at most. Registries take whole JSON keys as passwords.
const ENCODED_MAX: usize = 8192;

/// `"auth": "…"`, wherever in the document.
fn docker(sighting: &Sighting<'_>, scratch: &mut Scratch<'_>) -> Option<Credential> {
    let mut cursor = Cursor::new(sighting.text, sighting.at);
    let is_login = cursor.literal(b"\"auth\"").is_some();
    if !is_login {
        cursor.literal(b"\"identitytoken\"")?;
    }
    let white = Alphabet::of(b" \t\r\n");
    cursor.pass(white, 64);
    cursor.literal(b":")?;
    cursor.pass(white, 64);
    cursor.literal(b"\"")?;
    let start = cursor.at();
    if !is_login {
        let token = cursor.run(BASE64_URL.and(Alphabet::of(b".+/=")), 20..=ENCODED_MAX)?;
        cursor.literal(b"\"")?;
        (!is_placeholder(token)).then_some(())?;
        let end = start.checked_add(token.len())?;
        return Some(Credential::new(
            start..end,
            Class::Unknown,
            Life::Unknown,
            Confidence::High,
        ));
    }
    let encoded = cursor.run(BASE64.and(PADDING), 8..=ENCODED_MAX)?;
    cursor.literal(b"\"")?;
    let login = login(encoded, scratch)?;
    let (class, life) = (login.class, login.life);
    let end = start.checked_add(encoded.len())?;
    let found = Credential::new(start..end, class, life, Confidence::High);
    Some(tell_user(found, login.user()))
}

/// `Authorization: Basic …`, `http.extraheader`.
fn basic(sighting: &Sighting<'_>, scratch: &mut Scratch<'_>) -> Option<Credential> {
    let Sighting { text, at, .. } = sighting.back(1)?;
    begins(text, at, ALNUM).then_some(())?;
    let mut cursor = Cursor::new(text, at);
    let schemes = [&b"Basic "[..], b"basic ", b"BASIC "];
    schemes
        .iter()
        .any(|scheme| cursor.literal(scheme).is_some())
        .then_some(())?;
    let start = cursor.at();
    let encoded = cursor.run(BASE64, 8..=ENCODED_MAX)?;
    cursor.pass(PADDING, 2);
    ends(text, cursor.at(), BASE64_URL).then_some(())?;
    let login = login(encoded, scratch)?;
    // "basic " is also a word of English, so two words in base64 must be more than letters.
    let (class, life) = if login.is_installation {
        let header = sighting
            .name
            .is_none_or(|name| name.starts_with(b"GIT_CONFIG_VALUE_"));
        let class = if header {
            Class::JobToken
        } else {
            Class::ShortLived
        };
        (class, Life::Short)
    } else {
        (login.class, login.life)
    };
    let found = Credential::new(start..cursor.at(), class, life, Confidence::High);
    Some(tell_user(found, login.user()))
}

/// What a decoded `user:password` says.
struct Login {
    class: Class,
    life: Life,
    /// The user, if it is short enough to be a word of a platform.
    name: [u8; 20],
    length: usize,
    /// The password is an installation token of GitHub.
    is_installation: bool,
}

impl Login {
    fn user(&self) -> &[u8] {
        self.name.get(..self.length).unwrap_or_default()
    }
}

fn login(encoded: &[u8], scratch: &mut Scratch<'_>) -> Option<Login> {
    scratch
        .with(decoded_len(encoded.len()), |memory, _| {
            let text = decode(encoded, memory)?;
            let is_text = std::str::from_utf8(text)
                .is_ok_and(|text| text.chars().all(|one| !one.is_control() || one == '\n'));
            is_text.then_some(())?;
            let split = split_userinfo(text, 0)?;
            let password = text.get(split.secret.clone())?;
            let is_user = split.user.iter().all(u8::is_ascii_graphic);
            (is_user && password.len() >= 4 && !is_placeholder(password)).then_some(())?;
            let is_static = [&b"ghp_"[..], b"github_pat_", b"glpat-", b"dckr_pat_"]
                .iter()
                .any(|prefix| password.starts_with(prefix));
            let (class, life) = if is_static {
                (Class::Static, Life::Long)
            } else {
                class_of(split.user)
            };
            let mut name = [0; 20];
            let length = name.get_mut(..split.user.len()).map_or(0, |slot| {
                slot.copy_from_slice(split.user);
                slot.len()
            });
            Some(Login {
                class,
                life,
                name,
                length,
                is_installation: password.starts_with(b"ghs_"),
            })
        })
        .flatten()
}

/// Bytes of a netrc entry that are read, at most.
const ENTRY_MAX: usize = 1024;

/// `machine H login U password P`, `default login U password P`.
fn netrc(sighting: &Sighting<'_>, _: &mut Scratch<'_>) -> Option<Credential> {
    let Sighting { text, at, .. } = *sighting;
    let is_machine = text.get(at..)?.starts_with(b"chine ");
    let at = if is_machine { at.checked_sub(2)? } else { at };
    begins(text, at, BASE64_URL).then_some(())?;
    let rest = text.get(at..)?;
    let window = rest.get(..rest.len().min(ENTRY_MAX))?;
    let mut words = Words {
        text: window,
        at: 0,
    };
    let mut host: &[u8] = &[];
    let mut login: &[u8] = &[];
    if words.next()?.1 == b"machine" {
        host = words.next()?.1;
    }
    // Four keywords at most, in any order.
    for _ in 0..4 {
        let keyword = words.next()?.1;
        let (offset, value) = words.next()?;
        match keyword {
            b"login" => login = value,
            b"account" => {}
            b"password" => {
                (!is_placeholder(value) && value.first() != Some(&b'$')).then_some(())?;
                // A login must be there: the keywords are words of English.
                (!login.is_empty()).then_some(())?;
                let start = at.checked_add(offset)?;
                let (class, life) = class_of(login);
                let span = start..start.checked_add(value.len())?;
                let found = Credential::new(span, class, life, Confidence::High);
                return Some(tell_user(found.fact("host", host), login));
            }
            _ => return None,
        }
    }
    None
}

/// The words of a text between white space, with their places.
struct Words<'t> {
    text: &'t [u8],
    at: usize,
}

impl<'t> Words<'t> {
    fn next(&mut self) -> Option<(usize, &'t [u8])> {
        let rest = self.text.get(self.at..)?;
        let white = rest
            .iter()
            .take_while(|byte| byte.is_ascii_whitespace())
            .count();
        let start = self.at.checked_add(white)?;
        let word = self.text.get(start..)?;
        let length = word
            .iter()
            .take_while(|byte| !byte.is_ascii_whitespace())
            .count();
        (length > 0).then_some(())?;
        self.at = start.checked_add(length)?;
        Some((start, word.get(..length)?))
    }
}

/// Bytes before and after the password that may tell that this is a connection string.
const AROUND: usize = 512;
/// Bytes of a password, at most.
const PASSWORD_MAX: usize = 256;

/// `Server=…;User Id=…;Password=…;`, of ADO.NET, ODBC and their kin.
fn connection_string(sighting: &Sighting<'_>, _: &mut Scratch<'_>) -> Option<Credential> {
    let Sighting { text, at, .. } = *sighting;
    // The mark of a whole word is its end.
    let word = |end: &[u8]| text.get(..at).is_some_and(|before| before.ends_with(end));
    let is_word = word(b"Pa") || word(b"pa") || word(b"PA");
    let is_end = matches!(text.get(at)?, b's' | b'S');
    (is_word || !is_end).then_some(())?;
    let at = if is_end { at.checked_sub(2)? } else { at };
    let before = text.get(..at)?;
    let edge = before.trim_ascii_end().last();
    edge.is_none_or(|edge| b";\"'".contains(edge))
        .then_some(())?;
    let equals = memchr::memchr(b'=', text.get(at..)?)?;
    let start = at.checked_add(equals)?.checked_add(1)?;
    let rest = text.get(start..)?;
    let (open, length) = password_length(rest)?;
    let start = start.checked_add(open)?;
    let end = start.checked_add(length)?;
    let password = text.get(start..end)?;
    (!is_placeholder(password) && !password.starts_with(b"$") && !password.starts_with(b"{{"))
        .then_some(())?;
    let after = text.get(end..)?;
    let after = after.get(..after.len().min(AROUND))?;
    let before = before.get(before.len().saturating_sub(AROUND)..)?;
    let host = server_before(before).or_else(|| server_after(after))?;
    Some(
        Credential::new(
            start..end,
            Class::Unknown,
            Life::Unknown,
            Confidence::Medium,
        )
        .fact("host", host),
    )
}

/// How far in the password begins and how long it is: to the next `;`, or between quotes or braces.
fn password_length(rest: &[u8]) -> Option<(usize, usize)> {
    let window = rest.get(..rest.len().min(PASSWORD_MAX))?;
    let close = match window.first()? {
        b'{' => b'}',
        b'\'' => b'\'',
        b'"' => b'"',
        _ => {
            let stop = window
                .iter()
                .position(|byte| b";\"'\r\n".contains(byte))
                .or_else(|| (window.len() == rest.len()).then_some(window.len()))?;
            return (stop > 0).then_some((0, stop));
        }
    };
    let length = memchr::memchr(close, window.get(1..)?)?;
    (length > 0).then_some((1, length))
}

/// The server of a piece `Server=…` before the password. Another password in between ends the search,
/// so that no stretch is read for more than one of them.
fn server_before(before: &[u8]) -> Option<&[u8]> {
    for piece in before.rsplit(|byte| *byte == b';') {
        let piece = piece.rsplit(|byte| b"\"'\n".contains(byte)).next()?;
        if is_password(piece) {
            return None;
        }
        if let Some(server) = server(piece) {
            return Some(server);
        }
    }
    None
}

fn server_after(after: &[u8]) -> Option<&[u8]> {
    for piece in after.split(|byte| *byte == b';') {
        let piece = piece.split(|byte| b"\"'\n".contains(byte)).next()?;
        if is_password(piece) {
            return None;
        }
        if let Some(server) = server(piece) {
            return Some(server);
        }
    }
    None
}

fn is_password(piece: &[u8]) -> bool {
    key(piece).is_some_and(|(key, _)| {
        key.eq_ignore_ascii_case(b"password") || key.eq_ignore_ascii_case(b"pwd")
    })
}

fn server(piece: &[u8]) -> Option<&[u8]> {
    const KEYS: [&[u8]; 7] = [
        b"server",
        b"data source",
        b"host",
        b"address",
        b"addr",
        b"network address",
        b"hostname",
    ];
    // JDBC has a URL as its first piece.
    if let Some(at) = memchr::memmem::find(piece, b"://") {
        return piece
            .get(at.checked_add(3)?..)
            .filter(|host| !host.is_empty());
    }
    let (key, value) = key(piece)?;
    let known = KEYS.iter().any(|one| key.eq_ignore_ascii_case(one));
    (known && !value.is_empty()).then_some(value)
}

fn key(piece: &[u8]) -> Option<(&[u8], &[u8])> {
    let equals = memchr::memchr(b'=', piece)?;
    let (key, value) = piece.split_at_checked(equals)?;
    Some((key.trim_ascii(), value.get(1..)?.trim_ascii()))
}
