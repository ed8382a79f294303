//! The centroid of the vectors that are to be indexed, from a sample of the table's pages.

use std::ffi::c_void;

use pgrx::{pg_guard, pg_sys};
use walia_core::code::Moments;
use walia_core::types::Parameters;

use crate::am::column;
use crate::error::OrRaise;
use crate::error_context::enter;
use crate::memory;
use crate::store::check_for_interrupts;

/// Pages that are read, spread evenly over the table.
const PAGES: u32 = 256;
/// Rows that are taken of a page: TOASTed vectors are small on it and costly to read.
const ROWS_OF_PAGE: u32 = 32;

/// The mean of some of a table's vectors (under cosine, of their directions); empty where the index has no codes, zero where
/// the table has no vectors.
///
/// # Safety
/// As for `ambuild`, whose arguments these are.
pub unsafe fn centroid(
    heap: pg_sys::Relation,
    index: pg_sys::Relation,
    info: *mut pg_sys::IndexInfo,
    parameters: &Parameters,
) -> Vec<f32> {
    if parameters.code_bits == 0 {
        return Vec::new();
    }
    let mut sample = Sample {
        parameters: *parameters,
        moments: Moments::new(parameters),
        block: u32::MAX,
        rows_of_block: 0,
    };
    // SAFETY: by the caller's promise; the state is what `add_row` expects.
    unsafe {
        let blocks = pg_sys::RelationGetNumberOfBlocksInFork(heap, pg_sys::ForkNumber::MAIN_FORKNUM);
        let ranges = blocks.min(PAGES);
        for range in 0..ranges {
            check_for_interrupts();
            let block = (u64::from(blocks) * u64::from(range) / u64::from(ranges)) as u32;
            pg_sys::table_index_build_range_scan(
                heap,
                index,
                info,
                false,
                false,
                false,
                block,
                1,
                Some(add_row),
                (&raw mut sample).cast::<c_void>(),
                std::ptr::null_mut(),
            );
        }
    }
    sample.moments.mean()
}

/// What has been read of the sample.
struct Sample {
    parameters: Parameters,
    moments: Moments,
    block: u32,
    rows_of_block: u32,
}

/// Takes one row of the sample: the callback of `table_index_build_range_scan`.
///
/// # Safety
/// Only Postgres calls it, with a `Sample` as state.
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
        let sample = &mut *state.cast::<Sample>();
        let block = crate::store::heap_tid(&*item).block();
        sample.rows_of_block = if sample.block == block { sample.rows_of_block + 1 } else { 0 };
        sample.block = block;
        if !*is_null && sample.rows_of_block < ROWS_OF_PAGE {
            let vector = column::vector(*values, &sample.parameters).or_raise();
            sample.moments.add(vector.bytes());
        }
        memory::check();
    }
}
