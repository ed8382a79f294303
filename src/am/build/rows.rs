//! The rows of a build: into the arena as long as it has room, then one by one into pages.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{PgLogLevel, PgSqlErrorCode, pg_sys};
use walia_core::arena::{Arena, Feeder};
use walia_core::kernel::Measure;
use walia_core::page::Index;
use walia_core::page::format::tuple::AsideKind;
use walia_core::page::insert::bulk::write_graph;
use walia_core::types::HeapTid;

use super::progress::{self, Phase};
use crate::am::table::{IndexedTable, Row};
use crate::error::{Result, SqlError};
use crate::store::bulk::BulkWriter;
use crate::store::{self, RelationStore, check_for_interrupts};

/// How many rows pass between two reports of progress.
const REPORT_ROWS: u64 = 64;

/// Where rows go.
enum Stage<'a, 'scope> {
    /// Into the graph in memory.
    Arena(Feeder<'a, 'scope>),
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
pub struct Rows<'a, 'scope> {
    table: &'a IndexedTable,
    measure: Measure,
    stage: Option<Stage<'a, 'scope>>,
    /// Rows outside of the graph, while it is in memory.
    asides: Vec<(AsideKind, HeapTid)>,
    /// Rows that have come so far.
    rows: u64,
    /// Rows that the table is thought to have.
    expected: f64,
}

impl<'a, 'scope> Rows<'a, 'scope> {
    /// No rows yet.
    pub fn new(table: &'a IndexedTable, feeder: Feeder<'a, 'scope>) -> Self {
        let expected = table.expected_rows();
        progress::begin(Phase::BuildingGraph);
        progress::rows_total(expected as u64);
        Self {
            table,
            measure: Measure::new(table.parameters.metric, table.parameters.element),
            stage: Some(Stage::Arena(feeder)),
            asides: Vec::new(),
            rows: 0,
            expected,
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
        if let Some(Stage::Arena(feeder)) = &mut self.stage {
            if self.rows.is_multiple_of(REPORT_ROWS) {
                progress::rows_done(feeder.inserted().into());
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
            self.leave_memory()?;
        }
        let Some(Stage::Pages(index)) = &self.stage else { unreachable!("the arena was left above") };
        let inserted = match place {
            Place::Graph(vector) => index.insert(vector, tid, false),
            Place::Aside(kind) => index.insert_aside(kind, tid),
        };
        progress::rows_done(self.rows);
        inserted.map_err(|error| self.table.error(error))
    }

    /// Writes the graph as far as it is built, and says that the rest will be slow.
    fn leave_memory(&mut self) -> Result<()> {
        let Some(Stage::Arena(feeder)) = self.stage.take() else { return Ok(()) };
        let rows = self.rows - 1;
        let per_row = Arena::memory_per_row(&self.table.parameters) as f64;
        let megabytes = (per_row * self.expected.max(rows as f64) / f64::from(1 << 20)).ceil();
        ErrorReport::new(
            PgSqlErrorCode::ERRCODE_SUCCESSFUL_COMPLETION,
            format!("hnsw graph no longer fits into maintenance_work_mem after {rows} tuples"),
            "walia",
        )
        .set_detail("The remaining rows are inserted one at a time, which takes much longer.")
        .set_hint(format!(
            "Increase maintenance_work_mem to about {megabytes} MB to build the whole graph in memory."
        ))
        .report(PgLogLevel::NOTICE);
        self.write(feeder)?;
        progress::begin(Phase::InsertingRows);
        let index = store::open(self.table.store()).map_err(|error| self.table.error(error))?;
        self.stage = Some(Stage::Pages(index));
        Ok(())
    }

    /// Waits for the graph and writes it to pages.
    fn write(&mut self, feeder: Feeder<'_, '_>) -> Result<()> {
        let arena = feeder.finish(|inserted| {
            progress::rows_done(inserted.into());
            check_for_interrupts();
        });
        let arena = arena.map_err(|error| self.table.error(error))?.ok_or_else(|| {
            SqlError::new(
                PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
                "the threads of the index build ended unexpectedly",
            )
        })?;
        progress::begin(Phase::WritingPages);
        // SAFETY: the index is open, and nobody else sees it.
        let mut writer = unsafe { BulkWriter::new(self.table.index(), pg_sys::ForkNumber::MAIN_FORKNUM) };
        let asides = std::mem::take(&mut self.asides);
        write_graph(arena, &asides, &mut writer, &mut |_| check_for_interrupts())
            .map_err(|error| self.table.error(error))?;
        writer.finish();
        Ok(())
    }
}
