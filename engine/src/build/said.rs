//! What the engine says of a build: one JSON object a line, among them the id of what was built.

use serde_json::Value;

use super::dockerfile::is_id;

/// Longest line that is looked at.
const LINE_BYTES: usize = 64 << 10;

/// Listens for the image.
#[derive(Clone, Debug, Default)]
pub struct Said {
    /// The client wants no more than the id; then nothing else is said in its form.
    quiet: bool,
    line: Vec<u8>,
    too_long: bool,
    image: Option<String>,
    failed: bool,
}

impl Said {
    /// One that has heard nothing.
    #[must_use]
    pub fn new(quiet: bool) -> Self {
        Self {
            quiet,
            ..Self::default()
        }
    }

    /// Hears some bytes.
    pub fn hear(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if *byte == b'\n' {
                self.line_ends();
            } else if self.line.len() < LINE_BYTES {
                self.line.push(*byte);
            } else {
                self.too_long = true;
            }
        }
    }

    fn line_ends(&mut self) {
        let line = std::mem::take(&mut self.line);
        if std::mem::take(&mut self.too_long) {
            return;
        }
        let Ok(Value::Object(said)) = serde_json::from_slice(&line) else {
            return;
        };
        self.failed |= said.contains_key("error") || said.contains_key("errorDetail");
        let id = match said.get("aux").and_then(|aux| aux.get("ID")) {
            Some(id) => id.as_str(),
            None if self.quiet => said.get("stream").and_then(Value::as_str),
            None => None,
        };
        let id = id.and_then(|id| id.trim().strip_prefix("sha256:"));
        if let Some(id) = id.filter(|id| is_id(id)) {
            self.image = Some(id.to_owned());
        }
    }

    /// The image's id without its prefix, if the build went well.
    #[must_use]
    pub fn image(&self) -> Option<&str> {
        self.image.as_deref().filter(|_| !self.failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_what_the_engine_says_it_is() {
        let id = "ab".repeat(32);
        let aux = format!("{{\"aux\":{{\"ID\":\"sha256:{id}\"}}}}\r\n");
        let stream = format!("{{\"stream\":\"sha256:{id}\\n\"}}\r\n");
        let heard = |quiet, pieces: &[&str]| {
            let mut said = Said::new(quiet);
            for piece in pieces {
                said.hear(piece.as_bytes());
            }
            said.image().map(str::to_owned)
        };
        let (front, back) = aux.split_at(20);
        assert_eq!(heard(false, &[front, back]), Some(id.clone()));
        assert_eq!(heard(true, &[&stream]), Some(id));
        // What a step prints is nothing but that.
        assert_eq!(heard(false, &[&stream]), None);
        assert_eq!(heard(false, &[&aux, "{\"error\":\"no\"}\n"]), None);
        assert_eq!(
            heard(false, &["{\"aux\":{\"ID\":\"sha256:x\"}}\n", "x\n", "[]\n"]),
            None
        );
        assert_eq!(heard(false, &[&" ".repeat(LINE_BYTES + 1), &aux]), None);
    }
}
