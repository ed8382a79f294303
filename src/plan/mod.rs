//! One search over many tables: the planner's hook and the custom scan that searches the indexes of
//! partitions, of inheritance children and of the branches of UNION ALL as one. And the hooks that keep the
//! order of scans from what it cannot serve.
//!
//! Nothing has to be preloaded: whoever plans a query opens its indexes, which loads the library, before a
//! hook is asked.

mod callbacks;
mod child;
mod coded;
mod custom;
mod distance;
mod execution;
mod explain;
mod goal;
mod merge;
mod nearest;
mod node;
mod order;
pub mod orderings;
mod parallel;
mod path;
#[cfg(feature = "pg18")]
mod plain;
mod private;
mod properties;
mod rows;
mod shared;
mod table;
mod totals;
mod value;
mod vectors;
mod walk;

use std::cell::Cell;
use std::ffi::CStr;

use pgrx::pg_sys::ffi::pg_guard_ffi_boundary;
use pgrx::{pg_guard, pg_sys};

use crate::error_context::enter;
use crate::guc;
use crate::nodes::NodeRef;

/// The custom scan's name, as EXPLAIN shows it.
const NAME: &CStr = c"WaliaFederatedScan";

/// A table of callbacks, which Postgres reads only.
#[repr(transparent)]
struct Methods<T>(T);

// SAFETY: functions and a static name, never written.
unsafe impl<T> Sync for Methods<T> {}

thread_local! {
    /// The hooks of a library that was loaded before.
    static PREVIOUS_UPPER_PATHS: Cell<pg_sys::create_upper_paths_hook_type> = const { Cell::new(None) };
    static PREVIOUS_PATHLIST: Cell<pg_sys::set_rel_pathlist_hook_type> = const { Cell::new(None) };
}

/// Makes the custom scan and the hooks known; called once, when the library is loaded.
pub fn define() {
    // SAFETY: the backend's only thread is in _PG_init; the methods are static.
    unsafe {
        pg_sys::RegisterCustomScanMethods(&raw const node::SCAN_METHODS.0);
        pg_sys::RegisterCustomScanMethods(&raw const walk::SCAN_METHODS.0);
        pg_sys::RegisterCustomScanMethods(&raw const coded::SCAN_METHODS.0);
        PREVIOUS_UPPER_PATHS.set(pg_sys::create_upper_paths_hook);
        pg_sys::create_upper_paths_hook = Some(create_upper_paths);
        PREVIOUS_PATHLIST.set(pg_sys::set_rel_pathlist_hook);
        pg_sys::set_rel_pathlist_hook = Some(set_rel_pathlist);
    }
    #[cfg(feature = "pg18")]
    plain::define();
}

/// The hook for what is above the tables: offers the custom scan where rows of many tables are wanted in
/// order.
///
/// # Safety
/// Only Postgres calls it.
#[pg_guard]
unsafe extern "C-unwind" fn create_upper_paths(
    root: *mut pg_sys::PlannerInfo,
    stage: pg_sys::UpperRelationKind::Type,
    input: *mut pg_sys::RelOptInfo,
    output: *mut pg_sys::RelOptInfo,
    extra: *mut std::ffi::c_void,
) {
    enter!();
    if let Some(previous) = PREVIOUS_UPPER_PATHS.get() {
        // SAFETY: what Postgres gave, and before this hook changes anything.
        unsafe { pg_guard_ffi_boundary(|| previous(root, stage, input, output, extra)) };
    }
    // SAFETY: Postgres gives its planner's state; what is above set operations has no input.
    let (root, input, output) =
        unsafe { (NodeRef::new(root), NodeRef::or_null(input), NodeRef::new(output)) };
    if stage == pg_sys::UpperRelationKind::UPPERREL_ORDERED {
        orderings::look(root);
    }
    if let Some(input) = input
        && stage == pg_sys::UpperRelationKind::UPPERREL_ORDERED
        && guc::federated_scan()
        && !walk::many::offer_ordered(root, input, output)
    {
        path::offer(root, input, output);
    }
    #[cfg(any(feature = "pg17", feature = "pg18"))]
    if stage == pg_sys::UpperRelationKind::UPPERREL_FINAL {
        order::forget_in_branch(root, output);
    }
}

/// The hook for the paths of a table, subquery or CTE.
///
/// # Safety
/// Only Postgres calls it.
#[pg_guard]
unsafe extern "C-unwind" fn set_rel_pathlist(
    root: *mut pg_sys::PlannerInfo,
    relation: *mut pg_sys::RelOptInfo,
    index: pg_sys::Index,
    entry: *mut pg_sys::RangeTblEntry,
) {
    enter!();
    if let Some(previous) = PREVIOUS_PATHLIST.get() {
        // SAFETY: what Postgres gave, and before this hook changes anything.
        unsafe { pg_guard_ffi_boundary(|| previous(root, relation, index, entry)) };
    }
    // SAFETY: Postgres gives its planner's state.
    let (root, relation, entry) =
        unsafe { (NodeRef::new(root), NodeRef::new(relation), NodeRef::new(entry)) };
    if matches!(entry.rtekind, pg_sys::RTEKind::RTE_SUBQUERY | pg_sys::RTEKind::RTE_CTE) {
        order::forget(root, relation);
    }
    if entry.inh {
        walk::many::offer(root, relation);
    } else if entry.rtekind == pg_sys::RTEKind::RTE_RELATION {
        table::offer(root, relation, entry);
    }
}
