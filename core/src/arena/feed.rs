//! The way of rows into the arena: one thread copies vectors, the threads of a pool insert them into the
//! graph.

use super::budget::{Budget, Full};
use super::chunk::{Chunk, Shape};
use super::connect::connect;
use super::insert::Inserter;
use super::{Arena, NO_ENTRY};
use crate::code::{CodeParameters, Quantizer};
use crate::graph::{BuiltGraph, level_of};
use crate::kernel::Measure;
use crate::sort::sort_unstable;
use crate::types::{HeapTid, Parameters, Result as CoreResult};
use hashbrown::{DefaultHashBuilder, HashTable};
use rayon::{Scope, ThreadPool};
use std::hash::BuildHasher;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// Nodes that a task inserts.
const TASK_NODES: usize = 64;
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

/// Builds a graph on the threads of `pool`.
///
/// `feed` runs on the calling thread. It pushes rows, then calls [`Feeder::finish`], which gives it the
/// finished arena. Where it returns or unwinds without that, or `stop` is set, the pool drops its work within
/// an insertion or so, and the arena that is returned is not to be used. The pool's threads touch nothing but
/// the arena.
///
/// The directory of chunks is sized by the memory limit, of which it takes a ten-thousandth.
pub fn build<R>(
    settings: Settings,
    stop: &AtomicBool,
    pool: &ThreadPool,
    feed: impl FnOnce(Feeder<'_, '_>) -> R,
) -> (Arena, R) {
    let mut budget = Budget::new(settings.memory_limit);
    let arena = Arena::new(settings, &mut budget);
    let inserter = Inserter::new(&arena, stop);
    let result = pool.in_place_scope(|scope| feed(Feeder::new(scope, &inserter, budget)));
    (arena, result)
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
        let shape = Shape::new(&parameters);
        let chunk_memory = shape.rows() * shape.memory_per_row();
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
            entry: AtomicU64::new(NO_ENTRY),
            duplicates: OnceLock::new(),
        }
    }
}

/// Takes the rows of a build, in one thread.
pub struct Feeder<'a, 'scope> {
    scope: &'a Scope<'scope>,
    inserter: &'scope Inserter<'scope>,
    budget: Budget,
    /// The chunk that takes rows now.
    filling: Option<Chunk>,
    /// Nodes, those in `filling` among them.
    len: u32,
    seen: HashTable<Seen>,
    hasher: DefaultHashBuilder,
    duplicates: Vec<(u32, HeapTid)>,
    coder: Coder,
    finished: bool,
}

/// A node, by 32 bits of its vector's hash.
#[derive(Clone, Copy)]
struct Seen {
    tag: u32,
    node: u32,
}

impl Seen {
    /// The table wants 64 bits, of which the highest and the lowest count.
    fn hash(self) -> u64 {
        u64::from(self.tag) << 32 | u64::from(self.tag)
    }
}

/// Makes the codes of vectors: those of what their payloads will hold.
struct Coder {
    payload: Vec<u8>,
    decoded: Vec<u8>,
    code: Vec<u8>,
}

impl Coder {
    fn new(arena: &Arena) -> Self {
        let Parameters { dimensions, element, payload, .. } = arena.parameters;
        Self {
            payload: vec![0; payload.size(dimensions.into(), element)],
            decoded: Vec::new(),
            code: vec![0; arena.quantizer.as_ref().map_or(0, Quantizer::code_size)],
        }
    }

    /// The code of a vector; empty in a graph without codes.
    fn code(&mut self, arena: &Arena, vector: &[u8]) -> &[u8] {
        if let Some(quantizer) = &arena.quantizer {
            let Parameters { element, payload: encoding, .. } = arena.parameters;
            encoding.encode(vector, element, &mut self.payload);
            let stored = encoding.decode(&self.payload, element, &mut self.decoded);
            quantizer.encode(stored, &mut self.code);
        }
        &self.code
    }
}

impl<'a, 'scope> Feeder<'a, 'scope> {
    fn new(scope: &'a Scope<'scope>, inserter: &'scope Inserter<'scope>, budget: Budget) -> Self {
        Self {
            scope,
            inserter,
            budget,
            filling: None,
            len: 0,
            seen: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            duplicates: Vec::new(),
            coder: Coder::new(inserter.arena),
            finished: false,
        }
    }

