//! Steps 3 and 4 of a join: links to the new nodes.

use super::Batch;
use crate::graph::EditableGraph;
use crate::page::link::change::Change;
use crate::page::link::together::{Asked, Offered};
use crate::page::query::index::Index;
use crate::page::store::{PageStore, StopPoint};
use crate::types::{Link, Result};

/// Offers that are gathered at least before they are made.
const LEAST: usize = 1024;

/// Offers that are decided together at most: one list may get very many.
const TOGETHER: usize = 1024;

/// A node of the batch that shall be offered to another. They are made in the order of their pages.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Offer {
    /// The page that holds the list.
    pub block: u32,
    pub owner: Link,
    pub layer: u8,
    pub node: u32,
}

impl<'g, Store: PageStore, Graph: EditableGraph> Batch<'_, 'g, Store, Graph> {
    /// Step 3.
    pub(super) fn offer_all(&mut self, progress: &mut impl FnMut(u64)) -> Result<()> {
        let count = u64::from(self.graph.len());
        let own = self.own_places()?;
        let of_node = 2 * self.index.schema.layout.parameters.max_links(0);
        let most = (self.memory / size_of::<Offer>()).max(LEAST);
        let mut offers = Vec::new();
        offers.try_reserve_exact(most.min(own.len() * of_node))?;
        for nodes in self.pages_of_adopted() {
            if offers.len() + nodes.len() * of_node > most {
                self.make(&mut offers, &mut || progress(count))?;
            }
            self.gather_accepted(nodes, &mut offers)?;
        }
        for number in 0..self.published.len() {
            if offers.len() + of_node > most {
                self.make(&mut offers, &mut || progress(count))?;
            }
            self.gather(self.published[number], &own, &mut offers)?;
        }
        self.make(&mut offers, &mut || progress(count))?;
        self.note_dead()
    }

    /// The offers that a published node is for: those of itself to older nodes that the graph does not have,
    /// and those to it of nodes that were not there when it was published.
    fn gather(&self, node: u32, own: &[Link], offers: &mut Vec<Offer>) -> Result<()> {
        let place = self.places[node as usize];
        for layer in 0..=self.graph.level(node) {
            let Some(list) = self.index.list(place, layer)? else { continue };
            offers.try_reserve(2 * list.links.len())?;
            let is_older = |link: &Link| self.adopted == 0 && own.binary_search(link).is_err();
            for owner in list.places().links().filter(is_older) {
                let block = self.index.block_of_list(owner, layer)?;
                offers.push(Offer { block, owner, layer, node });
            }
            let block = list.id.block();
            let is_there = |node: &u32| self.neighbour(*node, layer).is_some();
            let waiting = self.graph.links(node, layer).filter(is_there);
            offers.extend(waiting.map(|node| Offer { block, owner: place, layer, node }));
        }
        Ok(())
    }

    /// Makes offers, a page at a time, and forgets them. While threads decide, the lists on the next pages
    /// are read, and what was decided before is made.
    fn make(&mut self, offers: &mut Vec<Offer>, progress: &mut impl FnMut()) -> Result<()> {
        offers.sort_unstable();
        offers.dedup();
        let of_pages = offers.chunk_by(|a, b| a.block == b.block).flat_map(|page| page.chunks(TOGETHER));
        let mut pages = Vec::new();
        for page in of_pages {
            pages.try_reserve(1)?;
            pages.push(page);
        }
        let (schema, threads) = (&*self.index.schema, self.threads);
        let (mut asked, mut decided) = (Vec::new(), Vec::new());
        // The last two times there is nothing left to be read.
        for pages in pages.chunks(self.pages_together).chain([&[][..]; 2]) {
            progress();
            let own = || {
                self.change(decided)?;
                pages.iter().map(|offers| self.ask(offers)).collect::<Result<_>>()
            };
            let (now_decided, now_asked) = threads.beside(asked, |asked: Asked| asked.decide(schema), own);
            (asked, decided) = (now_asked?, now_decided.into_iter().collect::<Result<_>>()?);
        }
        offers.clear();
        Ok(())
    }

    /// Reads the lists on a page to which nodes are offered.
    fn ask(&mut self, offers: &[Offer]) -> Result<Asked<'g>> {
        self.index.store.interrupt_point();
        self.linker.vectors.limit_memory();
        let Self { linker, graph, places, adopted, .. } = self;
        let offered = |offer: &Offer| {
            let Offer { owner, layer, node, .. } = *offer;
            Offered { owner, layer, node: places[node as usize], code: graph.code(node) }
        };
        let offered: Vec<Offered> = offers.iter().map(offered).collect();
        let adopted = &places[..*adopted as usize];
        linker.ask(&offered, |list, offers| Self::as_built(*graph, adopted, list, offers))
    }

    /// Changes the lists on pages as was decided.
    fn change(&mut self, decided: Vec<Asked>) -> Result<()> {
        for page in decided {
            let gone = self.linker.make(page)?;
            self.dead.try_reserve(gone.len())?;
            self.dead.extend(gone.iter().map(|Offered { owner, layer, node, .. }| (*node, *layer, *owner)));
            self.index.store.stop_point(StopPoint::BatchPageLinked);
        }
        Ok(())
    }

    /// Step 4.
    pub(super) fn confirm(&mut self) -> Result<()> {
        let mut dead = std::mem::take(&mut self.dead);
        dead.sort_unstable();
        for links in dead.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)) {
            self.index.store.interrupt_point();
            let (node, layer, _) = links[0];
            let Some(list) = self.index.list(node, layer)? else { continue };
            let is_dead = |link: &Link| links.iter().any(|(_, _, dead)| dead == link);
            let places = (0..).zip(&list.links).filter(|(_, link)| is_dead(link));
            let changes: Vec<Change> =
                places.map(|(position, old)| Change { position, old: *old, new: Link::NONE }).collect();
            self.linker.change(list.id, &changes)?;
            let live = list.places().links().filter(|link| !is_dead(link)).count();
            if layer == 0
                && live <= links.len()
                && let Some(payload) = self.index.payload(node)?
            {
                self.index.link(node, payload)?;
            }
        }
        Ok(())
    }
}

impl<Store: PageStore> Index<Store> {
    /// The page that holds a node's list of a layer; that of the node where there is no such list.
    pub(super) fn block_of_list(&self, node: Link, layer: u8) -> Result<u32> {
        let list = if layer == 0 { None } else { self.list(node, layer)? };
        Ok(list.map_or(node.block, |list| list.id.block()))
    }
}
