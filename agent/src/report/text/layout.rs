//! Lines, facts and tables of a given width.
//!
//! Cells arrive escaped. A table whose columns would not fit even when wrapped becomes a list of
//! its rows, one cell a line.

use unicode_width::UnicodeWidthChar as _;

/// Below this nothing can be laid out; the terminal may wrap.
const MIN_WIDTH: usize = 40;
/// Where the values of facts begin.
const LABEL: usize = 13;
/// Before each row of a table.
const INDENT: usize = 2;
/// Between two columns.
const GAP: usize = 2;
/// A column is not made narrower than this to make room.
const MIN_COLUMN: usize = 12;

/// What a piece of text says, for the colour that repeats it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::report) enum Tone {
    Bad,
    Faint,
    Good,
    Plain,
    Strong,
    Warn,
}

/// A text that grows downwards.
#[derive(Debug)]
pub(in crate::report) struct Page {
    width: usize,
    colour: bool,
    text: String,
}

/// A table: a heading row and rows under it.
#[derive(Debug)]
pub(in crate::report) struct Table<const N: usize> {
    pub(in crate::report) columns: [Column; N],
    pub(in crate::report) rows: Vec<Row<N>>,
}

#[derive(Clone, Copy, Debug)]
pub(in crate::report) enum Column {
    /// Aligned to the right.
    Number(&'static str),
    Text(&'static str),
}

#[derive(Debug)]
pub(in crate::report) struct Row<const N: usize> {
    pub(in crate::report) cells: [String; N],
    /// Tone of the first cell.
    pub(in crate::report) tone: Tone,
    /// Lines under the row that are never wrapped.
    pub(in crate::report) notes: Vec<String>,
}

impl Page {
    pub(in crate::report) fn new(width: usize, colour: bool) -> Self {
        Self {
            width: width.max(MIN_WIDTH),
            colour,
            text: String::new(),
        }
    }

    pub(in crate::report) fn into_text(self) -> String {
        inert(self.text)
    }

    pub(in crate::report) fn gap(&mut self) {
        self.text.push('\n');
    }

    /// Text from the left edge.
    pub(in crate::report) fn line(&mut self, tone: Tone, text: &str) {
        self.hang("", "", tone, text);
    }

    /// Text that is there to be copied: it keeps its line, however long.
    pub(in crate::report) fn unwrapped(&mut self, text: &str) {
        self.text.push_str(text);
        self.end_line();
    }

    /// A label and its value.
    pub(in crate::report) fn fact(&mut self, label: &str, tone: Tone, value: &str) {
        let first = pad(label, LABEL);
        self.hang(&first, &" ".repeat(LABEL), tone, value);
    }

    /// One of several things under a fact.
    pub(in crate::report) fn item(&mut self, text: &str) {
        let rest = " ".repeat(LABEL.saturating_add(2));
        let first = format!("{}- ", " ".repeat(LABEL));
        self.hang(&first, &rest, Tone::Plain, text);
    }

    pub(in crate::report) fn table<const N: usize>(&mut self, table: &Table<N>) {
        match self.column_widths(table) {
            Some(widths) => self.rows(table, widths),
            None => self.list(table),
        }
    }

    /// Wraps `text` behind a first prefix, and its further lines behind the other.
    fn hang(&mut self, first: &str, rest: &str, tone: Tone, text: &str) {
        let room = self.width.saturating_sub(columns(first));
        for (index, line) in wrap(text, room).iter().enumerate() {
            self.text.push_str(if index == 0 { first } else { rest });
            self.paint(tone, line);
            self.end_line();
        }
    }

    fn paint(&mut self, tone: Tone, text: &str) {
        let code = match tone {
            Tone::Bad => "\u{1b}[31m",
            Tone::Faint => "\u{1b}[2m",
            Tone::Good => "\u{1b}[32m",
            Tone::Plain => "",
            Tone::Strong => "\u{1b}[1m",
            Tone::Warn => "\u{1b}[33m",
        };
        if !self.colour || code.is_empty() || text.is_empty() {
            self.text.push_str(text);
            return;
        }
        self.text.extend([code, text, "\u{1b}[0m"]);
    }

    fn end_line(&mut self) {
        let end = self.text.trim_end_matches(' ').len();
        self.text.truncate(end);
        self.text.push('\n');
    }

    /// The widths of the columns, or nothing where they cannot be made to fit.
    fn column_widths<const N: usize>(&self, table: &Table<N>) -> Option<[usize; N]> {
        let gaps = GAP.saturating_mul(N.saturating_sub(1));
        let room = self.width.saturating_sub(INDENT).saturating_sub(gaps);
        let mut widths = table.columns.map(|column| columns(column.title()));
        let mut least = widths;
        for row in &table.rows {
            for ((cell, width), least) in row.cells.iter().zip(&mut widths).zip(&mut least) {
                // Wider than the page is as wide as it needs to be known.
                *width = columns(cell).min(self.width).max(*width);
                *least = MIN_COLUMN.min(*width).max(*least);
            }
        }
        while widths.iter().sum::<usize>() > room {
            let shrinkable = widths
                .iter_mut()
                .zip(least)
                .filter(|(width, least)| **width > *least);
            let (widest, _) = shrinkable.max_by_key(|(width, _)| **width)?;
            *widest = widest.saturating_sub(1);
        }
        Some(widths)
    }

    fn rows<const N: usize>(&mut self, table: &Table<N>, widths: [usize; N]) {
        let titles = table.columns.map(|column| column.title().to_owned());
        self.row(&table.columns, &titles, widths, Tone::Faint, Tone::Faint);
        for row in &table.rows {
            self.row(&table.columns, &row.cells, widths, row.tone, Tone::Plain);
            self.notes(&row.notes);
        }
    }

    fn row<const N: usize>(
        &mut self,
        kinds: &[Column; N],
        cells: &[String; N],
        widths: [usize; N],
        first: Tone,
        rest: Tone,
    ) {
        let wrapped: Vec<_> = cells
            .iter()
            .zip(widths)
            .map(|(cell, width)| wrap(cell, width))
            .collect();
        let height = wrapped.iter().map(Vec::len).max().unwrap_or(0);
        for line in 0..height {
            let mut gap = INDENT;
            let mut tone = first;
            for ((cell, width), kind) in wrapped.iter().zip(widths).zip(kinds) {
                let text = cell.get(line).map_or("", String::as_str);
                self.text.push_str(&" ".repeat(gap));
                let missing = width.saturating_sub(columns(text));
                let (before, after) = kind.padding(missing);
                self.text.push_str(&" ".repeat(before));
                self.paint(tone, text);
                self.text.push_str(&" ".repeat(after));
                gap = GAP;
                tone = rest;
            }
            self.end_line();
        }
    }

    fn list<const N: usize>(&mut self, table: &Table<N>) {
        for (index, row) in table.rows.iter().enumerate() {
            if index > 0 {
                self.gap();
            }
            let mut tone = row.tone;
            for (column, cell) in table.columns.iter().zip(&row.cells) {
                let indent = " ".repeat(INDENT);
                let label = format!("{indent}{}", pad(column.title(), LABEL));
                let rest = " ".repeat(columns(&label));
                self.hang(&label, &rest, tone, cell);
                tone = Tone::Plain;
            }
            self.notes(&row.notes);
        }
    }

    fn notes(&mut self, notes: &[String]) {
        for note in notes {
            self.text.push_str("    ");
            self.text.push_str(note);
            self.end_line();
        }
    }
}

impl Column {
    const fn title(self) -> &'static str {
        match self {
            Self::Number(title) | Self::Text(title) => title,
        }
    }

    /// The room that is left, before and after the text.
    const fn padding(self, missing: usize) -> (usize, usize) {
        match self {
            Self::Number(_) => (missing, 0),
            Self::Text(_) => (0, missing),
        }
    }
}

/// The same text, in which no line is a command to the runner of a CI job that logs it: those begin
/// with `::`, a word and another `::`, wherever the line begins, or hold `##[`.
fn inert(text: String) -> String {
    let commands = |line: &str| {
        // A runner that strips colours would find one behind them.
        let line = line.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{1b}');
        let coloured = line.strip_prefix('[').and_then(|rest| rest.split_once('m'));
        let word = coloured.map_or(line, |(_, rest)| rest).strip_prefix("::");
        word.is_some_and(|word| {
            word.starts_with(|c: char| c.is_ascii_alphabetic()) && word.contains("::")
        })
    };
    if !text.contains("##[") && !text.lines().any(commands) {
        return text;
    }
    let mut safe = String::with_capacity(text.len());
    for line in text.lines() {
        let line = line.replace("##[", "##\\u{5b}");
        let line = if commands(&line) {
            line.replacen("::", "\\u{3a}:", 1)
        } else {
            line
        };
        safe.push_str(&line);
        safe.push('\n');
    }
    safe
}

/// Columns of a terminal that the text takes.
pub(in crate::report) fn columns(text: &str) -> usize {
    text.chars().map(columns_of).fold(0, usize::saturating_add)
}

fn columns_of(character: char) -> usize {
    character.width().unwrap_or(0)
}

fn pad(text: &str, width: usize) -> String {
    let missing = width.saturating_sub(columns(text));
    format!("{text}{}", " ".repeat(missing))
}

/// Lines of at most `width` columns, broken at spaces where there are any. At least one line.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut used = 0_usize;
    for word in text.split(' ') {
        let needed = columns(word).saturating_add(1);
        if !line.is_empty() && used.saturating_add(needed) <= width {
            line.push(' ');
            line.push_str(word);
            used = used.saturating_add(needed);
            continue;
        }
        if !line.is_empty() {
            lines.push(std::mem::take(&mut line));
            used = 0;
        }
        for character in word.chars() {
            let wide = columns_of(character);
            if used.saturating_add(wide) > width && !line.is_empty() {
                lines.push(std::mem::take(&mut line));
                used = 0;
            }
            line.push(character);
            used = used.saturating_add(wide);
        }
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn table(cell: &str) -> Table<3> {
        Table {
            columns: [
                Column::Text("NAME"),
                Column::Number("TRIES"),
                Column::Text("PROCESS"),
            ],
            rows: vec![Row {
                cells: [cell.into(), "7".into(), "/usr/bin/curl".into()],
                tone: Tone::Bad,
                notes: vec!["note".into()],
            }],
        }
    }

    fn text(width: usize, cell: &str) -> String {
        let mut page = Page::new(width, false);
        page.table(&table(cell));
        page.into_text()
    }

    #[test]
    fn no_line_commands_the_runner_that_logs_it() {
        let mut page = Page::new(60, true);
        for line in ["::error::x", "##[error]x", "::1 and ::2", "2001:db8::1"] {
            page.line(Tone::Bad, line);
        }
        page.item(&format!("{} ::add-mask::x", "y".repeat(44)));
        let text = page.into_text();
        assert!(
            text.contains("\\u{3a}:error::x") && text.contains("##\\u{5b}error]x"),
            "{text}"
        );
        assert!(text.contains("\\u{3a}:add-mask::x"), "{text}");
        assert!(
            text.contains("m::1 and ::2") && text.contains("2001:db8::1"),
            "{text}"
        );
    }

    #[test]
    fn columns_are_as_wide_as_they_need() {
        let expected = "  NAME   TRIES  PROCESS\n  a.b.c      7  /usr/bin/curl\n    note\n";
        assert_eq!(text(80, "a.b.c"), expected);
    }

    #[test]
    fn the_widest_column_gives_way() {
        let long = "a-name-of-forty-characters.example.org/x";
        let text = text(50, long);
        assert!(text.lines().all(|line| columns(line) <= 50), "{text}");
        assert!(text.contains("/usr/bin/curl"), "{text}");
    }

    #[test]
    fn what_fits_in_no_table_becomes_a_list() {
        let mut page = Page::new(40, false);
        let title = Column::Text("A TITLE THAT IS LONG");
        page.table(&Table {
            columns: [title, title],
            rows: vec![Row {
                cells: ["one".into(), "two".into()],
                tone: Tone::Plain,
                notes: vec![],
            }],
        });
        assert!(page.into_text().starts_with("  A TITLE THAT IS LONG"));
    }

    #[test]
    fn wide_characters_count_twice() {
        assert_eq!(columns("漢字"), 4);
        assert_eq!(wrap("漢字漢字", 5), ["漢字", "漢字"]);
    }

    proptest! {
        #[test]
        fn wrapping_keeps_the_width_and_the_characters(
            text in "[a-z漢 ]{0,80}", width in 2usize..40,
        ) {
            let lines = wrap(&text, width);
            prop_assert!(lines.iter().all(|line| columns(line) <= width), "{:?}", lines);
            let kept = |text: &str| text.replace(' ', "");
            prop_assert_eq!(kept(&lines.concat()), kept(&text));
        }
    }
}
