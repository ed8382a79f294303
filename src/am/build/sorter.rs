//! The rows of a build whose graph memory will not hold: in a file, by cluster, before graphs are built of
//! them.

use walia_core::arena::{Arena, Estimate};
use walia_core::cluster::{Clusters, Runs, file_size};
use walia_core::graph::Contents;
use walia_core::kernel::Measure;
use walia_core::page::format::tuple::AsideKind;
use walia_core::types::{HeapTid, Parameters};

use super::progress::{self, Phase};
use super::rows::{Coming, LEAST_BATCH, Place, REPORT_ROWS, Rows};
use super::sample;
use crate::am::table::{IndexedTable, Row};
use crate::error::Result;
use crate::guc::build_threads;
use crate::store::check_for_interrupts;
use crate::store::file::TemporaryFile;

/// Clusters for each graph that is built: of a few of them, the rest of a graph's region is not far away.
const OF_GRAPH: usize = 8;
/// Fewest clusters, and most: each is measured from every row.
const FEWEST: usize = 16;
const MOST: usize = 256;
/// The share of memory that rows take on their way to the file.
const SHARE: usize = 2;
/// Bytes that a cluster's rows are written by, where these are more than one: fewest where memory is scarce,
/// and most. The last block of each cluster is written in full.
const LEAST_BLOCK: usize = 8 << 10;
const MOST_BLOCK: usize = 256 << 10;

/// How the rows of a build are sorted.
pub struct Plan {
    clusters: usize,
    /// Bytes of a row in the file.
    record_size: usize,
    /// Bytes for rows on their way to it.
    memory: usize,
    /// About how many rows there are.
    rows: u64,
}

impl Plan {
    /// For so many rows, of which a build has so much memory; `None` where it holds all of them, where there
    /// are no codes, and where graphs would have too few rows to be built.
    pub fn new(parameters: &Parameters, contents: &Contents, memory: usize) -> Option<Self> {
        let Estimate { whole, spilled } = Arena::estimate(parameters, build_threads(), contents);
        let needed = spilled?.min(whole);
        let fitting = contents.part(memory as f64 / needed.max(1) as f64).nodes;
        if needed <= memory as u64 || fitting < LEAST_BATCH {
            return None;
        }
        let graphs = (needed / memory.max(1) as u64 + 1) as usize;
        let record_size = size_of::<HeapTid>() + parameters.vector_size();
        let memory = memory / SHARE;
        let most = memory / LEAST_BLOCK.max(record_size);
        let clusters = (OF_GRAPH * graphs).clamp(FEWEST, MOST).min(most.max(1));
        let memory = memory.min(clusters * MOST_BLOCK);
        Some(Self { clusters, record_size, memory, rows: contents.rows() })
    }

    /// The size of the files.
    pub fn file_size(&self, contents: &Contents) -> u64 {
        let Contents { nodes, duplicates, asides, .. } = *contents;
        file_size(nodes + duplicates, self.clusters, self.record_size, self.memory)
            + asides * size_of::<HeapTid>() as u64
    }
}

/// Sorts the rows of a table.
pub struct Sorter<'a> {
    table: &'a IndexedTable,
    measure: Measure,
    clusters: Clusters,
    vectors: Runs<TemporaryFile>,
    /// Rows outside of the graph, by kind, from the first on.
    asides: Option<Runs<TemporaryFile>>,
    rows: u64,
}

impl<'a> Sorter<'a> {
    /// No rows yet.
    pub fn new(table: &'a IndexedTable, plan: &Plan) -> Result<Self> {
        // Nothing else takes memory as yet; clusters take a byte a dimension for each vector, or as for 16.
        let Parameters { dimensions, .. } = table.parameters;
        let most = (plan.memory / (table.parameters.vector_size() + dimensions)).max(1);
        let sampled = Clusters::sampled(plan.clusters).min(most);
        let vectors = sample::vectors(table, sampled);
        let clusters = Clusters::new(&table.parameters, &vectors, plan.clusters, &mut check_for_interrupts)
            .map_err(|error| table.error(error))?;
        progress::begin(Phase::SortingRows, 0, plan.rows);
        Ok(Self {
            table,
            measure: Measure::new(table.parameters.metric, table.parameters.element),
            vectors: Runs::new(TemporaryFile::create()?, clusters.count(), plan.record_size, plan.memory),
            clusters,
            asides: None,
            rows: 0,
        })
    }

    /// Adds a row.
    pub fn add(&mut self, row: &Row) -> Result<()> {
        let (vector, tid) = (row.vector()?, row.heap_tid);
        let tid = bytemuck::bytes_of(&tid);
        let pushed = match Place::of(&self.measure, vector.as_ref().map(|vector| vector.bytes())) {
            Place::Graph(vector) => self.vectors.push(self.clusters.nearest(vector), [tid, vector]),
            Place::Aside(kind) => {
                let kinds = AsideKind::ALL.len();
                let asides = match &mut self.asides {
                    Some(asides) => asides,
                    None => {
                        let file = TemporaryFile::create()?;
                        self.asides.insert(Runs::new(file, kinds, tid.len(), kinds * LEAST_BLOCK))
                    }
                };
                let run = AsideKind::ALL.iter().position(|other| *other == kind).unwrap_or_default();
                asides.push(run, [tid, &[]])
            }
        };
        pushed.map_err(|error| self.table.error(error))?;
        self.rows += 1;
        if self.rows.is_multiple_of(REPORT_ROWS) {
            progress::rows_done(self.rows);
        }
        Ok(())
    }

    /// No more rows: writes what is left of them.
    pub fn finish(mut self) -> Sorted<'a> {
        self.vectors.finish();
        self.asides.iter_mut().for_each(Runs::finish);
        let Self { table, clusters, vectors, asides, rows, .. } = self;
        Sorted { table, clusters: clusters.count(), vectors, asides, rows }
    }
}

/// The rows of a table, by cluster.
pub struct Sorted<'a> {
    table: &'a IndexedTable,
    clusters: usize,
    vectors: Runs<TemporaryFile>,
    asides: Option<Runs<TemporaryFile>>,
    rows: u64,
}

impl Sorted<'_> {
    /// What is known of them. Of a small sample there are too few clusters for regions.
    pub fn coming(&self) -> Coming {
        Coming { rows: self.rows as f64, are_too_many: true, are_by_region: self.clusters > 1 }
    }

    /// What a build has left of so many bytes for its graph while it reads them.
    pub fn memory_left(&self, memory: usize) -> usize {
        memory.saturating_sub(self.vectors.block_size())
    }

    /// Gives them to a build.
    pub fn add_to(&self, rows: &mut Rows) -> Result<()> {
        for cluster in 0..self.clusters {
            let mut run = self.vectors.run(cluster);
            while let Some(record) = run.advance().map_err(|error| self.table.error(error))? {
                check_for_interrupts();
                let (tid, vector) = record.split_at(size_of::<HeapTid>());
                rows.put(Place::Graph(vector), bytemuck::pod_read_unaligned(tid))?;
            }
        }
        let Some(asides) = &self.asides else { return Ok(()) };
        for (run, kind) in AsideKind::ALL.into_iter().enumerate() {
            let mut run = asides.run(run);
            while let Some(record) = run.advance().map_err(|error| self.table.error(error))? {
                check_for_interrupts();
                rows.put(Place::Aside(kind), bytemuck::pod_read_unaligned(record))?;
            }
        }
        Ok(())
    }
}
