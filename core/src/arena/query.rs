//! The arena as one query sees it.

use super::{Arena, Marks};
use crate::code::CodeQuery;
use crate::graph::{BuiltGraph, Candidate, EntryPoint, Expanded, NodeStore, Visited};
use crate::kernel::prefetch;
use crate::types::Result;

/// Nodes that are expanded together, by codes: while one is expanded, the others are on their way.
const BEAM: usize = 4;

/// An [`Arena`] and the vector whose neighbours are sought.
///
/// With codes an expansion measures its node and estimates the neighbours, as on pages; else it measures the
/// neighbours.
pub struct ArenaQuery<'a> {
    arena: &'a Arena,
    vector: &'a [u8],
    prepared: f32,
    codes: Option<CodeQuery>,
}

impl<'a> ArenaQuery<'a> {
    pub(super) fn new(arena: &'a Arena, vector: &'a [u8], prepared: f32) -> Self {
        let codes = arena.quantizer.as_ref().map(|quantizer| quantizer.query(vector));
        Self { arena, vector, prepared, codes }
    }

    /// The query of a node's own vector.
    pub(super) fn of_node(arena: &'a Arena, node: u32) -> Self {
        let (chunk, row) = arena.locate(node);
        Self::new(arena, chunk.vector(row, &arena.shape), chunk.row(row).prepared)
    }

    fn measure(&self, node: u32) -> Candidate<u32> {
        let (chunk, row) = self.arena.locate(node);
        let vector = chunk.vector(row, &self.arena.shape);
        let prepared = chunk.row(row).prepared;
        let distance = self.arena.measure.distance_between(self.vector, self.prepared, vector, prepared);
        Candidate::new(distance, node)
    }
}

impl NodeStore for ArenaQuery<'_> {
    type Node = u32;
    type Visited = Marks;

    fn entry_point(&self) -> Result<Option<EntryPoint<u32>>> {
        Ok(self.arena.entry_point())
    }

    fn beam(&self) -> usize {
        if self.codes.is_some() { BEAM } else { 1 }
    }

    fn prefetch(&self, nodes: &[Candidate<u32>], layer: u8) {
        if self.codes.is_some() {
            for candidate in nodes {
                self.arena.list(candidate.node, layer).prefetch();
                prefetch(self.arena.vector(candidate.node));
            }
            for candidate in nodes {
                for neighbour in self.arena.list(candidate.node, layer).nodes() {
                    prefetch(self.arena.code(neighbour));
                }
            }
        }
    }

    fn expand(
        &self,
        candidate: Candidate<u32>,
        layer: u8,
        visited: &mut Marks,
        found: &mut Vec<Candidate<u32>>,
    ) -> Result<Expanded<u32>> {
        let node = candidate.node;
        let first = found.len();
        let links = self.arena.list(node, layer).nodes();
        match &self.codes {
            Some(codes) => {
                let unvisited = links.filter(|neighbour| !visited.contains(*neighbour));
                found.extend(unvisited.map(|neighbour| {
                    let estimate = codes.estimate(self.arena.code(neighbour));
                    Candidate::estimate(estimate.into(), 0.0, neighbour)
                }));
            }
            None => {
                let unvisited = links.filter(|neighbour| visited.insert(*neighbour));
                found.extend(unvisited.map(|neighbour| Candidate::new(f64::NAN, neighbour)));
                // Vectors lie all over memory: while one is measured, the next is on its way.
                for place in first..found.len() {
                    if let Some(next) = found.get(place + 1) {
                        prefetch(self.arena.vector(next.node));
                    }
                    found[place] = self.measure(found[place].node);
                }
            }
        }
        Ok(Expanded::Live(if candidate.is_estimated() { self.measure(node) } else { candidate }))
    }
}
