//! docker's `config.json`, as far as it says who logged in where. Pure.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::Credentials;

/// The file. What else is in it is not for us.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Config {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
    #[serde(default)]
    cred_helpers: BTreeMap<String, String>,
    #[serde(default)]
    creds_store: Option<String>,
}

#[derive(Default, Deserialize)]
struct Entry {
    #[serde(default)]
    auth: Option<String>,
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    password: Option<String>,
    #[serde(default)]
    identitytoken: Option<String>,
}

/// Where the credentials for a registry are.
pub(crate) enum Login {
    /// Nowhere.
    Nobody,
    /// In the file.
    Known(Credentials),
    /// A program has them, under this name.
    Ask { helper: String, server: String },
}

impl Config {
    /// Reads the file; errors quote nothing of it.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, String> {
        // serde's own words may quote values.
        serde_json::from_slice(bytes)
            .map_err(|error| format!("it is no file of logins (line {})", error.line()))
    }

    /// Who logged in at a registry.
    pub(crate) fn lookup(&self, host: &str) -> Result<Login, String> {
        if let Some(helper) = self.cred_helpers.get(host) {
            return Ok(Login::Ask {
                helper: helper.clone(),
                server: host.to_owned(),
            });
        }
        // Older files have addresses in place of hosts.
        let found = [
            host.to_owned(),
            format!("https://{host}"),
            format!("http://{host}"),
        ]
        .into_iter()
        .flat_map(|key| {
            [
                format!("{key}/v1/"),
                format!("{key}/v2/"),
                format!("{key}/"),
                key,
            ]
        })
        .find_map(|key| Some((self.auths.get(&key)?, key)));
        if let Some((entry, _)) = &found
            && let Some(credentials) = entry.credentials()?
        {
            return Ok(Login::Known(credentials));
        }
        match &self.creds_store {
            Some(helper) => Ok(Login::Ask {
                helper: helper.clone(),
                server: found.map_or_else(|| host.to_owned(), |(_, key)| key),
            }),
            None => Ok(Login::Nobody),
        }
    }
}

impl Entry {
    fn credentials(&self) -> Result<Option<Credentials>, String> {
        let some = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        if let Some(token) = some(&self.identitytoken) {
            return Ok(Some(Credentials::Refresh(Zeroizing::new(token))));
        }
        if let Some(auth) = some(&self.auth) {
            let none = || "an `auth` in it is no base64 of NAME:PASSWORD".to_owned();
            let bytes = STANDARD
                .decode(&auth)
                .or_else(|_padded| STANDARD_NO_PAD.decode(&auth))
                .map_err(|_quotes_the_secret| none())?;
            let bytes = Zeroizing::new(bytes);
            let text = str::from_utf8(&bytes).map_err(|_quotes_the_secret| none())?;
            // docker ends passwords with zero bytes at times.
            let text = text.trim_end_matches('\0');
            let (user, password) = text.split_once(':').ok_or_else(none)?;
            return Ok(Some(Credentials::Password {
                user: user.to_owned(),
                password: Zeroizing::new(password.to_owned()),
            }));
        }
        Ok(match (some(&self.username), some(&self.password)) {
            (Some(user), Some(password)) => Some(Credentials::Password {
                user,
                password: Zeroizing::new(password),
            }),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn basic(config: &str, host: &str) -> Option<String> {
        match Config::parse(config.as_bytes())
            .unwrap()
            .lookup(host)
            .unwrap()
        {
            Login::Known(credentials) => credentials.basic().map(|text| text.as_str().to_owned()),
            Login::Ask { helper, server } => Some(format!("{helper} {server}")),
            Login::Nobody => None,
        }
    }

    #[test]
    fn logins_are_found_for_their_registry_and_for_no_other() {
        let config = r#"{"auths": {"registry.test:5000": {"auth": "dTpw"}, "https://old.test/v1/": {"auth": "dTpw"},
            "plain.test": {"username": "u", "password": "p"}}, "HttpHeaders": {}}"#;
        for host in ["registry.test:5000", "old.test", "plain.test"] {
            assert_eq!(basic(config, host).as_deref(), Some("Basic dTpw"), "{host}");
        }
        for host in ["registry.test", "test", "5000", "evil.registry.test:5000"] {
            assert_eq!(basic(config, host), None, "{host}");
        }
    }

    #[test]
    fn helpers_are_asked_where_the_file_says_so() {
        let config = r#"{"auths": {"https://old.test": {}}, "credsStore": "pass", "credHelpers": {"a.test": "vault"}}"#;
        assert_eq!(basic(config, "a.test").unwrap(), "vault a.test");
        assert_eq!(basic(config, "b.test").unwrap(), "pass b.test");
        assert_eq!(basic(config, "old.test").unwrap(), "pass https://old.test");
    }

    #[test]
    fn errors_hold_nothing_of_the_file() {
        for bad in [
            r#"{"auths": {"a.test": {"auth": "SECRET!"}}}"#,
            r#"{"auths": {"a.test": {"auth": "U0VDUkVU"}}}"#,
            r#"{"auths": "SECRET"}"#,
            r#"{"auths": {"a.test": {"auth": 1, "x": "SECRET""#,
        ] {
            let read =
                Config::parse(bad.as_bytes()).and_then(|config| config.lookup("a.test").map(drop));
            let error = read.unwrap_err();
            assert!(
                !error.contains("SECRET") && !error.contains("U0VD"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_token_to_be_exchanged_is_preferred_and_is_no_password() {
        let config = r#"{"auths": {"a.test": {"auth": "dTpw", "identitytoken": "t"}}}"#;
        let config = Config::parse(config.as_bytes()).unwrap();
        let Login::Known(credentials) = config.lookup("a.test").unwrap() else {
            panic!("no login");
        };
        assert!(matches!(&credentials, Credentials::Refresh(token) if token.as_str() == "t"));
        assert!(credentials.basic().is_none());
        assert_eq!(format!("{credentials:?}"), "Credentials");
    }
}
