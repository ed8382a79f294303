//! Copies a built graph to pages: each page is written once, in block order.
//!
//! All nodes have one size, so a node's address follows from its position among them, see `plan`. After meta
//! and hints page, and the pages of the centroid, come the **node pages**, each with as many nodes as fit
//! and, in what space they leave, tuples that belong to them; then the **whole parts** of payloads that fill
//! a page each; then the **tail**, where every other tuple lies. Tuples take the next place of their page in
//! the order of their nodes, so that places are found again by counting once more: once while node pages are
//! written, which lead to them, and once for each of the other areas.

use crate::graph::BuiltGraph;
use crate::page::format::chain;
use crate::page::format::hints::Hints;
use crate::page::format::meta::Meta;
use crate::page::format::node::NodeMut;
use crate::page::format::owned::OwnedMut;
use crate::page::format::slotted::{Page, PageKind};
use crate::page::format::tuple::{
    ASIDE_SIZE, ASIDE_TIDS, AsideKind, OwnedHeader, PAYLOAD_PART_SIZE, TupleKind,
};
use crate::page::insert::plan::{Content, FIRST_FREE_BLOCK, Placed, Plan};
use crate::page::insert::presence::mark_built;
use crate::page::insert::space::Space;
use crate::page::store::PageSink;
use crate::types::{HeapTid, Link, Result};
use std::ops::Range;

/// Writes an index: `graph`, and the rows that stay outside of it. See [`Plan::write`].
pub fn write_graph<Graph: BuiltGraph>(
    graph: &Graph,
    asides: &[(AsideKind, HeapTid)],
    sink: &mut impl PageSink,
    progress: &mut impl FnMut(u64),
) -> Result<()> {
    Plan::new(graph, &mut || progress(0))?.write(asides, sink, progress)
}

impl<Graph: BuiltGraph> Plan<'_, Graph> {
    /// Writes an index: the graph, and the rows that stay outside of it. `progress` is told the number of
    /// nodes written so far, again and again; it may unwind, and so may `sink`, which a node of many rows
    /// keeps busy alone.
    pub fn write(
        &self,
        asides: &[(AsideKind, HeapTid)],
        sink: &mut impl PageSink,
        progress: &mut impl FnMut(u64),
    ) -> Result<()> {
        let graph = self.graph;
        let mut meta = Meta::new(graph.parameters());
        let quantizer = graph.quantizer();
        let centroid = quantizer.map_or(&[][..], |quantizer| bytemuck::cast_slice(quantizer.centroid()));
        if let Some(quantizer) = quantizer {
            meta.rotation_seed = quantizer.parameters().seed;
            meta.parameter_block = FIRST_FREE_BLOCK;
            meta.parameter_length = centroid.len() as u32;
        }
        if let Some(entry) = graph.entry_point() {
            meta.entry_point = self.node(entry.node);
            meta.entry_level = u16::from(entry.level);
        }
        mark_built(&mut meta, graph, asides, progress)?;
        let mut page = empty_page(PageKind::Meta);
        meta.write(&mut page);
        sink.append(&page)?;
        let mut page = empty_page(PageKind::Hints);
        Hints::EMPTY.write(&mut page);
        sink.append(&page)?;
        // Nodes lie after as many pages as this takes.
        let dimensions = if graph.parameters().code_bits > 0 { graph.parameters().dimensions } else { 0 };
        debug_assert!(graph.is_empty() || centroid.len() == dimensions * size_of::<f32>());
        for page in chain::chain_pages(centroid, FIRST_FREE_BLOCK) {
            sink.append(&page)?;
        }
        let mut writer = Writer { plan: self, sink };
        writer.write_node_pages(progress)?;
        writer.write_whole_parts()?;
        writer.write_tail(asides, progress)
    }
}

fn empty_page(kind: PageKind) -> Page {
    let mut page = Page::ZERO;
    page.initialize(kind);
    page
}

/// A node's heap TIDs, which its tuples take one after the other: counting from the first again for each of
/// them would take time in the square of their number.
struct Rows<Tids> {
    tids: Tids,
    /// The position of the next one.
    at: usize,
}

impl<Tids: Iterator<Item = HeapTid>> Rows<Tids> {
    fn new(tids: Tids) -> Self {
        Self { tids, at: 0 }
    }

