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
}

/// The name of a phase by its number.
pub fn phase_name(number: i64) -> Option<&'static CStr> {
    const NAMES: [(Phase, &CStr); 5] = [
        (Phase::Initializing, c"initializing"),
        (Phase::BuildingGraph, c"building graph"),
        (Phase::WritingPages, c"writing pages"),
        (Phase::JoiningGraph, c"joining graph"),
        (Phase::InsertingRows, c"inserting rows"),
    ];
    NAMES.into_iter().find(|(phase, _)| *phase as i64 == number).map(|(_, name)| name)
}

/// Shows that a phase begins.
pub fn begin(phase: Phase) {
    update(pg_sys::PROGRESS_CREATEIDX_SUBPHASE, phase as i64);
}

/// Shows how many rows there are, as far as is known.
pub fn rows_total(rows: u64) {
    update(pg_sys::PROGRESS_CREATEIDX_TUPLES_TOTAL, rows as i64);
}

/// Shows how many pages the index will have, and that none is written.
fn blocks(total: u64, done: u64) {
    update(pg_sys::PROGRESS_SCAN_BLOCKS_TOTAL, total as i64);
    update(pg_sys::PROGRESS_SCAN_BLOCKS_DONE, done as i64);
}

/// A writer whose pages are shown one by one.
pub struct Shown<Sink> {
    sink: Sink,
    written: u64,
    total: u64,
}

impl<Sink> Shown<Sink> {
    /// A writer that will write about so many pages.
    pub fn new(sink: Sink, total: u64) -> Self {
        blocks(total, 0);
        Self { sink, written: 0, total }
    }

    /// The writer, after the last page.
    pub fn into_inner(self) -> Sink {
        blocks(self.written, self.written);
        self.sink
    }
}

impl<Sink: PageSink> PageSink for Shown<Sink> {
    fn append(&mut self, page: &Page) -> Result<()> {
        self.sink.append(page)?;
        self.written += 1;
        blocks(self.total.max(self.written), self.written);
        Ok(())
    }
}

/// Shows how many rows are in the index.
pub fn rows_done(rows: u64) {
    update(pg_sys::PROGRESS_CREATEIDX_TUPLES_DONE, rows as i64);
}

fn update(parameter: u32, value: i64) {
    // SAFETY: writes into this backend's own status entry.
    unsafe { pg_sys::pgstat_progress_update_param(parameter as i32, value) }
}
