//! What EXPLAIN shows of scans of an index that no custom scan leads, and of rows that joined a graph after
//! they were inserted: from Postgres 18 on, which has a hook for every node.

use std::cell::Cell;
use std::ffi::{CStr, c_char};

use pgrx::pg_sys::ffi::pg_guard_ffi_boundary;
use pgrx::{pg_guard, pg_sys};
use walia_core::page::scan::SecondRunReason;

use super::settings;
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
    // SAFETY: labels and units are C strings.
    unsafe {
        let (state_pointer, milliseconds) = (state.as_ptr(), time.as_secs_f64() * 1000.0);
        pg_sys::ExplainPropertyInteger(
            c"Rows Joined".as_ptr(),
            std::ptr::null(),
            *rows as i64,
            state_pointer,
        );
        if state.timing {
            pg_sys::ExplainPropertyFloat(
                c"Join Time".as_ptr(),
                c"ms".as_ptr(),
                milliseconds,
                3,
                state_pointer,
            );
        }
    }
}

fn show(totals: &Totals, state: NodeRef<pg_sys::ExplainState>) {
    let integer = |label: &CStr, value: u64| {
        // SAFETY: the label is a C string, and there is no unit.
        unsafe {
            pg_sys::ExplainPropertyInteger(label.as_ptr(), std::ptr::null(), value as i64, state.as_ptr())
        }
    };
    let Totals { scans, rounds, second_run_reason } = totals;
    settings::show(state);
    integer(c"Nodes Expanded", scans.stats.search.expanded);
    integer(c"Rounds", *rounds);
    if let Some(reason) = second_run_reason {
        let reason = match reason {
            SecondRunReason::NoDistance => c"as the query has no distance from any vector",
            SecondRunReason::MaxTuples => c"as the walk gave walia.max_scan_tuples rows",
            SecondRunReason::Memory => c"as the walk needed more than work_mem times hash_mem_multiplier",
            SecondRunReason::Exhausted => c"as no link led to further rows",
        };
        // SAFETY: both are C strings.
        unsafe { pg_sys::ExplainPropertyText(c"Second Run".as_ptr(), reason.as_ptr(), state.as_ptr()) };
        if scans.indexes > 1 {
            integer(c"Second Runs", scans.stats.second_runs);
        }
        integer(c"Rows of Second Run", scans.stats.second_run);
    }
    if state.verbose {
        integer(c"Distances Measured", scans.stats.search.distances);
        integer(c"Distances Estimated", scans.stats.search.estimates);
        integer(c"Index Pages", scans.pages);
        integer(c"Pages Prefetched", scans.prefetched);
        integer(c"Prefetched Pages Used", scans.prefetched_used);
    }
}
