//! Why a request is refused, in the engine's own form, so that every client shows it.

use std::fmt;

/// A request that is not passed on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// What is refused, why, and what to change. One line.
    pub message: String,
}

impl Refusal {
    /// Something a job may not have (403).
    #[must_use]
    pub fn forbidden(what: impl fmt::Display, why: impl fmt::Display) -> Self {
        Self::new(403, format_args!("{what} is refused: {why}"))
    }

    /// A request that is not understood (400): what is not known may mean anything.
    #[must_use]
    pub fn unknown(what: impl fmt::Display) -> Self {
        Self::new(
            400,
            format_args!("{what} is not known to cordon, and so refused"),
        )
    }

    /// Something that is not there, or that is another's (404): a job does not learn which.
    #[must_use]
    pub fn missing(what: &str, name: &str) -> Self {
        let name = printable(name);
        Self::new(404, format_args!("no such {what} of this job: {name}"))
    }

    /// The same for a container that is to be made (409): clients take 404 for an image that is not there,
    /// fetch it, and tell of that.
    #[must_use]
    pub fn of_create(self) -> Self {
        let status = match self.status {
            404 => 409,
            other => other,
        };
        Self { status, ..self }
    }

    /// The engine, or cordon, did not do its part (502).
    #[must_use]
    pub fn failed(what: impl fmt::Display) -> Self {
        Self::new(502, what)
    }

    fn new(status: u16, message: impl fmt::Display) -> Self {
        Self {
            status,
            message: format!("cordon: {message}"),
        }
    }

    /// The body of the answer.
    #[must_use]
    pub fn body(&self) -> String {
        serde_json::json!({ "message": self.message }).to_string()
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Refusal {}

/// Longest piece of a request that is repeated in an answer.
const SHOWN: usize = 128;

/// The job's own words, for an answer: bounded, and without control characters.
#[must_use]
pub fn printable(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .take(SHOWN)
        .map(|char| if char.is_control() { '?' } else { char })
        .collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_has_the_engines_form() {
        let refusal = Refusal::forbidden("`--privileged`", "it leaves the sandbox \"\n");
        let body: serde_json::Value = serde_json::from_str(&refusal.body()).unwrap();
        let message = body.get("message").and_then(|message| message.as_str());
        assert_eq!(message, Some(refusal.message.as_str()));
        assert_eq!(refusal.status, 403);
    }

    #[test]
    fn a_client_does_not_take_what_a_container_needs_for_its_image() {
        let refusal = Refusal::missing("container", "other").of_create();
        assert_eq!(refusal.status, 409);
        assert_eq!(Refusal::failed("x").of_create().status, 502);
    }

    #[test]
    fn what_is_repeated_is_short_and_harmless() {
        assert_eq!(printable("a\u{1b}[2J"), "a?[2J");
        assert_eq!(printable(&"x".repeat(1000)).chars().count(), SHOWN + 1);
    }
}
