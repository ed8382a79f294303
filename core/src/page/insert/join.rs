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
    /// Adds a heap TID to a node whose vector is known to be that of the row. False when the node has died
    /// meanwhile, or changed again and again: then the row needs a node of its own.
    ///
    /// Whatever page the heap TID goes to, the node's page is locked with it, and the node's version and
    /// flags are tested there: vacuum makes a node a tombstone under that lock, and only when it has no heap
    /// TID left. The payload need not be tested: it never changes while the version stays.
    pub(in crate::page) fn add_heap_tid(&self, meta: &Meta, node: Link, heap_tid: HeapTid) -> Result<bool> {
        for _ in 0..TRIES {
            let (head, inline) = {
                let page = self.store.read(node.block)?;
                let Some(found) = Node::at(&self.schema.layout, &page, node)?.filter(Node::is_live) else {
                    return Ok(false);
                };
                (found.header().overflow, found.heap_tids().len() < self.schema.layout.inline_tids)
            };
            let room = if inline { Room::Inline } else { self.room_in(head, node)? };
            let added = match room {
                Room::Inline => self.add_inline(node, heap_tid)?,
                Room::Overflow(head) => self.add_to_overflow(node, head, heap_tid)?,
                Room::None => self.add_overflow(meta, node, head, heap_tid)?,
            };
            if added {
                return Ok(true);
            }
        }
        Ok(false)
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

    fn add_inline(&self, node: Link, heap_tid: HeapTid) -> Result<bool> {
        let mut unit = self.store.begin();
        unit.lock(node.block)?;
        let Some(mut tuple) = live_node(self, &mut unit, node)? else { return Ok(false) };
        let mut tids = tuple.view().heap_tids().to_vec();
        if tids.len() == self.schema.layout.inline_tids {
            return Ok(false);
        }
        tids.push(heap_tid);
        tuple.set_heap_tids(&tids);
        unit.commit()?;
        Ok(true)
    }

    fn add_to_overflow(&self, node: Link, head: Link, heap_tid: HeapTid) -> Result<bool> {
        let mut unit = self.store.begin();
        unit.lock(node.block.min(head.block))?;
        if node.block != head.block {
            unit.lock(node.block.max(head.block))?;
        }
        let linked =
            live_node(self, &mut unit, node)?.is_some_and(|node| node.view().header().overflow == head);
        let tuple = OwnedMut::at(unit.edit(head.block), head, TupleKind::HeapTids, node)?;
        let Some(mut tuple) = tuple.filter(|_| linked) else { return Ok(false) };
        if !append(&mut tuple, &[heap_tid], OVERFLOW_TIDS) {
            return Ok(false);
        }
        unit.commit()?;
        Ok(true)
    }

    /// Puts a new overflow tuple in front of the chain. It is linked in the unit that makes it, so it has
    /// never an owner that does not know it.
    fn add_overflow(&self, meta: &Meta, node: Link, head: Link, heap_tid: HeapTid) -> Result<bool> {
        let mut allocation = self.allocate(meta, OVERFLOW_SIZE, Some(node.block))?;
        let overflow = allocation.link;
        let linked = match live_node(self, &mut allocation.unit, node)? {
            Some(mut tuple) if tuple.view().header().overflow == head => {
                tuple.header_mut().overflow = overflow;
                true
            }
            _ => false,
        };
        if linked {
            let header = OwnedHeader { owner: node, next: head, ..header(&allocation, TupleKind::HeapTids) };
            OwnedMut::format(allocation.tuple()?, header).set_heap_tids(&[heap_tid]);
            allocation.commit()?;
        }
        Ok(linked)
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
        // While there is a tuple its kind is marked as present: only a new one needs the meta page.
        let mut allocation = self.allocate(&Meta::read(&self.store)?, ASIDE_SIZE, Some(META_BLOCK))?;
        mark_present(&mut allocation.unit, kind)?;
        let header = OwnedHeader { tag: kind as u16, ..header(&allocation, TupleKind::Aside) };
        OwnedMut::format(allocation.tuple()?, header).set_heap_tids(&[heap_tid]);
        let aside = allocation.commit()?;
        self.store.stop_point(StopPoint::InsertAsideWritten);

        let mut unit = self.store.begin();
        let mut hints = Hints::of_page(unit.lock(HINTS_BLOCK)?)?;
        let of_kind = hints.aside_mut(kind);
        of_kind[self.store.affinity() % of_kind.len()] = aside;
        hints.write(unit.edit(HINTS_BLOCK));
        unit.commit()
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
