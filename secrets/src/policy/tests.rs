use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::block::Source;
use crate::credential::{Checksum, Confidence, Fact, Life, Rule};
use crate::detection::{Detection, Layers, LengthClass, Variable, Where};
use crate::fingerprint::FingerprintKey;

const NOW: i64 = 1_795_000_000;

const JOB: Place<'_> = Place {
    path: "/usr/bin/node",
    tree: Tree::Job,
};

fn detection(class: Class, variable: &str) -> Detection {
    Detection {
        rule: Rule {
            id: "test",
            title: "a test",
        },
        class,
        confidence: Confidence::High,
        checksum: Checksum::None,
        life: Life::Unknown,
        facts: Arc::from([]),
        place: Where {
            source: Source::Environ,
            entry: 0,
            variable: Variable::Named(Arc::from(variable)),
            field: Variable::None,
        },
        layers: Layers::default(),
        length: LengthClass::To63,
        fingerprint: FingerprintKey::new([0; 32])
            .fingerprints()
            .fingerprint(variable.as_bytes()),
    }
}

fn judged(policy: &SweepPolicy, detection: &Detection) -> (Outcome, Reason) {
    let judgement = policy.judge(detection, &JOB, NOW);
    assert_eq!(judgement.lapsed, None);
    (judgement.outcome, judgement.reason)
}

fn allow(variable: &str) -> AllowEntry {
    AllowEntry {
        variable: Some(VariablePattern::parse(variable).unwrap()),
        rule: None,
        class: None,
        process: None,
        fingerprint: None,
        reason: "needed".to_owned(),
        expires: None,
    }
}

#[test]
fn each_class_has_its_place_in_the_default_policy() {
    let strict = SweepPolicy::default();
    let lenient = SweepPolicy {
        default: Baseline::Lenient,
        ..SweepPolicy::default()
    };
    let found = Outcome::Finding;
    for (class, variable, in_strict, in_lenient, reason) in [
        (
            Class::JobToken,
            "GITHUB_TOKEN",
            Outcome::Expected,
            Outcome::Expected,
            Reason::PlatformToken,
        ),
        (
            Class::JobToken,
            "GIT_CONFIG_VALUE_0",
            Outcome::Expected,
            Outcome::Expected,
            Reason::PlatformToken,
        ),
        (
            Class::JobToken,
            "MY_COPY",
            found(Severity::Medium),
            Outcome::Noted,
            Reason::TokenElsewhere,
        ),
        (
            Class::JobToken,
            "GIT_CONFIG_VALUE_X",
            found(Severity::Medium),
            Outcome::Noted,
            Reason::TokenElsewhere,
        ),
        (
            Class::Pointer,
            "SSH_AUTH_SOCK",
            Outcome::Noted,
            Outcome::Noted,
            Reason::Pointer,
        ),
        (
            Class::Static,
            "NPM_TOKEN",
            found(Severity::High),
            Outcome::Noted,
            Reason::LongLived,
        ),
        (
            Class::PrivateKey,
            "KEY",
            found(Severity::High),
            Outcome::Noted,
            Reason::PrivateKey,
        ),
        (
            Class::Unknown,
            "PASSWORD",
            found(Severity::Medium),
            Outcome::Noted,
            Reason::UnknownLifetime,
        ),
        (
            Class::RunnerIdentity,
            "X",
            found(Severity::High),
            found(Severity::High),
            Reason::RunnerIdentityOutside,
        ),
    ] {
        let detection = detection(class, variable);
        assert_eq!(
            judged(&strict, &detection),
            (in_strict, reason),
            "{class:?}"
        );
        assert_eq!(
            judged(&lenient, &detection),
            (in_lenient, reason),
            "{class:?}"
        );
    }
    let short = detection(Class::ShortLived, "X");
    assert_eq!(
        judged(&strict, &short),
        (Outcome::Noted, Reason::OriginUnproven)
    );
    assert_eq!(
        judged(&lenient, &short),
        (Outcome::Expected, Reason::Federated)
    );
}

#[test]
fn a_job_token_on_a_command_line_is_a_finding_whoever_is_lenient() {
    let mut token = detection(Class::JobToken, "GITHUB_TOKEN");
    token.place.source = Source::Arguments;
    for default in [Baseline::OidcOnly, Baseline::Lenient] {
        let policy = SweepPolicy {
            default,
            ..SweepPolicy::default()
        };
        assert_eq!(
            judged(&policy, &token),
            (Outcome::Finding(Severity::High), Reason::TokenOnCommandLine)
        );
    }
}

