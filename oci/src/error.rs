//! What can go wrong between here and a registry, and the exit status each comes to.

use std::io;
use std::path::PathBuf;

use crate::reference::ReferenceError;

/// Why something was not done.
///
/// What a registry says is quoted in it; the edge escapes what it prints.
#[derive(Debug, thiserror::Error)]
pub enum OciError {
    /// The registry names a token service that cannot be asked.
    #[error(
        "the registry's token service `{realm}` cannot be used: it must be an `https` address \
         (`http` only on this machine, for a registry that is there too)"
    )]
    Realm {
        /// What it named.
        realm: String,
    },
    /// Nobody may do that without credentials, or not with these.
    #[error(
        "`{origin}` refuses access to `{what}` (status {status}): log in with `docker login` or \
         `oras login`, or name the file with `--auth-file`"
    )]
    Unauthorised {
        /// Who.
        origin: String,
        /// What was asked for.
        what: String,
        /// HTTP status.
        status: u16,
    },
    /// Credentials would go where others can read them.
    #[error(
        "`{origin}` asks for credentials, and those are not sent over plain HTTP: use TLS, with \
         `--ca` if its certificate is of an authority of your own"
    )]
    PlainCredentials {
        /// Who.
        origin: String,
    },
    /// What there is of credentials cannot be used.
    #[error("the credentials for `{host}` cannot be used: {reason}")]
    Credentials {
        /// The registry.
        host: String,
        /// Why, without a byte of them.
        reason: String,
    },
    /// A certificate authority that is none.
    #[error("`{}` holds no certificate in PEM form", path.display())]
    Authority {
        /// The file.
        path: PathBuf,
    },
    /// The registry could not be reached, or the connection broke.
    #[error("`{origin}` cannot be reached or does not answer: {reason}")]
    Unreachable {
        /// Who.
        origin: String,
        /// Why.
        reason: String,
    },
    /// All of it took longer than it may.
    #[error("`{origin}` took too long; `--timeout` gives it more than {seconds} s")]
    Timeout {
        /// Who.
        origin: String,
        /// The limit.
        seconds: u64,
    },
    /// The registry sends the client elsewhere, where it does not go.
    #[error("`{origin}` sends the client to `{location}`, where it does not go: {reason}")]
    Redirect {
        /// Who.
        origin: String,
        /// Where.
        location: String,
        /// Why not.
        reason: &'static str,
    },
    /// A status that was not expected.
    #[error("`{origin}` answered {status} to {what}{said}")]
    Status {
        /// Who.
        origin: String,
        /// What was asked for.
        what: String,
        /// HTTP status.
        status: u16,
        /// What it said besides, as `: TEXT`, or nothing.
        said: String,
    },
    /// What a registry gave is not what it should be, or more than it may be.
    #[error("{what} is not accepted: {reason}")]
    Refused {
        /// What.
        what: String,
        /// Why.
        reason: String,
    },
    /// Something is listed, or named by a manifest, and is not there.
    #[error("{what} is not in the registry")]
    Missing {
        /// What.
        what: String,
    },
    /// There is no such image.
    #[error("`{image}` is not in the registry: push the image first, and give its digest")]
    NoImage {
        /// The image.
        image: String,
    },
    /// Others write the list of referrers at the same time, again and again.
    #[error("the tag `{tag}` is written by others at the same time: try again")]
    Raced {
        /// The tag of the list.
        tag: String,
    },
    /// What cordon hands over is not a parcel.
    #[error("`{}` is no parcel: {reason}", path.display())]
    Parcel {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The reference is wrong.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// A file.
    #[error("cannot {action} `{}`", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// With which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The process could not give up what it does not need.
    #[error("cannot give up privileges: {0}")]
    Privileges(String),
}

impl OciError {
    /// The exit status, as in the gate's table: 2 wrong usage, 3 not there, 7 malformed or over the
    /// limits, 8 could not be found out.
    #[must_use]
    pub const fn status(&self) -> u8 {
        match self {
            Self::Reference(_) => 2,
            Self::Missing { .. } | Self::NoImage { .. } => 3,
            Self::Refused { .. } => 7,
            Self::Realm { .. }
            | Self::Unauthorised { .. }
            | Self::PlainCredentials { .. }
            | Self::Credentials { .. }
            | Self::Authority { .. }
            | Self::Unreachable { .. }
            | Self::Timeout { .. }
            | Self::Redirect { .. }
            | Self::Status { .. }
            | Self::Raced { .. }
            | Self::Parcel { .. }
            | Self::File { .. }
            | Self::Privileges(_) => 8,
        }
    }

    /// Something of the registry that is not accepted.
    pub(crate) fn refused(what: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Refused {
            what: what.into(),
            reason: reason.into(),
        }
    }

    /// A file that an operation failed on.
    pub(crate) fn file(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File {
            action,
            path,
            source,
        }
    }
}
