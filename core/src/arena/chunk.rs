//! Consecutive nodes in memory: their vectors, what else is known of them, and their neighbour lists.

use super::budget::{Budget, Full, allocated};
use super::list::List;
use crate::code::code_size;
use crate::types::{HeapTid, Parameters};
use bytemuck::{Pod, Zeroable};
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

/// How the chunks of an arena are laid out.
pub(super) struct Shape {
    vector_size: usize,
    code_size: usize,
    /// Bytes between two codes: one that fits a cache line is in one, as searches wait for lines more than for
    /// anything else.
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
            vector_size: parameters.vector_size(),
            code_size,
            code_stride,
            m: usize::from(parameters.m),
            base_words: List::words(parameters.max_links(0)),
            upper_words: List::words(parameters.max_links(1)),
            row_bits: 0,
        };
        let chunk_memory = CHUNK_MEMORY.min(memory_limit / LEAST_CHUNKS);
        let per_row = shape.memory(parameters, 0).whole;
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
        let spilled = self.code_stride + size_of::<Row>() + words * size_of::<AtomicU32>() + SEEN + marks;
        let fetched = threads * usize::from(parameters.ef_construction) * self.vector_size;
        Memory { whole: self.vector_size + spilled, spilled, fetched }
    }

    /// Bytes of a whole chunk's vectors, and of all the rest of it, as [`Chunk::new`] takes them and upper lists
    /// grow.
    pub(super) fn chunk_memory(&self) -> (u64, u64) {
        let rows = self.rows();
        let lines = (rows * self.vector_size).div_ceil(size_of::<CacheLine>());
        let words = size_of::<AtomicU32>();
        let upper_lists = (rows / (self.m - 1)).max(1).next_power_of_two();
        let beside = [
            (rows * self.code_stride).next_multiple_of(size_of::<CacheLine>()),
            rows * size_of::<Row>(),
            rows * self.base_words * words,
            upper_lists * self.upper_words * words,
        ];
        let beside: usize = beside.into_iter().map(allocated).sum();
        (allocated(lines * size_of::<CacheLine>()) as u64, beside as u64)
    }
}

/// Bytes of memory that a build takes, as levels are drawn on average.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Memory {
    /// A node with its vector.
    pub(super) whole: usize,
    /// A node whose vector is in a file.
    pub(super) spilled: usize,
    /// What all threads take to measure what they have found, once vectors are in a file.
    pub(super) fetched: usize,
}

/// Consecutive nodes. Only the neighbour lists change once a chunk is published.
pub(super) struct Chunk {
    vectors: Vec<CacheLine>,
    codes: Vec<CacheLine>,
    rows: Vec<Row>,
    base_lists: Vec<AtomicU32>,
    upper_lists: Vec<AtomicU32>,
}

impl Chunk {
    /// A chunk with memory for `rows` rows, but for upper lists. The vectors' memory may come from another chunk
    /// of as many rows.
    pub(super) fn new(
        rows: usize,
        vectors: Option<Vec<CacheLine>>,
        shape: &Shape,
        budget: &mut Budget,
    ) -> Result<Self, Full> {
        let mut chunk = Self {
            vectors: vectors.unwrap_or_default(),
            codes: Vec::new(),
            rows: Vec::new(),
            base_lists: Vec::new(),
            upper_lists: Vec::new(),
        };
        let lines = (rows * shape.vector_size).div_ceil(size_of::<CacheLine>());
        if chunk.vectors.is_empty() {
            budget.reserve(&mut chunk.vectors, lines)?;
            chunk.vectors.resize(lines, CacheLine::zeroed());
        }
        let lines = (rows * shape.code_stride).div_ceil(size_of::<CacheLine>());
        budget.reserve(&mut chunk.codes, lines)?;
        chunk.codes.resize(lines, CacheLine::zeroed());
        budget.reserve(&mut chunk.rows, rows)?;
        budget.reserve(&mut chunk.base_lists, rows * shape.base_words)?;
        Ok(chunk)
    }

    /// Adds a row, for which [`Chunk::new`] reserved memory.
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
        self.upper_lists.resize_with(upper + upper_words, AtomicU32::default);
        self.base_lists.resize_with(self.base_lists.len() + shape.base_words, AtomicU32::default);
        let start = self.rows.len() * shape.vector_size;
        bytemuck::cast_slice_mut(&mut self.vectors)[start..start + shape.vector_size].copy_from_slice(vector);
        let start = self.rows.len() * shape.code_stride;
        bytemuck::cast_slice_mut(&mut self.codes)[start..start + code.len()].copy_from_slice(code);
        self.rows.push(Row { prepared, upper: upper as u32, heap_tid, level });
        Ok(())
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
        &bytemuck::cast_slice(&self.vectors)[row * shape.vector_size..][..shape.vector_size]
    }

    /// The vectors of all rows, one after the other.
    pub(super) fn vectors(&self, shape: &Shape) -> &[u8] {
        &bytemuck::cast_slice(&self.vectors)[..self.len() * shape.vector_size]
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
