//! The graph on pages as one query sees it: [`NodeStore`] over [`PageStore`].
//!
//! **With codes** an expansion reads the node's page once: it measures the node by its payload, and estimates its neighbours
//! by the codes beside the links. Where payloads lie apart, the walk goes by estimates alone and the nearest nodes are
//! measured at its end. **Without**, it copies the links, then reads each page that holds unvisited neighbours once, in block
//! order, and measures them. One content lock at a time.

use crate::code::{CodeQuery, distance_bounds};
use crate::graph::{Candidate, EntryPoint, LayerSearch, NodeStore, Purpose};
use crate::page::format::meta::Meta;
use crate::page::format::node::{Node, Slots, upper_slots};
use crate::page::format::tuple::{PENDING, TOMBSTONE};
use crate::page::query::index::Index;
use crate::page::query::stale::StaleLinks;
use crate::page::query::vectors::Known;
use crate::page::store::PageStore;
use crate::types::{HeapTid, Link, Result};
use hashbrown::{HashMap, HashSet};
use std::cell::RefCell;

/// Blocks that are asked for before the first of them is read.
const PREFETCH_WINDOW: usize = 32;
/// Nodes that are expanded together: more of them hide more latency, and barely change which nodes a search expands.
const BEAM: usize = 8;
/// Standard deviations by which a candidate may be nearer than its estimate says. With sentence embeddings of 384 dimensions
/// 0 to 1.5 gave the same recall for the same number of expansions, and above a recall of 0.98 better with more; what they
/// change is the recall at one ef. Clusters much narrower than their distances, where estimates say little, need 0.5 at
/// least: at ef 40 they then had a recall of 0.98 instead of 0.74; 1 expanded far too much there at ef 200.
const DOUBT: f32 = 0.5;
/// Nodes that a search visits for each of its results, about.
const VISITED_PER_RESULT: usize = 32;
/// The fewest nodes that are measured at the end of a walk by estimates alone.
const MIN_SETTLED: usize = 24;

/// An index and a query vector.
pub struct PagedQuery<Store> {
    /// The index; its meta page says where searches begin.
    pub(in crate::page) index: Index<Store>,
    vector: Vec<u8>,
    prepared: f32,
    /// The root of the query's squared norm, where payloads are less precise than the column.
    norm: f64,
    codes: Option<CodeQuery>,
    noted: Noted,
    scratch: RefCell<Scratch>,
}

/// What is noted of expanded nodes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::page) enum Noted {
    /// For a scan: their heap TIDs, for [`PagedQuery::only_row`], and on layer 0 which they are, for [`PagedQuery::take_stale`].
    Rows,
    /// For an insertion that chooses neighbours: their vectors, for [`PagedQuery::take_expanded`].
    Vectors,
    /// Nothing.
    Nothing,
}

/// Memory that expansions use again and again: `payloads`, `expanded` and `rows` grow with the nodes that a search expands, the rest
/// is bounded by a page and by m0.
#[derive(Default)]
struct Scratch {
    links: Vec<Link>,
    blocks: Vec<u32>,
    apart: Vec<Apart>,
    payload: Vec<u8>,
    decoded: Vec<u8>,
    estimates: Vec<f32>,
    /// The payloads of expanded nodes that were not measured.
    payloads: HashMap<Link, Link>,
    expanded: Vec<(Link, Known)>,
    /// Expanded nodes that held one heap TID.
    rows: Vec<(Link, HeapTid)>,
    stale: StaleLinks,
    /// Of the nodes expanded above layer 0 the nearest, where the next layer begins, with a copy of its upper tuple.
    nearest: Option<Candidate<Link>>,
    nearest_upper: Vec<u8>,
}

impl Scratch {
    fn links_of(&mut self, nodes: &[Candidate<Link>]) -> &[Link] {
        self.links.clear();
        self.links.extend(nodes.iter().map(|candidate| candidate.node));
        &self.links
    }
}

