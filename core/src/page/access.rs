//! Reading what of a node may lie on several pages: links of a layer, payload, heap TIDs.
//!
//! Every function reads one page at a time and holds no lock when it returns. What has been removed meanwhile is told by
//! versions and owners: it is reported as gone, not as corruption.

use super::index::Index;
use super::meta::{COUNTERS_BLOCK, Meta};
use super::node::{Node, Owned, Slots};
use super::store::PageStore;
use super::tuple::{NodeHeader, PENDING, TupleKind};
use crate::types::{Error, HeapTid, Link, Metric, PAGE_SIZE, Result};

/// The places for links that a node has on one layer.
pub(super) struct Places {
    /// The upper tuple that holds them; [`Link::NONE`] on layer 0, where the node's own tuple does.
    pub upper: Link,
    /// What each place holds, [`Link::NONE`] where free.
    pub links: Vec<Link>,
    /// Link and code of each place, as stored.
    bytes: Vec<u8>,
    stride: usize,
    code_size: usize,
}

impl Places {
    fn copy(upper: Link, slots: Slots, code_size: usize) -> Self {
        let (links, bytes) = (slots.places().collect(), slots.bytes().to_vec());
        Self { upper, links, bytes, stride: slots.stride(), code_size }
    }

    /// The places with their codes.
    pub fn slots(&self) -> Slots<'_> {
        Slots::new(&self.bytes, self.stride, self.code_size)
    }
}

impl<Store: PageStore> Index<Store> {
    /// The same index over the borrowed store, with the meta page as it is now.
    pub(super) fn refreshed(&self) -> Result<Index<&Store>> {
        Ok(Index { meta: Meta::read(&self.store)?, ..self.with_store(&self.store) })
    }

    /// Reads all pages that tuples lie on, as far as the index reaches now, as [`PageStore::pages`] does.
    pub(super) fn data_pages(&self) -> Result<impl Iterator<Item = (u32, Result<Store::Read<'_>>)>> {
        Ok(self.store.pages(COUNTERS_BLOCK + 1..self.store.block_count()?))
    }

    /// Whether the graph has no place for this vector: its cosine distance from anything is undefined.
    pub fn is_aside(&self, vector: &[u8]) -> bool {
        self.layout.parameters.metric == Metric::Cosine && self.measure.prepare(vector) == 0.0
    }

    /// The payload of a vector of the column's type.
    pub(super) fn encode(&self, vector: &[u8]) -> Vec<u8> {
        let mut payload = vec![0; self.layout.payload_size];
        self.layout.encoding.encode(vector, self.layout.parameters.element, &mut payload);
        payload
    }

    /// The vector of a payload.
    pub(super) fn decode(&self, payload: &[u8]) -> Vec<u8> {
        let mut scratch = Vec::new();
        self.layout.encoding.decode(payload, self.layout.parameters.element, &mut scratch).to_vec()
    }

    /// The code of a payload's vector; empty in an index without codes.
    pub(super) fn code(&self, vector: &[u8]) -> Vec<u8> {
        self.quantizer.as_deref().map_or(Vec::new(), |quantizer| {
            let mut code = vec![0; quantizer.code_size()];
            quantizer.encode(vector, &mut code);
            code
        })
    }

    /// The payload of a published node; `None` when it is gone.
    pub(super) fn payload(&self, node: Link) -> Result<Option<Vec<u8>>> {
        Ok(self.header_and_payload(node)?.map(|(_, payload)| payload))
    }

    /// As [`Index::payload`], with the node's header.
    pub(super) fn header_and_payload(&self, node: Link) -> Result<Option<(NodeHeader, Vec<u8>)>> {
        let (header, apart) = {
            let page = self.store.read(node.block)?;
            let found = Node::at(&self.layout, &page, node)?;
            let Some(found) = found.filter(|found| found.header().flags & PENDING == 0) else {
                return Ok(None);
            };
            match found.payload() {
                Some(payload) => return Ok(Some((*found.header(), payload.to_vec()))),
                None => (*found.header(), found.payload_link()),
            }
        };
        let mut payload = Vec::new();
        Ok(self.read_payload(node, apart, &mut payload)?.then_some((header, payload)))
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
                links.extend(found.slots().links());
                return Ok(());
            }
            header.upper
        };
        self.upper_tuple(node, upper, |tuple| {
            links.extend(tuple.slots(&self.layout, layer).into_iter().flat_map(|slots| slots.links()));
        })
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
                return Ok(Some(Places::copy(Link::NONE, found.slots(), self.layout.code_size)));
            }
            found.header().upper
        };
        let mut places = None;
        self.upper_tuple(node, upper, |tuple| {
            let slots = tuple.slots(&self.layout, layer);
            places = slots.map(|slots| Places::copy(upper, slots, self.layout.upper_code_size));
        })?;
        Ok(places)
    }

    /// Shows the upper tuple of a node, unless it is gone.
    pub(super) fn upper_tuple(&self, node: Link, upper: Link, read: impl FnOnce(&Owned)) -> Result<()> {
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
    /// New overflow tuples are put in front of the chain, so the chain that was entered is whole. Only vacuum takes a tuple out
    /// of its middle, and moves what is left in it to the one before: then the walk begins again from the node.
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
