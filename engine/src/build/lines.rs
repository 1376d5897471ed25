//! Lines of a Dockerfile: comments and continuations taken out, so that one line is one instruction.

use crate::refusal::{Refusal, printable};

/// Most instructions.
const LINES: usize = 5_000;
/// Longest instruction: the engine reads no longer line.
const LINE_BYTES: usize = 60_000;

/// An instruction: its word in capitals, and what follows.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Line {
    pub(super) word: String,
    pub(super) rest: String,
}

/// A Dockerfile that is not built.
pub(super) fn refused(what: impl std::fmt::Display, why: &str) -> Refusal {
    Refusal::forbidden(format_args!("{what} in this Dockerfile"), why)
}

/// Reads them.
pub(super) fn read(bytes: &[u8]) -> Result<Vec<Line>, Refusal> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = str::from_utf8(bytes)
        .map_err(|_no_text| refused("a byte that is not UTF-8", "save the file as UTF-8"))?;
    let mut lines = Vec::new();
    let mut gathered: Option<String> = None;
    for line in text.split('\n') {
        let line = line.strip_suffix('\r').unwrap_or(line);
        if let Some(char) = line.chars().find(|char| is_strange(*char)) {
            let what = format!("the character {}", char.escape_unicode());
            return Err(refused(what, "it can be read in several ways. Take it out"));
        }
        let trimmed = line.trim_start();
        if trimmed.starts_with('#') {
            judge_comment(trimmed)?;
            continue;
        }
        // An empty line within an instruction does not end it.
        if trimmed.is_empty() {
            continue;
        }
        let mut whole = match gathered.take() {
            Some(mut begun) => {
                begun.push_str(line);
                begun
            }
            None => trimmed.to_owned(),
        };
        if whole.len() > LINE_BYTES {
            return Err(refused(
                "an instruction of more than 60000 bytes",
                "put it into a script, and run that",
            ));
        }
        if let Some(begun) = whole.trim_end().strip_suffix('\\') {
            whole.truncate(begun.len());
            gathered = Some(whole);
            continue;
        }
        push(&mut lines, &whole)?;
    }
    if let Some(whole) = gathered {
        push(&mut lines, &whole)?;
    }
    Ok(lines)
}

/// The engine takes a few comments for more than that.
fn judge_comment(comment: &str) -> Result<(), Refusal> {
    let said = comment.trim_start_matches('#').trim();
    let (key, value) = said.split_once('=').unwrap_or((said, ""));
    if key.trim().eq_ignore_ascii_case("escape") && value.trim() != "\\" {
        return Err(refused(
            "an `escape` directive",
            "only the backslash continues a line. Leave the directive out",
        ));
    }
    Ok(())
}

fn push(lines: &mut Vec<Line>, whole: &str) -> Result<(), Refusal> {
    let whole = whole.trim();
    if whole.is_empty() {
        return Ok(());
    }
    if lines.len() >= LINES {
        return Err(refused("more than 5000 instructions", "split the build"));
    }
    let (word, rest) = whole.split_once([' ', '\t']).unwrap_or((whole, ""));
    let line = Line {
        word: word.to_ascii_uppercase(),
        rest: rest.trim().to_owned(),
    };
    if !line.word.bytes().all(|byte| byte.is_ascii_uppercase()) {
        let what = format!("the instruction `{}`", printable(word));
        return Err(refused(what, "it is not known to cordon"));
    }
    // It would continue into what follows when it is read again.
    if line.rest.ends_with('\\') {
        let what = format!("a backslash at the end of `{}`", line.word);
        return Err(refused(what, "nothing follows it. Take it out"));
    }
    lines.push(line);
    Ok(())
}

/// Characters that one program takes for white space or a line's end, and another does not.
fn is_strange(char: char) -> bool {
    (char.is_control() && char != '\t')
        || (char.is_whitespace() && !matches!(char, ' ' | '\t'))
        || matches!(char, '\u{feff}' | '\u{200b}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Vec<(String, String)> {
        let lines = read(text.as_bytes()).unwrap();
        lines
            .into_iter()
            .map(|line| (line.word, line.rest))
            .collect()
    }

    #[test]
    fn a_line_is_an_instruction() {
        let text = "\u{feff}# syntax=docker/dockerfile:1\r\n\tfrom a\r\nRUN a \\  \n  # no\n\n  b \\\n&& c\n";
        let expected = [("FROM", "a"), ("RUN", "a   b && c")];
        let expected = expected.map(|(word, rest)| (word.to_owned(), rest.to_owned()));
        assert_eq!(read_text(text), expected);
        // The last line of a file may end in one.
        assert_eq!(read_text("RUN a \\"), [("RUN".to_owned(), "a".to_owned())]);
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        for text in [
            "RUN a\u{2028}ADD x y",
            "RUN a\u{a0}b",
            "RUN a\rADD x y",
            "RUN a\u{85}b",
            "RUN a\0b",
            "RUN\u{feff} a",
            "#escape=`\nFROM a",
            "# Escape = `\nFROM a",
            "\u{feff}\u{feff}FROM a",
            "R\u{fc}N a",
            "RUN a \\\\",
        ] {
            assert!(read(text.as_bytes()).err().is_some(), "{text:?}");
        }
        assert!(read(b"RUN \xff").err().is_some());
        assert!(
            read(format!("RUN {}", "x".repeat(LINE_BYTES)).as_bytes())
                .err()
                .is_some()
        );
    }
}
