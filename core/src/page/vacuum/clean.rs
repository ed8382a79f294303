//! Step 1 of a vacuum: dead heap TIDs, empty nodes, old tombstones and orphans of one page.
//!
//! **Orphans** are tuples whose owner does not know them: a crash came between the units of an insertion, or
//! its PENDING node was taken by a vacuum. An upper or payload tuple is made while its owner is PENDING and
//! linked when that is published, all at once; an overflow tuple is linked in the unit that makes it. So a
//! tuple whose owner is gone, or is not PENDING and does not know it, will never be linked, and may be
//! removed at any time.

use super::Vacuum;
use crate::page::format::node::{Node, NodeMut};
use crate::page::format::owned::{Owned, OwnedMut};
use crate::page::format::slotted::{Page, PageKind};
use crate::page::format::tuple::{
    ASIDE_TIDS, AsideKind, OVERFLOW_TIDS, OwnedHeader, PENDING, TOMBSTONE, TupleKind,
};
use crate::page::insert::{Tombstone, append, may_reuse};
use crate::page::store::{PageStore, StopPoint, WriteUnit};
use crate::types::{Error, HeapTid, Link, Result};
use std::ops::Deref;

/// What a look at a page, under a share lock, has found.
#[derive(Default)]
struct Found {
    /// Live nodes: inline heap TIDs and head of the overflow chain.
    nodes: Vec<(Link, Vec<HeapTid>, Link)>,
    /// Aside tuples with their heap TIDs.
    asides: Vec<(Link, AsideKind, Vec<HeapTid>)>,
    /// Live nodes whose vectors lie apart and are to be looked at.
    apart: Vec<Link>,
    /// Live nodes whose vectors may have no distance.
    undefined: Vec<Link>,
    /// Tuples that belong to a node: kind and owner.
    owned: Vec<(Link, TupleKind, Link)>,
    /// Tombstones that may be removed.
    old: Vec<Tombstone>,
    /// Nodes of crashed, or slow, insertions.
    pending: Vec<Link>,
    /// Bytes that an insert can use.
    free: usize,
}

/// What is to be done to a page under its exclusive lock.
#[derive(Default)]
struct Work {
    /// Live nodes, and which of their inline heap TIDs are dead.
    nodes: Vec<(Link, Vec<HeapTid>)>,
    /// Aside tuples, and which of their heap TIDs are dead.
    asides: Vec<(Link, AsideKind, Vec<HeapTid>)>,
    /// Live nodes whose vectors may have no distance: they are met where they stay.
    undefined: Vec<Link>,
    /// Tuples without an owner that knows them.
    orphans: Vec<(Link, TupleKind, Link)>,
    /// Tombstones that may be removed.
    old: Vec<Tombstone>,
    /// Nodes to be taken from their insertions.
    pending: Vec<Link>,
}

impl Work {
    fn is_empty(&self) -> bool {
        let Self { nodes, asides, orphans, old, pending, undefined: _ } = self;
        nodes.is_empty() && asides.is_empty() && orphans.is_empty() && old.is_empty() && pending.is_empty()
    }
}

