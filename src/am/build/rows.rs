//! The rows of a build: into the arena as long as it has room, with vectors or without; then its graph goes
//! to pages, and the next rows into another one.

use std::num::NonZero;
use std::time::{Duration, Instant};

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{PgLogLevel, PgSqlErrorCode, pg_sys};
use rayon::ThreadPool;
use walia_core::arena::{Arena, Estimate, Feeder, Pace};
use walia_core::graph::{BuiltGraph, Contents};
use walia_core::kernel::Measure;
use walia_core::page::format::tuple::AsideKind;
use walia_core::page::vacuum::connect;
use walia_core::page::{Index, JoinOptions, Plan};
use walia_core::types::{HeapTid, Parameters};

use super::helpers::{self, Workers};
use super::progress::{self, Phase};
use super::threads;
use crate::am::table::{IndexedTable, Row};
use crate::error::Result;
use crate::guc::build_threads;
use crate::memory;
use crate::store::bulk::BulkWriter;
use crate::store::file::TemporaryFile;
use crate::store::{self, RelationStore, check_for_interrupts};

/// How many times longer than in memory an insertion takes by codes alone, where nothing was measured: 1.2 at
/// 128 dimensions, 1.5 at 384 and 1.6 at 1,536.
pub const SPILLED: f64 = 1.5;
/// How many times longer than one thread inserts a row in memory its join takes, and the share of that which
/// is not done by several at the same time: 0.86 of the time with two was measured, on two processors.
const JOIN: f64 = 0.9;
const ALONE: f64 = 0.7;
/// How many rows pass between two reports of progress.
pub const REPORT_ROWS: u64 = 64;
/// Bytes that a join takes for each node, beside the memory that it is given.
const JOINED_NODE: usize = 22;
/// Rows that are worth a graph of their own: memory that holds fewer is not filled again. 145 at a time, of
/// 1,536 dimensions in 1 MB, took as long as one by one.
pub const LEAST_BATCH: u64 = 256;
/// The share of memory that is left to a join.
const JOIN_SHARE: usize = 4;

/// Where rows go.
enum Stage<'a> {
    /// Into the graph in memory.
    Arena(Box<Feeder<'a>>),
    /// Into the index's pages, as an INSERT would.
    Pages(Index<RelationStore>),
}

/// Where a row belongs.
#[derive(Clone, Copy)]
pub enum Place<'v> {
    /// A vector in the graph.
    Graph(&'v [u8]),
    /// Beside it.
    Aside(AsideKind),
}

impl<'v> Place<'v> {
    /// Of a row with this vector.
    pub fn of(measure: &Measure, vector: Option<&'v [u8]>) -> Self {
        match vector {
            None => Self::Aside(AsideKind::Null),
            Some(vector) if measure.is_undefined(vector) => Self::Aside(AsideKind::ZeroVector),
            Some(vector) => Self::Graph(vector),
        }
    }
}

/// What is known of the rows of a build before they come.
#[derive(Clone, Copy)]
pub struct Coming {
    /// How many.
    pub rows: f64,
    /// Whether memory will not hold their codes and links.
    pub are_too_many: bool,
    /// Whether neighbours come together.
    pub are_by_region: bool,
}

/// The state of a build while the table is read.
pub struct Rows<'a> {
    table: &'a IndexedTable,
    measure: Measure,
    stage: Option<Stage<'a>>,
    /// Begins a graph in so many bytes.
    feeder: &'a dyn Fn(usize) -> Feeder<'a>,
    pool: &'a ThreadPool,
    /// Bytes that all of the build may take.
    memory: usize,
    /// Rows that were on pages when the graph in memory was begun.
    written: u64,
    /// For vectors that memory has no room for; `None` as long as it has.
    file: &'a mut Option<TemporaryFile>,
    /// Rows outside of the graph, while it is in memory.
    asides: Vec<(AsideKind, HeapTid)>,
    /// Rows that have come so far.
    rows: u64,
    coming: Coming,
    begin: Instant,
}

