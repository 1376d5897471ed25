//! Decisions, and what the settings must say.

use super::{Granted, Grants, Refusal};
use crate::config::Config;
use crate::report::attendance::Identity;

const SETTINGS: &str = r#"
[[runner]]
unit = "actions.runner.*.service"
control_plane = ["github-actions"]
worker = "Runner.Worker"

[[grant]]
repository = "acme/app"
workflow = "release.yml"
ref = "refs/heads/main"
events = ["push"]
profiles = ["release"]

[[grant]]
runner = "actions.runner.acme-*"
repository = "acme/*"
profiles = ["rust", "node"]
always = ["limits"]
fork_profile = "stranger"
"#;

fn grants(text: &str) -> Grants {
    Config::parse("config.toml", text.as_bytes())
        .unwrap()
        .grants
}

fn job(repository: &str, event: &str) -> Identity {
    Identity {
        repository: Some(repository.to_owned()),
        workflow: Some("release.yml".to_owned()),
        reference: Some("refs/heads/main".to_owned()),
        event: Some(event.to_owned()),
        ..Identity::default()
    }
}

fn decide(identity: &Identity, asked: &[&str]) -> Result<Granted, Refusal> {
    let asked: Vec<String> = asked.iter().map(|name| (*name).to_owned()).collect();
    grants(SETTINGS).decide("actions.runner.acme-1.service", identity, &asked)
}

#[test]
fn the_first_grant_that_is_for_a_job_decides() {
    let granted = decide(&job("acme/app", "push"), &[]).unwrap();
    assert_eq!(granted.profiles, ["release"]);
    assert_eq!(granted.place, "config.toml:7");
    let granted = decide(&job("acme/lib", "push"), &["node"]).unwrap();
    assert_eq!(granted.profiles, ["node", "limits"]);
    // What the first one does not grant is not looked for in the second.
    let refusal = decide(&job("acme/app", "push"), &["rust"]).unwrap_err();
    assert!(matches!(refusal, Refusal::Profile { .. }), "{refusal}");
}

#[test]
fn who_asks_for_nothing_gets_the_first_profile() {
    assert_eq!(
        decide(&job("acme/lib", "schedule"), &[]).unwrap().profiles,
        ["rust", "limits"]
    );
}

#[test]
fn what_no_grant_is_for_is_refused_and_named() {
    let refusal = decide(&job("evil/app", "push"), &[]).unwrap_err();
    let text = refusal.to_string();
    assert!(
        text.contains("`evil/app`") && text.contains("[[grant]]"),
        "{text}"
    );
    // A job that says nothing of itself fits no pattern, not even `**`.
    let all = grants("[[grant]]\nrepository = \"**\"\nprofiles = [\"rust\"]\n");
    let refusal = all
        .decide("x.service", &Identity::default(), &[])
        .unwrap_err();
    assert!(matches!(refusal, Refusal::NoGrant(_)), "{refusal}");
}

#[test]
fn commits_of_strangers_get_the_profile_for_them_or_none() {
    let fork = |event: &str, fork| Identity {
        fork,
        ..job("acme/lib", event)
    };
    for identity in [
        fork("pull_request", Some(true)),
        fork("pull_request", None),
        fork("pull_request_review", None),
        fork("merge_request_event", None),
        fork("push", Some(true)),
    ] {
        assert_eq!(
            decide(&identity, &[]).unwrap().profiles,
            ["stranger", "limits"],
            "{identity:?}"
        );
        let wider = decide(&identity, &["rust"]).unwrap_err();
        assert!(matches!(wider, Refusal::Profile { .. }), "{wider}");
    }
    assert_eq!(
        decide(&fork("pull_request", Some(false)), &[])
            .unwrap()
            .profiles,
        ["rust", "limits"]
    );
    for said in [Some(true), Some(false), None] {
        let refusal = decide(&fork("pull_request_target", said), &[]).unwrap_err();
        assert!(matches!(refusal, Refusal::Target { .. }), "{refusal}");
    }
    let main = Identity {
        event: Some("pull_request".to_owned()),
        ..job("acme/app", "")
    };
    // Its own grant is for pushes; the wider one has a profile for strangers.
    assert_eq!(decide(&main, &[]).unwrap().profiles, ["stranger", "limits"]);
}