impl<Store: PageStore> Vacuum<'_, Store> {
    /// Cleans one page.
    pub(super) fn clean_page(
        &mut self,
        block: u32,
        page: impl Deref<Target = Page>,
        is_dead: &mut dyn FnMut(HeapTid) -> bool,
    ) -> Result<()> {
        let store = &self.index.store;
        let found = self.look(&page, block)?;
        drop(page);
        let free = found.free;
        let work = self.decide(found, is_dead)?;
        let free = if work.is_empty() { free } else { self.apply(block, &work)? };
        store.stop_point(StopPoint::VacuumPageCleaned);
        for tombstone in work.old {
            self.index.remove_owned(tombstone)?;
        }
        let given_up = !work.asides.is_empty() || !work.orphans.is_empty();
        if given_up || free >= self.index.schema.layout.node_size {
            self.index.record_free_space(block, free);
        }
        Ok(())
    }

    fn look(&mut self, page: &Page, block: u32) -> Result<Found> {
        let mut found = Found { free: self.index.usable_space(page, block)?, ..Found::default() };
        if page.is_new() || page.kind(block)? != PageKind::Data {
            return Ok(found);
        }
        let layout = self.index.schema.layout;
        for slot in 1..=page.slot_count() {
            if let Some(node) = Node::in_slot(&layout, page, block, slot)? {
                let header = node.header();
                let link = Link { block, slot, version: header.version };
                if node.is_live() {
                    found.nodes.push((link, node.heap_tids().to_vec(), header.overflow));
                    if self.looks_at_vectors() {
                        match self.index.payload_on(page, link, &node)? {
                            Some(payload) if self.has_distance(payload) => {}
                            Some(_) => found.undefined.push(link),
                            None => found.apart.push(link),
                        }
                    }
                } else if !header.is_tombstone() {
                    found.pending.push(link);
                } else if !self.meta.is_removable(header) {
                    self.tombstones.try_reserve(1)?;
                    self.tombstones.insert(link);
                } else if may_reuse(&self.index.store, &self.meta, header) {
                    found.old.push(Tombstone::new(link, &node));
                }
            } else if let Some(tuple) = Owned::in_slot(page, block, slot)? {
                let header = tuple.header();
                let link = Link { block, slot, version: header.version };
                match TupleKind::of(block, slot, &[header.kind])? {
                    TupleKind::Aside => {
                        let kind = AsideKind::from_code(header.tag);
                        let what = "aside tuple of unknown kind";
                        let kind = kind.ok_or(Error::Corrupt { block, slot, what })?;
                        found.asides.push((link, kind, tuple.heap_tids().to_vec()));
                    }
                    kind => found.owned.push((link, kind, header.owner)),
                }
            }
        }
        Ok(found)
    }

    /// Asks about all heap TIDs that were found, and does what concerns other pages.
    fn decide(&mut self, found: Found, is_dead: &mut dyn FnMut(HeapTid) -> bool) -> Result<Work> {
        let Found { old, pending, undefined, .. } = found;
        let mut work = Work { old, pending, undefined, ..Work::default() };
        for node in found.apart {
            if self.looks_at_vectors()
                && let Some(payload) = self.index.payload(node)?
                && !self.has_distance(&payload)
            {
                work.undefined.push(node);
            }
        }
        for (node, tids, overflow) in found.nodes {
            let chain_left = self.clean_chain(node, overflow, is_dead)?;
            let dead = self.dead_of(&tids, is_dead);
            let empty = dead.len() == tids.len() && !chain_left;
            if empty {
                self.begin_cycle()?;
            }
            if empty || !dead.is_empty() {
                work.nodes.push((node, dead));
            } else if work.undefined.contains(&node) {
                self.met.add(AsideKind::ZeroVector);
            }
        }
        for (aside, kind, tids) in found.asides {
            let dead = self.dead_of(&tids, is_dead);
            if dead.len() == tids.len() || !dead.is_empty() {
                work.asides.push((aside, kind, dead));
            } else {
                self.met.add(kind);
            }
        }
        for (tuple, kind, owner) in found.owned {
            if self.is_orphan(tuple, kind, owner)? {
                work.orphans.push((tuple, kind, owner));
            }
        }
        if !work.pending.is_empty() {
            self.begin_cycle()?;
        }
        Ok(work)
    }

    /// Asks about heap TIDs and counts the answers.
    fn dead_of(&mut self, tids: &[HeapTid], is_dead: &mut dyn FnMut(HeapTid) -> bool) -> Vec<HeapTid> {
        let dead: Vec<HeapTid> = tids.iter().copied().filter(|tid| is_dead(*tid)).collect();
        self.statistics.heap_tids_removed += dead.len() as u64;
        self.statistics.heap_tids_kept += (tids.len() - dead.len()) as u64;
        dead
    }

    /// Removes dead heap TIDs from an overflow chain, and the tuples whose others the one before has room
    /// for. False when no tuple is left.
    fn clean_chain(
        &mut self,
        node: Link,
        head: Link,
        is_dead: &mut dyn FnMut(HeapTid) -> bool,
    ) -> Result<bool> {
        let (mut previous, mut next, mut tuples) = (None, head, 0);
        let mut room = 0;
        while let Some(link) = next.as_option() {
            self.index.store.interrupt_point();
            let tids = {
                let page = self.index.store.read(link.block)?;
                // Only a vacuum takes tuples out of a chain, and there is no other.
                let tuple = Owned::at(&page, link, TupleKind::HeapTids, node)?.ok_or(Error::Corrupt {
                    block: node.block,
                    slot: node.slot,
                    what: "broken heap TID chain",
                })?;
                next = tuple.header().next;
                tuple.heap_tids().to_vec()
            };
            tuples += 1;
            self.index.check_chain_length(node, tuples)?;
            let dead = self.dead_of(&tids, is_dead);
            let kept = tids.len() - dead.len();
            let unchanged = dead.is_empty() && kept > room;
            if !unchanged && self.clean_overflow(node, previous, link, &dead)? {
                room -= kept;
            } else {
                (previous, room) = (Some(link), OVERFLOW_TIDS - kept);
            }
        }
        Ok(previous.is_some())
    }

    /// Removes heap TIDs from an overflow tuple and, if the tuple before it has room for those that are left,
    /// moves them there, and the tuple out of its chain. True when it did.
    ///
    /// Heap TIDs move towards the head only: who has read the tuple before it without them comes to where
    /// this one was, finds it gone, and begins again.
    ///
    /// A new tuple may have been put in front of what was the head: then the emptied one stays, for the next
    /// vacuum.
    fn clean_overflow(
        &self,
        node: Link,
        previous: Option<Link>,
        tuple: Link,
        dead: &[HeapTid],
    ) -> Result<bool> {
        let before = previous.unwrap_or(node).block;
        let mut unit = self.index.store.begin();
        unit.lock(before.min(tuple.block))?;
        if before != tuple.block {
            unit.lock(before.max(tuple.block))?;
        }
        let found = OwnedMut::at(unit.edit(tuple.block), tuple, TupleKind::HeapTids, node)?;
        let Some(mut found) = found else { return Ok(false) };
        let next = found.view().header().next;
        retain(&mut found, dead);
        let kept = found.view().heap_tids().to_vec();
        let page = unit.edit(before);
        let unlinked = match previous {
            Some(previous) => match OwnedMut::at(page, previous, TupleKind::HeapTids, node)? {
                Some(mut previous) if previous.view().header().next == tuple => {
                    let room = append(&mut previous, &kept, OVERFLOW_TIDS);
                    if room {
                        previous.header_mut().next = next;
                    }
                    room
                }
                _ => false,
            },
            None => match NodeMut::at(&self.index.schema.layout, page, node)? {
                Some(mut node) if node.view().header().overflow == tuple && kept.is_empty() => {
                    node.header_mut().overflow = next;
                    true
                }
                _ => false,
            },
        };
        if unlinked {
            unit.edit(tuple.block).remove_tuple(tuple.block, tuple.slot)?;
        }
        let usable = self.index.usable_space(unit.page(tuple.block), tuple.block)?;
        unit.commit()?;
        if unlinked {
            self.index.record_free_space(tuple.block, usable);
        }
        Ok(unlinked)
    }

    fn is_orphan(&self, tuple: Link, kind: TupleKind, owner: Link) -> Result<bool> {
        let page = self.index.store.read(owner.block)?;
        let Some(owner) = Node::at(&self.index.schema.layout, &page, owner)? else { return Ok(true) };
        let header = owner.header();
        if header.flags == PENDING {
            return Ok(false);
        }
        Ok(match kind {
            TupleKind::Upper => header.upper != tuple,
            TupleKind::Payload => owner.payload_link().is_none(),
            TupleKind::HeapTids => header.overflow.is_none(),
            TupleKind::Node | TupleKind::Aside => false,
        })
    }

    /// Does all the work on one page in one unit; tests again what may have changed. Returns the bytes that
    /// an insert can use there.
    fn apply(&mut self, block: u32, work: &Work) -> Result<usize> {
        let layout = self.index.schema.layout;
        let cycle = self.meta.cycle;
        let mut tombstones = Vec::new();
        let mut unit = self.index.store.begin();
        unit.lock(block)?;
        let page = unit.edit(block);
        for (link, dead) in &work.nodes {
            let node = NodeMut::at(&layout, page, *link)?;
            let Some(mut node) = node.filter(|node| node.view().is_live()) else { continue };
            let kept: Vec<HeapTid> = without(node.view().heap_tids(), dead);
            node.set_heap_tids(&kept);
            if kept.is_empty() && node.view().header().overflow.is_none() {
                node.header_mut().flags |= TOMBSTONE;
                node.header_mut().cycle = cycle;
                tombstones.push(*link);
            } else if work.undefined.contains(link) {
                self.met.add(AsideKind::ZeroVector);
            }
        }
        for link in &work.pending {
            if let Some(mut node) = NodeMut::at(&layout, page, *link)?
                && node.view().header().flags == PENDING
            {
                node.header_mut().flags |= TOMBSTONE;
                node.header_mut().cycle = cycle;
                tombstones.push(*link);
            }
        }
        for (link, kind, dead) in &work.asides {
            let aside = OwnedMut::at(page, *link, TupleKind::Aside, Link::NONE)?;
            let Some(mut aside) = aside else { continue };
            if retain(&mut aside, dead) {
                page.remove_tuple(block, link.slot)?;
            } else {
                self.met.add(*kind);
            }
        }
        if !work.asides.is_empty() {
            merge_asides(page, block)?;
        }
        for (link, kind, owner) in &work.orphans {
            if Owned::at(page, *link, *kind, *owner)?.is_some() {
                page.remove_tuple(block, link.slot)?;
                self.statistics.orphans_removed += 1;
            }
        }
        for Tombstone { link, .. } in &work.old {
            if Node::at(&layout, page, *link)?.is_some() {
                page.remove_tuple(block, link.slot)?;
                self.statistics.tombstones_removed += 1;
            }
        }
        let free = self.index.usable_space(page, block)?;
        // Before they are tombstones: a vacuum that did not know of them would leave links that lead there.
        self.tombstones.try_reserve(tombstones.len())?;
        unit.commit()?;
        self.statistics.tombstones_made += tombstones.len() as u64;
        self.tombstones.extend(tombstones);
        Ok(free)
    }
}

