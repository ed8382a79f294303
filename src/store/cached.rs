//! Which pages of a relation are in shared buffers, and keeping one there.

use std::sync::atomic::{AtomicU32, Ordering, fence};

use pgrx::pg_sys;
use walia_core::types::Result;

use super::check_for_interrupts;
use super::relation::RelationStore;

/// Buffers that are looked at between two moments at which a query can end.
const STEP: usize = 1 << 16;
/// Where the usage count begins in the state of a buffer, and its bits (`buf_internals.h`).
const USAGE_COUNT_SHIFT: u32 = 18;
const USAGE_COUNT_MASK: u32 = 0xf;

/// A page that is in shared buffers.
#[derive(Clone, Copy)]
pub struct CachedPage {
    /// Its block.
    pub block: u32,
    /// Whether it has changes that are not written.
    pub is_dirty: bool,
    /// How often it was used of late, as Postgres counts.
    pub usage_count: u8,
}

impl RelationStore {
    /// The pages that are in shared buffers now, in the order of their blocks; none of a temporary relation,
    /// which has its pages in the session's own memory.
    ///
    /// No lock is taken: who changes a buffer meanwhile may be seen before or after.
    pub fn cached_pages(&self) -> Result<Vec<CachedPage>> {
        let mut pages = Vec::new();
        for number in 0..buffers() {
            if number.is_multiple_of(STEP) {
                check_for_interrupts();
            }
            if let Some(page) = self.page_in(number) {
                pages.try_reserve(1)?;
                pages.push(page);
            }
        }
        pages.sort_unstable_by_key(|page| page.block);
        pages.dedup_by_key(|page| page.block);
        Ok(pages)
    }

    /// The page of this relation that a buffer holds.
    fn page_in(&self, number: usize) -> Option<CachedPage> {
        // SAFETY: there are as many descriptors as buffers, as long as the server runs, and the state of each
        // is an atomic.
        let (descriptor, state) = unsafe {
            let descriptor = &raw mut (*pg_sys::BufferDescriptors.add(number)).bufferdesc;
            (descriptor, AtomicU32::from_ptr(&raw mut (*descriptor).state.value))
        };
        let has_page = |state: u32| state & pg_sys::BM_VALID != 0 && state & pg_sys::BM_TAG_VALID != 0;
        let before = state.load(Ordering::Acquire);
        if !has_page(before) {
            return None;
        }
        // SAFETY: as above. Who gives the buffer to another page takes its validity away first.
        let tag = unsafe { (&raw const (*descriptor).tag).read_volatile() };
        fence(Ordering::Acquire);
        (has_page(state.load(Ordering::Relaxed)) && self.has(&tag)).then_some(CachedPage {
            block: tag.blockNum,
            is_dirty: before & pg_sys::BM_DIRTY != 0,
            usage_count: (before >> USAGE_COUNT_SHIFT & USAGE_COUNT_MASK) as u8,
        })
    }

    /// Whether a page is one of this relation's.
    fn has(&self, tag: &pg_sys::BufferTag) -> bool {
        // SAFETY: the relation is open.
        let relation = unsafe { &*self.index };
        #[cfg(any(feature = "pg14", feature = "pg15"))]
        let (tag_file, file) = (
            [tag.rnode.spcNode, tag.rnode.dbNode, tag.rnode.relNode],
            [relation.rd_node.spcNode, relation.rd_node.dbNode, relation.rd_node.relNode],
        );
        #[cfg(not(any(feature = "pg14", feature = "pg15")))]
        let (tag_file, file) = (
            [tag.spcOid, tag.dbOid, tag.relNumber],
            [relation.rd_locator.spcOid, relation.rd_locator.dbOid, relation.rd_locator.relNumber],
        );
        tag_file == file && tag.forkNum == pg_sys::ForkNumber::MAIN_FORKNUM
    }

    /// Uses a page as a query does, so that it stays in shared buffers as long as others that are used.
    pub fn keep(&self, block: u32) {
        // SAFETY: the relation is open, and has the block; no lock is taken.
        unsafe { pg_sys::ReleaseBuffer(pg_sys::ReadBuffer(self.index, block)) }
    }
}

/// Pages that shared buffers hold.
pub fn buffers() -> usize {
    // SAFETY: set when the server starts.
    unsafe { pg_sys::NBuffers as usize }
}
