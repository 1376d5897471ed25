//! JSON web tokens: their structure, and what their claims say of class and lifetime.
//!
//! The claims are decoded into the caller's scratch; what leaves it are times and the public names of
//! issuer and audience. The signature is not checked: that needs a key and the network.

use super::base64::{decode, decoded_len};
use super::shape::{BASE64_URL, Cursor, begins};
use super::{About, Credential, Format, Mark, Sighting};
use crate::credential::{Class, Confidence, Life, Rule};
use crate::json::{Fields, Text};
use crate::scratch::Scratch;

pub(super) const FORMATS: &[Format] = &[
    Format {
        rule: Rule {
            id: "supabase-service-role",
            title: "Supabase service role key",
        },
        marks: MARKS,
        about: About {
            check: "JWT with `role`: `service_role`",
            life: "its `exp`",
            classes: &[Class::Static],
        },
        read: |sighting, scratch| read(sighting, scratch, Kind::SupabaseService),
    },
    Format {
        rule: Rule {
            id: "jwt",
            title: "JSON web token",
        },
        marks: MARKS,
        about: About {
            check: "JWT: header with `alg`, claims are JSON",
            life: "its `exp`",
            classes: &[
                Class::JobToken,
                Class::ShortLived,
                Class::Static,
                Class::Unknown,
            ],
        },
        read: |sighting, scratch| read(sighting, scratch, Kind::Other),
    },
];

/// `{"` in base64, and the first keys that headers have, for tokens glued to what precedes them.
const MARKS: &[Mark] = &[
    Mark::AtRun(b"eyJ"),
    Mark::Anywhere(b"eyJhbGciOi"),
    Mark::Anywhere(b"eyJ0eXAiOi"),
    Mark::Anywhere(b"eyJraWQiOi"),
];

/// Characters of each segment, at most. Post-quantum signatures need the last.
const HEADER_MAX: usize = 4096;
const CLAIMS_MAX: usize = 16_384;
const SIGNATURE_MAX: usize = 8192;
/// The shortest signatures are those of HS256, 43 characters; this leaves room for cut ones.
const SIGNATURE_MIN: usize = 16;

/// Above this a token is not short-lived: a day, in seconds. Job tokens live for hours.
const SHORT: i64 = 86_400;

/// The runner's own tokens of a job: the results service, and the right to ask for an identity token.
const JOB_TOKENS: &[&str] = &[
    "ACTIONS_RUNTIME_TOKEN",
    "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
    "SYSTEM_ACCESSTOKEN",
];

/// Beginnings of the issuers that mint for one job or one hour, by the word of their vendors.
const SHORT_ISSUERS: &[&[u8]] = &[
    b"https://token.actions.githubusercontent.com",
    b"https://gitlab.com",
    b"https://oidc.circleci.com/",
    b"https://agent.buildkite.com",
    b"https://api.bitbucket.org/",
    b"https://vstoken.dev.azure.com/",
    b"https://app.vstoken.visualstudio.com",
    b"https://login.microsoftonline.com/",
    b"https://sts.windows.net/",
    b"https://accounts.google.com",
    b"https://app.terraform.io",
];

#[derive(Clone, Copy, Eq, PartialEq)]
enum Kind {
    SupabaseService,
    /// Published with each page: not a secret.
    SupabaseAnonymous,
    Other,
}

/// A token, read.
pub(super) struct Jwt {
    /// Behind its signature.
    pub(super) end: usize,
    pub(super) claims: Claims,
}

/// What the claims say, without anything that authenticates.
pub(super) struct Claims {
    kind: Kind,
    issuer: Shown,
    audience: Shown,
    pub(super) expires: Option<i64>,
    pub(super) issued: Option<i64>,
}

/// A short public text, copied out of the scratch.
#[derive(Clone, Copy)]
struct Shown {
    bytes: [u8; 128],
    length: usize,
}

impl Shown {
    const NONE: Self = Self {
        bytes: [0; 128],
        length: 0,
    };

    /// The text, or nothing if it is too long.
    fn of(text: Text<'_>) -> Self {
        let mut shown = Self::NONE;
        // "https:\/\/" is a common way to write an issuer.
        shown.length = text.unescape(&mut shown.bytes).map_or(0, <[u8]>::len);
        shown
    }

