//! Rows that need no node of their own: those whose vector a node already holds, and those outside of the
//! graph.

use super::allocate::Allocation;
use super::presence::mark_present;
use crate::page::format::hints::Hints;
use crate::page::format::meta::{HINTS_BLOCK, META_BLOCK, Meta};
use crate::page::format::node::{Node, NodeMut};
use crate::page::format::owned::{Owned, OwnedMut};
use crate::page::format::tuple::{
    ASIDE_SIZE, ASIDE_TIDS, AsideKind, OVERFLOW_SIZE, OVERFLOW_TIDS, OwnedHeader, TupleKind,
};
use crate::page::query::index::Index;
use crate::page::store::{PageStore, StopPoint, WriteUnit};
use crate::types::{HeapTid, Link, Result};

/// How often a heap TID is added again when the node changes underneath.
const TRIES: usize = 16;

/// Where a node has room for one more heap TID.
enum Room {
    /// In its own tuple.
    Inline,
    /// In the newest overflow tuple, this one.
    Overflow(Link),
    /// Nowhere.
    None,
}

impl<Store: PageStore> Index<Store> {
    /// Adds heap TIDs to a node whose vector is known to be that of the rows, and returns how many, the first
    /// ones: as many as one tuple has room for. None when the node has died meanwhile, or changed again and
    /// again: then the rows need a node of their own.
    ///
    /// Whatever page the heap TIDs go to, the node's page is locked with it, and the node's version and
    /// flags are tested there: vacuum makes a node a tombstone under that lock, and only when it has no heap
    /// TID left. The payload need not be tested: it never changes while the version stays.
    pub(in crate::page) fn add_heap_tids(
        &self,
        meta: &Meta,
        node: Link,
        heap_tids: &[HeapTid],
    ) -> Result<usize> {
        for _ in 0..TRIES {
            let (head, inline) = {
                let page = self.store.read(node.block)?;
                let Some(found) = Node::at(&self.schema.layout, &page, node)?.filter(Node::is_live) else {
                    return Ok(0);
                };
                (found.header().overflow, found.heap_tids().len() < self.schema.layout.inline_tids)
            };
            let room = if inline { Room::Inline } else { self.room_in(head, node)? };
            let added = match room {
                Room::Inline => self.add_inline(node, heap_tids)?,
                Room::Overflow(head) => self.add_to_overflow(node, head, heap_tids)?,
                Room::None => self.add_overflow(meta, node, head, heap_tids)?,
            };
            if added > 0 {
                return Ok(added);
            }
        }
        Ok(0)
    }

    /// As [`Index::add_heap_tids`], in as many tuples as it takes.
    pub(super) fn add_all_heap_tids(&self, meta: &Meta, node: Link, heap_tids: &[HeapTid]) -> Result<usize> {
        let mut added = 0;
        while added < heap_tids.len() {
            self.store.interrupt_point();
            match self.add_heap_tids(meta, node, &heap_tids[added..])? {
                0 => break,
                more => added += more,
            }
        }
        Ok(added)
    }

    fn room_in(&self, head: Link, node: Link) -> Result<Room> {
        if head.is_none() {
            return Ok(Room::None);
        }
        let page = self.store.read(head.block)?;
        let tuple = Owned::at(&page, head, TupleKind::HeapTids, node)?;
        let full = tuple.is_none_or(|tuple| tuple.heap_tids().len() == OVERFLOW_TIDS);
        Ok(if full { Room::None } else { Room::Overflow(head) })
    }

    fn add_inline(&self, node: Link, heap_tids: &[HeapTid]) -> Result<usize> {
        let mut unit = self.store.begin();
        unit.lock(node.block)?;
        let Some(mut tuple) = live_node(self, &mut unit, node)? else { return Ok(0) };
        let present = tuple.view().heap_tids();
        let more =
            &heap_tids[..heap_tids.len().min(self.schema.layout.inline_tids.saturating_sub(present.len()))];
        if more.is_empty() {
            return Ok(0);
        }
        tuple.set_heap_tids(&[present, more].concat());
        unit.commit()?;
        Ok(more.len())
    }

    fn add_to_overflow(&self, node: Link, head: Link, heap_tids: &[HeapTid]) -> Result<usize> {
        let mut unit = self.store.begin();
        unit.lock(node.block.min(head.block))?;
        if node.block != head.block {
            unit.lock(node.block.max(head.block))?;
        }
        let linked =
            live_node(self, &mut unit, node)?.is_some_and(|node| node.view().header().overflow == head);
        let tuple = OwnedMut::at(unit.edit(head.block), head, TupleKind::HeapTids, node)?;
        let Some(mut tuple) = tuple.filter(|_| linked) else { return Ok(0) };
        let room = OVERFLOW_TIDS - tuple.view().heap_tids().len();
        let more = &heap_tids[..heap_tids.len().min(room)];
        if more.is_empty() || !append(&mut tuple, more, OVERFLOW_TIDS) {
            return Ok(0);
        }
        unit.commit()?;
        Ok(more.len())
    }

