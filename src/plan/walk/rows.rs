//! The table as core's search sees it: rows are read, and the query's conditions tested, as Postgres's index
//! scan does.

use std::ptr;

use pgrx::pg_sys;
use walia_core::page::scan::{ColumnVectors, TestedTable};
use walia_core::types::HeapTid;

use crate::am::heap::HeapVectors;
use crate::store::item_pointer;
use crate::store::prefetch::PrefetchStats;

/// The rows of a table, through the executor's state of an index scan, which has the conditions.
pub struct Rows {
    state: *mut pg_sys::IndexScanState,
    vectors: HeapVectors,
    /// Whether a row was read that may hold a page.
    holds_page: bool,
}

/// A row that has passed: a copy of its tuple.
pub struct Row {
    /// As the index has it: of a HOT chain the first.
    heap_tid: HeapTid,
    /// The tuple, at an address that suits its header.
    data: Vec<u64>,
    header: pg_sys::HeapTupleData,
}

impl Rows {
    /// The rows of a scan.
    ///
    /// # Safety
    /// The state is initialized and its scan has begun, until [`Rows::end`].
    pub unsafe fn new(state: *mut pg_sys::IndexScanState, vectors: HeapVectors) -> Self {
        Self { state, vectors, holds_page: false }
    }

    /// What came of read-ahead in the table.
    pub fn prefetch_stats(&self) -> PrefetchStats {
        self.vectors.prefetch_stats()
    }

    /// Gives back what was opened.
    pub fn end(&mut self) {
        self.release();
        self.vectors.end();
    }

    /// Lets go of the page that was read last: a vacuum, or a standby's replay, may wait for it.
    pub fn release(&mut self) {
        if !std::mem::take(&mut self.holds_page) {
            return;
        }
        // SAFETY: by the promise of `new`. The slot keeps a pin of its own.
        unsafe {
            let state = &*self.state;
            pg_sys::ExecClearTuple(state.ss.ss_ScanTupleSlot);
            pg_sys::table_index_fetch_reset((*state.iss_ScanDesc).xs_heapfetch);
        }
    }

    /// Puts a row into the scan's slot, and gives it as the scan would: projected where the plan says so. It
    /// stays valid until the next row is read.
    pub fn give(&mut self, row: Row) -> *mut pg_sys::TupleTableSlot {
        let Row { mut data, mut header, .. } = row;
        header.t_data = data.as_mut_ptr().cast();
        // SAFETY: by the promise of `new`; the slot copies the tuple.
        unsafe {
            let state = &mut *self.state;
            let slot = state.ss.ss_ScanTupleSlot;
            pg_sys::ExecForceStoreHeapTuple(&mut header, slot, false);
            // The slot has no page, by which it would know this.
            (*slot).tts_tid = header.t_self;
            (*slot).tts_tableOid = header.t_tableOid;
            let expressions = &mut *state.ss.ps.ps_ExprContext;
            pg_sys::MemoryContextReset(expressions.ecxt_per_tuple_memory);
            expressions.ecxt_scantuple = slot;
            if state.ss.ps.ps_ProjInfo.is_null() {
                slot
            } else {
                pg_sys::ExecProject(state.ss.ps.ps_ProjInfo)
            }
        }
    }
}

impl ColumnVectors for Rows {
    fn prefetch(&mut self, heap_blocks: &[u32]) {
        self.vectors.prefetch(heap_blocks);
    }

    fn distance(&mut self, heap_tid: HeapTid) -> Option<f64> {
        self.vectors.distance(heap_tid)
    }
}

impl TestedTable for Rows {
    type Row = Row;

    fn test(&mut self, heap_tid: HeapTid) -> Option<Row> {
        self.vectors.count_row(heap_tid);
        self.holds_page = true;
        // SAFETY: by the promise of `new`.
        let (state, scan) = unsafe { (&mut *self.state, &mut *(*self.state).iss_ScanDesc) };
        let slot = state.ss.ss_ScanTupleSlot;
        scan.xs_heaptid = item_pointer(heap_tid);
        scan.xs_heap_continue = false;
        // This is what Postgres's node does with a row: visibility first, then conditions in the order in
        // which the planner has put them.
        // SAFETY: as above.
        unsafe {
            if !pg_sys::index_fetch_heap(scan, slot) {
                return None;
            }
            let expressions = state.ss.ps.ps_ExprContext;
            pg_sys::MemoryContextReset((*expressions).ecxt_per_tuple_memory);
            (*expressions).ecxt_scantuple = slot;
            let passes = state.ss.ps.qual.is_null() || pg_sys::ExecQual(state.ss.ps.qual, expressions);
            let row = passes.then(|| Row::copy(heap_tid, slot));
            pg_sys::ExecClearTuple(slot);
            row
        }
    }

    fn distance_of(&mut self, row: &Row) -> f64 {
        // A row that has passed is visible, and its column is not NULL, as a node leads to it.
        self.vectors.distance(row.heap_tid).unwrap_or(f64::NAN)
    }
}

impl Row {
    /// A copy of the row in a slot.
    ///
    /// # Safety
    /// The slot has a row.
    unsafe fn copy(heap_tid: HeapTid, slot: *mut pg_sys::TupleTableSlot) -> Self {
        let mut is_copy = false;
        // SAFETY: by the caller's promise; the tuple is as long as it says.
        unsafe {
            let tuple = pg_sys::ExecFetchSlotHeapTuple(slot, false, &mut is_copy);
            let header = *tuple;
            let length = header.t_len as usize;
            let mut data = vec![0u64; length.div_ceil(size_of::<u64>())];
            ptr::copy_nonoverlapping(header.t_data.cast::<u8>(), data.as_mut_ptr().cast(), length);
            if is_copy {
                pg_sys::heap_freetuple(tuple);
            }
            Self { heap_tid, data, header: pg_sys::HeapTupleData { t_data: ptr::null_mut(), ..header } }
        }
    }
}
