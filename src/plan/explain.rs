//! What EXPLAIN shows of the custom scan.

use std::ffi::CString;

use pgrx::pg_sys;

use super::execution::Execution;
use crate::nodes::NodeRef;

/// Shows the scan's own properties.
pub fn show(execution: &Execution, state: NodeRef<pg_sys::ExplainState>) {
    let totals = execution.totals();
    let verbose = state.verbose;
    state.settings_of_pgvector();
    if !state.analyze || totals.executions == 0 {
        return;
    }
    let by_leader = execution.indexes();
    let by_worker = execution.indexes_of_workers();
    state.integer(c"Indexes Searched as One", by_leader + by_worker.iter().sum::<u64>());
    if verbose && !by_worker.is_empty() {
        state.integer(c"Indexes Searched by Leader", by_leader);
        for (worker, indexes) in by_worker.into_iter().enumerate() {
            let label = CString::new(format!("Indexes Searched by Worker {worker}"));
            state.integer(&label.expect("has no null byte"), indexes);
        }
    }
    state.integer(c"Indexes That Gave Rows", totals.contributors);
    state.integer(c"Rounds", totals.rounds);
    if verbose {
        state.integer(c"Nodes Expanded", totals.scans.stats.search.expanded);
        state.integer(c"Distances Measured", totals.scans.stats.search.distances);
        state.integer(c"Distances Estimated", totals.scans.stats.search.estimates);
        state.integer(c"Index Pages", totals.scans.pages);
        state.integer(c"Pages Prefetched", totals.scans.prefetched);
        state.integer(c"Prefetched Pages Used", totals.scans.prefetched_used);
    }
}
