//! Step 2 of a vacuum: links to tombstones are replaced, without a search of the graph. On demand, all that
//! lead nowhere are.

use super::{Vacuum, VacuumStatistics};
use crate::page::format::meta::HINTS_BLOCK;
use crate::page::format::node::Node;
use crate::page::format::slotted::Page;
use crate::page::link::Linker;
use crate::page::link::change::Change;
use crate::page::query::access::List;
use crate::page::query::access::live_nodes;
use crate::page::store::{PageStore, Phase, StopPoint};
use crate::types::{Link, Result};
use hashbrown::HashSet;
use std::ops::Deref;

impl<'i, Store: PageStore> Vacuum<'i, Store> {
    /// Mends the lists of all live nodes that link to the tombstones that are known.
    ///
    /// The pass goes on to the end that the index has then: a node published behind it saw all the
    /// tombstones, see step 5 of an insertion.
    pub(super) fn mend_around_tombstones(&mut self) -> Result<()> {
        let mut mender = self.mender();
        let mut begin = HINTS_BLOCK + 1;
        while let end = self.index.store.block_count()?
            && begin < end
        {
            for (block, page) in self.index.store.pages(begin..end) {
                self.index.store.progress(Phase::MendingAroundTombstones, block.into(), end.into());
                for (node, layer) in self.damaged_lists(block, page?)? {
                    if let Some(list) = self.index.list(node, layer)? {
                        mender.mend(&list, &self.tombstones)?;
                    }
                }
            }
            begin = end;
        }
        self.statistics = mender.statistics;
        Ok(())
    }

    /// Mends all lists of links: stale links, links that are there twice, and links of a node to itself.
    pub(super) fn mend_all(&mut self) -> Result<()> {
        let mut mender = self.mender();
        // What is inserted meanwhile links to no node that is gone.
        let blocks = self.index.store.block_count()?;
        for (block, page) in self.index.data_pages()? {
            self.index.store.progress(Phase::MendingLinks, block.into(), blocks.into());
            let nodes = live_nodes(self.index, &*page?, block)?;
            for (node, layer) in
                nodes.iter().flat_map(|node| (0..=node.level).map(|layer| (node.link, layer)))
            {
                let Some(list) = self.index.list(node, layer)? else { continue };
                if let Some(stale) = mender.linker.stale_links(&list)? {
                    mender.mend(&list, &stale)?;
                }
            }
        }
        self.statistics = mender.statistics;
        Ok(())
    }

    fn mender(&self) -> Mender<'i, Store> {
        Mender { linker: Linker::new(self.index, self.meta), statistics: self.statistics }
    }

    /// The nodes and layers on a page that link to tombstones.
    fn damaged_lists(&self, block: u32, page: impl Deref<Target = Page>) -> Result<Vec<(Link, u8)>> {
        let (mut damaged, mut upper) = (Vec::new(), Vec::new());
        for found in live_nodes(self.index, &page, block)? {
            if let Some(node) = Node::at(&self.index.schema.layout, &page, found.link)?
                && node.places().links().any(|link| self.tombstones.contains(&link))
            {
                damaged.push((found.link, 0));
            }
            upper.extend((1..=found.level).map(|layer| (found.link, layer)));
        }
        drop(page);
        for (node, layer) in upper {
            let list = self.index.list(node, layer)?;
            if list.is_some_and(|list| list.links.iter().any(|link| self.tombstones.contains(link))) {
                damaged.push((node, layer));
            }
        }
        Ok(damaged)
    }
}

/// Mends lists, and counts.
struct Mender<'i, Store> {
    linker: Linker<'i, Store>,
    statistics: VacuumStatistics,
}

impl<Store: PageStore> Mender<'_, Store> {
    /// Replaces the dead links of one list, and offers the node to those that are new to it.
    fn mend(&mut self, list: &List, dead: &HashSet<Link>) -> Result<()> {
        let Self { linker, statistics } = self;
        let node = list.id.node;
        linker.vectors.limit_memory();
        let changes = linker.replacements(list, dead)?;
        let made = linker.change(list.id, &changes)?;
        linker.index.store.stop_point(StopPoint::ListMended);
        statistics.lists_mended += u64::from(!made.is_empty());
        for Change { old, new, .. } in &made {
            if dead.contains(old) {
                statistics.dead_links += 1;
            } else if !old.is_none() {
                statistics.duplicate_links += 1;
            }
            if !new.is_none() {
                linker.offer(*new, list.id.layer, node)?;
            }
        }
        let is_dead = |link: &Link| link.is_none() || *link == node || dead.contains(link);
        let is_alone = list.links.iter().all(is_dead) && changes.iter().all(|change| change.new.is_none());
        // Everything around it died.
        if list.id.layer == 0
            && is_alone
            && let Some(payload) = linker.index.payload(node)?
        {
            linker.index.link(node, payload)?;
        }
        Ok(())
    }
}
