//! Chat: Slack, Telegram, Discord.

use super::base64::{decode, decoded_len};
use super::shape::{ALNUM, Alphabet, BASE64_URL, Cursor, DIGITS, HEX, UPPER_ALNUM, begins, ends};
use super::token::{self, Part, STATIC, simple};
use super::{About, Credential, Format, Mark, Sighting};
use crate::credential::{Class, Confidence, Life, Rule};
use crate::placeholder::is_placeholder;
use crate::scratch::Scratch;

pub(super) const FORMATS: &[Format] = &[
    slack!("slack-bot-token", "Slack bot token", b"xoxb-"),
    slack!("slack-user-token", "Slack user token", b"xoxp-"),
    simple!(
        "slack-app-token",
        "Slack app-level token",
        b"xapp-1-" from 2,
        [
            Part::Text(b"A"),
            Part::Run(UPPER_ALNUM, 8, 14),
            Part::Text(b"-"),
            Part::Run(DIGITS, 10, 15),
            Part::Text(b"-"),
            Part::Run(HEX, 64, 64)
        ],
        STATIC
    ),
    simple!(
        "slack-config-token",
        "Slack app configuration token",
        b"xoxe.xoxp-",
        [
            Part::Run(DIGITS, 1, 2),
            Part::Text(b"-"),
            Part::Run(ALNUM, 146, 166)
        ],
        STATIC
    ),
    Format {
        rule: Rule {
            id: "slack-refresh-token",
            title: "Slack refresh token",
        },
        marks: &[Mark::Anywhere(b"xoxe-")],
        about: About {
            check: "shape",
            life: "until revoked",
            classes: &[Class::Static],
        },
        read: |sighting, _| {
            let plain = [
                Part::Run(DIGITS, 1, 2),
                Part::Text(b"-"),
                Part::Run(ALNUM, 140, 170),
            ];
            token::read(sighting, b"xoxe-", &plain, STATIC)
                .or_else(|| read_slack(sighting, b"xoxe-"))
        },
    },
    Format {
        rule: Rule {
            id: "slack-webhook",
            title: "Slack incoming webhook",
        },
        marks: &[Mark::Anywhere(b"s.slack.com/")],
        about: About {
            check: "path of a hook",
            life: "until revoked",
            classes: &[Class::Static],
        },
        read: slack_webhook,
    },
    Format {
        rule: Rule {
            id: "telegram-bot-token",
            title: "Telegram bot token",
        },
        marks: TELEGRAM_MARKS,
        about: About {
            check: "number of the bot before, shape",
            life: "until revoked",
            classes: &[Class::Static],
        },
        read: telegram,
    },
    Format {
        rule: Rule {
            id: "discord-bot-token",
            title: "Discord bot token",
        },
        marks: DISCORD_MARKS,
        about: About {
            check: "base64 of the application's number",
            life: "until revoked",
            classes: &[Class::Static],
        },
        read: discord,
    },
    Format {
        rule: Rule {
            id: "discord-webhook",
            title: "Discord webhook",
        },
        marks: &[Mark::Anywhere(b"pi/webhooks/")],
        about: About {
            check: "path of a hook",
            life: "until revoked",
            classes: &[Class::Static],
        },
        read: discord_webhook,
    },
];

/// The last digit of the bot's number, the colon, and how every secret begins.
const TELEGRAM_MARKS: &[Mark] = &[
    Mark::Anywhere(b"0:AA"),
    Mark::Anywhere(b"1:AA"),
    Mark::Anywhere(b"2:AA"),
    Mark::Anywhere(b"3:AA"),
    Mark::Anywhere(b"4:AA"),
    Mark::Anywhere(b"5:AA"),
    Mark::Anywhere(b"6:AA"),
    Mark::Anywhere(b"7:AA"),
    Mark::Anywhere(b"8:AA"),
    Mark::Anywhere(b"9:AA"),
];

const DISCORD_NAMES: &[&str] = &[
    "DISCORD_TOKEN",
    "DISCORD_BOT_TOKEN",
    "DISCORD_API_TOKEN",
    "DISCORD_SECRET",
    "BOT_TOKEN",
    "INPUT_DISCORD-TOKEN",
    "INPUT_DISCORD_TOKEN",
];

/// Where it begins, nothing tells it from other base64: a search for how numbers begin would look at one
/// word in ten. So it is read by name, and behind its scheme; elsewhere it is a random value.
const DISCORD_MARKS: &[Mark] = &[
    Mark::Named(DISCORD_NAMES),
    Mark::Anywhere(b"Bot M"),
    Mark::Anywhere(b"Bot N"),
    Mark::Anywhere(b"Bot O"),
];

macro_rules! slack {
    ($id:literal, $title:literal, $prefix:literal) => {
        Format {
            rule: Rule {
                id: $id,
                title: $title,
            },
            marks: &[Mark::Anywhere($prefix)],
            about: About {
                check: "groups of digits",
                life: "until revoked",
                classes: &[Class::Static],
            },
            read: |sighting, _| read_slack(sighting, $prefix),
        }
    };
}
use slack;

