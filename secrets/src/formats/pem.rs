//! Private keys in PEM: PKCS#1, PKCS#8, SEC1, OpenSSH, PGP.
//!
//! On their way through environments they lose their line breaks: these become `\n` in letters, or
//! spaces, or nothing at all. All of those are read. Public keys and certificates are none.

use std::ops::Range;

use super::base64::decode;
use super::shape::{Alphabet, BASE64, Cursor, PADDING, UPPER_ALNUM};
use super::{About, Credential, Format, Mark, Sighting};
use crate::credential::{Class, Confidence, Life, Rule};
use crate::placeholder::is_placeholder;
use crate::scratch::Scratch;

pub(super) const FORMATS: &[Format] = &[Format {
    rule: Rule {
        id: "private-key",
        title: "Private key (PEM, OpenSSH, PGP)",
    },
    marks: &[Mark::Anywhere(b"-BEGIN ")],
    about: About {
        check: "header of the key inside; encrypted ones are less sure",
        life: "until replaced",
        classes: &[Class::PrivateKey],
    },
    read,
}];

/// Bytes from the first dash to the last, at most: RSA with 16384 bits has 12 KiB.
const KEY_MAX: usize = 32_768;
/// Characters of a body, at least: Ed25519 in PKCS#8 has 64.
const BODY_MIN: usize = 44;
/// Without an end it must be a good piece of a key to be one.
const CUT_MIN: usize = 128;

/// What stands between the characters of the body: breaks and what became of them.
const BREAKS: Alphabet = Alphabet::of(b" \t\r\n\\");
const LABEL: Alphabet = UPPER_ALNUM.and(Alphabet::of(b" "));

/// A key, taken apart.
struct Parts<'t> {
    label: &'t [u8],
    /// Between the lines of dashes.
    body: &'t [u8],
    /// Behind the last dash.
    end: usize,
    /// Whether its last line is there.
    is_whole: bool,
}

fn read(sighting: &Sighting<'_>, scratch: &mut Scratch<'_>) -> Option<Credential> {
    key_at(&sighting.back(4)?, scratch)
}

/// The key that begins here with its first dash.
fn key_at(sighting: &Sighting<'_>, scratch: &mut Scratch<'_>) -> Option<Credential> {
    let parts = split(sighting)?;
    let is_pgp = parts.label == b"PGP PRIVATE KEY BLOCK";
    (is_pgp || parts.label.ends_with(b"PRIVATE KEY")).then_some(())?;
    let (headers, data) = headers_of(parts.body);
    let count = base64_count(data)?;
    let least = if parts.is_whole { BODY_MIN } else { CUT_MIN };
    (count >= least).then_some(())?;
    (!is_placeholder(data.get(..data.len().min(64))?)).then_some(())?;
    let encrypted = parts.label.starts_with(b"ENCRYPTED")
        || memchr::memmem::find(headers, b"ENCRYPTED").is_some();
    let inside = scratch
        .with(SEEN, |memory, _| {
            let (characters, seen) = memory.split_at_mut_checked(SEEN_CHARACTERS)?;
            let gathered = gather(data, characters);
            decode(gathered, seen).map(|bytes| look_inside(&parts, bytes, count))
        })
        .flatten()
        .unwrap_or(Inside::Unlike);
    let confidence = match inside {
        // Whoever has it needs a passphrase as well.
        _ if encrypted => Confidence::Medium,
        Inside::Key => Confidence::High,
        // The packets of PGP are not looked into.
        Inside::Unlike if is_pgp => Confidence::High,
        Inside::Encrypted | Inside::Unlike => Confidence::Medium,
    };
    Some(Credential::new(
        sighting.at..parts.end,
        Class::PrivateKey,
        Life::Long,
        confidence,
    ))
}

fn split<'t>(sighting: &Sighting<'t>) -> Option<Parts<'t>> {
    let mut cursor = Cursor::new(sighting.text, sighting.at);
    cursor.literal(b"-----BEGIN ")?;
    let label = cursor.run(LABEL, 11..=40)?;
    cursor.literal(b"-----")?;
    let start = cursor.at();
    let window = cursor.rest().get(..cursor.rest().len().min(KEY_MAX))?;
    // The next dashes end it, whatever they say: no text is read twice for two beginnings.
    let found = memchr::memmem::find(window, b"-----");
    let stop = start.checked_add(found.unwrap_or(window.len()))?;
    let mut last = Cursor::new(sighting.text, stop);
    let mut closing = || {
        last.literal(b"-----END ")?;
        last.literal(label)?;
        last.literal(b"-----")
    };
    if closing().is_some() {
        return Some(Parts {
            label,
            body: sighting.text.get(start..stop)?,
            end: last.at(),
            is_whole: true,
        });
    }
    // Cut off: as far as it looks like a body.
    let length = BASE64.and(PADDING).and(BREAKS).run(window, KEY_MAX);
    let end = start.checked_add(length)?;
    Some(Parts {
        label,
        body: sighting.text.get(start..end)?,
        end,
        is_whole: false,
    })
}

