//! The kernel's maps. The only place that knows their names.

use std::net::IpAddr;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex};

use aya::maps::lpm_trie::Key;
use aya::maps::{Array, HashMap, HashOfMaps, LpmTrie, Map, MapData, MapError, RingBuf, SkStorage};
use cordon_ebpf::abi::address::Address;
use cordon_ebpf::abi::capture::{SLOTS, Slot, Unswept};
use cordon_ebpf::abi::flow::{FlowCounters, FlowKey};
use cordon_ebpf::abi::job::{
    CONTROL, DnsClient, DnsClientKey, Job, KeptKey, Losses, Socket, SocketRole,
};
use cordon_ebpf::abi::ruleset::{Grants, HeldKey, Resolver, ResolverKey};
use cordon_ebpf::shown::name::{KEY_BYTES, NameRules};

use crate::dns::{Bound, Client, ClientLookup};
use crate::events::ring::Ring;
use crate::policy::Ruleset;
use crate::sys::pod::Wire;
use crate::sys::sensitive::Slots;

mod containers;
mod leases;
mod together;

pub use self::containers::ContainerMaps;
use self::leases::LeaseTables;
pub use self::leases::Leases;
use self::together::{Change, together};

/// Names of all maps that are pinned.
pub const NAMES: [&str; 18] = [
    "JOBS",
    "LEASES",
    "NETS",
    "HELD",
    "NAMES",
    "FLOWS",
    "RECORDS",
    "CAPTURES",
    "UNSWEPT",
    "LOSSES",
    "RESOLVERS",
    "DNS_CLIENTS",
    "KEPT_KEY",
    "MEMBERS",
    "UNFOLLOWED",
    "SOCKETS",
    "STREAMS",
    "OWNERS",
];

/// Addresses one job can hold leases of. 392 bytes each, allocated as needed.
const LEASES_PER_JOB: u32 = 65_536;
/// The same by address and rule, for rules that ask for a name.
const HELD_PER_JOB: u32 = 65_536;
/// Names the connections of one job may show. About half a KiB each, allocated as needed.
const NAMES_PER_JOB: u32 = 131_072;
/// Address ranges of one job.
const NETS_PER_JOB: u32 = 4_096;
/// Lines of one job's flow table.
const FLOWS_PER_JOB: u32 = 16_384;
/// Bytes of one job's ring: about 2900 connection records between two reads.
const RING_BYTES: u32 = 262_144;
/// `BPF_F_NO_PREALLOC`: the inner maps take memory as they fill.
const NO_PREALLOC: u32 = 1;
/// `BPF_F_MMAPABLE`: the agent reads and zeroes it in place.
const MMAPABLE: u32 = 1 << 10;
/// Bytes of one slot.
#[expect(clippy::cast_possible_truncation, reason = "16 KiB and a word")]
const SLOT_SIZE: u32 = size_of::<Slot>() as u32;
/// `BPF_MAP_TYPE_ARRAY`
const ARRAY: u32 = 2;
/// `BPF_MAP_TYPE_RINGBUF`
const RINGBUF: u32 = 27;

/// How large the agent makes the maps inside this one; `None` if there are none in it.
#[must_use]
pub fn inner_entries(outer: &str) -> Option<u32> {
    match outer {
        "LEASES" => Some(LEASES_PER_JOB),
        "NETS" => Some(NETS_PER_JOB),
        "HELD" => Some(HELD_PER_JOB),
        "NAMES" => Some(NAMES_PER_JOB),
        "FLOWS" => Some(FLOWS_PER_JOB),
        "RECORDS" => Some(RING_BYTES),
        "CAPTURES" => Some(SLOTS),
        _ => None,
    }
}

/// A map operation that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} map {map}{}", full(.source))]
pub struct MapsError {
    /// What was tried.
    pub operation: &'static str,
    /// On which map.
    pub map: &'static str,
    /// What aya or the kernel said.
    #[source]
    pub source: MapError,
}

