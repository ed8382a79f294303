//! What EXPLAIN shows of the custom scan.

use std::ffi::{CStr, CString};

use pgrx::pg_sys;

use super::execution::Execution;
use super::settings;
use crate::nodes::NodeRef;

/// Shows the scan's own properties.
pub fn show(execution: &Execution, state: NodeRef<pg_sys::ExplainState>) {
    let totals = execution.totals();
    let integer = |label: &CStr, value: u64| {
        // SAFETY: the label is a C string, and there is no unit.
        unsafe {
            pg_sys::ExplainPropertyInteger(label.as_ptr(), std::ptr::null(), value as i64, state.as_ptr())
        }
    };
    let verbose = state.verbose;
    settings::show(state);
    if !state.analyze || totals.executions == 0 {
        return;
    }
    let by_leader = execution.indexes();
    let by_worker = execution.indexes_of_workers();
    integer(c"Indexes Searched as One", by_leader + by_worker.iter().sum::<u64>());
    if verbose && !by_worker.is_empty() {
        integer(c"Indexes Searched by Leader", by_leader);
        for (worker, indexes) in by_worker.into_iter().enumerate() {
            let label = CString::new(format!("Indexes Searched by Worker {worker}"));
            integer(&label.expect("has no null byte"), indexes);
        }
    }
    integer(c"Indexes That Gave Rows", totals.contributors);
    integer(c"Rounds", totals.rounds);
    if verbose {
        integer(c"Nodes Expanded", totals.scans.stats.search.expanded);
        integer(c"Distances Measured", totals.scans.stats.search.distances);
        integer(c"Distances Estimated", totals.scans.stats.search.estimates);
        integer(c"Index Pages", totals.scans.pages);
        integer(c"Pages Prefetched", totals.scans.prefetched);
        integer(c"Prefetched Pages Used", totals.scans.prefetched_used);
    }
}
