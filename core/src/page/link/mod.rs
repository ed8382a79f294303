//! Changing lists of links: what insertion, vacuum and scans that mend have in common.

pub mod change;
pub mod offer;
mod prune;
mod replacements;
pub mod together;

use crate::page::format::meta::Meta;
use crate::page::query::index::Index;
use crate::page::query::vectors::Vectors;
use crate::page::store::PageStore;

/// Changes lists of links, and knows vectors of the nodes that it has compared.
pub(in crate::page) struct Linker<'i, Store> {
    /// The index.
    pub index: &'i Index<Store>,
    /// As the operation that changes them has read it.
    meta: Meta,
    /// What has been read of nodes.
    pub vectors: Vectors<'i, Store>,
}

impl<'i, Store: PageStore> Linker<'i, Store> {
    /// That of an operation, which has read the meta page.
    pub fn new(index: &'i Index<Store>, meta: Meta) -> Self {
        Self { index, meta, vectors: Vectors::new(index) }
    }

    /// The same, with vectors that take so many bytes at most.
    pub fn within(index: &'i Index<Store>, meta: Meta, memory: usize) -> Self {
        Self { index, meta, vectors: Vectors::within(index, memory) }
    }
}
