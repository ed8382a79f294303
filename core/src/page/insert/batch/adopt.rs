//! Nodes on pages that a batch's graph has taken over before its rows were inserted into it: threads have
//! chosen neighbours among all nodes, and no search over pages is needed.
//!
//! Of the lists of these nodes the graph knows what they held when they were taken over. What it has decided
//! is made where they still hold that: a new node takes a place that is free, or that of a link which gave
//! way in the graph. What others have changed meanwhile is decided as if there were no such graph.

use super::Batch;
use super::offer::Offer;
use crate::graph::{AdoptingGraph, EditableGraph, EntryPoint};
use crate::page::format::meta::Meta;
use crate::page::format::node::Node;
use crate::page::link::change::Change;
use crate::page::link::together::{Decided, Offered};
use crate::page::query::access::{List, LiveNode, live_nodes};
use crate::page::query::index::Index;
use crate::page::store::PageStore;
use crate::types::{Error, Link, Result};
use std::ops::Range;

impl<Store: PageStore> Index<Store> {
    /// Lets a graph take over all nodes that are alive. Returns where they are, in the order of their numbers
    /// and of pages; `None` where the graph has no room for them, and where a vacuum has begun and not ended:
    /// then tombstones may be the only ways to nodes, and those the graph does not have.
    ///
    /// 20 bytes a node are taken, and 8 of them kept.
    pub fn adopt(&self, graph: &mut impl AdoptingGraph) -> Result<Option<Vec<Link>>> {
        let before = Meta::read(&self.store)?;
        if before.cycle != before.repaired_cycle {
            return Ok(None);
        }
        let Some(nodes) = self.adopt_vectors(graph)? else { return Ok(None) };
        let number = |link: &Link| nodes.binary_search_by_key(link, |node| node.link).ok();
        let mut links = Vec::new();
        for (node, LiveNode { link, level }) in (0..).zip(&nodes) {
            self.store.interrupt_point();
            for layer in 0..=*level {
                let Some(list) = self.list(*link, layer)? else { break };
                // A link whose version has come round may lead to a node of a lower level.
                let is_there = |other: &usize| nodes[*other].level >= layer && *other != node as usize;
                let known = list.places().links().filter_map(|link| number(&link)).filter(is_there);
                links.clear();
                links.extend(known.map(|other| other as u32));
                graph.adopt_links(node, layer, &links);
            }
        }
        let meta = Meta::read(&self.store)?;
        if (meta.cycle, meta.repaired_cycle) != (before.cycle, before.repaired_cycle) {
            return Ok(None);
        }
        // An entry point that has died is walked through on pages; here it is not.
        let highest = || (0..nodes.len()).rev().max_by_key(|node| nodes[*node].level);
        if let Some(entry) = meta.entry().and_then(|entry| number(&entry.node)).or_else(highest) {
            graph.adopt_entry_point(EntryPoint { node: entry as u32, level: nodes[entry].level });
        }
        let mut places = Vec::new();
        places.try_reserve_exact(nodes.len())?;
        places.extend(nodes.iter().map(|node| node.link));
        Ok(Some(places))
    }

    fn adopt_vectors(&self, graph: &mut impl AdoptingGraph) -> Result<Option<Vec<LiveNode>>> {
        let (layout, mut adopted) = (&self.schema.layout, Vec::new());
        adopted.try_reserve_exact(self.most_nodes()? as usize)?;
        for (block, page) in self.data_pages()? {
            // The graph may write to a file: no page is locked meanwhile.
            let nodes = {
                let page = page?;
                let mut nodes = Vec::new();
                for live in live_nodes(self, &page, block)? {
                    let payload = match Node::at(layout, &page, live.link)? {
                        Some(node) => self.payload_on(&page, live.link, &node)?.map(<[u8]>::to_vec),
                        None => None,
                    };
                    nodes.push((live, payload));
                }
                nodes
            };
            self.store.interrupt_point();
            adopted.try_reserve(nodes.len())?;
            for (node, payload) in nodes {
                let payload = match payload {
                    None => self.payload(node.link)?,
                    inline => inline,
                };
                let Some(payload) = payload else { continue };
                let fingerprint = layout.encoding.fingerprint(&payload);
                if !graph.adopt(&self.schema.decode(&payload), fingerprint, node.level)? {
                    return Ok(None);
                }
                adopted.push(node);
            }
        }
        Ok(Some(adopted))
    }
}

