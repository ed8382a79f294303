//! An index's pages in Postgres: shared buffers, content locks, generic WAL, the free space map.
//!
//! [`RelationStore`] implements walia-core's `PageStore`; [`bulk`] writes the pages of a build. Content locks and pins
//! are held by Rust values that give them back, except while an ERROR unwinds. Imports `error`, `memory`, `guc` and walia-core.

pub mod buffer;
pub mod bulk;
pub mod error;
mod pass;
pub mod prefetch;
mod processes;
mod quantizers;
mod recent;
#[cfg(debug_assertions)]
mod stop;
mod write;

use std::cell::Cell;
use std::ops::{Deref, Range};

use pgrx::pg_sys;
#[cfg(debug_assertions)]
use walia_core::page::StopPoint;
use walia_core::page::store::lock_order::{Access, Held};
use walia_core::page::{FreeSpace, Index, Meta, Page, Pages, Prefetch, Session};
use walia_core::types::{Error, HeapTid, Link, PAGE_SIZE, Result};

use crate::memory;
use buffer::LockedBuffer;
use pass::Pass;
use prefetch::{PrefetchStats, Prefetcher};
use write::RelationWrite;

const _: () = assert!(pg_sys::BLCKSZ as usize == PAGE_SIZE, "walia's pages have 8 KiB");

/// Called when the library is loaded. libc takes memory when a thread first uses a variable of its own that is to be dropped, and ends
/// the process where there is none: this is done beforehand.
pub fn define() {
    Held::assert_none(0);
    recent::define();
}

/// Opens an index.
pub fn open(store: RelationStore) -> Result<Index<RelationStore>> {
    Index::open(store, &quantizers::OfProcess)
}

/// Opens an index to be scanned, from its meta page.
pub fn open_with_meta(store: RelationStore) -> Result<(Index<RelationStore>, Meta)> {
    let meta = Meta::read(&store)?;
    Ok((Index::with_meta(store, &meta, &quantizers::OfProcess)?, meta))
}

/// Who uses the store; it decides where to sleep.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Query,
    Vacuum,
}

/// The pages of one open index.
///
/// Not `Sync`: only the backend's own thread may use it.
#[derive(Clone)]
pub struct RelationStore {
    index: pg_sys::Relation,
    /// The indexed table, or null: its snapshots decide what may be reused.
    heap: pg_sys::Relation,
    strategy: pg_sys::BufferAccessStrategy,
    purpose: Purpose,
    /// Blocks that the index is known to have; it never shrinks while it is open.
    known_blocks: Cell<u32>,
    prefetcher: Prefetcher,
    /// Pages that were looked at.
    reads: Cell<u64>,
    /// By which a scan reads, or null.
    #[cfg(any(feature = "pg14", feature = "pg15", feature = "pg16"))]
    snapshot: Cell<pg_sys::Snapshot>,
}

impl RelationStore {
    /// The store of an index that is read or inserted into.
    ///
    /// # Safety
    /// `index` is an open walia_hnsw index, and `heap` its open table or null, as long as the store or a clone lives.
    pub unsafe fn new(index: pg_sys::Relation, heap: pg_sys::Relation) -> Self {
        Self {
            index,
            heap,
            strategy: std::ptr::null_mut(),
            purpose: Purpose::Query,
            known_blocks: Cell::new(0),
            // SAFETY: by the caller's promise.
            prefetcher: unsafe { Prefetcher::new(index) },
            reads: Cell::new(0),
            #[cfg(any(feature = "pg14", feature = "pg15", feature = "pg16"))]
            snapshot: Cell::new(std::ptr::null_mut()),
        }
    }

