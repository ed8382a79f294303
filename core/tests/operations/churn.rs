//! Whatever was done, every row is found, once, in order.

use crate::table::{MEMORY, OPTIONS, Table, bytes, coded, parameters, sparse};
use rand::Rng;
use walia_core::page::scan::{IterativeScan, ScanOptions};
use walia_core::page::vacuum::{bulk_delete, cleanup};
use walia_core::page::{Index, MemoryStore, Meta, Pages, statistics};
use walia_core::types::{ElementType, HeapTid, Metric, Parameters, PayloadEncoding};

/// Rounds of random inserts, updates and deletes, each with a vacuum at its end.
fn churn(table: &mut Table, rounds: usize, operations: usize) {
    let mut recent: Vec<Vec<u8>> = vec![table.random_vector()];
    for _ in 0..rounds {
        for _ in 0..operations {
            match table.random.random_range(0..100) {
                0..45 => {
                    let vector = table.random_vector();
                    recent.push(vector.clone());
                    table.insert(Some(vector)).unwrap();
                }
                45..55 => {
                    let again = table.random.random_range(0..recent.len());
                    table.insert(Some(recent[again].clone())).unwrap();
                }
                55..58 => _ = table.insert(None).unwrap(),
                58..60 => {
                    let zero = vec![0.0; table.parameters.dimensions];
                    table.insert(Some(bytes(zero, table.parameters.element))).unwrap();
                }
                choice => {
                    let Some(tid) = table.any_row() else { continue };
                    if choice < 75 { _ = table.update(tid).unwrap() } else { table.delete(tid) }
                }
            }
        }
        verify(table);
        table.vacuum().unwrap();
        table.assert_sound(&[
            "cannot be reached",
            "stale",
            "tombstone",
            "duplicate",
            "itself",
            "owner",
            "entry",
            "code",
        ]);
        verify(table);
    }
}

fn verify(table: &mut Table) {
    let query = table.random_vector();
    table.assert_complete(Some(&query), OPTIONS);
    table.assert_complete(Some(&query), ScanOptions { ef_search: 1, max_tuples: 30, ..OPTIONS });
    table.assert_complete(Some(&query), ScanOptions { memory: 2000, ef_search: 10, ..OPTIONS });
    table.assert_complete(Some(&query), ScanOptions { iterative: IterativeScan::RelaxedOrder, ..OPTIONS });
    table.assert_complete(None, OPTIONS);
    let zero = vec![0.0; table.parameters.dimensions];
    table.assert_complete(Some(&bytes(zero, table.parameters.element)), OPTIONS);
}

#[test]
fn every_row_is_found_after_churn() {
    for metric in [Metric::L2, Metric::InnerProduct, Metric::Cosine, Metric::L1] {
        let mut table = Table::new(MemoryStore::new(), parameters(8, metric));
        churn(&mut table, 4, 250);
        if metric != Metric::InnerProduct {
            let recall = table.recall(10, 20, OPTIONS);
            assert!(recall > 0.95, "{metric:?}: {recall}");
        }
    }
}

#[test]
fn rows_of_binary16_are_found_after_churn() {
    let parameters = Parameters { element: ElementType::F16, ..parameters(5, Metric::L2) };
    churn(&mut Table::new(MemoryStore::new(), parameters), 3, 200);
}

/// Payloads are not of one length.
#[test]
fn sparse_rows_are_found_after_churn() {
    for metric in [Metric::L2, Metric::InnerProduct, Metric::Cosine, Metric::L1] {
        for (dimensions, rounds, operations) in [(2, 2, 100), (40, 4, 250), (900, 2, 150)] {
            let mut table = Table::new(MemoryStore::new(), sparse(dimensions, metric));
            churn(&mut table, rounds, operations);
            if rounds > 2 && metric != Metric::InnerProduct {
                let recall = table.recall(10, 20, OPTIONS);
                assert!(recall > 0.95, "{metric:?} {dimensions}: {recall}");
            }
        }
    }
}

/// Small integers are distances of many rows at once, and under Jaccard a zero vector is as far from itself
/// as from all others.
#[test]
fn rows_of_bits_are_found_after_churn() {
    for metric in [Metric::Hamming, Metric::Jaccard] {
        for (dimensions, rounds, operations) in [(1, 2, 100), (20, 4, 250), (133, 3, 200), (64_000, 2, 40)] {
            let parameters = Parameters { element: ElementType::Bit, ..parameters(dimensions, metric) };
            let mut table = Table::new(MemoryStore::new(), parameters);
            churn(&mut table, rounds, operations);
            if rounds > 2 {
                let recall = table.recall(10, 20, OPTIONS);
                assert!(recall > 0.95, "{metric:?} {dimensions}: {recall}");
            }
        }
    }
}

