//! The `[secrets]` table: what it may say, what is wrong with it, what several say together.

use std::time::Duration;

use cordon_secrets::{Class, Rules};
use jiff::Timestamp;

use super::loading::Shelf;
use super::{parse, wrong};
use crate::policy::secrets::{OnFinding, Stance};
use crate::policy::{Policy, SecretsPolicy};

/// A profile with these lines in its `[secrets]`.
fn profile(secrets: &str) -> String {
    format!("name = \"job\"\n[secrets]\n{secrets}\n")
}

fn secrets(lines: &str) -> SecretsPolicy {
    parse(&profile(lines)).secrets
}

#[test]
fn a_profile_that_says_nothing_has_the_defaults() {
    for text in ["name = \"job\"\n", "name = \"job\"\n[secrets]\n"] {
        assert_eq!(parse(text).secrets, SecretsPolicy::default());
    }
    let default = SecretsPolicy::default();
    assert_eq!(default.on_finding, OnFinding::Report);
    assert_eq!(default.stance, Stance::OidcOnly);
    assert_eq!(default.interval, Duration::from_secs(10));
    assert_eq!(default.freeze_for, Duration::from_mins(10));
    assert_eq!(default.max_lifetime, Duration::from_hours(1));
    assert!(default.holders.admit("/any/program") && default.allow.is_empty());
}

#[test]
fn all_that_can_be_said_is_read() {
    let read = secrets(
        r#"on_finding = "kill"
policy = "lenient"
interval = "1m"
freeze_for = "90s"
max_lifetime = "2h"
holders = ["/usr/bin/git", "node*"]
allow = [
    { variable = "GITHUB_TOKEN", class = "job-token", reason = "the checkout" },
    { rule = "known-value", process = "/opt/**/deploy", reason = "r", expires = 2027-01-31 },
]
"#,
    );
    assert_eq!(
        (read.on_finding, read.stance),
        (OnFinding::Kill, Stance::Lenient)
    );
    assert_eq!(read.interval, Duration::from_mins(1));
    assert_eq!(read.freeze_for, Duration::from_secs(90));
    assert_eq!(read.max_lifetime, Duration::from_hours(2));
    assert!(read.holders.admit("/usr/bin/git") && read.holders.admit("/x/node20"));
    assert!(!read.holders.admit("/home/git"));
    let [token, deploy] = read.allow.as_slice() else {
        panic!("{:?}", read.allow)
    };
    assert_eq!(token.to_string(), "variable GITHUB_TOKEN, class job-token");
    assert_eq!((token.class, token.expires), (Some(Class::JobToken), None));
    assert_eq!(token.reason, "the checkout");
    assert_eq!(token.origin.to_string(), "job.toml:10");
    assert_eq!(
        deploy.to_string(),
        "rule known-value, process /opt/**/deploy"
    );
    assert_eq!(deploy.origin.line, 11);
}

#[test]
fn an_allowance_ends_with_its_last_day() {
    let text = "allow = [{ variable = \"A\", reason = \"r\", expires = \"2027-01-31\" }]";
    let read = secrets(text);
    let at = |time: &str| {
        let now: Timestamp = time.parse().unwrap();
        read.allow[0].has_expired(now)
    };
    assert!(!at("2027-01-30T00:00:00Z") && !at("2027-01-31T23:59:59Z"));
    assert!(at("2027-02-01T00:00:00Z"));
}

#[test]
fn every_rule_of_the_engine_can_be_allowed() {
    for rule in Rules::all().iter() {
        let id = rule.id;
        let read = secrets(&format!("allow = [{{ rule = \"{id}\", reason = \"r\" }}]"));
        assert_eq!(read.allow[0].rule.as_deref(), Some(id));
    }
}

#[test]
fn all_mistakes_are_shown_at_once() {
    let text = r#"name = "job"
[secrets]
on_finding = "kil"
policy = 7
intervall = "10s"
interval = "500ms"
freeze_for = "25h"
max_lifetime = "59s"
holders = ["git", "*", "git", "bin/git"]
[[secrets.allow]]
class = "static"
reason = "r"
[[secrets.allow]]
variable = "*"
class = "job-tokn"
rule = "known-valu"
fingerprint = "00FF"
process = "**/*"
expires = "2027-02-30"
reason = "  "
[[secrets.allow]]
variable = "A"
expires = 2027-01-31T00:00:00Z
[[secrets.allow]]
variable = "B"
reason = "r"
expires = 2027
[[secrets.allow]]
variable = "C"
reason = "r"
[[secrets.allow]]
variable = "C"
reason = "again"
sweep = false
"#;
    assert_eq!(
        wrong(text),
        [
            "3: unknown value `kil` of `on_finding`",
            "4: `policy` must be text in quotes",
            "5: unknown key `intervall` in `[secrets]`",
            "6: `interval` is not a length of time",
            "7: `freeze_for` must be 1s to 24h",
            "8: `max_lifetime` must be 1m to 24h",
            "9: this pattern matches everything",
            "9: `git` is named twice",
            "9: the path of a program must be absolute",
            "10: an allowance needs `variable`, `rule`, `fingerprint` or `process`",
            "14: this pattern matches everything",
            "15: unknown value `job-tokn` of `class`",
            "16: there is no rule `known-valu`",
            "17: this is not a fingerprint",
            "18: this pattern matches everything",
            "19: `expires` must be a day",
            "20: `reason` is empty",
            "21: an allowance needs `reason`",
            "23: `expires` must be a day",
            "27: `expires` must be a day",
            "31: variable C is allowed twice",
            "34: unknown key `sweep` in an allowance",
        ]
    );
}

