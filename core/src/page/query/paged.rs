//! The graph on pages as one query sees it, and how far its nodes are from the query.
//!
//! **With codes** an expansion reads the node's page once: it measures the node by its payload, and estimates
//! its neighbours by the codes beside the links. Where payloads lie apart, the walk goes by estimates alone
//! and the nearest nodes are measured at its end. **Without**, it copies the links, then reads the pages that
//! hold unvisited neighbours in block order, and measures them. One content lock at a time.

use crate::code::{CodeQuery, distance_bounds};
use crate::graph::{Candidate, LayerSearch, Precision, Purpose};
use crate::page::format::meta::Meta;
use crate::page::format::node::Node;
use crate::page::query::index::Index;
use crate::page::query::notes::Notes;
use crate::page::store::PageStore;
use crate::types::{Link, Result};
use hashbrown::{HashMap, HashSet};
use std::cell::{RefCell, RefMut};

/// Nodes, or blocks, that are asked for before the first of them is read.
const PREFETCH_WINDOW: usize = 32;
/// Standard deviations by which a candidate may be nearer than its estimate says. Less loses recall where
/// estimates say little, in clusters much narrower than their distances; more expands far too much there.
const DOUBT: f32 = 0.5;
/// Nodes that a search visits for each of its results, about.
const VISITED_PER_RESULT: usize = 32;

/// [`DOUBT`] on a layer. Those that are only passed through need not be searched with care.
pub(super) fn doubts(layer: u8) -> f32 {
    if layer == 0 { DOUBT } else { 0.0 }
}

/// An index and a query vector, and notes of the nodes that its searches meet.
pub(in crate::page) struct PagedQuery<Store, Noted> {
    /// The index.
    pub index: Index<Store>,
    /// Its meta page, which says where searches begin.
    pub meta: Meta,
    vector: Vec<u8>,
    /// Whether there is one to be near to.
    pub is_ranked: bool,
    prepared: f32,
    /// The root of the query's squared norm, where payloads are less precise than the column.
    norm: f64,
    pub(super) codes: Option<CodeQuery>,
    pub(super) scratch: RefCell<Scratch>,
    pub(super) notes: RefCell<Noted>,
}

/// Memory that expansions use again and again: `payloads` grows with the nodes that a search expands, the
/// rest is bounded by a page and by m0.
#[derive(Default)]
pub(super) struct Scratch {
    pub links: Vec<Link>,
    blocks: Vec<u32>,
    pub apart: Vec<Apart>,
    payload: Vec<u8>,
    pub decoded: Vec<u8>,
    pub estimates: Vec<f32>,
    /// The payloads of expanded nodes that were not measured.
    pub payloads: HashMap<Link, Link>,
    /// Of the nodes expanded above layer 0 the nearest, where the next layer begins, with a copy of its upper
    /// tuple.
    pub nearest: Option<Candidate<Link>>,
    pub nearest_upper: Vec<u8>,
}

impl Scratch {
    pub fn links_of(&mut self, nodes: &[Candidate<Link>]) -> &[Link] {
        self.links.clear();
        self.links.extend(nodes.iter().map(|candidate| candidate.node));
        &self.links
    }
}

/// A node whose payload must be read from other pages.
#[derive(Clone, Copy)]
pub(super) struct Apart {
    pub node: Link,
    pub payload: Link,
}

impl<Store: PageStore, Noted: Notes> PagedQuery<Store, Noted> {
    /// Binds a query vector to an index. Without one, nodes can only be scanned past.
    pub fn new(index: Index<Store>, meta: Meta, vector: Option<&[u8]>, notes: Noted) -> Self {
        let (is_ranked, vector) = (vector.is_some(), vector.unwrap_or_default());
        let schema = &index.schema;
        let prepared = schema.measure.prepare(vector);
        let quantizer = schema.quantizer.as_ref().filter(|_| is_ranked);
        let codes = quantizer.map(|quantizer| quantizer.query(vector));
        let norm = if schema.layout.encoding.is_lossy() {
            f64::from(schema.measure.squared_norm(vector)).sqrt()
        } else {
            0.0
        };
        let (vector, scratch, notes) = (vector.to_vec(), RefCell::default(), RefCell::new(notes));
        Self { index, meta, vector, is_ranked, prepared, norm, codes, scratch, notes }
    }

    /// The same with other notes.
    pub fn with_notes<Other: Notes>(self, notes: Other) -> PagedQuery<Store, Other> {
        let Self { index, meta, vector, is_ranked, prepared, norm, codes, scratch, .. } = self;
        let notes = RefCell::new(notes);
        PagedQuery { index, meta, vector, is_ranked, prepared, norm, codes, scratch, notes }
    }

