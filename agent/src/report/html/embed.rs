//! The documents themselves, inside the page: what is downloaded has the digest that was signed.

use crate::report::statement::sha256_hex;

/// Bytes of documents that a page holds at most; the page of a larger job says where its documents are.
const MAX_EMBEDDED: usize = 4 << 20;

/// A document the page was made from.
#[derive(Debug)]
pub(super) struct Embedded {
    pub(super) name: &'static str,
    pub(super) sha256: String,
    pub(super) bytes: usize,
    /// Its text, safe inside of an element of the kind `script`; absent where it is too large.
    pub(super) json: Option<String>,
}

/// The documents, each with its text as long as there is room.
pub(super) fn embedded(files: &[(&'static str, &[u8])]) -> Vec<Embedded> {
    let mut room = MAX_EMBEDDED;
    files
        .iter()
        .map(|(name, file)| {
            let json = inert(file).filter(|text| text.len() <= room);
            room = room.saturating_sub(json.as_ref().map_or(0, String::len));
            Embedded {
                name,
                sha256: sha256_hex(file),
                bytes: file.len(),
                json,
            }
        })
        .collect()
}

/// The text with each `<` in the form that JSON has for it, so that nothing in it ends the element or
/// begins a comment. The page's script turns it back; a file in which that would not give the same
/// bytes is not embedded, nor one with bytes that cordon never writes.
fn inert(file: &[u8]) -> Option<String> {
    const ESCAPED: &str = "\\u003c";
    let text = str::from_utf8(file).ok()?;
    let plain = text
        .bytes()
        .all(|byte| byte == b'\n' || matches!(byte, b' '..=b'~'));
    (plain && !text.contains(ESCAPED)).then(|| text.replace('<', ESCAPED))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_cannot_leave_its_element_and_comes_back_the_same() {
        let file = "{\"a\": \"</script><!-- <script>\"}\n";
        let text = inert(file.as_bytes()).unwrap();
        assert!(!text.contains('<'));
        assert_eq!(text.replace("\\u003c", "<"), file);
    }

    #[test]
    fn what_would_not_come_back_the_same_stays_out() {
        for file in ["{\"a\": \"\\u003c\"}", "\u{1b}", "ä", "\r\n"] {
            assert_eq!(inert(file.as_bytes()), None, "{file:?}");
        }
        assert_eq!(inert(b"\xff"), None);
    }

    #[test]
    fn there_is_room_for_so_much_and_the_rest_is_named() {
        let large = vec![b' '; MAX_EMBEDDED - 1];
        let found = embedded(&[("a", &large), ("b", b"{}"), ("c", b" ")]);
        let there: Vec<_> = found.iter().map(|one| one.json.is_some()).collect();
        assert_eq!(there, [true, false, true]);
        assert_eq!(found[1].sha256, sha256_hex(b"{}"));
    }
}
