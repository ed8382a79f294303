//! What an index holds, counted in one pass over its pages.

use super::index::Index;
use super::node::{Node, Owned};
use super::slotted::PageKind;
use super::store::PageStore;
use super::tuple::{AsideKind, PENDING, TOMBSTONE, TupleKind};
use crate::types::{MAX_LEVEL, PAGE_SIZE, Result};

/// Counts over a whole index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statistics {
    /// Live nodes by level.
    pub nodes_by_level: [u64; MAX_LEVEL as usize + 1],
    /// Nodes without rows, waiting to be reused.
    pub tombstones: u64,
    /// Nodes whose insertion has not been published.
    pub pending_nodes: u64,
    /// Heap TIDs of rows in the graph.
    pub heap_tids: u64,
    /// Rows outside of the graph because their vector is zero.
    pub zero_vectors: u64,
    /// Rows outside of the graph because they are NULL.
    pub nulls: u64,
    /// Meta, counters and parameter pages.
    pub parameter_pages: u64,
    /// Pages of tuples.
    pub data_pages: u64,
    /// Pages that nothing was written to: a crash after extension leaves them.
    pub new_pages: u64,
    /// Bytes that new tuples may have on pages of tuples and new pages.
    pub free_bytes: u64,
    /// Bytes of all pages.
    pub bytes: u64,
}

impl Statistics {
    /// Live nodes.
    pub fn nodes(&self) -> u64 {
        self.nodes_by_level.iter().sum()
    }
}

/// Counts what is in an index. Pages are read one after the other while others may change them: the counts are not those
/// of one moment. Damaged pages are an error.
pub fn statistics<Store: PageStore>(index: &Index<Store>) -> Result<Statistics> {
    let blocks = index.store.block_count()?;
    let mut counts = Statistics {
        nodes_by_level: [0; MAX_LEVEL as usize + 1],
        tombstones: 0,
        pending_nodes: 0,
        heap_tids: 0,
        zero_vectors: 0,
        nulls: 0,
        parameter_pages: 0,
        data_pages: 0,
        new_pages: 0,
        free_bytes: 0,
        bytes: u64::from(blocks) * PAGE_SIZE as u64,
    };
    for block in 0..blocks {
        index.store.interrupt_point();
        let page = index.store.read(block)?;
        if page.is_new() {
            counts.new_pages += 1;
            counts.free_bytes += super::slotted::MAX_TUPLE_SIZE as u64;
            continue;
        }
        if page.kind(block)? != PageKind::Data {
            counts.parameter_pages += 1;
            continue;
        }
        counts.data_pages += 1;
        counts.free_bytes += page.free_space() as u64;
        for slot in 1..=page.slot_count() {
            if let Some(node) = Node::in_slot(&index.layout, &page, block, slot)? {
                counts.add_node(&node);
            } else if let Some(owned) = Owned::in_slot(&page, block, slot)? {
                counts.add_owned(&owned);
            }
        }
    }
    Ok(counts)
}

impl Statistics {
    fn add_node(&mut self, node: &Node) {
        let header = node.header();
        self.heap_tids += u64::from(header.tid_count);
        if header.flags & PENDING != 0 {
            self.pending_nodes += 1;
        } else if header.flags & TOMBSTONE != 0 {
            self.tombstones += 1;
        } else {
            self.nodes_by_level[usize::from(header.level)] += 1;
        }
    }

    fn add_owned(&mut self, owned: &Owned) {
        let header = owned.header();
        let count = u64::from(header.count);
        if header.kind == TupleKind::HeapTids as u8 {
            self.heap_tids += count;
        } else if header.kind == TupleKind::Aside as u8 {
            match AsideKind::from_code(header.tag) {
                Some(AsideKind::ZeroVector) => self.zero_vectors += count,
                Some(AsideKind::Null) => self.nulls += count,
                None => {}
            }
        }
    }
}
