//! Read-ahead, as long as pages have to be read at all.

use std::cell::{Cell, RefCell};
use std::collections::{HashSet, VecDeque};

use pgrx::pg_sys;
use walia_core::kernel::prefetch_range;
use walia_core::types::HeapTid;

use crate::guc;

/// What searches ask for ahead at least, where the tablespace decides: effective_io_concurrency was 1 by
/// default up to 17.
const LEAST_DEPTH: usize = 16;

/// How often all that was asked for is found to be cached before read-ahead pauses. Neighbours share pages,
/// so that this may be so of a step of a search, and not of the next.
const PATIENCE: u32 = 4;

/// Bytes of a line pointer.
const POINTER: usize = size_of::<pg_sys::ItemIdData>();

/// Asks for pages of one relation before they are read.
///
/// Asking for a page that is cached costs as much as finding it does. So read-ahead of pages pauses where
/// nothing that it asked for had to be read, a few times, and goes on when this backend has had to read a
/// page again. That of rows does not: it gains where pages are cached, too.
#[derive(Clone)]
pub struct Prefetcher {
    relation: pg_sys::Relation,
    depth: usize,
    /// Pages that this backend had read when everything asked for was found to be cached, and how often it
    /// has been since.
    in_vain: Cell<(i64, u32)>,
    /// Pages whose reading was begun, and that nobody has asked for since.
    begun: RefCell<HashSet<u32>>,
    /// Those that will be read after so many as are asked for at a time: each is asked for when one of these
    /// has been read.
    waiting: RefCell<VecDeque<u32>>,
    stats: Cell<PrefetchStats>,
}

/// What came of read-ahead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PrefetchStats {
    /// Pages whose reading was begun ahead.
    pub begun: u64,
    /// Those of them that were read afterwards.
    pub used: u64,
}

/// What came of asking for a block.
struct Asked {
    /// The shared buffer where it seems to be, or none.
    buffer: pg_sys::Buffer,
    /// Whether reading it has been begun.
    is_begun: bool,
}

impl Prefetcher {
    /// As `walia.prefetch_depth` says now.
    ///
    /// # Safety
    /// `relation` is open as long as the prefetcher or a clone is used.
    pub unsafe fn new(relation: pg_sys::Relation) -> Self {
        let depth = guc::prefetch_depth().unwrap_or_else(|| {
            // SAFETY: by the caller's promise; every open relation has its row of pg_class.
            let tablespace =
                unsafe { pg_sys::get_tablespace_io_concurrency((*(*relation).rd_rel).reltablespace) };
            usize::try_from(tablespace).map_or(LEAST_DEPTH, |depth| depth.max(LEAST_DEPTH))
        });
        Self {
            relation,
            depth,
            in_vain: Cell::default(),
            begun: RefCell::default(),
            waiting: RefCell::default(),
            stats: Cell::default(),
        }
    }

    /// Whether anything is read ahead.
    #[cfg(not(any(feature = "pg14", feature = "pg15", feature = "pg16")))]
    pub fn is_on(&self) -> bool {
        self.depth > 0
    }

    /// How many pages are asked for at a time; 0 where none are.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// Says that some blocks, which the relation has, will soon be read, in about this order, and no longer
    /// those of which it was said before.
    pub fn prefetch(&self, mut blocks: impl Iterator<Item = u32>) {
        // SAFETY: counters of this backend.
        let read = unsafe { pg_sys::pgBufferUsage.shared_blks_read + pg_sys::pgBufferUsage.local_blks_read };
        let (read_before, times) = self.in_vain.get();
        let times = if read == read_before { times } else { 0 };
        if self.depth == 0 || times == PATIENCE {
            return;
        }
        let new = blocks.by_ref().filter(|block| self.ask(*block).is_begun).take(self.depth).count();
        self.in_vain.set((read, if new == 0 { times + 1 } else { 0 }));
        self.let_wait(blocks);
    }

    /// Blocks that are asked for as those before them are read.
    fn let_wait(&self, blocks: impl Iterator<Item = u32>) {
        let mut waiting = self.waiting.borrow_mut();
        waiting.clear();
        for block in blocks {
            if waiting.try_reserve(1).is_err() {
                break;
            }
            waiting.push_back(block);
        }
    }

    /// Says that some rows of a heap will soon be read, in about this order, and no longer those of which it
    /// was said before. What is cached is asked of the memory, for all at once: where rows lie anywhere in
    /// the table, to read one is mostly to wait for its page's first bytes.
    pub fn prefetch_rows(&self, heap_tids: &[HeapTid]) {
        if self.depth == 0 {
            return;
        }
        let (mut begun, mut last, mut places) = (0, (u32::MAX, 0), Vec::new());
        let mut rows = heap_tids.iter();
        while begun < self.depth
            && let Some(tid) = rows.next()
        {
            if last.0 != tid.block() {
                let Asked { buffer, is_begun } = self.ask(tid.block());
                begun += usize::from(is_begun);
                last = (tid.block(), buffer);
            }
            let buffer = last.1;
            if buffer > 0 && places.len() < self.depth {
                // SAFETY: the buffer is one of those that all sessions share. Nothing is read of it.
                let page = unsafe { pg_sys::BufferGetPage(buffer) }.cast::<u8>();
                let first = std::mem::offset_of!(pg_sys::PageHeaderData, pd_linp);
                let place = first + POINTER * usize::from(tid.offset().max(1) - 1);
                let place = page.wrapping_add(place.min(pg_sys::BLCKSZ as usize - POINTER));
                prefetch_range(page, 1);
                prefetch_range(place, 1);
                places.push((page, place));
            }
        }
        self.let_wait(rows.map(|tid| tid.block()));
        for (page, place) in places {
            // SAFETY: shared buffers are there as long as the process, and a line pointer lies in its page.
            // Nobody has pinned it: what is read may be of another page by now, and is only a hint.
            let pointer = unsafe { place.cast::<u32>().read_volatile() };
            let [offset, length] = [pointer & 0x7fff, pointer >> 17].map(|part| part as usize);
            prefetch_range(page.wrapping_add(offset), length.min(pg_sys::BLCKSZ as usize));
        }
    }

    /// Asks for a block, unless it is being read.
    fn ask(&self, block: u32) -> Asked {
        let mut begun = self.begun.borrow_mut();
        if begun.contains(&block) {
            return Asked { buffer: 0, is_begun: false };
        }
        // SAFETY: the relation is open, by the promise of `new`.
        let asked = unsafe { pg_sys::PrefetchBuffer(self.relation, pg_sys::ForkNumber::MAIN_FORKNUM, block) };
        let is_begun = asked.initiated_io && begun.try_reserve(1).is_ok() && begun.insert(block);
        if is_begun {
            let stats = self.stats.get();
            self.stats.set(PrefetchStats { begun: stats.begun + 1, ..stats });
        }
        Asked { buffer: asked.recent_buffer, is_begun }
    }

    /// Called for a block that is read.
    pub fn count_read(&self, block: u32) {
        let was_begun = {
            let mut begun = self.begun.borrow_mut();
            !begun.is_empty() && begun.remove(&block)
        };
        if was_begun {
            let stats = self.stats.get();
            self.stats.set(PrefetchStats { used: stats.used + 1, ..stats });
            let next = || self.waiting.borrow_mut().pop_front();
            _ = std::iter::from_fn(next).find(|block| self.ask(*block).is_begun);
        }
    }

    /// What came of it so far.
    pub fn stats(&self) -> PrefetchStats {
        self.stats.get()
    }
}
