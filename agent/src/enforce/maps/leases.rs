//! A job's leases: which addresses its names have for now, and under which rules.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aya::maps::{HashMap, MapData, MapError};
use cordon_ebpf::abi::address::Address;
use cordon_ebpf::abi::ruleset::{Grant, Grants, HeldKey, RuleIndex};
use cordon_ebpf::abi::verdict::Mode;

use super::{HELD_PER_JOB, HeldMap, LEASES_PER_JOB, LeaseMap, MapsError, NO_PREALLOC, failed};
use crate::dns::{Lease, LeaseError, LeaseSink, NamePolicy};
use crate::policy::{Ruleset, merge_grants};
use crate::sys::clock::BootTime;
use crate::sys::pod::Wire;

/// A job's leases, in the kernel.
///
/// It is also who says which names are allowed: the ruleset can become narrower, and what was allowed under the old
/// one is not leased under the new one.
#[derive(Debug)]
pub struct Leases {
    pub(super) tables: Mutex<LeaseTables>,
}

#[derive(Debug)]
pub(super) struct LeaseTables {
    /// The ruleset in force.
    pub(super) ruleset: Arc<Ruleset>,
    /// What an address allows.
    pub(super) leases: LeaseMap,
    /// What each rule of it allows, for the names that connections show.
    pub(super) held: HeldMap,
}

impl LeaseSink for Leases {
    fn grant(&self, leases: &[Lease]) -> Result<(), LeaseError> {
        let mut tables = self.lock();
        for lease in leases.iter().filter(|lease| !lease.rules.is_empty()) {
            tables.grant(lease)?;
        }
        drop(tables);
        Ok(())
    }
}

impl NamePolicy for Leases {
    fn rules_for_name(&self, name: &str) -> Vec<RuleIndex> {
        NamePolicy::rules_for_name(&*self.ruleset(), name)
    }

    fn wildcard_part<'a>(&self, rule: RuleIndex, name: &'a str) -> Option<&'a str> {
        self.ruleset().wildcard_part(rule, name)
    }

    fn counted_as(&self, rule: RuleIndex) -> RuleIndex {
        self.ruleset().counted_as(rule)
    }

    fn mode(&self, _first: Mode) -> Mode {
        self.ruleset().mode.into()
    }

    fn allows_private(&self, rules: &[RuleIndex]) -> bool {
        NamePolicy::allows_private(&*self.ruleset(), rules)
    }
}

