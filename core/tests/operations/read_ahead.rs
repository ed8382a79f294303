//! A scan asks for the table's rows before it gives them, in the same order.

use crate::table::{OPTIONS, RamSorter, Table, coded};
use walia_core::page::scan::{ColumnVectors, Next, Scan, ScanOptions};
use walia_core::page::{MemoryStore, Meta};
use walia_core::types::{HeapTid, Metric, PayloadEncoding};

/// Notes which rows of the table are asked for.
#[derive(Default)]
struct Asked(Vec<HeapTid>);

impl ColumnVectors for Asked {
    fn prefetch(&mut self, rows: &[HeapTid]) {
        self.0.extend(rows);
    }

    fn distance(&mut self, heap_tid: HeapTid) -> Option<f64> {
        panic!("{heap_tid:?} has an exact payload")
    }
}

#[test]
fn rows_are_asked_for_before_they_are_given() {
    let mut table = Table::new(MemoryStore::new(), coded(16, Metric::L2, 4, PayloadEncoding::Column));
    for _ in 0..1000 {
        let vector = table.random_vector();
        table.insert(Some(vector)).unwrap();
    }
    let query = table.random_vector();
    let options = ScanOptions { ef_search: 40, ..OPTIONS };
    let meta = Meta::read(&table.store).unwrap();
    let mut scan =
        Scan::new(table.index(), meta, Some(&query), options, RamSorter::default(), Asked::default());
    for row in 0..40 {
        let Next::Row(hit) = scan.next().unwrap() else { panic!("no row {row}") };
        let asked = &scan.table;
        assert_eq!(asked.0[row], hit.heap_tid, "row {row}");
        let expected = [10, 30, 40];
        assert_eq!(asked.0.len(), expected[usize::from(row >= 10) + usize::from(row >= 30)], "row {row}");
    }
}

#[test]
fn a_scan_may_have_many_short_rounds() {
    let mut table = Table::new(MemoryStore::new(), coded(16, Metric::L2, 4, PayloadEncoding::Column));
    for _ in 0..300 {
        let vector = table.random_vector();
        table.insert(Some(vector)).unwrap();
    }
    let query = table.random_vector();
    table.assert_complete(Some(&query), ScanOptions { ef_search: 1, ..OPTIONS });
}
