//! Whether any other process may hold what an index had before.
//!
//! The rule of transaction numbers proves that all snapshots of a moment are gone, but only when a
//! transaction with a number has ended since: on an idle server nobody takes one. VACUUM must not take one to
//! help itself. It would hold back the horizon of the whole cluster, of standbys too, to its end, and past
//! the stop limit there are none.

use std::ptr;
use std::sync::atomic::{Ordering, fence};

use pgrx::pg_sys;

/// Whether no process but this one, and no scan of this one, can have seen what has been unlinked by now.
/// False as well where standbys send feedback: whether one of them is idle is not known here.
///
/// Who scans an index holds a snapshot (`xmin`) all the while, and who inserts into it has had a transaction
/// number since before (`xid`). Both are written before the first page of the index is locked, and a link
/// leaves a page under its exclusive lock: so what was written before others read that link is seen here. Of
/// a process that is later, any value will do.
///
/// Prepared transactions are not among these processes: they do nothing any more. What VACUUM reads of other
/// tables, and the other processes of this one, search no index.
pub fn is_alone() -> bool {
    let mut feedback = pg_sys::InvalidTransactionId;
    // SAFETY: asks for one of the two numbers.
    unsafe { pg_sys::ProcArrayGetReplicationSlotXmin(&mut feedback, ptr::null_mut()) };
    fence(Ordering::SeqCst);
    // SAFETY: the table of processes is as large as it says as long as the server runs. Others write to it
    // meanwhile: single words, read as such.
    let others = unsafe {
        let (processes, count) = ((*pg_sys::ProcGlobal).allProcs, (*pg_sys::ProcGlobal).allProcCount);
        (0..count as usize).any(|number| {
            let process = processes.add(number);
            let vacuums =
                u32::from((&raw const (*process).statusFlags).read_volatile()) & pg_sys::PROC_IN_VACUUM != 0;
            let numbers = [&raw const (*process).xid, &raw const (*process).xmin];
            // In a transaction block this one may have open cursors.
            let scans = process != pg_sys::MyProc || pg_sys::IsTransactionBlock();
            scans
                && !vacuums
                && numbers.into_iter().any(|number| number.read_volatile() != pg_sys::InvalidTransactionId)
        })
    };
    feedback == pg_sys::InvalidTransactionId && !others
}