    /// What was noted so far.
    pub fn notes(&self) -> RefMut<'_, Noted> {
        self.notes.borrow_mut()
    }

    /// Reads the entry point again.
    pub fn refresh(&mut self) -> Result<()> {
        self.scratch.get_mut().nearest = None;
        self.meta = Meta::read(&self.index.store)?;
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
        self.index.schema.measure.distance_from(&self.vector, self.prepared, vector)
    }

    /// Measures a node by its payload.
    pub fn measure(&self, node: Link, payload: &[u8], scratch: &mut Vec<u8>) -> Candidate<Link> {
        let schema = &*self.index.schema;
        let encoding = schema.layout.encoding;
        if !encoding.is_lossy() {
            return Candidate::new(self.distance(payload), node);
        }
        let parameters = schema.layout.parameters;
        let (distance, squares) = encoding.measure(
            &schema.measure,
            &self.vector,
            self.prepared,
            payload,
            parameters.element,
            scratch,
        );
        let measured = Candidate::new(distance, node);
        if measured.distance.is_nan() {
            return measured;
        }
        let norm = f64::from(squares).sqrt();
        let residual = encoding.residual(payload);
        let (low, high) = distance_bounds(
            parameters.metric,
            parameters.dimensions,
            measured.distance,
            self.norm,
            norm,
            residual,
        );
        let error = (measured.distance - low).max(high - measured.distance) as f32;
        let precision =
            if error > 0.0 { Precision::Within(error.next_up().min(f32::MAX)) } else { Precision::Exact };
        Candidate { precision, ..measured }
    }

    /// Scores `links` (sorted) and appends those that are there and on `layer`.
    pub(super) fn score_links(
        &self,
        links: &[Link],
        layer: u8,
        scratch: &mut Scratch,
        notes: &mut Noted,
        found: &mut Vec<Candidate<Link>>,
    ) -> Result<()> {
        for window in links.chunks(PREFETCH_WINDOW) {
            // A tuple's memory takes longer to come than its distance to measure: all are on their way at
            // once.
            self.index.store.announce_tuples(window);
            self.index.store.prefetch_tuples(window);
            for here in window.chunk_by(|a, b| a.block == b.block) {
                let page = self.index.store.read(here[0].block)?;
                for &link in here {
                    let Some(node) = Node::at(&self.index.schema.layout, &page, link)? else {
                        notes.stale(link, layer);
                        continue;
                    };
                    let header = node.header();
                    if self.meta.is_removable(header) {
                        notes.stale(link, layer);
                    }
                    if header.is_pending() || header.level < layer {
                        continue;
                    }
                    let payload = self.index.payload_on(&page, link, &node)?;
                    match (payload, self.estimate_by_code(link, &node, layer)) {
                        (Some(payload), _) => {
                            found.push(self.measure(link, payload, &mut scratch.decoded));
                        }
                        (None, Some(estimate)) => found.push(estimate),
                        (None, None) => {
                            scratch.apart.push(Apart { node: link, payload: node.payload_link() });
                        }
                    }
                }
            }
        }
        self.measure_apart(scratch, found)
    }

    /// A node as its own code tells, where it keeps one.
    pub(super) fn estimate_by_code(&self, link: Link, node: &Node, layer: u8) -> Option<Candidate<Link>> {
        let (codes, code) = (self.codes.as_ref()?, node.code()?);
        let doubt = doubts(layer) * codes.deviation(code);
        Some(Candidate::estimate(codes.estimate(code).into(), doubt, link))
    }

    /// Measures the nodes in `scratch.apart`, whose payloads lie on other pages, and appends those that are
    /// still there.
    pub(super) fn measure_apart(
        &self,
        scratch: &mut Scratch,
        found: &mut Vec<Candidate<Link>>,
    ) -> Result<()> {
        let Scratch { blocks, apart, payload: buffer, decoded, .. } = scratch;
        for window in apart.chunks(PREFETCH_WINDOW) {
            blocks.clear();
            blocks.extend(window.iter().map(|apart| apart.payload.block).filter(|block| *block != u32::MAX));
            self.index.store.prefetch(blocks);
            for &Apart { node, payload } in window {
                if self.index.read_payload(node, payload, buffer)? {
                    found.push(self.measure(node, buffer, decoded));
                }
            }
        }
        apart.clear();
        Ok(())
    }
}
