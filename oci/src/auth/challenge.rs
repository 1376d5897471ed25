//! `WWW-Authenticate`: what a registry asks for (RFC 9110, 11.6.1). Pure.

/// Most bytes of a header that is looked into.
const MAX_HEADER: usize = 4096;

/// What a registry asks for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Challenge {
    /// Name and password.
    Basic,
    /// A token of this service.
    Bearer {
        realm: String,
        service: Option<String>,
    },
}

/// Reads one header; what is no challenge of a known kind is nothing.
///
/// The scope that a registry asks for is not read: we ask for what we are about to do.
pub(crate) fn parse(header: &str) -> Option<Challenge> {
    if header.len() > MAX_HEADER {
        return None;
    }
    let (scheme, rest) = header
        .trim()
        .split_once(' ')
        .unwrap_or_else(|| (header.trim(), ""));
    if scheme.eq_ignore_ascii_case("basic") {
        return Some(Challenge::Basic);
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let (mut realm, mut service) = (None, None);
    let mut rest = rest.trim_start();
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=')?;
        let (value, after) = if let Some(quoted) = after.strip_prefix('"') {
            quoted.split_once('"')?
        } else {
            let end = after.find(',').unwrap_or(after.len());
            after.split_at_checked(end)?
        };
        let value = value.to_owned();
        match name.trim().to_ascii_lowercase().as_str() {
            "realm" if realm.is_none() => realm = Some(value),
            "service" if service.is_none() => service = Some(value),
            // Twice the same: two readers could see two services.
            "realm" | "service" => return None,
            _ => {}
        }
        rest = after.trim_start().trim_start_matches(',').trim_start();
    }
    Some(Challenge::Bearer {
        realm: realm?,
        service,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>) -> Challenge {
        Challenge::Bearer {
            realm: realm.into(),
            service: service.map(str::to_owned),
        }
    }

    #[test]
    fn challenges_of_registries_are_read() {
        assert_eq!(parse("Basic realm=\"Registry\""), Some(Challenge::Basic));
        assert_eq!(parse("basic"), Some(Challenge::Basic));
        let full = r#"Bearer realm="https://auth.test/token",service="registry.test",scope="repository:app:pull,push""#;
        assert_eq!(
            parse(full),
            Some(bearer("https://auth.test/token", Some("registry.test")))
        );
        assert_eq!(
            parse("bearer realm=https://auth.test/t , error=x"),
            Some(bearer("https://auth.test/t ", None))
        );
        let odd = r#"Bearer scope="a=b,c", realm="https://auth.test/""#;
        assert_eq!(parse(odd), Some(bearer("https://auth.test/", None)));
    }

    #[test]
    fn what_is_no_challenge_is_nothing() {
        for bad in [
            "",
            "Negotiate",
            "Bearer",
            "Bearer service=\"x\"",
            "Bearer realm=\"x",
            "Bearer x",
            "Digest realm=\"x\"",
            "Bearer realm=\"a\",realm=\"b\"",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
        assert_eq!(
            parse(&format!("Bearer realm=\"{}\"", "x".repeat(MAX_HEADER))),
            None
        );
    }
}