/// What to do about a map that takes no more.
fn full(error: &MapError) -> &'static str {
    match error {
        MapError::SyscallError(call) if call.io_error.raw_os_error() == Some(libc::E2BIG) => {
            ", which is full; wait until other jobs have ended"
        }
        _ => "",
    }
}

fn failed(operation: &'static str, map: &'static str) -> impl FnOnce(MapError) -> MapsError {
    move |source| MapsError {
        operation,
        map,
        source,
    }
}

type LeaseMap = HashMap<MapData, Wire<Address>, Wire<Grants>>;
type NetMap = LpmTrie<MapData, [u8; 16], Wire<Grants>>;
type HeldMap = HashMap<MapData, Wire<HeldKey>, Wire<Grants>>;
type NameMap = LpmTrie<MapData, [u8; KEY_BYTES], Wire<NameRules>>;
type FlowMap = HashMap<MapData, Wire<FlowKey>, Wire<FlowCounters>>;

/// All maps of the loaded object.
#[derive(Debug)]
pub struct Maps {
    jobs: HashMap<MapData, u64, Wire<Job>>,
    leases: HashOfMaps<MapData, u64, LeaseMap>,
    nets: HashOfMaps<MapData, u64, NetMap>,
    held: HashOfMaps<MapData, u64, HeldMap>,
    names: HashOfMaps<MapData, u64, NameMap>,
    flows: HashOfMaps<MapData, u64, FlowMap>,
    records: HashOfMaps<MapData, u64, RingBuf<MapData>>,
    captures: HashOfMaps<MapData, u64, MapData>,
    unswept: HashMap<MapData, u32, Wire<Unswept>>,
    losses: HashMap<MapData, u64, Wire<Losses>>,
    resolvers: HashMap<MapData, Wire<ResolverKey>, Wire<Resolver>>,
    dns_clients: Arc<HashMap<MapData, Wire<DnsClientKey>, Wire<DnsClient>>>,
    members: HashMap<MapData, u32, u64>,
    sockets: SkStorage<MapData, Wire<Socket>>,
    owners: SkStorage<MapData, u64>,
}

/// Sets the key of the kept verdicts, once, before the first program is attached.
///
/// # Errors
/// The map cannot be written.
pub fn set_kept_key(map: &mut Map, key: KeptKey) -> Result<(), MapsError> {
    Array::<_, KeptKey>::try_from(map)
        .and_then(|mut map| map.set(0, key, 0))
        .map_err(failed("fill", "KEPT_KEY"))
}

/// One job's own maps.
#[derive(Debug)]
pub struct JobMaps {
    /// Cgroup id of the job.
    pub job: u64,
    /// Where its leases go.
    pub leases: Arc<Leases>,
    /// Its counters.
    flows: FlowMap,
    /// Its ring, until the pump takes it.
    pub records: Option<Ring>,
    /// What its processes were started with, until the sweep takes it.
    pub slots: Option<Slots>,
}

impl Maps {
    /// Takes every map from where `find` has it: the loaded object, or pins.
    ///
    /// # Errors
    /// One is not there, or is not what it should be.
    pub fn from(
        mut find: impl FnMut(&'static str) -> Result<Map, MapError>,
    ) -> Result<Self, MapsError> {
        macro_rules! take {
            ($name:literal) => {
                find($name)
                    .and_then(TryInto::try_into)
                    .map_err(failed("open", $name))?
            };
        }
        Ok(Self {
            jobs: take!("JOBS"),
            leases: take!("LEASES"),
            nets: take!("NETS"),
            held: take!("HELD"),
            names: take!("NAMES"),
            flows: take!("FLOWS"),
            records: take!("RECORDS"),
            captures: take!("CAPTURES"),
            unswept: take!("UNSWEPT"),
            losses: take!("LOSSES"),
            resolvers: take!("RESOLVERS"),
            dns_clients: Arc::new(take!("DNS_CLIENTS")),
            members: take!("MEMBERS"),
            sockets: take!("SOCKETS"),
            owners: take!("OWNERS"),
        })
    }

    /// Processes that belong to a job by descent, whatever their cgroup is.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn members(&self, job: u64) -> Result<Vec<u32>, MapsError> {
        self.members
            .iter()
            .filter(|entry| !matches!(entry, Ok((_, owner)) if *owner != job))
            .map(|entry| entry.map(|(tgid, _)| tgid))
            .collect::<Result<_, _>>()
            .map_err(failed("list", "MEMBERS"))
    }

