//! The graph on pages as one query sees it: [`NodeStore`] over [`PageStore`].
//!
//! An expansion reads the node's page once to copy its links, then each page that holds unvisited neighbours once, in
//! block order, and computes their distances from the bytes on the page. One content lock at a time.

use super::index::Index;
use super::meta::Meta;
use super::node::Node;
use super::store::PageStore;
use super::tuple::{PENDING, TOMBSTONE};
use crate::graph::{Candidate, EntryPoint, LayerSearch, NodeStore};
use crate::types::{Link, Result};
use hashbrown::HashSet;
use std::cell::RefCell;

/// Blocks that are asked for before the first of them is read.
const PREFETCH_WINDOW: usize = 32;

/// An index and a query vector.
pub struct PagedQuery<Store> {
    /// The index; its meta page says where searches begin.
    pub(super) index: Index<Store>,
    vector: Vec<u8>,
    prepared: f32,
    scratch: RefCell<Scratch>,
}

/// Memory that expansions use again and again.
#[derive(Default)]
struct Scratch {
    links: Vec<Link>,
    blocks: Vec<u32>,
    apart: Vec<Apart>,
    payload: Vec<u8>,
}

/// A node whose payload must be read from other pages.
#[derive(Clone, Copy)]
struct Apart {
    node: Link,
    live: bool,
    payload: Link,
}

impl<Store: PageStore> PagedQuery<Store> {
    /// Binds a query vector to an index.
    pub fn new(index: Index<Store>, vector: &[u8]) -> Self {
        let prepared = index.measure.prepare(vector);
        Self { index, vector: vector.to_vec(), prepared, scratch: RefCell::default() }
    }

    /// Reads the entry point again.
    pub(super) fn refresh(&mut self) -> Result<()> {
        self.index.meta = Meta::read(&self.index.store)?;
        Ok(())
    }

    /// A search that has visited nothing.
    pub fn search(&self, resumable: bool) -> LayerSearch<Self> {
        LayerSearch::new(HashSet::new(), resumable)
    }

    /// The query vector.
    pub fn vector(&self) -> &[u8] {
        &self.vector
    }

    /// The distance that ranks a vector of the index.
    pub fn distance(&self, vector: &[u8]) -> f64 {
        self.index.measure.distance_from(&self.vector, self.prepared, vector)
    }

    /// Scores `links` (sorted) and appends those that are there and on `layer`.
    fn score_links(
        &self,
        links: &[Link],
        layer: u8,
        blocks: &mut Vec<u32>,
        apart: &mut Vec<Apart>,
        found: &mut Vec<Candidate<Link>>,
    ) -> Result<()> {
        blocks.clear();
        blocks.extend(links.iter().map(|link| link.block));
        blocks.dedup();
        let mut rest = links;
        for window in blocks.chunks(PREFETCH_WINDOW) {
            self.index.store.prefetch(window);
            for &block in window {
                let here = rest.iter().take_while(|link| link.block == block).count();
                let page = self.index.store.read(block)?;
                for &link in &rest[..here] {
                    let Some(node) = Node::at(&self.index.layout, &page, link)? else { continue };
                    let header = node.header();
                    if header.flags & PENDING != 0 || header.level < layer {
                        continue;
                    }
                    let live = header.flags & TOMBSTONE == 0;
                    match node.payload() {
                        Some(payload) => found.push(Candidate::new(self.distance(payload), link, live)),
                        None => apart.push(Apart { node: link, live, payload: node.payload_link() }),
                    }
                }
                rest = &rest[here..];
            }
        }
        Ok(())
    }

    /// Scores nodes whose payloads lie on other pages.
    fn score_apart(
        &self,
        apart: &mut Vec<Apart>,
        blocks: &mut Vec<u32>,
        buffer: &mut Vec<u8>,
        found: &mut Vec<Candidate<Link>>,
    ) -> Result<()> {
        for window in apart.chunks(PREFETCH_WINDOW) {
            blocks.clear();
            blocks.extend(window.iter().map(|apart| apart.payload.block).filter(|block| *block != u32::MAX));
            self.index.store.prefetch(blocks);
            for &Apart { node, live, payload } in window {
                if self.index.read_payload(node, payload, buffer)? {
                    found.push(Candidate::new(self.distance(buffer), node, live));
                }
            }
        }
        apart.clear();
        Ok(())
    }
}

impl<Store: PageStore> NodeStore for PagedQuery<Store> {
    type Node = Link;
    type Visited = HashSet<Link>;

    fn entry_point(&self) -> Result<Option<EntryPoint<Link>>> {
        Ok(self.index.meta.entry())
    }

    fn expand(
        &self,
        candidate: Candidate<Link>,
        layer: u8,
        visited: &mut HashSet<Link>,
        found: &mut Vec<Candidate<Link>>,
    ) -> Result<Option<Candidate<Link>>> {
        self.index.store.interrupt_point();
        let Scratch { links, blocks, apart, payload } = &mut *self.scratch.borrow_mut();
        let mut measured = Some(candidate);
        if candidate.is_estimate() {
            let mut own = Vec::with_capacity(1);
            self.score_links(&[candidate.node], layer, blocks, apart, &mut own)?;
            self.score_apart(apart, blocks, payload, &mut own)?;
            measured = own.pop();
        }
        links.clear();
        self.index.neighbours(candidate.node, layer, links)?;
        links.retain(|link| visited.insert(*link));
        links.sort_unstable();
        self.score_links(links, layer, blocks, apart, found)?;
        self.score_apart(apart, blocks, payload, found)?;
        Ok(measured)
    }
}
