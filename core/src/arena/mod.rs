//! The graph in RAM, built by many threads without unsafe code but that of `slab` and
//! `advice`, about memory.
//!
//! One thread, the [`Feeder`]'s, copies vectors into chunks. A chunk that is full is published and changes no
//! more, but for its neighbour lists; tasks of a thread pool then insert its rows into the graph. Every row
//! is a node, beside those that another graph may have given (see `adopt`): a row whose vector has been seen
//! before only adds its heap TID to the node that holds it.
//!
//! **Where memory ends** vectors move to a file, see `spill`, while no task runs; codes and links stay. From
//! then on a search goes by codes alone, and measures what it has found at its end.
//!
//! **Locks.** A neighbour list is changed under its node's lock and read without one (see `list`). A thread
//! holds one such lock at a time; the lock on the entry point is taken before any of them.

mod adopt;
mod advice;
mod budget;
mod chunk;
mod coder;
mod connect;
mod estimate;
mod feed;
mod fetched;
mod file;
mod insert;
mod list;
mod marks;
mod pace;
mod query;
mod slab;
mod spill;

pub use budget::Full;
pub use estimate::Estimate;
pub use feed::{Feeder, Settings};
pub use file::{VectorFile, VectorReader};
pub use marks::Marks;
pub use pace::Pace;
pub use query::ArenaQuery;

use crate::code::Quantizer;
use crate::graph::{BuiltGraph, Candidate, EditableGraph, EntryPoint, Neighbours};
use crate::kernel::Measure;
use crate::types::{HeapTid, Parameters, Result};
use chunk::{Chunk, Shape};
use file::Spilled;
use list::List;
use std::iter;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// The graph in RAM. Nodes are numbered from 0 in the order in which their vectors came.
pub struct Arena {
    parameters: Parameters,
    measure: Measure,
    quantizer: Option<Quantizer>,
    /// The highest level that a node may have.
    max_level: u8,
    shape: Shape,
    chunks: Vec<OnceLock<Chunk>>,
    /// Nodes in published chunks.
    len: AtomicU32,
    /// The first nodes, which were taken over from another graph and have no row here.
    adopted: u32,
    /// Level and node, packed; [`NO_ENTRY`] before the first.
    entry: AtomicU64,
    /// Heap TIDs after each node's first, ordered by node. Set when the last row has been inserted.
    duplicates: Vec<(u32, HeapTid)>,
    spilled: Option<Spilled>,
}

const NO_ENTRY: u64 = u64::MAX;

impl Arena {
    /// Makes `entry` the entry point. The caller holds the lock on it.
    fn set_entry_point(&self, entry: EntryPoint<u32>) {
        self.entry.store(u64::from(entry.level) << 32 | u64::from(entry.node), Ordering::Release);
    }

    /// The graph as a search for `vector` sees it.
    pub fn query<'a>(&'a self, vector: &'a [u8]) -> ArenaQuery<'a> {
        ArenaQuery::new(self, vector.into(), self.measure.prepare(vector), Default::default())
    }

    fn list(&self, node: u32, layer: u8) -> List<'_> {
        let (chunk, row) = self.locate(node);
        chunk.list(row, layer, &self.shape)
    }

    fn locate(&self, node: u32) -> (&Chunk, usize) {
        let (chunk, row) = self.shape.locate(node);
        // A number is given to nobody before its chunk is set, and is passed on by release and acquire only.
        (self.chunks[chunk].get().expect("a node's chunk is published before the node"), row)
    }
}

/// Complete when the build is finished; before that, each node as it is at the moment.
impl BuiltGraph for Arena {
    fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    fn len(&self) -> u32 {
        self.len.load(Ordering::Acquire)
    }

    fn entry_point(&self) -> Option<EntryPoint<u32>> {
        // Acquire: the entry point's chunk and its own links were written before it was stored.
        let packed = self.entry.load(Ordering::Acquire);
        (packed != NO_ENTRY).then_some(EntryPoint { node: packed as u32, level: (packed >> 32) as u8 })
    }

    fn level(&self, node: u32) -> u8 {
        let (chunk, row) = self.locate(node);
        chunk.row(row).level
    }

    fn vector<'a>(&'a self, node: u32, buffer: &'a mut Vec<u8>) -> Result<&'a [u8]> {
        self.any_vector(node, buffer)
    }

    fn vector_size(&self, node: u32) -> usize {
        self.vector_in_memory(node).map_or(self.parameters.vector_size(), <[u8]>::len)
    }

    fn quantizer(&self) -> Option<&Quantizer> {
        self.quantizer.as_ref()
    }

    fn code(&self, node: u32) -> &[u8] {
        let (chunk, row) = self.locate(node);
        chunk.code(row, &self.shape)
    }

    fn heap_tids(&self, node: u32) -> impl Iterator<Item = HeapTid> {
        let (chunk, row) = self.locate(node);
        let first = self.duplicates.partition_point(|(holder, _)| *holder < node);
        let others = self.duplicates[first..].iter().take_while(move |(holder, _)| *holder == node);
        let of_node = iter::once(chunk.row(row).heap_tid).skip((node < self.adopted).into());
        of_node.chain(others.map(|(_, heap_tid)| *heap_tid))
    }

    fn links(&self, node: u32, layer: u8) -> impl Iterator<Item = u32> {
        self.list(node, layer).nodes()
    }

    fn nearest_links(&self, node: u32) -> impl Iterator<Item = u32> {
        let mut neighbours = Neighbours { diverse: Vec::new(), pruned: Vec::new() };
        self.list(node, 0).read(&mut neighbours);
        let mut all = neighbours.diverse;
        all.append(&mut neighbours.pruned);
        all.sort_by(|a, b| a.distance.total_cmp(&b.distance));
        all.into_iter().map(|neighbour| neighbour.node)
    }
}

impl EditableGraph for Arena {
    fn keep_links(&self, node: u32, layer: u8, neighbours: &[u32]) {
        // Nobody asks for distances any more.
        let diverse = neighbours.iter().map(|neighbour| Candidate::new(0.0, *neighbour)).collect();
        self.list(node, layer).write(&Neighbours { diverse, pruned: Vec::new() });
    }
}
