//! What EXPLAIN shows of the scan.

use pgrx::pg_sys;
use walia_core::page::scan::Reason;

use crate::am::last::LastScan;
use crate::nodes::NodeRef;

/// What EXPLAIN shows of all executions.
#[derive(Clone, Copy, Default)]
pub struct Totals {
    pub executions: u64,
    /// Those that turned to the other child.
    pub exact: u64,
    /// Why the last of them did.
    pub reason: Option<Reason>,
    pub scans: LastScan,
}

/// Shows the scan's own properties.
pub fn show(totals: Totals, scans: LastScan, indexes: u64, state: NodeRef<pg_sys::ExplainState>) {
    state.settings_of_pgvector();
    if !state.analyze || totals.executions == 0 {
        return;
    }
    let way = match totals.exact {
        0 => c"walk",
        exact if exact == totals.executions && scans.stats.search.expanded == 0 => c"exact, without a walk",
        exact if exact == totals.executions => match totals.reason {
            Some(Reason::Memory) => c"exact, as the walk needed more than work_mem times hash_mem_multiplier",
            Some(Reason::Unreachable) => c"exact, as the walk found too few rows",
            Some(Reason::Dear) | None => c"exact, as the walk would have cost more",
        },
        _ => c"walk, and exact where that was better",
    };
    state.text(c"Search Method", way);
    if totals.executions > 1 {
        state.integer(c"Exact Searches", totals.exact);
    }
    if indexes > 1 {
        state.integer(c"Indexes Searched as One", indexes);
    }
    state.integer(c"Rows Tested", scans.stats.tested_rows);
    state.integer(c"Rows Removed by Test", scans.stats.failed_rows);
    state.integer(c"Nodes Expanded", scans.stats.search.expanded);
    if state.verbose {
        state.integer(c"Rounds", scans.stats.rounds);
        state.integer(c"Distances Measured", scans.stats.search.distances);
        state.integer(c"Distances Estimated", scans.stats.search.estimates);
        state.integer(c"Index Pages", scans.pages);
        state.integer(c"Pages Prefetched", scans.prefetched);
        state.integer(c"Prefetched Pages Used", scans.prefetched_used);
    }
}