    /// The store of an index that is scanned.
    ///
    /// Up to Postgres 16, `old_snapshot_threshold` lets VACUUM remove what an old snapshot still sees. Such a scan must fail where a
    /// page has been changed since: it may lack rows.
    ///
    /// # Safety
    /// The scan has not ended as long as the store or a clone lives, or [`RelationStore::forget_snapshot`] has been called.
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
        // SAFETY: by the caller's promise; the strategy lives in the current memory context, as long as the statement.
        let (store, strategy) = unsafe {
            (Self::new(index, heap), pg_sys::GetAccessStrategy(pg_sys::BufferAccessStrategyType::BAS_VACUUM))
        };
        Self { strategy, purpose: Purpose::Vacuum, ..store }
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
        Self { strategy: info.strategy, purpose: Purpose::Vacuum, ..store }
    }

    /// Pages that were looked at.
    pub fn reads(&self) -> u64 {
        self.reads.get()
    }

    /// What came of read-ahead.
    pub fn prefetch_stats(&self) -> PrefetchStats {
        self.prefetcher.stats()
    }

    /// Distinguishes stores in [`Held`].
    fn identity(&self) -> usize {
        // SAFETY: the relation is open.
        unsafe { (*self.index).rd_id }.to_u32() as usize
    }

    /// Counts the read of a block that `lock` locks, and notes the lock.
    fn count_locked(&self, block: u32, lock: impl FnOnce() -> LockedBuffer) -> RelationRead {
        self.reads.set(self.reads.get() + 1);
        let _held = Held::new(self.identity(), block, Access::Share);
        let buffer = lock();
        // SAFETY: the setting never changes while the server runs; the snapshot, where there is one, is that of a scan that goes
        // on, and the page is locked. An ERROR unwinds through the guard, which then does nothing.
        #[cfg(any(feature = "pg14", feature = "pg15", feature = "pg16"))]
        unsafe {
            if pg_sys::old_snapshot_threshold >= 0 && !self.snapshot.get().is_null() {
                let page = pg_sys::BufferGetPage(buffer.as_raw());
                pg_sys::TestForOldSnapshot(self.snapshot.get(), self.index, page);
            }
        }
        RelationRead { buffer, _held }
    }

    /// An error for a block past the end of the index: a link to it is damaged.
    fn check_block(&self, block: u32) -> Result<()> {
        if block < self.known_blocks.get() || block < self.block_count()? {
            return Ok(());
        }
        Err(Error::Corrupt { block, slot: 0, what: "link to a block past the end" })
    }
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

impl Pages for RelationStore {
    type Read<'a> = RelationRead;
    type Write<'a> = RelationWrite<'a>;

    fn block_count(&self) -> Result<u32> {
        // SAFETY: the relation is open.
        let blocks =
            unsafe { pg_sys::RelationGetNumberOfBlocksInFork(self.index, pg_sys::ForkNumber::MAIN_FORKNUM) };
        self.known_blocks.set(blocks);
        Ok(blocks)
    }

    fn read(&self, block: u32) -> Result<Self::Read<'_>> {
        self.check_block(block)?;
        self.prefetcher.count_read(block);
        // SAFETY: the relation is open and the strategy alive.
        Ok(self.count_locked(block, || unsafe {
            match self.purpose {
                Purpose::Query => LockedBuffer::shared_recent(self.index, block),
                // VACUUM's costs count lookups.
                Purpose::Vacuum => LockedBuffer::shared(self.index, block, self.strategy),
            }
        }))
    }

    fn pages(&self, blocks: Range<u32>) -> impl Iterator<Item = (u32, Result<Self::Read<'_>>)> {
        Pass::new(self, blocks)
    }

    fn begin(&self) -> Self::Write<'_> {
        RelationWrite::new(self)
    }
}

impl Prefetch for RelationStore {
    fn prefetch(&self, blocks: &[u32]) {
        let known = self.known_blocks.get();
        self.prefetcher.prefetch(blocks.iter().copied().filter(|block| *block < known));
    }

    fn announce_tuples(&self, tuples: &[Link]) {
        let known = self.known_blocks.get();
        self.prefetcher.prefetch(tuples.iter().map(|tuple| tuple.block).filter(|block| *block < known));
        // SAFETY: the relation is open.
        recent::announce_tuples(unsafe { (*self.index).rd_id }, tuples);
    }

    fn prefetch_tuples(&self, tuples: &[Link]) {
        // SAFETY: the relation is open.
        recent::prefetch_tuples(unsafe { (*self.index).rd_id }, tuples);
    }
}

impl FreeSpace for RelationStore {
    fn page_with_free_space(&self, bytes: usize) -> Option<u32> {
        // SAFETY: the relation is open.
        let block = unsafe { pg_sys::GetPageWithFreeSpace(self.index, bytes) };
        (block != pg_sys::InvalidBlockNumber).then_some(block)
    }

    fn record_free_space(&self, block: u32, bytes: usize) {
        // SAFETY: the relation is open.
        unsafe {
            pg_sys::RecordPageWithFreeSpace(self.index, block, bytes);
            // Searches of the map begin at its root, which only this tells of the page. VACUUM does it once, at its end.
            if self.purpose == Purpose::Query {
                pg_sys::FreeSpaceMapVacuumRange(self.index, block, block + 1);
            }
        }
    }

