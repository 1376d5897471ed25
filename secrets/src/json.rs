//! JSON, read in place: every text and number of a document with its key, without a copy.
//!
//! It says what is there, and no more: no tree, no number types, no check for keys that come twice.
//! Control characters inside texts are let through, as variables with real line breaks in a document
//! are common. Depth and length are bounded.

/// Levels of objects and arrays; deeper documents are not read to the end.
const DEPTH: usize = 32;

/// A text between its quotes, as written.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Text<'t> {
    /// The bytes between the quotes, with their escapes.
    pub(crate) raw: &'t [u8],
    /// Where they begin in what was given to [`Fields::of`].
    pub(crate) at: usize,
}

/// What a field holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Value<'t> {
    Text(Text<'t>),
    Number(&'t [u8]),
    /// `true`, `false`, `null`.
    Word(&'t [u8]),
}

/// A value that is neither object nor array.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Field<'t> {
    /// The key of the object it is in; inside arrays that of the array. Empty where there is none.
    pub(crate) key: Text<'t>,
    /// How many objects and arrays it is in.
    pub(crate) depth: usize,
    pub(crate) value: Value<'t>,
}

/// Reads the fields of one document, one after the other. It ends early where the document is not
/// JSON; [`Fields::end`] tells.
pub(crate) struct Fields<'t> {
    text: &'t [u8],
    at: usize,
    levels: [Level<'t>; DEPTH],
    depth: usize,
    next: Next,
}

#[derive(Clone, Copy, Default)]
struct Level<'t> {
    /// Whether it is an object.
    keyed: bool,
    /// The key that is read, or the one the array has.
    key: Text<'t>,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Next {
    Value,
    ValueOrEnd,
    Key,
    KeyOrEnd,
    CommaOrEnd,
    /// The document is read.
    Nothing,
    /// It is no document.
    Wrong,
}

impl<'t> Fields<'t> {
    /// The document that begins at `at`, or after white space there, and is at most `limit` bytes long.
    pub(crate) fn of(text: &'t [u8], at: usize, limit: usize) -> Self {
        let end = at.saturating_add(limit).min(text.len());
        Self {
            text: text.get(..end).unwrap_or_default(),
            at,
            levels: [Level::default(); DEPTH],
            depth: 0,
            next: Next::Value,
        }
    }

    /// Where the document ends, if all of it was read and is JSON.
    pub(crate) fn end(&self) -> Option<usize> {
        (self.next == Next::Nothing).then_some(self.at)
    }

    fn rest(&self) -> &'t [u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn pass(&mut self, bytes: usize) {
        self.at = self.at.saturating_add(bytes);
    }

    fn white(&mut self) -> Option<u8> {
        let white = self.rest().iter();
        let count = white.take_while(|byte| byte.is_ascii_whitespace()).count();
        self.pass(count);
        self.rest().first().copied()
    }

    /// One step; `Some` if it was a field.
    fn step(&mut self) -> Option<Field<'t>> {
        let Some(byte) = self.white() else {
            self.next = Next::Wrong;
            return None;
        };
        match (self.next, byte) {
            (Next::Value | Next::ValueOrEnd, b'{') => self.open(true),
            (Next::Value | Next::ValueOrEnd, b'[') => self.open(false),
            (Next::KeyOrEnd | Next::CommaOrEnd, b'}')
            | (Next::ValueOrEnd | Next::CommaOrEnd, b']') => {
                self.close(byte);
            }
            (Next::CommaOrEnd, b',') => {
                self.pass(1);
                self.next = if self.level().is_some_and(|level| level.keyed) {
                    Next::Key
                } else {
                    Next::Value
                };
            }
            (Next::Key | Next::KeyOrEnd, b'"') => self.key(),
            (Next::Value | Next::ValueOrEnd, _) => return self.value(byte),
            _ => self.next = Next::Wrong,
        }
        None
    }

    fn level(&mut self) -> Option<&mut Level<'t>> {
        self.levels.get_mut(self.depth.checked_sub(1)?)
    }

    fn open(&mut self, keyed: bool) {
        let key = self.level().map_or_else(Text::default, |level| level.key);
        let Some(level) = self.levels.get_mut(self.depth) else {
            self.next = Next::Wrong;
            return;
        };
        *level = Level { keyed, key };
        self.depth = self.depth.saturating_add(1);
        self.pass(1);
        self.next = if keyed {
            Next::KeyOrEnd
        } else {
            Next::ValueOrEnd
        };
    }

    fn close(&mut self, with: u8) {
        let keyed = self.level().is_some_and(|level| level.keyed);
        if keyed != (with == b'}') {
            self.next = Next::Wrong;
            return;
        }
        self.depth = self.depth.saturating_sub(1);
        self.pass(1);
        self.after_value();
    }

    const fn after_value(&mut self) {
        self.next = match self.depth {
            0 => Next::Nothing,
            _ => Next::CommaOrEnd,
        };
    }

    fn key(&mut self) {
        let key = self.quoted();
        if let (Some(key), Some(b':')) = (key, self.white()) {
            self.pass(1);
            if let Some(level) = self.level() {
                level.key = key;
            }
            self.next = Next::Value;
        } else {
            self.next = Next::Wrong;
        }
    }

    fn value(&mut self, byte: u8) -> Option<Field<'t>> {
        let value = match byte {
            b'"' => self.quoted().map(Value::Text),
            b'-' | b'0'..=b'9' => {
                Some(Value::Number(self.run(|byte| {
                    matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')
                })))
            }
            _ => Some(self.run(|byte| byte.is_ascii_lowercase()))
                .filter(|word| matches!(*word, b"true" | b"false" | b"null"))
                .map(Value::Word),
        };
        let Some(value) = value else {
            self.next = Next::Wrong;
            return None;
        };
        let key = self.level().map_or_else(Text::default, |level| level.key);
        self.after_value();
        Some(Field {
            key,
            depth: self.depth,
            value,
        })
    }

    fn run(&mut self, of: impl Fn(u8) -> bool) -> &'t [u8] {
        let rest = self.rest();
        let count = rest.iter().take_while(|byte| of(**byte)).count();
        self.pass(count);
        rest.get(..count).unwrap_or_default()
    }

    /// The text that begins with the quote here.
    fn quoted(&mut self) -> Option<Text<'t>> {
        self.pass(1);
        let at = self.at;
        loop {
            let stop = memchr::memchr2(b'"', b'\\', self.rest())?;
            self.pass(stop);
            if self.rest().first() == Some(&b'"') {
                let raw = self.text.get(at..self.at)?;
                self.pass(1);
                return Some(Text { raw, at });
            }
            self.pass(2);
        }
    }
}

