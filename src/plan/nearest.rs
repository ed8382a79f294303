//! The part of a process in a parallel scan: the rows of the children that it has claimed, as far as they may
//! be wanted.
//!
//! No process gives a row before it has all that it will give: at most as many as the query wants of all
//! tables, and fewer where the others have nearer ones. For a Gather Merge above gives the first row when
//! each process has given one; a process that had none yet would go on searching in vain, because it could
//! not know that the others have enough. So rows are shown to the others, by their distances, as soon as they
//! are found. And as all rows of a process are sorted before the first is given, they need not be found in
//! their order.

use std::collections::TryReserveError;

use pgrx::{PgMemoryContexts, pg_sys};
use walia_core::graph::{Board, Pool};

use super::child::Row;
use super::merge::Merge;
use super::shared::Shared;
use super::value::Value;
use crate::error::OrRaise;

/// A row that was found.
struct Found {
    value: Value,
    /// Among those of the process.
    number: usize,
    row: pg_sys::MinimalTuple,
}

/// The rows of one process.
pub struct Nearest {
    /// How many rows are wanted of all processes.
    limit: usize,
    /// What is still to be given, in reverse; `None` before the search.
    rows: Option<Vec<Found>>,
    /// Where rows are given, and where they are kept.
    slot: *mut pg_sys::TupleTableSlot,
    context: pg_sys::MemoryContext,
}

impl Nearest {
    /// Before the search for so many rows.
    ///
    /// # Safety
    /// `slot` is for minimal tuples with the columns of all children's rows, and nobody else uses it;
    /// `context` is for this alone. Both live until the last call.
    pub unsafe fn new(
        limit: usize,
        slot: *mut pg_sys::TupleTableSlot,
        context: pg_sys::MemoryContext,
    ) -> Self {
        Self { limit, rows: None, slot, context }
    }

    /// How many rows are wanted.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// The next row. It is there until the next call.
    pub fn next(&mut self, merge: &mut Merge, shared: &Shared) -> Option<Row> {
        if self.rows.is_none() {
            self.rows = Some(self.search(merge, shared));
            shared.report(merge.current_totals());
        }
        let found = self.rows.as_mut()?.pop()?;
        // SAFETY: the row is kept until `restart`, which empties the slot.
        unsafe {
            pg_sys::ExecStoreMinimalTuple(found.row, self.slot, false);
            Row::of_slot(self.slot)
        }
    }

    /// Begins anew with the next row.
    pub fn restart(&mut self) {
        self.rows = None;
        // SAFETY: the slot's row is the only one that anybody knows of, and is forgotten first.
        unsafe {
            pg_sys::ExecClearTuple(self.slot);
            pg_sys::MemoryContextReset(self.context);
        }
    }

    /// All rows of this process, the last first.
    fn search(&self, merge: &mut Merge, shared: &Shared) -> Vec<Found> {
        let limit = shared.terms().limit;
        let mut contest = Contest::new(limit, shared.board_of_rows().or_raise()).or_raise();
        let mut rows: Vec<Found> = Vec::new();
        while let Some((value, row)) = merge.next(Some(shared), &mut |value| contest.admits(value)) {
            rows.try_reserve(1).or_raise();
            rows.push(Found { value, number: rows.len(), row: self.copy(row) });
            contest.pool.offer(value.to_number());
        }
        // The others are not to miss the last of them.
        contest.exchange();
        rows.sort_unstable_by_key(|found| (found.value, found.number));
        rows.truncate(limit);
        rows.reverse();
        rows
    }

    /// A copy of a row, which has the columns of the slot.
    fn copy(&self, row: Row) -> pg_sys::MinimalTuple {
        // SAFETY: all children's rows have the columns of the slot, by the promise of `new`; those of a row
        // are extracted.
        unsafe {
            let (columns, row) = ((*self.slot).tts_tupleDescriptor, &*row.slot());
            PgMemoryContexts::For(self.context).switch_to(|_| {
                pg_sys::heap_form_minimal_tuple(
                    columns,
                    row.tts_values,
                    row.tts_isnull,
                    #[cfg(feature = "pg18")]
                    0,
                )
            })
        }
    }
}

/// The rows of all processes compete for as many places as there are rows wanted.
struct Contest<'a> {
    pool: Pool,
    board: Board<'a>,
    /// Questions until the others are looked at again, which takes longer the more places there are.
    questions: usize,
    interval: usize,
}

impl<'a> Contest<'a> {
    fn new(limit: usize, board: Board<'a>) -> Result<Self, TryReserveError> {
        Ok(Self { pool: Pool::new(limit)?, board, questions: 0, interval: limit.div_ceil(16) })
    }

    /// Whether a row with this value may still be wanted.
    fn admits(&mut self, value: Value) -> bool {
        if self.questions == 0 {
            self.exchange();
        }
        self.questions -= 1;
        self.pool.bound().is_none_or(|bound| value < Value::from_number(bound))
    }

    fn exchange(&mut self) {
        self.pool.exchange(&mut self.board);
        self.questions = self.interval;
    }
}