    /// The job a process belongs to by descent.
    #[must_use]
    pub fn job_of_member(&self, tgid: u32) -> Option<u64> {
        self.members.get(&tgid, 0).ok()
    }

    /// Whether a process still belongs to a job.
    #[must_use]
    pub fn is_member(&self, job: u64, tgid: u32) -> bool {
        self.members.get(&tgid, 0).is_ok_and(|owner| owner == job)
    }

    /// Notes that a process is the job's, wherever it goes.
    ///
    /// # Errors
    /// The map is full.
    pub fn join_member(&mut self, job: u64, tgid: u32) -> Result<(), MapsError> {
        self.members
            .insert(tgid, job, 0)
            .map_err(failed("fill", "MEMBERS"))
    }

    /// Forgets a process that is gone.
    pub fn forget_member(&mut self, tgid: u32) {
        // Not there is as good as removed.
        let _gone = self.members.remove(&tgid);
    }

    /// Puts a job in force. Its tables are filled before the kernel can find them, and the job
    /// itself is entered last: until then everything it does is denied.
    ///
    /// # Errors
    /// A map cannot be made or filled; what was published is withdrawn.
    pub fn publish(
        &mut self,
        job: u64,
        parent: u64,
        ruleset: &Arc<Ruleset>,
    ) -> Result<JobMaps, MapsError> {
        let published = self.publish_parts(job, parent, ruleset);
        if published.is_err() {
            // The first error is the one to report; what is left is denied by the missing job.
            drop(self.withdraw(job));
        }
        published
    }

    fn publish_parts(
        &mut self,
        job: u64,
        parent: u64,
        ruleset: &Arc<Ruleset>,
    ) -> Result<JobMaps, MapsError> {
        let (nets, names) = tables_of(ruleset)?;
        let LeaseTables { leases, held, .. } = LeaseTables::empty(ruleset)?;
        let flows =
            FlowMap::create(FLOWS_PER_JOB, NO_PREALLOC).map_err(failed("create", "FLOWS"))?;
        let ring = aya_obj::Map::new_from_params(RINGBUF, 0, 0, RING_BYTES, 0);
        let ring: RingBuf<MapData> = MapData::create(ring, "cordon_records", None)
            .and_then(Map::from_map_data)
            .and_then(TryInto::try_into)
            .map_err(failed("create", "RECORDS"))?;

        let captures = aya_obj::Map::new_from_params(ARRAY, 4, SLOT_SIZE, SLOTS, MMAPABLE);
        let captures = MapData::create(captures, "cordon_captures", None)
            .map_err(failed("create", "CAPTURES"))?;
        let slots = slots(&captures)?;

        // Nothing finds them before the job's own entry is there, so their order is of no matter. When this is over,
        // each is in its table or has failed; after an error all are withdrawn.
        for (map, outcome) in together(vec![
            Change::new("CAPTURES", || self.captures.insert(job, &captures, 0)),
            Change::new("NETS", || self.nets.insert(job, &nets, 0)),
            Change::new("NAMES", || self.names.insert(job, &names, 0)),
            Change::new("HELD", || self.held.insert(job, &held, 0)),
            Change::new("LEASES", || self.leases.insert(job, &leases, 0)),
            Change::new("FLOWS", || self.flows.insert(job, &flows, 0)),
            Change::new("RECORDS", || self.records.insert(job, &ring, 0)),
        ]) {
            outcome.map_err(failed("publish", map))?;
        }
        self.losses
            .insert(job, Wire(Losses::default()), 0)
            .map_err(failed("publish", "LOSSES"))?;
        let entry = Job {
            mode: ruleset.mode.into(),
            closed: 0,
            hold: 0,
            reserved: [0; 5],
            ruleset: ruleset.digest.short(),
            parent,
            withdrawn_from: ruleset.withdrawn.start,
            withdrawn_to: ruleset.withdrawn.end,
        };
        self.jobs
            .insert(job, Wire(entry), 0)
            .map_err(failed("publish", "JOBS"))?;
        let leases = Arc::new(Leases {
            tables: Mutex::new(LeaseTables {
                leases,
                held,
                ruleset: Arc::clone(ruleset),
            }),
        });
        let ring = Ring::new(ring).map_err(|error| failed("open", "RECORDS")(error.into()))?;
        Ok(JobMaps {
            job,
            leases,
            flows,
            records: Some(ring),
            slots: Some(slots),
        })
    }

