//! What EXPLAIN shows of scans of an index that no custom scan leads, and of rows that joined a graph after
//! they were inserted: from Postgres 18 on, which has a hook for every node.

use std::cell::Cell;
use std::ffi::c_char;

use pgrx::pg_sys::ffi::pg_guard_ffi_boundary;
use pgrx::{pg_guard, pg_sys};
use walia_core::page::scan::SecondRunReason;

use crate::am::batch::explained::{self, Joined};
use crate::am::handler;
use crate::am::scan::totals;
use crate::am::scan::totals::Totals;
use crate::error_context::enter;
use crate::nodes::NodeRef;

thread_local! {
    /// The hook of a library that was loaded before.
    static PREVIOUS: Cell<pg_sys::explain_per_node_hook_type> = const { Cell::new(None) };
}

/// Makes the hook known; called once, when the library is loaded.
pub fn define() {
    // SAFETY: the process's only thread sets its own variable.
    unsafe {
        PREVIOUS.set(pg_sys::explain_per_node_hook);
        pg_sys::explain_per_node_hook = Some(explain_node);
    }
}

/// The hook for each node of a plan that is shown.
///
/// # Safety
/// Only Postgres calls it.
#[pg_guard]
unsafe extern "C-unwind" fn explain_node(
    node: *mut pg_sys::PlanState,
    ancestors: *mut pg_sys::List,
    relationship: *const c_char,
    plan_name: *const c_char,
    state: *mut pg_sys::ExplainState,
) {
    enter!();
    if let Some(previous) = PREVIOUS.get() {
        // SAFETY: what Postgres gave.
        unsafe { pg_guard_ffi_boundary(|| previous(node, ancestors, relationship, plan_name, state)) };
    }
    // SAFETY: Postgres gives the state of a node and its own of EXPLAIN.
    let (node, state) = unsafe { (NodeRef::new(node), NodeRef::new(state)) };
    if state.analyze && node.downcast::<pg_sys::ModifyTableState>().is_some() {
        explained::take().iter().for_each(|joined| show_joined(joined, state));
        return;
    }
    let Some(scan) = node.downcast::<pg_sys::IndexScanState>().map(|node| node.iss_ScanDesc) else { return };
    if !state.analyze || scan.is_null() {
        return;
    }
    // SAFETY: the index of a scan is open. EXPLAIN shows a plan before its execution ends, and between two
    // rows.
    let totals = unsafe {
        let is_own = handler::is_handled_here((*(*(*scan).indexRelation).rd_rel).relam);
        if is_own { totals(scan) } else { None }
    };
    if let Some(totals) = totals.filter(|totals| totals.scans.indexes > 0) {
        show(&totals, state);
    }
}

fn show_joined(Joined { rows, time }: &Joined, state: NodeRef<pg_sys::ExplainState>) {
    state.integer(c"Rows Joined", *rows);
    if state.timing {
        let (label, unit) = (c"Join Time".as_ptr(), c"ms".as_ptr());
        // SAFETY: label and unit are C strings.
        unsafe {
            pg_sys::ExplainPropertyFloat(label, unit, time.as_secs_f64() * 1000.0, 3, state.as_ptr());
        }
    }
}

fn show(totals: &Totals, state: NodeRef<pg_sys::ExplainState>) {
    let Totals { scans, rounds, second_run_reason } = totals;
    state.settings_of_pgvector();
    state.integer(c"Nodes Expanded", scans.stats.search.expanded);
    state.integer(c"Rounds", *rounds);
    if let Some(reason) = second_run_reason {
        let reason = match reason {
            SecondRunReason::NoDistance => c"as the query has no distance from any vector",
            SecondRunReason::MaxTuples => c"as the walk gave walia.max_scan_tuples rows",
            SecondRunReason::Memory => c"as the walk needed more than work_mem times hash_mem_multiplier",
            SecondRunReason::Exhausted => c"as no link led to further rows",
        };
        state.text(c"Second Run", reason);
        if scans.indexes > 1 {
            state.integer(c"Second Runs", scans.stats.second_runs);
        }
        state.integer(c"Rows of Second Run", scans.stats.second_run);
    }
    if state.verbose {
        state.integer(c"Distances Measured", scans.stats.search.distances);
        state.integer(c"Distances Estimated", scans.stats.search.estimates);
        state.integer(c"Index Pages", scans.pages);
        state.integer(c"Pages Prefetched", scans.prefetched);
        state.integer(c"Prefetched Pages Used", scans.prefetched_used);
    }
}
