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
}

impl Rows {
    /// The rows of a scan.
    ///
    /// # Safety
    /// The state is initialized and its scan has begun, as long as rows are read; its plan has the distance as the order
    /// of its rows.
    pub unsafe fn new(state: *mut pg_sys::IndexScanState) -> Self {
        // SAFETY: by the caller's promise.
        unsafe {
            let table = (*state).ss.ss_currentRelation;
            // What a TID's block means is the access method's affair.
            let is_heap = (*(*table).rd_rel).relam == pg_sys::HEAP_TABLE_AM_OID;
            Self { rows: ScanRows::new(state), prefetcher: is_heap.then(|| Prefetcher::new(table)) }
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

    /// Marks the entries of dead rows once many of those were met, as Postgres's own scan would have done on its way: rows
    /// that are updated again and again leave an entry each time, which only a vacuum would remove. It takes no longer
    /// than reading the list did, also where entries cannot be marked, as rows share them.
    pub fn mark_dead_if_many(&mut self) {
        if self.rows.dead() >= MANY_DEAD {
            self.rows.mark_dead();
        }
    }

    /// See [`ScanRows::give`].
    pub fn give(&mut self, row: Row) -> *mut pg_sys::TupleTableSlot {
        self.rows.give(row)
    }
}

impl RankedTable for Rows {
    type Row = Row;

    fn prefetch(&mut self, heap_blocks: &[u32]) {
        if let Some(prefetcher) = &mut self.prefetcher {
            prefetcher.prefetch(heap_blocks.iter().copied());
        }
    }

    fn test(&mut self, heap_tid: HeapTid) -> Option<(Option<f64>, Row)> {
        if let Some(prefetcher) = &self.prefetcher {
            prefetcher.count_read(heap_tid.block());
        }
        self.rows.test(heap_tid, |state| {
            let mut is_null = false;
            // SAFETY: by the promise of `new`; the row is in the scan's expression context.
            let distance = unsafe {
                let distance = *(*state.indexorderbyorig).elements;
                let expressions = state.ss.ps.ps_ExprContext;
                pg_sys::ExecEvalExprSwitchContext(distance.ptr_value.cast(), expressions, &mut is_null)
            };
            (!is_null).then(|| f64::from_bits(distance.value() as u64))
        })
    }

    fn size(row: &Row) -> usize {
        row.size()
    }
}
