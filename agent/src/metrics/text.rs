//! The text format of Prometheus, version 0.0.4. Pure.
//!
//! The classic one and not `OpenMetrics`: every Prometheus reads it, and so does the `promtool` of every
//! distribution. Libraries that write it keep process-wide registries; what is written here is made anew from one
//! consistent state at each scrape.

#![forbid(unsafe_code)]

use std::fmt::Write as _;

/// What is sent as the type of the answer.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a family of metrics is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Only ever goes up while the daemon lives.
    Counter,
    /// What is so now.
    Gauge,
    /// How often something took how long.
    Histogram,
}

impl Kind {
    /// As the format has it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A family of metrics: one name, one meaning.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Family {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Names of its labels.
    pub labels: &'static [&'static str],
    /// What it says, in one sentence.
    pub help: &'static str,
}

/// A page that is being written.
#[derive(Clone, Debug, Default)]
pub struct Page {
    text: String,
}

impl Page {
    /// Begins a family; its samples follow.
    pub fn family(&mut self, family: &Family) {
        let Family {
            name, kind, help, ..
        } = family;
        self.text.push_str("# HELP ");
        self.text.push_str(name);
        self.text.push(' ');
        escape(&mut self.text, help, false);
        self.push(format_args!("\n# TYPE {name} {}\n", kind.word()));
    }

    /// A sample of a family. `values` are those of its labels, in their order.
    pub fn sample<V: AsRef<str>>(&mut self, family: &Family, values: &[V], value: &Value) {
        self.line(family.name, "", family.labels.iter().zip(values), value);
    }

    /// A sample of a histogram: `_bucket`, `_sum`, `_count`.
    pub fn part(&mut self, family: &Family, suffix: &str, bound: Option<&str>, value: &Value) {
        self.line(
            family.name,
            suffix,
            bound.iter().map(|bound| (&"le", bound)),
            value,
        );
    }

    fn line<'l, V: AsRef<str> + 'l>(
        &mut self,
        name: &str,
        suffix: &str,
        labels: impl Iterator<Item = (&'l &'static str, &'l V)>,
        value: &Value,
    ) {
        self.text.push_str(name);
        self.text.push_str(suffix);
        let mut open = false;
        for (label, text) in labels {
            self.text.push(if open { ',' } else { '{' });
            open = true;
            self.text.push_str(label);
            self.text.push_str("=\"");
            escape(&mut self.text, text.as_ref(), true);
            self.text.push('"');
        }
        if open {
            self.text.push('}');
        }
        let Value { whole, millionths } = value;
        self.push(format_args!(" {whole}"));
        if *millionths > 0 {
            let digits = format!("{millionths:06}");
            self.push(format_args!(".{}", digits.trim_end_matches('0')));
        }
        self.text.push('\n');
    }

    fn push(&mut self, words: std::fmt::Arguments<'_>) {
        // A string takes whatever is written to it.
        let _written = self.text.write_fmt(words);
    }

    /// The page.
    #[must_use]
    pub fn finish(self) -> String {
        self.text
    }
}

/// A number: never negative, with at most six decimal places, so that sums are exact.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Value {
    whole: u64,
    millionths: u64,
}

impl Value {
    /// A whole number.
    #[must_use]
    pub const fn whole(whole: u64) -> Self {
        Self {
            whole,
            millionths: 0,
        }
    }

    /// So many millionths.
    #[must_use]
    pub const fn millionths(number: u64) -> Self {
        Self {
            whole: number / 1_000_000,
            millionths: number % 1_000_000,
        }
    }

    /// So many thousandths.
    #[must_use]
    pub const fn thousandths(number: u64) -> Self {
        Self {
            whole: number / 1000,
            millionths: (number % 1000).saturating_mul(1000),
        }
    }
}

impl From<bool> for Value {
    fn from(is: bool) -> Self {
        Self::whole(is.into())
    }
}

/// What ends a value or a line is written as an escape; nothing else needs one, the format is UTF-8.
fn escape(into: &mut String, text: &str, quoted: bool) {
    for character in text.chars() {
        match character {
            '\\' => into.push_str("\\\\"),
            '\n' => into.push_str("\\n"),
            '"' if quoted => into.push_str("\\\""),
            other => into.push(other),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const FAMILY: Family = Family {
        name: "x_total",
        kind: Kind::Counter,
        labels: &["a", "b"],
        help: "Says \\ and\nmore.",
    };

    /// Reads a page as Prometheus does: each sample with its labels.
    pub(crate) fn read(page: &str) -> BTreeMap<(String, Vec<(String, String)>), f64> {
        let mut samples = BTreeMap::new();
        for line in page.lines().filter(|line| !line.starts_with('#')) {
            let end = line.find(['{', ' ']).unwrap();
            let (name, mut rest) = line.split_at(end);
            let mut labels = Vec::new();
            while let Some(after) = rest.strip_prefix(['{', ',']) {
                let (label, after) = after.split_once("=\"").unwrap();
                let mut value = String::new();
                let mut characters = after.char_indices();
                let end = loop {
                    match characters.next().unwrap() {
                        (at, '"') => break at,
                        (_, '\\') => value.push(match characters.next().unwrap().1 {
                            'n' => '\n',
                            other => other,
                        }),
                        (_, other) => value.push(other),
                    }
                };
                labels.push((label.to_owned(), value));
                rest = after.get(end..).unwrap().strip_prefix('"').unwrap();
            }
            let rest = rest.strip_prefix('}').unwrap_or(rest);
            let number = rest.strip_prefix(' ').unwrap().parse().unwrap();
            let key = (name.to_owned(), labels);
            assert!(samples.insert(key, number).is_none(), "twice: {line}");
        }
        samples
    }

    #[test]
    fn a_page_is_what_the_format_says() {
        let mut page = Page::default();
        page.family(&FAMILY);
        page.sample(&FAMILY, &["1", "\"\n\\"], &Value::whole(2));
        page.sample::<&str>(&FAMILY, &[], &Value::millionths(1_500_000));
        page.part(&FAMILY, "_bucket", Some("+Inf"), &Value::thousandths(5));
        assert_eq!(
            page.finish(),
            "# HELP x_total Says \\\\ and\\nmore.\n# TYPE x_total counter\n\
             x_total{a=\"1\",b=\"\\\"\\n\\\\\"} 2\nx_total 1.5\nx_total_bucket{le=\"+Inf\"} 0.005\n"
        );
    }

    proptest! {
        #[test]
        fn no_label_says_more_than_itself(first in "\\PC*|[\"\\\\\n{},= ]{0,12}", second in any::<String>()) {
            // A carriage return ends no line of the format; `lines` would take it for one before a newline.
            prop_assume!(!first.contains('\r') && !second.contains('\r'));
            let mut page = Page::default();
            page.sample(&FAMILY, &[&first, &second], &Value::whole(7));
            let samples = read(&page.finish());
            let labels = vec![("a".to_owned(), first), ("b".to_owned(), second)];
            prop_assert_eq!(samples, BTreeMap::from([(("x_total".to_owned(), labels), 7.0)]));
        }
    }
}
