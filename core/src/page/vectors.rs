//! Vectors of nodes, copied out of their pages to be compared with each other.
//!
//! Choosing among neighbours measures the same few nodes again and again; every payload is read once. Imports `access`.

use super::index::Index;
use super::node::Node;
use super::store::PageStore;
use super::tuple::{PENDING, TOMBSTONE};
use crate::graph::Candidate;
use crate::types::{Link, Result};
use hashbrown::HashMap;

/// Bytes of vectors kept before they are forgotten.
const MEMORY: usize = 16 << 20;

/// What is known of a node.
struct Known {
    vector: Vec<u8>,
    prepared: f32,
    live: bool,
    level: u8,
}

/// Copies of the vectors of some nodes. A vector never changes; that a node has died meanwhile is seen when it is changed.
pub(super) struct Vectors<'i, Store> {
    index: &'i Index<Store>,
    /// `None` for a stale link.
    known: HashMap<Link, Option<Known>>,
}

impl<'i, Store: PageStore> Vectors<'i, Store> {
    /// No vectors yet.
    pub fn new(index: &'i Index<Store>) -> Self {
        Self { index, known: HashMap::new() }
    }

    /// Forgets vectors when they have become many. Called between independent choices.
    pub fn limit_memory(&mut self) {
        if self.known.len() * self.index.layout.payload_size > MEMORY {
            self.known.clear();
        }
    }

    /// The vector of a node; `None` when it is gone.
    pub fn vector(&mut self, node: Link) -> Result<Option<&[u8]>> {
        Ok(self.get(node)?.map(|known| known.vector.as_slice()))
    }

    /// Whether the node was live when its vector was read; `None` when it is gone.
    pub fn is_live(&mut self, node: Link) -> Result<Option<bool>> {
        Ok(self.get(node)?.map(|known| known.live))
    }

    /// The distance between two nodes; infinite when one of them is gone.
    pub fn distance(&mut self, a: Link, b: Link) -> Result<f64> {
        self.load(a)?;
        self.load(b)?;
        let [a, b] = [a, b].map(|node| self.known.get(&node).and_then(Option::as_ref));
        Ok(a.zip(b).map_or(f64::INFINITY, |(a, b)| {
            let measure = &self.index.measure;
            measure.distance_between(&a.vector, a.prepared, &b.vector, b.prepared)
        }))
    }

    /// Those of `nodes` that are live and have a place on `layer`, measured from `from`, nearest first.
    pub fn candidates(
        &mut self,
        from: Link,
        layer: u8,
        nodes: impl IntoIterator<Item = Link>,
    ) -> Result<Vec<Candidate<Link>>> {
        let mut candidates = Vec::new();
        for node in nodes {
            if node != from && self.get(node)?.is_some_and(|known| known.live && known.level >= layer) {
                candidates.push(Candidate::new(self.distance(from, node)?, node, true));
            }
        }
        candidates.sort_unstable();
        Ok(candidates)
    }

    fn get(&mut self, node: Link) -> Result<Option<&Known>> {
        self.load(node)?;
        Ok(self.known.get(&node).and_then(Option::as_ref))
    }

    fn load(&mut self, node: Link) -> Result<()> {
        if !self.known.contains_key(&node) {
            let known = self.read(node)?;
            self.known.insert(node, known);
        }
        Ok(())
    }

    fn read(&self, node: Link) -> Result<Option<Known>> {
        let mut vector = Vec::new();
        let (level, live, apart) = {
            let page = self.index.store.read(node.block)?;
            let Some(found) = Node::at(&self.index.layout, &page, node)? else { return Ok(None) };
            let header = found.header();
            if header.flags & PENDING != 0 {
                return Ok(None);
            }
            if let Some(payload) = found.payload() {
                vector.extend_from_slice(payload);
            }
            (header.level, header.flags & TOMBSTONE == 0, found.payload_link())
        };
        if self.index.layout.payload_offset.is_none() && !self.index.read_payload(node, apart, &mut vector)? {
            return Ok(None);
        }
        let prepared = self.index.measure.prepare(&vector);
        Ok(Some(Known { vector, prepared, live, level }))
    }
}
