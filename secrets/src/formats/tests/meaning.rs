//! What is said of what was found: class, lifetime, confidence, facts.

use super::*;

fn one(name: Option<&str>, text: &str) -> (&'static str, Credential) {
    let mut found = best(all(name, text.as_bytes()));
    assert_eq!(found.len(), 1, "in {text}");
    let found = found.remove(0);
    (found.rule.id, found.credential)
}

fn text_of(rule: &str, why: &str) -> String {
    let mut cases = cases().iter();
    let case = cases.find(|case| case.expected == Some(rule) && case.why.contains(why));
    case.unwrap_or_else(|| panic!("a case of {rule}: {why}"))
        .text
        .clone()
}

fn facts(credential: &Credential) -> Vec<(&'static str, &str)> {
    let facts = credential.facts.iter();
    facts.map(|fact| (fact.what, fact.text.as_str())).collect()
}

#[test]
fn a_stateless_token_is_one_with_its_class_life_and_app() {
    let rule = "github-app-installation-stateless";
    let token = text_of(rule, "two dots");
    let (id, found) = one(Some("GITHUB_TOKEN"), &token);
    assert_eq!((id, found.span.clone()), (rule, 0..token.len()));
    assert_eq!(found.class, Class::JobToken);
    let life = Life::Until {
        issued: Some(1_790_000_000),
        expires: 1_790_003_600,
    };
    assert_eq!(found.life, life);
    assert_eq!(
        facts(&found),
        [("issuer", "github"), ("audience", "api"), ("app", "15368")]
    );
    let (_, elsewhere) = one(Some("APP_TOKEN"), &token);
    assert_eq!(elsewhere.class, Class::ShortLived);
}

#[test]
fn an_identity_token_is_short_lived_and_names_its_issuer() {
    let token = text_of("jwt", "identity token of a job");
    let (_, found) = one(None, &token);
    assert_eq!(found.class, Class::ShortLived);
    let issuer = "https://token.actions.githubusercontent.com";
    assert_eq!(facts(&found), [("issuer", issuer), ("audience", "sts")]);
    let (_, runtime) = one(Some("ACTIONS_RUNTIME_TOKEN"), &token);
    assert_eq!(runtime.class, Class::JobToken);
    let (_, slashes) = one(None, &text_of("jwt", "escaped slashes"));
    assert_eq!(
        facts(&slashes),
        [("issuer", "https://gitlab.com"), ("audience", "a")]
    );
    let (_, without) = one(None, &text_of("jwt", "without expiry"));
    assert_eq!(
        (without.class, without.life),
        (Class::Unknown, Life::Unknown)
    );
    for (why, class) in [
        ("for an hour", Class::ShortLived),
        ("for a year", Class::Static),
        ("begins like a known one", Class::Unknown),
    ] {
        assert_eq!(one(None, &text_of("jwt", why)).1.class, class, "{why}");
    }
}

#[test]
fn an_encrypted_key_is_less_sure_than_an_open_one() {
    for (why, confidence) in [
        ("of OpenSSH", Confidence::High),
        ("with its lines", Confidence::High),
        ("without any line break", Confidence::High),
        ("with spaces for line breaks", Confidence::High),
        ("with line breaks in letters", Confidence::High),
        ("encrypted", Confidence::Medium),
        ("encrypted, with headers", Confidence::Medium),
        ("of OpenSSH, encrypted", Confidence::Medium),
    ] {
        let mut seen = 0;
        for case in cases() {
            if case.expected == Some("private-key") && case.why == why {
                let (_, found) = one(None, &case.text);
                assert_eq!(found.confidence, confidence, "{why}: {}", case.text);
                assert_eq!(found.span, 0..case.text.len(), "{why}");
                seen += 1;
            }
        }
        assert!(seen > 0, "{why}");
    }
}

#[test]
fn what_tokens_carry_is_told() {
    let (_, key) = one(None, &text_of("aws-access-key-id", "account is inside"));
    assert_eq!(facts(&key), [("account", "123456789012")]);
    let (_, key) = one(None, &text_of("aws-bedrock-key", "user that AWS made"));
    assert_eq!(facts(&key), [("account", "123456789012")]);
    let (_, key) = one(None, &text_of("gitlab-pat", "routable"));
    let ids = [("organization", "1"), ("project", "141"), ("user", "1701")];
    assert_eq!(facts(&key), ids);
    let (_, key) = one(None, &text_of("gcp-service-account", "and not any key"));
    let owner = [
        ("account", "ci@build-7.iam.example.com"),
        ("project", "build-7"),
    ];
    assert_eq!(facts(&key), owner);
    let (_, key) = one(None, &text_of("sentry-org-token", "owner"));
    assert_eq!(facts(&key), [("organization", "team")]);
    let (_, key) = one(None, &text_of("discord-bot-token", "in a header"));
    assert!(facts(&key)[0].1.starts_with('1'), "{:?}", facts(&key));
    let expires = |rule, why| match one(None, &text_of(rule, why)).1.life {
        Life::Until { expires, .. } => expires,
        other => panic!("{other:?}"),
    };
    assert_eq!(expires("jfrog-reference-token", "expiry"), 1_790_003_600);
    assert_eq!(
        expires("aws-bedrock-short-term-key", "signed"),
        1_790_035_200
    );
    assert_eq!(expires("azure-sas", "expiry"), 1_798_761_599);
}

#[test]
fn a_secret_key_beside_its_id_is_found_and_has_its_class() {
    let id = text_of("aws-access-key-id", "account is inside");
    let key = text_of("aws-secret-key", "where it is to be");
    for text in [
        format!("{id}:{key}"),
        format!("{key} {id}"),
        format!("id={id}\nkey={key}"),
    ] {
        let found = best(all(None, text.as_bytes()));
        let rules: BTreeSet<&str> = found.iter().map(|one| one.rule.id).collect();
        assert_eq!(
            rules,
            BTreeSet::from(["aws-access-key-id", "aws-secret-key"]),
            "{text}"
        );
        assert!(
            found
                .iter()
                .all(|one| one.credential.class == Class::Static)
        );
    }
}

#[test]
fn a_commit_beside_an_id_or_in_the_place_of_a_key_is_no_secret_key() {
    let id = text_of("aws-access-key-id", "account is inside");
    let commit = "0a1b2c3d4e5f60718293a4b5c6d7e8f901a2b3c4";
    let (rule, _) = one(None, &format!("{id} {commit}"));
    assert_eq!(rule, "aws-access-key-id");
    assert!(all(Some("AWS_SECRET_ACCESS_KEY"), commit.as_bytes()).is_empty());
}

#[test]
fn the_user_of_a_url_says_whose_token_it_is() {
    let (_, job) = one(
        None,
        "https://gitlab-ci-token:aB3dE5fG7hJ9kL1m@git.example.com/a.git",
    );
    assert_eq!((job.class, job.life), (Class::JobToken, Life::Short));
    assert_eq!(
        facts(&job),
        [("host", "git.example.com"), ("user", "gitlab-ci-token")]
    );
    let (_, own) = one(None, "postgres://alice:aB3dE5fG7hJ9kL1m@db.example.com");
    assert_eq!(
        facts(&own),
        [("host", "db.example.com")],
        "a person's name is not told"
    );
    let (_, local) = one(None, "postgres://ci:aB3dE5fG7hJ9kL1m@localhost:5432");
    assert_eq!(local.confidence, Confidence::Low);
}