    /// Opens the maps of a job that another cordon published. What its ring holds is still there.
    ///
    /// # Errors
    /// One of them is not there.
    pub fn reopen(&self, job: u64, ruleset: &Arc<Ruleset>) -> Result<JobMaps, MapsError> {
        let leases = self.leases.get(&job, 0).map_err(failed("open", "LEASES"))?;
        let held = self.held.get(&job, 0).map_err(failed("open", "HELD"))?;
        let flows = self.flows.get(&job, 0).map_err(failed("open", "FLOWS"))?;
        let ring = self
            .records
            .get(&job, 0)
            .map_err(failed("open", "RECORDS"))?;
        let captures = self
            .captures
            .get(&job, 0)
            .map_err(failed("open", "CAPTURES"))?;
        let leases = Arc::new(Leases {
            tables: Mutex::new(LeaseTables {
                leases,
                held,
                ruleset: Arc::clone(ruleset),
            }),
        });
        let ring = Ring::new(ring).map_err(|error| failed("open", "RECORDS")(error.into()))?;
        Ok(JobMaps {
            job,
            leases,
            flows,
            records: Some(ring),
            slots: Some(slots(&captures)?),
        })
    }

    /// Puts a narrower ruleset in the place of the one a job has. The job's entry is the switch: from it on, no
    /// verdict of a rule that was given up counts, whichever table it comes from, or socket it was kept with.
    /// Leases stay as far as rules that were not given up hold them.
    ///
    /// # Errors
    /// A map cannot be made or filled: nothing changed. Or the tables could not be exchanged: then nothing of the
    /// job leaves any more.
    pub fn narrow(
        &mut self,
        job: u64,
        leases: &Leases,
        ruleset: &Arc<Ruleset>,
    ) -> Result<(), MapsError> {
        let mut tables = leases.lock();
        let (nets, names) = tables_of(ruleset)?;
        let fresh = tables.narrowed(ruleset)?;
        self.change(job, |entry| {
            entry.mode = ruleset.mode.into();
            entry.ruleset = ruleset.digest.short();
            entry.withdrawn_from = ruleset.withdrawn.start;
            entry.withdrawn_to = ruleset.withdrawn.end;
        })?;
        let exchanged = (self.nets.insert(job, &nets, 0))
            .map_err(failed("exchange", "NETS"))
            .and_then(|()| (self.names.insert(job, &names, 0)).map_err(failed("exchange", "NAMES")))
            .and_then(|()| {
                (self.held.insert(job, &fresh.held, 0)).map_err(failed("exchange", "HELD"))
            })
            .and_then(|()| {
                (self.leases.insert(job, &fresh.leases, 0)).map_err(failed("exchange", "LEASES"))
            });
        // Also where not all could be exchanged: what is granted from now on is granted by the new rules.
        *tables = fresh;
        drop(tables);
        if exchanged.is_err() {
            // The first error is the one to tell.
            drop(self.close(job));
        }
        exchanged
    }

