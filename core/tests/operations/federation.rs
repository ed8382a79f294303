//! Several indexes searched as one: nothing is lost or given twice, the merged runs are sorted, and searching
//! together finds as much as searching each by itself for a part of the work.

use crate::table::{NotAsked, OPTIONS, RamSorter, Table, coded, exact_scan, parameters};
use std::collections::BTreeSet;
use std::sync::atomic::AtomicU64;
use walia_core::graph::Board;
use walia_core::kernel::Measure;
use walia_core::page::MemoryStore;
use walia_core::page::scan::{Federation, Hit, IterativeScan, Next, Scan, ScanOptions, Walk};
use walia_core::types::{ElementType, Metric, Parameters, PayloadEncoding};

/// Tables of the same kind with different rows, some of them dead, NULL or equal; the last table is empty.
fn tables(count: usize, rows: usize, parameters: Parameters) -> Vec<Table> {
    let mut source = Table::new(MemoryStore::new(), parameters);
    let table = |_| {
        let mut table = Table::new(MemoryStore::new(), parameters);
        for row in 0..rows {
            let value = (row % 50 != 0).then(|| source.random_vector());
            let tid = table.insert(value.clone()).unwrap();
            match row % 20 {
                7 => table.delete(tid),
                9 => drop(table.insert(value).unwrap()),
                _ => {}
            }
        }
        table
    };
    let mut tables: Vec<_> = (1..count).map(table).collect();
    tables.push(Table::new(MemoryStore::new(), parameters));
    tables
}

/// The walks of some scans.
fn walks<'s, 't>(
    scans: &'s mut [Scan<&'t MemoryStore, RamSorter, NotAsked>],
) -> Vec<&'s mut Walk<&'t MemoryStore>> {
    scans.iter_mut().map(|scan| &mut scan.walk).collect()
}

/// What a merge of the scans of a federation gives: rows with the numbers of their tables, and where the
/// second runs begin.
struct Merged {
    rows: Vec<(usize, Hit)>,
    first_run: usize,
    expanded: u64,
}

/// Merges up to `limit` rows. Scans are asked for a row only when all that are given before have been.
fn merge(tables: &[Table], query: Option<&[u8]>, options: ScanOptions, limit: usize) -> Merged {
    let options = ScanOptions { members: tables.len(), ..options };
    let mut scans: Vec<_> = tables.iter().map(|table| exact_scan(table.index(), query, options)).collect();
    let mut federation = Federation::new(options).unwrap();
    federation.join(&mut walks(&mut scans), None).unwrap();
    let mut next: Vec<Option<Hit>> = vec![None; tables.len()];
    let (mut rows, mut first_run) = (Vec::new(), query.is_none().then_some(0));
    while rows.len() < limit {
        for (next, scan) in next.iter_mut().zip(&mut scans) {
            if next.is_none()
                && let Next::Row(hit) = scan.next().unwrap()
            {
                *next = Some(hit);
            }
        }
        let nearest = (0..tables.len())
            .filter_map(|table| Some((next[table]?, table)))
            .min_by(|a, b| a.0.distance.total_cmp(&b.0.distance));
        match nearest {
            Some((hit, table)) => {
                rows.push((table, hit));
                next[table] = None;
            }
            None if scans.iter().any(|scan| scan.walk.is_member()) => {
                federation.next_round(&mut walks(&mut scans), || true).unwrap();
                if !scans.iter().any(|scan| scan.walk.is_member()) {
                    first_run = Some(rows.len());
                }
            }
            None => break,
        }
    }
    let expanded = scans.iter().map(|scan| scan.stats().search.expanded).sum();
    Merged { first_run: first_run.unwrap_or(rows.len()), rows, expanded }
}

fn assert_complete(tables: &[Table], query: Option<&[u8]>, options: ScanOptions) {
    let Merged { rows, first_run, .. } = merge(tables, query, options, usize::MAX);
    let mut seen = BTreeSet::new();
    for (table, hit) in &rows {
        assert!(seen.insert((*table, hit.heap_tid)), "{:?} of table {table} was given twice", hit.heap_tid);
    }
    for (number, table) in tables.iter().enumerate() {
        assert!(
            table.rows.keys().all(|tid| seen.contains(&(number, *tid))),
            "a row of {number} was not given"
        );
    }
    let is_sorted = |rows: &[(usize, Hit)]| {
        rows.is_sorted_by(|(_, one), (_, two)| one.distance.total_cmp(&two.distance).is_le())
    };
    let (first, second) = rows.split_at(first_run);
    assert!(options.iterative != IterativeScan::StrictOrder || is_sorted(first), "first run");
    assert!(is_sorted(second), "second run");
    assert_eq!(query.is_some(), first_run > 0);
}

#[test]
fn every_row_is_given_once_in_two_sorted_runs() {
    for metric in [Metric::L2, Metric::Cosine, Metric::InnerProduct] {
        let plain = parameters(8, metric);
        let bits = coded(16, metric, 2, PayloadEncoding::Column);
        for parameters in [plain, bits] {
            let mut tables = tables(5, 150, parameters);
            for _ in 0..3 {
                let query = tables[0].random_vector();
                let options = ScanOptions { ef_search: 10, ..OPTIONS };
                assert_complete(&tables, Some(&query), options);
                assert_complete(&tables, Some(&query), ScanOptions { ef_search: 1, ..options });
                assert_complete(&tables, Some(&query), ScanOptions { max_tuples: 50, ..options });
                assert_complete(&tables, Some(&query), ScanOptions { memory: 20_000, ..options });
                let iterative = IterativeScan::RelaxedOrder;
                assert_complete(&tables, Some(&query), ScanOptions { iterative, ..options });
            }
            assert_complete(&tables, None, OPTIONS);
        }
    }
}

