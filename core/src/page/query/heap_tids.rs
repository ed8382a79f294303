//! The heap TIDs of a node, read a tuple at a time: a node may have millions, of which a LIMIT wants ten.
//!
//! # Why each is read once, however the chain changes
//!
//! New overflow tuples are put in front of the chain; what they hold no snapshot of an older scan sees. Only
//! vacuum takes a tuple out, in one unit with the tuple before it, to which it moves the heap TIDs that are
//! left. So heap TIDs move towards the head only. Who follows the chain and finds each tuple that it was led
//! to has seen all of them: what was moved to a tuple behind the reader was in the tuple before its next one,
//! which is gone then. A reader that finds a tuple gone reads the chain again, as often as it takes to find
//! it whole, and leaves out what it has given: it remembers that of nodes with a chain.

use crate::page::format::node::Node;
use crate::page::format::owned::Owned;
use crate::page::format::tuple::TupleKind;
use crate::page::query::index::Index;
use crate::page::store::PageStore;
use crate::sort::sort_unstable;
use crate::types::{Error, HeapTid, Link, Result};

/// Heap TIDs, those of a node for instance, as far as they have not been given.
pub(in crate::page) struct HeapTids {
    /// Those that have been read, in reverse.
    tids: Vec<HeapTid>,
    node: Link,
    /// Those of earlier tuples of the node.
    given: Vec<HeapTid>,
    /// Overflow tuples that were read.
    tuples: usize,
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
        Self { tids: Vec::new(), node: Link::NONE, given: Vec::new(), tuples: 0, next: Next::End }
    }
}

impl HeapTids {
    /// One heap TID.
    pub fn of_one(heap_tid: HeapTid) -> Self {
        let mut heap_tids = Self::default();
        heap_tids.set_one(heap_tid);
        heap_tids
    }

    /// Those of a node.
    pub fn of_node(node: Link) -> Self {
        let mut heap_tids = Self::default();
        heap_tids.set_node(node);
        heap_tids
    }

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
        self.given.clear();
        self.tuples = 0;
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
                Next::Overflow(link) => {
                    if !self.read_overflow(index, link)? {
                        self.read_again(index, link)?;
                    }
                }
                Next::Node | Next::End => self.read_node(index)?,
            }
            if self.has_unread() {
                self.given.try_reserve(self.tids.len())?;
                self.given.extend_from_slice(&self.tids);
            }
            self.tids.reverse();
        }
        Ok(self.tids.pop())
    }

    fn read_node<Store: PageStore>(&mut self, index: &Index<Store>) -> Result<()> {
        self.next = Next::End;
        let page = index.store.read(self.node.block)?;
        if let Some(found) = Node::at(&index.schema.layout, &page, self.node)?.filter(Node::is_live) {
            self.tids.extend(found.heap_tids());
            self.set_next(found.header().overflow);
        }
        Ok(())
    }

    fn set_next(&mut self, next: Link) {
        self.next = next.as_option().map_or(Next::End, Next::Overflow);
    }

    /// Reads an overflow tuple; false when it is gone.
    fn read_overflow<Store: PageStore>(&mut self, index: &Index<Store>, link: Link) -> Result<bool> {
        {
            let page = index.store.read(link.block)?;
            let tuple = Owned::at(&page, link, TupleKind::HeapTids, self.node)?;
            let Some(tuple) = tuple else { return Ok(false) };
            self.tids.try_reserve(tuple.heap_tids().len())?;
            self.tids.extend(tuple.heap_tids());
            self.set_next(tuple.header().next);
        }
        self.tuples += 1;
        index.check_chain_length(self.node, self.tuples)?;
        Ok(true)
    }

    /// Reads the whole chain, after a tuple of it was found to be gone, and keeps what was not given.
    fn read_again<Store: PageStore>(&mut self, index: &Index<Store>, mut gone: Link) -> Result<()> {
        loop {
            self.tids.clear();
            self.tuples = 0;
            self.read_node(index)?;
            let mut whole = true;
            while whole && let Next::Overflow(link) = self.next {
                index.store.interrupt_point();
                whole = self.read_overflow(index, link)?;
                // Vacuum unlinks and removes a tuple in one write unit: a chain that leads to it again is
                // damaged.
                if !whole && link == gone {
                    let Link { block, slot, .. } = self.node;
                    return Err(Error::Corrupt { block, slot, what: "broken heap TID chain" });
                }
                gone = if whole { gone } else { link };
            }
            if whole {
                sort_unstable(&mut self.given, &mut || index.store.interrupt_point());
                self.tids.retain(|heap_tid| self.given.binary_search(heap_tid).is_err());
                return Ok(());
            }
        }
    }
}
