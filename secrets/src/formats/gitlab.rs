//! GitLab: tokens by their prefix, plain or routable.
//!
//! An instance may put its own name before any prefix (`mine-glpat-`), so a token may follow a `-`.

use super::base64::{decode, decoded_len};
use super::shape::{ALNUM, Alphabet, BASE64_URL, Cursor, HEX, LOWER_ALNUM, begins, ends};
use super::token::{Part, STATIC, simple};
use super::{About, Credential, Format, Mark, Sighting};
use crate::checksum::crc;
use crate::credential::{Class, Confidence, Life, Rule};
use crate::placeholder::is_placeholder;
use crate::scratch::Scratch;

pub(super) const FORMATS: &[Format] = &[
    gitlab!(
        "gitlab-pat",
        "GitLab personal, project or group access token",
        b"glpat-",
        20,
        Kind::Access
    ),
    gitlab!(
        "gitlab-deploy-token",
        "GitLab deploy token",
        b"gldt-",
        20,
        Kind::Access
    ),
    gitlab!(
        "gitlab-job-token",
        "GitLab CI job token",
        b"glcbt-",
        20,
        Kind::Job
    ),
    gitlab!(
        "gitlab-runner",
        "GitLab runner authentication token",
        b"glrt-",
        20,
        Kind::Runner
    ),
    gitlab!(
        "gitlab-runner-registered",
        "GitLab runner authentication token, by registration",
        b"glrtr-",
        20,
        Kind::Runner
    ),
    simple!(
        "gitlab-trigger",
        "GitLab pipeline trigger token",
        b"glptt-",
        [Part::Run(HEX, 40, 40)],
        STATIC
    ),
    gitlab!(
        "gitlab-feed-token",
        "GitLab feed token",
        b"glft-",
        20,
        Kind::Access
    ),
    gitlab!(
        "gitlab-incoming-mail",
        "GitLab incoming mail token",
        b"glimt-",
        25,
        Kind::Access
    ),
    gitlab!(
        "gitlab-agent",
        "GitLab agent for Kubernetes token",
        b"glagent-",
        50,
        Kind::Access
    ),
    gitlab!(
        "gitlab-oauth-secret",
        "GitLab OAuth application secret",
        b"gloas-",
        64,
        Kind::Access
    ),
    gitlab!(
        "gitlab-feature-flags",
        "GitLab feature flags client token",
        b"glffct-",
        20,
        Kind::Access
    ),
    gitlab!(
        "gitlab-scim",
        "GitLab SCIM token",
        b"glsoat-",
        20,
        Kind::Access
    ),
    Format {
        rule: Rule {
            id: "gitlab-runner-registration",
            title: "GitLab runner registration token",
        },
        marks: &[Mark::Anywhere(b"GR1348941")],
        about: About {
            check: "shape",
            life: "until revoked",
            classes: &[Class::RunnerIdentity],
        },
        read: |sighting, scratch| read(sighting, scratch, b"GR1348941", 20, Kind::Runner),
    },
];

/// Whose it is, which is what it is for a job.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Kind {
    Access,
    /// Gone when the job ends.
    Job,
    Runner,
}

macro_rules! gitlab {
    ($id:literal, $title:literal, $prefix:literal, $plain:literal, $kind:expr) => {
        Format {
            rule: Rule {
                id: $id,
                title: $title,
            },
            marks: &[Mark::Anywhere($prefix)],
            about: About {
                check: "shape; CRC-32 if routable",
                life: match $kind {
                    Kind::Job => "the job's",
                    Kind::Access | Kind::Runner => "until revoked",
                },
                classes: match $kind {
                    Kind::Access => &[Class::Static],
                    Kind::Job => &[Class::JobToken],
                    Kind::Runner => &[Class::RunnerIdentity],
                },
            },
            read: |sighting, scratch| read(sighting, scratch, $prefix, $plain, $kind),
        }
    };
}
use gitlab;

/// Characters of a routable payload: 16 random bytes and at least the organisation, to what fits.
const PAYLOAD_MIN: usize = 27;
const PAYLOAD_MAX: usize = 300;