/// A node whose payload must be read from other pages.
#[derive(Clone, Copy)]
struct Apart {
    node: Link,
    live: bool,
    payload: Link,
}

impl<Store: PageStore> PagedQuery<Store> {
    /// Binds a query vector to an index. An empty one, of no dimensions, can only be scanned past.
    pub fn new(index: Index<Store>, vector: &[u8]) -> Self {
        let prepared = index.measure.prepare(vector);
        let quantizer = index.quantizer.as_ref().filter(|_| !vector.is_empty());
        let codes = quantizer.map(|quantizer| quantizer.query(vector));
        let norm = if index.layout.encoding.is_lossy() {
            f64::from(index.measure.squared_norm(vector)).sqrt()
        } else {
            0.0
        };
        let vector = vector.to_vec();
        Self { index, vector, prepared, norm, codes, noted: Noted::Rows, scratch: RefCell::default() }
    }

    /// Notes something else than [`Noted::Rows`] of nodes that are expanded from now on.
    pub(in crate::page) fn note(&mut self, noted: Noted) {
        self.noted = noted;
    }

    /// Gives the nodes that were expanded since the last call, with what was read of them.
    pub(in crate::page) fn take_expanded(
        &self,
        mut take: impl FnMut(Link, Known) -> Result<()>,
    ) -> Result<()> {
        let mut scratch = self.scratch.borrow_mut();
        scratch.expanded.drain(..).try_for_each(|(node, known)| take(node, known))
    }

    /// The only heap TID that a node held when it was expanded; `None` where there were more, or that was not noted.
    pub(in crate::page) fn only_row(&self, node: Link) -> Option<HeapTid> {
        let rows = &self.scratch.borrow().rows;
        rows.binary_search_by_key(&node, |row| row.0).ok().map(|place| rows[place].1)
    }

    /// Makes what was noted by expansions known to [`PagedQuery::only_row`].
    pub(in crate::page) fn sort_rows(&self) {
        self.scratch.borrow_mut().rows.sort_unstable_by_key(|row| row.0);
    }

    /// How many stale links were met since [`PagedQuery::take_stale`] was called last.
    pub(in crate::page) fn stale_links(&self) -> u64 {
        self.scratch.borrow().stale.count
    }

    /// The stale links that were met since the last call.
    pub(in crate::page) fn take_stale(&self) -> StaleLinks {
        std::mem::take(&mut self.scratch.borrow_mut().stale)
    }

    /// Whether a node's place may be taken by another at any moment.
    fn is_removable(&self, node: &Node) -> bool {
        let header = node.header();
        header.flags & TOMBSTONE != 0 && header.cycle <= self.index.meta.repaired_cycle
    }

    /// Reads the entry point again.
    pub(in crate::page) fn refresh(&mut self) -> Result<()> {
        self.scratch.get_mut().nearest = None;
        self.index.meta = Meta::read(&self.index.store)?;
        Ok(())
    }

    /// A search that has visited nothing, with room for what one of `ef` results will visit.
    pub fn search(&self, purpose: Purpose, ef: usize) -> LayerSearch<Self> {
        /// More are not foreseen: a wide search pays for its memory as it grows.
        const MOST: usize = 1 << 12;
        let candidates = (VISITED_PER_RESULT * ef).min(MOST);
        LayerSearch::new(HashSet::with_capacity(candidates), purpose).with_room(candidates)
    }

    /// The query vector.
    pub fn vector(&self) -> &[u8] {
        &self.vector
    }

    /// The distance that ranks a vector of the index.
    pub fn distance(&self, vector: &[u8]) -> f64 {
        self.index.measure.distance_from(&self.vector, self.prepared, vector)
    }

