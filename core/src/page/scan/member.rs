//! One of the tables that are searched for the nearest rows: the walk of its index, and what is kept of its
//! rows until they are given.

use super::hit::{ColumnVectors, Hit, HitClass, RunSorter};
use super::options::ScanStats;
use super::order::Bounds;
use super::second_run::SecondRun;
use super::walk::Walk;
use crate::page::query::heap_tids::HeapTids;
use crate::page::store::PageStore;
use crate::types::{HeapTid, Link, Result};
use hashbrown::HashMap;

/// A table, and the search of its index.
pub struct Member<Store: PageStore, Sorter, Table> {
    pub(super) walk: Walk<Store>,
    /// The indexed table.
    pub table: Table,
    /// What keeps the rows of the second run.
    pub sorter: Sorter,
    /// Nodes of which some rows have passed and others were not tested: those, and their distance.
    pub(super) begun: HashMap<Link, (HeapTids, f64)>,
    /// Rows that have passed when further ones had been given already.
    pub(super) late: Vec<Hit>,
    second_run: SecondRun,
    /// Rows that were tested, and those of them that passed.
    pub(super) tested: u64,
    pub(super) passed: u64,
}

impl<Store: PageStore, Sorter: RunSorter, Table: ColumnVectors> Member<Store, Sorter, Table> {
    pub(super) fn new(walk: Walk<Store>, sorter: Sorter, table: Table) -> Self {
        let second_run = SecondRun::default();
        Self {
            walk,
            table,
            sorter,
            begun: HashMap::new(),
            late: Vec::new(),
            second_run,
            tested: 0,
            passed: 0,
        }
    }

    /// The index's pages.
    pub fn store(&self) -> &Store {
        self.walk.store()
    }

    /// What its walk and its second run did so far, but for rounds, and for the rows that they gave.
    pub fn stats(&self) -> ScanStats {
        let (tested_rows, failed_rows) = (self.tested, self.tested - self.passed);
        ScanStats { tested_rows, failed_rows, ..self.second_run.stats(self.walk.stats()) }
    }

    /// Mends links as [`Scan::heal`](super::Scan::heal) does.
    pub fn heal(&mut self, lists: usize) -> Result<()> {
        self.walk.heal(lists)
    }

    /// Leaves a row that has passed to the second run, which is to begin.
    pub(super) fn add_to_second_run(&mut self, distance: f64, heap_tid: HeapTid) {
        self.sorter.add(HitClass::Vector, Bounds::exact(distance).hit(heap_tid));
    }

    /// Ends the walk, and sorts what was not given with what the pages hold besides.
    pub(super) fn begin_second_run(&mut self) -> Result<()> {
        self.walk.free();
        for hit in self.late.drain(..) {
            self.sorter.add(HitClass::Vector, hit);
        }
        for (node, (mut rows, distance)) in self.begun.drain() {
            while let Some(heap_tid) = rows.next(&self.walk.query.index)? {
                self.sorter.add(HitClass::Vector, Bounds::exact(distance).hit(heap_tid));
            }
            self.walk.given.try_reserve(1)?;
            self.walk.given.insert(node);
        }
        self.second_run.collect(&mut self.walk, &mut self.sorter, &mut self.table)
    }

    /// The next row of the second run, which has begun. It was not tested.
    pub(super) fn next_of_second_run(&mut self) -> Result<Option<Hit>> {
        self.second_run.next(&mut self.sorter, &mut self.table)
    }
}