impl<'t> Iterator for Fields<'t> {
    type Item = Field<'t>;

    fn next(&mut self) -> Option<Field<'t>> {
        while !matches!(self.next, Next::Nothing | Next::Wrong) {
            let field = self.step();
            if field.is_some() {
                return field;
            }
        }
        None
    }
}

impl<'t> Field<'t> {
    /// The text it holds, if this is its key and it stands in the outermost object.
    pub(crate) fn top(&self, key: &str) -> Option<Text<'t>> {
        match self.value {
            Value::Text(text) if self.is_top(key) => Some(text),
            _ => None,
        }
    }

    /// The number it holds, without its fraction, if this is its key and it stands in the outermost object.
    pub(crate) fn top_number(&self, key: &str) -> Option<i64> {
        match self.value {
            Value::Number(number) if self.is_top(key) => integer(number),
            _ => None,
        }
    }

    fn is_top(&self, key: &str) -> bool {
        self.depth == 1 && self.key.raw == key.as_bytes()
    }
}

/// A number without its fraction; none with an exponent or beyond 64 bits.
fn integer(number: &[u8]) -> Option<i64> {
    let whole = number.split(|byte| *byte == b'.').next()?;
    std::str::from_utf8(whole).ok()?.parse().ok()
}

impl Text<'_> {
    /// What is meant, in memory of the caller. `None` if it does not fit or an escape is wrong.
    pub(crate) fn unescape<'m>(&self, into: &'m mut [u8]) -> Option<&'m [u8]> {
        let mut rest = self.raw;
        let mut written: usize = 0;
        while let [first, others @ ..] = rest {
            let mut utf8 = [0; 4];
            let bytes: &[u8] = if *first == b'\\' {
                let (character, after) = escape(others)?;
                rest = after;
                character.encode_utf8(&mut utf8).as_bytes()
            } else {
                rest = others;
                std::slice::from_ref(first)
            };
            let end = written.checked_add(bytes.len())?;
            into.get_mut(written..end)?.copy_from_slice(bytes);
            written = end;
        }
        into.get(..written)
    }
}

/// The character an escape stands for, and what follows; `after` begins behind the backslash.
fn escape(after: &[u8]) -> Option<(char, &[u8])> {
    let (kind, rest) = after.split_first()?;
    let character = match kind {
        b'"' | b'\\' | b'/' => char::from(*kind),
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => return unicode(rest),
        _ => return None,
    };
    Some((character, rest))
}

fn unicode(rest: &[u8]) -> Option<(char, &[u8])> {
    let (high, after) = hex4(rest)?;
    if let Some(character) = char::from_u32(high) {
        return Some((character, after));
    }
    // The first half of a pair; the second must follow.
    let (low, after) = hex4(after.strip_prefix(b"\\u")?)?;
    let units = [u16::try_from(high).ok()?, u16::try_from(low).ok()?];
    let character = char::decode_utf16(units).next()?.ok()?;
    Some((character, after))
}