    /// Adds a row, to be inserted by the pool.
    ///
    /// Rows with the same bytes become one node. Under cosine the vector is not zero. After [`Full`], which
    /// leaves the row out, other rows may still find a place.
    ///
    /// # Panics
    /// If the vector's length is not that of the graph's vectors.
    pub fn push(&mut self, vector: &[u8], heap_tid: HeapTid) -> Result<(), Full> {
        let arena = self.inserter.arena;
        let tag = self.hasher.hash_one(vector) as u32;
        let mut seen = Seen { tag, node: self.len };
        let same = self.seen.find(seen.hash(), |other| other.tag == tag && self.vector(other.node) == vector);
        if let Some(holder) = same {
            let node = holder.node;
            self.budget.reserve(&mut self.duplicates, 1)?;
            self.duplicates.push((node, heap_tid));
            return Ok(());
        }
        self.reserve_seen()?;
        if self.filling.is_none() {
            self.filling = Some(self.new_chunk()?);
        }
        if let Some(chunk) = &mut self.filling {
            let level = level_of(heap_tid, arena.parameters.m).min(arena.max_level);
            let prepared = arena.measure.prepare(vector);
            let code = self.coder.code(arena, vector);
            chunk.push(vector, code, prepared, heap_tid, level, &arena.shape, &mut self.budget)?;
            seen.node = self.len;
            self.seen.insert_unique(seen.hash(), seen, |seen| seen.hash());
            self.len += 1;
            if chunk.is_full() {
                self.publish();
            }
        }
        Ok(())
    }

    /// Makes room for what the caller keeps beside the graph, within the same limit.
    pub fn reserve<T>(&mut self, items: &mut Vec<T>, additional: usize) -> Result<(), Full> {
        self.budget.reserve(items, additional)
    }

    /// Waits until all rows are inserted and makes every node reachable; `None` when the build was stopped.
    /// It fails where there is no memory for that.
    ///
    /// `poll` is called again and again with the number of nodes inserted. It may unwind.
    pub fn finish(mut self, mut poll: impl FnMut(u32)) -> CoreResult<Option<&'scope Arena>> {
        let arena = self.inserter.arena;
        self.publish();
        // The table is of no more use, and its memory is.
        self.seen = HashTable::new();
        while self.inserter.inserted() < self.len {
            if self.inserter.is_stopped() {
                return self.inserter.check().map(|()| None);
            }
            poll(self.inserter.inserted());
            std::thread::sleep(POLL_INTERVAL);
        }
        connect(arena, || poll(self.len))?;
        sort_unstable(&mut self.duplicates, &mut || poll(self.len));
        arena.duplicates.get_or_init(|| std::mem::take(&mut self.duplicates));
        self.finished = true;
        Ok(Some(arena))
    }

    /// Nodes inserted so far.
    pub fn inserted(&self) -> u32 {
        self.inserter.inserted()
    }

    /// The vector of a node, which may be in the chunk that is being filled.
    fn vector(&self, node: u32) -> &[u8] {
        let arena = self.inserter.arena;
        match &self.filling {
            Some(chunk) if node >= self.len - chunk.len() as u32 => {
                chunk.vector(arena.shape.locate(node).1, &arena.shape)
            }
            _ => arena.vector(node),
        }
    }

    /// A chunk as large as the memory left allows.
    fn new_chunk(&mut self) -> Result<Chunk, Full> {
        let shape = &self.inserter.arena.shape;
        let (place, row) = shape.locate(self.len);
        let rows = shape.rows().min(self.budget.left() / shape.memory_per_row());
        // A chunk that was cut short is the last.
        if rows == 0 || row != 0 || place >= self.inserter.arena.chunks.len() {
            return Err(Full);
        }
        Chunk::new(rows, shape, &mut self.budget)
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

    /// Hands the rows of the chunk that takes rows to the pool.
    fn publish(&mut self) {
        let Some(chunk) = self.filling.take() else { return };
        let Self { scope, inserter, len, .. } = *self;
        let nodes = len - chunk.len() as u32..len;
        let (place, _) = inserter.arena.shape.locate(nodes.start);
        // This thread alone sets chunks, each once.
        inserter.arena.chunks[place].get_or_init(|| chunk);
        inserter.arena.len.store(len, Ordering::Release);
        for start in nodes.clone().step_by(TASK_NODES) {
            let task = start..nodes.end.min(start + TASK_NODES as u32);
            scope.spawn(move |_| inserter.insert_all(task));
        }
    }
}

impl Drop for Feeder<'_, '_> {
    fn drop(&mut self) {
        if !self.finished {
            self.inserter.stop();
        }
    }
}
