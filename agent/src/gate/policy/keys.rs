//! `[[key]]`: whose signatures count, for what, and when.

use std::fmt;

use jiff::Timestamp;

use super::{TrustedKey, field};
use crate::gate::revocations::{self, Reason};
use crate::policy::Mistake;
use crate::policy::reader::{Reader, Schema, Table};
use crate::report::signer::{KeyError, VerifyingKey};
use crate::report::{binding, run, seal, statement, sweep};

const KEY: Schema = Schema {
    what: "a `[[key]]`",
    keys: &[
        "role",
        "fingerprint",
        "pem",
        "not_before",
        "not_after",
        "revoked_from",
        "replaces",
        "hosts",
        "predicate_types",
    ],
    later: &[],
};

/// What a key may sign.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Role {
    /// Evidence of jobs.
    Report,
    /// Decisions of the gate.
    Gate,
    /// Policies.
    Policy,
    /// Nothing of cordon's, only the types that are listed for it.
    Other,
}

/// Whether a signature of a key counts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeyStatus {
    /// It does.
    Good,
    /// Not yet: its time begins later.
    NotYet(Timestamp),
    /// Not any more: its time is over.
    Expired(Timestamp),
    /// Nothing of it does, by the policy.
    Revoked(Timestamp),
    /// Nothing of it does, by the list of revoked keys.
    Listed(Timestamp, Reason),
    /// It may not sign this type.
    WrongRole(Role),
}

impl Role {
    const WORDS: [&'static str; 4] = ["report", "gate", "policy", "other"];

    /// The role of this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "report" => Self::Report,
            "gate" => Self::Gate,
            "policy" => Self::Policy,
            "other" => Self::Other,
            _ => return None,
        })
    }

    /// The types that keys of this role may sign.
    #[must_use]
    pub fn predicate_types(self) -> &'static [&'static str] {
        match self {
            Self::Report => &[
                statement::PREDICATE_TYPE,
                sweep::PREDICATE_TYPE,
                run::PREDICATE_TYPE,
                seal::PREDICATE_TYPE,
                binding::PREDICATE_TYPE,
            ],
            Self::Gate => &[crate::gate::vsa::PREDICATE_TYPE],
            Self::Policy => &[super::POLICY_PREDICATE_TYPE, revocations::PREDICATE_TYPE],
            Self::Other => &[],
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Report => "report",
            Self::Gate => "gate",
            Self::Policy => "policy",
            Self::Other => "other",
        })
    }
}

impl TrustedKey {
    /// Whether its signature under a statement of this type counts now.
    #[must_use]
    pub fn status(&self, predicate_type: &str, now: Timestamp) -> KeyStatus {
        if let Some(from) = self.revoked_from.filter(|from| now >= *from) {
            // Its own clock is no witness: what it signed before that time falls too.
            return KeyStatus::Revoked(from);
        }
        if let Some(from) = self.not_before.filter(|from| now < *from) {
            return KeyStatus::NotYet(from);
        }
        if let Some(until) = self.not_after.filter(|until| now > *until) {
            return KeyStatus::Expired(until);
        }
        let of_role = self.role.predicate_types().contains(&predicate_type);
        if of_role || self.predicate_types.contains(predicate_type) {
            KeyStatus::Good
        } else {
            KeyStatus::WrongRole(self.role)
        }
    }

    /// Whether it counted at the time that a statement of it claims.
    #[must_use]
    pub fn counted_at(&self, time: Timestamp) -> bool {
        self.not_before.is_none_or(|from| time >= from)
            && self.not_after.is_none_or(|until| time <= until)
    }

