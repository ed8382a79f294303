//! What EXPLAIN shows of the scan.

use pgrx::pg_sys;
use walia_core::rank::RankStats;

use crate::am::last::LastScan;
use crate::nodes::NodeRef;

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
    state.settings_of_pgvector();
    let Totals { executions, exhausted, ranks, scans } = totals;
    if !state.analyze || executions == 0 {
        return;
    }
    let ended = match exhausted {
        0 => c"no further row could be nearer",
        exhausted if exhausted == executions => c"all rows were tested",
        _ => c"no further row could be nearer, or all were tested",
    };
    state.text(c"Search Ended As", ended);
    state.integer(c"Codes Read", ranks.entries);
    state.integer(c"Rows Tested", ranks.tested);
    state.integer(c"Rows Removed by Test", ranks.failed);
    if state.verbose {
        state.integer(c"Index Reads", ranks.passes);
        state.integer(c"Pages Prefetched", scans.prefetched);
        state.integer(c"Prefetched Pages Used", scans.prefetched_used);
    }
}
