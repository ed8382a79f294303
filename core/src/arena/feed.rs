//! The way of rows into the arena: one thread copies vectors, the threads of a pool insert them into the
//! graph.

use super::budget::{Budget, Full};
use super::chunk::{CacheLine, Chunk, Shape};
use super::coder::Coder;
use super::connect::connect;
use super::insert::Inserter;
use super::list::List;
use super::slab::Slabs;
use super::{Arena, NO_ENTRY};
use crate::code::{CodeParameters, Quantizer, fingerprint};
use crate::graph::level_of;
use crate::kernel::Measure;
use crate::sort::sort_unstable;
use crate::types::{HeapTid, Parameters, Result as CoreResult};
use hashbrown::{DefaultHashBuilder, HashTable};
use rayon::ThreadPool;
use std::hash::BuildHasher;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Nodes that a task inserts.
const TASK_NODES: usize = 64;
/// In the place of the row that an adopted node does not have.
const NO_ROW: HeapTid = HeapTid::new(0, 0);
/// How often [`Feeder::finish`] polls while the pool works.
const POLL_INTERVAL: Duration = Duration::from_millis(1);

/// What a graph is built with.
pub struct Settings {
    parameters: Parameters,
    quantizer: Option<Quantizer>,
    max_level: u8,
    memory_limit: usize,
}

impl Settings {
    /// A graph of nodes up to `max_level`, in at most `memory_limit` bytes. Codes are made around `centroid`,
    /// a mean of vectors (under cosine, of normalized ones); without codes it may be empty.
    ///
    /// # Panics
    /// If there are codes and the centroid has other dimensions than the vectors.
    pub fn new(parameters: Parameters, centroid: &[f32], max_level: u8, memory_limit: usize) -> Self {
        let codes = CodeParameters::new(&parameters, centroid);
        let quantizer = codes.map(|codes| Quantizer::new(codes, centroid));
        Self { parameters, quantizer, max_level, memory_limit }
    }
}

impl Arena {
    /// An empty graph, to be written as it is: around no centroid.
    pub fn empty(parameters: Parameters) -> Self {
        let settings = Settings { parameters, quantizer: None, max_level: 0, memory_limit: 0 };
        Self::new(settings, &mut Budget::new(0))
    }

    /// An empty arena with a directory for as many chunks as fit the budget; for none where that cannot be
    /// had.
    fn new(settings: Settings, budget: &mut Budget) -> Self {
        let Settings { parameters, quantizer, max_level, .. } = settings;
        let shape = Shape::new(&parameters, budget.left());
        // The directory is sized by what chunks take at least.
        let per_row = shape.memory(&parameters, 0);
        let chunk_memory = shape.rows() * if quantizer.is_some() { per_row.spilled } else { per_row.whole };
        let max_chunks = (u32::MAX as usize / shape.rows()).min(budget.left() / chunk_memory + 1);
        let mut chunks = Vec::new();
        if budget.reserve(&mut chunks, max_chunks).is_ok() {
            chunks.resize_with(max_chunks, OnceLock::new);
        }
        Self {
            parameters,
            measure: Measure::new(parameters.metric, parameters.element),
            quantizer,
            max_level,
            shape,
            chunks,
            len: AtomicU32::new(0),
            adopted: 0,
            entry: AtomicU64::new(NO_ENTRY),
            duplicates: Vec::new(),
            spilled: None,
        }
    }
}

/// Takes the rows of a build, in one thread, to be inserted by the threads of a pool.
///
/// Where it is dropped before [`Feeder::finish`] has returned, unwinding included, the pool drops its work
/// within an insertion or so. The pool's threads touch nothing but the arena.
pub struct Feeder<'a> {
    pub(super) pool: &'a ThreadPool,
    pub(super) inserter: Arc<Inserter>,
    pub(super) budget: Budget,
    slabs: Slabs,
    /// The chunk that takes rows now.
    filling: Option<Chunk>,
    /// Nodes, those in `filling` among them.
    len: u32,
    /// Nodes that were adopted, or that tasks were begun for: the first ones.
    pub(super) begun: u32,
    seen: HashTable<Seen>,
    hasher: DefaultHashBuilder,
    duplicates: Vec<(u32, HeapTid)>,
    coder: Coder,
    /// Bytes of the vectors of all nodes.
    vector_bytes: u64,
    /// For vectors that are compared with a new one.
    buffer: Vec<u8>,
    /// Bytes counted for marks.
    marks: usize,
    /// Memory of vectors that moved to a file, for those of new chunks. Were it malloc's, lists would take a
    /// part of each piece, and vectors find no place in the rest.
    pub(super) spare: Vec<Vec<CacheLine>>,
}

/// A node, by 32 bits of a hash that nobody foresees.
#[derive(Clone, Copy)]
pub(super) struct Seen {
    tag: u32,
    node: u32,
}

impl Seen {
    pub(super) fn new(tag: u32, node: u32) -> Self {
        Self { tag, node }
    }

    /// The table wants 64 bits, of which the highest and the lowest count.
    fn hash(self) -> u64 {
        u64::from(self.tag) << 32 | u64::from(self.tag)
    }
}