fn hex4(text: &[u8]) -> Option<(u32, &[u8])> {
    let (digits, rest) = text.split_first_chunk::<4>()?;
    digits.iter().all(u8::is_ascii_hexdigit).then_some(())?;
    let number = u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    Some((number, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> (Vec<(String, usize, String)>, Option<usize>) {
        let mut fields = Fields::of(text.as_bytes(), 0, usize::MAX);
        let mut found = Vec::new();
        for field in fields.by_ref() {
            let value = match field.value {
                Value::Text(text) => text.raw,
                Value::Number(raw) | Value::Word(raw) => raw,
            };
            let text = |raw: &[u8]| String::from_utf8(raw.to_vec()).unwrap();
            found.push((text(field.key.raw), field.depth, text(value)));
        }
        (found, fields.end())
    }

    #[test]
    fn every_field_comes_with_its_key_and_depth() {
        let text =
            r#" {"a": "x", "b": {"c": [1, -2.5e3, {"d": null}], "e": {}}, "f": [true, []]} tail"#;
        let (found, end) = read(text);
        let found: Vec<(&str, usize, &str)> = found
            .iter()
            .map(|(key, depth, value)| (key.as_str(), *depth, value.as_str()))
            .collect();
        assert_eq!(
            found,
            [
                ("a", 1, "x"),
                ("c", 3, "1"),
                ("c", 3, "-2.5e3"),
                ("d", 4, "null"),
                ("f", 2, "true"),
            ]
        );
        assert_eq!(end, text.find(" tail"));
    }

    #[test]
    fn what_is_no_json_has_no_end() {
        for text in [
            "",
            "{",
            "[1,]",
            r#"{"a" 1}"#,
            r#"{"a":1,}"#,
            "{]",
            "[}",
            "nul",
            r#"{"a":"x"#,
            "}",
            "{,}",
            r#"{"a":\"x\"}"#,
        ] {
            assert_eq!(read(text).1, None, "{text:?}");
        }
        assert_eq!(read(&"[".repeat(DEPTH)).1, None);
        let nested = "[".repeat(DEPTH) + &"]".repeat(DEPTH);
        assert!(read(&nested).1.is_some());
        let deeper = "[".repeat(DEPTH + 1) + &"]".repeat(DEPTH + 1);
        assert_eq!(read(&deeper).1, None, "deeper than it goes");
    }

    #[test]
    fn only_fields_of_the_outermost_object_are_at_the_top() {
        let text = br#"{"in": {"a": "1", "n": 1}, "list": ["x"], "a": "2", "n": 2.5}"#;
        let fields = || Fields::of(text, 0, text.len());
        let a: Vec<&[u8]> = fields()
            .filter_map(|field| Some(field.top("a")?.raw))
            .collect();
        let n: Vec<i64> = fields().filter_map(|field| field.top_number("n")).collect();
        assert_eq!((a, n), (vec![&b"2"[..]], vec![2]));
        assert!(fields().all(|field| field.top("list").is_none() && field.top("n").is_none()));
    }

    #[test]
    fn escapes_mean_what_rfc_8259_says() {
        let text = Text {
            raw: br#"a\n\"\\\/\u0041\u00e9\ud83d\ude00"#,
            at: 0,
        };
        let mut memory = [0; 64];
        assert_eq!(
            text.unescape(&mut memory),
            Some("a\n\"\\/A\u{e9}\u{1f600}".as_bytes())
        );
        let mut short = [0; 4];
        assert_eq!(text.unescape(&mut short), None);
        for wrong in [&br"\q"[..], br"\u12", br"\ud83d", br"\ud83d\u0041", br"\"] {
            assert_eq!(Text { raw: wrong, at: 0 }.unescape(&mut memory), None);
        }
    }

    #[test]
    fn numbers_lose_their_fraction() {
        assert_eq!(integer(b"1700000000"), Some(1_700_000_000));
        assert_eq!(integer(b"-1.75"), Some(-1));
        assert_eq!(integer(b"1e9"), None);
        assert_eq!(integer(b"99999999999999999999"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_to_an_end(bytes: Vec<u8>, at in 0..20_usize) {
            let mut fields = Fields::of(&bytes, at, 64);
            let count = fields.by_ref().count();
            prop_assert!(count <= bytes.len());
            prop_assert!(fields.end().is_none_or(|end| end <= bytes.len()));
        }

        #[test]
        fn it_agrees_with_a_whole_parser_on_brackets_and_texts(text in r#"[\[\]{}",:a1\\ ]{0,12}"#) {
            // Every complete document has balanced brackets outside its texts.
            if let (_, Some(end)) = read(&text) {
                let mut inside = false;
                let mut escaped = false;
                let mut open = 0_usize;
                for byte in text.bytes().take(end) {
                    match byte {
                        _ if escaped => escaped = false,
                        b'\\' if inside => escaped = true,
                        b'"' => inside = !inside,
                        b'[' | b'{' if !inside => open = open.saturating_add(1),
                        b']' | b'}' if !inside => open = open.checked_sub(1).unwrap(),
                        _ => {}
                    }
                }
                prop_assert_eq!((open, inside), (0, false));
            }
        }
    }
}
