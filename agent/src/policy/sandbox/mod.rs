//! What a job's policy takes away from its command beyond what every command of `cordon run` does without.
//!
//! Of several profiles all hold at once, extended profiles included: what one hides is hidden, and a
//! capability or a path to write to is left only if each profile that speaks of them leaves it.
//!
//! **Not here**: what paths of a host these are, and how the kernel is told, is [`crate::sandbox`].

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

mod path;
mod read;

pub use self::path::{JobPath, JobPathError};
pub(crate) use self::read::{SANDBOX, read_sandbox};
use super::Origin;

/// What is asked for, each with who asks.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SandboxPolicy {
    /// `/tmp`, `/var/tmp` and `/dev/shm` are the job's own, and empty.
    pub private_tmp: Option<Origin>,
    /// Files of credentials in the home of the user, and of this host, are hidden.
    pub hide_credentials: Option<Origin>,
    /// Its processes are in a user namespace of their own, in which they have one user.
    pub user_namespace: Option<Origin>,
    /// What is hidden besides.
    pub hide: Vec<Named>,
    /// What cannot be written to.
    pub read_only: Vec<Named>,
    /// One list for each profile that has one: what is on all of them can be written to, and nothing else.
    pub writable: Vec<Writable>,
    /// One list for each profile that has one: the capabilities on all of them can be had, and no others.
    pub capabilities: Vec<Capabilities>,
}

/// A path with where it is written.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Named {
    /// Which.
    pub path: JobPath,
    /// Who says so.
    pub origin: Origin,
}

/// Paths one profile leaves to be written to.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Writable {
    /// With everything below them.
    pub paths: Vec<JobPath>,
    /// Who says so.
    pub origin: Origin,
}

/// Capabilities one profile leaves.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Capabilities {
    /// In the kernel's words, in small letters and without `cap_`: `net_bind_service`.
    pub names: BTreeSet<String>,
    /// Who says so.
    pub origin: Origin,
}

impl SandboxPolicy {
    /// Whether it asks for nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// All that is said together.
    pub(crate) fn together(said: &[&Self]) -> Self {
        let said = || said.iter().copied();
        let first = |of: fn(&Self) -> &Option<Origin>| said().find_map(|one| of(one).clone());
        Self {
            private_tmp: first(|one| &one.private_tmp),
            hide_credentials: first(|one| &one.hide_credentials),
            user_namespace: first(|one| &one.user_namespace),
            hide: said().flat_map(|one| one.hide.clone()).collect(),
            read_only: said().flat_map(|one| one.read_only.clone()).collect(),
            writable: said().flat_map(|one| one.writable.clone()).collect(),
            capabilities: said().flat_map(|one| one.capabilities.clone()).collect(),
        }
    }

    /// The capabilities that are left, if any profile says so.
    #[must_use]
    pub fn capabilities(&self) -> Option<BTreeSet<&str>> {
        let mut lists = self.capabilities.iter().map(|list| {
            let names = list.names.iter().map(String::as_str);
            names.collect::<BTreeSet<_>>()
        });
        let first = lists.next()?;
        Some(lists.fold(first, |left, list| {
            left.intersection(&list).copied().collect()
        }))
    }

    /// What it asks for, a line each, with who asks.
    #[must_use]
    pub fn describe(&self) -> Vec<String> {
        let Self {
            private_tmp,
            hide_credentials,
            user_namespace,
            hide,
            read_only,
            writable,
            capabilities,
        } = self;
        let mut lines = Vec::new();
        let switches = [
            ("private_tmp", private_tmp),
            ("hide_credentials", hide_credentials),
            ("user_namespace", user_namespace),
        ];
        for (name, origin) in switches {
            lines.extend(origin.iter().map(|origin| format!("{name} ({origin})")));
        }
        for (name, list) in [("hide", hide), ("read_only", read_only)] {
            let named = list.iter();
            lines.extend(named.map(|Named { path, origin }| format!("{name} {path} ({origin})")));
        }
        for Writable { paths, origin } in writable {
            lines.push(format!("writable {} ({origin})", words(paths)));
        }
        for Capabilities { names, origin } in capabilities {
            lines.push(format!("capabilities {} ({origin})", words(names)));
        }
        lines
    }
}

/// A list in words.
fn words<T: ToString>(list: impl IntoIterator<Item = T>) -> String {
    let words: Vec<String> = list.into_iter().map(|word| word.to_string()).collect();
    if words.is_empty() {
        "nothing".to_owned()
    } else {
        words.join(", ")
    }
}