    /// The table of a policy that says so, ready to paste.
    ///
    /// # Errors
    /// The key has no PEM form.
    pub fn table(&self) -> Result<String, KeyError> {
        let Self {
            role,
            key,
            not_before,
            not_after,
            revoked_from,
            replaces,
            hosts,
            predicate_types,
        } = self;
        let (id, pem) = (key.id(), key.to_pem()?);
        let mut text = format!(
            "[[key]]\nrole = \"{role}\"\nfingerprint = \"{id}\"\npem = \"\"\"\n{pem}\"\"\"\n"
        );
        for (name, time) in [
            ("not_before", not_before),
            ("not_after", not_after),
            ("revoked_from", revoked_from),
        ] {
            if let Some(time) = time {
                text.extend([format!("{name} = \"{time}\"\n")]);
            }
        }
        let types: Vec<_> = predicate_types.iter().cloned().collect();
        for (name, list) in [
            ("replaces", replaces),
            ("hosts", hosts),
            ("predicate_types", &types),
        ] {
            let words: Vec<_> = list.iter().map(|word| format!("{word:?}")).collect();
            if !words.is_empty() {
                text.extend([format!("{name} = [{}]\n", words.join(", "))]);
            }
        }
        Ok(text)
    }

    /// Whether it may speak for a host.
    #[must_use]
    pub fn speaks_for(&self, host: &str) -> bool {
        self.hosts.is_empty() || self.hosts.iter().any(|pattern| matches(pattern, host))
    }
}

/// Whether a text is as a pattern says, in which `*` is any text.
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let Some(last) = parts.next_back() else {
        // There is no `*`.
        return rest.is_empty();
    };
    for part in parts {
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last)
}

pub(super) fn read(reader: &mut Reader, root: Table<'_>) -> Vec<TrustedKey> {
    let Some(list) = reader.array(root, "key") else {
        return Vec::new();
    };
    let mut keys: Vec<TrustedKey> = Vec::new();
    for item in *list.get_ref() {
        let Some(table) = reader.as_table("key", item, &KEY) else {
            continue;
        };
        let Some(key) = read_key(reader, table) else {
            continue;
        };
        if keys.iter().any(|other| other.key == key.key) {
            let mistake = Mistake::new("this key is listed already")
                .help("one entry for each key: two roles in one key cannot be told apart");
            reader.push(&table.span(), mistake);
        }
        if let Some(old) = key.replaces.iter().find(|old| **old == key.key.id()) {
            let mistake = Mistake::new(format!("key `{old}` cannot replace itself"))
                .help("`replaces` names the key that signed before: `cordon key rotate` prints it");
            reader.push(&table.span(), mistake);
        }
        let taken = |old: &&String| keys.iter().any(|other| other.replaces.contains(*old));
        if let Some(old) = key.replaces.iter().find(taken) {
            let mistake = Mistake::new(format!("two keys replace `{old}`"))
                .help("one chain of seals goes on in one key: a host has one key at a time");
            reader.push(&table.span(), mistake);
        }
        keys.push(key);
    }
    keys
}

fn read_key(reader: &mut Reader, table: Table<'_>) -> Option<TrustedKey> {
    let help = format!("write one of \"{}\"", Role::WORDS.join("\", \""));
    let role = field::text(reader, table, "role", "a role", &help, Role::parse);
    let role = reader.required(table, "role", "`role = \"report\"`", role);
    let key = field::text(
        reader,
        table,
        "pem",
        "a P-256 public key in PEM form",
        "give the content of the `.pub` file that `cordon key generate` wrote",
        VerifyingKey::from_pem,
    );
    let key = reader.required(table, "pem", "`pem = \"\"\"…\"\"\"`, the public key", key);
    let id = reader.string(table, "fingerprint");
    let id = reader.required(table, "fingerprint", "`fingerprint = \"SHA256:…\"`", id);
    if let (Some(key), Some(id)) = (&key, &id)
        && key.id() != *id.get_ref()
    {
        let mistake = Mistake::new("`fingerprint` is not that of `pem`")
            .help(format!("the key in `pem` is `{}`", key.id()));
        reader.push(&id.span(), mistake);
    }
    let hosts = field::words(reader, table, "hosts").unwrap_or_default();
    let replaces = field::fingerprints(reader, table, "replaces").unwrap_or_default();
    let trusted = TrustedKey {
        not_before: field::time(reader, table, "not_before"),
        not_after: field::time(reader, table, "not_after"),
        revoked_from: field::time(reader, table, "revoked_from"),
        replaces: replaces.into_iter().collect(),
        hosts: hosts.into_iter().collect(),
        predicate_types: field::words(reader, table, "predicate_types").unwrap_or_default(),
        role: role?,
        key: key?,
    };
    Some(trusted)
}
