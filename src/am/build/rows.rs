//! The rows of a build: into the arena as long as it has room, with vectors or without; then its graph goes to
//! pages, and the next rows into another one.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{PgLogLevel, PgSqlErrorCode, pg_sys};
use walia_core::arena::{Arena, Feeder, Memory};
use walia_core::graph::BuiltGraph;
use walia_core::kernel::Measure;
use walia_core::page::Index;
use walia_core::page::format::tuple::AsideKind;
use walia_core::page::insert::bulk::write_graph;
use walia_core::page::vacuum::connect;
use walia_core::types::HeapTid;

use super::progress::{self, Phase};
use crate::am::table::{IndexedTable, Row};
use crate::error::{Result, SqlError};
use crate::guc::build_threads;
use crate::memory;
use crate::store::bulk::BulkWriter;
use crate::store::file::TemporaryFile;
use crate::store::{self, RelationStore, check_for_interrupts};

/// How many rows pass between two reports of progress.
const REPORT_ROWS: u64 = 64;
/// Rows that are worth a graph of their own: memory that holds fewer is not filled again.
const LEAST_BATCH: u64 = 256;
/// The share of memory that is left to a join.
const JOIN_SHARE: usize = 4;

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
    /// Begins a graph in so many bytes.
    feeder: &'a dyn Fn(usize) -> Feeder<'a>,
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
}

impl<'a> Rows<'a> {
    /// No rows yet.
    pub fn new(
        table: &'a IndexedTable,
        feeder: &'a dyn Fn(usize) -> Feeder<'a>,
        memory: usize,
        file: &'a mut Option<TemporaryFile>,
    ) -> Self {
        progress::begin(Phase::BuildingGraph);
        progress::rows_total(table.expected_rows() as u64);
        Self {
            table,
            measure: Measure::new(table.parameters.metric, table.parameters.element),
            stage: Some(Stage::Arena(feeder(memory))),
            feeder,
            memory,
            written: 0,
            file,
            asides: Vec::new(),
            rows: 0,
        }
    }

