//! What a template may put into a page: every value, made visible and then harmless in HTML.
//!
//! **Invariant**: templates have no other way to write a value; `tests` prove that none of them turns
//! escaping off, but for the style sheet, the script and embedded JSON, which are made safe where
//! they come from.

use std::fmt::{self, Write};

use askama::filters::Escaper;

use crate::report::escape::escape;

/// Characters of a value that are shown: a job can call a file what it likes, and the page is to stay
/// one that somebody reads. The documents have all of it.
const LONGEST: usize = 512;

/// The escaper of all HTML templates; `askama.toml` names it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shown;

impl Escaper for Shown {
    fn write_escaped_str<W: Write>(&self, mut dest: W, string: &str) -> fmt::Result {
        let (kept, left_out) = beginning(string);
        let visible = escape(kept);
        let mut rest = visible.as_ref();
        while let Some((place, entity)) = next_special(rest) {
            let (before, after) = rest.split_at_checked(place).unwrap_or((rest, ""));
            dest.write_str(before)?;
            dest.write_str(entity)?;
            rest = after.get(1..).unwrap_or_default();
        }
        dest.write_str(rest)?;
        if left_out > 0 {
            write!(dest, "… ({left_out} more characters)")?;
        }
        Ok(())
    }
}

/// What is shown of a text, and how many characters are not.
fn beginning(text: &str) -> (&str, usize) {
    let cut = text.char_indices().nth(LONGEST);
    let parts = cut.and_then(|(place, _)| text.split_at_checked(place));
    parts.map_or((text, 0), |(kept, rest)| (kept, rest.chars().count()))
}

/// The first character that means something in HTML, in text or in a quoted attribute.
fn next_special(text: &str) -> Option<(usize, &'static str)> {
    text.bytes().enumerate().find_map(|(place, byte)| {
        let entity = match byte {
            b'&' => "&amp;",
            b'<' => "&lt;",
            b'>' => "&gt;",
            b'"' => "&quot;",
            b'\'' => "&#39;",
            _ => return None,
        };
        Some((place, entity))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::report::escape::tests::{HOSTILE, is_harmful};

    fn shown(text: &str) -> String {
        let mut page = String::new();
        Shown.write_escaped_str(&mut page, text).unwrap();
        page
    }

    #[test]
    fn what_means_something_is_written_as_an_entity() {
        assert_eq!(
            shown("<a href='x'>\"&amp;\"</a> größe"),
            "&lt;a href=&#39;x&#39;&gt;&quot;&amp;amp;&quot;&lt;/a&gt; größe"
        );
    }

    #[test]
    fn a_text_without_end_is_cut_and_says_so() {
        let page = shown(&"é<".repeat(LONGEST));
        assert!(page.ends_with("é&lt;… (512 more characters)"), "{page}");
        assert_eq!(shown(&"a".repeat(LONGEST)), "a".repeat(LONGEST));
    }

    #[test]
    fn what_nobody_sees_is_spelled_out() {
        assert_eq!(shown("\u{202e}<\u{200b}"), "\\u{202e}&lt;\\u{200b}");
        for text in HOSTILE {
            assert!(!shown(text).contains(is_harmful), "{text:?}");
        }
    }

    #[test]
    fn no_template_turns_escaping_off_except_for_what_is_safe_by_itself() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("templates/report");
        let mut places = vec![];
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let text = crate::sys::fs::read_to_string(&path, 1 << 20).unwrap();
            let tags = text.split("{{").skip(1);
            let tags = tags.filter_map(|rest| rest.split("}}").next());
            places.extend(
                tags.filter(|tag| tag.contains('|'))
                    .map(|tag| tag.trim().to_owned()),
            );
            assert!(
                !text.contains("{% filter") && !text.contains("{% autoescape"),
                "{path:?}"
            );
        }
        places.sort();
        assert_eq!(places, ["json|safe", "script|safe", "style|safe"]);
    }

    proptest! {
        #[test]
        fn no_text_reaches_the_page_as_markup(text in any::<String>()) {
            let page = shown(&text);
            prop_assert!(!page.contains(['<', '>', '"', '\'']));
            prop_assert!(!page.contains(is_harmful));
            let entities = ["amp;", "lt;", "gt;", "quot;", "#39;"];
            for rest in page.split('&').skip(1) {
                prop_assert!(entities.iter().any(|entity| rest.starts_with(entity)), "{}", rest);
            }
        }
    }
}
