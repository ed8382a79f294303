//! The memory that a build may take.

use super::advice::free;

/// The memory limit is reached, or the system has no more: the row was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// Counts bytes against a limit. Allocations that do not fit, or fail, are [`Full`] and change nothing.
pub(super) struct Budget {
    used: usize,
    limit: usize,
}

impl Budget {
    pub(super) fn new(limit: usize) -> Self {
        Self { used: 0, limit }
    }

    pub(super) fn left(&self) -> usize {
        self.limit.saturating_sub(self.used)
    }

    /// Whether `bytes` more would fit.
    pub(super) fn check(&self, bytes: usize) -> Result<(), Full> {
        if bytes <= self.left() { Ok(()) } else { Err(Full) }
    }

    /// Counts an allocation that has grown, or shrunk, by all the allocator takes for it.
    pub(super) fn resized(&mut self, before: usize, after: usize) {
        self.used = self.used + allocated(after) - allocated(before);
    }

    /// Gives the memory of items back.
    pub(super) fn release<T>(&mut self, items: Vec<T>) {
        self.resized(items.capacity() * size_of::<T>(), 0);
        free(items);
    }

    /// Makes room for `additional` items: exactly so many in an empty vector, else at least twice the
    /// capacity.
    pub(super) fn reserve<T>(&mut self, items: &mut Vec<T>, additional: usize) -> Result<(), Full> {
        let before = items.capacity();
        if before - items.len() >= additional {
            return Ok(());
        }
        let capacity = (items.len() + additional).max(2 * before);
        // While the items move, the old allocation is still there.
        self.check(allocated(capacity.saturating_mul(size_of::<T>())))?;
        items.try_reserve_exact(capacity - items.len()).map_err(|_| Full)?;
        self.resized(before * size_of::<T>(), items.capacity() * size_of::<T>());
        Ok(())
    }
}

/// What an allocation of so many bytes takes: malloc keeps 8 bytes beside each, in multiples of 16, and gives
/// the large ones whole pages.
pub(super) fn allocated(bytes: usize) -> usize {
    const LARGE: usize = 128 << 10;
    match bytes {
        0 => 0,
        _ => (bytes.saturating_add(8))
            .checked_next_multiple_of(if bytes < LARGE { 16 } else { 4096 })
            .unwrap_or(usize::MAX),
    }
}
