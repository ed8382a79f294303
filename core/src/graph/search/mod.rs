//! Search of one layer (the paper's algorithm 2), made resumable, and the descent through the layers above
//! it.

mod step;

use super::pool::{Distance, Pool};
use super::{Candidate, EntryPoint, NodeStore, Precision, SearchStats, Visited};
use crate::types::Result;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Nodes that a round expands in vain at most, for each result that is looked for. Most searches expand one
/// or two. Where very many nodes are so near to each other that estimates cannot tell them apart, none would
/// be out of question, and all be expanded.
const WIDEST: usize = 64;

/// The share of what is beyond the horizon that is taken up when the walk gets there, and the fewest.
const WIDENED: usize = 8;
const MIN_WIDENED: usize = 64;
/// The fewest beyond the horizon that are looked through for nodes that are there twice, which takes as long
/// as to have marked each when it was found: most searches end before.
const CROWD: usize = 1 << 16;

/// A search of one layer that can go on where it stopped.
///
/// Departures from algorithm 2: candidates may be known by an estimate until they are expanded, and only
/// expanded nodes are results, so that results rank by measured distances (with measured candidates this
/// expands the same nodes); several candidates are expanded a step, so that what they need can be fetched
/// together; tombstones are walked through but are not results; and when resumable, what the bound `ef` left
/// out is kept, so that [`LayerSearch::resume`] goes on with the nearest of it (iterative scan).
///
/// Searches of several graphs for one query can share a [`Pool`]: [`LayerSearch::choose`] and
/// [`LayerSearch::expand`] by turns, each of them a step of [`LayerSearch::run`]. A search then goes on while
/// what is left may be among the nearest results of all of them, and in any case for `ef` results of its own,
/// which may be few: the graphs are not connected, and the way to the nearest node of one leads through nodes
/// that are further than what was found in others.
///
/// Memory: what grows with the nodes that were met may fail to grow
/// ([`Error::OutOfMemory`](crate::types::Error::OutOfMemory)): `visited`, `frontier`, `surplus`, `beyond`.
/// The rest is bounded: `nearest` and `estimates` by ef, `step` by the beam, `found` by m0.
pub struct LayerSearch<Store: NodeStore> {
    visited: Store::Visited,
    /// Nodes that were scored and not expanded.
    frontier: BinaryHeap<Reverse<Candidate<Store::Node>>>,
    /// The nearest `ef` live nodes that were expanded.
    nearest: BinaryHeap<Candidate<Store::Node>>,
    /// Expanded nodes that were not returned yet.
    surplus: Vec<Candidate<Store::Node>>,
    /// What was out of question when it was scored, or, once the search is open, is no nearer than the
    /// horizon; estimated ones are not marked as visited, and may be there twice.
    beyond: Vec<Candidate<Store::Node>>,
    /// Set once the search is open: nothing beyond is nearer than this, nor is what is expanded next further,
    /// as long as anything is beyond.
    horizon: Option<Distance>,
    /// How many were left beyond the horizon when nodes that are there twice were dropped last.
    distinct: usize,
    /// The nodes that are expanded together.
    step: Vec<Candidate<Store::Node>>,
    found: Vec<Candidate<Store::Node>>,
    /// The least `ef` estimates so far, for an insertion.
    estimates: BinaryHeap<Distance>,
    /// Live nodes that this round has expanded and that were no nearer than `ef` others.
    in_vain: usize,
    purpose: Purpose,
    /// What all runs of this search did so far.
    pub stats: SearchStats,
}

/// What a search is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Neighbours for a node. Where candidates are estimates, the walk ends when the nearest that is left is
    /// further than `ef` others by their estimates, which costs a third fewer expansions than
    /// [`Purpose::Scan`] and gives graphs as good.
    Insertion,
    /// Results. The walk ends when the nearest candidate that is left is, even if its estimate is wrong by as
    /// much as it may well be, further than `ef` measured nodes: errors of estimates widen the search rather
    /// than lose results.
    Scan {
        /// Whether what [`LayerSearch::resume`] needs is kept.
        resumable: bool,
    },
}

impl<Store: NodeStore> LayerSearch<Store> {
    /// A search with nothing visited.
    pub fn new(visited: Store::Visited, purpose: Purpose) -> Self {
        Self {
            visited,
            frontier: BinaryHeap::new(),
            nearest: BinaryHeap::new(),
            surplus: Vec::new(),
            beyond: Vec::new(),
            horizon: None,
            distinct: 0,
            step: Vec::new(),
            found: Vec::new(),
            estimates: BinaryHeap::new(),
            in_vain: 0,
            purpose,
            stats: SearchStats::default(),
        }
    }

    /// Makes room for so many candidates, which a short search would otherwise pay for bit by bit.
    pub fn with_room(mut self, candidates: usize) -> Self {
        self.frontier.reserve(candidates / 2);
        if self.is_resumable() {
            self.beyond.reserve(candidates / 2);
        }
        self
    }

