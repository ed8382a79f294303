//! Step 1 of a join: the order of the nodes, and the search for what is near each of them.
//!
//! The caller's thread searches, as no other reads pages; meanwhile the threads of a pool choose neighbours
//! of the nodes that it has searched for before, see `choose`.

use super::Batch;
use super::choose::choose;
use super::chosen::{Around, Chosen, Found, Group, Neighbour};
use super::near::Near;
use crate::graph::{Candidate, EditableGraph, Purpose, search_layers};
use crate::page::insert::query_of;
use crate::page::query::paged::PagedQuery;
use crate::page::store::PageStore;
use crate::types::{Link, Result};
use std::collections::VecDeque;

/// Nodes where a search with a small beam begins.
const ENTRIES: usize = 4;
/// Nodes that a search remembers whose memory is not used again.
const WIDE: usize = 1 << 14;
/// The share of ef_construction that is a small beam: what neighbours in the batch found is near.
const SMALL_BEAM: f64 = 0.8;

/// Each node of a batch, and then its neighbours, so that those come to lie together: the first of them is of
/// the covering part.
struct Order<'g, Graph> {
    graph: &'g Graph,
    done: Vec<bool>,
    /// Neighbours that follow.
    neighbours: VecDeque<u32>,
    /// The node after the last that was not one of those.
    next: u32,
    /// How many nodes are done, those that the graph has taken over among them.
    count: u64,
}

impl<'g, Graph: EditableGraph> Order<'g, Graph> {
    /// Of the nodes after those that the graph has taken over.
    fn new(graph: &'g Graph, adopted: u32) -> Result<Self> {
        let mut done = Vec::new();
        done.try_reserve_exact(graph.len() as usize)?;
        done.resize(graph.len() as usize, false);
        done[..adopted as usize].fill(true);
        Ok(Self { graph, done, neighbours: VecDeque::new(), next: adopted, count: adopted.into() })
    }

    fn next(&mut self) -> Option<u32> {
        loop {
            let neighbour = self.neighbours.pop_front();
            let node = neighbour.or_else(|| (self.next < self.graph.len()).then_some(self.next))?;
            self.next += u32::from(neighbour.is_none());
            if std::mem::replace(&mut self.done[node as usize], true) {
                continue;
            }
            if neighbour.is_none() {
                self.neighbours.extend(self.graph.links(node, 0));
            }
            self.count += 1;
            return Some(node);
        }
    }

    fn is_end(&self) -> bool {
        self.next == self.graph.len() && self.neighbours.is_empty()
    }
}

