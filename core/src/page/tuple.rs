//! The tuples on data pages: nodes, upper links, payloads, overflowing heap TIDs, rows outside of the graph.
//!
//! FORMAT.md is the authority on the bytes. A [`Layout`] knows where things lie in the tuples of one index; views borrow
//! the bytes of a page and check their length once, when they are made.

use super::meta::Meta;
use super::slotted::{LINE_POINTER_SIZE, MAX_TUPLE_SIZE};
use crate::types::{Error, HeapTid, Link, Parameters, Result};
use bytemuck::{Pod, Zeroable};

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
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
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
    /// Zero.
    pub reserved: u8,
    /// Heap TIDs in this tuple.
    pub tid_count: u16,
    /// The vacuum cycle that made this a tombstone.
    pub cycle: u32,
    /// Norm of what the payload's encoding lost; 0 when nothing was.
    pub residual_norm: f32,
    /// The upper tuple, when `level` > 0.
    pub upper: Link,
    /// First tuple of overflowing heap TIDs, the newest.
    pub overflow: Link,
    /// First payload tuple, when the payload is not in this tuple.
    pub payload: Link,
    /// Bytes of the extension at the tuple's end.
    pub extension_length: u16,
    /// Zero.
    pub reserved_end: [u16; 3],
}

const _: () = assert!(size_of::<NodeHeader>() == 48);

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

const _: () = assert!(size_of::<OwnedHeader>() == 24);

/// Why a row is outside of the graph. The values are on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u16)]
pub enum AsideKind {
    /// A zero vector under cosine: given after all others.
    ZeroVector = 1,
    /// NULL: given last.
    Null = 2,
}

/// Heap TIDs that one overflow tuple holds.
pub const OVERFLOW_TIDS: usize = 32;
/// Heap TIDs that one aside tuple holds.
pub const ASIDE_TIDS: usize = 128;
/// Heap TIDs that a node holds in its own tuple.
pub const INLINE_TIDS: u16 = 4;

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
    /// Offset of the payload in a node tuple; `None` when payloads lie in payload tuples of their own.
    pub payload_offset: Option<usize>,
    /// Bytes of a payload.
    pub payload_size: usize,
    /// Bytes of a node tuple. All nodes of an index have the same size.
    pub node_size: usize,
}

const fn align(bytes: usize) -> usize {
    bytes.next_multiple_of(8)
}

impl Layout {
    /// The layout of an index with this meta page.
    pub fn new(meta: &Meta) -> Result<Self> {
        let parameters = meta.parameters()?;
        let inline_tids = usize::from(meta.inline_tids);
        let link_stride = usize::from(meta.link_stride);
        let links_offset = align(size_of::<NodeHeader>() + inline_tids * size_of::<HeapTid>());
        let links_end = align(links_offset + usize::from(parameters.m0) * link_stride);
        let payload_size = align(parameters.vector_size());
        let inline = links_end + payload_size <= MAX_TUPLE_SIZE;
        let node_size = links_end + if inline { payload_size } else { 0 };
        if inline_tids == 0 || node_size > MAX_TUPLE_SIZE {
            return Err(Error::Corrupt { block: 0, slot: 0, what: "meta page with impossible sizes" });
        }
        Ok(Self {
            parameters,
            inline_tids,
            links_offset,
            link_stride,
            payload_offset: inline.then_some(links_end),
            payload_size: parameters.vector_size(),
            node_size,
        })
    }

    /// Node tuples that fit one page.
    pub fn nodes_per_page(&self) -> usize {
        (MAX_TUPLE_SIZE + LINE_POINTER_SIZE) / (self.node_size + LINE_POINTER_SIZE)
    }

    /// Bytes of the upper tuple of a node of `level`.
    pub fn upper_size(&self, level: u8) -> usize {
        size_of::<OwnedHeader>() + usize::from(level) * usize::from(self.parameters.m) * size_of::<Link>()
    }

    /// The parts that a payload is cut into, in bytes; empty when it lies in the node tuple.
    pub fn payload_parts(&self) -> impl Iterator<Item = std::ops::Range<usize>> + use<> {
        let size = if self.payload_offset.is_some() { 0 } else { self.payload_size };
        let step = MAX_TUPLE_SIZE - size_of::<OwnedHeader>();
        (0..size).step_by(step).map(move |start| start..size.min(start + step))
    }
}
