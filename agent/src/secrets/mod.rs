//! The secret sweep: what processes carry in their environments and arguments, read while they live.
//!
//! [`cordon_secrets`] finds; here is what brings it the bytes and keeps what it says. Bytes come from the
//! kernel's copies at exec ([`Slots`](crate::sys::sensitive::Slots)) and from `/proc` ([`procfs`]), into
//! locked memory, and are zeroed after they were scanned. The [`ledger`] holds none of them.

use std::io;

use cordon_secrets::{AllowEntry, Baseline, Engine, FingerprintKey, KnownSet, Rules, SweepPolicy};
use sweeper::Sweeper;

use crate::config::HostConfig;
use crate::policy::SecretsPolicy;
use crate::policy::secrets::{Allowance, Stance};
use crate::sys::sensitive::Slots;

pub mod ledger;
pub mod procfs;
pub mod report;
pub mod request;
pub mod sweeper;

/// A sweeper for this host and this policy. `slots` is where the kernel copies to, if there is a job.
///
/// # Errors
/// The host's key or its registered values cannot be read, or memory cannot be locked.
pub fn sweeper(
    host: &HostConfig,
    policy: &SecretsPolicy,
    slots: Option<Slots>,
) -> io::Result<Sweeper> {
    let _later = host;
    let random = || -> io::Result<[u8; 32]> {
        let mut bytes = [0; 32];
        io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut bytes)?;
        Ok(bytes)
    };
    let key = FingerprintKey::new(random()?);
    let known = KnownSet::new(key.id());
    let engine = Engine::new(&key, &known, &Rules::default()).map_err(io::Error::other)?;
    Sweeper::new(
        engine,
        judged_by(policy),
        &random()?,
        known.values().len() as u64,
        slots,
    )
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