    /// Writes what is still in memory. Returns the number of rows.
    pub fn finish(mut self) -> Result<f64> {
        if let Some(Stage::Arena(feeder)) = self.stage.take() {
            self.write(feeder)?;
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
        self.rows += 1;
        let (vector, tid) = (row.vector()?, row.heap_tid);
        let place = match vector.as_ref().map(|vector| vector.bytes()) {
            None => Place::Aside(AsideKind::Null),
            Some(vector) if self.measure.is_undefined(vector) => Place::Aside(AsideKind::ZeroVector),
            Some(vector) => Place::Graph(vector),
        };
        while let Some(Stage::Arena(feeder)) = &mut self.stage {
            if self.rows.is_multiple_of(REPORT_ROWS) {
                progress::rows_done(self.written + u64::from(feeder.inserted()));
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
        let file = match self.file {
            Some(file) => file,
            None if self.written > 0 => self.file.insert(TemporaryFile::create()?),
            None => {
                let rows = self.rows - 1;
                let (whole, _) = wanted(self.table, rows);
                notice(
                    format!("vectors no longer fit into maintenance_work_mem after {rows} tuples"),
                    "Vectors are moved to a temporary file, which makes the build somewhat slower.",
                    format!(
                        "Increase maintenance_work_mem to about {whole} MB to build the whole graph in memory."
                    ),
                );
                self.file.insert(TemporaryFile::create()?)
            }
        };
        feeder.spill(file, poll(self.written)).map_err(|error| self.table.error(error))
    }

    /// Writes the graph as far as it is built, says the first time that the rest takes longer, and begins
    /// another one.
    fn leave_memory(&mut self) -> Result<()> {
        let Some(Stage::Arena(feeder)) = self.stage.take() else { return Ok(()) };
        let rows = self.rows - 1;
        if self.written == 0 {
            self.say_batches(rows);
        }
        self.write(feeder)?;
        let batch = rows - std::mem::replace(&mut self.written, rows);
        progress::rows_total(self.table.expected_rows() as u64);
        self.stage = Some(if batch >= LEAST_BATCH {
            progress::begin(Phase::BuildingGraph);
            Stage::Arena((self.feeder)(self.memory - self.memory / JOIN_SHARE))
        } else {
            progress::begin(Phase::InsertingRows);
            Stage::Pages(self.open()?)
        });
        Ok(())
    }

    /// Says after so many rows that they do not fit into memory.
    fn say_batches(&self, rows: u64) {
        let (whole, spilled) = wanted(self.table, rows);
        let hint = match self.table.parameters.code_bits {
            0 => format!(
                "Increase maintenance_work_mem to about {whole} MB to build the whole graph in memory."
            ),
            _ => format!(
                "Increase maintenance_work_mem to about {spilled} MB to build the graph in memory and keep vectors \
                 in a temporary file, or to about {whole} MB to build it with its vectors in memory."
            ),
        };
        notice(
            format!("hnsw graph no longer fits into maintenance_work_mem after {rows} tuples"),
            "The remaining rows are built into graphs of about as many, which are joined one after the other.",
            hint,
        );
    }

    fn open(&self) -> Result<Index<RelationStore>> {
        store::open(self.table.store()).map_err(|error| self.table.error(error))
    }

    /// Waits for the graph and brings it to pages.
    fn write(&mut self, feeder: Feeder) -> Result<()> {
        let finished = feeder.finish(poll(self.written)).map_err(|error| self.table.error(error))?;
        let mut arena = finished.ok_or_else(|| {
            SqlError::new(
                PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
                "the threads of the index build ended unexpectedly",
            )
        })?;
        let asides = std::mem::take(&mut self.asides);
        let mut show = |nodes| {
            progress::rows_done(nodes);
            check_for_interrupts();
        };
        if self.written > 0 {
            progress::begin(Phase::JoiningGraph);
            progress::rows_total(arena.len().into());
            let index = self.open()?;
            let joined = index.join_graph(&mut arena, &asides, self.memory / JOIN_SHARE, &mut show);
            joined.map_err(|error| self.table.error(error))?;
        } else {
            progress::begin(Phase::WritingPages);
            progress::rows_total(arena.len().into());
            // SAFETY: the index is open, and nobody else sees it.
            let mut writer = unsafe { BulkWriter::new(self.table.index(), pg_sys::ForkNumber::MAIN_FORKNUM) };
            write_graph(&arena, &asides, &mut writer, &mut show).map_err(|error| self.table.error(error))?;
            writer.finish();
        }
        drop(arena);
        memory::give_back();
        // The next graph has a file of its own.
        *self.file = None;
        Ok(())
    }
}

/// Shows how many nodes the threads have inserted besides those that are written, and lets the build be
/// cancelled.
fn poll(written: u64) -> impl FnMut(u32) {
    move |inserted| {
        progress::rows_done(written + u64::from(inserted));
        check_for_interrupts();
    }
}

/// The maintenance_work_mem that a build wants in megabytes, with its vectors and without, where the table has
/// as many rows as it is thought to have, or more where so many have come already.
fn wanted(table: &IndexedTable, come: u64) -> (usize, usize) {
    let rows = table.expected_rows().max(come as f64);
    let Memory { whole, spilled, fetched } = Arena::memory(&table.parameters, build_threads());
    let megabytes = |per_row: usize, beside: usize| {
        ((per_row as f64 * rows + beside as f64) / f64::from(1 << 20)).ceil() as usize + 1
    };
    (megabytes(whole, 0), megabytes(spilled, fetched))
}

fn notice(message: String, detail: &str, hint: String) {
    ErrorReport::new(PgSqlErrorCode::ERRCODE_SUCCESSFUL_COMPLETION, message, "walia")
        .set_detail(detail)
        .set_hint(hint)
        .report(PgLogLevel::NOTICE);
}
