//! The expansion of a node: its neighbours, and what its page tells of itself.

use crate::code::CodeQuery;
use crate::graph::{Candidate, Expanded};
use crate::page::format::node::Node;
use crate::page::format::places::{Places, upper_places};
use crate::page::query::access::State;
use crate::page::query::notes::Notes;
use crate::page::query::paged::{PagedQuery, Scratch, doubts};
use crate::page::store::PageStore;
use crate::types::{Link, Result};
use hashbrown::HashSet;

/// An expansion on a layer, as [`NodeStore::expand`](crate::graph::NodeStore::expand) says.
pub(super) struct Expansion<'e, Noted> {
    pub layer: u8,
    pub limit: Option<f64>,
    pub visited: &'e mut HashSet<Link>,
    pub found: &'e mut Vec<Candidate<Link>>,
    pub scratch: &'e mut Scratch,
    pub notes: &'e mut Noted,
}

impl<Noted: Notes> Expansion<'_, Noted> {
    /// In an index without codes.
    pub fn by_payloads<Store: PageStore>(
        self,
        query: &PagedQuery<Store, Noted>,
        candidate: Candidate<Link>,
    ) -> Result<Expanded<Link>> {
        let Self { layer, visited, found, scratch, notes, .. } = self;
        let mut measured = Some(candidate);
        if candidate.is_estimated() {
            let mut own = Vec::with_capacity(1);
            query.score_links(&[candidate.node], layer, scratch, notes, &mut own)?;
            measured = own.pop();
        }
        let mut links = std::mem::take(&mut scratch.links);
        links.clear();
        let state = query.index.neighbours(candidate.node, layer, &mut links)?;
        links.retain(|link| visited.insert(*link));
        links.sort_unstable();
        query.score_links(&links, layer, scratch, notes, found)?;
        scratch.links = links;
        Ok(match (measured, state) {
            (Some(measured), State::Live) => Expanded::Live(measured),
            (Some(measured), State::Tombstone) => Expanded::Tombstone(measured),
            _ => Expanded::Gone,
        })
    }

    /// In an index with codes.
    pub fn by_codes<Store: PageStore>(
        self,
        query: &PagedQuery<Store, Noted>,
        codes: &CodeQuery,
        candidate: Candidate<Link>,
    ) -> Result<Expanded<Link>> {
        let Self { layer, limit, visited, found, scratch, notes } = self;
        let layout = &query.index.schema.layout;
        let mut links = std::mem::take(&mut scratch.links);
        links.clear();
        let doubts = doubts(layer);
        let mut estimate = |places: Places, estimates: &mut Vec<f32>| match places.codes() {
            Some(bytes) => {
                estimates.clear();
                codes.estimate_all(bytes, places.stride(), usize::from(places.len()), estimates);
                for ((link, distance), position) in places.all().zip(estimates.iter()).zip(0..) {
                    let distance = f64::from(*distance);
                    if !link.is_none() && limit.is_none_or(|limit| distance < limit) {
                        let doubt = doubts * codes.deviation(places.code(position));
                        found.push(Candidate::estimate(distance, doubt, link));
                    }
                }
            }
            None => links.extend(places.links().filter(|link| !visited.contains(link))),
        };
        if layer > 0
            && let Some(nearest) = scratch.nearest.filter(|nearest| nearest.node == candidate.node)
        {
            if let Some(places) = upper_places(layout, &scratch.nearest_upper, layer) {
                estimate(places, &mut scratch.estimates);
            }
            return Ok(Expanded::Live(nearest));
        }
        let (own, live, upper) = {
            let page = query.index.store.read(candidate.node.block)?;
            let Some(node) = Node::at(layout, &page, candidate.node)? else {
                notes.stale(candidate.node, layer);
                return Ok(Expanded::Gone);
            };
            let header = node.header();
            if query.meta.is_removable(header) {
                notes.stale(candidate.node, layer);
            }
            if header.is_pending() || header.level < layer {
                return Ok(Expanded::Gone);
            }
            if layer == 0 {
                node.prefetch();
                estimate(node.places(), &mut scratch.estimates);
            }
            notes.expanded(&query.index.schema, candidate.node, &node)?;
            let own = query.look_at(candidate, &node, layer, scratch)?;
            (own, !header.is_tombstone(), if layer > 0 { header.upper } else { Link::NONE })
        };
        query.index.upper_tuple(candidate.node, upper, |tuple| {
            if let Some(places) = tuple.places(layout, layer) {
                estimate(places, &mut scratch.estimates);
            }
            // Lists without codes tell nothing of their nodes: a copy of them would save no page.
            let is_worth_keeping = live && layout.upper_code_size > 0;
            if is_worth_keeping && scratch.nearest.is_none_or(|nearest| own < nearest) {
                scratch.nearest = Some(own);
                scratch.nearest_upper.clear();
                scratch.nearest_upper.extend_from_slice(tuple.bytes());
            }
        })?;
        links.sort_unstable();
        links.dedup();
        let first = found.len();
        query.score_links(&links, layer, scratch, notes, found)?;
        // What is estimated by its own code is marked when the search takes it up, as by the codes above.
        for neighbour in found[first..].iter().filter(|neighbour| !neighbour.is_estimated()) {
            visited.insert(neighbour.node);
        }
        scratch.links = links;
        Ok(if live { Expanded::Live(own) } else { Expanded::Tombstone(own) })
    }
}

impl<Store: PageStore, Noted: Notes> PagedQuery<Store, Noted> {
    /// What the tuple of a node that is expanded tells of its distance.
    fn look_at(
        &self,
        candidate: Candidate<Link>,
        node: &Node,
        layer: u8,
        scratch: &mut Scratch,
    ) -> Result<Candidate<Link>> {
        if let Some(payload) = node.payload() {
            return Ok(self.measure(candidate.node, payload, &mut scratch.decoded));
        }
        scratch.payloads.try_reserve(1)?;
        scratch.payloads.insert(candidate.node, node.payload_link());
        let known = candidate.distance.is_finite();
        let own = if known { None } else { self.estimate_by_code(candidate.node, node, layer) };
        Ok(own.unwrap_or(candidate))
    }
}
