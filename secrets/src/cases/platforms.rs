//! What platforms issue: GitHub and GitLab, package registries, JWTs.

use super::Case;
use super::random::{ALNUM, BASE32_LOWER, BASE64_URL, Random, base64, base64_url, crc32, in_base};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    github(&mut cases);
    gitlab(&mut cases);
    registries(&mut cases);
    jwt(&mut cases);
    cases
}

fn github(cases: &mut Vec<Case>) {
    let mut random = Random::of("github");
    let rule = "github-app-installation-stateless";
    let claims =
        r#"{"iss":"github","aud":"api","iat":1790000000,"exp":1790003600,"installation":1}"#;
    let mut token = || format!("{}15368_{}", "ghs_", token_of(claims, &mut random));
    let whole = "one token with two dots, and not the JWT inside it";
    cases.push(Case::found(rule, token(), whole));
    cases.push(Case::found(rule, token(), "as the runner gives it").named("GITHUB_TOKEN"));
    cases.push(Case::found(
        rule,
        format!("t%3D{}&x=1", token()),
        "glued on the left",
    ));
    let header = format!("AUTHORIZATION: bearer {}", token());
    cases.push(Case::found(rule, header, "in a header"));
    let cut = token();
    let cut = &cut[..cut.rfind('.').expect("three segments")];
    cases.push(Case::nothing(cut, "without its signature"));
    let no_json = format!(
        "{}15368_{}",
        "ghs_", "eyJhbGci.eyJpYXQi.c2lnbmF0dXJlLXNpZ25hdHVyZQ"
    );
    cases.push(Case::nothing(no_json, "segments that are not JSON"));
    let map = format!(
        r#"{{".runner":"{}",".credentials":"{}",".credentials_rsaparams":"{}"}}"#,
        base64(br#"{"agentId":1,"agentName":"r","poolId":1}"#),
        base64(br#"{"scheme":"OAuth","data":{}}"#),
        base64(&random.bytes(600)),
    );
    let rule = "actions-runner-jit-config";
    let jit = base64(map.as_bytes());
    let name = "ACTIONS_RUNNER_INPUT_JITCONFIG";
    cases.push(Case::found(rule, jit.clone(), "where the runner takes it from").named(name));
    cases.push(Case::found(
        rule,
        format!("--jitconfig {jit}"),
        "as an argument",
    ));
    let other = base64(br#"{"runner":"self-hosted","labels":["a","b"],"os":"linux","arch":"x64","name":"build-7"}"#);
    cases.push(Case::nothing(other, "base64 of JSON with other keys"));
}

fn gitlab(cases: &mut Vec<Case>) {
    let mut random = Random::of("gitlab");
    for (rule, prefix) in [
        ("gitlab-pat", "glpat-"),
        ("gitlab-runner", "glrt-t3_"),
        ("gitlab-job-token", "glcbt-"),
    ] {
        let mut payload = random.bytes(16);
        payload.extend(b"o:1\np:3x\nu:1b9\n");
        payload.push(16);
        let payload = base64_url(&payload);
        for version in [".01.", "."] {
            let length = in_base(u64::try_from(payload.len()).expect("short"), LOWER_36, 2);
            let before = format!("{prefix}{payload}{version}{length}");
            let sum = in_base(crc32(before.as_bytes()).into(), LOWER_36, 7);
            let token = format!("{before}{sum}");
            cases.push(Case::found(rule, token.clone(), "routable"));
            cases.push(Case::found(
                rule,
                format!("mine-{token}"),
                "with an instance's own prefix",
            ));
            cases.push(Case::nothing(format!("{token}0"), "a character too long"));
        }
    }
}

const LOWER_36: &str = "0123456789abcdefghijklmnopqrstuvwxyz";

fn registries(cases: &mut Vec<Case>) {
    let mut random = Random::of("registries");
    // The host names of the index and of the test index, of which the macaroon has one.
    for host in [["pypi", ".org"].concat(), ["test.pypi", ".org"].concat()] {
        let mut macaroon = vec![2, 1, u8::try_from(host.len()).expect("short")];
        macaroon.extend(host.bytes());
        macaroon.extend([2, 36]);
        macaroon.extend(random.text("0123456789abcdef-", 36).bytes());
        macaroon.push(0);
        macaroon.extend([2, 12]);
        macaroon.extend(random.text(ALNUM, 12).bytes());
        macaroon.extend([0, 0, 6, 32]);
        macaroon.extend(random.bytes(32));
        let token = format!("{}{}", "pypi-", base64_url(&macaroon));
        cases.push(Case::found("pypi-token", token.clone(), "a macaroon"));
        cases.push(Case::found(
            "pypi-token",
            format!("TWINE={token};"),
            "between others",
        ));
        cases.push(Case::nothing(
            format!("x{token}"),
            "the end of a longer word",
        ));
        cases.push(Case::nothing(&token[..24], "its beginning only"));
    }
    cases.push(Case::nothing(
        "pypi-attestations-1.2.3-py3-none-any.whl",
        "a file's name",
    ));
    let key = format!("{}{}", "cio", random.text(ALNUM, 32));
    cases.push(Case::found(
        "cargo-registry-token",
        key,
        "with no name that says so",
    ));

    // Version, kind, and twenty bytes around fields that NuGet aligns.
    let mut nuget = String::from("oy2");
    for (place, fixed) in (3..46).map(|place| (place, fixed_of(place))) {
        nuget.push_str(&random.text(fixed, 1));
        assert_eq!(nuget.len(), place + 1, "one for each place");
    }
    cases.push(Case::found(
        "nuget-api-key",
        nuget.clone(),
        "with its fixed bits",
    ));
    cases.push(Case::nothing(&nuget[..45], "a character short"));
    cases.push(Case::nothing(format!("{nuget}a"), "a character too long"));

    let inner = format!("reftkn:01:1790003600:{}", random.text(ALNUM, 27));
    let token = base64(inner.as_bytes());
    cases.push(Case::found(
        "jfrog-reference-token",
        token.clone(),
        "with its expiry",
    ));
    cases.push(Case::nothing(
        format!("x{token}"),
        "the end of a longer word",
    ));
    let other = base64(format!("reftknX01:0:{}", random.text(ALNUM, 40)).as_bytes());
    cases.push(Case::nothing(other, "base64 that begins alike"));
}

fn fixed_of(place: usize) -> &'static str {
    match place {
        3 | 33 => "abcdefghijklmnop",
        19 => "aq",
        31 => "eu",
        32 => "bdfhjlnprtvxz357",
        45 => "aeimquy4",
        _ => BASE32_LOWER,
    }
}

fn jwt(cases: &mut Vec<Case>) {
    let mut random = Random::of("jwt");
    for (claims, why) in [
        (
            r#"{"iss":"https://token.actions.githubusercontent.com","aud":"sts","iat":1790000000,"exp":1790000300}"#,
            "an identity token of a job",
        ),
        (
            r#"{"iss":"https:\/\/gitlab.com","aud":["a","b"],"exp":1790000300}"#,
            "escaped slashes",
        ),
        (r#"{"sub":"someone"}"#, "without expiry"),
        (
            r#"{"iss":"https://id.example.com","iat":1790000000,"exp":1790003600}"#,
            "for an hour",
        ),
        (
            r#"{"iss":"https://id.example.com","iat":1790000000,"exp":1821536000.5}"#,
            "for a year",
        ),
        (
            r#"{"iss":"https://gitlab.com.example","exp":1790003600}"#,
            "of an issuer that begins like a known one",
        ),
        (
            r#"{"iss":"supabase","role":"authenticated","exp":1790000300}"#,
            "a user of an application",
        ),
    ] {
        let token = token_of(claims, &mut random);
        cases.push(Case::found("jwt", token.clone(), why));
        cases.push(Case::found("jwt", format!("Bearer {token}"), "in a header"));
        cases.push(Case::found(
            "jwt",
            format!("t%3D{token}"),
            "glued on the left",
        ));
        cases.push(Case::nothing(
            format!("a{token}"),
            "the end of a longer word",
        ));
        let cut = &token[..token.rfind('.').expect("three segments")];
        cases.push(Case::nothing(cut, "without its signature"));
    }
    let claims = r#"{"aud":"x"}"#;
    let runtime = Case::found(
        "jwt",
        token_of(claims, &mut random),
        "the job's right to identity tokens",
    );
    cases.push(runtime.named("ACTIONS_ID_TOKEN_REQUEST_TOKEN"));
    let service =
        r#"{"iss":"supabase","ref":"x","role":"service_role","iat":1790000000,"exp":2100000000}"#;
    let key = token_of(service, &mut random);
    cases.push(Case::found(
        "supabase-service-role",
        key,
        "reads and writes everything",
    ));
    let public = r#"{"iss":"supabase","ref":"x","role":"anon","iat":1790000000,"exp":2100000000}"#;
    cases.push(Case::nothing(
        token_of(public, &mut random),
        "published with each page",
    ));
    let no_algorithm = format!(
        "{}.{}.{}",
        base64_url(b"{\"typ\":\"x\"}"),
        base64_url(b"{\"a\":1}"),
        random.text(BASE64_URL, 43)
    );
    cases.push(Case::nothing(no_algorithm, "a header without an algorithm"));
    let no_object = format!(
        "{}.{}.{}",
        base64_url(b"{\"alg\":\"x\"}"),
        base64_url(b"[1,2,3]"),
        random.text(BASE64_URL, 43)
    );
    cases.push(Case::nothing(no_object, "claims that are no object"));
}

/// A JWT with these claims and a signature of 64 bytes.
pub(super) fn token_of(claims: &str, random: &mut Random) -> String {
    let header = base64_url(br#"{"alg":"RS256","typ":"JWT"}"#);
    let claims = base64_url(claims.as_bytes());
    format!("{header}.{claims}.{}", random.text(BASE64_URL, 86))
}
