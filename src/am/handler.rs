//! The access method's table of callbacks, and the C function that hands it to Postgres.

use std::ffi::c_char;

use pgrx::{pg_guard, pg_sys};

use crate::error_context::enter;

use super::{build, cost, insert, options, scan, vacuum, validate};

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
