//! Nodes on pages that a batch's graph has taken over before its rows were inserted into it: threads have
//! chosen neighbours among all nodes, and no search over pages is needed.
//!
//! Of the lists of these nodes the graph knows what they held when they were taken over. What is made of it
//! is only what a new node wants: a place that is free, or that of a link which gave way in the graph. All
//! else that others change meanwhile stays as it is.

use super::Batch;
use super::offer::Offer;
use crate::graph::{AdoptingGraph, EditableGraph, EntryPoint};
use crate::page::format::meta::Meta;
use crate::page::format::node::Node;
use crate::page::link::Linker;
use crate::page::link::change::Change;
use crate::page::link::together::{Decided, Offered};
use crate::page::query::access::{List, State, live_nodes};
use crate::page::query::index::Index;
use crate::page::store::PageStore;
use crate::types::{Link, Result};
use std::ops::Range;

impl<Store: PageStore> Index<Store> {
    /// Lets a graph take over all nodes that are alive. Returns where they are, in the order of their numbers
    /// and of pages; `None` where the graph has no room for them.
    ///
    /// 8 bytes a node are taken.
    pub fn adopt(&self, graph: &mut impl AdoptingGraph) -> Result<Option<Vec<Link>>> {
        let Some((places, highest)) = self.adopt_vectors(graph)? else { return Ok(None) };
        let number = |link: &Link| places.binary_search(link).ok().map(|number| number as u32);
        let mut links = Vec::new();
        for (node, place) in (0..).zip(&places) {
            self.store.interrupt_point();
            let mut layer = 0;
            // No list where the node is gone meanwhile: then nothing leads to it in the graph for long.
            while let Some(list) = self.list(*place, layer)? {
                links.clear();
                links.extend(list.places().links().filter_map(|link| number(&link)));
                graph.adopt_links(node, layer, &links);
                layer += 1;
            }
        }
        let entry = Meta::read(&self.store)?.entry();
        let entry = entry.and_then(|at| Some(EntryPoint { node: number(&at.node)?, level: at.level }));
        // One that has died is walked through on pages; here it is not.
        entry.or(highest).into_iter().for_each(|entry| graph.adopt_entry_point(entry));
        Ok(Some(places))
    }

    /// Where all nodes are, and the first of the highest level.
    #[expect(clippy::type_complexity, reason = "what the one caller wants")]
    fn adopt_vectors(
        &self,
        graph: &mut impl AdoptingGraph,
    ) -> Result<Option<(Vec<Link>, Option<EntryPoint<u32>>)>> {
        let (layout, mut places) = (&self.schema.layout, Vec::new());
        let mut highest: Option<EntryPoint<u32>> = None;
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
            places.try_reserve(nodes.len())?;
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
                if highest.is_none_or(|entry| node.level > entry.level) {
                    highest = Some(EntryPoint { node: places.len() as u32, level: node.level });
                }
                places.push(node.link);
            }
        }
        Ok(Some((places, highest)))
    }
}

impl<Store: PageStore, Graph: EditableGraph> Batch<'_, '_, Store, Graph> {
    /// The rows of the batch whose vectors are held by nodes that were there before.
    pub(super) fn add_rows_of_adopted(&mut self) -> Result<()> {
        (0..self.adopted).try_for_each(|node| self.add_other_rows(node, 0))
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
                let block = self.index.block_of_list(owner, layer)?;
                offers.extend(new.map(|node| Offer { block, owner, layer, node }));
            }
        }
        Ok(())
    }

    /// Which offers a list accepts: what the graph has decided, where it has.
    pub(super) fn decide<'c>(
        graph: &Graph,
        adopted: &[Link],
        linker: &mut Linker<Store>,
        list: &mut List,
        offers: &[Offered<'c>],
    ) -> Result<Decided<'c>> {
        let number = |link: &Link| adopted.binary_search(link).ok().map(|number| number as u32);
        if let Some(owner) = number(&list.id.node) {
            let layer = list.id.layer;
            let wanted = |link: Link| {
                number(&link)
                    .is_none_or(|number| graph.links(owner, layer).any(|neighbour| neighbour == number))
            };
            if let Some(changes) = as_built(list, offers, wanted) {
                return Ok(changes);
            }
        }
        linker.decide(list, offers)
    }

    /// Notes the links from new nodes to those that were there before and have died.
    pub(super) fn note_dead(&mut self) -> Result<()> {
        let mut gone = Vec::new();
        for place in &self.places[..self.adopted as usize] {
            self.index.store.interrupt_point();
            if self.index.state(*place)? != State::Live {
                gone.try_reserve(1)?;
                gone.push(*place);
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
/// `None` where there are not enough, since others have changed the list.
fn as_built<'c>(list: &List, offers: &[Offered<'c>], wanted: impl Fn(Link) -> bool) -> Option<Decided<'c>> {
    let is_new = |offered: &&Offered| !list.links.contains(&offered.node);
    let mut new = offers.iter().filter(is_new).peekable();
    let places = || (0..).zip(list.links.iter().copied());
    let free = places().filter(|(_, link)| link.is_none());
    let given_up = places().filter(|(_, link)| !link.is_none() && !wanted(*link));
    let mut changes = Vec::new();
    for (position, old) in free.chain(given_up) {
        let Some(offered) = new.next() else { break };
        changes.push((Change { position, old, new: offered.node }, offered.code));
    }
    new.peek().is_none().then_some(changes)
}
