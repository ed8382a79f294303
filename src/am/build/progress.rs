//! What pg_stat_progress_create_index shows.

use std::ffi::CStr;

use pgrx::pg_sys;
use walia_core::page::{Page, PageSink};
use walia_core::types::Result;

/// The phases of a build. Postgres reports the first itself.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Initializing = pg_sys::PROGRESS_CREATEIDX_SUBPHASE_INITIALIZE as isize,
    BuildingGraph,
    WritingPages,
    JoiningGraph,
    InsertingRows,
    SortingRows,
}

/// The name of a phase by its number.
pub fn phase_name(number: i64) -> Option<&'static CStr> {
    const NAMES: [(Phase, &CStr); 6] = [
        (Phase::Initializing, c"initializing"),
        (Phase::BuildingGraph, c"building graph"),
        (Phase::WritingPages, c"writing pages"),
        (Phase::JoiningGraph, c"joining graph"),
        (Phase::InsertingRows, c"inserting rows"),
        (Phase::SortingRows, c"sorting rows by cluster"),
    ];
    NAMES.into_iter().find(|(phase, _)| *phase as i64 == number).map(|(_, name)| name)
}

/// Shows that a phase begins, in which so many of so many rows are done.
pub fn begin(phase: Phase, rows_done: u64, rows_total: u64) {
    update([
        (pg_sys::PROGRESS_CREATEIDX_SUBPHASE, phase as u64),
        (pg_sys::PROGRESS_CREATEIDX_TUPLES_DONE, rows_done),
        (pg_sys::PROGRESS_CREATEIDX_TUPLES_TOTAL, rows_total),
    ]);
}

/// Shows how many rows there are, as far as is known.
pub fn rows_total(rows: u64) {
    update([(pg_sys::PROGRESS_CREATEIDX_TUPLES_TOTAL, rows)]);
}

/// A writer whose pages are shown one by one.
pub struct Shown<Sink> {
    sink: Sink,
    written: u64,
    total: u64,
}

impl<Sink> Shown<Sink> {
    /// A writer that will write about so many pages: the phase of writing begins.
    pub fn new(sink: Sink, total: u64) -> Self {
        let shown = Self { sink, written: 0, total };
        shown.show(Some(Phase::WritingPages));
        shown
    }

    /// The writer, after the last page.
    pub fn into_inner(mut self) -> Sink {
        self.total = self.written;
        self.show(None);
        self.sink
    }

    fn show(&self, begun: Option<Phase>) {
        let blocks = [
            (pg_sys::PROGRESS_SCAN_BLOCKS_TOTAL, self.total.max(self.written)),
            (pg_sys::PROGRESS_SCAN_BLOCKS_DONE, self.written),
        ];
        match begun {
            Some(phase) => {
                update([(pg_sys::PROGRESS_CREATEIDX_SUBPHASE, phase as u64), blocks[0], blocks[1]]);
            }
            None => update(blocks),
        }
    }
}

impl<Sink: PageSink> PageSink for Shown<Sink> {
    fn append(&mut self, page: &Page) -> Result<()> {
        self.sink.append(page)?;
        self.written += 1;
        self.show(None);
        Ok(())
    }
}

/// Shows how many rows are in the index.
pub fn rows_done(rows: u64) {
    update([(pg_sys::PROGRESS_CREATEIDX_TUPLES_DONE, rows)]);
}

/// Shows values that belong together: who looks sees all of them or none.
fn update<const COUNT: usize>(values: [(u32, u64); COUNT]) {
    let parameters = values.map(|(parameter, _)| parameter as i32);
    let values = values.map(|(_, value)| value as i64);
    // SAFETY: writes into this backend's own status entry; the arrays have as many elements as is told.
    unsafe {
        pg_sys::pgstat_progress_update_multi_param(COUNT as i32, parameters.as_ptr(), values.as_ptr());
    }
}
