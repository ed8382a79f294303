//! Which of the rows that wait are still this transaction's.

use pgrx::pg_sys;
use walia_core::types::HeapTid;

use crate::error::Result;
use crate::store::{check_for_interrupts, item_pointer};

/// Rows that are looked at between two points where the join can be cancelled.
const BETWEEN_INTERRUPTS: usize = 1024;

/// For each row, whether it is to be indexed: the tuple at its heap TID was inserted by a part of this
/// transaction that is not rolled back. Of rows with one heap TID it is the last: the line pointer was used again,
/// and by this transaction.
///
/// Nobody but this transaction can end the life of such a tuple: what is live now is so at the end of the join.
///
/// # Safety
/// `heap` is an open table of Postgres's own table access method, locked against truncation.
pub unsafe fn live(heap: pg_sys::Relation, rows: &[HeapTid]) -> Result<Vec<bool>> {
    let (mut order, mut live) = (Vec::new(), Vec::new());
    order.try_reserve_exact(rows.len())?;
    order.extend(0..rows.len() as u32);
    order.sort_unstable_by_key(|row| (rows[*row as usize], *row));
    live.try_reserve_exact(rows.len())?;
    live.resize(rows.len(), false);
    // SAFETY: by the caller's promise.
    let mut tuples = unsafe { Tuples::new(heap) };
    for (number, row) in order.iter().enumerate() {
        if number % BETWEEN_INTERRUPTS == 0 {
            check_for_interrupts();
        }
        let heap_tid = rows[*row as usize];
        let is_last = order.get(number + 1).is_none_or(|next| rows[*next as usize] != heap_tid);
        live[*row as usize] = is_last && tuples.is_own(heap_tid);
    }
    tuples.end();
    Ok(live)
}

/// Looks at tuples, whoever sees them. To be ended; dropping it does nothing, as an abort releases what it holds.
struct Tuples {
    heap: pg_sys::Relation,
    slot: *mut pg_sys::TupleTableSlot,
    blocks: u32,
}

impl Tuples {
    /// # Safety
    /// As for [`live`], until it is ended.
    unsafe fn new(heap: pg_sys::Relation) -> Self {
        // SAFETY: by the caller's promise.
        unsafe {
            let slot = pg_sys::table_slot_create(heap, std::ptr::null_mut());
            let blocks = pg_sys::RelationGetNumberOfBlocksInFork(heap, pg_sys::ForkNumber::MAIN_FORKNUM);
            Self { heap, slot, blocks }
        }
    }

    /// Whether there is a tuple of this transaction.
    fn is_own(&mut self, heap_tid: HeapTid) -> bool {
        if heap_tid.block() >= self.blocks {
            return false;
        }
        let (mut item, mut is_null) = (item_pointer(heap_tid), false);
        // SAFETY: by the promise of `new`; the slot holds the tuple until it is cleared.
        unsafe {
            let any = &raw mut pg_sys::SnapshotAnyData;
            if !pg_sys::table_tuple_fetch_row_version(self.heap, &mut item, any, self.slot) {
                return false;
            }
            // What COPY FREEZE inserts is this transaction's, too: the column shows the id as it was written.
            let xmin = pg_sys::MinTransactionIdAttributeNumber;
            let xmin = pg_sys::slot_getsysattr(self.slot, xmin, &mut is_null);
            let is_own = pg_sys::TransactionIdIsCurrentTransactionId(transaction_id(xmin));
            pg_sys::ExecClearTuple(self.slot);
            is_own
        }
    }

    fn end(self) {
        // SAFETY: made by `new`, and ended once.
        unsafe { pg_sys::ExecDropSingleTupleTableSlot(self.slot) }
    }
}

fn transaction_id(datum: pg_sys::Datum) -> pg_sys::TransactionId {
    pg_sys::TransactionId::from(datum.value() as u32)
}
