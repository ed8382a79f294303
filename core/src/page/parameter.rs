//! The parameter chain: what an index was built with and does not fit its meta page, such as a centroid.
//!
//! FORMAT.md is the authority on the bytes.

use super::slotted::{HEADER_SIZE, Page, PageKind, SPECIAL_OFFSET};
use super::store::PageStore;
use crate::types::{Error, Result};
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

/// Reads the `length` bytes of the chain that begins at `first_block`.
pub fn read_chain(store: &impl PageStore, first_block: u32, length: u32) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    walk(store, first_block, length, |_, part| bytes.extend_from_slice(part))?;
    Ok(bytes)
}

/// The blocks of a chain, in order.
pub fn chain_blocks(store: &impl PageStore, first_block: u32, length: u32) -> Result<Vec<u32>> {
    let mut blocks = Vec::new();
    walk(store, first_block, length, |block, _| blocks.push(block))?;
    Ok(blocks)
}

/// Shows each page's block and bytes. Every page must be where the chain needs it, so that the walk ends.
fn walk(
    store: &impl PageStore,
    first_block: u32,
    length: u32,
    mut show: impl FnMut(u32, &[u8]),
) -> Result<()> {
    let (mut block, mut left) = (first_block, length as usize);
    let mut number = 0;
    while left > 0 {
        let corrupt = |what| Error::Corrupt { block, slot: 0, what };
        let page = store.read(block)?;
        if page.kind(block)? != PageKind::Parameter {
            return Err(corrupt("no parameter page where one was expected"));
        }
        let (header, bytes) = page.contents().split_at(size_of::<ParameterHeader>());
        let header: ParameterHeader = bytemuck::pod_read_unaligned(header);
        let expected = left.min(PARAMETER_PAGE_BYTES);
        if header.first_block != first_block
            || u32::from(header.number) != number
            || usize::from(header.length) != expected
        {
            return Err(corrupt("parameter page of another place or length"));
        }
        show(block, &bytes[..expected]);
        left -= expected;
        number += 1;
        if (header.next_block == u32::MAX) != (left == 0) {
            return Err(corrupt("parameter chain of another length"));
        }
        block = header.next_block;
    }
    Ok(())
}
