//! The scan as a plan node and as Postgres's executor sees it. Its children are the scans of the
//! indexes, whose rows it reads and tests itself, and at last the exact way.

use std::ffi::c_int;

use pgrx::{pg_guard, pg_sys};

use super::NAME;
use super::execution::Execution;
use super::explain;
use crate::error_context::enter;
use crate::nodes::{List, NodeRef};
use crate::plan::Methods;
use crate::plan::child::Row;
use crate::plan::custom::{self, Parts};

/// The planned scan's callbacks.
pub static SCAN_METHODS: Methods<pg_sys::CustomScanMethods> = Methods(pg_sys::CustomScanMethods {
    CustomName: NAME.as_ptr(),
    CreateCustomScanState: Some(create_state),
});

static EXEC_METHODS: Methods<pg_sys::CustomExecMethods> = Methods(pg_sys::CustomExecMethods {
    CustomName: NAME.as_ptr(),
    BeginCustomScan: Some(begin),
    ExecCustomScan: Some(execute),
    EndCustomScan: Some(end),
    ReScanCustomScan: Some(rescan),
    ExplainCustomScan: Some(explain_node),
    // SAFETY: the other callbacks may be null.
    ..unsafe { std::mem::zeroed() }
});

/// The `PlanCustomPath` callback.
///
/// # Safety
/// Only Postgres calls it, with a path that `path` made.
#[pg_guard]
pub unsafe extern "C-unwind" fn plan(
    root: *mut pg_sys::PlannerInfo,
    _input: *mut pg_sys::RelOptInfo,
    path: *mut pg_sys::CustomPath,
    columns: *mut pg_sys::List,
    _clauses: *mut pg_sys::List,
    children: *mut pg_sys::List,
) -> *mut pg_sys::Plan {
    enter!();
    // SAFETY: Postgres gives its planner's state and a path of `path`, for whose children it has made plans.
    let (root, path, children) =
        unsafe { (NodeRef::new(root), NodeRef::new(path), List::<pg_sys::Plan>::new(children)) };
    let lists = path.custom_private();
    // SAFETY: `path` has put two lists of nodes there.
    let list = |place| unsafe { List::new(lists.get(place).map_or(std::ptr::null_mut(), NodeRef::as_ptr)) };
    let exact = path.custom_paths().iter().last().expect("the exact way's path");
    let row = exact.pathtarget().exprs();
    let parts = Parts { columns, row, expressions: list(0), data: list(1) };
    custom::plan(root, path, children, parts, &SCAN_METHODS)
}

/// The `CreateCustomScanState` callback.
///
/// # Safety
/// Only Postgres calls it.
#[pg_guard]
unsafe extern "C-unwind" fn create_state(_scan: *mut pg_sys::CustomScan) -> *mut pg_sys::Node {
    enter!();
    custom::create_state::<Execution>(&EXEC_METHODS)
}

/// # Safety
/// `node` is one of this module, after `begin`; nobody else uses its execution as long as the reference
/// lives.
unsafe fn execution_of<'a>(node: *mut pg_sys::CustomScanState) -> &'a mut Execution {
    // SAFETY: by the caller's promise.
    unsafe { custom::execution_of(node) }
}

/// The `BeginCustomScan` callback.
///
/// # Safety
/// Only Postgres calls it.
#[pg_guard]
unsafe extern "C-unwind" fn begin(
    node: *mut pg_sys::CustomScanState,
    executor: *mut pg_sys::EState,
    flags: c_int,
) {
    enter!();
    // SAFETY: Postgres gives the state of a node of this module, and the executor's state. Both live as long
    // as the query's memory context, and so does what is made here.
    unsafe {
        let execution = Execution::new(node, executor, flags);
        custom::begin(node, executor, execution);
    }
}

/// The `ExecCustomScan` callback: the next row.
///
/// # Safety
/// Only Postgres calls it.
#[pg_guard]
unsafe extern "C-unwind" fn execute(node: *mut pg_sys::CustomScanState) -> *mut pg_sys::TupleTableSlot {
    enter!();
    // SAFETY: after `begin`.
    let row = unsafe { Row::of_slot(execution_of(node).next()) };
    // SAFETY: as above.
    unsafe { custom::give(node, row) }
}

/// The `EndCustomScan` callback.
///
/// # Safety
/// Only Postgres calls it.
#[pg_guard]
unsafe extern "C-unwind" fn end(node: *mut pg_sys::CustomScanState) {
    enter!();
    // SAFETY: after `begin`.
    unsafe { execution_of(node) }.end();
    // SAFETY: as above.
    unsafe { custom::end_children(node) };
}

/// The `ReScanCustomScan` callback.
///
/// # Safety
/// Only Postgres calls it.
#[pg_guard]
unsafe extern "C-unwind" fn rescan(node: *mut pg_sys::CustomScanState) {
    enter!();
    // SAFETY: after `begin`.
    unsafe {
        execution_of(node).restart();
        custom::rescan_children(node);
    }
}

/// The `ExplainCustomScan` callback.
///
/// # Safety
/// Only Postgres calls it.
#[pg_guard]
unsafe extern "C-unwind" fn explain_node(
    node: *mut pg_sys::CustomScanState,
    _ancestors: *mut pg_sys::List,
    state: *mut pg_sys::ExplainState,
) {
    enter!();
    // SAFETY: after `begin`; Postgres gives EXPLAIN's state.
    let (execution, state) = unsafe { (execution_of(node), NodeRef::new(state)) };
    explain::show(execution, state);
}
