//! Where the tuples of a built graph go, see `bulk`.

use crate::graph::BuiltGraph;
use crate::page::format::chain::PARAMETER_PAGE_BYTES;
use crate::page::format::layout::Layout;
use crate::page::format::meta::{HINTS_BLOCK, META_BLOCK};
use crate::page::format::slotted::{HEADER_SIZE, LINE_POINTER_SIZE, SPECIAL_OFFSET};
use crate::page::format::tuple::{ASIDE_SIZE, ASIDE_TIDS, OVERFLOW_SIZE, OVERFLOW_TIDS, PAYLOAD_PART_SIZE};
use crate::page::insert::order::Order;
use crate::page::insert::space::Space;
use crate::types::{Error, Link, Parameters, Result};
use std::ops::Range;

/// The first block after meta and hints page.
pub(super) const FIRST_FREE_BLOCK: u32 = HINTS_BLOCK + 1;

/// Nodes that are put in order before progress is told again.
const POLL: usize = 1 << 12;

/// What a tuple that belongs to a node holds.
#[derive(Clone)]
pub(super) enum Content {
    Upper,
    /// The last part of a payload, which does not fill a page.
    Payload,
    /// Some of the node's heap TIDs, by position.
    HeapTids(Range<usize>),
}

/// A tuple that belongs to a node, and its place.
pub(super) struct Placed {
    pub(super) content: Content,
    pub(super) link: Link,
    pub(super) size: usize,
    /// Of heap TIDs: the tuple placed before it. Newest first, each tuple leads to an older one, and the node
    /// to the last, which has room.
    pub(super) next: Link,
}

/// Where everything goes. Nodes lie in the order of a walk over the graph, see `order`, so that a search,
/// which goes from neighbour to neighbour, reads fewer pages than it expands nodes.
pub struct Plan<'a, Graph> {
    pub(super) graph: &'a Graph,
    pub(super) layout: Layout,
    /// The nodes as they lie on pages, and the position of each among them.
    order: Vec<u32>,
    positions: Vec<u32>,
    /// The first block of nodes.
    first_block: u32,
    nodes_per_page: u32,
    /// Payload parts of each node that fill a page.
    pub(super) whole_parts: u32,
    first_whole_block: u32,
    pub(super) first_tail_block: u32,
}

impl<'a, Graph: BuiltGraph> Plan<'a, Graph> {
    /// Takes 8 bytes a node, and one more and some 64 kB while it is made. `progress` may unwind.
    pub fn new(graph: &'a Graph, progress: &mut impl FnMut()) -> Result<Self> {
        let parameters = graph.parameters();
        let layout =
            Layout::of_new(parameters).map_err(|what| Error::Corrupt { block: META_BLOCK, slot: 0, what })?;
        let (mut nodes, mut positions) = (Vec::new(), Vec::new());
        nodes.try_reserve_exact(graph.len() as usize)?;
        positions.try_reserve_exact(graph.len() as usize)?;
        positions.resize(graph.len() as usize, 0);
        let mut order = Order::new(graph.len(), 0, parameters.max_links(0))?;
        while let Some(node) = order.next(|node| graph.nearest_links(node)) {
            positions[node as usize] = nodes.len() as u32;
            nodes.push(node);
            if nodes.len().is_multiple_of(POLL) {
                progress();
            }
        }
        let nodes_per_page = nodes_per_page(graph, &layout) as u32;
        let whole_parts =
            layout.payload_parts(layout.payload_size).filter(|part| part.len() == PAYLOAD_PART_SIZE).count()
                as u32;
        let first_block = FIRST_FREE_BLOCK + chain_pages(parameters);
        let first_whole_block = first_block + graph.len().div_ceil(nodes_per_page);
        Ok(Self {
            graph,
            layout,
            order: nodes,
            positions,
            first_block,
            nodes_per_page,
            whole_parts,
            first_whole_block,
            first_tail_block: first_whole_block + graph.len() * whole_parts,
        })
    }

    /// Pages of the index, with so many rows outside of the graph: of each kind, those tuples that are not
    /// full may take a page more. `progress` may unwind.
    pub fn pages(&self, asides: u64, progress: &mut impl FnMut()) -> u64 {
        let mut tail = Space::of_empty_page(self.first_tail_block);
        for nodes in self.node_pages() {
            self.place(nodes, &mut tail);
            progress();
        }
        for _ in 0..asides.div_ceil(ASIDE_TIDS as u64) {
            tail.take_or_turn(ASIDE_SIZE);
        }
        u64::from(tail.end())
    }

