//! Every map, once. What one job can fill is bounded by maps of its own, so that no job can use up
//! what another needs.

use aya_ebpf::bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC};
use aya_ebpf::btf_maps::{
    Array, HashMap, HashOfMaps, LpmTrie, LruHashMap, PerCpuArray, RingBuf, SkStorage,
};
use aya_ebpf::macros::btf_map;
use cordon_ebpf::abi::address::Address;
use cordon_ebpf::abi::capture::{SLOTS, Slot, Unswept};
use cordon_ebpf::abi::flow::{FlowCounters, FlowKey};
use cordon_ebpf::abi::job::{DnsClient, DnsClientKey, Job, KeptKey, Losses, Socket, Stream};
use cordon_ebpf::abi::record::{Exec, Moved, RecordHeader};
use cordon_ebpf::abi::ruleset::{Grants, HeldKey, Resolver, ResolverKey};
use cordon_ebpf::shown::name::{KEY_BYTES, NameRules};

const NO_PREALLOC: usize = BPF_F_NO_PREALLOC as usize;
const MMAPABLE: usize = BPF_F_MMAPABLE as usize;

/// Jobs at once. Beyond: the agent cannot publish, the job does not start.
pub(crate) const JOBS_MAX: usize = 1024;

/// The bytes of a `T`, as an inner map's value.
///
/// The agent makes inner maps without BTF. Kernel 6.1 takes such a map for the one described here
/// only if the value is no structure: it looks for timers in structures, and remembers "there is
/// none" as something else than "there is no BTF".
pub(crate) type Cell<T> = <T as InCell>::Words;

/// Types that are kept in inner maps.
pub(crate) trait InCell {
    /// As many words as the type has.
    type Words;
}

impl InCell for Grants {
    type Words = [u64; size_of::<Self>() / 8];
}

impl InCell for NameRules {
    type Words = [u64; size_of::<Self>() / 8];
}

impl InCell for Slot {
    type Words = [u64; size_of::<Self>() / 8];
}

impl InCell for FlowCounters {
    type Words = [u64; size_of::<Self>() / 8];
}

/// Addresses resolved from allowed names. The agent chooses each job's real capacity.
pub(crate) type Leases = HashMap<Address, Cell<Grants>, 65536, NO_PREALLOC>;
/// Allowed address ranges.
pub(crate) type Nets = LpmTrie<[u8; 16], Cell<Grants>, 4096>;
/// Leases by address and rule: which of an address' leases a shown name may rest on.
pub(crate) type Held = HashMap<HeldKey, Cell<Grants>, 65536, NO_PREALLOC>;
/// Names that connections may show, with the rules that allow them.
pub(crate) type Names = LpmTrie<[u8; KEY_BYTES], Cell<NameRules>, 131_072>;
/// Counters by destination and verdict. Full: counted in [`Losses::flows`].
pub(crate) type Flows = HashMap<FlowKey, Cell<FlowCounters>, 16384, NO_PREALLOC>;
/// What processes were started with, for the agent to read and to zero. Full: counted in
/// [`Losses::captures`].
pub(crate) type Captures = Array<Cell<Slot>, { SLOTS as usize }, MMAPABLE>;
/// Records to the agent. Full: counted in [`Losses::records`].
pub(crate) type Records = RingBuf<RecordHeader, 262_144>;

