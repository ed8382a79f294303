//! Step 2 of a vacuum: links to tombstones are replaced, without a search of the graph. On demand, all that lead nowhere are.

use super::{Vacuum, VacuumStatistics, live_nodes};
use crate::page::format::meta::COUNTERS_BLOCK;
use crate::page::format::node::Node;
use crate::page::format::slotted::Page;
use crate::page::insert::Insertion;
use crate::page::link::change::Change;
use crate::page::query::access::Places;
use crate::page::query::vectors::Vectors;
use crate::page::store::PageStore;
use crate::types::{Link, Result};
use hashbrown::HashSet;
use std::ops::Deref;

impl<'i, Store: PageStore> Vacuum<'i, Store> {
    /// Repairs all live nodes that link to tombstones of this round.
    ///
    /// The pass goes on to the end that the index has then: a node published behind it saw all the tombstones, see step 5 of
    /// an insertion.
    pub(super) fn repair(&mut self) -> Result<()> {
        let mut statistics = self.statistics;
        let mut vectors = Vectors::new(&self.index);
        let mut begin = COUNTERS_BLOCK + 1;
        while let end = self.index.store.block_count()?
            && begin < end
        {
            for (block, page) in self.index.store.pages(begin..end) {
                for (node, layer) in self.damaged_lists(block, page?)? {
                    if let Some(places) = self.index.places(node, layer)? {
                        self.mend(&mut vectors, (node, layer), &places, &self.tombstones, &mut statistics)?;
                    }
                }
            }
            begin = end;
        }
        self.statistics = statistics;
        Ok(())
    }

    /// Mends all lists of links: stale links, links that are there twice, and links of a node to itself.
    pub(super) fn mend_all(&mut self) -> Result<()> {
        let mut statistics = self.statistics;
        let mut vectors = Vectors::new(&self.index);
        // What is inserted meanwhile links to no node that is gone.
        for (block, page) in self.index.data_pages()? {
            let nodes = live_nodes(&self.index, &*page?, block)?;
            for (node, layer) in
                nodes.iter().flat_map(|node| (0..=node.level).map(|layer| (node.link, layer)))
            {
                let Some(places) = self.index.places(node, layer)? else { continue };
                if let Some(stale) = self.index.stale_links(node, layer, &places)? {
                    self.mend(&mut vectors, (node, layer), &places, &stale, &mut statistics)?;
                }
            }
        }
        self.statistics = statistics;
        Ok(())
    }

    /// The nodes and layers on a page that link to tombstones.
    fn damaged_lists(&self, block: u32, page: impl Deref<Target = Page>) -> Result<Vec<(Link, u8)>> {
        let (mut damaged, mut upper) = (Vec::new(), Vec::new());
        for found in live_nodes(&self.index, &page, block)? {
            if let Some(node) = Node::at(&self.index.layout, &page, found.link)?
                && node.slots().links().any(|link| self.tombstones.contains(&link))
            {
                damaged.push((found.link, 0));
            }
            upper.extend((1..=found.level).map(|layer| (found.link, layer)));
        }
        drop(page);
        for (node, layer) in upper {
            let places = self.index.places(node, layer)?;
            if places.is_some_and(|places| places.links.iter().any(|link| self.tombstones.contains(link))) {
                damaged.push((node, layer));
            }
        }
        Ok(damaged)
    }

    /// Replaces the dead links of one list, and offers the node to those that are new to it.
    fn mend(
        &self,
        vectors: &mut Vectors<'_, &'i Store>,
        (node, layer): (Link, u8),
        places: &Places,
        dead: &HashSet<Link>,
        statistics: &mut VacuumStatistics,
    ) -> Result<()> {
        vectors.limit_memory();
        let changes = self.index.replacements(vectors, node, layer, places, dead)?;
        let made = self.index.change_links(vectors, node, layer, places.upper, &changes)?;
        self.index.store.stop_point("list mended");
        statistics.lists_repaired += u64::from(!made.is_empty());
        for Change { old, new, .. } in &made {
            if dead.contains(old) {
                statistics.dead_links += 1;
            } else if !old.is_none() {
                statistics.duplicate_links += 1;
            }
            if !new.is_none() {
                self.index.offer_link(vectors, *new, node, layer)?;
            }
        }
        let is_dead = |link: &Link| link.is_none() || *link == node || dead.contains(link);
        if layer == 0 && places.links.iter().all(is_dead) && changes.iter().all(|change| change.new.is_none())
        {
            self.search_neighbours(node)?;
        }
        Ok(())
    }

    /// For a node around which everything died.
    fn search_neighbours(&self, node: Link) -> Result<()> {
        if let Some(payload) = self.index.payload(node)? {
            Insertion::new(&self.index, payload, 0)?.link(node)?;
        }
        Ok(())
    }
}
