//! One operation at every point of another, in one thread.

use crate::repair::make_stale;
use crate::table::{MEMORY, OPTIONS, Table, coded, exact_scan, parameters};
use std::cell::Cell;
use std::collections::BTreeSet;
use walia_core::page::format::node::Node;
use walia_core::page::format::owned::Owned;
use walia_core::page::format::tuple::{AsideKind, TupleKind};
use walia_core::page::scan::{Next, ScanOptions};
use walia_core::page::store;
use walia_core::page::store::memory::{MemoryRead, MemoryUnit};
use walia_core::page::vacuum::{bulk_delete, cleanup};
use walia_core::page::{FreeSpace, Index, MemoryStore, Meta, Pages, Prefetch, WriteUnit, statistics};
use walia_core::types::{Error, HeapTid, Link, Metric, Parameters, PayloadEncoding, Result};

/// A store as one session uses it: before each of its reads and units, when it has nothing locked, others may
/// work.
pub struct Session<'s, Others> {
    store: &'s MemoryStore,
    /// What the others do before the read or unit of a number, counted from 0.
    others: Others,
    /// Reads and units so far.
    pub steps: Cell<usize>,
}

impl<'s, Others: Fn(usize)> Session<'s, Others> {
    /// A session beside these others.
    pub fn new(store: &'s MemoryStore, others: Others) -> Self {
        Self { store, others, steps: Cell::new(0) }
    }

    fn step(&self) {
        let step = self.steps.get();
        self.steps.set(step + 1);
        (self.others)(step);
    }
}

impl<Others: Fn(usize)> Pages for Session<'_, Others> {
    type Read<'a>
        = MemoryRead<'a>
    where
        Self: 'a;
    type Write<'a>
        = MemoryUnit<'a>
    where
        Self: 'a;

    fn block_count(&self) -> Result<u32> {
        self.store.block_count()
    }

    fn read(&self, block: u32) -> Result<MemoryRead<'_>> {
        self.step();
        self.store.read(block)
    }

    fn begin(&self) -> MemoryUnit<'_> {
        self.step();
        self.store.begin()
    }
}

impl<Others> Prefetch for Session<'_, Others> {}

impl<Others> FreeSpace for Session<'_, Others> {
    fn page_with_free_space(&self, bytes: usize) -> Option<u32> {
        self.store.page_with_free_space(bytes)
    }

    fn record_free_space(&self, block: u32, bytes: usize) {
        self.store.record_free_space(block, bytes);
    }

    fn lower_free_space(&self, block: u32, bytes: usize) {
        self.store.lower_free_space(block, bytes);
    }

    fn target_page(&self) -> Option<u32> {
        self.store.target_page()
    }

    fn set_target_page(&self, block: Option<u32>) {
        self.store.set_target_page(block);
    }
}

impl<Others> store::Session for Session<'_, Others> {
    fn interrupt_point(&self) {
        self.store.interrupt_point();
    }

    fn next_transaction(&self) -> u64 {
        self.store.next_transaction()
    }

    fn is_older_than_all_snapshots(&self, transaction: u64) -> bool {
        self.store.is_older_than_all_snapshots(transaction)
    }

    fn is_alone(&self) -> bool {
        self.store.is_alone()
    }

    fn affinity(&self) -> usize {
        self.store.affinity()
    }
}

/// A table of rows that all have one vector, and their heap TIDs, the oldest first.
pub fn rows_that_share_a_vector(rows: usize) -> (Table, Vec<u8>, Vec<HeapTid>) {
    let mut table = Table::new(MemoryStore::new(), parameters(3, Metric::L2));
    let vector = table.random_vector();
    let tids = (0..rows).map(|_| table.insert(Some(vector.clone())).unwrap()).collect();
    (table, vector, tids)
}

