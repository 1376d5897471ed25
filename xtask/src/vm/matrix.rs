//! What became of each story on each kernel, as one table.

use std::collections::BTreeMap;

/// Which stories passed, failed or were skipped, read from a console.
#[derive(Clone, Debug, Default)]
pub(super) struct Told {
    stories: BTreeMap<String, &'static str>,
    /// A story that has begun, and whose own words stand before its verdict.
    open: Option<String>,
}

impl Told {
    /// Reads a line of the test program: `test NAME ... ok`, or the parts of it on lines of their own.
    pub(super) fn read(&mut self, line: &str) {
        let plain = without_colour(line);
        let rest = match plain
            .strip_prefix("test ")
            .and_then(|rest| rest.split_once(" ... "))
        {
            Some((name, rest)) => {
                self.open = Some(name.trim().to_owned());
                rest.trim().to_owned()
            }
            None => plain.trim().to_owned(),
        };
        let verdict = match rest.as_str() {
            "ok" => "ok",
            "FAILED" => "FAILED",
            "ignored" => "skipped",
            _ => return,
        };
        if let Some(name) = self.open.take() {
            self.stories.insert(name, verdict);
        }
    }

    /// Adds what another guest of the same kernel told.
    pub(super) fn add(&mut self, other: Self) {
        self.stories.extend(other.stories);
        // A story that began and said no more: its guest crashed.
        if let Some(name) = other.open {
            self.stories.insert(name, "no end");
        }
    }
}

/// Escape sequences are for terminals.
fn without_colour(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut parts = line.split("\u{1b}[");
    plain.push_str(parts.next().unwrap_or_default());
    for part in parts {
        plain.push_str(part.split_once('m').map_or(part, |(_, rest)| rest));
    }
    plain
}

/// Head of the first column.
const HEAD: &str = "story";

/// A line for each story, a column for each kernel.
pub(super) fn table(kernels: &[(String, Told)]) -> String {
    let mut names: Vec<&String> = kernels
        .iter()
        .flat_map(|(_, told)| told.stories.keys())
        .collect();
    names.sort();
    names.dedup();
    let width = names
        .iter()
        .map(|name| name.len())
        .chain([HEAD.len()])
        .max()
        .unwrap_or_default();
    let line = |first: &str, cells: &mut dyn Iterator<Item = String>| {
        let line = format!("{first:width$}  {}", cells.collect::<Vec<_>>().join("  "));
        format!("{}\n", line.trim_end())
    };
    let mut text = line(HEAD, &mut kernels.iter().map(|(kernel, _)| kernel.clone()));
    for name in names {
        let mut cells = kernels.iter().map(|(kernel, told)| {
            let verdict = told.stories.get(name).copied().unwrap_or("not run");
            let column = kernel.len();
            format!("{verdict:column$}")
        });
        text.push_str(&line(name, &mut cells));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(lines: &[&str]) -> Told {
        let mut all = Told::default();
        let mut told = Told::default();
        for line in lines {
            told.read(line);
        }
        all.add(told);
        all
    }

    #[test]
    fn verdicts_are_read_through_colours_and_a_storys_own_words() {
        let told = told(&[
            "test a::b   ... \u{1b}[32mok\u{1b}[0m",
            "test c ... ",
            "it says something",
            "ok   looks like a verdict and is none",
            "\u{1b}[31mFAILED\u{1b}[0m",
            "test d ... ignored",
            "test e ... ",
        ]);
        let verdicts: Vec<_> = told.stories.into_iter().collect();
        let expected = [
            ("a::b", "ok"),
            ("c", "FAILED"),
            ("d", "skipped"),
            ("e", "no end"),
        ];
        assert_eq!(
            verdicts,
            expected.map(|(name, verdict)| (name.to_owned(), verdict))
        );
    }

    #[test]
    fn a_story_that_one_kernel_did_not_tell_is_seen_in_the_table() {
        let kernels = [
            ("6.1".to_owned(), told(&["test a ... ok", "test bb ... ok"])),
            ("6.12".to_owned(), told(&["test a ... FAILED"])),
        ];
        let expected = "story  6.1  6.12\na      ok   FAILED\nbb     ok   not run\n";
        assert_eq!(table(&kernels), expected);
    }
}