    fn text(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

impl Claims {
    pub(super) fn life(&self, otherwise: Life) -> Life {
        self.expires.map_or(otherwise, |expires| Life::Until {
            issued: self.issued,
            expires,
        })
    }

    /// Adds issuer and audience to what was found.
    pub(super) fn tell(&self, found: Credential) -> Credential {
        found
            .fact("issuer", self.issuer.text())
            .fact("audience", self.audience.text())
    }

    fn class(&self) -> Class {
        let issuer = self.issuer.text();
        if SHORT_ISSUERS.iter().any(|known| is_issuer(issuer, known)) {
            return Class::ShortLived;
        }
        match (self.issued, self.expires) {
            (Some(issued), Some(expires)) if expires.saturating_sub(issued) <= SHORT => {
                Class::ShortLived
            }
            (Some(_), Some(_)) => Class::Static,
            _ => Class::Unknown,
        }
    }
}

/// Whether it is that issuer or a path below it, and not a longer host name.
fn is_issuer(issuer: &[u8], known: &[u8]) -> bool {
    issuer
        .strip_prefix(known)
        .is_some_and(|rest| known.ends_with(b"/") || rest.is_empty() || rest.starts_with(b"/"))
}

fn read(sighting: &Sighting<'_>, scratch: &mut Scratch<'_>, kind: Kind) -> Option<Credential> {
    begins(sighting.text, sighting.at, BASE64_URL).then_some(())?;
    let jwt = segments(sighting.text, sighting.at, scratch)?;
    (jwt.claims.kind == kind).then_some(())?;
    let class = if kind == Kind::SupabaseService {
        Class::Static
    } else if sighting.is_named(JOB_TOKENS) {
        Class::JobToken
    } else {
        jwt.claims.class()
    };
    let life = jwt.claims.life(Life::Unknown);
    let span = sighting.at..jwt.end;
    Some(
        jwt.claims
            .tell(Credential::new(span, class, life, Confidence::High)),
    )
}

/// Reads the three segments that begin at `at`.
///
/// Also used for tokens that have a JWT inside; what may stand before it is the caller's to know.
pub(super) fn segments(text: &[u8], at: usize, scratch: &mut Scratch<'_>) -> Option<Jwt> {
    let mut cursor = Cursor::new(text, at);
    let header = cursor.run(BASE64_URL, 8..=HEADER_MAX)?;
    cursor.literal(b".")?;
    let claims = cursor.run(BASE64_URL, 4..=CLAIMS_MAX)?;
    cursor.literal(b".")?;
    cursor.run(BASE64_URL, SIGNATURE_MIN..=SIGNATURE_MAX)?;
    cursor.ends(BASE64_URL)?;
    within(header, scratch, has_algorithm)?;
    let claims = within(claims, scratch, claims_of)?;
    Some(Jwt {
        end: cursor.at(),
        claims,
    })
}

/// Decodes a segment into the scratch and looks at it there. Where there is no room for it, it is no
/// token: the caller's scratch is as large as the longest.
fn within<R>(
    segment: &[u8],
    scratch: &mut Scratch<'_>,
    look: impl FnOnce(&[u8]) -> Option<R>,
) -> Option<R> {
    scratch
        .with(decoded_len(segment.len()), |memory, _| {
            look(decode(segment, memory)?)
        })
        .flatten()
}

fn has_algorithm(json: &[u8]) -> Option<()> {
    let mut fields = Fields::of(json, 0, json.len());
    let mut algorithm = None;
    for field in fields.by_ref() {
        algorithm = algorithm.or_else(|| field.top("alg").map(|_| ()));
    }
    fields.end()?;
    algorithm
}

fn claims_of(json: &[u8]) -> Option<Claims> {
    let mut fields = Fields::of(json, 0, json.len());
    let mut issuer = Shown::NONE;
    let mut audience = Shown::NONE;
    let mut expires = None;
    let mut issued = None;
    let mut role: &[u8] = &[];
    for field in fields.by_ref() {
        // The audience may be a list; its first entry is shown.
        let in_audience = field.key.raw == b"aud" && field.depth <= 2 && audience.length == 0;
        match field.value {
            crate::json::Value::Text(text) if in_audience => audience = Shown::of(text),
            _ => {}
        }
        if let Some(text) = field.top("iss") {
            issuer = Shown::of(text);
        }
        if let Some(text) = field.top("role") {
            role = text.raw;
        }
        expires = field.top_number("exp").or(expires);
        issued = field.top_number("iat").or(issued);
    }
    fields.end()?;
    json.trim_ascii_start().starts_with(b"{").then_some(())?;
    let kind = match (issuer.text(), role) {
        (b"supabase", b"service_role") => Kind::SupabaseService,
        (b"supabase", b"anon") => Kind::SupabaseAnonymous,
        _ => Kind::Other,
    };
    Some(Claims {
        kind,
        issuer,
        audience,
        expires,
        issued,
    })
}
