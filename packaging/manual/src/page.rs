//! One man page: sections, paragraphs and lists in the man(7) macros.

use clap_mangen::roff::{Inline, Roff, bold, roman};

/// A page as it is written to a file.
#[derive(Debug)]
pub(crate) struct Page {
    /// Name of the file, as in `cordon.toml.5`.
    pub(crate) name: String,
    /// Its source.
    pub(crate) text: String,
}

/// The beginning of a page of section 5.
pub(crate) fn format_page(name: &str, about: &str, date: &str) -> Roff {
    let mut roff = Roff::new();
    let version = format!("cordon {}", env!("CARGO_PKG_VERSION"));
    roff.control("TH", [name, "5", date, &version, "cordon"]);
    heading(&mut roff, "NAME");
    roff.text([roman(format!("{name} - {about}"))]);
    roff
}

/// A section.
pub(crate) fn heading(roff: &mut Roff, text: &str) {
    roff.control("SH", [text]);
}

/// A part of a section.
pub(crate) fn subheading(roff: &mut Roff, text: &str) {
    roff.control("SS", [text]);
}

/// A paragraph. What stands between backticks becomes bold.
pub(crate) fn paragraph(roff: &mut Roff, text: &str) {
    roff.control("PP", []);
    roff.text(inline(text));
}

/// An entry of a list.
pub(crate) fn entry(roff: &mut Roff, term: Vec<Inline>, text: &str) {
    roff.control("TP", []);
    roff.text(term);
    roff.text(inline(text));
}

/// Lines as they are.
pub(crate) fn example(roff: &mut Roff, text: &str) {
    roff.control("PP", []);
    roff.control("RS", ["4"]);
    roff.control("EX", []);
    for line in text.trim_end().lines() {
        roff.text([roman(line)]);
    }
    roff.control("EE", []);
    roff.control("RE", []);
}

/// Other pages, with a period behind the last.
pub(crate) fn see_also(roff: &mut Roff, pages: &[(String, u8)]) {
    heading(roff, "SEE ALSO");
    let mut line = Vec::new();
    for (index, (name, section)) in pages.iter().enumerate() {
        if index > 0 {
            line.push(roman(", "));
        }
        line.extend([bold(name), roman(format!("({section})"))]);
    }
    roff.text(line);
}

/// Text with bold in place of backticks. A backtick without another stays as it is.
pub(crate) fn inline(text: &str) -> Vec<Inline> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('`') {
        let Some((word, behind)) = after.split_once('`') else {
            break;
        };
        if !before.is_empty() {
            parts.push(roman(before));
        }
        parts.push(bold(word));
        rest = behind;
    }
    if !rest.is_empty() {
        parts.push(roman(rest));
    }
    parts
}

/// Without macros that say nothing where they stand.
pub(crate) fn tidy(text: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        // An empty line is a macro too.
        let line = if line.is_empty() { ".sp" } else { line };
        let before = kept.last().copied().unwrap_or_default();
        let begins = before.starts_with(".SH") || before.starts_with(".SS");
        let useless = match line {
            ".PP" => begins,
            ".br" => {
                before == ".sp" || lines.peek().is_some_and(|next| matches!(*next, "" | ".sp"))
            }
            _ => false,
        };
        if !useless {
            kept.push(line);
        }
    }
    kept.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_in_backticks_are_bold_and_an_odd_backtick_stays() {
        let parts = [roman("a "), bold("b"), roman(" c")];
        assert_eq!(inline("a `b` c"), parts);
        assert_eq!(inline("`b`"), [bold("b")]);
        assert_eq!(inline("5` wide"), [roman("5` wide")]);
    }

    #[test]
    fn a_line_that_looks_like_a_macro_is_text() {
        let mut roff = Roff::new();
        example(&mut roff, ".SH NAME\n'x\n\\fB");
        let text = roff.to_roff();
        assert!(!text.contains("\n.SH"), "{text}");
        assert!(!text.contains("\n'x"), "{text}");
        assert!(!text.contains("\n\\fB"), "{text}");
    }

    #[test]
    fn macros_that_say_nothing_are_left_out() {
        assert_eq!(
            tidy(".SH A\n.PP\nb\n.PP\nc\n.br\n\n.br\nd\n"),
            ".SH A\nb\n.PP\nc\n.sp\nd\n"
        );
    }
}
