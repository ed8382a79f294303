//! [`NodeStore`] over [`PageStore`]: a search of the graph by one query.

use crate::graph::{Candidate, EntryPoint, Expanded, NodeStore};
use crate::page::query::expand::Expansion;
use crate::page::query::notes::Notes;
use crate::page::query::paged::{Apart, PagedQuery};
use crate::page::store::PageStore;
use crate::types::{Link, Result};
use hashbrown::HashSet;

/// Nodes that are expanded together: more of them hide more latency, and barely change which nodes a search
/// expands.
const BEAM: usize = 8;
/// The fewest nodes that are measured at the end of a walk by estimates alone.
const MIN_SETTLED: usize = 24;

impl<Store: PageStore, Noted: Notes> NodeStore for PagedQuery<Store, Noted> {
    type Node = Link;
    type Visited = HashSet<Link>;

    fn entry_point(&self) -> Result<Option<EntryPoint<Link>>> {
        Ok(self.meta.entry())
    }

    fn beam(&self) -> usize {
        if self.codes.is_some() { BEAM } else { 1 }
    }

    fn announce(&self, nodes: &[Candidate<Link>], _layer: u8) {
        if self.codes.is_some() {
            self.index.store.announce_tuples(self.scratch.borrow_mut().links_of(nodes));
        }
    }

    fn prefetch(&self, nodes: &[Candidate<Link>], _layer: u8) {
        if self.codes.is_some() {
            self.index.store.prefetch_tuples(self.scratch.borrow_mut().links_of(nodes));
        }
    }

    fn expand(
        &self,
        candidate: Candidate<Link>,
        layer: u8,
        limit: Option<f64>,
        visited: &mut HashSet<Link>,
        found: &mut Vec<Candidate<Link>>,
    ) -> Result<Expanded<Link>> {
        self.index.store.interrupt_point();
        visited.try_reserve(self.index.schema.layout.parameters.max_links(layer))?;
        let (scratch, notes) = (&mut *self.scratch.borrow_mut(), &mut *self.notes.borrow_mut());
        let expansion = Expansion { layer, limit, visited, found, scratch, notes };
        if layer == 0 {
            expansion.notes.walked(candidate.node);
        }
        match &self.codes {
            Some(codes) => expansion.by_codes(self, codes, candidate),
            None => expansion.by_payloads(self, candidate),
        }
    }

    fn settle(&self, nodes: &mut Vec<Candidate<Link>>, wanted: usize) -> Result<usize> {
        if !nodes.iter().any(Candidate::is_estimated) {
            return Ok(wanted.min(nodes.len()));
        }
        let scratch = &mut *self.scratch.borrow_mut();
        let most = (wanted / 2).max(MIN_SETTLED).min(wanted);
        let mut measured = Vec::with_capacity(most);
        // Nodes that have been reclaimed meanwhile drop out.
        while measured.is_empty() && !nodes.is_empty() {
            scratch.apart.try_reserve(most.min(nodes.len()))?;
            for candidate in nodes.drain(..most.min(nodes.len())) {
                let payload = scratch.payloads.get(&candidate.node).copied().unwrap_or(Link::NONE);
                scratch.apart.push(Apart { node: candidate.node, payload });
            }
            // In the order of their pages, to be asked for together.
            scratch.apart.sort_unstable_by_key(|apart| apart.payload);
            self.measure_apart(scratch, &mut measured)?;
        }
        measured.sort_unstable();
        let settled = measured.len();
        nodes.try_reserve(settled)?;
        nodes.splice(..0, measured);
        Ok(settled)
    }
}
