//! The parameter chain: what an index was built with and does not fit its meta page, such as a centroid.
//!
//! FORMAT.md is the authority on the bytes.

use crate::page::format::slotted::{HEADER_SIZE, Page, PageKind, SPECIAL_OFFSET};
use bytemuck::{Pod, Zeroable};

/// First bytes of a parameter page's contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct ParameterHeader {
    /// First page of the chain that this one belongs to.
    pub first_block: u32,
    /// The next page, or `u32::MAX`.
    pub next_block: u32,
    /// Number of this page in the chain, from 0.
    pub number: u16,
    /// Bytes of the chain on this page.
    pub length: u16,
    /// Zero.
    pub reserved: u32,
}

/// Most bytes of the chain on one page.
pub const PARAMETER_PAGE_BYTES: usize = SPECIAL_OFFSET - HEADER_SIZE - size_of::<ParameterHeader>();

/// The pages of a chain of `bytes`, to be written to consecutive blocks from `first_block` on.
pub fn chain_pages(bytes: &[u8], first_block: u32) -> impl Iterator<Item = Page> {
    let count = bytes.len().div_ceil(PARAMETER_PAGE_BYTES) as u32;
    bytes.chunks(PARAMETER_PAGE_BYTES).zip(0u32..).map(move |(bytes, number)| {
        let next_block = if number + 1 < count { first_block + number + 1 } else { u32::MAX };
        let length = bytes.len() as u16;
        let header = ParameterHeader { first_block, next_block, number: number as u16, length, reserved: 0 };
        let mut page = Page::ZERO;
        page.initialize(PageKind::Parameter);
        let contents = page.contents_mut(size_of::<ParameterHeader>() + bytes.len());
        contents[..size_of::<ParameterHeader>()].copy_from_slice(bytemuck::bytes_of(&header));
        contents[size_of::<ParameterHeader>()..].copy_from_slice(bytes);
        page
    })
}