#[test]
fn only_holders_hold_the_job_token_where_there_are_some() {
    let token = detection(Class::JobToken, "GITHUB_TOKEN");
    let list = |programs: &[&str]| {
        let programs = programs.iter();
        programs
            .map(|program| ProgramPattern::parse(program).unwrap())
            .collect()
    };
    let holders = |lists: &[&[&str]]| SweepPolicy {
        holders: lists.iter().map(|programs| list(programs)).collect(),
        ..SweepPolicy::default()
    };
    for lists in [&[&["node"][..]][..], &[&["git", "/usr/bin/*"], &["node"]]] {
        assert_eq!(judged(&holders(lists), &token).0, Outcome::Expected);
    }
    let other = (Outcome::Finding(Severity::Medium), Reason::TokenWithOther);
    // Of two profiles that name holders, both count; a list of nobody admits nobody.
    for lists in [&[&["gh"][..]][..], &[&["node"], &["/opt/**/node"]], &[&[]]] {
        assert_eq!(judged(&holders(lists), &token), other);
    }
    let outside = Place {
        tree: Tree::Outside,
        ..JOB
    };
    let judgement = SweepPolicy::default().judge(&token, &outside, NOW);
    assert_eq!(judgement.outcome, Outcome::Finding(Severity::High));
    assert_eq!(judgement.reason, Reason::TokenOutside);
}

#[test]
fn short_lived_is_what_lives_shortly_and_comes_from_where_it_should() {
    let policy = SweepPolicy {
        issuers: vec![Glob::new("https://issuer.test/*").unwrap()],
        ..SweepPolicy::default()
    };
    let mut token = detection(Class::ShortLived, "X");
    let until = |issued, expires| Life::Until { issued, expires };
    token.life = until(Some(NOW), NOW + 3600);
    assert_eq!(
        judged(&policy, &token),
        (Outcome::Noted, Reason::OriginUnproven)
    );
    token.facts = Arc::from([Fact {
        what: "issuer",
        text: "https://issuer.test/x".to_owned(),
    }]);
    assert_eq!(
        judged(&policy, &token),
        (Outcome::Expected, Reason::Federated)
    );
    token.life = until(Some(NOW), NOW + 3601);
    assert_eq!(
        judged(&policy, &token),
        (Outcome::Finding(Severity::Medium), Reason::LivesTooLong)
    );
    token.life = until(None, NOW + 3600);
    assert_eq!(judged(&policy, &token).0, Outcome::Expected);
    token.life = until(Some(NOW - 9000), NOW);
    assert_eq!(judged(&policy, &token), (Outcome::Noted, Reason::Expired));
    token.life = Life::Short;
    token.place.source = Source::Arguments;
    assert_eq!(
        judged(&policy, &token),
        (
            Outcome::Finding(Severity::Low),
            Reason::ShortLivedOnCommandLine
        )
    );
}

#[test]
fn severity_follows_who_can_see_it_and_how_sure_it_is() {
    let mut key = detection(Class::Static, "X");
    let policy = SweepPolicy::default();
    let mut severity = |change: &dyn Fn(&mut Detection)| {
        change(&mut key);
        judged(&policy, &key).0
    };
    assert_eq!(
        severity(&|key| key.checksum = Checksum::Invalid),
        Outcome::Finding(Severity::Medium)
    );
    assert_eq!(
        severity(&|key| key.checksum = Checksum::Valid),
        Outcome::Finding(Severity::High)
    );
    assert_eq!(
        severity(&|key| key.place.source = Source::Arguments),
        Outcome::Finding(Severity::Critical)
    );
    assert_eq!(
        severity(&|key| key.confidence = Confidence::Low),
        Outcome::Finding(Severity::High)
    );
}

#[test]
fn the_runner_may_hold_its_identity() {
    let policy = SweepPolicy {
        runners: vec![ProgramPattern::parse("/opt/runner/bin/*").unwrap()],
        ..SweepPolicy::default()
    };
    let identity = detection(Class::RunnerIdentity, "X");
    assert!(matches!(judged(&policy, &identity).0, Outcome::Finding(_)));
    let runner = Place {
        path: "/opt/runner/bin/Runner.Listener",
        ..JOB
    };
    assert_eq!(policy.judge(&identity, &runner, NOW).reason, Reason::Runner);
}

