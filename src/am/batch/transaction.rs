//! The rows that wait in this transaction, by index.

use std::cell::RefCell;
use std::collections::HashMap;

use pgrx::pg_sys;
use walia_core::arena::Arena;
use walia_core::graph::Contents;
use walia_core::types::{HeapTid, Parameters};

use super::join::{graph_memory, join};
use super::rows::WaitingRows;
use super::target::Target;
use crate::am::column;
use crate::error::Result;
use crate::guc;
use crate::store::error::index_error;
use crate::store::{self, RelationStore};

/// Rows that a transaction inserts into an index one by one before others wait.
const ONE_BY_ONE: u32 = 32;
/// Rows that may wait from one statement to the next.
const BETWEEN_STATEMENTS: usize = 8192;
/// The share of `maintenance_work_mem` for rows that wait; a graph takes the rest.
const WAITING_SHARE: usize = 4;
/// The share of it that is worth a file.
const SPILL_SHARE: usize = 16;

/// The rows of an index.
#[derive(Default)]
struct Batch {
    /// How many rows were inserted.
    inserted: u32,
    /// Those that wait, once they are more than a few.
    waiting: Option<Waiting>,
}

/// Rows that wait.
struct Waiting {
    rows: WaitingRows,
    parameters: Parameters,
    /// As many rows as a graph in memory can hold.
    most: usize,
}

thread_local! {
    static BATCHES: RefCell<HashMap<Target, Batch>> = RefCell::default();
}

/// Takes a row that is inserted into an index, to be joined to it later. False where it is to be inserted at once:
/// as the first few are, those that `may_wait` forbids, and NULL, which no graph has.
///
/// # Safety
/// Called by `aminsert`: the relations are open, and `datum` is a value of the index's column.
pub unsafe fn take(
    index: pg_sys::Relation,
    heap: pg_sys::Relation,
    datum: Option<pg_sys::Datum>,
    heap_tid: HeapTid,
    may_wait: bool,
) -> Result<bool> {
    // What a table's access method does with heap TIDs is known of Postgres's own.
    // SAFETY: by the caller's promise.
    let (target, access_method) = unsafe { (Target::of(index, heap), (*(*heap).rd_rel).relam) };
    let may_wait = may_wait && guc::batch_inserts() && access_method == pg_sys::HEAP_TABLE_AM_OID;
    BATCHES.with_borrow_mut(|batches| {
        let Some(datum) = datum.filter(|_| may_wait) else {
            // A row that waits may have had this heap TID before it was rolled back.
            return match batches.get_mut(&target) {
                Some(Batch { waiting: Some(waiting), .. }) if waiting.rows.len() > 0 => {
                    waiting.rows.push(heap_tid, None).map(|()| false)
                }
                _ => Ok(false),
            };
        };
        let batch = batches.entry(target).or_default();
        if batch.inserted < ONE_BY_ONE {
            batch.inserted += 1;
            return Ok(false);
        }
        let waiting = match &mut batch.waiting {
            Some(waiting) => waiting,
            // SAFETY: by the caller's promise.
            none => none.insert(unsafe { Waiting::new(index, heap) }?),
        };
        // SAFETY: by the caller's promise.
        let vector = unsafe { column::vector(datum, &waiting.parameters) }?;
        waiting.rows.push(heap_tid, Some(vector.bytes()))?;
        if waiting.rows.len() >= waiting.most {
            join(&target, &mut waiting.rows, memory())?;
        }
        make_room(batches)?;
        Ok(true)
    })
}

/// Whether rows wait for any index.
pub fn is_any_waiting() -> bool {
    let waits = |batch: &Batch| batch.waiting.as_ref().is_some_and(|waiting| waiting.rows.len() > 0);
    // A process that is terminated in a join runs further transactions before it ends.
    BATCHES.with(|batches| batches.try_borrow().is_ok_and(|batches| batches.values().any(waits)))
}

/// Joins the rows that wait for an index.
pub fn join_waiting(index: pg_sys::Oid) -> Result<()> {
    join_if(|target, _| target.index() == index.to_u32())
}

/// Joins all rows that wait.
pub fn join_all() -> Result<()> {
    join_if(|_, _| true)
}

/// Joins rows at the end of a statement: those of an index for which very many wait.
pub fn join_many() -> Result<()> {
    join_if(|_, waiting| waiting.rows.len() >= BETWEEN_STATEMENTS)
}

/// Forgets all rows, with the transaction that has inserted them.
pub fn forget() {
    BATCHES.with(|batches| {
        // A process that is terminated in a join ends without unwinding, and the rows end with it.
        if let Ok(mut batches) = batches.try_borrow_mut()
            && !batches.is_empty()
        {
            *batches = HashMap::new();
        }
    });
}

fn join_if(is_wanted: impl Fn(&Target, &Waiting) -> bool) -> Result<()> {
    BATCHES.with_borrow_mut(|batches| {
        for (target, batch) in batches.iter_mut() {
            if let Some(waiting) = &mut batch.waiting
                && waiting.rows.len() > 0
                && is_wanted(target, waiting)
            {
                join(target, &mut waiting.rows, memory())?;
            }
        }
        Ok(())
    })
}

/// Bytes of `maintenance_work_mem`.
fn memory() -> usize {
    // SAFETY: a setting.
    unsafe { pg_sys::maintenance_work_mem as usize * 1024 }
}

/// Takes memory from the rows of some index where all of them have more than their share: a file where that is worth
/// one, and otherwise the join.
fn make_room(batches: &mut HashMap<Target, Batch>) -> Result<()> {
    let waiting = |batch: &Batch| batch.waiting.as_ref().map_or(0, |waiting| waiting.rows.memory());
    // Most transactions write to one index, or a few.
    while batches.values().map(waiting).sum::<usize>() > memory() / WAITING_SHARE {
        let most = batches.iter_mut().max_by_key(|(_, batch)| waiting(batch));
        let Some((target, Batch { waiting: Some(waiting), .. })) = most else { return Ok(()) };
        if waiting.rows.spillable() > memory() / SPILL_SHARE {
            waiting.rows.spill()?;
        } else {
            join(target, &mut waiting.rows, memory())?;
        }
    }
    Ok(())
}

impl Waiting {
    /// None yet.
    ///
    /// # Safety
    /// Both relations are open.
    unsafe fn new(index: pg_sys::Relation, heap: pg_sys::Relation) -> Result<Self> {
        // SAFETY: by the caller's promise.
        let opened = store::open(unsafe { RelationStore::new(index, heap) });
        // SAFETY: as above.
        let opened = opened.map_err(|error| unsafe { index_error(index, error) })?;
        let parameters = opened.schema.layout.parameters;
        let some = 10_000;
        let contents =
            Contents { nodes: some, duplicates: 0, asides: 0, vector_size: parameters.vector_size() };
        let estimate = Arena::estimate(&parameters, guc::build_threads(), &contents);
        let of_row = (estimate.spilled.unwrap_or(estimate.whole) / some).max(1);
        let most = graph_memory(memory()) / of_row as usize;
        Ok(Self { rows: WaitingRows::default(), parameters, most: most.max(1) })
    }
}
