//! Consecutive nodes in memory: their vectors, what else is known of them, and their neighbour lists.

use super::budget::{Budget, Full, allocated};
use super::list::List;
use super::slab::{Slab, piece};
use crate::code::code_size;
use crate::types::{HeapTid, Parameters};
use allocator_api2::vec::Vec as PieceVec;
use bytemuck::{Pod, Zeroable};
use std::ops::Range;
use std::sync::atomic::AtomicU32;

/// Bytes that a chunk is meant to take: little beside a memory limit, much beside its entry in the directory.
const CHUNK_MEMORY: usize = 1 << 20;
/// A chunk is inserted when it is full: more rows would keep the threads of a small build waiting.
const MAX_CHUNK_ROWS: usize = 4096;

/// Chunks that any memory limit holds.
const LEAST_CHUNKS: usize = 16;

/// The unit in which memory for vectors is taken, for its alignment.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
pub(super) struct CacheLine([u64; 8]);

/// What is known of a node beside its vector and its neighbours.
pub(super) struct Row {
    /// What the measure wants to know of the vector.
    pub(super) prepared: f32,
    /// Where the node's lists of the layers above 0 begin in its chunk.
    upper: u32,
    /// The first row that holds the vector.
    pub(super) heap_tid: HeapTid,
    /// The node's top layer.
    pub(super) level: u8,
}

/// Bytes of a vector for which chunks are laid out, where vectors are not of one length.
const TYPICAL_VECTOR: usize = 1024;

/// How the chunks of an arena are laid out.
pub(super) struct Shape {
    /// Bytes of a vector; `None` where they are not of one length.
    vector_size: Option<usize>,
    code_size: usize,
    /// Bytes between two codes: one that fits a cache line is in one, as searches wait for lines more than
    /// for anything else.
    code_stride: usize,
    m: usize,
    /// Words of a neighbour list of layer 0.
    base_words: usize,
    /// Words of a neighbour list of any other layer.
    upper_words: usize,
    /// Binary logarithm of the number of rows.
    row_bits: u32,
}

impl Shape {
    /// Chunks for arenas in so much memory: a small one has small chunks, so that they fill it.
    pub(super) fn new(parameters: &Parameters, memory_limit: usize) -> Self {
        let code_size = match parameters.code_bits {
            0 => 0,
            bits => code_size(bits, parameters.code_dimensions.into()),
        };
        let code_stride = match code_size {
            1..=64 => code_size.next_power_of_two(),
            size => size,
        };
        let mut shape = Self {
            vector_size: (!parameters.element.varies()).then(|| parameters.vector_size()),
            code_size,
            code_stride,
            m: usize::from(parameters.m),
            base_words: List::words(parameters.max_links(0)),
            upper_words: List::words(parameters.max_links(1)),
            row_bits: 0,
        };
        let chunk_memory = CHUNK_MEMORY.min(memory_limit / LEAST_CHUNKS);
        let vector_size = shape.vector_size.unwrap_or(TYPICAL_VECTOR);
        let per_row = shape.memory(parameters, 0).spilled + vector_size;
        shape.row_bits = (chunk_memory / per_row).clamp(1, MAX_CHUNK_ROWS).ilog2();
        shape
    }

    /// Rows of a chunk.
    pub(super) fn rows(&self) -> usize {
        1 << self.row_bits
    }

    /// The chunk of a node, and its place there.
    pub(super) fn locate(&self, node: u32) -> (usize, usize) {
        ((node >> self.row_bits) as usize, node as usize & (self.rows() - 1))
    }

    /// What each way of a build by so many threads takes.
    pub(super) fn memory(&self, parameters: &Parameters, threads: usize) -> Memory {
        /// Twice an entry of the table of vectors seen (8 bytes and a control byte), which is half full on
        /// average or more.
        const SEEN: usize = 18;
        // A node has m⁻¹ + m⁻² + … = 1 / (m − 1) upper lists on average.
        let words = self.base_words + self.upper_words.div_ceil(self.m - 1);
        // A thread's marks: a byte a node, up to the next power of two.
        let marks = threads * 3 / 2;
        let end = if self.vector_size.is_none() { size_of::<u32>() } else { 0 };
        let spilled =
            self.code_stride + size_of::<Row>() + words * size_of::<AtomicU32>() + end + SEEN + marks;
        let vector_size = self.vector_size.unwrap_or(0);
        let fetched = threads * usize::from(parameters.ef_construction) * vector_size;
        Memory { whole: vector_size + spilled, spilled, fetched }
    }

