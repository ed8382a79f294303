//! The pages of one open index, as walia-core's operations share them.

use std::cell::Cell;
use std::ops::Deref;

use pgrx::pg_sys;
use walia_core::counters::Key;
use walia_core::page::store::lock_order::{Access, Held};
use walia_core::page::{Page, Pages};
use walia_core::types::{Error, Result};

use super::buffer::LockedBuffer;
use super::error::relation_name;
use super::prefetch::{PrefetchStats, Prefetcher};

/// What the store is used for; it decides where to sleep.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Activity {
    Query,
    Vacuum,
    /// To look at all pages, once.
    Overview,
}

/// The pages of one open index.
///
/// Not `Sync`: only the backend's own thread may use it.
#[derive(Clone)]
pub struct RelationStore {
    pub(super) index: pg_sys::Relation,
    /// The indexed table, or null: its snapshots decide what may be reused.
    pub(super) heap: pg_sys::Relation,
    pub(super) strategy: pg_sys::BufferAccessStrategy,
    pub(super) activity: Activity,
    /// Blocks that the index is known to have; it never shrinks while it is open.
    pub(super) known_blocks: Cell<u32>,
    pub(super) prefetcher: Prefetcher,
    /// Pages that were looked at.
    reads: Cell<u64>,
    /// Those of them that were in no buffer.
    misses: Cell<u64>,
    /// Links that gave way to those of new nodes.
    pub(super) pruned: Cell<u64>,
    /// By which a scan reads, or null.
    #[cfg(any(feature = "pg14", feature = "pg15", feature = "pg16"))]
    snapshot: Cell<pg_sys::Snapshot>,
}

impl RelationStore {
    /// The store of an index that is read or inserted into.
    ///
    /// # Safety
    /// `index` is an open walia_hnsw index, and `heap` its open table or null, as long as the store or a
    /// clone lives.
    pub unsafe fn new(index: pg_sys::Relation, heap: pg_sys::Relation) -> Self {
        Self {
            index,
            heap,
            strategy: std::ptr::null_mut(),
            activity: Activity::Query,
            known_blocks: Cell::new(0),
            // SAFETY: by the caller's promise.
            prefetcher: unsafe { Prefetcher::new(index) },
            reads: Cell::new(0),
            misses: Cell::new(0),
            pruned: Cell::new(0),
            #[cfg(any(feature = "pg14", feature = "pg15", feature = "pg16"))]
            snapshot: Cell::new(std::ptr::null_mut()),
        }
    }

    /// The store of an index that is scanned.
    ///
    /// Up to Postgres 16, `old_snapshot_threshold` lets VACUUM remove what an old snapshot still sees. Such a
    /// scan must fail where a page has been changed since: it may lack rows.
    ///
    /// # Safety
    /// The scan has not ended as long as the store or a clone lives, or [`RelationStore::forget_snapshot`]
    /// has been called.
    pub unsafe fn for_scan(scan: &pg_sys::IndexScanDescData) -> Self {
        // SAFETY: by the caller's promise.
        let store = unsafe { Self::new(scan.indexRelation, scan.heapRelation) };
        #[cfg(any(feature = "pg14", feature = "pg15", feature = "pg16"))]
        store.snapshot.set(scan.xs_snapshot);
        store
    }

    /// Called when a scan has given its answer: what it still reads, it reads for others.
    pub fn forget_snapshot(&self) {
        #[cfg(any(feature = "pg14", feature = "pg15", feature = "pg16"))]
        self.snapshot.set(std::ptr::null_mut());
    }

    /// The store of an index that is mended on demand: as for VACUUM.
    ///
    /// # Safety
    /// As [`RelationStore::new`].
    pub unsafe fn for_maintenance(index: pg_sys::Relation, heap: pg_sys::Relation) -> Self {
        // SAFETY: by the caller's promise; the strategy lives in the current memory context, as long as the
        // statement.
        let (store, strategy) = unsafe {
            (Self::new(index, heap), pg_sys::GetAccessStrategy(pg_sys::BufferAccessStrategyType::BAS_VACUUM))
        };
        Self { strategy, activity: Activity::Vacuum, ..store }
    }

    /// The store of an index or a table all of whose pages are looked at once: they do not take the place of
    /// what others need.
    ///
    /// # Safety
    /// As [`RelationStore::new`].
    pub unsafe fn for_overview(relation: pg_sys::Relation) -> Self {
        // SAFETY: by the caller's promise; the strategy lives in the current memory context, as long as the
        // statement.
        let (store, strategy) = unsafe {
            let strategy = pg_sys::GetAccessStrategy(pg_sys::BufferAccessStrategyType::BAS_BULKREAD);
            (Self::new(relation, std::ptr::null_mut()), strategy)
        };
        Self { strategy, activity: Activity::Overview, ..store }
    }