/// The jobs: cgroup id -> job. No entry: everything is denied.
#[btf_map]
pub(crate) static JOBS: HashMap<u64, Job, JOBS_MAX> = HashMap::new();
/// cgroup id -> leases of the job.
#[btf_map]
pub(crate) static LEASES: HashOfMaps<u64, Leases, JOBS_MAX> = HashOfMaps::new();
/// cgroup id -> address ranges of the job.
#[btf_map]
pub(crate) static NETS: HashOfMaps<u64, Nets, JOBS_MAX> = HashOfMaps::new();
/// cgroup id -> leases of the job by rule.
#[btf_map]
pub(crate) static HELD: HashOfMaps<u64, Held, JOBS_MAX> = HashOfMaps::new();
/// cgroup id -> names of the job.
#[btf_map]
pub(crate) static NAMES: HashOfMaps<u64, Names, JOBS_MAX> = HashOfMaps::new();
/// cgroup id -> counters of the job.
#[btf_map]
pub(crate) static FLOWS: HashOfMaps<u64, Flows, JOBS_MAX> = HashOfMaps::new();
/// cgroup id -> ring of the job.
#[btf_map]
pub(crate) static RECORDS: HashOfMaps<u64, Records, JOBS_MAX> = HashOfMaps::new();
/// cgroup id -> what the job's processes were started with.
#[btf_map]
pub(crate) static CAPTURES: HashOfMaps<u64, Captures, JOBS_MAX> = HashOfMaps::new();
/// The slot this CPU looked at last.
#[btf_map]
pub(crate) static CURSOR: PerCpuArray<u32, 1> = PerCpuArray::new();
/// Process that waits to be swept -> its job. No packet of it leaves.
#[btf_map]
pub(crate) static UNSWEPT: HashMap<u32, Unswept, 65536, NO_PREALLOC> = HashMap::new();
/// cgroup id -> what could not be itemised.
#[btf_map]
pub(crate) static LOSSES: HashMap<u64, Losses, JOBS_MAX> = HashMap::new();
/// (job, network namespace) -> where its DNS goes. No entry: DNS is denied. Room for all namespaces the
/// agent serves for a job, and the one it is in itself.
#[btf_map]
pub(crate) static RESOLVERS: HashMap<ResolverKey, Resolver, { JOBS_MAX * 65 }, NO_PREALLOC> =
    HashMap::new();
/// (job, network namespace without a resolver) -> when the agent was last told, boot time, ns. Who
/// pushes out an entry of another job makes its agent hear the same once more.
#[btf_map]
pub(crate) static UNSERVED: LruHashMap<ResolverKey, u64, 4096> = LruHashMap::new();
/// Who sent a DNS query. Only for reports, so the oldest may go.
#[btf_map]
pub(crate) static DNS_CLIENTS: LruHashMap<DnsClientKey, DnsClient, 16384> = LruHashMap::new();
/// Key of the kept verdicts: random, written once by the agent that loads the object. A map, so that
/// it outlives an exchange of the programs.
#[btf_map]
pub(crate) static KEPT_KEY: Array<KeptKey, 1> = Array::new();
/// What is kept with each socket of a job.
#[btf_map]
pub(crate) static SOCKETS: SkStorage<Socket> = SkStorage::new();
/// What is kept with each socket while the names it shows are read.
#[btf_map]
pub(crate) static STREAMS: SkStorage<Stream> = SkStorage::new();
/// Socket -> job it is of, for the LSM programs: Unix sockets, and what listeners accept.
#[btf_map]
pub(crate) static OWNERS: SkStorage<u64> = SkStorage::new();
/// Process -> job it belongs to by descent, whatever its cgroup is by now. Full: a process that
/// leaves the slice is not followed; counted in [`Losses::members`].
#[btf_map]
pub(crate) static MEMBERS: HashMap<u32, u64, 65536, NO_PREALLOC> = HashMap::new();
/// Whether a process could ever not be noted in [`MEMBERS`]: 0, or 1. From then on nobody is taken for one that was
/// never in a job.
#[btf_map]
pub(crate) static UNFOLLOWED: Array<u32, 1> = Array::new();
/// Room for one exec record, too large for the stack.
#[btf_map]
pub(crate) static EXEC: PerCpuArray<Exec, 1> = PerCpuArray::new();
/// Room for one record of a move.
#[btf_map]
pub(crate) static MOVED: PerCpuArray<Moved, 1> = PerCpuArray::new();
