//! What every story stands on: a world of its own, made in well under a second and gone afterwards.
//!
//! **Invariants**: nothing is made that has no owner. Namespaces and mounts are unnamed, held by
//! file descriptors, and vanish with the process. Cgroups and directories carry the process id in
//! their name, so that [`leftovers`] removes them even after a crash. No packet leaves the
//! namespaces of a world, and the real cgroup root is never attached to.

pub mod capture;
pub mod cgroup;
pub mod datagrams;
pub mod encrypted;
pub mod engine;
pub mod enter;
pub mod environment;
pub mod filter;
pub mod hello;
pub mod http3;
pub mod job;
pub mod kernel;
pub mod leftovers;
pub mod lie;
pub mod namespace;
pub mod network;
pub mod receiver;
pub mod rules;
pub mod servers;
pub mod service;
pub mod site;
pub mod verdicts;
pub mod world;
pub mod zone;
