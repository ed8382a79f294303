//! Views of tuples: a node, and the tuples that belong to one.
//!
//! A view borrows a page's bytes, has been checked for kind and length, and therefore reads without further errors.

use crate::kernel::prefetch;
use crate::page::format::layout::Layout;
use crate::page::format::slotted::Page;
use crate::page::format::tuple::{
    ASIDE_SIZE, ASIDE_TIDS, NodeHeader, OVERFLOW_SIZE, OVERFLOW_TIDS, OwnedHeader, PENDING, TOMBSTONE,
    TupleKind,
};
use crate::types::{Error, HeapTid, Link, Result};
use bytemuck::{from_bytes, from_bytes_mut};

/// The places for links that a node has on one layer, side by side: in each a link, then the code of the node that it leads
/// to where the index has codes there.
#[derive(Clone, Copy)]
pub struct Slots<'p> {
    bytes: &'p [u8],
    stride: usize,
    code_size: usize,
}

impl<'p> Slots<'p> {
    /// The places in `bytes`, of which each takes `stride`, with codes of `code_size` bytes.
    pub fn new(bytes: &'p [u8], stride: usize, code_size: usize) -> Self {
        Self { bytes, stride, code_size }
    }

    /// Number of places.
    pub fn len(&self) -> u16 {
        (self.bytes.len() / self.stride) as u16
    }

    /// Whether there is no place.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The link in a place, [`Link::NONE`] where it is free.
    pub fn link(&self, position: u16) -> Link {
        link_at(self.bytes, usize::from(position) * self.stride)
    }

    /// What every place holds, [`Link::NONE`] where it is free.
    pub fn places(&self) -> impl Iterator<Item = Link> + use<'p> {
        self.bytes.chunks_exact(self.stride).map(|place| link_at(place, 0))
    }

    /// The links, free places left out.
    pub fn links(&self) -> impl Iterator<Item = Link> + use<'p> {
        self.places().filter(|link| !link.is_none())
    }

    /// The code in a place; empty where the index has none. Undefined in a free place.
    pub fn code(&self, position: u16) -> &'p [u8] {
        let start = usize::from(position) * self.stride + size_of::<Link>();
        &self.bytes[start..start + self.code_size]
    }

    /// The bytes from the first place's code on, where the index has codes: one every [`Slots::stride`] bytes.
    pub fn codes(&self) -> Option<&'p [u8]> {
        if self.code_size > 0 { self.bytes.get(size_of::<Link>()..) } else { None }
    }

    /// Bytes between two places.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// The places as they are stored.
    pub fn bytes(&self) -> &'p [u8] {
        self.bytes
    }
}

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

/// An upper, payload, heap-TID or aside tuple.
#[derive(Clone, Copy)]
pub struct Owned<'p> {
    bytes: &'p [u8],
}

/// As [`Owned`], to be changed in place.
pub struct OwnedMut<'p> {
    bytes: &'p mut [u8],
}

/// The kind of a tuple, an error for an unknown one.
pub fn tuple_kind(block: u32, slot: u16, bytes: &[u8]) -> Result<TupleKind> {
    [TupleKind::Node, TupleKind::Upper, TupleKind::Payload, TupleKind::HeapTids, TupleKind::Aside]
        .into_iter()
        .find(|kind| bytes.first() == Some(&(*kind as u8)))
        .ok_or(Error::Corrupt { block, slot, what: "tuple of unknown kind" })
}

impl<'p> Node<'p> {
    /// The node that `link` leads to; `None` when the link is stale.
    pub fn at(layout: &'p Layout, page: &'p Page, link: Link) -> Result<Option<Self>> {
        Ok(Self::in_slot(layout, page, link.block, link.slot)?
            .filter(|node| node.header().version == link.version))
    }

    /// The node in a slot, whatever its version; `None` when the slot is unused or holds another kind of tuple.
    pub fn in_slot(layout: &'p Layout, page: &'p Page, block: u32, slot: u16) -> Result<Option<Self>> {
        let Some(bytes) = page.tuple(block, slot)? else { return Ok(None) };
        if tuple_kind(block, slot, bytes)? != TupleKind::Node {
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
        self.header().flags & (TOMBSTONE | PENDING) == 0
    }

    /// The heap TIDs in this tuple.
    pub fn heap_tids(&self) -> &'p [HeapTid] {
        let start = size_of::<NodeHeader>();
        let count = usize::from(self.header().tid_count);
        bytemuck::cast_slice(&self.bytes[start..start + count * size_of::<HeapTid>()])
    }

