//! Memory that the caller lends for decoded bytes.

use zeroize::Zeroize as _;

/// Room for decoded layers, in memory the caller has locked and that never reaches a core file.
///
/// The engine makes no copy of a secret anywhere else. What is taken is given back zeroed.
pub struct Scratch<'m> {
    memory: &'m mut [u8],
}

impl<'m> Scratch<'m> {
    /// Uses this memory; it is zeroed at the end.
    pub fn new(memory: &'m mut [u8]) -> Self {
        Self { memory }
    }

    /// Lends up to `size` bytes to `use_it`, and the rest as a scratch for deeper layers. `None` if there is
    /// not that much left: the caller counts the layer as not decoded.
    pub fn with<R>(
        &mut self,
        size: usize,
        use_it: impl FnOnce(&mut [u8], &mut Scratch<'_>) -> R,
    ) -> Option<R> {
        let (mine, rest) = self.memory.split_at_mut_checked(size)?;
        let result = use_it(mine, &mut Scratch { memory: rest });
        mine.zeroize();
        Some(result)
    }
}

impl Drop for Scratch<'_> {
    fn drop(&mut self) {
        self.memory.zeroize();
    }
}