/// At every step of a scan, a vacuum takes tuples out of the chain that is read, or puts what is left of two
/// into one, and inserts take their slots.
#[test]
fn a_chain_is_read_while_it_changes() {
    // The newest of its tuples die, some from the middle, the oldest, and half of each.
    for (dead, step) in [(60..150, 1), (40..110, 1), (0..80, 1), (0..150, 2)] {
        for max_tuples in [0, OPTIONS.max_tuples] {
            for at in 0.. {
                let (mut table, vector, tids) = rows_that_share_a_vector(150);
                tids[dead.clone()].iter().step_by(step).for_each(|tid| table.delete(*tid));
                let others = |step| {
                    if step == at {
                        let index = table.index();
                        bulk_delete(&index, MEMORY, &mut |tid| table.dead.contains(&tid)).unwrap();
                        for row in 1..=80 {
                            index.insert(&vector, HeapTid::new(1000, row), true).unwrap();
                        }
                    }
                };
                let session = Session::new(&table.store, others);
                let options = ScanOptions { max_tuples, ..OPTIONS };
                let mut scan = exact_scan(Index::open(&session, &()).unwrap(), Some(&vector), options);
                let mut seen = BTreeSet::new();
                while let Next::Row(hit) = scan.next().unwrap() {
                    assert!(seen.insert(hit.heap_tid), "step {at}: {:?} was given twice", hit.heap_tid);
                }
                assert!(table.rows.keys().all(|tid| seen.contains(tid)), "step {at}: a row was not given");
                if session.steps.get() <= at {
                    break;
                }
            }
        }
    }
}

/// At every step of a scan, a vacuum puts what is left of several tuples of rows outside of the graph into
/// one.
#[test]
fn rows_aside_are_read_while_they_move() {
    for at in 0.. {
        let mut table = Table::new(MemoryStore::new(), parameters(3, Metric::Cosine));
        let values = [None, Some(vec![0; 12])].into_iter().cycle();
        let tids: Vec<HeapTid> = values.take(1200).map(|value| table.insert(value).unwrap()).collect();
        tids.into_iter().filter(|tid| tid.offset() % 4 > 0).for_each(|tid| table.delete(tid));
        let others = |step| {
            if step == at {
                bulk_delete(&table.index(), MEMORY, &mut |tid| table.dead.contains(&tid)).unwrap();
                (1..=80).for_each(|row| {
                    table.index().insert_aside(AsideKind::Null, HeapTid::new(1000, row)).unwrap();
                });
            }
        };
        let session = Session::new(&table.store, others);
        let mut scan = exact_scan(Index::open(&session, &()).unwrap(), None, OPTIONS);
        let mut seen = BTreeSet::new();
        while let Next::Row(hit) = scan.next().unwrap() {
            assert!(seen.insert(hit.heap_tid), "step {at}: {:?} was given twice", hit.heap_tid);
        }
        assert!(table.rows.keys().all(|tid| seen.contains(tid)), "step {at}: a row was not given");
        if session.steps.get() <= at {
            break;
        }
    }
}

/// A chain that lacks a tuple for good is told apart from one that a vacuum has shortened.
#[test]
fn a_chain_without_an_end_is_an_error() {
    let (table, vector, _) = rows_that_share_a_vector(150);
    let mut oldest = Link::NONE;
    for block in 2..table.store.block_count().unwrap() {
        let page = table.store.read(block).unwrap();
        for slot in 1..=page.slot_count() {
            let Some(tuple) = Owned::in_slot(&page, block, slot).unwrap() else { continue };
            if tuple.header().kind == TupleKind::HeapTids as u8 && tuple.header().next.is_none() {
                oldest = Link { block, slot, version: tuple.header().version };
            }
        }
    }
    let mut unit = table.store.begin();
    unit.lock(oldest.block).unwrap();
    unit.edit(oldest.block).remove_tuple(oldest.block, oldest.slot).unwrap();
    unit.commit().unwrap();
    let broken = |error| matches!(error, Error::Corrupt { what: "broken heap TID chain", .. });
    assert!(table.scan(Some(&vector), OPTIONS).is_err_and(broken));
    assert!(bulk_delete(&table.index(), MEMORY, &mut |_| false).is_err_and(broken));
}

