//! Healing: a scan that met links that lead nowhere mends some of them, once its answer has been given.

use crate::page::link::Linker;
use crate::page::link::change::Change;
use crate::page::query::access::{List, State};
use crate::page::query::notes::StaleLinks;
use crate::page::scan::Scan;
use crate::page::scan::walk::Walk;
use crate::page::store::{PageStore, StopPoint};
use crate::types::{Link, Result};
use hashbrown::HashSet;

impl<Store: PageStore, Sorter, Table> Scan<Store, Sorter, Table> {
    /// Mends up to `lists` lists of links in which the scan met stale links, once its answer has been given.
    /// Only on a primary.
    pub fn heal(&mut self, lists: usize) -> Result<()> {
        self.walk.heal(lists)
    }
}

impl<Store: PageStore> Walk<Store> {
    /// Mends up to `lists` lists of links in which the scan met stale links, once its answer has been given.
    /// Only on a primary.
    ///
    /// A page is changed only where its lock is free. The lists are looked for among the nodes that were
    /// expanded: only a scan that met stale links reads their pages again.
    pub(super) fn heal(&mut self, lists: usize) -> Result<()> {
        let StaleLinks { links, count, walked } = std::mem::take(&mut self.query.notes().stale);
        self.stats.stale_links += count;
        if links.is_empty() {
            return Ok(());
        }
        let index = &self.query.index;
        let mut linker = Linker::new(index, self.query.meta);
        let mut left = lists;
        for node in walked {
            if left == 0 {
                break;
            }
            index.store.interrupt_point();
            let Some(list) = index.list(node, 0)? else { continue };
            let mut dead = HashSet::new();
            for link in list.links.iter().filter(|link| links.contains(link)) {
                if linker.is_stale(*link, 0)? {
                    dead.insert(*link);
                }
            }
            if !dead.is_empty() {
                left -= 1;
                self.stats.healed_links += linker.mend_if_free(&list, &dead)?;
            }
        }
        Ok(())
    }
}

impl<Store: PageStore> Linker<'_, Store> {
    /// Replaces the dead links of a list of layer 0 if that needs no waiting, without offering the node to
    /// others. Returns how many there were.
    fn mend_if_free(&mut self, list: &List, dead: &HashSet<Link>) -> Result<u64> {
        let changes = self.replacements(list, dead)?;
        let made = self.try_change(list.id, &changes)?;
        self.index.store.stop_point(StopPoint::HealListMended);
        // A vacuum may have made a tombstone of a new neighbour, and looked at this list already: as after an
        // insertion.
        let mut died = Vec::new();
        for Change { position, new, .. } in made.iter().filter(|change| !change.new.is_none()) {
            if self.index.state(*new)? != State::Live {
                died.push(Change { position: *position, old: *new, new: Link::NONE });
            }
        }
        self.try_change(list.id, &died)?;
        Ok(made.iter().filter(|change| dead.contains(&change.old)).count() as u64)
    }
}
