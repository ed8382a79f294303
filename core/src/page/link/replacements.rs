//! What takes the places of links that lead nowhere, chosen without a search of the graph.
//!
//! Vacuum, `walia_repair` and scans mend lists of links by the same rule.

use crate::graph::Candidate;
use crate::page::format::node::Node;
use crate::page::link::Linker;
use crate::page::link::change::Change;
use crate::page::query::access::{List, ListId};
use crate::page::store::PageStore;
use crate::types::{Link, Result};
use hashbrown::HashSet;
use std::collections::VecDeque;

/// The most tombstones that are walked through to mend one list.
const WALKED: usize = 64;
/// Candidates for each one that an insertion has: when so many are known, no tombstone is walked through but
/// those that the list itself leads to.
const CANDIDATES: usize = 2;

impl<Store: PageStore> Linker<'_, Store> {
    /// Whether a link of `layer` is stale: no node of that layer is there, or it is a tombstone that may be
    /// gone at any moment.
    pub fn is_stale(&self, link: Link, layer: u8) -> Result<bool> {
        let page = self.index.store.read(link.block)?;
        Ok(Node::at(&self.index.schema.layout, &page, link)?.is_none_or(|node| {
            let header = node.header();
            header.is_pending() || header.level < layer || self.meta.is_removable(header)
        }))
    }

    /// The links of a list that are stale; `None` when nothing is wrong with the list.
    pub fn stale_links(&self, list: &List) -> Result<Option<HashSet<Link>>> {
        let mut links: Vec<Link> = list.places().links().collect();
        links.sort_unstable();
        let count = links.len();
        links.dedup();
        let mut wrong = links.len() < count || links.contains(&list.id.node);
        let blocks: Vec<u32> = links.iter().map(|link| link.block).collect();
        self.index.store.prefetch(&blocks);
        let mut stale = HashSet::new();
        for link in links {
            if self.is_stale(link, list.id.layer)? {
                stale.insert(link);
                wrong = true;
            }
        }
        Ok(wrong.then_some(stale))
    }

    /// Changes that fill the places of dead links, of links that are there twice, and free ones.
    ///
    /// New links come, in this order, from the diverse choice of algorithm 4 among all live neighbours and
    /// those of the dead; from the dead themselves, each represented by the live neighbour nearest to it, so
    /// that the long links that lead from one cluster to another survive; and from what algorithm 4 pruned.
    /// Live links stay.
    pub fn replacements(&mut self, list: &List, dead: &HashSet<Link>) -> Result<Vec<Change>> {
        let Self { index, vectors, .. } = self;
        let ListId { node, layer, .. } = list.id;
        // The node itself is no candidate for its list.
        let mut seen: HashSet<Link> = HashSet::from([node]);
        let (mut near, mut dead_links, mut free) = (Vec::new(), VecDeque::new(), Vec::new());
        for (position, link) in (0..).zip(list.links.iter().copied()) {
            let new = !link.is_none() && seen.insert(link);
            if new && !dead.contains(&link) {
                near.push(link);
                continue;
            }
            free.push((position, link));
            if new {
                dead_links.push_back(link);
            }
        }
        let kept: HashSet<Link> = near.iter().copied().collect();
        let enough = CANDIDATES * usize::from(index.schema.layout.parameters.ef_construction);
        let (linked, mut heirs) = (dead_links.len(), Vec::new());
        for walked in 0..WALKED {
            if walked >= linked && near.len() >= enough {
                break;
            }
            let Some(tombstone) = dead_links.pop_front() else { break };
            let mut links = Vec::new();
            index.neighbours(tombstone, layer, &mut links)?;
            let candidates = vectors.candidates(tombstone, layer, links.iter().copied())?;
            heirs.extend(candidates.iter().map(|candidate| candidate.node).find(|heir| *heir != node));
            for link in links.into_iter().filter(|link| seen.insert(*link)) {
                if dead.contains(&link) { dead_links.push_back(link) } else { near.push(link) }
            }
        }
        let candidates = vectors.candidates(node, layer, near)?;
        let chosen = vectors.select(&candidates, layer)?;
        let nodes =
            |chosen: &[Candidate<Link>]| chosen.iter().map(|candidate| candidate.node).collect::<Vec<_>>();
        let mut new = [nodes(&chosen.diverse), heirs, nodes(&chosen.pruned)].concat();
        let mut known = kept;
        new.retain(|link| known.insert(*link));

        let mut new = new.into_iter();
        free.sort_by_key(|(_, link)| link.is_none());
        let change = |(position, old)| Change { position, old, new: new.next().unwrap_or(Link::NONE) };
        Ok(free.into_iter().map(change).filter(|change| change.new != change.old).collect())
    }
}
