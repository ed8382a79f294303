//! Healing: a scan that met links that lead nowhere mends some of them, once its answer has been given.

use crate::page::link::change::Change;
use crate::page::query::access::Places;
use crate::page::query::index::Index;
use crate::page::query::stale::StaleLinks;
use crate::page::query::vectors::Vectors;
use crate::page::scan::{ColumnVectors, RunSorter, Scan};
use crate::page::store::PageStore;
use crate::types::{Link, Result};
use hashbrown::HashSet;

impl<Store: PageStore, Sorter: RunSorter, Table: ColumnVectors> Scan<Store, Sorter, Table> {
    /// Mends up to `lists` lists of links in which the scan met stale links, once its answer has been given. Only on a primary.
    ///
    /// A page is changed only where its lock is free. The lists are looked for among the nodes that were expanded: only a scan
    /// that met stale links reads their pages again.
    pub fn heal(&mut self, lists: usize) -> Result<()> {
        let StaleLinks { links, count, walked } = self.walk.query.take_stale();
        self.walk.stats.stale_links += count;
        if links.is_empty() {
            return Ok(());
        }
        let index = &self.walk.query.index;
        let mut vectors = Vectors::new(index);
        let mut left = lists;
        for node in walked {
            if left == 0 {
                break;
            }
            index.store.interrupt_point();
            let Some(places) = index.places(node, 0)? else { continue };
            let mut dead = HashSet::new();
            for link in places.links.iter().filter(|link| links.contains(link)) {
                if index.is_stale(*link, 0)? {
                    dead.insert(*link);
                }
            }
            if !dead.is_empty() {
                left -= 1;
                self.walk.stats.healed_links += index.heal(&mut vectors, node, &places, &dead)?;
            }
        }
        Ok(())
    }
}

impl<Store: PageStore> Index<Store> {
    /// Replaces the dead links of a list of layer 0 if that needs no waiting, without offering the node to others. Returns how
    /// many there were.
    pub(in crate::page) fn heal(
        &self,
        vectors: &mut Vectors<'_, Store>,
        node: Link,
        places: &Places,
        dead: &HashSet<Link>,
    ) -> Result<u64> {
        let changes = self.replacements(vectors, node, 0, places, dead)?;
        let made = self.try_change_links(vectors, node, 0, Link::NONE, &changes)?;
        self.store.stop_point("heal list mended");
        // A vacuum may have made a tombstone of a new neighbour, and looked at this list already: as after an insertion.
        let mut died = Vec::new();
        for Change { position, new, .. } in made.iter().filter(|change| !change.new.is_none()) {
            if self.is_live(*new)? != Some(true) {
                died.push(Change { position: *position, old: *new, new: Link::NONE });
            }
        }
        self.try_change_links(vectors, node, 0, Link::NONE, &died)?;
        Ok(made.iter().filter(|change| dead.contains(&change.old)).count() as u64)
    }
}
