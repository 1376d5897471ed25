//! One job, from admission to seal.
//!
//! The order of an ending is written once, in [`run`]: the command is gone, what it left behind is
//! killed, the ring is drained, the kernel's counters are read, the evidence is signed and written,
//! and only then is the job taken out of force.

mod armed;
mod attach;
pub mod attended;
pub mod closing;
pub mod coverage;
pub mod id;
mod journaling;
pub mod life;
pub mod limiting;
pub mod namespaces;
pub mod narrowing;
pub mod record;
pub mod resume;
pub mod run;
pub mod sealing;
pub mod sweeping;
pub mod watch;