    fn lower_free_space(&self, block: u32, bytes: usize) {
        // The root of the map may promise too much: the next search puts that right.
        // SAFETY: the relation is open.
        unsafe { pg_sys::RecordPageWithFreeSpace(self.index, block, bytes) }
    }

    fn target_page(&self) -> Option<u32> {
        // SAFETY: the relation is open, and Postgres opens its file if need be.
        let block = unsafe { (*pg_sys::RelationGetSmgr(self.index)).smgr_targblock };
        (block != pg_sys::InvalidBlockNumber).then_some(block)
    }

    fn set_target_page(&self, block: Option<u32>) {
        // SAFETY: as above.
        unsafe {
            let file = pg_sys::RelationGetSmgr(self.index);
            (*file).smgr_targblock = block.unwrap_or(pg_sys::InvalidBlockNumber);
        }
    }
}

impl Session for RelationStore {
    fn interrupt_point(&self) {
        Held::assert_none(self.identity());
        match self.purpose {
            Purpose::Query => check_for_interrupts(),
            Purpose::Vacuum => {
                // SAFETY: no content lock is held here, as the trait demands.
                #[cfg(not(feature = "pg18"))]
                unsafe {
                    pg_sys::vacuum_delay_point()
                };
                // SAFETY: as above.
                #[cfg(feature = "pg18")]
                unsafe {
                    pg_sys::vacuum_delay_point(false)
                };
                memory::check();
            }
        }
    }

    #[cfg(debug_assertions)]
    fn stop_point(&self, point: StopPoint) {
        Held::assert_none(self.identity());
        stop::at(point);
    }

    fn next_transaction(&self) -> u64 {
        // SAFETY: reads a shared counter.
        unsafe { pg_sys::ReadNextFullTransactionId().value }
    }

    fn is_older_than_all_snapshots(&self, transaction: u64) -> bool {
        let transaction = pg_sys::FullTransactionId { value: transaction };
        // SAFETY: the table is open; a null one asks for the snapshots of the whole cluster, which is safe but late.
        unsafe { pg_sys::GlobalVisCheckRemovableFullXid(self.heap, transaction) }
    }

    fn is_alone(&self) -> bool {
        Held::assert_none(self.identity());
        processes::is_alone()
    }

    fn affinity(&self) -> usize {
        // SAFETY: set once, when the backend starts.
        unsafe { pg_sys::MyProcPid as usize }
    }
}

/// Lets a query end here that is cancelled, or short of memory.
pub fn check_for_interrupts() {
    pgrx::check_for_interrupts!();
    memory::check();
}

/// The constant InvalidSubTransactionId of `c.h`.
const INVALID_SUBTRANSACTION: pg_sys::SubTransactionId = 0;

/// Whether changes of a relation are WAL-logged: Postgres's macro RelationNeedsWAL.
///
/// # Safety
/// `relation` is open.
pub unsafe fn needs_wal(relation: pg_sys::Relation) -> bool {
    // SAFETY: by the caller's promise.
    let relation = unsafe { &*relation };
    // SAFETY: rd_rel is set in every open relation; wal_level is set at start.
    let (permanent, archived) = unsafe {
        (
            (*relation.rd_rel).relpersistence == pg_sys::RELPERSISTENCE_PERMANENT as std::ffi::c_char,
            pg_sys::wal_level >= pg_sys::WalLevel::WAL_LEVEL_REPLICA as i32,
        )
    };
    #[cfg(any(feature = "pg14", feature = "pg15"))]
    let rewritten = relation.rd_firstRelfilenodeSubid;
    #[cfg(not(any(feature = "pg14", feature = "pg15")))]
    let rewritten = relation.rd_firstRelfilelocatorSubid;
    let old = |subtransaction| subtransaction == INVALID_SUBTRANSACTION;
    permanent && (archived || (old(relation.rd_createSubid) && old(rewritten)))
}

/// The heap TID that Postgres means by an item pointer.
pub fn heap_tid(item: &pg_sys::ItemPointerData) -> HeapTid {
    let block = u32::from(item.ip_blkid.bi_hi) << 16 | u32::from(item.ip_blkid.bi_lo);
    HeapTid::new(block, item.ip_posid)
}

/// The item pointer for a heap TID.
pub fn item_pointer(tid: HeapTid) -> pg_sys::ItemPointerData {
    let block = tid.block();
    pg_sys::ItemPointerData {
        ip_blkid: pg_sys::BlockIdData { bi_hi: (block >> 16) as u16, bi_lo: block as u16 },
        ip_posid: tid.offset(),
    }
}
