//! Nodes of another graph, with which an arena may begin: rows are then inserted beside them, as if they had
//! been here first.
//!
//! Their vectors come first, then their links, then rows. The other graph tells no distances: those of a list
//! are measured, and its diverse neighbours told apart, when a row is offered to it for the first time. Until
//! then none of them is said to be diverse; in a list that was measured, the nearest always is.

use super::Arena;
use super::feed::{Feeder, Seen};
use super::fetched::Fetched;
use crate::graph::{AdoptingGraph, Candidate, EntryPoint, Neighbours};
use crate::types::Result;
use std::sync::Arc;

impl AdoptingGraph for Feeder<'_> {
    /// The other graph has codes around the same centroid, and no higher levels.
    ///
    /// # Panics
    /// If rows were pushed before.
    fn adopt(&mut self, vector: &[u8], fingerprint: u64, level: u8) -> Result<bool> {
        let seen = Seen::new(self.tag(fingerprint), self.nodes());
        if self.add(seen, vector, None, level).is_err() {
            return Ok(false);
        }
        Arc::get_mut(&mut self.inserter).expect("no task runs before rows are pushed").adopt();
        self.begun = self.nodes();
        Ok(true)
    }

    fn adopt_links(&mut self, node: u32, layer: u8, links: &[u32]) {
        let pruned = links.iter().map(|neighbour| Candidate::new(0.0, *neighbour)).collect();
        self.list(node, layer).write(&Neighbours { diverse: Vec::new(), pruned });
    }

    fn adopt_entry_point(&mut self, entry: EntryPoint<u32>) {
        self.inserter.arena.set_entry_point(entry);
    }
}

impl Arena {
    /// Measures the links of an adopted node on a layer where that was not done yet, and divides them as
    /// algorithm 4 does. The caller holds the lock on the list.
    pub(super) fn measure_list(&self, node: u32, layer: u8) -> Result<()> {
        let list = self.list(node, layer);
        if node >= self.adopted || list.is_divided() {
            return Ok(());
        }
        let mut fetched = Fetched::default();
        fetched.fetch(self, list.nodes().chain([node]))?;
        let distance = |a, b| self.distance_between(a, b, &fetched);
        let mut candidates: Vec<Candidate<u32>> =
            list.nodes().map(|neighbour| Candidate::new(distance(node, neighbour), neighbour)).collect();
        candidates.sort_unstable();
        let most = self.parameters.max_links(layer);
        list.write(&Neighbours::select(&candidates, most, |a, b| Ok(distance(a, b)))?);
        Ok(())
    }

    /// The distance between two nodes whose vectors are in memory or were fetched.
    pub(super) fn distance_between(&self, a: u32, b: u32, fetched: &Fetched) -> f64 {
        let prepared = |node| {
            let (chunk, row) = self.locate(node);
            chunk.row(row).prepared
        };
        let vector = |node| fetched.vector(self, node);
        self.measure.distance_between(vector(a), prepared(a), vector(b), prepared(b))
    }
}
