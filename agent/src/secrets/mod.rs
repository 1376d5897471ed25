//! The secret sweep: what processes carry in their environments and arguments, read while they live.
//!
//! [`cordon_secrets`] finds; here is what brings it the bytes and keeps what it says. Bytes come from the
//! kernel's copies at exec ([`Slots`](crate::sys::sensitive::Slots)) and from `/proc` ([`procfs`]), into
//! locked memory, and are zeroed after they were scanned. The [`ledger`] holds none of them.

use std::io;

use cordon_secrets::{AllowEntry, Baseline, BuildError, Engine, Rules, SweepPolicy};
use sweeper::Sweeper;

use crate::config::Config;
use crate::policy::SecretsPolicy;
use crate::policy::secrets::{Allowance, Stance};
use crate::registry::{Registry, RegistryError};
use crate::sys::fs::{self, FileError};
use crate::sys::sensitive::Slots;

pub mod ledger;
pub mod procfs;
pub mod report;
pub mod request;
pub mod sweeper;

/// Why a host cannot be swept.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// Its key or its registered values cannot be used.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The registered values are of another key.
    #[error(transparent)]
    Engine(#[from] BuildError),
    /// There is no memory that is never swapped.
    #[error("memory for secrets cannot be had")]
    Memory(#[source] io::Error),
    /// The system gave no randomness.
    #[error(transparent)]
    Random(#[from] FileError),
}

/// A sweeper for this host and this policy. `slots` is where the kernel copies to, if there is a job.
///
/// # Errors
/// See [`SweepError`].
pub fn sweeper(
    config: &Config,
    policy: &SecretsPolicy,
    slots: Option<Slots>,
) -> Result<Sweeper, SweepError> {
    let Registry {
        key,
        made: _,
        known,
    } = Registry::open(config)?;
    let engine = Engine::new(&key, &known, &Rules::all())?;
    let values = known.values().len() as u64;
    let seed = fs::random_bytes()?;
    Sweeper::new(engine, judged_by(policy), &seed, values, slots).map_err(SweepError::Memory)
}

/// The profile's words as the engine judges by them.
fn judged_by(policy: &SecretsPolicy) -> SweepPolicy {
    let SecretsPolicy {
        on_finding: _,
        stance,
        interval: _,
        freeze_for: _,
        max_lifetime,
        holders,
        allow,
    } = policy;
    SweepPolicy {
        default: match stance {
            Stance::Lenient => Baseline::Lenient,
            Stance::OidcOnly => Baseline::OidcOnly,
        },
        holders: holders.lists.iter().cloned().collect(),
        runners: Vec::new(),
        issuers: Vec::new(),
        allow: allow.iter().map(entry).collect(),
        max_lifetime: i64::try_from(max_lifetime.as_secs()).unwrap_or(i64::MAX),
    }
}

fn entry(allowance: &Allowance) -> AllowEntry {
    AllowEntry {
        variable: allowance.variable.clone(),
        rule: allowance.rule.clone(),
        class: allowance.class,
        process: allowance.process.clone(),
        fingerprint: allowance.fingerprint,
        reason: allowance.reason.clone(),
        // The last day counts.
        expires: allowance.end().map(|end| end.as_second()),
    }
}