    /// Those at some positions, which are not before those taken already.
    fn take(&mut self, positions: &Range<usize>) -> Vec<HeapTid> {
        let skipped = positions.start - self.at;
        self.at = positions.end;
        self.tids.by_ref().skip(skipped).take(positions.len()).collect()
    }
}

struct Writer<'a, Graph, Sink> {
    plan: &'a Plan<'a, Graph>,
    sink: &'a mut Sink,
}

impl<Graph: BuiltGraph, Sink: PageSink> Writer<'_, Graph, Sink> {
    fn write_node_pages(&mut self, progress: &mut impl FnMut(u64)) -> Result<()> {
        let mut tail = Space::of_empty_page(self.plan.first_tail_block);
        let mut written = 0;
        for nodes in self.plan.node_pages() {
            let placed = self.plan.place(nodes, &mut tail);
            let mut page = empty_page(PageKind::Data);
            for (node, placed) in nodes.iter().zip(&placed) {
                self.add_node(&mut page, *node, placed)?;
            }
            for (node, placed) in nodes.iter().copied().zip(&placed) {
                let mut rows = Rows::new(self.plan.graph.heap_tids(node));
                for tuple in placed.iter().filter(|tuple| tuple.link.block == self.plan.node(node).block) {
                    self.add_placed(&mut page, node, &mut rows, tuple)?;
                }
            }
            self.sink.append(&page)?;
            written += nodes.len() as u64;
            progress(written);
        }
        Ok(())
    }

    fn write_whole_parts(&mut self) -> Result<()> {
        let mut tail = Space::of_empty_page(self.plan.first_tail_block);
        for nodes in self.plan.node_pages().filter(|_| self.plan.whole_parts > 0) {
            let placed = self.plan.place(nodes, &mut tail);
            for (node, placed) in nodes.iter().copied().zip(&placed) {
                let payload = self.plan.payload(node)?;
                for part in 0..self.plan.whole_parts {
                    let last = part + 1 == self.plan.whole_parts;
                    let next = if last { last_part(placed) } else { self.plan.whole_part(node, part + 1) };
                    let start = part as usize * PAYLOAD_PART_SIZE;
                    let payload = &payload[start..start + PAYLOAD_PART_SIZE];
                    let link = self.plan.whole_part(node, part);
                    let header = self.header(TupleKind::Payload, node, link, part as u16, next);
                    let mut page = empty_page(PageKind::Data);
                    add(&mut page, link, size_of::<OwnedHeader>() + payload.len(), |bytes| {
                        OwnedMut::format(bytes, header).body_mut().copy_from_slice(payload);
                    })?;
                    self.sink.append(&page)?;
                }
            }
        }
        Ok(())
    }

    fn write_tail(&mut self, asides: &[(AsideKind, HeapTid)], progress: &mut impl FnMut(u64)) -> Result<()> {
        let first_block = self.plan.first_tail_block;
        let mut tail = Space::of_empty_page(first_block);
        let (mut page, mut block) = (empty_page(PageKind::Data), first_block);
        for nodes in self.plan.node_pages() {
            let placed = self.plan.place(nodes, &mut tail);
            for (node, placed) in nodes.iter().copied().zip(&placed) {
                let mut rows = Rows::new(self.plan.graph.heap_tids(node));
                for tuple in placed.iter().filter(|tuple| tuple.link.block >= first_block) {
                    self.turn_to(tuple.link, &mut page, &mut block)?;
                    self.add_placed(&mut page, node, &mut rows, tuple)?;
                }
            }
            // Most nodes have nothing there, so that no page may be written for a long time.
            progress(self.plan.graph.len().into());
        }
        for kind in AsideKind::ALL {
            let mut rows = asides.iter().filter(|row| row.0 == kind).map(|row| row.1);
            loop {
                let tids: Vec<HeapTid> = rows.by_ref().take(ASIDE_TIDS).collect();
                if tids.is_empty() {
                    break;
                }
                let link = tail.take_or_turn(ASIDE_SIZE);
                self.turn_to(link, &mut page, &mut block)?;
                let header = OwnedHeader::aside(kind, link.version);
                add(&mut page, link, ASIDE_SIZE, |bytes| {
                    OwnedMut::format(bytes, header).set_heap_tids(&tids)
                })?;
            }
        }
        if page.slot_count() > 0 { self.sink.append(&page) } else { Ok(()) }
    }

    /// Ends the page of the tail when `link` is on the next one.
    fn turn_to(&mut self, link: Link, page: &mut Page, block: &mut u32) -> Result<()> {
        if link.block > *block {
            self.sink.append(page)?;
            *page = empty_page(PageKind::Data);
            *block += 1;
        }
        debug_assert_eq!(link.block, *block);
        Ok(())
    }

    fn add_node(&self, page: &mut Page, node: u32, placed: &[Placed]) -> Result<()> {
        let Plan { graph, layout, .. } = self.plan;
        let level = graph.level(node);
        let link = self.plan.node(node);
        // One that lies apart may have to be read from a file: it is when it is written.
        let is_inline = layout.payload_offset.is_some();
        let payload = if is_inline { self.plan.payload(node)? } else { Vec::new() };
        add(page, link, layout.node_size, |bytes| {
            let mut tuple = NodeMut::format(layout, bytes, link.version, level, 0);
            let tids: Vec<_> = graph.heap_tids(node).take(layout.inline_tids).collect();
            tuple.set_heap_tids(&tids);
            for (position, neighbour) in (0..layout.parameters.m0).zip(graph.links(node, 0)) {
                tuple.set_link(position, self.plan.node(neighbour));
                tuple.set_link_code(position, graph.code(neighbour));
            }
            tuple.set_payload(&payload, graph.code(node));
            let whole = (self.plan.whole_parts > 0).then(|| self.plan.whole_part(node, 0));
            tuple.set_payload_link(whole.unwrap_or_else(|| last_part(placed)));
            for owned in placed {
                match owned.content {
                    Content::Upper => tuple.header_mut().upper = owned.link,
                    Content::HeapTids(_) => tuple.header_mut().overflow = owned.link,
                    Content::Payload => {}
                }
            }
        })
    }

    /// Adds `tuple`, which belongs to `node`, to its page. Those of heap TIDs come in their order.
    fn add_placed(
        &self,
        page: &mut Page,
        node: u32,
        rows: &mut Rows<impl Iterator<Item = HeapTid>>,
        tuple: &Placed,
    ) -> Result<()> {
        let Plan { graph, layout, .. } = self.plan;
        let link = tuple.link;
        let owner = self.plan.node(node);
        let payload = match tuple.content {
            Content::Payload => self.plan.payload(node)?,
            Content::Upper | Content::HeapTids(_) => Vec::new(),
        };
        add(page, link, tuple.size, |bytes| match &tuple.content {
            Content::Upper => {
                let level = graph.level(node);
                let mut upper = OwnedMut::format_upper(layout, bytes, link.version, level, owner);
                for layer in 1..=level {
                    for (position, neighbour) in (0..layout.parameters.m).zip(graph.links(node, layer)) {
                        upper.set_link(layout, layer, position, self.plan.node(neighbour));
                        upper.set_link_code(layout, layer, position, graph.code(neighbour));
                    }
                }
            }
            Content::Payload => {
                let part = self.plan.whole_parts as u16;
                let header = self.header(TupleKind::Payload, node, link, part, Link::NONE);
                let payload = &payload[usize::from(part) * PAYLOAD_PART_SIZE..];
                OwnedMut::format(bytes, header).body_mut()[..payload.len()].copy_from_slice(payload);
            }
            Content::HeapTids(positions) => {
                let header = self.header(TupleKind::HeapTids, node, link, 0, tuple.next);
                OwnedMut::format(bytes, header).set_heap_tids(&rows.take(positions));
            }
        })
    }

    /// The header of a tuple that belongs to a node.
    fn header(&self, kind: TupleKind, node: u32, link: Link, count: u16, next: Link) -> OwnedHeader {
        let owner = self.plan.node(node);
        OwnedHeader { kind: kind as u8, level: 0, version: link.version, count, tag: 0, owner, next }
    }
}

/// The place of a node's last payload part, where it has one that does not fill a page.
fn last_part(placed: &[Placed]) -> Link {
    let part = placed.iter().find(|tuple| matches!(tuple.content, Content::Payload));
    part.map_or(Link::NONE, |part| part.link)
}

/// Adds the tuple that was planned at `link` to its page.
pub(super) fn add(page: &mut Page, link: Link, size: usize, fill: impl FnOnce(&mut [u8])) -> Result<()> {
    let added = page.add_tuple(link.block, size)?;
    debug_assert_eq!(added, Some((link.slot, link.version)));
    if let Some(bytes) = page.tuple_mut(link.block, link.slot)? {
        fill(bytes);
    }
    Ok(())
}
