//! Joining the rows that wait to their index.

use std::ffi::c_long;
use std::time::{Duration, Instant};

use pgrx::pg_sys::ffi::pg_guard_ffi_boundary;
use pgrx::{PgSqlErrorCode, pg_sys};
use rayon::ThreadPool;
use walia_core::arena::Arena;
use walia_core::graph::BuiltGraph;
use walia_core::page::format::meta::META_BLOCK;
use walia_core::page::format::tuple::AsideKind;
use walia_core::page::vacuum::connect;
use walia_core::page::{Index, JoinOptions, Phase};
use walia_core::types::{Error, HeapTid};

use super::blocks::Blocks;
use super::graph::{Graph, Plan, REPORT_NODES, has_room};
use super::rows::{Records, WaitingRows};
use super::target::{OpenTarget, Target};
use crate::am::build::threads::with_pool;
use crate::am::counters;
use crate::error::{Result, SqlError};
use crate::guc::build_threads;
use crate::memory;
use crate::store::error::index_error;
use crate::store::file::TemporaryFile;
use crate::store::progress::{self, Command};
use crate::store::{self, RelationStore, check_for_interrupts};

/// How long others are waited for. After that who joins is not alone, and the graph may be a little worse.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// Milliseconds between two tries.
const BETWEEN_TRIES: c_long = 5;
/// The lock of [`Alone`].
const LOCK: pg_sys::LOCKMODE = pg_sys::ExclusiveLock as pg_sys::LOCKMODE;
/// Rows that are not worth a graph of their own.
const FEW: usize = 64;
/// Rows for each thread of a small graph.
const ROWS_OF_THREAD: usize = 256;
/// The share of memory that is left to the join of a graph.
const JOIN_SHARE: usize = 4;

/// Memory for a graph, of so many bytes for all: the rest is for rows that wait, and for its join.
pub fn graph_memory(memory: usize) -> usize {
    memory / 2
}

/// Joins rows to their index. Where it fails, they are to go on waiting; also where it says that the index is
/// not there.
pub fn join(
    target: &Target,
    waiting: &mut WaitingRows,
    file: Option<&Blocks>,
    memory: usize,
) -> Result<bool> {
    let Some(opened) = OpenTarget::open(target) else { return Ok(false) };
    // SAFETY: the index is open as long as `opened`.
    let failed = |error| unsafe { index_error(opened.index, error) };
    let index = store::open(opened.store()).map_err(failed)?;
    let way = || Way::of(&index, waiting.len(), memory).map_err(failed);
    let alone = Alone::among(&opened, way()?.patience());
    // Others may have joined more meanwhile.
    let way = match way()? {
        // Sessions that take turns would take longer than side by side.
        Way::Adopting if !alone.is_held() => Way::RowByRow,
        way => way,
    };
    let failed_before = std::mem::replace(&mut waiting.may_be_joined, true);
    let held = if failed_before || opened.is_moved {
        held(&index, waiting, file).map_err(failed)?
    } else {
        Vec::new()
    };
    let count = waiting.len() - held.len();
    let rows = || Wanted { records: waiting.records(file), held: &held };
    let joining = Joining { index: &index, memory, way, is_alone: alone.is_held(), failed: &failed };
    let mut file_of_graph = None;
    let by_threads = |pool: &ThreadPool| joining.by_graphs(rows(), count, pool, &mut file_of_graph);
    let shown = progress::Shown::begin(Command::BatchInsert, target.index().into());
    let joined = if count < FEW || way == Way::RowByRow {
        joining.one_by_one(rows(), count)
    } else {
        // Where no thread can be started, one by one takes longer.
        with_pool(threads(count), by_threads).unwrap_or_else(|_| joining.one_by_one(rows(), count))
    };
    drop((file_of_graph, shown));
    memory::give_back();
    joined?;
    if failed_before {
        // Of an insertion that was broken off, nothing need lead to its node.
        connect(&index).map_err(failed)?;
    }
    alone.end();
    check_serializable(&opened);
    counters::add_inserts(&index.store, count as u64);
    Ok(true)
}

/// How rows are joined.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    RowByRow,
    /// As a graph that takes over the index.
    Adopting,
    /// As a graph in any case: they are a good part of the index.
    Dense,
}

