//! The system, one file a subject. Unsafe code lives here and nowhere else in `cordon`.

pub mod bpf;
pub mod clock;
pub mod descriptors;
pub mod dir;
pub mod fs;
pub mod landlock;
pub mod limits;
pub mod mounts;
pub mod netns;
pub mod pidfd;
pub mod pod;
pub mod privilege;
pub mod probe;
pub mod process;
pub mod readiness;
pub mod seccomp;
pub mod sensitive;
pub mod signals;
pub mod sock_diag;
pub mod spawn;
pub mod terminal;
