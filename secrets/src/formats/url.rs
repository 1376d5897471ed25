//! Passwords in URLs, of any scheme.

use std::ops::Range;

use super::shape::{ALNUM, Alphabet, Cursor};
use super::{About, Credential, Format, Mark, Sighting};
use crate::credential::{Class, Confidence, Life, Rule};
use crate::placeholder::is_placeholder;
use crate::scratch::Scratch;

pub(super) const FORMATS: &[Format] = &[Format {
    rule: Rule {
        id: "url-credentials",
        title: "Password in a URL",
    },
    marks: &[Mark::AnywhereIf(b"://", has_user)],
    about: About {
        check: "user, password and host; local hosts and template words are less sure",
        life: "unknown; the job's for `gitlab-ci-token`",
        classes: &[Class::JobToken, Class::ShortLived, Class::Unknown],
    },
    read,
}];

/// Bytes of user and password together, at most.
const USERINFO_MAX: usize = 1024;
const HOST: Alphabet = ALNUM.and(Alphabet::of(b".-_:[]%"));
/// What no part before the path holds unescaped.
const STOPS: Alphabet = Alphabet::of(b"/?#\\\"'`<>{}|^ \t\r\n\0");
/// What templates are made of may be part of a password that is none: `${NAME}`, `{{name}}`, `<name>`.
const TEMPLATES: Alphabet = Alphabet::of(b"{}<>");

/// Users that say what the password is, and who issued it. All are fixed words of their platforms.
const PLATFORM_USERS: &[&[u8]] = &[
    b"AWS",
    b"__token__",
    b"_json_key",
    b"_json_key_base64",
    b"ci-job-token",
    b"gitlab-ci-token",
    b"oauth2",
    b"oauth2accesstoken",
    b"token",
    b"x-access-token",
    b"x-token-auth",
];

/// `user:password`, in a URL or in a header.
pub(super) struct Userinfo<'t> {
    pub(super) user: &'t [u8],
    /// Where the secret is: the password, or the user that stands in for one.
    pub(super) secret: Range<usize>,
}

/// Splits at the first colon. `start` is where it begins in the text.
pub(super) fn split_userinfo(userinfo: &[u8], start: usize) -> Option<Userinfo<'_>> {
    let colon = memchr::memchr(b':', userinfo)?;
    let (user, password) = (userinfo.get(..colon)?, userinfo.get(colon..)?.get(1..)?);
    let behind = start.checked_add(colon)?;
    // A token may be the user, with a filler or nothing as password.
    if password.is_empty() || password == b"x-oauth-basic" {
        return (user.len() >= 16).then_some(Userinfo {
            user: &[],
            secret: start..behind,
        });
    }
    let password_at = behind.checked_add(1)?;
    Some(Userinfo {
        user,
        secret: password_at..password_at.checked_add(password.len())?,
    })
}

/// What the user's name says of the password.
pub(super) fn class_of(user: &[u8]) -> (Class, Life) {
    match user {
        b"gitlab-ci-token" | b"ci-job-token" => (Class::JobToken, Life::Short),
        // For tokens of hours; if it is none, the format of that token says so.
        b"x-access-token" | b"oauth2accesstoken" | b"AWS" => (Class::ShortLived, Life::Short),
        _ => (Class::Unknown, Life::Unknown),
    }
}

/// Adds the user, if it is a fixed word of a platform and says nothing of a person.
pub(super) fn tell_user(found: Credential, user: &[u8]) -> Credential {
    if PLATFORM_USERS.contains(&user) {
        found.fact("user", user)
    } else {
        found
    }
}

fn read(sighting: &Sighting<'_>, _: &mut Scratch<'_>) -> Option<Credential> {
    let Sighting { text, at, .. } = *sighting;
    // The end of a scheme, whatever it is.
    ALNUM.has(*text.get(at.checked_sub(1)?)?).then_some(())?;
    let start = at.checked_add(3)?;
    let rest = text.get(start..)?;
    let window = rest.get(..rest.len().min(USERINFO_MAX))?;
    let userinfo = userinfo(window)?;
    let split = split_userinfo(userinfo, start)?;
    let password = text.get(split.secret.clone())?;
    (!is_template(password) && !is_placeholder(password)).then_some(())?;
    let host_at = start.checked_add(userinfo.len())?.checked_add(1)?;
    let host = Cursor::new(text, host_at).run(HOST, 1..=261)?;
    host.first()
        .is_some_and(|first| ALNUM.has(*first) || *first == b'[')
        .then_some(())?;
    let (class, life) = class_of(split.user);
    let confidence = if is_weak(password) || is_local(host) {
        Confidence::Low
    } else {
        Confidence::Medium
    };
    let found = Credential::new(split.secret, class, life, confidence).fact("host", host);
    Some(tell_user(found, split.user))
}

/// Whether there is an `@` where [`userinfo`] looks for one.
fn has_user(text: &[u8], at: usize) -> bool {
    let rest = text.get(at.saturating_add(3)..).unwrap_or_default();
    let window = rest.get(..rest.len().min(USERINFO_MAX)).unwrap_or(rest);
    // Most end at a slash or at their last byte.
    let end = memchr::memchr3(b'@', b'/', 0, window);
    end.is_some_and(|end| window.get(end) == Some(&b'@')) && userinfo(window).is_some()
}

/// What stands before the last `@` of the authority, if it has a colon. Passwords may hold an `@`, and
/// templates what else would end an authority.
fn userinfo(window: &[u8]) -> Option<&[u8]> {
    let stop = window
        .iter()
        .position(|byte| STOPS.has(*byte) && !TEMPLATES.has(*byte))
        .unwrap_or(window.len());
    let authority = window.get(..stop)?;
    let at = memchr::memrchr(b'@', authority)?;
    authority.get(..at)
}

/// Whether something else is to fill it in.
fn is_template(password: &[u8]) -> bool {
    password.iter().any(|byte| TEMPLATES.has(*byte))
        || password.first() == Some(&b'$')
        || password.iter().all(|byte| *byte == b'*' || *byte == b'x')
}

/// Words that documents and local services have as passwords.
fn is_weak(password: &[u8]) -> bool {
    const WORDS: [&[u8]; 12] = [
        b"admin",
        b"guest",
        b"mysql",
        b"pass",
        b"passwd",
        b"password",
        b"postgres",
        b"pwd",
        b"root",
        b"secret",
        b"test",
        b"user",
    ];
    password.len() < 4 || WORDS.iter().any(|word| password.eq_ignore_ascii_case(word))
}

/// A service beside the job rather than one on the network.
fn is_local(host: &[u8]) -> bool {
    let name = host.split(|byte| *byte == b':').next().unwrap_or_default();
    name == b"localhost" || name.starts_with(b"127.") || host.starts_with(b"[::1]")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn where_a_glance_sees_no_user_there_is_no_password(
            text in "(a|h)://[a:@/?#{}<>$ ]{0,12}(\0|secret9|@host|/|:){0,6}"
        ) {
            let text = text.as_bytes();
            let sighting = Sighting { text, at: 1, name: None };
            let found = read(&sighting, &mut Scratch::new(&mut []));
            prop_assert!(found.is_none() || has_user(text, 1));
            prop_assert_eq!(has_user(text, 1), userinfo(&text[4..]).is_some());
        }
    }
}
