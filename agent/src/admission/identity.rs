//! What a CI system says of a job in its environment. Pure: variables in, an identity out.
//!
//! Each system is told by a variable that it sets and others do not. What it does not say stays unsaid.

#![forbid(unsafe_code)]

use serde_json::Value;

use crate::report::attendance::Identity;

/// Looks up a variable.
pub trait Variables {
    /// Its value; `None` if it is not set or empty.
    fn get(&self, name: &str) -> Option<String>;
}

/// The variables of this process.
#[derive(Clone, Copy, Debug)]
pub struct Environment;

impl Variables for Environment {
    fn get(&self, name: &str) -> Option<String> {
        std::env::var(name).ok().filter(|value| !value.is_empty())
    }
}

/// What the environment says of the job. `payload` is the file at `GITHUB_EVENT_PATH`, where there is one.
#[must_use]
pub fn of(variables: &impl Variables, payload: Option<&Value>) -> Identity {
    let get = |name: &str| variables.get(name);
    if get("FORGEJO_ACTIONS").is_some() || get("GITEA_ACTIONS").is_some() {
        return github("forgejo", variables, payload);
    }
    if get("GITHUB_ACTIONS").is_some() {
        return github("github", variables, payload);
    }
    if get("GITLAB_CI").is_some() {
        return gitlab("", variables);
    }
    if get("CUSTOM_ENV_GITLAB_CI").is_some() {
        return gitlab("CUSTOM_ENV_", variables);
    }
    if get("BUILDKITE").is_some() {
        return buildkite(variables);
    }
    if get("JENKINS_URL").is_some() {
        return jenkins(variables);
    }
    Identity::default()
}

fn github(provider: &str, variables: &impl Variables, payload: Option<&Value>) -> Identity {
    let get = |name: &str| variables.get(name);
    // `owner/name/.github/workflows/FILE@REF`: the file is what does not change when somebody renames it.
    let file = get("GITHUB_WORKFLOW_REF").and_then(|whole| {
        let path = whole.split('@').next()?;
        Some(path.rsplit('/').next()?.to_owned())
    });
    Identity {
        provider: Some(provider.to_owned()),
        repository: get("GITHUB_REPOSITORY"),
        workflow: file.or_else(|| get("GITHUB_WORKFLOW")),
        reference: get("GITHUB_REF"),
        commit: get("GITHUB_SHA"),
        run: get("GITHUB_RUN_ID"),
        attempt: get("GITHUB_RUN_ATTEMPT"),
        job: get("GITHUB_JOB"),
        event: get("GITHUB_EVENT_NAME"),
        fork: payload.and_then(fork),
    }
}

/// Whether a pull request's commits are of another repository than the one it is for. Other events: no commits
/// of others.
fn fork(payload: &Value) -> Option<bool> {
    let Some(request) = payload.get("pull_request") else {
        return Some(false);
    };
    let name = |end: &str| {
        request
            .pointer(&format!("/{end}/repo/full_name"))
            .and_then(Value::as_str)
    };
    // The repository of a deleted fork is null.
    Some(name("head")? != name("base")?)
}

fn gitlab(prefix: &str, variables: &impl Variables) -> Identity {
    let get = |name: &str| variables.get(&format!("{prefix}{name}"));
    let event = get("CI_PIPELINE_SOURCE");
    let reference = match (get("CI_COMMIT_TAG"), get("CI_COMMIT_BRANCH")) {
        (Some(tag), _) => Some(format!("refs/tags/{tag}")),
        (None, Some(branch)) => Some(format!("refs/heads/{branch}")),
        (None, None) => get("CI_MERGE_REQUEST_REF_PATH"),
    };
    let fork = match (
        get("CI_MERGE_REQUEST_SOURCE_PROJECT_ID"),
        get("CI_MERGE_REQUEST_PROJECT_ID"),
    ) {
        (Some(source), Some(target)) => Some(source != target),
        _ if event.as_deref() == Some("merge_request_event") => None,
        // An external pull request is by definition of another repository.
        _ => Some(event.as_deref() == Some("external_pull_request_event")),
    };
    Identity {
        provider: Some("gitlab".to_owned()),
        repository: get("CI_PROJECT_PATH"),
        workflow: get("CI_CONFIG_PATH"),
        reference,
        commit: get("CI_COMMIT_SHA"),
        run: get("CI_PIPELINE_ID"),
        attempt: None,
        job: get("CI_JOB_NAME"),
        event,
        fork,
    }
}

