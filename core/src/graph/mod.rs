//! HNSW over any [`NodeStore`]: search of a layer, choice of neighbours, descent, a new node's neighbours.
//!
//! The algorithms are those of Malkov & Yashunin (arXiv 1603.09320), written once: the arena and the pages
//! are the two stores.

mod built;
mod contents;
mod insert;
mod pool;
mod search;
mod select;

pub use built::{AdoptingGraph, BuiltGraph, EditableGraph};
pub use contents::Contents;
pub use insert::{NewNeighbours, choose_neighbours, draw_level, level_of, search_layers};
pub(crate) use pool::Distance;
pub use pool::{Board, Pool};
pub use search::{LayerSearch, Purpose, descend};
pub use select::Neighbours;

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
    /// How well the distance is known.
    pub precision: Precision,
}

/// How far the distance of a column's own vector may be from that of its candidate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Precision {
    /// Not at all: it was measured from that vector.
    Exact,
    /// No further than this: it was measured from what a payload has kept of the vector.
    Within(f32),
    /// As far as this, most often: it was estimated from a code.
    Estimated(f32),
}

impl<Node> Candidate<Node> {
    /// A candidate that was measured; normalizes the distance so that the total order of floats is the order
    /// of distances.
    pub fn new(distance: f64, node: Node) -> Self {
        let distance = if distance.is_nan() { f64::NAN } else { distance + 0.0 };
        Self { distance, node, precision: Precision::Exact }
    }

    /// A candidate of which nothing is known but an estimate of its distance.
    pub fn estimate(distance: f64, doubt: f32, node: Node) -> Self {
        Self { precision: Precision::Estimated(doubt), ..Self::new(distance, node) }
    }

    /// A candidate of which nothing is known yet.
    pub fn unknown(node: Node) -> Self {
        Self::estimate(f64::INFINITY, 0.0, node)
    }

    /// The same for another name of the node.
    pub(crate) fn with_node<Name>(&self, node: Name) -> Candidate<Name> {
        Candidate { distance: self.distance, node, precision: self.precision }
    }

    /// Whether the distance was not measured.
    pub fn is_estimated(&self) -> bool {
        matches!(self.precision, Precision::Estimated(_))
    }

    /// The distance, or where it was estimated, what it may well be at least.
    pub(crate) fn least(&self) -> f64 {
        match self.precision {
            Precision::Exact | Precision::Within(_) => self.distance,
            Precision::Estimated(doubt) => self.distance - f64::from(doubt),
        }
    }
}

/// What an expansion has learnt of the node itself: measured, where that costs no more than was read anyway.
#[derive(Clone, Copy, Debug)]
pub enum Expanded<Node> {
    /// It may be a result, and be linked to.
    Live(Candidate<Node>),
    /// It is only walked through.
    Tombstone(Candidate<Node>),
    /// It is gone, or has no such layer.
    Gone,
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
    /// Whether `node` is marked.
    fn contains(&self, node: Node) -> bool;
    /// Makes room for so many more nodes. Fails as well where a node could not be marked since the last call,
    /// for want of room.
    fn reserve(&mut self, additional: usize) -> Result<()>;
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

    fn contains(&self, node: Node) -> bool {
        Self::contains(self, &node)
    }

    fn reserve(&mut self, additional: usize) -> Result<()> {
        Ok(self.try_reserve(additional)?)
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
/// An implementation binds a store and a query, so that it may keep what it has learnt of the query (norms,
/// codes).
pub trait NodeStore {
    /// A node's address.
    type Node: Copy + Ord + Hash;
    /// The set that fits these addresses best.
    type Visited: Visited<Self::Node>;

    /// The entry point; `None` for an empty graph.
    fn entry_point(&self) -> Result<Option<EntryPoint<Self::Node>>>;

    /// How many nodes are expanded in a step: as many as it helps to ask for together.
    fn beam(&self) -> usize {
        1
    }

    /// Says that these nodes will be expanded on `layer` soon, in this order.
    fn announce(&self, _nodes: &[Candidate<Self::Node>], _layer: u8) {}

    /// Says that the nodes that were announced will be expanded now.
    fn prefetch(&self, _nodes: &[Candidate<Self::Node>], _layer: u8) {}

    /// Appends to `found` the neighbours of a node on `layer`, scored. Measured ones are new to `visited`,
    /// and marked. Estimated ones are not marked yet, and may have been before. Stale links and links to
    /// nodes below `layer` are skipped where they are seen. Those that are estimated at the limit, a
    /// number, or further may be left out.
    fn expand(
        &self,
        node: Candidate<Self::Node>,
        layer: u8,
        limit: Option<f64>,
        visited: &mut Self::Visited,
        found: &mut Vec<Candidate<Self::Node>>,
    ) -> Result<Expanded<Self::Node>>;

    /// Measures the nearest of expanded nodes (sorted) where [`NodeStore::expand`] could only estimate them,
    /// and sorts them again. Returns how many are settled so, the first ones; `wanted` or fewer.
    fn settle(&self, nodes: &mut Vec<Candidate<Self::Node>>, wanted: usize) -> Result<usize> {
        Ok(wanted.min(nodes.len()))
    }
}

/// What a search did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SearchStats {
    /// Nodes expanded, all layers.
    pub expanded: u64,
    /// Distances measured.
    pub distances: u64,
    /// Distances estimated from codes.
    pub estimates: u64,
}
