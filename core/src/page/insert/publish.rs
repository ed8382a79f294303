//! Step 3 of an insertion: the node appears.

use super::Insertion;
use super::join::header;
use crate::graph::{Candidate, Neighbours};
use crate::page::format::layout::Layout;
use crate::page::format::node::{NodeMut, OwnedMut};
use crate::page::format::tuple::{OwnedHeader, PENDING, TupleKind};
use crate::page::store::{PageStore, WriteUnit};
use crate::types::{HeapTid, Link, Result};

/// Links of one layer, and what lies beside them.
type CodedLinks = Vec<(Link, Vec<u8>)>;

impl<Store: PageStore> Insertion<'_, Store> {
    /// Publishes a node of a row with these neighbours, by layer from 0.
    pub(super) fn publish(&mut self, layers: &[Neighbours<Link>], heap_tid: HeapTid) -> Result<Link> {
        let mut coded: Vec<CodedLinks> = Vec::with_capacity(layers.len());
        for neighbours in layers {
            let mut links = Vec::with_capacity(neighbours.len());
            for Candidate { node, .. } in neighbours.iter() {
                // Gone ones are left out.
                links.extend(self.vectors.code(*node)?.map(|code| (*node, code)));
            }
            coded.push(links);
        }
        self.publish_coded(&coded, heap_tid)
    }

    fn publish_coded(&self, layers: &[CodedLinks], heap_tid: HeapTid) -> Result<Link> {
        let index = self.index;
        if self.level == 0 && index.layout.payload_offset.is_some() {
            let mut allocation = index.allocate(index.layout.node_size, None)?;
            let version = allocation.link.version;
            let mut node = NodeMut::format(&index.layout, allocation.tuple()?, version, 0, 0);
            self.fill(&mut node, layers, heap_tid);
            return allocation.commit();
        }
        loop {
            if let Some(node) = self.publish_in_parts(layers, heap_tid)? {
                return Ok(node);
            }
            index.store.interrupt_point();
        }
    }

    /// `None` when a vacuum has taken the PENDING node for one that a crash left behind.
    fn publish_in_parts(&self, layers: &[CodedLinks], heap_tid: HeapTid) -> Result<Option<Link>> {
        let index = self.index;
        let mut allocation = index.allocate(index.layout.node_size, None)?;
        let version = allocation.link.version;
        NodeMut::format(&index.layout, allocation.tuple()?, version, self.level, PENDING);
        let node = allocation.commit()?;
        index.store.stop_point("insert pending");
        let payload = self.write_payload(node)?;
        let upper = if self.level > 0 { self.write_upper(node, layers)? } else { Link::NONE };

        let mut unit = index.store.begin();
        unit.lock(node.block)?;
        let Some(mut tuple) = NodeMut::at(&index.layout, unit.edit(node.block), node)? else {
            return Ok(None);
        };
        if tuple.view().header().flags != PENDING {
            return Ok(None);
        }
        tuple.header_mut().flags = 0;
        tuple.header_mut().upper = upper;
        tuple.set_payload_link(payload);
        self.fill(&mut tuple, layers, heap_tid);
        unit.commit()?;
        Ok(Some(node))
    }

    fn fill(&self, node: &mut NodeMut, layers: &[CodedLinks], heap_tid: HeapTid) {
        for (position, (link, code)) in (0..).zip(layers.iter().take(1).flatten()) {
            node.set_link(position, *link);
            node.set_link_code(position, code);
        }
        node.set_heap_tids(&[heap_tid]);
        node.set_payload(&self.payload, &self.index.code(self.query.vector()));
    }

    /// Writes the payload tuples, the last part first, so that each can link to the next. [`Link::NONE`] when the payload is
    /// inline.
    fn write_payload(&self, owner: Link) -> Result<Link> {
        let parts: Vec<_> = self.index.layout.payload_parts().collect();
        let mut next = Link::NONE;
        for (number, part) in parts.into_iter().enumerate().rev() {
            let mut allocation = self.index.allocate(Layout::payload_tuple_size(&part), None)?;
            let header =
                OwnedHeader { owner, next, count: number as u16, ..header(&allocation, TupleKind::Payload) };
            let mut tuple = OwnedMut::format(allocation.tuple()?, header);
            tuple.body_mut()[..part.len()].copy_from_slice(&self.payload[part]);
            next = allocation.commit()?;
            self.index.store.stop_point("insert payload written");
        }
        Ok(next)
    }

    fn write_upper(&self, owner: Link, layers: &[CodedLinks]) -> Result<Link> {
        let layout = &self.index.layout;
        let mut allocation = self.index.allocate(layout.upper_size(self.level), Some(owner.block))?;
        let version = allocation.link.version;
        let mut tuple = OwnedMut::format_upper(layout, allocation.tuple()?, version, self.level, owner);
        for (layer, links) in (0..).zip(layers).skip(1) {
            for (position, (link, code)) in (0..).zip(links) {
                tuple.set_link(layout, layer, position, *link);
                tuple.set_link_code(layout, layer, position, code);
            }
        }
        let upper = allocation.commit()?;
        self.index.store.stop_point("insert upper written");
        Ok(upper)
    }
}
