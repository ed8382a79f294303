//! Views of the tuples that are no nodes: of upper links, payloads, overflowing heap TIDs, and rows outside
//! of the graph.

use crate::page::format::layout::Layout;
use crate::page::format::places::{Places, set_code_at, set_link_at, upper_place, upper_places};
use crate::page::format::slotted::Page;
use crate::page::format::tuple::{
    ASIDE_SIZE, ASIDE_TIDS, OVERFLOW_SIZE, OVERFLOW_TIDS, OwnedHeader, TupleKind,
};
use crate::types::{Error, HeapTid, Link, Result};
use bytemuck::{from_bytes, from_bytes_mut};

/// An upper, payload, heap-TID or aside tuple.
#[derive(Clone, Copy)]
pub struct Owned<'p> {
    bytes: &'p [u8],
}

/// As [`Owned`], to be changed in place.
pub struct OwnedMut<'p> {
    bytes: &'p mut [u8],
}

impl<'p> Owned<'p> {
    /// The tuple of `kind` that `link` leads to and that belongs to `owner`; `None` when it is stale or
    /// another's.
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
    pub fn places(&self, layout: &Layout, layer: u8) -> Option<Places<'p>> {
        upper_places(layout, self.bytes, layer)
    }

    /// All of the tuple, to be copied for [`upper_places`].
    pub fn bytes(&self) -> &'p [u8] {
        self.bytes
    }
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

    /// Formats a fresh tuple of `layout.upper_size(level)` bytes as the upper tuple of `owner`, without
    /// links.
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

    /// Replaces the link of a layer above 0 at a position, in place. Nothing happens where the tuple has no
    /// such layer.
    pub fn set_link(&mut self, layout: &Layout, layer: u8, position: u16, link: Link) {
        if let Some(start) = upper_place(layout, self.bytes, layer, position) {
            set_link_at(self.bytes, start, link);
        }
    }

    /// Replaces the code beside the link of a layer above 0 at a position, where there is one; as
    /// [`NodeMut::set_link_code`](super::node::NodeMut::set_link_code).
    pub fn set_link_code(&mut self, layout: &Layout, layer: u8, position: u16, code: &[u8]) {
        if layout.upper_code_size > 0
            && let Some(start) = upper_place(layout, self.bytes, layer, position)
        {
            set_code_at(self.bytes, start, code);
        }
    }
}

/// False for a node; an error where the bytes cannot be what their header says.
fn check_owned(block: u32, slot: u16, bytes: &[u8]) -> Result<bool> {
    let corrupt = |what| Err(Error::Corrupt { block, slot, what });
    let kind = TupleKind::of(block, slot, bytes)?;
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