/// Removes heap TIDs from an overflow or aside tuple. True when none is left.
fn retain(tuple: &mut OwnedMut, dead: &[HeapTid]) -> bool {
    let kept = without(tuple.view().heap_tids(), dead);
    tuple.set_heap_tids(&kept);
    kept.is_empty()
}

/// Moves the heap TIDs of aside tuples to others of the same page and kind that have room for all of them.
/// Who reads the page sees all of them before, or all of them after.
fn merge_asides(page: &mut Page, block: u32) -> Result<()> {
    let mut fuller: Vec<(Link, u16)> = Vec::new();
    for slot in 1..=page.slot_count() {
        let Some(tuple) = Owned::in_slot(page, block, slot)? else { continue };
        let OwnedHeader { kind, tag, version, .. } = *tuple.header();
        if kind != TupleKind::Aside as u8 {
            continue;
        }
        let tids = tuple.heap_tids().to_vec();
        let mut moved = false;
        for (other, _) in fuller.iter().filter(|(_, other_tag)| *other_tag == tag) {
            let other = OwnedMut::at(page, *other, TupleKind::Aside, Link::NONE)?;
            if let Some(mut other) = other
                && append(&mut other, &tids, ASIDE_TIDS)
            {
                moved = true;
                break;
            }
        }
        if moved {
            page.remove_tuple(block, slot)?;
        } else {
            fuller.push((Link { block, slot, version }, tag));
        }
    }
    Ok(())
}

fn without(tids: &[HeapTid], dead: &[HeapTid]) -> Vec<HeapTid> {
    tids.iter().copied().filter(|tid| !dead.contains(tid)).collect()
}
