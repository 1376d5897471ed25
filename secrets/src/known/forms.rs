//! How a value looks where somebody has quoted it, and which of its lines stand for it.

use super::{Form, SHORTEST_LINE};

/// Writes a value in another form; how long that is, or `None` if it has no room.
pub(super) type Escape = fn(&[u8], &mut [u8]) -> Option<usize>;

/// The forms that are not the value itself.
pub(super) const ESCAPES: [(Form, Escape); 4] = [
    (Form::Json, json),
    (Form::Percent, percent),
    (Form::Quoted, quoted),
    (Form::Backslashed, backslashed),
];

/// The lines of a value of several lines that are long enough and say something.
pub(super) fn lines(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let several = value.contains(&b'\n');
    let lines = value.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    lines.filter(move |line| several && line.len() >= SHORTEST_LINE && !is_boilerplate(line))
}

/// What is in many values: the first and last lines of PEM, its headers, a line of one character.
fn is_boilerplate(line: &[u8]) -> bool {
    line.starts_with(b"-----")
        || line.starts_with(b"Proc-Type:")
        || line.starts_with(b"DEK-Info:")
        || line
            .iter()
            .zip(line.iter().skip(1))
            .all(|(one, next)| one == next)
}

/// A place that bytes are written to, one after the other.
struct Writer<'b> {
    to: &'b mut [u8],
    length: usize,
}

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) -> Option<()> {
        let end = self.length.checked_add(bytes.len())?;
        self.to.get_mut(self.length..end)?.copy_from_slice(bytes);
        self.length = end;
        Some(())
    }
}

fn each(
    value: &[u8],
    to: &mut [u8],
    put: impl Fn(&mut Writer<'_>, u8) -> Option<()>,
) -> Option<usize> {
    let mut writer = Writer { to, length: 0 };
    value.iter().try_for_each(|byte| put(&mut writer, *byte))?;
    Some(writer.length)
}

fn json(value: &[u8], to: &mut [u8]) -> Option<usize> {
    each(value, to, |writer, byte| match byte {
        b'"' => writer.put(b"\\\""),
        b'\\' => writer.put(b"\\\\"),
        b'\n' => writer.put(b"\\n"),
        b'\r' => writer.put(b"\\r"),
        b'\t' => writer.put(b"\\t"),
        0..0x20 => {
            writer.put(b"\\u00")?;
            writer.put(&hex(byte, b"0123456789abcdef"))
        }
        other => writer.put(&[other]),
    })
}

fn percent(value: &[u8], to: &mut [u8]) -> Option<usize> {
    each(value, to, |writer, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            return writer.put(&[byte]);
        }
        writer.put(b"%")?;
        writer.put(&hex(byte, b"0123456789ABCDEF"))
    })
}

fn quoted(value: &[u8], to: &mut [u8]) -> Option<usize> {
    each(value, to, |writer, byte| match byte {
        b'\'' => writer.put(b"'\\''"),
        other => writer.put(&[other]),
    })
}

fn backslashed(value: &[u8], to: &mut [u8]) -> Option<usize> {
    each(value, to, |writer, byte| {
        let is_plain =
            byte.is_ascii_alphanumeric() || b"%+,-./:=@_".contains(&byte) || byte >= 0x80;
        if is_plain {
            return writer.put(&[byte]);
        }
        writer.put(&[b'\\', byte])
    })
}

fn hex(byte: u8, digits: &[u8; 16]) -> [u8; 2] {
    let digit = |of: u8| digits.get(usize::from(of)).copied().unwrap_or(b'0');
    [digit(byte >> 4), digit(byte & 0xf)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(escape: Escape, value: &[u8]) -> String {
        let mut buffer = [0; 64];
        let length = escape(value, &mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    #[test]
    fn values_look_as_each_tool_writes_them() {
        let value = b"a'b\"c d/\n\x01";
        assert_eq!(escaped(json, value), r#"a'b\"c d/\n\u0001"#);
        assert_eq!(escaped(percent, value), "a%27b%22c%20d%2F%0A%01");
        assert_eq!(escaped(quoted, b"a'b"), r"a'\''b");
        assert_eq!(escaped(backslashed, b"a'b$c"), r"a\'b\$c");
    }

    #[test]
    fn what_has_no_room_is_not_written() {
        assert_eq!(percent(b"////", &mut [0; 11]), None);
    }

    #[test]
    fn lines_that_say_something_are_kept() {
        let value = b"-----BEGIN KEY-----\nMIIEvQIBADANBg\nshort\naaaaaaaaaaaaaa\n  kqhkiG9w0BAQE\r\n-----END KEY-----";
        let kept: Vec<&[u8]> = lines(value).collect();
        assert_eq!(kept, [&b"MIIEvQIBADANBg"[..], b"kqhkiG9w0BAQE"]);
        assert_eq!(lines(b"one line that is long").count(), 0);
    }
}
