//! An ordered scan of all rows: nearest first, as far as the caller wants to go.
//!
//! # Two sorted runs
//!
//! The **first run** is a walk of the graph that goes on from its kept frontier whenever its last `ef_search` results have
//! been given. What a later round finds nearer than what was already given is held back, so that the run is sorted. When the
//! graph is exhausted, or enough rows were given, or the memory is used up, the **second run** follows: a linear pass over all
//! pages, which gives every row that the first run did not, sorted by distance; then zero vectors under cosine; then NULLs.
//!
//! # Order
//!
//! Rows come in the order of the distances of the column's own vectors. Where payloads are less precise, a distance is known
//! within bounds, and the column's vector is asked for ([`ColumnVectors`]) only where the bounds of two rows overlap, see
//! `order`.
//!
//! # Why no row is lost or given twice
//!
//! A scan serves one MVCC snapshot and holds no page between two calls. Every row that the snapshot sees was in the index
//! before the snapshot was taken, and stays there at the same node, or on the same page outside of the graph, while it is held: vacuum removes
//! only those that no snapshot sees. So the linear pass meets each such row, and needs to go no further than the index reached
//! when it began. A node is skipped there if the first run gave it: it gave all heap TIDs that the node had then. Those that it
//! got later, and nodes and rows that came later, are invisible to the snapshot. For the same reason a heap TID may be given
//! without a pin on its page: if vacuum removes it and the heap reuses its place, the snapshot does not see the new row.

pub mod federation;
mod heal;
mod order;
mod second_run;

use crate::graph::{Candidate, LayerSearch, NodeStore, Purpose, SearchStats, descend};
use crate::page::query::heap_tids::HeapTids;
use crate::page::query::index::Index;
use crate::page::query::paged::PagedQuery;
use crate::page::store::PageStore;
use crate::types::{HeapTid, Link, Result};
pub use federation::Federation;
use federation::Member;
use hashbrown::HashSet;
use order::{Bounds, Waiting};
use second_run::SecondRun;
use std::cmp::Ordering;

/// Bytes that a node costs while the walk remembers it: its place in a hash set that is at worst half full, and a candidate.
const REMEMBERED_BYTES: usize = 48;

/// Rows whose pages of the table are asked for when the first row is given: the usual LIMIT. Each time they have been given,
/// twice as many follow.
const ROWS_AHEAD: usize = 10;

/// What follows after the first `ef_search` results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IterativeScan {
    /// Nothing.
    Off,
    /// All other rows, in two sorted runs.
    StrictOrder,
    /// All other rows; the rounds of the walk are sorted each for itself, then follows a sorted run.
    RelaxedOrder,
}

/// How to scan.
#[derive(Clone, Copy, Debug)]
pub struct ScanOptions {
    /// Candidates that the walk keeps, and results of each of its rounds.
    pub ef_search: usize,
    /// What follows after the first round.
    pub iterative: IterativeScan,
    /// Heap TIDs after which no further round of the walk begins.
    pub max_tuples: usize,
    /// Bytes that the walk may remember before no further round begins.
    pub memory: usize,
    /// Scans that a [`Federation`] searches as one; 1 for a scan on its own.
    pub members: usize,
}

/// A row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hit {
    /// Where it is in the heap.
    pub heap_tid: HeapTid,
    /// Its distance as the index ranks it (L2: squared), or the least that it can be; NaN where there is none.
    pub distance: f64,
    /// How much greater it can be: 0, unless payloads are less precise than the column.
    pub uncertainty: f32,
}

/// The parts of the second run, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum HitClass {
    /// A vector of the graph.
    Vector = 0,
    /// A zero vector under cosine.
    ZeroVector = 1,
    /// NULL.
    Null = 2,
}

/// Sorts the second run by class, least distance (NaN last) and heap TID: in RAM, or spilling to disk.
pub trait RunSorter {
    /// Adds a row.
    fn add(&mut self, class: HitClass, hit: Hit);
    /// Called once, after the last row was added.
    fn sort(&mut self);
    /// The next row; its distance is NaN unless it is of [`HitClass::Vector`].
    fn next(&mut self) -> Option<Hit>;
}

/// The indexed table, as a scan needs it.
pub trait ColumnVectors {
    /// Says that rows on these blocks of the table are given next.
    fn prefetch(&mut self, heap_blocks: &[u32]);

    /// For an index whose payloads are less precise than the column: the query's distance from the vector of a row, as the index ranks it; `None` for a row that the scan's snapshot does
    /// not see. Called without any page of the index.
    fn distance(&mut self, heap_tid: HeapTid) -> Option<f64>;
}

