//! What EXPLAIN shows of the scan.

use std::ffi::CStr;

use pgrx::pg_sys;
use walia_core::rank::RankStats;

use crate::am::last::LastScan;
use crate::nodes::NodeRef;
use crate::plan::settings;

/// What EXPLAIN shows of all executions.
#[derive(Clone, Copy, Default)]
pub struct Totals {
    pub executions: u64,
    /// Those that have tested the rows of all entries.
    pub exhausted: u64,
    pub ranks: RankStats,
    pub scans: LastScan,
}

/// Shows the scan's own properties.
pub fn show(totals: Totals, state: NodeRef<pg_sys::ExplainState>) {
    let integer = |label: &CStr, value: u64| {
        // SAFETY: the label is a C string, and there is no unit.
        unsafe {
            pg_sys::ExplainPropertyInteger(label.as_ptr(), std::ptr::null(), value as i64, state.as_ptr())
        }
    };
    settings::show(state);
    let Totals { executions, exhausted, ranks, scans } = totals;
    if !state.analyze || executions == 0 {
        return;
    }
    let ended = match exhausted {
        0 => c"no further row could be nearer",
        exhausted if exhausted == executions => c"all rows were tested",
        _ => c"no further row could be nearer, or all were tested",
    };
    // SAFETY: both are C strings.
    unsafe { pg_sys::ExplainPropertyText(c"Search Ended As".as_ptr(), ended.as_ptr(), state.as_ptr()) };
    integer(c"Codes Read", ranks.entries);
    integer(c"Rows Tested", ranks.tested);
    integer(c"Rows Removed by Test", ranks.failed);
    if state.verbose {
        integer(c"Index Reads", ranks.passes);
        integer(c"Pages Prefetched", scans.prefetched);
        integer(c"Prefetched Pages Used", scans.prefetched_used);
    }
}