    /// Puts a new overflow tuple in front of the chain. It is linked in the unit that makes it, so it has
    /// never an owner that does not know it.
    fn add_overflow(&self, meta: &Meta, node: Link, head: Link, heap_tids: &[HeapTid]) -> Result<usize> {
        let mut allocation = self.allocate(meta, OVERFLOW_SIZE, Some(node.block))?;
        let overflow = allocation.link;
        let linked = match live_node(self, &mut allocation.unit, node)? {
            Some(mut tuple) if tuple.view().header().overflow == head => {
                tuple.header_mut().overflow = overflow;
                true
            }
            _ => false,
        };
        if !linked {
            return Ok(0);
        }
        let more = &heap_tids[..heap_tids.len().min(OVERFLOW_TIDS)];
        let header = OwnedHeader { owner: node, next: head, ..header(&allocation, TupleKind::HeapTids) };
        OwnedMut::format(allocation.tuple()?, header).set_heap_tids(more);
        allocation.commit()?;
        Ok(more.len())
    }

    /// Inserts rows that the graph has no place for.
    pub(super) fn insert_asides(
        &self,
        kind: AsideKind,
        heap_tids: &mut impl Iterator<Item = HeapTid>,
    ) -> Result<()> {
        loop {
            let some: Vec<HeapTid> = heap_tids.take(ASIDE_TIDS).collect();
            if some.is_empty() {
                return Ok(());
            }
            self.store.interrupt_point();
            self.add_aside(kind, &some)?;
        }
    }

    /// Inserts a row that the graph has no place for.
    pub fn insert_aside(&self, kind: AsideKind, heap_tid: HeapTid) -> Result<()> {
        let hint = {
            let page = self.store.read(HINTS_BLOCK)?;
            let hints = *Hints::of_page(&page)?.aside(kind);
            hints[self.store.affinity() % hints.len()]
        };
        if !hint.is_none() && self.add_to_aside(hint, kind, heap_tid)? {
            return Ok(());
        }
        let aside = self.add_aside(kind, &[heap_tid])?;
        self.store.stop_point(StopPoint::InsertAsideWritten);

        let mut unit = self.store.begin();
        let mut hints = Hints::of_page(unit.lock(HINTS_BLOCK)?)?;
        let of_kind = hints.aside_mut(kind);
        of_kind[self.store.affinity() % of_kind.len()] = aside;
        hints.write(unit.edit(HINTS_BLOCK));
        unit.commit()
    }

    /// Makes an aside tuple. While there is one its kind is marked as present: only a new one needs the meta
    /// page.
    fn add_aside(&self, kind: AsideKind, heap_tids: &[HeapTid]) -> Result<Link> {
        let mut allocation = self.allocate(&Meta::read(&self.store)?, ASIDE_SIZE, Some(META_BLOCK))?;
        mark_present(&mut allocation.unit, kind)?;
        let header = OwnedHeader { tag: kind as u16, ..header(&allocation, TupleKind::Aside) };
        OwnedMut::format(allocation.tuple()?, header).set_heap_tids(heap_tids);
        allocation.commit()
    }

    fn add_to_aside(&self, aside: Link, kind: AsideKind, heap_tid: HeapTid) -> Result<bool> {
        let mut unit = self.store.begin();
        unit.lock(aside.block)?;
        let tuple = OwnedMut::at(unit.edit(aside.block), aside, TupleKind::Aside, Link::NONE)?;
        let Some(mut tuple) = tuple.filter(|tuple| tuple.view().header().tag == kind as u16) else {
            return Ok(false);
        };
        if !append(&mut tuple, &[heap_tid], ASIDE_TIDS) {
            return Ok(false);
        }
        unit.commit()?;
        Ok(true)
    }
}

/// The header of a fresh tuple that belongs to nobody yet.
pub(super) fn header<Store: PageStore>(allocation: &Allocation<'_, Store>, kind: TupleKind) -> OwnedHeader {
    let version = allocation.link.version;
    let (owner, next) = (Link::NONE, Link::NONE);
    OwnedHeader { kind: kind as u8, level: 0, version, count: 0, tag: 0, owner, next }
}

/// A live node on a page that the unit holds.
fn live_node<'u, Store: PageStore>(
    index: &'u Index<Store>,
    unit: &'u mut Store::Write<'_>,
    node: Link,
) -> Result<Option<NodeMut<'u>>> {
    let found = NodeMut::at(&index.schema.layout, unit.edit(node.block), node)?;
    Ok(found.filter(|node| node.view().is_live()))
}

/// Appends heap TIDs to an overflow or aside tuple; false when it has no room for all of them.
pub(in crate::page) fn append(tuple: &mut OwnedMut, more: &[HeapTid], capacity: usize) -> bool {
    let tids = [tuple.view().heap_tids(), more].concat();
    if tids.len() > capacity {
        return false;
    }
    tuple.set_heap_tids(&tids);
    true
}
