//! Tokens of services with a structure inside.

use super::Case;
use super::random::{ALNUM, BASE64_URL, DIGITS, HEX, LOWER_ALNUM, Random, base64, base64_url};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    chat(&mut cases);
    encoded_json(&mut cases);
    cases
}

fn chat(cases: &mut Vec<Case>) {
    let mut random = Random::of("chat");
    let secret = format!("AA{}", random.text(BASE64_URL, 33));
    let bot = format!("{}:{secret}", random.text("123456789", 10));
    let rule = "telegram-bot-token";
    cases.push(Case::found(rule, bot.clone(), "alone"));
    cases.push(Case::found(
        rule,
        format!("https://t.example/bot{bot}/send"),
        "in its URL",
    ));
    cases.push(Case::nothing(format!("ab:{secret}"), "no number before it"));
    cases.push(Case::nothing(format!("{bot}aaa"), "too long"));
    cases.push(Case::nothing(format!("123:{secret}"), "too small a number"));

    let rule = "discord-bot-token";
    for first in ["1", "2", "3", "4", "5", "6", "7", "8", "9"] {
        let id = format!("{first}{}", random.text(DIGITS, 17));
        let token = format!(
            "{}.{}.{}",
            base64_url(id.as_bytes()),
            random.text(BASE64_URL, 6),
            random.text(BASE64_URL, 38)
        );
        let named = Case::found(rule, token.clone(), "the application's number is inside");
        cases.push(named.named("DISCORD_TOKEN"));
        let header = format!("Authorization: Bot {token}");
        cases.push(Case::found(rule, header, "in a header"));
        cases.push(Case::nothing(format!("Ro{token}"), "behind no scheme"));
    }
    let no_id = format!(
        "{}.{}.{}",
        base64_url(b"17not-a-number-at1"),
        random.text(BASE64_URL, 6),
        random.text(BASE64_URL, 38)
    );
    cases.push(Case::nothing(format!("Bot {no_id}"), "no number inside"));

    let key = random.text(HEX, 32);
    let rule = "mailchimp-key";
    cases.push(Case::found(
        rule,
        format!("{key}-us14"),
        "with its data centre",
    ));
    cases.push(Case::found(
        rule,
        format!("k={key}-us6;"),
        "with its data centre",
    ));
    cases.push(Case::nothing(
        format!("{key}-us-east-1"),
        "a region of a cloud",
    ));
    cases.push(Case::nothing(format!("a{key}-us14"), "too long"));
    cases.push(Case::nothing(key, "a hash"));
}

fn encoded_json(cases: &mut Vec<Case>) {
    let mut random = Random::of("json");
    let account = format!(
        r#"{{"signInAddress":"team.example.com","userAuth":{{"method":"SRPg-4096","salt":"{}"}},"email":"x@example.com","srpX":"{}","secretKey":"{}","deviceUuid":"{}"}}"#,
        random.text(ALNUM, 22),
        random.text(HEX, 64),
        random.text(ALNUM, 26),
        random.text(LOWER_ALNUM, 26),
    );
    let token = format!("ops_{}", base64_url(account.as_bytes()));
    let rule = "onepassword-service-account";
    cases.push(Case::found(rule, token.clone(), "alone"));
    cases.push(Case::nothing(&token[..60], "cut off"));

    let rule = "grafana-cloud";
    let policy = format!(
        r#"{{"o":"1","n":"ci","k":"{}","m":{{"r":"eu"}}}}"#,
        random.text(ALNUM, 24)
    );
    cases.push(Case::found(
        rule,
        format!("glc_{}", base64(policy.as_bytes())),
        "alone",
    ));
    let other = format!("glc_{}", base64(br#"{"name":"not a token at all","x":1}"#));
    cases.push(Case::nothing(other, "JSON without a key"));

    let rule = "grafana-api-key";
    let key = format!(r#"{{"k":"{}","n":"ci","id":1}}"#, random.text(ALNUM, 32));
    cases.push(Case::found(rule, base64(key.as_bytes()), "alone"));

    let rule = "sentry-org-token";
    let owner = r#"{"iat":1790000000.1,"url":"https://errors.example.com","region_url":"https://eu.errors.example.com","org":"team"}"#;
    let token = format!(
        "sntrys_{}_{}",
        base64(owner.as_bytes()),
        random.text(ALNUM, 43)
    );
    cases.push(Case::found(rule, token.clone(), "with its owner"));
    cases.push(Case::nothing(
        &token[..token.len() - 1],
        "a character short",
    ));
}
