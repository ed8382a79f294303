//! The rows of an index's table, as CREATE INDEX would index them, with the rights of the table's owner.

use std::ffi::c_void;
use std::ptr;

use pgrx::{pg_guard, pg_sys};
use walia_core::types::{HeapTid, Parameters};

use super::open::OpenIndex;
use crate::am::column;
use crate::error::OrRaise;
use crate::error_context::enter;
use crate::memory;
use crate::types::RawVector;

/// Which rows of the table are meant.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Sees {
    /// Those that the query's snapshot sees.
    Snapshot,
    /// All that an index must hold, also rows that only others still see. Nobody may write to the table.
    Everything,
}

/// What an index holds of a row.
pub struct Value<'a> {
    datum: Option<pg_sys::Datum>,
    parameters: &'a Parameters,
}

impl Value<'_> {
    /// The vector; `None` for NULL.
    pub fn vector(&self) -> Option<RawVector> {
        // SAFETY: the datum is what the index's column is computed to, and lives as long as `self`, which only the function
        // that is called for a row gets.
        self.datum.map(|datum| unsafe { column::vector(datum, self.parameters) }.or_raise())
    }
}

/// Calls a function for every row of the table that the index is to hold: the heap TID is the one that the index has, which of
/// a chain of HOT updates is the first. Rows that a partial index leaves out are left out.
///
/// Expressions and predicates of the index are computed as the table's owner, as in CREATE INDEX: they may be anybody's code.
pub fn for_each_row(
    opened: &OpenIndex,
    parameters: &Parameters,
    sees: Sees,
    mut row: impl FnMut(HeapTid, &Value),
) {
    let _owner = AsOwner::new(opened.heap());
    let mut call: Callback = (&mut row, parameters);
    // SAFETY: both relations are open as long as `opened`, and the state is what `add_row` expects. Given a scan by a snapshot,
    // Postgres asks for the mark of a concurrent build; it ends the scan.
    unsafe {
        let info = pg_sys::BuildIndexInfo(opened.relation());
        let scan = match sees {
            Sees::Everything => ptr::null_mut(),
            Sees::Snapshot => {
                (*info).ii_Concurrent = true;
                let snapshot = pg_sys::GetActiveSnapshot();
                pg_sys::table_beginscan_strat(opened.heap(), snapshot, 0, ptr::null_mut(), true, true)
            }
        };
        pg_sys::table_index_build_scan(
            opened.heap(),
            opened.relation(),
            info,
            true,
            false,
            Some(add_row),
            (&raw mut call).cast::<c_void>(),
            scan,
        );
    }
}

/// The function to call, and what it takes to read a vector.
type Callback<'a> = (&'a mut dyn FnMut(HeapTid, &Value), &'a Parameters);

/// The callback of `table_index_build_scan`.
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
    unsafe {
        let (row, parameters) = &mut *state.cast::<Callback>();
        let datum = (!*is_null).then_some(*values);
        row(crate::store::heap_tid(&*item), &Value { datum, parameters });
        memory::check();
    }
}

/// As long as it lives, the table's owner is the current user, who may do nothing but compute.
///
/// Dropping it makes the former user the current one again; while an ERROR unwinds, the abort of the (sub)transaction does.
pub struct AsOwner {
    user: pg_sys::Oid,
    context: i32,
    settings: i32,
}

impl AsOwner {
    /// Becomes the owner of an open table.
    pub fn new(heap: pg_sys::Relation) -> Self {
        let (mut user, mut context) = (pg_sys::InvalidOid, 0);
        // SAFETY: `OpenIndex` gives open tables only. Nesting ends in `drop`.
        unsafe {
            pg_sys::GetUserIdAndSecContext(&mut user, &mut context);
            let restricted = context | pg_sys::SECURITY_RESTRICTED_OPERATION as i32;
            pg_sys::SetUserIdAndSecContext((*(*heap).rd_rel).relowner, restricted);
            let settings = pg_sys::NewGUCNestLevel();
            #[cfg(any(feature = "pg17", feature = "pg18"))]
            pg_sys::RestrictSearchPath();
            Self { user, context, settings }
        }
    }
}

impl Drop for AsOwner {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: what `new` has read and begun.
            unsafe {
                pg_sys::AtEOXact_GUC(false, self.settings);
                pg_sys::SetUserIdAndSecContext(self.user, self.context);
            }
        }
    }
}