#[test]
fn rows_are_found_by_codes_after_churn() {
    for (metric, bits, payload) in [
        (Metric::L2, 4, PayloadEncoding::Column),
        (Metric::Cosine, 4, PayloadEncoding::F16),
        (Metric::InnerProduct, 2, PayloadEncoding::F16),
        (Metric::L2, 1, PayloadEncoding::Sq8),
    ] {
        let mut table = Table::new(MemoryStore::new(), coded(24, metric, bits, payload));
        churn(&mut table, 4, 250);
        if bits == 4 {
            let recall = table.recall(10, 20, OPTIONS);
            assert!(recall > 0.95, "{metric:?}: {recall}");
        }
    }
}

#[test]
fn rows_are_found_by_codes_alone_after_churn() {
    for payload in [PayloadEncoding::Column, PayloadEncoding::F16, PayloadEncoding::Sq8] {
        churn(&mut Table::new(MemoryStore::new(), coded(3000, Metric::L2, 1, payload)), 3, 60);
    }
    churn(&mut Table::new(MemoryStore::new(), coded(16000, Metric::Cosine, 1, PayloadEncoding::F16)), 2, 40);
}

#[test]
fn a_node_a_page_is_found_after_churn() {
    churn(&mut Table::new(MemoryStore::new(), parameters(1536, Metric::Cosine)), 2, 60);
}

#[test]
fn payloads_apart_are_found_after_churn() {
    churn(&mut Table::new(MemoryStore::new(), parameters(2500, Metric::L2)), 3, 60);
    churn(&mut Table::new(MemoryStore::new(), parameters(16000, Metric::InnerProduct)), 2, 40);
}

#[test]
fn many_rows_share_a_vector() {
    let mut table = Table::new(MemoryStore::new(), parameters(3, Metric::L2));
    let vector = table.random_vector();
    let mut tids: Vec<_> = (0..300).map(|_| table.insert(Some(vector.clone())).unwrap()).collect();
    assert_eq!(statistics(&table.index()).unwrap().nodes(), 1);
    table.assert_complete(Some(&vector), OPTIONS);
    // Every second row dies, then all but the last ten: the chain shrinks from the middle and from its ends.
    tids.iter().step_by(2).for_each(|tid| table.delete(*tid));
    table.vacuum().unwrap();
    table.assert_sound(&["owner"]);
    table.assert_complete(Some(&vector), OPTIONS);
    tids.retain(|tid| table.rows.contains_key(tid));
    tids[..tids.len() - 10].iter().for_each(|tid| table.delete(*tid));
    table.vacuum().unwrap();
    table.assert_sound(&["owner"]);
    table.assert_complete(Some(&vector), OPTIONS);
    for tid in tids.split_off(tids.len() - 10) {
        table.update(tid).unwrap();
    }
    assert_eq!(statistics(&table.index()).unwrap().nodes(), 1);
    let rows: Vec<_> = table.rows.keys().copied().collect();
    rows.iter().for_each(|tid| table.delete(*tid));
    table.vacuum().unwrap();
    assert_eq!(statistics(&table.index()).unwrap().nodes(), 0);
    table.assert_complete(Some(&vector), OPTIONS);
}

#[test]
fn space_is_reused() {
    for dimensions in [64, 2500] {
        let mut table = Table::new(MemoryStore::new(), parameters(dimensions, Metric::L2));
        let mut pages = Vec::new();
        for _ in 0..8 {
            for _ in 0..60 {
                let vector = table.random_vector();
                table.insert(Some(vector)).unwrap();
            }
            pages.push(table.store.block_count().unwrap());
            let rows: Vec<_> = table.rows.keys().copied().collect();
            rows.iter().take(60).for_each(|tid| table.delete(*tid));
            table.vacuum().unwrap();
        }
        assert!(pages[7] <= pages[0] + pages[0] / 4, "{pages:?}");
    }
}

