//! The rows that wait in this transaction, by index.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::time::Instant;

use pgrx::pg_sys;
use walia_core::arena::Arena;
use walia_core::graph::Contents;
use walia_core::types::{HeapTid, Parameters};

use super::blocks::Blocks;
use super::explained;
use super::join::{graph_memory, join};
use super::nesting::may_wait;
use super::rows::WaitingRows;
use super::speculative::is_speculative;
use super::target::Target;
use crate::am::column;
use crate::am::vacuum::memory;
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
/// The least that is worth a block of the file. Where the largest batch is smaller there are very many.
const LEAST_TO_SPILL: usize = 8192;

/// The rows of an index.
#[derive(Default)]
struct Batch {
    /// How many were inserted at once.
    inserted: u32,
    /// Those that wait, once they are more than a few.
    waiting: Option<Waiting>,
}

impl Batch {
    /// Bytes of memory that the file can take.
    fn spillable(&self) -> usize {
        self.waiting.as_ref().map_or(0, |waiting| waiting.rows.spillable())
    }
}

/// Rows that wait.
struct Waiting {
    rows: WaitingRows,
    parameters: Parameters,
    /// As many rows as a graph in memory can hold.
    most: usize,
}

/// Those of all indexes.
#[derive(Default)]
struct Batches {
    of: HashMap<Target, Batch>,
    /// The file of all.
    blocks: Option<Blocks>,
    /// Bytes of memory that all rows take.
    memory: usize,
}

thread_local! {
    static BATCHES: RefCell<Batches> = RefCell::default();
    /// Whether the transaction has joined its rows for the last time.
    static IS_ENDING: Cell<bool> = const { Cell::new(false) };
}

/// Takes a row that is inserted into an index, to be joined to it later. False where it is to be inserted at
/// once: as the first few are.
///
/// # Safety
/// Called by `aminsert`: the relations are open, and `datum` is a value of the index's column.
pub unsafe fn take(
    index: pg_sys::Relation,
    heap: pg_sys::Relation,
    datum: pg_sys::Datum,
    heap_tid: HeapTid,
) -> Result<bool> {
    // What a table's access method does with heap TIDs is known of Postgres's own.
    // SAFETY: by the caller's promise; an open relation has its row of pg_class.
    let is_heap = unsafe { (*(*heap).rd_rel).relam == pg_sys::HEAP_TABLE_AM_OID };
    if !guc::batch_inserts() || !is_heap || IS_ENDING.get() || !may_wait() {
        return Ok(false);
    }
    BATCHES.with_borrow_mut(|batches| {
        // SAFETY: by the caller's promise.
        let target = unsafe { Target::of(index, heap) };
        let batch = batches.of.entry(target).or_default();
        if batch.inserted < ONE_BY_ONE {
            batch.inserted += 1;
            return Ok(false);
        }
        // SAFETY: by the caller's promise.
        if unsafe { is_speculative(heap, heap_tid) } {
            return Ok(false);
        }
        let waiting = match &mut batch.waiting {
            Some(waiting) => waiting,
            // SAFETY: by the caller's promise.
            none => none.insert(unsafe { Waiting::new(index, heap) }?),
        };
        if waiting.rows.len() == 0 {
            target.lock();
        }
        // SAFETY: by the caller's promise.
        let vector = unsafe { column::vector(datum, &waiting.parameters) }?;
        let before = waiting.rows.memory();
        // SAFETY: in a transaction.
        let subtransaction = unsafe { pg_sys::GetCurrentSubTransactionId() };
        waiting.rows.push(heap_tid, vector.bytes(), subtransaction)?;
        batches.memory += waiting.rows.memory() - before;
        if waiting.rows.len() >= waiting.most {
            batches.join(&target)?;
        }
        batches.make_room()?;
        Ok(true)
    })
}

/// Whether rows wait for any index.
pub fn is_any_waiting() -> bool {
    let waits = |batch: &Batch| batch.waiting.as_ref().is_some_and(|waiting| waiting.rows.len() > 0);
    // A process that is terminated in a join runs further transactions before it ends.
    BATCHES.with(|batches| batches.try_borrow().is_ok_and(|batches| batches.of.values().any(waits)))
}

/// Joins the rows that wait for an index.
pub fn join_waiting(index: pg_sys::Oid) -> Result<()> {
    join_if(|target, _| target.index() == index.to_u32())
}

