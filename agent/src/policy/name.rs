//! Domain names in their one canonical form.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};

/// Longest name, without the final dot (RFC 1035, 2.3.4).
const NAME_BYTES: usize = 253;
/// Longest label.
const LABEL_BYTES: usize = 63;
/// Longest text worth converting: 253 characters of at most four bytes each, and some room.
const TEXT_BYTES: usize = 1024;

/// A domain name: lower-case ASCII (A-labels), no final dot, at most 253 bytes, labels of 1 to 63
/// letters, digits, hyphens and underscores that neither begin nor end with a hyphen.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct DomainName(String);

impl DomainName {
    /// Reads a name in any spelling that DNS and IDNA know.
    ///
    /// # Errors
    /// The text is not a domain name; the error says which part of it.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let name = text.strip_suffix('.').unwrap_or(text);
        if name.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > TEXT_BYTES {
            return Err(NameError::TooLong);
        }
        refuse_address(name)?;
        // Before the conversion, so that the character is named; after it, because the conversion
        // maps other characters to ASCII ones.
        refuse_characters(name)?;
        let ascii = Uts46::new()
            .to_ascii(
                name.as_bytes(),
                AsciiDenyList::EMPTY,
                Hyphens::Allow,
                DnsLength::Ignore,
            )
            .map_err(|idna::Errors { .. }| NameError::International)?
            .into_owned();
        refuse_characters(&ascii)?;
        ascii.split('.').try_for_each(check_label)?;
        refuse_address(&ascii)?;
        if ascii.len() > NAME_BYTES {
            return Err(NameError::TooLong);
        }
        Ok(Self(ascii))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name without its first label; `None` for a name of one label.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        let (_, parent) = self.0.split_once('.')?;
        Some(Self(parent.to_owned()))
    }

    /// Whether it is `localhost` or below it, which resolvers answer without asking DNS
    /// (RFC 6761, 6.3).
    #[must_use]
    pub fn is_localhost(&self) -> bool {
        self.0 == "localhost" || self.0.ends_with(".localhost")
    }
}

impl fmt::Display for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for DomainName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::parse(text)
    }
}

/// Why a text is not a domain name.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NameError {
    /// An IP address, or a name that programs read as one (`0x7f.1`).
    #[error("this is an IP address, not a name")]
    Address,
    /// A byte that names do not have.
    #[error("a domain name cannot contain {0:?}")]
    Character(char),
    /// Nothing, or only a dot.
    #[error("a domain name cannot be empty")]
    Empty,
    /// Two dots in a row, or one at the start.
    #[error("a domain name cannot have an empty label (two dots in a row, or one at the start)")]
    EmptyLabel,
    /// A label that begins or ends with a hyphen.
    #[error("the label `{0}` begins or ends with a hyphen")]
    Hyphen(String),
    /// Not a name that IDNA (UTS 46) can convert.
    #[error("not a valid internationalised domain name")]
    International,
    /// A label over 63 bytes.
    #[error("a label has {0} bytes; at most 63 are allowed")]
    LongLabel(usize),
    /// More than 253 bytes.
    #[error("the name is longer than 253 bytes")]
    TooLong,
}

/// Names whose last label is a number are taken for IPv4 addresses by URL parsers and `inet_aton`.
fn refuse_address(name: &str) -> Result<(), NameError> {
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    let last = name.rsplit('.').next().unwrap_or_default();
    let hexadecimal = last
        .strip_prefix("0x")
        .is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let decimal = !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit());
    if bare.parse::<IpAddr>().is_ok() || hexadecimal || decimal {
        return Err(NameError::Address);
    }
    Ok(())
}

fn refuse_characters(name: &str) -> Result<(), NameError> {
    let wrong = |character: &char| {
        character.is_ascii()
            && !character.is_ascii_alphanumeric()
            && !matches!(character, '.' | '-' | '_')
    };
    match name.chars().find(wrong) {
        Some(character) => Err(NameError::Character(character)),
        None => Ok(()),
    }
}

fn check_label(label: &str) -> Result<(), NameError> {
    if label.is_empty() {
        Err(NameError::EmptyLabel)
    } else if label.len() > LABEL_BYTES {
        Err(NameError::LongLabel(label.len()))
    } else if label.starts_with('-') || label.ends_with('-') {
        Err(NameError::Hyphen(label.to_owned()))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_spelling_of_a_name_is_one_name() {
        for spelling in [
            "api.example.com",
            "API.Example.COM",
            "api.example.com.",
            "api。example。com",
            "ａｐｉ.example.com",
        ] {
            let name = DomainName::parse(spelling).unwrap();
            assert_eq!(name.as_str(), "api.example.com", "{spelling}");
        }
        let name = DomainName::parse("bücher.Example").unwrap();
        assert_eq!(name.as_str(), "xn--bcher-kva.example");
        assert_eq!(
            DomainName::parse("_dmarc.a--b.example").unwrap().as_str(),
            "_dmarc.a--b.example"
        );
    }

    #[test]
    fn what_is_not_a_name_is_refused_by_its_reason() {
        let label = "a".repeat(64);
        let long = ["a".repeat(63).as_str(); 4].join(".");
        for (text, error) in [
            ("", NameError::Empty),
            (".", NameError::Empty),
            ("a..b", NameError::EmptyLabel),
            (".a", NameError::EmptyLabel),
            ("a.b..", NameError::EmptyLabel),
            ("a b", NameError::Character(' ')),
            ("a\0.example", NameError::Character('\0')),
            ("a/b", NameError::Character('/')),
            ("a:443", NameError::Character(':')),
            ("*.example", NameError::Character('*')),
            ("a\u{2100}b", NameError::Character('/')),
            ("-a.example", NameError::Hyphen("-a".into())),
            ("a-.example", NameError::Hyphen("a-".into())),
            ("192.0.2.1", NameError::Address),
            ("127.1", NameError::Address),
            ("2130706433", NameError::Address),
            ("0x7f.0x1", NameError::Address),
            ("[2001:db8::1]", NameError::Address),
            ("2001:db8::1", NameError::Address),
            ("１９２.0.2.１", NameError::Address),
            ("xn--a.example", NameError::International),
            (&label, NameError::LongLabel(64)),
            (&long, NameError::TooLong),
        ] {
            assert_eq!(DomainName::parse(text), Err(error), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn parsing_is_total_and_its_result_is_canonical(text in any::<String>()) {
            if let Ok(name) = DomainName::parse(&text) {
                prop_assert!(name.as_str().len() <= NAME_BYTES);
                prop_assert_eq!(DomainName::parse(name.as_str()), Ok(name));
            }
        }

        #[test]
        fn a_plain_name_stays_itself(text in "[a-z][a-z0-9_]{0,9}(\\.[a-z][a-z0-9]{0,9}){0,4}") {
            let name = DomainName::parse(&text).unwrap();
            prop_assert_eq!(name.as_str(), text);
        }
    }
}
