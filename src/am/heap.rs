//! The table's own vectors, for an index whose payloads are less precise.

use pgrx::{PgMemoryContexts, pg_sys};
use walia_core::kernel::Measure;
use walia_core::page::scan::ColumnVectors;
use walia_core::types::{HeapTid, Parameters};

use super::column;
use crate::error::OrRaise;
use crate::store::item_pointer;
use crate::store::prefetch::{PrefetchStats, Prefetcher};

/// The distances of rows from one query.
///
/// Reading begins with the first row that is asked for, in the memory context of its scan, and is to be ended
/// with [`HeapVectors::end`]; dropping it does nothing, because an abort releases what it holds.
pub struct HeapVectors {
    parameters: Parameters,
    measure: Measure,
    query: Vec<u8>,
    prepared: f32,
    scan: pg_sys::IndexScanDesc,
    context: pg_sys::MemoryContext,
    prefetcher: Prefetcher,
    reader: Option<Reader>,
}

impl HeapVectors {
    /// For a query of an index with these parameters.
    ///
    /// # Safety
    /// `scan` and its relations are open, and `context` lives, until [`HeapVectors::end`].
    pub unsafe fn new(
        scan: pg_sys::IndexScanDesc,
        context: pg_sys::MemoryContext,
        parameters: Parameters,
        query: &[u8],
    ) -> Self {
        let measure = Measure::new(parameters.metric, parameters.element);
        let prepared = measure.prepare(query);
        // SAFETY: by the caller's promise.
        let prefetcher = unsafe { Prefetcher::new((*scan).heapRelation) };
        let query = query.to_vec();
        Self { parameters, measure, query, prepared, scan, context, prefetcher, reader: None }
    }

    /// Called for a row that is read: given to the executor, or tested.
    pub fn count_row(&self, heap_tid: HeapTid) {
        self.prefetcher.count_read(heap_tid.block());
    }

    /// How many pages are asked for at a time; 0 where none are.
    pub fn depth(&self) -> usize {
        self.prefetcher.depth()
    }

    /// What came of read-ahead in the table.
    pub fn prefetch_stats(&self) -> PrefetchStats {
        self.prefetcher.stats()
    }

    /// Gives back what was opened.
    pub fn end(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.end();
        }
    }
}

impl ColumnVectors for HeapVectors {
    fn prefetch(&mut self, rows: &[HeapTid]) {
        // SAFETY: the table is open, by the promise of `new`.
        let access_method = unsafe { (*(*(*self.scan).heapRelation).rd_rel).relam };
        // What a TID's block means is the access method's affair.
        if access_method == pg_sys::HEAP_TABLE_AM_OID {
            self.prefetcher.prefetch_rows(rows);
        }
    }

    fn distance(&mut self, heap_tid: HeapTid) -> Option<f64> {
        self.count_row(heap_tid);
        // SAFETY: by the promise of `new`.
        let reader = self.reader.get_or_insert_with(|| unsafe { Reader::open(self.scan, self.context) });
        reader.vector(heap_tid, &self.parameters, |vector| {
            self.measure.distance_from(&self.query, self.prepared, vector)
        })
    }
}

/// Reads rows of the table as a scan's snapshot sees them, and computes the index's column from them.
///
/// It is to be ended with [`Reader::end`]; dropping it does nothing, because an abort releases what it holds.
pub struct Reader {
    scan: pg_sys::IndexScanDesc,
    /// Of all that is opened: a scan begins anew as often as a nested loop asks for it, and not all of this
    /// can be freed by itself.
    context: pg_sys::MemoryContext,
    fetch: *mut pg_sys::IndexFetchTableData,
    slot: *mut pg_sys::TupleTableSlot,
    info: *mut pg_sys::IndexInfo,
    executor: *mut pg_sys::EState,
    expressions: *mut pg_sys::ExprContext,
}