/// Of rows outside of the graph, and of those that share a node, any half goes again and again: what is left
/// of the tuples that list them is put together, and their space serves others.
#[test]
fn tuples_of_heap_tids_are_refilled() {
    // Where nodes are large, what is given up on a page is less than a node needs.
    for (dimensions, kind) in [(8, 0), (8, 1), (8, 2), (1500, 0), (1500, 2)] {
        let mut table = Table::new(MemoryStore::new(), parameters(dimensions, Metric::Cosine));
        let elements = |value: f32| bytes(vec![value; dimensions], ElementType::F32);
        let value = [None, Some(elements(0.0)), Some(elements(1.0))][kind].clone();
        let mut pages = Vec::new();
        for _ in 0..12 {
            while table.rows.len() < 5000 {
                table.insert(value.clone()).unwrap();
            }
            pages.push(table.store.block_count().unwrap());
            let rows: Vec<_> = table.rows.keys().copied().collect();
            for tid in rows {
                if table.random.random_range(0..2) == 0 {
                    table.delete(tid);
                }
            }
            table.vacuum().unwrap();
            table.assert_sound(&["owner"]);
        }
        assert!(pages[11] <= 2 * pages[0], "{dimensions} dimensions, kind {kind}: {pages:?}");
        table.assert_complete(Some(&elements(1.0)), OPTIONS);
    }
}

/// Who inserts while an old snapshot is held finds no space, and takes none of it from those who come later.
/// What lies apart from its node becomes free with the node's slot.
#[test]
fn space_waits_for_old_snapshots() {
    for dimensions in [64, 2500] {
        let mut table = Table::new(MemoryStore::new(), parameters(dimensions, Metric::L2));
        let insert = |table: &mut Table, store: &MemoryStore, row| {
            let vector = table.random_vector();
            Index::open(store, &()).unwrap().insert(&vector, HeapTid::new(1000, row), false).unwrap();
        };
        let store = std::mem::take(&mut table.store);
        (1..=60).for_each(|row| insert(&mut table, &store, row));
        let full = store.block_count().unwrap();
        let snapshot = store.hold_snapshot();
        let index = Index::open(&store, &()).unwrap();
        bulk_delete(&index, MEMORY, &mut |_| true).unwrap();
        (1..=60).for_each(|row| insert(&mut table, &store, row));
        let twice = store.block_count().unwrap();
        assert!((2 * full - 4..=2 * full).contains(&twice), "{full} and then {twice} pages");
        drop(snapshot);
        (61..=120).for_each(|row| insert(&mut table, &store, row));
        let later = store.block_count().unwrap();
        let most = twice + if dimensions == 64 { 1 } else { full / 3 };
        assert!(later <= most, "{full}, {twice} and then {later} pages");
    }
}

/// A vacuum that knows few tombstones at a time repairs as well as one that knows them all.
#[test]
fn vacuums_with_little_memory() {
    for memory in [0, 1000, 10_000] {
        let mut table = Table::new(MemoryStore::new(), parameters(8, Metric::L2));
        for _ in 0..1000 {
            let vector = table.random_vector();
            table.insert(Some(vector)).unwrap();
        }
        let rows: Vec<_> = table.rows.keys().copied().collect();
        rows.iter().filter(|tid| tid.offset() % 3 > 0).for_each(|tid| table.delete(*tid));
        let statistics = bulk_delete(&table.index(), memory, &mut |tid| table.dead.contains(&tid)).unwrap();
        assert_eq!(statistics.heap_tids_removed, table.dead.len() as u64);
        table.assert_sound(&["cannot be reached", "stale", "tombstone", "duplicate"]);
        let recall = table.recall(10, 60, OPTIONS);
        assert!(recall > 0.97, "{memory} bytes: {recall}");
    }
}

#[test]
fn an_old_snapshot_delays_reuse() {
    let mut table = Table::new(MemoryStore::new(), parameters(64, Metric::L2));
    for _ in 0..60 {
        let vector = table.random_vector();
        table.insert(Some(vector)).unwrap();
    }
    let rows: Vec<_> = table.rows.keys().copied().collect();
    rows.iter().for_each(|tid| table.delete(*tid));
    let store = std::mem::take(&mut table.store);
    let snapshot = store.hold_snapshot();
    let index = Index::open(&store, &()).unwrap();
    bulk_delete(&index, MEMORY, &mut |_| true).unwrap();
    cleanup(&index, MEMORY).unwrap();
    assert_eq!(statistics(&index).unwrap().tombstones, 60);
    let vector = table.random_vector();
    index.insert(&vector, rows[0], false).unwrap();
    assert_eq!(statistics(&index).unwrap().tombstones, 60);
    drop(snapshot);
    cleanup(&index, MEMORY).unwrap();
    assert_eq!(statistics(&index).unwrap().tombstones, 0);
}

