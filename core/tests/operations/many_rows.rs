//! What nodes of many rows, and many nodes that are nearly equal, cost: counted in reads and units, for some
//! and twice as many.

use crate::interleaved::{Session, rows_that_share_a_vector};
use crate::table::{MEMORY, OPTIONS, RamSorter, Table, bytes, coded, exact_scan};
use std::cell::RefCell;
use std::collections::BTreeSet;
use walia_core::page::scan::{Next, Scan, ScanOptions};
use walia_core::page::vacuum::bulk_delete;
use walia_core::page::{Index, MemoryStore, Meta};
use walia_core::types::{ElementType, HeapTid, Metric, PayloadEncoding};

/// Reads and units of a session that does something in an index.
fn steps(store: &MemoryStore, work: impl FnOnce(Index<&Session<'_, fn(usize)>>)) -> usize {
    let session: Session<'_, fn(usize)> = Session::new(store, |_| ());
    work(Index::open(&session, &()).unwrap());
    session.steps.get()
}

/// Fails unless twice as many rows cost no more than twice as much, and a little.
fn assert_linear(what: &str, cost: impl Fn(usize) -> usize) {
    let [some, twice] = [2000, 4000].map(cost);
    assert!(10 * twice <= 22 * some + 100, "{what}: {some} steps, and {twice} for twice as many rows");
}

/// Fails unless twice as many rows cost as much, but for a little.
fn assert_constant(what: &str, cost: impl Fn(usize) -> usize) {
    let [some, twice] = [2000, 4000].map(cost);
    assert!(10 * twice <= 11 * some + 20, "{what}: {some} steps, and {twice} for twice as many rows");
}

#[test]
fn work_on_a_node_grows_with_its_rows() {
    assert_constant("an insertion", |rows| {
        let (table, vector, _) = rows_that_share_a_vector(rows);
        steps(&table.store, |index| index.insert(&vector, HeapTid::new(9000, 1), false).unwrap())
    });
    assert_constant("the first rows", |rows| {
        let (table, vector, _) = rows_that_share_a_vector(rows);
        steps(&table.store, |index| {
            let mut scan = exact_scan(index, Some(&vector), OPTIONS);
            for _ in 0..10 {
                assert!(matches!(scan.next().unwrap(), Next::Row(_)));
            }
        })
    });
    assert_linear("a scan", |rows| {
        let (table, vector, _) = rows_that_share_a_vector(rows);
        steps(&table.store, |index| {
            let mut scan = exact_scan(index, Some(&vector), OPTIONS);
            while scan.next().unwrap() != Next::End {}
            assert_eq!(scan.stats().first_run, rows as u64);
        })
    });
    for dead in [2, 1] {
        assert_linear("a vacuum", |rows| {
            let (table, _, tids) = rows_that_share_a_vector(rows);
            let dead: BTreeSet<HeapTid> = tids.into_iter().step_by(dead).collect();
            steps(&table.store, |index| {
                bulk_delete(&index, MEMORY, &mut |tid| dead.contains(&tid)).unwrap();
            })
        });
    }
}

/// Each time a scan is asked for a row, a vacuum has taken away the tuple that the last row was in and the
/// one that comes next.
#[test]
fn a_scan_beside_vacuums_does_not_begin_again() {
    assert_linear("the scan", |rows| {
        let (table, vector, tids) = rows_that_share_a_vector(rows);
        let mut others = table.rows.clone();
        let dead = RefCell::new(BTreeSet::new());
        let session = Session::new(&table.store, |_| ());
        let mut scan = exact_scan(Index::open(&session, &()).unwrap(), Some(&vector), OPTIONS);
        let mut seen = BTreeSet::new();
        while let Next::Row(hit) = scan.next().unwrap() {
            assert!(seen.insert(hit.heap_tid), "{:?} was given twice", hit.heap_tid);
            others.remove(&hit.heap_tid);
            let place = tids.binary_search(&hit.heap_tid).unwrap();
            // The first rows are in the node's own tuple. Some tuples in between stay, so that there is a way
            // back.
            let inline = table.index().schema.layout.inline_tids;
            if place < inline || (place - inline) % 32 != 16 || (place - inline) / 32 % 4 == 0 {
                continue;
            }
            let begin = inline + (place - inline) / 32 * 32;
            let gone = tids[begin.saturating_sub(32).max(inline)..begin + 32].iter().copied();
            dead.borrow_mut().extend(gone.clone());
            gone.for_each(|tid| drop(others.remove(&tid)));
            bulk_delete(&table.index(), MEMORY, &mut |tid| dead.borrow().contains(&tid)).unwrap();
        }
        assert!(others.is_empty(), "{} rows were not given", others.len());
        session.steps.get()
    });
}

/// Rows that share a node are measured once, although their payload does not tell their distance exactly.
#[test]
fn rows_of_a_node_are_measured_once() {
    let mut table = Table::new(MemoryStore::new(), coded(16, Metric::L2, 1, PayloadEncoding::F16));
    let vector = |last: f32| bytes((0..15).map(|i| 0.1 * i as f32).chain([last]), ElementType::F32);
    for row in 0..2000u32 {
        let last = if row % 4 == 0 { 0.30001 + (row % 16) as f32 * 1e-6 } else { 0.3 };
        table.insert(Some(vector(last))).unwrap();
    }
    // All bounds overlap: the nodes of the first run, and those that are left to the second.
    for ef_search in [1, 40] {
        let options = ScanOptions { ef_search, max_tuples: 0, ..OPTIONS };
        let query = vector(0.5);
        table.assert_complete(Some(&query), options);
        let (_, stats) = table.scan(Some(&query), options).unwrap();
        assert!(stats.measured_rows <= 10, "ef_search {ef_search}: {stats:?}");
    }
}

/// Vectors that differ in the last bits only have equal codes, and are at one estimated distance from
/// everything.
#[test]
fn nearly_equal_vectors_do_not_widen_a_search() {
    for payload in [PayloadEncoding::Column, PayloadEncoding::F16] {
        let vector = |row: u32| {
            bytes(
                (0..32u32).map(|i| f32::from_bits(0.7f32.to_bits() + (row >> (i % 12) & 1))),
                ElementType::F32,
            )
        };
        let tables = [1000, 2000].map(|rows| {
            let mut table = Table::new(MemoryStore::new(), coded(32, Metric::L2, 1, payload));
            for row in 0..rows {
                table.insert(Some(vector(row))).unwrap();
            }
            table
        });
        let [some, twice] = tables.each_ref().map(|table| {
            steps(&table.store, |index| {
                let options = ScanOptions { ef_search: 4, ..OPTIONS };
                let meta = Meta::read(&index.store).unwrap();
                let mut scan =
                    Scan::new(index, meta, Some(&vector(4095)), options, RamSorter::default(), Anything);
                assert!(matches!(scan.next().unwrap(), Next::Row(_)));
            })
        });
        assert!(10 * twice <= 11 * some + 20, "a scan: {some} steps, and {twice} for twice as many nodes");
        let [some, twice] = tables.each_ref().map(|table| {
            steps(&table.store, |index| index.insert(&vector(4095), HeapTid::new(9000, 1), false).unwrap())
        });
        assert!(
            10 * twice <= 11 * some + 20,
            "an insertion: {some} steps, and {twice} for twice as many nodes"
        );
    }
}

/// Rows of which it does not matter how far they are.
struct Anything;

impl walia_core::page::scan::ColumnVectors for Anything {
    fn prefetch(&mut self, _: &[HeapTid]) {}

    fn distance(&mut self, _: HeapTid) -> Option<f64> {
        Some(0.0)
    }
}
