//! `ambulkdelete` and `amvacuumcleanup`.

use std::ffi::{CStr, c_void};

use pgrx::pg_sys::ffi::pg_guard_ffi_boundary;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{PgLogLevel, PgSqlErrorCode, pg_guard, pg_sys};
use walia_core::page::Pages;
use walia_core::page::vacuum::{self, VacuumStatistics};

use crate::error::OrRaise;
use crate::error_context::enter;
use crate::store::error::{index_error, relation_name};
use crate::store::item_pointer;
use crate::store::{self, RelationStore};

/// `ambulkdelete`: forgets the rows that the callback calls dead. Every heap TID is shown to it exactly once,
/// which CREATE INDEX CONCURRENTLY relies on.
///
/// # Safety
/// Only Postgres calls it.
#[pg_guard]
pub unsafe extern "C-unwind" fn ambulkdelete(
    info: *mut pg_sys::IndexVacuumInfo,
    stats: *mut pg_sys::IndexBulkDeleteResult,
    callback: pg_sys::IndexBulkDeleteCallback,
    callback_state: *mut c_void,
) -> *mut pg_sys::IndexBulkDeleteResult {
    enter!();
    // SAFETY: Postgres gives an open index, and a result or null.
    let (info, store) = unsafe { (&*info, RelationStore::for_vacuum(info)) };
    // SAFETY: as above.
    let failed = |error| unsafe { index_error(info.index, error) };
    let callback = callback.expect("Postgres gives a callback");
    let index = store::open(store).map_err(failed).or_raise();
    let mut is_dead = |tid| {
        let mut item = item_pointer(tid);
        // It may raise an ERROR (CREATE INDEX CONCURRENTLY sorts the TIDs), which must not cross Rust's
        // frames.
        // SAFETY: the callback takes a heap TID, and the state that was given with it.
        unsafe { pg_guard_ffi_boundary(|| callback(&mut item, callback_state)) }
    };
    let done = vacuum::bulk_delete(&index, memory(), &mut is_dead).map_err(failed).or_raise();
    // SAFETY: as above.
    unsafe {
        tell(info, &done);
        let stats = or_new(stats);
        count(&mut *stats, &done);
        stats
    }
}

/// `amvacuumcleanup`: finishes what earlier vacuums left, and counts pages.
///
/// # Safety
/// Only Postgres calls it.
#[pg_guard]
pub unsafe extern "C-unwind" fn amvacuumcleanup(
    info: *mut pg_sys::IndexVacuumInfo,
    stats: *mut pg_sys::IndexBulkDeleteResult,
) -> *mut pg_sys::IndexBulkDeleteResult {
    enter!();
    // SAFETY: Postgres gives an open index, and a result or null.
    let (info, store) = unsafe { (&*info, RelationStore::for_vacuum(info)) };
    if info.analyze_only {
        return stats;
    }
    // SAFETY: as above.
    let failed = |error| unsafe { index_error(info.index, error) };
    let index = store::open(store).map_err(failed).or_raise();
    let done = vacuum::cleanup(&index, memory()).map_err(failed).or_raise();
    let blocks = index.store.block_count().map_err(failed).or_raise();
    // SAFETY: as above.
    unsafe {
        pg_sys::IndexFreeSpaceMapVacuum(info.index);
        let stats = if done.is_some() { or_new(stats) } else { stats };
        if let Some(stats) = stats.as_mut() {
            done.inspect(|done| {
                tell(info, done);
                count(stats, done);
            });
            stats.num_pages = blocks;
        }
        stats
    }
}

/// Bytes that this process may take for a vacuum: `maintenance_work_mem`, of which Postgres gives each worker
/// of a parallel vacuum its share, or in an autovacuum worker `autovacuum_work_mem`.
pub fn memory() -> usize {
    // SAFETY: variables of this process, and a setting that Postgres defines; it is given as a number of
    // kilobytes.
    let kilobytes = unsafe {
        let autovacuum = if pg_sys::MyBackendType == pg_sys::BackendType::B_AUTOVAC_WORKER {
            let setting = pg_sys::GetConfigOption(c"autovacuum_work_mem".as_ptr(), false, false);
            CStr::from_ptr(setting).to_str().ok().and_then(|setting| setting.parse().ok())
        } else {
            None
        };
        // -1 stands for maintenance_work_mem.
        autovacuum.filter(|setting: &i32| *setting >= 0).unwrap_or(pg_sys::maintenance_work_mem)
    };
    kilobytes.max(0) as usize * 1024
}

/// Adds what one pass over the index did.
fn count(stats: &mut pg_sys::IndexBulkDeleteResult, done: &VacuumStatistics) {
    stats.num_index_tuples = done.heap_tids_kept as f64;
    stats.tuples_removed += done.heap_tids_removed as f64;
}

/// Tells what one pass over the index did, at the level that VACUUM asks for: DEBUG2 since Postgres 15,
/// before INFO if VERBOSE.
///
/// # Safety
/// The index of `info` is open.
unsafe fn tell(info: &pg_sys::IndexVacuumInfo, done: &VacuumStatistics) {
    // SAFETY: by the caller's promise.
    let name = unsafe { relation_name(info.index) };
    let level = if info.message_level == pg_sys::INFO as i32 { PgLogLevel::INFO } else { PgLogLevel::DEBUG2 };
    let message = format!(
        "index \"{name}\": removed {} row versions and {} nodes",
        done.heap_tids_removed, done.tombstones_made
    );
    let detail = format!(
        "{} lists of links were mended, {} nodes linked again that could not be reached, {} slots of nodes freed.",
        done.lists_mended, done.nodes_relinked, done.tombstones_removed
    );
    ErrorReport::new(PgSqlErrorCode::ERRCODE_SUCCESSFUL_COMPLETION, message, "walia")
        .set_detail(detail)
        .report(level);
}

/// The result of an earlier call, or a new one of zeros.
///
/// # Safety
/// `stats` is null or points to a result.
unsafe fn or_new(stats: *mut pg_sys::IndexBulkDeleteResult) -> *mut pg_sys::IndexBulkDeleteResult {
    if stats.is_null() {
        // SAFETY: zeros are a valid result.
        unsafe { pg_sys::palloc0(size_of::<pg_sys::IndexBulkDeleteResult>()).cast() }
    } else {
        stats
    }
}
