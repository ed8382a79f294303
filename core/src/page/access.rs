//! Reading what of a node may lie on several pages: links of a layer, payload, heap TIDs.
//!
//! Every function reads one page at a time and holds no lock when it returns. What has been removed meanwhile is told by
//! versions and owners: it is reported as gone, not as corruption.

use super::index::Index;
use super::meta::Meta;
use super::node::{Node, Owned};
use super::store::PageStore;
use super::tuple::{PENDING, TupleKind};
use crate::types::{Error, HeapTid, Link, Metric, PAGE_SIZE, Result};

/// The places for links that a node has on one layer.
pub(super) struct Places {
    /// The upper tuple that holds them; [`Link::NONE`] on layer 0, where the node's own tuple does.
    pub upper: Link,
    /// What each place holds, [`Link::NONE`] where free.
    pub links: Vec<Link>,
}

impl<Store: PageStore> Index<Store> {
    /// The same index over the borrowed store, with the meta page as it is now.
    pub(super) fn refreshed(&self) -> Result<Index<&Store>> {
        let meta = Meta::read(&self.store)?;
        Ok(Index { store: &self.store, meta, layout: self.layout, measure: self.measure })
    }

    /// Whether the graph has no place for this vector: its cosine distance from anything is undefined.
    pub fn is_aside(&self, vector: &[u8]) -> bool {
        self.layout.parameters.metric == Metric::Cosine && self.measure.prepare(vector) == 0.0
    }

    /// Whether a node is live, or only walked through; `None` when it is gone.
    pub(super) fn is_live(&self, node: Link) -> Result<Option<bool>> {
        let page = self.store.read(node.block)?;
        Ok(Node::at(&self.layout, &page, node)?.map(|found| found.is_live()))
    }

    /// Appends the links of a published node on one layer; none when the node is gone or its level is lower.
    pub(super) fn neighbours(&self, node: Link, layer: u8, links: &mut Vec<Link>) -> Result<()> {
        let upper = {
            let page = self.store.read(node.block)?;
            let Some(found) = Node::at(&self.layout, &page, node)? else { return Ok(()) };
            let header = found.header();
            if layer > header.level || header.flags & PENDING != 0 {
                return Ok(());
            }
            if layer == 0 {
                links.extend(found.links());
                return Ok(());
            }
            header.upper
        };
        self.upper_tuple(node, upper, |tuple| links.extend(tuple.links(&self.layout, layer)))
    }

    /// The places of a live node on one layer; `None` when the node is gone, dead, or of a lower level.
    pub(super) fn places(&self, node: Link, layer: u8) -> Result<Option<Places>> {
        let upper = {
            let page = self.store.read(node.block)?;
            let Some(found) = Node::at(&self.layout, &page, node)?.filter(Node::is_live) else {
                return Ok(None);
            };
            if layer > found.header().level {
                return Ok(None);
            }
            if layer == 0 {
                let links = (0..self.layout.parameters.m0).map(|position| found.link(position)).collect();
                return Ok(Some(Places { upper: Link::NONE, links }));
            }
            found.header().upper
        };
        let mut places = None;
        self.upper_tuple(node, upper, |tuple| {
            let links =
                (0..self.layout.parameters.m).map_while(|position| tuple.link(&self.layout, layer, position));
            places = Some(Places { upper, links: links.collect() });
        })?;
        Ok(places)
    }

    fn upper_tuple(&self, node: Link, upper: Link, read: impl FnOnce(&Owned)) -> Result<()> {
        if !upper.is_none() {
            let page = self.store.read(upper.block)?;
            if let Some(tuple) = Owned::at(&page, upper, TupleKind::Upper, node)? {
                read(&tuple);
            }
        }
        Ok(())
    }

    /// Reads a payload that lies apart from its node. False when the node has been reclaimed meanwhile.
    pub(super) fn read_payload(&self, node: Link, first: Link, buffer: &mut Vec<u8>) -> Result<bool> {
        buffer.resize(self.layout.payload_size, 0);
        let mut next = first;
        for (number, range) in self.layout.payload_parts().enumerate() {
            let corrupt = |what| Error::Corrupt { block: node.block, slot: node.slot, what };
            let part = next.as_option().ok_or(corrupt("node without a part of its payload"))?;
            let page = self.store.read(part.block)?;
            let Some(tuple) = Owned::at(&page, part, TupleKind::Payload, node)? else { return Ok(false) };
            if usize::from(tuple.header().count) != number {
                return Err(corrupt("node with parts of its payload in disorder"));
            }
            let bytes = tuple.body().get(..range.len()).ok_or(corrupt("node with a short payload"))?;
            buffer[range].copy_from_slice(bytes);
            next = tuple.header().next;
        }
        Ok(true)
    }

    /// Reads all heap TIDs of a live node; false, and none, when it is gone or dead.
    ///
    /// Heap TIDs never move and new overflow tuples are put in front of the chain, so the chain that was entered is whole.
    /// Only vacuum takes an (empty) tuple out of its middle: then the walk begins again from the node.
    pub(super) fn heap_tids(&self, node: Link, tids: &mut Vec<HeapTid>) -> Result<bool> {
        let mut broken = Link::NONE;
        loop {
            tids.clear();
            let mut next = {
                let page = self.store.read(node.block)?;
                let Some(found) = Node::at(&self.layout, &page, node)?.filter(Node::is_live) else {
                    return Ok(false);
                };
                tids.extend(found.heap_tids());
                found.header().overflow
            };
            let mut tuples = 0;
            loop {
                let Some(link) = next.as_option() else { return Ok(true) };
                let page = self.store.read(link.block)?;
                let Some(tuple) = Owned::at(&page, link, TupleKind::HeapTids, node)? else { break };
                tids.extend(tuple.heap_tids());
                next = tuple.header().next;
                drop(page);
                tuples += 1;
                self.check_chain_length(node, tuples)?;
            }
            // Vacuum unlinks and removes a tuple in one write unit: a chain that leads to it again is damaged.
            if broken == next {
                return Err(Error::Corrupt {
                    block: node.block,
                    slot: node.slot,
                    what: "broken heap TID chain",
                });
            }
            broken = next;
        }
    }

    /// An error for a chain longer than the index can hold: it must run in a circle.
    pub(super) fn check_chain_length(&self, node: Link, tuples: usize) -> Result<()> {
        const STEP: usize = 1024;
        if !tuples.is_multiple_of(STEP) {
            return Ok(());
        }
        self.store.interrupt_point();
        let most = self.store.block_count()? as usize * (PAGE_SIZE / size_of::<super::tuple::OwnedHeader>());
        if tuples > most {
            return Err(Error::Corrupt {
                block: node.block,
                slot: node.slot,
                what: "endless heap TID chain",
            });
        }
        Ok(())
    }
}
