//! An ordered scan of all rows: nearest first, as far as the caller wants to go.
//!
//! # Two sorted runs
//!
//! The **first run** is a walk of the graph that goes on from its kept frontier whenever its last `ef_search` results have
//! been given. What a later round finds nearer than what was already given is held back, so that the run is sorted. When the
//! graph is exhausted, or enough rows were given, or the memory is used up, the **second run** follows: a linear pass over all
//! pages, which gives every row that the first run did not, sorted by distance; then zero vectors under cosine; then NULLs.
//!
//! # Why no row is lost or given twice
//!
//! A scan serves one MVCC snapshot and holds no page between two calls. Every row that the snapshot sees was in the index
//! before the snapshot was taken, and stays there at the same place while it is held: heap TIDs never move, and vacuum removes
//! only those that no snapshot sees. So the linear pass meets each such row, and needs to go no further than the index reached
//! when it began. A node is skipped there if the first run gave it: it gave all heap TIDs that the node had then. Those that it
//! got later, and nodes and rows that came later, are invisible to the snapshot. For the same reason a heap TID may be given
//! without a pin on its page: if vacuum removes it and the heap reuses its place, the snapshot does not see the new row.

use super::graph::PagedQuery;
use super::index::Index;
use super::meta::COUNTERS_BLOCK;
use super::node::{Node, Owned};
use super::slotted::{Page, PageKind};
use super::store::PageStore;
use super::tuple::{AsideKind, TupleKind};
use crate::graph::{Candidate, LayerSearch, NodeStore, SearchStats, descend};
use crate::types::{Error, HeapTid, Link, Result};
use hashbrown::HashSet;
use std::cmp::Ordering;

/// Bytes that a node costs while the walk remembers it: its place in a hash set that is at worst half full, and a candidate.
const REMEMBERED_BYTES: usize = 48;

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
}

/// A row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hit {
    /// Where it is in the heap.
    pub heap_tid: HeapTid,
    /// Its distance as the index ranks it (L2: squared); NaN where there is none.
    pub distance: f64,
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

/// Sorts the second run by class, distance (NaN last) and heap TID: in RAM, or spilling to disk.
pub trait RunSorter {
    /// Adds a row.
    fn add(&mut self, class: HitClass, hit: Hit);
    /// Called once, after the last row was added.
    fn sort(&mut self);
    /// The next row; its distance is NaN unless it is of [`HitClass::Vector`].
    fn next(&mut self) -> Option<Hit>;
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
}

/// A scan of an index.
pub struct Scan<Store: PageStore> {
    query: PagedQuery<Store>,
    /// False when no distance is defined: the query is NULL, or a zero vector under cosine.
    ranked: bool,
    search: LayerSearch<PagedQuery<Store>>,
    options: ScanOptions,
    phase: Phase,
    /// The results of this round that are still to be given, furthest first.
    round: Vec<Candidate<Link>>,
    /// The heap TIDs of the node that is being given, in reverse.
    heap_tids: Vec<HeapTid>,
    /// The distance of the node that was given last.
    distance: f64,
    /// Nodes that were given.
    given: HashSet<Link>,
    stats: ScanStats,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Start,
    FirstRun,
    SecondRun,
    End,
}

impl<Store: PageStore> Scan<Store> {
    /// A scan for a query vector of the index's dimensions, or for NULL. Nothing is read yet.
    pub fn new(index: Index<Store>, query: Option<&[u8]>, options: ScanOptions) -> Self {
        let ranked = query.is_some_and(|vector| !index.is_aside(vector));
        let query = PagedQuery::new(index, query.unwrap_or_default());
        let search = query.search(options.iterative != IterativeScan::Off);
        Self {
            query,
            ranked,
            search,
            options,
            phase: Phase::Start,
            round: Vec::new(),
            heap_tids: Vec::new(),
            distance: f64::NEG_INFINITY,
            given: HashSet::new(),
            stats: ScanStats::default(),
        }
    }

    /// What the scan did so far.
    pub fn stats(&self) -> ScanStats {
        ScanStats { search: self.search.stats, ..self.stats }
    }

