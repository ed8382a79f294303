//! What EXPLAIN shows of the custom scan.
//!
//! Imports `merge`.

use std::ffi::CStr;

use pgrx::pg_sys;

use super::merge::Merge;

/// Shows the scan's own properties.
///
/// # Safety
/// `state` is EXPLAIN's.
pub unsafe fn show(merge: &Merge, state: *mut pg_sys::ExplainState) {
    let totals = merge.totals();
    let integer = |label: &CStr, value: u64| {
        // SAFETY: by the caller's promise.
        unsafe { pg_sys::ExplainPropertyInteger(label.as_ptr(), std::ptr::null(), value as i64, state) }
    };
    // SAFETY: by the caller's promise.
    let (analyze, verbose) = unsafe { ((*state).analyze, (*state).verbose) };
    if analyze && totals.executions > 0 {
        integer(c"Indexes Searched as One", merge.members() as u64);
        integer(c"Indexes That Gave Rows", totals.contributors);
        integer(c"Rounds", totals.rounds);
        if verbose {
            integer(c"Nodes Expanded", totals.expanded);
            integer(c"Distances Measured", totals.distances);
            integer(c"Distances Estimated", totals.estimates);
        }
    }
}