    /// Measures a node by its payload.
    pub(in crate::page) fn measure(
        &self,
        node: Link,
        live: bool,
        payload: &[u8],
        scratch: &mut Vec<u8>,
    ) -> Candidate<Link> {
        let layout = &self.index.layout;
        let (encoding, measure) = (layout.encoding, &self.index.measure);
        if !encoding.is_lossy() {
            return Candidate::new(self.distance(payload), node, live);
        }
        let element = layout.parameters.element;
        let (distance, squares) =
            encoding.measure(measure, &self.vector, self.prepared, payload, element, scratch);
        let measured = Candidate::new(distance, node, live);
        if measured.distance.is_nan() {
            return measured;
        }
        let metric = layout.parameters.metric;
        let norm = f64::from(squares).sqrt();
        let dimensions = usize::from(layout.parameters.dimensions);
        let residual = encoding.residual(payload);
        let (low, high) = distance_bounds(metric, dimensions, measured.distance, self.norm, norm, residual);
        let uncertainty = (measured.distance - low).max(high - measured.distance) as f32;
        let uncertainty = if uncertainty > 0.0 { uncertainty.next_up().min(f32::MAX) } else { 0.0 };
        Candidate { uncertainty, ..measured }
    }

    /// Scores `links` (sorted) and appends those that are there and on `layer`.
    fn score_links(
        &self,
        links: &[Link],
        layer: u8,
        scratch: &mut Scratch,
        found: &mut Vec<Candidate<Link>>,
    ) -> Result<()> {
        let mut blocks = std::mem::take(&mut scratch.blocks);
        blocks.clear();
        blocks.extend(links.iter().map(|link| link.block));
        blocks.dedup();
        let mut rest = links;
        for window in blocks.chunks(PREFETCH_WINDOW) {
            self.index.store.prefetch(window);
            for &block in window {
                let here = rest.iter().take_while(|link| link.block == block).count();
                let page = self.index.store.read(block)?;
                for &link in &rest[..here] {
                    let Some(node) = Node::at(&self.index.layout, &page, link)? else {
                        scratch.stale.note(link, layer);
                        continue;
                    };
                    if self.is_removable(&node) {
                        scratch.stale.note(link, layer);
                    }
                    let header = node.header();
                    if header.flags & PENDING != 0 || header.level < layer {
                        continue;
                    }
                    let live = header.flags & TOMBSTONE == 0;
                    match (node.payload(), self.estimate_by_code(link, &node)) {
                        (Some(payload), _) => {
                            found.push(self.measure(link, live, payload, &mut scratch.decoded));
                        }
                        (None, Some(estimate)) => found.push(estimate),
                        (None, None) => {
                            scratch.apart.push(Apart { node: link, live, payload: node.payload_link() });
                        }
                    }
                }
                rest = &rest[here..];
            }
        }
        scratch.blocks = blocks;
        self.measure_apart(scratch, found)
    }

    /// A node as its own code tells, where it keeps one.
    fn estimate_by_code(&self, link: Link, node: &Node) -> Option<Candidate<Link>> {
        let (codes, code) = (self.codes.as_ref()?, node.code()?);
        let estimate = Candidate::estimate(codes.estimate(code).into(), DOUBT * codes.deviation(code), link);
        Some(Candidate { live: node.header().flags & TOMBSTONE == 0, ..estimate })
    }

    /// Measures the nodes in `scratch.apart`, whose payloads lie on other pages, and appends those that are still there.
    fn measure_apart(&self, scratch: &mut Scratch, found: &mut Vec<Candidate<Link>>) -> Result<()> {
        let Scratch { blocks, apart, payload: buffer, decoded, .. } = scratch;
        for window in apart.chunks(PREFETCH_WINDOW) {
            blocks.clear();
            blocks.extend(window.iter().map(|apart| apart.payload.block).filter(|block| *block != u32::MAX));
            self.index.store.prefetch(blocks);
            for &Apart { node, live, payload } in window {
                if self.index.read_payload(node, payload, buffer)? {
                    found.push(self.measure(node, live, buffer, decoded));
                }
            }
        }
        apart.clear();
        Ok(())
    }

