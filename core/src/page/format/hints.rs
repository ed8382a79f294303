//! Block 1, the hints page: what changes often and would make the meta
//! page hot.
//!
//! It may be stale, and what it leads to is checked. FORMAT.md is the authority on the bytes.

use crate::page::format::meta::{HINTS_BLOCK, Meta};
use crate::page::format::presence::Presence;
use crate::page::format::slotted::{Page, PageKind};
use crate::page::format::tuple::AsideKind;
use crate::types::{Error, Link, Result};
use bytemuck::{Pod, Zeroable};

/// Aside tuples of one kind that are remembered as having room: concurrent backends use different ones.
pub const ASIDE_HINTS: usize = 8;

/// The contents of the hints page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Hints {
    /// For zero vectors: aside tuples that may have room, or [`Link::NONE`].
    pub zero_vectors: [Link; ASIDE_HINTS],
    /// For NULLs: aside tuples that may have room, or [`Link::NONE`].
    pub nulls: [Link; ASIDE_HINTS],
}

/// Bytes of [`Hints`].
pub const HINTS_SIZE: usize = size_of::<Hints>();

impl Hints {
    /// Whether the index holds no rows of a kind. Release 0.1.0 does not know the marks. It leaves a hint
    /// with the first of these rows that it inserts, and a mark says [`Presence::Absent`] only where there
    /// was no hint.
    pub fn is_absent(&self, meta: &Meta, kind: AsideKind) -> bool {
        meta.presence(kind) == Presence::Absent && self.aside(kind).iter().all(|hint| hint.is_none())
    }

    /// No hints.
    pub const EMPTY: Self =
        Self { zero_vectors: [Link::NONE; ASIDE_HINTS], nulls: [Link::NONE; ASIDE_HINTS] };

    /// The hints on a page that must be a hints page.
    pub fn of_page(page: &Page) -> Result<Self> {
        if page.kind(HINTS_BLOCK)? != PageKind::Hints {
            return Err(Error::Corrupt { block: HINTS_BLOCK, slot: 0, what: "no hints page" });
        }
        Ok(bytemuck::pod_read_unaligned(&page.contents()[..HINTS_SIZE]))
    }

    /// Writes them to the hints page.
    pub fn write(&self, page: &mut Page) {
        page.contents_mut(HINTS_SIZE).copy_from_slice(bytemuck::bytes_of(self));
    }

    /// The hints for a kind of row; a backend uses the one at its affinity modulo [`ASIDE_HINTS`].
    pub fn aside(&self, kind: AsideKind) -> &[Link; ASIDE_HINTS] {
        match kind {
            AsideKind::ZeroVector => &self.zero_vectors,
            AsideKind::Null => &self.nulls,
        }
    }

    /// As [`Hints::aside`], to be changed.
    pub fn aside_mut(&mut self, kind: AsideKind) -> &mut [Link; ASIDE_HINTS] {
        match kind {
            AsideKind::ZeroVector => &mut self.zero_vectors,
            AsideKind::Null => &mut self.nulls,
        }
    }
}
