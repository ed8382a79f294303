//! The graph of rows that wait, while it is built.

use rayon::ThreadPool;
use walia_core::arena::{Arena, Feeder, Settings};
use walia_core::graph::{AdoptingGraph, Contents, EntryPoint};
use walia_core::page::query::schema::read_centroid;
use walia_core::page::{Index, Meta, PageStore, Phase};
use walia_core::types::{Error, HeapTid, Link};

use crate::error::SqlError;
use crate::store::check_for_interrupts;
use crate::store::file::TemporaryFile;
use crate::store::progress;

/// Nodes between two of which it is shown how far the work is.
pub const REPORT_NODES: u32 = 64;

/// What graphs for an index are built with.
pub struct Plan<'p, 'i, Store> {
    index: &'i Index<Store>,
    pool: &'p ThreadPool,
    /// Bytes for a graph.
    memory: usize,
    centroid: Vec<f32>,
}

impl<'p, 'i, Store: PageStore> Plan<'p, 'i, Store> {
    /// Graphs of so many bytes.
    pub fn new(index: &'i Index<Store>, pool: &'p ThreadPool, memory: usize) -> Result<Self, Error> {
        let centroid = match index.schema.layout.parameters.code_bits {
            0 => Vec::new(),
            _ => read_centroid(&index.store, &Meta::read(&index.store)?)?,
        };
        Ok(Self { index, pool, memory, centroid })
    }

    /// An empty graph. What memory has no room for goes to `file`.
    pub fn begin<'f>(&self, file: &'f mut Option<TemporaryFile>) -> Graph<'p, 'f> {
        let layout = &self.index.schema.layout;
        let settings = Settings::new(layout.parameters, &self.centroid, layout.max_level, self.memory);
        Graph { feeder: Feeder::new(settings, self.pool), file, adopted: Vec::new(), failure: None }
    }

    /// A graph for so many rows that begins with the nodes of the index where there is room for them all. In
    /// the file there is only beside rows that are a good part of the index.
    pub fn begin_with_index<'f>(
        &self,
        rows: usize,
        is_dense: bool,
        file: &'f mut Option<TemporaryFile>,
        failed: &impl Fn(Error) -> SqlError,
    ) -> Result<Graph<'p, 'f>, SqlError> {
        let mut graph = self.begin(file);
        let threads = self.pool.current_num_threads();
        if !has_room(self.index, rows, is_dense, threads, self.memory).map_err(failed)? {
            return Ok(graph);
        }
        let adopted = self.index.adopt(&mut graph).map_err(failed)?;
        if let Some(failure) = graph.failure.take() {
            return Err(failure);
        }
        if let Some(adopted) = adopted {
            graph.adopted = adopted;
            return Ok(graph);
        }
        let Graph { feeder, file, .. } = graph;
        drop(feeder);
        *file = None;
        Ok(self.begin(file))
    }
}

/// Whether a graph of so many rows should take over the index, and finds room in so many bytes of memory; but
/// for vectors where the rows are a good part of it.
pub fn has_room<Store: PageStore>(
    index: &Index<Store>,
    rows: usize,
    is_dense: bool,
    threads: usize,
    memory: usize,
) -> Result<bool, Error> {
    if !index.is_worth_adopting(rows as u64)? {
        return Ok(false);
    }
    let parameters = &index.schema.layout.parameters;
    let nodes = index.most_nodes()? + rows as u64;
    let contents = Contents { nodes, vector_size: parameters.vector_size(), ..Contents::default() };
    let estimate = Arena::estimate(parameters, threads, &contents);
    let wanted = estimate.spilled.filter(|_| is_dense).unwrap_or(estimate.whole);
    Ok(wanted <= memory as u64)
}

/// A graph that takes rows.
pub struct Graph<'p, 'f> {
    pub feeder: Feeder<'p>,
    /// For vectors that memory has no room for; `None` as long as it has.
    pub file: &'f mut Option<TemporaryFile>,
    /// Where the nodes of the index are with which it begins.
    pub adopted: Vec<Link>,
    /// Why there is no file.
    failure: Option<SqlError>,
}

impl Graph<'_, '_> {
    /// Adds a row; false where there is no room.
    pub fn push(
        &mut self,
        vector: &[u8],
        heap_tid: HeapTid,
        failed: &impl Fn(Error) -> SqlError,
    ) -> Result<bool, SqlError> {
        while self.feeder.push(vector, heap_tid).is_err() {
            if !self.spill().map_err(failed)? {
                return self.failure.take().map_or(Ok(false), Err);
            }
        }
        Ok(true)
    }

    /// Makes room by moving vectors to the file; false where there is nothing to be gained, or no file.
    fn spill(&mut self) -> Result<bool, Error> {
        if !self.feeder.can_spill() {
            return Ok(false);
        }
        if self.file.is_none() {
            match TemporaryFile::create() {
                Ok(file) => *self.file = Some(file),
                Err(failure) => {
                    self.failure = Some(failure);
                    return Ok(false);
                }
            }
        }
        let Some(file) = self.file else { return Ok(false) };
        self.feeder.spill(file, |_| check_for_interrupts())
    }

    /// Nodes of its own that are inserted.
    pub fn inserted(&self) -> u64 {
        u64::from(self.feeder.inserted()) - self.adopted.len() as u64
    }

    /// Whether it has rows.
    pub fn has_rows(&self) -> bool {
        self.feeder.nodes() as usize > self.adopted.len()
    }
}

impl AdoptingGraph for Graph<'_, '_> {
    fn adopt(&mut self, vector: &[u8], fingerprint: u64, level: u8) -> Result<bool, Error> {
        while !self.feeder.adopt(vector, fingerprint, level)? {
            if !self.spill()? {
                return Ok(false);
            }
        }
        if self.feeder.nodes().is_multiple_of(REPORT_NODES) {
            // There may be fewer than are said to be.
            progress::show(Phase::ReadingNodes, self.feeder.nodes().into(), 0);
        }
        Ok(true)
    }

    fn adopt_links(&mut self, node: u32, layer: u8, links: &[u32]) {
        self.feeder.adopt_links(node, layer, links);
    }

    fn adopt_entry_point(&mut self, entry: EntryPoint<u32>) {
        self.feeder.adopt_entry_point(entry);
    }
}
