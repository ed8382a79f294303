//! Read-ahead, as long as pages have to be read at all.
//!
//! Imports `guc`.

use std::cell::Cell;

use pgrx::pg_sys;

use crate::guc;

/// Asks for pages before they are read.
///
/// Asking for a page that is cached costs as much as finding it does. So read-ahead pauses as soon as nothing that it asked
/// for had to be read, and goes on when this backend has had to read a page again.
#[derive(Clone)]
pub struct Prefetcher {
    depth: usize,
    /// Pages that this backend had read when everything asked for was found to be cached.
    paused_at: Cell<Option<i64>>,
}

impl Prefetcher {
    /// As `walia.prefetch_depth` says now.
    pub fn new() -> Self {
        Self { depth: guc::prefetch_depth(), paused_at: Cell::new(None) }
    }

    /// Says that some blocks will soon be read.
    ///
    /// # Safety
    /// `index` is open, and has these blocks.
    pub unsafe fn prefetch(&self, index: pg_sys::Relation, blocks: impl Iterator<Item = u32>) {
        // SAFETY: counters of this backend.
        let read = unsafe { pg_sys::pgBufferUsage.shared_blks_read + pg_sys::pgBufferUsage.local_blks_read };
        if self.depth == 0 || self.paused_at.get() == Some(read) {
            return;
        }
        let mut cached = true;
        for block in blocks.take(self.depth) {
            // SAFETY: by the caller's promise.
            let asked = unsafe { pg_sys::PrefetchBuffer(index, pg_sys::ForkNumber::MAIN_FORKNUM, block) };
            cached &= !asked.initiated_io;
        }
        self.paused_at.set(cached.then_some(read));
    }
}