/// What a scan did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScanStats {
    /// The walk through the graph.
    pub search: SearchStats,
    /// Rounds of the walk.
    pub rounds: u64,
    /// Heap TIDs given by the first run.
    pub first_run: u64,
    /// Heap TIDs given by the second run.
    pub second_run: u64,
    /// Rows whose vector was asked for because payloads left their order open.
    pub measured_rows: u64,
    /// Links met on layer 0 that lead to nothing, or to tombstones that may be gone at any moment.
    pub stale_links: u64,
    /// Those of them that [`Scan::heal`] replaced or removed.
    pub healed_links: u64,
}

/// A scan of an index.
pub struct Scan<Store: PageStore> {
    query: PagedQuery<Store>,
    /// False when no distance is defined: the query is NULL, or a zero vector under cosine.
    ranked: bool,
    search: LayerSearch<PagedQuery<Store>>,
    options: ScanOptions,
    phase: Phase,
    /// Set while a federation does its search.
    member: Option<Member>,
    /// The results of this round that are still to be given.
    round: Waiting<Link>,
    /// Blocks of the table with rows of this round that were not asked for, in reverse.
    upcoming: Vec<u32>,
    /// Nodes to be given before more of the table is asked for, and how much was asked for last.
    ahead: usize,
    batch: usize,
    /// The heap TIDs of the node that is being given.
    heap_tids: HeapTids,
    /// The bounds of the distance of the node that was given last.
    bounds: Bounds,
    /// Nodes that were given.
    given: HashSet<Link>,
    second_run: SecondRun,
    stats: ScanStats,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Start,
    FirstRun,
    WalkEnded,
    SecondRun,
    End,
}

impl<Store: PageStore> Scan<Store> {
    /// A scan for a query vector of the index's dimensions, or for NULL. Nothing is read yet; the search begins where the
    /// index's meta page said when it was opened, which was after the scan's snapshot was taken: as long as that is held, the
    /// entry point may die, but is not reused. (On a standby it may be: its version tells, and the second run gives all rows.)
    pub fn new(index: Index<Store>, query: Option<&[u8]>, options: ScanOptions) -> Self {
        let ranked = query.filter(|vector| !index.is_aside(vector));
        let query = PagedQuery::new(index, ranked.unwrap_or_default());
        let resumable = options.iterative != IterativeScan::Off;
        let search =
            query.search(Purpose::Scan { resumable }, federation::share(options.ef_search, options.members));
        Self {
            query,
            ranked: ranked.is_some(),
            search,
            options,
            phase: Phase::Start,
            member: Member::new(&options),
            round: Waiting::default(),
            upcoming: Vec::new(),
            ahead: 0,
            batch: ROWS_AHEAD.div_ceil(options.members),
            heap_tids: HeapTids::default(),
            bounds: Bounds::LEAST,
            given: HashSet::new(),
            second_run: SecondRun::default(),
            stats: ScanStats::default(),
        }
    }

    /// The index's pages.
    pub fn store(&self) -> &Store {
        &self.query.index.store
    }

    /// What the scan did so far.
    pub fn stats(&self) -> ScanStats {
        let stale_links = self.stats.stale_links + self.query.stale_links();
        ScanStats { search: self.search.stats, stale_links, ..self.stats }
    }

    /// The next row; none as well where a federation's round is over ([`Scan::is_member`]). `sorter`, always the same, keeps the second run;
    /// `vectors` are those of the table.
    pub fn next(
        &mut self,
        sorter: &mut impl RunSorter,
        vectors: &mut impl ColumnVectors,
    ) -> Result<Option<Hit>> {
        loop {
            match self.phase {
                Phase::Start if self.is_member() => return Ok(None),
                Phase::Start if self.ranked => {
                    let results = self.first_round()?;
                    self.begin_round(results)?;
                    self.phase = Phase::FirstRun;
                }
                Phase::Start | Phase::WalkEnded => self.begin_second_run(sorter, vectors)?,
                Phase::FirstRun => {
                    if let Some(hit) = self.next_of_first_run(vectors)? {
                        return Ok(Some(hit));
                    }
                    if self.is_member() {
                        return Ok(None);
                    }
                    self.next_round(sorter, vectors)?;
                }
                Phase::SecondRun => {
                    let hit = self.second_run.next(sorter, vectors, &mut self.stats.measured_rows)?;
                    match hit {
                        Some(_) => self.stats.second_run += 1,
                        None => self.phase = Phase::End,
                    }
                    return Ok(hit);
                }
                Phase::End => return Ok(None),
            }
        }
    }

