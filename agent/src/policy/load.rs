//! Loads profiles with all they extend, and merges them into one policy.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use super::diagnostic::{Mistake, Mistakes, SourceText};
use super::library::{Library, Location, has_toml_suffix, is_path};
use super::profile::{FILE_BYTES, Profile};
use super::{DnsPolicy, Engine, LimitsPolicy, Mode, Policy, SandboxPolicy, SecretsPolicy};

/// Profiles one policy can be made of, and so also how deep they can extend one another.
const MOST_PROFILES: usize = 64;

impl Policy {
    /// Loads profiles, each by its name or its path, with all they extend.
    ///
    /// Rules are united, those of extended profiles first. The mode is that of the named profiles
    /// alone, `enforce` unless they say otherwise, and `enforce` if one of them enforces. About
    /// secrets, the strictest of all holds, and of limits the narrowest, extended profiles included.
    /// No profile at all is the policy that denies everything.
    ///
    /// # Errors
    /// Something is wrong with one of the files: all mistakes of all of them.
    pub fn load(profiles: &[String], library: &Library) -> Result<Self, Mistakes> {
        if profiles.is_empty() {
            return Ok(Self::deny_all());
        }
        let mut loader = Loader::new(library);
        let mut asked: Vec<usize> = Vec::new();
        for reference in profiles {
            match library.find(reference, None) {
                Ok(location) => asked.extend(loader.visit(&location, None)),
                Err(mistake) => loader.mistakes.push(mistake),
            }
        }
        // Naming a profile again adds nothing.
        let mut seen = BTreeSet::new();
        asked.retain(|index| seen.insert(*index));
        loader.finish(&asked)
    }

    /// Reads one profile from bytes; it can extend built-in profiles only. Touches no file.
    ///
    /// # Errors
    /// As [`Policy::load`].
    pub fn parse(name: &str, bytes: &[u8]) -> Result<Self, Mistakes> {
        let library = Library::default();
        let mut loader = Loader::new(&library);
        if bytes.len() as u64 > FILE_BYTES {
            let mistake = Mistake::new(format!("`{name}` is larger than {FILE_BYTES} bytes"));
            return Err(mistake.into());
        }
        let (profile, mistakes) = Profile::parse(name, bytes.to_vec());
        let asked = loader.enter(PathBuf::from(name), profile, mistakes, None);
        loader.finish(asked.as_slice())
    }
}

/// A profile on its way into a policy.
struct Loaded {
    identity: PathBuf,
    profile: Profile,
    bases: Vec<usize>,
}

/// Where a profile was asked for by another.
#[derive(Clone)]
struct Asked {
    source: Arc<SourceText>,
    span: Range<usize>,
}

struct Loader<'l> {
    profiles: &'l Library,
    /// Bases before those that extend them.
    loaded: Vec<Loaded>,
    /// Files that extend one another down to the one being read.
    open: Vec<(PathBuf, String)>,
    visited: usize,
    mistakes: Vec<Mistake>,
}

impl<'l> Loader<'l> {
    fn new(library: &'l Library) -> Self {
        Self {
            profiles: library,
            loaded: Vec::new(),
            open: Vec::new(),
            visited: 0,
            mistakes: Vec::new(),
        }
    }

    /// Loads a profile and its bases; the index of the profile, if it could be read at all.
    fn visit(&mut self, location: &Location, asked: Option<&Asked>) -> Option<usize> {
        let identity = location.identity();
        if let Some(known) = self.position(&identity) {
            return Some(known);
        }
        if self.open.iter().any(|(open, _)| *open == identity) {
            let mistake = self.cycle(&identity);
            self.blame(asked, mistake);
            return None;
        }
        self.visited = self.visited.saturating_add(1);
        if self.visited > MOST_PROFILES {
            let mistake = Mistake::new(format!("more than {MOST_PROFILES} profiles in one policy"));
            self.blame(asked, mistake);
            return None;
        }
        match location.read() {
            Ok((profile, mistakes)) => {
                self.enter(identity, profile, mistakes, location.directory())
            }
            Err(mistake) => {
                self.blame(asked, mistake);
                None
            }
        }
    }

    /// Takes in a profile that was read: its mistakes, its bases, itself.
    fn enter(
        &mut self,
        identity: PathBuf,
        profile: Profile,
        mistakes: Vec<Mistake>,
        directory: Option<&std::path::Path>,
    ) -> Option<usize> {
        self.mistakes.extend(mistakes);
        self.open
            .push((identity.clone(), profile.source.name().to_owned()));
        let mut bases = Vec::new();
        for base in &profile.extends {
            let asked = Asked {
                source: Arc::clone(&profile.source),
                span: base.span(),
            };
            match self.find_base(base.get_ref(), directory) {
                Ok(location) => bases.extend(self.visit(&location, Some(&asked))),
                Err(mistake) => self.blame(Some(&asked), mistake),
            }
        }
        self.open.pop();
        self.loaded.push(Loaded {
            identity,
            profile,
            bases,
        });
        self.loaded.len().checked_sub(1)
    }

