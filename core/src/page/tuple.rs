//! The tuples on data pages: nodes, upper links, payloads, overflowing heap TIDs, rows outside of the graph.
//!
//! FORMAT.md is the authority on the bytes. A [`Layout`] knows where things lie in the tuples of one index; views borrow
//! the bytes of a page and check their length once, when they are made.

use super::meta::{META_BLOCK, Meta};
use super::slotted::{HEADER_SIZE, LINE_POINTER_SIZE, MAX_TUPLE_SIZE, SPECIAL_OFFSET};
use crate::types::{ElementType, Error, HeapTid, Link, MAX_LEVEL, Parameters, PayloadEncoding, Result};
use bytemuck::{Pod, Zeroable};
use std::ops::Range;

/// What a tuple is. The values are on disk, in its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum TupleKind {
    /// A node: heap TIDs, links of layer 0, payload.
    Node = 1,
    /// The links of a node's layers above 0.
    Upper = 2,
    /// A part of a payload that does not fit its node's tuple.
    Payload = 3,
    /// Heap TIDs that do not fit their node's tuple.
    HeapTids = 4,
    /// Heap TIDs of rows outside of the graph (NULLs, zero vectors under cosine).
    Aside = 5,
}

/// Node flag: no heap TID is left and none may be added; the node is only walked through.
pub const TOMBSTONE: u8 = 1;
/// Node flag: its insertion has not published it yet. It has no heap TID and no link leads to it.
pub const PENDING: u8 = 2;

/// First bytes of a node tuple; heap TIDs, links and payload follow at the offsets of a [`Layout`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct NodeHeader {
    /// [`TupleKind::Node`].
    pub kind: u8,
    /// [`TOMBSTONE`], [`PENDING`].
    pub flags: u8,
    /// Version of this slot.
    pub version: u16,
    /// The node's top layer.
    pub level: u8,
    /// Heap TIDs in this tuple.
    pub tid_count: u8,
    /// Bytes used of the extension at the tuple's end; 0 so far.
    pub extension_length: u16,
    /// The vacuum cycle that made this a tombstone.
    pub cycle: u32,
    /// The upper tuple, when `level` > 0.
    pub upper: Link,
    /// First tuple of overflowing heap TIDs, the newest.
    pub overflow: Link,
}

/// First bytes of every other tuple that belongs to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct OwnedHeader {
    /// A [`TupleKind`].
    pub kind: u8,
    /// Upper: the node's level. Otherwise zero.
    pub level: u8,
    /// Version of this slot.
    pub version: u16,
    /// HeapTids: TIDs in use. Payload: number of this part, from 0. Aside: TIDs in use.
    pub count: u16,
    /// Aside: an [`AsideKind`]. Otherwise zero.
    pub tag: u16,
    /// The node that this belongs to; [`Link::NONE`] for aside tuples.
    pub owner: Link,
    /// HeapTids: the next older tuple of the chain. Payload: the next part. Otherwise [`Link::NONE`].
    pub next: Link,
}

impl OwnedHeader {
    /// The header of an empty aside tuple.
    pub fn aside(kind: AsideKind, version: u16) -> Self {
        let (owner, next) = (Link::NONE, Link::NONE);
        Self { kind: TupleKind::Aside as u8, level: 0, version, count: 0, tag: kind as u16, owner, next }
    }
}

/// Why a row is outside of the graph. The values are on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u16)]
pub enum AsideKind {
    /// A zero vector under cosine: given after all others.
    ZeroVector = 1,
    /// NULL: given last.
    Null = 2,
}

impl AsideKind {
    /// The kind of an on-disk value.
    pub fn from_code(code: u16) -> Option<Self> {
        [Self::ZeroVector, Self::Null].into_iter().find(|kind| *kind as u16 == code)
    }
}

/// Heap TIDs that one overflow tuple holds.
pub const OVERFLOW_TIDS: usize = 32;
/// Heap TIDs that one aside tuple holds.
pub const ASIDE_TIDS: usize = 128;
/// Most heap TIDs that a node holds in its own tuple.
pub const MAX_INLINE_TIDS: u16 = 8;
/// Bytes of an overflow tuple.
pub const OVERFLOW_SIZE: usize = size_of::<OwnedHeader>() + OVERFLOW_TIDS * size_of::<HeapTid>();
/// Bytes of an aside tuple.
pub const ASIDE_SIZE: usize = size_of::<OwnedHeader>() + ASIDE_TIDS * size_of::<HeapTid>();
/// Most bytes of a payload that one payload tuple holds.
pub const PAYLOAD_PART_SIZE: usize = MAX_TUPLE_SIZE - size_of::<OwnedHeader>();

const _: () = assert!(OVERFLOW_SIZE.is_multiple_of(8) && ASIDE_SIZE.is_multiple_of(8));