impl<'a> Feeder<'a> {
    /// Begins a graph.
    ///
    /// The directory of chunks is sized by the memory limit, of which it takes a thousandth.
    pub fn new(settings: Settings, pool: &'a ThreadPool) -> Self {
        let slabs = Slabs::new(settings.memory_limit);
        let mut budget = Budget::new(settings.memory_limit);
        let arena = Arena::new(settings, &mut budget);
        Self {
            pool,
            coder: Coder::new(&arena),
            inserter: Arc::new(Inserter::new(arena)),
            budget,
            slabs,
            filling: None,
            len: 0,
            begun: 0,
            seen: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            duplicates: Vec::new(),
            vector_bytes: 0,
            buffer: Vec::new(),
            marks: 0,
            spare: Vec::new(),
        }
    }

    /// Adds a row, to be inserted by the pool.
    ///
    /// Rows with the same bytes become one node. Under cosine the vector is not zero. After [`Full`], which
    /// leaves the row out, other rows may still find a place.
    ///
    /// # Panics
    /// If the vector's length is not that of the graph's vectors, where these are of one length.
    pub fn push(&mut self, vector: &[u8], heap_tid: HeapTid) -> Result<(), Full> {
        let seen = Seen::new(self.tag(fingerprint(vector)), self.len);
        if let Some(node) = self.holder(seen, vector) {
            self.budget.reserve(&mut self.duplicates, 1)?;
            self.duplicates.push((node, heap_tid));
            return Ok(());
        }
        let arena = &self.inserter.arena;
        let level = level_of(heap_tid, arena.parameters.m).min(arena.max_level);
        self.add(seen, vector, Some(heap_tid), level)?;
        self.begin_tasks();
        Ok(())
    }

    /// Adds a node to the chunk that takes rows, and publishes that when it is full. One without a row is
    /// adopted.
    pub(super) fn add(
        &mut self,
        seen: Seen,
        vector: &[u8],
        row: Option<HeapTid>,
        level: u8,
    ) -> Result<(), Full> {
        self.reserve_seen()?;
        if self.filling.is_none() {
            self.filling = Some(self.new_chunk()?);
        }
        let arena = &self.inserter.arena;
        if let Some(chunk) = &mut self.filling {
            let prepared = arena.measure.prepare(vector);
            let code = self.coder.code(arena, vector, row.is_none());
            let heap_tid = row.unwrap_or(NO_ROW);
            chunk.push(vector, code, prepared, heap_tid, level, &arena.shape, &mut self.budget)?;
            self.seen.insert_unique(seen.hash(), seen, |seen| seen.hash());
            self.len += 1;
            self.vector_bytes += vector.len() as u64;
            if chunk.is_full() {
                self.publish();
            }
        }
        Ok(())
    }

    /// What is kept of a fingerprint.
    pub(super) fn tag(&self, fingerprint: u64) -> u32 {
        self.hasher.hash_one(fingerprint) as u32
    }