#[test]
fn an_entry_allows_what_all_of_it_matches_until_it_expires() {
    let key = detection(Class::Static, "NPM_TOKEN");
    let with = |entry: AllowEntry| SweepPolicy {
        allow: vec![entry],
        ..SweepPolicy::default()
    };
    let allowed = (Outcome::Expected, Reason::Allowed(0));
    assert_eq!(judged(&with(allow("NPM_*")), &key), allowed);
    assert_ne!(judged(&with(allow("npm_*")), &key), allowed);
    let refused = |change: &dyn Fn(&mut AllowEntry)| {
        let mut entry = allow("NPM_TOKEN");
        change(&mut entry);
        judged(&with(entry), &key) != allowed
    };
    assert!(refused(&|entry| entry.class = Some(Class::JobToken)));
    assert!(!refused(&|entry| entry.class = Some(Class::Static)));
    assert!(refused(
        &|entry| entry.process = Some(ProgramPattern::parse("cargo").unwrap())
    ));
    assert!(!refused(
        &|entry| entry.process = Some(ProgramPattern::parse("/usr/bin/node").unwrap())
    ));
    assert!(refused(
        &|entry| entry.fingerprint = Some(detection(Class::Static, "Y").fingerprint)
    ));
    assert!(!refused(
        &|entry| entry.fingerprint = Some(detection(Class::Static, "NPM_TOKEN").fingerprint)
    ));
    assert!(refused(&|entry| entry.rule = Some("other".to_owned())));
    assert!(!refused(&|entry| entry.rule = Some("test".to_owned())));
    assert!(refused(&|entry| entry.variable = None));
    let mut lapsed = allow("NPM_TOKEN");
    lapsed.expires = Some(NOW);
    let judgement = with(lapsed).judge(&key, &JOB, NOW);
    assert!(matches!(judgement.outcome, Outcome::Finding(_)));
    assert_eq!(judgement.lapsed, Some(0));
}

#[test]
fn entries_of_no_use_are_told() {
    let mut policy = SweepPolicy {
        allow: vec![allow("A"), allow("B"), allow("C"), allow("D")],
        ..SweepPolicy::default()
    };
    policy.allow[2].expires = Some(NOW - 1);
    policy.allow[3].variable = None;
    let mut usage = Usage::default();
    usage.note(&policy.judge(&detection(Class::Static, "B"), &JOB, NOW));
    assert_eq!(
        usage.stale(&policy, NOW),
        [Stale::Unused(0), Stale::Expired(2), Stale::Vacuous(3)]
    );
}

#[test]
fn a_name_that_is_withheld_matches_no_pattern() {
    let mut key = detection(Class::Static, "X");
    key.place.variable = Variable::Withheld;
    let policy = SweepPolicy {
        allow: vec![allow("*?A*")],
        ..SweepPolicy::default()
    };
    assert!(matches!(judged(&policy, &key).0, Outcome::Finding(_)));
}

#[test]
fn patterns_match_whole_names() {
    let matches = |pattern: &str, text: &str| Glob::new(pattern).unwrap().matches(text);
    for (pattern, text) in [
        ("*", ""),
        ("a*c", "abc"),
        ("a*c", "ac"),
        ("*_TOKEN", "A_B_TOKEN"),
        ("?b*", "abc"),
        ("**", "x"),
        ("a*b*c", "axbxbc"),
    ] {
        assert!(matches(pattern, text), "{pattern} {text}");
    }
    for (pattern, text) in [
        ("a", "ab"),
        ("a*", "ba"),
        ("?", ""),
        ("*a", "ab"),
        ("a?c", "ac"),
    ] {
        assert!(!matches(pattern, text), "{pattern} {text}");
    }
    assert_eq!(Glob::new(""), Err(GlobError::Empty));
    assert_eq!(Glob::new("a\n"), Err(GlobError::Unprintable));
    assert_eq!(Glob::new(&"a".repeat(257)), Err(GlobError::Long));
}

proptest! {
    #[test]
    fn patterns_match_as_the_plain_definition_says(pattern in "[ab*?]{1,8}", text in "[ab]{0,8}") {
        fn plain(pattern: &[u8], text: &[u8]) -> bool {
            match (pattern.split_first(), text.split_first()) {
                (None, None) => true,
                (Some((b'*', rest)), _) => {
                    plain(rest, text) || text.split_first().is_some_and(|(_, left)| plain(pattern, left))
                }
                (Some((one, rest)), Some((byte, left))) => (one == byte || *one == b'?') && plain(rest, left),
                _ => false,
            }
        }
        prop_assert_eq!(Glob::new(&pattern).unwrap().matches(&text), plain(pattern.as_bytes(), text.as_bytes()));
    }
}
