//! `aminsert`: one row of the table, one heap TID of the index.

use pgrx::{pg_guard, pg_sys};
use walia_core::page::format::tuple::AsideKind;

use super::{batch, column, counters};
use crate::error::OrRaise;
use crate::error_context::enter;
use crate::memory;
use crate::store::error::index_error;
use crate::store::heap_tid;
use crate::store::{self, RelationStore};

/// `aminsert`. The access method is never unique: it always answers false.
///
/// All that is palloc'd on the way is freed by the value that owns it, so that no memory context of its own
/// is needed.
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
    info: *mut pg_sys::IndexInfo,
) -> bool {
    enter!();
    // SAFETY: Postgres gives open relations; what is made of them does not outlive this function.
    let failed = |error| unsafe { index_error(relation, error) };
    // SAFETY: as above; the values are those of the index's only column.
    let (store, tid, value) =
        unsafe { (RelationStore::new(relation, heap), heap_tid(&*item), (!*is_null).then_some(*values)) };
    // The end of CREATE INDEX CONCURRENTLY inserts rows of other transactions. What an UPDATE leaves as it
    // was finds its node at once, and NULL needs none.
    // SAFETY: Postgres gives what it knows of the index.
    let may_wait = !unchanged && !unsafe { (*info).ii_Concurrent };
    if let Some(value) = value.filter(|_| may_wait)
        // SAFETY: as above.
        && unsafe { batch::take(relation, heap, value, tid) }.or_raise()
    {
        memory::check();
        return false;
    }
    let index = store::open(store).map_err(failed).or_raise();
    match value {
        None => index.insert_aside(AsideKind::Null, tid).map_err(failed).or_raise(),
        Some(value) => {
            // SAFETY: the value of the index's column.
            let vector = unsafe { column::vector(value, &index.schema.layout.parameters) }.or_raise();
            index.insert(vector.bytes(), tid, unchanged).map_err(failed).or_raise();
        }
    }
    counters::add_inserts(&index.store, 1);
    memory::check();
    false
}