    /// As [`NodeStore::expand`], in an index without codes.
    fn expand_by_payloads(
        &self,
        candidate: Candidate<Link>,
        layer: u8,
        visited: &mut HashSet<Link>,
        scratch: &mut Scratch,
        found: &mut Vec<Candidate<Link>>,
    ) -> Result<Option<Candidate<Link>>> {
        let mut measured = Some(candidate);
        if candidate.estimated {
            let mut own = Vec::with_capacity(1);
            self.score_links(&[candidate.node], layer, scratch, &mut own)?;
            measured = own.pop();
        }
        let mut links = std::mem::take(&mut scratch.links);
        links.clear();
        self.index.neighbours(candidate.node, layer, &mut links)?;
        links.retain(|link| visited.insert(*link));
        links.sort_unstable();
        self.score_links(&links, layer, scratch, found)?;
        scratch.links = links;
        Ok(measured)
    }

    /// As [`NodeStore::expand`], in an index with codes.
    fn expand_by_codes(
        &self,
        codes: &CodeQuery,
        candidate: Candidate<Link>,
        layer: u8,
        visited: &mut HashSet<Link>,
        scratch: &mut Scratch,
        found: &mut Vec<Candidate<Link>>,
    ) -> Result<Option<Candidate<Link>>> {
        let mut links = std::mem::take(&mut scratch.links);
        links.clear();
        // Layers that are only passed through need not be searched with care.
        let doubts = if layer == 0 { DOUBT } else { 0.0 };
        let mut estimate = |slots: Slots, estimates: &mut Vec<f32>| match slots.codes() {
            Some(bytes) => {
                estimates.clear();
                codes.estimate_all(bytes, slots.stride(), usize::from(slots.len()), estimates);
                for ((link, distance), position) in slots.places().zip(estimates.iter()).zip(0..) {
                    if !link.is_none() {
                        let doubt = doubts * codes.deviation(slots.code(position));
                        found.push(Candidate::estimate(f64::from(*distance), doubt, link));
                    }
                }
            }
            None => links.extend(slots.links().filter(|link| visited.insert(*link))),
        };
        if layer > 0
            && let Some(nearest) = scratch.nearest.filter(|nearest| nearest.node == candidate.node)
        {
            if let Some(slots) = upper_slots(&self.index.layout, &scratch.nearest_upper, layer) {
                estimate(slots, &mut scratch.estimates);
            }
            return Ok(Some(nearest));
        }
        let (own, upper) = {
            let page = self.index.store.read(candidate.node.block)?;
            let Some(node) = Node::at(&self.index.layout, &page, candidate.node)? else {
                scratch.stale.note(candidate.node, layer);
                return Ok(None);
            };
            if self.is_removable(&node) {
                scratch.stale.note(candidate.node, layer);
            }
            let header = node.header();
            if header.flags & PENDING != 0 || header.level < layer {
                return Ok(None);
            }
            if layer == 0 {
                node.prefetch();
                estimate(node.slots(), &mut scratch.estimates);
            }
            (self.look_at(candidate, &node, scratch)?, if layer > 0 { header.upper } else { Link::NONE })
        };
        self.index.upper_tuple(candidate.node, upper, |tuple| {
            if let Some(slots) = tuple.slots(&self.index.layout, layer) {
                estimate(slots, &mut scratch.estimates);
            }
            if own.live && scratch.nearest.is_none_or(|nearest| own < nearest) {
                scratch.nearest = Some(own);
                scratch.nearest_upper.clear();
                scratch.nearest_upper.extend_from_slice(tuple.bytes());
            }
        })?;
        links.sort_unstable();
        self.score_links(&links, layer, scratch, found)?;
        scratch.links = links;
        Ok(Some(own))
    }

