//! The engine's side of a job: which requests to a container engine it may make, and what becomes of them.
//!
//! Two programs stand here, on either side of the engine. `cordon-engine` is what a job talks to instead of
//! the engine's socket; it judges each request, rewrites it for the job, and passes it on. `cordon-runtime`
//! is what the engine starts instead of `runc`; it judges the container that came of it, and binds it to the
//! job's cgroup before it runs. This library decides, without I/O; unknown means refused.

#![forbid(unsafe_code)]

pub mod build;
pub mod create;
pub mod fields;
pub mod image;
pub mod job;
pub mod passport;
pub mod protocol;
pub mod query;
pub mod refusal;
pub mod route;
pub mod shown;
pub mod spec;
