//! Values of the trust policy's fields: times, digests, words.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use toml::Spanned;

use crate::policy::Mistake;
use crate::policy::reader::{Reader, Table};
use crate::report::image::Image;
use crate::report::key_place::Protection;
use crate::report::signer::is_fingerprint;

/// A point in time, RFC 3339.
pub(super) fn time(reader: &mut Reader, table: Table<'_>, key: &str) -> Option<Timestamp> {
    let parse = |text: &str| text.parse().ok();
    let help = "write a time with its zone, as in \"2026-11-22T08:00:00Z\"";
    text(reader, table, key, "a point in time", help, parse)
}

/// A length of time, as in `30s`, `10m`, `12h` or `7d`.
pub(super) fn length(reader: &mut Reader, table: Table<'_>, key: &str) -> Option<SignedDuration> {
    let help = "write a whole number and its unit: \"30s\", \"10m\", \"12h\" or \"7d\"";
    text(reader, table, key, "a length of time", help, parse_length)
}

/// Reads a length of time: `30s`, `10m`, `12h` or `7d`.
#[must_use]
pub fn parse_length(text: &str) -> Option<SignedDuration> {
    /// A hundred years: what is longer is a slip of the pen.
    const MOST: i64 = 100 * 366 * 86_400;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let each: i64 = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return None,
    };
    // Digits only: `parse` would take a sign.
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let seconds = digits.parse::<i64>().ok()?.checked_mul(each)?;
    (seconds <= MOST).then(|| SignedDuration::from_secs(seconds))
}

/// A text that `parse` makes something of.
pub(super) fn text<T>(
    reader: &mut Reader,
    table: Table<'_>,
    key: &str,
    what: &str,
    help: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Option<T> {
    let text = reader.string(table, key)?;
    let found = parse(text.get_ref());
    if found.is_none() {
        let mistake = Mistake::new(format!("`{key}` is not {what}")).help(help);
        reader.push(&text.span(), mistake);
    }
    found
}

/// A number that is not negative.
pub(super) fn count(reader: &mut Reader, table: Table<'_>, key: &str) -> Option<u64> {
    let number = reader.integer(table, key)?;
    let found = u64::try_from(*number.get_ref()).ok();
    if found.is_none() {
        let mistake = Mistake::new(format!("`{key}` must not be negative"));
        reader.push(&number.span(), mistake);
    }
    found
}

/// Digests of 32 bytes as lower-case hex, given as `HEX` or `sha256:HEX`.
pub(super) fn digests(
    reader: &mut Reader,
    table: Table<'_>,
    key: &str,
) -> Option<BTreeSet<String>> {
    let parse = |text: &str| Some(text.parse::<Image>().ok()?.digest.hex());
    let help = "write 64 hexadecimal digits";
    set(reader, table, key, ("a digest", help), parse)
}

/// Fingerprints of keys, as OpenSSH writes them.
pub(super) fn fingerprints(
    reader: &mut Reader,
    table: Table<'_>,
    key: &str,
) -> Option<BTreeSet<String>> {
    let parse = |text: &str| is_fingerprint(text).then(|| text.to_owned());
    let help = "write it as `cordon key show` prints it: \"SHA256:\" and 43 characters";
    set(reader, table, key, ("a fingerprint", help), parse)
}

/// Classes of how a key is kept.
pub(super) fn protections(
    reader: &mut Reader,
    table: Table<'_>,
    key: &str,
) -> Option<BTreeSet<String>> {
    let parse = |text: &str| Protection::parse(text).map(|class| class.to_string());
    let names = Protection::ALL.map(|class| class.to_string()).join(", ");
    let help = format!("these are known: {names}");
    set(
        reader,
        table,
        key,
        ("a class of how a key is kept", &help),
        parse,
    )
}

/// Texts that are not empty.
pub(super) fn words(reader: &mut Reader, table: Table<'_>, key: &str) -> Option<BTreeSet<String>> {
    let parse = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    set(reader, table, key, ("a text", "write some text"), parse)
}

/// A list that holds something: an empty one could be read as "none" or as "any".
fn set(
    reader: &mut Reader,
    table: Table<'_>,
    key: &str,
    (what, help): (&str, &str),
    parse: impl Fn(&str) -> Option<String>,
) -> Option<BTreeSet<String>> {
    let list = reader.strings(table, key)?;
    if list.get_ref().is_empty() {
        let mistake = Mistake::new(format!("`{key}` is empty")).help(format!(
            "remove `{key}` to accept any, or name what is accepted"
        ));
        reader.push(&list.span(), mistake);
    }
    let mut found = BTreeSet::new();
    for item in list.get_ref() {
        match parse(item.get_ref()) {
            Some(value) => drop(found.insert(value)),
            None => wrong(reader, key, item, what, help),
        }
    }
    Some(found)
}

fn wrong(reader: &mut Reader, key: &str, item: &Spanned<&str>, what: &str, help: &str) {
    let text = item.get_ref();
    let mistake = Mistake::new(format!("`{text}` in `{key}` is not {what}")).help(help);
    reader.push(&item.span(), mistake);
}
