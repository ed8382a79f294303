//! Rows of a table, read and tested as Postgres's index scan does, and kept until they are given.

use std::ptr;

use pgrx::pg_sys;
use walia_core::types::HeapTid;

use crate::store::{check_for_interrupts, item_pointer};

/// The rows of a table, through the executor's state of an index scan, which has the conditions.
pub struct ScanRows {
    state: *mut pg_sys::IndexScanState,
    /// Whether a row was read that may hold a page.
    holds_page: bool,
    /// Whether nobody sees the row that was read last any more.
    is_dead: bool,
}

/// A row that has passed: a copy of its tuple.
pub struct Row {
    /// As the index has it: of a HOT chain the first.
    pub heap_tid: HeapTid,
    /// The tuple, at an address that suits its header.
    data: Vec<u64>,
    header: pg_sys::HeapTupleData,
}

impl ScanRows {
    /// The rows of a scan.
    ///
    /// # Safety
    /// The state is initialized and its scan has begun, as long as rows are read.
    pub unsafe fn new(state: *mut pg_sys::IndexScanState) -> Self {
        Self { state, holds_page: false, is_dead: false }
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

    /// Reads a row, and shows it where the snapshot sees it and it passes: in the expression context of the
    /// scan.
    pub fn test<T>(
        &mut self,
        heap_tid: HeapTid,
        look: impl FnOnce(&pg_sys::IndexScanState) -> T,
    ) -> Option<(T, Row)> {
        check_for_interrupts();
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
            let is_seen = pg_sys::index_fetch_heap(scan, slot);
            // Of the entry that the index gave last it says nothing.
            self.is_dead = std::mem::take(&mut scan.kill_prior_tuple);
            if !is_seen {
                return None;
            }
            let expressions = state.ss.ps.ps_ExprContext;
            pg_sys::MemoryContextReset((*expressions).ecxt_per_tuple_memory);
            (*expressions).ecxt_scantuple = slot;
            let passes = state.ss.ps.qual.is_null() || pg_sys::ExecQual(state.ss.ps.qual, expressions);
            let row = passes.then(|| (look(state), Row::copy(heap_tid, slot)));
            pg_sys::ExecClearTuple(slot);
            row
        }
    }

    /// Whether the row that was tested last is one that nobody sees any more.
    pub fn is_dead(&self) -> bool {
        self.is_dead
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

impl Row {
    /// Bytes that it takes.
    pub fn size(&self) -> usize {
        size_of::<Self>() + self.data.len() * size_of::<u64>()
    }

    /// Bytes of it in the table.
    pub fn length(&self) -> usize {
        self.header.t_len as usize
    }

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