fn buildkite(variables: &impl Variables) -> Identity {
    let get = |name: &str| variables.get(name);
    let slug = |name: &str| get(name).map(|url| repository_of(&url));
    let request = get("BUILDKITE_PULL_REQUEST").filter(|number| number != "false");
    let fork = match (
        &request,
        slug("BUILDKITE_PULL_REQUEST_REPO"),
        slug("BUILDKITE_REPO"),
    ) {
        (None, ..) => Some(false),
        (Some(_), Some(from), Some(to)) => Some(from != to),
        (Some(_), ..) => None,
    };
    Identity {
        provider: Some("buildkite".to_owned()),
        repository: slug("BUILDKITE_REPO"),
        workflow: get("BUILDKITE_PIPELINE_SLUG"),
        reference: match (get("BUILDKITE_TAG"), get("BUILDKITE_BRANCH")) {
            (Some(tag), _) => Some(format!("refs/tags/{tag}")),
            (None, branch) => branch.map(|branch| format!("refs/heads/{branch}")),
        },
        commit: get("BUILDKITE_COMMIT"),
        run: get("BUILDKITE_BUILD_ID"),
        attempt: get("BUILDKITE_RETRY_COUNT"),
        job: get("BUILDKITE_LABEL").or_else(|| get("BUILDKITE_JOB_ID")),
        event: Some(if request.is_some() {
            "pull_request".to_owned()
        } else {
            get("BUILDKITE_SOURCE").unwrap_or_else(|| "push".to_owned())
        }),
        fork,
    }
}

fn jenkins(variables: &impl Variables) -> Identity {
    let get = |name: &str| variables.get(name);
    let change = get("CHANGE_ID").is_some();
    Identity {
        provider: Some("jenkins".to_owned()),
        repository: get("GIT_URL").map(|url| repository_of(&url)),
        workflow: get("JOB_NAME"),
        reference: get("TAG_NAME")
            .map(|tag| format!("refs/tags/{tag}"))
            .or_else(|| get("BRANCH_NAME").map(|branch| format!("refs/heads/{branch}"))),
        commit: get("GIT_COMMIT"),
        run: get("BUILD_NUMBER"),
        attempt: None,
        job: get("STAGE_NAME"),
        event: Some(if change { "pull_request" } else { "push" }.to_owned()),
        // Set by branch sources for changes that come from a fork.
        fork: if change {
            get("CHANGE_FORK").map(|_| true)
        } else {
            Some(false)
        },
    }
}

