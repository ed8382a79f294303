//! The heap TIDs of a node, read a tuple at a time: a node may have millions, of which a LIMIT wants ten.
//!
//! # Why each is read once, however the chain changes
//!
//! Heap TIDs never move, new overflow tuples are put in front of the chain, and only vacuum takes a tuple out, an empty one, in
//! the unit that removes it. So the tuples of a chain keep their order, and what the reader has not come to yet follows the last
//! tuple that it read. That tuple said what is next. Where this has been removed meanwhile, the tuple is asked again; and where it
//! has been removed itself, so is the one read before it, and so on back to the node. Each tuple is taken back once at most, so
//! that a reader beside a vacuum takes no longer than two passes. Tuples that came in front of those read are read only where
//! all of these are gone; what they hold no snapshot of an older scan sees.
//!
//! Imports `index`, `node` and `store`.

use super::index::Index;
use crate::page::format::node::{Node, Owned};
use crate::page::format::tuple::TupleKind;
use crate::page::store::PageStore;
use crate::types::{Error, HeapTid, Link, Result};

/// Heap TIDs, those of a node for instance, as far as they have not been given.
pub(in crate::page) struct HeapTids {
    /// Those of the tuple that was read last, in reverse.
    tids: Vec<HeapTid>,
    node: Link,
    /// The overflow tuples that were read and not found to be gone.
    read: Vec<Link>,
    next: Next,
}

#[derive(Clone, Copy)]
enum Next {
    /// The node's own tuple.
    Node,
    Overflow(Link),
    End,
}

impl Default for HeapTids {
    fn default() -> Self {
        Self { tids: Vec::new(), node: Link::NONE, read: Vec::new(), next: Next::End }
    }
}

impl HeapTids {
    /// Forgets what there was, for one heap TID.
    pub fn set_one(&mut self, heap_tid: HeapTid) {
        self.clear();
        self.tids.push(heap_tid);
    }

    /// Forgets what there was, for those of a node.
    pub fn set_node(&mut self, node: Link) {
        self.clear();
        self.node = node;
        self.next = Next::Node;
    }

    /// Forgets all of them.
    pub fn clear(&mut self) {
        self.tids.clear();
        self.read.clear();
        self.next = Next::End;
    }

    /// Whether it is known that there are none left.
    pub fn is_empty(&self) -> bool {
        self.tids.is_empty() && !self.has_unread()
    }

    /// Whether tuples are left to be read.
    pub fn has_unread(&self) -> bool {
        !matches!(self.next, Next::End)
    }

    /// The next one. A node that is gone or dead has none.
    pub fn next<Store: PageStore>(&mut self, index: &Index<Store>) -> Result<Option<HeapTid>> {
        while self.tids.is_empty() && self.has_unread() {
            index.store.interrupt_point();
            match self.next {
                Next::Node => self.read_node(index)?,
                Next::Overflow(link) => self.read_from(index, link)?,
                Next::End => {}
            }
            self.tids.reverse();
        }
        Ok(self.tids.pop())
    }

    fn read_node<Store: PageStore>(&mut self, index: &Index<Store>) -> Result<()> {
        self.next = Next::End;
        let page = index.store.read(self.node.block)?;
        if let Some(found) = Node::at(&index.layout, &page, self.node)?.filter(Node::is_live) {
            self.tids.extend(found.heap_tids());
            self.set_next(found.header().overflow);
        }
        Ok(())
    }

    /// Reads the overflow tuple that was said to be next, or what is next by now.
    fn read_from<Store: PageStore>(&mut self, index: &Index<Store>, mut link: Link) -> Result<()> {
        self.next = Next::End;
        while !self.read_overflow(index, link)? {
            let Some(next) = self.next_again(index)?.as_option() else { return Ok(()) };
            // Vacuum unlinks and removes a tuple in one write unit: what leads to it after that is damaged.
            if next == link {
                let Link { block, slot, .. } = self.node;
                return Err(Error::Corrupt { block, slot, what: "broken heap TID chain" });
            }
            link = next;
        }
        index.check_chain_length(self.node, self.read.len())
    }

    fn set_next(&mut self, next: Link) {
        self.next = next.as_option().map_or(Next::End, Next::Overflow);
    }

    /// Reads an overflow tuple; false when it is gone.
    fn read_overflow<Store: PageStore>(&mut self, index: &Index<Store>, link: Link) -> Result<bool> {
        let page = index.store.read(link.block)?;
        let Some(tuple) = Owned::at(&page, link, TupleKind::HeapTids, self.node)? else { return Ok(false) };
        self.tids.extend(tuple.heap_tids());
        self.set_next(tuple.header().next);
        self.read.try_reserve(1)?;
        self.read.push(link);
        Ok(true)
    }

    /// What follows the last tuple read that is still there.
    fn next_again<Store: PageStore>(&mut self, index: &Index<Store>) -> Result<Link> {
        while let Some(last) = self.read.last() {
            index.store.interrupt_point();
            let page = index.store.read(last.block)?;
            if let Some(tuple) = Owned::at(&page, *last, TupleKind::HeapTids, self.node)? {
                return Ok(tuple.header().next);
            }
            self.read.pop();
        }
        let page = index.store.read(self.node.block)?;
        let found = Node::at(&index.layout, &page, self.node)?.filter(Node::is_live);
        Ok(found.map_or(Link::NONE, |found| found.header().overflow))
    }
}