/// Joins all rows that wait.
pub fn join_all() -> Result<()> {
    join_if(|_, _| true)
}

/// The transaction joins its rows for the last time. What other libraries insert at its end does not wait.
pub fn end_waiting() {
    IS_ENDING.set(true);
}

/// Joins rows at the end of a statement: those of an index for which very many wait.
pub fn join_many() -> Result<()> {
    join_if(|_, rows| rows.len() >= BETWEEN_STATEMENTS)
}

/// Forgets all rows, with the transaction that has inserted them.
pub fn forget() {
    IS_ENDING.set(false);
    with_batches(|batches| {
        if !batches.of.is_empty() {
            *batches = Batches::default();
        }
    });
}

/// A subtransaction has ended: its rows are those of the one around it.
pub fn hand_over(subtransaction: pg_sys::SubTransactionId, parent: pg_sys::SubTransactionId) {
    with_batches(|batches| {
        for waiting in batches.of.values_mut().filter_map(|batch| batch.waiting.as_mut()) {
            waiting.rows.hand_over(subtransaction, parent);
        }
    });
}

/// A subtransaction is rolled back, and its rows with it. It takes no memory.
pub fn cut(subtransaction: pg_sys::SubTransactionId) {
    with_batches(|batches| {
        for waiting in batches.of.values_mut().filter_map(|batch| batch.waiting.as_mut()) {
            waiting.rows.cut(subtransaction, batches.blocks.as_mut());
        }
    });
}

/// Does something at the end of a (sub)transaction.
fn with_batches(work: impl FnOnce(&mut Batches)) {
    BATCHES.with(|batches| {
        // A process that is terminated in a join ends without unwinding, and the rows end with it.
        if let Ok(mut batches) = batches.try_borrow_mut() {
            work(&mut batches);
        }
    });
}

fn join_if(is_wanted: impl Fn(&Target, &WaitingRows) -> bool) -> Result<()> {
    BATCHES.with_borrow_mut(|batches| {
        let wanted = |(target, batch): (&Target, &Batch)| {
            let rows = &batch.waiting.as_ref()?.rows;
            (rows.len() > 0 && is_wanted(target, rows)).then_some(*target)
        };
        let mut targets: Vec<Target> = batches.of.iter().filter_map(wanted).collect();
        targets.sort_unstable_by_key(Target::index);
        targets.iter().try_for_each(|target| batches.join(target))
    })
}

impl Batches {
    /// Joins the rows of an index. Where it fails, they go on waiting; also where the index is not there, as
    /// ROLLBACK TO may bring it back.
    fn join(&mut self, target: &Target) -> Result<()> {
        let Some(Batch { waiting: Some(waiting), .. }) = self.of.get_mut(target) else { return Ok(()) };
        let (rows, begin) = (waiting.rows.len() as u64, Instant::now());
        if !join(target, &mut waiting.rows, self.blocks.as_ref(), memory())? {
            return Ok(());
        }
        explained::add(rows, begin.elapsed());
        self.memory = self.memory.saturating_sub(waiting.rows.memory());
        waiting.rows.clear(self.blocks.as_mut());
        if self.blocks.as_ref().is_some_and(Blocks::is_empty) {
            self.blocks = None;
        }
        Ok(())
    }

    /// Takes memory from the rows of some index where all of them have more than their share: a block where
    /// that is worth one, and otherwise the join.
    fn make_room(&mut self) -> Result<()> {
        while self.memory > memory() / WAITING_SHARE {
            let most = self.of.iter_mut().max_by_key(|(_, batch)| batch.spillable());
            let Some((target, Batch { waiting: Some(waiting), .. })) = most else { return Ok(()) };
            if waiting.rows.spillable() < LEAST_TO_SPILL {
                let (target, before) = (*target, self.memory);
                self.join(&target)?;
                if self.memory == before {
                    return Ok(());
                }
                continue;
            }
            let file = match &mut self.blocks {
                Some(file) => file,
                none => none.insert(Blocks::create()?),
            };
            let before = waiting.rows.memory();
            waiting.rows.spill(file)?;
            self.memory = (self.memory + waiting.rows.memory()).saturating_sub(before);
        }
        Ok(())
    }
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
