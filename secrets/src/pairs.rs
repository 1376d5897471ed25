//! Credentials of two parts: what one part says of the other, within one process.

use crate::credential::{Class, Confidence, Life};
use crate::detection::Detection;

const KEY_ID: &str = "aws-access-key-id";
const SECRET_KEY: &str = "aws-secret-key";
const SESSION_TOKEN: &str = "aws-session-token";

/// Other pairs: each makes the other certain, and says nothing of its lifetime.
const OTHERS: [(&str, &str); 2] = [
    ("twilio-api-key", "twilio-api-secret"),
    ("twilio-account-sid", "twilio-auth-token"),
];

/// Joins what belongs together in the detections of one block.
///
/// An AWS key id beside a secret key tells what both are: with an id for hours and a session token, they are
/// short-lived; with an id that lives until it is revoked, static. Where both kinds of id are in one block, those of
/// the same entry or with the same beginning of their variables belong together, and other secrets stay unknown.
pub(crate) fn join(detections: &mut [Detection]) {
    join_cloud_keys(detections);
    for (one, other) in OTHERS {
        let has = |id: &str| detections.iter().any(|detection| detection.rule.id == id);
        if has(one) && has(other) {
            let both = detections.iter_mut();
            for detection in both.filter(|it| it.rule.id == one || it.rule.id == other) {
                detection.confidence = Confidence::High;
            }
        }
    }
}

fn join_cloud_keys(detections: &mut [Detection]) {
    let with = |id: &str| {
        let all = detections.iter().enumerate();
        all.filter(|(_at, it)| it.rule.id == id)
            .map(|(at, _it)| at)
            .collect::<Vec<_>>()
    };
    let (ids, secrets, tokens) = (with(KEY_ID), with(SECRET_KEY), with(SESSION_TOKEN));
    let mut changes: Vec<(usize, Class, Life)> = Vec::new();
    for at in secrets {
        let Some(secret) = detections.get(at) else {
            continue;
        };
        let Some((id_at, id)) = id_of(detections, &ids, secret) else {
            continue;
        };
        match id.class {
            Class::ShortLived if !tokens.is_empty() => {
                changes.push((at, Class::ShortLived, Life::Short));
                changes.push((id_at, Class::ShortLived, Life::Short));
                changes.extend(
                    tokens
                        .iter()
                        .map(|token| (*token, Class::ShortLived, Life::Short)),
                );
            }
            Class::Static => {
                changes.push((at, Class::Static, Life::Long));
                changes.push((id_at, Class::Static, Life::Long));
            }
            _ => {}
        }
    }
    for (at, class, life) in changes {
        if let Some(detection) = detections.get_mut(at) {
            detection.class = class;
            detection.confidence = Confidence::High;
            // What it says of itself is more exact.
            if !matches!(detection.life, Life::Until { .. }) {
                detection.life = life;
            }
        }
    }
}

/// The key id that a secret belongs to.
fn id_of<'d>(
    detections: &'d [Detection],
    ids: &[usize],
    secret: &Detection,
) -> Option<(usize, &'d Detection)> {
    let candidates = || {
        ids.iter()
            .filter_map(|at| Some((*at, detections.get(*at)?)))
    };
    let same_entry = |id: &Detection| id.place.entry == secret.place.entry;
    let same_stem =
        |id: &Detection| stem(id).is_some_and(|one| stem(secret).is_some_and(|other| one == other));
    let nearest = candidates()
        .find(|(_at, id)| same_entry(id))
        .or_else(|| candidates().find(|(_at, id)| same_stem(id)));
    nearest.or_else(|| {
        let first = candidates().next()?;
        candidates()
            .all(|(_at, id)| id.class == first.1.class)
            .then_some(first)
    })
}