    /// Bytes of a whole chunk's vectors, of so many bytes on average, and of what else grows with it, as
    /// [`Chunk::new`] takes them and upper lists grow; without what is of a slab.
    pub(super) fn chunk_memory(&self, vector_size: usize) -> (u64, u64) {
        let rows = self.rows();
        let lines = (rows * vector_size).div_ceil(size_of::<CacheLine>());
        let upper_lists = (rows / (self.m - 1)).max(1).next_power_of_two();
        let ends = if self.vector_size.is_none() { rows * size_of::<u32>() } else { 0 };
        let beside = allocated(ends) + allocated(upper_lists * self.upper_words * size_of::<AtomicU32>());
        (allocated(lines * size_of::<CacheLine>()) as u64, beside as u64)
    }

    /// Bytes of a slab that a chunk of so many rows takes: codes, rows, and lists of layer 0.
    pub(super) fn slab_memory(&self, rows: usize) -> usize {
        let codes = (rows * self.code_stride).next_multiple_of(size_of::<CacheLine>());
        let lists = rows * self.base_words * size_of::<AtomicU32>();
        [codes, rows * size_of::<Row>(), lists].into_iter().map(piece).sum()
    }
}

/// Bytes of memory that a build takes, as levels are drawn on average.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Memory {
    /// A node with its vector; without it where vectors are not of one length.
    pub(super) whole: usize,
    /// A node whose vector is in a file.
    pub(super) spilled: usize,
    /// What all threads take to measure what they have found, once vectors are in a file.
    pub(super) fetched: usize,
}

/// Consecutive nodes. Only the neighbour lists change once a chunk is published.
pub(super) struct Chunk {
    vectors: Vec<CacheLine>,
    /// Where each vector ends, where they are not of one length.
    ends: Vec<u32>,
    codes: PieceVec<CacheLine, Slab>,
    rows: PieceVec<Row, Slab>,
    base_lists: PieceVec<AtomicU32, Slab>,
    upper_lists: Vec<AtomicU32>,
}

impl Chunk {
    /// A chunk with memory for `rows` rows, but for upper lists; the slab has [`Shape::slab_memory`] for
    /// them. The vectors' memory may come from another chunk of as many rows.
    pub(super) fn new(
        rows: usize,
        vectors: Option<Vec<CacheLine>>,
        slab: Slab,
        shape: &Shape,
        budget: &mut Budget,
    ) -> Result<Self, Full> {
        let mut chunk = Self {
            vectors: vectors.unwrap_or_default(),
            ends: Vec::new(),
            codes: PieceVec::new_in(slab.clone()),
            rows: PieceVec::new_in(slab.clone()),
            base_lists: PieceVec::new_in(slab),
            upper_lists: Vec::new(),
        };
        let lines = (rows * shape.vector_size.unwrap_or(0)).div_ceil(size_of::<CacheLine>());
        if shape.vector_size.is_none() {
            budget.reserve(&mut chunk.ends, rows)?;
        } else if chunk.vectors.is_empty() {
            budget.reserve(&mut chunk.vectors, lines)?;
            chunk.vectors.resize(lines, CacheLine::zeroed());
        }
        let lines = (rows * shape.code_stride).div_ceil(size_of::<CacheLine>());
        chunk.codes.try_reserve_exact(lines).map_err(|_| Full)?;
        chunk.codes.resize(lines, CacheLine::zeroed());
        chunk.rows.try_reserve_exact(rows).map_err(|_| Full)?;
        chunk.base_lists.try_reserve_exact(rows * shape.base_words).map_err(|_| Full)?;
        Ok(chunk)
    }

