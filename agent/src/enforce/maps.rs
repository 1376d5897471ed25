//! The kernel's maps. The only file that knows their names.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aya::maps::lpm_trie::Key;
use aya::maps::{Array, HashMap, HashOfMaps, LpmTrie, Map, MapData, MapError, RingBuf, SkStorage};
use cordon_ebpf::abi::address::Address;
use cordon_ebpf::abi::capture::{SLOTS, Slot, Unswept};
use cordon_ebpf::abi::flow::{FlowCounters, FlowKey};
use cordon_ebpf::abi::job::{
    CONTROL, DnsClient, DnsClientKey, Job, KeptKey, Losses, Socket, SocketRole,
};
use cordon_ebpf::abi::ruleset::{
    Grant, Grants, HeldKey, NEVER, NO_RULE, Resolver, ResolverKey, RuleIndex,
};
use cordon_ebpf::abi::verdict::Mode;
use cordon_ebpf::abi::{TCP, UDP};
use cordon_ebpf::shown::Verify;
use cordon_ebpf::shown::name::{KEY_BYTES, NameRules};
use ipnet::Ipv4Net;

use crate::dns::{Bound, Client, ClientLookup, Lease, LeaseError, LeaseSink, NamePolicy};
use crate::events::ring::Ring;
use crate::policy::{Ruleset, merge_grants};
use crate::sys::clock::BootTime;
use crate::sys::pod::Wire;
use crate::sys::sensitive::Slots;

/// Names of all maps that are pinned.
pub const NAMES: [&str; 17] = [
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

        self.captures
            .insert(job, &captures, 0)
            .map_err(failed("publish", "CAPTURES"))?;
        self.nets
            .insert(job, &nets, 0)
            .map_err(failed("publish", "NETS"))?;
        self.names
            .insert(job, &names, 0)
            .map_err(failed("publish", "NAMES"))?;
        self.held
            .insert(job, &held, 0)
            .map_err(failed("publish", "HELD"))?;
        self.leases
            .insert(job, &leases, 0)
            .map_err(failed("publish", "LEASES"))?;
        self.flows
            .insert(job, &flows, 0)
            .map_err(failed("publish", "FLOWS"))?;
        self.records
            .insert(job, &ring, 0)
            .map_err(failed("publish", "RECORDS"))?;
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
        Ok(JobMaps {
            job,
            leases,
            flows,
            records: Some(Ring::new(ring)),
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
        Ok(JobMaps {
            job,
            leases,
            flows,
            records: Some(Ring::new(ring)),
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
        results.extend([
            ("NETS", self.nets.remove(&job)),
            ("NAMES", self.names.remove(&job)),
            ("HELD", self.held.remove(&job)),
            ("LEASES", self.leases.remove(&job)),
            ("FLOWS", self.flows.remove(&job)),
            ("RECORDS", self.records.remove(&job)),
            ("CAPTURES", self.captures.remove(&job)),
            ("LOSSES", self.losses.remove(&job)),
        ]);
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
    Slots::map(captures.fd())
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

/// What changes in the kernel while a job's containers come and go. A handle of its own: others use the
/// maps meanwhile.
#[derive(Debug)]
pub struct ContainerMaps {
    job: u64,
    nets: NetMap,
    sockets: SkStorage<MapData, Wire<Socket>>,
}

impl ContainerMaps {
    /// Lets the job reach one of its own networks, but not the host's end of it.
    ///
    /// # Errors
    /// A map takes no more.
    pub fn allow(&mut self, network: Ipv4Net, gateway: Ipv4Addr) -> Result<(), MapsError> {
        // First: never is the network open and the host's end with it.
        self.grant(Ipv4Net::from(gateway), &Grants::NONE)?;
        let everything = [TCP, UDP].map(|protocol| Grant {
            expires: NEVER,
            first_port: 0,
            last_port: u16::MAX,
            rule: NO_RULE,
            protocol,
            verify: Verify::NONE,
            reserved: [0; 6],
        });
        let grants = Grants::new(&everything).unwrap_or(Grants::NONE);
        self.grant(network, &grants)
    }

    fn grant(&mut self, net: Ipv4Net, grants: &Grants) -> Result<(), MapsError> {
        self.nets
            .insert(&net_key(net), Wire(*grants), 0)
            .map_err(failed("fill", "NETS"))
    }

    /// Takes that back.
    ///
    /// # Errors
    /// The network cannot be closed.
    pub fn forget(&mut self, network: Ipv4Net, gateway: Ipv4Addr) -> Result<(), MapsError> {
        for net in [network, Ipv4Net::from(gateway)] {
            match self.nets.remove(&net_key(net)) {
                Err(error) if !is_not_found(&error) => {
                    return Err(failed("withdraw from", "NETS")(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Has a listening socket reached by the job, and by nobody else.
    ///
    /// # Errors
    /// The kernel has no memory for it.
    pub fn admit(&mut self, listener: &impl AsFd) -> Result<(), MapsError> {
        use std::os::fd::AsRawFd as _;
        let kept = Socket {
            job: self.job,
            role: SocketRole::ENGINE,
            ..Socket::default()
        };
        self.sockets
            .insert(&listener.as_fd().as_raw_fd(), Wire(kept), 0)
            .map_err(failed("mark", "SOCKETS"))
    }
}

/// A range as the trie has it: all addresses are of IPv6's size.
fn net_key(net: Ipv4Net) -> Key<[u8; 16]> {
    let bits = u32::from(net.prefix_len()).saturating_add(96);
    Key::new(bits, Address::from(IpAddr::V4(net.network())).0)
}

/// A job's leases, in the kernel.
///
/// It is also who says which names are allowed: the ruleset can become narrower, and what was allowed under the old
/// one is not leased under the new one.
#[derive(Debug)]
pub struct Leases {
    tables: Mutex<LeaseTables>,
}

#[derive(Debug)]
struct LeaseTables {
    /// The ruleset in force.
    ruleset: Arc<Ruleset>,
    /// What an address allows.
    leases: LeaseMap,
    /// What each rule of it allows, for the names that connections show.
    held: HeldMap,
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

    fn lock(&self) -> MutexGuard<'_, LeaseTables> {
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
    fn empty(ruleset: &Arc<Ruleset>) -> Result<Self, MapsError> {
        Ok(Self {
            ruleset: Arc::clone(ruleset),
            leases: LeaseMap::create(LEASES_PER_JOB, NO_PREALLOC)
                .map_err(failed("create", "LEASES"))?,
            held: HeldMap::create(HELD_PER_JOB, NO_PREALLOC).map_err(failed("create", "HELD"))?,
        })
    }

    /// What a narrower ruleset leaves of them, in maps of their own.
    fn narrowed(&self, ruleset: &Arc<Ruleset>) -> Result<Self, MapsError> {
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