    /// The places for links of layer 0.
    pub fn slots(&self) -> Slots<'p> {
        let Layout { links_offset, link_stride, code_size, parameters, .. } = *self.layout;
        let end = links_offset + usize::from(parameters.m0) * link_stride;
        Slots::new(&self.bytes[links_offset..end], link_stride, code_size)
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
        if tuple_kind(block, slot, bytes)? != TupleKind::Node {
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

impl<'p> Owned<'p> {
    /// The tuple of `kind` that `link` leads to and that belongs to `owner`; `None` when it is stale or another's.
    pub fn at(page: &'p Page, link: Link, kind: TupleKind, owner: Link) -> Result<Option<Self>> {
        let found = Self::in_slot(page, link.block, link.slot)?;
        Ok(found.filter(|tuple| {
            let header = tuple.header();
            header.kind == kind as u8 && header.version == link.version && header.owner == owner
        }))
    }

    /// The owned tuple in a slot; `None` when the slot is unused or holds a node.
    pub fn in_slot(page: &'p Page, block: u32, slot: u16) -> Result<Option<Self>> {
        let Some(bytes) = page.tuple(block, slot)? else { return Ok(None) };
        Ok(check_owned(block, slot, bytes)?.then_some(Self { bytes }))
    }

    /// The header.
    pub fn header(&self) -> &'p OwnedHeader {
        from_bytes(&self.bytes[..size_of::<OwnedHeader>()])
    }

    /// What follows the header.
    pub fn body(&self) -> &'p [u8] {
        &self.bytes[size_of::<OwnedHeader>()..]
    }

    /// The heap TIDs in use of an overflow or aside tuple.
    pub fn heap_tids(&self) -> &'p [HeapTid] {
        bytemuck::cast_slice(&self.body()[..usize::from(self.header().count) * size_of::<HeapTid>()])
    }

    /// The places for links of one layer above 0; `None` when the tuple has no such layer.
    pub fn slots(&self, layout: &Layout, layer: u8) -> Option<Slots<'p>> {
        upper_slots(layout, self.bytes, layer)
    }

    /// All of the tuple, to be copied for [`upper_slots`].
    pub fn bytes(&self) -> &'p [u8] {
        self.bytes
    }
}

/// The places for links of one layer above 0 in (a copy of) an upper tuple; `None` when it has no such layer.
pub fn upper_slots<'b>(layout: &Layout, tuple: &'b [u8], layer: u8) -> Option<Slots<'b>> {
    let start = upper_place(layout, tuple, layer, 0)?;
    let end = start + usize::from(layout.parameters.m) * layout.upper_link_stride;
    Some(Slots::new(tuple.get(start..end)?, layout.upper_link_stride, layout.upper_code_size))
}

impl<'p> OwnedMut<'p> {
    /// As [`Owned::at`].
    pub fn at(page: &'p mut Page, link: Link, kind: TupleKind, owner: Link) -> Result<Option<Self>> {
        let found = Self::in_slot(page, link.block, link.slot)?;
        Ok(found.filter(|tuple| {
            let header = *tuple.view().header();
            header.kind == kind as u8 && header.version == link.version && header.owner == owner
        }))
    }

    /// As [`Owned::in_slot`].
    pub fn in_slot(page: &'p mut Page, block: u32, slot: u16) -> Result<Option<Self>> {
        let Some(bytes) = page.tuple_mut(block, slot)? else { return Ok(None) };
        Ok(if check_owned(block, slot, bytes)? { Some(Self { bytes }) } else { None })
    }

    /// Formats a fresh tuple other than an upper one.
    pub fn format(bytes: &'p mut [u8], header: OwnedHeader) -> Self {
        let mut tuple = Self { bytes };
        *tuple.header_mut() = header;
        tuple
    }

