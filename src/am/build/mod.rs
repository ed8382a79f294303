//! `ambuild` and `ambuildempty`: CREATE INDEX.
//!
//! The backend's own thread reads the table and copies vectors into the arena, whose rows the threads of a
//! pool insert into the graph; then it writes the pages. The threads never call Postgres. Where memory ends,
//! vectors move to a temporary file; where codes and links do not fit either, the graph is written, and the
//! next rows become a graph in memory that is joined to it, with the help of parallel workers. Where that is
//! foreseen, rows are sorted by cluster before.

mod helpers;
pub mod measure;
mod progress;
pub mod rows;
mod sample;
pub mod sorter;
pub mod threads;

use std::ffi::c_char;
use std::ptr;

use pgrx::{pg_guard, pg_sys};
use rayon::ThreadPool;
use walia_core::arena::{Arena, Feeder, Settings};
use walia_core::page::{fit, fit_to_sample, max_level, write_graph};

use super::column;
use super::table::{Extent, IndexedTable};
use crate::error::OrRaise;
use crate::error_context::enter;
use crate::guc;
use crate::store::bulk::BulkWriter;
use crate::store::error::index_error;
use rows::{Coming, Rows};
use sorter::{Plan, Sorter};

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
    // SAFETY: Postgres gives open relations, locked so that nobody else uses the new index, and a setting.
    let (wishes, memory) = unsafe { (column::wishes(index).or_raise(), pg_sys::maintenance_work_mem) };
    // SAFETY: as above; the build ends before this function does.
    let mut table = unsafe { IndexedTable::new(heap, index, info, fit(wishes)) };
    let (sample, contents) = sample::sample(&table);
    table.parameters = fit_to_sample(wishes, &sample);
    let (parameters, memory) = (table.parameters, threads::without_threads(memory as usize * 1024));
    let centroid = if parameters.code_bits > 0 { sample.centroid() } else { Vec::new() };
    let max_level = max_level(&parameters).map_err(|error| table.error(error)).or_raise();
    let settings = |memory| Settings::new(parameters, &centroid, max_level, memory);
    // The threads read it: it is closed when they have been joined.
    let mut file = None;
    let build = |pool: &ThreadPool| {
        let feeder = |memory| Feeder::new(settings(memory), pool);
        let Some(plan) = Plan::new(&parameters, &contents, memory) else {
            let coming = Coming { rows: table.expected_rows(), are_too_many: false, are_by_region: false };
            let mut rows = Rows::new(&table, &feeder, pool, memory, &mut file, coming);
            let scanned = table.for_each(Extent::Build, |row| rows.add(&row));
            return rows.finish().map(|indexed| (scanned, indexed));
        };
        let mut sorter = Sorter::new(&table, &plan)?;
        let scanned = table.for_each(Extent::Build, |row| sorter.add(&row));
        let sorted = sorter.finish();
        let memory = sorted.memory_left(memory);
        let mut rows = Rows::new(&table, &feeder, pool, memory, &mut file, sorted.coming());
        sorted.add_to(&mut rows)?;
        rows.finish().map(|indexed| (scanned, indexed))
    };
    let counts = threads::with_pool(guc::build_threads(), build).flatten();
    drop(file);
    let (heap_tuples, index_tuples) = counts.or_raise();
    let result = pg_sys::IndexBuildResult { heap_tuples, index_tuples };
    // SAFETY: palloc gives memory for any struct.
    unsafe {
        let memory = pg_sys::palloc(size_of::<pg_sys::IndexBuildResult>()).cast::<pg_sys::IndexBuildResult>();
        memory.write(result);
        memory
    }
}

/// `ambuildempty`: the init fork of an unlogged index, which recovery copies over the main fork.
///
/// # Safety
/// Only Postgres calls it.
#[pg_guard]
pub unsafe extern "C-unwind" fn ambuildempty(index: pg_sys::Relation) {
    enter!();
    // SAFETY: Postgres gives an open index, locked so that nobody else uses it, and has made the init fork.
    let (parameters, mut writer) =
        unsafe { (column::parameters(index), BulkWriter::new(index, pg_sys::ForkNumber::INIT_FORKNUM)) };
    write_graph(&Arena::empty(parameters.or_raise()), &[], &mut writer, &mut |_| ())
        // SAFETY: as above.
        .map_err(|error| unsafe { index_error(index, error) })
        .or_raise();
    writer.finish();
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
