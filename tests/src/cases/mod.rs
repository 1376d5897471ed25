//! The stories, one subject a file.

use crate::runner::Story;

mod harness;

/// All stories, in the order of telling.
pub fn all() -> Vec<Story> {
    [harness::stories()].into_iter().flatten().collect()
}
