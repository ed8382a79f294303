//! The table as core's search sees it.

use pgrx::pg_sys;
use walia_core::page::scan::{ColumnVectors, TestedTable};
use walia_core::types::HeapTid;

use crate::am::heap::HeapVectors;
use crate::plan::rows::{Row, ScanRows};
use crate::store::prefetch::PrefetchStats;

/// The rows of a table, and the vectors of its index's column.
pub struct Rows {
    rows: ScanRows,
    vectors: HeapVectors,
}

impl Rows {
    /// The rows of a scan, which is open until [`Rows::end`].
    pub fn new(rows: ScanRows, vectors: HeapVectors) -> Self {
        Self { rows, vectors }
    }

    /// What came of read-ahead in the table.
    pub fn prefetch_stats(&self) -> PrefetchStats {
        self.vectors.prefetch_stats()
    }

    /// Gives back what was opened.
    pub fn end(&mut self) {
        self.rows.release();
        self.vectors.end();
    }

    /// See [`ScanRows::release`].
    pub fn release(&mut self) {
        self.rows.release();
    }

    /// See [`ScanRows::give`].
    pub fn give(&mut self, row: Row) -> *mut pg_sys::TupleTableSlot {
        self.rows.give(row)
    }
}

impl ColumnVectors for Rows {
    fn prefetch(&mut self, rows: &[HeapTid]) {
        self.vectors.prefetch(rows);
    }

    fn distance(&mut self, heap_tid: HeapTid) -> Option<f64> {
        self.vectors.distance(heap_tid)
    }
}

impl TestedTable for Rows {
    type Row = Row;

    fn depth(&self) -> usize {
        self.vectors.depth()
    }

    fn test(&mut self, heap_tid: HeapTid) -> Option<Row> {
        self.vectors.count_row(heap_tid);
        self.rows.test(heap_tid, |_| ()).map(|((), row)| row)
    }

    fn distance_of(&mut self, row: &Row) -> f64 {
        // A row that has passed is visible, and its column is not NULL, as a node leads to it.
        self.vectors.distance(row.heap_tid).unwrap_or(f64::NAN)
    }
}
