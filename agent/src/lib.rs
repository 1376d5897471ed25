//! `cordon` puts a CI job behind a kernel edge: default-deny egress, enforced by eBPF, proved by
//! signed evidence.
//!
//! The modules, in reading order.

#![doc = include_str!("../ARCHITECTURE.md")]

// Which jobs of which runners may have which profiles. Pure.
pub mod admission;
// Which process it was: ids to chains of executables.
pub mod attribution;
// Directories of the cgroup hierarchy.
pub mod cgroup;
// What people type: argument parsing, exit codes, terminal output. The only place that prints.
pub mod cli;
// Host settings: `/etc/cordon/config.toml`.
pub mod config;
// One process for all jobs of a host: the control socket, runners, jobs that ask for profiles.
pub mod daemon;
// The job's DNS: its listener, the upstream, the leases.
pub mod dns;
// Whether this host can enforce: probes with three answers.
pub mod doctor;
// The kernel side: loading, attaching, pinning, publishing, and the proof that it holds.
pub mod enforce;
// A job's way to the host's container engine.
pub mod engine;
// What the kernel tells: ring, decoding, ledger.
pub mod events;
// The promotion gate: whether a release may be promoted on its evidence. Pure.
pub mod gate;
// One job, from admission to seal.
pub mod job;
// How much of the host a job may use: pinned, watched, proved, and what it used.
pub mod limits;

pub mod metrics;
// Profiles: text to policy to ruleset. Pure.
pub mod policy;
// What the host knows of secrets without keeping any: the fingerprint key, the known values.
pub mod registry;
// Evidence: the report, its text, its statement and signature.
pub mod report;
// What surrounds a command besides its cgroup: namespaces, mounts, a system call filter.
pub mod sandbox;
// The secret sweep: what processes carry, scanned while they live.
pub mod secrets;
// System calls and files: the only unsafe code, and errors that name call and path.
pub mod sys;

pub mod telemetry;
// Keys that never leave a TPM.
pub mod tpm;