/// Where things lie in the tuples of one index; derived from its meta page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// What the index was built with.
    pub parameters: Parameters,
    /// Heap TIDs a node tuple holds, right after its header.
    pub inline_tids: usize,
    /// Offset of the first link of layer 0 in a node tuple.
    pub links_offset: usize,
    /// Bytes between two links of layer 0.
    pub link_stride: usize,
    /// Bytes between two links of a layer above 0.
    pub upper_link_stride: usize,
    /// Bytes of the code beside a link of layer 0; 0 without codes.
    pub code_size: usize,
    /// Bytes of the code beside a link of a layer above 0; 0 without codes there.
    pub upper_code_size: usize,
    /// Offset of the payload in a node tuple; `None` when payloads lie in payload tuples of their own.
    pub payload_offset: Option<usize>,
    /// Offset of the link to the first payload tuple, in its place.
    pub payload_link_offset: Option<usize>,
    /// How payloads are stored.
    pub encoding: PayloadEncoding,
    /// Bytes of a payload.
    pub payload_size: usize,
    /// Bytes of a node tuple. All nodes of an index have the same size.
    pub node_size: usize,
    /// The highest layer whose links an upper tuple has room for.
    pub max_level: u8,
}

const fn align(bytes: usize) -> usize {
    bytes.next_multiple_of(8)
}

/// Offsets of links and of what follows them in a node tuple.
const fn node_offsets(inline_tids: usize, m0: usize, link_stride: usize) -> (usize, usize) {
    let links = align(size_of::<NodeHeader>() + inline_tids * size_of::<HeapTid>());
    (links, align(links + m0 * link_stride))
}

// The sums that the format was made for: with 1-bit codes beside 24 links, 1536 dimensions in binary16 fit one page, and
// three nodes of 384; without codes, ten nodes of 128 dimensions in binary32.
const _: () = {
    const fn size(inline_tids: usize, m0: usize, code: usize, payload: usize) -> usize {
        node_offsets(inline_tids, m0, size_of::<Link>() + code).1 + align(payload)
    }
    let f16 = PayloadEncoding::F16;
    assert!(size(2, 24, 8 + 1536 / 8, f16.size(1536, ElementType::F32)) <= MAX_TUPLE_SIZE);
    assert!(nodes_per_page(size(2, 24, 8 + 384 / 8, f16.size(384, ElementType::F32))) == 3);
    assert!(nodes_per_page(size(2, 32, 0, 512)) == 10);
};

const fn nodes_per_page(node_size: usize) -> usize {
    (SPECIAL_OFFSET - HEADER_SIZE) / (node_size + LINE_POINTER_SIZE)
}

impl Layout {
    /// The layout of an index with this meta page.
    pub fn new(meta: &Meta) -> Result<Self> {
        let corrupt = |what| Error::Corrupt { block: META_BLOCK, slot: 0, what };
        let parameters = meta.parameters()?;
        let encoding = parameters.payload;
        let code_length = usize::from(meta.code_length);
        let strides = [usize::from(meta.link_stride), usize::from(meta.upper_link_stride)];
        let [link_stride, upper_link_stride] = strides;
        let possible = |stride: usize| stride.is_multiple_of(4) && stride >= size_of::<Link>() + code_length;
        if !possible(link_stride) || !(possible(upper_link_stride) || upper_link_stride == size_of::<Link>())
        {
            return Err(corrupt("meta page with impossible strides"));
        }

        let inline_tids = usize::from(meta.inline_tids);
        let (links_offset, tail) = node_offsets(inline_tids, usize::from(parameters.m0), link_stride);
        let payload_size = encoding.size(usize::from(parameters.dimensions), parameters.element);
        let extension = align(usize::from(meta.extension_length));
        let inline = tail + align(payload_size) + extension <= MAX_TUPLE_SIZE;
        // A node whose payload lies apart keeps a copy of its own code, for the links that will lead to it.
        let apart_size = size_of::<Link>() + align(code_length);
        let node_size = tail + if inline { align(payload_size) } else { apart_size } + extension;
        let layer_size = usize::from(parameters.m) * upper_link_stride;
        let layers = (MAX_TUPLE_SIZE - size_of::<OwnedHeader>()) / layer_size;
        if !(1..=MAX_INLINE_TIDS).contains(&meta.inline_tids) || node_size > MAX_TUPLE_SIZE || layers == 0 {
            return Err(corrupt("meta page with impossible sizes"));
        }
        Ok(Self {
            parameters,
            inline_tids,
            links_offset,
            link_stride,
            upper_link_stride,
            code_size: code_length,
            upper_code_size: if upper_link_stride > size_of::<Link>() { code_length } else { 0 },
            payload_offset: inline.then_some(tail),
            payload_link_offset: (!inline).then_some(tail),
            encoding,
            payload_size,
            node_size,
            max_level: layers.min(usize::from(MAX_LEVEL)) as u8,
        })
    }

    /// Node tuples that fit one page.
    pub fn nodes_per_page(&self) -> usize {
        nodes_per_page(self.node_size)
    }

    /// Bytes of the upper tuple of a node of `level`.
    pub fn upper_size(&self, level: u8) -> usize {
        let links = usize::from(level) * usize::from(self.parameters.m);
        align(size_of::<OwnedHeader>() + links * self.upper_link_stride)
    }

    /// The parts that a payload is cut into, in bytes; empty when it lies in the node tuple.
    pub fn payload_parts(&self) -> impl DoubleEndedIterator<Item = Range<usize>> + use<> {
        let size = if self.payload_offset.is_some() { 0 } else { self.payload_size };
        (0..size).step_by(PAYLOAD_PART_SIZE).map(move |start| start..size.min(start + PAYLOAD_PART_SIZE))
    }

    /// Bytes of the payload tuple that holds a part.
    pub fn payload_tuple_size(part: &Range<usize>) -> usize {
        align(size_of::<OwnedHeader>() + part.len())
    }
}