/// At every step of an insertion, a vacuum runs, to its end or until it is cancelled after some commits.
fn insert_beside_a_vacuum(parameters: Parameters, rows: usize) {
    for at in 0.. {
        let mut steps = 0;
        for commits in 0.. {
            let mut table = Table::new(MemoryStore::new(), parameters);
            for _ in 0..rows {
                let vector = table.random_vector();
                table.insert(Some(vector)).unwrap();
            }
            if rows.is_multiple_of(2)
                && let Some(tid) = table.any_row()
            {
                table.delete(tid);
            }
            let (tid, vector) = (HeapTid::new(1000, 1), table.random_vector());
            let ended = Cell::new(true);
            let others = |step| {
                if step == at {
                    table.store.stop_after(table.store.commits() + commits);
                    let result = bulk_delete(&table.index(), MEMORY, &mut |tid| table.dead.contains(&tid));
                    assert!(matches!(result, Ok(_) | Err(Error::Crashed)), "{result:?}");
                    table.store.stop_after(u64::MAX);
                    ended.set(result.is_ok());
                }
            };
            let session = Session::new(&table.store, others);
            Index::open(&session, &()).unwrap().insert(&vector, tid, false).unwrap();
            steps = session.steps.get();
            table.rows.insert(tid, Some(vector.clone()));
            table.assert_sound(&[]);
            table.assert_complete(Some(&vector), OPTIONS);
            table.vacuum().unwrap();
            table.vacuum().unwrap();
            table.assert_sound(&["did not end", "owner", "tombstone"]);
            table.assert_complete(Some(&vector), OPTIONS);
            assert_eq!(statistics(&table.index()).unwrap().pending_nodes, 0);
            if ended.get() {
                break;
            }
        }
        if steps <= at {
            break;
        }
    }
}

#[test]
fn a_vacuum_beside_an_insertion() {
    for rows in 0..10 {
        insert_beside_a_vacuum(Parameters { m: 2, m0: 4, ..parameters(8, Metric::L2) }, rows);
        insert_beside_a_vacuum(coded(24, Metric::Cosine, 4, PayloadEncoding::F16), rows);
    }
}

/// A vacuum that meets parts of the payload before their node must not take them for orphans.
#[test]
fn a_vacuum_beside_an_insertion_with_payloads_apart() {
    // Few nodes fill a page, and the last part of a payload fits in the room that they leave.
    let parameters = Parameters { m: 2, m0: 200, ..parameters(2040, Metric::L2) };
    for rows in 3..8 {
        insert_beside_a_vacuum(parameters, rows);
    }
}

/// At every step of a vacuum that takes half of the rows, the entry point among them, a row is inserted. What
/// died is not listed again, and no link is made twice.
#[test]
fn an_insertion_beside_a_vacuum() {
    for parameters in [parameters(8, Metric::L2), coded(24, Metric::Cosine, 4, PayloadEncoding::F16)] {
        for at in 0.. {
            let mut table = Table::new(MemoryStore::new(), Parameters { m: 2, m0: 4, ..parameters });
            for _ in 0..24 {
                let vector = table.random_vector();
                table.insert(Some(vector)).unwrap();
            }
            let (layout, entry) =
                (table.index().schema.layout, Meta::read(&table.store).unwrap().entry_point);
            let page = *table.store.read(entry.block).unwrap();
            let node = Node::at(&layout, &page, entry).unwrap().unwrap();
            let mut dead: BTreeSet<HeapTid> = node.heap_tids().iter().copied().collect();
            dead.extend(table.rows.keys().step_by(2));
            dead.into_iter().for_each(|tid| table.delete(tid));
            let (tid, vector) = (HeapTid::new(1000, 1), table.random_vector());
            let others = |step| {
                if step == at {
                    table.index().insert(&vector, tid, false).unwrap();
                }
            };
            let session = Session::new(&table.store, others);
            let index = Index::open(&session, &()).unwrap();
            bulk_delete(&index, MEMORY, &mut |tid| table.dead.contains(&tid)).unwrap();
            if session.steps.get() <= at {
                break;
            }
            table.rows.insert(tid, Some(vector.clone()));
            table.assert_sound(&["stale", "tombstone", "duplicate", "itself", "no entry point"]);
            table.assert_complete(Some(&vector), OPTIONS);
        }
    }
}

