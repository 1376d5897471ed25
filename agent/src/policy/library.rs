//! Where profiles are found: by name among the host's own and the built-in ones, or by path.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::diagnostic::{Mistake, nearest};
use super::profile::{FILE_BYTES, Profile, is_profile_name};
use crate::sys::fs;

/// Profiles that are part of the program.
const BUILT_IN: &[(&str, &str)] = &[
    ("base", include_str!("../../../profiles/base.toml")),
    (
        "container-registries",
        include_str!("../../../profiles/container-registries.toml"),
    ),
    (
        "github-actions",
        include_str!("../../../profiles/github-actions.toml"),
    ),
    (
        "github-actions-results",
        include_str!("../../../profiles/github-actions-results.toml"),
    ),
    ("gitlab", include_str!("../../../profiles/gitlab.toml")),
    ("offline", include_str!("../../../profiles/offline.toml")),
    ("sigstore", include_str!("../../../profiles/sigstore.toml")),
];

/// The profiles a host has: the built-in ones, and those of one directory.
///
/// A profile of the directory comes before a built-in one of the same name: the host's owner may
/// know better, and reports name the file that was used.
#[derive(Clone, Debug, Default)]
pub struct Library {
    /// The host's own profiles, `NAME.toml` each.
    pub directory: Option<PathBuf>,
}

/// One profile as it is on its shelf.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Listed {
    /// The name to ask for.
    pub name: String,
    /// Path, or `built-in:NAME`.
    pub source: String,
    /// The author's description.
    pub description: Option<String>,
}

/// A profile that was found but not read.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Location {
    /// Part of the program.
    BuiltIn {
        /// Its name.
        name: &'static str,
        /// Its text.
        text: &'static str,
    },
    /// A file.
    File {
        /// Where it is.
        path: PathBuf,
        /// The name it was asked for by; it must then be its name.
        name: Option<String>,
    },
}

impl Library {
    /// Every profile that can be asked for by name, in the order of names, and what is wrong with
    /// those that cannot be read.
    #[must_use]
    pub fn list(&self) -> (Vec<Listed>, Vec<Mistake>) {
        let mut mistakes = Vec::new();
        let mut names = self.own_names().unwrap_or_else(|mistake| {
            mistakes.push(mistake);
            Vec::new()
        });
        names.extend(BUILT_IN.iter().map(|(name, _)| (*name).to_owned()));
        names.sort();
        names.dedup();
        let mut listed = Vec::new();
        for name in names {
            match self.find_name(&name).and_then(|location| location.read()) {
                Ok((profile, wrong)) if wrong.is_empty() => listed.push(Listed {
                    name,
                    source: profile.source.name().to_owned(),
                    description: profile.description,
                }),
                Ok((_, wrong)) => mistakes.extend(wrong),
                Err(mistake) => mistakes.push(mistake),
            }
        }
        (listed, mistakes)
    }

    /// Finds a profile that a person or another profile asked for.
    pub(crate) fn find(&self, reference: &str, base: Option<&Path>) -> Result<Location, Mistake> {
        if !is_path(reference) {
            return self.find_name(reference);
        }
        let path = match base {
            Some(directory) => directory.join(reference),
            None => PathBuf::from(reference),
        };
        Ok(Location::File { path, name: None })
    }

    fn find_name(&self, name: &str) -> Result<Location, Mistake> {
        if !is_profile_name(name) {
            return Err(Mistake::new(format!("`{name}` is not the name of a profile"))
                .help("names are lower-case letters, digits, `-`, `_` and `.`; a path contains `/` or ends in `.toml`"));
        }
        if let Some(path) = self.own(name) {
            let name = Some(name.to_owned());
            return Ok(Location::File { path, name });
        }
        match BUILT_IN.iter().find(|(known, _)| *known == name) {
            Some((name, text)) => Ok(Location::BuiltIn { name, text }),
            None => Err(self.unknown(name)),
        }
    }

