//! Views of a node's tuple.
//!
//! A view borrows a page's bytes, has been checked for kind and length, and therefore reads without further
//! errors.

use crate::kernel::prefetch;
use crate::page::format::layout::Layout;
use crate::page::format::places::{Places, link_at, set_code_at, set_link_at};
use crate::page::format::slotted::Page;
use crate::page::format::tuple::{NodeHeader, TupleKind};
use crate::types::{Error, HeapTid, Link, Result};
use bytemuck::{from_bytes, from_bytes_mut};

/// A node's tuple.
#[derive(Clone, Copy)]
pub struct Node<'p> {
    layout: &'p Layout,
    bytes: &'p [u8],
}

/// A node's tuple, to be changed in place.
pub struct NodeMut<'p> {
    layout: &'p Layout,
    bytes: &'p mut [u8],
}

impl<'p> Node<'p> {
    /// The node that `link` leads to; `None` when the link is stale.
    pub fn at(layout: &'p Layout, page: &'p Page, link: Link) -> Result<Option<Self>> {
        Ok(Self::in_slot(layout, page, link.block, link.slot)?
            .filter(|node| node.header().version == link.version))
    }

    /// The node in a slot, whatever its version; `None` when the slot is unused or holds another kind of
    /// tuple.
    pub fn in_slot(layout: &'p Layout, page: &'p Page, block: u32, slot: u16) -> Result<Option<Self>> {
        let Some(bytes) = page.tuple(block, slot)? else { return Ok(None) };
        if TupleKind::of(block, slot, bytes)? != TupleKind::Node {
            return Ok(None);
        }
        check_node(layout, block, slot, bytes)?;
        Ok(Some(Self { layout, bytes }))
    }

    /// Asks for the memory of links and payload.
    pub fn prefetch(&self) {
        prefetch(self.bytes);
    }

    /// The header.
    pub fn header(&self) -> &'p NodeHeader {
        from_bytes(&self.bytes[..size_of::<NodeHeader>()])
    }

    /// Whether the node may be returned and linked to: published, and not a tombstone.
    pub fn is_live(&self) -> bool {
        self.header().is_live()
    }

    /// The heap TIDs in this tuple.
    pub fn heap_tids(&self) -> &'p [HeapTid] {
        let start = size_of::<NodeHeader>();
        let count = usize::from(self.header().tid_count);
        bytemuck::cast_slice(&self.bytes[start..start + count * size_of::<HeapTid>()])
    }

    /// The places for links of layer 0.
    pub fn places(&self) -> Places<'p> {
        let Layout { links_offset, link_stride, code_size, parameters, .. } = *self.layout;
        let end = links_offset + usize::from(parameters.m0) * link_stride;
        Places::new(&self.bytes[links_offset..end], link_stride, code_size)
    }

    /// The payload, where it lies in this tuple.
    pub fn payload(&self) -> Option<&'p [u8]> {
        self.layout.payload_offset.map(|start| &self.bytes[start..start + self.layout.payload_size])
    }

    /// The first payload tuple; [`Link::NONE`] where the payload lies in this tuple.
    pub fn payload_link(&self) -> Link {
        self.layout.payload_link_offset.map_or(Link::NONE, |start| link_at(self.bytes, start))
    }

    /// The node's own code, which it keeps where its payload lies apart.
    pub fn code(&self) -> Option<&'p [u8]> {
        let start = self.layout.payload_link_offset? + size_of::<Link>();
        (self.layout.code_size > 0).then(|| &self.bytes[start..start + self.layout.code_size])
    }
}

impl<'p> NodeMut<'p> {
    /// As [`Node::at`].
    pub fn at(layout: &'p Layout, page: &'p mut Page, link: Link) -> Result<Option<Self>> {
        Ok(Self::in_slot(layout, page, link.block, link.slot)?
            .filter(|node| node.view().header().version == link.version))
    }

    /// As [`Node::in_slot`].
    pub fn in_slot(layout: &'p Layout, page: &'p mut Page, block: u32, slot: u16) -> Result<Option<Self>> {
        let Some(bytes) = page.tuple_mut(block, slot)? else { return Ok(None) };
        if TupleKind::of(block, slot, bytes)? != TupleKind::Node {
            return Ok(None);
        }
        check_node(layout, block, slot, bytes)?;
        Ok(Some(Self { layout, bytes }))
    }

    /// Formats a fresh tuple of `layout.node_size` bytes as a node without heap TIDs and links.
    pub fn format(layout: &'p Layout, bytes: &'p mut [u8], version: u16, level: u8, flags: u8) -> Self {
        let mut node = Self { layout, bytes };
        *node.header_mut() = NodeHeader {
            kind: TupleKind::Node as u8,
            flags,
            version,
            level,
            tid_count: 0,
            extension_length: 0,
            cycle: 0,
            upper: Link::NONE,
            overflow: Link::NONE,
        };
        node.set_payload_link(Link::NONE);
        for position in 0..layout.parameters.m0 {
            node.set_link(position, Link::NONE);
        }
        node
    }

    /// The node, to be read.
    pub fn view(&self) -> Node<'_> {
        Node { layout: self.layout, bytes: self.bytes }
    }

    /// The header.
    pub fn header_mut(&mut self) -> &mut NodeHeader {
        from_bytes_mut(&mut self.bytes[..size_of::<NodeHeader>()])
    }

    /// Replaces the heap TIDs in this tuple; at most `layout.inline_tids`.
    pub fn set_heap_tids(&mut self, tids: &[HeapTid]) {
        debug_assert!(tids.len() <= self.layout.inline_tids);
        let start = size_of::<NodeHeader>();
        self.bytes[start..start + size_of_val(tids)].copy_from_slice(bytemuck::cast_slice(tids));
        self.header_mut().tid_count = tids.len() as u8;
    }

    /// Replaces the link of layer 0 at a position, in place. The code beside it is to be replaced with it.
    pub fn set_link(&mut self, position: u16, link: Link) {
        let start = self.layout.links_offset + usize::from(position) * self.layout.link_stride;
        set_link_at(self.bytes, start, link);
    }

    /// Replaces the code beside the link of layer 0 at a position; an empty one replaces nothing.
    pub fn set_link_code(&mut self, position: u16, code: &[u8]) {
        let start = self.layout.links_offset + usize::from(position) * self.layout.link_stride;
        set_code_at(self.bytes, start, code);
    }

    /// Replaces the link to the first payload tuple, where the payload lies apart.
    pub fn set_payload_link(&mut self, link: Link) {
        if let Some(start) = self.layout.payload_link_offset {
            set_link_at(self.bytes, start, link);
        }
    }

    /// Writes the payload where it lies in this tuple, and the node's own code where it does not.
    pub fn set_payload(&mut self, payload: &[u8], code: &[u8]) {
        if let Some(start) = self.layout.payload_offset {
            self.bytes[start..start + self.layout.payload_size].copy_from_slice(payload);
        } else if let Some(start) = self.layout.payload_link_offset {
            set_code_at(self.bytes, start, code);
        }
    }
}

fn check_node(layout: &Layout, block: u32, slot: u16, bytes: &[u8]) -> Result<()> {
    let corrupt = |what| Err(Error::Corrupt { block, slot, what });
    if bytes.len() != layout.node_size {
        return corrupt("node of impossible size");
    }
    let header: &NodeHeader = from_bytes(&bytes[..size_of::<NodeHeader>()]);
    if usize::from(header.tid_count) > layout.inline_tids {
        return corrupt("node with too many heap TIDs");
    }
    if header.level > layout.max_level {
        return corrupt("node of impossible level");
    }
    Ok(())
}
