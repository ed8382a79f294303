//! A scan asks for the table's rows before it gives them, in the same order.

use crate::table::{OPTIONS, RamSorter, Table, coded};
use std::collections::BTreeSet;
use walia_core::kernel::Measure;
use walia_core::page::scan::{ColumnVectors, Next, Scan, ScanOptions};
use walia_core::page::{MemoryStore, Meta};
use walia_core::types::{ElementType, HeapTid, Metric, PayloadEncoding};

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

/// Measures rows, and notes which of them were asked for and not read when others were.
struct Measured<'t> {
    table: &'t Table,
    query: &'t [u8],
    waiting: BTreeSet<HeapTid>,
    left_out: usize,
    unasked: usize,
}

impl Measured<'_> {
    fn read(&mut self, heap_tid: HeapTid, is_first: bool) {
        self.unasked += usize::from(!self.waiting.remove(&heap_tid) && is_first);
    }
}

impl ColumnVectors for Measured<'_> {
    fn prefetch(&mut self, rows: &[HeapTid]) {
        self.left_out += self.waiting.len();
        self.waiting = rows.iter().copied().collect();
    }

    fn distance(&mut self, heap_tid: HeapTid) -> Option<f64> {
        self.read(heap_tid, true);
        let vector = self.table.rows.get(&heap_tid)?.as_deref()?;
        Some(Measure::new(Metric::L2, ElementType::F32).distance(self.query, vector))
    }
}

/// Rows whose payloads leave their order open are read twice: the second time counts for nothing.
#[test]
fn rows_that_are_measured_are_asked_for_once() {
    for payload in [PayloadEncoding::F16, PayloadEncoding::Sq8] {
        let mut table = Table::new(MemoryStore::new(), coded(16, Metric::L2, 4, payload));
        for _ in 0..2000 {
            let vector = table.random_vector();
            table.insert(Some(vector)).unwrap();
        }
        let query = table.random_vector();
        let options = ScanOptions { ef_search: 400, ..OPTIONS };
        let meta = Meta::read(&table.store).unwrap();
        let rows =
            Measured { table: &table, query: &query, waiting: BTreeSet::new(), left_out: 0, unasked: 0 };
        let mut scan = Scan::new(table.index(), meta, Some(&query), options, RamSorter::default(), rows);
        for row in 0..300 {
            let Next::Row(hit) = scan.next().unwrap() else { panic!("no row {row}") };
            scan.table.read(hit.heap_tid, hit.uncertainty > 0.0);
        }
        let measured = scan.stats().measured_rows;
        assert!(measured > 30, "{payload:?}: {measured}");
        let Measured { left_out, unasked, .. } = scan.table;
        assert!(left_out < 10 && unasked < 10, "{payload:?}: {left_out} left out, {unasked} not asked for");
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