    fn first_round(&mut self) -> Result<Vec<Candidate<Link>>> {
        let Some(entry) = self.query.entry_point()? else { return Ok(Vec::new()) };
        let entries = descend(&self.query, &mut self.search, entry, 0)?;
        self.search.run(&self.query, &entries, 0, self.options.ef_search)
    }

    fn begin_round(&mut self, results: Vec<Candidate<Link>>) -> Result<()> {
        self.stats.rounds += 1;
        self.query.sort_rows();
        let rows = results.iter().rev().filter_map(|result| self.query.only_row(result.node));
        self.upcoming.clear();
        self.upcoming.try_reserve(results.len())?;
        self.upcoming.extend(rows.map(|row| row.block()));
        self.ahead = 0;
        self.round.reserve(results.len())?;
        self.round.extend(results.into_iter().map(|result| (Bounds::of(&result), result.node)));
        Ok(())
    }

    /// Asks for the pages of the table that hold what is given next.
    fn read_ahead(&mut self, vectors: &mut impl ColumnVectors) {
        if self.ahead == 0 && !self.upcoming.is_empty() {
            let blocks = self.upcoming.split_off(self.upcoming.len().saturating_sub(self.batch));
            vectors.prefetch(&blocks);
            self.ahead = blocks.len();
            self.batch = self.batch.saturating_mul(2);
        }
        self.ahead = self.ahead.saturating_sub(1);
    }

    /// The next row of this round. Results that come too late for the order of the run are left to the second one.
    fn next_of_first_run(&mut self, vectors: &mut impl ColumnVectors) -> Result<Option<Hit>> {
        loop {
            if let Some(heap_tid) = self.heap_tids.next(&self.query.index)? {
                self.stats.first_run += 1;
                return Ok(Some(self.bounds.hit(heap_tid)));
            }
            let Some((bounds, node)) = self.round.pop() else { return Ok(None) };
            let late = bounds.low.total_cmp(&self.bounds.high) == Ordering::Less;
            if late && self.options.iterative == IterativeScan::StrictOrder {
                continue;
            }
            self.read_ahead(vectors);
            match self.query.only_row(node) {
                Some(heap_tid) => self.heap_tids.set_one(heap_tid),
                // The node is read again; by now it may be gone.
                None => self.heap_tids.set_node(node),
            }
            if bounds.overlap(self.round.peek()) {
                let distance = self.measure_node(vectors)?;
                self.round.extend(distance.map(|distance| (Bounds::exact(distance), node)));
                continue;
            }
            self.given.try_reserve(1)?;
            self.given.insert(node);
            self.bounds = bounds;
        }
    }

    /// The distance of the rows of the node whose heap TIDs come next, which are forgotten. Their vectors are equal: any of them
    /// that is visible tells it.
    fn measure_node(&mut self, vectors: &mut impl ColumnVectors) -> Result<Option<f64>> {
        while let Some(heap_tid) = self.heap_tids.next(&self.query.index)? {
            self.stats.measured_rows += 1;
            if let Some(distance) = vectors.distance(heap_tid) {
                self.heap_tids.clear();
                return Ok(Some(distance));
            }
        }
        Ok(None)
    }

    fn next_round(&mut self, sorter: &mut impl RunSorter, vectors: &mut impl ColumnVectors) -> Result<()> {
        if self.options.iterative == IterativeScan::Off {
            self.phase = Phase::End;
            return Ok(());
        }
        if self.stats.first_run < self.options.max_tuples as u64 && self.remembered() < self.options.memory {
            let results = self.search.resume(&self.query, 0, self.options.ef_search)?;
            if !results.is_empty() {
                return self.begin_round(results);
            }
        }
        self.begin_second_run(sorter, vectors)
    }

    fn begin_second_run(
        &mut self,
        sorter: &mut impl RunSorter,
        vectors: &mut impl ColumnVectors,
    ) -> Result<()> {
        // What the walk remembers is needed no more; the sorter needs the memory.
        let stats = self.search.stats;
        self.search = self.query.search(Purpose::Scan { resumable: false }, 0);
        self.search.stats = stats;
        let measured = &mut self.stats.measured_rows;
        second_run::collect(&self.query, self.ranked, &self.given, sorter, (vectors, measured))?;
        self.given.clear();
        self.phase = Phase::SecondRun;
        Ok(())
    }
}
