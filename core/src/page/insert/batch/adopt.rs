//! Nodes on pages that a batch's graph has taken over before its rows were inserted into it: threads have chosen
//! neighbours among all nodes, and no search over pages is needed.
//!
//! Of the lists of these nodes the graph knows what they held when they were taken over. What is made of it is
//! only what a new node wants: a place that is free, or that of a link which gave way in the graph. All else
//! that others change meanwhile stays as it is.

use super::Batch;
use crate::graph::{AdoptingGraph, EditableGraph, EntryPoint};
use crate::page::format::meta::Meta;
use crate::page::format::node::Node;
use crate::page::link::change::Change;
use crate::page::link::together::{Decided, Offered};
use crate::page::query::access::{List, State, live_nodes};
use crate::page::query::index::Index;
use crate::page::store::{PageStore, StopPoint};
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
            self.store.interrupt_point();
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
            places.try_reserve(nodes.len())?;
            for (node, payload) in nodes {
                let payload = match payload {
                    None => self.payload(node.link)?,
                    inline => inline,
                };
                let Some(payload) = payload else { continue };
                if !graph.adopt(&self.schema.decode(&payload), node.level)? {
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

    /// Step 3 for the nodes that were there before, a page at a time: links to new ones, as the graph has them.
    /// Those that have died are noted.
    pub(super) fn link_adopted(&mut self, progress: &mut impl FnMut()) -> Result<()> {
        let (mut gone, mut first) = (Vec::new(), 0);
        while first < self.adopted {
            let block = self.places[first as usize].block;
            let of_page = self.places[first as usize..self.adopted as usize].iter();
            let end = first + of_page.take_while(|place| place.block == block).count() as u32;
            progress();
            self.index.store.interrupt_point();
            self.linker.vectors.limit_memory();
            self.link_page(first..end, &mut gone)?;
            first = end;
        }
        self.note_dead(&gone)
    }

    /// Links nodes whose tuples are on one page.
    fn link_page(&mut self, nodes: Range<u32>, gone: &mut Vec<Link>) -> Result<()> {
        for node in nodes.clone() {
            for layer in 1..=self.graph.level(node) {
                self.make_as_built(node..node + 1, layer)?;
            }
        }
        self.make_as_built(nodes.clone(), 0)?;
        // What was found dead now was not when something could be done about it, or is noted here.
        for node in nodes {
            let place = self.places[node as usize];
            if self.index.state(place)? != State::Live {
                gone.try_reserve(1)?;
                gone.push(place);
            }
        }
        Ok(())
    }

    /// Offers new nodes to lists on one page that link to them in the graph.
    fn make_as_built(&mut self, nodes: Range<u32>, layer: u8) -> Result<()> {
        let Self { graph, places, linker, adopted, .. } = self;
        let mut offers = Vec::new();
        for node in nodes {
            let new = graph.links(node, layer).filter(|neighbour| neighbour >= adopted);
            offers.extend(new.filter(|neighbour| !places[*neighbour as usize].is_none()).map(|neighbour| {
                let (owner, node) = (places[node as usize], places[neighbour as usize]);
                Offered { owner, layer, node, code: graph.code(neighbour) }
            }));
        }
        if offers.is_empty() {
            return Ok(());
        }
        let (old, graph) = (&places[..*adopted as usize], &*graph);
        linker.offer_together(&offers, |linker, list, offers| {
            let wanted = |link: Link| {
                let number = old.binary_search(&link).ok();
                number.is_none_or(|number| {
                    let owner = old.binary_search(&list.id.node).unwrap_or_default();
                    graph.links(owner as u32, layer).any(|neighbour| neighbour as usize == number)
                })
            };
            match as_built(list, offers, wanted) {
                Some(changes) => Ok(changes),
                None => linker.decide(list, offers),
            }
        })?;
        self.index.store.stop_point(StopPoint::BatchPageLinked);
        Ok(())
    }

    /// Notes the links from new nodes to these, which have died.
    fn note_dead(&mut self, gone: &[Link]) -> Result<()> {
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

/// What puts new nodes into a list: into free places, and into those of links that are not wanted any more. `None`
/// where there are not enough, since others have changed the list.
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