impl<'a> Rows<'a> {
    /// No rows yet.
    pub fn new(
        table: &'a IndexedTable,
        feeder: &'a dyn Fn(usize) -> Feeder<'a>,
        pool: &'a ThreadPool,
        memory: usize,
        file: &'a mut Option<TemporaryFile>,
        coming: Coming,
    ) -> Self {
        progress::begin(Phase::BuildingGraph, 0, coming.rows as u64);
        Self {
            table,
            measure: Measure::new(table.parameters.metric, table.parameters.element),
            stage: Some(Stage::Arena(Box::new(feeder(memory)))),
            feeder,
            pool,
            memory,
            written: 0,
            file,
            asides: Vec::new(),
            rows: 0,
            coming,
            begin: Instant::now(),
        }
    }

    /// Writes what is still in memory. Returns the number of rows.
    pub fn finish(mut self) -> Result<f64> {
        if let Some(Stage::Arena(feeder)) = self.stage.take() {
            self.write(*feeder)?;
        }
        if self.written > 0 {
            let index = self.open()?;
            connect(&index).map_err(|error| self.table.error(error))?;
        }
        progress::rows_total(self.rows);
        progress::rows_done(self.rows);
        Ok(self.rows as f64)
    }

    /// Adds a row.
    pub fn add(&mut self, row: &Row) -> Result<()> {
        let vector = row.vector()?;
        let place = Place::of(&self.measure, vector.as_ref().map(|vector| vector.bytes()));
        self.put(place, row.heap_tid)
    }

    /// Adds a row of which is known where it belongs.
    pub fn put(&mut self, place: Place, tid: HeapTid) -> Result<()> {
        self.rows += 1;
        while let Some(Stage::Arena(feeder)) = &mut self.stage {
            if self.rows.is_multiple_of(REPORT_ROWS) {
                let batch = self.rows - self.written;
                progress::rows_done(self.written + done(batch, feeder.nodes(), feeder.inserted()));
            }
            let taken = match place {
                Place::Graph(vector) => feeder.push(vector, tid),
                Place::Aside(kind) => {
                    feeder.reserve(&mut self.asides, 1).map(|()| self.asides.push((kind, tid)))
                }
            };
            if taken.is_ok() {
                return Ok(());
            }
            if !self.spill()? {
                self.leave_memory()?;
            }
        }
        let Some(Stage::Pages(index)) = &self.stage else { unreachable!("the arena was left above") };
        let inserted = match place {
            Place::Graph(vector) => index.insert(vector, tid, false),
            Place::Aside(kind) => index.insert_aside(kind, tid),
        };
        progress::rows_done(self.rows);
        inserted.map_err(|error| self.table.error(error))
    }

    /// Makes room in memory by moving vectors to a temporary file, and says so the first time. False where
    /// there is nothing to be gained.
    fn spill(&mut self) -> Result<bool> {
        let Some(Stage::Arena(feeder)) = &mut self.stage else { return Ok(false) };
        if !feeder.can_spill() {
            return Ok(false);
        }
        let is_first = self.file.is_none();
        let file = match self.file {
            Some(file) => file,
            None => self.file.insert(TemporaryFile::create()?),
        };
        let (rows, batch) = (self.rows - 1, self.rows - 1 - self.written);
        let (nodes, vector_size) = (feeder.nodes(), feeder.vector_size());
        let mut poll = |inserted| poll(self.written + done(batch, nodes, inserted));
        let moved = feeder.spill(file, &mut poll).map_err(|error| self.table.error(error))?;
        if is_first && moved && self.written == 0 {
            // All rows so far are in the graph: what they took tells what the others will take.
            let in_batches = in_batches(&self.table.parameters, self.coming.are_by_region);
            let times = if self.coming.are_too_many { in_batches } else { SPILLED };
            let (whole, _) = wanted(&self.table.parameters, self.coming.rows, nodes, vector_size, rows);
            let left = remaining(self.coming.rows, feeder.inserted(), rows, self.begin.elapsed(), times);
            notice(
                format!("vectors no longer fit into maintenance_work_mem after {rows} tuples"),
                format!(
                    "Vectors are moved to a temporary file, which makes the build somewhat slower: the remaining tuples \
                     take about {left}."
                ),
                format!(
                    "Increase maintenance_work_mem to about {whole} MB to build the whole graph in memory."
                ),
            );
        }
        Ok(moved)
    }

