//! Values of `ARG` in front of the first `FROM`, as names of images use them.

use std::collections::BTreeMap;

use super::lines::refused;
use crate::refusal::{Refusal, printable};

/// Names and values.
#[derive(Clone, Debug, Default)]
pub(super) struct Arguments {
    known: BTreeMap<String, Option<String>>,
}

impl Arguments {
    /// Takes `NAME` or `NAME=VALUE`; a value that came with the request goes before.
    pub(super) fn take(
        &mut self,
        word: &str,
        given: &BTreeMap<String, String>,
    ) -> Result<(), Refusal> {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word, None),
        };
        if !is_name(name) {
            let what = format!("the argument `{}`", printable(name));
            return Err(refused(what, "names are letters, digits and `_`"));
        }
        let value = match (given.get(name), value) {
            (Some(given), _) => Some(given.clone()),
            (None, Some(value)) => Some(self.expand(unquoted(value)?)?),
            (None, None) => None,
        };
        self.known.insert(name.to_owned(), value);
        Ok(())
    }

    /// Puts values in.
    pub(super) fn expand(&self, text: &str) -> Result<String, Refusal> {
        let strange = || {
            let what = format!("`{}`", printable(text));
            let why = "in the name of an image, `$NAME`, `${NAME}`, `${NAME:-other}` and `${NAME:+other}` are \
                       understood";
            refused(what, why)
        };
        let mut whole = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            whole.push_str(before);
            let (value, left) = if let Some(inside) = after.strip_prefix('{') {
                let (inside, left) = inside.split_once('}').ok_or_else(strange)?;
                (self.braced(inside, strange)?, left)
            } else {
                let end = after.find(|char: char| !is_part(char));
                let (name, left) = after
                    .split_at_checked(end.unwrap_or(after.len()))
                    .ok_or_else(strange)?;
                if !is_name(name) {
                    return Err(strange());
                }
                (self.value(name), left)
            };
            let Some(value) = value else {
                let what = format!("`{}` without a value for what it names", printable(text));
                let why = "give it one: `ARG NAME=value` before the first `FROM`, or `--build-arg`";
                return Err(refused(what, why));
            };
            whole.push_str(&value);
            rest = left;
        }
        whole.push_str(rest);
        if whole.contains(['\\', '"', '\'', '$']) {
            return Err(strange());
        }
        Ok(whole)
    }

    fn value(&self, name: &str) -> Option<String> {
        self.known.get(name).cloned().flatten()
    }

    /// A value, if there is one.
    fn braced(
        &self,
        inside: &str,
        strange: impl Fn() -> Refusal,
    ) -> Result<Option<String>, Refusal> {
        let end = inside.find(|char: char| !is_part(char));
        let (name, operator) = inside
            .split_at_checked(end.unwrap_or(inside.len()))
            .ok_or_else(&strange)?;
        if !is_name(name) || operator.contains('$') {
            return Err(strange());
        }
        let set = self.value(name).filter(|value| !value.is_empty());
        if operator.is_empty() {
            return Ok(self.value(name));
        }
        if let Some(other) = operator.strip_prefix(":-") {
            return Ok(Some(set.unwrap_or_else(|| other.to_owned())));
        }
        let other = operator.strip_prefix(":+").ok_or_else(strange)?;
        Ok(Some(set.map_or_else(String::new, |_| other.to_owned())))
    }
}

/// A value, without the quotes around the whole of it.
fn unquoted(value: &str) -> Result<&str, Refusal> {
    let inside = ['"', '\''].iter().find_map(|quote| {
        let inside = value.strip_prefix(*quote)?;
        inside.strip_suffix(*quote)
    });
    let inside = inside.unwrap_or(value);
    if inside.contains(['"', '\'', '\\']) {
        let what = format!("the value `{}`", printable(value));
        return Err(refused(what, "quotes stand around the whole of a value"));
    }
    Ok(inside)
}

const fn is_part(char: char) -> bool {
    char.is_ascii_alphanumeric() || char == '_'
}

fn is_name(name: &str) -> bool {
    (1..=128).contains(&name.len())
        && name.chars().all(is_part)
        && !name.starts_with(|first: char| first.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_put_in() {
        let given = BTreeMap::from([("B".to_owned(), "given".to_owned())]);
        let mut arguments = Arguments::default();
        for word in ["A=1", "B=2", "C", "D=\"x-${A}\"", "E='$B'"] {
            arguments.take(word, &given).unwrap();
        }
        for (text, expanded) in [
            ("plain", "plain"),
            ("a:$A", "a:1"),
            ("${A}b$B", "1bgiven"),
            ("${C:-c}${A:+a}${C:+x}", "ca"),
            ("$D", "x-1"),
            ("$E", "given"),
        ] {
            assert_eq!(arguments.expand(text).unwrap(), expanded);
        }
        for text in [
            "$", "$C", "$X", "${A", "${A:-$B}", "${A#x}", "a\\$A", "\"a\"", "$1", "${}",
        ] {
            assert!(arguments.expand(text).err().is_some(), "{text}");
        }
    }
}
