//! One search over many tables: the planner's hook and the custom scan that searches the indexes of partitions, of inheritance
//! children and of the branches of UNION ALL as one.
//!
//! Nothing has to be preloaded: whoever plans a query opens its indexes, which loads the library, before the hook is asked.
//! Imports `am`, `guc` and walia-core.

mod child;
mod explain;
mod merge;
mod nearest;
mod node;
mod parallel;
mod path;
mod shared;
mod totals;
mod vectors;

use std::cell::Cell;
use std::ffi::CStr;

use pgrx::pg_sys::ffi::pg_guard_ffi_boundary;
use pgrx::{pg_guard, pg_sys};

use crate::error_context::ErrorContext;
use crate::guc;

/// The custom scan's name, as EXPLAIN shows it.
const NAME: &CStr = c"WaliaFederatedScan";

/// A table of callbacks, which Postgres reads only.
#[repr(transparent)]
struct Methods<T>(T);

// SAFETY: functions and a static name, never written.
unsafe impl<T> Sync for Methods<T> {}

thread_local! {
    /// The hook of a library that was loaded before.
    static PREVIOUS: Cell<pg_sys::create_upper_paths_hook_type> = const { Cell::new(None) };
}

/// Makes the custom scan known; called once, when the library is loaded.
pub fn define() {
    // SAFETY: the backend's only thread is in _PG_init; the methods are static.
    unsafe {
        pg_sys::RegisterCustomScanMethods(&raw const node::SCAN_METHODS.0);
        PREVIOUS.set(pg_sys::create_upper_paths_hook);
        pg_sys::create_upper_paths_hook = Some(create_upper_paths);
    }
}

/// The hook: offers the custom scan where rows of many tables are wanted in order.
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
    let mut context = ErrorContext::new();
    let _pushed = context.push();
    // SAFETY: Postgres gives its planner's state, which the hook before and this one see one after the other.
    unsafe {
        if let Some(previous) = PREVIOUS.get() {
            pg_guard_ffi_boundary(|| previous(root, stage, input, output, extra));
        }
        if stage == pg_sys::UpperRelationKind::UPPERREL_ORDERED && guc::federated_scan() {
            path::offer(root, input, output);
        }
    }
}
