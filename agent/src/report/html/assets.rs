//! The style sheet, the script, and the policy that lets a browser use these two and nothing else.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

pub(super) const STYLE: &str = include_str!("../../../templates/report/style.css");
pub(super) const SCRIPT: &str = include_str!("../../../templates/report/script.js");

/// Value of the `Content-Security-Policy`: no address is ever asked, and of code and styles only ours
/// are used, whatever a page might be made to hold.
pub(super) fn policy() -> String {
    format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; base-uri 'none'; \
         form-action 'none'",
        digest(STYLE),
        digest(SCRIPT)
    )
}

fn digest(text: &str) -> String {
    STANDARD.encode(Sha256::digest(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_ends_its_element_early_or_asks_for_anything() {
        for text in [STYLE, SCRIPT] {
            assert!(!text.contains("</") && !text.contains("<!--"));
            for way in [
                "http:", "https:", "//", "url(", "@import", "fetch(", "import(",
            ] {
                assert!(!text.contains(way), "{way}");
            }
        }
    }
}