    /// Writes the graph as far as it is built, says the first time that the rest takes longer, and begins
    /// another one.
    fn leave_memory(&mut self) -> Result<()> {
        let Some(Stage::Arena(feeder)) = self.stage.take() else { return Ok(()) };
        let rows = self.rows - 1;
        let is_first = self.written == 0;
        let vector_size = feeder.vector_size();
        let nodes = self.write(*feeder)?;
        let batch = rows - std::mem::replace(&mut self.written, rows);
        let memory = self.memory - self.memory / JOIN_SHARE;
        // Beside a join the first graph would have had less memory, too.
        let next = if is_first { batch - batch / JOIN_SHARE as u64 } else { batch };
        let goes_on = next >= LEAST_BATCH;
        if is_first {
            self.say_batches(rows, nodes, vector_size, goes_on);
        }
        let total = self.coming.rows as u64;
        self.stage = Some(if goes_on {
            progress::begin(Phase::BuildingGraph, rows, total);
            Stage::Arena(Box::new((self.feeder)(memory)))
        } else {
            progress::begin(Phase::InsertingRows, rows, total);
            Stage::Pages(self.open()?)
        });
        Ok(())
    }

    /// Says after so many rows, which were so many nodes with vectors of so many bytes, that they do not fit
    /// into memory, and whether others are built into a graph there.
    fn say_batches(&self, rows: u64, nodes: u32, vector_size: usize, goes_on: bool) {
        let (whole, spilled) = wanted(&self.table.parameters, self.coming.rows, nodes, vector_size, rows);
        let hint = match self.table.parameters.code_bits {
            0 => format!(
                "Increase maintenance_work_mem to about {whole} MB to build the whole graph in memory."
            ),
            _ => format!(
                "Increase maintenance_work_mem to about {spilled} MB to build the graph in memory and keep vectors \
                 in a temporary file, or to about {whole} MB to build it with its vectors in memory."
            ),
        };
        let left = remaining(
            self.coming.rows,
            nodes,
            rows,
            self.begin.elapsed(),
            in_batches(&self.table.parameters, self.coming.are_by_region),
        );
        let detail = if goes_on {
            format!(
                "The remaining tuples are built into graphs of about as many, which are joined one after the other: they take \
                 about {left}."
            )
        } else {
            "The remaining tuples are inserted one by one, which takes many times longer.".to_owned()
        };
        notice(
            format!("hnsw graph no longer fits into maintenance_work_mem after {rows} tuples"),
            detail,
            hint,
        );
    }

    fn open(&self) -> Result<Index<RelationStore>> {
        store::open(self.table.store()).map_err(|error| self.table.error(error))
    }

    /// Waits for the graph and brings it to pages. Returns the number of its nodes.
    fn write(&mut self, feeder: Feeder) -> Result<u32> {
        let (written, batch, nodes) = (self.written, self.rows - self.written, feeder.nodes());
        let show = |inserted| poll(written + done(batch, nodes, inserted));
        let finished = feeder.finish(show).map_err(|error| self.table.error(error))?;
        let mut arena = finished.ok_or_else(threads::ended)?;
        let asides = std::mem::take(&mut self.asides);
        if self.written > 0 {
            progress::begin(Phase::JoiningGraph, 0, arena.len().into());
            let index = self.open()?;
            let memory = self.memory / JOIN_SHARE;
            let memory = memory - (arena.len() as usize * JOINED_NODE).min(memory / 2);
            let nodes = arena.len().into();
            let is_dense = self.coming.are_by_region
                || index.is_dense(nodes).map_err(|error| self.table.error(error))?;
            let options = JoinOptions { adopted: Vec::new(), is_dense, memory, pool: self.pool };
            let mut workers = Workers::start(self.table, &index, arena.len(), memory);
            let joined = index.join_graph(&mut arena, &asides, options, &mut workers, &mut poll);
            drop(workers);
            joined.map_err(|error| self.table.error(error))?;
        } else {
            let plan = Plan::new(&arena, &mut check_for_interrupts);
            let plan = plan.map_err(|error| self.table.error(error))?;
            let pages = plan.pages(asides.len() as u64, &mut check_for_interrupts);
            // SAFETY: the index is open, and nobody else sees it.
            let writer = unsafe { BulkWriter::new(self.table.index(), pg_sys::ForkNumber::MAIN_FORKNUM) };
            let mut writer = progress::Shown::new(writer, pages);
            plan.write(&asides, &mut writer, &mut |_| check_for_interrupts())
                .map_err(|error| self.table.error(error))?;
            writer.into_inner().finish();
        }
        drop(arena);
        memory::give_back();
        // The next graph has a file of its own.
        *self.file = None;
        Ok(nodes)
    }
}