/// Two or three groups of digits, then the secret itself.
fn read_slack(sighting: &Sighting<'_>, prefix: &[u8]) -> Option<Credential> {
    let Sighting { text, at, .. } = *sighting;
    begins(text, at, BASE64_URL).then_some(())?;
    let mut cursor = Cursor::new(text, at);
    cursor.literal(prefix)?;
    for _ in 0..2 {
        cursor.run(DIGITS, 10..=14)?;
        cursor.literal(b"-")?;
    }
    let mut third = cursor;
    if third.run(DIGITS, 10..=14).is_some() && third.literal(b"-").is_some() {
        cursor = third;
    }
    let secret = cursor.run(ALNUM, 24..=34)?;
    cursor.ends(BASE64_URL)?;
    (!is_placeholder(secret)).then_some(())?;
    Some(Credential::new(
        at..cursor.at(),
        Class::Static,
        Life::Long,
        Confidence::High,
    ))
}

/// `/services/T…/B…/SECRET`, `/workflows/T…/A…/NUMBER/SECRET`, `/triggers/…`. The path is the secret.
fn slack_webhook(sighting: &Sighting<'_>, _: &mut Scratch<'_>) -> Option<Credential> {
    let Sighting { text, at, .. } = sighting.back(4)?;
    begins(text, at, ALNUM.and(Alphabet::of(b".-"))).then_some(())?;
    let mut cursor = Cursor::new(text, at);
    cursor.literal(b"hooks.slack.com/")?;
    let kinds = [&b"services/"[..], b"workflows/", b"triggers/"];
    kinds
        .iter()
        .any(|kind| cursor.literal(kind).is_some())
        .then_some(())?;
    let path = cursor.run(ALNUM.and(Alphabet::of(b"/")), 40..=80)?;
    ends(text, cursor.at(), BASE64_URL.and(Alphabet::of(b"/"))).then_some(())?;
    let mut pieces = path.split(|byte| *byte == b'/');
    pieces.next()?.starts_with(b"T").then_some(())?;
    let last = pieces.next_back()?;
    (last.len() >= 20 && !is_placeholder(last)).then_some(())?;
    Some(Credential::new(
        at..cursor.at(),
        Class::Static,
        Life::Long,
        Confidence::High,
    ))
}

/// The number of the bot, `:`, and 35 characters that begin with `AA`.
fn telegram(sighting: &Sighting<'_>, _: &mut Scratch<'_>) -> Option<Credential> {
    let Sighting { text, at, .. } = *sighting;
    let at = at.checked_add(2)?;
    let before = text.get(..at)?.strip_suffix(b":")?;
    let digits = DIGITS.run_back(before, 12);
    (8..=11).contains(&digits).then_some(())?;
    let start = before.len().checked_sub(digits)?;
    // In its URL the number follows the word `bot`.
    let is_url = before.get(..start)?.ends_with(b"/bot");
    (is_url || begins(text, start, ALNUM)).then_some(())?;
    let mut cursor = Cursor::new(text, at);
    let secret = cursor.run(BASE64_URL, 34..=36)?;
    (!is_placeholder(secret)).then_some(())?;
    Some(Credential::new(
        start..cursor.at(),
        Class::Static,
        Life::Long,
        Confidence::High,
    ))
}

/// The application's number in base64, a time, a signature.
fn discord(sighting: &Sighting<'_>, scratch: &mut Scratch<'_>) -> Option<Credential> {
    let text = sighting.text;
    let is_behind = text.get(sighting.at..)?.starts_with(b"Bot ");
    let at = if is_behind {
        sighting.at.checked_add(4)?
    } else {
        sighting.is_named(DISCORD_NAMES).then_some(())?;
        super::shape::trimmed(text).start
    };
    begins(text, at, BASE64_URL).then_some(())?;
    let mut cursor = Cursor::new(text, at);
    let number = cursor.run(ALNUM, 23..=28)?;
    cursor.literal(b".")?;
    cursor.run(BASE64_URL, 6..=6)?;
    cursor.literal(b".")?;
    let signature = cursor.run(BASE64_URL, 27..=40)?;
    cursor.ends(BASE64_URL)?;
    (!is_placeholder(signature)).then_some(())?;
    let mut app = [0; 20];
    let length = scratch
        .with(decoded_len(number.len()), |memory, _| {
            let digits = decode(number, memory)?;
            digits.iter().all(u8::is_ascii_digit).then_some(())?;
            app.get_mut(..digits.len())?.copy_from_slice(digits);
            Some(digits.len())
        })
        .flatten()?;
    let found = Credential::new(at..cursor.at(), Class::Static, Life::Long, Confidence::High);
    Some(found.fact("app", app.get(..length)?))
}

/// The number of the hook and its token.
fn discord_webhook(sighting: &Sighting<'_>, _: &mut Scratch<'_>) -> Option<Credential> {
    let Sighting { text, at, .. } = sighting.back(2)?;
    let before = text.get(..at)?;
    let hosts = [&b"discord.com"[..], b"discordapp.com"];
    let host_at = hosts
        .iter()
        .find_map(|host| before.strip_suffix(*host))?
        .len();
    // A host below it is its own, one that merely ends alike is not.
    begins(text, host_at, Alphabet::of(b"-")).then_some(())?;
    let mut cursor = Cursor::new(text, at);
    cursor.literal(b"/api/webhooks/")?;
    let start = cursor.at();
    cursor.run(DIGITS, 17..=20)?;
    cursor.literal(b"/")?;
    let secret = cursor.run(BASE64_URL, 60..=72)?;
    (!is_placeholder(secret)).then_some(())?;
    Some(Credential::new(
        start..cursor.at(),
        Class::Static,
        Life::Long,
        Confidence::High,
    ))
}
