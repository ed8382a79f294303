//! The rows of an index's table, as CREATE INDEX reads them.

use std::ffi::c_void;
use std::ptr;

use pgrx::{pg_guard, pg_sys};
use walia_core::types::{Error, HeapTid, Parameters};

use super::column;
use crate::error::{OrRaise, Result, SqlError};
use crate::error_context::enter;
use crate::memory;
use crate::store::error::index_error;
use crate::store::{RelationStore, heap_tid};
use crate::types::RawVector;

/// Which rows are read. Those that a partial index leaves out are left out.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// All that the index must hold, while pg_stat_progress_create_index shows how many blocks have been
    /// read.
    Build,
    /// Those in a block.
    Block(u32),
    /// Those that the query's snapshot sees.
    Snapshot,
}

/// What an index holds of a row.
pub struct Row<'a> {
    /// The one that the index has: of a chain of HOT updates it is the first.
    pub heap_tid: HeapTid,
    value: Option<pg_sys::Datum>,
    parameters: &'a Parameters,
}

impl Row<'_> {
    /// Whether it holds NULL, for which nothing is read that lies apart.
    pub fn is_null(&self) -> bool {
        self.value.is_none()
    }

    /// The vector; `None` for NULL.
    pub fn vector(&self) -> Result<Option<RawVector>> {
        // SAFETY: the value is what the index's column is computed to. It lives as long as `self`, which only
        // the function that is called for a row gets.
        self.value.map(|value| unsafe { column::vector(value, self.parameters) }).transpose()
    }
}

/// An index and its table.
pub struct IndexedTable {
    heap: pg_sys::Relation,
    index: pg_sys::Relation,
    info: *mut pg_sys::IndexInfo,
    /// Of the index.
    pub parameters: Parameters,
}

impl IndexedTable {
    /// An index with these parameters, and its table.
    ///
    /// # Safety
    /// Both relations are open as long as this lives, and `info` tells what the index holds of a row.
    pub unsafe fn new(
        heap: pg_sys::Relation,
        index: pg_sys::Relation,
        info: *mut pg_sys::IndexInfo,
        parameters: Parameters,
    ) -> Self {
        Self { heap, index, info, parameters }
    }

    /// The pages of the index.
    pub fn store(&self) -> RelationStore {
        // SAFETY: both are open as long as `self`, which the caller keeps as long as the store.
        unsafe { RelationStore::new(self.index, self.heap) }
    }

    /// The index.
    pub fn index(&self) -> pg_sys::Relation {
        self.index
    }

    /// The ERROR of a failure in the index.
    pub fn error(&self, error: Error) -> SqlError {
        // SAFETY: the index is open as long as `self`.
        unsafe { index_error(self.index, error) }
    }

    /// Blocks that the table has.
    pub fn blocks(&self) -> u32 {
        // SAFETY: the table is open as long as `self`.
        unsafe { pg_sys::RelationGetNumberOfBlocksInFork(self.heap, pg_sys::ForkNumber::MAIN_FORKNUM) }
    }

    /// Rows that the table is thought to have, as the planner thinks.
    pub fn expected_rows(&self) -> f64 {
        let (mut pages, mut rows, mut visible) = (0, 0.0, 0.0);
        // SAFETY: the table is open; widths of columns are not asked for.
        unsafe { pg_sys::estimate_rel_size(self.heap, ptr::null_mut(), &mut pages, &mut rows, &mut visible) };
        rows
    }

    /// Calls a function for every row. Returns how many rows the table has there, those included that the
    /// index leaves out.
    pub fn for_each(&self, extent: Extent, mut row: impl FnMut(Row) -> Result<()>) -> f64 {
        let (first, count) = match extent {
            Extent::Block(block) => (block, 1),
            _ => (0, pg_sys::InvalidBlockNumber),
        };
        let joins_others = !matches!(extent, Extent::Block(_));
        let shows_progress = extent == Extent::Build;
        let scan = if extent == Extent::Snapshot { self.begin_scan() } else { ptr::null_mut() };
        let mut callback = Callback { row: &mut row, parameters: &self.parameters };
        let (add_row, state) = (Some(add_row as _), (&raw mut callback).cast());
        let Self { heap, index, info, .. } = *self;
        // SAFETY: both relations are open; Postgres gives the state to `add_row` before it returns.
        unsafe {
            pg_sys::table_index_build_range_scan(
                heap,
                index,
                info,
                joins_others,
                false,
                shows_progress,
                first,
                count,
                add_row,
                state,
                scan,
            )
        }
    }

    /// Begins a scan of the table by the query's snapshot, which ends with all rows read.
    fn begin_scan(&self) -> pg_sys::TableScanDesc {
        // SAFETY: the table is open, and a query has a snapshot. Given a scan, Postgres asks for the mark of
        // a concurrent build.
        unsafe {
            (*self.info).ii_Concurrent = true;
            pg_sys::table_beginscan_strat(
                self.heap,
                pg_sys::GetActiveSnapshot(),
                0,
                ptr::null_mut(),
                true,
                true,
            )
        }
    }
}

/// The function to call for a row, and what it takes to read a vector.
struct Callback<'a> {
    row: &'a mut dyn FnMut(Row) -> Result<()>,
    parameters: &'a Parameters,
}

/// The callback of `table_index_build_range_scan`.
///
/// # Safety
/// Only Postgres calls it, with a `Callback` as state.
#[pg_guard]
unsafe extern "C-unwind" fn add_row(
    _index: pg_sys::Relation,
    item: pg_sys::ItemPointer,
    values: *mut pg_sys::Datum,
    is_null: *mut bool,
    _is_alive: bool,
    state: *mut c_void,
) {
    enter!();
    // SAFETY: by the caller's promise; the values are those of the index's only column.
    let (Callback { row, parameters }, item, value) =
        unsafe { (&mut *state.cast::<Callback>(), &*item, (!*is_null).then_some(*values)) };
    row(Row { heap_tid: heap_tid(item), value, parameters }).or_raise();
    memory::check();
}
