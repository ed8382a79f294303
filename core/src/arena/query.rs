//! The arena as one query sees it.

use super::Arena;
use crate::graph::{BuiltGraph, Candidate, EntryPoint, NodeStore};
use crate::kernel::prefetch;
use crate::types::Result;
use hashbrown::HashSet;

/// An [`Arena`] and the vector whose neighbours are sought.
pub struct ArenaQuery<'a> {
    arena: &'a Arena,
    vector: &'a [u8],
    prepared: f32,
}

impl<'a> ArenaQuery<'a> {
    pub(super) fn new(arena: &'a Arena, vector: &'a [u8], prepared: f32) -> Self {
        Self { arena, vector, prepared }
    }

    /// The query of a node's own vector.
    pub(super) fn of_node(arena: &'a Arena, node: u32) -> Self {
        let (chunk, row) = arena.locate(node);
        Self::new(arena, chunk.vector(row, &arena.shape), chunk.row(row).prepared)
    }

    fn candidate(&self, node: u32) -> Candidate<u32> {
        let (chunk, row) = self.arena.locate(node);
        let vector = chunk.vector(row, &self.arena.shape);
        let prepared = chunk.row(row).prepared;
        let distance = self.arena.measure.distance_between(self.vector, self.prepared, vector, prepared);
        Candidate::new(distance, node, true)
    }
}

impl NodeStore for ArenaQuery<'_> {
    type Node = u32;
    type Visited = HashSet<u32>;

    fn entry_point(&self) -> Result<Option<EntryPoint<u32>>> {
        Ok(self.arena.entry_point())
    }

    fn expand(
        &self,
        candidate: Candidate<u32>,
        layer: u8,
        visited: &mut HashSet<u32>,
        found: &mut Vec<Candidate<u32>>,
    ) -> Result<Option<Candidate<u32>>> {
        let node = candidate.node;
        // Vectors lie all over memory: while one is measured, the next is on its way.
        let first = found.len();
        let links = self.arena.list(node, layer).nodes();
        let unvisited = links.filter(|neighbour| visited.insert(*neighbour));
        found.extend(unvisited.map(|neighbour| Candidate::estimate(f64::NAN, neighbour)));
        for place in first..found.len() {
            if let Some(next) = found.get(place + 1) {
                prefetch(self.arena.vector(next.node));
            }
            found[place] = self.candidate(found[place].node);
        }
        Ok(Some(if candidate.is_estimate() { self.candidate(node) } else { candidate }))
    }
}
