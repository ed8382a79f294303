//! The tuples on data pages: nodes, upper links, payloads, overflowing heap TIDs, rows outside of the graph.
//!
//! FORMAT.md is the authority on the bytes; [`crate::page::format::layout`] tells where things lie in the
//! tuples of one index.

use crate::page::format::slotted::MAX_TUPLE_SIZE;
use crate::types::{Error, HeapTid, Link, Result};
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

impl TupleKind {
    /// The kind of a tuple, an error for an unknown one.
    pub fn of(block: u32, slot: u16, tuple: &[u8]) -> Result<Self> {
        [Self::Node, Self::Upper, Self::Payload, Self::HeapTids, Self::Aside]
            .into_iter()
            .find(|kind| tuple.first() == Some(&(*kind as u8)))
            .ok_or(Error::Corrupt { block, slot, what: "tuple of unknown kind" })
    }
}

/// Node flag: no heap TID is left and none may be added; the node is only walked through.
pub const TOMBSTONE: u8 = 1;
/// Node flag: its insertion has not published it yet. It has no heap TID and no link leads to it.
pub const PENDING: u8 = 2;

/// First bytes of a node tuple; heap TIDs, links and payload follow at the offsets of a
/// [`Layout`](super::layout::Layout).
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

impl NodeHeader {
    /// Whether the node may be returned and linked to: published, and not a tombstone.
    pub fn is_live(&self) -> bool {
        self.flags & (TOMBSTONE | PENDING) == 0
    }

    /// Whether no heap TID is left.
    pub fn is_tombstone(&self) -> bool {
        self.flags & TOMBSTONE != 0
    }

    /// Whether its insertion has not published it.
    pub fn is_pending(&self) -> bool {
        self.flags & PENDING != 0
    }
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
    /// All kinds.
    pub const ALL: [Self; 2] = [Self::ZeroVector, Self::Null];

    /// The kind of an on-disk value.
    pub fn from_code(code: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u16 == code)
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