impl Reader {
    /// Opens the table of a scan.
    ///
    /// # Safety
    /// `scan` and its relations are open, and `context` lives, until [`Reader::end`].
    pub unsafe fn open(scan: pg_sys::IndexScanDesc, context: pg_sys::MemoryContext) -> Self {
        // SAFETY: by the caller's promise. All that is opened lives in the new context until `end`.
        unsafe {
            let context = pg_sys::AllocSetContextCreateInternal(
                context,
                c"walia_hnsw table rows".as_ptr(),
                pg_sys::ALLOCSET_DEFAULT_MINSIZE as usize,
                pg_sys::ALLOCSET_DEFAULT_INITSIZE as usize,
                pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
            );
            PgMemoryContexts::For(context).switch_to(|_| Self::open_in(scan, context))
        }
    }

    /// # Safety
    /// As for [`Reader::open`]; the context is the current one.
    unsafe fn open_in(scan: pg_sys::IndexScanDesc, context: pg_sys::MemoryContext) -> Self {
        // SAFETY: by the caller's promise.
        unsafe {
            let (heap, index) = ((*scan).heapRelation, (*scan).indexRelation);
            let fetch = pg_sys::table_index_fetch_begin(heap);
            let slot = pg_sys::table_slot_create(heap, std::ptr::null_mut());
            let info = pg_sys::BuildIndexInfo(index);
            let executor = pg_sys::CreateExecutorState();
            let expressions = pg_sys::MakePerTupleExprContext(executor);
            (*expressions).ecxt_scantuple = slot;
            Self { scan, context, fetch, slot, info, executor, expressions }
        }
    }

    /// Shows the vector of a row; `None` for a row that the scan's snapshot does not see, or whose value is
    /// NULL. Called without any page of the index.
    pub fn vector<T>(
        &mut self,
        heap_tid: HeapTid,
        parameters: &Parameters,
        look: impl FnOnce(&[u8]) -> T,
    ) -> Option<T> {
        let mut item = item_pointer(heap_tid);
        let (mut again, mut dead) = (false, false);
        // SAFETY: the scan is open, by the promise of `open`.
        let found = unsafe {
            let snapshot = (*self.scan).xs_snapshot;
            pg_sys::table_index_fetch_tuple(self.fetch, &mut item, snapshot, self.slot, &mut again, &mut dead)
        };
        let seen = if found { self.vector_of_slot(parameters, look) } else { None };
        // The page does not stay pinned until the next row is asked for: a vacuum, or a standby's replay, may
        // wait for it.
        // SAFETY: as above.
        unsafe { pg_sys::table_index_fetch_reset(self.fetch) };
        seen
    }

    /// Shows the vector of the row in the slot, and empties the slot.
    fn vector_of_slot<T>(&mut self, parameters: &Parameters, look: impl FnOnce(&[u8]) -> T) -> Option<T> {
        // SAFETY: opened by `open`. What an expression needs is freed with the context that is reset, after
        // the vector was looked at.
        unsafe {
            let per_tuple = (*self.expressions).ecxt_per_tuple_memory;
            let seen = PgMemoryContexts::For(per_tuple).switch_to(|_| {
                let (mut value, mut is_null) = (pg_sys::Datum::from(0), true);
                pg_sys::FormIndexDatum(self.info, self.slot, self.executor, &mut value, &mut is_null);
                (!is_null).then(|| look(column::vector(value, parameters).or_raise().bytes()))
            });
            pg_sys::MemoryContextReset(per_tuple);
            pg_sys::ExecClearTuple(self.slot);
            seen
        }
    }

    /// Gives back what was opened.
    pub fn end(self) {
        // SAFETY: opened by `open`, and ended once.
        unsafe {
            pg_sys::FreeExecutorState(self.executor);
            pg_sys::ExecDropSingleTupleTableSlot(self.slot);
            pg_sys::table_index_fetch_end(self.fetch);
            pg_sys::MemoryContextDelete(self.context);
        }
    }
}
