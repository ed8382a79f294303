//! Inserts, joins, scans and vacuums at once.

use crate::batch::{Batch, Way};
use crate::table::{MEMORY, OPTIONS, Table, bytes, coded, exact_scan, parameters};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Barrier, Mutex};
use walia_core::page::scan::{Next, ScanOptions};
use walia_core::page::vacuum::{bulk_delete, cleanup};
use walia_core::page::{Index, MemoryStore};
use walia_core::types::{ElementType, HeapTid, Metric, Parameters, PayloadEncoding};

/// The heap, as far as visibility goes: which rows are committed, and when those that were deleted were.
#[derive(Default)]
struct Heap {
    rows: BTreeMap<HeapTid, Vec<u8>>,
    deleted: BTreeMap<HeapTid, u64>,
    /// Counts deletions and snapshots.
    clock: u64,
    /// Snapshots in use.
    snapshots: Vec<u64>,
}

struct Shared {
    store: MemoryStore,
    heap: Mutex<Heap>,
    next_row: AtomicU32,
    done: AtomicBool,
    parameters: Parameters,
}

impl Shared {
    /// Few different vectors, so that many rows share one.
    fn vector(&self, random: &mut SmallRng) -> Vec<u8> {
        let range = if random.random_range(0..4) == 0 { 0..3 } else { -1000..1000 };
        let elements: Vec<f32> =
            (0..self.parameters.dimensions).map(|_| random.random_range(range.clone()) as f32).collect();
        bytes(elements, ElementType::F32)
    }

    /// The heap TID of the next row.
    fn next_tid(&self) -> HeapTid {
        let row = self.next_row.fetch_add(1, Ordering::Relaxed);
        HeapTid::new(row / 20, (row % 20) as u16 + 1)
    }

    /// Joins rows in batches.
    fn join(&self, seed: u64, rows: usize, batches: usize) {
        let mut random = SmallRng::seed_from_u64(seed);
        for _ in 0..batches {
            let rows =
                (0..rows / batches).map(|_| (self.next_tid(), Some(self.vector(&mut random)))).collect();
            let way = if random.random() { Way::Adopting } else { Way::Searching };
            let batch = Batch::of_rows(self.parameters, way, rows);
            batch.join(&Index::open(&self.store, &()).unwrap()).unwrap();
            let rows = batch.rows.into_iter().filter_map(|(tid, value)| Some((tid, value?)));
            self.heap.lock().unwrap().rows.extend(rows);
        }
    }

    fn insert_and_delete(&self, seed: u64, rows: usize) {
        let mut random = SmallRng::seed_from_u64(seed);
        for _ in 0..rows {
            let tid = self.next_tid();
            let mut vector = self.vector(&mut random);
            let mut unchanged = false;
            if random.random_range(0..2) == 0 {
                let mut heap = self.heap.lock().unwrap();
                let number = random.random_range(0..heap.rows.len().max(1));
                if let Some((old, value)) = heap.rows.iter().nth(number).map(|(tid, row)| (*tid, row.clone()))
                {
                    heap.rows.remove(&old);
                    heap.clock += 1;
                    let clock = heap.clock;
                    heap.deleted.insert(old, clock);
                    unchanged = random.random_range(0..3) == 0;
                    if unchanged {
                        vector = value;
                    }
                }
            }
            Index::open(&self.store, &()).unwrap().insert(&vector, tid, unchanged).unwrap();
            self.heap.lock().unwrap().rows.insert(tid, vector);
        }
    }

    /// Scans to the end; every row that the snapshot sees must be given once.
    fn scan(&self, seed: u64) {
        let mut random = SmallRng::seed_from_u64(seed);
        while !self.done.load(Ordering::Relaxed) {
            let query = self.vector(&mut random);
            let snapshot = self.store.hold_snapshot();
            let (clock, visible) = {
                let mut heap = self.heap.lock().unwrap();
                heap.clock += 1;
                let clock = heap.clock;
                heap.snapshots.push(clock);
                (clock, heap.rows.keys().copied().collect::<BTreeSet<_>>())
            };
            let options = ScanOptions { ef_search: 20, max_tuples: random.random_range(0..400), ..OPTIONS };
            let mut scan = exact_scan(Index::open(&self.store, &()).unwrap(), Some(&query), options);
            let mut seen = BTreeSet::new();
            while let Next::Row(hit) = scan.next().unwrap() {
                if visible.contains(&hit.heap_tid) {
                    assert!(seen.insert(hit.heap_tid), "{:?} was given twice", hit.heap_tid);
                }
            }
            let missing: Vec<_> = visible.difference(&seen).collect();
            assert!(missing.is_empty(), "{missing:?} were not given");
            drop(snapshot);
            self.heap.lock().unwrap().snapshots.retain(|held| *held != clock);
        }
    }

