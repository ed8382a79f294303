//! The arena as one query sees it.

use super::fetched::Fetched;
use super::{Arena, Marks};
use crate::code::CodeQuery;
use crate::graph::{BuiltGraph, Candidate, EntryPoint, Expanded, NodeStore, Visited};
use crate::kernel::prefetch;
use crate::types::Result;
use std::borrow::Cow;
use std::cell::RefCell;

/// Nodes that are expanded together, by codes: while one is expanded, the others are on their way.
const BEAM: usize = 4;

/// An estimate that differs from what it is compared with by more standard deviations is beyond doubt.
const DOUBT: f64 = 2.0;

/// An [`Arena`] and the vector whose neighbours are sought.
///
/// With codes an expansion measures its node and estimates the neighbours, as on pages; where vectors are in
/// the file, it estimates the node as well, and results are measured at the end. Without codes it measures
/// the neighbours.
pub struct ArenaQuery<'a> {
    arena: &'a Arena,
    vector: Cow<'a, [u8]>,
    prepared: f32,
    codes: Option<CodeQuery>,
    fetched: RefCell<Fetched>,
}

impl<'a> ArenaQuery<'a> {
    pub(super) fn new(arena: &'a Arena, vector: Cow<'a, [u8]>, prepared: f32, mut fetched: Fetched) -> Self {
        let codes = arena.quantizer.as_ref().map(|quantizer| quantizer.query(&vector));
        fetched.clear();
        Self { arena, vector, prepared, codes, fetched: fetched.into() }
    }

    /// The query of a node's own vector. What `fetched` holds is forgotten, and its memory used.
    pub(super) fn of_node(arena: &'a Arena, node: u32, fetched: Fetched) -> Result<Self> {
        let vector = match arena.vector_in_memory(node) {
            Some(vector) => Cow::from(vector),
            None => {
                let mut vector = vec![0; arena.parameters.vector_size()];
                arena.read_vector(node, &mut vector)?;
                Cow::from(vector)
            }
        };
        let (chunk, row) = arena.locate(node);
        Ok(Self::new(arena, vector, chunk.row(row).prepared, fetched))
    }

    /// The memory of what was fetched, for another query.
    pub(super) fn into_fetched(self) -> Fetched {
        self.fetched.into_inner()
    }

    /// The distance of any node.
    pub(super) fn distance(&self, node: u32) -> Result<f64> {
        if let Some(vector) = self.arena.vector_in_memory(node) {
            return Ok(self.measure(node, vector));
        }
        let fetched = &mut *self.fetched.borrow_mut();
        if let Some(distance) = fetched.distances.get(&node) {
            return Ok(*distance);
        }
        let distance = self.measure(node, self.arena.any_vector(node, &mut fetched.buffer)?);
        fetched.distances.try_reserve(1)?;
        fetched.distances.insert(node, distance);
        Ok(distance)
    }

    /// Whether a node is at this distance or nearer. It is not measured where an estimate is beyond doubt: a
    /// vector is many times as long as its code, and lies somewhere else.
    pub(super) fn is_within(&self, node: u32, distance: f64) -> Result<bool> {
        if let Some(codes) = &self.codes
            && !self.fetched.borrow().distances.contains_key(&node)
        {
            let code = self.arena.code(node);
            let difference = f64::from(codes.estimate(code)) - distance;
            if difference.abs() > DOUBT * f64::from(codes.deviation(code)) {
                return Ok(difference < 0.0);
            }
        }
        Ok(self.distance(node)? <= distance)
    }

    /// The distance between two nodes that this query has found.
    pub(super) fn distance_between(&self, a: u32, b: u32) -> f64 {
        self.arena.distance_between(a, b, &self.fetched.borrow())
    }

    fn measure(&self, node: u32, vector: &[u8]) -> f64 {
        let (chunk, row) = self.arena.locate(node);
        let prepared = chunk.row(row).prepared;
        self.arena.measure.distance_between(&self.vector, self.prepared, vector, prepared)
    }

    /// Whether nodes are estimated when they are expanded, too.
    fn walks_by_codes_alone(&self) -> bool {
        self.codes.is_some() && self.arena.spilled.is_some()
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
                if !self.walks_by_codes_alone() {
                    self.arena.vector_in_memory(candidate.node).map(prefetch);
                }
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
        _limit: Option<f64>,
        visited: &mut Marks,
        found: &mut Vec<Candidate<u32>>,
    ) -> Result<Expanded<u32>> {
        let node = candidate.node;
        let first = found.len();
        let links = self.arena.list(node, layer).nodes();
        match &self.codes {
            Some(codes) => {
                let unvisited = links.filter(|neighbour| !visited.contains(*neighbour));
                let coded = unvisited.map(|neighbour| (neighbour, self.arena.code(neighbour)));
                // Those beyond the limit are marked as well, and not estimated again.
                codes.estimate_each(coded, |neighbour, estimate| {
                    found.push(Candidate::estimate(estimate.into(), 0.0, neighbour));
                });
            }
            None => {
                let unvisited = links.filter(|neighbour| visited.insert(*neighbour));
                found.extend(unvisited.map(|neighbour| Candidate::new(f64::NAN, neighbour)));
                // Vectors lie all over memory: while one is measured, the next is on its way.
                for place in first..found.len() {
                    if let Some(next) = found.get(place + 1) {
                        self.arena.vector_in_memory(next.node).map(prefetch);
                    }
                    let node = found[place].node;
                    found[place] = Candidate::new(self.distance(node)?, node);
                }
            }
        }
        let itself = match &self.codes {
            _ if !candidate.is_estimated() => candidate,
            Some(codes) if self.walks_by_codes_alone() => {
                Candidate::estimate(codes.estimate(self.arena.code(node)).into(), 0.0, node)
            }
            _ => Candidate::new(self.distance(node)?, node),
        };
        Ok(Expanded::Live(itself))
    }

    fn settle(&self, nodes: &mut Vec<Candidate<u32>>, wanted: usize) -> Result<usize> {
        let wanted = wanted.min(nodes.len());
        if self.walks_by_codes_alone() {
            let nodes = &mut nodes[..wanted];
            self.fetched.borrow_mut().fetch(self.arena, nodes.iter().map(|candidate| candidate.node))?;
            for candidate in nodes.iter_mut().filter(|candidate| candidate.is_estimated()) {
                let node = candidate.node;
                let distance = self.measure(node, self.fetched.borrow().vector(self.arena, node));
                *candidate = Candidate::new(distance, node);
                if self.arena.vector_in_memory(node).is_none() {
                    self.fetched.borrow_mut().distances.insert(node, distance);
                }
            }
            nodes.sort_unstable();
        }
        Ok(wanted)
    }
}
