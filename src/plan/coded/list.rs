//! The btree as core sees it: a list of rows, and the codes of their vectors.

use pgrx::pg_sys;
use pgrx::pg_sys::IndexScanState;
use walia_core::rank::Entries;
use walia_core::types::HeapTid;

use super::crowd::Crowd;
use crate::store::{check_for_interrupts, heap_tid};
use crate::types::Varlena;

/// Entries between two looks whether the query has been cancelled.
const PATIENCE: usize = 1024;

/// The entries of a scan of a btree, which the scan's keys choose.
pub struct CodeList {
    state: *mut pg_sys::IndexScanState,
    /// The column that has the codes, from 1.
    column: i32,
    /// Where the codes are in entries without a NULL, if that is always the same place.
    offset: Option<usize>,
    /// A code that had to be taken apart.
    copied: Option<Varlena>,
    read: usize,
    /// Of the entries since the list was read from its beginning.
    crowd: Crowd,
}

impl CodeList {
    /// The entries of a scan.
    ///
    /// # Safety
    /// The state is initialized and its scan has begun, with its keys, as long as entries are read; the
    /// column is one of the index's, and holds codes.
    pub unsafe fn new(state: *mut pg_sys::IndexScanState, column: usize) -> Self {
        Self { state, column: column as i32, offset: None, copied: None, read: 0, crowd: Crowd::default() }
    }
}

impl Entries for CodeList {
    fn rewind(&mut self) {
        self.crowd = Crowd::default();
        self.begin(true);
    }

    fn next(&mut self) -> Option<(HeapTid, Option<&[u8]>)> {
        let tid = self.next_row()?;
        // SAFETY: by the promise of `new`; the entry is there until the next one is asked for.
        unsafe {
            let scan = (*self.state).iss_ScanDesc;
            let entry = Entry { tuple: (*scan).xs_itup, columns: (*scan).xs_itupdesc };
            let code = match self.offset.filter(|_| !entry.has_nulls()) {
                Some(offset) => entry.tuple.cast::<u8>().add(offset).into(),
                None => {
                    let Some(code) = entry.column(self.column) else { return Some((tid, None)) };
                    self.offset = entry.offset_for_all(self.column, code);
                    code
                }
            };
            // Rows without a vector are shorter than those that tell how many a page has room for.
            self.crowd.add(tid.block());
            Some((tid, Some(self.bytes(code))))
        }
    }
}

impl CodeList {
    /// Tells the index of rows that nobody sees any more, so that later scans pass over their entries, as
    /// Postgres's own scan would have done on its way: rows that are updated again and again leave an entry
    /// each time, which only a vacuum would remove. An index can be told of the entry that it gave last only,
    /// so all are read.
    ///
    /// The rows of suspects are looked at again: what was found dead may have been vacuumed since, and its
    /// place be that of a new row. Postgres sees to it that this does not happen between the reading of an
    /// entry and its mark.
    ///
    /// Gives how many suspects there were, and how many of them are dead.
    pub fn mark_dead(&mut self, is_suspect: impl Fn(HeapTid) -> bool) -> (usize, usize) {
        self.begin(false);
        let (mut suspects, mut dead) = (0, 0);
        while let Some(tid) = self.next_row() {
            if is_suspect(tid) {
                suspects += 1;
                // SAFETY: by the promise of `new`; the entry is the one that was read last. This asks for the
                // mark.
                unsafe {
                    let slot = (*self.state).ss.ss_ScanTupleSlot;
                    pg_sys::index_fetch_heap((*self.state).iss_ScanDesc, slot);
                    pg_sys::ExecClearTuple(slot);
                    dead += usize::from((*(*self.state).iss_ScanDesc).kill_prior_tuple);
                }
            }
        }
        // SAFETY: as above.
        unsafe { pg_sys::table_index_fetch_reset((*(*self.state).iss_ScanDesc).xs_heapfetch) };
        (suspects, dead)
    }

    /// Tells the index of all rows of a crowded list that nobody sees any more.
    pub fn sweep(&mut self) {
        let (all, dead) = self.mark_dead(|_| true);
        Crowd::remember(self.index(), all, dead);
    }

    /// Whether most of the list must be of rows that are gone, where a page of the table has room for so
    /// many. Asked once.
    pub fn is_crowded(&mut self, rows_of_page: usize) -> bool {
        // SAFETY: by the promise of `new`. A standby marks nothing.
        let may_mark = unsafe { !(*(*self.state).iss_ScanDesc).xactStartedInRecovery };
        may_mark && std::mem::take(&mut self.crowd).is_crowded(self.index(), rows_of_page)
    }

