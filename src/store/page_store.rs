//! [`RelationStore`] as walia-core's `PageStore`.

use std::ops::Range;

use pgrx::pg_sys;
#[cfg(debug_assertions)]
use walia_core::page::StopPoint;
use walia_core::page::store::lock_order::Held;
use walia_core::page::{FreeSpace, Pages, Phase, Prefetch, Session};
use walia_core::types::{Link, Result};

use super::buffer::LockedBuffer;
use super::pass::Pass;
use super::relation::{Activity, RelationRead, RelationStore};
#[cfg(debug_assertions)]
use super::stop;
use super::write::RelationWrite;
use super::{check_for_interrupts, processes, progress, recent};
use crate::memory;

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
            match self.activity {
                Activity::Query => LockedBuffer::shared_recent(self.index, block),
                // VACUUM's costs count lookups.
                Activity::Vacuum | Activity::Overview => {
                    LockedBuffer::shared(self.index, block, self.strategy)
                }
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
        self.ask_for(blocks.iter().copied());
    }

    fn announce_tuples(&self, tuples: &[Link]) {
        // SAFETY: the relation is open.
        recent::announce_tuples(unsafe { (*self.index).rd_id }, tuples);
        self.ask_for(tuples.chunk_by(|a, b| a.block == b.block).map(|here| here[0].block));
    }

    fn prefetch_tuples(&self, tuples: &[Link]) {
        // SAFETY: the relation is open.
        recent::prefetch_tuples(unsafe { (*self.index).rd_id }, tuples);
    }
}

impl RelationStore {
    /// Asks for blocks that will be read soon, unless they are known to be in shared buffers: to look for
    /// them there would be most of what it costs to find them.
    fn ask_for(&self, blocks: impl Iterator<Item = u32>) {
        let known = self.known_blocks.get();
        // SAFETY: the relation is open.
        let is_wanted = |block: &u32| *block < known && !unsafe { recent::is_there(self.index, *block) };
        self.prefetcher.prefetch(blocks.filter(is_wanted));
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
            // Searches of the map begin at its root, which only this tells of the page. VACUUM does it once,
            // at its end.
            if self.activity == Activity::Query {
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
        match self.activity {
            Activity::Query | Activity::Overview => check_for_interrupts(),
            Activity::Vacuum => {
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

    fn progress(&self, phase: Phase, done: u64, total: u64) {
        progress::show(phase, done, total);
    }

    fn link_pruned(&self) {
        self.pruned.set(self.pruned.get() + 1);
    }

    fn next_transaction(&self) -> u64 {
        // SAFETY: reads a shared counter.
        unsafe { pg_sys::ReadNextFullTransactionId().value }
    }

    fn is_older_than_all_snapshots(&self, transaction: u64) -> bool {
        let transaction = pg_sys::FullTransactionId { value: transaction };
        // SAFETY: the table is open; a null one asks for the snapshots of the whole cluster, which is safe
        // but late.
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
