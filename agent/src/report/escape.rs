//! Text that came from a job, made safe to show on a terminal.
//!
//! Names, paths and commands are the job's words: they may hold escape sequences, line feeds,
//! characters that reverse the reading order or that nobody sees. What is not plainly printable is
//! shown as Rust writes it (`\u{202e}`), a backslash as `\\`, so that two different strings never
//! look the same.

use std::borrow::Cow;

/// The text with everything unprintable escaped.
#[must_use]
pub fn escape(text: &str) -> Cow<'_, str> {
    if text.bytes().all(|byte| is_plain(char::from(byte))) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len().saturating_mul(2));
    for character in text.chars() {
        if is_plain(character) || matches!(character, '\'' | '"') {
            escaped.push(character);
        } else {
            // Leaves what the standard library holds printable, and escapes control, format,
            // private, unassigned, separating and combining characters.
            escaped.extend(character.escape_debug());
        }
    }
    Cow::Owned(escaped)
}

fn is_plain(character: char) -> bool {
    matches!(character, ' '..='~') && character != '\\'
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Strings made to harm whoever prints them.
    pub(in crate::report) const HOSTILE: &[&str] = &[
        "\u{1b}[2J\u{1b}[31mgone",
        "\u{9b}31m",
        "line\r\nfeed\t\u{7}",
        "\u{202e}gnp.exe",
        "\u{2066}isolate\u{2069}",
        "zero\u{200b}width\u{200d}\u{feff}\u{ad}",
        "next\u{2028}line\u{85}",
        "tag\u{e0041}\u{e0001}",
        "z\u{334}a\u{334}lgo",
        "\u{0}nul",
        "back\\slash",
    ];

    /// Strings made to become markup, a command or a formula where they are shown.
    pub(in crate::report) const MARKUP: &[&str] = &[
        "<script>alert(1)</script>",
        "</script><img src=x onerror=alert(1)>",
        "</style></title></textarea></pre><h1>x",
        "<!-- <script>",
        "--><b>",
        "]]>",
        "\" onmouseover=\"alert(1)",
        "' autofocus onfocus='alert(1)",
        "`onclick=alert(1)`",
        "&lt;b&gt; &amp;amp; &#60;",
        "{{ 7 * 7 }} {% raw %} ${x}",
        "javascript:alert(1)",
        "[here](javascript:alert(1)) ![x](http://evil.example/x.png)",
        "| a | b |\n|---|---|\n| ` | `` |",
        "# heading\n- item\n> quote\n```\nfence",
        "www.evil.example http://evil.example @somebody #1 :tada: me@evil.example",
        "\\| \\` \\",
        "</details></summary>",
        "::error::hacked",
        "%0A::add-mask::x",
        "##[error]x",
        "a,b:c%25",
        "=HYPERLINK(\"http://evil.example\")",
        "+1+1",
        "-2+3",
        "@SUM(1)",
    ];

    /// Characters that must never reach a terminal as they are.
    pub(in crate::report) fn is_harmful(character: char) -> bool {
        character.is_control()
            || matches!(character,
                '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e0fff}')
    }

    #[test]
    fn plain_text_is_left_alone() {
        assert_eq!(
            escape("/usr/bin/curl -x 'a \"b'"),
            "/usr/bin/curl -x 'a \"b'"
        );
        assert_eq!(escape("größe 漢字"), "größe 漢字");
    }

    #[test]
    fn hostile_text_is_spelled_out() {
        assert_eq!(escape("\u{1b}[2J"), "\\u{1b}[2J");
        assert_eq!(escape("\u{202e}gnp"), "\\u{202e}gnp");
        assert_eq!(escape("a\nb"), "a\\nb");
        assert_eq!(escape("a\\nb"), "a\\\\nb");
        for text in HOSTILE {
            assert!(!escape(text).contains(is_harmful), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_harmful_survives(text in any::<String>()) {
            prop_assert!(!escape(&text).contains(is_harmful));
        }

        #[test]
        fn every_character_alone_is_harmless(character in any::<char>()) {
            prop_assert!(!escape(character.encode_utf8(&mut [0; 4])).contains(is_harmful));
        }

        #[test]
        fn different_texts_look_different(
            one in "[a\\\\nu{}1b3:\u{1b}\n]{0,6}", other in "[a\\\\nu{}1b3:\u{1b}\n]{0,6}",
        ) {
            prop_assert_eq!(escape(&one) == escape(&other), one == other);
        }
    }
}