    /// The file of the host's own profile of this name. One that is there but cannot be looked at
    /// counts as there: the built-in one must not step in for it.
    fn own(&self, name: &str) -> Option<PathBuf> {
        let path = self.directory.as_ref()?.join(format!("{name}.toml"));
        match path.symlink_metadata() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            _ => Some(path),
        }
    }

    fn unknown(&self, name: &str) -> Mistake {
        let own = self.own_names().unwrap_or_default();
        let built_in = BUILT_IN.iter().map(|(name, _)| *name);
        let known: Vec<&str> = own.iter().map(String::as_str).chain(built_in).collect();
        let help = match nearest(name, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => {
                "`cordon profile list` shows the profiles; a path contains `/` or ends in `.toml`"
                    .to_owned()
            }
        };
        Mistake::new(format!("there is no profile `{name}`")).help(help)
    }

    /// Names of the host's own profiles. A directory that is not there is an empty one.
    fn own_names(&self) -> Result<Vec<String>, Mistake> {
        let Some(directory) = &self.directory else {
            return Ok(Vec::new());
        };
        let entries = match std::fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(unreadable(directory, &error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| unreadable(directory, &error))?;
            let path = PathBuf::from(entry.file_name());
            let stem = path.file_stem().and_then(|stem| stem.to_str());
            if let (Some(stem), Some("toml")) = (stem, path.extension().and_then(|e| e.to_str())) {
                names.push(stem.to_owned());
            }
        }
        Ok(names)
    }
}

impl Location {
    /// A key that is the same for the same file, however it was asked for.
    pub(crate) fn identity(&self) -> PathBuf {
        match self {
            Self::BuiltIn { name, .. } => PathBuf::from(format!("built-in:{name}")),
            // A file that cannot be resolved cannot be read either; that is reported then.
            Self::File { path, .. } => path.canonicalize().unwrap_or_else(|_| path.clone()),
        }
    }

    /// The directory that relative paths in it start from.
    pub(crate) fn directory(&self) -> Option<&Path> {
        match self {
            Self::BuiltIn { .. } => None,
            Self::File { path, .. } => path.parent(),
        }
    }

    /// Reads and parses it.
    pub(crate) fn read(&self) -> Result<(Profile, Vec<Mistake>), Mistake> {
        match self {
            Self::BuiltIn { name, text } => Ok(Profile::parse(
                &format!("built-in:{name}"),
                text.as_bytes().to_vec(),
            )),
            Self::File { path, name } => {
                let (profile, mut mistakes) =
                    Profile::parse(&path.display().to_string(), read_file(path)?);
                mistakes.extend(name.as_deref().and_then(|name| misnamed(&profile, name)));
                Ok((profile, mistakes))
            }
        }
    }
}

/// Whether a reference is a path rather than a name.
pub(crate) fn is_path(reference: &str) -> bool {
    reference.contains('/') || has_toml_suffix(reference)
}

/// Whether a reference ends as profile files do.
pub(crate) fn has_toml_suffix(reference: &str) -> bool {
    Path::new(reference).extension() == Some(OsStr::new("toml"))
}

/// Reads a regular file: a pipe or a device could block the daemon or never end.
pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>, Mistake> {
    let metadata = path.metadata().map_err(|error| unreadable(path, &error))?;
    if !metadata.is_file() {
        return Err(Mistake::new(format!("`{}` is not a file", path.display())));
    }
    fs::read(path, FILE_BYTES).map_err(|error| unreadable(path, &error.source))
}

fn unreadable(path: &Path, error: &std::io::Error) -> Mistake {
    Mistake::new(format!("cannot read `{}`: {error}", path.display()))
}

/// A host profile is asked for by its file's name; another name inside would confuse reports.
fn misnamed(profile: &Profile, name: &str) -> Option<Mistake> {
    let inside = profile.name.get_ref();
    if inside.is_empty() || inside == name {
        return None;
    }
    let mistake = Mistake::new(format!(
        "the profile in `{name}.toml` calls itself `{inside}`"
    ))
    .at(&profile.source, profile.name.span())
    .help(format!(
        "write `name = \"{name}\"`, or rename the file to `{inside}.toml`"
    ));
    Some(mistake)
}