impl Way {
    fn of(index: &Index<RelationStore>, rows: usize, memory: usize) -> std::result::Result<Self, Error> {
        Ok(if rows < FEW {
            Self::RowByRow
        } else if index.is_dense(rows as u64)? {
            Self::Dense
        } else if has_room(index, rows, false, threads(rows), graph_memory(memory))? {
            Self::Adopting
        } else {
            Self::RowByRow
        })
    }

    /// How long others are waited for who join rows to the index; `None` where they do not matter.
    fn patience(&self) -> Option<Duration> {
        match self {
            Self::RowByRow => None,
            Self::Adopting => Some(Duration::ZERO),
            Self::Dense => Some(LONGEST_WAIT),
        }
    }
}

/// Threads for a graph of so many rows.
fn threads(rows: usize) -> usize {
    build_threads().min(rows.div_ceil(ROWS_OF_THREAD))
}

/// The rows that the index holds, in order.
fn held(
    index: &Index<RelationStore>,
    waiting: &WaitingRows,
    file: Option<&Blocks>,
) -> std::result::Result<Vec<HeapTid>, Error> {
    let mut rows = Vec::new();
    rows.try_reserve_exact(waiting.len())?;
    let mut records = waiting.records(file);
    while let Some(heap_tid) = records.advance()? {
        rows.push((heap_tid, false));
    }
    rows.sort_unstable();
    index.for_each_row(|heap_tid| {
        if let Ok(at) = rows.binary_search_by_key(&heap_tid, |row| row.0) {
            rows[at].1 = true;
        }
    })?;
    rows.retain(|row| row.1);
    Ok(rows.into_iter().map(|row| row.0).collect())
}

/// The rows that are to be joined.
struct Wanted<'r> {
    records: Records<'r>,
    /// Those that the index holds, in order.
    held: &'r [HeapTid],
}

impl Wanted<'_> {
    /// The next one.
    fn next(&mut self) -> std::result::Result<Option<(HeapTid, &[u8])>, Error> {
        while let Some(heap_tid) = self.records.advance()? {
            if self.held.binary_search(&heap_tid).is_err() {
                return Ok(Some((heap_tid, self.records.vector())));
            }
        }
        Ok(None)
    }
}

/// The lock of who is alone in joining many rows to an index. Whoever waits for it may be waited for: it is
/// tried again and again, which no lock_timeout ends, and not for ever.
struct Alone<'t>(Option<&'t OpenTarget>);

impl<'t> Alone<'t> {
    fn among(opened: &'t OpenTarget, patience: Option<Duration>) -> Self {
        let Some(patience) = patience else { return Self(None) };
        // SAFETY: the index is open. An ERROR's cleanup gives the lock back.
        let lock = || unsafe { pg_sys::ConditionalLockPage(opened.index, META_BLOCK, LOCK) };
        let begin = Instant::now();
        loop {
            check_for_interrupts();
            if lock() {
                return Self(Some(opened));
            }
            if begin.elapsed() >= patience {
                return Self(None);
            }
            // SAFETY: the latch of this process, which interrupts set.
            unsafe {
                let events = pg_sys::WL_LATCH_SET | pg_sys::WL_TIMEOUT | pg_sys::WL_EXIT_ON_PM_DEATH;
                pg_sys::WaitLatch(pg_sys::MyLatch, events as i32, BETWEEN_TRIES, pg_sys::PG_WAIT_EXTENSION);
                pg_sys::ResetLatch(pg_sys::MyLatch);
            }
        }
    }

    fn is_held(&self) -> bool {
        self.0.is_some()
    }

    fn end(self) {
        if let Some(opened) = self.0 {
            // SAFETY: the index is open, and locked above.
            unsafe { pg_sys::UnlockPage(opened.index, META_BLOCK, LOCK) };
        }
    }
}

/// Looks for transactions that have read the index since a row began to wait, and did not find it: Postgres
/// has looked for those that read it before.
fn check_serializable(opened: &OpenTarget) {
    unsafe extern "C-unwind" {
        fn CheckForSerializableConflictIn(
            relation: pg_sys::Relation,
            heap_tid: pg_sys::ItemPointer,
            block: pg_sys::BlockNumber,
        );
    }
    // SAFETY: the index is open, and no lock on a page is held; without a row and a block the whole of it is
    // meant. An ERROR becomes a panic at this boundary.
    unsafe {
        pg_guard_ffi_boundary(|| {
            let (none, whole) = (std::ptr::null_mut(), pg_sys::InvalidBlockNumber);
            CheckForSerializableConflictIn(opened.index, none, whole);
        });
    }
}