    fn index(&self) -> pg_sys::Oid {
        // SAFETY: by the promise of `new`.
        unsafe { (*(*(*self.state).iss_ScanDesc).indexRelation).rd_id }
    }

    /// Goes to the beginning. Whether the entries themselves are wanted must be known before the keys.
    fn begin(&mut self, with_entries: bool) {
        // SAFETY: by the promise of `new`.
        unsafe {
            let IndexScanState { iss_ScanDesc: scan, iss_ScanKeys: keys, iss_NumScanKeys: count, .. } =
                *self.state;
            (*scan).xs_want_itup = with_entries;
            pg_sys::index_rescan(scan, keys, count, std::ptr::null_mut(), 0);
        }
    }

    /// The row of the next entry.
    fn next_row(&mut self) -> Option<HeapTid> {
        self.read += 1;
        if self.read.is_multiple_of(PATIENCE) {
            check_for_interrupts();
        }
        let forward = pg_sys::ScanDirection::ForwardScanDirection;
        // SAFETY: by the promise of `new`.
        let tid = unsafe { pg_sys::index_getnext_tid((*self.state).iss_ScanDesc, forward).as_ref() };
        tid.map(heap_tid)
    }
}

impl CodeList {
    /// The bytes of a varlena.
    ///
    /// # Safety
    /// The datum is one, in the entry that was read last.
    unsafe fn bytes(&mut self, datum: pg_sys::Datum) -> &[u8] {
        // SAFETY: by the caller's promise.
        unsafe {
            let stored = datum.cast_mut_ptr::<pg_sys::varlena>();
            if pgrx::varatt_is_4b_u(stored) || (pgrx::varatt_is_1b(stored) && !pgrx::varatt_is_1b_e(stored)) {
                return pgrx::varlena_to_byte_slice(stored);
            }
            // Someone had codes compressed.
            self.copied.insert(Varlena::detoast(datum))
        }
    }
}

/// An entry of an index.
struct Entry {
    tuple: pg_sys::IndexTuple,
    columns: pg_sys::TupleDesc,
}

impl Entry {
    /// Whether a column of it is NULL.
    ///
    /// # Safety
    /// The entry is there.
    unsafe fn has_nulls(&self) -> bool {
        const HAS_NULLS: u16 = 0x8000;
        // SAFETY: by the caller's promise.
        unsafe { (*self.tuple).t_info & HAS_NULLS != 0 }
    }

    /// Where a column, whose datum this is, stands in all entries without a NULL, if it stands in one place.
    ///
    /// # Safety
    /// The entry has the column.
    unsafe fn offset_for_all(&self, number: i32, datum: pg_sys::Datum) -> Option<usize> {
        // SAFETY: by the caller's promise.
        let (has_nulls, columns) =
            unsafe { (self.has_nulls(), pgrx::PgTupleDesc::from_pg_unchecked(self.columns)) };
        let is_fixed = |place| {
            columns.get(place).is_some_and(|column: &pg_sys::FormData_pg_attribute| column.attlen > 0)
        };
        let is_in_one_place = !has_nulls && (0..number as usize - 1).all(is_fixed);
        let offset = datum.value() - self.tuple as usize;
        // A shorter code stands where the column before it ends, a longer one where that is aligned: an
        // offset is that of all where the shorter ones have it, and it is aligned.
        // SAFETY: a datum of codes points to a varlena.
        let is_short = unsafe { pgrx::varatt_is_1b(datum.cast_mut_ptr()) };
        (is_in_one_place && is_short && offset.is_multiple_of(align_of::<i32>())).then_some(offset)
    }

    /// A column; none where that is NULL. Postgres's macro index_getattr.
    ///
    /// # Safety
    /// The entry has the column.
    unsafe fn column(&self, number: i32) -> Option<pg_sys::Datum> {
        // SAFETY: by the caller's promise. The bits of NULLs, if there are any, follow the header.
        unsafe {
            if self.has_nulls() {
                let bits = self.tuple.cast::<u8>().add(size_of::<pg_sys::IndexTupleData>());
                let place = number as usize - 1;
                if *bits.add(place / 8) & 1 << (place % 8) == 0 {
                    return None;
                }
            }
            Some(pg_sys::nocache_index_getattr(self.tuple, number, self.columns))
        }
    }
}
