//! Offering many nodes to lists that lie on one page: the page is changed in one unit.

use crate::page::link::Linker;
use crate::page::link::change::Change;
use crate::page::link::offer::Offer;
use crate::page::link::prune::New;
use crate::page::query::access::{List, ListId};
use crate::page::store::{PageStore, WriteUnit};
use crate::types::{Link, Result};

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

/// What is to be changed in a list, and the offers from which that was decided.
struct Changed<'o, 'c> {
    list: ListId,
    changes: Decided<'c>,
    offers: &'o [Offered<'c>],
}

impl<Store: PageStore> Linker<'_, Store> {
    /// Makes offers to nodes whose lists lie on one page, those to one list side by side: what becomes of
    /// each is what [`Linker::offer`] says, but `decide` weighs all offers to a list together, see
    /// [`Linker::decide`]. Returns those whose owner is gone, dead, or of a lower level.
    ///
    /// What was decided without a lock is tested again under it; offers to a list that has changed meanwhile
    /// are made again, one by one.
    pub fn offer_together<'c>(
        &mut self,
        offers: &[Offered<'c>],
        mut decide: impl FnMut(&mut Self, &mut List, &[Offered<'c>]) -> Result<Decided<'c>>,
    ) -> Result<Vec<Offered<'c>>> {
        let (mut gone, mut decided) = (Vec::new(), Vec::new());
        for offers in offers.chunk_by(|a, b| (a.owner, a.layer) == (b.owner, b.layer)) {
            let Some(mut list) = self.index.list(offers[0].owner, offers[0].layer)? else {
                gone.extend_from_slice(offers);
                continue;
            };
            let changes = decide(self, &mut list, offers)?;
            if !changes.is_empty() {
                decided.push(Changed { list: list.id, changes, offers });
            }
        }
        let Some(block) = decided.first().map(|first| first.list.block()) else { return Ok(gone) };
        let mut unit = self.index.store.begin();
        unit.lock(block)?;
        let (mut has_changed, mut pruned, mut again) = (false, 0, Vec::<&Offered>::new());
        for Changed { list, changes, offers } in decided {
            debug_assert_eq!(list.block(), block, "lists on one page");
            let made = self.change_in(&mut unit, list, changes.iter().copied())?;
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

    /// Changes a copy of a list as offers to its owner want it, and returns what is to be changed. Free
    /// places are taken first; which links then give way, algorithm 4 decides for all offers at once.
    pub fn decide<'c>(&mut self, list: &mut List, offers: &[Offered<'c>]) -> Result<Decided<'c>> {
        let before = list.links.clone();
        let is_new = |offered: &&Offered| offered.node != list.id.node && !before.contains(&offered.node);
        let mut new: Vec<Offered> = offers.iter().filter(is_new).copied().collect();
        new.dedup_by_key(|offered| offered.node);
        let mut rest = new.iter();
        for position in (0..before.len()).filter(|position| before[*position].is_none()) {
            let Some(offered) = rest.next() else { break };
            list.set(position, offered.node, offered.code);
        }
        let rest = rest.as_slice();
        if list.places().codes().is_some() {
            let named: Vec<New> =
                rest.iter().map(|Offered { node, code, .. }| New { node: *node, code }).collect();
            let places = if named.is_empty() { Vec::new() } else { self.places_by_codes(list, &named)? };
            for (place, number) in places {
                list.set(place.into(), rest[number].node, rest[number].code);
            }
        } else {
            for offered in rest {
                if let Some(place) = self.place_for(list, offered.node)? {
                    list.set(place, offered.node, offered.code);
                }
            }
        }
        let mut changes = Vec::new();
        for (position, (old, link)) in (0..).zip(before.iter().zip(&list.links)) {
            if let Some(offered) = new.iter().find(|offered| old != link && offered.node == *link) {
                changes.push((Change { position, old: *old, new: *link }, offered.code));
            }
        }
        Ok(changes)
    }
}