    /// The next row. `sorter`, always the same, keeps the second run.
    pub fn next(&mut self, sorter: &mut impl RunSorter) -> Result<Option<Hit>> {
        loop {
            match self.phase {
                Phase::Start if self.ranked => {
                    self.round = self.first_round()?;
                    self.phase = Phase::FirstRun;
                }
                Phase::Start => self.begin_second_run(sorter)?,
                Phase::FirstRun => {
                    if let Some(hit) = self.next_of_first_run()? {
                        return Ok(Some(hit));
                    }
                    self.next_round(sorter)?;
                }
                Phase::SecondRun => {
                    let hit = sorter.next();
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
        self.query.refresh()?;
        let Some(entry) = self.query.entry_point()? else { return Ok(Vec::new()) };
        let entries = descend(&self.query, &mut self.search, entry, 0)?;
        let mut results = self.search.run(&self.query, &entries, 0, self.options.ef_search)?;
        results.reverse();
        self.stats.rounds += 1;
        Ok(results)
    }

    /// The next row of this round. Results that come too late for the order of the run are left to the second one.
    fn next_of_first_run(&mut self) -> Result<Option<Hit>> {
        loop {
            if let Some(heap_tid) = self.heap_tids.pop() {
                self.stats.first_run += 1;
                return Ok(Some(Hit { heap_tid, distance: self.distance }));
            }
            let Some(result) = self.round.pop() else { return Ok(None) };
            let late = result.distance.total_cmp(&self.distance) == Ordering::Less;
            if late && self.options.iterative == IterativeScan::StrictOrder {
                continue;
            }
            // The node is read again: what it held when it was scored may be gone, and heap TIDs were not kept.
            if self.query.index.heap_tids(result.node, &mut self.heap_tids)? {
                self.heap_tids.reverse();
                self.given.insert(result.node);
                self.distance = result.distance;
            }
        }
    }

    fn next_round(&mut self, sorter: &mut impl RunSorter) -> Result<()> {
        if self.options.iterative == IterativeScan::Off {
            self.phase = Phase::End;
            return Ok(());
        }
        let remembered = (self.search.remembered() + self.given.len()) * REMEMBERED_BYTES;
        if self.stats.first_run < self.options.max_tuples as u64 && remembered < self.options.memory {
            self.round = self.search.resume(&self.query, 0, self.options.ef_search)?;
            self.round.reverse();
            self.stats.rounds += 1;
        }
        if self.round.is_empty() { self.begin_second_run(sorter) } else { Ok(()) }
    }

    fn begin_second_run(&mut self, sorter: &mut impl RunSorter) -> Result<()> {
        // What the walk remembers is needed no more; the sorter needs the memory.
        let stats = self.search.stats;
        self.search = self.query.search(false);
        self.search.stats = stats;
        let index = &self.query.index;
        let mut found = FoundOnPage::default();
        for block in COUNTERS_BLOCK + 1..index.store.block_count()? {
            index.store.interrupt_point();
            found.collect(&self.query, self.ranked, &self.given, &*index.store.read(block)?, block)?;
            for (class, hit) in found.rows.drain(..) {
                sorter.add(class, hit);
            }
            for FoundNode { node, distance, payload } in found.nodes.drain(..) {
                let distance = match (distance, payload) {
                    (Some(distance), _) => distance,
                    (None, payload) => {
                        if !index.read_payload(node, payload, &mut found.payload)? {
                            continue;
                        }
                        self.query.distance(&found.payload)
                    }
                };
                index.heap_tids(node, &mut found.heap_tids)?;
                for heap_tid in &found.heap_tids {
                    let distance = Candidate::new(distance, node, true).distance;
                    sorter.add(HitClass::Vector, Hit { heap_tid: *heap_tid, distance });
                }
            }
        }
        self.given.clear();
        sorter.sort();
        self.phase = Phase::SecondRun;
        Ok(())
    }
}

/// What one page gave to the second run. The sorter may write to disk, and other pages may have to be read: both wait until
/// the page is released.
#[derive(Default)]
struct FoundOnPage {
    rows: Vec<(HitClass, Hit)>,
    nodes: Vec<FoundNode>,
    heap_tids: Vec<HeapTid>,
    payload: Vec<u8>,
}

/// A node of which something lies on another page.
struct FoundNode {
    node: Link,
    /// `None` when the payload lies apart.
    distance: Option<f64>,
    payload: Link,
}

impl FoundOnPage {
    fn collect<Store: PageStore>(
        &mut self,
        query: &PagedQuery<Store>,
        ranked: bool,
        given: &HashSet<Link>,
        page: &Page,
        block: u32,
    ) -> Result<()> {
        if page.is_new() || page.kind(block)? != PageKind::Data {
            return Ok(());
        }
        for slot in 1..=page.slot_count() {
            if let Some(node) = Node::in_slot(&query.index.layout, page, block, slot)? {
                let link = Link { block, slot, version: node.header().version };
                if !node.is_live() || given.contains(&link) {
                    continue;
                }
                let distance = match node.payload() {
                    _ if !ranked => Some(f64::NAN),
                    Some(payload) => Some(Candidate::new(query.distance(payload), link, true).distance),
                    None => None,
                };
                match distance {
                    Some(distance) if node.header().overflow.is_none() => {
                        let hits = node.heap_tids().iter().map(|tid| Hit { heap_tid: *tid, distance });
                        self.rows.extend(hits.map(|hit| (HitClass::Vector, hit)));
                    }
                    _ => self.nodes.push(FoundNode { node: link, distance, payload: node.payload_link() }),
                }
            } else if let Some(tuple) = Owned::in_slot(page, block, slot)?
                && tuple.header().kind == TupleKind::Aside as u8
            {
                let class = match tuple.header().tag {
                    tag if tag == AsideKind::ZeroVector as u16 => HitClass::ZeroVector,
                    tag if tag == AsideKind::Null as u16 => HitClass::Null,
                    _ => return Err(Error::Corrupt { block, slot, what: "aside tuple of unknown kind" }),
                };
                let hits = tuple.heap_tids().iter().map(|tid| Hit { heap_tid: *tid, distance: f64::NAN });
                self.rows.extend(hits.map(|hit| (class, hit)));
            }
        }
        Ok(())
    }
}