#[test]
fn mistakes_come_with_what_to_do() {
    for (lines, help) in [
        ("on_finding = \"kil\"", "did you mean \"kill\"?"),
        ("policy = \"strict\"", "\"lenient\", \"oidc-only\""),
        ("interval = \"10\"", "\"30s\", \"10m\" or \"1h\""),
        ("holders = [\"*\"]", "leave `holders` out"),
        ("holders = [\"./git\"]", "\"/usr/bin/git\""),
        (
            "allow = { variable = \"A\", reason = \"r\" }",
            "[[secrets.allow]]",
        ),
        (
            "allow = [{ rule = \"known-valu\", reason = \"r\" }]",
            "did you mean `known-value`?",
        ),
        (
            "allow = [{ variable = \"*\", reason = \"r\" }]",
            "leave `variable` out",
        ),
        (
            "allow = [{ fingerprint = \"a\", reason = \"r\" }]",
            "cordon secrets fingerprint",
        ),
        ("allow = [{ variable = \"A\" }]", "reason = "),
    ] {
        let text = profile(lines);
        let mistakes = Policy::parse("job.toml", text.as_bytes()).unwrap_err();
        assert_eq!(mistakes.iter().count(), 1, "{mistakes}");
        assert!(mistakes.to_string().contains(help), "{help}\n{mistakes}");
    }
}

#[test]
fn more_allowances_than_can_be_tried_are_refused() {
    let lines = |count: usize| {
        (0..count).fold(String::new(), |text, number| {
            text + &format!("[[secrets.allow]]\nvariable = \"A{number}\"\nreason = \"r\"\n")
        })
    };
    assert_eq!(secrets(&lines(1024)).allow.len(), 1024);
    let found = wrong(&profile(&lines(1025)));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("more than 1024"), "{found:?}");
}

#[test]
fn of_several_profiles_the_strictest_holds_bases_included() {
    let shelf = Shelf::new(&[
        (
            "profiles.d/base-one.toml",
            "name = \"base-one\"\n[secrets]\non_finding = \"freeze\"\ninterval = \"5s\"\n\
             holders = [\"git\", \"node\"]\n\
             allow = [{ variable = \"BASE\", reason = \"r\" }]\n",
        ),
        (
            "profiles.d/one.toml",
            "name = \"one\"\nextends = [\"base-one\"]\n[secrets]\non_finding = \"report\"\n\
             policy = \"lenient\"\ninterval = \"1m\"\n\
             allow = [{ variable = \"ONE\", reason = \"r\" }]\n",
        ),
        (
            "profiles.d/two.toml",
            "name = \"two\"\n[secrets]\nholders = [\"/usr/bin/*\"]\nmax_lifetime = \"30m\"\n",
        ),
        (
            "profiles.d/three.toml",
            "name = \"three\"\n[secrets]\npolicy = \"oidc-only\"\non_finding = \"kill\"\n",
        ),
    ]);
    let together = |names: &[&str]| shelf.load(names).unwrap().secrets;
    let one = together(&["one", "two"]);
    assert_eq!(
        (one.on_finding, one.stance),
        (OnFinding::Freeze, Stance::Lenient)
    );
    assert_eq!(one.interval, Duration::from_secs(5));
    assert_eq!(one.max_lifetime, Duration::from_mins(30));
    let variables: Vec<String> = one.allow.iter().map(ToString::to_string).collect();
    assert_eq!(variables, ["variable BASE", "variable ONE"]);
    assert!(one.holders.admit("/usr/bin/git"));
    assert!(!one.holders.admit("/usr/local/bin/git") && !one.holders.admit("/usr/bin/curl"));
    let all = together(&["one", "two", "three"]);
    assert_eq!(
        (all.on_finding, all.stance),
        (OnFinding::Kill, Stance::OidcOnly)
    );
}
