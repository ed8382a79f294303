//! Changing links of one list in place, in one unit on one page.

use crate::page::format::node::{NodeMut, OwnedMut, Slots};
use crate::page::format::tuple::TupleKind;
use crate::page::query::index::Index;
use crate::page::query::vectors::Vectors;
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
    /// Whether what it was decided from still holds: the place is unchanged, and the new link is not there yet.
    fn is_valid(&self, slots: Slots) -> bool {
        self.position < slots.len()
            && slots.link(self.position) == self.old
            && (self.new.is_none() || slots.places().all(|link| link != self.new))
    }
}

impl<Store: PageStore> Index<Store> {
    /// Changes links of a node on one layer, in one unit on one page. `upper` is where `Places`
    /// found them.
    ///
    /// What was decided without a lock is tested again under it: a change is left out when the node is gone or dead, when its
    /// place no longer holds the old link, or when the new link is there already. Returns the changes made.
    pub(in crate::page) fn change_links(
        &self,
        vectors: &mut Vectors<'_, Store>,
        node: Link,
        layer: u8,
        upper: Link,
        changes: &[Change],
    ) -> Result<Vec<Change>> {
        let coded = coded(vectors, changes)?;
        if coded.is_empty() {
            return Ok(Vec::new());
        }
        let mut unit = self.store.begin();
        unit.lock(if layer == 0 { node } else { upper }.block)?;
        self.change_locked(unit, node, layer, upper, coded)
    }

    /// As [`Index::change_links`], if that needs no waiting.
    pub(in crate::page) fn try_change_links(
        &self,
        vectors: &mut Vectors<'_, Store>,
        node: Link,
        layer: u8,
        upper: Link,
        changes: &[Change],
    ) -> Result<Vec<Change>> {
        let coded = coded(vectors, changes)?;
        let mut unit = self.store.begin();
        if coded.is_empty() || unit.try_lock(if layer == 0 { node } else { upper }.block)?.is_none() {
            return Ok(Vec::new());
        }
        self.change_locked(unit, node, layer, upper, coded)
    }

    /// Changes links in a unit that has locked their page.
    fn change_locked(
        &self,
        mut unit: Store::Write<'_>,
        node: Link,
        layer: u8,
        upper: Link,
        coded: Vec<(Change, Vec<u8>)>,
    ) -> Result<Vec<Change>> {
        let mut made = Vec::with_capacity(coded.len());
        if layer == 0 {
            let tuple = NodeMut::at(&self.layout, unit.edit(node.block), node)?;
            if let Some(mut tuple) = tuple.filter(|tuple| tuple.view().is_live()) {
                for (change, code) in coded {
                    if change.is_valid(tuple.view().slots()) {
                        tuple.set_link(change.position, change.new);
                        tuple.set_link_code(change.position, &code);
                        made.push(change);
                    }
                }
            }
        } else if let Some(mut tuple) = OwnedMut::at(unit.edit(upper.block), upper, TupleKind::Upper, node)? {
            for (change, code) in coded {
                let slots = tuple.view().slots(&self.layout, layer);
                if slots.is_some_and(|slots| change.is_valid(slots)) {
                    tuple.set_link(&self.layout, layer, change.position, change.new);
                    tuple.set_link_code(&self.layout, layer, change.position, &code);
                    made.push(change);
                }
            }
        }
        if !made.is_empty() {
            unit.commit()?;
        }
        Ok(made)
    }
}

/// The codes of what changes put into their places: they may have to be made from payloads, which must be read before a page
/// is locked. Links to nodes that are gone are left out.
fn coded<Store: PageStore>(
    vectors: &mut Vectors<'_, Store>,
    changes: &[Change],
) -> Result<Vec<(Change, Vec<u8>)>> {
    let mut coded = Vec::with_capacity(changes.len());
    for change in changes {
        let code = if change.new.is_none() { Some(Vec::new()) } else { vectors.code(change.new)? };
        coded.extend(code.map(|code| (*change, code)));
    }
    Ok(coded)
}