struct Joining<'i, Failed> {
    index: &'i Index<RelationStore>,
    /// Bytes for all.
    memory: usize,
    way: Way,
    /// Whether nobody else joins many rows.
    is_alone: bool,
    failed: Failed,
}

impl<Failed: Fn(Error) -> SqlError> Joining<'_, Failed> {
    fn one_by_one(&self, mut rows: Wanted, count: usize) -> Result<()> {
        let mut done = 0;
        while let Some((heap_tid, vector)) = rows.next().map_err(&self.failed)? {
            progress::show(Phase::InsertingRows, done, count as u64);
            done += 1;
            self.index.insert(vector, heap_tid, false).map_err(&self.failed)?;
        }
        Ok(())
    }

    /// Builds graphs of as many rows as memory holds, and joins one after the other. The first begins with
    /// the nodes of the index where memory holds these as well.
    fn by_graphs(
        &self,
        mut rows: Wanted,
        count: usize,
        pool: &ThreadPool,
        file: &mut Option<TemporaryFile>,
    ) -> Result<()> {
        let (schema, failed) = (&self.index.schema, &self.failed);
        let plan = Plan::new(self.index, pool, graph_memory(self.memory)).map_err(failed)?;
        let is_dense = self.way == Way::Dense;
        // What somebody else joins at the same time, a search would find.
        let mut graph = match self.is_alone {
            true => plan.begin_with_index(count, is_dense, file, failed)?,
            false => plan.begin(file),
        };
        if !is_dense && graph.adopted.is_empty() {
            return self.one_by_one(rows, count);
        }
        let mut asides = Vec::new();
        while let Some((heap_tid, vector)) = rows.next().map_err(failed)? {
            check_for_interrupts();
            if graph.feeder.nodes().is_multiple_of(REPORT_NODES) {
                progress::show(Phase::BuildingGraph, graph.inserted(), count as u64);
            }
            if schema.is_aside(vector) {
                asides.try_reserve(1).map_err(|_| failed(Error::OutOfMemory))?;
                asides.push((AsideKind::ZeroVector, heap_tid));
                continue;
            }
            while !graph.push(vector, heap_tid, failed)? {
                let is_too_little = !graph.has_rows() && graph.adopted.is_empty();
                graph = plan.begin(self.join(graph, &mut asides, pool)?);
                if !is_dense {
                    self.index.insert(vector, heap_tid, false).map_err(failed)?;
                    return self.one_by_one(rows, count);
                }
                if is_too_little {
                    // For one row.
                    self.index.insert(vector, heap_tid, false).map_err(failed)?;
                    break;
                }
            }
        }
        self.join(graph, &mut asides, pool).map(drop)
    }

    /// Waits for a graph, and joins it. Gives its file back, for another.
    fn join<'f>(
        &self,
        graph: Graph<'_, 'f>,
        asides: &mut Vec<(AsideKind, HeapTid)>,
        pool: &ThreadPool,
    ) -> Result<&'f mut Option<TemporaryFile>> {
        let Graph { feeder, adopted, file, .. } = graph;
        let (old, nodes) = (adopted.len() as u64, u64::from(feeder.nodes()));
        let show = |phase, done: u64| {
            progress::show(phase, done.saturating_sub(old), nodes - old);
            check_for_interrupts();
        };
        let finished =
            feeder.finish(|inserted| show(Phase::BuildingGraph, inserted.into())).map_err(&self.failed)?;
        let mut arena: Arena = finished.ok_or_else(|| {
            SqlError::new(
                PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
                "the threads that join rows to an index ended unexpectedly",
            )
        })?;
        let memory = self.memory / JOIN_SHARE;
        let is_dense = self.index.is_dense(arena.len().into()).map_err(&self.failed)?;
        let options = JoinOptions { adopted, is_dense, memory, pool };
        let mut progress = |done| show(Phase::JoiningGraph, done);
        let joined = self.index.join_graph(&mut arena, asides, options, &mut (), &mut progress);
        asides.clear();
        joined.map_err(&self.failed)?;
        drop(arena);
        *file = None;
        Ok(file)
    }
}