    /// The address of a node.
    pub(super) fn node(&self, node: u32) -> Link {
        let position = self.positions[node as usize];
        let slot = (position % self.nodes_per_page) as u16 + 1;
        Link { block: self.first_block + position / self.nodes_per_page, slot, version: slot }
    }

    /// The nodes of each page.
    pub(super) fn node_pages(&self) -> impl Iterator<Item = &[u32]> {
        self.order.chunks(self.nodes_per_page as usize)
    }

    /// Finds places for the tuples of all nodes of a page, node by node: on their page where they fit, else
    /// in the tail.
    pub(super) fn place(&self, nodes: &[u32], tail: &mut Space) -> Vec<Vec<Placed>> {
        let mut page = Space::of_empty_page(self.node(nodes[0]).block);
        for _ in nodes {
            page.take(self.layout.node_size);
        }
        nodes
            .iter()
            .map(|node| {
                let mut older = Link::NONE;
                let place = |(content, size)| {
                    let link = if page.fits(size) { page.take(size) } else { tail.take_or_turn(size) };
                    let is_of_chain = matches!(content, Content::HeapTids(_));
                    let next = if is_of_chain { std::mem::replace(&mut older, link) } else { Link::NONE };
                    Placed { content, link, size, next }
                };
                self.owned(*node).map(place).collect()
            })
            .collect()
    }

    /// The tuples that belong to a node and do not fill a page, with their sizes.
    fn owned(&self, node: u32) -> impl Iterator<Item = (Content, usize)> {
        let level = self.graph.level(node);
        let upper = (level > 0).then(|| (Content::Upper, self.layout.upper_size(level)));
        let parts = self.layout.payload_parts(payload_size(self.graph, &self.layout, node));
        let last_part = parts.last().filter(|part| part.len() < PAYLOAD_PART_SIZE);
        let payload = last_part.map(|part| (Content::Payload, Layout::payload_tuple_size(&part)));
        let tids = self.graph.heap_tids(node).count();
        let overflow = (self.layout.inline_tids..tids)
            .step_by(OVERFLOW_TIDS)
            .map(move |start| (Content::HeapTids(start..tids.min(start + OVERFLOW_TIDS)), OVERFLOW_SIZE));
        upper.into_iter().chain(payload).chain(overflow)
    }

    /// A node's payload.
    pub(super) fn payload(&self, node: u32) -> Result<Vec<u8>> {
        let mut buffer = Vec::new();
        Ok(self.layout.payload(self.graph.vector(node, &mut buffer)?))
    }

    pub(super) fn whole_part(&self, node: u32, part: u32) -> Link {
        let before = self.positions[node as usize] * self.whole_parts;
        Link { block: self.first_whole_block + before + part, slot: 1, version: 1 }
    }
}

/// Pages of the centroid, which an index with codes has.
pub(super) fn chain_pages(parameters: &Parameters) -> u32 {
    let centroid = parameters.dimensions * size_of::<f32>();
    if parameters.code_bits > 0 { centroid.div_ceil(PARAMETER_PAGE_BYTES) as u32 } else { 0 }
}

/// Bytes of a node's payload.
fn payload_size(graph: &impl BuiltGraph, layout: &Layout, node: u32) -> usize {
    if layout.parameters.element.varies() { graph.vector_size(node) } else { layout.payload_size }
}

/// Nodes that a page is given: as many as fit, or, where payloads are not of one length, as fit with an
/// average one each, which then lies beside its node.
fn nodes_per_page(graph: &impl BuiltGraph, layout: &Layout) -> usize {
    if !layout.parameters.element.varies() || graph.is_empty() {
        return layout.nodes_per_page();
    }
    let size = |node| Layout::payload_tuple_size(&(0..payload_size(graph, layout, node))) + LINE_POINTER_SIZE;
    let average = (0..graph.len()).map(size).sum::<usize>() / graph.len() as usize;
    match (SPECIAL_OFFSET - HEADER_SIZE) / (layout.node_size + LINE_POINTER_SIZE + average) {
        0 => layout.nodes_per_page(),
        nodes => nodes,
    }
}
