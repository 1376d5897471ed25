//! Providers of models.

use super::shape::{ALNUM, BASE64_URL, Cursor, LETTERS, begins};
use super::token::{Part, STATIC, STATIC_LIKELY, simple};
use super::{About, Credential, Format, Mark, Sighting};
use crate::credential::{Class, Confidence, Life, Rule};
use crate::placeholder::is_placeholder;
use crate::scratch::Scratch;

pub(super) const FORMATS: &[Format] = &[
    Format {
        rule: Rule {
            id: "openai-key",
            title: "OpenAI API key",
        },
        marks: &[Mark::Anywhere(OPENAI)],
        about: About {
            check: "`OpenAI` in base64 at its middle",
            life: "until revoked",
            classes: &[Class::Static],
        },
        read: openai,
    },
    simple!(
        "anthropic-key",
        "Anthropic API key",
        b"sk-ant-api03-",
        [Part::Just(BASE64_URL, 93), Part::Text(b"AA")],
        STATIC
    ),
    simple!(
        "anthropic-admin-key",
        "Anthropic admin key",
        b"sk-ant-admin01-",
        [Part::Just(BASE64_URL, 93), Part::Text(b"AA")],
        STATIC
    ),
    simple!(
        "anthropic-oauth-token",
        "Anthropic OAuth token",
        b"sk-ant-oat01-",
        [Part::Just(BASE64_URL, 93), Part::Text(b"AA")],
        STATIC
    ),
    simple!(
        "huggingface-token",
        "Hugging Face access token",
        at_run: "hf_",
        [Part::Run(LETTERS, 34, 34)],
        STATIC
    ),
    simple!(
        "huggingface-org-token",
        "Hugging Face organisation token",
        b"api_org_" from 2,
        [Part::Run(LETTERS, 34, 34)],
        STATIC
    ),
    simple!(
        "groq-key",
        "Groq API key",
        b"gsk_",
        [Part::Run(ALNUM, 52, 52)],
        STATIC
    ),
    simple!(
        "perplexity-key",
        "Perplexity API key",
        b"pplx-",
        [Part::Run(ALNUM, 48, 48)],
        STATIC
    ),
    simple!(
        "xai-key",
        "xAI API key",
        b"xai-",
        [Part::Run(ALNUM, 70, 120)],
        STATIC
    ),
    simple!(
        "replicate-token",
        "Replicate API token",
        at_run: "r8_",
        [Part::Run(ALNUM, 37, 37)],
        STATIC_LIKELY
    ),
];

/// The vendor's name in base64, in the middle of every key.
const OPENAI: &[u8] = b"T3BlbkFJ";

/// The longest half and the longest prefix before it.
const BEFORE_MAX: usize = 96;

/// `sk-`, perhaps a kind, as many characters before the marker as after it.
fn openai(sighting: &Sighting<'_>, _: &mut Scratch<'_>) -> Option<Credential> {
    let Sighting { text, at, .. } = *sighting;
    let before = text.get(..at)?;
    let start = at.checked_sub(BASE64_URL.run_back(before, BEFORE_MAX))?;
    let prefixes = [
        &b"sk-proj-"[..],
        b"sk-svcacct-",
        b"sk-admin-",
        b"sk-None-",
        b"sk-",
    ];
    let run = text.get(start..at)?;
    // The last `sk-` is the key's: what is glued before it is none of its characters.
    let key_at = memchr::memmem::rfind(run, b"sk-")?;
    let start = start.checked_add(key_at)?;
    begins(text, start, ALNUM).then_some(())?;
    let mut cursor = Cursor::new(text, start);
    prefixes
        .iter()
        .any(|prefix| cursor.literal(prefix).is_some())
        .then_some(())?;
    let half = at.checked_sub(cursor.at())?;
    matches!(half, 20 | 58 | 74).then_some(())?;
    let first = cursor.take(BASE64_URL, half)?;
    cursor.literal(OPENAI)?;
    cursor.run(BASE64_URL, half..=half)?;
    (!is_placeholder(first)).then_some(())?;
    Some(Credential::new(
        start..cursor.at(),
        Class::Static,
        Life::Long,
        Confidence::High,
    ))
}
