//! What a job's policy says about container engines: whether it may use one at all.
//!
//! Of several profiles the strictest holds, extended profiles included: one that denies, denies.

use serde::{Deserialize, Serialize};

use super::reader::{Reader, Schema, Table};
use super::secrets::read_word;

/// The table.
pub(crate) const CONTAINERS: Schema = Schema {
    what: "`[containers]`",
    keys: &["engine"],
    later: &[],
};

/// How a job reaches the host's container engine. The order is that of strictness.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// Through cordon, which judges each request and binds each container to the job.
    Mediate,
    /// Not at all.
    #[default]
    Deny,
}

impl Engine {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Mediate, Self::Deny];

    /// Its name in profiles and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mediate => "mediate",
            Self::Deny => "deny",
        }
    }

    /// The one with this name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name() == text)
    }

    /// Of what several profiles say, the strictest; denied where none says anything.
    #[must_use]
    pub fn strictest(said: impl Iterator<Item = Self>) -> Self {
        said.max().unwrap_or_default()
    }

    /// Whether it is what a job gets where nothing is said.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Reads the `[containers]` table, if there is one.
pub(crate) fn read_containers(reader: &mut Reader, root: Table<'_>) -> Option<Engine> {
    let table = reader.child(root, "containers", &CONTAINERS)?;
    let words = Engine::ALL.map(Engine::name);
    read_word(reader, table, "engine", Engine::parse, &words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_profile_that_denies_denies() {
        use Engine::{Deny, Mediate};
        for (said, comes_to) in [
            (&[][..], Deny),
            (&[Mediate], Mediate),
            (&[Mediate, Deny], Deny),
            (&[Deny], Deny),
        ] {
            assert_eq!(Engine::strictest(said.iter().copied()), comes_to);
        }
    }
}