#[test]
fn a_grant_without_a_profile_for_strangers_refuses_them() {
    let only = grants("[[grant]]\nrepository = \"acme/*\"\nprofiles = [\"rust\"]\n");
    let fork = Identity {
        fork: Some(true),
        ..job("acme/app", "pull_request")
    };
    let refusal = only.decide("x.service", &fork, &[]).unwrap_err();
    assert!(refusal.to_string().contains("fork_profile"), "{refusal}");
}

#[test]
fn no_word_of_a_job_widens_what_its_runner_was_granted() {
    let granted: Vec<String> = ["release", "rust", "node", "stranger", "limits"]
        .map(str::to_owned)
        .into();
    let all = grants(SETTINGS);
    for repository in ["acme/app", "acme/lib", "evil/x", "acme/*", "**"] {
        for event in ["push", "pull_request", "pull_request_target", "*"] {
            for asked in ["release", "rust", "none", "../rust"] {
                let asked = [asked.to_owned()];
                if let Ok(given) =
                    all.decide("actions.runner.acme-1", &job(repository, event), &asked)
                {
                    assert!(given.profiles.iter().all(|name| granted.contains(name)));
                }
            }
        }
    }
}

#[test]
fn mistakes_in_grants_are_told_with_their_places() {
    for (text, words) in [
        ("[[grant]]\nprofiles = [\"a\"]\n", "needs `repository`"),
        ("[[grant]]\nrepository = \"a/b\"\n", "needs `profiles`"),
        (
            "[[grant]]\nrepository = \"\"\nprofiles = [\"a\"]\n",
            "no pattern",
        ),
        (
            "[[grant]]\nrepository = \"a\"\nprofiles = [\"/etc/x\"]\n",
            "no name of one",
        ),
        (
            "[[grant]]\nrepository = \"a\"\nprofile = [\"x\"]\n",
            "unknown key `profile`",
        ),
        ("[[runner]]\n", "needs `unit`"),
        (
            "[[runner]]\nunit = \"x\"\nworker = \"/bin/x\"\n",
            "without its directory",
        ),
    ] {
        let error = Config::parse("config.toml", text.as_bytes()).unwrap_err();
        assert!(error.to_string().contains(words), "{text}: {error}");
    }
}

#[test]
fn a_runner_says_where_its_jobs_find_an_engine_and_what_containers_mount() {
    let with = |keys: &str| {
        let text = format!("[[runner]]\nunit = \"a.service\"\n{keys}\n");
        Config::parse("config.toml", text.as_bytes())
            .map(|config| config.grants.runners)
            .map_err(|mistakes| mistakes.to_string())
    };
    let runners = with("engine_port = 2375\nworkspace = [\"/srv/a/_work\", \"/srv/a\"]").unwrap();
    let [runner] = runners.as_slice() else {
        panic!("{runners:?}")
    };
    assert_eq!(runner.engine_port.map(u16::from), Some(2375));
    assert_eq!(runner.workspace.len(), 2);
    let without = with("").unwrap();
    assert!(
        without
            .iter()
            .all(|runner| runner.engine_port.is_none() && runner.workspace.is_empty())
    );
    for (wrong, says) in [
        ("engine_port = 0", "1 to 65535"),
        ("engine_port = 65536", "1 to 65535"),
        ("engine_port = \"2375\"", "engine_port"),
        ("workspace = [\"/\"]", "two directories deep"),
        ("workspace = [\"/srv\"]", "two directories deep"),
        ("workspace = [\"/srv/a/../..\"]", "two directories deep"),
        ("workspace = [\"work/a\"]", "absolute paths"),
        ("workspace = \"/srv/a\"", "workspace"),
    ] {
        let error = with(wrong).unwrap_err();
        assert!(error.contains(says), "{wrong}: {error}");
    }
}
