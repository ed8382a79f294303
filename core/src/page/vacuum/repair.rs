//! Step 2 of a vacuum: links to tombstones are replaced, without a search of the graph.

use super::{Vacuum, live_nodes};
use crate::graph::Candidate;
use crate::page::insert::{Change, Insertion};
use crate::page::meta::COUNTERS_BLOCK;
use crate::page::node::Node;
use crate::page::store::PageStore;
use crate::page::vectors::Vectors;
use crate::types::{Link, Result};
use hashbrown::HashSet;
use std::collections::VecDeque;

/// The most tombstones that are walked through to repair one list.
const WALKED: usize = 64;
/// Candidates for each one that an insertion has: when so many are known, no tombstone is walked through but those that the
/// list itself leads to.
const CANDIDATES: usize = 2;

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
                    && node.slots().links().any(|link| self.tombstones.contains(&link))
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

    /// Fills the places of dead links, and free ones, of one list. True when it changed.
    ///
    /// New links come, in this order, from the diverse choice of algorithm 4 among all live neighbours and those of the dead;
    /// from the dead themselves, each represented by the live neighbour nearest to it, so that the long links that lead from
    /// one cluster to another survive; and from what algorithm 4 pruned. Live links stay.
    fn repair_list(&self, vectors: &mut Vectors<'_, &'i Store>, node: Link, layer: u8) -> Result<bool> {
        let Some(places) = self.index.places(node, layer)? else { return Ok(false) };
        let (dead, live): (Vec<Link>, Vec<Link>) = places
            .links
            .iter()
            .filter(|link| !link.is_none())
            .partition(|link| self.tombstones.contains(*link));
        let (mut near, mut heirs) = (live.clone(), Vec::new());
        let (mut dead, mut seen) = (VecDeque::from(dead), HashSet::<Link>::new());
        seen.extend(dead.iter().chain(&live));
        let (linked, enough) =
            (dead.len(), CANDIDATES * usize::from(self.index.layout.parameters.ef_construction));
        for walked in 0..WALKED {
            if walked >= linked && near.len() >= enough {
                break;
            }
            let Some(tombstone) = dead.pop_front() else { break };
            let mut links = Vec::new();
            self.index.neighbours(tombstone, layer, &mut links)?;
            let candidates = vectors.candidates(tombstone, layer, links.iter().copied())?;
            heirs.extend(candidates.iter().map(|candidate| candidate.node).find(|heir| *heir != node));
            for link in links.into_iter().filter(|link| seen.insert(*link)) {
                if self.tombstones.contains(&link) { dead.push_back(link) } else { near.push(link) }
            }
        }
        let candidates = vectors.candidates(node, layer, near)?;
        let chosen = vectors.select(&candidates, layer)?;
        let nodes =
            |list: &[Candidate<Link>]| list.iter().map(|candidate| candidate.node).collect::<Vec<_>>();
        let mut new = [nodes(&chosen.diverse), heirs, nodes(&chosen.pruned)].concat();
        let mut known: HashSet<Link> = live.iter().copied().collect();
        new.retain(|link| known.insert(*link));

        let mut new = new.into_iter();
        let mut free: Vec<(u16, Link)> =
            (0..).zip(places.links).filter(|(_, link)| !live.contains(link)).collect();
        free.sort_by_key(|(_, link)| link.is_none());
        let changes: Vec<Change> = free
            .into_iter()
            .map(|(position, old)| Change { position, old, new: new.next().unwrap_or(Link::NONE) })
            .filter(|change| change.new != change.old)
            .collect();
        let changed = self.index.change_links(vectors, node, layer, places.upper, &changes)? > 0;
        for Change { new, .. } in changes.iter().filter(|change| !change.new.is_none()) {
            self.index.offer_link(vectors, *new, node, layer)?;
        }
        if layer == 0 && candidates.is_empty() {
            self.search_neighbours(node)?;
        }
        Ok(changed)
    }

    /// For a node around which everything died.
    fn search_neighbours(&self, node: Link) -> Result<()> {
        if let Some(payload) = self.index.payload(node)? {
            Insertion::new(&self.index, payload, 0)?.link(node)?;
        }
        Ok(())
    }
}
