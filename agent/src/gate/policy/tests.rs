//! Trust policies: what is read, and what is refused.

use proptest::prelude::*;

use super::keys::matches;
use super::*;
use crate::gate::tests::{policy, trusted};
use crate::report::envelope::Bundle;
use crate::report::signer::SigningKey;
use crate::report::signer::tests::published_key;
use crate::report::statement::Statement;
use crate::report::verify::VerifyError;

fn parse(text: &str) -> Result<TrustPolicy, Mistakes> {
    TrustPolicy::parse("policy.toml", text.as_bytes())
}

fn messages(text: &str) -> Vec<String> {
    let mistakes = parse(text).unwrap_err();
    mistakes
        .iter()
        .map(|mistake| mistake.message().to_owned())
        .collect()
}

#[test]
fn what_is_not_said_is_strict() {
    let read = parse(&policy(&published_key(), "report")).unwrap();
    assert_eq!(read.allowed, Allowed::default());
    assert!(read.sweep.required && read.sweep.findings == Answer::Refuse);
    assert_eq!(read.run.status, BTreeSet::from([0]));
    assert_eq!(read.run.denied_then_allowed, Answer::Refuse);
    assert_eq!(read.evidence.chain, ChainRule::Consistent);
    assert_eq!(read.evidence.skew.as_secs(), 300);
    assert_eq!(read.keys[0].role, Role::Report);
}

#[test]
fn all_mistakes_are_told_at_once() {
    let other = SigningKey::generate().unwrap();
    let wrong = trusted(&published_key(), "report", "hosts = []").replacen(
        &published_key().public().id(),
        &other.public().id(),
        1,
    );
    let text = format!(
        "colour = 1\nexpires = \"soon\"\n{wrong}[evidence]\nskew = \"5\"\nchain = \"long\"\n\
         [run]\nstatus = [256]\nobjects = [\"x\"]\nmin_version = \"one\"\nrepository = \"x\"\n\
         max_denied = -1\n\
         [sweep]\nfindings = \"maybe\"\n[[require]]\nschema = \"x\"\n[[require]]\npath = \"../x\"\n\
         [[require]]\npath = \"x\"\nmax_age = \"1d\"\n"
    );
    assert_eq!(
        messages(&text),
        [
            "unknown key `colour` in a trust policy",
            "a trust policy needs `name`",
            "`expires` is not a point in time",
            "`fingerprint` is not that of `pem`",
            "`hosts` is empty",
            "`[evidence]` needs `max_age`",
            "`skew` is not a length of time",
            "`chain` is not what can be asked of a chain",
            "an exit status is a number, 0 to 255",
            "`x` in `objects` is not a digest",
            "`min_version` is not a version",
            "unknown key `repository` in `[run]`",
            "`max_denied` must not be negative",
            "`findings` is not an answer",
            "this asks for no piece",
            "this asks for no piece",
            "`path` is not a path below the bundle",
            "`max_age` and `time` go together",
        ]
    );
}

#[test]
fn a_policy_without_keys_or_with_one_twice_is_refused() {
    assert_eq!(
        messages("name = \"x\"\n[evidence]\nmax_age = \"1d\"\n"),
        ["no `[[key]]`: nobody's evidence counts"]
    );
    let twice = policy(&published_key(), "report") + &trusted(&published_key(), "gate", "");
    assert_eq!(messages(&twice), ["this key is listed already"]);
    let large = " ".repeat(usize::try_from(MAX_POLICY).unwrap() + 1);
    assert!(messages(&large)[0].contains("more than the"));
    TrustPolicy::parse("policy.toml", b"\xff").unwrap_err();
}

#[test]
fn a_signature_is_of_one_policy_by_one_key() {
    let (file, key) = (policy(&published_key(), "report"), published_key());
    let read = parse(&file).unwrap();
    let now = "2026-11-22T08:00:00Z".parse().unwrap();
    let statement = Statement::trust(&read, file.as_bytes(), now);
    let bundle = Bundle::sign(&statement.to_bytes().unwrap(), &key).unwrap();
    let bundle = serde_json::to_vec(&bundle).unwrap();
    let check = |file: &str, key: &SigningKey| {
        TrustPolicy::check_signature(file.as_bytes(), &bundle, key.public())
    };
    check(&file, &key).unwrap();
    let error = check(&format!("{file}\n"), &key).unwrap_err();
    assert!(matches!(error, VerifyError::OtherReport { .. }));
    let error = check(&file, &SigningKey::generate().unwrap()).unwrap_err();
    assert!(matches!(error, VerifyError::Envelope(_)));
}

#[test]
fn host_patterns_match_whole_names() {
    for (pattern, host) in [
        ("runner-3", "runner-3"),
        ("*", ""),
        ("runner-*", "runner-"),
        ("*.test", "a.b.test"),
        ("r*n*3", "runner-3"),
        ("a*a", "aa"),
        ("**", "x"),
    ] {
        assert!(matches(pattern, host), "{pattern} {host}");
    }
    for (pattern, host) in [
        ("runner", "runner-3"),
        ("runner-*", "x-runner-1"),
        ("*.test", "test"),
        ("a*a", "a"),
        ("", "x"),
        ("r*x*3", "runner-3"),
    ] {
        assert!(!matches(pattern, host), "{pattern} {host}");
    }
}

#[test]
fn versions_are_numbers_in_order() {
    let parse = |text| Version::parse(text).unwrap();
    assert!(parse("0.1.0") < parse("0.1.1") && parse("0.9") < parse("0.10"));
    assert_eq!(parse("1"), parse("1.0.0-rc.1"));
    for text in [
        "",
        "x",
        "1.x",
        "1.2.3.4",
        "-1",
        "1..2",
        "99999999999999999999",
    ] {
        assert_eq!(Version::parse(text), None, "{text}");
    }
}

#[test]
fn lengths_of_time_have_units() {
    let seconds = |text| field::parse_length(text).map(|length| length.as_secs());
    assert_eq!(seconds("7d"), Some(7 * 86_400));
    assert_eq!(
        [seconds("90s"), seconds("2m"), seconds("3h")],
        [Some(90), Some(120), Some(10_800)]
    );
    for text in [
        "",
        "d",
        "-1d",
        "+1d",
        "1.5h",
        "7",
        "1w",
        "99999999999d",
        "7 d",
    ] {
        assert_eq!(seconds(text), None, "{text}");
    }
}

proptest! {
    #[test]
    fn reading_is_total(text in any::<String>()) {
        drop(parse(&text));
    }

    #[test]
    fn a_name_matches_itself_and_what_is_cut_out_of_it(
        host in "[a-z.-]{0,12}", from in 0_usize..12, to in 0_usize..12,
    ) {
        prop_assert!(matches(&host, &host));
        let (from, to) = (from.min(host.len()), to.min(host.len()));
        if from <= to {
            let pattern = format!("{}*{}", host.split_at(from).0, host.split_at(to).1);
            prop_assert!(matches(&pattern, &host));
        }
    }
}