/// Takes `Proc-Type: 4,ENCRYPTED` and the like off the front.
fn headers_of(body: &[u8]) -> (&[u8], &[u8]) {
    // The last header is the last with a colon; its value ends at a break that base64 follows.
    let Some(colon) = memchr::memrchr(b':', body.get(..body.len().min(1024)).unwrap_or_default())
    else {
        return (&[], body);
    };
    let value = body.get(colon..).unwrap_or_default();
    // Breaks in order of trust; without any the value of `DEK-Info` goes over into the body.
    let breaks: [&[u8]; 6] = [b"\n", b"\r", b"\\n", b"\\r", b"  ", b" "];
    let blank = breaks
        .iter()
        .find_map(|one| memchr::memmem::find(value.get(2..)?, one))
        .or_else(|| memchr::memchr(b',', value).and_then(|comma| comma.checked_sub(1)))
        .map_or(value.len(), |at| at.saturating_add(2));
    body.split_at_checked(colon.saturating_add(blank))
        .unwrap_or((body, &[]))
}

/// How many characters of base64 there are; none if there is anything else but breaks.
fn base64_count(data: &[u8]) -> Option<usize> {
    let mut count: usize = 0;
    let mut rest = data;
    while let [first, others @ ..] = rest {
        rest = others;
        match (first, others) {
            // A break in letters.
            (b'\\', [b'n' | b'r' | b't' | b'\\', after @ ..]) => rest = after,
            _ if BASE64.has(*first) => count = count.saturating_add(1),
            _ if BREAKS.and(PADDING).has(*first) => {}
            _ => return None,
        }
    }
    Some(count)
}

/// Characters of the body's beginning that are decoded, and memory for them and what they become.
const SEEN_CHARACTERS: usize = 64;
const SEEN: usize = 128;

/// The first characters of base64, without breaks: a multiple of four.
fn gather<'m>(data: &[u8], into: &'m mut [u8]) -> &'m [u8] {
    let mut count: usize = 0;
    let mut rest = data;
    while let ([first, others @ ..], Some(slot)) = (rest, into.get_mut(count)) {
        rest = others;
        match (first, others) {
            (b'\\', [b'n' | b'r' | b't' | b'\\', after @ ..]) => rest = after,
            _ if BASE64.has(*first) => {
                *slot = *first;
                count = count.saturating_add(1);
            }
            _ => {}
        }
    }
    into.get(..count & !3).unwrap_or_default()
}

/// What the beginning of the decoded body shows.
enum Inside {
    /// A key of this kind begins so, and has this length.
    Key,
    /// It says that it is encrypted.
    Encrypted,
    /// Neither.
    Unlike,
}

fn look_inside(parts: &Parts<'_>, bytes: &[u8], count: usize) -> Inside {
    if let Some(after) = bytes.strip_prefix(b"openssh-key-v1\0") {
        // The name of the cipher, after its length in four bytes.
        let cipher = after.get(4..8);
        return match cipher {
            Some(b"none") => Inside::Key,
            _ => Inside::Encrypted,
        };
    }
    if parts.label.starts_with(b"OPENSSH") {
        return Inside::Unlike;
    }
    match der_length(bytes) {
        // As long as its outermost sequence says, or cut.
        Some(length) => {
            let there = count.saturating_mul(3).saturating_div(4);
            let fits = there == length || !parts.is_whole;
            if fits { Inside::Key } else { Inside::Unlike }
        }
        None => Inside::Unlike,
    }
}

/// The length of a DER sequence with its header.
fn der_length(bytes: &[u8]) -> Option<usize> {
    let (header, length): (usize, usize) = match *bytes {
        [0x30, length @ 0..=0x7f, ..] => (2, usize::from(length)),
        [0x30, 0x81, length, ..] => (3, usize::from(length)),
        [0x30, 0x82, high, low, ..] => (4, usize::from(u16::from_be_bytes([high, low]))),
        _ => return None,
    };
    header.checked_add(length)
}

/// Where the key is in a text, for formats that have one inside.
pub(super) fn span_within(
    text: &[u8],
    within: Range<usize>,
    scratch: &mut Scratch<'_>,
) -> Option<Range<usize>> {
    let part = text.get(within.clone())?;
    let at = memchr::memmem::find(part, b"-----BEGIN ")?;
    let at = within.start.checked_add(at)?;
    let sighting = Sighting {
        text: text.get(..within.end)?,
        at,
        name: None,
    };
    key_at(&sighting, scratch).map(|found| found.span)
}