    /// Adds a row, for which [`Chunk::new`] reserved memory, but for a vector of any length.
    #[expect(clippy::too_many_arguments, reason = "what a row is made of")]
    pub(super) fn push(
        &mut self,
        vector: &[u8],
        code: &[u8],
        prepared: f32,
        heap_tid: HeapTid,
        level: u8,
        shape: &Shape,
        budget: &mut Budget,
    ) -> Result<(), Full> {
        let upper = self.upper_lists.len();
        let upper_words = usize::from(level) * shape.upper_words;
        budget.reserve(&mut self.upper_lists, upper_words)?;
        let place = match shape.vector_size {
            Some(size) => self.rows.len() * size..(self.rows.len() + 1) * size,
            None => self.extend_vectors(vector.len(), budget)?,
        };
        self.upper_lists.resize_with(upper + upper_words, AtomicU32::default);
        self.base_lists.resize_with(self.base_lists.len() + shape.base_words, AtomicU32::default);
        bytemuck::cast_slice_mut(&mut self.vectors)[place].copy_from_slice(vector);
        let start = self.rows.len() * shape.code_stride;
        bytemuck::cast_slice_mut(&mut self.codes)[start..start + code.len()].copy_from_slice(code);
        self.rows.push(Row { prepared, upper: upper as u32, heap_tid, level });
        Ok(())
    }

    /// Makes room for one more vector of so many bytes.
    fn extend_vectors(&mut self, bytes: usize, budget: &mut Budget) -> Result<Range<usize>, Full> {
        let start = self.ends.last().map_or(0, |end| *end as usize);
        let now = self.vectors.len();
        let lines = (start + bytes).div_ceil(size_of::<CacheLine>()).max(now);
        budget.reserve(&mut self.vectors, lines - now)?;
        self.vectors.resize(lines, CacheLine::zeroed());
        self.ends.push((start + bytes) as u32);
        Ok(start..start + bytes)
    }

    /// Gives back what vectors of any length have not used of their memory, which doubles as it grows; not
    /// where there is none to copy them to.
    pub(super) fn trim(&mut self, budget: &mut Budget) {
        let mut exact = Vec::new();
        let is_larger = self.vectors.capacity() > self.vectors.len();
        if is_larger && budget.reserve(&mut exact, self.vectors.len()).is_ok() {
            exact.extend_from_slice(&self.vectors);
            budget.release(std::mem::replace(&mut self.vectors, exact));
        }
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether the memory that [`Chunk::new`] reserved is used up.
    pub(super) fn is_full(&self) -> bool {
        self.rows.len() == self.rows.capacity()
    }

    pub(super) fn row(&self, row: usize) -> &Row {
        &self.rows[row]
    }

    pub(super) fn vector(&self, row: usize, shape: &Shape) -> &[u8] {
        let vectors = bytemuck::cast_slice(&self.vectors);
        match shape.vector_size {
            Some(size) => &vectors[row * size..][..size],
            None => {
                let start = row.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
                &vectors[start..self.ends[row] as usize]
            }
        }
    }

    /// The vectors of all rows, one after the other, which are of one length.
    pub(super) fn vectors(&self, shape: &Shape) -> &[u8] {
        &bytemuck::cast_slice(&self.vectors)[..self.len() * shape.vector_size.unwrap_or(0)]
    }

    /// Gives the memory of the vectors away.
    pub(super) fn take_vectors(&mut self) -> Vec<CacheLine> {
        std::mem::take(&mut self.vectors)
    }

    pub(super) fn code(&self, row: usize, shape: &Shape) -> &[u8] {
        &bytemuck::cast_slice(&self.codes)[row * shape.code_stride..][..shape.code_size]
    }

    pub(super) fn list(&self, row: usize, layer: u8, shape: &Shape) -> List<'_> {
        let words = if layer == 0 {
            &self.base_lists[row * shape.base_words..][..shape.base_words]
        } else {
            let start = self.rows[row].upper as usize + usize::from(layer - 1) * shape.upper_words;
            &self.upper_lists[start..][..shape.upper_words]
        };
        List::new(words)
    }
}
