//! Step 3 of an insertion: the node appears.

use super::Insertion;
use super::join::header;
use super::presence::mark_present;
use crate::graph::{Candidate, Neighbours};
use crate::page::format::layout::Layout;
use crate::page::format::meta::META_BLOCK;
use crate::page::format::node::NodeMut;
use crate::page::format::owned::OwnedMut;
use crate::page::format::tuple::{AsideKind, OwnedHeader, PENDING, TupleKind};
use crate::page::store::{PageStore, StopPoint, WriteUnit};
use crate::types::{HeapTid, Link, Result};

/// Links of one layer, and what lies beside them.
pub(super) type CodedLinks = Vec<(Link, Vec<u8>)>;

/// What a new node holds besides its payload.
pub(super) struct Content<'c> {
    /// Its links, by layer from 0.
    pub layers: &'c [CodedLinks],
    /// The code of its vector.
    pub code: &'c [u8],
    /// A row that holds it.
    pub heap_tid: HeapTid,
}

impl<Store: PageStore> Insertion<'_, Store> {
    /// Publishes a node of a row with these neighbours, by layer from 0.
    pub(super) fn publish(&mut self, layers: &[Neighbours<Link>], heap_tid: HeapTid) -> Result<Link> {
        let vectors = &mut self.linker.vectors;
        let mut coded: Vec<CodedLinks> = Vec::with_capacity(layers.len());
        for neighbours in layers {
            let mut links = Vec::with_capacity(neighbours.len());
            for Candidate { node, .. } in neighbours.iter() {
                // Gone ones are left out.
                links.extend(vectors.code(*node)?.map(|code| (*node, code)));
            }
            coded.push(links);
        }
        let schema = &self.linker.index.schema;
        let code = schema.code(self.query.vector());
        let node = self.publish_coded(&Content { layers: &coded, code: &code, heap_tid })?;
        let known = schema.known(&self.payload, true, self.level).with_code(code);
        self.linker.vectors.add(node, known)?;
        Ok(node)
    }

    /// Publishes a node that holds this.
    pub(super) fn publish_coded(&self, content: &Content) -> Result<Link> {
        let index = self.linker.index;
        let layout = &index.schema.layout;
        let is_ordinary = index.schema.measure.is_ordinary(self.query.vector());
        let meta_page = (!is_ordinary).then_some(META_BLOCK);
        if self.level == 0 && layout.payload_offset.is_some() {
            let mut allocation = index.allocate(&self.query.meta, layout.node_size, meta_page)?;
            if !is_ordinary {
                mark_present(&mut allocation.unit, AsideKind::ZeroVector)?;
            }
            let version = allocation.link.version;
            let mut node = NodeMut::format(layout, allocation.tuple()?, version, 0, 0);
            self.fill(&mut node, content);
            return allocation.commit();
        }
        loop {
            if let Some(node) = self.publish_in_parts(content, meta_page)? {
                return Ok(node);
            }
            index.store.interrupt_point();
        }
    }

    /// `None` when a vacuum has taken the PENDING node for one that a crash left behind.
    fn publish_in_parts(&self, content: &Content, meta_page: Option<u32>) -> Result<Option<Link>> {
        let index = self.linker.index;
        let layout = &index.schema.layout;
        let mut allocation = index.allocate(&self.query.meta, layout.node_size, None)?;
        let version = allocation.link.version;
        NodeMut::format(layout, allocation.tuple()?, version, self.level, PENDING);
        let node = allocation.commit()?;
        index.store.stop_point(StopPoint::InsertPending);
        let payload = self.write_payload(node)?;
        let upper = if self.level > 0 { self.write_upper(node, content.layers)? } else { Link::NONE };

        let mut unit = index.store.begin();
        if let Some(block) = meta_page {
            unit.lock(block)?;
        }
        unit.lock(node.block)?;
        let Some(mut tuple) = NodeMut::at(layout, unit.edit(node.block), node)? else {
            return Ok(None);
        };
        if tuple.view().header().flags != PENDING {
            return Ok(None);
        }
        tuple.header_mut().flags = 0;
        tuple.header_mut().upper = upper;
        tuple.set_payload_link(payload);
        self.fill(&mut tuple, content);
        if meta_page.is_some() {
            mark_present(&mut unit, AsideKind::ZeroVector)?;
        }
        unit.commit()?;
        Ok(Some(node))
    }

    fn fill(&self, node: &mut NodeMut, content: &Content) {
        for (position, (link, code)) in (0..).zip(content.layers.iter().take(1).flatten()) {
            node.set_link(position, *link);
            node.set_link_code(position, code);
        }
        node.set_heap_tids(&[content.heap_tid]);
        node.set_payload(&self.payload, content.code);
    }

    /// Writes the payload tuples, the last part first, so that each can link to the next. [`Link::NONE`] when
    /// the payload is inline.
    fn write_payload(&self, owner: Link) -> Result<Link> {
        let index = self.linker.index;
        let layout = &index.schema.layout;
        let parts: Vec<_> = layout.payload_parts(self.payload.len()).collect();
        let beside = layout.parameters.element.varies().then_some(owner.block);
        let mut next = Link::NONE;
        for (number, part) in parts.into_iter().enumerate().rev() {
            let mut allocation =
                index.allocate(&self.query.meta, Layout::payload_tuple_size(&part), beside)?;
            let header =
                OwnedHeader { owner, next, count: number as u16, ..header(&allocation, TupleKind::Payload) };
            let mut tuple = OwnedMut::format(allocation.tuple()?, header);
            tuple.body_mut()[..part.len()].copy_from_slice(&self.payload[part]);
            next = allocation.commit()?;
            index.store.stop_point(StopPoint::InsertPayloadWritten);
        }
        Ok(next)
    }

    fn write_upper(&self, owner: Link, layers: &[CodedLinks]) -> Result<Link> {
        let index = self.linker.index;
        let layout = &index.schema.layout;
        let size = layout.upper_size(self.level);
        let mut allocation = index.allocate(&self.query.meta, size, Some(owner.block))?;
        let version = allocation.link.version;
        let mut tuple = OwnedMut::format_upper(layout, allocation.tuple()?, version, self.level, owner);
        for (layer, links) in (0..).zip(layers).skip(1) {
            for (position, (link, code)) in (0..).zip(links) {
                tuple.set_link(layout, layer, position, *link);
                tuple.set_link_code(layout, layer, position, code);
            }
        }
        let upper = allocation.commit()?;
        index.store.stop_point(StopPoint::InsertUpperWritten);
        Ok(upper)
    }
}
