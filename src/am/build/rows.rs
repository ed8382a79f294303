//! The rows of a build: into the arena as long as it has room, with vectors or without, then one by one into
//! pages.

use std::time::{Duration, Instant};

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{PgLogLevel, PgSqlErrorCode, pg_sys};
use walia_core::arena::{Arena, Estimate, Feeder, Pace};
use walia_core::graph::{BuiltGraph, Contents};
use walia_core::kernel::Measure;
use walia_core::page::format::tuple::AsideKind;
use walia_core::page::insert::bulk::write_graph;
use walia_core::page::{Index, graph_pages};
use walia_core::types::HeapTid;

use super::progress::{self, Phase};
use crate::am::table::{IndexedTable, Row};
use crate::error::{Result, SqlError};
use crate::guc::build_threads;
use crate::store::bulk::BulkWriter;
use crate::store::file::TemporaryFile;
use crate::store::{self, RelationStore, check_for_interrupts};

/// How many times longer than in memory an insertion takes by codes alone, where nothing was measured.
pub const SPILLED: f64 = 1.2;
/// How many times longer than in memory a row takes that is inserted into pages.
pub const ONE_BY_ONE: f64 = 8.0;
/// How many rows pass between two reports of progress.
const REPORT_ROWS: u64 = 64;

/// Where rows go.
enum Stage<'a> {
    /// Into the graph in memory.
    Arena(Feeder<'a>),
    /// Into the index's pages, as an INSERT would.
    Pages(Index<RelationStore>),
}

/// Where a row belongs.
#[derive(Clone, Copy)]
enum Place<'v> {
    Graph(&'v [u8]),
    Aside(AsideKind),
}

/// The state of a build while the table is read.
pub struct Rows<'a> {
    table: &'a IndexedTable,
    measure: Measure,
    stage: Option<Stage<'a>>,
    /// For vectors that memory has no room for; `None` as long as it has.
    file: &'a mut Option<TemporaryFile>,
    /// Rows outside of the graph, while it is in memory.
    asides: Vec<(AsideKind, HeapTid)>,
    /// Rows that have come so far.
    rows: u64,
    begin: Instant,
}

impl<'a> Rows<'a> {
    /// No rows yet.
    pub fn new(table: &'a IndexedTable, feeder: Feeder<'a>, file: &'a mut Option<TemporaryFile>) -> Self {
        progress::begin(Phase::BuildingGraph);
        progress::rows_total(table.expected_rows() as u64);
        Self {
            table,
            measure: Measure::new(table.parameters.metric, table.parameters.element),
            stage: Some(Stage::Arena(feeder)),
            file,
            asides: Vec::new(),
            rows: 0,
            begin: Instant::now(),
        }
    }

    /// Writes what is still in memory. Returns the number of rows.
    pub fn finish(mut self) -> Result<f64> {
        if let Some(Stage::Arena(feeder)) = self.stage.take() {
            self.write(feeder)?;
        }
        progress::rows_total(self.rows);
        progress::rows_done(self.rows);
        Ok(self.rows as f64)
    }

