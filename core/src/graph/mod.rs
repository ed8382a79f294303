//! HNSW over any [`NodeStore`]: search of a layer, choice of neighbours, descent, a new node's neighbours.
//!
//! The algorithms are those of Malkov & Yashunin (arXiv 1603.09320), written once: the arena and the pages are the two
//! stores. Imports `kernel` and `types`.

mod built;
mod insert;
mod search;
mod select;

pub use built::BuiltGraph;
pub use insert::{NewNeighbours, choose_neighbours, draw_level, level_of};
pub use search::{LayerSearch, descend};
pub use select::{Neighbours, select_neighbors};

use crate::types::Result;
use hashbrown::HashSet;
use std::cmp::Ordering;
use std::hash::{BuildHasher, Hash};

/// A node with its distance from the query.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<Node> {
    /// Distance from the query; never −0, and NaN (an overflowed sum) is greater than everything.
    pub distance: f64,
    /// The node.
    pub node: Node,
    /// False for a tombstone: the search walks through it but neither returns it nor links to it.
    pub live: bool,
}

impl<Node> Candidate<Node> {
    /// A candidate; normalizes the distance so that the total order of floats is the order of distances.
    pub fn new(distance: f64, node: Node, live: bool) -> Self {
        Self { distance: if distance.is_nan() { f64::NAN } else { distance + 0.0 }, node, live }
    }
}

impl<Node: Ord> Ord for Candidate<Node> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.distance.total_cmp(&other.distance).then_with(|| self.node.cmp(&other.node))
    }
}

impl<Node: Ord> PartialOrd for Candidate<Node> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<Node: Ord> PartialEq for Candidate<Node> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<Node: Ord> Eq for Candidate<Node> {}

/// Where every search begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryPoint<Node> {
    /// A node of the highest layer.
    pub node: Node,
    /// Its level.
    pub level: u8,
}

/// The nodes that one search of one layer has scored.
pub trait Visited<Node> {
    /// Marks `node`; true when it had not been marked.
    fn insert(&mut self, node: Node) -> bool;
    /// Forgets all nodes and keeps the memory.
    fn clear(&mut self);
    /// Nodes marked.
    fn len(&self) -> usize;
    /// Whether no node is marked.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<Node: Eq + Hash, S: BuildHasher> Visited<Node> for HashSet<Node, S> {
    fn insert(&mut self, node: Node) -> bool {
        Self::insert(self, node)
    }

    fn clear(&mut self) {
        Self::clear(self);
    }

    fn len(&self) -> usize {
        Self::len(self)
    }
}

/// A graph as one query sees it: where to begin, and what lies around a node and how far.
///
/// An implementation binds a store and a query, so that it may keep what it has learnt of the query (norms, codes).
pub trait NodeStore {
    /// A node's address.
    type Node: Copy + Ord + Hash;
    /// The set that fits these addresses best.
    type Visited: Visited<Self::Node>;

    /// The entry point; `None` for an empty graph.
    fn entry_point(&self) -> Result<Option<EntryPoint<Self::Node>>>;

    /// The query's distance from one node; `None` when it is no longer there.
    fn score(&self, node: Self::Node) -> Result<Option<Candidate<Self::Node>>>;

    /// Appends to `found` every neighbour of `node` on `layer` that `visited` had not marked, scored. Stale links and
    /// links to nodes below `layer` are skipped; a node that is gone has no neighbours.
    fn expand(
        &self,
        node: Self::Node,
        layer: u8,
        visited: &mut Self::Visited,
        found: &mut Vec<Candidate<Self::Node>>,
    ) -> Result<()>;
}

/// What a search did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SearchStats {
    /// Nodes expanded, all layers.
    pub expanded: u64,
    /// Distances computed.
    pub distances: u64,
}
