//! Tokens of code hosting, package registries and CI.

use super::Exact::{No, Yes};
use super::Piece::{Crc62, Of, Text};
use super::Token;
use crate::cases::random::{ALNUM, BASE58, BASE64_URL, HEX};

pub(super) const TOKENS: &[Token] = &[
    Token("github-pat", "ghp_", &[Of(ALNUM, 30), Crc62], No),
    Token("github-oauth", "gho_", &[Of(ALNUM, 30), Crc62], No),
    Token("github-app-user", "ghu_", &[Of(ALNUM, 30), Crc62], No),
    Token("github-refresh", "ghr_", &[Of(ALNUM, 30), Crc62], No),
    Token("github-refresh", "ghr_", &[Of(ALNUM, 76)], No),
    Token(
        "github-app-installation",
        "ghs_",
        &[Of(ALNUM, 30), Crc62],
        No,
    ),
    Token(
        "github-fine-grained-pat",
        "github_pat_",
        &[Of(ALNUM, 22), Text("_"), Of(ALNUM, 59)],
        Yes,
    ),
    Token("gitlab-pat", "glpat-", &[Of(BASE64_URL, 20)], Yes),
    Token("gitlab-deploy-token", "gldt-", &[Of(BASE64_URL, 20)], Yes),
    Token(
        "gitlab-job-token",
        "glcbt-",
        &[Text("64_"), Of(BASE64_URL, 20)],
        No,
    ),
    Token("gitlab-runner", "glrt-", &[Of(BASE64_URL, 20)], No),
    Token(
        "gitlab-runner",
        "glrt-",
        &[Text("t1_"), Of(BASE64_URL, 20)],
        No,
    ),
    Token(
        "gitlab-runner-registered",
        "glrtr-",
        &[Of(BASE64_URL, 20)],
        No,
    ),
    Token("gitlab-trigger", "glptt-", &[Of(HEX, 40)], Yes),
    Token("gitlab-feed-token", "glft-", &[Of(BASE64_URL, 20)], Yes),
    Token("gitlab-incoming-mail", "glimt-", &[Of(BASE64_URL, 25)], Yes),
    Token("gitlab-agent", "glagent-", &[Of(BASE64_URL, 50)], Yes),
    Token("gitlab-oauth-secret", "gloas-", &[Of(BASE64_URL, 64)], Yes),
    Token(
        "gitlab-feature-flags",
        "glffct-",
        &[Of(BASE64_URL, 20)],
        Yes,
    ),
    Token("gitlab-scim", "glsoat-", &[Of(BASE64_URL, 20)], Yes),
    Token(
        "gitlab-runner-registration",
        "GR1348941",
        &[Of(BASE64_URL, 20)],
        Yes,
    ),
    Token("npm-token", "npm_", &[Of(ALNUM, 30), Crc62], Yes),
    Token("rubygems-api-key", "rubygems_", &[Of(HEX, 48)], Yes),
    Token("docker-hub-pat", "dckr_pat_", &[Of(BASE64_URL, 27)], Yes),
    Token(
        "docker-hub-org-token",
        "dckr_oat_",
        &[Of(BASE64_URL, 32)],
        Yes,
    ),
    Token("jfrog-api-key", "AKCp", &[Of(BASE58, 69)], No),
    Token("jfrog-api-key", "AKCp", &[Of(BASE58, 65)], No),
    Token("sonar-user-token", "squ_", &[Of(HEX, 40)], Yes),
    Token("sonar-project-token", "sqp_", &[Of(HEX, 40)], Yes),
    Token("sonar-global-token", "sqa_", &[Of(HEX, 40)], Yes),
    Token(
        "circleci-token",
        "CCIPAT_",
        &[Of(ALNUM, 22), Text("_"), Of(HEX, 40)],
        Yes,
    ),
    Token("buildkite-user-token", "bkua_", &[Of(HEX, 40)], Yes),
    Token("buildkite-agent-token", "bkct_", &[Of(ALNUM, 60)], No),
    Token(
        "buildkite-agent-access-token",
        "bkaa_",
        &[Of(ALNUM, 60)],
        No,
    ),
    Token("buildkite-job-token", "bkaj_", &[Of(ALNUM, 60)], No),
    Token(
        "tailscale-key",
        "tskey-",
        &[Text("auth-k"), Of(ALNUM, 11), Text("-"), Of(ALNUM, 32)],
        No,
    ),
];
