//! The btree as core sees it: a list of rows, and the codes of their vectors.

use pgrx::pg_sys;
use pgrx::pg_sys::IndexScanState;
use pgrx::pg_sys::ffi::pg_guard_ffi_boundary;
use walia_core::rank::{Batch, Entries};
use walia_core::types::HeapTid;

use super::crowd::{Crowd, Told};
use crate::store::{check_for_interrupts, heap_tid};
use crate::types::Varlena;

const FORWARD: pg_sys::ScanDirection::Type = pg_sys::ScanDirection::ForwardScanDirection;
/// Entries between two looks whether the query has been cancelled.
const PATIENCE: usize = 1024;

/// The entries of a scan of a btree, which the scan's keys choose.
pub struct CodeList {
    state: *mut pg_sys::IndexScanState,
    /// The column that has the codes, from 1.
    column: i32,
    /// Where the codes are in entries without a NULL, if that is the same place in all, but for their
    /// alignment.
    offset: Option<usize>,
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
        Self { state, column: column as i32, offset: None, read: 0, crowd: Crowd::default() }
    }
}

impl Entries for CodeList {
    fn rewind(&mut self) {
        self.crowd = Crowd::default();
        self.begin();
    }

    fn read(&mut self, batch: &mut Batch) -> bool {
        check_for_interrupts();
        let mut goes_on = true;
        while goes_on && batch.room() > 0 {
            match self.read_ordinary(batch) {
                Some(tid) => self.read_other(tid, batch),
                None => goes_on = false,
            }
        }
        // Rows without a vector are shorter than those that tell how many a page has room for.
        batch.estimated_rows().for_each(|tid| self.crowd.add(tid.block()));
        goes_on
    }
}

impl CodeList {
    /// Reads entries into a batch as long as they are like nearly all, and the batch has room for more than
    /// one. Gives the row of the one that was read last, which is not; `None` where there is none.
    ///
    /// All of them are read behind one guard: to be ready for an ERROR takes as long as to read an entry.
    fn read_ordinary(&self, batch: &mut Batch) -> Option<HeapTid> {
        unsafe extern "C-unwind" {
            /// Postgres's, without pgrx's guard.
            fn index_getnext_tid(
                scan: pg_sys::IndexScanDesc,
                direction: pg_sys::ScanDirection::Type,
            ) -> pg_sys::ItemPointer;
        }
        // SAFETY: by the promise of `new`.
        let scan = unsafe { (*self.state).iss_ScanDesc };
        let offset = self.offset;
        // SAFETY: as above; an entry, and the row's TID, are there until the next one is asked for. Nothing
        // here is to be dropped, takes memory or panics, so that an ERROR may pass.
        unsafe {
            pg_guard_ffi_boundary(|| {
                loop {
                    // Both types are laid out alike. To read it by its parts would be to wait for them.
                    let tid = *index_getnext_tid(scan, FORWARD).cast::<HeapTid>().as_ref()?;
                    let entry = Entry { tuple: (*scan).xs_itup, columns: (*scan).xs_itupdesc };
                    let code = offset.and_then(|offset| entry.ordinary(offset));
                    let Some(code) = code.filter(|_| batch.room() > 1) else { return Some(tid) };
                    if !batch.add_estimated(tid, code) {
                        return Some(tid);
                    }
                }
            })
        }
    }

    /// Adds the entry that was read last to a batch, whatever it is like.
    fn read_other(&mut self, tid: HeapTid, batch: &mut Batch) {
        // SAFETY: by the promise of `new`; the entry is there until the next one is asked for.
        unsafe {
            let scan = (*self.state).iss_ScanDesc;
            let entry = Entry { tuple: (*scan).xs_itup, columns: (*scan).xs_itupdesc };
            let Some(code) = entry.column(self.column) else { return batch.add(tid, None) };
            if self.offset.is_none() {
                self.offset = entry.offset_for_all(self.column);
            }
            match plain(code) {
                Some(code) => batch.add(tid, Some(code)),
                // Someone had codes compressed.
                None => batch.add(tid, Some(&Varlena::detoast(code))),
            }
        }
    }
}

/// The bytes of a varlena, unless it is compressed.
///
/// # Safety
/// The datum is one, in an entry of an index, and is there as long as the bytes are used.
#[inline]
unsafe fn plain<'a>(datum: pg_sys::Datum) -> Option<&'a [u8]> {
    // SAFETY: by the caller's promise.
    unsafe {
        let stored = datum.cast_mut_ptr::<pg_sys::varlena>();
        let is_plain =
            pgrx::varatt_is_4b_u(stored) || (pgrx::varatt_is_1b(stored) && !pgrx::varatt_is_1b_e(stored));
        is_plain.then(|| pgrx::varlena_to_byte_slice(stored))
    }
}