    /// What the kernel has for a job: the proof that publishing took effect.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn job(&self, job: u64) -> Result<Option<Job>, MapsError> {
        match self.jobs.get(&job, 0) {
            Ok(Wire(entry)) => Ok(Some(entry)),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(failed("read", "JOBS")(error)),
        }
    }

    /// From now on, processes of a job are stopped at exec, and nothing they send leaves, until
    /// [`swept`](Self::swept).
    ///
    /// # Errors
    /// The job is not in force, or the map cannot be written.
    pub fn hold(&mut self, job: u64) -> Result<(), MapsError> {
        self.change(job, |entry| entry.hold = 1)
    }

    /// From now on nothing of a job leaves, whatever its rules say.
    ///
    /// # Errors
    /// As [`hold`](Self::hold).
    pub fn close(&mut self, job: u64) -> Result<(), MapsError> {
        self.change(job, |entry| entry.closed = 1)
    }

    fn change(&mut self, job: u64, change: impl FnOnce(&mut Job)) -> Result<(), MapsError> {
        let Wire(mut entry) = self.jobs.get(&job, 0).map_err(failed("read", "JOBS"))?;
        change(&mut entry);
        // 2: only where there is one.
        self.jobs
            .insert(job, Wire(entry), 2)
            .map_err(failed("change", "JOBS"))
    }

    /// Processes of a job that have not been swept since their last exec, with the boot time (ns) of it.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn unswept(&self, job: u64) -> Result<Vec<(u32, u64)>, MapsError> {
        self.unswept
            .iter()
            .filter(|entry| !matches!(entry, Ok((_, Wire(of))) if of.job != job))
            .map(|entry| entry.map(|(tgid, Wire(of))| (tgid, of.since)))
            .collect::<Result<_, _>>()
            .map_err(failed("list", "UNSWEPT"))
    }

    /// A process was swept: what it sends may leave again.
    pub fn swept(&mut self, tgid: u32) {
        // Not there is as good as removed.
        let _gone = self.unswept.remove(&tgid);
    }

    /// Sends a job's DNS in one network namespace to its listener.
    ///
    /// # Errors
    /// The map is full.
    pub fn set_resolver(
        &mut self,
        job: u64,
        netns: u64,
        resolver: Resolver,
    ) -> Result<(), MapsError> {
        let key = ResolverKey { job, netns };
        self.resolvers
            .insert(Wire(key), Wire(resolver), 0)
            .map_err(failed("publish", "RESOLVERS"))
    }

    /// Marks all sockets of a listener.
    ///
    /// # Errors
    /// The kernel has no memory for it.
    pub fn mark_resolvers(&mut self, job: u64, bound: &Bound) -> Result<(), MapsError> {
        self.mark_resolver(job, &bound.udp4)?;
        self.mark_resolver(job, &bound.tcp4)?;
        if let Some(udp6) = &bound.udp6 {
            self.mark_resolver(job, udp6)?;
        }
        if let Some(tcp6) = &bound.tcp6 {
            self.mark_resolver(job, tcp6)?;
        }
        Ok(())
    }

    /// Marks the daemon's control socket, which jobs may connect to where Unix sockets are judged.
    ///
    /// # Errors
    /// The kernel has no memory for it.
    pub fn mark_control(&mut self, socket: &impl AsFd) -> Result<(), MapsError> {
        use std::os::fd::AsRawFd as _;
        self.owners
            .insert(&socket.as_fd().as_raw_fd(), CONTROL, 0)
            .map_err(failed("mark in", "OWNERS"))
    }

    /// Takes back where a job's DNS goes in one network namespace: it is denied there.
    pub fn forget_resolver(&mut self, job: u64, netns: u64) {
        // Not there is as good as removed.
        let _gone = self.resolvers.remove(&Wire(ResolverKey { job, netns }));
    }

    /// The same for all namespaces: their listeners were those of a cordon that is dead, and while
    /// there is an entry nobody is told that one is missing.
    pub fn forget_resolvers(&mut self, job: u64) {
        let of_job = |key: &Wire<ResolverKey>| key.0.job == job;
        let keys = self.resolvers.keys().filter_map(Result::ok);
        for key in keys.filter(of_job).collect::<Vec<_>>() {
            let _gone = self.resolvers.remove(&key);
        }
    }

    /// Marks a listener's socket as the job's resolver, so that loopback leads to it.
    ///
    /// # Errors
    /// The kernel has no memory for it.
    fn mark_resolver(&mut self, job: u64, socket: &impl AsFd) -> Result<(), MapsError> {
        use std::os::fd::AsRawFd as _;
        let kept = Socket {
            job,
            role: SocketRole::RESOLVER,
            ..Socket::default()
        };
        self.sockets
            .insert(&socket.as_fd().as_raw_fd(), Wire(kept), 0)
            .map_err(failed("mark", "SOCKETS"))
    }

    /// What listens for a job alone, and the networks of its containers. `sockets` is one more handle of
    /// that map.
    ///
    /// # Errors
    /// The job is not in force.
    pub fn containers(&self, job: u64, sockets: Map) -> Result<ContainerMaps, MapsError> {
        Ok(ContainerMaps {
            job,
            nets: self.nets.get(&job, 0).map_err(failed("open", "NETS"))?,
            sockets: sockets.try_into().map_err(failed("open", "SOCKETS"))?,
        })
    }

    /// What the kernel could not itemise.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn losses(&self, job: u64) -> Result<Losses, MapsError> {
        self.losses
            .get(&job, 0)
            .map(|Wire(losses)| losses)
            .map_err(failed("read", "LOSSES"))
    }

    /// Forgets what the proof counted, before the command is released.
    ///
    /// # Errors
    /// The map cannot be written.
    pub fn reset_losses(&mut self, job: u64) -> Result<(), MapsError> {
        self.losses
            .insert(job, Wire(Losses::default()), 0)
            .map_err(failed("reset", "LOSSES"))
    }

    /// Who sent a DNS question of this job.
    #[must_use]
    pub fn dns_clients(&self, job: u64) -> DnsClients {
        DnsClients {
            job,
            map: Arc::clone(&self.dns_clients),
        }
    }

    /// Jobs that are in force.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn published(&self) -> Result<Vec<u64>, MapsError> {
        self.jobs
            .keys()
            .collect::<Result<_, _>>()
            .map_err(failed("list", "JOBS"))
    }

    /// Takes a job out of force, the job's own entry first: from then on it is denied everything.
    /// Goes on after an error and returns all of them.
    ///
    /// # Errors
    /// Entries that could not be removed.
    pub fn withdraw(&mut self, job: u64) -> Result<(), Vec<MapsError>> {
        let resolvers: Vec<_> = self
            .resolvers
            .keys()
            .filter_map(Result::ok)
            .filter(|key| key.0.job == job)
            .collect();
        let mut results = vec![("JOBS", self.jobs.remove(&job))];
        results.extend(
            resolvers
                .iter()
                .map(|key| ("RESOLVERS", self.resolvers.remove(key))),
        );
        results.push(("LOSSES", self.losses.remove(&job)));
        results.extend(together(vec![
            Change::new("NETS", || self.nets.remove(&job)),
            Change::new("NAMES", || self.names.remove(&job)),
            Change::new("HELD", || self.held.remove(&job)),
            Change::new("LEASES", || self.leases.remove(&job)),
            Change::new("FLOWS", || self.flows.remove(&job)),
            Change::new("RECORDS", || self.records.remove(&job)),
            Change::new("CAPTURES", || self.captures.remove(&job)),
        ]));
        let errors: Vec<MapsError> = results
            .into_iter()
            .filter_map(|(map, result)| result.err().map(|error| (map, error)))
            .filter(|(_, error)| !is_not_found(error))
            .map(|(map, error)| failed("withdraw from", map)(error))
            .collect();
        if errors.is_empty() {
            Ok(())
        } else {
            Err(errors)
        }
    }
}