fn read(
    sighting: &Sighting<'_>,
    scratch: &mut Scratch<'_>,
    prefix: &[u8],
    plain: usize,
    kind: Kind,
) -> Option<Credential> {
    let Sighting { text, at, .. } = *sighting;
    // No `-`: an instance's own prefix may stand before it.
    begins(text, at, ALNUM.and(Alphabet::of(b"_"))).then_some(())?;
    let mut cursor = Cursor::new(text, at);
    cursor.literal(prefix)?;
    let found = routable(cursor, at, kind, text, scratch).or_else(|| {
        qualifier(&mut cursor, kind);
        let body = cursor.run(BASE64_URL, plain..=plain)?;
        (!is_placeholder(body)).then_some(())?;
        let (class, life) = meaning(kind);
        Some(Credential::new(
            at..cursor.at(),
            class,
            life,
            Confidence::High,
        ))
    })?;
    Some(found)
}

const fn meaning(kind: Kind) -> (Class, Life) {
    match kind {
        Kind::Access => (Class::Static, Life::Long),
        Kind::Job => (Class::JobToken, Life::Short),
        Kind::Runner => (Class::RunnerIdentity, Life::Long),
    }
}

/// Some tokens have a word of their own before the body: job tokens the partition (`glcbt-64_`),
/// runner tokens the type (`glrt-t1_`).
fn qualifier(cursor: &mut Cursor<'_>, kind: Kind) {
    if kind == Kind::Access {
        return;
    }
    let mut ahead = *cursor;
    // Only if the body that follows is whole; else these characters are the body's own.
    let taken = ahead
        .run(ALNUM, 1..=5)
        .and_then(|_| ahead.literal(b"_"))
        .filter(|()| BASE64_URL.run(ahead.rest(), 21) == 20);
    if taken.is_some() {
        *cursor = ahead;
    }
}

/// `PAYLOAD.01.LLCCCCCCC`, or without the version in the middle: LL is the payload's length, C the
/// CRC-32 of all before it, both in base 36 (gitlabhq, `routable_token.rb`).
fn routable(
    mut cursor: Cursor<'_>,
    at: usize,
    kind: Kind,
    text: &[u8],
    scratch: &mut Scratch<'_>,
) -> Option<Credential> {
    let mut typed = cursor;
    // A runner's type may stand before the payload.
    if typed.literal(b"t").is_some()
        && typed.run(super::shape::DIGITS, 1..=1).is_some()
        && typed.literal(b"_").is_some()
    {
        cursor = typed;
    }
    let payload = cursor.run(BASE64_URL, PAYLOAD_MIN..=PAYLOAD_MAX)?;
    cursor.literal(b".")?;
    let mut versioned = cursor;
    if versioned.literal(b"01.").is_some() {
        cursor = versioned;
    }
    cursor.run(LOWER_ALNUM, 9..=9)?;
    ends(text, cursor.at(), BASE64_URL).then_some(())?;
    let token = text.get(at..cursor.at())?;
    let (class, life) = meaning(kind);
    let found = Credential::new(at..cursor.at(), class, life, Confidence::High)
        .checked(crc::base36_at_end(token)?);
    Some(owners(payload, found, scratch))
}

/// Whom the payload names: lines `o:`, `p:`, ... of ids in base 36, after the random bytes.
fn owners(payload: &[u8], found: Credential, scratch: &mut Scratch<'_>) -> Credential {
    const RANDOM: usize = 16;
    let mut ids = [(0_u8, 0_u64); 6];
    let named = scratch.with(decoded_len(payload.len()), |memory, _| {
        let lines = decode(payload, memory).and_then(|bytes| bytes.get(RANDOM..));
        let lines = lines.unwrap_or_default().split(|byte| *byte == b'\n');
        for (slot, line) in ids.iter_mut().zip(lines) {
            let [what, b':', id @ ..] = line else {
                continue;
            };
            // The last line is followed by one byte, the length of the random part.
            let digits = LOWER_ALNUM.run(id, 13);
            let id = id.get(..digits).and_then(|id| std::str::from_utf8(id).ok());
            if let Some(id) = id.and_then(|id| u64::from_str_radix(id, 36).ok()) {
                *slot = (*what, id);
            }
        }
    });
    if named.is_none() {
        return found;
    }
    ids.iter().fold(found, |found, (what, id)| {
        let what = match what {
            b'o' => "organization",
            b'g' => "group",
            b'p' => "project",
            b'u' => "user",
            _ => return found,
        };
        found.fact(what, id.to_string().as_bytes())
    })
}