    fn find_base(
        &self,
        reference: &str,
        directory: Option<&std::path::Path>,
    ) -> Result<Location, Mistake> {
        if !is_path(reference) {
            return self.profiles.find(reference, None);
        }
        if directory.is_none() {
            return Err(Mistake::new("this profile is not in a directory")
                .help("it can extend other profiles by name only"));
        }
        if !has_toml_suffix(reference) || reference.starts_with('/') {
            return Err(Mistake::new(format!("`{reference}` cannot be extended"))
                .help("write the name of a profile, or a relative path that ends in `.toml`"));
        }
        self.profiles.find(reference, directory)
    }

    fn position(&self, identity: &PathBuf) -> Option<usize> {
        self.loaded
            .iter()
            .position(|loaded| loaded.identity == *identity)
    }

    fn cycle(&self, identity: &PathBuf) -> Mistake {
        let round = self.open.iter().skip_while(|(open, _)| open != identity);
        let mut names: Vec<&str> = round.map(|(_, name)| name.as_str()).collect();
        names.extend(names.first().copied());
        Mistake::new("profiles extend one another in a circle").help(names.join(" extends "))
    }

    fn blame(&mut self, asked: Option<&Asked>, mistake: Mistake) {
        self.mistakes.push(match asked {
            Some(asked) => mistake.at(&asked.source, asked.span.clone()),
            None => mistake,
        });
    }

    /// The policy, unless anything at all was wrong.
    fn finish(mut self, asked: &[usize]) -> Result<Policy, Mistakes> {
        let mut dns = Vec::new();
        for index in asked {
            dns.extend(self.dns(*index));
        }
        let dns = self.agree(dns, "the named profiles", None);
        Mistakes::check(in_order(std::mem::take(&mut self.mistakes)))?;
        let named = || asked.iter().filter_map(|index| self.loaded.get(*index));
        Ok(Policy {
            name: named()
                .map(|loaded| loaded.profile.name.get_ref().as_str())
                .collect::<Vec<_>>()
                .join("+"),
            mode: named()
                .map(|loaded| loaded.profile.mode.unwrap_or(Mode::Enforce))
                .reduce(Mode::stricter)
                .unwrap_or(Mode::Enforce),
            rules: self
                .loaded
                .iter()
                .flat_map(|loaded| loaded.profile.rules.iter().cloned())
                .collect(),
            dns: dns.unwrap_or_default(),
            secrets: SecretsPolicy::strictest(
                &(self.loaded.iter())
                    .filter_map(|loaded| loaded.profile.secrets.as_ref())
                    .collect::<Vec<_>>(),
            ),
            limits: LimitsPolicy::narrowest(
                &(self.loaded.iter())
                    .filter_map(|loaded| loaded.profile.limits.as_ref())
                    .collect::<Vec<_>>(),
            ),
            engine: Engine::strictest(
                self.loaded
                    .iter()
                    .filter_map(|loaded| loaded.profile.engine),
            ),
            sandbox: SandboxPolicy::together(
                &(self.loaded.iter())
                    .filter_map(|loaded| loaded.profile.sandbox.as_ref())
                    .collect::<Vec<_>>(),
            ),
            profiles: self
                .loaded
                .iter()
                .map(|loaded| loaded.profile.facts())
                .collect(),
            standing: 0,
            narrowed: None,
        })
    }

    /// What a profile says about upstreams: itself, or else its bases, which must then agree.
    fn dns(&mut self, index: usize) -> Option<DnsPolicy> {
        let loaded = self.loaded.get(index)?;
        if loaded.profile.dns.is_some() {
            return loaded.profile.dns.clone();
        }
        let what = format!(
            "the profiles that `{}` extends",
            loaded.profile.name.get_ref()
        );
        let source = Arc::clone(&loaded.profile.source);
        let bases = loaded.bases.clone();
        let said: Vec<_> = bases
            .into_iter()
            .filter_map(|base| self.dns(base))
            .collect();
        self.agree(said, &what, Some(&source))
    }

    fn agree(
        &mut self,
        said: Vec<DnsPolicy>,
        who: &str,
        source: Option<&Arc<SourceText>>,
    ) -> Option<DnsPolicy> {
        let mut said = said.into_iter();
        let first = said.next()?;
        if said.any(|other| other != first) {
            let mut mistake = Mistake::new(format!("{who} name different DNS upstreams"))
                .help("say which: add `[dns]` with `upstream` to a profile that extends them all");
            if let Some(source) = source {
                mistake = mistake.at(source, 0..0);
            }
            self.mistakes.push(mistake);
        }
        Some(first)
    }
}

/// The mistakes of each file together and in the order of its text; files in the order in which
/// they were met. Those without a place come first.
fn in_order(mut mistakes: Vec<Mistake>) -> Vec<Mistake> {
    let mut files: Vec<String> = Vec::new();
    for file in mistakes.iter().filter_map(Mistake::file) {
        if !files.iter().any(|known| known == file) {
            files.push(file.to_owned());
        }
    }
    mistakes.sort_by_key(|mistake| {
        let file = mistake.file();
        let rank = file.and_then(|file| files.iter().position(|known| known == file));
        (rank, mistake.offset())
    });
    mistakes
}
