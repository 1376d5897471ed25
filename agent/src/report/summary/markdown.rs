//! Markdown, as GitHub reads it, in which words of a job stay words.
//!
//! **Invariants**: whatever a job can choose stands in a code span, in which Markdown does nothing:
//! no link, no mention, no emoji, no HTML. The two characters that could end a span or a cell are
//! spelled out. The text never grows beyond its bound; what does not fit is counted.

use crate::report::escape::escape;

/// A text that grows downwards, up to a number of bytes.
#[derive(Debug)]
pub(super) struct Markdown {
    text: String,
    limit: usize,
}

/// Room that tables leave for what must be said after them.
const RESERVE: usize = 8 << 10;

impl Markdown {
    pub(super) const fn new(limit: usize) -> Self {
        Self {
            text: String::new(),
            limit,
        }
    }

    pub(super) fn into_text(self) -> String {
        self.text
    }

    /// A line of cordon's own words and of [`code`], if there is room for it.
    pub(super) fn line(&mut self, line: &str) {
        if self.fits(line, 0) {
            self.text.push_str(line);
            self.text.push('\n');
        }
    }

    /// A table with as many of its rows as there is room for, and at most `most`; what the others are
    /// is said by `more`.
    pub(super) fn table(
        &mut self,
        heads: &[&str],
        rows: impl Iterator<Item = Vec<String>>,
        (total, most): (usize, usize),
        more: &str,
    ) {
        let rule = vec!["---"; heads.len()];
        self.line(&format!(
            "\n| {} |\n| {} |",
            heads.join(" | "),
            rule.join(" | ")
        ));
        let mut written = 0_usize;
        for row in rows.take(most) {
            let line = format!("| {} |", row.join(" | "));
            if !self.fits(&line, RESERVE) {
                break;
            }
            self.line(&line);
            written = written.saturating_add(1);
        }
        let missing = total.saturating_sub(written);
        if missing > 0 {
            self.line(&format!("\n{missing} more rows are in {more}."));
        }
        self.line("");
    }

    /// A part that is folded away.
    pub(super) fn folded(&mut self, title: &str, write: impl FnOnce(&mut Self)) {
        if !self.fits("", RESERVE) {
            return;
        }
        self.line(&format!("<details><summary>{title}</summary>\n"));
        write(self);
        self.line("\n</details>\n");
    }

    fn fits(&self, line: &str, reserve: usize) -> bool {
        let needed = line.len().saturating_add(1).saturating_add(reserve);
        self.text.len().saturating_add(needed) <= self.limit
    }
}

/// Words of a job, in a code span; nothing for nothing.
pub(super) fn code(words: &str) -> String {
    if words.is_empty() {
        return String::new();
    }
    let mut span = String::with_capacity(words.len().saturating_add(2));
    span.push('`');
    for character in escape(words).chars() {
        match character {
            // Each would end something. Backslashes are doubled, so that these are no other text.
            '`' => span.push_str("\\u{60}"),
            '|' => span.push_str("\\u{7c}"),
            other => span.push(other),
        }
    }
    span.push('`');
    span
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_holds_what_it_is_given() {
        assert_eq!(code("api.example.com"), "`api.example.com`");
        assert_eq!(code("a`b|c\\d\n"), "`a\\u{60}b\\u{7c}c\\\\d\\n`");
        assert_eq!(code(""), "");
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let mut page = Markdown::new(RESERVE + 200);
        let rows = (0..1000).map(|number| vec![number.to_string()]);
        page.table(&["N"], rows, (1000, 1000), "x");
        let text = page.into_text();
        assert!(text.len() <= RESERVE + 200, "{}", text.len());
        let written = text
            .lines()
            .filter(|line| line.starts_with("| ") && !line.contains('-'))
            .count()
            - 1;
        assert!(
            text.contains(&format!("{} more rows are in x.", 1000 - written)),
            "{text}"
        );
    }
}
