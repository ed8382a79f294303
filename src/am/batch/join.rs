//! Joining the rows that wait to their index.

use pgrx::PgSqlErrorCode;
use rayon::ThreadPool;
use walia_core::arena::{Arena, Feeder, Settings};
use walia_core::page::format::tuple::AsideKind;
use walia_core::page::query::schema::read_centroid;
use walia_core::page::vacuum::connect;
use walia_core::page::{Index, Meta};
use walia_core::types::{Error, HeapTid};

use super::live::live;
use super::rows::{Vectors, WaitingRows};
use super::target::{OpenTarget, Target};
use crate::am::build::threads::with_pool;
use crate::am::counters;
use crate::error::{Result, SqlError};
use crate::guc::build_threads;
use crate::memory;
use crate::store::error::index_error;
use crate::store::file::TemporaryFile;
use crate::store::{self, RelationStore, check_for_interrupts};

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

/// Joins rows to their index, and forgets them. Where it fails, they go on waiting.
pub fn join(target: &Target, waiting: &mut WaitingRows, memory: usize) -> Result<()> {
    let Some(opened) = OpenTarget::open(target) else { return Ok(()) };
    // SAFETY: the index is open as long as `opened`.
    let failed = |error| unsafe { index_error(opened.index, error) };
    // SAFETY: open and locked as for an INSERT, and of Postgres's own access method, as all are that wait.
    let mut wanted = unsafe { live(opened.heap, waiting.heap_tids()) }?;
    let index = store::open(opened.store()).map_err(failed)?;
    let failed_before = std::mem::replace(&mut waiting.may_be_joined, true);
    if failed_before {
        leave_out(&index, waiting, &mut wanted).map_err(failed)?;
    }
    let count = wanted.iter().filter(|wanted| **wanted).count();
    let rows = Wanted { rows: waiting, vectors: waiting.vectors(), wanted: &wanted, next: 0 };
    let joining = Joining { index: &index, memory, failed: &failed };
    if count < FEW {
        joining.one_by_one(rows)?;
    } else {
        let mut file = None;
        let threads = build_threads().min(count.div_ceil(ROWS_OF_THREAD));
        let joined = with_pool(threads, |pool| joining.by_graphs(rows, pool, &mut file));
        drop(file);
        joined.flatten()?;
        memory::give_back();
    }
    if failed_before {
        // Of an insertion that was broken off, nothing need lead to its node.
        connect(&index).map_err(failed)?;
    }
    counters::add_inserts(&index.store, count as u64);
    *waiting = WaitingRows::default();
    Ok(())
}

/// Leaves out the rows that the index holds.
fn leave_out(
    index: &Index<RelationStore>,
    rows: &WaitingRows,
    wanted: &mut [bool],
) -> std::result::Result<(), Error> {
    let rows = rows.heap_tids();
    let mut order = Vec::new();
    order.try_reserve_exact(rows.len())?;
    order.extend((0..rows.len()).filter(|row| wanted[*row]));
    order.sort_unstable_by_key(|row| rows[*row]);
    index.for_each_row(|heap_tid| {
        if let Ok(at) = order.binary_search_by_key(&heap_tid, |row| rows[*row]) {
            wanted[order[at]] = false;
        }
    })
}

/// The rows that are to be joined.
struct Wanted<'r> {
    rows: &'r WaitingRows,
    vectors: Vectors<'r>,
    wanted: &'r [bool],
    next: usize,
}

impl Wanted<'_> {
    /// The next one.
    fn next(&mut self) -> Result<Option<(HeapTid, &[u8])>> {
        while self.next < self.wanted.len() {
            let row = self.next;
            self.next += 1;
            let Some(length) = self.vectors.length()? else { continue };
            if self.wanted[row] {
                return Ok(Some((self.rows.heap_tids()[row], self.vectors.vector(length)?)));
            }
            self.vectors.vector(length)?;
        }
        Ok(None)
    }
}

struct Joining<'i, Failed> {
    index: &'i Index<RelationStore>,
    /// Bytes for all.
    memory: usize,
    failed: Failed,
}

impl<Failed: Fn(Error) -> SqlError> Joining<'_, Failed> {
    fn one_by_one(&self, mut rows: Wanted) -> Result<()> {
        while let Some((heap_tid, vector)) = rows.next()? {
            self.index.insert(vector, heap_tid, false).map_err(&self.failed)?;
        }
        Ok(())
    }

    /// Builds graphs of as many rows as memory holds, and joins one after the other.
    fn by_graphs(&self, mut rows: Wanted, pool: &ThreadPool, file: &mut Option<TemporaryFile>) -> Result<()> {
        let schema = &self.index.schema;
        let parameters = schema.layout.parameters;
        let centroid = match parameters.code_bits {
            0 => Vec::new(),
            _ => {
                let meta = Meta::read(&self.index.store).map_err(&self.failed)?;
                read_centroid(&self.index.store, &meta).map_err(&self.failed)?
            }
        };
        let begin = || {
            let memory = graph_memory(self.memory);
            Feeder::new(Settings::new(parameters, &centroid, schema.layout.max_level, memory), pool)
        };
        let (mut feeder, mut asides) = (begin(), Vec::new());
        while let Some((heap_tid, vector)) = rows.next()? {
            check_for_interrupts();
            if schema.is_aside(vector) {
                asides.try_reserve(1)?;
                asides.push((AsideKind::ZeroVector, heap_tid));
                continue;
            }
            while feeder.push(vector, heap_tid).is_err() {
                if feeder.can_spill() {
                    let file = match &mut *file {
                        Some(file) => file,
                        none => none.insert(TemporaryFile::create()?),
                    };
                    if feeder.spill(file, |_| check_for_interrupts()).map_err(&self.failed)? {
                        continue;
                    }
                }
                if feeder.nodes() == 0 {
                    // Memory is too little for one row.
                    self.index.insert(vector, heap_tid, false).map_err(&self.failed)?;
                    break;
                }
                self.join(feeder, &mut asides)?;
                *file = None;
                feeder = begin();
            }
        }
        self.join(feeder, &mut asides)
    }

    /// Waits for a graph, and joins it.
    fn join(&self, feeder: Feeder, asides: &mut Vec<(AsideKind, HeapTid)>) -> Result<()> {
        let finished = feeder.finish(|_| check_for_interrupts()).map_err(&self.failed)?;
        let mut arena: Arena = finished.ok_or_else(|| {
            SqlError::new(
                PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
                "the threads that join rows to an index ended unexpectedly",
            )
        })?;
        let memory = self.memory / JOIN_SHARE;
        let joined = self.index.join_graph(&mut arena, asides, memory, &mut |_| check_for_interrupts());
        asides.clear();
        joined.map_err(&self.failed)
    }
}