    /// A node's list, which no task may change.
    pub(super) fn list(&self, node: u32, layer: u8) -> List<'_> {
        let arena = &self.inserter.arena;
        match &self.filling {
            Some(chunk) if node >= self.len - chunk.len() as u32 => {
                chunk.list(arena.shape.locate(node).1, layer, &arena.shape)
            }
            _ => arena.list(node, layer),
        }
    }

    /// The node that holds a vector already.
    fn holder(&mut self, seen: Seen, vector: &[u8]) -> Option<u32> {
        let Self { inserter, filling, len, buffer, coder, .. } = self;
        let arena = &inserter.arena;
        let mut is_same = |node: u32| {
            // An adopted node has its vector as it is stored.
            let vector = if node < arena.adopted { coder.stored(arena, vector) } else { vector };
            match filling {
                Some(chunk) if node >= *len - chunk.len() as u32 => {
                    chunk.vector(arena.shape.locate(node).1, &arena.shape) == vector
                }
                _ => match arena.any_vector(node, buffer) {
                    Ok(other) => other == vector,
                    Err(failure) => {
                        inserter.fail(failure);
                        false
                    }
                },
            }
        };
        let is_holder = |other: &Seen| other.tag == seen.tag && is_same(other.node);
        self.seen.find(seen.hash(), is_holder).map(|holder| holder.node)
    }

    /// Makes room for what the caller keeps beside the graph, within the same limit.
    pub fn reserve<T>(&mut self, items: &mut Vec<T>, additional: usize) -> Result<(), Full> {
        self.budget.reserve(items, additional)
    }

    /// Waits until all rows are inserted and makes every node reachable; `None` when the build was stopped.
    /// It fails where there is no memory for that.
    ///
    /// `poll` is called again and again with the number of nodes inserted. It may unwind.
    pub fn finish(mut self, mut poll: impl FnMut(u32)) -> CoreResult<Option<Arena>> {
        self.publish();
        self.begin_tasks();
        // The table is of no more use, and its memory is.
        self.seen = HashTable::new();
        if !self.wait(&mut poll)? {
            return Ok(None);
        }
        connect(&self.inserter.arena, || poll(self.len))?;
        sort_unstable(&mut self.duplicates, &mut || poll(self.len));
        let Self { inserter, duplicates, .. } = &mut self;
        let Some(Inserter { arena, .. }) = Arc::get_mut(inserter) else { return Ok(None) };
        arena.duplicates = std::mem::take(duplicates);
        let empty = Arena::empty(arena.parameters);
        Ok(Some(std::mem::replace(arena, empty)))
    }

    /// Waits until all published rows are inserted and no task runs any more; false when the build was
    /// stopped.
    pub(super) fn wait(&mut self, poll: &mut impl FnMut(u32)) -> CoreResult<bool> {
        // A task lets go of the arena last of all.
        while self.inserter.inserted() < self.begun || Arc::strong_count(&self.inserter) > 1 {
            if self.inserter.is_stopped() {
                return self.inserter.check().map(|()| false);
            }
            poll(self.inserter.inserted());
            std::thread::sleep(POLL_INTERVAL);
        }
        Ok(true)
    }

    /// Nodes inserted so far.
    pub fn inserted(&self) -> u32 {
        self.inserter.inserted()
    }

    /// Nodes that were pushed.
    pub fn nodes(&self) -> u32 {
        self.len
    }

    /// Bytes of a node's vector, on average.
    pub fn vector_size(&self) -> usize {
        self.vector_bytes.div_ceil(u64::from(self.len).max(1)) as usize
    }

    /// Nodes that the pool has yet to insert: none once it has stopped.
    pub fn waiting(&self) -> u32 {
        if self.inserter.is_stopped() { 0 } else { self.begun - self.inserter.inserted() }
    }

    /// Whether the pool goes on; an error where it has stopped for one.
    pub fn check(&self) -> CoreResult<bool> {
        // Who sees that it has stopped sees why.
        let goes_on = !self.inserter.is_stopped();
        self.inserter.check().map(|()| goes_on)
    }

    /// A chunk as large as the memory left allows.
    fn new_chunk(&mut self) -> Result<Chunk, Full> {
        let shape = &self.inserter.arena.shape;
        let (place, row) = shape.locate(self.len);
        // Each thread's marks grow to a power of two.
        let nodes = (self.len as usize + shape.rows()).next_power_of_two();
        let marks = nodes * self.pool.current_num_threads();
        self.budget.check(marks - self.marks)?;
        let per_row = shape.memory(&self.inserter.arena.parameters, 0);
        let left = |budget: &Budget| budget.left().saturating_sub(marks - self.marks);
        while left(&self.budget) < shape.rows() * per_row.spilled
            && let Some(vectors) = self.spare.pop()
        {
            self.budget.release(vectors);
        }
        let per_row = if self.spare.is_empty() { per_row.whole } else { per_row.spilled };
        let rows = shape.rows().min(left(&self.budget) / per_row);
        // A chunk that was cut short is the last.
        let is_cut = rows < shape.rows();
        if rows == 0 || is_cut && self.can_spill() || row != 0 || place >= self.inserter.arena.chunks.len() {
            return Err(Full);
        }
        self.budget.resized(self.marks, marks);
        self.marks = marks;
        let slab = self.slabs.room(shape.slab_memory(rows), !self.can_spill(), &mut self.budget)?;
        Chunk::new(rows, self.spare.pop(), slab, shape, &mut self.budget)
    }

    /// Makes room for one more vector in the table of those seen.
    fn reserve_seen(&mut self) -> Result<(), Full> {
        if self.seen.len() < self.seen.capacity() {
            return Ok(());
        }
        let before = self.seen.allocation_size();
        // It doubles, and the old one is there until the new one is filled.
        self.budget.check(2 * before)?;
        self.seen.try_reserve(1, |seen| seen.hash()).map_err(|_| Full)?;
        self.budget.resized(before, self.seen.allocation_size());
        Ok(())
    }

    /// Publishes the chunk that takes rows.
    fn publish(&mut self) {
        let Some(mut chunk) = self.filling.take() else { return };
        chunk.trim(&mut self.budget);
        let arena = &self.inserter.arena;
        let (place, _) = arena.shape.locate(self.len - chunk.len() as u32);
        // This thread alone sets chunks, each once.
        arena.chunks[place].get_or_init(|| chunk);
        arena.len.store(self.len, Ordering::Release);
    }

    /// Hands the nodes of published chunks to the pool.
    fn begin_tasks(&mut self) {
        let nodes = self.begun..self.inserter.arena.len.load(Ordering::Relaxed);
        if nodes.is_empty() {
            return;
        }
        self.begun = nodes.end;
        for start in nodes.clone().step_by(TASK_NODES) {
            let task = start..nodes.end.min(start + TASK_NODES as u32);
            let inserter = Arc::clone(&self.inserter);
            // A panic stops the build, see `Inserter::insert_all`.
            self.pool.spawn(move || _ = catch_unwind(AssertUnwindSafe(|| inserter.insert_all(task))));
        }
    }
}

impl Drop for Feeder<'_> {
    fn drop(&mut self) {
        self.inserter.stop();
    }
}
