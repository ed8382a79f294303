//! An ordered scan of all rows: nearest first, as far as the caller wants to go.
//!
//! # Two sorted runs
//!
//! The **first run** is a walk of the graph that goes on from its kept frontier whenever the results of its
//! last round have been given. What a later round finds nearer than what was already given is held back, so
//! that the run is sorted. When the graph is exhausted, or enough rows were given, or the memory is used up,
//! the
//! **second run** follows: a linear pass over all pages, which gives every row that the first run did not,
//! sorted by distance; then zero vectors under cosine; then NULLs.
//!
//! # Order
//!
//! Rows come in the order of the distances of the column's own vectors. Where payloads are less precise, a
//! distance is known within bounds, and the column's vector is asked for ([`ColumnVectors`]) only where the
//! bounds of two rows overlap, see `order`.
//!
//! # Why no row is lost or given twice
//!
//! A scan serves one MVCC snapshot and holds no page between two calls. Every row that the snapshot sees was
//! in the index before the snapshot was taken, and stays there at the same node, or on the same page outside
//! of the graph, while it is held: vacuum removes only those that no snapshot sees. So the linear pass meets
//! each such row, and needs to go no further than the index reached when it began. A node is skipped there if
//! the first run gave it: it gave all heap TIDs that the node had then. Those that it got later, and nodes
//! and rows that came later, are invisible to the snapshot. For the same reason a heap TID may be given
//! without a pin on its page: if vacuum removes it and the heap reuses its place, the snapshot does not see
//! the new row.

mod federation;
mod heal;
mod hit;
mod member;
mod nearest;
mod options;
mod order;
mod second_run;
mod sieve;
mod walk;

pub use federation::{Failure, Federation};
pub use hit::{ColumnVectors, Hit, HitClass, Next, RunSorter, TestedTable};
pub use member::Member;
pub use nearest::{Answer, Nearest};
pub use options::{
    Alternative, IterativeScan, LOOK, NearestOptions, Reason, ScanOptions, ScanStats, SecondRunReason,
    doubts, reach, share,
};
pub use walk::Walk;

use crate::page::format::meta::Meta;
use crate::page::query::index::Index;
use crate::page::store::PageStore;
use crate::types::Result;
use second_run::SecondRun;

/// A scan of an index.
pub struct Scan<Store: PageStore, Sorter, Table> {
    /// The first run, which a [`Federation`] may lead.
    pub walk: Walk<Store>,
    second_run: SecondRun,
    /// Why that has begun.
    second_run_reason: Option<SecondRunReason>,
    phase: Phase,
    /// What keeps the rows of the second run.
    pub sorter: Sorter,
    /// The indexed table.
    pub table: Table,
}

enum Phase {
    FirstRun,
    SecondRun,
    End,
}

impl<Store: PageStore, Sorter: RunSorter, Table: ColumnVectors> Scan<Store, Sorter, Table> {
    /// A scan for a query vector of the index's dimensions, or for NULL. Nothing is read yet; the search
    /// begins where the meta page said, which was read after the scan's snapshot was taken: as long as that
    /// is held, the entry point may die, but is not reused. (On a standby it may be: its version tells, and
    /// the second run gives all rows.)
    pub fn new(
        index: Index<Store>,
        meta: Meta,
        query: Option<&[u8]>,
        options: ScanOptions,
        sorter: Sorter,
        table: Table,
    ) -> Self {
        // Where no distance is defined, for NULL and for a zero vector under cosine, there is no walk.
        let query = query.filter(|vector| !index.schema.is_aside(vector));
        let walk = Walk::new(index, meta, query, options);
        let (second_run, second_run_reason) = (SecondRun::default(), None);
        Self { walk, second_run, second_run_reason, phase: Phase::FirstRun, sorter, table }
    }

    /// The index's pages.
    pub fn store(&self) -> &Store {
        self.walk.store()
    }

    /// What the scan did so far.
    pub fn stats(&self) -> ScanStats {
        self.second_run.stats(self.walk.stats())
    }

    /// Why the scan went on with its second run; `None` where it did not.
    pub fn second_run_reason(&self) -> Option<SecondRunReason> {
        self.second_run_reason
    }

    /// The next row.
    #[expect(clippy::should_implement_trait, reason = "a round may end before the rows do")]
    pub fn next(&mut self) -> Result<Next> {
        loop {
            match self.phase {
                Phase::FirstRun => match self.walk.next(&mut self.table)? {
                    Next::End if self.ends_with_walk() => self.phase = Phase::End,
                    Next::End => {
                        self.second_run_reason = Some(self.walk.end_reason());
                        self.walk.free();
                        self.second_run.collect(&mut self.walk, &mut self.sorter, &mut self.table)?;
                        self.phase = Phase::SecondRun;
                    }
                    next => return Ok(next),
                },
                Phase::SecondRun => match self.second_run.next(&mut self.sorter, &mut self.table)? {
                    Some(hit) => return Ok(Next::Row(hit)),
                    None => self.phase = Phase::End,
                },
                Phase::End => return Ok(Next::End),
            }
        }
    }

    fn ends_with_walk(&self) -> bool {
        self.walk.options.iterative == IterativeScan::Off && self.walk.is_ranked()
    }
}