    /// What the tuple of a node that is expanded tells of the node itself.
    fn look_at(
        &self,
        candidate: Candidate<Link>,
        node: &Node,
        scratch: &mut Scratch,
    ) -> Result<Candidate<Link>> {
        let live = node.header().flags & TOMBSTONE == 0;
        if self.noted == Noted::Rows
            && let ([row], true) = (node.heap_tids(), node.header().overflow.is_none())
        {
            scratch.rows.try_reserve(1)?;
            scratch.rows.push((candidate.node, *row));
        }
        Ok(match node.payload() {
            Some(payload) => {
                let measured = self.measure(candidate.node, live, payload, &mut scratch.decoded);
                if self.noted == Noted::Vectors {
                    let known = self.index.known(payload, live, node.header().level);
                    scratch.expanded.try_reserve(1)?;
                    scratch.expanded.push((candidate.node, known));
                }
                measured
            }
            None => {
                scratch.payloads.try_reserve(1)?;
                scratch.payloads.insert(candidate.node, node.payload_link());
                let known = candidate.distance.is_finite();
                let own = if known { None } else { self.estimate_by_code(candidate.node, node) };
                Candidate { live, ..own.unwrap_or(candidate) }
            }
        })
    }
}

impl<Store: PageStore> NodeStore for PagedQuery<Store> {
    type Node = Link;
    type Visited = HashSet<Link>;

    fn entry_point(&self) -> Result<Option<EntryPoint<Link>>> {
        Ok(self.index.meta.entry())
    }

    fn beam(&self) -> usize {
        if self.codes.is_some() { BEAM } else { 1 }
    }

    fn announce(&self, nodes: &[Candidate<Link>], _layer: u8) {
        if self.codes.is_some() {
            self.index.store.announce_tuples(self.scratch.borrow_mut().links_of(nodes));
        }
    }

    fn prefetch(&self, nodes: &[Candidate<Link>], _layer: u8) {
        if self.codes.is_some() {
            self.index.store.prefetch_tuples(self.scratch.borrow_mut().links_of(nodes));
        }
    }

    fn expand(
        &self,
        candidate: Candidate<Link>,
        layer: u8,
        visited: &mut HashSet<Link>,
        found: &mut Vec<Candidate<Link>>,
    ) -> Result<Option<Candidate<Link>>> {
        self.index.store.interrupt_point();
        visited.try_reserve(self.index.layout.parameters.max_links(layer))?;
        let scratch = &mut *self.scratch.borrow_mut();
        if layer == 0 && self.noted == Noted::Rows {
            scratch.stale.note_walked(candidate.node);
        }
        match &self.codes {
            Some(codes) => self.expand_by_codes(codes, candidate, layer, visited, scratch, found),
            None => self.expand_by_payloads(candidate, layer, visited, scratch, found),
        }
    }

    fn settle(&self, nodes: &mut Vec<Candidate<Link>>, wanted: usize) -> Result<usize> {
        if !nodes.iter().any(|node| node.estimated) {
            return Ok(wanted.min(nodes.len()));
        }
        let scratch = &mut *self.scratch.borrow_mut();
        let most = (wanted / 2).max(MIN_SETTLED).min(wanted);
        let mut measured = Vec::with_capacity(most);
        // Nodes that have been reclaimed meanwhile drop out.
        while measured.is_empty() && !nodes.is_empty() {
            scratch.apart.try_reserve(most.min(nodes.len()))?;
            for candidate in nodes.drain(..most.min(nodes.len())) {
                let payload = scratch.payloads.get(&candidate.node).copied().unwrap_or(Link::NONE);
                scratch.apart.push(Apart { node: candidate.node, live: candidate.live, payload });
            }
            // In the order of their pages, to be asked for together.
            scratch.apart.sort_unstable_by_key(|apart| apart.payload);
            self.measure_apart(scratch, &mut measured)?;
        }
        measured.sort_unstable();
        let settled = measured.len();
        nodes.try_reserve(settled)?;
        nodes.splice(..0, measured);
        Ok(settled)
    }
}
