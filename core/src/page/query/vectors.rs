//! Vectors of nodes, copied out of their pages to be compared with each other.
//!
//! Choosing among neighbours measures the same few nodes again and again; every payload is read once.

use crate::code::Quantizer;
use crate::graph::{Candidate, Neighbours};
use crate::page::query::index::Index;
use crate::page::query::schema::Schema;
use crate::page::store::PageStore;
use crate::types::{Link, Result};
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use std::sync::{Arc, OnceLock};

/// Bytes of vectors, and of what is known beside them, that are kept before they are forgotten, where the
/// operation has no limit of its own.
const MEMORY: usize = 16 << 20;

/// What is known of a node.
pub(in crate::page) struct Known {
    /// The vector of its payload, as elements of the column's type.
    vector: Vec<u8>,
    prepared: f32,
    live: bool,
    level: u8,
    /// Made when it is asked for.
    code: OnceLock<Vec<u8>>,
}

impl Known {
    /// Its vector.
    pub fn vector(&self) -> &[u8] {
        &self.vector
    }

    /// Bytes of what is known of a node and of keeping it, at most.
    pub fn size(schema: &Schema) -> usize {
        let code = schema.quantizer.as_deref().map_or(0, Quantizer::code_size);
        let kept = size_of::<Self>() + 2 * size_of::<(Link, Option<Arc<Self>>)>() + 2 * size_of::<usize>();
        schema.layout.parameters.vector_size() + code + kept
    }

    /// The code of its vector; empty in an index without codes.
    pub fn code(&self, schema: &Schema) -> &[u8] {
        if schema.quantizer.is_none() {
            return &[];
        }
        self.code.get_or_init(|| schema.code(&self.vector))
    }

    /// The vector alone.
    pub fn into_vector(self) -> Vec<u8> {
        self.vector
    }

    /// The same, with the code of the vector.
    pub fn with_code(self, code: Vec<u8>) -> Self {
        Self { code: code.into(), ..self }
    }
}

/// Copies of the vectors of some nodes. A vector never changes; that a node has died meanwhile is seen when
/// it is changed.
pub(in crate::page) struct Vectors<'i, Store> {
    index: &'i Index<Store>,
    /// `None` for a stale link.
    known: HashMap<Link, Option<Arc<Known>>>,
    /// Nodes that are known before they are forgotten.
    most: usize,
}

impl<'i, Store: PageStore> Vectors<'i, Store> {
    /// No vectors yet.
    pub fn new(index: &'i Index<Store>) -> Self {
        Self::within(index, MEMORY)
    }

    /// No vectors yet, nor ever more than take so many bytes, apart from those of one choice.
    pub fn within(index: &'i Index<Store>, memory: usize) -> Self {
        Self { index, known: HashMap::new(), most: memory / Known::size(&index.schema) }
    }

    /// Forgets vectors when they have become many. Called between independent choices.
    pub fn limit_memory(&mut self) {
        if self.known.len() > self.most {
            self.known.clear();
        }
    }

    /// Takes what has been read of a node elsewhere.
    pub fn add(&mut self, node: Link, known: Known) -> Result<()> {
        self.known.try_reserve(1)?;
        self.known.insert(node, Some(Arc::new(known)));
        Ok(())
    }

    /// The code of a node, empty in an index without codes; `None` when the node is gone.
    pub fn code(&mut self, node: Link) -> Result<Option<Vec<u8>>> {
        if self.index.schema.quantizer.is_none() {
            return Ok(Some(Vec::new()));
        }
        let schema = &self.index.schema;
        Ok(self.get(node)?.map(|known| known.code(schema).to_vec()))
    }

    /// The vector of a node; `None` when it is gone.
    pub fn vector(&mut self, node: Link) -> Result<Option<&[u8]>> {
        Ok(self.get(node)?.map(|known| known.vector.as_slice()))
    }

    /// Whether the node was live when its vector was read.
    pub fn is_live(&mut self, node: Link) -> Result<bool> {
        Ok(self.get(node)?.is_some_and(|known| known.live))
    }

    /// The distance between two nodes; infinite when one of them is gone.
    pub fn distance(&mut self, a: Link, b: Link) -> Result<f64> {
        self.load(a)?;
        self.load(b)?;
        let [a, b] = [a, b].map(|node| self.peek(node));
        Ok(a.zip(b).map_or(f64::INFINITY, |(a, b)| self.index.schema.between(a, b)))
    }