impl<'i, Store: PageStore, Graph: EditableGraph> Batch<'i, '_, Store, Graph> {
    /// Steps 1 and 2.
    pub(super) fn publish_all(&mut self, progress: &mut impl FnMut(u64)) -> Result<()> {
        let (graph, schema, threads) = (self.graph, &*self.index.schema, self.threads);
        let (mut order, mut group) = (Order::new(graph, self.adopted)?, Group::default());
        if self.is_whole {
            while let Some(node) = order.next() {
                self.publish_as_built(node)?;
                progress(order.count);
            }
            return self.publish_rest();
        }
        loop {
            let (is_end, Group { found, near }) = (order.is_end(), std::mem::take(&mut group));
            if is_end && found.is_empty() {
                return self.publish_rest();
            }
            let search = || self.find_together(&mut order, &near);
            let (chosen, next) = threads.beside(found, |found| choose(graph, schema, &near, found), search);
            group = next?;
            for chosen in chosen {
                self.publish(chosen?)?;
            }
            progress(order.count);
        }
    }

    /// Searches for the next nodes, as many as there is memory for what is found near them. `before` is what
    /// was near the last ones.
    fn find_together(&mut self, order: &mut Order<Graph>, before: &Near) -> Result<Group> {
        let mut group = Group::default();
        for _ in 0..self.together {
            if group.near.len() > self.most_near {
                break;
            }
            let Some(node) = order.next() else { break };
            group.found.extend(self.find(node, &mut group.near, before)?);
        }
        Ok(group)
    }

    fn publish_as_built(&mut self, node: u32) -> Result<()> {
        let (schema, mut buffer) = (&self.index.schema, Vec::new());
        let payload = schema.encode(self.graph.vector(node, &mut buffer)?);
        let vector = schema.decode(&payload);
        let of_batch = |layer| {
            let of_batch = self.of_batch(node, layer).into_iter();
            of_batch.map(|(neighbour, other)| (neighbour, self.graph.code(other).to_vec())).collect()
        };
        let layers = (0..=self.graph.level(node)).map(of_batch).collect();
        self.publish(Chosen { node, payload, vector, layers, rows_taken: 0 })
    }

    /// Searches for a node, or leaves its rows to a node that holds its vector: then there is nothing more
    /// to do.
    fn find(&mut self, node: u32, near: &mut Near, before: &Near) -> Result<Option<Found>> {
        let (index, mut buffer) = (self.index, Vec::new());
        let payload = index.schema.encode(self.graph.vector(node, &mut buffer)?);
        let query = query_of(index, &payload)?.with_notes(std::mem::take(near));
        let nearest = self.search(node, &query)?;
        *near = std::mem::take(&mut *query.notes());
        let nearest_of_0 = nearest.first().map_or(&[][..], Vec::as_slice);
        let rows_taken = self.leave_rows(node, &query, nearest_of_0, &payload)?;
        if !self.places[node as usize].is_none() {
            return Ok(None);
        }
        let entries = nearest_of_0.iter().map(|candidate| candidate.node).take(ENTRIES / 2).collect();
        self.found.insert(node, entries);
        let level = self.graph.level(node);
        let mut layers = Vec::with_capacity(usize::from(level) + 1);
        for layer in 0..=level {
            let on_pages = nearest.get(usize::from(layer)).cloned().unwrap_or_default();
            on_pages.iter().try_for_each(|candidate| near.load(index, before, candidate.node))?;
            layers.push(Around { on_pages, of_batch: self.of_batch(node, layer) });
        }
        let vector = index.schema.known_vector(query.vector().to_vec(), true, level);
        Ok(Some(Found { node, payload, vector, layers, rows_taken }))
    }

    /// The nodes on pages that are near to a node of the batch, by layer from 0, nearest first.
    fn search(
        &mut self,
        node: u32,
        query: &PagedQuery<&'i Store, Near>,
    ) -> Result<Vec<Vec<Candidate<Link>>>> {
        let parameters = &self.index.schema.layout.parameters;
        let ef = usize::from(parameters.ef_construction);
        let level = self.graph.level(node);
        let entries = if level == 0 { self.entries(node) } else { Vec::new() };
        // A wide one would make all others slow.
        self.search.take_if(|search| search.remembered() > WIDE);
        let search = self.search.get_or_insert_with(|| query.search(Purpose::Insertion, ef));
        if !entries.is_empty() {
            let small = ((ef as f64 * SMALL_BEAM) as usize).max(parameters.m0.into()).min(ef);
            let ef = if self.is_dense { small } else { ef };
            let nearest = search.run(query, &entries, 0, ef)?;
            if !nearest.is_empty() {
                return Ok(vec![nearest]);
            }
        }
        let mut layers = Vec::new();
        search_layers(query, search, parameters, level, |_, nearest| {
            layers.push(nearest.clone());
            Ok(())
        })?;
        layers.reverse();
        Ok(layers)
    }

    /// Where a search for a node begins: at its neighbours in the batch, or at what was found near those that
    /// are not on pages yet. None as long as nothing was searched for.
    fn entries(&self, node: u32) -> Vec<Candidate<Link>> {
        let mut entries = Vec::with_capacity(ENTRIES);
        for neighbour in self.graph.links(node, 0) {
            match self.places[neighbour as usize].as_option() {
                Some(place) => entries.push(place),
                None => entries.extend(self.found.get(&neighbour).into_iter().flatten()),
            }
            if entries.len() >= ENTRIES {
                break;
            }
        }
        entries.into_iter().map(Candidate::unknown).collect()
    }

    /// The neighbours that a node has in the batch, on a layer, and their numbers.
    fn of_batch(&self, node: u32, layer: u8) -> Vec<(Neighbour, u32)> {
        let of_batch = |other| Some((self.neighbour(other, layer)?, other));
        self.graph.links(node, layer).filter_map(of_batch).collect()
    }
}
