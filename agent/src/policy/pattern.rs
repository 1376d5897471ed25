//! Patterns of domain names: one name, or the names below one.

use std::fmt;

use super::name::{DomainName, NameError};

/// Which names a host rule means.
///
/// `example.com` is that name; `*.example.com` are the names with exactly one label more;
/// `**.example.com` those with one or more. Neither wildcard includes `example.com` itself.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct DomainPattern {
    depth: Depth,
    base: DomainName,
}

/// How far below its base a pattern reaches.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Depth {
    /// Not at all: the base itself.
    Exact,
    /// One label.
    OneLabel,
    /// One label or more.
    AnyDepth,
}

impl DomainPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// The text is not a pattern, or one that would allow names of strangers.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let (depth, base) = if let Some(base) = text.strip_prefix("**.") {
            (Depth::AnyDepth, base)
        } else if let Some(base) = text.strip_prefix("*.") {
            (Depth::OneLabel, base)
        } else {
            (Depth::Exact, text)
        };
        if base.contains('*') {
            return Err(PatternError::Star);
        }
        Self::new(depth, DomainName::parse(base)?)
    }

    /// A pattern from its parts.
    ///
    /// # Errors
    /// It would allow names of strangers, or names that are never looked up.
    pub fn new(depth: Depth, base: DomainName) -> Result<Self, PatternError> {
        if base.is_localhost() {
            return Err(PatternError::Localhost);
        }
        if depth != Depth::Exact && psl::suffix_str(base.as_str()) == Some(base.as_str()) {
            return Err(PatternError::PublicSuffix(base));
        }
        Ok(Self { depth, base })
    }

    /// Whether the name is meant.
    #[must_use]
    pub fn matches(&self, name: &DomainName) -> bool {
        if self.depth == Depth::Exact {
            return *name == self.base;
        }
        let below = name
            .as_str()
            .strip_suffix(self.base.as_str())
            .and_then(|front| front.strip_suffix('.'));
        match (below, self.depth) {
            (None, _) => false,
            (Some(front), Depth::OneLabel) => !front.contains('.'),
            (Some(_), Depth::AnyDepth | Depth::Exact) => true,
        }
    }

    /// Whether every name that the other one means is meant.
    #[must_use]
    pub fn includes(&self, other: &Self) -> bool {
        match (self.depth, other.depth) {
            (_, Depth::Exact) => self.matches(&other.base),
            (Depth::Exact, _) | (Depth::OneLabel, Depth::AnyDepth) => false,
            (Depth::OneLabel, Depth::OneLabel) => self.base == other.base,
            (Depth::AnyDepth, _) => self.base == other.base || self.matches(&other.base),
        }
    }

    /// Every pattern that matches a name, allowed or not: a lookup of these in a map of patterns
    /// finds what comparing the name with each of them would.
    pub(crate) fn all_matching(name: &DomainName) -> impl Iterator<Item = Self> {
        let pattern = |depth, base: &DomainName| Self {
            depth,
            base: base.clone(),
        };
        let exact = pattern(Depth::Exact, name);
        let parent = name.parent();
        let one = parent.as_ref().map(|base| pattern(Depth::OneLabel, base));
        let any = std::iter::successors(parent, DomainName::parent)
            .map(move |base| pattern(Depth::AnyDepth, &base));
        std::iter::once(exact).chain(one).chain(any)
    }

    /// Every pattern that can match names below this one, where it is the longest name they have in
    /// common: those that reach below it, and those that reach any depth below of its parents.
    pub(crate) fn all_below(base: &DomainName) -> impl Iterator<Item = Self> {
        let one = Self {
            depth: Depth::OneLabel,
            base: base.clone(),
        };
        let any = std::iter::successors(Some(base.clone()), DomainName::parent).map(|base| Self {
            depth: Depth::AnyDepth,
            base,
        });
        std::iter::once(one).chain(any)
    }

    /// How far it reaches.
    #[must_use]
    pub fn depth(&self) -> Depth {
        self.depth
    }

    /// The name it is, or reaches below.
    #[must_use]
    pub fn base(&self) -> &DomainName {
        &self.base
    }
}

