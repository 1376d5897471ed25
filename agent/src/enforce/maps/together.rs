//! Changes of several outer maps at the same time. No map is known here.
//!
//! Each change of a map of maps returns only after a grace period of the kernel's, when no program can see what was
//! there before. One after another they add up; those that wait at the same time share the same periods.

use std::fmt;
use std::thread::{Builder, scope};

use aya::maps::MapError;

/// Bytes of the stack of a thread that makes one system call.
const STACK: usize = 64 * 1024;

/// One change of one map, and what came of it.
pub(super) struct Change<'a> {
    map: &'static str,
    make: Box<dyn FnMut() -> Result<(), MapError> + Send + 'a>,
    outcome: Option<Result<(), MapError>>,
}

impl<'a> Change<'a> {
    /// A change of `map` that was not made yet. It may be made in any thread.
    pub(super) fn new(
        map: &'static str,
        make: impl FnMut() -> Result<(), MapError> + Send + 'a,
    ) -> Self {
        Self {
            map,
            make: Box::new(make),
            outcome: None,
        }
    }

    fn perform(&mut self) {
        self.outcome = Some((self.make)());
    }
}

impl fmt::Debug for Change<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Change")
            .field("map", &self.map)
            .field("outcome", &self.outcome)
            .finish_non_exhaustive()
    }
}

/// Makes all changes, whichever fails, and returns when the last is made: what each came to, in the order given.
/// A change that gets no thread is made after the others, in this one.
pub(super) fn together(
    mut changes: Vec<Change<'_>>,
) -> impl Iterator<Item = (&'static str, Result<(), MapError>)> {
    scope(|scope| {
        for change in &mut changes {
            let thread = Builder::new().name("maps".to_owned()).stack_size(STACK);
            // The scope waits for it; without a thread there is no outcome, and it is made below.
            let _started = thread.spawn_scoped(scope, || change.perform());
        }
    });
    for change in &mut changes {
        if change.outcome.is_none() {
            change.perform();
        }
    }
    (changes.into_iter())
        .filter_map(|change| change.outcome.map(|outcome| (change.map, outcome)))
        .collect::<Vec<_>>()
        .into_iter()
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn all_wait_at_the_same_time() {
        let met = Barrier::new(7);
        let changes = (0..7).map(|_| {
            Change::new("A", || {
                // One after another, the first would wait for ever.
                met.wait();
                Ok(())
            })
        });
        assert!(together(changes.collect()).all(|(_, outcome)| outcome.is_ok()));
    }

    #[test]
    fn each_is_made_once_whichever_fails_and_told_in_order() {
        let made = AtomicUsize::new(0);
        let change = |map, works: bool| {
            let made = &made;
            Change::new(map, move || {
                made.fetch_add(1, Ordering::SeqCst);
                if works {
                    Ok(())
                } else {
                    Err(MapError::KeyNotFound)
                }
            })
        };
        let outcomes: Vec<_> = together(vec![
            change("A", true),
            change("B", false),
            change("C", true),
        ])
        .map(|(map, outcome)| (map, outcome.is_ok()))
        .collect();
        assert_eq!(outcomes, [("A", true), ("B", false), ("C", true)]);
        assert_eq!(made.load(Ordering::SeqCst), 3);
    }
}