impl Leases {
    /// The ruleset in force.
    #[must_use]
    pub fn ruleset(&self) -> Arc<Ruleset> {
        Arc::clone(&self.lock().ruleset)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, LeaseTables> {
        // A poisoned lock means a panic while a lease was written; the maps themselves are whole.
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes what has run out.
    pub fn collect_expired(&self) {
        let mut tables = self.lock();
        if let Ok(now) = BootTime::now() {
            tables.collect(now);
        }
    }
}

impl LeaseTables {
    pub(super) fn empty(ruleset: &Arc<Ruleset>) -> Result<Self, MapsError> {
        Ok(Self {
            ruleset: Arc::clone(ruleset),
            leases: LeaseMap::create(LEASES_PER_JOB, NO_PREALLOC)
                .map_err(failed("create", "LEASES"))?,
            held: HeldMap::create(HELD_PER_JOB, NO_PREALLOC).map_err(failed("create", "HELD"))?,
        })
    }

    /// What a narrower ruleset leaves of them, in maps of their own.
    pub(super) fn narrowed(&self, ruleset: &Arc<Ruleset>) -> Result<Self, MapsError> {
        let mut fresh = Self::empty(ruleset)?;
        carry(&self.leases, &mut fresh.leases, ruleset).map_err(failed("fill", "LEASES"))?;
        carry(&self.held, &mut fresh.held, ruleset).map_err(failed("fill", "HELD"))?;
        Ok(fresh)
    }

    /// Puts one lease beside what is held of its address; nothing that is held gets shorter.
    fn grant(&mut self, lease: &Lease) -> Result<(), LeaseError> {
        let ruleset = Arc::clone(&self.ruleset);
        let now = BootTime::now().map_err(|error| no_room(lease, error))?;
        let expires = now.plus_seconds(lease.seconds).0;
        let address = Address::from(lease.address);
        // First what the names are held against: the address alone opens nothing to a connection
        // that must show one.
        for rule in lease.rules.iter().filter(|rule| ruleset.verifies(**rule)) {
            let key = HeldKey {
                address,
                rule: *rule,
                reserved: 0,
            };
            let grants = ruleset.grants_for_rules(&[*rule], expires);
            if merge_into(&mut self.held, Wire(key), &grants, now, lease)?.is_err() {
                self.collect(now);
                merge_into(&mut self.held, Wire(key), &grants, now, lease)?
                    .map_err(|error| no_room(lease, io::Error::other(error)))?;
            }
        }
        let grants = ruleset.grants_for_rules(&lease.rules, expires);
        if merge_into(&mut self.leases, Wire(address), &grants, now, lease)?.is_err() {
            // Full: what has run out makes room.
            self.collect(now);
            merge_into(&mut self.leases, Wire(address), &grants, now, lease)?
                .map_err(|error| no_room(lease, io::Error::other(error)))?;
        }
        Ok(())
    }

    fn collect(&mut self, now: BootTime) {
        let horizon = now.0.saturating_sub(REMEMBER_EXPIRED_NS);
        collect(&mut self.leases, horizon);
        collect(&mut self.held, horizon);
    }
}

/// Copies the grants of rules that are in force.
fn carry<K: aya::Pod>(
    from: &HashMap<MapData, K, Wire<Grants>>,
    to: &mut HashMap<MapData, K, Wire<Grants>>,
    ruleset: &Ruleset,
) -> Result<(), MapError> {
    let mut entries = from.iter();
    while let Some((key, Wire(grants))) = entries.next().transpose()? {
        let stays = |grant: &&Grant| !ruleset.withdrawn.contains(&grant.rule);
        let left: Vec<Grant> = grants.as_slice().iter().filter(stays).copied().collect();
        if let Some(left) = Grants::new(&left).filter(|_| !left.is_empty()) {
            to.insert(key, Wire(left), 0)?;
        }
    }
    Ok(())
}

fn no_room(lease: &Lease, source: io::Error) -> LeaseError {
    LeaseError::Full {
        name: lease.name.clone(),
        address: lease.address,
        source,
    }
}

/// Puts grants beside those an entry has. The inner error: the map takes no more.
fn merge_into<K: aya::Pod>(
    map: &mut HashMap<MapData, K, Wire<Grants>>,
    key: K,
    grants: &[Grant],
    now: BootTime,
    lease: &Lease,
) -> Result<Result<(), MapError>, LeaseError> {
    let there = match map.get(&key, 0) {
        Ok(Wire(there)) => there,
        Err(MapError::KeyNotFound) => Grants::NONE,
        Err(error) => return Err(no_room(lease, io::Error::other(error))),
    };
    let merged = merge_grants(there.as_slice(), grants, now.0)
        .and_then(|merged: Vec<_>| Grants::new(&merged))
        .ok_or_else(|| LeaseError::TooManyGrants {
            name: lease.name.clone(),
            address: lease.address,
        })?;
    Ok(map.insert(key, Wire(merged), 0))
}

/// How long an entry stays after it ran out, so that a late connect is told `lease-expired` and not
/// `no-rule`.
const REMEMBER_EXPIRED_NS: u64 = 60_000_000_000;

/// Removes entries that ran out before `horizon`.
fn collect<K: aya::Pod>(map: &mut HashMap<MapData, K, Wire<Grants>>, horizon: u64) {
    let ran_out = |grants: &Grants| {
        let mut grants = grants.as_slice().iter();
        grants.all(|grant| grant.expires < horizon)
    };
    let expired: Vec<_> = map
        .iter()
        .filter_map(Result::ok)
        .filter(|(_, Wire(grants))| ran_out(grants))
        .map(|(key, _)| key)
        .collect();
    for key in expired {
        if let Err(error) = map.remove(&key) {
            tracing::debug!(%error, "lease not collected");
        }
    }
}