/// A job's slots, in this process' memory.
fn slots(captures: &MapData) -> Result<Slots, MapsError> {
    Slots::new(captures.fd())
        .map_err(MapError::IoError)
        .map_err(failed("map", "CAPTURES"))
}

fn is_not_found(error: &MapError) -> bool {
    match error {
        MapError::KeyNotFound | MapError::ElementNotFound => true,
        MapError::SyscallError(call) => call.io_error.raw_os_error() == Some(libc::ENOENT),
        _ => false,
    }
}

impl JobMaps {
    /// Every line of the flow table.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn flows(&self) -> Result<Vec<(FlowKey, FlowCounters)>, MapsError> {
        let lines: Result<Vec<_>, _> = self
            .flows
            .iter()
            .map(|line| line.map(|(Wire(key), Wire(counters))| (key, counters)))
            .collect();
        let mut lines = lines.map_err(failed("read", "FLOWS"))?;
        lines.sort_by_key(|(key, _)| *key);
        Ok(lines)
    }

    /// Forgets what the ring holds.
    ///
    /// # Errors
    /// It cannot be mapped.
    pub fn clear_records(&mut self) -> Result<(), MapsError> {
        let ring = self.records.as_mut();
        ring.map_or(Ok(()), |ring| ring.drain(&mut drop))
            .map_err(|error| failed("read", "RECORDS")(error.into()))
    }

    /// Empties the flow table.
    ///
    /// # Errors
    /// The map cannot be written.
    pub fn clear_flows(&mut self) -> Result<(), MapsError> {
        for (key, _) in self.flows()? {
            self.flows
                .remove(&Wire(key))
                .map_err(failed("clear", "FLOWS"))?;
        }
        Ok(())
    }
}