    /// The visited set, for its memory.
    pub fn into_visited(self) -> Store::Visited {
        self.visited
    }

    /// The live nodes of `layer` nearest to the query that a walk from `entries` finds, nearest first: `ef`
    /// of them, or fewer where the store settles fewer at a time.
    pub fn run(
        &mut self,
        store: &Store,
        entries: &[Candidate<Store::Node>],
        layer: u8,
        ef: usize,
    ) -> Result<Vec<Candidate<Store::Node>>> {
        self.run_until(store, entries, layer, ef, f64::NEG_INFINITY)
    }

    /// As [`LayerSearch::run`], but the walk ends as soon as it has measured a live node at this distance or
    /// nearer.
    pub fn run_until(
        &mut self,
        store: &Store,
        entries: &[Candidate<Store::Node>],
        layer: u8,
        ef: usize,
        distance: f64,
    ) -> Result<Vec<Candidate<Store::Node>>> {
        self.begin(entries);
        self.walk(store, layer, ef, distance)?;
        self.take_results(store, ef, None)
    }

    /// As [`LayerSearch::run`], without its results.
    pub fn walk_from(
        &mut self,
        store: &Store,
        entries: &[Candidate<Store::Node>],
        layer: u8,
        ef: usize,
    ) -> Result<()> {
        self.begin(entries);
        self.walk(store, layer, ef, f64::NEG_INFINITY)
    }

    /// Puts nothing out of question any more, for a caller who decides when the search ends: `ef` is
    /// `usize::MAX` from now on. Gives the live nodes that were expanded.
    ///
    /// Most of what was found is never expanded, and would cost more to sort than what is: it waits beyond a
    /// horizon, which recedes as the walk gets there.
    pub fn open(&mut self) -> Result<Vec<Candidate<Store::Node>>> {
        debug_assert!(self.is_resumable());
        let mut expanded = self.take_expanded();
        expanded.append(&mut self.surplus);
        self.in_vain = 0;
        self.horizon = Some(Distance(f64::NEG_INFINITY));
        self.widen()?;
        Ok(expanded)
    }

    /// Drops what is remembered in vain, where that may be a good part of it.
    pub fn shrink(&mut self) {
        if self.horizon.is_some() && self.beyond.len() > self.distinct + self.distinct / 4 {
            self.thin_out();
        }
    }

    /// Drops nodes from beyond the horizon that are there twice, or were taken up.
    fn thin_out(&mut self) {
        let is_new = |next: &Candidate<_>| !next.is_estimated() || !self.visited.contains(next.node);
        self.beyond.retain(is_new);
        self.beyond.sort_unstable_by(|a, b| a.node.cmp(&b.node).then_with(|| a.cmp(b)));
        self.beyond.dedup_by_key(|next| next.node);
        self.distinct = self.beyond.len();
    }

    /// Takes up the nearest of what is beyond the horizon, where nothing within it is left.
    fn widen(&mut self) -> Result<()> {
        while let Some(horizon) = self.horizon
            && !self.beyond.is_empty()
            && self.frontier.peek().is_none_or(|Reverse(next)| Distance(next.distance) > horizon)
        {
            let near = (self.beyond.len() / WIDENED).max(MIN_WIDENED).min(self.beyond.len());
            let rest = self.beyond.len() - near;
            let furthest_first =
                |a: &Candidate<_>, b: &Candidate<_>| Distance(b.distance).cmp(&Distance(a.distance));
            let (_, furthest, _) = self.beyond.select_nth_unstable_by(rest, furthest_first);
            self.horizon = Some(Distance(furthest.distance));
            self.take_up(rest)?;
        }
        Ok(())
    }

    /// The live nodes that were expanded since the last call, in no order.
    pub fn take_expanded(&mut self) -> Vec<Candidate<Store::Node>> {
        std::mem::take(&mut self.nearest).into_vec()
    }

    /// The least distance that the next node to be expanded may have; `None` where none is left.
    pub fn least(&self) -> Option<f64> {
        self.frontier.peek().map(|Reverse(next)| match next.precision {
            Precision::Within(error) => next.distance - f64::from(error),
            Precision::Exact | Precision::Estimated(_) => next.least(),
        })
    }

    /// The doubt in the distance of the next node.
    pub fn doubt(&self) -> f64 {
        self.frontier.peek().map_or(0.0, |Reverse(next)| match next.precision {
            Precision::Within(doubt) | Precision::Estimated(doubt) => f64::from(doubt),
            Precision::Exact => 0.0,
        })
    }

    /// The next nodes after those returned before, or none when the part of the graph that can be reached is
    /// exhausted. Some may be nearer than nodes already returned.
    pub fn resume(&mut self, store: &Store, layer: u8, ef: usize) -> Result<Vec<Candidate<Store::Node>>> {
        self.reopen(ef, None)?;
        self.walk(store, layer, ef, f64::NEG_INFINITY)?;
        self.take_results(store, ef, None)
    }

