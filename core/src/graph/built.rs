//! A finished graph in memory, as the pages copy it.

use super::EntryPoint;
use crate::code::Quantizer;
use crate::types::{HeapTid, Parameters, Result};

/// A graph that no longer changes. Nodes are numbered from 0; each holds a vector that no other holds.
pub trait BuiltGraph {
    /// What the graph was built with.
    fn parameters(&self) -> &Parameters;

    /// Number of nodes.
    fn len(&self) -> u32;

    /// Whether there is no node.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The node where every search begins; `None` for an empty graph.
    fn entry_point(&self) -> Option<EntryPoint<u32>>;

    /// A node's top layer.
    fn level(&self, node: u32) -> u8;

    /// A node's neighbours on a layer up to its level, no more than the parameters allow.
    fn links(&self, node: u32, layer: u8) -> impl Iterator<Item = u32>;

    /// A node's neighbours on layer 0, nearest first as far as the graph knows their distances.
    fn nearest_links(&self, node: u32) -> impl Iterator<Item = u32> {
        self.links(node, 0)
    }

    /// A node's vector, perhaps read into `buffer`.
    fn vector<'a>(&'a self, node: u32, buffer: &'a mut Vec<u8>) -> Result<&'a [u8]>;

    /// Bytes of a node's vector.
    fn vector_size(&self, _node: u32) -> usize {
        self.parameters().vector_size()
    }

    /// What made the nodes' codes; `None` where they have none.
    fn quantizer(&self) -> Option<&Quantizer> {
        None
    }

    /// A node's code; empty where nodes have none.
    fn code(&self, _node: u32) -> &[u8] {
        &[]
    }

    /// The rows that hold a node's vector: at least one, but for nodes that were taken over from another
    /// graph.
    fn heap_tids(&self, node: u32) -> impl Iterator<Item = HeapTid>;
}

/// A built graph that forgets links: those that have been taken over elsewhere.
pub trait EditableGraph: BuiltGraph + Sync {
    /// Leaves a node these neighbours on a layer, no more than it had. No thread reads them meanwhile.
    fn keep_links(&self, node: u32, layer: u8, neighbours: &[u32]);
}

/// A graph in memory that may begin with nodes of another, numbered from 0, before it gets nodes of its own.
pub trait AdoptingGraph {
    /// Takes over a node, with its vector as others see it, the fingerprint of the vector as it was
    /// ([`fingerprint`](crate::code::fingerprint)), and its level. False where there is no room: then it was
    /// not taken.
    fn adopt(&mut self, vector: &[u8], fingerprint: u64, level: u8) -> Result<bool>;

    /// Gives a node that was taken over its links on a layer, once all have been.
    fn adopt_links(&mut self, node: u32, layer: u8, links: &[u32]);

    /// Makes a node that was taken over the entry point.
    fn adopt_entry_point(&mut self, entry: EntryPoint<u32>);
}