impl CodeList {
    /// Tells the index of these rows, sorted, which nobody sees any more.
    pub fn tell_dead(&mut self, dead: &[HeapTid]) {
        self.mark_dead(|row| dead.binary_search(&row).is_ok());
    }

    /// Tells the index of all rows of a crowded list that nobody sees any more.
    pub fn sweep(&mut self) {
        self.mark_dead(|_| true).remember(self.index());
    }

    /// Tells the index of rows that nobody sees any more, so that later scans pass over their entries, as
    /// Postgres's own scan would have done on its way: rows that are updated again and again leave an entry
    /// each time, which only a vacuum would remove. An index can be told of the entry that it gave last only,
    /// so all are read.
    ///
    /// The rows of suspects are looked at again: what was found dead may have been vacuumed since, and its
    /// place be that of a new row. Postgres sees to it that this does not happen between the reading of an
    /// entry and its mark.
    fn mark_dead(&mut self, is_suspect: impl Fn(HeapTid) -> bool) -> Told {
        self.begin();
        let mut told = Told::default();
        while let Some(tid) = self.next_row() {
            if is_suspect(tid) {
                told.suspects += 1;
                // SAFETY: by the promise of `new`; the row is that of the entry that was read last. This asks
                // for the mark.
                let is_dead = unsafe {
                    let slot = (*self.state).ss.ss_ScanTupleSlot;
                    pg_sys::index_fetch_heap((*self.state).iss_ScanDesc, slot);
                    pg_sys::ExecClearTuple(slot);
                    (*(*self.state).iss_ScanDesc).kill_prior_tuple
                };
                told.dead += usize::from(is_dead);
            }
        }
        // SAFETY: as above.
        unsafe { pg_sys::table_index_fetch_reset((*(*self.state).iss_ScanDesc).xs_heapfetch) };
        told
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

    /// Goes to the beginning. That the entries themselves are wanted must be known before the keys.
    fn begin(&mut self) {
        // SAFETY: by the promise of `new`.
        unsafe {
            let IndexScanState { iss_ScanDesc: scan, iss_ScanKeys: keys, iss_NumScanKeys: count, .. } =
                *self.state;
            (*scan).xs_want_itup = true;
            pg_sys::index_rescan(scan, keys, count, std::ptr::null_mut(), 0);
        }
    }

    /// The row of the next entry.
    fn next_row(&mut self) -> Option<HeapTid> {
        self.read += 1;
        if self.read.is_multiple_of(PATIENCE) {
            check_for_interrupts();
        }
        // SAFETY: by the promise of `new`.
        let tid = unsafe { pg_sys::index_getnext_tid((*self.state).iss_ScanDesc, FORWARD).as_ref() };
        tid.map(heap_tid)
    }
}

/// An entry of an index.
struct Entry {
    tuple: pg_sys::IndexTuple,
    columns: pg_sys::TupleDesc,
}

impl Entry {
    /// The code that stands where it does in all entries without a NULL, if this is one.
    ///
    /// # Safety
    /// The entry is there, and the offset is one of `offset_for_all`.
    #[inline]
    unsafe fn ordinary<'a>(&self, offset: usize) -> Option<&'a [u8]> {
        // SAFETY: by the caller's promise. A long code is aligned, and what lies before it is zero, which no
        // short one begins with: Postgres's att_align_pointer.
        unsafe {
            if self.has_nulls() {
                return None;
            }
            let before = self.tuple.cast::<u8>().add(offset);
            let aligned = offset.next_multiple_of(align_of::<i32>());
            let code = if *before == 0 { self.tuple.cast::<u8>().add(aligned) } else { before };
            plain(code.into())
        }
    }

    /// Whether a column of it is NULL.
    ///
    /// # Safety
    /// The entry is there.
    unsafe fn has_nulls(&self) -> bool {
        const HAS_NULLS: u16 = 0x8000;
        // SAFETY: by the caller's promise.
        unsafe { (*self.tuple).t_info & HAS_NULLS != 0 }
    }

    /// Where the columns before one end in all entries without a NULL, if they are of fixed lengths.
    ///
    /// # Safety
    /// The entry has the column.
    unsafe fn offset_for_all(&self, number: i32) -> Option<usize> {
        // SAFETY: by the caller's promise.
        let columns = unsafe { pgrx::PgTupleDesc::from_pg_unchecked(self.columns) };
        let header = size_of::<pg_sys::IndexTupleData>().next_multiple_of(pg_sys::MAXIMUM_ALIGNOF as usize);
        (0..number as usize - 1).try_fold(header, |offset, place| {
            let column: &pg_sys::FormData_pg_attribute = columns.get(place)?;
            let alignment = match column.attalign as u8 {
                b'd' => 8,
                b'i' => 4,
                b's' => 2,
                _ => 1,
            };
            Some(offset.next_multiple_of(alignment) + usize::try_from(column.attlen).ok()?)
        })
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
