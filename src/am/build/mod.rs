//! `ambuild` and `ambuildempty`: CREATE INDEX.
//!
//! The backend's own thread reads the table and copies vectors into the arena, whose rows the threads of a pool insert
//! into the graph; then it writes the pages. The threads never call Postgres.

mod progress;
mod rows;
mod sample;
mod threads;

use std::ffi::{c_char, c_void};
use std::ptr;
use std::sync::atomic::AtomicBool;

use pgrx::{pg_guard, pg_sys};
use walia_core::arena::{self, Arena, Settings};
use walia_core::page::{max_level, write_graph};

use super::column;
use crate::error::OrRaise;
use crate::error_context::enter;
use crate::guc;
use crate::store::bulk::BulkWriter;
use crate::store::error::index_error;
use rows::Rows;

/// `ambuild`.
///
/// # Safety
/// Only Postgres calls it.
#[pg_guard]
pub unsafe extern "C-unwind" fn ambuild(
    heap: pg_sys::Relation,
    index: pg_sys::Relation,
    info: *mut pg_sys::IndexInfo,
) -> *mut pg_sys::IndexBuildResult {
    enter!();
    // SAFETY: Postgres gives open relations, locked so that nobody else uses the new index.
    unsafe {
        let parameters = column::parameters(index).or_raise();
        let memory = pg_sys::maintenance_work_mem as usize * 1024;
        let centroid = sample::centroid(heap, index, info, &parameters);
        let max_level = max_level(&parameters).map_err(|error| index_error(index, error)).or_raise();
        let settings = Settings::new(parameters, &centroid, max_level, memory);
        let build = |pool: &_| {
            let stop = AtomicBool::new(false);
            let (_, counts) = arena::build(settings, &stop, pool, |feeder| {
                let mut rows = Rows::new(heap, index, parameters, feeder);
                let state = (&raw mut rows).cast::<c_void>();
                let scanned = pg_sys::table_index_build_scan(
                    heap,
                    index,
                    info,
                    true,
                    true,
                    Some(rows::add_row),
                    state,
                    ptr::null_mut(),
                );
                rows.finish().map(|indexed| (scanned, indexed))
            });
            counts
        };
        let (heap_tuples, index_tuples) =
            threads::with_pool(guc::build_threads(), build).flatten().or_raise();
        let result = pg_sys::palloc0(size_of::<pg_sys::IndexBuildResult>());
        let result = result.cast::<pg_sys::IndexBuildResult>();
        (*result).heap_tuples = heap_tuples;
        (*result).index_tuples = index_tuples;
        result
    }
}

/// `ambuildempty`: the init fork of an unlogged index, which recovery copies over the main fork.
///
/// # Safety
/// Only Postgres calls it.
#[pg_guard]
pub unsafe extern "C-unwind" fn ambuildempty(index: pg_sys::Relation) {
    enter!();
    // SAFETY: as above; Postgres has made the init fork.
    unsafe {
        let parameters = column::parameters(index).or_raise();
        let mut writer = BulkWriter::new(index, pg_sys::ForkNumber::INIT_FORKNUM);
        write_graph(&Arena::empty(parameters), &[], &mut writer, &mut |_| ())
            .map_err(|error| index_error(index, error))
            .or_raise();
        writer.finish();
    }
}

/// `ambuildphasename`.
///
/// # Safety
/// Only Postgres calls it.
#[pg_guard]
pub unsafe extern "C-unwind" fn ambuildphasename(number: i64) -> *mut c_char {
    // Calls no function of Postgres's.
    // Postgres copies the text.
    progress::phase_name(number).map_or(ptr::null_mut(), |name| name.as_ptr().cast_mut())
}