/// Rows that are done when so many of their nodes are inserted: those without a node of their own take no
/// time, and are counted evenly among the others.
fn done(rows: u64, nodes: u32, inserted: u32) -> u64 {
    (rows as f64 * f64::from(inserted) / f64::from(nodes.max(1))) as u64
}

/// Shows how many rows are in the graph, and lets the build be cancelled.
fn poll(rows: u64) {
    progress::rows_done(rows);
    check_for_interrupts();
}

/// The maintenance_work_mem that a build wants in megabytes, with its vectors and without, where the table
/// has as many rows as it is thought to have, or more where so many have come already.
fn wanted(parameters: &Parameters, expected: f64, nodes: u32, vector_size: usize, come: u64) -> (u64, u64) {
    let rows = expected.max(come as f64);
    // Where nothing has found room, as if all rows were nodes.
    let share = if come == 0 { 1.0 } else { f64::from(nodes) / come as f64 };
    let vector_size = if nodes == 0 { parameters.vector_size() } else { vector_size };
    let nodes = (rows * share) as u64;
    // NULLs and rows that share a vector take about as much.
    let contents = Contents { nodes, duplicates: rows as u64 - nodes, asides: 0, vector_size };
    let Estimate { whole, spilled } = Arena::estimate(parameters, build_threads(), &contents);
    let megabytes = |bytes: u64| (threads::with_threads(bytes) >> 20) + 1;
    (megabytes(whole), megabytes(spilled.unwrap_or(whole)))
}

/// How many times longer than in memory a row takes that is built into a graph which is joined to another.
/// Its graph's vectors are in a file, too, where there are codes; what that costs is saved where rows are
/// sorted and lie near their neighbours in memory.
pub fn in_batches(parameters: &Parameters, are_sorted: bool) -> f64 {
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    let insertion = if parameters.code_bits > 0 && !are_sorted { SPILLED } else { 1.0 };
    let threads = build_threads().min(processors);
    let searchers = threads.min(1 + helpers::pool());
    let alone = ALONE + (1.0 - ALONE) / searchers as f64;
    insertion + JOIN * threads as f64 * alone
}

/// How long the rows take that are still to come, each so many times longer than in memory, in words.
fn remaining(expected: f64, nodes: u32, come: u64, taken: Duration, times: f64) -> String {
    // Nodes as a share of rows are what they have been so far.
    let all = expected.max(come as f64) * f64::from(nodes) / come.max(1) as f64;
    let pace = Pace::of(&[(nodes, taken.as_secs_f64())]);
    let seconds = pace.map_or(0.0, |pace| times * pace.seconds(nodes.into(), all));
    match seconds {
        ..100.0 => format!("{} s", seconds.ceil()),
        ..6000.0 => format!("{} min", (seconds / 60.0).ceil()),
        _ => format!("{} h", (seconds / 3600.0).ceil()),
    }
}

fn notice(message: String, detail: String, hint: String) {
    ErrorReport::new(PgSqlErrorCode::ERRCODE_SUCCESSFUL_COMPLETION, message, "walia")
        .set_detail(detail)
        .set_hint(hint)
        .report(PgLogLevel::NOTICE);
}
