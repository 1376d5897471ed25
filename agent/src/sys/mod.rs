//! The system, one file a subject. Unsafe code lives here and nowhere else in `cordon`.

pub mod dir;
pub mod fs;
