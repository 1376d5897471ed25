//! Finds credentials in the environments and arguments of processes.
//!
//! Pure: bytes in, [`Detection`]s out. No file, socket, clock or log is touched here, and nothing
//! that leaves the crate holds a byte of a secret: a detection says which rule, of which class,
//! where, and carries a keyed fingerprint.

mod block;
mod cache;
#[cfg(any(test, feature = "cases"))]
pub mod cases;
mod checksum;
mod credential;
mod decode;
mod detection;
mod engine;
mod fingerprint;
mod formats;
mod generic;
mod identity;
mod json;
mod known;
mod memory;
mod pairs;
mod placeholder;

mod policy;
mod residue;

#[cfg(feature = "sample")]
pub mod sample;
mod scratch;

pub use block::{Block, Source};
pub use credential::{Checksum, Class, Confidence, Fact, Life, Rule};
pub use detection::{Detection, Layer, Layers, LengthClass, Variable, Where};
pub use engine::{BuildError, Engine, Rules, Scanned, Undecoded, UnknownRule, Withheld};
pub use fingerprint::{Fingerprint, FingerprintKey, KeyId};
pub use known::{FileError, KnownSet, KnownValue, Mistake, RegisterError};
pub use memory::{Bounds, Memory};
pub use placeholder::is_placeholder;
pub use policy::{
    AllowEntry, Baseline, Glob, GlobError, Judgement, Outcome, PatternError, Place, ProgramPattern,
    Reason, Severity, Stale, SweepPolicy, Tree, Usage, VariablePattern,
};
pub use scratch::Scratch;
