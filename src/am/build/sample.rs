//! The centroid of the vectors that are to be indexed, from a sample of the table's pages.
//!
//! Imports `column` and walia-core.

use std::ffi::c_void;

use pgrx::{pg_guard, pg_sys};
use walia_core::kernel::Measure;
use walia_core::types::{ElementType, Metric, Parameters};

use crate::am::column;
use crate::error::OrRaise;
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
        measure: Measure::new(parameters.metric, parameters.element),
        sums: vec![0.0; parameters.dimensions.into()],
        vectors: 0,
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
    let count = (sample.vectors as f64).max(1.0);
    sample.sums.iter().map(|sum| (sum / count) as f32).collect()
}

/// What has been read of the sample.
struct Sample {
    parameters: Parameters,
    measure: Measure,
    sums: Vec<f64>,
    vectors: u64,
    block: u32,
    rows_of_block: u32,
}

impl Sample {
    fn add(&mut self, vector: &[u8]) {
        let scale = match self.parameters.metric {
            Metric::Cosine => f64::from(self.measure.prepare(vector)).sqrt().recip(),
            Metric::L2 | Metric::InnerProduct | Metric::L1 => 1.0,
        };
        // Zero vectors have no direction.
        if !scale.is_finite() {
            return;
        }
        self.vectors += 1;
        let elements = vector.chunks_exact(self.parameters.element.size());
        for (sum, bytes) in self.sums.iter_mut().zip(elements) {
            *sum += scale
                * match self.parameters.element {
                    ElementType::F32 => f64::from(bytemuck::pod_read_unaligned::<f32>(bytes)),
                    ElementType::F16 => bytemuck::pod_read_unaligned::<half::f16>(bytes).to_f64(),
                };
        }
    }
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
    // SAFETY: by the caller's promise; the values are those of the index's only column.
    unsafe {
        let sample = &mut *state.cast::<Sample>();
        let block = crate::store::heap_tid(&*item).block();
        sample.rows_of_block = if sample.block == block { sample.rows_of_block + 1 } else { 0 };
        sample.block = block;
        if !*is_null && sample.rows_of_block < ROWS_OF_PAGE {
            let vector = column::vector(*values, &sample.parameters).or_raise();
            sample.add(vector.bytes());
        }
    }
}
