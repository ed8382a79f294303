//! Rows that their own statement may give up again.

use pgrx::pg_sys;
use walia_core::page::Page;
use walia_core::types::HeapTid;

use crate::store::buffer::LockedBuffer;

/// Whether a row was inserted by INSERT … ON CONFLICT, which has not decided yet whether it stays. What it
/// gives up is dead at once, and VACUUM may give its heap TID to another row. No other row of a transaction
/// is gone unless the transaction, or a part of it, is rolled back.
///
/// # Safety
/// `heap` is an open table of Postgres's own table access method, and the row was just inserted into it.
pub unsafe fn is_speculative(heap: pg_sys::Relation, heap_tid: HeapTid) -> bool {
    // SAFETY: the table is open; the row's page is there.
    let buffer = unsafe { LockedBuffer::shared(heap, heap_tid.block(), std::ptr::null_mut()) };
    let page = buffer.page() as *const Page;
    // SAFETY: the buffer is locked as long as it lives, so that the page stays as it is; whoever calls has
    // filled the row's line pointer, with a tuple on this page.
    unsafe {
        let header = page.cast::<pg_sys::PageHeaderData>();
        let item = (&raw const (*header).pd_linp)
            .cast::<pg_sys::ItemIdData>()
            .add(usize::from(heap_tid.offset()) - 1);
        let tuple = page.byte_add((*item).lp_off() as usize).cast::<pg_sys::HeapTupleHeaderData>();
        u32::from((*tuple).t_ctid.ip_posid) == pg_sys::SpecTokenOffsetNumber
    }
}