    /// The first step of [`LayerSearch::resume`]: takes up what was left out.
    pub fn reopen(&mut self, ef: usize, mut pool: Option<&mut Pool>) -> Result<()> {
        debug_assert!(self.is_resumable());
        for node in std::mem::take(&mut self.surplus) {
            self.keep(node, ef, pool.as_deref_mut())?;
        }
        self.in_vain = 0;
        self.take_up(0)
    }

    /// Puts what is beyond, but for the first of it, where the walk may find it.
    fn take_up(&mut self, first: usize) -> Result<()> {
        self.visited.reserve(self.beyond.len() - first)?;
        self.frontier.try_reserve(self.beyond.len() - first)?;
        for candidate in self.beyond.drain(first..) {
            if !candidate.is_estimated() || self.visited.insert(candidate.node) {
                self.frontier.push(Reverse(candidate));
            }
        }
        Ok(())
    }

    /// Candidates remembered: visited nodes and what waits to be resumed. Memory grows with this number.
    pub fn remembered(&self) -> usize {
        self.visited.len() + self.frontier.len() + self.surplus.len() + self.beyond.len()
    }

    /// The first step of [`LayerSearch::run`]: forgets everything but these entries.
    pub fn begin(&mut self, entries: &[Candidate<Store::Node>]) {
        self.visited.clear();
        self.frontier.clear();
        self.nearest.clear();
        self.surplus.clear();
        self.beyond.clear();
        self.estimates.clear();
        (self.horizon, self.distinct) = (None, 0);
        self.in_vain = 0;
        for entry in entries {
            if self.visited.insert(entry.node) {
                self.frontier.push(Reverse(*entry));
            }
        }
    }

    fn is_resumable(&self) -> bool {
        self.purpose == Purpose::Scan { resumable: true }
    }

    /// Expands nodes until all that is left is out of question, or one was measured at the distance `enough`
    /// or nearer.
    fn walk(&mut self, store: &Store, layer: u8, ef: usize, enough: f64) -> Result<()> {
        // A step that is wide beside what is looked for, as on a layer that is only passed through, would
        // expand nodes in vain.
        let beam = store.beam().min(if enough > f64::NEG_INFINITY { 2 } else { ef.div_ceil(4) });
        while self.choose(store, layer, beam, ef, None) {
            self.prefetch(store, layer);
            self.expand(store, layer, ef, None)?;
            let is_enough = |node: &Candidate<_>| !node.is_estimated() && node.distance <= enough;
            if enough > f64::NEG_INFINITY && self.nearest.iter().any(is_enough) {
                break;
            }
        }
        Ok(())
    }

    /// The nearest node that was found, for a layer that is only passed through.
    pub fn take_nearest(&mut self) -> Option<Candidate<Store::Node>> {
        self.nearest.pop()
    }

    /// The last step of [`LayerSearch::run`] and of [`LayerSearch::resume`]: the nearest `ef`, or with a pool
    /// all that it wants.
    pub fn take_results(
        &mut self,
        store: &Store,
        ef: usize,
        pool: Option<&Pool>,
    ) -> Result<Vec<Candidate<Store::Node>>> {
        let mut results = std::mem::take(&mut self.nearest).into_sorted_vec();
        let mut wanted = ef;
        if let Some(pool) = pool {
            results.try_reserve(self.surplus.len())?;
            results.append(&mut self.surplus);
            results.sort_unstable();
            let is_wanted = |result: &Candidate<_>| {
                pool.bound().is_none_or(|bound| Distance(result.distance) <= Distance(bound))
            };
            wanted = results.partition_point(is_wanted);
            self.surplus.try_reserve(results.len() - wanted)?;
            self.surplus.extend(results.drain(wanted..));
        }
        let settled = store.settle(&mut results, wanted)?;
        if self.is_resumable() {
            self.surplus.try_reserve(results.len() - settled)?;
            self.surplus.extend(results.drain(settled..));
        }
        results.truncate(settled);
        Ok(results)
    }
}

/// Walks greedily from `entry` down to `layer` (exclusive of it): the node of each layer nearest to the query
/// becomes the entry of the next. Returns the entries for a search of `layer`.
pub fn descend<Store: NodeStore>(
    store: &Store,
    search: &mut LayerSearch<Store>,
    entry: EntryPoint<Store::Node>,
    layer: u8,
) -> Result<Vec<Candidate<Store::Node>>> {
    // Its distance is learnt when it is expanded.
    let mut entries = vec![Candidate::unknown(entry.node)];
    for upper in (layer + 1..=entry.level).rev() {
        search.begin(&entries);
        search.walk(store, upper, 1, f64::NEG_INFINITY)?;
        // A layer of tombstones alone gives no result: its entries serve the next layer as well.
        if let Some(nearest) = search.take_nearest() {
            entries = vec![nearest];
        }
    }
    Ok(entries)
}
