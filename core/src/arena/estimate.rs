//! What a build will take: memory in each way, and the temporary file.
//!
//! It is counted as [`Feeder`](super::Feeder) counts it, chunk by chunk, for levels as they are drawn on
//! average.

use super::budget::allocated;
use super::chunk::Shape;
use super::feed::Seen;
use super::slab::Slabs;
use super::{Arena, Chunk};
use crate::graph::Contents;
use crate::types::{HeapTid, Parameters};
use std::sync::OnceLock;

/// Bytes that a build takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Estimate {
    /// The least memory limit with which nothing moves to a file.
    pub whole: u64,
    /// The least one with which vectors move to a file and all rows find a place; `None` without codes.
    pub spilled: Option<u64>,
}

impl Arena {
    /// What a build by so many threads will take.
    pub fn estimate(parameters: &Parameters, threads: usize, contents: &Contents) -> Estimate {
        let least = |spills| {
            // The limit decides in its turn how large chunks and their directory are.
            let limit = |limit| Model::new(parameters, threads, limit, contents).peak(contents, spills);
            let last = (0..8).fold(limit(u64::MAX >> 16), |last, _| limit(last));
            // Huge pages may begin between the two.
            last.max(limit(last))
        };
        Estimate { whole: least(false), spilled: (parameters.code_bits > 0).then(|| least(true)) }
    }

    /// Bytes of vectors that a build within a memory limit moves to a file, where all rows find a place.
    pub fn file_size(parameters: &Parameters, threads: usize, contents: &Contents, limit: u64) -> u64 {
        Model::new(parameters, threads, limit, contents).file_size(contents, limit)
    }
}

/// How a build within a limit takes memory.
struct Model<'a> {
    parameters: &'a Parameters,
    threads: usize,
    shape: Shape,
    /// Bytes of the chunks' directory.
    directory: u64,
    /// Bytes of a chunk's vectors, and of what else of it is malloc's.
    vectors: u64,
    beside: u64,
    slabs: Slabs,
}

impl<'a> Model<'a> {
    fn new(parameters: &'a Parameters, threads: usize, limit: u64, contents: &Contents) -> Self {
        let shape = Shape::new(parameters, limit as usize);
        let (vectors, beside) = shape.chunk_memory(contents.vector_size);
        let per_row = shape.memory(parameters, 0);
        let least = if parameters.code_bits > 0 { per_row.spilled } else { per_row.whole };
        // As `Arena::new` sizes it.
        let chunks =
            (limit / (shape.rows() * least) as u64).min(u64::from(u32::MAX) / shape.rows() as u64) + 1;
        let directory = bytes(chunks, size_of::<OnceLock<Chunk>>());
        let slabs = Slabs::new(limit as usize);
        Self { parameters, threads, shape, directory, vectors, beside, slabs }
    }

    /// The last chunk is cut short where memory ends, unless others could then move to a file.
    fn chunks(&self, nodes: u64, spills: bool) -> f64 {
        let chunks = nodes as f64 / self.shape.rows() as f64;
        if spills || self.parameters.code_bits == 0 { chunks } else { chunks.ceil() }
    }

    /// Memory that the limit must leave at some moment of the build.
    fn peak(&self, contents: &Contents, spills: bool) -> u64 {
        // What grows by doubling is there twice while it does. The last vector that is new, and the last row
        // of a kind, may come at any time.
        let when = seen_capacity(contents.nodes) / 2;
        let seen = self.used(&contents.part(when as f64 / contents.nodes.max(1) as f64), spills)
            + seen_memory(contents.nodes);
        let duplicates = half(contents.duplicates);
        let duplicates = self.used(&Contents { duplicates, ..*contents }, spills)
            + doubled::<(u32, HeapTid)>(contents.duplicates);
        let asides = half(contents.asides);
        let asides =
            self.used(&Contents { asides, ..*contents }, spills) + doubled::<(u16, HeapTid)>(contents.asides);
        [seen, duplicates, asides].into_iter().fold(self.used(contents, spills), u64::max)
    }

    /// Memory in use after so many rows; where vectors move to a file, with those of one chunk.
    fn used(&self, contents: &Contents, spills: bool) -> u64 {
        let chunks = self.chunks(contents.nodes, spills);
        let chunks = if spills { chunks.min(1.0) } else { chunks };
        // Vectors of any length grow by doubling, chunk by chunk, and are copied then.
        let growing =
            if self.parameters.element.varies() && contents.nodes > 0 { 2 * self.vectors } else { 0 };
        self.beside_vectors(contents, spills) + (self.vectors as f64 * chunks) as u64 + growing
    }

    fn beside_vectors(&self, contents: &Contents, spills: bool) -> u64 {
        let rows = self.shape.rows() as u64;
        let marks = (contents.nodes.div_ceil(rows) * rows).next_power_of_two() * self.threads as u64;
        let fetched = self.shape.memory(self.parameters, self.threads).fetched as u64;
        let chunks = self.chunks(contents.nodes, spills);
        self.directory
            + (chunks * self.beside as f64) as u64
            + self.slabs.memory(chunks, self.shape.slab_memory(self.shape.rows()))
            + marks
            + seen_memory(contents.nodes)
            + doubled::<(u32, HeapTid)>(contents.duplicates)
            + doubled::<(u16, HeapTid)>(contents.asides)
            + if spills { fetched } else { 0 }
    }

    /// As `Feeder::spill` moves vectors.
    fn file_size(&self, contents: &Contents, limit: u64) -> u64 {
        let rows = self.shape.rows() as u64;
        let chunks = contents.nodes.div_ceil(rows);
        // Chunks with vectors, memory of vectors that have moved, and chunks that have moved.
        let (mut resident, mut spare, mut moved) = (0u64, 0u64, 0u64);
        for chunk in 1..=chunks {
            let nodes = contents.nodes.min(chunk * rows);
            let part = contents.part(nodes as f64 / contents.nodes as f64);
            // The table of vectors seen is there twice when it grows.
            let before = seen_memory(nodes.saturating_sub(rows));
            let grown = seen_memory(nodes) - before;
            let others = self.beside_vectors(&part, moved > 0) + if grown > 0 { before } else { 0 };
            let room = limit.saturating_sub(others) / self.vectors.max(1);
            if resident + spare + 1 > room && spare == 0 {
                let many = resident.div_ceil(super::spill::SHARE as u64);
                (resident, spare, moved) = (resident - many, many, moved + many);
            }
            spare = spare.min(room.saturating_sub(resident).max(1)).saturating_sub(1);
            resident += 1;
        }
        moved * rows * self.parameters.vector_size() as u64
    }
}

fn bytes(count: u64, size: usize) -> u64 {
    allocated((count as usize).saturating_mul(size)) as u64
}

/// Places of the table of vectors seen, of which seven in eight are used.
fn seen_places(nodes: u64) -> u64 {
    (nodes * 8).div_ceil(7).next_power_of_two().max(4)
}

fn seen_capacity(nodes: u64) -> u64 {
    seen_places(nodes) / 8 * 7
}

/// Each place with its control byte.
fn seen_memory(nodes: u64) -> u64 {
    if nodes == 0 { 0 } else { bytes(seen_places(nodes), size_of::<Seen>() + 1) }
}

/// Bytes of a vector of items that has doubled until it held them.
fn doubled<T>(items: u64) -> u64 {
    if items == 0 { 0 } else { bytes(items.next_power_of_two(), size_of::<T>()) }
}

/// The items that were there when a vector of so many doubled last.
fn half(items: u64) -> u64 {
    items.next_power_of_two() / 2
}