    /// Those of `nodes` that are live and have a place on `layer`, measured from `from`, nearest first.
    pub fn candidates(
        &mut self,
        from: Link,
        layer: u8,
        nodes: impl IntoIterator<Item = Link>,
    ) -> Result<Vec<Candidate<Link>>> {
        let Some((vector, prepared)) = self.get(from)?.map(|known| (known.vector.clone(), known.prepared))
        else {
            return Ok(Vec::new());
        };
        let (measure, mut candidates) = (&self.index.schema.measure, Vec::new());
        for node in nodes.into_iter().filter(|node| *node != from) {
            if let Some(known) = self.get(node)?.filter(|known| known.live && known.level >= layer) {
                let distance = measure.distance_between(&vector, prepared, &known.vector, known.prepared);
                candidates.push(Candidate::new(distance, node));
            }
        }
        candidates.sort_unstable();
        Ok(candidates)
    }

    /// Algorithm 4 for a layer, among candidates that were measured here.
    pub fn select(&self, candidates: &[Candidate<Link>], layer: u8) -> Result<Neighbours<Link>> {
        self.index.schema.select(candidates, layer, |node| self.peek(node))
    }

    /// What is known of a node, for whoever keeps it longer; `None` when it is gone.
    pub fn shared(&mut self, node: Link) -> Result<Option<Arc<Known>>> {
        self.load(node).cloned()
    }

    fn peek(&self, node: Link) -> Option<&Known> {
        self.known.get(&node)?.as_deref()
    }

    fn get(&mut self, node: Link) -> Result<Option<&Known>> {
        Ok(self.load(node)?.as_deref())
    }

    fn load(&mut self, node: Link) -> Result<&Option<Arc<Known>>> {
        self.known.try_reserve(1)?;
        Ok(match self.known.entry(node) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(self.index.read_known(node)?.map(Arc::new)),
        })
    }
}

impl Schema {
    /// What a node's payload and header tell.
    pub(in crate::page) fn known(&self, payload: &[u8], live: bool, level: u8) -> Known {
        self.known_vector(self.decode(payload), live, level)
    }

    /// What is known of a node with this vector.
    pub(in crate::page) fn known_vector(&self, vector: Vec<u8>, live: bool, level: u8) -> Known {
        let prepared = self.measure.prepare(&vector);
        Known { vector, prepared, live, level, code: OnceLock::new() }
    }

    /// Algorithm 4 for a layer, among candidates of which `known` tells.
    pub(in crate::page) fn select<'k, Node: Copy + Ord>(
        &self,
        candidates: &[Candidate<Node>],
        layer: u8,
        known: impl Fn(Node) -> Option<&'k Known>,
    ) -> Result<Neighbours<Node>> {
        // Each vector is looked up once, not for each distance.
        let known: Vec<Option<&Known>> = candidates.iter().map(|candidate| known(candidate.node)).collect();
        let numbered: Vec<Candidate<usize>> =
            (0..).zip(candidates).map(|(number, candidate)| candidate.with_node(number)).collect();
        let max = self.layout.parameters.max_links(layer);
        let chosen = Neighbours::select(&numbered, max, |a, b| {
            Ok(known[a].zip(known[b]).map_or(f64::INFINITY, |(a, b)| self.between(a, b)))
        })?;
        let named = |list: Vec<Candidate<usize>>| {
            list.into_iter().map(|candidate| candidates[candidate.node]).collect()
        };
        Ok(Neighbours { diverse: named(chosen.diverse), pruned: named(chosen.pruned) })
    }

    /// The distance between two vectors of the index.
    pub(in crate::page) fn between(&self, a: &Known, b: &Known) -> f64 {
        self.measure.distance_between(&a.vector, a.prepared, &b.vector, b.prepared)
    }
}

impl<Store: PageStore> Index<Store> {
    /// Reads what is known of a node; `None` when it is gone.
    fn read_known(&self, node: Link) -> Result<Option<Known>> {
        let found = self.header_and_payload(node)?;
        Ok(found.map(|(header, payload)| self.schema.known(&payload, !header.is_tombstone(), header.level)))
    }
}
