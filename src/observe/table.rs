//! The rows of an index's table, as CREATE INDEX would index them, with the rights of the table's owner.

use pgrx::pg_sys;
use walia_core::types::Parameters;

use super::open::OpenIndex;
use crate::am::table::{Extent, IndexedTable, Row};
use crate::error::Result;

/// Calls a function for every row of the table that the index is to hold.
///
/// Expressions and predicates of the index are computed as the table's owner, as in CREATE INDEX: they may be
/// anybody's code.
pub fn for_each_row(
    opened: &OpenIndex,
    parameters: &Parameters,
    extent: Extent,
    row: impl FnMut(Row) -> Result<()>,
) {
    let _owner = AsOwner::new(opened.heap());
    // SAFETY: both relations are open as long as `opened`.
    let table = unsafe {
        let info = pg_sys::BuildIndexInfo(opened.relation());
        IndexedTable::new(opened.heap(), opened.relation(), info, *parameters)
    };
    table.for_each(extent, row);
}

/// As long as it lives, the table's owner is the current user, who may do nothing but compute.
///
/// Dropping it makes the former user the current one again; while an ERROR unwinds, the abort of the
/// (sub)transaction does.
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
