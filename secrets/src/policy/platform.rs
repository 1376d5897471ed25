//! Where CI platforms put the tokens of their jobs.

/// Variables in which a platform itself, or its own checkout and setup steps, put a job's token.
const VARIABLES: [&str; 25] = [
    // GitHub Actions; inputs of actions become INPUT_*, and their default is often the token.
    "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
    "ACTIONS_RESULTS_TOKEN",
    "ACTIONS_RUNTIME_TOKEN",
    "GH_TOKEN",
    "GITHUB_TOKEN",
    "INPUT_GITHUB-TOKEN",
    "INPUT_GITHUB_TOKEN",
    "INPUT_REPO-TOKEN",
    "INPUT_REPO_TOKEN",
    "INPUT_TOKEN",
    // GitLab CI: one token under several names.
    "CI_DEPENDENCY_PROXY_PASSWORD",
    "CI_JOB_JWT",
    "CI_JOB_JWT_V1",
    "CI_JOB_JWT_V2",
    "CI_JOB_TOKEN",
    "CI_REGISTRY_PASSWORD",
    "CI_REPOSITORY_URL",
    // Azure Pipelines.
    "SYSTEM_ACCESSTOKEN",
    "SYSTEM_OIDCREQUESTURI",
    // Others.
    "BITBUCKET_STEP_OIDC_TOKEN",
    "BUILDKITE_AGENT_ACCESS_TOKEN",
    "CIRCLE_OIDC_TOKEN",
    "CIRCLE_OIDC_TOKEN_V2",
    "DRONE_NETRC_PASSWORD",
    "FORGEJO_TOKEN",
];

/// Settings of git by the environment: the header that checkout sets is in one of them.
const GIT_CONFIG: &str = "GIT_CONFIG_VALUE_";

/// Whether a platform puts a job's token into this variable.
pub(super) fn puts_token_into(variable: &str) -> bool {
    let is_number = |rest: &str| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit());
    VARIABLES.contains(&variable) || variable.strip_prefix(GIT_CONFIG).is_some_and(is_number)
}