    /// The store of an index that is vacuumed: it reads by VACUUM's buffer ring, and sleeps as VACUUM should.
    ///
    /// # Safety
    /// `info` is what Postgres gave to the access method's callback, which the store does not outlive.
    pub unsafe fn for_vacuum(info: *const pg_sys::IndexVacuumInfo) -> Self {
        // SAFETY: by the caller's promise.
        let info = unsafe { &*info };
        #[cfg(any(feature = "pg14", feature = "pg15"))]
        let heap = std::ptr::null_mut();
        #[cfg(not(any(feature = "pg14", feature = "pg15")))]
        let heap = info.heaprel;
        // SAFETY: both relations are open during the callback.
        let store = unsafe { Self::new(info.index, heap) };
        Self { strategy: info.strategy, activity: Activity::Vacuum, ..store }
    }

    /// Its name, for messages.
    pub fn quoted_name(&self) -> String {
        // SAFETY: the relation is open.
        format!("\"{}\"", unsafe { relation_name(self.index) })
    }

    /// Pages that were looked at.
    pub fn reads(&self) -> u64 {
        self.reads.get()
    }

    /// Pages that were looked at, and had to be read.
    pub fn misses(&self) -> u64 {
        self.misses.get()
    }

    /// Links that gave way to those of new nodes.
    pub fn pruned(&self) -> u64 {
        self.pruned.get()
    }

    /// What tells the index, as long as it is not rewritten, from all others of the cluster.
    pub fn key(&self) -> Key {
        // SAFETY: the relation is open.
        unsafe { key_of(self.index) }
    }

    /// What came of read-ahead.
    pub fn prefetch_stats(&self) -> PrefetchStats {
        self.prefetcher.stats()
    }

    /// Distinguishes stores in [`Held`].
    pub(super) fn identity(&self) -> usize {
        // SAFETY: the relation is open.
        unsafe { (*self.index).rd_id }.to_u32() as usize
    }

    /// Counts the read of a block that `lock` locks, and notes the lock.
    pub(super) fn count_locked(&self, block: u32, lock: impl FnOnce() -> LockedBuffer) -> RelationRead {
        self.reads.set(self.reads.get() + 1);
        let _held = Held::new(self.identity(), block, Access::Share);
        let buffer = self.count_misses(lock);
        // SAFETY: the setting never changes while the server runs; the snapshot, where there is one, is that
        // of a scan that goes on, and the page is locked. An ERROR unwinds through the guard, which then does
        // nothing.
        #[cfg(any(feature = "pg14", feature = "pg15", feature = "pg16"))]
        unsafe {
            if pg_sys::old_snapshot_threshold >= 0 && !self.snapshot.get().is_null() {
                let page = pg_sys::BufferGetPage(buffer.as_raw());
                pg_sys::TestForOldSnapshot(self.snapshot.get(), self.index, page);
            }
        }
        RelationRead { buffer, _held }
    }

    /// Counts the pages that are read from outside of the buffers meanwhile.
    pub(super) fn count_misses<R>(&self, reading: impl FnOnce() -> R) -> R {
        // SAFETY: counters of this backend.
        let read =
            || unsafe { pg_sys::pgBufferUsage.shared_blks_read + pg_sys::pgBufferUsage.local_blks_read };
        let before = read();
        let done = reading();
        self.misses.set(self.misses.get() + (read() - before) as u64);
        done
    }

    /// An error for a block past the end of the index: a link to it is damaged.
    pub(super) fn check_block(&self, block: u32) -> Result<()> {
        if block < self.known_blocks.get() || block < self.block_count()? {
            return Ok(());
        }
        Err(Error::Corrupt { block, slot: 0, what: "link to a block past the end" })
    }
}

/// What tells an index, as long as it is not rewritten, from all others of the cluster.
///
/// # Safety
/// `relation` is open.
pub unsafe fn key_of(relation: pg_sys::Relation) -> Key {
    // SAFETY: by the caller's promise.
    let relation = unsafe { &*relation };
    #[cfg(any(feature = "pg14", feature = "pg15"))]
    let file = (relation.rd_node.dbNode, relation.rd_node.spcNode, relation.rd_node.relNode.to_u32());
    #[cfg(not(any(feature = "pg14", feature = "pg15")))]
    let file =
        (relation.rd_locator.dbOid, relation.rd_locator.spcOid, relation.rd_locator.relNumber.to_u32());
    let (database, tablespace, number) = file;
    let owner = relation.rd_backend as u32;
    Key([database.to_u32(), tablespace.to_u32(), number, relation.rd_id.to_u32(), owner])
}

/// A page under a share lock.
pub struct RelationRead {
    buffer: LockedBuffer,
    _held: Held,
}

impl Deref for RelationRead {
    type Target = Page;

    fn deref(&self) -> &Page {
        self.buffer.page()
    }
}