    /// Adds a row.
    pub fn add(&mut self, row: &Row) -> Result<()> {
        self.rows += 1;
        let (vector, tid) = (row.vector()?, row.heap_tid);
        let place = match vector.as_ref().map(|vector| vector.bytes()) {
            None => Place::Aside(AsideKind::Null),
            Some(vector) if self.measure.is_undefined(vector) => Place::Aside(AsideKind::ZeroVector),
            Some(vector) => Place::Graph(vector),
        };
        while let Some(Stage::Arena(feeder)) = &mut self.stage {
            if self.rows.is_multiple_of(REPORT_ROWS) {
                progress::rows_done(done(self.rows, feeder.nodes(), feeder.inserted()));
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
        let rows = self.rows - 1;
        let nodes = feeder.nodes();
        let mut poll = |inserted| poll(done(rows, nodes, inserted));
        let moved = feeder.spill(file, &mut poll).map_err(|error| self.table.error(error))?;
        if is_first && moved {
            // All rows so far are in the graph: what they took tells what the others will take.
            let (whole, _) = wanted(self.table, nodes, rows);
            let left = remaining(self.table, feeder.inserted(), rows, self.begin.elapsed(), SPILLED);
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

    /// Writes the graph as far as it is built, and says that the rest will be slow.
    fn leave_memory(&mut self) -> Result<()> {
        let Some(Stage::Arena(feeder)) = self.stage.take() else { return Ok(()) };
        let rows = self.rows - 1;
        let (whole, spilled) = wanted(self.table, feeder.nodes(), rows);
        let hint = match self.table.parameters.code_bits {
            0 => format!(
                "Increase maintenance_work_mem to about {whole} MB to build the whole graph in memory."
            ),
            _ => format!(
                "Increase maintenance_work_mem to about {spilled} MB to build the graph in memory and keep vectors \
                 in a temporary file, or to about {whole} MB to build it with its vectors in memory."
            ),
        };
        let inserted = self.write(feeder)?;
        let left = remaining(self.table, inserted, rows, self.begin.elapsed(), ONE_BY_ONE);
        notice(
            format!("hnsw graph no longer fits into maintenance_work_mem after {rows} tuples"),
            format!(
                "The remaining tuples are inserted one at a time, which takes much longer: about {left}."
            ),
            hint,
        );
        progress::begin(Phase::InsertingRows);
        progress::rows_total(self.table.expected_rows() as u64);
        let index = store::open(self.table.store()).map_err(|error| self.table.error(error))?;
        self.stage = Some(Stage::Pages(index));
        Ok(())
    }

    /// Waits for the graph and writes it to pages. Returns the number of nodes.
    fn write(&mut self, feeder: Feeder) -> Result<u32> {
        let (rows, nodes) = (self.rows, feeder.nodes());
        let poll = |inserted| poll(done(rows, nodes, inserted));
        let arena = feeder.finish(poll).map_err(|error| self.table.error(error))?.ok_or_else(|| {
            SqlError::new(
                PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
                "the threads of the index build ended unexpectedly",
            )
        })?;
        progress::begin(Phase::WritingPages);
        let pages = graph_pages(&arena, self.asides.len() as u64, &mut check_for_interrupts)
            .map_err(|error| self.table.error(error))?;
        // SAFETY: the index is open, and nobody else sees it.
        let writer = unsafe { BulkWriter::new(self.table.index(), pg_sys::ForkNumber::MAIN_FORKNUM) };
        let mut writer = progress::Shown::new(writer, pages);
        let asides = std::mem::take(&mut self.asides);
        write_graph(&arena, &asides, &mut writer, &mut |_| check_for_interrupts())
            .map_err(|error| self.table.error(error))?;
        writer.into_inner().finish();
        Ok(arena.len())
    }
}

/// Rows that are done when so many of their nodes are inserted: those without a node of their own take no time, and
/// are counted evenly among the others.
fn done(rows: u64, nodes: u32, inserted: u32) -> u64 {
    (rows as f64 * f64::from(inserted) / f64::from(nodes.max(1))) as u64
}

/// Shows how many rows are in the graph, and lets the build be cancelled.
fn poll(rows: u64) {
    progress::rows_done(rows);
    check_for_interrupts();
}

/// The maintenance_work_mem that a build wants in megabytes, with its vectors and without, where the table has
/// as many rows as it is thought to have, or more where so many have come already.
fn wanted(table: &IndexedTable, nodes: u32, come: u64) -> (u64, u64) {
    let rows = table.expected_rows().max(come as f64);
    let share = f64::from(nodes) / come.max(1) as f64;
    let nodes = (rows * share) as u64;
    // NULLs and rows that share a vector take about as much.
    let contents = Contents { nodes, duplicates: rows as u64 - nodes, asides: 0 };
    let Estimate { whole, spilled } = Arena::estimate(&table.parameters, build_threads(), &contents);
    let megabytes = |bytes: u64| (bytes >> 20) + 1;
    (megabytes(whole), megabytes(spilled.unwrap_or(whole)))
}

/// How long the rows take that are still to come, each so many times longer than in memory, in words.
fn remaining(table: &IndexedTable, nodes: u32, come: u64, taken: Duration, times: f64) -> String {
    // Nodes as a share of rows are what they have been so far.
    let all = table.expected_rows().max(come as f64) * f64::from(nodes) / come.max(1) as f64;
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