/// `owner/name` of a clone URL: what is behind the host, without `.git`.
fn repository_of(url: &str) -> String {
    let path = match (url.split_once("://"), url.split_once(':')) {
        (Some((_, rest)), _) => rest.split_once('/').map_or(rest, |(_, path)| path),
        (None, Some((_, path))) => path,
        (None, None) => url,
    };
    let path = path.trim_matches('/');
    path.strip_suffix(".git").unwrap_or(path).to_owned()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    struct Set(BTreeMap<String, String>);

    impl Variables for Set {
        fn get(&self, name: &str) -> Option<String> {
            self.0.get(name).cloned()
        }
    }

    fn set(pairs: &[(&str, &str)]) -> Set {
        let pairs = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Set(pairs.collect())
    }

    const GITHUB: [(&str, &str); 8] = [
        ("GITHUB_ACTIONS", "true"),
        ("GITHUB_REPOSITORY", "acme/app"),
        ("GITHUB_WORKFLOW", "Release it"),
        (
            "GITHUB_WORKFLOW_REF",
            "acme/app/.github/workflows/release.yml@refs/heads/main",
        ),
        ("GITHUB_REF", "refs/heads/main"),
        ("GITHUB_SHA", "0123"),
        ("GITHUB_RUN_ID", "77"),
        ("GITHUB_EVENT_NAME", "push"),
    ];

    #[test]
    fn github_names_the_file_of_the_workflow() {
        let identity = of(&set(&GITHUB), None);
        assert_eq!(identity.provider.as_deref(), Some("github"));
        assert_eq!(identity.repository.as_deref(), Some("acme/app"));
        assert_eq!(identity.workflow.as_deref(), Some("release.yml"));
        assert_eq!(identity.fork, None);
        assert_eq!(of(&set(&GITHUB), Some(&json!({}))).fork, Some(false));
    }

    #[test]
    fn a_fork_is_another_repository_than_the_one_it_is_for() {
        let request = |head: Value| json!({"pull_request": {"head": {"repo": head}, "base": {"repo": {"full_name": "acme/app"}}}});
        for (payload, fork) in [
            (request(json!({"full_name": "acme/app"})), Some(false)),
            (request(json!({"full_name": "evil/app"})), Some(true)),
            (request(Value::Null), None),
        ] {
            assert_eq!(of(&set(&GITHUB), Some(&payload)).fork, fork, "{payload}");
        }
    }

    #[test]
    fn gitlab_is_told_to_executors_with_a_prefix() {
        let mut pairs = vec![
            ("GITLAB_CI", "true"),
            ("CI_PROJECT_PATH", "acme/group/app"),
            ("CI_COMMIT_BRANCH", "main"),
            ("CI_PIPELINE_SOURCE", "push"),
        ];
        let plain = of(&set(&pairs), None);
        assert_eq!(plain.reference.as_deref(), Some("refs/heads/main"));
        assert_eq!(plain.fork, Some(false));
        let names: Vec<String> = pairs
            .iter()
            .map(|(name, _)| format!("CUSTOM_ENV_{name}"))
            .collect();
        let prefixed: Vec<_> = names
            .iter()
            .zip(&pairs)
            .map(|(name, (_, value))| (name.as_str(), *value))
            .collect();
        assert_eq!(of(&set(&prefixed), None), plain);
        pairs[3] = ("CI_PIPELINE_SOURCE", "merge_request_event");
        assert_eq!(of(&set(&pairs), None).fork, None);
        pairs.push(("CI_MERGE_REQUEST_SOURCE_PROJECT_ID", "1"));
        pairs.push(("CI_MERGE_REQUEST_PROJECT_ID", "2"));
        assert_eq!(of(&set(&pairs), None).fork, Some(true));
    }

    #[test]
    fn buildkite_and_jenkins_name_the_repository_by_its_url() {
        let mut pairs = vec![
            ("BUILDKITE", "true"),
            ("BUILDKITE_REPO", "git@git.example:acme/app.git"),
            ("BUILDKITE_BRANCH", "main"),
            ("BUILDKITE_PULL_REQUEST", "false"),
        ];
        let identity = of(&set(&pairs), None);
        assert_eq!(identity.repository.as_deref(), Some("acme/app"));
        assert_eq!(
            (identity.fork, identity.event.as_deref()),
            (Some(false), Some("push"))
        );
        pairs[3] = ("BUILDKITE_PULL_REQUEST", "12");
        assert_eq!(of(&set(&pairs), None).fork, None);
        pairs.push((
            "BUILDKITE_PULL_REQUEST_REPO",
            "https://git.example/evil/app.git",
        ));
        assert_eq!(of(&set(&pairs), None).fork, Some(true));
        let jenkins = set(&[
            ("JENKINS_URL", "https://ci.example"),
            ("GIT_URL", "https://git.example/acme/app"),
            ("CHANGE_ID", "3"),
        ]);
        let identity = of(&jenkins, None);
        assert_eq!(identity.repository.as_deref(), Some("acme/app"));
        assert_eq!(
            (identity.fork, identity.event.as_deref()),
            (None, Some("pull_request"))
        );
    }

    #[test]
    fn who_says_nothing_is_nobody() {
        assert_eq!(of(&set(&[]), None), Identity::default());
    }
}