/// What the kernel has of a ruleset besides leases.
fn tables_of(ruleset: &Ruleset) -> Result<(NetMap, NameMap), MapsError> {
    let mut nets = NetMap::create(NETS_PER_JOB, NO_PREALLOC).map_err(failed("create", "NETS"))?;
    for (net, grants) in &ruleset.nets {
        nets.insert(&Key::new(net.prefix_len, net.address.0), Wire(*grants), 0)
            .map_err(failed("fill", "NETS"))?;
    }
    let mut names =
        NameMap::create(NAMES_PER_JOB, NO_PREALLOC).map_err(failed("create", "NAMES"))?;
    for (data, bits, rules) in ruleset.names.entries() {
        names
            .insert(&Key::new(bits, data), Wire(rules), 0)
            .map_err(failed("fill", "NAMES"))?;
    }
    Ok((nets, names))
}

/// Finds who sent a DNS question of one job.
#[derive(Debug)]
pub struct DnsClients {
    job: u64,
    map: Arc<HashMap<MapData, Wire<DnsClientKey>, Wire<DnsClient>>>,
}

impl ClientLookup for DnsClients {
    fn client(&self, netns: u64, protocol: u8, port: u16) -> Option<Client> {
        let key = DnsClientKey {
            job: self.job,
            netns,
            port,
            protocol,
            reserved: 0,
            reserved2: 0,
        };
        self.map.get(&Wire(key), 0).ok().map(|Wire(client)| Client {
            process: client.tgid,
            server: (IpAddr::from(client.server), client.port).into(),
        })
    }
}