impl fmt::Display for DomainPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = match self.depth {
            Depth::Exact => "",
            Depth::OneLabel => "*.",
            Depth::AnyDepth => "**.",
        };
        write!(f, "{prefix}{}", self.base)
    }
}

/// Why a text is not a pattern.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PatternError {
    /// `localhost` is never looked up, so a rule for it could not work.
    #[error("`localhost` is not looked up in DNS, so a host rule cannot allow it")]
    Localhost,
    /// Not a domain name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Everybody can register names below it.
    #[error("`{0}` is a public suffix: names below it belong to many different owners")]
    PublicSuffix(DomainName),
    /// A star that is not the first label.
    #[error("a wildcard is `*.` or `**.` at the start of a name, nothing else")]
    Star,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn wildcards_over_public_suffixes_are_refused() {
        for suffix in ["com", "co.uk", "github.io", "blob.core.windows.net", "test"] {
            let base = DomainName::parse(suffix).unwrap();
            for stars in ["*", "**"] {
                assert_eq!(
                    DomainPattern::parse(&format!("{stars}.{suffix}")),
                    Err(PatternError::PublicSuffix(base.clone()))
                );
            }
            DomainPattern::parse(suffix).unwrap();
        }
        DomainPattern::parse("*.example.co.uk").unwrap();
        DomainPattern::parse("**.someone.github.io").unwrap();
    }

    #[test]
    fn stars_stand_only_at_the_start() {
        for text in [
            "*",
            "**",
            "a.*.example.com",
            "*a.example.com",
            "***.example.com",
            "*.*.example.com",
        ] {
            assert_eq!(
                DomainPattern::parse(text),
                Err(PatternError::Star),
                "{text}"
            );
        }
        assert_eq!(
            DomainPattern::parse("*.localhost"),
            Err(PatternError::Localhost)
        );
    }

    /// The same rule, label by label from the right.
    fn naive(pattern: &str, name: &str) -> bool {
        let mut labels: Vec<&str> = name.split('.').collect();
        let mut wanted: Vec<&str> = pattern.split('.').collect();
        let star = wanted.remove(0);
        let more = |least: usize, most: usize| {
            let extra = labels.len().checked_sub(wanted.len());
            extra.is_some_and(|extra| (least..=most).contains(&extra))
                && labels
                    .iter()
                    .rev()
                    .zip(wanted.iter().rev())
                    .all(|(a, b)| a == b)
        };
        match star {
            "*" => more(1, 1),
            "**" => more(1, usize::MAX),
            first => {
                wanted.insert(0, first);
                labels.drain(..).eq(wanted)
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn matching_agrees_with_comparing_labels(
            pattern in "(|\\*\\.|\\*\\*\\.)([ab]{1,2}\\.){0,2}[ab]\\.example",
            name in "([ab]{1,2}\\.){0,5}[ab]{1,2}(\\.example)?",
        ) {
            let matches = DomainPattern::parse(&pattern)
                .unwrap()
                .matches(&DomainName::parse(&name).unwrap());
            prop_assert_eq!(matches, naive(&pattern, &name));
            let name = DomainName::parse(&name).unwrap();
            let pattern = DomainPattern::parse(&pattern).unwrap();
            let found = DomainPattern::all_matching(&name).any(|one| one == pattern);
            prop_assert_eq!(found, matches);
        }

        #[test]
        fn parsing_is_total_and_prints_what_it_read(text in "\\*{0,2}\\.?\\PC{0,40}") {
            if let Ok(pattern) = DomainPattern::parse(&text) {
                prop_assert_eq!(DomainPattern::parse(&pattern.to_string()), Ok(pattern));
            }
        }
    }
}