    /// Formats a fresh tuple of `layout.upper_size(level)` bytes as the upper tuple of `owner`, without links.
    pub fn format_upper(layout: &Layout, bytes: &'p mut [u8], version: u16, level: u8, owner: Link) -> Self {
        let kind = TupleKind::Upper as u8;
        let header = OwnedHeader { kind, level, version, count: 0, tag: 0, owner, next: Link::NONE };
        let mut tuple = Self::format(bytes, header);
        for layer in 1..=level {
            for position in 0..layout.parameters.m {
                tuple.set_link(layout, layer, position, Link::NONE);
            }
        }
        tuple
    }

    /// The tuple, to be read.
    pub fn view(&self) -> Owned<'_> {
        Owned { bytes: self.bytes }
    }

    /// The header.
    pub fn header_mut(&mut self) -> &mut OwnedHeader {
        from_bytes_mut(&mut self.bytes[..size_of::<OwnedHeader>()])
    }

    /// What follows the header.
    pub fn body_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[size_of::<OwnedHeader>()..]
    }

    /// Replaces the heap TIDs of an overflow or aside tuple.
    pub fn set_heap_tids(&mut self, tids: &[HeapTid]) {
        self.body_mut()[..size_of_val(tids)].copy_from_slice(bytemuck::cast_slice(tids));
        self.header_mut().count = tids.len() as u16;
    }

    /// Replaces the link of a layer above 0 at a position, in place. Nothing happens where the tuple has no such layer.
    pub fn set_link(&mut self, layout: &Layout, layer: u8, position: u16, link: Link) {
        if let Some(start) = upper_place(layout, self.bytes, layer, position) {
            set_link_at(self.bytes, start, link);
        }
    }

    /// Replaces the code beside the link of a layer above 0 at a position, where there is one; as [`NodeMut::set_link_code`].
    pub fn set_link_code(&mut self, layout: &Layout, layer: u8, position: u16, code: &[u8]) {
        if layout.upper_code_size > 0
            && let Some(start) = upper_place(layout, self.bytes, layer, position)
        {
            set_code_at(self.bytes, start, code);
        }
    }
}

/// Where an upper tuple keeps the link of a layer and a position; `None` when it has no such place.
fn upper_place(layout: &Layout, bytes: &[u8], layer: u8, position: u16) -> Option<usize> {
    let places = usize::from(layer.checked_sub(1)?) * usize::from(layout.parameters.m);
    let start = size_of::<OwnedHeader>() + (places + usize::from(position)) * layout.upper_link_stride;
    (position < layout.parameters.m && start + layout.upper_link_stride <= bytes.len()).then_some(start)
}

fn link_at(bytes: &[u8], start: usize) -> Link {
    bytemuck::pod_read_unaligned(&bytes[start..start + size_of::<Link>()])
}

fn set_link_at(bytes: &mut [u8], start: usize, link: Link) {
    bytes[start..start + size_of::<Link>()].copy_from_slice(bytemuck::bytes_of(&link));
}

/// Writes the code that follows the link at `start`.
fn set_code_at(bytes: &mut [u8], start: usize, code: &[u8]) {
    let start = start + size_of::<Link>();
    bytes[start..start + code.len()].copy_from_slice(code);
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

/// False for a node; an error where the bytes cannot be what their header says.
fn check_owned(block: u32, slot: u16, bytes: &[u8]) -> Result<bool> {
    let corrupt = |what| Err(Error::Corrupt { block, slot, what });
    let kind = tuple_kind(block, slot, bytes)?;
    if kind == TupleKind::Node {
        return Ok(false);
    }
    if bytes.len() < size_of::<OwnedHeader>() {
        return corrupt("tuple shorter than its header");
    }
    let header: &OwnedHeader = from_bytes(&bytes[..size_of::<OwnedHeader>()]);
    let (capacity, size) = match kind {
        TupleKind::HeapTids => (OVERFLOW_TIDS, OVERFLOW_SIZE),
        TupleKind::Aside => (ASIDE_TIDS, ASIDE_SIZE),
        _ => return Ok(true),
    };
    if usize::from(header.count) > capacity || bytes.len() != size {
        return corrupt("tuple of impossible size or with too many heap TIDs");
    }
    Ok(true)
}
