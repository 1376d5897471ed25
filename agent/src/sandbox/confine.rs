//! What a policy's `[sandbox]` comes to on this host: which paths, which capabilities.
//!
//! **Not here**: the mounts and rules themselves are made by [`init`](super::init), in the job's own mount
//! namespace.

use std::path::{Path, PathBuf};

use super::mounts::{Cover, Mount};
use crate::policy::sandbox::{Named, SandboxPolicy, Writable};
use crate::sys::privilege;

/// Directories that anybody may write to, and that all jobs would share.
const SHARED: [&str; 3] = ["/tmp", "/var/tmp", "/dev/shm"];

/// Where well-known programs keep credentials, in a user's home.
const HOME_CREDENTIALS: [&str; 27] = [
    ".aws",
    ".azure",
    ".bash_history",
    ".cargo/credentials",
    ".cargo/credentials.toml",
    ".config/containers/auth.json",
    ".config/gcloud",
    ".config/gh",
    ".config/glab-cli",
    ".config/hub",
    ".config/pip/pip.conf",
    ".config/rclone",
    ".docker/config.json",
    ".gem/credentials",
    ".git-credentials",
    ".gnupg",
    ".gradle/gradle.properties",
    ".kube",
    ".m2/settings.xml",
    ".netrc",
    ".npmrc",
    ".pgpass",
    ".pypirc",
    ".ssh",
    ".terraform.d/credentials.tfrc.json",
    ".vault-token",
    ".zsh_history",
];

/// Where a host keeps its own.
const HOST_CREDENTIALS: [&str; 10] = [
    "/etc/docker/certs.d",
    "/etc/gshadow",
    "/etc/kubernetes",
    "/etc/rancher",
    "/etc/shadow",
    "/etc/ssh",
    "/etc/ssl/private",
    "/run/credentials",
    "/var/lib/cordon",
    "/var/lib/kubelet",
];

/// What a command does without, in the terms of this host.
#[derive(Clone, Debug, Default, serde::Deserialize, serde::Serialize)]
pub struct Confined {
    /// Directories that are the job's own, and empty.
    pub private: Vec<PathBuf>,
    /// Directories and files it cannot write to.
    pub read_only: Vec<PathBuf>,
    /// What is hidden from it.
    pub hidden: Vec<Mount>,
    /// For each list of the policy, all that can be written to.
    pub writable: Vec<Vec<PathBuf>>,
    /// The only capabilities it can have, as bits.
    pub capabilities: Option<u64>,
    /// It has a user namespace of its own.
    pub own_users: bool,
}

/// What a policy takes away cannot be taken from this command.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ConfineError {
    /// It would be started in a directory it does not see.
    #[error(
        "it would start in `{}`, and a profile's `[sandbox]` takes `{}` away; start it in another directory",
        start.display(), hidden.display()
    )]
    Start {
        /// Where it would start.
        start: PathBuf,
        /// What it does not see.
        hidden: PathBuf,
    },
}

/// Whose files, and where.
#[derive(Clone, Copy, Debug)]
pub struct Whose<'a> {
    /// Homes of the user the command runs as; the first is the one in the host's list of users.
    pub homes: &'a [PathBuf],
    /// The directory in which the command is started.
    pub start: &'a Path,
}

impl Confined {
    /// What a policy comes to, as the host is now.
    ///
    /// # Errors
    /// It cannot be had: the command would be started in a directory it does not see.
    pub fn new(policy: &SandboxPolicy, whose: Whose<'_>) -> Result<Self, ConfineError> {
        let Whose { homes, start } = whose;
        let is_private = policy.private_tmp.is_some();
        let private: Vec<PathBuf> = if is_private {
            SHARED
                .iter()
                .filter_map(|path| real(Path::new(path)))
                .collect()
        } else {
            Vec::new()
        };
        let resolve = |named: &Named| named.path.resolve(homes, start);
        let mut hide: Vec<PathBuf> = policy.hide.iter().flat_map(resolve).collect();
        if policy.hide_credentials.is_some() {
            let in_homes = homes
                .iter()
                .flat_map(|home| HOME_CREDENTIALS.iter().map(|path| home.join(path)));
            hide.extend(in_homes.chain(HOST_CREDENTIALS.iter().map(PathBuf::from)));
        }
        let hide = in_order(hide.iter().filter_map(|path| real(path)).collect());
        let start = real(start).unwrap_or_else(|| start.to_owned());
        let gone = private
            .iter()
            .chain(&hide)
            .find(|path| start.starts_with(path));
        if let Some(hidden) = gone {
            let hidden = hidden.clone();
            return Err(ConfineError::Start { start, hidden });
        }
        let read_only = policy.read_only.iter().flat_map(resolve);
        Ok(Self {
            read_only: in_order(read_only.filter_map(|path| real(&path)).collect()),
            hidden: hide.into_iter().map(cover).collect(),
            // Not made real: one that is not there must stop the start, and does when it is opened.
            writable: (policy.writable.iter())
                .map(|list| writable(list, whose, &private))
                .collect(),
            capabilities: policy.capabilities().as_ref().map(privilege::bits),
            own_users: policy.user_namespace.is_some(),
            private,
        })
    }
}

