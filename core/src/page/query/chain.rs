//! Reading the parameter chain.

use crate::page::format::chain::{PARAMETER_PAGE_BYTES, ParameterHeader};
use crate::page::format::slotted::PageKind;
use crate::page::store::PageStore;
use crate::types::{Error, Result};

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
