//! Who we are to a registry: credentials as docker and its relatives keep them, and what a registry
//! asks for.

pub(crate) mod challenge;
pub(crate) mod config;
pub(crate) mod helper;

use std::fmt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::error::OciError;
use crate::wire::read_file;

/// 1 MiB: the largest file of logins.
const MAX_CONFIG: u64 = 1 << 20;

/// What a registry is shown. Never printed.
#[derive(Clone)]
pub(crate) enum Credentials {
    /// Name and password.
    Password {
        user: String,
        password: Zeroizing<String>,
    },
    /// A token that is exchanged for others (`identitytoken`).
    Refresh(Zeroizing<String>),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials")
    }
}

impl Credentials {
    /// The value of a header that shows name and password; none for a token.
    pub(crate) fn basic(&self) -> Option<Zeroizing<String>> {
        match self {
            Self::Password { user, password } => {
                let pair = Zeroizing::new(format!("{user}:{}", password.as_str()));
                Some(Zeroizing::new(format!(
                    "Basic {}",
                    STANDARD.encode(pair.as_bytes())
                )))
            }
            Self::Refresh(_) => None,
        }
    }
}

/// The credentials for a registry in the first file that there is: the given one, else
/// `$REGISTRY_AUTH_FILE`, else docker's. None if nobody logged in there.
pub(crate) fn find(given: Option<&Path>, host: &str) -> Result<Option<Credentials>, OciError> {
    let path = match given {
        Some(path) => path.to_owned(),
        None => match usual().into_iter().find(|path| path.exists()) {
            Some(path) => path,
            None => return Ok(None),
        },
    };
    let bytes = Zeroizing::new(read_file(&path, MAX_CONFIG)?);
    let unusable = |reason: String| OciError::Credentials {
        host: host.to_owned(),
        reason: format!("`{}`: {reason}", path.display()),
    };
    let config = config::Config::parse(&bytes).map_err(unusable)?;
    match config.lookup(host).map_err(unusable)? {
        config::Login::Nobody => Ok(None),
        config::Login::Known(credentials) => Ok(Some(credentials)),
        config::Login::Ask { helper, server } => helper::ask(&helper, &server, host),
    }
}

/// Where logins are kept.
fn usual() -> Vec<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let mut paths: Vec<PathBuf> = Vec::new();
    paths.extend(variable("REGISTRY_AUTH_FILE").map(PathBuf::from));
    match variable("DOCKER_CONFIG") {
        Some(folder) => paths.push(PathBuf::from(folder).join("config.json")),
        None => paths
            .extend(variable("HOME").map(|home| PathBuf::from(home).join(".docker/config.json"))),
    }
    let runtime = variable("XDG_RUNTIME_DIR");
    paths.extend(runtime.map(|folder| PathBuf::from(folder).join("containers/auth.json")));
    paths
}
