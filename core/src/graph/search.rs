//! Search of one layer (the paper's algorithm 2), made resumable, and the descent through the layers above it.

use super::{Candidate, EntryPoint, NodeStore, SearchStats, Visited};
use crate::types::Result;
use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// A search of one layer that can go on where it stopped.
///
/// Departures from algorithm 2: tombstones are walked through but are not results; and when `resumable`, what the bound
/// `ef` left out is kept, so that [`LayerSearch::resume`] continues with the nearest of it (iterative scan).
pub struct LayerSearch<Store: NodeStore> {
    visited: Store::Visited,
    frontier: BinaryHeap<Reverse<Candidate<Store::Node>>>,
    nearest: BinaryHeap<Candidate<Store::Node>>,
    discarded: BinaryHeap<Reverse<Candidate<Store::Node>>>,
    found: Vec<Candidate<Store::Node>>,
    resumable: bool,
    /// What all runs of this search did so far.
    pub stats: SearchStats,
}

impl<Store: NodeStore> LayerSearch<Store> {
    /// A search with nothing visited. `resumable` keeps what [`LayerSearch::resume`] needs.
    pub fn new(visited: Store::Visited, resumable: bool) -> Self {
        Self {
            visited,
            frontier: BinaryHeap::new(),
            nearest: BinaryHeap::new(),
            discarded: BinaryHeap::new(),
            found: Vec::new(),
            resumable,
            stats: SearchStats::default(),
        }
    }

    /// The `ef` live nodes of `layer` nearest to the query that a walk from `entries` finds, nearest first.
    pub fn run(
        &mut self,
        store: &Store,
        entries: &[Candidate<Store::Node>],
        layer: u8,
        ef: usize,
    ) -> Result<Vec<Candidate<Store::Node>>> {
        self.visited.clear();
        self.discarded.clear();
        for entry in entries {
            if self.visited.insert(entry.node) {
                self.admit(*entry, ef);
            }
        }
        self.walk(store, layer, ef)
    }

    /// The next `ef` nodes after those returned before, or none when the part of the graph that can be reached is
    /// exhausted. Some may be nearer than nodes already returned.
    pub fn resume(&mut self, store: &Store, layer: u8, ef: usize) -> Result<Vec<Candidate<Store::Node>>> {
        debug_assert!(self.resumable);
        loop {
            // Restart from the nearest that were left out; nodes already expanded among them find nothing new.
            for _ in 0..ef {
                let Some(Reverse(candidate)) = self.discarded.pop() else { break };
                self.admit(candidate, ef);
            }
            if self.frontier.is_empty() {
                return Ok(Vec::new());
            }
            let results = self.walk(store, layer, ef)?;
            // A region of tombstones can fill a whole round without a result.
            if !results.is_empty() {
                return Ok(results);
            }
        }
    }

    /// Candidates remembered: visited nodes and what waits to be resumed. Memory grows with this number.
    pub fn remembered(&self) -> usize {
        self.visited.len() + self.discarded.len()
    }

    /// Puts a scored node where algorithm 2 puts it.
    fn admit(&mut self, candidate: Candidate<Store::Node>, ef: usize) {
        let full = self.nearest.len() >= ef;
        if full && self.nearest.peek().is_some_and(|furthest| compare(&candidate, furthest).is_ge()) {
            self.discard(candidate);
            return;
        }
        self.frontier.push(Reverse(candidate));
        if candidate.live {
            self.nearest.push(candidate);
            if full && let Some(furthest) = self.nearest.pop() {
                self.discard(furthest);
            }
        }
    }

    fn discard(&mut self, candidate: Candidate<Store::Node>) {
        if self.resumable {
            self.discarded.push(Reverse(candidate));
        }
    }

    fn walk(&mut self, store: &Store, layer: u8, ef: usize) -> Result<Vec<Candidate<Store::Node>>> {
        while let Some(Reverse(candidate)) = self.frontier.pop() {
            let furthest = self.nearest.peek();
            if self.nearest.len() >= ef
                && furthest.is_some_and(|furthest| compare(&candidate, furthest).is_gt())
            {
                // Every node left in the frontier is as far: the live ones were discarded when nearer ones displaced
                // them, the tombstones must be kept here.
                self.frontier.push(Reverse(candidate));
                break;
            }
            let mut found = std::mem::take(&mut self.found);
            store.expand(candidate.node, layer, &mut self.visited, &mut found)?;
            self.stats.expanded += 1;
            self.stats.distances += found.len() as u64;
            for neighbour in found.drain(..) {
                self.admit(neighbour, ef);
            }
            self.found = found;
        }
        if self.resumable {
            self.discarded.extend(self.frontier.drain().filter(|Reverse(candidate)| !candidate.live));
        }
        self.frontier.clear();
        Ok(std::mem::take(&mut self.nearest).into_sorted_vec())
    }
}

/// The order of two distances, with NaN after all others: were it unordered, a graph of NaN would be walked to its end.
fn compare<Node>(a: &Candidate<Node>, b: &Candidate<Node>) -> Ordering {
    a.distance.total_cmp(&b.distance)
}

/// Walks greedily from `entry` down to `layer` (exclusive of it): the node of each layer nearest to the query becomes the
/// entry of the next. Returns the entries for a search of `layer`; empty when the entry point is gone.
pub fn descend<Store: NodeStore>(
    store: &Store,
    search: &mut LayerSearch<Store>,
    entry: EntryPoint<Store::Node>,
    layer: u8,
) -> Result<Vec<Candidate<Store::Node>>> {
    let Some(start) = store.score(entry.node)? else { return Ok(Vec::new()) };
    search.stats.distances += 1;
    let mut entries = vec![start];
    for upper in (layer + 1..=entry.level).rev() {
        let nearest = search.run(store, &entries, upper, 1)?;
        // A layer of tombstones alone gives no result: its entries serve the next layer as well.
        if !nearest.is_empty() {
            entries = nearest;
        }
    }
    Ok(entries)
}
