//! Tokens that are a prefix and a body: a line for each, and the same ways to be right and wrong.

mod clouds;
mod forges;
mod services;

use super::Case;
use super::random::{ALNUM, BASE64_URL, HEX, Random, UPPER_ALNUM, bech32_sum, crc32, in_base};

/// A piece of a token.
#[derive(Clone, Copy)]
enum Piece {
    Text(&'static str),
    Of(&'static str, usize),
    /// CRC-32 of the body so far, in base 62.
    Crc62,
    /// CRC-32 of the body so far, hexadecimal.
    CrcHex,
    /// CRC-32 of prefix and body but for the last character, bytes in reverse.
    CrcReversed,
    /// CRC-32 of everything so far, upper case.
    CrcAll,
    /// Bech32 of the body so far, all in upper case.
    Bech32,
}
use Piece::{Bech32, Crc62, CrcAll, CrcHex, CrcReversed, Of, Text};

/// A rule's tokens: the prefix, the body, and whether a token one character longer or shorter is none.
struct Token(&'static str, &'static str, &'static [Piece], Exact);

#[derive(Clone, Copy, Eq, PartialEq)]
enum Exact {
    Yes,
    /// Other lengths are tokens too.
    No,
}
use Exact::Yes;

/// Values that only the name of their variable tells from others.
struct Named(&'static str, &'static str, &'static [Piece]);

const NAMED: &[Named] = &[
    Named(
        "cargo-registry-token",
        "CARGO_REGISTRY_TOKEN",
        &[Text("cio"), Of(ALNUM, 32)],
    ),
    Named(
        "heroku-key-legacy",
        "HEROKU_API_KEY",
        &[
            Of(HEX, 8),
            Text("-"),
            Of(HEX, 4),
            Text("-"),
            Of(HEX, 4),
            Text("-"),
            Of(HEX, 4),
            Text("-"),
            Of(HEX, 12),
        ],
    ),
    Named(
        "cloudflare-token-legacy",
        "CLOUDFLARE_API_TOKEN",
        &[Of(BASE64_URL, 40)],
    ),
    Named(
        "cloudflare-key-legacy",
        "CLOUDFLARE_API_KEY",
        &[Of(HEX, 37)],
    ),
    Named("fastly-token", "FASTLY_API_TOKEN", &[Of(BASE64_URL, 32)]),
    Named("vercel-token-legacy", "VERCEL_TOKEN", &[Of(ALNUM, 24)]),
    Named(
        "netlify-token-legacy",
        "NETLIFY_AUTH_TOKEN",
        &[Of(BASE64_URL, 43)],
    ),
    Named("netlify-token-legacy", "NETLIFY_AUTH_TOKEN", &[Of(HEX, 64)]),
    Named("twilio-auth-token", "TWILIO_AUTH_TOKEN", &[Of(HEX, 32)]),
    Named("twilio-api-secret", "TWILIO_API_SECRET", &[Of(ALNUM, 32)]),
    Named(
        "mailgun-signing-key",
        "MAILGUN_API_KEY",
        &[Of(HEX, 32), Text("-"), Of(HEX, 8), Text("-"), Of(HEX, 8)],
    ),
    Named(
        "vault-token-legacy",
        "VAULT_TOKEN",
        &[Text("s."), Of(ALNUM, 24)],
    ),
    Named("datadog-api-key", "DD_API_KEY", &[Of(HEX, 32)]),
    Named("datadog-app-key", "DD_APP_KEY", &[Of(HEX, 40)]),
    Named("snowflake-pat", "SNOWFLAKE_PAT", &[Of(BASE64_URL, 220)]),
    Named("gitlab-job-token-legacy", "CI_JOB_TOKEN", &[Of(ALNUM, 20)]),
    Named(
        "actions-job-token",
        "ACTIONS_RUNTIME_TOKEN",
        &[Of(BASE64_URL, 120)],
    ),
    Named(
        "twilio-account-sid",
        "TWILIO_ACCOUNT_SID",
        &[Text("AC"), Of(HEX, 32)],
    ),
    Named(
        "gitlab-deploy-password",
        "CI_DEPLOY_PASSWORD",
        &[Of(ALNUM, 20)],
    ),
    Named(
        "buildkite-agent-access-token-legacy",
        "BUILDKITE_AGENT_ACCESS_TOKEN",
        &[Of(HEX, 40)],
    ),
    Named(
        "github-runner-registration",
        "RUNNER_TOKEN",
        &[Of(UPPER_ALNUM, 29)],
    ),
    Named(
        "azure-pipelines-job-token",
        "SYSTEM_ACCESSTOKEN",
        &[Of(BASE64_URL, 90)],
    ),
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let tables = [forges::TOKENS, clouds::TOKENS, services::TOKENS];
    for (place, token) in tables.into_iter().flatten().enumerate() {
        // Two tokens of one rule are different ones.
        let mut random = Random::of(&format!("{}{place}", token.0));
        right(token, &mut random, &mut cases);
        wrong(token, &mut random, &mut cases);
    }
    for Named(rule, variable, pieces) in NAMED {
        let text = body("", pieces, &mut Random::of(rule));
        let why = "the whole value of a variable that is called so";
        cases.push(Case::found(rule, text.clone(), why).named(variable));
        let quoted = format!("\"{text}\"\n");
        cases.push(Case::found(rule, quoted, "in quotes and with a line break").named(variable));
        let masked = "x".repeat(text.len());
        cases.push(Case::nothing(masked, "masked").named(variable));
        if !text.starts_with("cio") {
            cases.push(Case::nothing("/run/secrets/token", "a path").named(variable));
            cases.push(Case::nothing(text, "no name says what it is").named("CACHE_KEY"));
        }
    }
    cases
}

fn right(token: &Token, random: &mut Random, cases: &mut Vec<Case>) {
    let Token(rule, prefix, pieces, _) = *token;
    let mut whole = || format!("{prefix}{}", body(prefix, pieces, random));
    cases.push(Case::found(rule, whole(), "alone"));
    cases.push(Case::found(
        rule,
        format!("--token={}", whole()),
        "behind an option",
    ));
    let text = format!("{{\"token\": \"{}\", \"n\": 1}}", whole());
    cases.push(Case::found(rule, text, "in a JSON document"));
    let text = format!("a%3D{}&b=2", whole());
    cases.push(Case::found(rule, text, "glued to an escaped equals sign"));
    // Shorter prefixes are looked for at the start of words; the `n` makes it another word, until the
    // engine has decoded the escape.
    if prefix.is_empty() || prefix.len() >= 4 {
        let text = format!("first\\n{}\\nlast", whole());
        cases.push(Case::found(rule, text, "between line breaks in letters"));
    }
}

fn wrong(token: &Token, random: &mut Random, cases: &mut Vec<Case>) {
    let Token(_, prefix, pieces, exact) = *token;
    let text = format!("{prefix}{}", body(prefix, pieces, random));
    if !prefix.is_empty() {
        cases.push(Case::nothing(prefix, "a prefix without a body"));
        cases.push(Case::nothing(
            format!("{prefix}${{TOKEN}}"),
            "a reference as body",
        ));
    }
    cases.push(Case::nothing(
        format!("b{text}"),
        "the end of a longer word",
    ));
    let dummy: String = pieces
        .iter()
        .map(|piece| match piece {
            Text(text) => (*text).to_owned(),
            Of(alphabet, count) => {
                let fill = if alphabet.contains('x') {
                    "x"
                } else {
                    &alphabet[1..2]
                };
                fill.repeat(*count)
            }
            Crc62 => "x".repeat(6),
            CrcHex | CrcReversed | CrcAll => "0".repeat(8),
            Bech32 => "q".repeat(6),
        })
        .collect();
    let dummy = if prefix.starts_with("AGE") {
        dummy.to_uppercase()
    } else {
        dummy
    };
    cases.push(Case::nothing(
        format!("{prefix}{dummy}"),
        "one character again and again",
    ));
    if exact == Yes {
        let shorter = &text[..text.len() - 1];
        cases.push(Case::nothing(shorter, "a character short"));
        let with_more = format!("{text}a");
        cases.push(Case::nothing(with_more, "a character too long"));
    }
}

fn body(prefix: &str, pieces: &[Piece], random: &mut Random) -> String {
    let mut body = String::new();
    for piece in pieces {
        let next = match piece {
            Text(text) => (*text).to_owned(),
            Of(alphabet, count) => random.text(alphabet, *count),
            Crc62 => in_base(crc32(body.as_bytes()).into(), ALNUM, 6),
            CrcHex => format!("{:08x}", crc32(body.as_bytes())),
            CrcReversed => {
                let before = format!("{prefix}{}", body.trim_end_matches('_'));
                format!("{:08x}", crc32(before.as_bytes()).swap_bytes())
            }
            CrcAll => format!("{:08X}", crc32(format!("{prefix}{body}").as_bytes())),
            Bech32 => {
                let sum = bech32_sum("age-secret-key-", &body);
                body = body.to_uppercase();
                sum.to_uppercase()
            }
        };
        body.push_str(&next);
    }
    body
}
