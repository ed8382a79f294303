//! Step 2 of a vacuum: links to tombstones are replaced, without a search of the graph.

use super::{Vacuum, live_nodes};
use crate::page::insert::{Change, Insertion};
use crate::page::meta::COUNTERS_BLOCK;
use crate::page::node::Node;
use crate::page::store::PageStore;
use crate::page::vectors::Vectors;
use crate::types::{Link, Result};

impl<'i, Store: PageStore> Vacuum<'i, Store> {
    /// Repairs all live nodes that link to tombstones of this round. Returns the number of lists of links that were changed.
    ///
    /// The pass goes on to the end that the index has then: a node published behind it saw all the tombstones, see step 5 of
    /// an insertion.
    pub(super) fn repair(&self) -> Result<u64> {
        let mut repaired = 0;
        let mut vectors = Vectors::new(&self.index);
        let mut block = COUNTERS_BLOCK + 1;
        while block < self.index.store.block_count()? {
            self.index.store.interrupt_point();
            for (node, layer) in self.damaged_lists(block)? {
                vectors.limit_memory();
                repaired += u64::from(self.repair_list(&mut vectors, node, layer)?);
            }
            block += 1;
        }
        Ok(repaired)
    }

    /// The nodes and layers on a page that link to tombstones.
    fn damaged_lists(&self, block: u32) -> Result<Vec<(Link, u8)>> {
        let (mut damaged, mut upper) = (Vec::new(), Vec::new());
        {
            let page = self.index.store.read(block)?;
            for found in live_nodes(&self.index, &page, block)? {
                if let Some(node) = Node::at(&self.index.layout, &page, found.link)?
                    && node.links().any(|link| self.tombstones.contains(&link))
                {
                    damaged.push((found.link, 0));
                }
                upper.extend((1..=found.level).map(|layer| (found.link, layer)));
            }
        }
        for (node, layer) in upper {
            let places = self.index.places(node, layer)?;
            if places.is_some_and(|places| places.links.iter().any(|link| self.tombstones.contains(link))) {
                damaged.push((node, layer));
            }
        }
        Ok(damaged)
    }

    fn repair_list(&self, vectors: &mut Vectors<'_, &'i Store>, node: Link, layer: u8) -> Result<bool> {
        let Some(places) = self.index.places(node, layer)? else { return Ok(false) };
        let mut near = Vec::new();
        for link in places.links.iter().filter(|link| !link.is_none()) {
            if self.tombstones.contains(link) {
                self.index.neighbours(*link, layer, &mut near)?;
            } else {
                near.push(*link);
            }
        }
        near.sort_unstable();
        near.dedup();
        let candidates = vectors.candidates(node, layer, near)?;
        let chosen: Vec<Link> =
            self.index.select(vectors, &candidates, layer)?.iter().map(|candidate| candidate.node).collect();

        // What was chosen and is there already stays in its place. New links go to the places of tombstones first, then to
        // free ones, then to those of neighbours that were not chosen again.
        let new: Vec<Link> = chosen.iter().copied().filter(|link| !places.links.contains(link)).collect();
        let mut free: Vec<(u16, Link)> =
            (0..).zip(places.links.iter().copied()).filter(|(_, link)| !chosen.contains(link)).collect();
        free.sort_by_key(|(_, link)| (!self.tombstones.contains(link), !link.is_none()));
        let changes: Vec<Change> = free
            .iter()
            .zip(new.iter().copied().map(Some).chain(std::iter::repeat(None)))
            .filter(|((_, old), new)| new.is_some() || self.tombstones.contains(old))
            .map(|((position, old), new)| Change {
                position: *position,
                old: *old,
                new: new.unwrap_or(Link::NONE),
            })
            .collect();
        let changed = self.index.change_links(node, layer, places.upper, &changes)? > 0;
        for neighbour in &new {
            self.index.offer_link(vectors, *neighbour, node, layer)?;
        }
        if layer == 0 && chosen.is_empty() {
            self.search_neighbours(vectors, node)?;
        }
        Ok(changed)
    }

    /// For a node around which everything died.
    fn search_neighbours(&self, vectors: &mut Vectors<'_, &'i Store>, node: Link) -> Result<()> {
        if let Some(vector) = vectors.vector(node)? {
            Insertion::new(&self.index, vector, 0)?.link(node)?;
        }
        Ok(())
    }
}
