//! The access method's table of callbacks, the C function that hands it to Postgres, and how it is known
//! again.

use std::ffi::c_char;

use pgrx::{pg_guard, pg_sys};
use walia_core::types::Metric;

use crate::error_context::enter;

use super::{build, column, cost, insert, options, scan, vacuum, validate};

/// What walia_hnsw is and can do. Fields that are not named are null or false on every version of Postgres.
const ROUTINE: pg_sys::IndexAmRoutine = pg_sys::IndexAmRoutine {
    type_: pg_sys::NodeTag::T_IndexAmRoutine,
    amstrategies: 0,
    amsupport: 1,
    amcanorderbyop: true,
    // An index scan needs no condition on the column: ORDER BY is enough, and rows with NULL are in the
    // index.
    amoptionalkey: true,
    // A cleanup mostly has nothing to do, and is no reason to start a process.
    amparallelvacuumoptions: pg_sys::VACUUM_OPTION_PARALLEL_BULKDEL as u8,
    amusemaintenanceworkmem: true,
    ambuild: Some(build::ambuild),
    ambuildempty: Some(build::ambuildempty),
    aminsert: Some(insert::aminsert),
    ambulkdelete: Some(vacuum::ambulkdelete),
    amvacuumcleanup: Some(vacuum::amvacuumcleanup),
    amcostestimate: Some(cost::amcostestimate),
    amoptions: Some(options::amoptions),
    amproperty: Some(amproperty),
    ambuildphasename: Some(build::ambuildphasename),
    amvalidate: Some(validate::amvalidate),
    ambeginscan: Some(scan::ambeginscan),
    amrescan: Some(scan::amrescan),
    amgettuple: Some(scan::amgettuple),
    amendscan: Some(scan::amendscan),
    // SAFETY: integers, booleans and optional function pointers: all zeros are valid.
    ..unsafe { std::mem::zeroed() }
};

/// Tells Postgres how to call the handler.
#[unsafe(no_mangle)]
extern "C" fn pg_finfo_walia_hnsw_handler() -> &'static pg_sys::Pg_finfo_record {
    &pg_sys::Pg_finfo_record { api_version: 1 }
}

/// `walia_hnsw_handler(internal) RETURNS index_am_handler`.
///
/// # Safety
/// Only Postgres calls it.
#[unsafe(no_mangle)]
#[pg_guard]
unsafe extern "C-unwind" fn walia_hnsw_handler(_call: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
    enter!();
    // SAFETY: palloc gives enough writable memory, aligned for any struct; Postgres frees it.
    unsafe {
        let routine = pg_sys::palloc(size_of::<pg_sys::IndexAmRoutine>()).cast();
        std::ptr::write(routine, ROUTINE);
        pg_sys::Datum::from(routine)
    }
}

/// `amproperty`: what core cannot know, that the column can be ordered by distance.
///
/// # Safety
/// Only Postgres calls it.
#[pg_guard]
unsafe extern "C-unwind" fn amproperty(
    _index: pg_sys::Oid,
    column: i32,
    property: pg_sys::IndexAMProperty::Type,
    _name: *const c_char,
    result: *mut bool,
    _is_null: *mut bool,
) -> bool {
    // Calls no function of Postgres's.
    let known = property == pg_sys::IndexAMProperty::AMPROP_DISTANCE_ORDERABLE && column > 0;
    if known {
        // SAFETY: Postgres gives a place for the answer.
        unsafe { *result = true }
    }
    known
}

/// The metric of the distances that order the scans of an index; `None` where it is no walia_hnsw index.
///
/// # Safety
/// `index` is open.
pub unsafe fn metric(index: pg_sys::Relation) -> Option<Metric> {
    // SAFETY: by the caller's promise; the relation cache keeps an open index's routine.
    unsafe {
        let routine = &*(*index).rd_indam;
        is_of_this_method(routine).then(|| column::measure(index)).flatten().map(|(metric, _)| metric)
    }
}

/// Whether an access method has the handler that is in this library: its name may be any.
///
/// # Safety
/// Called in a transaction.
pub unsafe fn is_handled_here(access_method: pg_sys::Oid) -> bool {
    // SAFETY: by the caller's promise; the handler's answer is null, or the caller's to free.
    unsafe {
        let routine = pg_sys::GetIndexAmRoutineByAmId(access_method, true);
        let is_here = routine.as_ref().is_some_and(is_of_this_method);
        if !routine.is_null() {
            pg_sys::pfree(routine.cast());
        }
        is_here
    }
}

/// Whether a table of callbacks is this access method's.
fn is_of_this_method(routine: &pg_sys::IndexAmRoutine) -> bool {
    let method = scan::amgettuple as unsafe extern "C-unwind" fn(_, _) -> _;
    routine.amgettuple.is_some_and(|other| std::ptr::fn_addr_eq(other, method))
}