#[test]
fn without_iteration_the_best_of_all_are_given() {
    let mut tables = tables(4, 100, parameters(8, Metric::L2));
    let query = tables[0].random_vector();
    let options = ScanOptions { ef_search: 30, iterative: IterativeScan::Off, ..OPTIONS };
    let rows = merge(&tables, Some(&query), options, usize::MAX).rows;
    // Equal vectors share a node.
    assert!((30..40).contains(&rows.len()), "{}", rows.len());
}

/// The distance of the `k`th nearest row of all tables, by brute force.
fn distance_of_nearest(tables: &[Table], query: &[u8], k: usize) -> f64 {
    let measure = Measure::new(tables[0].parameters.metric, ElementType::F32);
    let rows = tables.iter().flat_map(|table| table.rows.values().flatten());
    let mut distances: Vec<_> = rows.map(|row| measure.distance(query, row)).collect();
    distances.sort_by(f64::total_cmp);
    distances[k - 1]
}

#[test]
fn searching_together_finds_as_much_for_less() {
    const K: usize = 10;
    const QUERIES: usize = 40;
    let mut tables = tables(13, 300, coded(32, Metric::L2, 2, PayloadEncoding::Column));
    let (mut together, mut apart) = ((0, 0), (0, 0));
    for _ in 0..QUERIES {
        let query = tables[0].random_vector();
        let furthest = distance_of_nearest(&tables, &query, K);
        // Dead rows are given as well.
        let is_found = |table: usize, hit: &Hit| {
            hit.distance <= furthest && tables[table].rows.contains_key(&hit.heap_tid)
        };
        let merged = merge(&tables, Some(&query), OPTIONS, 2 * K);
        together.0 += merged.rows.iter().filter(|(table, hit)| is_found(*table, hit)).count().min(K);
        together.1 += merged.expanded;
        let mut found = 0;
        for (number, table) in tables.iter().enumerate() {
            let options = ScanOptions { iterative: IterativeScan::Off, ..OPTIONS };
            let (hits, stats) = table.scan(Some(&query), options).unwrap();
            found += hits.iter().filter(|hit| is_found(number, hit)).count();
            apart.1 += stats.search.expanded;
        }
        apart.0 += found.min(K);
    }
    let recall = |found: usize| found as f64 / (K * QUERIES) as f64;
    assert!(recall(together.0) > recall(apart.0) - 0.01, "{together:?} together, {apart:?} apart");
    assert!(together.1 < apart.1 * 2 / 3, "{together:?} together, {apart:?} apart");
}

/// Results that are looked for, much more than the share of each table.
const WIDE: usize = 200;

/// What several federations expand for one query and what they find, each of them with a part of the tables.
/// They take part one after the other, and share a board, or not.
fn in_parts(tables: &[Table], query: &[u8], furthest: f64, share: bool) -> (usize, u64) {
    const PROCESSES: usize = 3;
    let options = ScanOptions { members: tables.len(), ef_search: WIDE, ..OPTIONS };
    let slots: Vec<_> = (0..PROCESSES * options.ef_search).map(|_| AtomicU64::new(Board::EMPTY)).collect();
    let (mut found, mut expanded) = (0, 0);
    for (process, part) in tables.chunks(tables.len().div_ceil(PROCESSES)).enumerate() {
        let mut board = share.then(|| Board::new(&slots, process, options.ef_search).unwrap());
        let mut federation = Federation::new(options).unwrap();
        let mut scans: Vec<_> =
            part.iter().map(|table| exact_scan(table.index(), Some(query), options)).collect();
        // Not all join at once.
        for group in scans.chunks_mut(2) {
            federation.join(&mut walks(group), board.as_mut()).unwrap();
        }
        federation.next_round(&mut walks(&mut scans), || true).unwrap();
        for (scan, table) in scans.iter_mut().zip(part) {
            while let Next::Row(hit) = scan.next().unwrap() {
                found += usize::from(hit.distance <= furthest && table.rows.contains_key(&hit.heap_tid));
            }
            expanded += scan.stats().search.expanded;
        }
    }
    (found, expanded)
}

#[test]
fn federations_that_share_a_board_find_as_much_as_one() {
    const K: usize = 10;
    const QUERIES: usize = 40;
    let mut tables = tables(13, 300, coded(32, Metric::L2, 2, PayloadEncoding::Column));
    let (mut one, mut sharing, mut alone) = ((0, 0), (0, 0), (0, 0));
    for _ in 0..QUERIES {
        let query = tables[0].random_vector();
        let furthest = distance_of_nearest(&tables, &query, K);
        let merged = merge(&tables, Some(&query), ScanOptions { ef_search: WIDE, ..OPTIONS }, 2 * K);
        let is_found = |(table, hit): &&(usize, Hit)| {
            hit.distance <= furthest && tables[*table].rows.contains_key(&hit.heap_tid)
        };
        one.0 += merged.rows.iter().filter(is_found).count().min(K);
        one.1 += merged.expanded;
        for (sum, share) in [(&mut sharing, true), (&mut alone, false)] {
            let (found, expanded) = in_parts(&tables, &query, furthest, share);
            *sum = (sum.0 + found.min(K), sum.1 + expanded);
        }
    }
    assert!(sharing.0 as f64 > one.0 as f64 * 0.99, "{sharing:?} sharing, {one:?} by one");
    assert!(sharing.1 < (one.1 + alone.1) / 2, "{sharing:?} sharing, {one:?} by one, {alone:?} alone");
}
