//! Offering many nodes to lists that lie on one page: the page is changed in one unit.
//!
//! [`Linker::ask`] reads the lists, [`Asked::decide`] reads no page, so that any thread may decide, and
//! [`Linker::make`] changes the page.

use crate::page::link::Linker;
use crate::page::link::change::Change;
use crate::page::link::offer::Offer;
use crate::page::link::prune::{New, Owner, prune};
use crate::page::query::access::List;
use crate::page::query::schema::Schema;
use crate::page::query::vectors::Known;
use crate::page::store::{PageStore, WriteUnit};
use crate::types::{Link, Result};
use std::sync::Arc;

/// A published node that is offered to another as a neighbour.
#[derive(Clone, Copy)]
pub(in crate::page) struct Offered<'c> {
    /// To whom.
    pub owner: Link,
    /// On which layer.
    pub layer: u8,
    /// The node.
    pub node: Link,
    /// Its code; empty in an index without codes.
    pub code: &'c [u8],
}

/// What was decided of offers to a list: changes, with the codes of the nodes that it shall lead to.
pub(in crate::page) type Decided<'c> = Vec<(Change, &'c [u8])>;

/// Offers to lists on one page, with what they are decided from; then what was decided.
#[derive(Default)]
pub(in crate::page) struct Asked<'c> {
    lists: Vec<AskedList<'c>>,
    /// Offers whose owner is gone, dead, or of a lower level.
    gone: Vec<Offered<'c>>,
}

struct AskedList<'c> {
    /// As it was read; then as it shall be.
    list: List,
    offers: Vec<Offered<'c>>,
    /// Those for which there is no free place.
    rest: Vec<Offered<'c>>,
    /// What is known of the owner, where it is asked for.
    owner: Option<Arc<Known>>,
    changes: Decided<'c>,
}

impl<Store: PageStore> Linker<'_, Store> {
    /// Reads the lists, all on one page, to whose owners nodes are offered, those to one list side by side.
    /// What becomes of each offer is what [`Linker::offer`] says, but all offers to a list are weighed
    /// together. What `known` knows of a list is decided so.
    pub fn ask<'c>(
        &mut self,
        offers: &[Offered<'c>],
        known: impl Fn(&List, &[Offered<'c>]) -> Option<Decided<'c>>,
    ) -> Result<Asked<'c>> {
        let mut asked = Asked::default();
        for offers in offers.chunk_by(|a, b| (a.owner, a.layer) == (b.owner, b.layer)) {
            let Some(list) = self.index.list(offers[0].owner, offers[0].layer)? else {
                asked.gone.extend_from_slice(offers);
                continue;
            };
            let changes = known(&list, offers);
            let is_known = changes.is_some();
            let (offers, changes) = (offers.to_vec(), changes.unwrap_or_default());
            let mut asked_list = AskedList { list, offers, rest: Vec::new(), owner: None, changes };
            if !is_known {
                asked_list.fill_free_places();
                self.ask_rest(&mut asked_list)?;
            }
            asked.lists.push(asked_list);
        }
        Ok(asked)
    }

    /// Of offers for which there is no free place: reads what is decided from, or decides where that is
    /// vectors of all nodes in the list.
    fn ask_rest(&mut self, asked: &mut AskedList) -> Result<()> {
        if asked.rest.is_empty() {
            return Ok(());
        }
        if asked.list.places().codes().is_some() {
            asked.owner = self.vectors.shared(asked.list.id.node)?;
            return Ok(());
        }
        for offered in std::mem::take(&mut asked.rest) {
            if let Some(place) = self.place_for(&asked.list, offered.node)? {
                asked.set(place, offered);
            }
        }
        Ok(())
    }

    /// Makes what was decided. Returns the offers whose owner is gone, dead, or of a lower level.
    ///
    /// What was decided without a lock is tested again under it; offers to a list that has changed meanwhile
    /// are made again, one by one.
    pub fn make<'c>(&mut self, Asked { lists, mut gone }: Asked<'c>) -> Result<Vec<Offered<'c>>> {
        let decided = || lists.iter().filter(|asked| !asked.changes.is_empty());
        let Some(block) = decided().next().map(|asked| asked.list.id.block()) else { return Ok(gone) };
        let mut unit = self.index.store.begin();
        unit.lock(block)?;
        let (mut has_changed, mut pruned, mut again) = (false, 0, Vec::<&Offered>::new());
        for AskedList { list, offers, changes, .. } in decided() {
            debug_assert_eq!(list.id.block(), block, "lists on one page");
            let made = self.change_in(&mut unit, list.id, changes.iter().copied())?;
            has_changed |= !made.is_empty();
            pruned += made.iter().filter(|change| !change.old.is_none()).count();
            if made.len() < changes.len() {
                again.extend(offers);
            }
        }
        if has_changed {
            unit.commit()?;
            (0..pruned).for_each(|_| self.index.store.link_pruned());
        } else {
            drop(unit);
        }
        for offered in again {
            if self.offer(offered.owner, offered.layer, offered.node)? == Offer::Gone {
                gone.push(*offered);
            }
        }
        Ok(gone)
    }
}

impl Asked<'_> {
    /// Decides which links give way to new ones: algorithm 4, for all offers to a list at once.
    pub fn decide(mut self, schema: &Schema) -> Result<Self> {
        let Some(quantizer) = schema.quantizer.as_deref() else { return Ok(self) };
        for asked in &mut self.lists {
            // Nothing is offered any more to an owner that is gone.
            let Some(owner) = asked.owner.take() else { continue };
            let owner = Owner { node: asked.list.id.node, query: quantizer.query(owner.vector()) };
            let rest = std::mem::take(&mut asked.rest);
            let new: Vec<New> =
                rest.iter().map(|Offered { node, code, .. }| New { node: *node, code }).collect();
            for (place, number) in prune(quantizer, asked.list.places(), &owner, &new)? {
                asked.set(place.into(), rest[number]);
            }
        }
        Ok(self)
    }
}

impl<'c> AskedList<'c> {
    /// Free places are taken first.
    fn fill_free_places(&mut self) {
        let Self { list, offers, .. } = self;
        let is_new = |offered: &&Offered| offered.node != list.id.node && !list.links.contains(&offered.node);
        let mut new: Vec<Offered> = offers.iter().filter(is_new).copied().collect();
        new.dedup_by_key(|offered| offered.node);
        let free = (0..list.links.len()).filter(|place| list.links[*place].is_none());
        let free: Vec<usize> = free.take(new.len()).collect();
        self.rest = new.split_off(free.len());
        for (place, offered) in free.into_iter().zip(new) {
            self.set(place, offered);
        }
    }

    /// Puts a node into a place of the copy. One that was put there before gives way to it.
    fn set(&mut self, place: usize, offered: Offered<'c>) {
        let (position, old) = (place as u16, self.list.links[place]);
        self.list.set(place, offered.node, offered.code);
        match self.changes.iter_mut().find(|(change, _)| change.position == position) {
            Some((change, code)) => (change.new, *code) = (offered.node, offered.code),
            None => self.changes.push((Change { position, old, new: offered.node }, offered.code)),
        }
    }
}
