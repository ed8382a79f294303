//! The pages that a built graph takes: placed as `bulk` places it, without writing any.

use crate::code::Quantizer;
use crate::graph::{BuiltGraph, Contents, EntryPoint, level_of};
use crate::page::format::chain::PARAMETER_PAGE_BYTES;
use crate::page::format::layout::Layout;
use crate::page::format::meta::META_BLOCK;
use crate::page::format::tuple::{ASIDE_SIZE, ASIDE_TIDS};
use crate::page::insert::bulk::FIRST_FREE_BLOCK;
use crate::page::insert::plan::Plan;
use crate::page::insert::space::Space;
use crate::types::{Error, HeapTid, Parameters, Result};

/// Nodes whose tuples are placed one by one for an estimate; the others take as much.
const PLACED: u64 = 1 << 15;

/// Pages of an index that [`write_graph`](super::bulk::write_graph) makes of a graph, and of so many rows
/// outside of it: of each kind, those tuples that are not full may take a page more. `progress` may unwind.
pub fn graph_pages(graph: &impl BuiltGraph, asides: u64, progress: &mut impl FnMut()) -> Result<u64> {
    let layout = layout(graph.parameters())?;
    let first_block = FIRST_FREE_BLOCK + chain_pages(graph.parameters());
    let plan = Plan::new(graph, &layout, first_block);
    let mut tail = Space::of_empty_page(plan.first_tail_block);
    for first in plan.pages() {
        plan.place(plan.page_of(first), &mut tail);
        progress();
    }
    for _ in 0..asides.div_ceil(ASIDE_TIDS as u64) {
        tail.take_or_turn(ASIDE_SIZE);
    }
    Ok(u64::from(tail.end()))
}

/// About the pages that an index with these parameters and contents takes when it has been built.
pub fn estimated_pages(parameters: &Parameters, contents: &Contents) -> Result<u64> {
    let Contents { nodes, duplicates, asides, vector_size } = *contents;
    let placed = nodes.min(PLACED);
    let others = if placed > 0 { (nodes - placed) as f64 / placed as f64 } else { 0.0 };
    let share = |count: u64| (count as f64 / (1.0 + others)).round() as u64;
    let max_level = layout(parameters)?.max_level;
    let imagined =
        Imagined { parameters, max_level, nodes: placed as u32, duplicates: share(duplicates), vector_size };
    let fixed = u64::from(FIRST_FREE_BLOCK + chain_pages(parameters));
    let pages = graph_pages(&imagined, share(asides), &mut || ())?;
    Ok(pages + ((pages - fixed) as f64 * others) as u64)
}

fn layout(parameters: &Parameters) -> Result<Layout> {
    Layout::of_new(parameters).map_err(|what| Error::Corrupt { block: META_BLOCK, slot: 0, what })
}

/// Pages of the centroid, which an index with codes has.
fn chain_pages(parameters: &Parameters) -> u32 {
    let centroid = parameters.dimensions * size_of::<f32>();
    if parameters.code_bits > 0 { centroid.div_ceil(PARAMETER_PAGE_BYTES) as u32 } else { 0 }
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
