//! The table as core sees it: rows, and their distances as SQL computes them.

use pgrx::pg_sys;
use walia_core::rank::RankedTable;
use walia_core::types::HeapTid;

use crate::plan::rows::{Row, ScanRows};
use crate::store::prefetch::{PrefetchStats, Prefetcher};

/// Dead rows that are met before the index is told of them.
const MANY_DEAD: usize = 64;

/// The rows of a table.
pub struct Rows {
    rows: ScanRows,
    prefetcher: Option<Prefetcher>,
    /// Bytes of the shortest row that has passed.
    shortest: Option<usize>,
    /// Rows that nobody sees any more, as far as there is memory to remember them, as they were met.
    dead: Vec<HeapTid>,
}

impl Rows {
    /// The rows of a scan.
    ///
    /// # Safety
    /// The state is initialized and its scan has begun, as long as rows are read; its plan has the distance
    /// as the order of its rows.
    pub unsafe fn new(state: *mut pg_sys::IndexScanState) -> Self {
        // SAFETY: by the caller's promise.
        unsafe {
            let table = (*state).ss.ss_currentRelation;
            // What a TID's block means is the access method's affair.
            let is_heap = (*(*table).rd_rel).relam == pg_sys::HEAP_TABLE_AM_OID;
            let prefetcher = is_heap.then(|| Prefetcher::new(table));
            Self { rows: ScanRows::new(state), prefetcher, shortest: None, dead: Vec::new() }
        }
    }

    /// What came of read-ahead.
    pub fn prefetch_stats(&self) -> PrefetchStats {
        self.prefetcher.as_ref().map(Prefetcher::stats).unwrap_or_default()
    }

    /// See [`ScanRows::release`].
    pub fn release(&mut self) {
        self.rows.release();
    }

    /// Rows that were tested and that nobody sees any more, once there are many: to be told to the index, and
    /// forgotten. Sorted.
    pub fn take_many_dead(&mut self) -> Option<Vec<HeapTid>> {
        (self.dead.len() >= MANY_DEAD).then(|| {
            self.dead.sort_unstable();
            std::mem::take(&mut self.dead)
        })
    }

    /// How many rows such as those that have passed a page has room for; `None` where none has, or pages are
    /// not those of a heap.
    pub fn rows_of_page(&self) -> Option<usize> {
        self.prefetcher.as_ref()?;
        Some(pg_sys::BLCKSZ as usize / self.shortest?)
    }

    /// See [`ScanRows::give`].
    pub fn give(&mut self, row: Row) -> *mut pg_sys::TupleTableSlot {
        self.rows.give(row)
    }
}

impl RankedTable for Rows {
    type Row = Row;

    fn prefetch(&mut self, heap_tids: &[HeapTid]) {
        if let Some(prefetcher) = &self.prefetcher {
            prefetcher.prefetch_rows(heap_tids);
        }
    }

    fn test(&mut self, heap_tid: HeapTid) -> Option<(Option<f64>, Row)> {
        if let Some(prefetcher) = &self.prefetcher {
            prefetcher.count_read(heap_tid.block());
        }
        let row = self.rows.test(heap_tid, |state| {
            let mut is_null = false;
            // SAFETY: by the promise of `new`; the row is in the scan's expression context.
            let distance = unsafe {
                let distance = *(*state.indexorderbyorig).elements;
                let expressions = state.ss.ps.ps_ExprContext;
                pg_sys::ExecEvalExprSwitchContext(distance.ptr_value.cast(), expressions, &mut is_null)
            };
            (!is_null).then(|| f64::from_bits(distance.value() as u64))
        });
        if self.rows.is_dead() && self.dead.try_reserve(1).is_ok() {
            self.dead.push(heap_tid);
        }
        if let Some((_, row)) = &row {
            self.shortest = Some(self.shortest.map_or(row.length(), |shortest| shortest.min(row.length())));
        }
        row
    }

    fn size(row: &Row) -> usize {
        row.size()
    }
}