impl<Store: PageStore, Graph: EditableGraph> Batch<'_, '_, Store, Graph> {
    /// The rows of the batch whose vectors are held by nodes that were there before.
    pub(super) fn add_rows_of_adopted(&mut self) -> Result<()> {
        for node in 0..self.adopted {
            if self.graph.heap_tids(node).next().is_none() {
                continue;
            }
            self.index.store.interrupt_point();
            let (meta, place) = (Meta::read(&self.index.store)?, self.places[node as usize]);
            let (added, all) = self.index.add_rows(&meta, place, self.graph.heap_tids(node))?;
            if all {
                continue;
            }
            // It has died. A tombstone keeps its payload, which tells more of the vector than what was taken
            // over, as long as there is a transaction that has begun before.
            let Link { block, slot, .. } = place;
            let gone = Error::Corrupt { block, slot, what: "node that was removed before its time" };
            let payload = self.index.payload(place)?.ok_or(gone)?;
            for heap_tid in self.graph.heap_tids(node).skip(added) {
                self.index.insert_payload(payload.clone(), heap_tid, true)?;
            }
        }
        Ok(())
    }

    /// The nodes that were there before, by the page on which they are.
    pub(super) fn pages_of_adopted(&self) -> Vec<Range<u32>> {
        let mut nodes = 0..0;
        let of_page = |page: &[Link]| {
            nodes = nodes.end..nodes.end + page.len() as u32;
            nodes.clone()
        };
        self.places[..self.adopted as usize].chunk_by(|a, b| a.block == b.block).map(of_page).collect()
    }

    /// The offers that nodes which were there before have accepted in the graph.
    pub(super) fn gather_accepted(&self, nodes: Range<u32>, offers: &mut Vec<Offer>) -> Result<()> {
        for (number, layer) in
            nodes.flat_map(|node| (0..=self.graph.level(node)).map(move |layer| (node, layer)))
        {
            let owner = self.places[number as usize];
            let new = |node: &u32| *node >= self.adopted && !self.places[*node as usize].is_none();
            let mut new = self.graph.links(number, layer).filter(new).peekable();
            if new.peek().is_some() {
                offers.try_reserve(self.index.schema.layout.parameters.max_links(layer))?;
                let block = self.index.block_of_list(owner, layer)?;
                offers.extend(new.map(|node| Offer { block, owner, layer, node }));
            }
        }
        Ok(())
    }

    /// Which offers a list accepts, where the graph has decided.
    pub(super) fn as_built<'c>(
        graph: &Graph,
        adopted: &[Link],
        list: &List,
        offers: &[Offered<'c>],
    ) -> Option<Decided<'c>> {
        let number = |link: &Link| adopted.binary_search(link).ok().map(|number| number as u32);
        let (owner, layer) = (number(&list.id.node)?, list.id.layer);
        let wanted = |link: Link| {
            number(&link).is_none_or(|number| graph.links(owner, layer).any(|neighbour| neighbour == number))
        };
        as_built(list, offers, wanted)
    }

    /// Notes the links from new nodes to those that were there before and have died.
    pub(super) fn note_dead(&mut self) -> Result<()> {
        if self.published.is_empty() {
            return Ok(());
        }
        let mut gone = Vec::new();
        for nodes in self.pages_of_adopted() {
            self.index.store.interrupt_point();
            let block = self.places[nodes.start as usize].block;
            let live = live_nodes(self.index, &*self.index.store.read(block)?, block)?;
            for place in &self.places[nodes.start as usize..nodes.end as usize] {
                if !live.iter().any(|node| node.link == *place) {
                    gone.try_reserve(1)?;
                    gone.push(*place);
                }
            }
        }
        if gone.is_empty() {
            return Ok(());
        }
        for node in &self.published {
            let place = self.places[*node as usize];
            for layer in 0..=self.graph.level(*node) {
                let Some(list) = self.index.list(place, layer)? else { continue };
                let dead = list.places().links().filter(|link| gone.binary_search(link).is_ok());
                for dead in dead {
                    self.dead.try_reserve(1)?;
                    self.dead.push((place, layer, dead));
                }
            }
        }
        Ok(())
    }
}

/// What puts new nodes into a list: into free places, and into those of links that are not wanted any more.
/// `None` where these are not as many as are needed, since others have changed the list.
fn as_built<'c>(list: &List, offers: &[Offered<'c>], wanted: impl Fn(Link) -> bool) -> Option<Decided<'c>> {
    let is_new = |offered: &&Offered| !list.links.contains(&offered.node);
    let new: Vec<&Offered> = offers.iter().filter(is_new).collect();
    let (free, taken): (Vec<_>, Vec<_>) =
        (0..).zip(list.links.iter().copied()).partition(|(_, link)| link.is_none());
    let mut given_up = Vec::new();
    if new.len() > free.len() {
        given_up.extend(taken.into_iter().filter(|(_, link)| !wanted(*link)));
        if given_up.len() != new.len() - free.len() {
            return None;
        }
    }
    let change = |((position, old), offered): ((u16, Link), &Offered<'c>)| {
        (Change { position, old, new: offered.node }, offered.code)
    };
    Some(free.into_iter().chain(given_up).zip(new).map(change).collect())
}
