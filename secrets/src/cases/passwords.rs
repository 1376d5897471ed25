//! Passwords where passwords are: URLs, headers, files, connection strings.

use super::Case;
use super::random::{ALNUM, Random, base64};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    passwords(&mut cases);
    urls(&mut cases);
    cases
}

fn passwords(cases: &mut Vec<Case>) {
    let mut random = Random::of("passwords");
    let password = random.text(ALNUM, 18);
    let login = base64(format!("builder:{password}").as_bytes());
    let rule = "docker-config-auth";
    let config = format!(r#"{{"auths": {{"registry.test": {{"auth": "{login}"}}}}}}"#);
    cases.push(Case::found(rule, config, "a login of a registry"));
    let tight = format!(r#"{{"auths":{{"registry.test":{{"auth":"{login}","email":"x"}}}}}}"#);
    cases.push(Case::found(rule, tight, "without spaces"));
    let identity = format!(r#"{{"identitytoken": "{}"}}"#, random.text(ALNUM, 60));
    cases.push(Case::found(rule, identity, "a refresh token of a registry"));
    cases.push(Case::nothing(
        r#"{"auths": {"registry.test": {}}}"#,
        "the login is kept elsewhere",
    ));
    cases.push(Case::nothing(r#"{"auth": "oauth2-proxy"}"#, "no login"));

    let rule = "basic-auth-header";
    cases.push(Case::found(
        rule,
        format!("Authorization: Basic {login}"),
        "a header",
    ));
    let inner = format!("x-access-token:{}{}", "ghs_", random.text(ALNUM, 36));
    let extra = format!("AUTHORIZATION: basic {}", base64(inner.as_bytes()));
    cases.push(Case::found(rule, extra, "what checkout gives git").named("GIT_CONFIG_VALUE_0"));
    cases.push(Case::nothing(
        "basic authentication is required",
        "a sentence",
    ));
    cases.push(Case::nothing(
        "Basic realm=registry",
        "the question, not the answer",
    ));
    let asterisks = base64(b"user:********");
    cases.push(Case::nothing(
        format!("Authorization: Basic {asterisks}"),
        "masked",
    ));

    let rule = "netrc-password";
    let entry = format!("machine git.example.com login ci password {password}\n");
    cases.push(Case::found(rule, entry, "on a line"));
    let entry = format!("machine git.example.com\n  login ci\n  password {password}\n");
    cases.push(Case::found(rule, entry, "on lines"));
    let entry = format!("default login ci password {password}");
    cases.push(Case::found(rule, entry, "for every host"));
    cases.push(Case::nothing(
        "machine learning password manager",
        "a sentence",
    ));
    cases.push(Case::nothing(
        "machine git.example.com login ci password $TOKEN",
        "a reference",
    ));

    let rule = "connection-string-password";
    for text in [
        format!(
            "Server=tcp:db.example.com,1433;Database=app;User ID=ci;Password={password};Encrypt=True"
        ),
        format!("Driver={{ODBC Driver 18}};Server=db.example.com;UID=ci;PWD={password}"),
        format!("Host=db.example.com;Username=ci;Password='{password};x';Database=app"),
        format!("jdbc:sqlserver://db.example.com:1433;user=ci;password={password};"),
        format!("Password={password};Data Source=db.example.com"),
    ] {
        cases.push(Case::found(rule, text, "of a database"));
    }
    cases.push(Case::nothing(
        "Server=db.example.com;Integrated Security=true",
        "no password",
    ));
    cases.push(Case::nothing(
        "Server=db;Password=${DB_PASSWORD};",
        "a reference",
    ));
    cases.push(Case::nothing("PWD=/srv/ci/jobs", "a directory"));
}

fn urls(cases: &mut Vec<Case>) {
    let mut random = Random::of("urls");
    let password = random.text(ALNUM, 20);
    let rule = "url-credentials";
    for scheme in [
        "https",
        "http",
        "postgresql",
        "postgres",
        "postgresql+asyncpg",
        "mysql",
        "mysql2",
        "mongodb",
        "mongodb+srv",
        "redis",
        "rediss",
        "amqp",
        "amqps",
        "ftp",
        "smtp",
        "ldap",
        "git",
        "ssh",
        "nats",
        "clickhouse",
        "jdbc:oracle",
        "socks5h",
        "s3",
        "mqtt",
        "bolt",
        "influxdb",
        "snowflake",
        "kafka",
    ] {
        let url = format!("{scheme}://ci:{password}@host.example.com/path?x=1");
        cases.push(Case::found(rule, url, "in any scheme"));
    }
    for url in [
        format!("https://oauth2:{password}@git.example.com/a/b.git"),
        format!("https://gitlab-ci-token:{password}@git.example.com/a/b.git"),
        format!("redis://:{password}@cache.example.com:6379/0"),
        format!("https://ci:p%40{password}@host.example.com"),
        format!("https://ci:p@{password}@host.example.com"),
        format!("https://{password}:x-oauth-basic@git.example.com"),
        format!("postgres://ci:{password}@[2001:db8::1]:5432/app"),
        format!("git clone https://ci:{password}@git.example.com/x.git && make"),
        format!("amqp://ci:{password}@mq-1,mq-2"),
    ] {
        cases.push(Case::found(rule, url, "in any place"));
    }
    for (url, why) in [
        ("https://example.com/a:b@c", "an `@` in the path"),
        ("https://host.example.com:8443/", "a port"),
        ("https://user@host.example.com/", "a user alone"),
        ("https://ci:$TOKEN@host.example.com", "a reference"),
        ("https://ci:${TOKEN}@host.example.com", "a reference"),
        ("https://ci:{{token}}@host.example.com", "a template"),
        ("https://ci:$token@host.example.com", "a reference"),
        ("https://ci:{token}@host.example.com", "a template"),
        ("https://ci:<password>@host.example.com", "to be filled in"),
        ("https://ci:***@host.example.com", "masked"),
        ("https://ci:xxxxxxxx@host.example.com", "masked"),
        (
            "https://0a1b2c3d4e5f60718293a4b5c6d7e8f9@o1.ingest.example.com/1",
            "a public key of an error service",
        ),
        ("git@git.example.com:a/b.git", "no URL"),
        ("https://ci:@host.example.com", "no password"),
        ("https://ci:secret-but-no-host@", "no host"),
        ("file:///home/ci:x@y", "a file"),
        (
            "https://host.example.com/?mail=a:b@c.example",
            "an address in the query",
        ),
    ] {
        cases.push(Case::nothing(url, why));
    }
}