/// At every step of an insertion, others insert the same vector and a near one.
#[test]
fn insertions_of_neighbours() {
    for parameters in [parameters(8, Metric::L2), coded(24, Metric::L2, 4, PayloadEncoding::Column)] {
        for rows in [0, 1, 12] {
            for at in 0.. {
                let mut table = Table::new(MemoryStore::new(), Parameters { m: 2, m0: 4, ..parameters });
                for _ in 0..rows {
                    let vector = table.random_vector();
                    table.insert(Some(vector)).unwrap();
                }
                let vector = table.random_vector();
                let mut near = vector.clone();
                near[0] ^= 1;
                let new = [(1, &vector), (2, &vector), (3, &near)]
                    .map(|(row, vector)| (HeapTid::new(1000, row), vector));
                let others = |step| {
                    if step == at {
                        for (tid, vector) in &new[1..] {
                            table.index().insert(vector, *tid, false).unwrap();
                        }
                    }
                };
                let session = Session::new(&table.store, others);
                Index::open(&session, &()).unwrap().insert(new[0].1, new[0].0, false).unwrap();
                if session.steps.get() <= at {
                    break;
                }
                for (tid, vector) in new {
                    table.rows.insert(tid, Some(vector.clone()));
                }
                table.assert_sound(&["stale", "duplicate", "itself", "entry"]);
                table.assert_complete(Some(&vector), OPTIONS);
            }
        }
    }
}

/// At every step of a scan's healing, a vacuum runs, and inserts take slots again.
#[test]
fn healing_beside_a_vacuum() {
    for parameters in [parameters(8, Metric::L2), coded(24, Metric::L2, 4, PayloadEncoding::Column)] {
        for at in 0.. {
            let mut table = Table::new(MemoryStore::new(), Parameters { m: 2, m0: 4, ..parameters });
            for _ in 0..30 {
                let vector = table.random_vector();
                table.insert(Some(vector)).unwrap();
            }
            make_stale(&table);
            let tids: Vec<HeapTid> = table.rows.keys().copied().step_by(3).collect();
            tids.iter().for_each(|tid| table.delete(*tid));
            let (query, new) = (table.random_vector(), table.random_vector());
            let begun = Cell::new(None);
            let others = |step| {
                if begun.get().is_some_and(|begun| step == begun + at) {
                    let index = table.index();
                    bulk_delete(&index, MEMORY, &mut |tid| table.dead.contains(&tid)).unwrap();
                    cleanup(&index, MEMORY).unwrap();
                    for row in 1..=10 {
                        index.insert(&new, HeapTid::new(1000, row), false).unwrap();
                    }
                }
            };
            let session = Session::new(&table.store, others);
            let mut scan = exact_scan(Index::open(&session, &()).unwrap(), Some(&query), OPTIONS);
            assert!(matches!(scan.next().unwrap(), Next::Row(_)));
            begun.set(Some(session.steps.get()));
            scan.heal(usize::MAX).unwrap();
            if session.steps.get() <= begun.get().unwrap_or_default() + at {
                break;
            }
            table.rows.extend((1..=10).map(|row| (HeapTid::new(1000, row), Some(new.clone()))));
            table.assert_sound(&["duplicate", "itself", "tombstone"]);
            table.assert_complete(Some(&query), OPTIONS);
        }
    }
}
