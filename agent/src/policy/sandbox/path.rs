//! Paths of a job, as profiles write them: they are known only where it runs.

use std::fmt;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

/// A path in a profile: absolute, below the home of the job's user (`~/…`), or below the directory in which the
/// job is started (`.`, `./…`). It has no `..`.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct JobPath(String);

/// A text that is no such path.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum JobPathError {
    /// It begins in another way.
    #[error(
        "write it from the root (`/…`), from the user's home (`~/…`), or from where the job starts (`./…`)"
    )]
    Beginning,
    /// It has a part that leads up.
    #[error("write it without `..`")]
    Up,
    /// It has a character no path should have.
    #[error("write it without control characters")]
    Character,
    /// It is longer than the kernel takes.
    #[error("write at most 4095 bytes")]
    Long,
}

/// Where a path of a job can begin.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Base {
    Root,
    Home,
    Start,
}

impl JobPath {
    /// Reads one.
    ///
    /// # Errors
    /// See [`JobPathError`].
    pub fn parse(text: &str) -> Result<Self, JobPathError> {
        if text.chars().any(char::is_control) {
            return Err(JobPathError::Character);
        }
        // `PATH_MAX`, with its end.
        if text.len() > 4095 {
            return Err(JobPathError::Long);
        }
        let (_, rest) = split(text).ok_or(JobPathError::Beginning)?;
        let leads_up = |part| part == Component::ParentDir;
        if Path::new(rest).components().any(leads_up) {
            return Err(JobPathError::Up);
        }
        Ok(Self(text.to_owned()))
    }

    /// The paths it means, for these homes and this directory.
    #[must_use]
    pub fn resolve(&self, homes: &[PathBuf], start: &Path) -> Vec<PathBuf> {
        let Some((base, rest)) = split(&self.0) else {
            return Vec::new();
        };
        // `join` with nothing adds a slash.
        let below = |directory: &Path| match rest {
            "" => directory.to_owned(),
            rest => directory.join(rest),
        };
        match base {
            Base::Root => vec![below(Path::new("/"))],
            Base::Home => homes.iter().map(|home| below(home)).collect(),
            Base::Start => vec![below(start)],
        }
    }
}

/// Where it begins, and what follows: relative.
fn split(text: &str) -> Option<(Base, &str)> {
    let (first, rest) = text.split_once('/').unwrap_or((text, ""));
    let base = match first {
        "" if !text.is_empty() => Base::Root,
        "~" => Base::Home,
        "." => Base::Start,
        _ => return None,
    };
    Some((base, rest.trim_matches('/')))
}

impl fmt::Display for JobPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for JobPath {
    type Error = JobPathError;

    fn try_from(text: String) -> Result<Self, JobPathError> {
        Self::parse(&text)
    }
}

impl From<JobPath> for String {
    fn from(path: JobPath) -> Self {
        path.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn resolved(text: &str) -> Vec<PathBuf> {
        let homes = ["/home/a".into(), "/srv/b".into()];
        JobPath::parse(text)
            .unwrap()
            .resolve(&homes, Path::new("/w/d"))
    }

    #[test]
    fn each_beginning_leads_somewhere_else() {
        assert_eq!(resolved("/"), [Path::new("/")]);
        assert_eq!(resolved("/etc//"), [Path::new("/etc")]);
        assert_eq!(resolved("//etc/x"), [Path::new("/etc/x")]);
        assert_eq!(resolved("."), [Path::new("/w/d")]);
        assert_eq!(resolved("./out"), [Path::new("/w/d/out")]);
        assert_eq!(
            resolved("~/.ssh"),
            [Path::new("/home/a/.ssh"), Path::new("/srv/b/.ssh")]
        );
        assert_eq!(resolved("~"), [Path::new("/home/a"), Path::new("/srv/b")]);
    }

    #[test]
    fn what_could_mean_something_else_is_refused() {
        use JobPathError as E;
        let cases = [
            ("", E::Beginning),
            ("etc", E::Beginning),
            ("~root/.ssh", E::Beginning),
            ("$HOME", E::Beginning),
            ("/etc/../root", E::Up),
            ("./..", E::Up),
            ("~/..", E::Up),
            ("/a\nb", E::Character),
        ];
        for (text, error) in cases {
            assert_eq!(JobPath::parse(text), Err(error), "{text}");
        }
        assert_eq!(
            JobPath::parse(&format!("/{}", "a".repeat(4095))),
            Err(E::Long)
        );
    }

    proptest! {
        #[test]
        fn none_leads_out_of_where_it_begins(text in "[./~a-b]{0,12}") {
            if let Ok(path) = JobPath::parse(&text) {
                for found in path.resolve(&["/h".into()], Path::new("/s")) {
                    let inside = match text.chars().next() {
                        Some('~') => "/h",
                        Some('.') => "/s",
                        _ => "/",
                    };
                    prop_assert!(found.starts_with(inside));
                    prop_assert!(found.components().all(|part| part != Component::ParentDir));
                }
            }
        }
    }
}
