//! The pages that a graph will take: placed as `bulk` places it, without building or writing any.

use crate::code::Quantizer;
use crate::graph::{BuiltGraph, Contents, EntryPoint, level_of};
use crate::page::format::layout::Layout;
use crate::page::format::meta::META_BLOCK;
use crate::page::insert::plan::{FIRST_FREE_BLOCK, Plan, chain_pages};
use crate::types::{Error, HeapTid, Parameters, Result};

/// Nodes whose tuples are placed one by one for an estimate; the others take as much.
const PLACED: u64 = 1 << 15;

/// About the pages that an index with these parameters and contents takes when it has been built.
pub fn estimated_pages(parameters: &Parameters, contents: &Contents) -> Result<u64> {
    let Contents { nodes, duplicates, asides, vector_size } = *contents;
    let placed = nodes.min(PLACED);
    let others = if placed > 0 { (nodes - placed) as f64 / placed as f64 } else { 0.0 };
    let share = |count: u64| (count as f64 / (1.0 + others)).round() as u64;
    let layout = Layout::of_new(parameters);
    let max_level = layout.map_err(|what| Error::Corrupt { block: META_BLOCK, slot: 0, what })?.max_level;
    let imagined =
        Imagined { parameters, max_level, nodes: placed as u32, duplicates: share(duplicates), vector_size };
    let fixed = u64::from(FIRST_FREE_BLOCK + chain_pages(parameters));
    let pages = Plan::new(&imagined, &mut || ())?.pages(share(asides), &mut || ());
    Ok(pages + ((pages - fixed) as f64 * others) as u64)
}

/// A graph of which only sizes are known. Levels are those of rows in a table, and all nodes have about as
/// many rows.
struct Imagined<'a> {
    parameters: &'a Parameters,
    max_level: u8,
    nodes: u32,
    duplicates: u64,
    vector_size: usize,
}

impl Imagined<'_> {
    fn heap_tid(node: u32) -> HeapTid {
        HeapTid::new(node / 64, (node % 64) as u16 + 1)
    }

    /// Rows with the vectors of the first nodes, beside the first of each.
    fn duplicates_before(&self, node: u32) -> u64 {
        u64::from(node) * self.duplicates / u64::from(self.nodes.max(1))
    }
}

impl BuiltGraph for Imagined<'_> {
    fn parameters(&self) -> &Parameters {
        self.parameters
    }

    fn len(&self) -> u32 {
        self.nodes
    }

    fn entry_point(&self) -> Option<EntryPoint<u32>> {
        None
    }

    fn level(&self, node: u32) -> u8 {
        level_of(Self::heap_tid(node), self.parameters.m).min(self.max_level)
    }

    fn links(&self, _node: u32, _layer: u8) -> impl Iterator<Item = u32> {
        std::iter::empty()
    }

    fn vector<'a>(&'a self, _node: u32, buffer: &'a mut Vec<u8>) -> Result<&'a [u8]> {
        Ok(buffer)
    }

    fn vector_size(&self, _node: u32) -> usize {
        self.vector_size
    }

    fn quantizer(&self) -> Option<&Quantizer> {
        None
    }

    fn heap_tids(&self, node: u32) -> impl Iterator<Item = HeapTid> {
        let others = self.duplicates_before(node + 1) - self.duplicates_before(node);
        (0..=others).map(move |_| Self::heap_tid(node))
    }
}
