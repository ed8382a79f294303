//! Step 1 of a join: the order of the nodes, and the choice of their neighbours.

use super::Batch;
use super::chosen::{Chosen, Neighbour};
use crate::graph::{Candidate, EditableGraph, Purpose, search_layers};
use crate::page::insert::publish::CodedLinks;
use crate::page::insert::query_of;
use crate::page::query::notes::Expansions;
use crate::page::query::paged::PagedQuery;
use crate::page::query::vectors::Known;
use crate::page::store::PageStore;
use crate::types::{Link, Result};
use hashbrown::HashSet;

/// Nodes where a search with a small beam begins.
const ENTRIES: usize = 4;
/// The share of ef_construction that is a small beam: what neighbours in the batch found is near.
const NARROWER: usize = 2;

/// What is known of the neighbours that a node has in the batch.
struct OfBatch {
    neighbour: Neighbour,
    node: u32,
    known: Known,
}

impl<'i, Store: PageStore, Graph: EditableGraph> Batch<'i, '_, Store, Graph> {
    /// Steps 1 and 2. Each node that is not done, and then its neighbours, so that those come to lie
    /// together: the first of them is of the covering part. New nodes come after what the graph has taken
    /// over.
    pub(super) fn publish_all(&mut self, progress: &mut impl FnMut(u64)) -> Result<()> {
        let len = self.graph.len();
        let mut done = Vec::new();
        done.try_reserve_exact(len as usize)?;
        done.resize(len as usize, false);
        done[..self.adopted as usize].fill(true);
        let mut count = u64::from(self.adopted);
        for first in 0..len {
            if first >= self.adopted && done[first as usize] {
                continue;
            }
            let neighbours: Vec<u32> = self.graph.links(first, 0).collect();
            for node in [first].into_iter().chain(neighbours) {
                if !std::mem::replace(&mut done[node as usize], true) {
                    self.add(node)?;
                    count += 1;
                    progress(count);
                }
            }
        }
        self.publish_rest()
    }

    /// Chooses a node's neighbours and publishes it, or leaves its rows to a node that holds its vector.
    fn add(&mut self, node: u32) -> Result<()> {
        self.linker.vectors.limit_memory();
        let (index, mut buffer) = (self.index, Vec::new());
        let payload = index.schema.encode(self.graph.vector(node, &mut buffer)?);
        if self.is_whole {
            let layers = (0..=self.graph.level(node)).map(|layer| self.as_built(node, layer)).collect();
            let vector = index.schema.decode(&payload);
            return self.publish(Chosen { node, payload, vector, layers, rows_taken: 0 });
        }
        let query = query_of(index, &payload)?.with_notes(Expansions::default());
        let found = self.search(node, &query)?;
        let nearest = found.first().map_or(&[][..], Vec::as_slice);
        let rows_taken = self.leave_rows(node, &query, nearest, &payload)?;
        if !self.places[node as usize].is_none() {
            return Ok(());
        }
        for (link, known) in query.notes().drain(..) {
            self.linker.vectors.add(link, known)?;
        }
        let mut layers = Vec::new();
        for layer in 0..=self.graph.level(node) {
            let found = found.get(usize::from(layer)).map_or(&[][..], Vec::as_slice);
            layers.push(self.choose(node, layer, &query, found)?);
        }
        let vector = query.vector().to_vec();
        self.publish(Chosen { node, payload, vector, layers, rows_taken })
    }

    /// The neighbours that a node has in the batch, on a layer.
    fn as_built(&self, node: u32, layer: u8) -> Vec<(Neighbour, Vec<u8>)> {
        let of_batch = |other| Some((self.neighbour(other, layer)?, self.graph.code(other).to_vec()));
        self.graph.links(node, layer).filter_map(of_batch).collect()
    }

    /// The nodes on pages that are near to a node of the batch, by layer from 0, nearest first.
    fn search(
        &self,
        node: u32,
        query: &PagedQuery<&'i Store, Expansions>,
    ) -> Result<Vec<Vec<Candidate<Link>>>> {
        let parameters = &self.index.schema.layout.parameters;
        let ef = usize::from(parameters.ef_construction);
        let level = self.graph.level(node);
        if level == 0 {
            let entries = self.entries(node);
            let ef = if self.is_dense { ef.div_ceil(NARROWER).max(parameters.m.into()) } else { ef };
            let mut search = query.search(Purpose::Insertion, ef);
            let nearest = search.run(query, &entries, 0, ef)?;
            if !nearest.is_empty() {
                return Ok(vec![nearest]);
            }
        }
        let mut search = query.search(Purpose::Insertion, ef);
        let mut layers = Vec::new();
        search_layers(query, &mut search, parameters, level, |_, nearest| {
            layers.push(nearest.clone());
            Ok(())
        })?;
        layers.reverse();
        Ok(layers)
    }

    /// Where a search for a node begins: at its neighbours in the batch, or at theirs as long as they are not
    /// on pages. None as long as none of these is.
    fn entries(&self, node: u32) -> Vec<Candidate<Link>> {
        let mut entries = Vec::with_capacity(ENTRIES);
        for neighbour in self.graph.links(node, 0) {
            match self.places[neighbour as usize].as_option() {
                Some(place) => entries.push(place),
                None => entries.extend(self.page.neighbours(neighbour).take(2)),
            }
            if entries.len() >= ENTRIES {
                break;
            }
        }
        entries.into_iter().map(Candidate::unknown).collect()
    }

    /// Chooses neighbours on a layer, among nodes on pages that were found and those that the node has in the
    /// batch.
    fn choose(
        &mut self,
        node: u32,
        layer: u8,
        query: &PagedQuery<&'i Store, Expansions>,
        found: &[Candidate<Link>],
    ) -> Result<Vec<(Neighbour, Vec<u8>)>> {
        let of_batch = self.of_batch(node, layer)?;
        let mut candidates = Vec::with_capacity(found.len() + of_batch.len());
        for candidate in found {
            self.linker.vectors.read(candidate.node)?;
            candidates.push(candidate.with_node(Neighbour::Placed(candidate.node)));
        }
        for OfBatch { neighbour, known, .. } in &of_batch {
            let is_new = !found.iter().any(|other| Neighbour::Placed(other.node) == *neighbour);
            if is_new {
                candidates.push(Candidate::new(query.distance(known.vector()), *neighbour));
            }
        }
        candidates.sort_unstable();
        // Neighbours that have given their rows to one node are one.
        candidates.dedup_by_key(|candidate| candidate.node);
        let vectors = &self.linker.vectors;
        let of_batch_known = |neighbour| of_batch.iter().find(|other| other.neighbour == neighbour);
        let chosen = vectors.select_among(&candidates, layer, |neighbour| {
            let on_page = || if let Neighbour::Placed(link) = neighbour { vectors.peek(link) } else { None };
            of_batch_known(neighbour).map(|other| &other.known).or_else(on_page)
        })?;
        let mut coded = Vec::with_capacity(chosen.len());
        for Candidate { node: neighbour, .. } in chosen.iter() {
            let code = match (of_batch_known(*neighbour), *neighbour) {
                (Some(other), _) => Some(self.graph.code(other.node).to_vec()),
                (None, Neighbour::Placed(link)) => self.linker.vectors.code(link)?,
                (None, Neighbour::Waiting(_)) => None,
            };
            // Nodes that are gone are left out.
            coded.extend(code.map(|code| (*neighbour, code)));
        }
        Ok(coded)
    }

    /// The links of a node to what has a place, by layer from 0, and besides the neighbours that have none
    /// yet.
    pub(super) fn links(&self, chosen: &Chosen) -> (Vec<CodedLinks>, Vec<Vec<u32>>) {
        let (mut layers, mut waiting) = (Vec::new(), Vec::new());
        for (layer, neighbours) in (0..).zip(&chosen.layers) {
            let (mut links, mut others) = (CodedLinks::new(), Vec::new());
            for (neighbour, code) in neighbours {
                let now = match *neighbour {
                    Neighbour::Placed(_) => Some(*neighbour),
                    Neighbour::Waiting(node) => self.neighbour(node, layer),
                };
                match now {
                    Some(Neighbour::Placed(link)) => links.push((link, code.clone())),
                    Some(Neighbour::Waiting(node)) => others.push(node),
                    None => {}
                }
            }
            // One that has left its rows to another may now be the same as that.
            let mut seen = HashSet::new();
            links.retain(|(link, _)| seen.insert(*link));
            layers.push(links);
            waiting.push(others);
        }
        (layers, waiting)
    }

    /// The neighbours that a node has in the batch.
    fn of_batch(&self, node: u32, layer: u8) -> Result<Vec<OfBatch>> {
        let (schema, mut buffer) = (&self.index.schema, Vec::new());
        let known = |other: u32| {
            let neighbour = self.neighbour(other, layer)?;
            // Its payload will tell nearly the same vector.
            let vector = self.graph.vector(other, &mut buffer);
            let known =
                vector.map(|vector| schema.known_vector(vector.to_vec(), true, self.graph.level(other)));
            Some(known.map(|known| OfBatch { neighbour, node: other, known }))
        };
        self.graph.links(node, layer).filter_map(known).collect()
    }
}
