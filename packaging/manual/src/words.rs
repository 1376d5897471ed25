//! Long texts of the command line, cut into what a man page has apart: paragraphs, exit statuses.

/// A piece of a text.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Piece {
    /// Running text.
    Paragraph(String),
    /// Statuses with what they mean.
    Statuses(Vec<(String, String)>),
}

/// The line that begins a list of statuses.
const HEADING: &str = "Exit status:";

/// Cuts a text. A list of statuses has a line for each, indented, with two blanks behind the status;
/// a line that goes on with it is indented further.
pub(crate) fn pieces(text: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut lines = text.lines().peekable();
    let mut paragraph = String::new();
    while let Some(line) = lines.next() {
        if line.trim().is_empty() {
            end(&mut pieces, &mut paragraph);
        } else if line.trim_end() == HEADING {
            end(&mut pieces, &mut paragraph);
            let mut rows: Vec<(String, String)> = Vec::new();
            while let Some(line) = lines.next_if(|line| line.starts_with(' ')) {
                match (row(line), rows.last_mut()) {
                    (Some(row), _) => rows.push(row),
                    (None, Some((_, meaning))) if line.starts_with("    ") => {
                        meaning.push(' ');
                        meaning.push_str(line.trim());
                    }
                    // A sentence instead of a number: it has no meaning beside it.
                    (None, _) => rows.push((line.trim().to_owned(), String::new())),
                }
            }
            pieces.push(Piece::Statuses(rows));
        } else {
            if !paragraph.is_empty() {
                paragraph.push(' ');
            }
            paragraph.push_str(line.trim());
        }
    }
    end(&mut pieces, &mut paragraph);
    pieces
}

fn end(pieces: &mut Vec<Piece>, paragraph: &mut String) {
    if !paragraph.is_empty() {
        pieces.push(Piece::Paragraph(std::mem::take(paragraph)));
    }
}

/// `  64 wrong usage`, `  122, 123  as for …`: numbers, then words.
fn row(line: &str) -> Option<(String, String)> {
    let line = line.trim();
    let words = line.find(|letter: char| !matches!(letter, '0'..='9' | ',' | ' '))?;
    let (numbers, meaning) = line.split_at_checked(words)?;
    let numbers = numbers.trim_end();
    (!numbers.is_empty()).then(|| (numbers.to_owned(), meaning.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_and_what_stands_around_them_are_told_apart() {
        let text = "Reads a\nthing.\n\nMore.\nExit status:\n  the command's own; else\n    0  good, and\n       so on\n  122, 123  as\n  64 wrong\nWhere several apply, one.";
        let row = |one: &str, other: &str| (one.to_owned(), other.to_owned());
        assert_eq!(
            pieces(text),
            [
                Piece::Paragraph("Reads a thing.".to_owned()),
                Piece::Paragraph("More.".to_owned()),
                Piece::Statuses(vec![
                    row("the command's own; else", ""),
                    row("0", "good, and so on"),
                    row("122, 123", "as"),
                    row("64", "wrong"),
                ]),
                Piece::Paragraph("Where several apply, one.".to_owned()),
            ]
        );
    }
}
