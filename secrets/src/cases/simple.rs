//! Tokens that are a prefix and a body: a line for each, and the same ways to be right and wrong.

use super::Case;
use super::random::{
    ALNUM, BASE58, BASE64_URL, DIGITS, HEX, LETTERS, LOWER_ALNUM, Random, UPPER_ALNUM, bech32_sum,
    crc32, in_base,
};

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
use Exact::{No, Yes};

/// Prefixes are in two halves where the whole would be taken for a secret by others.
const TOKENS: &[Token] = &[
    Token("github-pat", "ghp_", &[Of(ALNUM, 30), Crc62], No),
    Token("github-oauth", "gho_", &[Of(ALNUM, 30), Crc62], No),
    Token("github-app-user", "ghu_", &[Of(ALNUM, 30), Crc62], No),
    Token("github-refresh", "ghr_", &[Of(ALNUM, 30), Crc62], No),
    Token("github-refresh", "ghr_", &[Of(ALNUM, 76)], No),
    Token(
        "github-app-installation",
        "ghs_",
        &[Of(ALNUM, 30), Crc62],
        No,
    ),
    Token(
        "github-fine-grained-pat",
        "github_pat_",
        &[Of(ALNUM, 22), Text("_"), Of(ALNUM, 59)],
        Yes,
    ),
    Token("gitlab-pat", "glpat-", &[Of(BASE64_URL, 20)], Yes),
    Token("gitlab-deploy-token", "gldt-", &[Of(BASE64_URL, 20)], Yes),
    Token(
        "gitlab-job-token",
        "glcbt-",
        &[Text("64_"), Of(BASE64_URL, 20)],
        No,
    ),
    Token("gitlab-runner", "glrt-", &[Of(BASE64_URL, 20)], No),
    Token(
        "gitlab-runner",
        "glrt-",
        &[Text("t1_"), Of(BASE64_URL, 20)],
        No,
    ),
    Token(
        "gitlab-runner-registered",
        "glrtr-",
        &[Of(BASE64_URL, 20)],
        No,
    ),
    Token("gitlab-trigger", "glptt-", &[Of(HEX, 40)], Yes),
    Token("gitlab-feed-token", "glft-", &[Of(BASE64_URL, 20)], Yes),
    Token("gitlab-incoming-mail", "glimt-", &[Of(BASE64_URL, 25)], Yes),
    Token("gitlab-agent", "glagent-", &[Of(BASE64_URL, 50)], Yes),
    Token("gitlab-oauth-secret", "gloas-", &[Of(BASE64_URL, 64)], Yes),
    Token(
        "gitlab-feature-flags",
        "glffct-",
        &[Of(BASE64_URL, 20)],
        Yes,
    ),
    Token("gitlab-scim", "glsoat-", &[Of(BASE64_URL, 20)], Yes),
    Token(
        "gitlab-runner-registration",
        "GR1348941",
        &[Of(BASE64_URL, 20)],
        Yes,
    ),
    Token("npm-token", "npm_", &[Of(ALNUM, 30), Crc62], Yes),
    Token("rubygems-api-key", "rubygems_", &[Of(HEX, 48)], Yes),
    Token("docker-hub-pat", "dckr_pat_", &[Of(BASE64_URL, 27)], Yes),
    Token(
        "docker-hub-org-token",
        "dckr_oat_",
        &[Of(BASE64_URL, 32)],
        Yes,
    ),
    Token("jfrog-api-key", "AKCp", &[Of(BASE58, 69)], No),
    Token("jfrog-api-key", "AKCp", &[Of(BASE58, 65)], No),
    Token("sonar-user-token", "squ_", &[Of(HEX, 40)], Yes),
    Token("sonar-project-token", "sqp_", &[Of(HEX, 40)], Yes),
    Token("sonar-global-token", "sqa_", &[Of(HEX, 40)], Yes),
    Token("gcp-api-key", "AIza", &[Of(BASE64_URL, 35)], Yes),
    Token("gcp-express-key", "AQ.Ab8RN6", &[Of(BASE64_URL, 44)], Yes),
    Token("gcp-oauth-access", "ya29.", &[Of(BASE64_URL, 180)], No),
    Token(
        "gcp-oauth-access",
        "ya29.",
        &[Text("c."), Of(BASE64_URL, 900)],
        No,
    ),
    Token(
        "gcp-oauth-client-secret",
        "GOCSPX-",
        &[Of(BASE64_URL, 28)],
        Yes,
    ),
    Token(
        "slack-bot-token",
        "xoxb-",
        &[
            Of(DIGITS, 12),
            Text("-"),
            Of(DIGITS, 13),
            Text("-"),
            Of(ALNUM, 24),
        ],
        No,
    ),
    Token(
        "slack-user-token",
        "xoxp-",
        &[
            Of(DIGITS, 11),
            Text("-"),
            Of(DIGITS, 12),
            Text("-"),
            Of(DIGITS, 13),
            Text("-"),
            Of(ALNUM, 32),
        ],
        No,
    ),
    Token(
        "slack-app-token",
        "xapp-1-",
        &[
            Text("A"),
            Of(UPPER_ALNUM, 10),
            Text("-"),
            Of(DIGITS, 13),
            Text("-"),
            Of(HEX, 64),
        ],
        Yes,
    ),
    Token(
        "slack-config-token",
        "xoxe.xoxp-",
        &[Text("1-"), Of(ALNUM, 163)],
        No,
    ),
    Token(
        "slack-refresh-token",
        "xoxe-",
        &[Text("1-"), Of(ALNUM, 146)],
        No,
    ),
    Token(
        "slack-webhook",
        "hooks.slack.com/",
        &[
            Text("services/T"),
            Of(UPPER_ALNUM, 8),
            Text("/B"),
            Of(UPPER_ALNUM, 10),
            Text("/"),
            Of(ALNUM, 24),
        ],
        No,
    ),
    Token(
        "discord-webhook",
        "discord.com/api/webhooks/",
        &[Of(DIGITS, 18), Text("/"), Of(BASE64_URL, 68)],
        No,
    ),
    Token(
        "anthropic-key",
        "sk-ant-api03-",
        &[Of(BASE64_URL, 93), Text("AA")],
        Yes,
    ),
    Token(
        "anthropic-admin-key",
        "sk-ant-admin01-",
        &[Of(BASE64_URL, 93), Text("AA")],
        Yes,
    ),
    Token(
        "anthropic-oauth-token",
        "sk-ant-oat01-",
        &[Of(BASE64_URL, 93), Text("AA")],
        Yes,
    ),
    Token(
        "openai-key",
        "sk-proj-",
        &[Of(BASE64_URL, 74), Text("T3BlbkFJ"), Of(BASE64_URL, 74)],
        Yes,
    ),
    Token(
        "openai-key",
        "sk-svcacct-",
        &[Of(BASE64_URL, 58), Text("T3BlbkFJ"), Of(BASE64_URL, 58)],
        Yes,
    ),
    Token(
        "openai-key",
        "sk-",
        &[Of(ALNUM, 20), Text("T3BlbkFJ"), Of(ALNUM, 20)],
        Yes,
    ),
    Token("huggingface-token", "hf_", &[Of(LETTERS, 34)], Yes),
    Token("huggingface-org-token", "api_org_", &[Of(LETTERS, 34)], Yes),
    Token("groq-key", "gsk_", &[Of(ALNUM, 52)], Yes),
    Token("perplexity-key", "pplx-", &[Of(ALNUM, 48)], Yes),
    Token("xai-key", "xai-", &[Of(ALNUM, 80)], No),
    Token("replicate-token", "r8_", &[Of(ALNUM, 37)], Yes),
    Token("digitalocean-pat", "dop_v1_", &[Of(HEX, 64)], Yes),
    Token("digitalocean-oauth", "doo_v1_", &[Of(HEX, 64)], Yes),
    Token("digitalocean-refresh", "dor_v1_", &[Of(HEX, 64)], Yes),
    Token("heroku-key", "HRKU-AA", &[Of(BASE64_URL, 58)], Yes),
    Token("cloudflare-user-key", "cfk_", &[Of(ALNUM, 40), CrcHex], Yes),
    Token(
        "cloudflare-user-token",
        "cfut_",
        &[Of(ALNUM, 40), CrcHex],
        Yes,
    ),
    Token(
        "cloudflare-account-token",
        "cfat_",
        &[Of(ALNUM, 40), CrcHex],
        Yes,
    ),
    Token(
        "cloudflare-origin-ca-key",
        "v1.0-",
        &[Of(HEX, 24), Text("-"), Of(HEX, 146)],
        Yes,
    ),
    Token(
        "fly-token",
        "FlyV1 fm2_",
        &[Of(ALNUM, 120), Text(",fm2_"), Of(ALNUM, 200)],
        No,
    ),
    Token("fly-token", "fm2_", &[Of(ALNUM, 120), Text("=")], No),
    Token("vercel-pat", "vcp_", &[Of(ALNUM, 56)], Yes),
    Token("vercel-integration-token", "vci_", &[Of(ALNUM, 56)], Yes),
    Token("vercel-app-token", "vca_", &[Of(ALNUM, 56)], Yes),
    Token("vercel-refresh-token", "vcr_", &[Of(ALNUM, 56)], Yes),
    Token("vercel-ai-key", "vck_", &[Of(ALNUM, 56)], Yes),
    Token("netlify-pat", "nfp_", &[Of(ALNUM, 36)], Yes),
    Token("supabase-pat", "sbp_", &[Of(HEX, 40)], Yes),
    Token(
        "supabase-secret-key",
        "sb_secret_",
        &[Of(BASE64_URL, 31)],
        Yes,
    ),
    Token(
        "planetscale-token",
        "pscale_tkn_",
        &[Of(BASE64_URL, 43)],
        No,
    ),
    Token(
        "planetscale-password",
        "pscale_pw_",
        &[Of(BASE64_URL, 43)],
        No,
    ),
    Token(
        "planetscale-oauth",
        "pscale_oauth_",
        &[Of(BASE64_URL, 43)],
        No,
    ),
    Token("stripe-live-key", "sk_live_", &[Of(ALNUM, 99)], No),
    Token("stripe-live-key", "sk_live_", &[Of(ALNUM, 24)], No),
    Token("stripe-restricted-key", "rk_live_", &[Of(ALNUM, 99)], No),
    Token("stripe-test-key", "sk_test_", &[Of(ALNUM, 99)], No),
    Token("stripe-organization-key", "sk_org_", &[Of(ALNUM, 60)], No),
    Token(
        "sendgrid-key",
        "SG.",
        &[Of(BASE64_URL, 22), Text("."), Of(BASE64_URL, 43)],
        Yes,
    ),
    Token("twilio-api-key", "SK", &[Of(HEX, 32)], Yes),
    Token("mailgun-key", "key-", &[Of(HEX, 32)], Yes),
    Token(
        "atlassian-token",
        "ATATT3",
        &[Of(BASE64_URL, 177), Text("="), CrcAll],
        Yes,
    ),
    Token("bitbucket-app-password", "ATBB", &[Of(ALNUM, 32)], Yes),
    Token("linear-key", "lin_api_", &[Of(ALNUM, 40)], Yes),
    Token("linear-oauth-token", "lin_oauth_", &[Of(HEX, 64)], No),
    Token(
        "notion-token",
        "ntn_",
        &[Of(DIGITS, 11), Of(ALNUM, 35)],
        Yes,
    ),
    Token("notion-token-legacy", "secret_", &[Of(ALNUM, 43)], Yes),
    Token(
        "postman-key",
        "PMAK-",
        &[Of(HEX, 24), Text("-"), Of(HEX, 34)],
        Yes,
    ),
    Token("shopify-admin-token", "shpat_", &[Of(HEX, 32)], Yes),
    Token("shopify-custom-app-token", "shpca_", &[Of(HEX, 32)], Yes),
    Token("shopify-private-app-token", "shppa_", &[Of(HEX, 32)], Yes),
    Token("shopify-shared-secret", "shpss_", &[Of(HEX, 32)], Yes),
    Token("square-access-token", "EAAA", &[Of(BASE64_URL, 60)], Yes),
    Token(
        "square-access-token-legacy",
        "sq0atp-",
        &[Of(BASE64_URL, 22)],
        Yes,
    ),
    Token(
        "square-application-secret",
        "sq0csp-",
        &[Of(BASE64_URL, 43)],
        Yes,
    ),
    Token("vault-service-token", "hvs.", &[Of(BASE64_URL, 91)], No),
    Token("vault-batch-token", "hvb.", &[Of(BASE64_URL, 200)], No),
    Token("vault-recovery-token", "hvr.", &[Of(BASE64_URL, 24)], No),
    Token("pulumi-token", "pul-", &[Of(HEX, 40)], Yes),
    Token("doppler-personal-token", "dp.pt.", &[Of(ALNUM, 43)], No),
    Token(
        "doppler-service-token",
        "dp.st.",
        &[Text("prd."), Of(ALNUM, 40)],
        No,
    ),
    Token("doppler-cli-token", "dp.ct.", &[Of(ALNUM, 43)], No),
    Token(
        "doppler-service-account-token",
        "dp.sa.",
        &[Of(ALNUM, 43)],
        No,
    ),
    Token("doppler-scim-token", "dp.scim.", &[Of(ALNUM, 43)], No),
    Token("doppler-audit-token", "dp.audit.", &[Of(ALNUM, 43)], No),
    Token(
        "onepassword-secret-key",
        "A3-",
        &[
            Of(UPPER_ALNUM, 6),
            Text("-"),
            Of(UPPER_ALNUM, 6),
            Text("-"),
            Of(UPPER_ALNUM, 5),
            Text("-"),
            Of(UPPER_ALNUM, 5),
            Text("-"),
            Of(UPPER_ALNUM, 5),
        ],
        Yes,
    ),
    Token(
        "circleci-token",
        "CCIPAT_",
        &[Of(ALNUM, 22), Text("_"), Of(HEX, 40)],
        Yes,
    ),
    Token("buildkite-user-token", "bkua_", &[Of(HEX, 40)], Yes),
    Token("buildkite-agent-token", "bkct_", &[Of(ALNUM, 60)], No),
    Token(
        "buildkite-agent-access-token",
        "bkaa_",
        &[Of(ALNUM, 60)],
        No,
    ),
    Token("buildkite-job-token", "bkaj_", &[Of(ALNUM, 60)], No),
    Token(
        "tailscale-key",
        "tskey-",
        &[Text("auth-k"), Of(ALNUM, 11), Text("-"), Of(ALNUM, 32)],
        No,
    ),
    Token(
        "grafana-service-account",
        "glsa_",
        &[Of(ALNUM, 32), Text("_"), CrcReversed],
        Yes,
    ),
    Token("sentry-user-token", "sntryu_", &[Of(HEX, 64)], Yes),
    Token("newrelic-user-key", "NRAK-", &[Of(UPPER_ALNUM, 27)], Yes),
    Token("newrelic-insert-key", "NRII-", &[Of(BASE64_URL, 32)], Yes),
    Token("newrelic-query-key", "NRIQ-", &[Of(BASE64_URL, 32)], Yes),
    Token("newrelic-admin-key", "NRRA-", &[Of(HEX, 42)], Yes),
    Token("newrelic-browser-key", "NRJS-", &[Of(HEX, 19)], Yes),
    Token(
        "newrelic-license-key",
        "",
        &[Of(LOWER_ALNUM, 36), Text("NRAL")],
        Yes,
    ),
    Token("databricks-token", "dapi", &[Of(HEX, 32)], Yes),
    Token("databricks-token", "dapi", &[Of(HEX, 32), Text("-2")], No),
    Token(
        "terraform-token",
        "",
        &[Of(ALNUM, 14), Text(".atlasv1."), Of(BASE64_URL, 67)],
        No,
    ),
    Token(
        "age-identity",
        "AGE-SECRET-KEY-1",
        &[Of("qpzry9x8gf2tvdw0s3jn54khce6mua7l", 52), Bech32],
        Yes,
    ),
];

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
    for (place, token) in TOKENS.iter().enumerate() {
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
            let longer = format!("{text} {text}");
            cases.push(Case::nothing(longer, "more than one word").named(variable));
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