/// What comes before `ACCESS_KEY_ID` or `SECRET_ACCESS_KEY` in a variable's name.
fn stem(detection: &Detection) -> Option<&str> {
    let name = detection.place.variable.name()?;
    let ends = [
        "ACCESS_KEY_ID",
        "SECRET_ACCESS_KEY",
        "ACCESS_KEY",
        "SECRET_KEY",
    ];
    ends.iter().find_map(|end| name.strip_suffix(end))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::block::Source;
    use crate::credential::{Checksum, Rule};
    use crate::detection::{Layers, LengthClass, Variable, Where};
    use crate::fingerprint::FingerprintKey;

    fn detection(id: &'static str, class: Class, entry: u32, variable: &str) -> Detection {
        Detection {
            rule: Rule { id, title: "" },
            class,
            confidence: Confidence::Medium,
            checksum: Checksum::None,
            life: Life::Unknown,
            facts: Arc::from([]),
            place: Where {
                source: Source::Environ,
                entry,
                variable: Variable::Named(Arc::from(variable)),
                field: Variable::None,
            },
            layers: Layers::default(),
            length: LengthClass::To63,
            fingerprint: FingerprintKey::new([0; 32])
                .fingerprints()
                .fingerprint(id.as_bytes()),
        }
    }

    fn classes(mut detections: Vec<Detection>) -> Vec<(Class, Confidence)> {
        join(&mut detections);
        detections
            .iter()
            .map(|it| (it.class, it.confidence))
            .collect()
    }

    fn id(class: Class, entry: u32, variable: &str) -> Detection {
        detection(KEY_ID, class, entry, variable)
    }

    fn secret(entry: u32, variable: &str) -> Detection {
        detection(SECRET_KEY, Class::Unknown, entry, variable)
    }

    const SURE: fn(Class) -> (Class, Confidence) = |class| (class, Confidence::High);
    const UNSURE: fn(Class) -> (Class, Confidence) = |class| (class, Confidence::Medium);

    #[test]
    fn a_secret_is_what_its_id_is() {
        let token = detection(SESSION_TOKEN, Class::ShortLived, 2, "AWS_SESSION_TOKEN");
        let (id_name, secret_name) = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY");
        assert_eq!(
            classes(vec![id(Class::Static, 0, id_name), secret(1, secret_name)]),
            [Class::Static; 2].map(SURE)
        );
        assert_eq!(
            classes(vec![
                id(Class::ShortLived, 0, id_name),
                secret(1, secret_name),
                token
            ]),
            [Class::ShortLived; 3].map(SURE)
        );
        // Without its token an id for hours is of no use, and nothing is known of the secret.
        assert_eq!(
            classes(vec![
                id(Class::ShortLived, 0, id_name),
                secret(1, secret_name)
            ]),
            [Class::ShortLived, Class::Unknown].map(UNSURE)
        );
        assert_eq!(
            classes(vec![secret(1, secret_name)]),
            [UNSURE(Class::Unknown)]
        );
    }

    #[test]
    fn several_ids_keep_their_own_secrets() {
        let token = detection(SESSION_TOKEN, Class::ShortLived, 9, "AWS_SESSION_TOKEN");
        assert_eq!(
            classes(vec![
                id(Class::Static, 0, "PROD_AWS_ACCESS_KEY_ID"),
                secret(1, "PROD_AWS_SECRET_ACCESS_KEY"),
                id(Class::ShortLived, 2, "AWS_ACCESS_KEY_ID"),
                secret(3, "AWS_SECRET_ACCESS_KEY"),
                secret(4, "OTHER"),
                token,
            ]),
            [
                SURE(Class::Static),
                SURE(Class::Static),
                SURE(Class::ShortLived),
                SURE(Class::ShortLived),
                UNSURE(Class::Unknown),
                SURE(Class::ShortLived),
            ]
        );
    }

    #[test]
    fn parts_make_each_other_certain() {
        let parts = vec![
            detection("twilio-api-key", Class::Static, 0, "A"),
            detection("twilio-api-secret", Class::Static, 1, "B"),
            detection("other", Class::Static, 2, "C"),
        ];
        assert_eq!(
            classes(parts),
            [
                SURE(Class::Static),
                SURE(Class::Static),
                UNSURE(Class::Static)
            ]
        );
    }
}
