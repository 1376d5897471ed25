//! What the gate remembers: seals it has seen, and what they were promoted for.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::decision::{RevocationFacts, SealFacts};
use crate::report::json;

/// Value of [`State::schema`].
pub const SCHEMA: &str = "cordon/gate-state/v1";

/// 64 MiB: some hundred thousand seals.
pub const MAX_STATE: u64 = 64 << 20;

/// A state that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Not JSON of this form.
    #[error("the gate's state is damaged; restore it from a backup")]
    Json(#[from] serde_json::Error),
    /// Another version's.
    #[error("the gate's state is `{found}`, and this cordon reads `{SCHEMA}`")]
    Schema {
        /// What it is.
        found: String,
    },
}

/// What the gate remembers.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct State {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// Seals that were genuine: by key id, then by number, the SHA-256 of the seal.
    pub seen: BTreeMap<String, BTreeMap<u64, String>>,
    /// Seals on which something was promoted, by their SHA-256.
    pub promoted: BTreeMap<String, Promotion>,
    /// The newest list of revoked keys that was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revocations: Option<SeenList>,
}

/// A list of revoked keys.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SeenList {
    /// Its number.
    pub number: u64,
    /// SHA-256 of what it says, hex.
    pub sha256: String,
}

/// A promotion.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Promotion {
    /// The image, as `sha256:HEX`.
    pub target: String,
    /// When it was promoted first.
    pub at: Timestamp,
}

impl Default for State {
    fn default() -> Self {
        Self {
            schema: SCHEMA.to_owned(),
            seen: BTreeMap::new(),
            promoted: BTreeMap::new(),
            revocations: None,
        }
    }
}

impl State {
    /// Reads a state.
    ///
    /// # Errors
    /// See [`StateError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, StateError> {
        let state: Self = json::parse(bytes)?;
        if state.schema != SCHEMA {
            let found = state.schema;
            return Err(StateError::Schema { found });
        }
        Ok(state)
    }

    /// The seals of these keys that have this number.
    pub fn seal_of<'s>(
        &'s self,
        line: &'s BTreeSet<String>,
        sequence: u64,
    ) -> impl Iterator<Item = &'s str> + Clone {
        line.iter().filter_map(move |key| self.seal(key, sequence))
    }

    /// Remembers a list of revoked keys, unless a higher number is known.
    pub fn see_list(&mut self, list: &RevocationFacts) {
        let seen = self.revocations.as_ref();
        if seen.is_none_or(|seen| seen.number < list.number) {
            self.revocations = Some(SeenList {
                number: list.number,
                sha256: list.list.sha256.clone(),
            });
        }
    }

    /// The seal of this key that has this number, if it was seen.
    #[must_use]
    pub fn seal(&self, key_id: &str, sequence: u64) -> Option<&str> {
        let of_key = self.seen.get(key_id)?;
        of_key.get(&sequence).map(String::as_str)
    }

    /// Remembers a genuine seal; one of the same number that was seen before stays.
    pub fn see(&mut self, seal: &SealFacts) {
        let of_key = self.seen.entry(seal.key_id.clone()).or_default();
        of_key
            .entry(seal.sequence)
            .or_insert_with(|| seal.digest.sha256.clone());
    }

    /// Remembers a promotion; the first one stays.
    pub fn promote(&mut self, seal: &SealFacts, target: &str, at: Timestamp) {
        let promotion = || Promotion {
            target: target.to_owned(),
            at,
        };
        self.promoted
            .entry(seal.digest.sha256.clone())
            .or_insert_with(promotion);
    }
}