/// What was unlinked is free at once where nobody holds a snapshot, also when a later vacuum looks; otherwise
/// when the snapshots of that moment are gone, whatever others there are.
#[test]
fn space_is_free_as_soon_as_nobody_looks() {
    let mut table = Table::new(MemoryStore::new(), parameters(64, Metric::L2));
    let store = std::mem::take(&mut table.store);
    let index = Index::open(&store, &()).unwrap();
    let mut unlink = || {
        let vector = table.random_vector();
        index.insert(&vector, HeapTid::new(1000, 1), false).unwrap();
        bulk_delete(&index, MEMORY, &mut |_| true).unwrap();
    };
    let cycles = || {
        let Meta { cycle, repaired_cycle, reusable_cycle, .. } = Meta::read(&store).unwrap();
        assert_eq!(cycle, repaired_cycle);
        (repaired_cycle, reusable_cycle)
    };
    unlink();
    assert_eq!(cycles(), (1, 1));
    assert_eq!(cleanup(&index, MEMORY).unwrap(), None);
    unlink();
    assert_eq!(statistics(&index).unwrap().tombstones, 1, "the slot of the first one was reused");

    let snapshot = store.hold_snapshot();
    unlink();
    assert_eq!(cycles(), (3, 2));
    assert_eq!(cleanup(&index, MEMORY).unwrap(), None);
    drop(snapshot);
    assert_eq!(cleanup(&index, MEMORY).unwrap().unwrap().tombstones_removed, 1);
    assert_eq!(cycles(), (3, 3));

    let old = store.hold_snapshot();
    unlink();
    let _young = store.hold_snapshot();
    assert_eq!(cleanup(&index, MEMORY).unwrap(), None);
    drop(old);
    assert_eq!(cleanup(&index, MEMORY).unwrap().unwrap().tombstones_removed, 1);
    assert_eq!(cycles(), (4, 4));
}

#[test]
fn the_graph_stays_good_when_most_rows_die() {
    let mut table = Table::new(MemoryStore::new(), parameters(8, Metric::L2));
    for _ in 0..2000 {
        let vector = table.random_vector();
        table.insert(Some(vector)).unwrap();
    }
    for _ in 0..3 {
        let rows: Vec<_> = table.rows.keys().copied().collect();
        for tid in rows {
            if table.random.random_range(0..3) > 0 {
                table.delete(tid);
            }
        }
        table.vacuum().unwrap();
        table.assert_sound(&["cannot be reached", "stale", "tombstone"]);
        let mut fresh = Table::new(MemoryStore::new(), table.parameters);
        for row in table.rows.values() {
            fresh.insert(row.clone()).unwrap();
        }
        let (repaired, fresh) = (table.recall(10, 60, OPTIONS), fresh.recall(10, 60, OPTIONS));
        assert!(repaired >= fresh - 0.02, "{} rows: {repaired}, {fresh} without deletions", table.rows.len());
    }
}

/// What lies apart from the centroid is measured on pages as in RAM: rows that come to an empty index, live
/// ones only.
#[test]
fn an_index_that_was_empty_recommends_reindex() {
    for (dimensions, payload) in
        [(24, PayloadEncoding::Sq8), (24, PayloadEncoding::Column), (3000, PayloadEncoding::F16)]
    {
        let parameters = coded(dimensions, Metric::L2, 1, payload);
        let mut table = Table::new(MemoryStore::new(), parameters);
        let drift = |table: &Table| statistics(&table.index()).unwrap().centroid_drift;
        assert_eq!(drift(&table), None);
        let (mut here, mut there) = (Vec::new(), Vec::new());
        for _ in 0..60 {
            for (rows, mean) in [(&mut here, 0.0), (&mut there, 9.0)] {
                let elements = (0..dimensions).map(|_| mean + table.random.random_range(-1.0..1.0f32));
                let vector = bytes(elements.collect::<Vec<_>>(), ElementType::F32);
                rows.push(table.insert(Some(vector)).unwrap());
            }
        }
        assert!(statistics(&table.index()).unwrap().reindex_recommended(), "{dimensions}");
        there.into_iter().for_each(|row| table.delete(row));
        table.vacuum().unwrap();
        let drift = drift(&table).unwrap();
        assert!(drift < 0.05, "{dimensions}: {drift}");
        assert!(!statistics(&table.index()).unwrap().reindex_recommended());
    }
}