/// The path without links, if there is something.
fn real(path: &Path) -> Option<PathBuf> {
    path.canonicalize().ok()
}

/// Parents before what is in them, each once, and nothing that lies in what stands before it.
fn in_order(mut paths: Vec<PathBuf>) -> Vec<PathBuf> {
    paths.sort();
    paths.dedup_by(|path, before| path.starts_with(before));
    paths
}

fn cover(at: PathBuf) -> Mount {
    let what = if at.is_dir() {
        Cover::Empty
    } else {
        Cover::Null
    };
    Mount { at, what }
}

fn writable(list: &Writable, whose: Whose<'_>, private: &[PathBuf]) -> Vec<PathBuf> {
    let Whose { homes, start } = whose;
    let home = homes.get(..1).unwrap_or_default();
    let paths = list.paths.iter().flat_map(|path| path.resolve(home, start));
    // What is the job's own, it may fill.
    paths.chain(private.iter().cloned()).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::policy::Policy;

    fn policy(text: &str) -> SandboxPolicy {
        let text = format!("name = \"p\"\n[sandbox]\n{text}");
        Policy::parse("p", text.as_bytes()).unwrap().sandbox
    }

    fn confined(text: &str, home: &Path, start: &Path) -> Result<Confined, ConfineError> {
        let homes = [home.to_owned()];
        let whose = Whose {
            homes: &homes,
            start,
        };
        Confined::new(&policy(text), whose)
    }

    #[test]
    fn credentials_that_are_there_are_hidden_behind_links_too() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().canonicalize().unwrap();
        fs::create_dir_all(home.join("elsewhere/keys")).unwrap();
        symlink("elsewhere/keys", home.join(".ssh")).unwrap();
        fs::File::create(home.join(".netrc")).unwrap();
        let hidden = confined("hide_credentials = true", &home, &home.join("work"))
            .unwrap()
            .hidden;
        let here: Vec<_> = hidden
            .iter()
            .filter(|mount| mount.at.starts_with(&home))
            .collect();
        let expected = [(".netrc", Cover::Null), ("elsewhere/keys", Cover::Empty)];
        let expected = expected.map(|(at, what)| Mount {
            at: home.join(at),
            what,
        });
        assert_eq!(here, expected.iter().collect::<Vec<_>>());
        // The host's own: there is one of these on every host.
        assert!(
            hidden
                .iter()
                .any(|mount| mount.at == Path::new("/etc/shadow"))
        );
    }

    #[test]
    fn a_directory_hides_what_is_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().canonicalize().unwrap();
        fs::create_dir_all(home.join("a/b")).unwrap();
        fs::create_dir_all(home.join("ab")).unwrap();
        let text = r#"hide = ["~/a/b", "~/a", "~/ab", "~/none"]"#;
        let hidden = confined(text, &home, &home).unwrap().hidden;
        let at: Vec<_> = hidden.iter().map(|mount| mount.at.clone()).collect();
        assert_eq!(at, [home.join("a"), home.join("ab")]);
    }

    #[test]
    fn a_job_is_not_started_where_it_would_see_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().canonicalize().unwrap();
        fs::create_dir_all(home.join("a/b")).unwrap();
        let error = confined(r#"hide = ["~/a"]"#, &home, &home.join("a/b")).unwrap_err();
        assert!(
            error.to_string().contains("start it in another directory"),
            "{error}"
        );
        confined(r#"hide = ["~/a"]"#, &home, &home).unwrap();
        let error = confined("private_tmp = true", &home, Path::new("/dev/shm")).unwrap_err();
        assert!(error.to_string().contains("/dev/shm"), "{error}");
    }

    #[test]
    fn each_profile_has_its_own_list_of_what_can_be_written() {
        let (home, start) = (Path::new("/h"), Path::new("/s"));
        let confined = confined(r#"writable = [".", "~/.cache"]"#, home, start).unwrap();
        assert_eq!(
            confined.writable,
            [[Path::new("/s"), Path::new("/h/.cache")]]
        );
    }

    #[test]
    fn capabilities_are_those_on_every_list() {
        let (home, start) = (Path::new("/h"), Path::new("/s"));
        let none = confined("private_tmp = false", home, start).unwrap();
        assert_eq!(none.capabilities, None);
        let one = confined(r#"capabilities = ["CAP_CHOWN", "kill"]"#, home, start).unwrap();
        // CAP_CHOWN is 0, CAP_KILL is 5.
        assert_eq!(one.capabilities, Some(0b10_0001));
    }
}
