//! The keys of a TOML file with their words: what a page lists, and what is compared with the code.

use clap_mangen::roff::{Roff, bold, roman};

use crate::page::{entry, paragraph, subheading};

/// A table of the file.
#[derive(Debug)]
pub(crate) struct Table {
    /// Its name in the file; the root has none.
    pub(crate) name: &'static str,
    /// How its header is written, or what stands in place of one.
    pub(crate) header: &'static str,
    /// What it is for.
    pub(crate) about: &'static str,
    /// Its keys.
    pub(crate) keys: &'static [Key],
}

/// A key of a table.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    /// A value, as TOML has it; empty for one that is a table with words of its own.
    pub(crate) value: &'static str,
    pub(crate) default: Default,
    /// What it is, in whole sentences.
    pub(crate) about: &'static str,
}

/// What holds where a key is left out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Default {
    /// The value of the key's words.
    Value,
    /// Something else, said in the words; the value is an example.
    Otherwise,
    /// The key must be there.
    Required,
}

/// All tables, each as a part of the current section.
pub(crate) fn list(roff: &mut Roff, tables: &[Table]) {
    for table in tables {
        subheading(roff, table.header);
        if !table.about.is_empty() {
            paragraph(roff, table.about);
        }
        for key in table.keys {
            let mut term = vec![bold(key.name)];
            if !key.value.is_empty() {
                term.push(roman(format!(" = {}", key.value)));
            }
            let about = match key.default {
                Default::Value => format!("{} This is the default.", key.about),
                Default::Otherwise => key.about.to_owned(),
                Default::Required => format!("{} It must be there.", key.about),
            };
            entry(roff, term, &about);
        }
    }
}

/// Every way in which words and code differ.
#[cfg(test)]
pub(crate) fn differences(words: &[Table], code: &[(&str, &[&str])]) -> Vec<String> {
    let mut found = Vec::new();
    for (name, keys) in code {
        let Some(table) = words.iter().find(|table| table.name == *name) else {
            found.push(format!("the table `{name}` has no words"));
            continue;
        };
        for key in *keys {
            let named: Vec<&Key> = table.keys.iter().filter(|k| k.name == *key).collect();
            match named.as_slice() {
                [] => found.push(format!("`{key}` of `{name}` has no words")),
                [one] if one.about.is_empty() => {
                    found.push(format!("`{key}` of `{name}` has empty words"));
                }
                [one] if one.value.is_empty() => {
                    let below = below(name, key);
                    if !code.iter().any(|(table, _)| *table == below) {
                        found.push(format!("`{below}` has neither a value nor a table"));
                    }
                }
                [_] => {}
                [..] => found.push(format!("`{key}` of `{name}` has words twice")),
            }
        }
        for key in table.keys.iter().filter(|k| !keys.contains(&k.name)) {
            found.push(format!(
                "`{}` of `{name}` has words and is no key",
                key.name
            ));
        }
    }
    for table in words {
        if !code.iter().any(|(name, _)| *name == table.name) {
            found.push(format!("`{}` has words and is no table", table.name));
        }
    }
    found
}

#[cfg(test)]
fn below(table: &str, key: &str) -> String {
    if table.is_empty() {
        key.to_owned()
    } else {
        format!("{table}.{key}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: &[Table] = &[Table {
        name: "",
        header: "",
        about: "",
        keys: &[
            Key {
                name: "one",
                value: "1",
                default: Default::Value,
                about: "One.",
            },
            Key {
                name: "below",
                value: "",
                default: Default::Otherwise,
                about: "A table.",
            },
        ],
    }];

    #[test]
    fn a_key_without_words_and_words_without_a_key_are_found() {
        let code: &[(&str, &[&str])] = &[("", &["one", "two"]), ("other", &[])];
        assert_eq!(
            differences(WORDS, code),
            [
                "`two` of `` has no words",
                "`below` of `` has words and is no key",
                "the table `other` has no words",
            ]
        );
    }

    #[test]
    fn a_key_without_a_value_must_be_a_table() {
        let code: &[(&str, &[&str])] = &[("", &["one", "below"])];
        assert_eq!(
            differences(WORDS, code),
            ["`below` has neither a value nor a table"]
        );
    }
}
