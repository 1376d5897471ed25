//! Host settings of metrics: `[metrics]`. Pure.

#![forbid(unsafe_code)]

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::policy::Mistake;
use crate::policy::reader::{Reader, Schema, Table};

/// The table.
pub(crate) const METRICS: Schema = Schema {
    what: "`[metrics]`",
    keys: &["listen"],
    later: &[],
};

/// What a path of a Unix socket begins with.
const UNIX: &str = "unix:";
/// Bytes of the longest path a Unix socket can have, without the final zero.
const PATH_BYTES: usize = 107;

/// Where metrics are served: on this host only.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Listen {
    /// A loopback address.
    Tcp(SocketAddr),
    /// A socket in the file system.
    Unix(PathBuf),
}

/// Why metrics cannot be served there.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ListenError {
    /// It is no address.
    #[error("`listen` must be a loopback address with a port, or `unix:` and an absolute path")]
    Form,
    /// Others than this host could reach it.
    #[error("`listen` must be a loopback address, and {0} is none")]
    Reachable(SocketAddr),
    /// It has no port.
    #[error("`listen` must name a port")]
    Port,
    /// No socket can have this path.
    #[error("`listen` must be a path of at most {PATH_BYTES} bytes")]
    Long,
}

impl ListenError {
    /// What to do about it.
    #[must_use]
    pub const fn help(&self) -> &'static str {
        match self {
            Self::Form | Self::Port => {
                "write `listen = \"127.0.0.1:9477\"`, `\"[::1]:9477\"` or `\"unix:/run/cordon/metrics.sock\"`"
            }
            Self::Reachable(_) => {
                "metrics have neither a password nor encryption; write `listen = \"127.0.0.1:9477\"`, and let a \
                 proxy that has both pass them on"
            }
            Self::Long => "write `listen = \"unix:/run/cordon/metrics.sock\"`",
        }
    }
}

impl Listen {
    /// Reads `ADDRESS:PORT` or `unix:/PATH`.
    ///
    /// # Errors
    /// It is neither, or others than this host could reach it.
    pub fn parse(text: &str) -> Result<Self, ListenError> {
        if let Some(path) = text.strip_prefix(UNIX) {
            if !path.starts_with('/') || path.ends_with('/') || path.contains('\0') {
                return Err(ListenError::Form);
            }
            if path.len() > PATH_BYTES {
                return Err(ListenError::Long);
            }
            return Ok(Self::Unix(path.into()));
        }
        let Ok(address) = text.parse::<SocketAddr>() else {
            return Err(ListenError::Form);
        };
        if !address.ip().is_loopback() {
            return Err(ListenError::Reachable(address));
        }
        if address.port() == 0 {
            return Err(ListenError::Port);
        }
        Ok(Self::Tcp(address))
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

/// Reads the table, if there is one. Without `listen` nothing is served.
pub(crate) fn read(reader: &mut Reader, root: Table<'_>) -> Option<Listen> {
    let table = reader.child(root, "metrics", &METRICS)?;
    let text = reader.string(table, "listen")?;
    Listen::parse(text.get_ref())
        .inspect_err(|error| {
            let mistake = Mistake::new(error.to_string()).help(error.help());
            reader.push(&text.span(), mistake);
        })
        .ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_only_this_host_can_reach_is_taken() {
        for text in [
            "127.0.0.1:9477",
            "127.9.9.9:1",
            "[::1]:9477",
            "unix:/run/cordon/metrics.sock",
        ] {
            assert_eq!(Listen::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn anything_else_is_a_mistake_that_says_which() {
        let reachable = |text: &str| ListenError::Reachable(text.parse().unwrap());
        for (text, error) in [
            ("", ListenError::Form),
            ("9477", ListenError::Form),
            ("localhost:9477", ListenError::Form),
            ("127.0.0.1", ListenError::Form),
            ("127.0.0.1:0", ListenError::Port),
            ("127.0.0.1:65536", ListenError::Form),
            ("0.0.0.0:9477", reachable("0.0.0.0:9477")),
            ("192.0.2.1:9477", reachable("192.0.2.1:9477")),
            ("[::]:9477", reachable("[::]:9477")),
            (
                "[::ffff:127.0.0.1]:9477",
                reachable("[::ffff:127.0.0.1]:9477"),
            ),
            ("unix:run/x", ListenError::Form),
            ("unix:", ListenError::Form),
            ("unix:/run/", ListenError::Form),
            ("unix:/run/\0x", ListenError::Form),
        ] {
            assert_eq!(Listen::parse(text), Err(error), "{text:?}");
        }
        let long = format!("unix:/{}", "x".repeat(PATH_BYTES));
        assert_eq!(Listen::parse(&long), Err(ListenError::Long));
    }

    proptest! {
        #[test]
        fn nothing_but_loopback_is_ever_taken(text in "\\PC{0,40}|[0-9.:\\[\\]a-f]{0,40}") {
            if let Ok(Listen::Tcp(address)) = Listen::parse(&text) {
                prop_assert!(address.ip().is_loopback() && address.port() != 0);
            }
        }
    }
}
