//! Changing links of one list in place, in one unit on one page.

use crate::page::format::node::NodeMut;
use crate::page::format::owned::OwnedMut;
use crate::page::format::places::Places;
use crate::page::format::tuple::TupleKind;
use crate::page::link::Linker;
use crate::page::query::access::ListId;
use crate::page::store::{PageStore, WriteUnit};
use crate::types::{Link, Result};

/// One place for a link: what it held when the change was decided, and what it shall hold.
#[derive(Clone, Copy, Debug)]
pub(in crate::page) struct Change {
    /// The place.
    pub position: u16,
    /// What it held.
    pub old: Link,
    /// What it shall hold; the code goes with it.
    pub new: Link,
}

impl Change {
    /// Whether what it was decided from still holds: the place is unchanged, and the new link is not there
    /// yet.
    fn is_valid(&self, places: Places) -> bool {
        self.position < places.len()
            && places.link(self.position) == self.old
            && (self.new.is_none() || places.all().all(|link| link != self.new))
    }
}

impl<Store: PageStore> Linker<'_, Store> {
    /// Changes links of a list, in one unit on one page.
    ///
    /// What was decided without a lock is tested again under it: a change is left out when the node is gone
    /// or dead, when its place no longer holds the old link, or when the new link is there already. Returns
    /// the changes made.
    pub fn change(&mut self, list: ListId, changes: &[Change]) -> Result<Vec<Change>> {
        let coded = self.coded(changes)?;
        if coded.is_empty() {
            return Ok(Vec::new());
        }
        let mut unit = self.index.store.begin();
        unit.lock(list.block())?;
        self.change_locked(unit, list, coded)
    }

    /// As [`Linker::change`], if that needs no waiting.
    pub fn try_change(&mut self, list: ListId, changes: &[Change]) -> Result<Vec<Change>> {
        let coded = self.coded(changes)?;
        let mut unit = self.index.store.begin();
        if coded.is_empty() || unit.try_lock(list.block())?.is_none() {
            return Ok(Vec::new());
        }
        self.change_locked(unit, list, coded)
    }

    /// Changes links in a unit that has locked their page.
    fn change_locked(
        &self,
        mut unit: Store::Write<'_>,
        list: ListId,
        coded: Vec<(Change, Vec<u8>)>,
    ) -> Result<Vec<Change>> {
        let coded = coded.iter().map(|(change, code)| (*change, code.as_slice()));
        let made = self.change_in(&mut unit, list, coded)?;
        if !made.is_empty() {
            unit.commit()?;
        }
        Ok(made)
    }

    /// Changes links in a unit that has locked their page and goes on; each change with the code that goes
    /// with its new link.
    pub(super) fn change_in<'c>(
        &self,
        unit: &mut Store::Write<'_>,
        list: ListId,
        coded: impl ExactSizeIterator<Item = (Change, &'c [u8])>,
    ) -> Result<Vec<Change>> {
        let layout = &self.index.schema.layout;
        let ListId { node, layer, upper } = list;
        let mut made = Vec::with_capacity(coded.len());
        if layer == 0 {
            let tuple = NodeMut::at(layout, unit.edit(node.block), node)?;
            if let Some(mut tuple) = tuple.filter(|tuple| tuple.view().is_live()) {
                for (change, code) in coded {
                    if change.is_valid(tuple.view().places()) {
                        tuple.set_link(change.position, change.new);
                        tuple.set_link_code(change.position, code);
                        made.push(change);
                    }
                }
            }
        } else if let Some(mut tuple) = OwnedMut::at(unit.edit(upper.block), upper, TupleKind::Upper, node)? {
            for (change, code) in coded {
                let places = tuple.view().places(layout, layer);
                if places.is_some_and(|places| change.is_valid(places)) {
                    tuple.set_link(layout, layer, change.position, change.new);
                    tuple.set_link_code(layout, layer, change.position, code);
                    made.push(change);
                }
            }
        }
        Ok(made)
    }

    /// The codes of what changes put into their places: they may have to be made from payloads, which must be
    /// read before a page is locked. Links to nodes that are gone are left out.
    fn coded(&mut self, changes: &[Change]) -> Result<Vec<(Change, Vec<u8>)>> {
        let mut coded = Vec::with_capacity(changes.len());
        for change in changes {
            let code = if change.new.is_none() { Some(Vec::new()) } else { self.vectors.code(change.new)? };
            coded.extend(code.map(|code| (*change, code)));
        }
        Ok(coded)
    }
}
