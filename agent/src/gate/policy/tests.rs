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
    assert_eq!(read.evidence.events, EventRule::Optional);
    assert!(read.evidence.key_protection.is_empty());
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
         events = \"some\"\nkey_protection = [\"tpm\", \"vault\"]\n\
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
            "`events` is not what can be asked of single events",
            "`vault` in `key_protection` is not a class of how a key is kept",
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
fn a_table_that_is_printed_is_read_back_as_it_was() {
    let time = |text: &str| Some(text.parse().unwrap());
    let other = SigningKey::generate().unwrap().public();
    let key = TrustedKey {
        role: Role::Report,
        key: published_key().public(),
        not_before: time("2026-11-22T08:00:00.123Z"),
        not_after: time("2026-12-22T08:00:00Z"),
        revoked_from: time("2026-12-01T08:00:00Z"),
        replaces: vec![other.id()],
        hosts: vec!["runner-*".to_owned()],
        predicate_types: BTreeSet::from(["https://slsa.dev/provenance/v1".to_owned()]),
    };
    let text = "name = \"x\"\n[evidence]\nmax_age = \"1d\"\n".to_owned();
    let read = parse(&(text + &key.table().unwrap())).unwrap();
    assert_eq!(read.keys, [key]);
}

#[test]
fn a_line_of_keys_is_found_from_each_of_them() {
    let keys = [(); 4].map(|()| SigningKey::generate().unwrap());
    let id = |at: usize| keys[at].public().id();
    let after = |at: usize| format!("replaces = [\"{}\"]", id(at));
    // The first one is not in the policy any more; the last one is of another host.
    let text = policy(&keys[1], "report") + &after(0) + "\n";
    let text = text + &trusted(&keys[2], "report", &after(1)) + &trusted(&keys[3], "report", "");
    let read = parse(&text).unwrap();
    let line = BTreeSet::from([id(0), id(1), id(2)]);
    for at in 0..3 {
        assert_eq!(read.line(&id(at)), line, "{at}");
    }
    assert_eq!(read.line(&id(3)), BTreeSet::from([id(3)]));
    // Keys that replace each other are one line as well, and no endless one.
    let text = policy(&keys[0], "report") + &after(1) + "\n";
    let read = parse(&(text + &trusted(&keys[1], "report", &after(0)))).unwrap();
    assert_eq!(read.line(&id(0)), read.line(&id(1)));
}

#[test]
fn what_a_key_replaces_is_another_key_that_no_other_one_replaces() {
    let one = policy(&published_key(), "report");
    let own = format!("replaces = [\"{}\"]\n", published_key().public().id());
    let own = messages(&(one.clone() + &own));
    assert!(own[0].contains("cannot replace itself"), "{own:?}");
    let other = SigningKey::generate().unwrap();
    let old = SigningKey::generate().unwrap().public().id();
    let replaces = format!("replaces = [\"{old}\"]\n");
    let two = one.clone() + &replaces + &trusted(&other, "report", &replaces);
    assert_eq!(messages(&two), [format!("two keys replace `{old}`")]);
    let no_key = messages(&(one.clone() + "replaces = [\"SHA256:x\"]\n"));
    assert!(no_key[0].contains("is not a fingerprint"), "{no_key:?}");
    assert_eq!(
        messages(&(one + "[revocations]\n")),
        ["`[revocations]` needs `max_age`"]
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
    let seconds = |text| parse_length(text).map(|length| length.as_secs());
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

#[test]
fn what_is_asked_of_contents_must_make_sense() {
    let told = |require: &str| {
        let text = policy(&published_key(), "report");
        messages(&format!("{text}[[require]]\npath = \"a\"\n{require}"))
    };
    for (require, message) in [
        (
            "values = [{ at = \"/x\" }]\n",
            "an entry of `values` asks for one thing",
        ),
        (
            "values = [{ at = \"/x\", is = 1, at_most = 2 }]\n",
            "an entry of `values` asks for one thing",
        ),
        (
            "values = [{ at = \"/x\", is = 1.5 }]\n",
            "nothing can be compared to this",
        ),
        (
            "values = [{ at = \"/x\", at_most = nan }]\n",
            "nothing can be compared to this",
        ),
        ("values = [{ is = 1 }]\n", "an entry of `values` needs `at`"),
        (
            "values = [{ at = \"x\", is = 1 }]\n",
            "`at` is not a JSON pointer",
        ),
        (
            "parity = { with = \"b\", at = \"/x\", by = [\"/y\"] }\n",
            "no other `[[require]]` has the path `b`",
        ),
        (
            "parity = { with = \"a\", at = \"/x\", by = [\"/y\"] }\n",
            "no other `[[require]]` has the path `a`",
        ),
        (
            "parity = { with = \"b\", at = \"/x\", by = [] }\n",
            "`by` is not a list of JSON pointers",
        ),
    ] {
        assert_eq!(told(require), [message], "{require}");
    }
    let text = policy(&published_key(), "report");
    let of_a_statement = format!(
        "{text}[[require]]\npredicate_type = \"x\"\n\
         parity = {{ with = \"b\", at = \"/x\", by = [\"/y\"] }}\n[[require]]\npath = \"b\"\n"
    );
    assert_eq!(
        messages(&of_a_statement),
        ["`schema`, `digest` and `parity` are of a file"]
    );
}