    fn vacuum(&self) {
        let index = Index::open(&self.store, &()).unwrap();
        let dead: BTreeSet<HeapTid> = {
            let heap = self.heap.lock().unwrap();
            let oldest = heap.snapshots.iter().copied().min().unwrap_or(u64::MAX);
            heap.deleted.iter().filter(|(_, clock)| **clock < oldest).map(|(tid, _)| *tid).collect()
        };
        let mut asked = BTreeSet::new();
        bulk_delete(&index, MEMORY, &mut |tid| {
            assert!(asked.insert(tid), "asked twice about {tid:?}");
            dead.contains(&tid)
        })
        .unwrap();
        assert!(dead.is_subset(&asked));
        cleanup(&index, MEMORY).unwrap();
        self.heap.lock().unwrap().deleted.retain(|tid, _| !dead.contains(tid));
    }
}

fn stress(parameters: Parameters, rows: usize) {
    let Table { store, .. } = Table::new(MemoryStore::new(), parameters);
    let (heap, next_row, done) = (Mutex::default(), AtomicU32::new(0), AtomicBool::new(false));
    let shared = Shared { store, heap, next_row, done, parameters };
    std::thread::scope(|scope| {
        let inserters: Vec<_> = (0..4)
            .map(|seed| {
                scope.spawn({
                    let shared = &shared;
                    move || match seed {
                        0 => shared.join(seed, rows, 6),
                        _ => shared.insert_and_delete(seed, rows),
                    }
                })
            })
            .collect();
        let others = [
            scope.spawn(|| shared.scan(10)),
            scope.spawn(|| {
                while !shared.done.load(Ordering::Relaxed) {
                    shared.vacuum()
                }
            }),
        ];
        let inserted: Vec<_> = inserters.into_iter().map(|thread| thread.join()).collect();
        shared.done.store(true, Ordering::Relaxed);
        for result in inserted.into_iter().chain(others.into_iter().map(|thread| thread.join())) {
            result.unwrap();
        }
    });
    let Shared { store, heap, .. } = shared;
    let heap = heap.into_inner().unwrap();
    let mut table = Table::new(MemoryStore::new(), parameters);
    table.store = store;
    table.rows = heap.rows.into_iter().map(|(tid, row)| (tid, Some(row))).collect();
    table.dead = heap.deleted.into_keys().collect();
    table.assert_sound(&[]);
    table.vacuum().unwrap();
    table.assert_sound(&["tombstone", "duplicate", "itself", "owner", "did not end"]);
    let query = table.random_vector();
    table.assert_complete(Some(&query), OPTIONS);
}

#[test]
fn nodes_on_one_page() {
    stress(parameters(4, Metric::L2), 1500);
}

#[test]
fn payloads_apart() {
    stress(parameters(2500, Metric::L2), 120);
}

#[test]
fn codes() {
    stress(coded(24, Metric::L2, 2, PayloadEncoding::Column), 500);
}

#[test]
fn many_levels() {
    stress(Parameters { m: 2, m0: 4, ef_construction: 20, ..parameters(2, Metric::L1) }, 1500);
}

#[test]
fn first_rows_at_once() {
    let parameters = parameters(2, Metric::L2);
    for round in 0..200u16 {
        let table = Table::new(MemoryStore::new(), parameters);
        let barrier = Barrier::new(4);
        std::thread::scope(|scope| {
            for thread in 0..4u16 {
                let (table, barrier) = (&table, &barrier);
                scope.spawn(move || {
                    let vector = bytes([f32::from(thread), f32::from(round)], ElementType::F32);
                    barrier.wait();
                    let tid = HeapTid::new(u32::from(round), thread + 1);
                    table.index().insert(&vector, tid, false).unwrap();
                });
            }
        });
        table.assert_sound(&["cannot be reached", "entry point"]);
    }
}
