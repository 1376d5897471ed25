//! Memory that the caller lends for decoded bytes.

use zeroize::Zeroize as _;

/// Room for decoded layers, in memory the caller has locked and that never reaches a core file.
///
/// The engine makes no copy of a secret anywhere else. What is lent out is zeroed when it comes back,
/// also when its user returns early or panics; what is never lent out is not touched.
///
/// ```compile_fail
/// let mut memory = [0; 64];
/// // It holds secrets, so it cannot be printed.
/// println!("{:?}", cordon_secrets::Scratch::new(&mut memory));
/// ```
#[expect(missing_debug_implementations, reason = "it holds secrets")]
pub struct Scratch<'m> {
    memory: &'m mut [u8],
}

impl<'m> Scratch<'m> {
    /// Uses this memory.
    pub const fn new(memory: &'m mut [u8]) -> Self {
        Self { memory }
    }

    /// Lends `size` bytes to `use_it`, all zero unless the caller's memory was not, and the rest as a scratch for
    /// deeper layers. `None` if there is not that much left: the caller counts the layer as not decoded.
    pub fn with<R>(
        &mut self,
        size: usize,
        use_it: impl FnOnce(&mut [u8], &mut Scratch<'_>) -> R,
    ) -> Option<R> {
        let (lent, rest) = self.memory.split_at_mut_checked(size)?;
        let lent = Lent(lent);
        Some(use_it(lent.0, &mut Scratch { memory: rest }))
    }

    /// How many bytes are left.
    pub const fn left(&self) -> usize {
        self.memory.len()
    }
}

/// Bytes that are zeroed when they come back.
struct Lent<'m>(&'m mut [u8]);

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    #[test]
    fn what_was_lent_comes_back_zeroed_and_the_rest_is_not_touched() {
        let mut memory = [7; 16];
        let mut scratch = Scratch::new(&mut memory);
        let inner = scratch.with(4, |mine, deeper| {
            mine.fill(1);
            deeper.with(4, |mine, deeper| {
                mine.fill(2);
                deeper.left()
            })
        });
        assert_eq!(inner, Some(Some(8)));
        assert_eq!(memory, [0, 0, 0, 0, 0, 0, 0, 0, 7, 7, 7, 7, 7, 7, 7, 7]);
    }

    #[test]
    fn it_is_zeroed_also_when_the_user_panics() {
        let mut memory = [0; 8];
        let mut scratch = Scratch::new(&mut memory);
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            scratch.with(8, |mine, _deeper| {
                mine.fill(3);
                panic!("early");
            })
        }));
        outcome.unwrap_err();
        assert_eq!(memory, [0; 8]);
    }

    #[test]
    fn more_than_there_is_is_not_lent() {
        let mut memory = [0; 8];
        let mut scratch = Scratch::new(&mut memory);
        assert_eq!(scratch.with(9, |_mine, _deeper| ()), None);
        assert_eq!(scratch.left(), 8);
    }
}
