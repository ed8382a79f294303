//! `aminsert`: one row of the table, one heap TID of the index.
//!
//! Imports `column`, `store` and walia-core.

use pgrx::{pg_guard, pg_sys};
use walia_core::page::format::tuple::AsideKind;

use super::column;
use crate::error::OrRaise;
use crate::error_context::enter;
use crate::memory;
use crate::store::error::index_error;
use crate::store::heap_tid;
use crate::store::{self, RelationStore};

/// `aminsert`. The access method is never unique: it always answers false.
///
/// All that is palloc'd on the way is freed by the value that owns it, so that no memory context of its own is needed.
///
/// # Safety
/// Only Postgres calls it.
#[expect(clippy::too_many_arguments, reason = "Postgres's signature")]
#[pg_guard]
pub unsafe extern "C-unwind" fn aminsert(
    relation: pg_sys::Relation,
    values: *mut pg_sys::Datum,
    is_null: *mut bool,
    item: pg_sys::ItemPointer,
    heap: pg_sys::Relation,
    _check_unique: pg_sys::IndexUniqueCheck::Type,
    unchanged: bool,
    _info: *mut pg_sys::IndexInfo,
) -> bool {
    enter!();
    // SAFETY: Postgres gives open relations, and the values of the index's only column.
    unsafe {
        let failed = |error| index_error(relation, error);
        let tid = heap_tid(&*item);
        let index = store::open(RelationStore::new(relation, heap)).map_err(failed).or_raise();
        if *is_null {
            index.insert_aside(AsideKind::Null, tid).map_err(failed).or_raise();
        } else {
            let vector = column::vector(*values, &index.schema.layout.parameters).or_raise();
            index.insert(vector.bytes(), tid, unchanged).map_err(failed).or_raise();
        }
        memory::check();
    }
    false
}
